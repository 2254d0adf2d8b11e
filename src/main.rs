//! Parse, log, run, exit code.

use std::{io::Write, process::ExitCode};

use pluggedin_mcp_proxy::{
    app::{self, App},
    config::{Command, Config, Environment, Stop, Transport},
    downstream::Connect,
    telemetry::logging,
};
use tokio::runtime;

/// `EX_USAGE` of sysexits.h: the configuration is wrong.
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let environment = Environment::of_process();
    let config = match Config::load(std::env::args_os(), &environment) {
        Ok(config) => config,
        Err(Stop::Print(text)) => return said(std::io::stdout(), &text, ExitCode::SUCCESS),
        Err(Stop::Problems(problems)) => return said(std::io::stderr(), &problems.to_string(), BAD_CONFIGURATION.into()),
    };
    for warning in &config.warnings {
        said(std::io::stderr(), &format!("warning: {warning}"), ExitCode::SUCCESS);
    }
    if config.command == Command::Serve && config.front.transport == Transport::StreamableHttp {
        let problem = "error: `--transport streamable-http` is not built yet; leave it out to serve over stdio";
        return said(std::io::stderr(), problem, BAD_CONFIGURATION.into());
    }
    // People who run a command want its result, not the log of how it came about, unless they ask.
    let asked = config.command == Command::Serve || config.log != logging::Config::default();
    let _log = asked.then(|| logging::init(&config.log));
    // One thread: the stdio front is faster without a second (see `protocol::message`).
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return said(std::io::stderr(), &format!("error: cannot start: {error}"), ExitCode::FAILURE),
    };
    let code = runtime.block_on(run(config));
    // A thread that still waits for input must not keep the process.
    runtime.shutdown_background();
    code
}

async fn run(mut config: Config) -> ExitCode {
    if let Command::Tools { .. } = config.command {
        // The table shows what came of connecting, not what is put off.
        config.parts.downstream.connect = Connect::Eager;
    }
    let app = App::start(config.parts);
    let serving = config.command == Command::Serve;
    // A client is told what is wrong with the file, and it may be mended meanwhile; a command just ends.
    if let Some(problem) = app.broken_file().filter(|_| !serving) {
        app.stop().await;
        return said(std::io::stderr(), &format!("error: {problem}"), BAD_CONFIGURATION.into());
    }
    let command = async {
        match config.command {
            Command::Serve => {
                app.serve_stdio().await;
                true
            }
            Command::Tools { json } => app::tools::run(&app, json).await,
            Command::Call { name, arguments, json } => app::call::run(&app, &name, arguments.as_deref(), json).await,
        }
    };
    let succeeded = tokio::select! {
        // What was finished counts, even if a signal came with it.
        biased;
        succeeded = command => succeeded,
        // Serving ends by itself, in order.
        () = app.signalled(), if !serving => false,
    };
    app.stop().await;
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes a line and goes on with `code`: a closed stream is not worth a panic.
fn said(mut stream: impl Write, text: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(stream, "{}", text.trim_end());
    code
}
