//! Every part, built once and in order, and ended in the opposite one.

use std::{io, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{tenants::Tenants, workspace::Workspace};
use crate::{
    config::Parts,
    front::{self, http},
    shutdown::Signals,
    source::FileStatus,
};

pub mod call;
mod tenants;
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
    workspace: Workspace,
    tracker: TaskTracker,
    token: CancellationToken,
    signals: Signals,
}

impl App {
    /// Starts every part; servers connect in the background. Must be called within a runtime.
    pub fn start(parts: Parts) -> Self {
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
        let workspace = Workspace::start(parts, &tracker, &token);
        Self { workspace, tracker, token, signals }
    }

    /// Serves the client at our standard streams until its input ends or a signal comes.
    pub async fn serve_stdio(&self) {
        self.begin_soon();
        let (reader, writer) = front::stdio::streams();
        front::stdio::serve(reader, writer, Arc::clone(&self.workspace.router), &self.tracker, &self.signals.asked).await;
    }

    /// Serves any number of clients over HTTP until a signal comes.
    ///
    /// # Errors
    /// Where the address cannot be listened at.
    pub async fn serve_http(&self, config: http::Config, tenants: Option<Parts>, nothing: Parts) -> io::Result<()> {
        let listener = http::bind(&config).await?;
        self.begin_soon();
        let key = match &config.auth {
            http::auth::Config::Key(key) => {
                Some(crate::security::token::KeyDigest::of(secrecy::ExposeSecret::expose_secret(key).as_bytes()))
            }
            http::auth::Config::Open | http::auth::Config::PerClient => None,
        };
        let public = Workspace::start(nothing, &self.tracker, &self.token);
        let workspaces = http::Workspaces {
            own: Arc::new(http::auth::Workspace { router: Arc::clone(&self.workspace.router), key }),
            public: Arc::new(http::auth::Workspace { router: public.router, key: None }),
            tenants: tenants.map(|parts| self.tenants(parts) as _),
        };
        let shutdown =
            http::Shutdown { draining: self.signals.asked.clone(), now: self.signals.now.clone(), tracker: self.tracker.clone() };
        http::serve(listener, config, workspaces, shutdown).await
    }

    fn tenants(&self, parts: Parts) -> Arc<Tenants> {
        let tenants = Tenants::new(parts, self.tracker.clone(), self.token.clone());
        self.tracker.spawn(Arc::clone(&tenants).sweep());
        tenants
    }

    fn begin_soon(&self) {
        self.tracker.spawn({
            let pool = self.workspace.pool.clone();
            async move {
                tokio::time::sleep(FIRST_MESSAGE).await;
                pool.begin();
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
