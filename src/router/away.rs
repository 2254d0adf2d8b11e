//! Servers that are known by what they offered in an earlier run alone: how they are reached is for the App to say, and it is
//! away. Their calls wait for it.

use tokio::time::timeout;

use super::{CallError, Router};
use crate::{downstream::Unavailable, protocol::server::ServerId, source::AppStatus};

impl Router {
    /// Waits until it is known how the server is reached, as long as a call may wait for a connection.
    ///
    /// # Errors
    /// [`CallError::AppAway`], or [`CallError::Unavailable`] if the App does not have the server any more
    pub(super) async fn configured(&self, server: &ServerId) -> Result<(), CallError> {
        if self.pool.config(server).is_some() {
            return Ok(());
        }
        // Boxed, because it would set the size of every call's task.
        Box::pin(self.wait_for_configuration(server)).await
    }

    async fn wait_for_configuration(&self, server: &ServerId) -> Result<(), CallError> {
        let catalog = self.catalog.current();
        let Some(known) = catalog.server(server).filter(|known| !known.configured) else { return Ok(()) };
        if self.refreshes.take() {
            self.source.refresh_now();
        }
        let patience = self.config.call_timeout;
        if timeout(patience, self.catalog.configured(server)).await.is_ok() {
            // The App may have refused the key, or have another workspace now.
            let is_there = self.pool.config(server).is_some();
            let gone = || CallError::Unavailable { server: known.name.clone(), error: Unavailable::Gone };
            return is_there.then_some(()).ok_or_else(gone);
        }
        let why = match &self.source.snapshot().app {
            AppStatus::Away { message } => message.clone(),
            AppStatus::Loading => "the plugged.in App has not answered yet".to_owned(),
            AppStatus::Unset | AppStatus::Current | AppStatus::Refused { .. } => {
                "the plugged.in App has not said everything yet".to_owned()
            }
        };
        Err(CallError::AppAway { server: known.name.clone(), why, after: patience })
    }
}
