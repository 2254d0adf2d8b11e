//! The clipboard: entries by name or by index. Push and pop say times as PostgreSQL does, pages cut images, and what has expired is
//! shown until somebody cleans up.

use super::reply::{failure, good};
use super::{Call, Workspace};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const MAX: usize = 2_097_152;

pub(super) fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    let entries = &workspace.clipboard;
    Some(match call.steps()[..] {
        ["GET", "clipboard"] => {
            let name = call.parameter("name").filter(|name| !name.is_empty());
            let index = call.parameter("idx").and_then(|index| index.parse::<i64>().ok());
            if name.is_none() && index.is_none() {
                return Some(page(entries, call));
            }
            match entries.iter().find(|entry| is_meant(entry, name, index)) {
                Some(entry) => good(json!({"entry": entry})),
                None => failure(404, "Clipboard entry not found"),
            }
        }
        ["POST", "clipboard"] => set(workspace, &call.json()),
        ["DELETE", "clipboard"] => delete(workspace, &call.json()),
        ["POST", "clipboard", "push"] => {
            let body = call.json();
            if let Err(refused) = check(&body) {
                return Some(refused);
            }
            let next = entries.iter().filter_map(|entry| entry["idx"].as_i64()).max().map_or(0, |highest| highest + 1);
            let entry = workspace.clip(&json!({"idx": next}), &body);
            good(json!({"success": true, "entry": raw(entry)}))
        }
        ["POST", "clipboard", "pop"] => {
            let highest =
                entries.iter().enumerate().filter(|(_, entry)| entry["idx"].is_i64()).max_by_key(|(_, entry)| entry["idx"].as_i64());
            let Some(place) = highest.map(|(place, _)| place) else {
                return Some(failure(404, "Clipboard is empty"));
            };
            let mut entry = raw(workspace.clipboard.remove(place));
            entry.as_object_mut().expect("it is one").remove("source");
            good(json!({"success": true, "entry": entry}))
        }
        _ => return None,
    })
}

impl Workspace {
    /// Adds an entry, with these members and those of a body instead of the usual ones.
    pub(crate) fn clip(&mut self, members: &Value, body: &Value) -> Value {
        let (uuid, time) = self.stamp();
        let mut entry = json!({
            "uuid": uuid,
            "name": null,
            "idx": null,
            "value": "",
            "contentType": "text/plain",
            "encoding": "utf-8",
            "sizeBytes": 0,
            "visibility": "private",
            "createdByTool": null,
            "createdByModel": null,
            "source": "ui",
            "createdAt": time,
            "updatedAt": time,
            "expiresAt": "2099-01-02T12:00:00.000Z",
        });
        for (name, value) in body.as_object().into_iter().chain(members.as_object()).flatten() {
            if name != "ttlSeconds" {
                entry[name] = value.clone();
            }
        }
        entry["sizeBytes"] = json!(entry["value"].as_str().map_or(0, str::len));
        self.clipboard.push(entry.clone());
        entry
    }
}

fn is_meant(entry: &Value, name: Option<&str>, index: Option<i64>) -> bool {
    name.is_none_or(|name| entry["name"] == name) && index.is_none_or(|index| entry["idx"] == index)
}

/// Newest first.
fn page(entries: &[Value], call: &Call) -> Response {
    let number = |name: &str, default: usize| call.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let (limit, offset) = (number("limit", 50), number("offset", 0));
    let found: Vec<_> =
        entries.iter().rev().filter(|entry| call.parameter("contentType").is_none_or(|kind| entry["contentType"] == kind)).collect();
    let shown = found.iter().skip(offset).take(limit).map(|entry| {
        let mut entry = (*entry).clone();
        if entry["contentType"].as_str().is_some_and(|kind| kind.starts_with("image/")) {
            entry["value"] = json!(entry["value"].as_str().unwrap_or_default().chars().take(1000).collect::<String>());
        }
        entry
    });
    good(json!({"entries": shown.collect::<Vec<_>>(), "total": found.len(), "limit": limit, "offset": offset}))
}

fn set(workspace: &mut Workspace, body: &Value) -> Response {
    if let Err(refused) = check(body) {
        return refused;
    }
    let (name, index) = (body["name"].as_str(), body["idx"].as_i64());
    if name.is_none() && index.is_none() {
        return failure(400, "Either name or idx must be provided");
    }
    if name.is_none() && workspace.clipboard.iter().any(|entry| is_meant(entry, None, index)) {
        return failure(409, "Conflict with existing entry. Use push for auto-increment or delete first.");
    }
    if name.is_some() {
        workspace.clipboard.retain(|entry| !is_meant(entry, name, None));
    }
    let entry = workspace.clip(&json!({}), body);
    good(json!({"success": true, "entry": entry}))
}

/// Sizes and encodings are refused alike.
fn check(body: &Value) -> Result<(), Response> {
    let value = body["value"].as_str().unwrap_or_default();
    if value.len() > MAX {
        return Err(failure(400, &format!("Value size {} bytes exceeds maximum of {MAX} bytes", value.len())));
    }
    match body["encoding"].as_str() {
        Some("base64") if BASE64_STANDARD.decode(value).is_err() => Err(failure(400, "Invalid base64 encoding: incorrect padding")),
        Some("hex") if value.len() % 2 == 1 || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(failure(400, "Invalid hex encoding: odd length"))
        }
        _ => Ok(()),
    }
}

fn delete(workspace: &mut Workspace, body: &Value) -> Response {
    let before = workspace.clipboard.len();
    if body["clearAll"] == true {
        workspace.clipboard.clear();
        return good(json!({"success": true, "deleted": before}));
    }
    let (name, index) = (body["name"].as_str(), body["idx"].as_i64());
    if name.is_none() && index.is_none() {
        return failure(400, "Either name, idx, or clearAll must be provided");
    }
    workspace.clipboard.retain(|entry| !is_meant(entry, name, index));
    match before - workspace.clipboard.len() {
        0 => failure(404, "Clipboard entry not found"),
        deleted => good(json!({"success": true, "deleted": deleted})),
    }
}

/// With times as the database says them.
fn raw(mut entry: Value) -> Value {
    for name in ["createdAt", "updatedAt", "expiresAt"] {
        if let Some(time) = entry[name].as_str() {
            entry[name] = json!(time.replace('T', " ").replace(".000Z", ".123456+00"));
        }
    }
    entry
}
