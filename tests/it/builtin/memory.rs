//! Memory: sessions, observations, what comes to mind.

use super::{Desk, stocked};
use crate::support::{Answer, Workspace};
use serde_json::json;

const UNKNOWN: &str = "0b9b7c64-4b43-4f0a-8a37-ffffffffffff";

#[test]
fn a_session_has_two_names() {
    let mut desk = Desk::with(Workspace::default());
    let arguments = json!({"content_session_id": "chat 7", "agent_uuid": UNKNOWN});
    let said = desk.call("memory_session_start", arguments.clone()).good();
    assert_eq!(desk.asked_once("POST /api/memory/sessions").body, arguments);
    let session = desk.app.with(|workspace| workspace.sessions[0].clone());
    assert_eq!(session.content_id, "chat 7");
    said.tells(&[&session.uuid, &session.memory_id]).says(&["memory_observe", "memory_session_end"]);

    let observation = json!({"type": "tool_result", "content": "Retry works", "outcome": "success", "metadata": {"tool_name": "fetch", "deep": [1, null]}});
    let mut arguments = observation.clone();
    arguments["session_uuid"] = json!(session.uuid);
    let said = desk.call("memory_observe", arguments).good();
    said.holds(&["0b9b7c64"]).says(&["tool_result", "0b9b7c64"]);
    let request = desk.asked().pop().expect("it was asked");
    assert_eq!(request.line, format!("POST /api/memory/sessions/{}/observations", session.uuid));
    assert_eq!(request.body, observation);

    desk.call("memory_session_end", json!({"memory_session_id": session.memory_id})).good();
    let line = desk.asked().pop().expect("it was asked").line;
    assert_eq!(line, format!("PATCH /api/memory/sessions/{}", session.memory_id));
    assert!(!desk.app.with(|workspace| workspace.sessions[0].active));
}

/// With status 200.
#[test]
fn a_session_ends_once() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    desk.call("memory_session_end", json!({"memory_session_id": ids.memory_session})).good();
    desk.call("memory_session_end", json!({"memory_session_id": ids.memory_session})).bad().says_one_of(&["already", "ended"]);
    desk.call("memory_session_end", json!({"memory_session_id": "ms_unknown"})).bad().says(&["not", "ms_unknown"]);
    let late = json!({"session_uuid": ids.session, "type": "insight", "content": "too late"});
    desk.call("memory_observe", late).bad().says_one_of(&["not active", "ended", "memory_session_start"]);
    let lost = json!({"session_uuid": UNKNOWN, "type": "insight", "content": "to nobody"});
    desk.call("memory_observe", lost).bad().says(&["not", UNKNOWN]);
}

/// Other failures come with status 200, too.
#[test]
fn a_failure_to_end_is_not_an_end() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    let line = format!("PATCH /api/memory/sessions/{}", ids.memory_session);
    for error in ["Failed query: update \"zx_secret\"", "Failed to end session"] {
        desk.app.answer_at(&line, Answer::Instead(json!({"success": false, "error": error})));
        let said = desk.call("memory_session_end", json!({"memory_session_id": ids.memory_session})).bad();
        said.hides(&["ended before", "zx_secret"]).says(&["could not", "plugged.in"]);
    }
}

/// The schema has promised more than the App takes.
#[test]
fn ten_thousand_characters_are_an_observation() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    let observe = |content: String| json!({"session_uuid": ids.session, "type": "insight", "content": content});
    desk.call("memory_observe", observe("ü".repeat(10_000))).good();
    desk.call("memory_observe", observe("x".repeat(10_001))).bad().says(&["content"]).says_one_of(&["10000", "10 000", "10,000"]);
    desk.call("memory_observe", observe("x".repeat(50_001))).bad().says(&["content"]);
    assert_eq!(desk.asked().len(), 1);
}

#[test]
fn memories_are_found_with_their_text() {
    let mut workspace = Workspace::default();
    let first = workspace.remember(&json!({"contentFull": "Deploy with the script", "tags": ["deploy", "ci"]}));
    let second = workspace.remember(&json!({"contentEssence": "Never on Fridays", "ringType": "shocks", "currentDecayStage": "essence"}));
    let pattern = workspace.learn(&json!({"pattern": "Pin the version"}));
    let mut desk = Desk::with(workspace);
    let said = desk.call("memory_search", json!({"query": "deploy", "ring_types": [], "top_k": 5, "include_gut": false})).good();
    let body = desk.asked_once("POST /api/memory/search").body;
    assert_eq!((&body["query"], &body["top_k"], &body["include_gut"]), (&json!("deploy"), &json!(5), &json!(false)));
    said.tells(&[&first, &second, "Deploy with the script", "Never on Fridays", "procedures", "shocks", "essence", "deploy"]);
    said.says(&["81", "memory_details"]).hides(&["undefined", &pattern]);

    let said =
        desk.call("memory_search", json!({"query": "deploy", "ring_types": ["shocks"], "agent_uuid": UNKNOWN, "include_gut": true})).good();
    said.tells(&[&second, &pattern, "Pin the version", "gut-pattern"]).hides(&[&first]);
    // There are no details of a pattern, and its time is empty.
    let nobody = Workspace::default();
    desk.app.switch_to(nobody);
    desk.call("memory_search", json!({"query": "deploy"})).good();
}

#[test]
fn details_are_told_by_the_names_that_the_app_uses() {
    let mut workspace = Workspace::default();
    let full = workspace.remember(&json!({
        "contentFull": "The full text", "contentSummary": "The summary", "accessCount": 41, "relevanceScore": 0.9, "successScore": 0.25,
        "reinforcementCount": 17, "tags": ["deploy"],
    }));
    let faded = workspace.remember(&json!({"contentSummary": "Only a summary", "currentDecayStage": "summary", "ringType": "longterm"}));
    let forgotten = workspace.remember(&json!({"currentDecayStage": "forgotten", "ringType": "practice"}));
    let mut desk = Desk::with(workspace);
    let said = desk.call("memory_details", json!({"memory_uuids": [full, faded, forgotten, UNKNOWN]})).good();
    assert_eq!(desk.asked_once("POST /api/memory/search/details").body, json!({"memory_uuids": [full, faded, forgotten, UNKNOWN]}));
    said.tells(&[&full, &faded, &forgotten, "The full text", "Only a summary", "procedures", "longterm", "summary", "forgotten"]);
    said.says(&["90", "25", "41", "17", "deploy"]).hides(&["undefined", "profileUuid", "22222222-2222"]);
    // The App leaves out what it does not know, and says nothing.
    said.says(&[UNKNOWN]);
    desk.call("memory_details", json!({"memory_uuids": [UNKNOWN]})).says(&[UNKNOWN]);
}

#[test]
fn failures_with_status_200_are_failures() {
    let (mut workspace, ids) = stocked();
    workspace.without_embeddings = true;
    let mut desk = Desk::with(workspace);
    desk.call("memory_search", json!({"query": "q"})).bad().says_one_of(&["OPENAI_API_KEY", "embedding"]);
    let sql = json!({"success": false, "error": "Failed query: select \"uuid\" from \"zx_secret_table\" where 1=1\nparams: 7"});
    let cases = [
        ("POST /api/memory/sessions", "memory_session_start", json!({"content_session_id": "c"})),
        ("POST /api/memory/search", "memory_search", json!({"query": "q"})),
        ("POST /api/memory/search/details", "memory_details", json!({"memory_uuids": [ids.memory]})),
        (
            &format!("PATCH /api/memory/sessions/{}", ids.memory_session),
            "memory_session_end",
            json!({"memory_session_id": ids.memory_session}),
        ),
        (
            &format!("POST /api/memory/sessions/{}/observations", ids.session),
            "memory_observe",
            json!({"session_uuid": ids.session, "type": "insight", "content": "c"}),
        ),
    ];
    for (line, tool, arguments) in cases {
        desk.app.answer_at(line, Answer::Instead(sql.clone()));
        desk.call(tool, arguments).bad().hides(&["zx_secret_table", "params"]);
    }
}

/// A production App without Redis refuses everything, and always will.
#[test]
fn a_refusal_of_the_very_first_call_is_explained() {
    let mut desk = Desk::with(stocked().0);
    desk.app.answer_at("/api/memory/search", Answer::Refuse(429, json!({"error": "Too many requests", "retryAfter": 60})));
    desk.call("memory_search", json!({"query": "q"})).bad().says(&["60", "redis"]);
    // Not so when something has worked before.
    let mut desk = Desk::with(stocked().0);
    desk.call("memory_search", json!({"query": "q"})).good();
    desk.app.answer_at("/api/memory/search", Answer::Refuse(429, json!({"error": "Too many requests", "retryAfter": 60})));
    desk.call("memory_search", json!({"query": "q"})).bad().says(&["60"]).hides(&["redis"]);
}
