//! A server over Streamable HTTP (MCP transports, 2025-03-26 and later): a POST
//! for each message, answered with JSON or an event stream.
//!
//! Up to 2025-11-25 there is a session, and a GET stream for what the server says unasked; later
//! every request stands alone, and says in its headers what it is ([`stated`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use sse_stream::{Sse, SseStream};
use tokio::{task::AbortHandle, time::Instant};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{Outbox, deliver, too_large};
use crate::{
    downstream::{connection::Wiring, error::LinkError, handler::Handler},
    lasting::caught,
    protocol::{header, message::Frame, revision::Revision},
    security::{headers, payload},
};

mod endpoint;
mod manner;
pub mod stated;

pub use endpoint::Endpoint;
pub use manner::Manner;
use manner::Session;
use stated::Annotated;

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(header::VERSION);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: &str = "text/event-stream";

/// How long the farewell to a session may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);
/// Waited before a stream is resumed, unless the server names a time.
const RESUME_AFTER: Duration = Duration::from_secs(1);
/// The longest wait before a stream is resumed.
const RESUME_AT_MOST: Duration = Duration::from_secs(30);
/// Attempts in a row to resume the stream of one call that bring nothing.
const RESUME_ATTEMPTS: u32 = 5;
/// So often in one call a server's own time counts, however short. A server that answers in pieces (SEP-1699) is asked again
/// as often as it likes, but not without a pause.
const RESUMED_PROMPTLY: u32 = 10;
/// How long a stream may stay open after the answer that it was for.
const LINGER: Duration = Duration::from_secs(2);

/// One server's endpoint and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    handler: Arc<Handler>,
    tracker: TaskTracker,
    /// Holds a token for each notification on its way.
    sending: TaskTracker,
    closed: CancellationToken,
    manner: Manner,
}

/// Makes the client; nothing is sent before the handshake.
pub fn open(endpoint: Endpoint, manner: Manner, wiring: Wiring<'_>) -> Outbox {
    let Wiring { handler, closed, tracker } = wiring;
    let inner = Inner { endpoint, handler, tracker: tracker.clone(), sending: TaskTracker::new(), closed, manner };
    let client = Client(Arc::new(inner));
    tracker.spawn(client.clone().part());
    Outbox::Http(client)
}

impl Client {
    /// The answer arrives at the handler; aborting the task drops the exchange.
    pub fn request(&self, id: u64, frame: Frame) -> AbortHandle {
        let client = self.clone();
        let exchange = async move {
            let mut exchange = std::pin::pin!(caught("exchange", client.exchange(Some(id), frame)));
            let outcome = tokio::select! {
                outcome = &mut exchange => outcome,
                () = client.0.closed.cancelled() => {
                    if !client.has_lost_session() {
                        // The end of the connection has failed the call.
                        return;
                    }
                    // What the server says of this call decides: one that it had taken before goes on.
                    exchange.await
                }
            };
            if let Err(error) = outcome.unwrap_or(Err(LinkError::Defect)) {
                client.failed(id, error);
            }
        };
        self.0.tracker.spawn(exchange).abort_handle()
    }

    pub async fn notify(&self, frame: Frame) -> Result<(), LinkError> {
        self.exchange(None, frame).await
    }

    /// Until no notification is on its way any more.
    pub async fn settled(&self) {
        self.0.sending.close();
        self.0.sending.wait().await;
    }

    /// There may be more to send until this is dropped.
    pub fn sending(&self) -> TaskTrackerToken {
        self.0.sending.token()
    }

    pub fn notify_soon(&self, frame: Frame) {
        let client = self.clone();
        let sending = self.sending();
        self.0.tracker.spawn(async move {
            let _sending = sending;
            let sent = tokio::time::timeout(DELETE_TIMEOUT, client.notify(frame)).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::debug!(server = client.0.handler.server(), "a notification did not reach the server");
            }
        });
    }

    /// The server of a session names its revision from now on.
    pub fn agreed(&self, revision: Revision) {
        if let Manner::Session(session) = &self.0.manner {
            session.revision.get_or_init(|| revision);
        }
    }

    /// The arguments of tools that have headers of their own, where there are such.
    pub fn annotated(&self) -> Option<&Annotated> {
        match &self.0.manner {
            Manner::Session(_) => None,
            Manner::Stateless(annotated) => Some(annotated),
        }
    }

    /// Opens the stream of a session for what the server says unasked, again whenever it ends.
    pub fn listen(&self) {
        if matches!(self.0.manner, Manner::Stateless(_)) {
            return;
        }
        let client = self.clone();
        self.0.tracker.spawn(async move {
            tokio::select! {
                () = client.0.closed.cancelled() => {}
                () = client.listening() => {}
            }
        });
    }

    fn failed(&self, id: u64, error: LinkError) {
        let gone = error == LinkError::SessionGone;
        if matches!(error, LinkError::Unreachable { .. }) {
            self.0.handler.signs().doubt();
        }
        self.0.handler.fail(id, error);
        if gone {
            self.session_gone();
        }
    }

    /// The next calls get another session. First the reason, then the signal that there is one.
    fn session_gone(&self) {
        self.0.handler.retire(&LinkError::SessionGone);
        self.0.closed.cancel();
    }

    fn has_lost_session(&self) -> bool {
        self.0.handler.ended() == Some(LinkError::SessionGone)
    }

    /// Sends one message and delivers what comes back for it.
    async fn exchange(&self, id: Option<u64>, frame: Frame) -> Result<(), LinkError> {
        let body = frame.into_bytes();
        let stated = self.0.manner.headers(&body);
        let response = self.0.endpoint.post(body, || stated.clone()).await?;
        if let (Manner::Session(session), Some(given)) = (&self.0.manner, response.headers().get(SESSION_ID)) {
            let id = headers::session_id(given)
                .ok_or_else(|| LinkError::Protocol { what: "its session id is no visible ASCII, or too long".to_owned() })?;
            session.id.store(Some(Arc::new(id)));
        }
        let status = response.status();
        let in_session = self.0.manner.session_id().is_some();
        match media_type(&response) {
            _ if status == StatusCode::NOT_FOUND && in_session => Err(LinkError::SessionGone),
            // What many servers say instead, after a restart.
            _ if status == StatusCode::BAD_REQUEST && in_session => {
                let body = read_body(response, &self.0.handler).await?;
                self.deliver(&body, id);
                // What answers the request speaks of its own sessions, if of any.
                let is_answered = id.is_some_and(|id| !self.0.handler.is_waiting(id));
                if !is_answered && names_session(&body) {
                    return Err(LinkError::SessionGone);
                }
                self.unanswered(id, Some(status))
            }
            MediaType::EventStream if status.is_success() => {
                let Some(id) = id else {
                    // Nobody waits for what comes with a notification.
                    self.0.tracker.spawn(self.clone().pump_aside(response));
                    return Ok(());
                };
                self.stream(id, response).await
            }
            MediaType::Json if id.is_some() => {
                let body = read_body(response, &self.0.handler).await?;
                self.deliver(&body, id);
                self.unanswered(id, if status.is_success() { None } else { Some(status) })
            }
            _ if !status.is_success() => Err(refusal(status)),
            _ => self.unanswered(id, None),
        }
    }

    /// Reads the stream of one request. Where it breaks off before the answer, it is
    /// resumed from its last event, if the server numbers them. A server may close the
    /// stream and be asked again as often as it likes, as long as something new comes.
    async fn stream(&self, id: u64, response: Response) -> Result<(), LinkError> {
        let mut position = Position::default();
        let mut response = Some(response);
        let mut fruitless = 0;
        let mut resumed = 0;
        loop {
            let before = position.id.clone();
            if let Some(response) = response.take() {
                self.pump(response, &mut position, Some(id)).await;
            }
            fruitless = if position.id == before { fruitless + 1 } else { 0 };
            let Manner::Session(session) = &self.0.manner else { return self.unanswered(Some(id), None) };
            let is_open = self.0.handler.is_waiting(id) && !self.0.handler.is_doubtful(id);
            let Some(last_event) = position.id.clone().filter(|_| is_open && fruitless < RESUME_ATTEMPTS) else {
                return self.unanswered(Some(id), None);
            };
            tokio::time::sleep(pause(position.retry, resumed)).await;
            resumed = resumed.saturating_add(1);
            // A failure counts as an attempt: the request itself has long been sent.
            response = self.resume(session, Some(&last_event)).await.ok().filter(|response| response.status().is_success());
        }
    }

    /// Delivers the events of a stream until it ends or, for a request, shortly
    /// after its answer: servers should close it then, but not all do.
    async fn pump(&self, response: Response, position: &mut Position, request: Option<u64>) {
        let size = EventSize::new(self.0.handler.limits().message);
        let mut events = SseStream::from_bytes_stream(size.limited(response));
        // Once it is answered. Whatever comes then does not keep the stream open any longer.
        let mut until = None;
        loop {
            let next = events.next();
            let event = match until {
                Some(until) => tokio::time::timeout_at(until, next).await.unwrap_or(None),
                None => next.await,
            };
            let Some(Ok(Sse { event, data, id, retry })) = event else {
                if let Some(id) = request.filter(|_| size.is_exceeded()) {
                    self.0.handler.fail(id, too_large(&self.0.handler));
                }
                return;
            };
            size.start_anew();
            if let Some(id) = id.and_then(|id| headers::event_id(&id)) {
                position.id = Some(id);
            }
            position.retry = retry.map(|millis| Duration::from_millis(millis).min(RESUME_AT_MOST)).or(position.retry);
            if let Some(data) = data.filter(|data| !data.is_empty() && event.as_deref().is_none_or(|event| event == "message")) {
                self.deliver(&data.into(), request);
            }
            let is_answered = request.is_some_and(|id| !self.0.handler.is_waiting(id) || self.0.handler.is_doubtful(id));
            until = is_answered.then(|| until.unwrap_or_else(|| Instant::now() + LINGER));
        }
    }

    async fn pump_aside(self, response: Response) {
        let mut position = Position::default();
        tokio::select! {
            () = self.0.closed.cancelled() => {}
            () = self.pump(response, &mut position, None) => {}
        }
    }

    async fn listening(&self) {
        let Manner::Session(session) = &self.0.manner else { return };
        let mut position = Position::default();
        let mut pause = RESUME_AFTER;
        loop {
            match self.resume(session, position.id.as_ref()).await {
                Ok(response) if response.status().is_success() && media_type(&response) == MediaType::EventStream => {
                    pause = RESUME_AFTER;
                    self.pump(response, &mut position, None).await;
                }
                Ok(response) if response.status() == StatusCode::NOT_FOUND && session.id.load().is_some() => {
                    return self.session_gone();
                }
                Ok(response) if response.status() == StatusCode::BAD_REQUEST && session.id.load().is_some() => {
                    if read_body(response, &self.0.handler).await.is_ok_and(|body| names_session(&body)) {
                        self.session_gone();
                    }
                    return;
                }
                Ok(response) if may_come_later(response.status()) => pause = (pause * 2).min(RESUME_AT_MOST),
                // Most servers have no such stream and say 405.
                Ok(_) => return,
                Err(_) => pause = (pause * 2).min(RESUME_AT_MOST),
            }
            tokio::time::sleep(position.retry.unwrap_or(pause).max(pause)).await;
        }
    }

    /// Opens a stream, behind this event where there is one.
    async fn resume(&self, session: &Session, last_event: Option<&HeaderValue>) -> Result<Response, LinkError> {
        let headers = || {
            let mut headers = session.headers();
            headers.extend(last_event.map(|last_event| (LAST_EVENT_ID, last_event.clone())));
            headers
        };
        self.0.endpoint.get_stream(headers).await
    }

    fn deliver(&self, text: &Bytes, call: Option<u64>) {
        for answer in deliver(&self.0.handler, text, call) {
            match (&self.0.manner, call) {
                (Manner::Session(_), _) => self.notify_soon(answer),
                // There is no way to answer a server here. It would wait in vain, and the client with it.
                (Manner::Stateless(_), Some(call)) => {
                    let what = "it sent a request, which in its revision no server does".to_owned();
                    self.0.handler.fail(call, LinkError::Protocol { what });
                }
                (Manner::Stateless(_), None) => {}
            }
        }
    }

    /// The exchange is over; if the request is still open, it never will be answered.
    fn unanswered(&self, id: Option<u64>, status: Option<StatusCode>) -> Result<(), LinkError> {
        let Some(id) = id.filter(|id| self.0.handler.is_waiting(*id)) else { return Ok(()) };
        Err(match (status.map(refusal), self.0.handler.doubt(id)) {
            (Some(LinkError::Status { .. }) | None, Some(doubt)) => doubt,
            (Some(refusal), _) => refusal,
            (None, None) => LinkError::Lost { reason: "the server ended its answer before the result".to_owned() },
        })
    }

    /// Waits for the end of the connection and says farewell to the session.
    async fn part(self) {
        self.0.closed.cancelled().await;
        if self.has_lost_session() {
            // Nothing is left to part from, and calls may still be under way.
            return;
        }
        self.0.handler.end(&LinkError::Closed);
        if let Manner::Session(session) = &self.0.manner
            && session.id.load().is_some()
        {
            // The server forgets the session by itself one day.
            let _ = tokio::time::timeout(DELETE_TIMEOUT, self.0.endpoint.delete(|| session.headers())).await;
        }
    }
}

/// Counts the bytes of an event that is still being read, across the stream and its
/// parser, which has no limit of its own.
#[derive(Debug, Clone)]
pub(super) struct EventSize {
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("an event is too large")]
pub(super) struct TooLarge;

impl EventSize {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Arc::default(), limit }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.limit
    }

    pub(super) fn start_anew(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// The body, cut where one event becomes larger than a message may be.
    pub(super) fn limited(&self, response: Response) -> impl Stream<Item = Result<Bytes, TooLarge>> + Unpin + use<> {
        let size = self.clone();
        let chunks = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|_| TooLarge)?;
            let total = size.bytes.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
            if total > size.limit { Err(TooLarge) } else { Ok(chunk) }
        });
        Box::pin(chunks)
    }
}

/// Where in an event stream we are.
#[derive(Debug, Default)]
struct Position {
    id: Option<HeaderValue>,
    retry: Option<Duration>,
}

/// Before the stream of a call is resumed that was resumed so often already.
fn pause(retry: Option<Duration>, resumed: u32) -> Duration {
    // SECURITY: `retry: 0` with another event each time must not have us ask without end (threat model T11).
    let least = if resumed < RESUMED_PROMPTLY { Duration::ZERO } else { RESUME_AFTER };
    retry.unwrap_or(RESUME_AFTER).max(least)
}

#[derive(Debug, PartialEq, Eq)]
enum MediaType {
    Json,
    EventStream,
    Other,
}

fn media_type(response: &Response) -> MediaType {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        MediaType::Json
    } else if essence.eq_ignore_ascii_case(EVENT_STREAM) {
        MediaType::EventStream
    } else {
        MediaType::Other
    }
}

/// 408, 425, 429 and the server's own troubles.
fn may_come_later(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Whether an error's text is about sessions; the codes differ from server to server.
fn names_session(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_ascii_lowercase();
    text.contains("session")
}

pub(super) fn refusal(status: StatusCode) -> LinkError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => LinkError::Unauthorized { status: status.as_u16() },
        _ => LinkError::Status { status: status.as_u16() },
    }
}

async fn read_body(mut response: Response, handler: &Handler) -> Result<Bytes, LinkError> {
    let expected = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut body = BytesMut::with_capacity(expected.min(payload::RESERVED));
    while let Some(chunk) = response.chunk().await.map_err(|_| LinkError::Lost { reason: "the server broke off its answer".to_owned() })? {
        if body.len() + chunk.len() > handler.limits().message {
            return Err(too_large(handler));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr};

    use futures_util::future::BoxFuture;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        downstream::{
            handler::News,
            mailbox::{Caller, Post},
            seat::{OnlyClient, Seat},
        },
        protocol::{message::Id, server::ServerId},
        security::{
            Author,
            egress::{self, Resolve},
        },
    };

    #[derive(Debug)]
    struct Defective;

    impl Resolve for Defective {
        fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            panic!("an invariant does not hold")
        }
    }

    #[tokio::test]
    async fn a_call_whose_exchange_panics_is_answered_and_the_connection_stays() {
        let (events, _events) = mpsc::channel(1);
        let (notices, _notices) = mpsc::channel(1);
        let news = News { events, notices, seat: Seat::Shared, client: OnlyClient::default() };
        let handler = Arc::new(Handler::new(ServerId::new("s"), "s".to_owned(), payload::Limits::default(), news));
        let egress = egress::Policy::with_resolver(egress::Config::default(), Arc::new(Defective));
        let url = egress.allow(Author::Owner, "http://s.example/mcp").expect("it is allowed");
        let (closed, tracker) = (CancellationToken::new(), TaskTracker::new());
        let wiring = Wiring { handler: Arc::clone(&handler), closed: closed.clone(), tracker: &tracker };
        let outbox = open(Endpoint::new(Arc::new(egress), url, Arc::default()), Manner::session(), wiring);
        for _ in 0..2 {
            let (id, mailbox) = handler.register(Caller::PROXY).expect("the connection is open");
            outbox.request(id, Frame::request(&Id::number(id), "tools/call", None)).await.expect("it is on its way");
            let Post::Reply(reply) = mailbox.next().await else { panic!("nobody says anything else") };
            assert_eq!(reply.map(drop), Err(LinkError::Defect));
        }
        assert!(!closed.is_cancelled());
    }

    #[test]
    fn a_stream_is_not_resumed_without_a_pause_for_long() {
        let millis = Duration::from_millis;
        for resumed in 0..RESUMED_PROMPTLY {
            assert_eq!(pause(Some(Duration::ZERO), resumed), Duration::ZERO);
            assert_eq!(pause(Some(millis(50)), resumed), millis(50));
            assert_eq!(pause(None, resumed), RESUME_AFTER);
        }
        for resumed in [RESUMED_PROMPTLY, 1_000, u32::MAX] {
            assert_eq!(pause(Some(Duration::ZERO), resumed), RESUME_AFTER);
            assert_eq!(pause(Some(3 * RESUME_AFTER), resumed), 3 * RESUME_AFTER);
            assert_eq!(pause(None, resumed), RESUME_AFTER);
        }
    }
}
