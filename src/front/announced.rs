//! What one client is told outside of its calls and has not been sent yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    protocol::message::Frame,
    telemetry::metrics::{self, Dropped},
};

/// Messages that wait for a client. One that does not read loses the oldest.
const WAITING: usize = 256;

#[derive(Debug, Default)]
pub struct Announced {
    waiting: Mutex<VecDeque<Frame>>,
    more: Notify,
}

impl Announced {
    pub fn push(&self, frame: Frame) {
        let mut waiting = self.waiting();
        if waiting.len() == WAITING {
            waiting.pop_front();
            metrics::dropped(Dropped::Announcement);
            tracing::debug!("the client does not read; the oldest message outside of calls was dropped");
        }
        waiting.push_back(frame);
        drop(waiting);
        self.more.notify_one();
    }

    /// The oldest one, once there is one. For one reader.
    pub async fn next(&self) -> Frame {
        loop {
            let oldest = self.waiting().pop_front();
            if let Some(frame) = oldest {
                return frame;
            }
            self.more.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Frame>> {
        // Whole frames go in and out, so a panic leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_are_lost_first() {
        let announced = Announced::default();
        for n in 0..=WAITING {
            announced.push(Frame::from(bytes::Bytes::from(n.to_string())));
        }
        assert_eq!(announced.next().await.into_bytes(), "1");
        assert_eq!(announced.next().await.into_bytes(), "2");
    }
}
