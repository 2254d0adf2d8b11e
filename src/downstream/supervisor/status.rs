//! What a supervisor says of its connection, and what callers make of that.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::downstream::{connection::Link, error::ConnectError, transport::stdio::LastWords};

/// The state of one connection.
#[derive(Debug, Clone)]
pub enum State {
    Connecting,
    Ready {
        link: Arc<Link>,
        /// From the start of the attempt to the end of the handshake.
        took: Duration,
    },
    /// The connection was lost, or the last attempt failed; the next one follows by itself, or at once for a caller.
    Backoff {
        error: ConnectError,
    },
    /// Several in a row have failed: callers are refused until then.
    Open {
        error: ConnectError,
        failures: u32,
        until: Instant,
    },
    /// Waits to be needed.
    Idle,
    /// The configuration cannot work, or is not allowed.
    Disabled {
        error: ConnectError,
    },
}

#[derive(Debug, Clone)]
pub struct Status {
    pub state: State,
    /// Attempts that have ended, so that a waiting caller can tell a new failure
    /// from an old one.
    pub(super) attempts: u64,
    last_words: LastWords,
}

impl Status {
    pub(super) fn new(last_words: LastWords) -> Self {
        Self { state: State::Idle, attempts: 0, last_words }
    }

    pub fn link(&self) -> Option<&Arc<Link>> {
        match &self.state {
            State::Ready { link, .. } if !link.is_closed() => Some(link),
            State::Ready { .. } | State::Connecting | State::Backoff { .. } | State::Open { .. } | State::Idle | State::Disabled { .. } => {
                None
            }
        }
    }

    pub fn error(&self) -> Option<&ConnectError> {
        match &self.state {
            State::Backoff { error } | State::Open { error, .. } | State::Disabled { error } => Some(error),
            State::Connecting | State::Ready { .. } | State::Idle => None,
        }
    }

    /// Whether the server has failed, so that nothing comes of waiting for it.
    pub fn has_failed(&self) -> bool {
        self.error().is_some()
    }

    /// Whether another attempt can help.
    pub fn can_be_tried(&self) -> bool {
        matches!(self.state, State::Backoff { .. } | State::Open { .. })
    }

    /// What the last child wrote to standard error before its end, for the operator. SECURITY: without secrets, but with paths.
    pub fn last_words(&self) -> Vec<String> {
        self.last_words.get()
    }

    /// All that [`Self::label`] gives.
    pub const LABELS: [&'static str; 6] = ["connecting", "ready", "backoff", "open", "idle", "disabled"];

    /// One word for tables, JSON and metrics.
    pub fn label(&self) -> &'static str {
        match &self.state {
            State::Connecting => "connecting",
            State::Ready { .. } => "ready",
            State::Backoff { .. } => "backoff",
            State::Open { .. } => "open",
            State::Idle => "idle",
            State::Disabled { .. } => "disabled",
        }
    }
}

/// Why no connection could be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    #[error("the server is not part of this workspace any more")]
    Gone,
    #[error(transparent)]
    Failed(ConnectError),
    #[error("it failed {failures} times in a row, the last time with: {error}; it is tried again in {} s", .wait.as_secs().max(1))]
    Failing { error: ConnectError, failures: u32, wait: Duration },
}

pub(in crate::downstream) async fn wait_for_link(
    mut status: watch::Receiver<Status>,
    demand: mpsc::Sender<()>,
) -> Result<Arc<Link>, Unavailable> {
    let attempts = {
        let status = status.borrow();
        if !matches!(status.state, State::Open { .. }) {
            // A full queue holds a demand already.
            let _ = demand.try_send(());
        }
        status.attempts
    };
    let settled = status
        .wait_for(|status| match &status.state {
            State::Ready { link, .. } => !link.is_closed(),
            State::Backoff { .. } => status.attempts > attempts,
            State::Open { .. } | State::Disabled { .. } => true,
            State::Connecting | State::Idle => false,
        })
        .await
        .map_err(|_| Unavailable::Gone)?;
    match &settled.state {
        State::Ready { link, .. } => Ok(Arc::clone(link)),
        State::Backoff { error } | State::Disabled { error } => Err(Unavailable::Failed(error.clone())),
        State::Open { error, failures, until } => {
            Err(Unavailable::Failing { error: error.clone(), failures: *failures, wait: until.saturating_duration_since(Instant::now()) })
        }
        State::Connecting | State::Idle => unreachable!("waited for another state"),
    }
}
