//! One workspace at work: where its servers are named, the connections to them, the picture
//! of what they offer, and the router that clients are served by.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    builtin::{self, Builtin},
    catalog::{CatalogHandle, integrity::Integrity, keeper},
    config::Parts,
    downstream::Pool,
    router::{self, Router},
    security::{rate_limit::Limiter, seal::Seal},
    source::{Source, SourceHandle},
    telemetry::metrics::Calls,
};

#[derive(Debug, Clone)]
pub(super) struct Workspace {
    pub source: SourceHandle,
    pub pool: Pool,
    pub catalog: CatalogHandle,
    pub router: Arc<Router>,
    /// What its tools were.
    pub integrity: Option<Arc<Integrity>>,
}

impl Workspace {
    /// Starts every part; servers connect in the background. Cancelling `token` ends all of
    /// it; `tracker` waits for that. Must be called within a runtime.
    pub(super) fn start(parts: Parts, calls: Calls, limiter: Limiter, tracker: &TaskTracker, token: &CancellationToken) -> Self {
        let Parts {
            source,
            downstream,
            catalog,
            router,
            app_base_url: _,
            egress: _,
            cache_dir: _,
            rates: _,
            app_rate: _,
            state_dir: _,
            builtin,
            app_origin: _,
            records,
        } = parts;
        let seal = Seal::new(source.app.as_ref().map(|app| &app.key));
        let source = Source::start(source, tracker, token);
        let (pool, heard) = Pool::new(downstream, tracker.clone(), token.clone());
        let integrity = records.map(|path| Arc::new(Integrity::new(path)));
        let keeper = keeper::Parts {
            source: source.snapshots(),
            pool: pool.clone(),
            events: heard.events,
            builtin: builtin::offered(builtin),
            integrity: integrity.clone(),
        };
        let catalog = keeper::start(catalog, keeper, tracker, token.clone());
        let builtin = Arc::new(Builtin::new(builtin, source.clone(), pool.clone(), catalog.clone(), tracker.clone(), token.clone()));
        let parts = router::Parts {
            catalog: catalog.clone(),
            pool: pool.clone(),
            source: source.clone(),
            builtin,
            calls,
            limiter,
            seal,
            notices: heard.notices,
        };
        let router = Arc::new(Router::start(router, parts, tracker, token));
        Self { source, pool, catalog, router, integrity }
    }

    /// Has the App asked and the file read at once, and servers that failed tried again without another pause.
    pub(super) fn reload(&self) {
        self.source.refresh_now();
        self.pool.retry();
    }
}
