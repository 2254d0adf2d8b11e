//! The sessions of all clients, by their ids (transports, "Session management").

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, request::Parts as Head},
    response::{IntoResponse, Response},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Front, auth::Grant, connections::Peer, messages, reply, streams::Streams};
use crate::{
    front::session::{Outlet, Session},
    protocol::revision::Revision,
    router::Router,
    security::{
        rate_limit::Allowance,
        token::{KeyDigest, SessionId},
    },
    telemetry::metrics::Counter,
};

#[derive(Debug, Clone)]
pub struct Config {
    /// A session that is unused for this long ends.
    pub timeout: Duration,
    /// Sessions at once. A new one takes the place of the one that is unused for the longest time.
    pub max: usize,
}

/// All sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    config: Config,
    /// Calls in flight of one session.
    max_calls: usize,
    table: Mutex<HashMap<SessionId, Arc<Stay>>>,
    epoch: Instant,
    pub begun: Counter,
    /// Ended to make room.
    pub evicted: Counter,
}

/// One client's stay, as HTTP sees it.
#[derive(Debug)]
pub struct Stay {
    pub id: SessionId,
    pub session: Session,
    pub streams: Streams,
    /// Whose it is. Until a key has come nobody's.
    grant: OnceLock<Grant>,
    /// When a request of it last ended, in milliseconds of the table's life.
    used: AtomicU64,
    /// Requests and streams that are open.
    busy: AtomicUsize,
}

/// Why a request cannot be served in the session that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSession {
    /// There is none of this id, or it is another's.
    Unknown,
    /// It is a key's, and none was sent.
    KeyMissing,
}

/// A session in use; it is not ended for being idle meanwhile.
#[derive(Debug)]
pub struct InUse {
    pub stay: Arc<Stay>,
    epoch: Instant,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.stay.used.store(millis(self.epoch), Ordering::Relaxed);
        self.stay.busy.fetch_sub(1, Ordering::Release);
    }
}

impl Stay {
    /// Makes the session this key's if it is nobody's yet.
    ///
    /// # Errors
    /// [`NoSession`] where it is another's.
    fn belongs_to(&self, grant: &Grant) -> Result<(), NoSession> {
        let Some(key) = grant.key() else {
            return if self.key().is_none() { Ok(()) } else { Err(NoSession::KeyMissing) };
        };
        let owner = self.grant.get_or_init(|| grant.clone());
        if owner.key() == Some(key) { Ok(()) } else { Err(NoSession::Unknown) }
    }

    /// Of the workspace that it belongs to.
    pub fn router(&self) -> Option<Arc<Router>> {
        self.grant.get().map(|grant| Arc::clone(grant.router()))
    }

    fn key(&self) -> Option<KeyDigest> {
        self.grant.get().and_then(Grant::key)
    }

    /// Nobody has shown a key for it yet, where one is asked for.
    fn is_anonymous(&self) -> bool {
        self.grant.get().is_none()
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Acquire) == 0
    }

    /// Cancels its calls and ends its streams.
    fn end(&self) {
        // Before its workspace is told, so that no call of it gets a connection that nobody ends.
        self.session.end_listening();
        self.session.end();
        self.streams.end();
        if let Some(grant) = self.grant.get() {
            grant.router().forget(self.session.number());
        }
    }
}

impl Sessions {
    pub fn new(config: Config, max_calls: usize) -> Self {
        Self { config, max_calls, table: Mutex::default(), epoch: Instant::now(), begun: Counter::new(), evicted: Counter::new() }
    }

    /// A new session, which may call as often as `allowance` says. `None` if there are as many as may be and none of them is
    /// idle.
    pub fn open(&self, grant: &Grant, allowance: Allowance) -> Option<InUse> {
        let streams = Streams::new();
        let session = Session::new(Outlet::Stream(Arc::clone(streams.standalone())), self.max_calls, allowance, CancellationToken::new());
        let owner = OnceLock::new();
        if grant.is_final() {
            let _ = owner.set(grant.clone());
        }
        let used = AtomicU64::new(millis(self.epoch));
        let stay = Arc::new(Stay { id: SessionId::random(), session, streams, grant: owner, used, busy: AtomicUsize::new(1) });
        let evicted = {
            let mut table = self.table();
            let mut evicted = None;
            if table.len() >= self.config.max {
                // SECURITY: who has no key never takes the place of who has one (threat model T9, T11). All that such a
                // session can be busy with is a stream that has nothing to say.
                let may_go = |stay: &Stay| match (stay.is_anonymous(), grant.is_final()) {
                    (true, true) => true,
                    (false, false) => false,
                    (true, false) | (false, true) => stay.is_idle(),
                };
                let order = |stay: &Stay| (!stay.is_anonymous(), !stay.is_idle(), stay.used.load(Ordering::Relaxed));
                let id = table.values().filter(|stay| may_go(stay)).min_by_key(|stay| order(stay))?.id;
                evicted = table.remove(&id);
            }
            table.insert(stay.id, Arc::clone(&stay));
            evicted
        };
        if let Some(evicted) = evicted {
            tracing::info!(session = %evicted.id, "the longest idle session made room for a new one");
            self.evicted.increment();
            evicted.end();
        }
        self.begun.increment();
        tracing::debug!(session = %stay.id, "session begun");
        Some(InUse { stay, epoch: self.epoch })
    }

    /// The session of this id, if it is this client's.
    ///
    /// # Errors
    /// [`NoSession`]
    pub fn find(&self, id: &[u8], grant: &Grant) -> Result<InUse, NoSession> {
        let id = SessionId::parse(id).ok_or(NoSession::Unknown)?;
        let found = {
            let table = self.table();
            let stay = table.get(&id).ok_or(NoSession::Unknown)?;
            // Under the lock, so that it cannot be ended for being idle in between.
            stay.busy.fetch_add(1, Ordering::AcqRel);
            InUse { stay: Arc::clone(stay), epoch: self.epoch }
        };
        found.stay.belongs_to(grant)?;
        Ok(found)
    }

    /// Ends this session, whatever it is doing.
    ///
    /// # Errors
    /// [`NoSession`] where somebody else was quicker.
    pub fn end(&self, stay: &Stay) -> Result<(), NoSession> {
        let ended = self.table().remove(&stay.id).ok_or(NoSession::Unknown)?;
        tracing::debug!(session = %ended.id, "session ended by its client");
        ended.end();
        Ok(())
    }

    /// Ends sessions that nobody has used for too long; to be called every now and then.
    pub fn sweep(&self) {
        let timeout = u64::try_from(self.config.timeout.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.epoch);
        let ended: Vec<_> = {
            let mut table = self.table();
            let old = |stay: &Stay| stay.is_idle() && now.saturating_sub(stay.used.load(Ordering::Relaxed)) >= timeout;
            table.extract_if(|_, stay| old(stay)).map(|(_, stay)| stay).collect()
        };
        for stay in &ended {
            tracing::debug!(session = %stay.id, "session ended after {} s without use", self.config.timeout.as_secs());
            stay.end();
        }
        let kept: Vec<_> = self.table().values().cloned().collect();
        for stay in kept {
            stay.streams.tidy();
        }
    }

    /// Sweeps until `shutdown`, and has others do so, then ends every session.
    pub async fn watch(&self, shutdown: CancellationToken, also: impl Fn()) {
        /// Short time-outs are kept to their tenth; nobody waits for the end of an idle session.
        const AT_MOST: Duration = Duration::from_secs(30);
        let mut ticks = tokio::time::interval((self.config.timeout / 10).clamp(Duration::from_millis(100), AT_MOST));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {
                    self.sweep();
                    also();
                }
            }
        }
        let all: Vec<_> = self.table().drain().map(|(_, stay)| stay).collect();
        for stay in all {
            stay.end();
        }
    }

    /// Ends the standalone streams, so that only calls in flight are waited for.
    pub fn end_streams(&self) {
        let all: Vec<_> = self.table().values().cloned().collect();
        for stay in all {
            stay.streams.standalone().finish();
        }
    }

    pub fn len(&self) -> usize {
        self.table().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn max(&self) -> usize {
        self.config.max
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Stay>>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `DELETE`: the client has done.
pub(super) async fn delete(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    match front.end_session(&head).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(response) => response,
    }
}

impl Front {
    async fn end_session(&self, head: &Head) -> Result<(), Response> {
        self.version_with_sessions(&head.headers)?;
        let using = self.session_of(head).await?;
        self.sessions.end(&using.stay).map_err(|none| messages::no_session(none, None))
    }

    /// The revision that the client names; 405 where requests stand alone, because of it or of how we serve.
    pub(super) fn version_with_sessions(&self, headers: &HeaderMap) -> Result<Option<Revision>, Response> {
        let version = messages::version(headers).map_err(|error| reply::error(StatusCode::BAD_REQUEST, None, &error))?;
        if self.config.stateless || version.is_some_and(|revision| !revision.has_handshake()) {
            return Err(reply::method_not_allowed(super::POST_ONLY));
        }
        Ok(version)
    }

    /// The session that a request without a message names.
    pub(super) async fn session_of(&self, head: &Head) -> Result<InUse, Response> {
        let headers = &head.headers;
        let Some(id) = messages::session_id(headers)? else {
            return Err(reply::refuse(StatusCode::BAD_REQUEST, "`Mcp-Session-Id` is missing"));
        };
        let from = head.extensions.get::<Peer>().expect("every connection says who it is").remote.ip();
        // Whether a key is needed is the session's to say.
        let grant = self.gate.admit(headers, true, from).await.map_err(|denied| denied.into_response(None))?;
        self.sessions.find(id.as_bytes(), &grant).map_err(|none| messages::no_session(none, None))
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
