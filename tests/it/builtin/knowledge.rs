//! Questions to the documents of the Hub.

use super::{Desk, stocked};
use crate::support::app::Passage;
use crate::support::{Answer, Workspace};
use serde_json::{Value, json};

const LINE: &str = "POST /api/rag/query";

#[test]
fn passages_come_with_their_sources() {
    let (mut workspace, _) = stocked();
    let other = Passage { document: "old.md", id: "550e8400-e29b-41d4-a716-446655440001", text: "Keys live in the vault." };
    workspace.passages.push(other);
    let mut desk = Desk::with(workspace);
    let said = desk.call("ask_knowledge_base", json!({"query": "How do I rotate keys?"})).good();
    assert_eq!(desk.asked_once(LINE).body, json!({"query": "How do I rotate keys?", "includeMetadata": true}));
    said.tells(&["Keys are rotated monthly.", "Keys live in the vault.", "ops.md", "old.md", "550e8400-e29b-41d4-a716-446655440001"]);
    let shown: Value = serde_json::from_str(&said.text).expect("the text is JSON, as it was");
    for shown in [&shown, &said.result["structuredContent"]] {
        let source = json!({"name": "ops.md", "id": "550e8400-e29b-41d4-a716-446655440000", "version": null, "relevance": null});
        assert_eq!(shown["sources"][0], source, "{shown}");
        assert_eq!(shown["metadata"]["sourceCount"], 2, "{shown}");
        assert_eq!(shown["metadata"]["query"], "How do I rotate keys?", "{shown}");
        assert!(shown["metadata"]["timestamp"].as_str().is_some_and(|time| time.ends_with('Z') || time.ends_with("+00:00")), "{shown}");
    }
}

#[test]
fn nothing_found_is_an_answer() {
    let mut desk = Desk::with(Workspace::default());
    let said = desk.call("ask_knowledge_base", json!({"query": "anything"})).good();
    assert_eq!(said.result["structuredContent"]["sources"], json!([]));
}

/// The App refuses `^` and backslashes.
#[test]
fn characters_that_the_app_refuses_are_not_sent() {
    let mut desk = Desk::with(stocked().0);
    desk.call("ask_knowledge_base", json!({"query": r"what does ^a\d+ & <b> match"})).good();
    let sent = desk.asked_once(LINE).body["query"].clone();
    assert_eq!(sent, "what does  a d+ & <b> match");
    // Nothing is left of this one.
    let said = desk.call("ask_knowledge_base", json!({"query": r"^\\^"})).bad();
    said.says(&["query"]);
    assert_eq!(desk.asked().len(), 1);
}

/// Lengths are counted in characters.
#[test]
fn a_thousand_characters_may_be_asked() {
    let mut desk = Desk::with(stocked().0);
    desk.call("ask_knowledge_base", json!({"query": "ü".repeat(1000)})).good();
    desk.call("ask_knowledge_base", json!({"query": "ü".repeat(1001)})).bad();
}

#[test]
fn answers_of_other_apps_are_understood() {
    let mut desk = Desk::with(stocked().0);
    // What is answered, and what must be said.
    let answers = [
        (Answer::Text("Keys are rotated monthly."), "Keys are rotated monthly.", json!([])),
        (
            Answer::Instead(json!({"answer": "A", "sources": [], "documentIds": ["550e8400-e29b-41d4-a716-446655440000"]})),
            "A",
            json!([{"id": "550e8400-e29b-41d4-a716-446655440000", "version": null, "relevance": null}]),
        ),
        (
            Answer::Instead(json!({"answer": "A", "sources": ["n"], "documentIds": ["550e8400-e29b-41d4-a716-446655440000"],
                "documentVersions": [3], "relevanceScores": [0.5]})),
            "A",
            json!([{"name": "n", "id": "550e8400-e29b-41d4-a716-446655440000", "version": 3, "relevance": 0.5}]),
        ),
        (Answer::Instead(json!({"answer": "A"})), "A", json!([])),
    ];
    for (answer, text, sources) in answers {
        desk.app.answer_at(LINE, answer);
        let said = desk.call("ask_knowledge_base", json!({"query": "q"})).good();
        assert_eq!(said.result["structuredContent"]["answer"], text);
        let mut shown = said.result["structuredContent"]["sources"].clone();
        for source in shown.as_array_mut().into_iter().flatten() {
            // Without a name, one is free to say so.
            source.as_object_mut().expect("sources are objects").retain(|name, value| name != "name" || !value.is_null());
        }
        assert_eq!(shown, sources);
    }
}

#[test]
fn an_app_without_embeddings_says_what_to_do() {
    let (mut workspace, _) = stocked();
    workspace.without_embeddings = true;
    let mut desk = Desk::with(workspace);
    desk.call("ask_knowledge_base", json!({"query": "q"})).bad().says_one_of(&["OPENAI_API_KEY", "embedding"]);
    desk.app.answer_at(LINE, Answer::Refuse(500, json!({"error": "RAG is not enabled"})));
    desk.call("ask_knowledge_base", json!({"query": "q"})).bad().says_one_of(&["not enabled", "disabled", "switched off"]);
}
