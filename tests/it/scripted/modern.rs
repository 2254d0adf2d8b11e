//! Revision 2026-07-28: no handshake and no session, an envelope in every request, headers that repeat it, questions
//! in results, and one request that listens.

use super::features::{invalid, no_method};
use super::http::{EVENTS, Host, broken, pieces, share, text_of};
use super::session::{Call, Outbox, Outgoing, Reply, Session, parse, read};
use super::{Script, Server, lock};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const REVISION: &str = "2026-07-28";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a server of this revision serves.
const METHODS: [&str; 10] = [
    "server/discover",
    "subscriptions/listen",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
];

/// One who listens.
#[derive(Debug)]
pub(crate) struct Listener {
    id: Value,
    filter: Value,
    outbox: Outbox,
}

impl Script {
    /// Whether a request is meant in this revision.
    pub(crate) fn is_modern(&self, method: &str, params: &Value) -> bool {
        self.modern || (self.dual && method != "initialize" && (method == "server/discover" || params["_meta"][VERSION].is_string()))
    }
}

impl Server {
    /// Tells those who listen for it.
    pub(crate) fn tell_listeners(&self, notification: &Value) {
        for Listener { id, filter, outbox } in &*lock(&self.listeners) {
            let wanted = match notification["method"].as_str().unwrap_or_default() {
                "notifications/tools/list_changed" => filter["toolsListChanged"] == true,
                "notifications/prompts/list_changed" => filter["promptsListChanged"] == true,
                "notifications/resources/list_changed" => filter["resourcesListChanged"] == true,
                "notifications/resources/updated" => {
                    filter["resourceSubscriptions"].as_array().is_some_and(|uris| uris.contains(&notification["params"]["uri"]))
                }
                "notifications/tasks" => {
                    filter["taskIds"].as_array().is_some_and(|tasks| tasks.contains(&notification["params"]["taskId"]))
                }
                _ => false,
            };
            if wanted {
                let mut notification = notification.clone();
                notification["params"]["_meta"][SUBSCRIPTION] = id.clone();
                let _ = outbox.send(Outgoing::Message(notification.to_string()));
            }
        }
    }

    /// Breaks the stream of each one who listens.
    pub(crate) fn break_listeners(&self) {
        for listener in lock(&self.listeners).drain(..) {
            let _ = listener.outbox.send(Outgoing::Break);
        }
    }
}

/// What is wrong with a request, whatever the wire: its error.
fn refusal(script: &Script, method: &str, params: &Value) -> Option<Value> {
    let error = |code: i64, message: &str, data: Value| Some(json!({"code": code, "message": message, "data": data}));
    let meta = &params["_meta"];
    let Some(version) = meta[VERSION].as_str() else {
        return error(-32_602, "the protocol version is missing", json!({"missing": VERSION}));
    };
    if version != REVISION {
        return error(-32_022, "unsupported protocol version", json!({"supported": [REVISION], "requested": version}));
    }
    if !meta[CAPABILITIES].is_object() {
        return error(-32_602, "the capabilities are missing", json!({"missing": CAPABILITIES}));
    }
    let own = script.declares(method.split('/').next().unwrap_or_default());
    if !METHODS.contains(&method) && !own {
        return error(-32_601, &format!("Method not found: {method}"), json!({}));
    }
    None
}

/// The HTTP status of an error.
fn status_of(error: &Value) -> StatusCode {
    match error["code"].as_i64() {
        Some(-32_601) => StatusCode::NOT_FOUND,
        Some(-32_022..=-32_020) => StatusCode::BAD_REQUEST,
        Some(-32_602) if error["data"]["missing"].is_string() => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

// HTTP.

pub(crate) async fn receive(host: &Arc<Host>, headers: &HeaderMap, text: &str, message: &Value) -> Response {
    let script = &host.server.script;
    let (method, params) = (message["method"].as_str().unwrap_or_default(), &message["params"]);
    let refused = |error: &Value| {
        let message = json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string();
        (status_of(error), [(header::CONTENT_TYPE, "application/json")], message).into_response()
    };
    if message["method"].is_null() {
        // Nobody has asked anything.
        lock(&host.server.journal).answers.push(text.to_owned());
        return StatusCode::BAD_REQUEST.into_response();
    }
    if let Some(wrong) = mismatch(&host.server, headers, method, params) {
        return refused(&json!({"code": -32_020, "message": format!("header mismatch: {wrong}")}));
    }
    if !message["id"].is_null()
        && let Some(error) = refusal(script, method, params)
    {
        return refused(&error);
    }
    let session = host.standalone();
    let (answer, mut answers) = mpsc::unbounded_channel();
    if message["id"].is_null() {
        session.receive(text, answer.clone(), answer);
        return StatusCode::ACCEPTED.into_response();
    }
    // With JSON answers there is no place for what is said beside them, but for those who listen.
    if script.json_answers && method != "subscriptions/listen" {
        session.receive(text, session.outbox(), answer);
    } else {
        session.receive(text, answer.clone(), answer);
    }
    // Errors have statuses, so that nothing is sent before it is known whether this is one.
    let first = match answers.recv().await {
        Some(Outgoing::Message(first)) => first,
        Some(Outgoing::Break) => return broken(),
        None => return StatusCode::ACCEPTED.into_response(),
        Some(other) => return ([(header::CONTENT_TYPE, EVENTS)], pieces(other, share(answers))).into_response(),
    };
    let parsed = read(&first).unwrap_or_default();
    let status = if parsed["id"] == message["id"] { status_of(&parsed["error"]) } else { StatusCode::OK };
    if status != StatusCode::OK || (script.json_answers && method != "subscriptions/listen") {
        return (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], first).into_response();
    }
    let stream = pieces(Outgoing::Message(first), share(answers));
    ([(header::CONTENT_TYPE, EVENTS)], stream).into_response()
}

/// What a header says that the message does not.
fn mismatch(server: &Server, headers: &HeaderMap, method: &str, params: &Value) -> Option<String> {
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    let version = params["_meta"][VERSION].as_str().unwrap_or(REVISION);
    let mut expected =
        vec![("mcp-protocol-version".to_owned(), Some(version.to_owned())), ("mcp-method".to_owned(), Some(method.to_owned()))];
    expected.push(("mcp-name".to_owned(), name.map(str::to_owned)));
    if method == "tools/call" {
        let schema = server.script.schema_of(name.unwrap_or_default());
        expect_params(&schema, &params["arguments"], &mut expected);
    }
    expected.into_iter().find_map(|(name, expected)| {
        let sent = headers.get(&name).map(|_| decoded(&text_of(headers, &name)));
        (sent != expected).then(|| format!("{name} is {sent:?} instead of {expected:?}"))
    })
}

fn expect_params(schema: &Value, arguments: &Value, expected: &mut Vec<(String, Option<String>)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let argument = &arguments[name];
        if let Some(header) = property["x-mcp-header"].as_str() {
            let value = match argument {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            expected.push((format!("mcp-param-{}", header.to_lowercase()), value));
        }
        expect_params(property, argument, expected);
    }
}

fn decoded(value: &str) -> String {
    let encoded = value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?="));
    match encoded {
        Some(encoded) => String::from_utf8_lossy(&BASE64_STANDARD.decode(encoded).unwrap_or_default()).into_owned(),
        None => value.to_owned(),
    }
}

// Calls.

impl Call {
    /// As [`handle`](Self::handle), in this revision.
    pub(crate) async fn handle_modern(&self) -> Reply {
        let params = parse(&self.params);
        if let Some(error) = refusal(&self.session.server.script, &self.method, &params) {
            return Reply::Error(error);
        }
        let reply = match self.method.as_str() {
            "server/discover" if self.session.server.script.without_discovery => no_method(&self.method),
            "server/discover" => {
                tokio::time::sleep(Duration::from_millis(self.session.server.script.slow_probe)).await;
                self.discover()
            }
            "subscriptions/listen" if self.session.server.script.without.iter().any(|without| without == "subscriptions") => {
                no_method(&self.method)
            }
            "subscriptions/listen" => self.listen(&params).await,
            "tools/call" => match Self::question(&params) {
                Some(reply) => reply,
                None => Box::pin(self.handle()).await,
            },
            _ => Box::pin(self.handle()).await,
        };
        match reply {
            Reply::Result(result) if !result.contains(r#""resultType":"input_required""#) => Reply::Result(self.complete(&result)),
            Reply::Error(error) if error["code"] == -32_002 => {
                Reply::Error(json!({"code": -32_602, "message": error["message"], "data": error["data"]}))
            }
            reply => reply,
        }
    }

    /// The result with what every one has, in front, so that the rest stays as it is to the letter.
    fn complete(&self, result: &str) -> String {
        let lists = ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];
        let kept = if lists.contains(&self.method.as_str()) { r#","ttlMs":250,"cacheScope":"public""# } else { "" };
        let rest = result.trim_start().strip_prefix('{').expect("results are objects");
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        format!(r#"{{"resultType":"complete"{kept}{comma}{rest}"#)
    }

    fn discover(&self) -> Reply {
        let script = &self.session.server.script;
        let versions = if script.dual { json!([REVISION, "2025-11-25"]) } else { json!([REVISION]) };
        let mut result = json!({
            "supportedVersions": versions,
            "capabilities": self.capabilities(),
            "instructions": format!("Instructions of {}.", script.name),
            "_meta": {SERVER_INFO: {"name": script.name, "version": "0.1.0", "x-build": 7}},
        });
        if let Some(capabilities) = result["capabilities"].as_object_mut() {
            capabilities.remove("experimental");
        }
        Reply::Result(result.to_string())
    }

    async fn listen(&self, params: &Value) -> Reply {
        let server = &self.session.server;
        let mut filter = params["notifications"].clone();
        let uris = |what: &str| {
            filter["resourceSubscriptions"].as_array().is_some_and(|uris| uris.iter().any(|uri| uri.to_string().contains(what)))
        };
        if uris("forbidden") {
            return invalid("that is nobody's business");
        }
        // What is not agreed to is left out.
        if uris("unheard") {
            filter["resourceSubscriptions"].as_array_mut().expect("a list").retain(|uri| !uri.to_string().contains("unheard"));
        }
        let acknowledged = json!({"notifications": filter, "_meta": {SUBSCRIPTION: self.id}});
        lock(&server.journal).listens.push(format!("+{filter}"));
        lock(&server.listeners).push(Listener { id: self.id.clone(), filter: filter.clone(), outbox: self.beside() });
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": acknowledged}));
        let mut dismissed = server.dismissed.subscribe();
        let reply = tokio::select! {
            () = self.cancelled.cancelled() => Reply::Silence,
            _ = dismissed.changed() => Reply::Result(json!({"_meta": {SUBSCRIPTION: self.id}}).to_string()),
        };
        lock(&server.listeners).retain(|listener| listener.id != self.id);
        lock(&server.journal).listens.push(format!("-{filter}"));
        reply
    }

    /// The tools that ask: `ask` for a name, `ask-twice` in two rounds, `ask-all` for everything in one, `ask-model` and
    /// `ask-roots` for one of it, `ask-again` for nothing but to be called again. `None` for other tools.
    fn question(params: &Value) -> Option<Reply> {
        let (responses, state) = (&params["inputResponses"], &params["requestState"]);
        let needed = match params["name"].as_str()? {
            "ask" | "ask-twice" => vec!["elicitation"],
            "ask-all" => vec!["elicitation", "sampling", "roots"],
            "ask-model" => vec!["sampling"],
            "ask-roots" => vec!["roots"],
            "ask-again" => Vec::new(),
            _ => return None,
        };
        let declared = &params["_meta"][CAPABILITIES];
        let missing: Vec<_> = needed.into_iter().filter(|capability| declared[capability].is_null()).collect();
        if !missing.is_empty() {
            let required: Value =
                missing.into_iter().map(|capability| (capability.to_owned(), json!({}))).collect::<serde_json::Map<_, _>>().into();
            return Some(Reply::Error(json!({
                "code": -32_021, "message": "a capability is missing", "data": {"requiredCapabilities": required},
            })));
        }
        let elicit = |message: &str| {
            json!({"method": "elicitation/create", "params": {
                "mode": "form",
                "message": message,
                "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
                "x-vendor": 1.0,
            }})
        };
        let first = r#"of "ask-twice": é\u2028 😀 </1>  "#;
        Some(match (params["name"].as_str()?, state.as_str()) {
            ("ask", None) => required(&json!({"name": elicit("Your name?")}), "of ask"),
            ("ask", Some("of ask")) => answered(&responses["name"]),
            ("ask-twice", None) => required(&json!({"first": elicit("First name?")}), first),
            ("ask-twice", Some(state)) if state == first => {
                required(&json!({"second": elicit("Second name?")}), &format!("{first}{}", responses["first"]))
            }
            ("ask-twice", Some(state)) if state.starts_with(first) => {
                let earlier: Value = serde_json::from_str(&state[first.len()..]).unwrap_or_default();
                if !responses["first"].is_null() {
                    return Some(wrong("answers of an earlier round were repeated"));
                }
                answered(&json!([earlier, responses["second"]]))
            }
            ("ask-all", None) => required(&json!({"form": elicit("A name?"), "model": model(), "roots": roots()}), "of ask-all"),
            ("ask-model", None) => required(&json!({"model": model()}), "of ask-all"),
            ("ask-roots", None) => required(&json!({"roots": roots()}), "of ask-all"),
            ("ask-all" | "ask-model" | "ask-roots", Some("of ask-all")) => answered(responses),
            ("ask-again", None) => Reply::Result(json!({"resultType": "input_required", "requestState": "again"}).to_string()),
            ("ask-again", Some("again")) if responses.is_null() => answered(&json!("again")),
            (_, _) => wrong("this is not the state that was given"),
        })
    }
}

fn model() -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Say x"}}], "maxTokens": 7,
    }})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn required(requests: &Value, state: &str) -> Reply {
    Reply::Result(json!({"resultType": "input_required", "inputRequests": requests, "requestState": state}).to_string())
}

/// The answer as text, and as it came.
fn answered(answer: &Value) -> Reply {
    Reply::Result(json!({"content": [{"type": "text", "text": answer.to_string()}], "structuredContent": {"answer": answer}}).to_string())
}

fn wrong(message: &str) -> Reply {
    Reply::Error(json!({"code": -32_602, "message": message}))
}
