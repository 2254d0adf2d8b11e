//! One loop for what happens while a server works on a call: progress goes out in
//! order, the reply ends it, silence for too long ends it too. The caller cancels by
//! dropping the loop, and with it the call.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::Ctx;
use crate::{
    downstream::{InFlight, LinkError, Step},
    protocol::{
        json::Object,
        message::{Frame, Message},
    },
};

/// Nothing was heard for too long.
pub(super) struct Silent;

/// `token` is the client's progress token; `patience` is how long the server may be
/// silent, and each progress notification starts it anew.
pub(super) async fn relay(
    ctx: &Ctx,
    mut call: InFlight,
    token: Option<&Bytes>,
    patience: Duration,
) -> Result<Result<Message, LinkError>, Silent> {
    let mut silence = std::pin::pin!(sleep_until(Instant::now() + patience));
    loop {
        let step = tokio::select! {
            // What has arrived counts, even if it is late.
            biased;
            step = call.next() => step,
            () = &mut silence => return Err(Silent),
        };
        match step {
            Step::Progress(message) => {
                silence.as_mut().reset(Instant::now() + patience);
                if let Some(frame) = token.and_then(|token| for_client(&message, token)) {
                    ctx.client.notify(frame).await;
                }
            }
            Step::Reply(reply) => return Ok(reply),
        }
    }
}

/// The notification with the client's own token.
fn for_client(progress: &Message, token: &Bytes) -> Option<Frame> {
    let params = Object::parse(progress.body()?).ok()?;
    let span = params.span(progress.text(), "progressToken")?;
    Some(Frame::spliced(progress.text(), vec![(span, token.clone())]).alone())
}
