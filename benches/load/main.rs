//! The load program: what the proxy costs, beside no proxy at all and a plain relay, in one run.
//!
//! ```sh
//! cargo bench --bench load                      # every cell
//! cargo bench --bench load -- --quick echo      # fewer rounds; only the cells whose name contains `echo`
//! ```
//!
//! The relay is the least that any process in the middle costs: one that moves bytes and reads none, or, in the cells of the HTTP front (`http-…`),
//! a reverse proxy. Those cells hold each session over a connection of its own.
//!
//! It starts itself again for every part that it needs (`--role`): the servers, the relays, and each cell, which runs in a process of its own so
//! that `taskset` can pin it, and with it all that it starts, to the cores of the cell. One thread makes the load, in a closed loop, over pipes and
//! loopback only. Every answer is checked. Direct, relay and proxy take turns within each round, and a figure is the median over the rounds of the
//! comparison made within one round, since the machines are noisy.
//!
//! `LOAD_PROXY=FILE` measures another build in place of the one just made; `LOAD_STDERR=1` shows what the proxy logs.
//!
//! It prints a table with the target beside each figure and does not fail when one is missed: a busy machine is not a bug.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![allow(clippy::disallowed_methods, reason = "starts and measures processes; nothing here is served")]

mod answer;
mod app;
mod cell;
mod http;
mod lines;
mod peer;
mod relay;
mod report;
mod reverse;
mod serve;
mod session;

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.iter().position(|arg| arg == "--role") {
        Some(at) => play(&args[at + 1..]),
        None => run_cells(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One of the helpers: `args` is its name and what follows.
fn play(args: &[String]) -> Result<()> {
    let (role, args) = args.split_first().context("--role needs a name")?;
    let arg = |at: usize| args.get(at).map(String::as_str).with_context(|| format!("role {role}: argument missing"));
    match role.as_str() {
        "echo-stdio" => serve::stdio(arg(0)?.parse()?),
        "echo-http" => serve::http(arg(0)?.parse()?, arg(1)?.parse()?),
        "hang" => serve::hang(),
        "relay-stdio" => relay::stdio(args),
        "relay-http" => relay::http(arg(0)?),
        "reverse-proxy" => reverse::serve(args),
        "app" => app::serve(),
        "cell" => cell::measure(arg(0)?, args.iter().any(|arg| arg == "--quick")),
        _ => bail!("no role {role}"),
    }
}

/// Runs the cells whose names contain one of the words given, or all.
fn run_cells(args: &[String]) -> Result<()> {
    let quick = args.iter().any(|arg| arg == "--quick");
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    if words.is_empty() && !args.iter().any(|arg| arg == "--bench") {
        eprintln!("nothing is measured: use `cargo bench --bench load`, or name cells"); // as under `cargo test --all-targets`
        return Ok(());
    }
    let mut failed = Vec::new();
    report::head();
    for cell in cell::CELLS {
        if !words.is_empty() && !words.iter().any(|word| cell.name.contains(word.as_str())) {
            continue;
        }
        let me = env::current_exe()?;
        let mut command = Command::new("taskset");
        command.args(["-c", cell.cores]).arg(&me);
        let role = ["--role", "cell", cell.name];
        let quick = quick.then_some("--quick");
        let status = match command.args(role).args(quick).status() {
            Ok(status) => status,
            Err(error) => {
                eprintln!("load: {} is not pinned: taskset: {error}", cell.name);
                Command::new(me).args(role).args(quick).status()?
            }
        };
        if !status.success() {
            failed.push(cell.name);
        }
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}
