//! What the proxy reports of its calls.

use super::reply::{failure, good};
use super::{Call, Workspace};
use axum::response::Response;
use serde_json::{Value, json};

/// Identifiers beside UUIDs that the App's database takes.
pub(super) const KNOWN: [&str; 9] = [
    "pluggedin_discovery",
    "pluggedin_discovery_cache",
    "pluggedin_discovery_bg",
    "pluggedin_discovery_cache_error",
    "pluggedin_rag",
    "pluggedin_notifications",
    "pluggedin_documents",
    "pluggedin_clipboard",
    "pluggedin_proxy",
];

pub(super) fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    let ["POST", "notifications", "mcp-activity"] = call.steps()[..] else {
        return None;
    };
    let activity = call.json();
    let texts = ["action", "serverName"].iter().all(|name| activity[*name].is_string());
    if !texts || !activity["success"].is_boolean() {
        return Some(failure(400, "Invalid request data"));
    }
    // An identifier that the database refuses loses the activity, and nobody is told.
    if is_stored(&activity["serverUuid"]) {
        workspace.activities.push(activity);
    }
    Some(good(json!({"success": true})))
}

fn is_stored(server: &Value) -> bool {
    match server.as_str() {
        Some(server) => KNOWN.contains(&server) || uuid::Uuid::parse_str(server).is_ok(),
        None => server.is_null(),
    }
}
