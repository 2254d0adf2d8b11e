//! Signs of life of a server: whether it has said anything lately, and whether it was ever of use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Signs {
    messages: AtomicU64,
    served: AtomicBool,
    doubted: Notify,
}

impl Signs {
    pub(super) fn heard(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// A client has an answer of this server.
    pub(super) fn served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// A message did not reach the server.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Until a message does not reach the server.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Messages so far.
    pub(super) fn count(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }
}
