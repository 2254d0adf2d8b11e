//! The entry for every call: from a request of a client to its answer, whichever
//! server or built-in tool gives it. Knows neither HTTP nor stdio.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    builtin::Builtin,
    catalog::{CatalogHandle, ListKind},
    downstream::{Guest, Notice, Pool},
    protocol::{
        declared::Declared,
        json::Object,
        log_level::Verbosity,
        message::{Frame, Id, Message},
        server::{Origin, ServerId},
    },
    security::{
        Author,
        rate_limit::{Allowance, Limit, Limiter, Permit, What},
        seal::Seal,
    },
    source::SourceHandle,
    telemetry::metrics::{self, Calls, Limited},
};

mod activity;
mod away;
pub mod bridge;
mod completion;
mod elicitations;
pub mod error;
pub mod events;
mod forward;
mod heartbeat;
pub mod listen;
mod logging;
mod measure;
mod notices;
mod outside;
mod pass;
mod prompts;
mod relay;
mod resources;
mod reverse;
mod rounds;
mod subscriptions;
mod tasks;
mod tools;

use activity::Activities;
pub use error::{Blame, CallError};

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a call may be silent, if the server's configuration says nothing else.
    pub call_timeout: Duration,
    /// How long a call may take in all, whatever is heard of it meanwhile.
    pub call_timeout_max: Duration,
    /// The App is told of calls, where there is one.
    pub activity: bool,
}

/// One for each workspace. Fronts share it behind an `Arc`, which costs a call less than a clone.
#[derive(Debug, Clone)]
pub struct Router {
    config: Config,
    catalog: CatalogHandle,
    pool: Pool,
    source: SourceHandle,
    builtin: Arc<Builtin>,
    calls: Calls,
    limiter: Limiter,
    tracker: TaskTracker,
    /// Ends what goes on beside the calls.
    token: CancellationToken,
    levels: Arc<logging::Levels>,
    subscriptions: Arc<subscriptions::Subscriptions>,
    elicitations: Arc<elicitations::Elicitations>,
    outside: Arc<outside::Outside>,
    rounds: Arc<rounds::Rounds>,
    refreshes: Arc<tools::Refreshes>,
    /// Absent where the App is not told of calls.
    activities: Option<Activities>,
}

/// What the router works with.
#[derive(Debug)]
pub struct Parts {
    pub catalog: CatalogHandle,
    pub pool: Pool,
    pub source: SourceHandle,
    pub builtin: Arc<Builtin>,
    /// Where calls are counted.
    pub calls: Calls,
    /// Decides how often clients may call.
    pub limiter: Limiter,
    /// Seals what clients carry from one request to the next.
    pub seal: Seal,
    /// What the servers of the pool say outside of calls.
    pub notices: mpsc::Receiver<Notice>,
}

/// Who calls, and how the caller is reached while the call runs.
#[derive(Debug, Clone)]
pub struct Ctx {
    pub session: Arc<dyn SessionPeer>,
    pub client: Arc<dyn ClientPeer>,
}

/// The client's stay, as the router sees it.
pub trait SessionPeer: fmt::Debug + Send + Sync {
    /// Tells this session from every other of the process.
    fn number(&self) -> u64;

    /// What the client says of itself.
    fn declared(&self) -> Arc<Declared>;

    /// Sends what belongs to no call. Never waits; a client that does not read loses the oldest.
    fn announce(&self, frame: Frame);

    /// The log messages that the client wants.
    fn verbosity(&self) -> Verbosity;

    /// How often the client may still call.
    fn allowance(&self) -> &Allowance;

    /// The client as one of several, which can have connections of its own; `None` where it cannot.
    fn guest(&self) -> Option<Guest> {
        None
    }

    /// How such a client is reached while no call of its runs.
    fn outside(self: Arc<Self>) -> Option<Arc<dyn ClientPeer>> {
        None
    }
}

/// The client while one call of its runs: what is said here reaches it on that call's own stream.
pub trait ClientPeer: fmt::Debug + Send + Sync {
    /// Sends a notification that belongs to the call. Waits while the client is slow.
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()>;

    /// Whether there is a way for a request to the client now.
    fn can_be_asked(&self) -> bool {
        true
    }

    /// Sends a server's request to the client, under an id of the session's own, and gives the
    /// client's response, be it a result or an error. Dropping the future withdraws the request.
    /// Progress that the client reports meanwhile goes to `report`, where the server has asked for it.
    fn ask(&self, request: &Message, report: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>>;
}

/// The server that waits for a client's answer.
pub trait Report: fmt::Debug + Send + Sync {
    /// Sends it a notification, if it takes it. Never waits.
    fn report(&self, progress: Frame);
}

/// Why a client cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("the client is gone")]
    Gone,
    #[error("the client cannot be asked anything")]
    Unsupported,
    #[error("the client has no event stream open (GET) on which it could be asked outside of its calls")]
    NotListening,
    #[error("the client's answer is malformed")]
    Malformed,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// A server's response, result or error, as it came. Another body replaces
    /// its own where names had to be changed.
    Forwarded(Message, Option<Bytes>),
    /// A `result` of the proxy's own, as JSON text.
    Result(Bytes),
}

impl Answer {
    pub fn into_frame(self, id: &Id) -> Frame {
        match self {
            Self::Forwarded(message, body) => message.with(id, body),
            Self::Result(result) => Frame::result(id, result),
        }
    }
}

impl Router {
    /// Starts the router. What it does beside the calls ends with `token`.
    pub fn start(config: Config, parts: Parts, tracker: &TaskTracker, token: &CancellationToken) -> Self {
        let Parts { catalog, pool, source, builtin, calls, limiter, seal, notices } = parts;
        let activities = source.app().filter(|_| config.activity).map(|app| Activities::start(app, tracker, token));
        let router = Self {
            config,
            catalog,
            pool,
            source,
            builtin,
            calls,
            limiter,
            tracker: tracker.clone(),
            token: token.clone(),
            levels: Arc::default(),
            subscriptions: Arc::default(),
            elicitations: Arc::default(),
            outside: Arc::default(),
            rounds: Arc::new(rounds::Rounds::new(seal)),
            refreshes: Arc::default(),
            activities,
        };
        router.attend(notices, tracker, token);
        router
    }

    /// A client is there: servers may be connected.
    pub fn begin(&self) {
        self.pool.begin(None);
    }

    pub fn catalog(&self) -> &CatalogHandle {
        &self.catalog
    }

    /// Decides how often clients may call.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The first step of what reaches a server. `server` is `None` for what the proxy itself answers.
    fn admit(&self, ctx: &Ctx, what: What, server: Option<&ServerId>) -> Result<Permit, CallError> {
        let author = || match server.and_then(|server| self.pool.config(server)).map(|config| config.origin) {
            Some(Origin::File) => Author::Owner,
            Some(Origin::App) | None => Author::App,
        };
        self.limiter.admit(ctx.session.allowance(), what, author).map_err(|exceeded| {
            metrics::limited(match exceeded.limit {
                Limit::ToolCalls => Limited::ToolCall,
                Limit::Address => Limited::Address,
                Limit::Global => Limited::Global,
            });
            CallError::TooOften(exceeded)
        })
    }

    /// One page of a list and the list's generation. The first one waits a little for servers that nobody
    /// knows yet; later ones never wait.
    ///
    /// # Errors
    /// [`CallError::BadCursor`], [`CallError::InvalidParams`]
    pub async fn list(&self, kind: ListKind, request: &Message) -> Result<(Answer, u64), CallError> {
        let cursor = match request.body() {
            Some(params) => {
                let params = Object::parse(params).map_err(|error| CallError::malformed(&error))?;
                match params.get("cursor") {
                    None | Some("null") => None,
                    Some(_) => Some(
                        params
                            .string("cursor")
                            .ok_or_else(|| CallError::InvalidParams("`cursor` must be a string".to_owned()))?
                            .into_owned(),
                    ),
                }
            }
            None => None,
        };
        let catalog = self.catalog.settled().await;
        Ok((Answer::Result(catalog.page(kind, cursor.as_deref())?), catalog.generation(kind)))
    }
}
