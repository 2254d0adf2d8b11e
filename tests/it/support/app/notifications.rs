//! Notifications of a workspace. To complete one a second time takes it back, and deleting always succeeds.

use super::reply::{failure, good};
use super::{Call, Workspace};
use axum::response::Response;
use serde_json::{Value, json};

pub(super) fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    Some(match call.steps()[..] {
        ["GET", "notifications"] => list(workspace, call),
        ["POST", "notifications", "custom"] => send(workspace, &call.json()),
        ["DELETE", "notifications", id] => {
            workspace.notifications.retain(|notification| notification["id"] != id);
            said("Notification deleted successfully")
        }
        ["PATCH", "notifications", id, "completed"] => change(workspace, id, |notification| {
            notification["completed"] = json!(notification["completed"] != true);
            "Notification completed status toggled"
        }),
        ["PATCH", "notifications", id, "read"] => change(workspace, id, |notification| {
            notification["read"] = json!(true);
            "Notification marked as read"
        }),
        _ => return None,
    })
}

impl Workspace {
    /// Adds a notification to the front, with these members beside or instead of the usual ones, and returns its identifier.
    pub(crate) fn notify(&mut self, members: &Value) -> String {
        let (id, time) = self.stamp();
        let mut notification = json!({
            "id": id,
            "profile_uuid": "22222222-2222-4222-8222-222222222222",
            "type": "CUSTOM",
            "title": "Custom notification",
            "message": "",
            "read": false,
            "link": null,
            "severity": "INFO",
            "completed": false,
            "metadata": {"task": {"priority": "low"}, "source": {"type": "api", "apiKeyName": "API Key"}},
            "created_at": time,
            "expires_at": null,
        });
        for (name, value) in members.as_object().expect("members of an object") {
            notification[name] = value.clone();
        }
        let id = notification["id"].as_str().expect("ids are text").to_owned();
        self.notifications.insert(0, notification);
        id
    }
}

fn list(workspace: &Workspace, call: &Call) -> Response {
    let unread = call.parameter("onlyUnread") == Some("true");
    let limit = call.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let shown = workspace.notifications.iter().filter(|notification| !unread || notification["read"] != true);
    good(json!({"success": true, "notifications": shown.take(limit).collect::<Vec<_>>()}))
}

fn send(workspace: &mut Workspace, body: &Value) -> Response {
    if body["message"].as_str().is_none_or(str::is_empty) {
        return failure(400, "Invalid request data");
    }
    let mut members = body.clone();
    let mailed = members.as_object_mut().and_then(|members| members.remove("sendEmail")) == Some(json!(true));
    workspace.notify(&members);
    if mailed {
        return good(json!({"success": true, "message": "Notification created and email sent", "emailSent": true}));
    }
    said("Notification created successfully")
}

fn change(workspace: &mut Workspace, id: &str, change: impl FnOnce(&mut Value) -> &'static str) -> Response {
    match workspace.notifications.iter_mut().find(|notification| notification["id"] == id) {
        Some(notification) => said(change(notification)),
        None => failure(404, "Notification not found"),
    }
}

fn said(message: &str) -> Response {
    good(json!({"success": true, "message": message}))
}
