//! One task a server: connects, watches, reconnects with growing pauses, and stops
//! what nobody uses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Connect, Event, Notice, Place, Seat, Server, Shared, SharedHeaders, allowed_headers,
    connection::Link,
    error::{ConnectError, LinkError},
    handler::News,
    listening,
};
use crate::{
    protocol::server::{Fingerprint, ServerConfig, TransportConfig},
    secret::Secret,
    security::{headers::AllowedHeaders, redact},
};

mod connect;

/// After this long a server that still connects lets the next one try.
const PERMIT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one: pauses start anew.
const STABLE: Duration = Duration::from_secs(30);
/// A caller that needs the server shortens a pause to this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// A session's own connection to a remote server ends after so long without use. What the server knows of the session goes
/// with it, so this is longer than the pauses of someone who works with a client that is open. It matters where a client
/// keeps its session for days by an open event stream.
const OWN_UNUSED: Duration = Duration::from_secs(30 * 60);

/// The state of one connection.
#[derive(Debug, Clone)]
pub enum State {
    Connecting,
    Ready {
        link: Arc<Link>,
        /// From the start of the attempt to the end of the handshake.
        took: Duration,
    },
    /// The last attempt failed; the next one follows by itself.
    Backoff {
        error: ConnectError,
    },
    /// Waits to be needed.
    Idle,
    /// The configuration cannot work, or is not allowed.
    Disabled {
        error: ConnectError,
    },
}

#[derive(Debug, Clone)]
pub struct Status {
    pub state: State,
    /// Attempts that have ended, so that a waiting caller can tell a new failure
    /// from an old one.
    attempts: u64,
}

impl Status {
    pub fn link(&self) -> Option<&Arc<Link>> {
        match &self.state {
            State::Ready { link, .. } if !link.is_closed() => Some(link),
            State::Ready { .. } | State::Connecting | State::Backoff { .. } | State::Idle | State::Disabled { .. } => None,
        }
    }

    pub fn error(&self) -> Option<&ConnectError> {
        match &self.state {
            State::Backoff { error } | State::Disabled { error } => Some(error),
            State::Connecting | State::Ready { .. } | State::Idle => None,
        }
    }

    /// All that [`Self::label`] gives.
    pub const LABELS: [&'static str; 5] = ["connecting", "ready", "backoff", "idle", "disabled"];

    /// One word for tables, JSON and metrics.
    pub fn label(&self) -> &'static str {
        match &self.state {
            State::Connecting => "connecting",
            State::Ready { .. } => "ready",
            State::Backoff { .. } => "backoff",
            State::Idle => "idle",
            State::Disabled { .. } => "disabled",
        }
    }
}

/// Why no connection could be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    #[error("the server is not part of this workspace any more")]
    Gone,
    #[error(transparent)]
    Failed(ConnectError),
}

/// When a server was last asked for, in milliseconds of the process's life.
#[derive(Debug)]
pub(super) struct LastUse {
    epoch: Instant,
    millis: AtomicU64,
}

impl LastUse {
    fn new() -> Self {
        Self { epoch: Instant::now(), millis: AtomicU64::new(0) }
    }

    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }
}

pub(super) async fn wait_for_link(mut status: watch::Receiver<Status>, demand: mpsc::Sender<()>) -> Result<Arc<Link>, Unavailable> {
    let attempts = status.borrow().attempts;
    // A full queue holds a demand already.
    let _ = demand.try_send(());
    let settled = status
        .wait_for(|status| match &status.state {
            State::Ready { link, .. } => !link.is_closed(),
            State::Backoff { .. } => status.attempts > attempts,
            State::Disabled { .. } => true,
            State::Connecting | State::Idle => false,
        })
        .await
        .map_err(|_| Unavailable::Gone)?;
    match &settled.state {
        State::Ready { link, .. } => Ok(Arc::clone(link)),
        State::Backoff { error } | State::Disabled { error } => Err(Unavailable::Failed(error.clone())),
        State::Connecting | State::Idle => unreachable!("waited for another state"),
    }
}

/// A session's own connection is made when it is first asked for, all others as configured.
pub(super) fn start(shared: &Arc<Shared>, config: Arc<ServerConfig>, fingerprint: Fingerprint, seated: Seated) -> Server {
    let Seated { news, room } = seated;
    let (status_sender, status) = watch::channel(Status { state: State::Idle, attempts: 0 });
    // One demand waits at most: it stands for all.
    let (demand, demands) = mpsc::channel(1);
    let stop = shared.token.child_token();
    let used = Arc::new(LastUse::new());
    let headers = match &config.transport {
        TransportConfig::Http(http) => allowed_headers(http).unwrap_or_default(),
        TransportConfig::Stdio(_) => AllowedHeaders::default(),
    };
    let secrets = match &config.transport {
        TransportConfig::Http(http) => redact::secrets_of_url(&http.url),
        TransportConfig::Stdio(stdio) => redact::secrets_of_args(&stdio.args),
    };
    let headers: SharedHeaders = Arc::new(ArcSwap::from_pointee(headers));
    // Not `name`, which in JSON is the name of the span.
    let span = tracing::info_span!("server", server = %config.name);
    let supervisor = Supervisor {
        shared: Arc::clone(shared),
        config: Arc::clone(&config),
        status: status_sender,
        demands,
        headers: Arc::clone(&headers),
        used: Arc::clone(&used),
        stop: stop.clone(),
        secrets,
        place: Place { server: config.id.clone(), seat: news.seat },
        news,
        _room: room,
    };
    shared.tracker.spawn(supervisor.run().instrument(span));
    Server { config, fingerprint, headers, status, demand, used, stop }
}

/// Whose a connection is to be.
pub(super) struct Seated {
    pub(super) news: News,
    /// Of a session's own.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

struct Supervisor {
    shared: Arc<Shared>,
    place: Place,
    news: News,
    _room: Option<OwnedSemaphorePermit>,
    config: Arc<ServerConfig>,
    status: watch::Sender<Status>,
    /// Ends with the last handle of the server.
    demands: mpsc::Receiver<()>,
    headers: SharedHeaders,
    used: Arc<LastUse>,
    stop: CancellationToken,
    #[expect(dead_code, reason = "the redactor knows them for as long as they are held")]
    secrets: Vec<Secret>,
}

/// How a connection ended.
enum End {
    Unused,
    Lost(LinkError),
}

impl Supervisor {
    async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            // A connection that is being made is dropped, and with it all it started.
            biased;
            () = stop.cancelled() => {}
            () = self.supervise() => {}
        }
        let link = match &self.status.borrow().state {
            State::Ready { link, .. } => Arc::clone(link),
            State::Connecting | State::Backoff { .. } | State::Idle | State::Disabled { .. } => return,
        };
        if self.is_own() {
            link.let_go().await;
        }
        link.closed().cancel();
    }

    async fn supervise(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.begun.cancelled().await;
        let mut failures = 0;
        let mut demanded = match self.shared.config.connect {
            Connect::Eager if !self.is_own() => false,
            Connect::Eager | Connect::Lazy => self.demand().await,
        };
        // Whether somebody waits for news, which only a connection brings.
        let mut held = false;
        loop {
            self.set(State::Connecting);
            let begun = Instant::now();
            let error = match self.attempt(demanded).await {
                Ok(link) => {
                    tracing::info!(took = ?begun.elapsed(), peer = %link.peer().version, revision = %link.peer().revision, "connected");
                    self.ready(&link, begun.elapsed()).await;
                    let connected = Instant::now();
                    match self.attend(&link).await {
                        End::Unused => {
                            link.closed().cancel();
                            if self.is_own() {
                                return;
                            }
                            self.set(State::Idle);
                            demanded = self.demand().await;
                            continue;
                        }
                        End::Lost(error) => {
                            if connected.elapsed() >= STABLE {
                                failures = 0;
                            }
                            held = link.is_held();
                            // No attempt has failed: who waits for a connection goes on waiting.
                            self.set(State::Backoff { error: error.clone().into() });
                            // Servers that restart forget sessions; one that always does is given pauses.
                            if error != LinkError::SessionGone || failures > 0 || !self.returns(held) {
                                let Some(cut_short) = self.rest(failures, held).await else { return };
                                demanded = cut_short;
                            }
                            failures += 1;
                            continue;
                        }
                    }
                }
                Err(error) => error,
            };
            if error.is_final() {
                tracing::error!(%error, "disabled until its configuration changes");
                self.set_ended(State::Disabled { error });
                return std::future::pending().await;
            }
            tracing::warn!(%error, "not connected");
            self.set_ended(State::Backoff { error });
            // What was asked for during the attempt has had its answer.
            while self.demands.try_recv().is_ok() {}
            let Some(cut_short) = self.rest(failures, held).await else { return };
            demanded = cut_short;
            failures += 1;
        }
    }

    fn is_own(&self) -> bool {
        self.place.seat != Seat::Shared
    }

    /// Whether a lost connection is made again by itself. One session may never need its own any more.
    fn returns(&self, held: bool) -> bool {
        held || !self.is_own()
    }

    /// How long a connection is kept that nobody uses. `None` is for ever.
    fn idle_timeout(&self) -> Option<Duration> {
        let idle_timeout = self.shared.config.idle_timeout;
        match &self.config.transport {
            TransportConfig::Stdio(_) => idle_timeout,
            TransportConfig::Http(_) if self.is_own() => Some(idle_timeout.unwrap_or(OWN_UNUSED)),
            TransportConfig::Http(_) => None,
        }
    }

    /// Connects, a few servers at a time. Who is asked for does not queue.
    async fn attempt(&mut self, demanded: bool) -> Result<Arc<Link>, ConnectError> {
        if demanded {
            return self.connect().await;
        }
        let shared = Arc::clone(&self.shared);
        let permit = tokio::select! {
            permit = shared.connecting.acquire() => permit.ok(),
            _ = self.demand() => None,
        };
        let mut connecting = std::pin::pin!(self.connect());
        if let Ok(outcome) = tokio::time::timeout(PERMIT, &mut connecting).await {
            return outcome;
        }
        drop(permit);
        connecting.await
    }

    /// Until the connection is lost, stopped or unused for too long.
    async fn attend(&mut self, link: &Arc<Link>) -> End {
        let unused = async {
            let Some(idle_timeout) = self.idle_timeout() else { return std::future::pending().await };
            self.used.touch();
            loop {
                tokio::time::sleep(idle_timeout.saturating_sub(self.used.elapsed()).max(Duration::from_millis(10))).await;
                if link.is_needed() {
                    self.used.touch();
                } else if self.used.elapsed() >= idle_timeout {
                    return;
                }
            }
        };
        tokio::select! {
            () = link.closed().cancelled() => End::Lost(link.handler().ended().unwrap_or(LinkError::Closed)),
            () = unused => End::Unused,
        }
    }

    async fn ready(&mut self, link: &Arc<Link>, took: Duration) {
        // Whoever asked for the connection has it.
        while self.demands.try_recv().is_ok() {}
        if !link.peer().revision.has_handshake() {
            self.shared.tracker.spawn(listening::keep(Arc::clone(link)).instrument(tracing::Span::current()));
        }
        self.set_ended(State::Ready { link: Arc::clone(link), took });
        // Their readers go on by themselves; an error means that the proxy is ending.
        if !self.is_own() {
            let _ = self.news.events.send(Event::Ready(self.config.id.clone(), Arc::clone(link))).await;
        }
        let _ = self.news.notices.send(Notice::Ready(self.place.clone(), Arc::clone(link))).await;
    }

    /// Waits until somebody needs the server. False if nobody can any more.
    async fn demand(&mut self) -> bool {
        match self.demands.recv().await {
            Some(()) => true,
            None => std::future::pending().await,
        }
    }

    /// Waits before the next attempt; true if a caller cut the wait short. `None` if nobody needs another one.
    async fn rest(&mut self, failures: u32, held: bool) -> Option<bool> {
        let earliest = Instant::now() + SHORTEST_PAUSE;
        let longest = if self.returns(held) { Some(pause(failures)) } else { self.idle_timeout() };
        let demanded = match longest {
            Some(longest) => tokio::time::timeout(longest, self.demand()).await.unwrap_or(false),
            None => self.demand().await,
        };
        if !demanded && !self.returns(held) {
            return None;
        }
        tokio::time::sleep_until(earliest).await;
        Some(demanded)
    }

    fn set(&self, state: State) {
        self.publish(state, 0);
    }

    fn set_ended(&self, state: State) {
        self.publish(state, 1);
    }

    fn publish(&self, state: State, ended: u64) {
        self.status.send_modify(|status| {
            status.state = state;
            status.attempts += ended;
        });
        if !self.is_own() {
            // A lost event is made good by the next one.
            let _ = self.news.events.try_send(Event::Changed(self.config.id.clone()));
        }
    }
}

/// Doubles with each failure in a row, and differs by up to a fifth, so that
/// servers that fell together do not come back together.
fn pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let jitter = u32::try_from(uuid::Uuid::new_v4().as_u128() % 200).unwrap_or(0);
    pause.mul_f64(1.0 - f64::from(jitter) / 1000.0)
}
