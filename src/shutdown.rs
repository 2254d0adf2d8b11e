//! From a signal to the end: one token that everybody watches.

use tokio_util::sync::CancellationToken;

/// Cancels `token` at the first SIGTERM, SIGINT or SIGHUP (Ctrl-C elsewhere).
///
/// # Errors
/// Where the operating system does not let us listen.
#[cfg(unix)]
pub async fn on_signal(token: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = hangup.recv() => "SIGHUP",
        () = token.cancelled() => return Ok(()),
    };
    tracing::info!(signal = name, "stopping");
    token.cancel();
    Ok(())
}

/// Cancels `token` at Ctrl-C.
///
/// # Errors
/// Where the operating system does not let us listen.
#[cfg(not(unix))]
pub async fn on_signal(token: CancellationToken) -> std::io::Result<()> {
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome?,
        () = token.cancelled() => {}
    }
    token.cancel();
    Ok(())
}
