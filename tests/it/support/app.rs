//! A stand-in for the App: the routes that a proxy reads, a workspace that can be swapped, and every way to fail.

use super::{KEY, Server, lock};
use crate::scripted::Port;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Json, Redirect, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

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
    /// A page for people, as a reverse proxy or a captive portal sends it, with status 200.
    Page,
    /// 429 with `Retry-After`.
    Later(u64),
    /// A redirect that keeps the method, to the same path of this address.
    Elsewhere(String),
    /// This instead of what the workspace holds.
    Instead(Value),
    /// Text that breaks off.
    Torn,
    /// This with `Content-Encoding: gzip`.
    Packed(Vec<u8>),
    Never,
}

#[derive(Debug, Default)]
struct Shared {
    /// By their keys.
    workspaces: Mutex<HashMap<String, Workspace>>,
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<Request>>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) authorization: String,
}

impl Workspace {
    /// These servers, of which the App has discovered nothing yet.
    pub(crate) fn of(servers: &[&Server]) -> Self {
        Self { servers: servers.iter().map(|server| server.record()).collect(), ..Self::default() }
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

    fn tool_list(&self, query: &HashMap<String, String>) -> Value {
        let active = query.get("status").is_none_or(|status| status != "INACTIVE");
        let prefixed = query.get("prefix_tools").is_some_and(|value| value == "true");
        let entries = self.tools.iter().filter(|tool| tool.active == active);
        let entries = entries.filter_map(|tool| {
            let owner = self.servers.iter().find(|record| record["uuid"] == tool.server)?;
            let slug = owner["slug"].as_str();
            let name = match (prefixed, slug) {
                (true, Some(slug)) => format!("{slug}__{}", tool.name),
                (true, None) => format!("{}__{}", tool.server, tool.name),
                (false, _) => tool.name.clone(),
            };
            let mut entry = json!({
                "name": name,
                "description": format!("{} as the App knows it", tool.name),
                "inputSchema": {"type": "object"},
                "_serverUuid": tool.server,
                "_serverName": owner["name"],
            });
            if let Some(slug) = slug {
                entry["_serverSlug"] = json!(slug);
            }
            Some(entry)
        });
        json!({"tools": entries.collect::<Vec<_>>()})
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

    /// How many requests began with this method and path.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests().iter().filter(|request| request.line.starts_with(line)).count()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn serve(shared: &Arc<Shared>, port: &Port) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be built");
    let listener = port.listen(&runtime);
    let packed = axum::middleware::from_fn(pack);
    let routes = Router::new().fallback(answer).layer(packed).with_state(shared.clone());
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

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    lock(&shared.requests).push(Request { line: format!("{method} {uri}"), authorization: authorization.to_owned() });
    let how = {
        let answers = lock(&shared.answers);
        let line = uri.to_string();
        let places = [line.as_str(), uri.path(), ""];
        let how = places.into_iter().find_map(|place| answers.get(place));
        how.cloned().unwrap_or_default()
    };
    match how {
        Answer::Normally => {
            let workspaces = lock(&shared.workspaces);
            let workspace = authorization.strip_prefix("Bearer ").and_then(|key| workspaces.get(key));
            match workspace {
                Some(workspace) => route(workspace, &method, uri.path(), &query),
                None => failure(401, "Invalid API key"),
            }
        }
        Answer::Status(status) => failure(status, "scripted"),
        Answer::Page => Html("<!doctype html><title>Sign in</title>").into_response(),
        Answer::Later(seconds) => {
            let mut response = failure(429, "Too many requests. Please try again later.");
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Answer::Elsewhere(address) => Redirect::temporary(&format!("{address}{uri}")).into_response(),
        Answer::Instead(value) => Json(value).into_response(),
        Answer::Torn => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, r#"[{"uuid": "5c41b7ed-0000-40"#).into_response()
        }
        Answer::Packed(bytes) => {
            let json = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")];
            (json, bytes).into_response()
        }
        Answer::Never => std::future::pending().await,
    }
}

fn route(workspace: &Workspace, method: &Method, path: &str, query: &HashMap<String, String>) -> Response {
    let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method.as_str(), steps.as_slice()) {
        ("GET", ["api", "mcp-servers"]) => Json(json!(workspace.servers)).into_response(),
        ("GET", ["api", "tools"]) => Json(workspace.tool_list(query)).into_response(),
        ("GET", ["api", "resources"]) => Json(json!(workspace.resources)).into_response(),
        ("GET", ["api", "resource-templates"]) => Json(json!(workspace.templates)).into_response(),
        ("GET", ["api", "prompts"]) => Json(json!(workspace.prompts)).into_response(),
        ("GET", ["api", "custom-instructions"]) => Json(json!(workspace.instructions)).into_response(),
        // Instructions written in the App's editor are objects, and this route shows plain strings only.
        ("GET", ["api", "custom-instructions", _]) => Json(json!({"messages": []})).into_response(),
        ("GET", ["api", "resolve", "resource"]) => resolve(workspace, query.get("uri")),
        ("GET", ["api", "resolve", "prompt"]) => resolve(workspace, query.get("name")),
        ("POST", ["api", "discover", target]) => {
            let message = format!("Discovery process initiated for {target}. Results will be available shortly.");
            Json(json!({"message": message})).into_response()
        }
        ("POST", ["api", "notifications", "mcp-activity"]) => Json(json!({"success": true})).into_response(),
        _ => {
            let page = "<!doctype html><title>404: This page could not be found.</title>";
            (StatusCode::NOT_FOUND, Html(page)).into_response()
        }
    }
}

/// The owner's configuration, as partial as the App sends it.
fn resolve(workspace: &Workspace, wanted: Option<&String>) -> Response {
    let Some(wanted) = wanted else {
        return failure(400, "Missing parameter");
    };
    let owner = workspace.owners.get(wanted).and_then(|uuid| workspace.servers.iter().find(|record| record["uuid"] == **uuid));
    match owner {
        Some(owner) => Json(json!({"uuid": owner["uuid"], "name": owner["name"], "type": owner["type"]})).into_response(),
        None => failure(404, &format!("not found: {wanted}")),
    }
}

fn failure(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a test names real statuses");
    (status, Json(json!({"error": text}))).into_response()
}
