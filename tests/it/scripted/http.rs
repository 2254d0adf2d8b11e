//! Streamable HTTP, and how both HTTP kinds run: on a runtime of their own, so that they can be stopped at once.

use super::session::{Inbox, Outgoing, Session, read};
use super::{Port, Script, Server, Wire, fault, lock, modern, sse};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{delete, get, post};
use axum::serve::ListenerExt;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A server of one of the HTTP kinds. Dropping it closes its port and every connection.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) server: Arc<Server>,
    host: Arc<Host>,
    port: Arc<Port>,
    runtime: Option<Runtime>,
}

/// One HTTP request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) http: Method,
    pub(crate) headers: BTreeMap<String, String>,
    /// The JSON-RPC method, if the body has one.
    pub(crate) method: Option<String>,
}

/// What the HTTP kinds have beside the server.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) server: Arc<Server>,
    pub(crate) sessions: Mutex<HashMap<String, Entry>>,
    seen: Mutex<Vec<Seen>>,
    next: Mutex<u64>,
    /// Streams that ended early, by the id of their only event.
    resumable: Mutex<HashMap<String, Inbox>>,
    /// Of all requests that belong to no session.
    standalone: Mutex<Option<Arc<Session>>>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Arc<Session>,
    /// What waits for the client's stream; one stream at a time reads from it.
    inbox: SharedInbox,
    /// Ends the client's GET together with the session.
    closed: CancellationToken,
}

/// What a stream begins with, and what is kept as long as the stream lasts.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) event: Option<String>,
    pub(crate) guard: Option<SessionGuard>,
}

/// Ends the session when it is dropped.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    pub(crate) host: Arc<Host>,
    pub(crate) id: String,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let entry = lock(&self.host.sessions).remove(&self.id);
        drop(entry);
    }
}

pub(crate) type SharedInbox = Arc<tokio::sync::Mutex<Inbox>>;

impl Drop for Entry {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Running {
    pub(crate) fn start(script: Script) -> Self {
        let port = Arc::new(Port::reserve(script.port));
        Self::start_at(script, port)
    }

    fn start_at(script: Script, port: Arc<Port>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be built");
        let wire = script.wire;
        let server = Server::new(script);
        let host = Arc::new(Host {
            server: server.clone(),
            sessions: Mutex::default(),
            seen: Mutex::default(),
            next: Mutex::default(),
            resumable: Mutex::default(),
            standalone: Mutex::default(),
        });
        let routes = match wire {
            Wire::Sse => sse::routes(),
            Wire::Http | Wire::Stdio => routes(),
        };
        let app = routes
            .layer(axum::extract::DefaultBodyLimit::disable())
            .layer(axum::middleware::from_fn_with_state(host.clone(), watch))
            .with_state(host.clone());
        let listener = port.listen(&runtime);
        // Small messages leave at once, as those of most servers do.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { server, host, port, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        let path = match self.server.script.wire {
            Wire::Sse => "sse",
            Wire::Http | Wire::Stdio => "mcp",
        };
        format!("http://{}/{path}", self.port.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.host.seen).clone()
    }

    pub(crate) fn sessions(&self) -> usize {
        lock(&self.host.sessions).len()
    }

    /// Forgets every session, as a restart does, while the port stays open.
    pub(crate) fn forget_sessions(&self) {
        lock(&self.host.sessions).clear();
    }

    /// Breaks the stream on which each client hears what belongs to no call.
    pub(crate) fn break_streams(&self) {
        for entry in lock(&self.host.sessions).values() {
            let _ = entry.session.outbox().send(Outgoing::Break);
        }
        self.server.break_listeners();
    }

    /// Tells that a resource has changed, as the `touch` tool does.
    pub(crate) fn touch(&self, uri: &str) {
        self.server.touch(uri);
    }

    /// Adds an entry to a list, as the `add` tool does.
    pub(crate) fn add(&self, list: &str, name: &str) {
        self.server.add(list, name.to_owned());
    }

    /// Closes the port and every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    /// Starts anew on the same port, with nothing left of the time before.
    pub(crate) fn restart(&mut self) {
        self.stop();
        *self = Self::start_at(self.server.script.clone(), self.port.clone());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Host {
    pub(crate) fn open_session(&self) -> (String, Arc<Session>) {
        let id = {
            let mut next = lock(&self.next);
            *next += 1;
            format!("session-{next}")
        };
        let (session, inbox) = Session::open(&self.server);
        let entry = Entry { session: session.clone(), inbox: share(inbox), closed: CancellationToken::new() };
        lock(&self.sessions).insert(id.clone(), entry);
        (id, session)
    }

    pub(crate) fn standalone(&self) -> Arc<Session> {
        lock(&self.standalone).get_or_insert_with(|| Session::open(&self.server).0).clone()
    }

    pub(crate) fn session(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).get(id).map(|entry| entry.session.clone())
    }

    /// The messages of a session that belong to no call, as a stream of events until the session ends.
    pub(crate) fn stream(&self, id: &str, opening: Opening) -> Option<Response> {
        let sessions = lock(&self.sessions);
        let entry = sessions.get(id)?;
        Some(events(opening, entry.inbox.clone(), entry.closed.clone()))
    }
}

/// Notes every request, and refuses those without the header that the script requires.
async fn watch(State(host): State<Arc<Host>>, request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), value.into_owned())
        })
        .collect();
    let allowed = match &host.server.script.require_header {
        Some(header) => headers.iter().any(|(name, value)| *header == format!("{name}: {value}")),
        None => true,
    };
    lock(&host.seen).push(Seen { http: parts.method.clone(), headers, method: message["method"].as_str().map(str::to_owned) });
    if !allowed {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(response) = fault::response(&host, &message).await {
        return response;
    }
    next.run(axum::extract::Request::from_parts(parts, Body::from(body))).await
}

fn routes() -> Router<Arc<Host>> {
    Router::new().route("/mcp", post(receive)).route("/mcp", get(listen)).route("/mcp", delete(close))
}

async fn receive(State(host): State<Arc<Host>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let script = &host.server.script;
    if let Some(url) = script.redirect.as_ref().filter(|_| uri.query().is_none()) {
        return Redirect::temporary(url).into_response();
    }
    let accept = text_of(&headers, "accept");
    if !accept.contains("application/json") || !accept.contains("text/event-stream") {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    let Ok(text) = str::from_utf8(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let message = read(text).unwrap_or_default();
    if script.is_modern(message["method"].as_str().unwrap_or_default(), &message["params"]) {
        return modern::receive(&host, &headers, text, &message).await;
    }
    let (id, session) = if message["method"] == "initialize" {
        host.open_session()
    } else if script.sessionless {
        // The newest session serves every request that names none.
        let sessions = lock(&host.sessions).len();
        let id = format!("session-{sessions}");
        let Some(session) = host.session(&id) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        (id, session)
    } else {
        let id = text_of(&headers, "mcp-session-id");
        if id.is_empty() {
            return StatusCode::BAD_REQUEST.into_response();
        }
        let Some(session) = host.session(&id) else {
            let status = script.unknown_session.unwrap_or(404);
            let said = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Session not found"}}"#;
            let json = [(header::CONTENT_TYPE, "application/json")];
            return (StatusCode::from_u16(status).expect("a status"), json, said).into_response();
        };
        (id, session)
    };

    let (answer, mut answers) = mpsc::unbounded_channel();
    if message["method"].is_null() || message["id"].is_null() {
        session.receive(text, session.outbox(), answer);
        return StatusCode::ACCEPTED.into_response();
    }
    let mut response = if script.json_answers {
        session.receive(text, session.outbox(), answer);
        match answers.recv().await {
            Some(Outgoing::Message(message)) => ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], message).into_response(),
            // A cancelled call has no answer, but HTTP must have one.
            None => StatusCode::ACCEPTED.into_response(),
            Some(Outgoing::Break) => broken(),
            Some(other) => ([(header::CONTENT_TYPE, "application/json")], pieces(other, share(answers))).into_response(),
        }
    } else {
        session.receive(text, answer.clone(), answer);
        if script.resumable && message["method"] != "initialize" {
            let event = format!("{id}/{}", message["id"]);
            let opening = format!("id: {event}\nretry: 10\ndata: \n\n");
            lock(&host.resumable).insert(event, answers);
            ([(header::CONTENT_TYPE, EVENTS)], opening).into_response()
        } else {
            events(Opening::default(), share(answers), CancellationToken::new())
        }
    };
    if message["method"] == "initialize" && !script.sessionless {
        let id = id.parse().expect("letters and digits");
        response.headers_mut().insert("mcp-session-id", id);
    }
    response
}

async fn listen(State(host): State<Arc<Host>>, headers: HeaderMap) -> Response {
    if let Some(inbox) = lock(&host.resumable).remove(&text_of(&headers, "last-event-id")) {
        return events(Opening::default(), share(inbox), CancellationToken::new());
    }
    if host.server.script.no_get || host.server.script.modern {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let id = text_of(&headers, "mcp-session-id");
    host.stream(&id, Opening::default()).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

async fn close(State(host): State<Arc<Host>>, headers: HeaderMap) -> Response {
    let id = text_of(&headers, "mcp-session-id");
    let entry = lock(&host.sessions).remove(&id);
    match entry {
        Some(_) => StatusCode::OK.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(crate) const EVENTS: &str = "text/event-stream; charset=utf-8";

/// Events until nothing more can come, or until they are closed. They come as inconveniently as the format allows: after
/// comments, and torn apart anywhere.
fn events(opening: Opening, inbox: SharedInbox, closed: CancellationToken) -> Response {
    let Opening { event, guard } = opening;
    let messages = stream::unfold((inbox, guard), |(inbox, guard)| async move {
        let event = piece(inbox.lock().await.recv().await?).await?;
        Some((event, (inbox, guard)))
    });
    let events = stream::iter(event.map(|event| Ok(event.into()))).chain(messages).flat_map(|event| stream::iter(halves(event)));
    let events = events.take_until(async move { closed.cancelled().await });
    ([(header::CONTENT_TYPE, EVENTS)], Body::from_stream(events)).into_response()
}

/// What goes over the wire next; nothing at the end of the stream.
async fn piece(outgoing: Outgoing) -> Option<std::io::Result<Bytes>> {
    match outgoing {
        Outgoing::Message(message) => Some(Ok(format!(": ping\r\n\r\nevent: message\ndata: {message}\n\n").into())),
        Outgoing::Bytes(bytes) => Some(Ok(bytes)),
        Outgoing::Pause(time) => {
            tokio::time::sleep(time).await;
            Some(Ok(Bytes::new()))
        }
        Outgoing::Break => Some(Err(std::io::Error::other("scripted to break here"))),
        Outgoing::End => None,
    }
}

/// A body of which the first piece is known.
pub(crate) fn pieces(first: Outgoing, inbox: SharedInbox) -> Body {
    let rest = stream::unfold((Some(first), inbox), |(first, inbox)| async move {
        let outgoing = match first {
            Some(first) => first,
            None => inbox.lock().await.recv().await?,
        };
        Some((piece(outgoing).await?, (None, inbox)))
    });
    Body::from_stream(rest.flat_map(|piece| stream::iter(halves(piece))))
}

fn halves(piece: std::io::Result<Bytes>) -> Vec<std::io::Result<Bytes>> {
    match piece {
        Ok(mut end) => {
            let start = end.split_to(end.len() / 2);
            vec![Ok(start), Ok(end)]
        }
        Err(error) => vec![Err(error)],
    }
}

pub(crate) fn share(inbox: Inbox) -> SharedInbox {
    Arc::new(tokio::sync::Mutex::new(inbox))
}

/// An answer that breaks off before its first byte.
pub(crate) fn broken() -> Response {
    let error = std::io::Error::other("scripted to break here");
    Body::from_stream(stream::iter([Err::<String, _>(error)])).into_response()
}

pub(crate) fn text_of(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}
