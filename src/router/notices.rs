//! What servers say outside of calls to those who have asked to hear it, and what a server
//! must be told again when it is back.

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Router;
use crate::downstream::Notice;

impl Router {
    /// Starts what runs beside the calls, until `token` is cancelled.
    pub(super) fn attend(&self, notices: mpsc::Receiver<Notice>, tracker: &TaskTracker, token: &CancellationToken) {
        let (router, stop) = (self.clone(), token.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = router.listen(notices) => {}
            }
        });
        let (router, stop) = (self.clone(), token.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = router.levels.keep(&router.pool) => {}
            }
        });
    }

    async fn listen(&self, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Ready(place, link) => {
                    self.levels.look();
                    self.renew_subscriptions(place.server, link);
                }
                Notice::Updated(place, message) => self.subscriptions.updated(&place.server, &message),
                Notice::Elicited(place, message) => self.elicitations.complete(&place.server, message),
                Notice::Asked(place, ask) => self.ask_outside(place, ask),
                Notice::Withdrawn(place, id) => self.withdraw_outside(place, id),
                Notice::Logged(place, message) => self.log_outside(&place, message),
                Notice::Said(place, message) => self.say_outside(&place, message),
            }
        }
    }

    /// The session is over.
    pub fn forget(&self, session: u64) {
        self.levels.set(session, None);
        self.outside.forget(session);
        self.end_subscriptions(session);
    }
}
