//! Every part, built once and in order, and ended in the opposite one.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    builtin::{self, Builtin},
    catalog::{CatalogHandle, keeper},
    config::Parts,
    downstream::Pool,
    front,
    router::Router,
    shutdown,
    source::{Source, SourceHandle},
};

pub mod call;
pub mod tools;

/// Children get two seconds to end by themselves, two after they were asked to,
/// and are killed then; this is that and a little more.
const FAREWELL: Duration = Duration::from_secs(6);

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
        let source = Source::start(source, &tracker, &token);
        let (pool, events) = Pool::new(downstream, tracker.clone(), token.clone());
        let keeper = keeper::Parts { source: source.snapshots(), pool: pool.clone(), events, builtin: builtin::records() };
        let catalog = keeper::start(catalog, keeper, &tracker, token.clone());
        let builtin = Arc::new(Builtin { source: source.clone(), pool: pool.clone(), tracker: tracker.clone() });
        let router = Router::new(router, catalog.clone(), pool.clone(), source.clone(), builtin);
        Self { source, pool, catalog, router, tracker, token }
    }

    /// Serves the client at our standard streams until its input ends or a signal comes.
    pub async fn serve_stdio(&self) {
        self.tracker.spawn({
            let token = self.token.clone();
            async move {
                if let Err(error) = shutdown::on_signal(token).await {
                    tracing::warn!(%error, "signals cannot be received; end the proxy by closing its input");
                }
            }
        });
        let (reader, writer) = front::stdio::streams();
        front::stdio::serve(reader, writer, self.router.clone(), &self.tracker, &self.token).await;
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
