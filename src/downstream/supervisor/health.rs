//! Finds out that a remote server is gone before a client's call does. A child's end is seen at once, and a server that works on a
//! call may well be silent; but one that nobody speaks to is asked for a sign of life now and then.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::downstream::{Link, LinkError};

/// For the answer to one ping.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pings in a row that are not answered before the connection counts as lost.
const MISSED: u32 = 2;
/// From a ping that failed to the next one.
const AGAIN: Duration = Duration::from_secs(1);

/// Until the server gives no sign of life any more. `every` is the silence after which it is asked.
pub(super) async fn lost(link: &Arc<Link>, every: Duration) -> LinkError {
    let signs = link.handler().signs();
    let mut missed = 0;
    loop {
        let heard = signs.count();
        let is_doubted = timeout(if missed == 0 { every } else { AGAIN }, signs.doubted()).await.is_ok() && missed == 0;
        if !is_doubted && (signs.count() != heard || link.handler().is_busy()) {
            missed = 0;
            continue;
        }
        missed = if is_alive(link).await { 0 } else { missed + 1 };
        if missed == MISSED {
            return LinkError::Lost { reason: "the server does not answer pings any more".to_owned() };
        }
    }
}

async fn is_alive(link: &Arc<Link>) -> bool {
    let method = if link.peer().revision.has_handshake() { "ping" } else { "server/discover" };
    match timeout(PATIENCE, link.request(method, "{}")).await {
        // Somebody is there, be it that the method is unknown or something is wrong, which those who call will be told.
        Ok(Ok(_) | Err(LinkError::Status { .. } | LinkError::Unauthorized { .. } | LinkError::Protocol { .. })) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}
