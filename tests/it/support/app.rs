//! A stand-in for the App: the routes that a proxy uses, a workspace that can be swapped, and every way to fail. It behaves as the
//! App does where that is odd, and it notes every request that the App's contract does not allow.

mod activity; // what the proxy reports of its calls
mod catalog; // servers and what they have
mod clipboard; // entries by name and by index
mod collective; // patterns of the community
mod contract; // what a request may hold
mod device; // signing in from a terminal
mod documents; // the library
mod knowledge; // passages of documents
mod memory; // sessions, observations, memories
mod notifications; // what people are told
mod reply; // answers

use super::{KEY, Server, http, lock};
use crate::scripted::Port;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{Html, IntoResponse, Json, Redirect, Response};
use device::Device;
use flate2::Compression;
use flate2::write::GzEncoder;
use reply::{failure, page_not_found, refusal};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub(crate) use device::{Approval, DEVICE_CODE, USER_CODE};
pub(crate) use documents::Document;
pub(crate) use knowledge::Passage;
pub(crate) use memory::Session;

#[derive(Debug)]
pub(crate) struct App {
    shared: Arc<Shared>,
    port: Port,
    /// Absent while the App is away.
    runtime: Option<Runtime>,
}

/// What one key selects.
#[derive(Debug, Default, Clone)]
pub(crate) struct Workspace {
    pub(crate) servers: Vec<Value>,
    pub(crate) tools: Vec<StoredTool>,
    pub(crate) resources: Vec<Value>,
    pub(crate) templates: Vec<Value>,
    pub(crate) prompts: Vec<Value>,
    pub(crate) instructions: Vec<Value>,
    /// Owners of URIs and of prompt names that only the App knows.
    pub(crate) owners: HashMap<String, String>,
    /// What the proxy reported and the App stored.
    pub(crate) activities: Vec<Value>,
    /// Found by every question.
    pub(crate) passages: Vec<Passage>,
    /// Newest first.
    pub(crate) notifications: Vec<Value>,
    pub(crate) documents: Vec<Document>,
    pub(crate) clipboard: Vec<Value>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) memories: Vec<Value>,
    pub(crate) patterns: Vec<Value>,
    /// Ratings of patterns.
    pub(crate) feedback: Vec<Value>,
    /// The App has no key of a provider of embeddings.
    pub(crate) without_embeddings: bool,
    /// Where people reach the App, if not where the proxy does.
    pub(crate) public_origin: Option<String>,
    /// How many things were made here.
    pub(crate) made: u64,
}

/// A tool as the App has discovered it.
#[derive(Debug, Clone)]
pub(crate) struct StoredTool {
    pub(crate) server: String,
    pub(crate) name: String,
    pub(crate) active: bool,
}

/// How the App answers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Answer {
    #[default]
    Normally,
    Status(u16),
    /// This status with this body.
    Refuse(u16, Value),
    /// A page for people, as a reverse proxy or a captive portal sends it, with status 200.
    Page,
    /// 429 with `Retry-After`.
    Later(u64),
    /// A redirect that keeps the method, to the same path of this address.
    Elsewhere(String),
    /// This instead of what the workspace holds.
    Instead(Value),
    /// Plain text with status 200.
    Text(&'static str),
    /// Text that breaks off.
    Torn,
    /// This with `Content-Encoding: gzip`.
    Packed(Vec<u8>),
    Never,
    /// Normally, once somebody has added permits.
    Held(Arc<Semaphore>),
}

#[derive(Debug, Default)]
struct Shared {
    /// By their keys.
    workspaces: Mutex<HashMap<String, Workspace>>,
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<Request>>,
    /// What the contract does not allow, and came nevertheless.
    violations: Mutex<Vec<String>>,
    /// Requests whose sender left before there was an answer.
    abandoned: Mutex<Vec<String>>,
    device: Mutex<Device>,
    /// So many seconds its clock is ahead, if it is wrong.
    clock: Mutex<Option<i64>>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) authorization: String,
    pub(crate) origin: Option<String>,
    pub(crate) requested_with: Option<String>,
    /// `null` where there is none; text where it is no JSON.
    pub(crate) body: Value,
}

/// A request on its way to its route.
#[derive(Debug)]
struct Call {
    method: Method,
    path: String,
    parameters: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Workspace {
    /// These servers, of which the App has discovered nothing yet.
    pub(crate) fn of(servers: &[&Server]) -> Self {
        Self { servers: servers.iter().map(|server| server.record()).collect(), ..Self::default() }
    }

    /// An identifier and a time for something new: later things have later times.
    fn stamp(&mut self) -> (String, String) {
        self.made += 1;
        let made = self.made;
        (format!("0b9b7c64-4b43-4f0a-8a37-{made:012}"), format!("2026-01-01T12:{:02}:{:02}.000Z", made / 60 % 60, made % 60))
    }

    /// Adds tools of a server as the App has discovered them.
    pub(crate) fn with_tools(mut self, server: &Server, names: &[&str]) -> Self {
        self.tools.extend(names.iter().map(|name| StoredTool { server: server.uuid(), name: (*name).to_owned(), active: true }));
        self
    }

    /// Adds a tool that somebody switched off in the App.
    pub(crate) fn with_switched_off(mut self, server: &Server, name: &str) -> Self {
        self.tools.push(StoredTool { server: server.uuid(), name: name.to_owned(), active: false });
        self
    }

    /// Gives a server instructions for the model, in both of the places where the App shows them.
    pub(crate) fn with_instructions(mut self, server: &Server, name: &str, messages: &Value) -> Self {
        let uuid = server.uuid();
        for record in self.servers.iter_mut().filter(|record| record["uuid"] == uuid) {
            record["customInstructions"] = messages.clone();
            record["customInstructionsDescription"] = json!("House rules");
        }
        self.instructions.push(json!({
            "name": name,
            "description": "House rules",
            "instruction": messages,
            "arguments": [],
            "_serverUuid": uuid,
        }));
        self
    }
}

impl App {
    pub(crate) fn start(workspace: Workspace) -> Self {
        let shared = Arc::new(Shared::default());
        lock(&shared.workspaces).insert(KEY.to_owned(), workspace);
        let port = Port::reserve(0);
        let runtime = serve(&shared, &port);
        Self { shared, port, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.port.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// A request of one's own, with the key.
    pub(crate) fn request(&self, method: &str, target: &str) -> http::Request {
        http::Request::to(self.port.address, method, target).key(KEY)
    }

    /// Switches the workspace, as its owner does in the App.
    pub(crate) fn switch_to(&self, workspace: Workspace) {
        self.switch(KEY, workspace);
    }

    /// The same for the owner of a key, whom the App knows from then on.
    pub(crate) fn switch(&self, key: &str, workspace: Workspace) {
        lock(&self.shared.workspaces).insert(key.to_owned(), workspace);
    }

    /// Takes a key back.
    pub(crate) fn revoke(&self, key: &str) {
        lock(&self.shared.workspaces).remove(key);
    }

    /// From now on, everything is answered like this.
    pub(crate) fn answer(&self, answer: Answer) {
        self.answer_at("", answer);
    }

    /// From now on, one path is answered like this, or one path with its query.
    pub(crate) fn answer_at(&self, path: &str, answer: Answer) {
        lock(&self.shared.answers).insert(path.to_owned(), answer);
    }

    /// Looks at a workspace, or changes something in it.
    #[track_caller]
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Workspace) -> T) -> T {
        let mut workspaces = lock(&self.shared.workspaces);
        act(workspaces.get_mut(KEY).expect("nobody took the key back"))
    }

    /// What the proxy reported and the App stored, oldest first.
    pub(crate) fn activities(&self) -> Vec<Value> {
        self.with(|workspace| workspace.activities.clone())
    }

    /// Takes what the contract did not allow, so that nobody complains about it at the end.
    pub(crate) fn violations(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.violations))
    }

    /// What the person in front of the browser does about a sign-in.
    pub(crate) fn sign_in_is(&self, approval: Approval) {
        lock(&self.shared.device).approval = approval;
    }

    /// Codes of sign-ins have these members from now on.
    pub(crate) fn sign_ins_have(&self, members: Value) {
        let Value::Object(members) = members else { panic!("codes are an object") };
        lock(&self.shared.device).codes = members;
    }

    /// Its clock is so many seconds ahead from now on.
    pub(crate) fn clock_is_ahead(&self, seconds: i64) {
        *lock(&self.shared.clock) = Some(seconds);
    }

    /// Requests whose sender left before there was an answer, by method and address.
    pub(crate) fn abandoned(&self) -> Vec<String> {
        lock(&self.shared.abandoned).clone()
    }

    /// Closes the port and every connection.
    pub(crate) fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    pub(crate) fn come_back(&mut self) {
        self.go_away();
        self.runtime = Some(serve(&self.shared, &self.port));
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Requests that began with this method and path.
    pub(crate) fn requests_to(&self, line: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.line.starts_with(line));
        requests
    }

    /// How many requests began with this method and path.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests_to(line).len()
    }
}

impl Drop for App {
    /// Every scenario ends with an App that was asked for nothing but what its contract allows.
    fn drop(&mut self) {
        self.go_away();
        if !std::thread::panicking() {
            let violations = self.violations();
            assert!(violations.is_empty(), "the contract of the App does not allow: {violations:#?}");
        }
    }
}

impl Call {
    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The method and the path below `/api/`.
    fn steps(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("/api/").unwrap_or_default();
        std::iter::once(self.method.as_str()).chain(below.split('/')).collect()
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `null` where there is none; text where it is no JSON.
    fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(_) if self.body.is_empty() => Value::Null,
            Err(_) => json!(String::from_utf8_lossy(&self.body)),
        }
    }
}

fn serve(shared: &Arc<Shared>, port: &Port) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be built");
    let listener = port.listen(&runtime);
    let packed = axum::middleware::from_fn(pack);
    let routes = Router::new().fallback(dated).layer(packed).layer(DefaultBodyLimit::disable()).with_state(shared.clone());
    runtime.spawn(async move { axum::serve(listener, routes).await });
    runtime
}

/// Compresses answers for those who can read them, as the App does.
async fn pack(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let accepted = request.headers().get(header::ACCEPT_ENCODING);
    let accepted = accepted.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains("gzip")));
    let (mut parts, body) = next.run(request).await.into_parts();
    if !accepted || parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&body).expect("a vector takes everything");
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(packed.finish().expect("a vector takes everything")))
}

/// So many bytes of blanks, in a thousandth of that.
pub(crate) fn bomb(bytes: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..bytes >> 20 {
        packed.write_all(&blanks).expect("a vector takes everything");
    }
    packed.finish().expect("a vector takes everything")
}

/// As [`answer`], at the time that the App believes in.
async fn dated(state: State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let ahead = *lock(&state.clock);
    let mut response = answer(state, method, uri, headers, body).await;
    if let Some(ahead) = ahead {
        let distance = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        let time = if ahead < 0 { now - distance } else { now + distance };
        let date = HeaderValue::try_from(httpdate::fmt_http_date(time)).expect("a date is plain text");
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let parameters = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let call = Call { method, path: uri.path().to_owned(), parameters, headers, body };
    let owned = |name: &str| call.header(name).map(str::to_owned);
    let authorization = owned("authorization").unwrap_or_default();
    lock(&shared.requests).push(Request {
        line: format!("{} {uri}", call.method),
        authorization: authorization.clone(),
        origin: owned("origin"),
        requested_with: owned("x-requested-with"),
        body: call.json(),
    });
    lock(&shared.violations).extend(contract::violations(&call));
    let how = {
        let answers = lock(&shared.answers);
        let places = [format!("{} {uri}", call.method), uri.to_string(), call.line(), call.path.clone(), String::new()];
        let how = places.iter().find_map(|place| answers.get(place));
        how.cloned().unwrap_or_default()
    };
    if let Answer::Held(gate) = &how {
        drop(gate.acquire().await);
    }
    match how {
        Answer::Normally | Answer::Held(_) => {
            if let Some(response) = device::route(&mut lock(&shared.device), &call) {
                return response;
            }
            let mut workspaces = lock(&shared.workspaces);
            let workspace = authorization.strip_prefix("Bearer ").and_then(|key| workspaces.get_mut(key));
            match workspace {
                Some(workspace) => route(workspace, &call).unwrap_or_else(page_not_found),
                None => failure(401, "Invalid API key"),
            }
        }
        Answer::Status(status) => failure(status, "scripted"),
        Answer::Refuse(status, body) => refusal(status, body),
        Answer::Page => Html("<!doctype html><title>Sign in</title>").into_response(),
        Answer::Later(seconds) => {
            let mut response = failure(429, "Too many requests. Please try again later.");
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Answer::Elsewhere(address) => Redirect::temporary(&format!("{address}{uri}")).into_response(),
        Answer::Instead(value) => Json(value).into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Torn => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, r#"[{"uuid": "5c41b7ed-0000-40"#).into_response()
        }
        Answer::Packed(bytes) => {
            let json = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")];
            (json, bytes).into_response()
        }
        Answer::Never => {
            let _waiting = Waiting { shared: shared.clone(), line: call.line() };
            std::future::pending().await
        }
    }
}

/// A request that gets no answer. It is dropped when its sender leaves.
struct Waiting {
    shared: Arc<Shared>,
    line: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.shared.abandoned).push(std::mem::take(&mut self.line));
    }
}

fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    activity::route(workspace, call)
        .or_else(|| catalog::route(workspace, call))
        .or_else(|| knowledge::route(workspace, call))
        .or_else(|| notifications::route(workspace, call))
        .or_else(|| documents::route(workspace, call))
        .or_else(|| clipboard::route(workspace, call))
        .or_else(|| memory::route(workspace, call))
        .or_else(|| collective::route(workspace, call))
}
