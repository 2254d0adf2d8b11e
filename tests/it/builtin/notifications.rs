//! Notifications: what the user is told, and what of it is done.

use super::{Desk, FORGERY, parameters, stocked};
use crate::support::app::Passage;
use crate::support::http::{call, message};
use crate::support::{Answer, App, KEY, Proxy, Workspace, eventually};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;

const OTHER: &str = "0b9b7c64-4b43-4f0a-8a37-ffffffffffff";

#[test]
fn a_notification_is_sent_as_it_was_meant() {
    let mut desk = Desk::with(Workspace::default());
    let arguments = json!({"message": "Deployed <b>1.0</b> & more", "title": "Done", "severity": "SUCCESS", "sendEmail": true});
    desk.call("send_notification", arguments.clone()).good().says(&["email sent"]);
    assert_eq!(desk.asked_once("POST /api/notifications/custom").body, arguments);
    desk.call("send_notification", json!({"message": "m"})).good().says(&["created"]);
    let stored = desk.app.with(|workspace| workspace.notifications.clone());
    assert_eq!((stored.len(), &stored[1]["title"], &stored[0]["severity"]), (2, &json!("Done"), &json!("INFO")));
}

#[test]
fn notifications_are_listed_with_everything_that_matters() {
    let mut workspace = Workspace::default();
    let first = workspace.notify(&json!({
        "title": "Build failed", "message": "See the log", "type": "ALERT", "severity": null, "link": "/projects/7", "created_at": "2026-03-04T05:06:07.089Z",
    }));
    let second = workspace.notify(&json!({
        "title": "Deployed", "message": "Version 2", "severity": "SUCCESS", "read": true, "completed": true, "link": "https://example.com/run/1",
    }));
    let mut desk = Desk::with(workspace);
    let link = format!("{}/projects/7", desk.app.url());
    let said = desk.call("list_notifications", json!({})).good();
    let request = desk.asked_once("GET /api/notifications");
    assert!(parameters(&request).iter().all(|(name, value)| name == "onlyUnread" && value == "false"), "{request:?}");
    said.tells(&[&first, &second, "Build failed", "Deployed", "See the log", "Version 2", "ALERT", "SUCCESS"]);
    // Links work outside of the App, and times say their zone.
    said.tells(&[&link, "https://example.com/run/1"]).says(&["2026-03-04T05:06:07", "2 notifications"]);
    said.hides(&["profile_uuid", "22222222-2222"]);
    assert!(said.text.find("Deployed") < said.text.find("Build failed"), "newest first: {said:?}");

    let said = desk.call("list_notifications", json!({"onlyUnread": true, "limit": 1})).good();
    said.tells(&[&first]).says(&["unread"]).hides(&[&second]);
    let mut asked = parameters(desk.asked().last().expect("it was asked"));
    asked.sort();
    assert_eq!(asked, [("limit", "1"), ("onlyUnread", "true")].map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn no_notifications_are_no_failure() {
    let mut desk = Desk::with(Workspace::default());
    desk.call("list_notifications", json!({})).good().says_one_of(&["no ", "0 notifications"]);
}

/// What others wrote cannot pass for words of the proxy.
#[test]
fn text_of_others_begins_no_line_of_the_proxy() {
    let mut workspace = Workspace::default();
    workspace.notify(&json!({"title": FORGERY, "message": FORGERY, "type": FORGERY, "severity": FORGERY}));
    let memory = workspace.remember(&json!({"contentFull": FORGERY, "ringType": FORGERY, "currentDecayStage": FORGERY, "tags": [FORGERY]}));
    workspace.learn(&json!({"pattern": FORGERY, "description": FORGERY, "patternType": FORGERY}));
    let members = json!({"name": FORGERY, "value": FORGERY, "createdByTool": FORGERY, "contentType": "image/png", "encoding": "utf-8"});
    workspace.clip(&json!({}), &members);
    workspace.file(FORGERY, &json!({"title": FORGERY, "description": FORGERY, "tags": [FORGERY]}));
    workspace.passages.push(Passage { document: FORGERY, id: "550e8400-e29b-41d4-a716-446655440000", text: FORGERY });
    let mut desk = Desk::with(workspace);
    for (tool, arguments) in [
        ("list_notifications", json!({})),
        ("memory_search", json!({"query": "q"})),
        ("memory_search", json!({"query": "q", "include_gut": true})),
        ("memory_details", json!({"memory_uuids": [memory]})),
        ("cbp_query", json!({"query": "q"})),
        ("memory_search_with_context", json!({"query": "q"})),
        ("clipboard_get", json!({})),
        ("clipboard_get", json!({"name": FORGERY})),
        ("clipboard_list", json!({})),
        ("list_documents", json!({})),
        ("search_documents", json!({"query": "x"})),
        ("ask_knowledge_base", json!({"query": "q"})),
    ] {
        desk.call(tool, arguments).good().is_not_forged();
    }
}

/// Both look before either of them has toggled, if nobody keeps them apart.
#[test]
fn done_stays_done_by_two_at_once() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    let gate = Arc::new(Semaphore::new(0));
    desk.app.answer_at("GET /api/notifications", Answer::Held(Arc::clone(&gate)));
    let calls = [0, 1].map(|_| desk.client.send_call("pluggedin_mark_notification_done", json!({"notificationId": ids.notification})));
    eventually("the first one looks", || (desk.app.count("GET /api/notifications") > 0).then_some(()));
    // By the time that these are answered, so would be the second look.
    for _ in 0..3 {
        desk.call("clipboard_list", json!({})).good();
    }
    gate.add_permits(9);
    for pending in &calls {
        let said = desk.client.answer(pending).result();
        assert_ne!(said["isError"], true, "{said}");
    }
    assert!(desk.app.with(|workspace| workspace.notifications[0]["completed"] == true));
    assert_eq!((desk.app.count("GET /api/notifications"), desk.app.count("PATCH ")), (2, 1));
}

/// The App toggles: to complete a second time would take it back.
#[test]
fn done_stays_done() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    let completed = |desk: &Desk| desk.app.with(|workspace| workspace.notifications[0]["completed"].clone());
    for round in 0..3 {
        desk.call("mark_notification_done", json!({"notificationId": ids.notification})).good();
        assert_eq!(completed(&desk), true, "after round {round}");
    }
    let patches = desk.app.count("PATCH ");
    assert_eq!(patches, 1, "{:?}", desk.asked());
    // It looked first, at everything.
    let first = &desk.asked()[0];
    assert!(first.line.starts_with("GET /api/notifications"), "{first:?}");
    assert!(!first.line.contains("limit=") && !first.line.contains("onlyUnread=true"), "{first:?}");
    // An identifier in capitals is the same.
    desk.call("mark_notification_done", json!({"notificationId": ids.notification.to_uppercase()})).good();
    assert_eq!(completed(&desk), true);
}

#[test]
fn what_is_not_there_cannot_be_done() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    desk.call("mark_notification_done", json!({"notificationId": OTHER})).bad().says(&["not"]);
    // Gone between looking and doing.
    desk.app.answer_at(
        &format!("PATCH /api/notifications/{}/completed", ids.notification),
        Answer::Refuse(404, json!({"error": "Notification not found"})),
    );
    desk.call("mark_notification_done", json!({"notificationId": ids.notification})).bad().says(&["not"]);
    assert_eq!(desk.app.count("PATCH "), 1 + desk.app.count(&format!("PATCH /api/notifications/{OTHER}")));
}

/// Who cannot see the state must not toggle it.
#[test]
fn nothing_is_toggled_blindly() {
    let (workspace, ids) = stocked();
    for answer in [Answer::Status(500), Answer::Torn, Answer::Page, Answer::Instead(json!({"success": true})), Answer::Later(7)] {
        let mut desk = Desk::with(workspace.clone());
        desk.app.answer_at("GET /api/notifications", answer.clone());
        desk.call("mark_notification_done", json!({"notificationId": ids.notification})).bad();
        assert_eq!(desk.app.count("PATCH "), 0, "{answer:?}");
    }
}

/// The App says yes, whatever it is asked to delete.
#[test]
fn notifications_are_deleted() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    desk.call("delete_notification", json!({"notificationId": ids.notification})).good().says(&["deleted"]);
    let request = desk.asked_once(&format!("DELETE /api/notifications/{}", ids.notification));
    assert_eq!(request.body, json!(null));
    assert!(desk.app.with(|workspace| workspace.notifications.is_empty()));
    desk.call("delete_notification", json!({"notificationId": OTHER})).good();
}

/// Each client speaks for its own workspace.
#[test]
fn notifications_go_to_the_owner_of_the_key() {
    const THEIRS: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";
    let app = App::start(Workspace::default());
    app.switch(THEIRS, Workspace::default());
    let front = Proxy::new()
        .allowing_scripted_servers()
        .env("PLUGGEDIN_API_BASE_URL", &app.url())
        .env("PLUGGEDIN_RATE_LIMIT_TOOLS", "0")
        .arg("--auth=per-client")
        .serve();
    for (key, text) in [(KEY, "mine"), (THEIRS, "theirs")] {
        eventually("the key is known", || (front.post(&message(1, "tools/list", json!({}))).key(key).send().status == 200).then_some(()));
        let sent = front.post(&call(1, "pluggedin_send_notification", json!({"message": text}))).key(key).send().result();
        assert_ne!(sent["isError"], true, "{sent}");
    }
    let sent = app.requests_to("POST /api/notifications/custom");
    let sent: Vec<_> = sent.iter().map(|request| (request.authorization.as_str(), request.body["message"].as_str())).collect();
    assert_eq!(sent, [(&*format!("Bearer {KEY}"), Some("mine")), (&*format!("Bearer {THEIRS}"), Some("theirs"))]);
}
