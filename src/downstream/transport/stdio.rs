//! A server as a child process (MCP transports, "stdio").
//!
//! The child leads a process group of its own, gets a short safe environment and
//! what is configured, and is ended with all that it started.

use std::{collections::VecDeque, ffi::OsString, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop};
use secrecy::{ExposeSecret, SecretString};
use tokio::{io::AsyncRead, process::ChildStdout, sync::mpsc, task::JoinHandle};

use super::{Outbox, deliver};
use crate::{
    downstream::{
        connection::Wiring,
        error::{ConnectError, LinkError},
        handler::Handler,
    },
    lines::{self, Line, Lines},
    protocol::message::Frame,
    security::command::AllowedCommand,
};

/// How long a child may take to end by itself once its input is closed, and
/// again once it was asked to terminate. Clients kill us 2 seconds after they have
/// asked us to terminate; both and the rest must fit in.
const GRACE: Duration = Duration::from_millis(700);

/// Lines of standard error that are kept for error texts.
const LAST_WORDS: usize = 5;

/// The longest line of standard error that is logged.
const MAX_LOG_LINE: usize = 4096;

/// What is started.
#[derive(Debug)]
pub struct Program {
    pub command: AllowedCommand,
    /// Names and values of the proxy's own environment that every child gets.
    pub base_env: Arc<Vec<(OsString, OsString)>>,
    pub env: Vec<(String, SecretString)>,
    pub cwd: Option<PathBuf>,
}

/// Starts the program and the tasks that serve it.
///
/// # Errors
/// [`ConnectError::Spawn`] where the operating system refuses.
pub fn open(program: &Program, wiring: Wiring<'_>) -> Result<Outbox, ConnectError> {
    let Wiring { handler, closed, tracker } = wiring;
    let mut child = spawn(program).map_err(|error| ConnectError::Spawn { reason: plain(&error, program) })?;
    tracing::info!(server = handler.server(), command = %program.command.program.display(), args = program.command.args.len(), pid = child.id(), "started");
    let stdin = child.stdin().take().expect("stdin is piped");
    let stdout = child.stdout().take().expect("stdout is piped");
    let stderr = child.stderr().take().expect("stderr is piped");
    let (queue, frames) = mpsc::channel(lines::QUEUE);

    let writer = tracker.spawn({
        let closed = closed.clone();
        async move {
            tokio::select! {
                () = closed.cancelled() => {}
                // An error means that the child is gone, which its owner notices.
                _ = lines::write(stdin, frames) => {}
            }
        }
    });
    let reader = tracker.spawn(read(stdout, Arc::clone(&handler), queue.clone()));
    let log = tracker.spawn(log(stderr, handler.server().to_owned()));
    tracker.spawn(own(Owned { child, writer, reader, log, handler, closed }));
    Ok(Outbox::Stdio(queue))
}

fn spawn(program: &Program) -> std::io::Result<Box<dyn ChildWrapper>> {
    let Program { command, base_env, env, cwd } = program;
    let mut wrap = CommandWrap::with_new(&command.program, |process| {
        process.args(&command.args).env_clear().envs(base_env.iter().map(|(name, value)| (name, value)));
        process.envs(env.iter().map(|(name, value)| (name, value.expose_secret())));
        if let Some(cwd) = cwd {
            process.current_dir(cwd);
        }
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    #[cfg(unix)]
    wrap.wrap(process_wrap::tokio::ProcessGroup::leader());
    #[cfg(windows)]
    wrap.wrap(process_wrap::tokio::JobObject);
    wrap.wrap(KillOnDrop);
    wrap.spawn()
}

struct Owned {
    child: Box<dyn ChildWrapper>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    log: JoinHandle<VecDeque<String>>,
    handler: Arc<Handler>,
    closed: tokio_util::sync::CancellationToken,
}

/// Watches the child to its end, whoever ends it, and leaves no process behind.
async fn own(owned: Owned) {
    let Owned { mut child, writer, mut reader, mut log, handler, closed } = owned;
    let status = tokio::select! {
        () = closed.cancelled() => None,
        // What the child said last is read before its end is reported.
        _ = &mut reader => within(GRACE, child.wait()).await,
        status = child.wait() => {
            let _ = tokio::time::timeout(GRACE, &mut reader).await;
            Some(status)
        }
    };
    let by_us = closed.is_cancelled();
    let error = match &status {
        _ if by_us => LinkError::Closed,
        Some(Ok(status)) => LinkError::Lost { reason: format!("the server process ended ({status})") },
        Some(Err(_)) => LinkError::Lost { reason: "the server process ended".to_owned() },
        None => LinkError::Lost { reason: "the server closed its output".to_owned() },
    };
    // First the reason, then the signal that there is one.
    handler.end(&error);
    closed.cancel();
    let _ = writer.await;
    if status.is_none() {
        stop(child.as_mut()).await;
    }
    // Whatever the child had started, it has had its time.
    let _ = child.start_kill();
    let last_words = within(Duration::from_millis(200), &mut log).await.and_then(Result::ok).unwrap_or_default();
    reader.abort();
    log.abort();
    if by_us {
        tracing::info!(server = handler.server(), "stopped");
    } else {
        tracing::warn!(server = handler.server(), ?last_words, "{error}");
    }
}

/// Input is closed already: wait, ask to terminate, kill.
async fn stop(child: &mut dyn ChildWrapper) {
    if within(GRACE, child.wait()).await.is_some() {
        return;
    }
    #[cfg(unix)]
    {
        const SIGTERM: i32 = 15;
        let _ = child.signal(SIGTERM);
        if within(GRACE, child.wait()).await.is_some() {
            return;
        }
    }
    let _ = child.start_kill();
    let _ = within(GRACE, child.wait()).await;
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, future).await.ok()
}

async fn read(stdout: ChildStdout, handler: Arc<Handler>, queue: mpsc::Sender<Frame>) {
    let mut lines = Lines::new(stdout, handler.limits().message);
    loop {
        match lines.next().await {
            Ok(Some(Line::Text(text))) => {
                if let Some(answer) = deliver(&handler, &text, None) {
                    // A child that floods us with pings and does not read loses an answer.
                    let _ = queue.try_send(answer);
                }
            }
            Ok(Some(Line::TooLong)) => {
                let error = super::too_large(&handler);
                tracing::warn!(server = handler.server(), %error, "the connection is ended");
                return handler.end(&error);
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// Standard error is the server's log. Its last lines are its last words.
async fn log(stderr: impl AsyncRead + Unpin, server: String) -> VecDeque<String> {
    let mut lines = Lines::new(stderr, 64 * 1024);
    let mut last = VecDeque::with_capacity(LAST_WORDS);
    while let Ok(Some(line)) = lines.next().await {
        let Line::Text(text) = line else { continue };
        let text: String =
            String::from_utf8_lossy(&text[..text.len().min(MAX_LOG_LINE)]).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        tracing::info!(%server, "stderr: {text}");
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(text);
    }
    last
}

/// What went wrong, without a path: clients see this.
fn plain(error: &std::io::Error, program: &Program) -> String {
    match (error.kind(), &program.cwd) {
        (_, Some(cwd)) if !cwd.is_dir() => "its `cwd` is not a directory".to_owned(),
        (std::io::ErrorKind::NotFound, _) => "there is no such file".to_owned(),
        (kind, _) => kind.to_string(),
    }
}
