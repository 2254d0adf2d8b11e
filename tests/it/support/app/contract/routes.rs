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
    Number(i64, i64),
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

pub(super) const ROUTES: &[Route] = &[
    get("/api/health"),
    get("/api/mcp-servers"),
    asking("/api/tools", &[("prefix_tools", BOOL), ("status", Kind::OneOf(&["ACTIVE", "INACTIVE"]))], &[]),
    get("/api/resources"),
    get("/api/resource-templates"),
    get("/api/prompts"),
    get("/api/custom-instructions"),
    get("/api/custom-instructions/{uuid}"),
    asking("/api/resolve/resource", &[("uri", Kind::Text(1, ANY))], &["uri"]),
    asking("/api/resolve/prompt", &[("name", Kind::Text(1, ANY))], &["name"]),
    with("POST", "/api/discover/{target}", || open_or_none(json!({"force_refresh": {"type": "boolean"}}))),
    with("POST", "/api/notifications/mcp-activity", activity),
];

/// An object of these members and no others.
fn object(needed: &[&str], members: Value) -> Value {
    json!({"type": "object", "required": needed, "properties": members, "additionalProperties": false})
}

fn open_or_none(members: Value) -> Value {
    let mut shape = object(&[], members);
    shape["type"] = json!(["object", "null"]);
    shape
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn text(min: usize, max: usize) -> Value {
    json!({"type": "string", "minLength": min, "maxLength": max})
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
