//! The measured server over stdio and over the three kinds of HTTP, one thread each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time;

use crate::answer::{Delivery, SLEEP, Server};
use crate::lines::Lines;

/// Serves the standard streams, one call after the other. Answers to what came in one read leave in one write.
pub(crate) fn stdio(tools: usize) -> Result<()> {
    let server = Server::new(tools);
    let mut lines = Lines::new(io::stdin().lock());
    let mut out = io::stdout().lock();
    let mut answers = Vec::new();
    while let Some(line) = lines.next()? {
        match server.answer(line, &mut answers) {
            Delivery::Never => {}
            Delivery::Late => {
                thread::sleep(SLEEP);
                answers.push(b'\n');
            }
            Delivery::Now | Delivery::Opening => answers.push(b'\n'),
        }
        if !lines.ready() {
            out.write_all(&answers)?;
            out.flush()?;
            answers.clear();
        }
    }
    Ok(())
}

/// Reads, and says nothing until its input ends.
pub(crate) fn hang() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// What the handlers of one port share.
struct Port {
    server: Arc<Server>,
    /// Of Streamable HTTP, ended ones included.
    sessions: AtomicUsize,
    /// The open streams of the older transport, by session.
    streams: Mutex<HashMap<String, mpsc::UnboundedSender<Vec<u8>>>>,
}

impl Port {
    /// The answer to a message, once it is due, and the header lines that go with it; nothing to a notification.
    async fn answer(&self, message: &[u8]) -> Option<(HeaderMap, Vec<u8>)> {
        let mut answer = Vec::new();
        let mut headers = HeaderMap::new();
        match self.server.answer(message, &mut answer) {
            Delivery::Now => {}
            Delivery::Opening => {
                headers.insert("mcp-session-id", self.sessions.fetch_add(1, Ordering::Relaxed).into());
            }
            Delivery::Late => time::sleep(SLEEP).await,
            Delivery::Never => return None,
        }
        Some((headers, answer))
    }
}

/// Serves `ports` free ports until standard input ends: `/json` and `/sse` are Streamable HTTP that answers in JSON or in an event stream,
/// `/legacy` is the older HTTP+SSE. Prints `127.0.0.1:PORT` of each, a line each.
pub(crate) fn http(ports: usize, tools: usize) -> Result<()> {
    let server = Arc::new(Server::new(tools));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        for _ in 0..ports {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            writeln!(io::stdout(), "{}", listener.local_addr()?)?;
            let port = Arc::new(Port { server: Arc::clone(&server), sessions: AtomicUsize::new(0), streams: Mutex::default() });
            let routes = Router::new()
                .route("/json", post(answer_json).delete(end))
                .route("/sse", post(answer_events).delete(end))
                .route("/legacy", get(open_stream))
                .route("/legacy/message", post(answer_on_stream))
                .with_state(port);
            let listener = listener.tap_io(|stream| {
                let _ = stream.set_nodelay(true);
            });
            tokio::spawn(async { axum::serve(listener, routes).await });
        }
        tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

async fn answer_json(State(port): State<Arc<Port>>, message: Bytes) -> Response {
    match port.answer(&message).await {
        Some((headers, answer)) => (headers, [(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

async fn answer_events(State(port): State<Arc<Port>>, message: Bytes) -> Response {
    match port.answer(&message).await {
        Some((headers, answer)) => (headers, events(stream::iter([event("message", &answer)]))).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

/// Nothing is kept of a session that could be let go.
async fn end() -> StatusCode {
    StatusCode::OK
}

async fn open_stream(State(port): State<Arc<Port>>) -> Response {
    let (to, from) = mpsc::unbounded_channel();
    let mut streams = port.streams.lock().unwrap_or_else(PoisonError::into_inner);
    let session = streams.len().to_string();
    let _ = to.send(event("endpoint", format!("/legacy/message?{session}").as_bytes()));
    streams.insert(session, to);
    events(stream::unfold(from, async |mut from| Some((from.recv().await?, from))))
}

async fn answer_on_stream(State(port): State<Arc<Port>>, RawQuery(session): RawQuery, message: Bytes) -> Response {
    let session = session.unwrap_or_default();
    let Some(to) = port.streams.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Some((_, answer)) = port.answer(&message).await {
        let _ = to.send(event("message", &answer));
    }
    StatusCode::ACCEPTED.into_response()
}

fn event(name: &str, data: &[u8]) -> Vec<u8> {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"].concat()
}

fn events(events: impl stream::Stream<Item = Vec<u8>> + Send + 'static) -> Response {
    use futures_util::StreamExt as _;
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
