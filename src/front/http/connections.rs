//! Connections: taken, limited, watched, and ended in order; and the checks that every request passes before it is routed.
//! What requests are for is not known here.
//!
//! hyper speaks HTTP/1.1 and HTTP/2 over what [`socket`] makes of TCP; [`pulse`] says when a connection has to go. hyper's own
//! time-out for heads is not used: it counts the pause between requests as part of the next head, it sets a timer for each
//! request, and the detection of HTTP/2 before it has none. One timer a connection, looked at every few seconds, does more.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, StatusCode},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service;

use self::{
    pulse::{Exchange, Pulse, Sign, Upload},
    socket::Socket,
};
use super::{limits, origin::Guard, reply};
use crate::{front::session, lasting::caught, telemetry::metrics};

mod pulse;
mod socket;

/// The two ends of the connection that a request came over, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}

/// What every request meets before it is routed.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) limits: limits::Config,
    pub(super) guard: Guard,
}

/// Serves `app` to whoever connects, until `closing` is cancelled: then nobody new is taken, requests in flight are answered,
/// and it returns when the last connection has ended. Dropping it cuts them off.
///
/// With as many connections as allowed, new clients wait in the operating system's queue until another leaves, so that a
/// wave of them passes without errors. `tracker` holds the tasks of HTTP/2 streams, which end with their connections.
pub(super) async fn serve(listener: TcpListener, edge: Edge, app: Router, tracker: TaskTracker, closing: CancellationToken) {
    let builder = Arc::new(builder(&edge.limits, tracker));
    let edge = Arc::new(edge);
    let mut connections = JoinSet::new();
    let mut warnings = Warnings::default();
    loop {
        let full = connections.len() >= edge.limits.connections;
        if full && warnings.is_due() {
            tracing::warn!(limit = edge.limits.connections, "no more connections are taken until another ends");
        }
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, remote)) => {
                    let (builder, edge, app) = (Arc::clone(&builder), Arc::clone(&edge), app.clone());
                    connections.spawn(connection(stream, remote, builder, edge, app, closing.clone()));
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    if warnings.is_due() {
                        tracing::warn!(%error, "no connection can be taken; hint: if too many files are open, raise the limit (`ulimit -n`)");
                    }
                    // Mostly too many open files, which only time can help.
                    let _ = tokio::time::timeout(Duration::from_millis(100), closing.cancelled()).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A client that was gone before it was taken.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Lets a warning through from time to time.
#[derive(Default)]
struct Warnings(Option<Instant>);

impl Warnings {
    fn is_due(&mut self) -> bool {
        /// Often enough to be seen in a log, seldom enough not to fill it.
        const PAUSE: Duration = Duration::from_secs(30);
        let due = self.0.is_none_or(|last| last.elapsed() >= PAUSE);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// hyper's own limits stand a little above ours, so that ours answer, and in JSON.
fn builder(limits: &limits::Config, tracker: TaskTracker) -> auto::Builder<Spawner> {
    /// For the request line, and white space.
    const SPARE_BYTES: usize = 8 * 1024;
    /// hyper's own number for heads of HTTP/1.1, and for what it reads ahead of bodies.
    const BUFFER: usize = 8 * 1024 + 4 * 1024 * 100;
    /// What HTTP/2 adds to the size of each field (RFC 9113, section 6.5.2).
    const FIELD: usize = 32;
    /// hyper's own number, up to which it needs no memory for them.
    const FIELDS: usize = 100;
    /// Beside calls: the session's stream, notifications, and cancellations, which must not wait for the calls to end.
    const SPARE_STREAMS: usize = 32;
    /// How often a peer is asked whether it is still there, and how long it may take to answer.
    const PING: Duration = Duration::from_secs(30);
    const PONG: Duration = Duration::from_secs(20);

    let mut builder = auto::Builder::new(Spawner(tracker));
    let header_bytes = limits.header_bytes.saturating_add(SPARE_BYTES);
    let mut http1 = builder.http1();
    // Without the end of input in the middle of a call hyper would not notice clients that are gone. `Socket` hides it from
    // hyper for as long as a client that only closed its side may wait.
    http1.timer(TokioTimer::new()).half_close(false).header_read_timeout(None);
    if header_bytes > BUFFER {
        http1.max_buf_size(header_bytes);
    }
    if limits.header_fields >= FIELDS {
        http1.max_headers(limits.header_fields.saturating_add(FIELDS));
    }
    let list = header_bytes.saturating_add(limits.header_fields.saturating_mul(FIELD));
    let streams = limits.calls.saturating_add(SPARE_STREAMS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone)]
struct Spawner(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    builder: Arc<auto::Builder<Spawner>>,
    edge: Arc<Edge>,
    app: Router,
    closing: CancellationToken,
) {
    // Errors mean that the client is gone already.
    let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else { return };
    let peer = Peer { remote, local };
    let pulse = Arc::new(Pulse::default());
    let service = {
        let (edge, pulse) = (Arc::clone(&edge), Arc::clone(&pulse));
        // A router is called by `&mut` and hyper calls by `&`; a copy for each request would share a counter with all others.
        let app = RefCell::new(app);
        service_fn(move |request| answer(&edge, &app, peer, &pulse, request))
    };
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&pulse)));
    let mut serving = pin!(builder.serve_connection(socket, service));
    let mut watching = pin!(pulse.watch(&edge.limits, Some(&closing)));
    let called = Waker::from(Arc::clone(&pulse));
    let why = poll_fn(|cx| {
        pulse.runs_in(cx.waker());
        loop {
            if let Poll::Ready(outcome) = serving.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(|error| error.to_string()));
            }
            if !pulse.is_called() {
                return Poll::Pending;
            }
            // Only when it has something to say: looking at it costs locks, and this loop runs several times a request.
            match watching.as_mut().poll(&mut Context::from_waker(&called)) {
                Poll::Ready(Sign::Close) => {
                    serving.as_mut().graceful_shutdown();
                    watching.set(pulse.watch(&edge.limits, None));
                    called.wake_by_ref();
                }
                Poll::Ready(Sign::Cut(why)) => return Poll::Ready(Err(why.to_owned())),
                Poll::Pending => {}
            }
        }
    });
    if let Err(why) = why.await {
        tracing::debug!(%remote, why, "a connection was cut off");
    }
}

/// Judges one request, and hands it on if it may pass.
fn answer(
    edge: &Edge,
    app: &RefCell<Router>,
    peer: Peer,
    pulse: &Arc<Pulse>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
    let mut exchange = Exchange::begin(pulse, &request);
    let (mut parts, body) = request.into_parts();
    let judged = edge.guard.admit(&parts, peer.local.ip()).map(|cors| {
        let head = limits::check_head(&parts.headers, &parts.uri, &edge.limits);
        let routed = head.map(|()| {
            parts.extensions.insert(peer);
            let body = if body.is_end_stream() { Body::empty() } else { Body::new(Upload::new(body, pulse)) };
            app.borrow_mut().call(Request::from_parts(parts, body))
        });
        (cors, routed)
    });
    async move {
        let response = match judged {
            Ok((cors, routed)) => {
                let mut response = match routed {
                    // A defect of ours costs this request its answer, and not the connection with all that is under way on it.
                    Ok(routed) => match caught("request", routed).await {
                        Some(Ok(response)) => response,
                        None => reply::error(StatusCode::INTERNAL_SERVER_ERROR, None, &session::defect()),
                    },
                    Err(refused) => refused,
                };
                cors.apply(response.headers_mut());
                response
            }
            Err(refused) => refused,
        };
        metrics::http_request(response.status().as_u16());
        exchange.waits_for_client(true);
        Ok(response.map(|body| Answer { body, exchange }))
    }
}

/// The body of an answer; the exchange ends with it.
struct Answer {
    body: Body,
    exchange: Exchange,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.exchange.waits_for_client(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
