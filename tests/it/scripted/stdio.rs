//! Messages as lines on stdin and stdout.

use super::Server;
use super::session::{Inbox, Outgoing, Session};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Serves until the input ends.
pub(crate) fn run(server: &Arc<Server>) -> std::io::Result<()> {
    chatter(server.script.chatter)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(server))
}

async fn serve(server: &Arc<Server>) -> std::io::Result<()> {
    if server.script.stubborn {
        #[cfg(unix)]
        keep_from_terminating()?;
    }
    let (session, inbox) = Session::open(server);
    let garbage = server.script.garbage;
    tokio::spawn(async move {
        // Nobody is left to tell when stdout is closed.
        let _ = write(inbox, garbage).await;
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        session.receive(&line, session.outbox(), session.outbox());
        if server.script.deaf && line.contains("tools/call") {
            std::future::pending::<()>().await;
        }
    }
    if server.script.stubborn {
        std::future::pending::<()>().await;
    }
    // A blocked read of stdin must not keep the process, so leave without waiting for the runtime.
    std::process::exit(0)
}

async fn write(mut inbox: Inbox, garbage: bool) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    if garbage {
        stdout.write_all(b"Starting up...\n\n{\"level\":\"info\",\"msg\":\"ready\"}\n[1,2\n\xff\xfe\n")?;
    }
    while let Some(outgoing) = inbox.recv().await {
        match outgoing {
            Outgoing::Message(message) => {
                let debris = if garbage { "debug: sending\n" } else { "" };
                stdout.write_all(format!("{debris}{message}\n").as_bytes())?;
            }
            Outgoing::Bytes(bytes) => stdout.write_all(&bytes)?,
            Outgoing::Pause(time) => tokio::time::sleep(time).await,
            Outgoing::Break => std::process::exit(70),
            Outgoing::End => std::process::exit(0),
        }
        stdout.flush()?;
    }
    Ok(())
}

/// Talks on stderr for so many bytes; whoever does not read them blocks this server.
fn chatter(bytes: usize) -> std::io::Result<()> {
    let line = format!("{}\n", "chatter ".repeat(100));
    let mut noise = line.repeat(bytes / line.len() + 1);
    noise.truncate(bytes);
    std::io::stderr().write_all(noise.as_bytes())
}

/// Starts a process that ends on its own after a minute, so that a failing test leaves nothing behind for long.
pub(crate) fn start_grandchild() -> u32 {
    Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sleep is everywhere")
        .id()
}

#[cfg(unix)]
fn keep_from_terminating() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()] {
        let mut arrivals = signal(kind)?;
        tokio::spawn(async move { while arrivals.recv().await.is_some() {} });
    }
    Ok(())
}
