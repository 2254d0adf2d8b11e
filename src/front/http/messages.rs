//! `POST`: one message, or a batch where the revision has them, and its answer (transports,
//! "Sending messages to the server").
//!
//! A call is driven by the request that brought it: where its answer is the first thing to be
//! said, it goes out as plain JSON without another task. Where something comes before, or
//! nothing for a while, an event stream is begun and the call goes on in a task of its own.

use std::{future::poll_fn, net::IpAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::sleep};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    Front, auth,
    client::{Client, Passing, Running},
    connections::Peer,
    lenient::{self, Accepted},
    limits::{self, Room},
    modern,
    peer::{CallPeer, Sink},
    reply,
    sessions::{InUse, NoSession},
    streams::{Settings, Stream},
};
use crate::{
    front::{
        asked::Answered,
        batch::Batch,
        session::{self, Call, Outlet, Received, Session},
    },
    protocol::{
        declared::Declared,
        error::{ErrorObject, INVALID_REQUEST, NO_SESSION, REFUSED, UNSUPPORTED_VERSION},
        message::{Frame, Id, Invalid, Kind, Message},
        revision::Revision,
    },
    router::{ClientPeer, Router},
    security::{payload, rate_limit::Allowance},
};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// A call that takes longer gets an event stream, so that the client hears of it, proxies on
/// the way do not give up, and a lost connection can be taken up again.
const STREAM_AFTER: Duration = Duration::from_secs(1);

/// What a request brings.
enum Incoming {
    One(Message),
    Batch(Batch),
}

impl Incoming {
    fn messages(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(batch) => &batch.messages,
        }
    }

    /// To answer under where one answer stands for all.
    fn id(&self) -> Option<Id> {
        match self {
            Self::One(message) if message.kind() == Kind::Request => message.id(),
            Self::One(_) | Self::Batch(_) => None,
        }
    }
}

/// Why a body is no message.
enum Unread {
    Refused(Response),
    Invalid(Box<Invalid>),
}

pub(super) async fn post(State(front): State<Arc<Front>>, request: Request) -> Response {
    match front.receive(request).await {
        Ok(response) | Err(response) => response,
    }
}

impl Front {
    async fn receive(self: Arc<Self>, request: Request) -> Result<Response, Response> {
        if self.is_draining() {
            return Err(stopping());
        }
        let token = self.requests.token();
        let (head, body) = request.into_parts();
        limits::check_content(&head.headers)?;
        let accepted = Accepted::of(&head.headers)?;
        let from = head.extensions.get::<Peer>().expect("every connection says who it is").remote.ip();
        let room = if limits::may_be_large(&body) { self.room(&head.headers, from).await? } else { Room::Full };
        let body = limits::read_body(body, room, &self.config.limits).await?;
        let version = version(&head.headers).map_err(|error| {
            let message = Message::parse(&body).ok().filter(|message| message.kind() == Kind::Request);
            reply::error(StatusCode::BAD_REQUEST, message.and_then(|message| message.id()).as_ref(), &error)
        })?;
        let incoming = match self.parse(&body, version) {
            Ok(incoming) => incoming,
            Err(Unread::Refused(response)) => return Err(response),
            Err(Unread::Invalid(invalid)) => return Err(self.refuse_invalid(&head.headers, from, &invalid).await),
        };

        let public = incoming.messages().iter().all(auth::is_public);
        let admitted = self.gate.admit(&head.headers, public, from).await;
        let grant = admitted.map_err(|denied| denied.into_response(incoming.id().as_ref()))?;

        let modern = match &incoming {
            Incoming::One(message) => modern::is_modern(&head.headers, version, message),
            Incoming::Batch(_) => false,
        };
        let exchange = Exchange { front: self, accepted, version, token };
        if modern {
            return exchange.answer_modern(&head.headers, incoming, grant.router(), from).await;
        }
        if exchange.front.config.stateless {
            let client = Client::Passing(exchange.client_of_one_request(grant.router(), from));
            return Ok(exchange.answer(incoming, client, grant.router()).await);
        }
        let (using, new) = exchange.stay(&head.headers, &incoming, &grant, from)?;
        if matches!(incoming, Incoming::Batch(_)) && using.stay.session.revision().is_some_and(|revision| !revision.has_batches()) {
            return Err(reply::refuse(StatusCode::BAD_REQUEST, "the revision of this session has no batches; send one message at a time"));
        }
        let id = new.then(|| using.stay.id.to_text());
        let mut response = exchange.answer(incoming, Client::Staying(using), grant.router()).await;
        if let Some(id) = id.and_then(|id| HeaderValue::try_from(id).ok()) {
            response.headers_mut().insert(SESSION_ID, id);
        }
        Ok(response)
    }

    /// How large a body may be that may be large.
    ///
    /// SECURITY: before any of it is read, so that memory is not for everybody (threat model T11). The key of a small one is
    /// looked at once, with what it says.
    async fn room(&self, headers: &HeaderMap, from: IpAddr) -> Result<Room, Response> {
        let grant = self.gate.admit(headers, true, from).await.map_err(|denied| denied.into_response(None))?;
        Ok(if grant.is_final() { Room::Full } else { Room::WithoutKey })
    }

    /// What was meant as a response cannot be read: the server that waits for it is told, too.
    async fn refuse_invalid(&self, headers: &HeaderMap, from: IpAddr, invalid: &Invalid) -> Response {
        let mut id = invalid.id.as_ref();
        if invalid.is_response
            && let Ok(Some(session)) = session_id(headers)
            && let Ok(grant) = self.gate.admit(headers, false, from).await
            && let Ok(using) = self.sessions.find(session.as_bytes(), &grant)
            && using.stay.session.asked().unreadable(invalid) != Answered::Unasked
        {
            // It is one of ours, and no request of the client's.
            id = None;
        }
        reply::error(StatusCode::BAD_REQUEST, id, &invalid.error)
    }

    fn parse(&self, body: &Bytes, version: Option<Revision>) -> Result<Incoming, Unread> {
        if payload::too_deep(body, self.config.limits.depth) {
            let message = format!("the message is nested deeper than {} levels", self.config.limits.depth);
            return Err(Unread::Refused(reply::error(StatusCode::BAD_REQUEST, None, &ErrorObject::new(INVALID_REQUEST, message))));
        }
        // Who names no revision may speak the one that has batches (2025-06-18, "Protocol version header").
        let batches = version.is_none_or(Revision::has_batches);
        if batches && Batch::is(body) {
            let refused = |refused| Unread::Refused(reply::frame(StatusCode::BAD_REQUEST, refused));
            return Batch::parse(body).map(Incoming::Batch).map_err(refused);
        }
        Message::parse(body).map(Incoming::One).map_err(Unread::Invalid)
    }
}

/// The session that the request names.
pub(super) fn session_id(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Response> {
    let mut ids = headers.get_all(SESSION_ID).iter();
    let id = ids.next();
    // Who stands in between may have judged the other one.
    if ids.next().is_some() { Err(reply::refuse(StatusCode::BAD_REQUEST, "`Mcp-Session-Id` is there twice")) } else { Ok(id) }
}

/// The revision that the request names.
pub(super) fn version(headers: &HeaderMap) -> Result<Option<Revision>, ErrorObject> {
    let mut versions = headers.get_all(PROTOCOL_VERSION).iter();
    let Some(version) = versions.next() else { return Ok(None) };
    // SECURITY: who stands in between may have judged the other one, as with the session's id.
    if versions.next().is_some() {
        return Err(ErrorObject::new(INVALID_REQUEST, "`MCP-Protocol-Version` is there twice"));
    }
    let revision = version.to_str().ok().and_then(Revision::parse);
    revision.map(Some).ok_or_else(|| {
        let supported: Vec<_> = Revision::ALL.iter().map(|revision| revision.as_str()).collect();
        let requested = String::from_utf8_lossy(version.as_bytes());
        let message = format!("`MCP-Protocol-Version` names a revision that is not spoken here; hint: use one of {}", supported.join(", "));
        ErrorObject::new(UNSUPPORTED_VERSION, message).with_data(json!({ "supported": supported, "requested": requested }))
    })
}

/// One POST on its way to its answer.
struct Exchange {
    front: Arc<Front>,
    accepted: Accepted,
    version: Option<Revision>,
    /// The proxy waits for it when it stops.
    token: TaskTrackerToken,
}

impl Exchange {
    /// The session of the request, and whether it is a new one.
    fn stay(&self, headers: &HeaderMap, incoming: &Incoming, grant: &auth::Grant, from: IpAddr) -> Result<(InUse, bool), Response> {
        let sessions = &self.front.sessions;
        if let Some(id) = session_id(headers)? {
            let stay = sessions.find(id.as_bytes(), grant).map_err(|none| no_session(none, incoming.id().as_ref()))?;
            return Ok((stay, false));
        }
        if !lenient::may_begin(incoming.messages(), self.version) {
            let error = ErrorObject::new(REFUSED, "`Mcp-Session-Id` is missing; hint: send `initialize` first");
            return Err(reply::error(StatusCode::BAD_REQUEST, incoming.id().as_ref(), &error));
        }
        let stay = sessions.open(grant, self.allowance(grant.router(), from)).ok_or_else(|| {
            let error = ErrorObject::new(REFUSED, format!("all {} sessions are in use; try again later", sessions.max()));
            reply::later(StatusCode::SERVICE_UNAVAILABLE, incoming.id().as_ref(), &error, Duration::from_secs(5))
        })?;
        Ok((stay, true))
    }

    /// How often a session may call that begins at this address.
    fn allowance(&self, router: &Router, from: IpAddr) -> Allowance {
        let own = router.limiter().allowance();
        match &self.front.together {
            // SECURITY: a new session is a new principal, and anybody may begin one (threat model T23).
            Some(addresses) => own.within(addresses, from),
            None => own,
        }
    }

    /// A request that stands alone because its revision has no sessions.
    async fn answer_modern(
        self,
        headers: &HeaderMap,
        incoming: Incoming,
        router: &Arc<Router>,
        from: IpAddr,
    ) -> Result<Response, Response> {
        let Incoming::One(message) = incoming else { return Err(modern::not_a_request(None)) };
        match message.kind() {
            Kind::Request => {}
            // The end of the connection is what cancels here.
            Kind::Notification => return Ok(StatusCode::ACCEPTED.into_response()),
            Kind::Result | Kind::Error => return Err(modern::not_a_request(None)),
        }
        let declared = modern::declared(headers, &message)?;
        modern::check_method(&message, router)?;
        modern::check_params(headers, &message, router)?;
        let mut client = self.client_of_one_request(router, from);
        if message.method() == "subscriptions/listen" {
            client.place = Some(self.place(&message)?);
        }
        let client = Client::Passing(client);
        Ok(self.answer_one(message, Some(declared), client, router).await)
    }

    /// A place for one that listens.
    fn place(&self, request: &Message) -> Result<OwnedSemaphorePermit, Response> {
        if !self.accepted.events {
            let hint = "what is listened to comes as events; hint: send `Accept: application/json, text/event-stream`";
            return Err(reply::error(StatusCode::NOT_ACCEPTABLE, request.id().as_ref(), &ErrorObject::new(REFUSED, hint)));
        }
        Arc::clone(&self.front.places).try_acquire_owned().map_err(|_| {
            let error = ErrorObject::new(REFUSED, "as many clients listen as may; try again later");
            reply::later(StatusCode::SERVICE_UNAVAILABLE, request.id().as_ref(), &error, Duration::from_secs(5))
        })
    }

    fn client_of_one_request(&self, router: &Arc<Router>, from: IpAddr) -> Passing {
        let allowance = match &self.front.addresses {
            Some(addresses) => Allowance::Of(Arc::clone(addresses), from),
            None => Allowance::Unlimited,
        };
        let session = Session::new(Outlet::Nowhere, self.front.config.limits.calls, allowance, self.front.draining.clone());
        Passing { session, router: Arc::clone(router), place: None }
    }

    async fn answer(self, incoming: Incoming, client: Client, router: &Arc<Router>) -> Response {
        match incoming {
            Incoming::One(message) => self.answer_one(message, None, client, router).await,
            Incoming::Batch(batch) => self.answer_all(batch, client, router).await,
        }
    }

    async fn answer_one(self, message: Message, declared: Option<Declared>, client: Client, router: &Arc<Router>) -> Response {
        let peer = self.peer(&client);
        let id = message.id();
        // A list has nothing to say before it is there, and people read it with curl.
        let manner = Manner { patient: message.method().ends_with("/list"), is_modern: declared.is_some() };
        let session = client.session();
        let asker = Arc::clone(&peer) as Arc<dyn ClientPeer>;
        let received = match declared {
            Some(declared) => session.receive_declared(message, declared, router, asker),
            None => session.receive(message, router, asker),
        };
        router.begin();
        match received {
            Received::Nothing => StatusCode::ACCEPTED.into_response(),
            Received::Unasked => reply::refuse(StatusCode::BAD_REQUEST, "nothing was asked under the id of this response"),
            Received::Answer(frame) => self.plain(frame),
            Received::TooMany => reply::later(StatusCode::TOO_MANY_REQUESTS, id.as_ref(), &session::too_many(), Duration::from_secs(1)),
            Received::Call(call) => {
                if client.listens() {
                    // Begun before there is anything to say: to be heard of is what the request is for.
                    peer.stream();
                }
                self.run(call, peer, client, manner).await
            }
        }
    }

    fn peer(&self, client: &Client) -> Arc<CallPeer> {
        let sink = match client {
            _ if !self.accepted.events => Sink::Nowhere,
            Client::Staying(using) => Sink::Kept(Arc::clone(&using.stay)),
            Client::Passing(_) => Sink::Alone,
        };
        Arc::new(CallPeer::new(client.session().clone(), sink))
    }

    /// An answer that is there at once.
    fn plain(&self, frame: Frame) -> Response {
        if self.accepted.json {
            return reply::frame(StatusCode::OK, frame);
        }
        let stream = Stream::alone();
        stream.push(frame);
        stream.finish();
        events(stream.read(None, Settings::default()))
    }

    /// Drives a call until it is answered or an event stream is needed for it.
    async fn run(self, call: Call, peer: Arc<CallPeer>, client: Client, manner: Manner) -> Response {
        let tracker = client.stays().then(|| self.front.tracker.clone());
        let mut running = Running { call: Some((call, client, self.token.clone())), tracker };
        let mut patience = pin!(sleep(STREAM_AFTER));
        let waits = self.accepted.events && !manner.patient;
        let answer = poll_fn(|context| {
            let (call, ..) = running.call.as_mut().expect("it is taken below only");
            if let Poll::Ready(answer) = call.poll_unpin(context) {
                return Poll::Ready(Some(answer));
            }
            let begun = peer.begun().is_some() || !self.accepted.json;
            if begun || waits && patience.poll_unpin(context).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        });
        let answer = answer.await;
        let status = match &answer {
            Some(Some(frame)) if manner.is_modern => modern::status(frame),
            _ => StatusCode::OK,
        };
        let (call, client, token) = running.call.take().expect("it was put there above");
        match answer {
            Some(Some(frame)) if peer.begun().is_none() && self.accepted.json => reply::frame(status, frame),
            // Cancelled: there is no answer, and nothing to say.
            Some(None) if peer.begun().is_none() => StatusCode::ACCEPTED.into_response(),
            answer => {
                let stream = Arc::clone(peer.stream().expect("it was begun, or the client takes events"));
                let rest = match answer {
                    Some(answer) => futures_util::future::ready(answer).boxed(),
                    None => call.boxed(),
                };
                self.stream(&stream, rest, client, token)
            }
        }
    }

    /// Lets the call go on by itself and gives what it says as an event stream.
    fn stream(&self, stream: &Arc<Stream>, call: BoxFuture<'static, Option<Frame>>, client: Client, token: TaskTrackerToken) -> Response {
        let kept = client.stays();
        let task = self.front.tracker.spawn({
            let stream = Arc::clone(stream);
            async move {
                if let Some(frame) = call.await {
                    stream.push(frame);
                }
                stream.finish();
                drop((client, token));
            }
        });
        let primed = kept && self.version.is_some_and(Revision::has_primed_streams);
        // Who keeps no session cannot come back: the end of the connection cancels the call.
        let cancels = (!kept).then(|| task.abort_handle());
        events(stream.read(None, Settings { numbered: kept, primed, cancels, ..Settings::default() }))
    }

    async fn answer_all(self, batch: Batch, client: Client, router: &Arc<Router>) -> Response {
        let peer = self.peer(&client);
        let answers = batch.answers(|message| client.session().receive(message, router, Arc::clone(&peer) as Arc<dyn ClientPeer>));
        router.begin();
        if answers.is_empty() {
            return StatusCode::ACCEPTED.into_response();
        }
        let Some(stream) = peer.stream().cloned() else {
            let frames: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
            return reply::frame(StatusCode::OK, Frame::batch(frames));
        };
        let all = {
            let stream = Arc::clone(&stream);
            async move {
                join_all(answers.into_iter().map(|answer| answer.map(|frame| frame.into_iter().for_each(|frame| stream.push(frame)))))
                    .await;
                None
            }
        };
        self.stream(&stream, all.boxed(), client, self.token.clone())
    }
}

/// How a call is answered.
#[derive(Clone, Copy)]
struct Manner {
    /// Without a stream, however long it takes.
    patient: bool,
    /// What is wrong is also said by the status (2026-07-28).
    is_modern: bool,
}

/// A response that is an event stream.
pub(super) fn events(events: super::streams::Events) -> Response {
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx and others collect an answer before they pass it on unless they are told.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

pub(super) fn no_session(none: NoSession, id: Option<&Id>) -> Response {
    match none {
        NoSession::Unknown => {
            let error = ErrorObject::new(NO_SESSION, "there is no such session; hint: send `initialize` without `Mcp-Session-Id`");
            reply::error(StatusCode::NOT_FOUND, id, &error)
        }
        NoSession::KeyMissing => auth::Denied::KeyMissing.into_response(id),
    }
}

pub(super) fn stopping() -> Response {
    let error = ErrorObject::new(REFUSED, "the proxy is stopping");
    reply::later(StatusCode::SERVICE_UNAVAILABLE, None, &error, Duration::from_secs(1))
}
