//! What the community knows, and how ripe a memory is.

use super::{Desk, parameters, stocked};
use crate::support::{Answer, Workspace};
use serde_json::json;

const UNKNOWN: &str = "0b9b7c64-4b43-4f0a-8a37-ffffffffffff";

#[test]
fn patterns_are_told_with_their_numbers() {
    let mut workspace = Workspace::default();
    let first = workspace.learn(&json!({"pattern": "Pin the version", "description": "Broken builds", "averageRating": 4.5}));
    let second = workspace.learn(&json!({"pattern": "", "description": "Only described", "patternType": "anti_pattern"}));
    let mut desk = Desk::with(workspace);
    let arguments = json!({"query": "build fails & more", "context": "post_error", "tool_name": "shell", "error_message": "exit 1"});
    let said = desk.call("cbp_query", arguments).good();
    let mut asked = parameters(&desk.asked_once("GET /api/memory/cbp?"));
    asked.sort();
    let expected = [("context", "post_error"), ("error_message", "exit 1"), ("query", "build fails & more"), ("tool_name", "shell")];
    assert_eq!(asked, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    said.tells(&[&first, &second, "Pin the version", "Only described", "error_solution", "anti_pattern", "post_error"]);
    // Confidence, success, similarity, how often, how well.
    said.says(&["70", "80", "72", "9", "4.5", "cbp_feedback"]);
    desk.call("cbp_query", json!({"query": "q"})).good();
    let asked = parameters(desk.asked().last().expect("it was asked"));
    assert!(asked.contains(&("context".to_owned(), "contextual".to_owned())), "{asked:?}");
    let mut desk = Desk::with(Workspace::default());
    desk.call("cbp_query", json!({"query": "q"})).good();
}

/// The App answers with an array, whatever the old proxy expected.
#[test]
fn patterns_come_with_their_archetypes() {
    let mut workspace = Workspace::default();
    let ids = ["shadow", "sage"].map(|archetype| {
        workspace.learn(&json!({
            "pattern": format!("Listen to the {archetype}"), "archetype": archetype, "archetypeLabel": format!("The {archetype} speaks"), "archetypeWeight": 0.43,
        }))
    });
    let mut desk = Desk::with(workspace);
    let arguments = json!({"query": "build fails", "tool_name": "shell", "outcome": "failure", "include_archetypes": true});
    let said = desk.call("memory_search_with_context", arguments).good();
    let body = desk.asked_once("POST /api/memory/archetype/inject").body;
    assert_eq!((&body["query"], &body["tool_name"], &body["outcome"]), (&json!("build fails"), &json!("shell"), &json!("failure")));
    said.tells(&[&ids[0], &ids[1], "Listen to the shadow", "Listen to the sage", "The shadow speaks"]).says(&["43"]);
    // Who wants no archetypes is not told of them, though the App does not care.
    let said = desk.call("memory_search_with_context", json!({"query": "build fails", "include_archetypes": false})).good();
    said.tells(&[&ids[0], "Listen to the shadow"]);
    assert!(!said.text.contains("The shadow speaks"), "{said:?}");
}

#[test]
fn patterns_are_rated() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    let arguments = json!({"pattern_uuid": ids.pattern, "rating": 5, "feedback_type": "helpful", "comment": "thanks"});
    desk.call("cbp_feedback", arguments.clone()).good();
    assert_eq!(desk.asked_once("POST /api/memory/cbp/feedback").body, arguments);
    // The App answers 200 and shows its database.
    let unknown = json!({"pattern_uuid": UNKNOWN, "rating": 1, "feedback_type": "dangerous"});
    desk.call("cbp_feedback", unknown).bad().hides(&["failed query", "insert", "collective_feedback"]).says(&[UNKNOWN]);
}

#[test]
fn a_score_is_told_with_its_parts() {
    let mut desk = Desk::with(Workspace::default());
    let said = desk.call("memory_individuation", json!({})).good();
    desk.asked_once("GET /api/memory/individuation");
    said.tells(&["37.5", "developing", "stable", "Record more observations.", "9.5", "13"]).says(&["25", "10", "5"]);
    assert_eq!(said.result["structuredContent"]["total"], 37.5);
}

#[test]
fn failures_with_status_200_are_failures() {
    let (mut workspace, _) = stocked();
    workspace.without_embeddings = true;
    let mut desk = Desk::with(workspace);
    for tool in ["cbp_query", "memory_search_with_context"] {
        desk.call(tool, json!({"query": "q"})).bad().says_one_of(&["OPENAI_API_KEY", "embedding"]);
    }
    desk.app.answer_at("/api/memory/individuation", Answer::Instead(json!({"success": false, "error": "Failed query: zx_secret_table"})));
    desk.call("memory_individuation", json!({})).bad().hides(&["zx_secret_table"]);
    // More patterns than were promised are cut or shown, but do no harm.
    let mut workspace = Workspace::default();
    let ids: Vec<_> = (0..5).map(|number| workspace.learn(&json!({"pattern": format!("Number {number}")}))).collect();
    let mut desk = Desk::with(workspace);
    desk.call("cbp_query", json!({"query": "q"})).good().tells(&[&ids[0], &ids[2]]);
}
