//! Every part, built once and in order, and ended in the opposite one.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    builtin::{self, Builtin},
    catalog::{CatalogHandle, keeper},
    config::Parts,
    downstream::Pool,
    front,
    router::{self, Router},
    shutdown,
    source::{FileStatus, Source, SourceHandle},
};

pub mod call;
pub mod tools;

/// Children get a moment to end by themselves, one after they were asked to, and are
/// killed then; sessions are said farewell to meanwhile. This is that and a little more.
const FAREWELL: Duration = Duration::from_secs(4);

/// Servers are connected after the first message of a client, or this long after
/// the start: starting them keeps the machine busy while the client waits.
const FIRST_MESSAGE: Duration = Duration::from_millis(100);

/// The running proxy.
#[derive(Debug)]
pub struct App {
    source: SourceHandle,
    pool: Pool,
    catalog: CatalogHandle,
    router: Router,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl App {
    /// Starts every part; servers connect in the background. Must be called within a runtime.
    pub fn start(parts: Parts) -> Self {
        let Parts { source, downstream, catalog, router } = parts;
        let tracker = TaskTracker::new();
        let token = CancellationToken::new();
        tracker.spawn({
            let token = token.clone();
            async move {
                if let Err(error) = shutdown::on_signal(token).await {
                    tracing::warn!(%error, "signals cannot be received; end the proxy by closing its input");
                }
            }
        });
        let source = Source::start(source, &tracker, &token);
        let (pool, heard) = Pool::new(downstream, tracker.clone(), token.clone());
        let keeper = keeper::Parts { source: source.snapshots(), pool: pool.clone(), events: heard.events, builtin: builtin::records() };
        let catalog = keeper::start(catalog, keeper, &tracker, token.clone());
        let builtin = Arc::new(Builtin::new(source.clone(), pool.clone(), tracker.clone(), token.clone()));
        let parts = router::Parts { catalog: catalog.clone(), pool: pool.clone(), source: source.clone(), builtin, notices: heard.notices };
        let router = Router::start(router, parts, &tracker, &token);
        Self { source, pool, catalog, router, tracker, token }
    }

    /// Serves the client at our standard streams until its input ends or a signal comes.
    pub async fn serve_stdio(&self) {
        self.tracker.spawn({
            let pool = self.pool.clone();
            async move {
                tokio::time::sleep(FIRST_MESSAGE).await;
                pool.begin();
            }
        });
        let (reader, writer) = front::stdio::streams();
        front::stdio::serve(reader, writer, self.router.clone(), &self.tracker, &self.token).await;
    }

    /// Why the local file cannot be used, if it cannot.
    pub fn broken_file(&self) -> Option<String> {
        match &self.source.snapshot().file {
            FileStatus::Broken { message } => Some(message.clone()),
            FileStatus::Unset | FileStatus::Current { .. } => None,
        }
    }

    /// Until a signal has asked the process to end.
    pub async fn signalled(&self) {
        self.token.cancelled().await;
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
