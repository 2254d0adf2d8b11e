//! Event streams (transports, "Sending messages to the server", "Resumability and redelivery").
//!
//! A stream outlives the connection that carries it: what was sent stays for a while, so
//! that a client which lost its connection names the last event that it has and goes on.
//! Every bound here is one on memory: an idle session must stay small.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    extract::{Request, State as Shared},
    http::{HeaderName, StatusCode, request::Parts as Head},
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use hyper::body::{Body, Frame as BodyFrame};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep},
};

use super::{Front, lenient::Accepted, messages, reply};
use crate::{
    protocol::{message::Frame, revision::Revision},
    security::payload,
    telemetry::metrics::{self, Dropped},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Events that wait for a client to read. More make a call wait; of what belongs to no
/// call the oldest are dropped.
const WAITING: usize = 256;

/// What is kept of one stream after it was sent.
const KEPT_EVENTS: usize = 64;

/// Streams of finished calls that one session keeps, and for how long.
const KEPT_STREAMS: usize = 16;
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A comment is sent after so much silence: proxies on the way cut idle streams, many
/// after 30 s, and a client that is gone is noticed only by writing to it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What clients are told to wait before they come back for the rest of a stream.
const RETRY: Duration = Duration::from_secs(1);

/// The streams of one session.
#[derive(Debug)]
pub struct Streams {
    /// For what belongs to no call; a GET reads it.
    standalone: Arc<Stream>,
    calls: Mutex<VecDeque<Arc<Stream>>>,
    last: AtomicU32,
}

impl Streams {
    pub fn new() -> Self {
        Self { standalone: Arc::new(Stream::new(0)), calls: Mutex::default(), last: AtomicU32::new(0) }
    }

    pub fn standalone(&self) -> &Arc<Stream> {
        &self.standalone
    }

    /// A stream for one call, kept until some time after its end.
    pub fn open(&self) -> Arc<Stream> {
        let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let stream = Arc::new(Stream::new(number));
        let mut calls = self.calls();
        forget_old(&mut calls);
        calls.push_back(Arc::clone(&stream));
        stream
    }

    /// The stream of an event and the event's place in it.
    pub fn find(&self, event: EventId) -> Option<Arc<Stream>> {
        if event.stream == 0 {
            return Some(Arc::clone(&self.standalone));
        }
        self.calls().iter().find(|stream| stream.number == event.stream).cloned()
    }

    /// Lets go of streams that nobody will come back for.
    pub fn tidy(&self) {
        let mut calls = self.calls();
        forget_old(&mut calls);
        calls.shrink_to_fit();
    }

    /// Ends every stream.
    pub fn end(&self) {
        self.standalone.finish();
        self.calls().drain(..).for_each(|stream| stream.finish());
    }

    fn calls(&self) -> MutexGuard<'_, VecDeque<Arc<Stream>>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_old(calls: &mut VecDeque<Arc<Stream>>) {
    let finished = |stream: &Stream| stream.state().finished;
    calls.retain(|stream| finished(stream).is_none_or(|when| when.elapsed() < KEPT_FOR));
    while calls.len() >= KEPT_STREAMS
        && let Some(oldest) = calls.iter().position(|stream| finished(stream).is_some())
    {
        calls.remove(oldest);
    }
}

/// `{stream}-{event}`, unique within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    stream: u32,
    /// The first event of a stream is 1; 0 stands before it.
    pub event: u64,
}

impl EventId {
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, event) = text.split_once('-')?;
        Some(Self { stream: stream.parse().ok()?, event: event.parse().ok()? })
    }
}

/// One stream: what waits to be sent, and what was sent lately.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    state: Mutex<State>,
    /// The reader has taken something.
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Frame>,
    /// Of the first in `events`; they are numbered from 1.
    first: u64,
    bytes: usize,
    /// The number of the event that the reader takes next.
    next: u64,
    finished: Option<Instant>,
    /// Readers so far; only the latest one is served.
    reader: u64,
    reading: bool,
    waker: Option<Waker>,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn waiting(&self) -> u64 {
        self.end() - self.next
    }

    fn is_heavy(&self) -> bool {
        self.waiting() > 0 && self.bytes >= payload::STREAM_WAITING
    }

    fn drop_first(&mut self) {
        if let Some(frame) = self.events.pop_front() {
            self.bytes -= frame.len();
            self.first += 1;
            self.next = self.next.max(self.first);
        }
    }

    fn push(&mut self, frame: Frame) -> Option<Waker> {
        self.bytes += frame.len();
        self.events.push_back(frame);
        self.waker.take()
    }

    /// Lets go of what was sent, beyond what is kept for a client that comes back.
    fn trim(&mut self) {
        while self.first < self.next && (self.events.len() > KEPT_EVENTS || self.bytes > payload::STREAM_KEPT) {
            self.drop_first();
        }
    }
}

impl Stream {
    fn new(number: u32) -> Self {
        Self { number, state: Mutex::new(State { first: 1, next: 1, ..State::default() }), taken: Notify::new() }
    }

    /// A stream that no session keeps.
    pub fn alone() -> Arc<Self> {
        Arc::new(Self::new(0))
    }

    /// Adds an event without waiting; where too many wait, the oldest is dropped.
    pub fn push(&self, frame: Frame) {
        let mut state = self.state();
        if state.finished.is_some() {
            return;
        }
        if state.waiting() >= WAITING as u64 {
            metrics::dropped(Dropped::StreamEvent);
            tracing::debug!("a client does not read its event stream; the oldest event was dropped");
            state.drop_first();
        }
        let waker = state.push(frame);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Adds what belongs to no call. Of what a client does not read the oldest is dropped where it is too many or too large.
    pub fn announce(&self, frame: Frame) {
        {
            let mut state = self.state();
            // SECURITY: servers say as much as they like, and nobody may ever read it (threat model T12).
            while state.is_heavy() {
                metrics::dropped(Dropped::StreamEvent);
                state.drop_first();
            }
            if !state.reading && frame.len() >= payload::STREAM_WAITING {
                metrics::dropped(Dropped::StreamEvent);
                return tracing::debug!("a client is away; what is too large to keep for it was dropped");
            }
        }
        self.push(frame);
    }

    /// Somebody reads it now, as far as is known.
    pub fn is_read(&self) -> bool {
        self.state().reading
    }

    /// Adds news of a call, and waits while a client that is there does not read. One that is away misses what is too much
    /// to keep, so that its answer can be kept.
    pub async fn send(&self, frame: Frame) {
        loop {
            let taken = self.taken.notified();
            {
                let state = self.state();
                let full = state.waiting() >= WAITING as u64 || state.is_heavy();
                if !full || state.finished.is_some() {
                    break;
                }
                if !state.reading && state.is_heavy() {
                    metrics::dropped(Dropped::StreamEvent);
                    tracing::debug!("a client is away; what a call said was dropped");
                    return;
                }
                if !state.reading {
                    break;
                }
            }
            taken.await;
        }
        self.push(frame);
    }

    /// Nothing more will come.
    pub fn finish(&self) {
        let waker = {
            let mut state = self.state();
            state.finished.get_or_insert_with(Instant::now);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        self.taken.notify_waiters();
    }

    /// Reads on after this event, or from what was not sent yet. Who read before is cut off:
    /// it has most likely lost its connection without our knowing.
    pub fn read(self: &Arc<Self>, after: Option<u64>, settings: Settings) -> Events {
        let (reader, last, old) = {
            let mut state = self.state();
            if let Some(after) = after {
                state.next = after.saturating_add(1).clamp(state.first, state.end());
            }
            state.reader += 1;
            state.reading = true;
            (state.reader, state.next - 1, state.waker.take())
        };
        old.into_iter().for_each(Waker::wake);
        let first = match (settings.primed, after) {
            (true, None) => Some(format!("id: {}-{last}\nretry: {}\ndata: \n\n", self.number, RETRY.as_millis()).into()),
            _ => None,
        };
        Events {
            stream: Arc::clone(self),
            reader,
            first,
            numbered: settings.numbered,
            paused: false,
            keep_alive: Box::pin(sleep(KEEP_ALIVE)),
            meanwhile: settings.meanwhile,
            cancels: settings.cancels,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Consistent at every point where a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET`: the stream for what belongs to no call, or the rest of a stream that broke off.
pub(super) async fn get(Shared(front): Shared<Arc<Front>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    front.open_stream(&head).await.unwrap_or_else(|response| response)
}

impl Front {
    async fn open_stream(&self, head: &Head) -> Result<Response, Response> {
        let headers = &head.headers;
        if self.is_draining() {
            return Err(messages::stopping());
        }
        let version = self.version_with_sessions(headers)?;
        if !Accepted::of(headers)?.events {
            let hint = "an event stream is all there is to get; hint: send `Accept: text/event-stream`";
            return Err(reply::refuse(StatusCode::NOT_ACCEPTABLE, hint));
        }
        let using = self.session_of(head).await?;
        let last = headers.get(LAST_EVENT_ID).and_then(|id| EventId::parse(id.to_str().ok()?));
        // An event of a stream that is kept no more: there is nothing to go on with but the present.
        let found = last.and_then(|last| Some((using.stay.streams.find(last)?, last.event)));
        let (stream, after) = match found {
            Some((stream, event)) => (stream, Some(event)),
            None => (Arc::clone(using.stay.streams.standalone()), None),
        };
        let changes = (stream.number == 0).then(|| using.stay.router()).flatten();
        let meanwhile = async move {
            if let Some(router) = changes {
                using.stay.session.watch_lists(&router).await;
            }
            // The session is in use as long as somebody listens.
            let _using = using;
            std::future::pending::<()>().await;
        };
        // The end of a connection is noticed late, and what was written until then is lost: a client that has an id asks for it again.
        let primed = version.is_some_and(Revision::has_primed_streams);
        let settings = Settings { numbered: true, primed, meanwhile: Some(meanwhile.boxed()), ..Settings::default() };
        Ok(messages::events(stream.read(after, settings)))
    }
}

/// How a stream is read.
#[derive(Default)]
pub struct Settings {
    /// Events have ids, so that the client can come back.
    pub numbered: bool,
    /// An empty event with an id comes first, so that a client can come back before anything
    /// was said (2025-11-25).
    pub primed: bool,
    /// Done while the stream is open.
    pub meanwhile: Option<BoxFuture<'static, ()>>,
    /// Aborted when the connection ends.
    pub cancels: Option<tokio::task::AbortHandle>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("numbered", &self.numbered).field("primed", &self.primed).finish_non_exhaustive()
    }
}

/// The body of a response: the events of a stream as they come.
pub struct Events {
    stream: Arc<Stream>,
    reader: u64,
    first: Option<Bytes>,
    numbered: bool,
    /// The last event must reach the client by itself.
    paused: bool,
    keep_alive: Pin<Box<Sleep>>,
    meanwhile: Option<BoxFuture<'static, ()>>,
    cancels: Option<tokio::task::AbortHandle>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("stream", &self.stream.number).finish_non_exhaustive()
    }
}

impl Events {
    /// The next piece of the body; `None` at its end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if std::mem::take(&mut self.paused) {
            // Nothing to do for a moment makes the connection send what it has.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(meanwhile) = &mut self.meanwhile
            && meanwhile.poll_unpin(context).is_ready()
        {
            self.meanwhile = None;
        }
        let mut state = self.stream.state();
        if state.reader != self.reader {
            return Poll::Ready(None);
        }
        if state.next < state.end() {
            let number = state.next;
            let at = usize::try_from(number - state.first).expect("as many events are in memory");
            let event = encode(self.numbered.then_some((self.stream.number, number)), &state.events[at]);
            self.paused = state.events[at].is_alone();
            state.next += 1;
            state.trim();
            drop(state);
            self.stream.taken.notify_waiters();
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(Some(event));
        }
        if state.finished.is_some() {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        drop(state);
        if self.keep_alive.poll_unpin(context).is_ready() {
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            // Registers the new deadline; it is not due yet.
            let _ = self.keep_alive.poll_unpin(context);
            return Poll::Ready(Some(Bytes::from_static(b": keep-alive\n\n")));
        }
        Poll::Pending
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        self.get_mut().poll_next(context).map(|piece| piece.map(|piece| Ok(BodyFrame::data(piece))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        {
            let mut state = self.stream.state();
            if state.reader == self.reader {
                state.reading = false;
            }
        }
        self.stream.taken.notify_waiters();
        if let Some(call) = &self.cancels {
            call.abort();
        }
    }
}

/// One event. A line break between the tokens of a message would end the field; a blank
/// means the same there, and inside strings there is none.
fn encode(id: Option<(u32, u64)>, frame: &Frame) -> Bytes {
    let mut event = BytesMut::with_capacity(frame.len() + 48);
    if let Some((stream, number)) = id {
        event.put_slice(format!("id: {stream}-{number}\n").as_bytes());
    }
    event.put_slice(b"event: message\ndata: ");
    let start = event.len();
    frame.pieces().iter().for_each(|piece| event.put_slice(piece));
    if memchr::memchr2(b'\n', b'\r', &event[start..]).is_some() {
        event[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
    event.put_slice(b"\n\n");
    event.freeze()
}

#[cfg(test)]
mod tests;
