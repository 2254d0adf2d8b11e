//! The routes that a proxy may use, with what each of them takes.

use crate::support::app::activity;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// With `{uuid}`, `{target}` (a UUID or `all`) and `{session}` for steps that vary.
    pub(super) path: &'static str,
    pub(super) parameters: &'static [(&'static str, Kind)],
    /// Parameters that it does not work without.
    pub(super) needed: &'static [&'static str],
    pub(super) headers: &'static [&'static str],
    pub(super) body: Body,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Of so many characters at least and at most.
    Text(usize, usize),
    /// As often as one likes.
    Texts,
    OneOf(&'static [&'static str]),
    /// From this to that.
    Number(i64, i64),
    /// Of any size.
    Integer,
    Uuid,
    Time,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// None, or an empty object.
    Absent,
    Shape(fn() -> Value),
}

const ANY: usize = usize::MAX;
const BOOL: Kind = Kind::OneOf(&["true", "false"]);

const PLAIN: Route = Route { method: "GET", path: "", parameters: &[], needed: &[], headers: &[], body: Body::Absent };

const fn get(path: &'static str) -> Route {
    Route { path, ..PLAIN }
}

const fn asking(path: &'static str, parameters: &'static [(&'static str, Kind)], needed: &'static [&'static str]) -> Route {
    Route { path, parameters, needed, ..PLAIN }
}

const fn with(method: &'static str, path: &'static str, shape: fn() -> Value) -> Route {
    Route { method, path, body: Body::Shape(shape), ..PLAIN }
}

const fn without(method: &'static str, path: &'static str) -> Route {
    Route { method, path, ..PLAIN }
}

const SOURCES: &[&str] = &["all", "upload", "ai_generated", "api"];
const CATEGORIES: &[&str] = &["report", "analysis", "documentation", "guide", "research", "code", "other"];
const OBSERVATIONS: &[&str] = &[
    "tool_call",
    "tool_result",
    "user_preference",
    "error_pattern",
    "decision",
    "success_pattern",
    "failure_pattern",
    "workflow_step",
    "insight",
    "context_switch",
];
const CONTEXTS: &[&str] = &["proactive_warning", "post_error", "contextual"];
const OUTCOMES: &[&str] = &["success", "failure", "neutral"];
const VISIBILITIES: &[&str] = &["private", "workspace", "public"];

pub(super) const ROUTES: &[Route] = &[
    get("/api/health"),
    // What there is.
    get("/api/mcp-servers"),
    asking("/api/tools", &[("prefix_tools", BOOL), ("status", Kind::OneOf(&["ACTIVE", "INACTIVE"]))], &[]),
    get("/api/resources"),
    get("/api/resource-templates"),
    get("/api/prompts"),
    get("/api/custom-instructions"),
    get("/api/custom-instructions/{uuid}"),
    asking("/api/resolve/resource", &[("uri", Kind::Text(1, ANY))], &["uri"]),
    asking("/api/resolve/prompt", &[("name", Kind::Text(1, ANY))], &["name"]),
    with("POST", "/api/discover/{target}", || or_none(object(&[], json!({"force_refresh": {"type": "boolean"}})))),
    // Knowledge base.
    with("POST", "/api/rag/query", || object(&["query"], json!({"query": text(1, 1000), "includeMetadata": {"type": "boolean"}}))),
    // Notifications.
    asking("/api/notifications", &[("onlyUnread", BOOL), ("limit", Kind::Number(1, 100))], &[]),
    with("POST", "/api/notifications/custom", notification),
    with("POST", "/api/notifications/mcp-activity", activity),
    without("DELETE", "/api/notifications/{uuid}"),
    without("PATCH", "/api/notifications/{uuid}/completed"),
    without("PATCH", "/api/notifications/{uuid}/read"),
    // Documents.
    asking(
        "/api/documents",
        &[
            ("source", Kind::OneOf(SOURCES)),
            ("modelName", Kind::Text(0, ANY)),
            ("modelProvider", Kind::Text(0, ANY)),
            ("dateFrom", Kind::Time),
            ("dateTo", Kind::Time),
            ("tags", Kind::Texts),
            ("category", Kind::OneOf(CATEGORIES)),
            ("visibility", Kind::OneOf(&["all", "private", "workspace", "public"])),
            ("searchQuery", Kind::Text(0, ANY)),
            ("sort", Kind::OneOf(&["date_desc", "date_asc", "title", "size"])),
            ("limit", Kind::Number(1, 100)),
            ("offset", Kind::Number(0, i64::MAX)),
        ],
        &[],
    ),
    with("POST", "/api/documents/search", document_search),
    with("POST", "/api/documents/ai", document),
    asking("/api/documents/{uuid}", &[("includeContent", BOOL), ("includeVersions", BOOL)], &[]),
    Route { headers: &["origin", "x-requested-with"], ..with("PATCH", "/api/documents/{uuid}", document_update) },
    // Clipboard.
    asking(
        "/api/clipboard",
        &[
            ("name", Kind::Text(0, ANY)),
            ("idx", Kind::Integer),
            ("contentType", Kind::Text(0, ANY)),
            ("limit", Kind::Number(1, 1000)),
            ("offset", Kind::Number(0, i64::MAX)),
        ],
        &[],
    ),
    with("POST", "/api/clipboard", || {
        let mut shape = clipping(json!({"name": text(0, 255), "idx": {"type": "integer"}}));
        shape["anyOf"] = json!([{"required": ["name"]}, {"required": ["idx"]}]);
        shape
    }),
    with("DELETE", "/api/clipboard", || {
        let mut shape = object(&[], json!({"name": {"type": "string"}, "idx": {"type": "integer"}, "clearAll": {"type": "boolean"}}));
        let all = json!({"required": ["clearAll"], "properties": {"clearAll": {"const": true}}});
        shape["anyOf"] = json!([{"required": ["name"]}, {"required": ["idx"]}, all]);
        shape
    }),
    with("POST", "/api/clipboard/push", || clipping(json!({}))),
    without("POST", "/api/clipboard/pop"),
    // Memory.
    with("POST", "/api/memory/sessions", || {
        object(&["content_session_id"], json!({"content_session_id": text(1, ANY), "agent_uuid": uuid()}))
    }),
    with("PATCH", "/api/memory/sessions/{session}", || or_none(json!({"type": "object"}))),
    with("POST", "/api/memory/sessions/{uuid}/observations", observation),
    with("POST", "/api/memory/search", memory_search),
    with("POST", "/api/memory/search/details", || {
        object(&["memory_uuids"], json!({"memory_uuids": {"type": "array", "minItems": 1, "maxItems": 20, "items": uuid()}}))
    }),
    // Collective.
    asking(
        "/api/memory/cbp",
        &[
            ("query", Kind::Text(1, 2000)),
            ("context", Kind::OneOf(CONTEXTS)),
            ("tool_name", Kind::Text(0, 200)),
            ("error_message", Kind::Text(0, 1000)),
        ],
        &["query"],
    ),
    with("POST", "/api/memory/cbp/feedback", feedback),
    with("POST", "/api/memory/archetype/inject", inject),
    asking("/api/memory/individuation", &[("history", BOOL), ("days", Kind::Number(1, 365))], &[]),
    // Signing in.
    without("POST", "/api/cli/auth/initiate"),
    asking("/api/cli/auth/poll", &[("device_code", Kind::Text(48, 48))], &["device_code"]),
];

/// An object of these members and no others.
fn object(needed: &[&str], members: Value) -> Value {
    json!({"type": "object", "required": needed, "properties": members, "additionalProperties": false})
}

/// The same where there may be no body.
fn or_none(mut shape: Value) -> Value {
    shape["type"] = json!(["object", "null"]);
    shape
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn text(min: usize, max: usize) -> Value {
    json!({"type": "string", "minLength": min, "maxLength": max})
}

fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

/// UTC, said by a `Z`: offsets and bare dates are refused.
fn time() -> Value {
    json!({"type": "string", "format": "date-time", "pattern": "Z$"})
}

fn model() -> Value {
    let text = json!({"type": "string"});
    object(&["name", "provider"], json!({"name": text, "provider": text, "version": text}))
}

fn notification() -> Value {
    object(
        &["message"],
        json!({
            "title": {"type": "string"},
            "message": text(1, ANY),
            "severity": one_of(&["INFO", "SUCCESS", "WARNING", "ALERT"]),
            "sendEmail": {"type": "boolean"},
        }),
    )
}

fn document() -> Value {
    let number = json!({"type": "number"});
    let metadata = object(
        &["model"],
        json!({
            "model": model(),
            "context": {"type": "string"},
            "visibility": one_of(VISIBILITIES),
            "prompt": {"type": "string"},
            "conversationContext": texts(),
            "sourceDocuments": texts(),
            "generationParams": object(&[], json!({"temperature": number, "maxTokens": number, "topP": number})),
        }),
    );
    object(
        &["title", "content", "metadata"],
        json!({
            "title": text(1, 255),
            "content": text(1, 10_485_760),
            "format": one_of(&["md", "txt", "json", "html"]),
            "tags": {"type": "array", "maxItems": 20, "items": {"type": "string"}},
            "category": one_of(CATEGORIES),
            "metadata": metadata,
        }),
    )
}

fn document_search() -> Value {
    let text_only = json!({"type": "string"});
    let filters = json!({
        "modelName": text_only,
        "modelProvider": text_only,
        "dateFrom": time(),
        "dateTo": time(),
        "tags": texts(),
        "source": one_of(SOURCES),
    });
    object(
        &["query"],
        json!({
            "query": text(1, 500),
            "filters": object(&[], filters),
            "limit": {"type": "integer", "minimum": 1, "maximum": 50},
            "offset": {"type": "integer", "minimum": 0},
        }),
    )
}

fn document_update() -> Value {
    // The App drops the reason, the prompt and the identifier; they do no harm.
    let text_only = json!({"type": "string"});
    let metadata = json!({
        "model": model(),
        "changeSummary": text_only,
        "tags": texts(),
        "updateReason": text_only,
        "changesFromPrompt": text_only,
    });
    object(
        &["operation", "content"],
        json!({
            "documentId": uuid(),
            "operation": one_of(&["replace", "append", "prepend"]),
            "content": text(1, 10_000_000),
            "metadata": object(&["model"], metadata),
        }),
    )
}

/// What a clipboard takes, with members of the route.
fn clipping(more: Value) -> Value {
    let mut members = json!({
        "value": {"type": "string"},
        "contentType": text(0, 256),
        "encoding": one_of(&["utf-8", "base64", "hex"]),
        "visibility": one_of(VISIBILITIES),
        "createdByTool": text(0, 255),
        "createdByModel": text(0, 255),
        "source": {"const": "mcp"},
        "ttlSeconds": {"type": "integer", "exclusiveMinimum": 0},
    });
    let Value::Object(more) = more else { unreachable!("it is one") };
    members.as_object_mut().expect("it is one").extend(more);
    object(&["value", "source"], members)
}

fn observation() -> Value {
    object(
        &["type", "content"],
        json!({
            "type": one_of(OBSERVATIONS),
            "content": text(1, 10_000),
            "outcome": one_of(OUTCOMES),
            "metadata": {"type": "object"},
        }),
    )
}

fn memory_search() -> Value {
    let rings = one_of(&["procedures", "practice", "longterm", "shocks"]);
    object(
        &["query"],
        json!({
            "query": text(1, 1000),
            "ring_types": {"type": "array", "items": rings},
            "agent_uuid": uuid(),
            "top_k": {"type": "integer", "minimum": 1, "maximum": 50},
            "threshold": {"type": "number", "minimum": 0, "maximum": 1},
            "include_gut": {"type": "boolean"},
        }),
    )
}

fn feedback() -> Value {
    object(
        &["pattern_uuid", "rating", "feedback_type"],
        json!({
            "pattern_uuid": uuid(),
            "rating": {"type": "integer", "minimum": 1, "maximum": 5},
            "feedback_type": one_of(&["helpful", "inaccurate", "outdated", "dangerous"]),
            "comment": text(0, 1000),
        }),
    )
}

fn inject() -> Value {
    object(
        &[],
        json!({
            "query": text(0, 2000),
            "tool_name": text(0, 200),
            "outcome": one_of(OUTCOMES),
            "observation_type": one_of(OBSERVATIONS),
            "error_message": text(0, 1000),
            "consecutive_failures": {"type": "integer", "minimum": 0, "maximum": 100},
            // Ignored by the App, but part of the tool.
            "include_archetypes": {"type": "boolean"},
        }),
    )
}

fn activity() -> Value {
    let known = one_of(&activity::KNOWN);
    object(
        &["action", "serverName", "success"],
        json!({
            "action": one_of(&["tool_call", "prompt_get", "resource_read", "install", "uninstall"]),
            "serverName": {"type": "string"},
            "serverUuid": {"anyOf": [known, {"type": "string", "format": "uuid"}]},
            "externalId": {"type": "string"},
            "source": one_of(&["REGISTRY", "COMMUNITY"]),
            "itemName": {"type": "string"},
            "success": {"type": "boolean"},
            "errorMessage": {"type": "string"},
            "executionTime": {"type": "number", "minimum": 0},
        }),
    )
}
