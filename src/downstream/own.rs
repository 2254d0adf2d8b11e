//! Connections of single sessions: which servers have them, how they come to be, and how they end.
//!
//! A server with a handshake is told once, when it is connected, what its client can do, and may keep what it knows of the
//! client with the connection. So where several clients use the proxy, a session gets a connection of its own when
//! it first needs one. What servers offer is listed through the shared one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Link, Pool, Server, Unavailable,
    handler::News,
    seat::{Guest, OnlyClient, Seat},
    supervisor::{self, Seated},
};
use crate::{
    protocol::server::{Isolation, ServerConfig, ServerId, TransportConfig},
    telemetry::metrics::Counter,
};

/// Of one session. A workspace with more isolated servers is rare, and one client must not take the room of all others.
const EACH: usize = 64;

/// In the whole process. Each has a task and a socket or a child; many systems give a process some thousands of either.
const ALL: usize = 4096;

/// Which servers have connections for single sessions.
#[derive(Debug, Clone)]
pub struct Isolating {
    /// Where the configuration of a server does not say.
    pub default: Isolation,
    /// All pools of the process share it.
    pub room: Arc<Room>,
}

impl Isolating {
    pub fn new(default: Isolation) -> Self {
        Self { default, room: Arc::default() }
    }
}

/// The room that all pools of the process have for such connections.
#[derive(Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    /// Times that a session had to share because there was none.
    pub refused: Counter,
    has_warned: AtomicBool,
}

impl Default for Room {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(ALL)), refused: Counter::new(), has_warned: AtomicBool::new(false) }
    }
}

impl Room {
    /// Connections that there are now.
    pub fn taken(&self) -> usize {
        ALL - self.free.available_permits()
    }

    fn take(&self, of_session: usize) -> Option<OwnedSemaphorePermit> {
        let room = if of_session < EACH { Arc::clone(&self.free).try_acquire_owned().ok() } else { None };
        if room.is_none() {
            self.refused.increment();
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "a session shares a server with others that it would have for itself: there are {EACH} such connections of one \
                     session, or {ALL} in all; hint: `pluggedin_own_connections_refused_total` of `/metrics` counts this from now on"
                );
            }
        }
        room
    }
}

/// The connections of one pool's sessions.
#[derive(Debug, Default)]
pub(super) struct Own {
    sessions: Mutex<HashMap<u64, HashMap<ServerId, Server>>>,
    /// Sessions that have any. Requests without a session end often, and need not look for them.
    count: AtomicUsize,
}

impl Own {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn sessions(&self) -> Sessions<'_> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        Sessions { sessions: self.sessions.lock().unwrap_or_else(PoisonError::into_inner), count: &self.count }
    }
}

/// The table while it is locked. It is counted when it is let go.
struct Sessions<'a> {
    sessions: MutexGuard<'a, HashMap<u64, HashMap<ServerId, Server>>>,
    count: &'a AtomicUsize,
}

impl Drop for Sessions<'_> {
    fn drop(&mut self) {
        self.count.store(self.sessions.len(), Ordering::Release);
    }
}

impl Server {
    /// Its task has ended, and it connects no more.
    fn is_over(&self) -> bool {
        self.status.has_changed().is_err()
    }
}

impl Pool {
    /// Whether sessions have connections of their own to this server, if it has a handshake.
    pub fn isolates(&self, config: &ServerConfig) -> bool {
        match config.isolation.unwrap_or(self.shared.config.isolating.default) {
            Isolation::Auto => matches!(config.transport, TransportConfig::Http(_)),
            Isolation::Session => true,
            Isolation::Shared => false,
        }
    }

    /// The session's own live connection, if it has one.
    pub fn own_link(&self, id: &ServerId, session: u64) -> Option<Arc<Link>> {
        if self.own.is_empty() {
            return None;
        }
        let table = self.own.sessions();
        let server = table.sessions.get(&session)?.get(id)?;
        server.used.touch();
        server.status.borrow().link().cloned()
    }

    /// All live connections of the session's own.
    pub fn own_links(&self, session: u64) -> Vec<Arc<Link>> {
        if self.own.is_empty() {
            return Vec::new();
        }
        let table = self.own.sessions();
        let servers = table.sessions.get(&session).into_iter().flat_map(HashMap::values);
        servers.filter_map(|server| server.status.borrow().link().cloned()).collect()
    }

    /// As [`link`](Self::link), to a server that is [isolated](Self::isolates): the session's own connection, or the shared one
    /// where the server has no handshake or there is no room. `begins` is told when the session gets a new connection of its own,
    /// before anything can come of it.
    ///
    /// # Errors
    /// [`Unavailable`] when the attempt failed, or the session is over.
    pub async fn link_of(&self, id: &ServerId, guest: &Guest, begins: impl Fn()) -> Result<Arc<Link>, Unavailable> {
        match self.try_link_of(id, guest, &begins).await {
            // It was unused for too long at this very moment, or another configuration has taken its place.
            Err(Unavailable::Gone) => self.try_link_of(id, guest, &begins).await,
            outcome => outcome,
        }
    }

    async fn try_link_of(&self, id: &ServerId, guest: &Guest, begins: &impl Fn()) -> Result<Arc<Link>, Unavailable> {
        let server = if let Some(server) = self.seated(id, guest.session) {
            server
        } else {
            // It knows whether the server has a handshake at all.
            let shared = self.link(id).await?;
            if !shared.peer().revision.has_handshake() {
                return Ok(shared);
            }
            let Some(server) = self.seat(id, guest, begins)? else { return Ok(shared) };
            server
        };
        server.used.touch();
        supervisor::wait_for_link(server.status, server.demand).await
    }

    fn seated(&self, id: &ServerId, session: u64) -> Option<Server> {
        self.own.sessions().sessions.get(&session)?.get(id).filter(|server| !server.is_over()).cloned()
    }

    /// A new place for the session, or the one that another call of it has got meanwhile. `None` where there is no room.
    fn seat(&self, id: &ServerId, guest: &Guest, begins: &impl Fn()) -> Result<Option<Server>, Unavailable> {
        let mut table = self.own.sessions();
        // Who ends a session cancels the token first and looks at this then: one of the two is seen, here or there.
        self.own.count.fetch_max(1, Ordering::AcqRel);
        if guest.over.is_cancelled() {
            return Err(Unavailable::Gone);
        }
        // Under the lock, which who changes the configuration takes after that.
        let shared = self.servers.load().get(id).cloned().filter(|server| self.isolates(&server.config)).ok_or(Unavailable::Gone)?;
        let of_session = table.sessions.entry(guest.session).or_default();
        of_session.retain(|_, server| !server.is_over());
        if let Some(server) = of_session.get(id) {
            return Ok(Some(server.clone()));
        }
        let Some(room) = self.shared.config.isolating.room.take(of_session.len()) else { return Ok(None) };
        begins();
        let news =
            News { seat: Seat::Session(guest.session), client: OnlyClient::known(Arc::clone(&guest.declared)), ..self.shared.news.clone() };
        let seated = Seated { news, room: Some(room) };
        let server = supervisor::start(&self.shared, shared.config, shared.fingerprint, seated);
        of_session.insert(id.clone(), server.clone());
        Ok(Some(server))
    }

    /// The session is over, or its client has become another one: its connections end.
    pub fn part(&self, session: u64) {
        if self.own.is_empty() {
            return;
        }
        let servers = self.own.sessions().sessions.remove(&session);
        for server in servers.into_iter().flat_map(HashMap::into_values) {
            server.stop.cancel();
        }
    }

    /// The set of servers is another one. What is made from now on goes by it already.
    pub(super) fn apply_to_own(&self) {
        let mut table = self.own.sessions();
        let servers = self.servers.load();
        let stays = |id: &ServerId, own: &mut Server| {
            let Some(shared) = servers.get(id).filter(|shared| shared.fingerprint == own.fingerprint) else { return false };
            let stays = self.isolates(&shared.config) && own.adopt(&shared.config);
            own.config = Arc::clone(&shared.config);
            stays
        };
        for of_session in table.sessions.values_mut() {
            of_session.extract_if(|id, own| !stays(id, own)).for_each(|(_, own)| own.stop.cancel());
        }
    }

    /// How many sessions have a live connection of their own, by server.
    pub fn own_counts(&self) -> HashMap<ServerId, usize> {
        let mut counts = HashMap::new();
        if self.own.is_empty() {
            return counts;
        }
        let table = self.own.sessions();
        for (id, server) in table.sessions.values().flatten() {
            if server.status.borrow().link().is_some() {
                *counts.entry(id.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// The room that this pool shares with all others of the process.
    pub fn room(&self) -> &Room {
        &self.shared.config.isolating.room
    }
}
