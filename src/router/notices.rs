//! What servers say outside of calls to those who have asked to hear it, and what a server
//! must be told again when it is back.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Router;
use crate::{
    downstream::{Notice, Seat},
    lasting::survived,
};

impl Router {
    /// Starts what runs beside the calls, until `token` is cancelled.
    pub(super) fn attend(&self, mut notices: mpsc::Receiver<Notice>, tracker: &TaskTracker, token: &CancellationToken) {
        let (router, stop) = (self.clone(), token.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = async { while survived("notices", router.listen(&mut notices)).await.is_none() {} } => {}
            }
        });
        let (router, stop) = (self.clone(), token.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = async { while survived("levels", router.levels.keep(&router.pool)).await.is_none() {} } => {}
            }
        });
    }

    async fn listen(&self, notices: &mut mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Ready(place, link) => {
                    match place.seat {
                        Seat::Shared => self.levels.look(),
                        Seat::Session(session) => self.tell_own_level(session, Arc::clone(&link)),
                    }
                    self.renew_subscriptions(place, link);
                }
                Notice::Updated(place, message) => self.subscriptions.updated(&place, &message),
                Notice::TaskChanged(place, message) if self.subscriptions.task_changed(&place, &message) => {}
                Notice::Elicited(place, message) => self.elicitations.complete(&place, message),
                Notice::Asked(place, ask) => self.ask_outside(place, ask),
                Notice::Withdrawn(place, id) => self.withdraw_outside(place, id),
                Notice::Logged(place, message) => self.log_outside(&place, message),
                Notice::TaskChanged(place, message) | Notice::Said(place, message) => self.say_outside(&place, message),
            }
        }
    }

    /// The client says anew what it can do: what it has for itself is made again with that.
    pub fn introduce(&self, session: u64) {
        self.pool.part(session);
    }

    /// The session is over.
    pub fn forget(&self, session: u64) {
        // First, so that no server is told what its connection will not live to see.
        self.pool.part(session);
        self.levels.set(session, None);
        self.outside.forget(session);
        self.end_subscriptions(session);
    }
}
