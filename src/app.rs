//! Every part, built once and in order, and ended in the opposite one.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    builtin::{self, Builtin},
    catalog::{
        CatalogHandle,
        build::{Naming, ToolPrefix},
        keeper,
    },
    config::{self, Environment},
    downstream::{self, Pool},
    front, router,
    router::Router,
    shutdown,
    source::{self, Source, SourceHandle},
};

pub mod call;
pub mod tools;

/// What the parts need to know, each in its own words.
#[derive(Debug)]
pub struct Config {
    pub source: source::Config,
    pub downstream: downstream::Config,
    pub catalog: keeper::Config,
    pub router: router::Config,
}

impl Config {
    /// Hands each part its share of the settings.
    ///
    /// # Errors
    /// A sentence about what cannot be done with these settings.
    pub fn compose(config: config::Config, environment: &Environment) -> Result<Self, String> {
        if config.transport == config::Transport::StreamableHttp {
            return Err("`--transport streamable-http` is not built yet; leave it out to serve over stdio".to_owned());
        }
        let prefix = match config.tool_prefix {
            config::ToolPrefix::Slug => ToolPrefix::Slug,
            config::ToolPrefix::Uuid => ToolPrefix::Uuid,
            config::ToolPrefix::None => ToolPrefix::None,
        };
        let connect = match config.connect {
            config::Connect::Eager => downstream::Connect::Eager,
            config::Connect::Lazy => downstream::Connect::Lazy,
        };
        Ok(Self {
            source: config.source,
            downstream: downstream::Config {
                connect,
                idle_timeout: config.idle_timeout,
                base_env: Arc::new(environment.for_children()),
                path: environment.path(),
            },
            catalog: keeper::Config { naming: Naming { prefix, max: config.max_tool_name }, patience: config.list_wait },
            router: router::Config { call_timeout: config.call_timeout },
        })
    }
}

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
    pub fn start(config: Config) -> Self {
        let Config { source, downstream, catalog, router } = config;
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
