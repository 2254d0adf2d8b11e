//! What clients want to see of the servers' logs (specification, server/utilities/logging): by `logging/setLevel` for
//! a session, or, from 2026-07-28 on, by a request for itself. Where a connection is shared, its server is asked for what
//! the most curious of all wants to see; each gets what it has asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{Answer, CallError, Ctx, Router};
use crate::{
    downstream::{Link, Pool},
    protocol::{
        json::Object,
        log_level::{LogLevel, Verbosity},
        message::{Kind, Message},
        server::ServerId,
    },
};

/// For a server to take a level. Meanwhile no other is told of the next one.
const TELLING: Duration = Duration::from_secs(5);

/// A request waits for so long until the servers know what it wants to see. What they log before is lost to it.
const RAISING: Duration = Duration::from_millis(250);

/// Servers are asked for less this long after nobody wants more: the next request may want the same.
const LINGERING: Duration = Duration::from_secs(2);

/// What servers are asked for once nobody wants more than that. There is no way to ask for what they logged before anybody did.
const RESTING: LogLevel = LogLevel::Info;

/// The levels that have been asked for.
#[derive(Debug, Default)]
pub(super) struct Levels {
    wanted: Mutex<HashMap<Who, LogLevel>>,
    changed: Notify,
    /// What the servers were told last.
    told: watch::Sender<Option<LogLevel>>,
    /// Of the last request that wanted something.
    last: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Session(u64),
    Request(u64),
}

/// A request that wants to see more, as long as this is not dropped.
#[derive(Debug)]
pub struct Raised {
    levels: Arc<Levels>,
    who: Who,
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.levels.want(self.who, None);
    }
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
        let session = ctx.session.number();
        self.levels.set(session, Some(level));
        self.pool.own_links(session).into_iter().for_each(|link| self.tell_own_level(session, link));
        Ok((Answer::Result(bytes::Bytes::from_static(b"{}")), level))
    }

    /// Tells a server on a session's own connection what this session wants to see, and nobody else.
    pub(super) fn tell_own_level(&self, session: u64, link: Arc<Link>) {
        if !takes_levels(&link) || self.levels.of(session).is_none() {
            return;
        }
        let levels = Arc::clone(&self.levels);
        self.tracker.spawn(async move {
            let mut told = None;
            // Another level may be set meanwhile, and be heard by the server before this one.
            while let Some(level) = levels.of(session).filter(|level| told != Some(*level)) {
                let is_told = tokio::select! {
                    is_told = tell(&link, level) => is_told,
                    () = link.ended() => false,
                };
                if !is_told {
                    return;
                }
                told = Some(level);
            }
        });
    }

    /// Has servers log at least this as long as what it gives is kept. Waits a moment where they must be told first.
    pub async fn raise_log_level(&self, level: LogLevel) -> Raised {
        let who = Who::Request(self.levels.last.fetch_add(1, Ordering::Relaxed));
        let raised = Raised { levels: Arc::clone(&self.levels), who };
        self.levels.want(who, Some(level));
        let mut told = self.levels.told.subscribe();
        let known = told.wait_for(|told| told.is_some_and(|told| told <= level));
        if timeout(RAISING, known).await.is_err() {
            tracing::debug!(%level, "not all servers have taken the log level of a request yet");
        }
        raised
    }
}

impl Levels {
    /// What one session wants; `None` once it is gone.
    pub(super) fn set(&self, session: u64, level: Option<LogLevel>) {
        self.want(Who::Session(session), level);
    }

    fn of(&self, session: u64) -> Option<LogLevel> {
        self.wanted().get(&Who::Session(session)).copied()
    }

    fn want(&self, who: Who, level: Option<LogLevel>) {
        let before = match level {
            Some(level) => self.wanted().insert(who, level),
            None => self.wanted().remove(&who),
        };
        if before != level {
            self.look();
        }
    }

    /// Something may have to be said to a server.
    pub(super) fn look(&self) {
        self.changed.notify_one();
    }

    /// Tells every server that logs, on the connection that all share, the most verbose level that anybody wants: now, when
    /// that changes, and when a server connects. Does not end.
    pub(super) async fn keep(&self, pool: &Pool) {
        let mut told: HashMap<ServerId, (Weak<Link>, LogLevel)> = HashMap::new();
        let mut pace = Pace::default();
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = pace.is_due() => {}
            }
            let wanted = self.wanted().values().min().copied();
            let Some(level) = pace.level(wanted, Instant::now()) else { continue };
            let uninformed = pool.links().into_iter().filter(|link| {
                let told = told.get(&link.place().server);
                takes_levels(link) && !told.is_some_and(|(known, at)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(link)) && *at == level)
            });
            let telling: Vec<_> = uninformed.map(async |link| tell(&link, level).await.then_some(link)).collect();
            for link in join_all(telling).await.into_iter().flatten() {
                told.insert(link.place().server.clone(), (Arc::downgrade(&link), level));
            }
            self.told.send_replace(Some(level));
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<Who, LogLevel>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More is asked for at once, and less after a while.
#[derive(Debug, Default)]
struct Pace {
    /// What is asked for.
    at: Option<LogLevel>,
    /// When less will be.
    less: Option<Instant>,
}

impl Pace {
    /// What to ask for; `None` where there is nothing to ask, since nobody has a wish.
    fn level(&mut self, wanted: Option<LogLevel>, now: Instant) -> Option<LogLevel> {
        let wanted = match (wanted, self.at) {
            (Some(wanted), _) => wanted,
            (None, Some(at)) if at < RESTING => RESTING,
            // What the servers log is dropped here.
            (None, _) => {
                self.less = None;
                return None;
            }
        };
        let level = match self.at {
            Some(at) if wanted > at && now < *self.less.get_or_insert(now + LINGERING) => at,
            _ => {
                self.less = None;
                wanted
            }
        };
        self.at = Some(level);
        Some(level)
    }

    /// When less is to be asked for. Never, where that is not so.
    async fn is_due(&self) {
        match self.less {
            Some(less) => sleep_until(less).await,
            None => std::future::pending().await,
        }
    }
}

/// One without a handshake is told by each request.
fn takes_levels(link: &Link) -> bool {
    link.peer().capabilities.logging && link.peer().revision.has_handshake()
}

/// Whether the server has taken the level.
async fn tell(link: &Arc<Link>, level: LogLevel) -> bool {
    let server = link.place();
    let params = format!(r#"{{"level":"{level}"}}"#);
    match timeout(TELLING, link.request("logging/setLevel", &params)).await {
        Ok(Ok(reply)) if reply.kind() == Kind::Result => true,
        Ok(Ok(_)) => {
            tracing::debug!(%server, "the log level was refused");
            false
        }
        Ok(Err(error)) => {
            tracing::debug!(%server, %error, "the log level could not be set");
            false
        }
        Err(_) => {
            tracing::debug!(%server, "the server did not say that it has taken the log level");
            false
        }
    }
}

/// Whether the client wants to see this log message.
pub(super) fn is_wanted(message: &Message, verbosity: Verbosity) -> bool {
    let level = || {
        let params = Object::parse(message.body()?).ok()?;
        LogLevel::parse(&params.string("level")?)
    };
    verbosity == Verbosity::All || verbosity.admits(level())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_asked_for_at_once_and_less_after_a_while() {
        use LogLevel::{Debug, Error, Info, Warning};
        let mut pace = Pace::default();
        let begun = Instant::now();
        for (seconds, wanted, expect, is_waiting) in [
            (0, None, None, false),
            (0, Some(Error), Some(Error), false),
            (0, None, None, false),
            (0, Some(Debug), Some(Debug), false),
            (0, Some(Warning), Some(Debug), true),
            (1, Some(Debug), Some(Debug), false),
            (1, Some(Error), Some(Debug), true),
            (2, Some(Warning), Some(Debug), true),
            (3, Some(Warning), Some(Warning), false),
            (4, Some(Debug), Some(Debug), false),
            (4, None, Some(Debug), true),
            (6, None, Some(Info), false),
            (6, None, None, false),
        ] {
            let level = pace.level(wanted, begun + Duration::from_secs(seconds));
            assert_eq!((level, pace.less.is_some()), (expect, is_waiting), "{seconds} {wanted:?}");
        }
    }

    #[test]
    fn log_messages_are_wanted_from_a_level_on() {
        for (level, least, expect) in [
            ("debug", Verbosity::All, true),
            ("debug", Verbosity::From(LogLevel::Info), false),
            ("info", Verbosity::From(LogLevel::Info), true),
            ("emergency", Verbosity::From(LogLevel::Alert), true),
            ("alert", Verbosity::From(LogLevel::Emergency), false),
            ("verbose", Verbosity::From(LogLevel::Emergency), true),
            ("emergency", Verbosity::Nothing, false),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#);
            let message = Message::parse(&text.into()).expect("a notification");
            assert_eq!(is_wanted(&message, least), expect, "{level} {least:?}");
        }
    }
}
