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
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Connect, Event, Notice, Place, Seat, Server, Shared, SharedHeaders, allowed_headers,
    connection::Link,
    error::{ConnectError, LinkError},
    handler::News,
    listening,
    transport::stdio::Spawner,
};
use crate::{
    lasting::survived,
    protocol::server::{Fingerprint, ServerConfig, TransportConfig},
    secret::Secret,
    security::{headers::AllowedHeaders, redact},
};

mod breaker;
mod connect;
mod health;
mod status;

use breaker::{Breaker, Rest};
pub(super) use status::wait_for_link;
pub use status::{State, Status, Unavailable};

/// After this long a server that still connects lets the next one try.
const PERMIT: Duration = Duration::from_secs(2);
/// A connection that lasted this long was a good one, as was one that has answered a client: it is made again at once.
const STABLE: Duration = Duration::from_secs(30);
/// From the end of a child to the end of what it has written.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A session's own connection to a remote server ends after so long without use. What the server knows of the session goes
/// with it, so this is longer than the pauses of someone who works with a client that is open. It matters where a client
/// keeps its session for days by an open event stream.
const OWN_UNUSED: Duration = Duration::from_secs(30 * 60);

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

/// A session's own connection is made when it is first asked for, all others as configured.
pub(super) fn start(shared: &Arc<Shared>, config: Arc<ServerConfig>, fingerprint: Fingerprint, seated: Seated) -> Server {
    let Seated { news, room } = seated;
    let (spawner, last_words) = shared.config.spawner.overheard();
    let (status_sender, status) = watch::channel(Status::new(last_words));
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
        spawner,
        breaker: Breaker::default(),
        held: false,
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
    spawner: Spawner,
    breaker: Breaker,
    /// Somebody waits for news, which only a connection brings.
    held: bool,
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

/// What has ended before a rest.
#[derive(Debug, Clone, Copy)]
enum Ended {
    /// Callers who waited for it are told.
    Attempt,
    Connection,
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
            () = async { while survived("server", Box::pin(self.supervise())).await.is_none() {} } => {}
        }
        let link = match &self.status.borrow().state {
            State::Ready { link, .. } => Arc::clone(link),
            State::Connecting | State::Backoff { .. } | State::Open { .. } | State::Idle | State::Disabled { .. } => return,
        };
        if self.is_own() {
            link.let_go().await;
        }
        link.closed().cancel();
    }

    async fn supervise(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.begun.cancelled().await;
        let mut demanded = match self.shared.config.connect {
            Connect::Eager if !self.is_own() => false,
            Connect::Eager | Connect::Lazy => self.demand().await,
        };
        loop {
            self.set(State::Connecting);
            let begun = Instant::now();
            let next = match self.attempt(demanded).await {
                Ok(link) => self.serve(&link, begun.elapsed()).await,
                Err(error) if error.is_final() => {
                    tracing::error!(%error, "disabled until its configuration changes");
                    self.set_ended(State::Disabled { error });
                    return std::future::pending().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "not connected");
                    // One that is started anew in the middle of it, which the next attempt does not see.
                    let is_anew = matches!(error, ConnectError::Link(LinkError::SessionGone)) && self.breaker.failures() == 0;
                    self.breaker.failed();
                    self.rest(error, if is_anew { Ended::Connection } else { Ended::Attempt }).await
                }
            };
            let Some(cut_short) = next else { return };
            demanded = cut_short;
        }
    }

    /// Watches a new connection to its end, and waits until the next one is to be made: true if a caller needs it. `None` if nobody
    /// needs another one.
    async fn serve(&mut self, link: &Arc<Link>, took: Duration) -> Option<bool> {
        tracing::info!(?took, peer = %link.peer().version, revision = %link.peer().revision, "connected");
        self.ready(link, took).await;
        let connected = Instant::now();
        match self.attend(link).await {
            End::Unused => {
                link.closed().cancel();
                if self.is_own() {
                    return None;
                }
                self.set(State::Idle);
                Some(self.demand().await)
            }
            End::Lost(error) => {
                if connected.elapsed() >= STABLE || link.handler().signs().has_served() {
                    self.breaker.reset();
                } else {
                    self.breaker.failed();
                }
                self.held = link.is_held();
                // No attempt has failed: who waits for a connection goes on waiting.
                self.rest(error.into(), Ended::Connection).await
            }
        }
    }

    fn is_own(&self) -> bool {
        self.place.seat != Seat::Shared
    }

    /// Whether a lost connection is made again by itself. One session may never need its own any more.
    fn returns(&self) -> bool {
        self.held || !self.is_own()
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
                sleep(idle_timeout.saturating_sub(self.used.elapsed()).max(Duration::from_millis(10))).await;
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
            error = self.unwell(link) => {
                // First the reason, then the signal that there is one.
                link.handler().end(&error);
                link.closed().cancel();
                End::Lost(error)
            }
        }
    }

    async fn unwell(&self, link: &Arc<Link>) -> LinkError {
        match (&self.config.transport, self.shared.config.health_interval) {
            // One session's own connection is used, or ends by itself.
            (TransportConfig::Http(_), Some(every)) if !self.is_own() => health::lost(link, every).await,
            _ => std::future::pending().await,
        }
    }

    async fn ready(&mut self, link: &Arc<Link>, took: Duration) {
        // Whoever asked for the connection has it.
        self.forget_demands();
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
    async fn rest(&mut self, error: ConnectError, ended: Ended) -> Option<bool> {
        let Rest { pause, least, is_open } = self.breaker.rest(random());
        let begun = Instant::now();
        let attempts = match ended {
            Ended::Attempt => 1,
            Ended::Connection => 0,
        };
        if is_open {
            // What was asked for before is refused with this.
            self.forget_demands();
            self.publish(State::Open { error: error.clone(), failures: self.breaker.failures(), until: begun + least }, attempts);
            if self.breaker.has_just_opened() {
                self.complain(&error).await;
            }
            // Nobody who is refused demands it: this is somebody who knows better.
            if let Ok(demanded) = timeout_at(begun + least, self.demand()).await {
                return Some(demanded);
            }
            self.set(State::Backoff { error });
        } else {
            self.publish(State::Backoff { error }, attempts);
            if matches!(ended, Ended::Attempt) {
                // What was asked for during the attempt has had its answer.
                self.forget_demands();
            }
        }
        let longest = if self.returns() { Some(pause) } else { self.idle_timeout() };
        let demanded = match longest {
            Some(longest) => timeout_at(begun + longest, self.demand()).await.unwrap_or(false),
            None => self.demand().await,
        };
        if !demanded && !self.returns() {
            return None;
        }
        sleep_until(begun + least).await;
        Some(demanded)
    }

    /// Tells the operator of a server that does not come up, or falls over and over again.
    async fn complain(&self, error: &ConnectError) {
        // A child's last words are read to their end before they are known.
        sleep(LAST_WORDS).await;
        let (failures, last_words) = (self.breaker.failures(), self.status.borrow().last_words());
        tracing::error!(failures, ?last_words, "it fails again and again, now with: {error}; calls are refused until it is tried again");
    }

    fn forget_demands(&mut self) {
        while self.demands.try_recv().is_ok() {}
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

/// Of `0.0..1.0`, and good enough to keep servers from coming back in step.
fn random() -> f64 {
    let random = uuid::Uuid::new_v4().as_u128() % 1000;
    f64::from(u32::try_from(random).unwrap_or(0)) / 1000.0
}
