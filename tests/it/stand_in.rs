//! The App of the tests itself: it must complain of what the real one does not take, and trap whoever falls into the real one's traps.

use crate::support::app::{Approval, DEVICE_CODE, USER_CODE};
use crate::support::{Answer, App, Workspace, eventually};
use serde_json::{Value, json};

const UUID: &str = "0b9b7c64-4b43-4f0a-8a37-000000000001";

#[track_caller]
fn ask(app: &App, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let request = app.request(method, target);
    let request = if body.is_null() { request } else { request.header("Content-Type", "application/json").json(body) };
    let reply = request.send();
    (reply.status, serde_json::from_str(&reply.body).unwrap_or_default())
}

#[test]
fn requests_that_the_contract_does_not_allow_are_noted() {
    let app = App::start(Workspace::default());
    let document = format!("/api/documents/{UUID}");
    let cases = [
        ("GET", "/api/nothing", Value::Null, "no such route"),
        ("POST", "/api/notifications", json!({"message": "m"}), "no such route"),
        ("DELETE", "/api/notifications/abc", Value::Null, "no such route"),
        ("GET", "/api/tools?prefix_tools=yes", Value::Null, "prefix_tools"),
        ("GET", "/api/notifications?unreadOnly=true", Value::Null, "unreadOnly"),
        ("GET", "/api/notifications?limit=0", Value::Null, "limit"),
        ("GET", "/api/notifications?limit=1&limit=2", Value::Null, "limit"),
        ("GET", "/api/documents?dateFrom=2026-01-01T00:00:00%2B02:00", Value::Null, "dateFrom"),
        ("GET", "/api/documents?dateFrom=2026-01-01", Value::Null, "dateFrom"),
        ("GET", "/api/clipboard?idx=1.0", Value::Null, "idx"),
        ("GET", "/api/memory/cbp?context=contextual", Value::Null, "query"),
        ("GET", &format!("{document}?includeContent=1"), Value::Null, "includeContent"),
        ("POST", "/api/rag/query", json!({"query": ""}), "query"),
        ("POST", "/api/rag/query", json!({"query": "q", "include_metadata": true}), "include_metadata"),
        ("POST", "/api/notifications/custom", json!({"message": "m", "link": "l"}), "link"),
        ("POST", "/api/notifications/mcp-activity", json!({"action": "list", "serverName": "s", "success": true}), "action"),
        ("POST", "/api/notifications/mcp-activity", json!({"action": "tool_call", "serverName": "s"}), "success"),
        (
            "POST",
            "/api/notifications/mcp-activity",
            json!({"action": "tool_call", "serverName": "s", "success": true, "serverUuid": "pluggedin_memory"}),
            "serverUuid",
        ),
        ("POST", "/api/documents/search", json!({"query": "q", "filters": {"dateTo": "2026-01-01T00:00:00+00:00"}}), "dateTo"),
        ("PATCH", &document, json!({"operation": "append", "content": "c"}), "origin"),
        ("PATCH", &document, json!({"operation": "append", "content": "c"}), "x-requested-with"),
        ("POST", "/api/clipboard", json!({"value": "v", "source": "mcp"}), "name"),
        ("POST", "/api/clipboard", json!({"name": "n", "value": "v"}), "source"),
        ("DELETE", "/api/clipboard", json!({"clearAll": false}), "clearAll"),
        ("POST", "/api/clipboard/pop", json!({"idx": 1}), "no body"),
        (
            "POST",
            &format!("/api/memory/sessions/{UUID}/observations"),
            json!({"type": "insight", "content": "x".repeat(10_001)}),
            "content",
        ),
        ("POST", "/api/memory/search", json!({"query": "q", "agent_uuid": "me"}), "agent_uuid"),
    ];
    for (method, target, body, words) in cases {
        ask(&app, method, target, &body);
        let noted = app.violations();
        assert!(noted.iter().any(|note| note.contains(words)), "{method} {target} {body}: {noted:?}");
    }
    app.request("POST", "/api/rag/query").json(&json!({"query": "q"})).send();
    assert!(app.violations().iter().any(|note| note.contains("Content-Type")));
}

#[test]
fn what_the_app_is_odd_in_is_odd_here() {
    let mut workspace = Workspace::default();
    let notification = workspace.notify(&json!({"title": "t"}));
    workspace.clip(&json!({}), &json!({"idx": 3, "value": "v"}));
    let (session, memory_session) = workspace.begin("chat");
    let app = App::start(workspace);
    // Completing toggles, and deleting always succeeds.
    let completed = || app.with(|workspace| workspace.notifications[0]["completed"] == true);
    for expected in [true, false] {
        ask(&app, "PATCH", &format!("/api/notifications/{notification}/completed"), &Value::Null);
        assert_eq!(completed(), expected);
    }
    assert_eq!(ask(&app, "DELETE", &format!("/api/notifications/{UUID}"), &Value::Null).0, 200);
    // Times of the database.
    let (_, popped) = ask(&app, "POST", "/api/clipboard/pop", &json!({}));
    let time = popped["entry"]["createdAt"].as_str().expect("it is text");
    assert!(time.contains(' ') && time.ends_with("+00") && popped["entry"].get("source").is_none(), "{popped}");
    // Totals are text.
    assert_eq!(ask(&app, "POST", "/api/documents/search", &json!({"query": "q"})).1["total"], "0");
    // Failures with status 200.
    let end = format!("/api/memory/sessions/{memory_session}");
    assert_eq!(ask(&app, "PATCH", &end, &json!({"action": "end"})).1["success"], true);
    assert_eq!(ask(&app, "PATCH", &end, &Value::Null), (200, json!({"success": false, "error": "Session not found or already ended"})));
    let late = json!({"type": "insight", "content": "c"});
    assert_eq!(ask(&app, "POST", &format!("/api/memory/sessions/{session}/observations"), &late).0, 400);
    // Whoever leaves is noticed.
    app.answer_at("GET /api/prompts", Answer::Never);
    drop(app.request("GET", "/api/prompts").start());
    eventually("somebody left", || (app.abandoned() == ["GET /api/prompts"]).then_some(()));
}

#[test]
fn activities_are_remembered_unless_the_database_refuses_them() {
    let app = App::start(Workspace::default());
    let report = |server: Value| {
        let mut activity = json!({"action": "tool_call", "serverName": "s", "itemName": "echo", "success": true, "executionTime": 12});
        if !server.is_null() {
            activity["serverUuid"] = server;
        }
        ask(&app, "POST", "/api/notifications/mcp-activity", &activity)
    };
    for server in [json!(UUID), json!("pluggedin_rag"), Value::Null] {
        assert_eq!(report(server), (200, json!({"success": true})));
    }
    assert_eq!((app.activities().len(), app.activities()[1]["serverUuid"].clone()), (3, json!("pluggedin_rag")));
    assert_eq!(report(json!("pluggedin_memory")), (200, json!({"success": true})));
    assert_eq!((app.activities().len(), app.violations().len()), (3, 1));
}

#[test]
fn terminals_sign_in_by_a_code() {
    let app = App::start(Workspace::default());
    let poll = |code: &str| {
        let (status, body) = ask(&app, "GET", &format!("/api/cli/auth/poll?device_code={code}"), &Value::Null);
        (status, body["status"].clone(), body["api_key"].clone())
    };
    assert_eq!(poll(DEVICE_CODE).0, 404);
    let (_, codes) = ask(&app, "POST", "/api/cli/auth/initiate", &Value::Null);
    assert_eq!((&codes["device_code"], &codes["user_code"]), (&json!(DEVICE_CODE), &json!(USER_CODE)));
    assert_eq!(poll(DEVICE_CODE), (200, json!("authorization_pending"), Value::Null));
    assert_eq!(poll(&DEVICE_CODE.replace('0', "1")).0, 404);
    // That a key comes is seen where somebody logs in: no test lets it into an answer.
    for (approval, answer) in [(Approval::Denied, (403, json!("denied"))), (Approval::Expired, (410, json!("expired")))] {
        app.sign_in_is(approval);
        assert_eq!(poll(DEVICE_CODE), (answer.0, answer.1, Value::Null));
    }
}
