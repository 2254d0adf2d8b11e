//! A server as a child process (MCP transports, "stdio").
//!
//! The child leads a process group of its own, gets a short safe environment and
//! what is configured, and is ended with all that it started: by us while we live, and by [`guard`] and the parent-death
//! signal when we do not (threat model T16).

use std::{collections::VecDeque, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use tokio::{io::AsyncRead, process::ChildStdout, sync::mpsc, task::JoinHandle};

use super::{Outbox, deliver, heard};
use crate::{
    downstream::{
        connection::Wiring,
        error::{ConnectError, LinkError},
        handler::Handler,
    },
    lasting::caught,
    lines::{self, Line, Lines},
    protocol::{
        message::Frame,
        server::{Origin, ServerId},
    },
    security::{
        command::AllowedCommand,
        redact::{self, Stream},
    },
};

mod audit;
mod first_line;
#[cfg(unix)]
pub mod guard;
#[cfg(target_os = "linux")]
mod parent_death;
mod spawner;

pub use first_line::first_line;
use spawner::Child;
pub use spawner::{LastWords, Spawner};

/// How long a child may take to end by itself once its input is closed, and
/// again once it was asked to terminate. Clients kill us 2 seconds after they have
/// asked us to terminate; both and the rest must fit in.
const GRACE: Duration = Duration::from_millis(700);

/// Lines of standard error that are kept for error texts.
const LAST_WORDS: usize = 5;

/// The longest line of standard error that is logged.
const MAX_LOG_LINE: usize = 4096;

/// Answers of one connection that may be too long, of which each fails its call alone. A server that goes on so is not worth
/// reading.
const TOO_LONG: usize = 16;

/// What is started.
#[derive(Debug)]
pub struct Program {
    pub server: ServerId,
    pub origin: Origin,
    pub command: AllowedCommand,
    /// Names and values of the proxy's own environment that every child gets.
    pub base_env: Arc<Vec<(OsString, OsString)>>,
    pub cwd: Option<PathBuf>,
}

/// Starts the program and the tasks that serve it.
///
/// # Errors
/// [`ConnectError::Spawn`] where the operating system refuses.
pub async fn open(program: Program, spawner: &Spawner, wiring: Wiring<'_>) -> Result<Outbox, ConnectError> {
    let Wiring { handler, closed, tracker } = wiring;
    let mut child = spawner.spawn(program, handler.server()).await.map_err(|reason| ConnectError::Spawn { reason })?;
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
    let reader = tracker.spawn({
        let (handler, queue) = (Arc::clone(&handler), queue.clone());
        async move {
            if caught("stdout", read(stdout, Arc::clone(&handler), queue)).await.is_none() {
                handler.end(&LinkError::Defect);
            }
        }
    });
    let log = tracker.spawn(log(stderr, handler.server().to_owned()));
    tracker.spawn(own(Owned { child, writer, reader, log, overheard: spawner.last_words.clone(), handler, closed }));
    Ok(Outbox::Stdio(queue))
}

struct Owned {
    child: Child,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    log: JoinHandle<VecDeque<String>>,
    overheard: Option<LastWords>,
    handler: Arc<Handler>,
    closed: tokio_util::sync::CancellationToken,
}

/// Watches the child to its end, whoever ends it, and leaves no process behind.
async fn own(owned: Owned) {
    let Owned { mut child, writer, mut reader, mut log, overheard, handler, closed } = owned;
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
    stop(&mut child, status.is_some()).await;
    // Whatever the child had started, it has had its time.
    child.finish();
    let last_words = within(Duration::from_millis(200), &mut log).await.and_then(Result::ok).unwrap_or_default();
    reader.abort();
    log.abort();
    if by_us {
        tracing::info!(server = handler.server(), "stopped");
    } else {
        tracing::warn!(server = handler.server(), ?last_words, "{error}");
    }
    if let Some(overheard) = overheard {
        overheard.set(last_words.into());
    }
}

/// Input is closed already: wait, ask all that is left to terminate, kill.
async fn stop(child: &mut Child, has_ended: bool) {
    let has_ended = has_ended || within(GRACE, child.wait()).await.is_some();
    if has_ended && !child.has_left_others() {
        return;
    }
    // What npx or a shell has started gets its time, too, also where they end first.
    if child.terminate() && within(GRACE, child.gone()).await.is_some() {
        return;
    }
    child.kill();
    let _ = within(GRACE, child.wait()).await;
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, future).await.ok()
}

async fn read(stdout: ChildStdout, handler: Arc<Handler>, queue: mpsc::Sender<Frame>) {
    let mut lines = Lines::new(stdout, handler.limits().message);
    let mut too_long = 0;
    loop {
        match heard(&handler, lines.next()).await {
            Ok(Some(Line::Text(text))) => {
                for answer in deliver(&handler, &text, None) {
                    // A child that floods us with pings and does not read loses an answer.
                    let _ = queue.try_send(answer);
                }
            }
            Ok(Some(Line::TooLong(beginning))) => {
                let error = super::too_large(&handler);
                too_long += 1;
                let Some(call) = answered_in(&beginning).filter(|_| too_long <= TOO_LONG) else {
                    tracing::warn!(server = handler.server(), %error, "the connection is ended");
                    return handler.end(&error);
                };
                tracing::warn!(server = handler.server(), %error, "an answer was refused");
                handler.fail(call, error);
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// The call whose answer begins like this, where that can be told: the id stands before everything that has members of its own.
fn answered_in(beginning: &[u8]) -> Option<u64> {
    let members = beginning.trim_ascii_start().strip_prefix(b"{")?;
    let members = std::str::from_utf8(&members[..memchr::memchr2(b'{', b'[', members)?]).ok()?;
    if members.contains("\"method\"") {
        return None;
    }
    let (_, id) = members.split_once("\"id\"")?;
    let id = id.trim_start().strip_prefix(':')?.trim_start();
    let (id, _) = id.split_at_checked(id.find(|letter: char| !letter.is_ascii_digit())?)?;
    id.parse().ok()
}

/// Standard error is the server's log. Its last lines are its last words.
async fn log(stderr: impl AsyncRead + Unpin, server: String) -> VecDeque<String> {
    let mut lines = Lines::new(stderr, 64 * 1024);
    let mut last = VecDeque::with_capacity(LAST_WORDS);
    let mut secrets = Stream::default();
    while let Ok(Some(line)) = lines.next().await {
        let Line::Text(text) = line else { continue };
        // SECURITY: the log redacts too, but neither the end of a long line nor the other lines of a private key.
        let text = redact::quote(&secrets.line(&String::from_utf8_lossy(&text)), MAX_LOG_LINE);
        tracing::info!(%server, "stderr: {text}");
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(text);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_of_an_answer_is_told_by_its_beginning() {
        for (beginning, call) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"#, Some(7)),
            (r#" { "id" : 12 , "jsonrpc":"2.0","error":{"#, Some(12)),
            (r#"{"jsonrpc":"2.0","result":{"id":7,"x":""#, None),
            (r#"{"jsonrpc":"2.0","id":7,"method":"roots/list","params":{"#, None),
            (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"id":7"#, None),
            (r#"{"jsonrpc":"2.0","id":"7","result":{"#, None),
            (r#"[{"jsonrpc":"2.0","id":7,"result":{"#, None),
            (r#"{"jsonrpc":"2.0","id":7"#, None),
            ("xxxxxxxxxxxx", None),
            ("", None),
        ] {
            assert_eq!(answered_in(beginning.as_bytes()), call, "{beginning}");
        }
    }
}
