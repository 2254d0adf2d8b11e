//! The servers: one supervised connection each, all through one [`Pool`].
//!
//! Nothing here knows where configurations come from or what clients call things.

use std::{
    ffi::OsString,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use secrecy::ExposeSecret;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    protocol::{
        declared::Declared,
        message::{Id, Message},
        server::{Fingerprint, HttpConfig, ServerConfig, ServerId, TransportConfig},
    },
    security::{
        Refusal, command, egress,
        headers::{self, AllowedHeaders},
        payload::Limits,
    },
};

pub mod connection;
pub mod eras;
pub mod error;
pub mod handler;
pub mod handshake;
pub mod inflight;
mod listening;
pub mod mailbox;
mod own;
pub mod seat;
mod signs;
mod supervisor;
pub mod transport;

pub use connection::{Item, Link, error_message};
pub use error::{ConnectError, LinkError};
pub use inflight::{Ask, InFlight, Lingering, Step};
pub use listening::Topic;
pub use mailbox::Caller;
pub use own::{Isolating, Room};
pub use seat::{Guest, OnlyClient, Place, Seat};
pub use supervisor::{State, Status, Unavailable};
use transport::stdio;

/// Servers that are started at once. More would fight for the machine while the
/// first client waits.
const CONNECTING_AT_ONCE: usize = 4;

/// Events that may wait for their reader, which never works while it holds one.
const EVENTS: usize = 1024;

#[derive(Debug, Clone)]
pub struct Config {
    pub connect: Connect,
    pub isolating: Isolating,
    /// A child that is unused for this long is stopped; `None` means never.
    pub idle_timeout: Option<Duration>,
    /// A remote server that was silent for this long is asked for a sign of life; `None` means never.
    pub health_interval: Option<Duration>,
    /// Names and values of the proxy's own environment that every child gets.
    pub base_env: Arc<Vec<(OsString, OsString)>>,
    /// Which programs may be started.
    pub commands: Arc<command::Policy>,
    /// What starts them. All pools of the process share it.
    pub spawner: stdio::Spawner,
    /// Which addresses may be connected to.
    pub egress: Arc<egress::Policy>,
    /// How large what servers send may be.
    pub limits: Limits,
    /// Which servers are known to want a handshake. All pools of the process share it.
    pub eras: Arc<eras::Eras>,
}

/// When a server is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connect {
    /// In the background, from the start.
    #[default]
    Eager,
    /// At its first call, or to learn what it offers.
    Lazy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl ListKind {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }
}

/// What the servers say outside of calls of what they offer.
#[derive(Debug)]
pub enum Event {
    /// Connected, for the first time or again.
    Ready(ServerId, Arc<Link>),
    /// Some other change of state.
    Changed(ServerId),
    ListChanged(ServerId, ListKind),
}

/// What the servers say outside of calls to those who have asked to hear it, or who alone can be meant.
#[derive(Debug)]
pub enum Notice {
    /// Connected, for the first time or again.
    Ready(Place, Arc<Link>),
    /// `notifications/resources/updated`
    Updated(Place, Message),
    /// `notifications/tasks`
    TaskChanged(Place, Message),
    /// `notifications/elicitation/complete`
    Elicited(Place, Message),
    /// A request, to the only client of the connection.
    Asked(Place, Ask),
    /// The server does not wait for the answer to this request of its own any more.
    Withdrawn(Place, Id),
    /// A log message, for the only client of the connection.
    Logged(Place, Message),
    /// A notification that the proxy itself has no use for, for the only client of the connection.
    Said(Place, Message),
}

/// The reading ends of what the servers say outside of calls.
#[derive(Debug)]
pub struct Heard {
    pub events: mpsc::Receiver<Event>,
    pub notices: mpsc::Receiver<Notice>,
}

/// All servers of one workspace.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    servers: Arc<ArcSwap<IndexMap<ServerId, Server>>>,
    /// Connections of single sessions.
    own: Arc<own::Own>,
    /// Held while the set of servers changes.
    changing: Arc<Mutex<()>>,
}

/// What all supervisors share.
#[derive(Debug)]
struct Shared {
    config: Config,
    news: handler::News,
    tracker: TaskTracker,
    token: CancellationToken,
    connecting: Semaphore,
    /// Cancelled when the first connection may be made.
    begun: CancellationToken,
    has_begun: AtomicBool,
}

/// The handle of one supervisor.
#[derive(Debug, Clone)]
struct Server {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    /// Sent with each request from now on.
    headers: SharedHeaders,
    status: watch::Receiver<Status>,
    /// Somebody needs the server now.
    demand: mpsc::Sender<()>,
    used: Arc<supervisor::LastUse>,
    stop: CancellationToken,
}

/// The headers of one server, which the source may renew at any time.
type SharedHeaders = Arc<ArcSwap<AllowedHeaders>>;

/// Judges the headers of a server, whoever configured it and whatever way leads to it.
fn allowed_headers(config: &HttpConfig) -> Result<AllowedHeaders, Refusal> {
    headers::allow(config.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())))
}

impl Server {
    /// Takes over what may change without a new connection. False if it needs one.
    fn adopt(&self, config: &Arc<ServerConfig>) -> bool {
        if Arc::ptr_eq(&self.config, config) {
            return true;
        }
        if matches!(self.status.borrow().state, State::Disabled { .. }) {
            return false;
        }
        let TransportConfig::Http(http) = &config.transport else { return true };
        if config.same_headers(&self.config) {
            return true;
        }
        let Ok(headers) = allowed_headers(http) else { return false };
        self.headers.store(Arc::new(headers));
        if self.status.borrow().can_be_tried() {
            // A server that refused the old ones may take the new ones at once.
            let _ = self.demand.try_send(());
        }
        true
    }
}

impl Pool {
    /// Cancelling `token` ends every connection; `tracker` waits for that.
    pub fn new(config: Config, tracker: TaskTracker, token: CancellationToken) -> (Self, Heard) {
        let (events, event_receiver) = mpsc::channel(EVENTS);
        let (notices, notice_receiver) = mpsc::channel(EVENTS);
        let news = handler::News { events, notices, seat: Seat::Shared, client: OnlyClient::default() };
        let heard = Heard { events: event_receiver, notices: notice_receiver };
        let connecting = Semaphore::new(CONNECTING_AT_ONCE);
        let shared = Arc::new(Shared {
            config,
            news,
            tracker,
            token,
            connecting,
            begun: CancellationToken::new(),
            has_begun: AtomicBool::new(false),
        });
        (Self { shared, servers: Arc::default(), own: Arc::default(), changing: Arc::default() }, heard)
    }

    /// Lets the servers be connected. Until then the machine is left to the first
    /// answer, which a client waits for. `only` is the client, where there can be no other:
    /// servers that are connected from now on are told what it can do, and reach it outside of calls.
    pub fn begin(&self, only: Option<Arc<Declared>>) {
        if let Some(client) = only {
            self.shared.news.client.set(client);
        }
        // Called for every message of a client, hence not the token's lock each time.
        if !self.shared.has_begun.load(Ordering::Relaxed) {
            self.shared.has_begun.store(true, Ordering::Relaxed);
            self.shared.begun.cancel();
        }
    }

    /// Makes the set of servers this one. Connections whose configuration did not
    /// change in what matters to them go on undisturbed.
    pub fn apply(&self, configs: &[Arc<ServerConfig>]) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.servers.load_full();
        let servers: IndexMap<_, _> = configs.iter().map(|config| (config.id.clone(), self.keep_or_start(&old, config))).collect();
        for (id, server) in &*old {
            if servers.get(id).is_none_or(|kept| !kept.status.same_channel(&server.status)) {
                server.stop.cancel();
            }
        }
        self.servers.store(Arc::new(servers));
        self.apply_to_own();
    }

    fn keep_or_start(&self, old: &IndexMap<ServerId, Server>, config: &Arc<ServerConfig>) -> Server {
        let fingerprint = config.fingerprint();
        match old.get(&config.id) {
            Some(server) if server.fingerprint == fingerprint && server.adopt(config) => {
                Server { config: Arc::clone(config), ..server.clone() }
            }
            _ => {
                let seated = supervisor::Seated { news: self.shared.news.clone(), room: None };
                supervisor::start(&self.shared, Arc::clone(config), fingerprint, seated)
            }
        }
    }

    /// A connection to the server: at once where there is one, else as soon as it
    /// can be made.
    ///
    /// # Errors
    /// [`Unavailable`] when the attempt failed. The caller sets the deadline.
    pub async fn link(&self, id: &ServerId) -> Result<Arc<Link>, Unavailable> {
        match self.try_link(id).await {
            // Another configuration may have taken its place meanwhile.
            Err(Unavailable::Gone) => self.try_link(id).await,
            outcome => outcome,
        }
    }

    async fn try_link(&self, id: &ServerId) -> Result<Arc<Link>, Unavailable> {
        let (server, demand) = {
            let servers = self.servers.load();
            let Some(server) = servers.get(id) else { return Err(Unavailable::Gone) };
            if self.shared.config.idle_timeout.is_some() {
                server.used.touch();
            }
            if let Some(link) = server.status.borrow().link() {
                return Ok(Arc::clone(link));
            }
            (server.status.clone(), server.demand.clone())
        };
        supervisor::wait_for_link(server, demand).await
    }

    /// Connects to a server that waits for its first call.
    pub fn demand(&self, id: &ServerId) {
        if let Some(server) = self.servers.load().get(id) {
            // A full queue holds a demand already.
            let _ = server.demand.try_send(());
        }
    }

    /// Has servers tried again at once whose last attempt failed.
    pub fn retry(&self) {
        for server in self.servers.load().values().filter(|server| server.status.borrow().can_be_tried()) {
            // A full queue holds a demand already.
            let _ = server.demand.try_send(());
        }
    }

    /// The live connections that all share.
    pub fn links(&self) -> Vec<Arc<Link>> {
        self.servers.load().values().filter_map(|server| server.status.borrow().link().cloned()).collect()
    }

    /// The live connection there.
    pub fn link_at(&self, place: &Place) -> Option<Arc<Link>> {
        match place.seat {
            Seat::Shared => self.servers.load().get(&place.server)?.status.borrow().link().cloned(),
            Seat::Session(session) => self.own_link(&place.server, session),
        }
    }

    pub fn status(&self, id: &ServerId) -> Option<Status> {
        Some(self.servers.load().get(id)?.status.borrow().clone())
    }

    pub fn config(&self, id: &ServerId) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.servers.load().get(id)?.config))
    }

    /// Every server with its state, in the source's order.
    pub fn servers(&self) -> Vec<(Arc<ServerConfig>, Status)> {
        self.servers.load().values().map(|server| (Arc::clone(&server.config), server.status.borrow().clone())).collect()
    }
}
