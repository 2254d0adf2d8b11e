use std::{path::PathBuf, sync::Arc, time::Duration};
use pluggedin_mcp_proxy::{app::{App, Config}, catalog::{build::{Naming, ToolPrefix}, keeper}, downstream, router, source};

fn main() {
    let file = std::env::args().nth(1).map(PathBuf::from);
    let env: Vec<_> = std::env::vars_os().filter(|(n, _)| ["HOME", "PATH", "USER"].iter().any(|x| n == x)).collect();
    let variables: std::collections::HashMap<String, String> = std::env::vars().collect();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let app = App::start(Config {
            source: source::Config { app: None, file: file.map(|path| source::file::Config { path, variables: source::file::Variables { values: variables.clone(), home: None } }), refresh_interval: Duration::from_secs(30) },
            downstream: downstream::Config { connect: downstream::Connect::Eager, idle_timeout: None, base_env: Arc::new(env), path: std::env::var_os("PATH") },
            catalog: keeper::Config { naming: Naming { prefix: ToolPrefix::Slug, max: 60 }, patience: Duration::from_secs(10) },
            router: router::Config { call_timeout: Duration::from_secs(60) },
        });
        match std::env::args().nth(2).as_deref() {
            Some("tools") => { pluggedin_mcp_proxy::app::tools::run(&app, false).await; }
            Some("call") => { pluggedin_mcp_proxy::app::call::run(&app, &std::env::args().nth(3).unwrap(), &serde_json::from_str(&std::env::args().nth(4).unwrap()).unwrap(), false).await; }
            _ => app.serve_stdio().await,
        }
        app.stop().await;
    });
}
