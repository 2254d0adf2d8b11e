//! Sorts what one server says, in the order it says it, to the call it belongs
//! to or to an [`Event`]. It decides nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{Event, ListKind, error::LinkError};
use crate::protocol::{
    error::{ErrorObject, METHOD_NOT_FOUND},
    message::{Frame, Kind, Message},
    server::ServerId,
};

/// Notifications of one call that may wait for its client. More are dropped
/// with a warning: a slow client must not hold up the server's other calls.
const CALL_EVENTS: usize = 1024;

/// One connection's calls in flight and where everything else goes.
#[derive(Debug)]
pub struct Handler {
    server: ServerId,
    name: String,
    calls: Mutex<Calls>,
    events: mpsc::Sender<Event>,
}

#[derive(Debug, Default)]
struct Calls {
    last_id: u64,
    waiting: HashMap<u64, Waiting>,
    /// Why the connection ended, once it has.
    ended: Option<LinkError>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<Message, LinkError>>,
    progress: Option<mpsc::Sender<Message>>,
}

/// A registered call: its id at the server and where its answers arrive.
#[derive(Debug)]
pub struct Registered {
    pub id: u64,
    pub reply: oneshot::Receiver<Result<Message, LinkError>>,
    /// Progress notifications, if they were asked for.
    pub progress: Option<mpsc::Receiver<Message>>,
}

impl Handler {
    pub fn new(server: ServerId, name: String, events: mpsc::Sender<Event>) -> Self {
        Self { server, name, calls: Mutex::default(), events }
    }

    /// For logs.
    pub fn server(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// The reason, where the connection has ended.
    pub fn register(&self, wants_progress: bool) -> Result<Registered, LinkError> {
        let (reply_sender, reply) = oneshot::channel();
        let (progress_sender, progress) = if wants_progress {
            let (sender, receiver) = mpsc::channel(CALL_EVENTS);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        let mut calls = self.calls();
        if calls.ended.is_some() {
            return Err(LinkError::Closed);
        }
        calls.last_id += 1;
        let id = calls.last_id;
        calls.waiting.insert(id, Waiting { reply: reply_sender, progress: progress_sender });
        Ok(Registered { id, reply, progress })
    }

    /// Nobody waits for `id` any more. True if it was still unanswered.
    pub fn forget(&self, id: u64) -> bool {
        self.calls().waiting.remove(&id).is_some()
    }

    pub fn is_waiting(&self, id: u64) -> bool {
        self.calls().waiting.contains_key(&id)
    }

    /// Whether any call is in flight.
    pub fn is_busy(&self) -> bool {
        !self.calls().waiting.is_empty()
    }

    /// The call `id` fails; the connection goes on.
    pub fn fail(&self, id: u64, error: LinkError) {
        let waiting = self.calls().waiting.remove(&id);
        if let Some(waiting) = waiting {
            // An error means that the caller has gone.
            let _ = waiting.reply.send(Err(error));
        }
    }

    /// The connection has ended because of `error`. Calls in flight have reached the
    /// server, so each of them is lost, whatever the reason.
    pub fn end(&self, error: &LinkError) {
        let waiting = {
            let mut calls = self.calls();
            calls.ended.get_or_insert_with(|| error.clone());
            std::mem::take(&mut calls.waiting)
        };
        let lost = match error {
            LinkError::Lost { .. } => error.clone(),
            other => LinkError::Lost { reason: other.to_string() },
        };
        for waiting in waiting.into_values() {
            let _ = waiting.reply.send(Err(lost.clone()));
        }
    }

    /// Why the connection ended.
    pub fn ended(&self) -> Option<LinkError> {
        self.calls().ended.clone()
    }

    /// Takes the next message. What it returns is to be sent back at once.
    pub fn receive(&self, message: Message) -> Option<Frame> {
        match message.kind() {
            Kind::Result | Kind::Error => self.reply(message),
            Kind::Notification => self.notification(message),
            Kind::Request => return Some(answer(&message)),
        }
        None
    }

    fn reply(&self, message: Message) {
        let waiting = message.id().and_then(|id| id.as_u64()).and_then(|id| self.calls().waiting.remove(&id));
        let Some(waiting) = waiting else {
            return tracing::debug!(server = %self.name, "an answer that nobody waits for was dropped");
        };
        // An error means that the caller gave up this moment.
        let _ = waiting.reply.send(Ok(message));
    }

    fn notification(&self, message: Message) {
        let event = match message.method() {
            "notifications/progress" => return self.progress(message),
            "notifications/tools/list_changed" => Event::ListChanged(self.server.clone(), ListKind::Tools),
            "notifications/prompts/list_changed" => Event::ListChanged(self.server.clone(), ListKind::Prompts),
            "notifications/resources/list_changed" => Event::ListChanged(self.server.clone(), ListKind::Resources),
            method => {
                tracing::debug!(server = %self.name, method, "notification not forwarded");
                return;
            }
        };
        if self.events.try_send(event).is_err() {
            tracing::warn!(server = %self.name, "too many notifications at once; one was dropped");
        }
    }

    fn progress(&self, message: Message) {
        let sender = {
            let calls = self.calls();
            progress_token(&message).and_then(|id| calls.waiting.get(&id)?.progress.clone())
        };
        let Some(sender) = sender else {
            return tracing::debug!(server = %self.name, "progress of no call in flight was dropped");
        };
        if sender.try_send(message).is_err() {
            tracing::warn!(server = %self.name, "the client is too slow for this progress; one notification was dropped");
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // The table is consistent at every point where a panic could happen.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens towards servers are our request ids.
fn progress_token(message: &Message) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        progress_token: u64,
    }
    serde_json::from_str::<Params>(message.body()?).ok().map(|params| params.progress_token)
}

/// The proxy declares no client capabilities yet, so a server may ask for
/// nothing but a sign of life.
fn answer(request: &Message) -> Frame {
    let id = request.id().expect("a request has an id");
    match request.method() {
        "ping" => Frame::result(&id, Bytes::from_static(b"{}")),
        method => Frame::error(Some(&id), &ErrorObject::new(METHOD_NOT_FOUND, format!("method not found: {method}"))),
    }
}
