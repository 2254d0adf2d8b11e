//! `logging/setLevel` (specification, server/utilities/logging). Connections are shared by
//! sessions, so that a server is asked for what the most curious of them wants to see; each
//! session gets what it has asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::Notify, time::timeout};

use super::{Answer, CallError, Ctx, Router};
use crate::{
    downstream::{Link, Pool},
    protocol::{
        json::Object,
        log_level::LogLevel,
        message::{Kind, Message},
        server::ServerId,
    },
};

/// For a server to take a level. Meanwhile no other is told of the next one.
const TELLING: Duration = Duration::from_secs(5);

/// The levels that sessions have asked for.
#[derive(Debug, Default)]
pub(super) struct Levels {
    wanted: Mutex<HashMap<u64, LogLevel>>,
    changed: Notify,
}

impl Router {
    /// The answer, and the level that the session wants from now on.
    ///
    /// # Errors
    /// [`CallError::InvalidParams`]
    pub fn set_log_level(&self, ctx: &Ctx, request: &Message) -> Result<(Answer, LogLevel), CallError> {
        let params = Object::parse(request.body().unwrap_or("{}")).map_err(|error| CallError::malformed(&error))?;
        let level = params.string("level").and_then(|level| LogLevel::parse(&level));
        let level = level.ok_or_else(|| {
            let known = LogLevel::ALL.map(LogLevel::as_str).join("`, `");
            CallError::InvalidParams(format!("`level` must be one of `{known}`"))
        })?;
        self.levels.set(ctx.session.number(), Some(level));
        Ok((Answer::Result(bytes::Bytes::from_static(b"{}")), level))
    }
}

impl Levels {
    /// What one session wants; `None` once it is gone.
    pub(super) fn set(&self, session: u64, level: Option<LogLevel>) {
        let before = match level {
            Some(level) => self.wanted().insert(session, level),
            None => self.wanted().remove(&session),
        };
        if before != level {
            self.look();
        }
    }

    /// Something may have to be said to a server.
    pub(super) fn look(&self) {
        self.changed.notify_one();
    }

    /// Tells every server that logs the most verbose level that any session wants: now, when
    /// that changes, and when a server connects. Does not end.
    pub(super) async fn keep(&self, pool: &Pool) {
        let mut told: HashMap<ServerId, (Weak<Link>, LogLevel)> = HashMap::new();
        loop {
            self.changed.notified().await;
            // Once nobody has a wish any more, what the servers log is dropped here.
            let Some(level) = self.wanted().values().min().copied() else { continue };
            let links = pool.servers().into_iter().filter_map(|(config, status)| Some((config.id.clone(), Arc::clone(status.link()?))));
            let uninformed = links.filter(|(server, link)| {
                let known = told.get(server).is_some_and(|(known, at)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(link)) && *at == level);
                link.peer().capabilities.logging && !known
            });
            let telling: Vec<_> = uninformed.map(|(server, link)| tell(server, link, level)).collect();
            for (server, link) in join_all(telling).await.into_iter().flatten() {
                told.insert(server, (link, level));
            }
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<u64, LogLevel>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The link, if it has taken the level.
async fn tell(server: ServerId, link: Arc<Link>, level: LogLevel) -> Option<(ServerId, Weak<Link>)> {
    let params = format!(r#"{{"level":"{level}"}}"#);
    match timeout(TELLING, link.request("logging/setLevel", &params)).await {
        Ok(Ok(reply)) if reply.kind() == Kind::Result => Some((server, Arc::downgrade(&link))),
        Ok(Ok(_)) => {
            tracing::debug!(%server, "the log level was refused");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(%server, %error, "the log level could not be set");
            None
        }
        Err(_) => {
            tracing::debug!(%server, "the server did not say that it has taken the log level");
            None
        }
    }
}
