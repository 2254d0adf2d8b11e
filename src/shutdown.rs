//! From a signal to the end: two tokens that everybody watches.

use tokio_util::sync::CancellationToken;

/// What signals ask for.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// The first one: finish what is under way and end.
    pub asked: CancellationToken,
    /// The second one: end now.
    pub now: CancellationToken,
}

impl Signals {
    /// Waits for SIGTERM, SIGINT or SIGHUP (Ctrl-C elsewhere), twice. Ends when `over` does.
    ///
    /// # Errors
    /// Where the operating system does not let us listen.
    pub async fn watch(&self, over: &CancellationToken) -> std::io::Result<()> {
        let mut received = Received::new()?;
        for token in [&self.asked, &self.now] {
            tokio::select! {
                name = received.next() => tracing::info!(signal = name, "stopping"),
                () = over.cancelled() => return Ok(()),
            }
            token.cancel();
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

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
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

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}
