//! Sorts what one server says, in the order it says it, to the call it belongs
//! to or to an [`Event`]. It decides nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    Event, ListKind, Notice,
    connection::Link,
    error::LinkError,
    inflight::Ask,
    mailbox::{Asked, Caller, Mailbox, Said},
    seat::{OnlyClient, Place, Seat},
    signs::Signs,
};
use crate::{
    protocol::{
        declared::SUBSCRIPTION_KEY,
        error::{ErrorObject, INVALID_REQUEST, METHOD_NOT_FOUND},
        json::{self, Object},
        message::{Frame, Id, Kind, Message},
        server::ServerId,
    },
    security::{payload::Limits, redact},
    telemetry::metrics::{self, Dropped},
};

mod answers;

use answers::Doubt;

/// A server may go on with a call that was given up, and ask of it what another client
/// must not see. It is believed to have stopped after this long.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Calls of one session that may wait, answered, for what was asked of their client. Each holds open what it was asked,
/// for as long as one other call runs. A client that lets this many pile up answers none of them, or a person sits
/// before a pile of questions that nobody waits for.
const LINGERING: usize = 16;

/// One connection's calls in flight and where everything else goes.
#[derive(Debug)]
pub struct Handler {
    place: Place,
    name: String,
    limits: Limits,
    calls: Mutex<Calls>,
    news: News,
    /// The server speaks a revision in which servers send no requests.
    is_asked_only: AtomicBool,
    /// The way back to the server, for what is answered later and belongs to no call.
    link: OnceLock<Weak<Link>>,
    signs: Signs,
}

/// Where goes what belongs to no call, and whose it can be.
#[derive(Debug, Clone)]
pub struct News {
    /// To the keeper of the catalog.
    pub events: mpsc::Sender<Event>,
    /// To the sessions.
    pub notices: mpsc::Sender<Notice>,
    pub seat: Seat,
    pub client: OnlyClient,
}

#[derive(Debug, Default)]
struct Calls {
    last_id: u64,
    waiting: HashMap<u64, Arc<Mailbox>>,
    /// Those of them that only listen, with who waits to hear what the server accepts of that.
    listening: HashMap<u64, Option<oneshot::Sender<Message>>>,
    /// Of calls that are answered, have asked their clients something, and whose readers have not decided what becomes of it.
    undecided: Vec<Arc<Mailbox>>,
    /// The oldest first. Of calls that are answered, and have asked their clients what may belong to another call of the same session.
    lingering: Vec<Arc<Mailbox>>,
    /// By the ids of the calls.
    given_up: HashMap<u64, GivenUp>,
    /// By the ids of the calls on whose own streams it came.
    doubts: HashMap<u64, LinkError>,
    /// What came on no call's own stream.
    doubt: Option<Doubt>,
    /// Why the connection ended, once it has.
    ended: Option<LinkError>,
}

/// A call that nobody waits for any more, while its server may still work on it.
#[derive(Debug)]
struct GivenUp {
    session: u64,
    at: Instant,
}

/// Why it cannot be told whose call the server speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unclear {
    #[error("it belongs to no call in flight; hint: ask while a call runs, and on that call's own stream")]
    NoCall,
    #[error("calls of several clients are or were in flight, and it does not say which it belongs to")]
    SeveralClients,
    #[error("the call has ended, or too many of its messages wait for the client")]
    NoRoom,
}

impl Handler {
    pub fn new(server: ServerId, name: String, limits: Limits, news: News) -> Self {
        let place = Place { server, seat: news.seat };
        Self {
            place,
            name,
            limits,
            calls: Mutex::default(),
            news,
            is_asked_only: AtomicBool::new(false),
            link: OnceLock::new(),
            signs: Signs::default(),
        }
    }

    /// This is the connection that the handler works for.
    pub(super) fn lead_back_to(&self, link: &Arc<Link>) {
        // An error would mean that it was said before.
        let _ = self.link.set(Arc::downgrade(link));
    }

    /// Whom everything that belongs to no call is for, if that is known.
    pub(super) fn only_client(&self) -> &OnlyClient {
        &self.news.client
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn signs(&self) -> &Signs {
        &self.signs
    }

    /// For logs.
    pub fn server(&self) -> &str {
        &self.name
    }

    /// The server speaks a revision in which servers send no requests.
    pub fn expect_no_requests(&self) {
        self.is_asked_only.store(true, Ordering::Relaxed);
    }

    /// How large what the server sends may be.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A message that is refused as a whole. Who waits for it is told why; what it returns is to be sent back.
    pub fn refuse(&self, message: &Message, call: Option<u64>, why: &LinkError) -> Option<Frame> {
        match (message.kind(), message.id()) {
            (Kind::Result | Kind::Error, Some(id)) => {
                self.unreadable(&id, call, why.clone());
                None
            }
            (Kind::Request, Some(id)) => Some(Frame::error(Some(&id), &ErrorObject::new(INVALID_REQUEST, why.to_string()))),
            _ => None,
        }
    }

    /// A new call: its id at the server and where its answers arrive.
    ///
    /// # Errors
    /// [`LinkError::Closed`] where the connection has ended.
    pub fn register(&self, caller: Caller) -> Result<(u64, Arc<Mailbox>), LinkError> {
        let mailbox = Arc::new(Mailbox::new(caller));
        let mut calls = self.calls();
        if calls.ended.is_some() {
            return Err(LinkError::Closed);
        }
        calls.last_id += 1;
        let id = calls.last_id;
        calls.waiting.insert(id, Arc::clone(&mailbox));
        Ok((id, mailbox))
    }

    /// The call `id` never reached the server.
    pub fn forget(&self, id: u64) {
        self.calls().take(id);
    }

    /// An answered call stays for the sake of others of its session. False if there are none in flight.
    pub fn linger(&self, mailbox: &Arc<Mailbox>) -> bool {
        let mut calls = self.calls();
        let session = mailbox.caller.session;
        if !calls.is_busy_for(session) {
            return false;
        }
        let is_same = |other: &Arc<Mailbox>| other.caller.session == session;
        if calls.lingering.iter().filter(|other| is_same(other)).count() >= LINGERING
            && let Some(oldest) = calls.lingering.iter().position(is_same)
        {
            tracing::warn!(server = %self.name, "what the server asked {LINGERING} answered calls ago was given up: the client does not answer");
            calls.lingering.remove(oldest).abandon();
        }
        calls.undecided.retain(|other| !Arc::ptr_eq(other, mailbox));
        calls.lingering.push(Arc::clone(mailbox));
        true
    }

    /// Nobody reads any more what is said of this call, which has been answered or was given up.
    pub fn leave(&self, mailbox: &Arc<Mailbox>) {
        let mut calls = self.calls();
        calls.undecided.retain(|other| !Arc::ptr_eq(other, mailbox));
        calls.lingering.retain(|other| !Arc::ptr_eq(other, mailbox));
    }

    /// Nobody waits for `id` any more. True if it was still unanswered.
    pub fn give_up(&self, id: u64) -> bool {
        self.take_unanswered(id).is_some()
    }

    /// Nobody waits for any call any more. Gives those that were unanswered; to listen is none.
    pub fn give_up_all(&self) -> Vec<u64> {
        let waiting: Vec<_> = {
            let calls = self.calls();
            calls.waiting.keys().filter(|id| !calls.listening.contains_key(id)).copied().collect()
        };
        let lost = || LinkError::Lost { reason: LinkError::Closed.to_string() };
        let given_up = waiting.into_iter().filter_map(|id| Some((id, self.take_unanswered(id)?)));
        given_up.map(|(id, mailbox)| (id, mailbox.finish(Err(lost()))).0).collect()
    }

    pub fn is_waiting(&self, id: u64) -> bool {
        self.calls().waiting.contains_key(&id)
    }

    /// Whether any call is in flight. To listen is none.
    pub fn is_busy(&self) -> bool {
        let calls = self.calls();
        calls.waiting.len() > calls.listening.len()
    }

    /// The call `id` listens to what the server says by itself. What it gives is the server's acknowledgement.
    pub fn listens(&self, id: u64) -> oneshot::Receiver<Message> {
        let (acknowledge, acknowledged) = oneshot::channel();
        self.calls().listening.insert(id, Some(acknowledge));
        acknowledged
    }

    /// The call `id` fails; the connection goes on.
    pub fn fail(&self, id: u64, error: LinkError) {
        if let Some(mailbox) = self.take_unanswered(id) {
            mailbox.finish(Err(error));
        }
    }

    fn take_unanswered(&self, id: u64) -> Option<Arc<Mailbox>> {
        let mut calls = self.calls();
        let mailbox = calls.take(id)?;
        if let Some(session) = mailbox.caller.session {
            calls.given_up.retain(|_, call| call.at.elapsed() < GIVEN_UP);
            calls.given_up.insert(id, GivenUp { session, at: Instant::now() });
        }
        Some(mailbox)
    }

    /// The connection has ended because of `error`. Calls in flight have reached the
    /// server, so each of them is lost, whatever the reason.
    pub fn end(&self, error: &LinkError) {
        let waiting = {
            let mut calls = self.calls();
            calls.ended.get_or_insert_with(|| error.clone());
            calls.abandon(|_| true);
            calls.listening.clear();
            calls.doubts.clear();
            calls.doubt = None;
            std::mem::take(&mut calls.waiting)
        };
        let lost = match error {
            LinkError::Lost { .. } => error.clone(),
            other => LinkError::Lost { reason: other.to_string() },
        };
        for mailbox in waiting.into_values() {
            mailbox.finish(Err(lost.clone()));
        }
    }

    /// Takes no more calls, because of `error`. Those in flight come to their own ends: what has happened to one of them says
    /// nothing of the others.
    pub fn retire(&self, error: &LinkError) {
        self.calls().ended.get_or_insert_with(|| error.clone());
    }

    /// Why the connection ended.
    pub fn ended(&self) -> Option<LinkError> {
        self.calls().ended.clone()
    }

    /// Takes the next message. `call` is the one on whose own stream it came, where there
    /// is such a thing. What it returns is to be sent back at once.
    pub fn receive(&self, message: Message, call: Option<u64>) -> Option<Frame> {
        self.signs.heard();
        match message.kind() {
            Kind::Result | Kind::Error => self.reply(message, call),
            Kind::Notification => self.notification(message, call),
            Kind::Request => return self.request(&message, call),
        }
        None
    }

    fn notification(&self, message: Message, call: Option<u64>) {
        match message.method() {
            "notifications/progress" => self.progress(message),
            "notifications/message" => self.log(message, call),
            "notifications/cancelled" => self.withdrawn(&message),
            "notifications/subscriptions/acknowledged" => self.acknowledged(message, call),
            "notifications/tasks" => self.notice(Notice::TaskChanged(self.place.clone(), without_mark(message))),
            "notifications/resources/updated" => self.notice(Notice::Updated(self.place.clone(), without_mark(message))),
            "notifications/elicitation/complete" => self.notice(Notice::Elicited(self.place.clone(), message)),
            "notifications/tools/list_changed" => self.list_changed(ListKind::Tools),
            "notifications/prompts/list_changed" => self.list_changed(ListKind::Prompts),
            "notifications/resources/list_changed" => self.list_changed(ListKind::Resources),
            _ => self.other(message, call),
        }
    }

    fn acknowledged(&self, message: Message, call: Option<u64>) {
        // Without a stream of its own it says itself which request it belongs to.
        let id = call.or_else(|| mark(&message));
        let Some(listener) = id.and_then(|id| self.calls().listening.get_mut(&id)?.take()) else {
            return tracing::debug!(server = %self.name, "an acknowledgement of nothing was dropped");
        };
        // Who does not wait any more believes that all was accepted.
        let _ = listener.send(message);
    }

    pub(super) fn list_changed(&self, kind: ListKind) {
        if self.news.events.try_send(Event::ListChanged(self.place.server.clone(), kind)).is_err() {
            self.too_fast();
        }
    }

    fn notice(&self, notice: Notice) {
        if self.news.notices.try_send(notice).is_err() {
            self.too_fast();
        }
    }

    fn too_fast(&self) {
        metrics::dropped(Dropped::ServerNotification);
        tracing::warn!(server = %self.name, "too many notifications at once; one was dropped");
    }

    fn progress(&self, message: Message) {
        let mailbox = progress_token(&message).and_then(|id| self.calls().waiting.get(&id).cloned());
        let Some(mailbox) = mailbox.filter(|mailbox| mailbox.caller.wants_progress) else {
            metrics::dropped(Dropped::LateProgress);
            return tracing::debug!(server = %self.name, "progress of no call in flight was dropped");
        };
        if !mailbox.put(Said::Progress(message)) {
            metrics::dropped(Dropped::Progress);
            tracing::warn!(server = %self.name, "the client is too slow for this progress; one notification was dropped");
        }
    }

    fn log(&self, message: Message, call: Option<u64>) {
        match self.addressee(call) {
            Ok(mailbox) => {
                if !mailbox.put(Said::Log(message)) {
                    metrics::dropped(Dropped::LogMessage);
                    tracing::debug!(server = %self.name, "the client is too slow for this log; one message was dropped");
                }
            }
            Err(Unclear::NoCall) if self.news.client.is_known() => self.notice(Notice::Logged(self.place.clone(), without_mark(message))),
            Err(unclear) => {
                metrics::dropped(Dropped::UnclearLogMessage);
                tracing::debug!(server = %self.name, "a log message was dropped: {unclear}");
            }
        }
    }

    /// What the proxy itself has no use for may mean something to the client.
    fn other(&self, message: Message, call: Option<u64>) {
        match self.addressee(call) {
            Ok(mailbox) => {
                if !mailbox.put(Said::Other(message)) {
                    metrics::dropped(Dropped::Notification);
                    tracing::debug!(server = %self.name, "the client is too slow for this notification; it was dropped");
                }
            }
            Err(Unclear::NoCall) if self.news.client.is_known() => self.notice(Notice::Said(self.place.clone(), without_mark(message))),
            Err(unclear) => {
                metrics::dropped(Dropped::UnclearNotification);
                let method = redact::quote(message.method(), 100);
                tracing::debug!(server = %self.name, method, "a notification was dropped: {unclear}");
            }
        }
    }

    /// The request is known only to the call that it was put to, or to the client that it was put to outside of calls.
    fn withdrawn(&self, message: &Message) {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let Some(id) = params.and_then(|params| Id::parse(params.get("requestId")?)) else { return };
        if let Some(listener) = id.as_u64().filter(|id| self.calls().listening.contains_key(id)) {
            // The one request of ours that a server may end in this way.
            return self.fail(listener, LinkError::Closed);
        }
        let mailboxes: Vec<_> = {
            let calls = self.calls();
            calls.waiting.values().chain(&calls.undecided).chain(&calls.lingering).cloned().collect()
        };
        for mailbox in mailboxes {
            mailbox.withdraw(&id);
        }
        if self.news.client.is_known() {
            self.notice(Notice::Withdrawn(self.place.clone(), id));
        }
    }

    fn request(&self, message: &Message, call: Option<u64>) -> Option<Frame> {
        let id = message.id().expect("a request has an id");
        let error = match message.method() {
            _ if self.is_asked_only.load(Ordering::Relaxed) => {
                tracing::warn!(server = %self.name, "the server sent a request, which in its revision no server does");
                ErrorObject::new(INVALID_REQUEST, "in this revision servers send no requests; hint: answer with `input_required`")
            }
            "ping" => return Some(Frame::result(&id, Bytes::from_static(b"{}"))),
            method => {
                let unclear = self.ask(message, call).err()?;
                let is_known = matches!(method, "sampling/createMessage" | "elicitation/create" | "roots/list");
                let method = redact::quote(method, 100);
                metrics::dropped(Dropped::UnclearRequest);
                tracing::warn!(server = %self.name, method, "what the server asked was refused: {unclear}");
                if is_known {
                    ErrorObject::new(INVALID_REQUEST, format!("`{method}` cannot be passed on: {unclear}"))
                } else {
                    ErrorObject::new(METHOD_NOT_FOUND, format!("method not found: {method}"))
                }
            }
        };
        Some(Frame::error(Some(&id), &error))
    }

    /// Puts a request to the call that it belongs to, or to the only client there is.
    fn ask(&self, request: &Message, call: Option<u64>) -> Result<(), Unclear> {
        let asked = || Asked { request: request.clone(), is_shared: call.is_none() };
        let way_back = || self.link.get().and_then(Weak::upgrade).filter(|_| self.news.client.is_known());
        // Roots are the client's own and no matter of a call, which may well be over before they are told.
        if call.is_none()
            && request.method() == "roots/list"
            && let Some(link) = way_back()
        {
            self.notice(Notice::Asked(self.place.clone(), Ask::new(&link, asked())));
            return Ok(());
        }
        match self.addressee(call) {
            Ok(mailbox) if mailbox.put(Said::Ask(asked())) => Ok(()),
            Ok(_) => Err(Unclear::NoRoom),
            Err(Unclear::NoCall) => {
                let link = way_back().ok_or(Unclear::NoCall)?;
                // Where there is no room for it, it is refused by being dropped.
                self.notice(Notice::Asked(self.place.clone(), Ask::new(&link, asked())));
                Ok(())
            }
            Err(unclear) => Err(unclear),
        }
    }

    /// The same of a request that was taken for one of no call. False if there is no call that it can belong to.
    pub(super) fn put_to_call(&self, request: &Message) -> bool {
        let asked = Asked { request: request.clone(), is_shared: true };
        self.addressee(None).is_ok_and(|mailbox| mailbox.put(Said::Ask(asked)))
    }

    /// Where goes what belongs to a call: to `call`, or else to the latest of the only
    /// session that the server has lately worked for.
    fn addressee(&self, call: Option<u64>) -> Result<Arc<Mailbox>, Unclear> {
        let calls = self.calls();
        if let Some(call) = call {
            return calls.waiting.get(&call).filter(|mailbox| mailbox.caller.session.is_some()).cloned().ok_or(Unclear::NoCall);
        }
        let of_sessions = || calls.waiting.iter().filter(|(_, mailbox)| mailbox.caller.session.is_some());
        let (_, latest) = of_sessions().max_by_key(|(id, _)| **id).ok_or(Unclear::NoCall)?;
        let session = latest.caller.session;
        // SECURITY: what one client's call is about must not be shown to another client.
        let is_other = |other: Option<u64>| other != session;
        if of_sessions().any(|(_, mailbox)| is_other(mailbox.caller.session))
            || calls.given_up.values().any(|call| is_other(Some(call.session)) && call.at.elapsed() < GIVEN_UP)
        {
            return Err(Unclear::SeveralClients);
        }
        Ok(Arc::clone(latest))
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // The table is consistent at every point where a panic could happen.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// The call is not in flight any more.
    fn take(&mut self, id: u64) -> Option<Arc<Mailbox>> {
        let mailbox = self.waiting.remove(&id)?;
        self.listening.remove(&id);
        self.settle_doubt(id);
        let session = mailbox.caller.session;
        if !self.lingering.is_empty() && !self.is_busy_for(session) {
            self.abandon(|other| other == session);
        }
        if mailbox.has_asked() {
            // So that no withdrawal is lost before the reader has come to `linger` or `leave`.
            self.undecided.push(Arc::clone(&mailbox));
        }
        Some(mailbox)
    }

    fn is_busy_for(&self, session: Option<u64>) -> bool {
        session.is_some() && self.waiting.values().any(|mailbox| mailbox.caller.session == session)
    }

    /// What such sessions were asked can belong to no call any more.
    fn abandon(&mut self, is_meant: impl Fn(Option<u64>) -> bool) {
        for mailbox in self.lingering.extract_if(.., |mailbox| is_meant(mailbox.caller.session)) {
            mailbox.abandon();
        }
    }
}

/// The request of ours that a notification says it is sent for.
fn mark(message: &Message) -> Option<u64> {
    Object::parse(Object::parse(message.body()?).ok()?.get("_meta")?).ok()?.get(SUBSCRIPTION_KEY)?.parse().ok()
}

/// The notification without that: it means nothing to clients.
fn without_mark(message: Message) -> Message {
    if mark(&message).is_none() {
        return message;
    }
    let stripped = || {
        let body = message.body()?;
        let params = Object::parse(body).ok()?;
        let meta = params.get("_meta")?;
        let members = Object::parse(meta).ok()?;
        let is_alone = members.without(message.text(), meta, |name| name != SUBSCRIPTION_KEY).is_empty();
        let pieces = if is_alone {
            params.without(message.text(), body, |name| name == "_meta")
        } else {
            members.without(message.text(), meta, |name| name == SUBSCRIPTION_KEY)
        };
        let edits = pieces.into_iter().map(|piece| (piece, Bytes::new())).collect();
        Message::parse(&Frame::spliced(message.text(), edits).into_bytes()).ok()
    };
    stripped().unwrap_or(message)
}

/// Tokens towards servers are our request ids.
fn progress_token(message: &Message) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        progress_token: u64,
    }
    json::read::<Params>(message.body()?).ok().map(|params| params.progress_token)
}

#[cfg(test)]
mod tests;
