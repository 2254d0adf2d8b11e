//! One call at one server, from its start to its answer.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::{connection::Link, error::LinkError};
use crate::protocol::message::{Frame, Message};

/// A call that the server works on. Dropping it cancels it there.
#[derive(Debug)]
pub struct InFlight {
    link: Arc<Link>,
    id: u64,
    reply: oneshot::Receiver<Result<Message, LinkError>>,
    /// `None` once the sender is gone, or if no progress was asked for.
    progress: Option<mpsc::Receiver<Message>>,
    /// The request on its way, where the transport runs one task for each.
    request: Option<AbortHandle>,
    answered: bool,
}

/// What the server said of the call.
#[derive(Debug)]
pub enum Step {
    Progress(Message),
    Reply(Result<Message, LinkError>),
}

impl InFlight {
    pub(super) async fn start(link: Arc<Link>, wants_progress: bool, frame: impl FnOnce(u64) -> Frame) -> Result<Self, LinkError> {
        let registered = link.handler().register(wants_progress)?;
        let id = registered.id;
        let mut call = Self { link, id, reply: registered.reply, progress: registered.progress, request: None, answered: false };
        match call.link.outbox().request(id, frame(id)).await {
            Ok(request) => call.request = request,
            Err(error) => {
                call.answered = true;
                call.link.handler().forget(id);
                return Err(error);
            }
        }
        Ok(call)
    }

    /// The next thing that happens. Progress comes before the reply, in order.
    pub async fn next(&mut self) -> Step {
        let reply = if let Some(progress) = &mut self.progress {
            tokio::select! {
                // Progress that is queued was sent before the reply.
                biased;
                Some(message) = progress.recv() => return Step::Progress(message),
                reply = &mut self.reply => reply,
            }
        } else {
            (&mut self.reply).await
        };
        self.answered = true;
        Step::Reply(reply.unwrap_or(Err(LinkError::Closed)))
    }

    /// The reply of a call that asked for no progress.
    pub async fn reply(mut self) -> Result<Message, LinkError> {
        loop {
            if let Step::Reply(reply) = self.next().await {
                return reply;
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if self.link.handler().forget(self.id) {
            let params = format!(r#"{{"requestId":{},"reason":"nobody waits for the answer any more"}}"#, self.id);
            self.link.outbox().notify_soon(Message::notification("notifications/cancelled", Some(&params)).into());
        }
        if let Some(request) = &self.request {
            request.abort();
        }
    }
}
