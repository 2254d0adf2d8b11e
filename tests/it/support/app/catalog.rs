//! What the App knows of its servers: their records, their tools, prompts and resources, and who owns what.

use super::reply::{failure, good};
use super::{Call, Workspace};
use axum::response::Response;
use serde_json::{Value, json};

pub(super) fn route(workspace: &Workspace, call: &Call) -> Option<Response> {
    Some(match call.steps().as_slice() {
        ["GET", "mcp-servers"] => good(json!(workspace.servers)),
        ["GET", "tools"] => good(tool_list(workspace, call)),
        ["GET", "resources"] => good(json!(workspace.resources)),
        ["GET", "resource-templates"] => good(json!(workspace.templates)),
        ["GET", "prompts"] => good(json!(workspace.prompts)),
        ["GET", "custom-instructions"] => good(json!(workspace.instructions)),
        // Instructions written in the App's editor are objects, and this route shows plain strings only.
        ["GET", "custom-instructions", _] => good(json!({"messages": []})),
        ["GET", "resolve", "resource"] => resolve(workspace, call.parameter("uri")),
        ["GET", "resolve", "prompt"] => resolve(workspace, call.parameter("name")),
        ["POST", "discover", target] => {
            let message = format!("Discovery process initiated for {target}. Results will be available shortly.");
            good(json!({"message": message}))
        }
        _ => return None,
    })
}

fn tool_list(workspace: &Workspace, call: &Call) -> Value {
    let active = call.parameter("status") != Some("INACTIVE");
    let prefixed = call.parameter("prefix_tools") == Some("true");
    let entries = workspace.tools.iter().filter(|tool| tool.active == active);
    let entries = entries.filter_map(|tool| {
        let owner = workspace.servers.iter().find(|record| record["uuid"] == tool.server)?;
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

/// The owner's configuration, as partial as the App sends it.
fn resolve(workspace: &Workspace, wanted: Option<&str>) -> Response {
    let Some(wanted) = wanted else {
        return failure(400, "Missing parameter");
    };
    let owner = workspace.owners.get(wanted).and_then(|uuid| workspace.servers.iter().find(|record| record["uuid"] == **uuid));
    match owner {
        Some(owner) => good(json!({"uuid": owner["uuid"], "name": owner["name"], "type": owner["type"]})),
        None => failure(404, &format!("not found: {wanted}")),
    }
}
