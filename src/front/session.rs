//! One client's stay: which message goes where, the calls in flight, and what the client has
//! said of itself. How messages travel is the front's to say.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{AbortHandle, Abortable, BoxFuture, abortable},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

mod outside;

use super::{
    announced::Announced,
    asked::{Answered, Asked},
    http::streams::Stream,
    listen::Listeners,
    offer, rescue,
};
use crate::{
    builtin,
    catalog::ListKind,
    downstream::Guest,
    protocol::{
        declared::{self, Declared},
        error::{ErrorObject, INTERNAL_ERROR, INVALID_REQUEST, REFUSED},
        json::Object,
        log_level::Verbosity,
        message::{Frame, Id, Kind, Message},
        revision::Revision,
    },
    router::{Answer, CallError, ClientPeer, Ctx, Router, SessionPeer, bridge, events},
    security::{rate_limit::Allowance, redact},
    telemetry::metrics::{self, Dropped},
};

/// Shared by the tasks of one client.
#[derive(Debug, Clone)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of this session alone.
    number: u64,
    outlet: Outlet,
    /// Calls at once. A client that starts more gets an error for them.
    max_calls: usize,
    /// How often the client may call.
    allowance: Allowance,
    calls: Mutex<HashMap<Id, AbortHandle>>,
    read: events::Read,
    /// What the client has said of itself and of what it wants.
    wishes: Mutex<Wishes>,
    asked: Asked,
    listeners: Listeners,
}

/// Where goes what belongs to no call.
#[derive(Debug)]
pub enum Outlet {
    /// To be collected by whoever writes to the client.
    Announced(Arc<Announced>),
    /// The session's standalone event stream.
    Stream(Arc<Stream>),
    /// There is no way to the client outside of its calls.
    Nowhere,
}

#[derive(Debug, Clone, Default)]
struct Wishes {
    /// `None` until the client has said which revision it speaks.
    declared: Option<Arc<Declared>>,
    verbosity: Verbosity,
}

/// One request that says for itself who asks, in a session or without one.
#[derive(Debug)]
struct Declaring {
    session: Arc<Inner>,
    declared: Arc<Declared>,
    verbosity: Verbosity,
}

/// What becomes of a message.
pub enum Received {
    /// There is nothing to say to it.
    Nothing,
    /// It is a response to what was never asked.
    Unasked,
    /// It is answered at once.
    Answer(Frame),
    /// It is answered when this is done, which must be driven.
    Call(Call),
    /// As many calls are in flight as may be.
    TooMany,
}

/// One call from start to answer; `None` if it is cancelled, which gets no answer
/// (specification, utilities/cancellation). Dropping it cancels it at its server.
pub struct Call {
    id: Id,
    work: Abortable<BoxFuture<'static, Frame>>,
}

impl Future for Call {
    type Output = Option<Frame>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let Self { id, work } = self.get_mut();
        // A defect of ours in one call leaves neither its client waiting nor a batch's other calls without an answer. What
        // calls share stays consistent: see the locks. Here it costs no room, and a call is not moved for it.
        match catch_unwind(AssertUnwindSafe(|| work.poll_unpin(context))) {
            Ok(polled) => polled.map(Result::ok),
            Err(_) => Poll::Ready(Some(Frame::error(Some(id), &defect()))),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call(..)")
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Unasked => "Unasked",
            Self::Answer(_) => "Answer(..)",
            Self::Call(_) => "Call(..)",
            Self::TooMany => "TooMany",
        })
    }
}

/// What is said to [`Received::TooMany`].
pub fn too_many() -> ErrorObject {
    ErrorObject::new(REFUSED, "too many calls in flight; wait for some to finish")
}

/// What is said where a call panicked. The panic itself is in the log already, without a word of it for clients.
pub(super) fn defect() -> ErrorObject {
    ErrorObject::new(INTERNAL_ERROR, "this call met a defect of the proxy (pluggedin-mcp-proxy); hint: its log says where")
}

/// What a message comes to, though taking it panics: who reads messages reads on. `id` is that of a request.
fn guarded(id: Option<Id>, take: impl FnOnce() -> Received) -> Received {
    let answer = |()| id.map_or(Received::Nothing, |id| Received::Answer(Frame::error(Some(&id), &defect())));
    catch_unwind(AssertUnwindSafe(take)).map_err(drop).unwrap_or_else(answer)
}

impl Session {
    /// `closing` ends what is open until somebody ends it.
    pub fn new(outlet: Outlet, max_calls: usize, allowance: Allowance, closing: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            number: next_number(),
            outlet,
            max_calls,
            allowance,
            calls: Mutex::default(),
            read: events::Read::default(),
            wishes: Mutex::default(),
            asked: Asked::default(),
            listeners: Listeners::new(closing),
        }))
    }

    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// The session as the router sees it.
    pub fn peer(&self) -> Arc<dyn SessionPeer> {
        Arc::clone(&self.0) as _
    }

    /// The revision that was agreed on, if any was.
    pub fn revision(&self) -> Option<Revision> {
        self.0.wishes().declared.as_ref().map(|declared| declared.revision)
    }

    /// The requests of servers that wait for the client.
    pub fn asked(&self) -> &Asked {
        &self.0.asked
    }

    /// Takes the client's next message. `peer` is the client while it is answered.
    pub fn receive(&self, message: Message, router: &Arc<Router>, peer: Arc<dyn ClientPeer>) -> Received {
        let id = message.id().filter(|_| message.kind() == Kind::Request);
        guarded(id, || self.take(message, router, peer))
    }

    fn take(&self, message: Message, router: &Arc<Router>, peer: Arc<dyn ClientPeer>) -> Received {
        match message.kind() {
            Kind::Request if message.method() == "initialize" => Received::Answer(self.initialize(&message, router)),
            Kind::Request if message.method() == "ping" => Received::Answer(Frame::result(&id_of(&message), Bytes::from_static(b"{}"))),
            Kind::Request => self.start(message, router, peer, Arc::clone(&self.0) as _),
            Kind::Notification => {
                self.notification(&message, router);
                Received::Nothing
            }
            Kind::Result | Kind::Error => {
                let answered = self.0.asked.answered(message);
                if answered != Answered::Taken {
                    tracing::debug!("the client answered a request that nobody waits for; ignored");
                }
                if answered == Answered::Unasked { Received::Unasked } else { Received::Nothing }
            }
        }
    }

    /// Takes a request that says for itself who asks (2026-07-28). What its server asks goes into its answer, so that `peer` is
    /// only told things.
    pub fn receive_declared(&self, request: Message, declared: Declared, router: &Arc<Router>, peer: Arc<dyn ClientPeer>) -> Received {
        let verbosity = declared::verbosity(&request);
        let declaring = Declaring { session: Arc::clone(&self.0), declared: Arc::new(declared), verbosity };
        guarded(request.id(), || self.start(request, router, peer, Arc::new(declaring)))
    }

    /// Tells the client when a list that it has read changes. Ends with the catalog.
    pub async fn watch_lists(&self, router: &Router) {
        events::watch(router.catalog().subscribe(), &self.0.read, |frame| self.0.announce(frame)).await;
    }

    /// Calls that are not answered yet.
    pub fn in_flight(&self) -> usize {
        self.calls().len()
    }

    /// Nothing is told to those who listen any more; they get their answers.
    pub fn end_listening(&self) {
        self.0.listeners.close();
    }

    /// Those who still listen.
    pub fn listening(&self) -> usize {
        self.0.listeners.len()
    }

    /// The client is gone: its calls are cancelled, and servers get no answer from it.
    pub fn end(&self) {
        self.calls().drain().for_each(|(_, call)| call.abort());
        self.0.asked.end();
    }

    /// Answered locally and at once, whatever the App or any server does.
    fn initialize(&self, request: &Message, router: &Router) -> Frame {
        let params = request.body().and_then(|params| Object::parse(params).ok());
        let requested = params.as_ref().and_then(|params| params.string("protocolVersion"));
        let revision = Revision::negotiate(requested.as_deref());
        let declared = Declared::in_handshake(request.body().unwrap_or_default(), revision);
        self.0.wishes().declared = Some(Arc::new(declared));
        router.introduce(self.0.number);
        let client = params.as_ref().and_then(|params| Object::parse(params.get("clientInfo")?).ok()?.string("name"));
        let client = redact::quote(client.as_deref().unwrap_or("?"), 100);
        tracing::info!(session = self.0.number, client, %revision, "client connected");
        let result = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": offer::capabilities(&router.catalog().current(), revision),
            "serverInfo": offer::server_info(),
            "instructions": builtin::instructions(&router.catalog().current()),
        });
        Frame::result(&id_of(request), result.to_string().into())
    }

    fn start(&self, request: Message, router: &Arc<Router>, client: Arc<dyn ClientPeer>, asker: Arc<dyn SessionPeer>) -> Received {
        let id = id_of(&request);
        let mut calls = self.calls();
        if calls.contains_key(&id) {
            let error = ErrorObject::new(INVALID_REQUEST, "this request id is in use by a call in flight");
            return Received::Answer(Frame::error(Some(&id), &error));
        }
        if calls.len() >= self.0.max_calls {
            return Received::TooMany;
        }
        let done = Done { session: self.clone(), id: id.clone() };
        let own_id = id.clone();
        let router = Arc::clone(router);
        // In its box before anything else: it is large, and is not moved again.
        let (work, handle) = abortable(Box::pin(async move {
            let Done { session, id } = &done;
            let method = request.method();
            let revision = asker.declared().revision;
            let ctx = Ctx { session: asker, client };
            match session.dispatch(&request, &router, &ctx).await {
                Ok(answer) => bridge::shape(answer, method, revision).into_frame(id),
                Err(error) => rescue::answer(method, id, &error, revision),
            }
        }) as BoxFuture<'static, Frame>);
        calls.insert(id, handle);
        Received::Call(Call { id: own_id, work })
    }

    /// The table of methods.
    async fn dispatch(&self, request: &Message, router: &Router, ctx: &Ctx) -> Result<Answer, CallError> {
        let has_handshake = || ctx.session.declared().revision.has_handshake();
        // A session has said once for all its calls what it wants to see of them.
        let _raised = match ctx.session.verbosity().level() {
            Some(level) if !has_handshake() && is_forwarded(request.method()) => Some(Box::pin(router.raise_log_level(level)).await),
            _ => None,
        };
        match request.method() {
            "tools/call" => router.call_tool(ctx, request).await,
            // Boxed, because the largest of these would set the size of every call's task.
            "resources/read" => Box::pin(router.read_resource(ctx, request)).await,
            "prompts/get" => Box::pin(router.get_prompt(ctx, request)).await,
            "completion/complete" => Box::pin(router.complete(ctx, request)).await,
            "resources/subscribe" => Box::pin(router.subscribe(ctx, request)).await,
            "resources/unsubscribe" => Box::pin(router.unsubscribe(ctx, request)).await,
            "logging/setLevel" => self.set_log_level(ctx, request, router),
            "tools/list" => self.list(ListKind::Tools, request, router, ctx).await,
            "prompts/list" => self.list(ListKind::Prompts, request, router, ctx).await,
            "resources/list" => self.list(ListKind::Resources, request, router, ctx).await,
            "resources/templates/list" => self.list(ListKind::Templates, request, router, ctx).await,
            "server/discover" if !has_handshake() => Ok(Box::pin(offer::discover(router)).await),
            "subscriptions/listen" if !has_handshake() => Box::pin(self.0.listeners.serve(next_number(), request, router, ctx)).await,
            // Of the other era: what a server would make of them is not for this client.
            "server/discover" | "subscriptions/listen" => Err(CallError::UnknownMethod(request.method().to_owned())),
            _ => Box::pin(router.pass(ctx, request)).await,
        }
    }

    async fn list(&self, kind: ListKind, request: &Message, router: &Router, ctx: &Ctx) -> Result<Answer, CallError> {
        let (answer, generation) = router.list(kind, request).await?;
        // Without a handshake changes are told to those alone who have asked to hear of them.
        if ctx.session.declared().revision.has_handshake() {
            self.0.read.note(kind, generation);
        }
        Ok(answer)
    }

    fn set_log_level(&self, ctx: &Ctx, request: &Message, router: &Router) -> Result<Answer, CallError> {
        let (answer, level) = router.set_log_level(ctx, request)?;
        self.0.wishes().verbosity = Verbosity::From(level);
        Ok(answer)
    }

    fn notification(&self, message: &Message, router: &Router) {
        match message.method() {
            "notifications/cancelled" => self.cancel(message),
            "notifications/initialized" => {}
            "notifications/progress" => {
                if !self.0.asked.progressed(message) {
                    metrics::dropped(Dropped::ClientProgress);
                    tracing::debug!("the client reported progress of a request that nobody waits for; ignored");
                }
            }
            "notifications/roots/list_changed" => router.tell_roots_changed(self.0.number, message),
            _ => router.pass_notification(self.0.as_ref(), message),
        }
    }

    fn cancel(&self, message: &Message) {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let Some(id) = params.as_ref().and_then(|params| params.get("requestId")).and_then(Id::parse) else { return };
        // It takes itself off the table when it is dropped.
        let call = self.calls().get(&id).cloned();
        if let Some(call) = call {
            call.abort();
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Id, AbortHandle>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        // Both are put in whole, so a panic leaves nothing half done.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionPeer for Inner {
    fn number(&self) -> u64 {
        self.number
    }

    fn declared(&self) -> Arc<Declared> {
        static NOTHING: LazyLock<Arc<Declared>> = LazyLock::new(|| Arc::new(Declared::nothing()));
        Arc::clone(self.wishes().declared.as_ref().unwrap_or(&NOTHING))
    }

    fn announce(&self, frame: Frame) {
        match &self.outlet {
            Outlet::Announced(announced) => announced.push(frame),
            Outlet::Stream(stream) => stream.announce(frame),
            Outlet::Nowhere => {}
        }
    }

    fn verbosity(&self) -> Verbosity {
        self.wishes().verbosity
    }

    fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    fn guest(&self) -> Option<Guest> {
        match &self.outlet {
            Outlet::Stream(_) => Some(Guest { session: self.number, declared: self.declared(), over: self.listeners.closing().clone() }),
            // It is the only one, or is known for one request alone.
            Outlet::Announced(_) | Outlet::Nowhere => None,
        }
    }

    fn outside(self: Arc<Self>) -> Option<Arc<dyn ClientPeer>> {
        matches!(self.outlet, Outlet::Stream(_)).then_some(self as _)
    }
}

impl SessionPeer for Declaring {
    fn number(&self) -> u64 {
        self.session.number
    }

    fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.declared)
    }

    fn announce(&self, frame: Frame) {
        self.session.announce(frame);
    }

    fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    fn allowance(&self) -> &Allowance {
        &self.session.allowance
    }
}

/// Takes a call off the table when it ends, however it ends.
struct Done {
    session: Session,
    id: Id,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.session.calls().remove(&self.id);
    }
}

/// Whether servers work on it, and may have something to say meanwhile.
fn is_forwarded(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read" | "completion/complete")
}

/// What tells sessions, and others whom the router knows, from each other.
fn next_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

fn id_of(request: &Message) -> Id {
    request.id().expect("a request has an id")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn defective() -> Frame {
        panic!("an invariant does not hold");
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_and_off_the_table() {
        let session = Session::new(Outlet::Nowhere, 2, Allowance::Unlimited, CancellationToken::new());
        let id = Id::number(7);
        let done = Done { session: session.clone(), id: id.clone() };
        let (work, handle) = abortable(Box::pin(async move {
            let _done = done;
            tokio::task::yield_now().await;
            defective()
        }) as BoxFuture<'static, Frame>);
        session.calls().insert(id.clone(), handle);
        let answer = Call { id, work }.await.expect("an answer").into_bytes();
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(INTERNAL_ERROR)));
        assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains("defect of the proxy")), "{answer}");
        assert_eq!(session.in_flight(), 0);
    }

    #[test]
    fn a_message_that_panics_is_answered_if_it_is_a_request() {
        let take = || Received::Answer(defective());
        let Received::Answer(answer) = guarded(Some(Id::number(7)), take) else { panic!("no answer") };
        let answer: Value = serde_json::from_slice(&answer.into_bytes()).expect("JSON");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(INTERNAL_ERROR)));
        assert!(matches!(guarded(None, take), Received::Nothing));
    }
}
