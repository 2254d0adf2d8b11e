//! Arguments that are wrong are refused before anybody is asked, by the name of the member; those that are right are completed.

use super::facts::{TOOLS, arguments, services};
use super::{Desk, stocked};
use serde_json::{Value, json};

const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

/// The tools whose schemas say nothing about members that they do not know.
const OPEN: [&str; 5] = ["setup", "send_notification", "list_notifications", "mark_notification_done", "delete_notification"];

#[track_caller]
fn refuse(desk: &mut Desk, tool: &str, arguments: &Value, member: &str) {
    let said = desk.call(tool, arguments.clone());
    assert!(said.is_error(), "{tool} takes {arguments}: {said:?}");
    assert!(said.text.contains(member), "{tool} of {arguments} does not name {member}: {said:?}");
    let asked = desk.asked();
    assert!(asked.is_empty(), "{tool} of {arguments} asked the App: {asked:?}");
}

fn long(length: usize) -> String {
    "x".repeat(length)
}

#[test]
fn members_are_named_that_are_wrong() {
    let mut desk = Desk::with(stocked().0);
    let model = json!({"name": "m", "provider": "p"});
    let document = |more: Value| {
        let mut arguments = json!({"title": "T", "content": "c", "metadata": {"model": model}});
        arguments.as_object_mut().expect("it is one").extend(more.as_object().expect("it is one").clone());
        arguments
    };
    let cases = [
        ("setup", json!({"topic": "weather"}), "topic"),
        ("discover_tools", json!({"server_uuid": "x"}), "server_uuid"),
        ("discover_tools", json!({"force_refresh": "yes"}), "force_refresh"),
        ("ask_knowledge_base", json!({}), "query"),
        ("ask_knowledge_base", json!({"query": ""}), "query"),
        ("ask_knowledge_base", json!({"query": long(1001)}), "query"),
        ("ask_knowledge_base", json!({"query": ["a"]}), "query"),
        ("send_notification", json!({}), "message"),
        ("send_notification", json!({"message": ""}), "message"),
        ("send_notification", json!({"message": null}), "message"),
        ("send_notification", json!({"message": "m", "severity": "LOUD"}), "severity"),
        ("send_notification", json!({"message": "m", "severity": "info"}), "severity"),
        ("send_notification", json!({"message": "m", "sendEmail": "true"}), "sendEmail"),
        ("list_notifications", json!({"limit": 0}), "limit"),
        ("list_notifications", json!({"limit": 101}), "limit"),
        ("list_notifications", json!({"limit": 1.5}), "limit"),
        ("list_notifications", json!({"limit": "5"}), "limit"),
        ("list_notifications", json!({"onlyUnread": 1}), "onlyUnread"),
        ("mark_notification_done", json!({}), "notificationId"),
        ("mark_notification_done", json!({"notificationId": ""}), "notificationId"),
        // The App takes UUIDs only.
        ("mark_notification_done", json!({"notificationId": "../custom"}), "notificationId"),
        ("delete_notification", json!({"notificationId": "abc"}), "notificationId"),
        ("delete_notification", json!({"notificationId": 7}), "notificationId"),
        ("create_document", json!({"title": "T", "content": "c"}), "metadata"),
        ("create_document", json!({"title": "T", "content": "c", "metadata": {}}), "model"),
        ("create_document", json!({"title": "T", "content": "c", "metadata": {"model": {"name": "m"}}}), "provider"),
        ("create_document", json!({"title": "T", "content": "c", "metadata": {"model": {"name": "m", "provider": "p", "x-y": 1}}}), "x-y"),
        ("create_document", document(json!({"title": ""})), "title"),
        ("create_document", document(json!({"title": long(256)})), "title"),
        ("create_document", document(json!({"content": ""})), "content"),
        ("create_document", document(json!({"format": "pdf"})), "format"),
        ("create_document", document(json!({"category": "poem"})), "category"),
        ("create_document", document(json!({"tags": vec!["t"; 21]})), "tags"),
        ("create_document", document(json!({"tags": "t"})), "tags"),
        ("create_document", document(json!({"metadata": {"model": model, "visibility": "secret"}})), "visibility"),
        ("create_document", document(json!({"metadata": {"model": model, "generationParams": {"temperature": 2.1}}})), "temperature"),
        ("create_document", document(json!({"metadata": {"model": model, "generationParams": {"maxTokens": 0}}})), "maxTokens"),
        ("create_document", document(json!({"metadata": {"model": model, "generationParams": {"topP": -0.1}}})), "topP"),
        ("create_document", document(json!({"metadata": {"model": model, "conversationContext": [1]}})), "conversationContext"),
        ("list_documents", json!({"filters": {"source": "web"}}), "source"),
        ("list_documents", json!({"filters": {"dateFrom": "2026-01-01"}}), "dateFrom"),
        ("list_documents", json!({"filters": {"dateTo": "2026-02-30T00:00:00Z"}}), "dateTo"),
        ("list_documents", json!({"filters": {"dateTo": "yesterday"}}), "dateTo"),
        ("list_documents", json!({"filters": {"unknown-filter": 1}}), "unknown-filter"),
        ("list_documents", json!({"filters": []}), "filters"),
        ("list_documents", json!({"sort": "random"}), "sort"),
        ("list_documents", json!({"limit": 101}), "limit"),
        ("list_documents", json!({"offset": -1}), "offset"),
        ("search_documents", json!({"query": long(501)}), "query"),
        ("search_documents", json!({"query": "q", "limit": 51}), "limit"),
        ("search_documents", json!({"query": "q", "filters": {"tags": "t"}}), "tags"),
        ("get_document", json!({}), "documentId"),
        ("get_document", json!({"documentId": "abc"}), "documentId"),
        ("get_document", json!({"documentId": format!("{UUID}/../..")}), "documentId"),
        ("get_document", json!({"documentId": UUID, "includeContent": "true"}), "includeContent"),
        ("update_document", json!({"documentId": UUID, "content": "c"}), "operation"),
        ("update_document", json!({"documentId": UUID, "operation": "delete", "content": "c"}), "operation"),
        ("update_document", json!({"documentId": UUID, "operation": "append", "content": ""}), "content"),
        ("update_document", json!({"documentId": UUID, "operation": "append", "content": "c", "metadata": {"tags": []}}), "model"),
    ];
    for (tool, arguments, member) in cases {
        refuse(&mut desk, tool, &arguments, member);
    }
}

#[test]
fn members_are_named_that_are_wrong_for_clipboard_and_memory() {
    let mut desk = Desk::with(stocked().0);
    let cases = [
        ("clipboard_set", json!({"name": "n"}), "value"),
        ("clipboard_set", json!({"name": long(256), "value": "v"}), "name"),
        ("clipboard_set", json!({"idx": 0.5, "value": "v"}), "idx"),
        ("clipboard_set", json!({"name": "n", "value": "v", "contentType": "text"}), "contentType"),
        ("clipboard_set", json!({"name": "n", "value": "v", "encoding": "rot13"}), "encoding"),
        ("clipboard_set", json!({"name": "n", "value": "v", "visibility": "all"}), "visibility"),
        ("clipboard_set", json!({"name": "n", "value": "v", "ttlSeconds": 0}), "ttlSeconds"),
        ("clipboard_set", json!({"name": "n", "value": "v", "ttlSeconds": 31_536_001}), "ttlSeconds"),
        ("clipboard_set", json!({"name": "n", "value": "v", "source": "ui"}), "source"),
        ("clipboard_set", json!({"name": "n", "value": "v", "createdByTool": long(256)}), "createdByTool"),
        // Rules between members.
        ("clipboard_set", json!({"value": "v"}), "name"),
        ("clipboard_set", json!({"value": "v"}), "idx"),
        ("clipboard_set", json!({"name": "n", "value": "v", "contentType": "image/png"}), "base64"),
        ("clipboard_push", json!({"value": "v", "contentType": "image/png", "encoding": "hex"}), "base64"),
        ("clipboard_push", json!({"value": "v", "name": "n"}), "name"),
        ("clipboard_get", json!({"limit": 101}), "limit"),
        ("clipboard_list", json!({"name": "n"}), "name"),
        ("clipboard_delete", json!({}), "clearAll"),
        ("clipboard_delete", json!({"clearAll": false}), "clearAll"),
        ("clipboard_pop", json!({"idx": 1}), "idx"),
        ("memory_session_start", json!({"content_session_id": ""}), "content_session_id"),
        ("memory_session_start", json!({"content_session_id": "c", "agent_uuid": "x"}), "agent_uuid"),
        ("memory_session_end", json!({"memory_session_id": "ms/1"}), "memory_session_id"),
        ("memory_session_end", json!({"memory_session_id": "ms_1?x"}), "memory_session_id"),
        ("memory_session_end", json!({"memory_session_id": "ms_1\n"}), "memory_session_id"),
        ("memory_observe", json!({"session_uuid": UUID, "type": "gossip", "content": "c"}), "type"),
        ("memory_observe", json!({"session_uuid": "ms_1", "type": "insight", "content": "c"}), "session_uuid"),
        ("memory_observe", json!({"session_uuid": UUID, "type": "insight", "content": "c", "outcome": "good"}), "outcome"),
        ("memory_observe", json!({"session_uuid": UUID, "type": "insight", "content": "c", "metadata": "m"}), "metadata"),
        ("memory_search", json!({"query": "q", "ring_types": ["gut"]}), "ring_types"),
        ("memory_search", json!({"query": "q", "top_k": 51}), "top_k"),
        ("memory_search", json!({"query": "q", "threshold": 0.1}), "threshold"),
        ("memory_details", json!({"memory_uuids": []}), "memory_uuids"),
        ("memory_details", json!({"memory_uuids": vec![UUID; 21]}), "memory_uuids"),
        ("memory_details", json!({"memory_uuids": ["x"]}), "memory_uuids"),
        ("cbp_query", json!({"query": "q", "context": "always"}), "context"),
        ("cbp_query", json!({"query": "q", "tool_name": long(201)}), "tool_name"),
        ("cbp_query", json!({"query": "q", "error_message": long(1001)}), "error_message"),
        ("cbp_feedback", json!({"pattern_uuid": UUID, "rating": 6, "feedback_type": "helpful"}), "rating"),
        ("cbp_feedback", json!({"pattern_uuid": UUID, "rating": 4.5, "feedback_type": "helpful"}), "rating"),
        ("cbp_feedback", json!({"pattern_uuid": UUID, "rating": 1, "feedback_type": "meh"}), "feedback_type"),
        ("memory_search_with_context", json!({"query": ""}), "query"),
        ("memory_search_with_context", json!({"query": "q", "include_archetypes": "no"}), "include_archetypes"),
    ];
    for (tool, arguments, member) in cases {
        refuse(&mut desk, tool, &arguments, member);
    }
}

/// Everything that is missing is said at once, so that a model need not guess twice.
#[test]
fn several_mistakes_are_named_together() {
    let mut desk = Desk::with(stocked().0);
    let said = desk.call("create_document", json!({"title": 7, "format": "pdf", "metadata": {"model": {}}})).bad();
    said.says(&["title", "content", "format", "provider"]);
    let said = desk.call("cbp_feedback", json!({})).bad();
    said.says(&["pattern_uuid", "rating", "feedback_type"]);
}

#[test]
fn a_mistake_is_shown_without_pages_of_it() {
    let mut desk = Desk::with(stocked().0);
    let said = desk.call("cbp_query", json!({"query": "x".repeat(100_000)})).bad();
    assert!(said.result.to_string().len() < 4000, "{} bytes", said.result.to_string().len());
    let said = desk.call("memory_search", json!({"query": "q", "a\u{1b}[31m\nb": 1})).bad();
    assert!(!said.text.contains('\u{1b}'), "{said:?}");
}

#[test]
fn unknown_members_are_refused_or_dropped_as_the_schema_says() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    for fact in TOOLS.iter().filter(|fact| !OPEN.contains(&fact.name)) {
        let mut arguments = arguments(fact.name, &ids);
        arguments["what-is-this"] = json!(1);
        refuse(&mut desk, fact.name, &arguments, "what-is-this");
    }
    // A member that the App knows, too, but the tool does not.
    for name in OPEN {
        let mut arguments = arguments(name, &ids);
        arguments["what-is-this"] = json!({"a": [1]});
        arguments["link"] = json!("https://example.com");
        desk.call(name, arguments).good();
    }
    for request in desk.asked() {
        assert!(!format!("{request:?}").contains("what-is-this") && request.body.get("link").is_none(), "{request:?}");
    }
}

#[test]
fn null_is_absent() {
    let (workspace, ids) = stocked();
    for fact in services() {
        let mut desk = Desk::with(workspace.clone());
        let mut arguments = arguments(fact.name, &ids);
        let input = fact.input();
        for (member, _) in input["properties"].as_object().into_iter().flatten() {
            if arguments.get(member).is_none() {
                arguments[member] = Value::Null;
            }
        }
        let said = desk.call(fact.name, arguments.clone());
        assert!(!said.is_error(), "{} of {arguments}: {said:?}", fact.name);
        for request in desk.asked() {
            let nulls = request.body.as_object().into_iter().flatten().filter(|(_, value)| value.is_null()).count();
            assert!(nulls == 0 && !request.line.contains("null"), "{request:?}");
        }
    }
}

#[test]
fn arguments_may_be_left_out_where_none_are_needed() {
    let mut desk = Desk::with(stocked().0);
    for tool in
        ["setup", "discover_tools", "list_notifications", "list_documents", "clipboard_list", "clipboard_pop", "memory_individuation"]
    {
        let result = desk.client.request("tools/call", json!({"name": format!("pluggedin_{tool}")})).result();
        desk.shapes.check(tool, result).good();
    }
}

#[test]
fn arguments_that_are_no_object_are_refused() {
    let (workspace, _) = stocked();
    let mut desk = Desk::with(workspace);
    for fact in services() {
        for arguments in [json!([]), json!("query"), json!(7), json!(true)] {
            let pending = desk.client.send_call(&fact.full_name(), arguments.clone());
            let answer = desk.client.hear(crate::support::client::Mark::START, "an answer", |value| value["id"] == pending.0);
            let refused = answer["result"]["isError"] == true || answer["error"]["code"] == -32_602;
            assert!(refused, "{} of {arguments}: {answer}", fact.name);
        }
    }
    assert!(desk.asked().is_empty(), "{:?}", desk.asked());
}

/// What the App would assume anyway is said, so that it does not matter what it assumes; but only where there is something to complete.
#[test]
fn defaults_are_filled_in() {
    let (workspace, ids) = stocked();
    let model = json!({"name": "m", "provider": "p"});
    let cases = [
        ("send_notification", json!({"message": "m"}), json!({"message": "m", "severity": "INFO", "sendEmail": false})),
        (
            "create_document",
            json!({"title": "T", "content": "c", "metadata": {"model": model}}),
            json!({"title": "T", "content": "c", "format": "md", "category": "other", "metadata": {"model": model, "visibility": "private"}}),
        ),
        ("search_documents", json!({"query": "q"}), json!({"query": "q", "limit": 10})),
        (
            "search_documents",
            json!({"query": "q", "filters": {"modelName": "m"}}),
            json!({"query": "q", "limit": 10, "filters": {"modelName": "m", "source": "all"}}),
        ),
        (
            "clipboard_push",
            json!({"value": "v"}),
            json!({"value": "v", "contentType": "text/plain", "encoding": "utf-8", "visibility": "private", "source": "mcp"}),
        ),
        (
            "clipboard_set",
            json!({"name": "n", "value": "", "ttlSeconds": 60}),
            json!({"name": "n", "value": "", "ttlSeconds": 60, "contentType": "text/plain", "encoding": "utf-8", "visibility": "private", "source": "mcp"}),
        ),
        ("memory_search", json!({"query": "q"}), json!({"query": "q", "top_k": 10, "include_gut": false})),
        ("memory_session_start", json!({"content_session_id": "c"}), json!({"content_session_id": "c"})),
        ("memory_details", json!({"memory_uuids": [ids.memory]}), json!({"memory_uuids": [ids.memory]})),
    ];
    for (tool, arguments, body) in cases {
        let mut desk = Desk::with(workspace.clone());
        desk.call(tool, arguments).good();
        assert_eq!(desk.asked_once("POST ").body, body, "{tool}");
    }
}
