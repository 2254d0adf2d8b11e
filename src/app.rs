//! Every part, built once and in order, and ended in the opposite one.

use std::{io, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{tenants::Tenants, workspace::Workspace};
use crate::{
    config::Parts,
    front::{self, http},
    security::{rate_limit::Limiter, token::KeyDigest},
    shutdown::Signals,
    source::FileStatus,
    telemetry::metrics::Calls,
};

pub mod call;
pub mod check;
pub mod doctor;
pub mod health;
pub mod login;
pub mod memory;
mod tenants;
pub mod terminal;
pub mod tools;
mod workspace;

/// Children get a moment to end by themselves, one after they were asked to, and are
/// killed then; sessions are said farewell to meanwhile. This is that and a little more.
const FAREWELL: Duration = Duration::from_secs(4);

/// Servers are connected after the first message of a client, or this long after
/// the start: starting them keeps the machine busy while the client waits.
const FIRST_MESSAGE: Duration = Duration::from_millis(100);

/// The running proxy.
#[derive(Debug)]
pub struct App {
    parts: Parts,
    workspace: Workspace,
    calls: Calls,
    limiter: Limiter,
    tracker: TaskTracker,
    token: CancellationToken,
    signals: Signals,
}

impl App {
    /// Starts every part; servers connect in the background. Must be called within a runtime.
    pub fn start(parts: Parts) -> Self {
        let own = parts.clone();
        Self::begin(parts, own)
    }

    /// Starts what serves clients that bring their keys: each has a workspace of its own, and the proxy none.
    pub fn start_for_keys(parts: Parts) -> Self {
        let own = parts.without_servers();
        Self::begin(parts, own)
    }

    fn begin(parts: Parts, own: Parts) -> Self {
        let tracker = TaskTracker::new();
        let token = CancellationToken::new();
        let signals = Signals::default();
        tracker.spawn({
            let (signals, token) = (signals.clone(), token.clone());
            async move {
                if let Err(error) = signals.watch(&token).await {
                    tracing::warn!(%error, "signals cannot be received; end the proxy by closing its input");
                }
            }
        });
        let calls = Calls::default();
        let limiter = Limiter::new(parts.rates);
        let workspace = Workspace::start(own, calls.clone(), limiter.clone(), &tracker, &token);
        tracker.spawn({
            let (reload, token, workspace) = (Arc::clone(&signals.reload), token.clone(), workspace.clone());
            async move {
                loop {
                    tokio::select! {
                        () = token.cancelled() => return,
                        () = reload.notified() => workspace.reload(),
                    }
                }
            }
        });
        Self { parts, workspace, calls, limiter, tracker, token, signals }
    }

    /// Serves the client at our standard streams until its input ends or a signal comes.
    pub async fn serve_stdio(&self) {
        self.begin_soon();
        let (reader, writer) = front::stdio::streams();
        front::stdio::serve(
            reader,
            writer,
            Arc::clone(&self.workspace.router),
            &self.tracker,
            &self.signals.asked,
            self.parts.downstream.limits,
        )
        .await;
    }

    /// Serves any number of clients over HTTP until a signal comes, and through the grace period after it.
    ///
    /// # Errors
    /// Where the address cannot be listened at.
    pub async fn serve_http(&self, config: http::Config) -> io::Result<()> {
        let listener = http::bind(&config.host, config.port).await?;
        self.parts.egress.listens_at(listener.local_addr()?);
        self.begin_soon();
        let workspaces = self.workspaces(&config.auth);
        let Signals { asked, now, reload: _ } = self.signals.clone();
        http::serve(listener, config, workspaces, http::Shutdown { draining: asked, now, tracker: self.tracker.clone() }).await
    }

    fn workspaces(&self, auth: &http::auth::Config) -> http::Workspaces {
        let (key, tenants) = match auth {
            http::auth::Config::Open => (None, None),
            http::auth::Config::Key(key) => (Some(KeyDigest::of(key.expose_secret().as_bytes())), None),
            http::auth::Config::PerClient => {
                let tenants = Tenants::new(
                    self.parts.clone(),
                    self.calls.of_tenant(),
                    self.limiter.clone(),
                    self.tracker.clone(),
                    self.token.clone(),
                );
                self.tracker.spawn(Arc::clone(&tenants).sweep());
                (None, Some(tenants as _))
            }
        };
        let public = Workspace::start(self.parts.without_servers(), self.calls.clone(), self.limiter.clone(), &self.tracker, &self.token);
        http::Workspaces {
            own: Arc::new(http::auth::Workspace { router: Arc::clone(&self.workspace.router), key }),
            public: Arc::new(http::auth::Workspace { router: public.router, key: None }),
            tenants,
            view: http::View { pool: self.workspace.pool.clone(), catalog: self.workspace.catalog.clone(), calls: self.calls.clone() },
        }
    }

    fn begin_soon(&self) {
        self.tracker.spawn({
            let pool = self.workspace.pool.clone();
            async move {
                tokio::time::sleep(FIRST_MESSAGE).await;
                pool.begin(None);
            }
        });
    }

    /// Why the local file cannot be used, if it cannot.
    pub fn broken_file(&self) -> Option<String> {
        match &self.workspace.source.snapshot().file {
            FileStatus::Broken { message } => Some(message.clone()),
            FileStatus::Unset | FileStatus::Current { .. } => None,
        }
    }

    /// Until a signal has asked the process to end.
    pub async fn signalled(&self) {
        self.signals.asked.cancelled().await;
    }

    /// Ends every connection and leaves no child behind.
    pub async fn stop(self) {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(FAREWELL, self.tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }
}
