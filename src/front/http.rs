//! The Streamable HTTP front (MCP transports, "Streamable HTTP"): any number of clients at
//! one address, each in a session of its own, or each request on its own.
//!
//! A request passes, outermost first: connection and its time-outs (`connections`), `Host` and
//! `Origin` (`origin`), size of its head (`limits`), routing by path, body and its size,
//! the message, the key (`auth`), the session (`sessions`), the call.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router as Paths,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::security::rate_limit::{ADDRESS_FACTOR, Addresses};

pub use self::admin::View;
use self::{
    auth::{Failures, Gate, Tenants, Workspace},
    connections::Edge,
    sessions::Sessions,
};

mod admin;
pub mod auth;
mod client;
mod connections;
mod lenient;
pub mod limits;
mod messages;
mod modern;
pub mod origin;
mod peer;
mod reply;
pub mod sessions;
pub(super) mod streams;

/// How clients reach the proxy over HTTP.
#[derive(Debug, Clone)]
pub struct Config {
    /// A name or an address to listen at.
    pub host: String,
    /// 0 lets the operating system choose.
    pub port: u16,
    /// Every request stands alone; nothing is kept between requests.
    pub stateless: bool,
    pub auth: auth::Config,
    pub origins: origin::Config,
    pub limits: limits::Config,
    pub sessions: sessions::Config,
    /// How long calls in flight may take to finish once a signal has come.
    pub grace: Duration,
}

/// Who is served by what.
#[derive(Debug)]
pub struct Workspaces {
    /// The proxy's own.
    pub own: Arc<Workspace>,
    /// What is shown to clients without a key: the proxy's own entries alone.
    pub public: Arc<Workspace>,
    /// Those of clients that bring their keys.
    pub tenants: Option<Arc<dyn Tenants>>,
    /// Of the proxy's own.
    pub view: View,
}

/// From the first signal to the end.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Nothing new is begun any more.
    pub draining: CancellationToken,
    /// Nothing is waited for any more.
    pub now: CancellationToken,
    pub tracker: TaskTracker,
}

/// What all requests share.
#[derive(Debug)]
struct Front {
    config: Config,
    gate: Gate,
    sessions: Sessions,
    view: View,
    /// How often each may call where there are no sessions.
    addresses: Option<Arc<Addresses>>,
    /// How often all sessions of one may call together.
    together: Option<Addresses>,
    tracker: TaskTracker,
    /// Holds a token for each request whose answer is not there yet.
    requests: TaskTracker,
    /// Nothing new is begun any more.
    draining: CancellationToken,
    /// Places for those who listen: each costs as much as a session's stream.
    places: Arc<Semaphore>,
    started: Instant,
}

/// Opens the port.
///
/// # Errors
/// Where the name has no address, or the address cannot be had.
pub async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((host, port)).await
}

/// Serves until `shutdown` and through the grace period after it.
pub async fn serve(listener: TcpListener, config: Config, workspaces: Workspaces, shutdown: Shutdown) -> io::Result<()> {
    let address = listener.local_addr()?;
    let Shutdown { draining, now, tracker } = shutdown;
    let tools = workspaces.own.router.limiter().rates().tools;
    let front = Arc::new(Front {
        view: workspaces.view.clone(),
        addresses: tools.map(|rate| Arc::new(Addresses::new(rate))),
        // A client's own key is one principal, whatever its sessions and its addresses.
        together: tools.filter(|_| !config.auth.is_per_client()).map(|rate| Addresses::new(rate.times(ADDRESS_FACTOR))),
        gate: gate(&config.auth, workspaces),
        sessions: Sessions::new(config.sessions.clone(), config.limits.calls),
        tracker: tracker.clone(),
        requests: TaskTracker::new(),
        draining: draining.clone(),
        places: Arc::new(Semaphore::new(config.sessions.max.min(Semaphore::MAX_PERMITS))),
        started: Instant::now(),
        config,
    });
    let closing = CancellationToken::new();
    let sweeping = tracker.spawn(sweep(Arc::clone(&front), closing.clone()));
    let paths = paths(Arc::clone(&front));
    let edge = Edge { limits: front.config.limits.clone(), guard: origin::Guard::new(&front.config.origins) };
    let serving = tracker.spawn(connections::serve(listener, edge, paths, tracker.clone(), closing.clone()));
    tracing::info!("serving Streamable HTTP at http://{address}/mcp");

    draining.cancelled().await;
    front.drain(&now).await;
    closing.cancel();
    let cut_off = serving.abort_handle();
    let ending = async {
        let _ = tokio::join!(serving, sweeping);
    };
    tokio::select! {
        _ = tokio::time::timeout(FAREWELL, ending) => {}
        () = now.cancelled() => {}
    }
    // Clients that do not take their answers must not hold up the end of the servers.
    cut_off.abort();
    Ok(())
}

/// For answers on their way once no call is in flight any more.
const FAREWELL: Duration = Duration::from_secs(1);

fn gate(auth: &auth::Config, workspaces: Workspaces) -> Gate {
    let Workspaces { own, public, tenants, view: _ } = workspaces;
    match (auth, tenants) {
        (auth::Config::Open, _) => Gate::Open(own),
        (auth::Config::PerClient, Some(tenants)) => Gate::PerClient { tenants, public, failures: Failures::default() },
        (auth::Config::Key(_) | auth::Config::PerClient, _) => Gate::Key { own, public, failures: Failures::default() },
    }
}

fn paths(front: Arc<Front>) -> Paths {
    Paths::new()
        .route("/mcp", any(endpoint))
        .route("/mcp/", any(endpoint))
        .route("/", any(endpoint))
        .merge(admin::paths())
        .fallback(unknown_path)
        .with_state(front)
}

async fn endpoint(state: State<Arc<Front>>, request: Request) -> Response {
    match *request.method() {
        Method::POST => messages::post(state, request).await,
        Method::GET => streams::get(state, request).await,
        Method::DELETE => sessions::delete(state, request).await,
        // Those of browsers were answered before.
        Method::OPTIONS => (StatusCode::NO_CONTENT, [(header::ALLOW, METHODS)]).into_response(),
        _ => reply::method_not_allowed(METHODS),
    }
}

const METHODS: &str = "GET, POST, DELETE, OPTIONS";
const POST_ONLY: &str = "POST, OPTIONS";

async fn unknown_path() -> Response {
    reply::refuse(StatusCode::NOT_FOUND, "nothing is here; hint: the endpoint is /mcp")
}

async fn sweep(front: Arc<Front>, closing: CancellationToken) {
    let tidy = || {
        front.gate.tidy();
        front.addresses.iter().for_each(|addresses| addresses.tidy());
        front.together.iter().for_each(Addresses::tidy);
    };
    front.sessions.watch(closing, tidy).await;
}

impl Front {
    /// Whether nothing new is begun any more.
    fn is_draining(&self) -> bool {
        self.requests.is_closed()
    }

    /// Lets calls in flight finish, for a time.
    async fn drain(&self, now: &CancellationToken) {
        self.sessions.end_streams();
        self.requests.close();
        let grace = self.config.grace;
        if !self.requests.is_empty() {
            tracing::info!("{} calls are in flight; they have {} s to finish", self.requests.len(), grace.as_secs_f32());
        }
        tokio::select! {
            () = self.requests.wait() => {}
            () = tokio::time::sleep(grace) => tracing::warn!("{} calls did not finish in time", self.requests.len()),
            () = now.cancelled() => {}
        }
    }
}
