//! One client's stay: which message goes where, and the calls in flight.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_util::task::TaskTracker;

use super::{announced::Announced, asked::Asked, rescue};
use crate::{
    builtin,
    catalog::ListKind,
    protocol::{
        capability::ClientCapabilities,
        error::{ErrorObject, INVALID_REQUEST},
        json::Object,
        log_level::LogLevel,
        message::{Frame, Id, Kind, Message},
        revision::Revision,
    },
    router::{Answer, AskError, CallError, ClientPeer, Ctx, Router, SessionPeer, events},
};

/// Calls of one client at once. A client that starts more gets an error for them.
const MAX_CALLS: usize = 4096;

/// Shared by the tasks of one client.
#[derive(Debug, Clone)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of this session alone.
    number: u64,
    router: Router,
    /// To the client. The front's writer is at the other end.
    outgoing: mpsc::Sender<Frame>,
    tracker: TaskTracker,
    calls: Mutex<HashMap<Id, AbortHandle>>,
    read: events::Read,
    /// What the client has said of itself and of what it wants.
    wishes: Mutex<Wishes>,
    asked: Asked,
    announced: Announced,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wishes {
    capabilities: ClientCapabilities,
    log_level: Option<LogLevel>,
}

impl Session {
    pub fn new(router: Router, outgoing: mpsc::Sender<Frame>, tracker: TaskTracker) -> Self {
        /// Of the last session that began.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(Inner {
            number: NUMBER.fetch_add(1, Ordering::Relaxed) + 1,
            router,
            outgoing,
            tracker,
            calls: Mutex::default(),
            read: events::Read::default(),
            wishes: Mutex::default(),
            asked: Asked::default(),
            announced: Announced::default(),
        }))
    }

    /// Takes the client's next message. Waits only while the client does not read
    /// what it was sent.
    pub async fn receive(&self, message: Message) {
        match message.kind() {
            Kind::Request if message.method() == "initialize" => self.initialize(&message).await,
            Kind::Request if message.method() == "ping" => self.send(Frame::result(&id_of(&message), Bytes::from_static(b"{}"))).await,
            Kind::Request => self.start(message).await,
            Kind::Notification => self.notification(&message),
            Kind::Result | Kind::Error => self.answered(message),
        }
        self.0.router.begin();
    }

    pub async fn send(&self, frame: Frame) {
        // An error means that the client is gone, which ends the session anyway.
        let _ = self.0.outgoing.send(frame).await;
    }

    /// Tells the client when a list that it has read changes. Ends with the catalog.
    pub async fn watch_lists(&self) {
        events::watch(self.0.router.catalog().subscribe(), &self.0.read, async |frame| self.send(frame).await).await;
    }

    /// Sends what servers say outside of calls. Does not end.
    pub async fn tell(&self) {
        loop {
            self.send(self.0.announced.next().await).await;
        }
    }

    /// The client says nothing more, so it is asked nothing more.
    pub fn end(&self) {
        self.0.asked.end();
        self.0.router.forget(self.0.number);
    }

    /// Calls that are not answered yet.
    pub fn in_flight(&self) -> usize {
        self.calls().len()
    }

    /// Answered locally and at once, whatever the App or any server does.
    async fn initialize(&self, request: &Message) {
        let params = request.body().and_then(|params| Object::parse(params).ok());
        let requested = params.as_ref().and_then(|params| params.string("protocolVersion"));
        let revision = Revision::negotiate(requested.as_deref());
        self.0.wishes().capabilities = ClientCapabilities::of(request.body().unwrap_or_default());
        let client = params.as_ref().and_then(|params| Object::parse(params.get("clientInfo")?).ok()?.string("name"));
        tracing::info!(client = client.as_deref().unwrap_or("?"), %revision, "client connected");
        let catalog = self.0.router.catalog().current();
        let result = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": {
                "tools": { "listChanged": true },
                "prompts": { "listChanged": true },
                "resources": { "listChanged": true, "subscribe": true },
                "completions": {},
                "logging": {},
            },
            "serverInfo": { "name": "PluggedinMCP", "title": "plugged.in", "version": env!("CARGO_PKG_VERSION") },
            "instructions": builtin::instructions(&catalog),
        });
        self.send(Frame::result(&id_of(request), result.to_string().into())).await;
    }

    async fn start(&self, request: Message) {
        let id = id_of(&request);
        let problem = {
            let calls = self.calls();
            if calls.contains_key(&id) {
                Some("this request id is in use by a call in flight")
            } else if calls.len() >= MAX_CALLS {
                Some("too many calls in flight; wait for some to finish")
            } else {
                None
            }
        };
        if let Some(problem) = problem {
            return self.send(Frame::error(Some(&id), &ErrorObject::new(INVALID_REQUEST, problem))).await;
        }
        let mut calls = self.calls();
        let task = self.0.tracker.spawn(Box::pin(self.clone().call(request, id.clone())));
        calls.insert(id, task.abort_handle());
    }

    /// One call from start to answer. Aborting it cancels it at its server.
    async fn call(self, request: Message, id: Id) {
        let done = Done { session: &self, id: &id };
        let frame = match self.dispatch(&request).await {
            Ok(answer) => answer.into_frame(&id),
            Err(error) => rescue::answer(request.method(), &id, &error),
        };
        self.send(frame).await;
        drop(done);
    }

    /// The table of methods.
    async fn dispatch(&self, request: &Message) -> Result<Answer, CallError> {
        let router = &self.0.router;
        let ctx = Ctx { session: Arc::clone(&self.0) as _, client: Arc::clone(&self.0) as _ };
        match request.method() {
            "tools/call" => router.call_tool(&ctx, request).await,
            // Boxed, because the largest of these would set the size of every call's task.
            "resources/read" => Box::pin(router.read_resource(&ctx, request)).await,
            "prompts/get" => Box::pin(router.get_prompt(&ctx, request)).await,
            "completion/complete" => Box::pin(router.complete(&ctx, request)).await,
            "resources/subscribe" => Box::pin(router.subscribe(&ctx, request)).await,
            "resources/unsubscribe" => Box::pin(router.unsubscribe(&ctx, request)).await,
            "logging/setLevel" => self.set_log_level(&ctx, request),
            "tools/list" => self.list(ListKind::Tools, request).await,
            "prompts/list" => self.list(ListKind::Prompts, request).await,
            "resources/list" => self.list(ListKind::Resources, request).await,
            "resources/templates/list" => self.list(ListKind::Templates, request).await,
            method => Err(CallError::UnknownMethod(method.to_owned())),
        }
    }

    async fn list(&self, kind: ListKind, request: &Message) -> Result<Answer, CallError> {
        let (answer, generation) = self.0.router.list(kind, request).await?;
        self.0.read.note(kind, generation);
        Ok(answer)
    }

    fn set_log_level(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let (answer, level) = self.0.router.set_log_level(ctx, request)?;
        self.0.wishes().log_level = Some(level);
        Ok(answer)
    }

    fn notification(&self, message: &Message) {
        match message.method() {
            "notifications/cancelled" => self.cancel(message),
            "notifications/initialized" => {}
            method => tracing::debug!(method, "notification ignored"),
        }
    }

    fn answered(&self, message: Message) {
        if !self.0.asked.answered(message) {
            tracing::debug!("the client answered a request that nobody waits for; ignored");
        }
    }

    /// A cancelled request gets no answer (specification, utilities/cancellation).
    fn cancel(&self, message: &Message) {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let Some(id) = params.as_ref().and_then(|params| params.get("requestId")).and_then(Id::parse) else { return };
        // The task takes itself off the table when it is dropped.
        let task = self.calls().get(&id).cloned();
        if let Some(task) = task {
            task.abort();
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Id, AbortHandle>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        // Both are copied in whole, so a panic leaves nothing half done.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionPeer for Inner {
    fn number(&self) -> u64 {
        self.number
    }

    fn capabilities(&self) -> ClientCapabilities {
        self.wishes().capabilities
    }

    fn announce(&self, frame: Frame) {
        self.announced.push(frame);
    }

    fn log_level(&self) -> Option<LogLevel> {
        self.wishes().log_level
    }
}

/// One pair of streams for everything: the client tells by the ids what belongs together.
impl ClientPeer for Inner {
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // An error means that the client is gone, which ends the session anyway.
            let _ = self.outgoing.send(frame).await;
        })
    }

    fn ask(&self, request: &Message) -> BoxFuture<'_, Result<Message, AskError>> {
        let request = request.clone();
        Box::pin(async move {
            let send = async |frame| self.outgoing.send(frame).await.is_ok();
            // A client that does not read has not seen the request either.
            self.asked.ask(&request, send, |frame| drop(self.outgoing.try_send(frame))).await
        })
    }
}

/// Takes a call off the table when it ends, however it ends.
struct Done<'a> {
    session: &'a Session,
    id: &'a Id,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.session.calls().remove(self.id);
    }
}

fn id_of(request: &Message) -> Id {
    request.id().expect("a request has an id")
}
