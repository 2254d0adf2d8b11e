//! The sender of one POST, for as long as its call takes.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::sessions::InUse;
use crate::{
    front::session::{Call, Session},
    router::Router,
};

/// Who sent the request, for as long as it takes.
pub(super) enum Client {
    Staying(InUse),
    Passing(Passing),
}

impl Client {
    pub(super) fn session(&self) -> &Session {
        match self {
            Self::Staying(using) => &using.stay.session,
            Self::Passing(passing) => &passing.session,
        }
    }

    pub(super) fn listens(&self) -> bool {
        matches!(self, Self::Passing(Passing { place: Some(_), .. }))
    }

    pub(super) fn stays(&self) -> bool {
        matches!(self, Self::Staying(_))
    }
}

/// A client that is known for one request only.
pub(super) struct Passing {
    pub(super) session: Session,
    pub(super) router: Arc<Router>,
    /// Of one that listens.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.router.forget(self.session.number());
    }
}

/// A call and what must live as long. Where its connection is lost it goes on, if it
/// belongs to a session: that is no cancellation (2025-11-25, "Sending messages to the server").
pub(super) struct Running {
    pub(super) call: Option<(Call, Client, TaskTrackerToken)>,
    pub(super) tracker: Option<TaskTracker>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some((call, client, token)), Some(tracker)) = (self.call.take(), &self.tracker) {
            tracker.spawn(async move {
                call.await;
                drop((client, token));
            });
        }
    }
}
