//! Parse, log, run, exit code.

use std::{io::Write, process::ExitCode};

#[cfg(unix)]
use pluggedin_mcp_proxy::downstream::transport::stdio::guard;
use pluggedin_mcp_proxy::{
    app::{self, App, terminal},
    config::{Command, Config, Environment, Front, Parts, Stop},
    downstream::Connect,
    telemetry::logging,
};
use tokio::runtime;

/// `EX_USAGE` of sysexits.h: the configuration is wrong.
const BAD_CONFIGURATION: u8 = 64;

/// A question to the rules that is none.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    #[cfg(unix)]
    if std::env::args_os().nth(1).is_some_and(|arg| arg == guard::COMMAND) {
        guard::run(std::env::args_os().skip(2));
        return ExitCode::SUCCESS;
    }
    app::memory::keep_descriptors();
    // Before a key is read.
    app::memory::keep_private();
    let environment = Environment::of_process();
    let config = match Config::load(std::env::args_os(), &environment) {
        Ok(config) => config,
        Err(Stop::Print(text)) => return said(std::io::stdout(), &text, ExitCode::SUCCESS),
        Err(Stop::Problems(problems)) => return complained(&problems.to_string(), BAD_CONFIGURATION.into()),
        Err(Stop::Misused(problems)) => return complained(&problems.to_string(), MISUSED.into()),
    };
    for warning in &config.warnings {
        complained(&format!("warning: {warning}"), ExitCode::SUCCESS);
    }
    // People who run a command want its result, not the log of how it came about, unless they ask.
    let asked = config.command == Command::Serve || config.log != logging::Config::default();
    let _log = logging::init(&if asked { config.log.clone() } else { logging::Config::of_panics() });
    let mut builder = match &config.front {
        Front::Http(_) if config.command == Command::Serve => runtime::Builder::new_multi_thread(),
        // One thread: the stdio front is faster without a second (see `protocol::message`).
        Front::Http(_) | Front::Stdio => runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complained(&format!("error: cannot start: {error}"), ExitCode::FAILURE),
    };
    let code = runtime.block_on(run(config));
    // A thread that still waits for input must not keep the process.
    runtime.shutdown_background();
    code
}

async fn run(config: Config) -> ExitCode {
    let Config { command, mut parts, front, log: _, warnings: _ } = config;
    match command {
        Command::Serve => serve(parts, front).await,
        Command::Tools { json, accept } => {
            // The table shows what came of connecting, not what is put off.
            parts.downstream.connect = Connect::Eager;
            with_app(parts, async |app| app::tools::run(app, json, accept).await).await
        }
        Command::Call { name, arguments, json } => {
            with_app(parts, async |app| app::call::run(app, &name, arguments.as_deref(), json).await).await
        }
        Command::Health { url } => exit_code(app::health::run(&url).await),
        Command::Login(account) => app::login::login(&account, &parts.egress).await.exit_code().into(),
        Command::Logout(account) => exit_code(app::login::logout(&account)),
        Command::Whoami { account, json } => exit_code(app::login::whoami(&account, parts.source.app, json).await),
        Command::Doctor(doctor) => exit_code(app::doctor::run(&doctor, parts).await),
        Command::Check(check) => app::check::run(&check, parts.rules()).await.exit_code().into(),
    }
}

async fn serve(parts: Parts, front: Front) -> ExitCode {
    let (app, outcome) = match front {
        Front::Stdio => {
            let app = App::start(parts);
            app.serve_stdio().await;
            (app, Ok(()))
        }
        Front::Http(front) => {
            let app = if front.auth.is_per_client() { App::start_for_keys(parts) } else { App::start(parts) };
            let address = format!("{}:{}", front.host, front.port);
            let outcome = app.serve_http(*front).await;
            (app, outcome.map_err(|error| format!("error: cannot listen at {address}: {error}")))
        }
    };
    app.stop().await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complained(&problem, ExitCode::FAILURE),
    }
}

/// Runs a command for people.
async fn with_app(parts: Parts, command: impl AsyncFnOnce(&App) -> bool) -> ExitCode {
    let app = App::start(parts);
    // A client is told what is wrong with the file, and it may be mended meanwhile; a command just ends.
    if let Some(problem) = app.broken_file() {
        app.stop().await;
        return complained(&format!("error: {problem}"), BAD_CONFIGURATION.into());
    }
    let succeeded = tokio::select! {
        // What was finished counts, even if a signal came with it.
        biased;
        succeeded = command(&app) => succeeded,
        () = app.signalled() => false,
    };
    app.stop().await;
    exit_code(succeeded)
}

fn exit_code(succeeded: bool) -> ExitCode {
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells people what is wrong. Options and variables may have been mistaken for each other, so that secrets are looked for.
fn complained(text: &str, code: ExitCode) -> ExitCode {
    said(std::io::stderr(), &terminal::lines(text), code)
}

/// Writes a line and goes on with `code`: a closed stream is not worth a panic.
fn said(mut stream: impl Write, text: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(stream, "{}", text.trim_end());
    code
}
