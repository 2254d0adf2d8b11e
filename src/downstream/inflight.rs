//! One call at one server, from its start to its answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{task::AbortHandle, time::timeout};

use super::{
    connection::Link,
    error::LinkError,
    mailbox::{Asked, Caller, Mailbox, Post, Said},
    seat::Place,
};
use crate::protocol::{
    error::{ErrorObject, INTERNAL_ERROR},
    message::{Frame, Id, Message},
};

/// How long a server may take to receive the answer to what it asked.
const ANSWERING: Duration = Duration::from_secs(10);

/// A call that the server works on. Dropping it cancels it there.
#[derive(Debug)]
pub struct InFlight {
    link: Arc<Link>,
    id: u64,
    mailbox: Arc<Mailbox>,
    /// The request on its way, where the transport runs one task for each.
    request: Option<AbortHandle>,
    answered: bool,
}

/// What the server said of the call.
#[derive(Debug)]
pub enum Step {
    Progress(Message),
    Log(Message),
    /// A notification that the proxy itself has no use for.
    Other(Message),
    Ask(Ask),
    /// The server does not wait for the answer to this [`Ask`] any more.
    Withdrawn(Id),
    Reply(Result<Message, LinkError>),
}

impl InFlight {
    pub(super) async fn start(link: Arc<Link>, caller: Caller, frame: impl FnOnce(u64) -> Frame) -> Result<Self, LinkError> {
        let (id, mailbox) = link.handler().register(caller)?;
        let mut call = Self { link, id, mailbox, request: None, answered: false };
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

    /// Which connection it is in flight on.
    pub fn place(&self) -> &Place {
        self.link.place()
    }

    /// The next thing that happens, in the order of the server. The reply is the last.
    pub async fn next(&mut self) -> Step {
        match self.mailbox.next().await {
            Post::Reply(reply) => {
                self.answered = true;
                Step::Reply(reply)
            }
            Post::Said(Said::Progress(message)) => Step::Progress(message),
            Post::Said(Said::Log(message)) => Step::Log(message),
            Post::Said(Said::Other(message)) => Step::Other(message),
            Post::Said(Said::Ask(asked)) => Step::Ask(Ask::new(&self.link, asked)),
            Post::Said(Said::Withdrawn(id)) => Step::Withdrawn(id),
        }
    }

    /// After the reply: the call goes on as the place where the server takes back what it has asked, until
    /// [`LinkError::Closed`] says that no other call of the session is in flight. `None` if none is now.
    pub fn linger(self) -> Option<Lingering> {
        self.link.handler().linger(&self.mailbox).then(|| Lingering(self))
    }

    /// The reply of a call that is made for no client.
    pub async fn reply(mut self) -> Result<Message, LinkError> {
        loop {
            if let Step::Reply(reply) = self.next().await {
                return reply;
            }
        }
    }

    fn cancel(&self) {
        // From before nobody waits for it any more: the connection may be ending at this very moment, and waits for what is to be said.
        let _sending = self.link.outbox().sending();
        if self.link.handler().give_up(self.id) && !self.link.outbox().cancels_by_closing() {
            self.link.outbox().notify_soon(cancellation(self.id));
        }
        if let Some(request) = &self.request {
            request.abort();
        }
    }
}

/// What is said to the server of a call that was given up.
pub(super) fn cancellation(id: u64) -> Frame {
    let params = format!(r#"{{"requestId":{id},"reason":"nobody waits for the answer any more"}}"#);
    Message::notification("notifications/cancelled", Some(&params)).into()
}

/// A call that is answered, while others of its session are not. See [`InFlight::linger`].
#[derive(Debug)]
pub struct Lingering(InFlight);

impl Lingering {
    pub async fn next(&mut self) -> Step {
        self.0.next().await
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.answered {
            self.cancel();
        } else if !self.mailbox.has_asked() {
            // Most calls: nothing can be left of them.
            return;
        }
        self.link.handler().leave(&self.mailbox);
        for said in self.mailbox.close() {
            if let Said::Ask(asked) = said {
                drop(Ask::new(&self.link, asked));
            }
        }
    }
}

/// A request of the server that waits for its answer. Dropping it tells the server that
/// there will be none.
#[derive(Debug)]
pub struct Ask {
    link: Arc<Link>,
    asked: Asked,
    answered: bool,
}

impl Ask {
    pub(super) fn new(link: &Arc<Link>, asked: Asked) -> Self {
        link.asks.fetch_add(1, Ordering::Relaxed);
        Self { link: Arc::clone(link), asked, answered: false }
    }

    pub fn request(&self) -> &Message {
        &self.asked.request
    }

    /// The connection that it came on.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Another call of the same session may have caused it.
    pub fn is_shared(&self) -> bool {
        self.asked.is_shared
    }

    /// The server's own.
    pub fn id(&self) -> Id {
        self.asked.request.id().expect("a request has an id")
    }

    /// Gives the answer to the server, under the server's own id.
    pub async fn answer(mut self, answer: Result<&Message, &ErrorObject>) {
        self.answered = true;
        let id = self.id();
        let frame = match answer {
            Ok(answer) => answer.with(&id, None),
            Err(error) => Frame::error(Some(&id), error),
        };
        if !matches!(timeout(ANSWERING, self.link.outbox().notify(frame)).await, Ok(Ok(()))) {
            tracing::debug!(server = self.link.handler().server(), "the server did not take the answer to what it asked");
        }
    }

    /// Puts it to the latest call in flight that it can belong to after all. Gives it back where there is none.
    pub fn put_to_call(mut self) -> Option<Self> {
        self.answered = self.link.handler().put_to_call(&self.asked.request);
        (!self.answered).then_some(self)
    }

    /// Says at once that nobody will be asked.
    pub fn refuse(mut self, error: &ErrorObject) {
        self.answered = true;
        self.link.outbox().notify_soon(Frame::error(Some(&self.id()), error));
    }

    /// The server has said itself that it does not wait any more.
    pub fn withdrawn(mut self) {
        self.answered = true;
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.link.asks.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            let error = ErrorObject::new(INTERNAL_ERROR, "nobody is there any more who could answer this");
            self.link.outbox().notify_soon(Frame::error(Some(&self.id()), &error));
        }
    }
}
