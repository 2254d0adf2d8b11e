//! What signals ask for: two tokens for the end, which everybody watches, and word of what is to be read again.

use std::{io::IsTerminal, sync::Arc};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What signals ask for.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// The first one: finish what is under way and end.
    pub asked: CancellationToken,
    /// The second one: end now.
    pub now: CancellationToken,
    /// SIGHUP: read again what may have changed.
    pub reload: Arc<Notify>,
}

/// What one signal asks for.
enum Wish {
    End,
    Reload,
}

impl Signals {
    /// Waits for SIGTERM or SIGINT (Ctrl-C elsewhere), twice, and tells of every SIGHUP. Ends when `over` does.
    ///
    /// # Errors
    /// Where the operating system does not let us listen.
    pub async fn watch(&self, over: &CancellationToken) -> std::io::Result<()> {
        let mut received = Received::new()?;
        // The hangup of a terminal means that who has started us is gone.
        let at_terminal = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
        let mut steps = [&self.asked, &self.now].into_iter();
        let mut step = steps.next();
        while let Some(token) = step {
            let (name, wish) = tokio::select! {
                signal = received.next() => signal,
                () = over.cancelled() => return Ok(()),
            };
            match wish {
                Wish::Reload if !at_terminal => {
                    tracing::info!(signal = name, "reading the configuration again");
                    self.reload.notify_one();
                }
                Wish::Reload | Wish::End => {
                    tracing::info!(signal = name, "stopping");
                    token.cancel();
                    step = steps.next();
                }
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
struct Received {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Received {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> (&'static str, Wish) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Wish::End),
            _ = self.interrupt.recv() => ("SIGINT", Wish::End),
            _ = self.hangup.recv() => ("SIGHUP", Wish::Reload),
        }
    }
}

#[cfg(not(unix))]
struct Received;

#[cfg(not(unix))]
impl Received {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> (&'static str, Wish) {
        match tokio::signal::ctrl_c().await {
            Ok(()) => ("Ctrl-C", Wish::End),
            Err(_) => std::future::pending().await,
        }
    }
}
