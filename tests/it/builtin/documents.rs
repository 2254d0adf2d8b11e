//! The library: what is written, found, read and changed.

use super::{Desk, Said, parameters, stocked};
use crate::support::{Answer, App, Proxy, Workspace};
use serde_json::{Value, json};

fn model() -> Value {
    json!({"name": "some-model", "provider": "acme"})
}

#[track_caller]
fn create(desk: &mut Desk, content: &str, format: &str) -> Said {
    let arguments = json!({"title": "T", "content": content, "format": format, "metadata": {"model": model()}});
    desk.call("create_document", arguments).good()
}

#[test]
fn a_document_is_created_and_its_address_works() {
    let mut desk = Desk::with(Workspace::default());
    let arguments = json!({
        "title": "Release notes",
        "content": "First release",
        "format": "txt",
        "tags": ["release", "a&b"],
        "category": "report",
        "metadata": {
            "model": {"name": "some-model", "provider": "acme", "version": "2"},
            "context": "c",
            "visibility": "workspace",
            "prompt": "p",
            "conversationContext": ["x"],
            "sourceDocuments": ["y"],
            "generationParams": {"temperature": 0.5, "maxTokens": 100, "topP": 1},
        },
    });
    let said = desk.call("create_document", arguments.clone()).good();
    assert_eq!(desk.asked_once("POST /api/documents/ai").body, arguments);
    let id = desk.app.with(|workspace| workspace.documents[0].record["id"].as_str().expect("it is text").to_owned());
    said.tells(&[&id, &format!("{}/library/{id}", desk.app.url())]).says(&["Release notes"]);
}

/// Markdown and HTML are changed by a sanitizer, updates of any format, too.
#[test]
fn who_writes_angle_brackets_is_warned() {
    const WARNING: [&str; 5] = ["sanitiz", "sanitis", "alter", "escape", "&lt;"];
    let mut desk = Desk::with(Workspace::default());
    for format in ["md", "html"] {
        for content in ["Vec<String>", "a && b", "a > b"] {
            create(&mut desk, content, format).says_one_of(&WARNING).says_one_of(&["txt", "json"]);
        }
        create(&mut desk, "plain words", format).hides(&WARNING);
    }
    for format in ["txt", "json"] {
        create(&mut desk, "[\"Vec<String>\"]", format).hides(&WARNING);
    }
    let id = desk.app.with(|workspace| workspace.documents[0].record["id"].clone());
    let mut update =
        |content: &str| desk.call("update_document", json!({"documentId": id, "operation": "replace", "content": content})).good();
    update("Vec<String>").says_one_of(&WARNING);
    update("plain words").hides(&WARNING);
}

#[test]
fn filters_are_sent_as_the_app_reads_them() {
    let mut desk = Desk::with(stocked().0);
    let arguments = json!({
        "filters": {
            "source": "ai_generated",
            "modelName": "some model&x=1",
            "modelProvider": "acme",
            "dateFrom": "2026-01-01T02:00:00+02:00",
            "dateTo": "2026-12-31T23:59:59.5Z",
            "tags": ["release", "b,c"],
            "category": "report",
            "searchQuery": "notes ü",
        },
        "sort": "title",
        "limit": 5,
        "offset": 1,
    });
    desk.call("list_documents", arguments).good();
    let asked = parameters(&desk.asked_once("GET /api/documents?"));
    let value = |name: &str| asked.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    assert_eq!(value("source"), ["ai_generated"]);
    assert_eq!(value("modelName"), ["some model&x=1"]);
    assert_eq!(value("tags"), ["release", "b,c"]);
    assert_eq!(value("searchQuery"), ["notes ü"]);
    assert_eq!((value("sort"), value("limit"), value("offset")), (vec!["title"], vec!["5"], vec!["1"]));
    // The App reads UTC only.
    assert!(value("dateFrom")[0].starts_with("2026-01-01T00:00:00") && value("dateFrom")[0].ends_with('Z'), "{asked:?}");
    assert!(value("dateTo")[0].starts_with("2026-12-31T23:59:59") && value("dateTo")[0].ends_with('Z'), "{asked:?}");
}

/// The App takes a category and does nothing with it.
#[test]
fn a_filter_that_does_nothing_is_spoken_of() {
    let mut desk = Desk::with(stocked().0);
    desk.call("list_documents", json!({"filters": {"category": "code"}})).good().says(&["categor"]);
}

#[test]
fn documents_are_listed_with_totals_and_models() {
    let (mut workspace, ids) = stocked();
    let upload = workspace
        .file("x", &json!({"title": "Handbook", "description": "How we work", "tags": null, "createdAt": "2025-06-07T08:09:10.000Z"}));
    let mut desk = Desk::with(workspace);
    let said = desk.call("list_documents", json!({"limit": 1})).good();
    said.tells(&[&ids.document, "Release notes", "release", "some-model", "ai_generated"]).says(&["2026-01-01", "2"]).hides(&[&upload]);
    assert_eq!(said.result["structuredContent"]["total"], 2);
    // How to go on.
    said.says(&["offset"]);
    let said = desk.call("list_documents", json!({"sort": "date_asc"})).good();
    said.tells(&[&upload, "Handbook", "How we work", "upload"]).says(&["2025-06-07"]);
    assert!(said.text.find("Handbook") < said.text.find("Release notes"), "{said:?}");
    let said = desk.call("list_documents", json!({"filters": {"searchQuery": "nothing like it"}})).good();
    assert_eq!(said.result["structuredContent"]["total"], 0);
}

/// The App counts a document once for each model that wrote in it, as text, and finds more than all.
#[test]
fn hits_are_counted_and_not_believed() {
    let mut workspace = Workspace::default();
    let attributions =
        vec![json!({"modelName": "m", "modelProvider": "p", "contributionType": "updated", "timestamp": "2026-01-01T12:00:00.000Z"}); 37];
    let ids: Vec<_> = ["Alpha report", "Beta report"]
        .map(|title| workspace.file("x", &json!({"title": title, "description": "A report", "modelAttributions": attributions})))
        .to_vec();
    let mut desk = Desk::with(workspace);
    let said = desk.call("search_documents", json!({"query": "report"})).good();
    assert_eq!(desk.asked_once("POST /api/documents/search").body, json!({"query": "report", "limit": 10}));
    said.tells(&[&ids[0], &ids[1], "Alpha report", "Beta report"]).says(&["2", "57.6", "A report"]);
    assert!(!said.text.contains("74"), "the App's total: {said:?}");
    assert!(!said.text.contains("120"), "more than all: {said:?}");
    let said = desk.call("search_documents", json!({"query": "nothing like it"})).good();
    said.says(&["nothing like it"]);
}

#[test]
fn searches_are_filtered_in_utc() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    let filters = json!({"source": "ai_generated", "dateFrom": "2025-12-31T19:00:00-05:00", "tags": ["release"], "modelProvider": "acme"});
    desk.call("search_documents", json!({"query": "release", "filters": filters, "limit": 50})).good().tells(&[&ids.document]);
    let sent = &desk.asked_once("POST /api/documents/search").body["filters"];
    assert!(sent["dateFrom"].as_str().is_some_and(|date| date.starts_with("2026-01-01T00:00:00") && date.ends_with('Z')), "{sent}");
    // Ten characters of regular expressions are too many for the App, which is the client's mistake.
    desk.call("search_documents", json!({"query": "((((((((((("})).bad().says(&["query"]);
}

#[test]
fn a_document_is_read_with_what_was_asked_for() {
    let (mut workspace, ids) = stocked();
    let document = workspace.documents.iter_mut().find(|document| document.record["id"] == ids.document.as_str()).expect("it is there");
    document.record["version"] = json!(2);
    document.record["aiMetadata"] = json!({
        "model": model(), "prompt": "Write notes", "context": "sprint 9", "sessionId": "chat-42", "visibility": "private", "x-more": "kept",
    });
    document.versions.push(json!({
        "versionNumber": 2, "createdAt": "2026-01-02T12:00:00.000Z", "createdByModel": {"name": "second-model", "provider": "acme"},
        "changeSummary": "spelling", "contentDiff": {"additions": 3, "deletions": 0},
    }));
    let mut desk = Desk::with(workspace);
    let said = desk.call("get_document", json!({"documentId": ids.document})).good();
    let asked = parameters(&desk.asked_once(&format!("GET /api/documents/{}", ids.document)));
    assert!(!asked.iter().any(|(_, value)| value == "true"), "{asked:?}");
    said.tells(&[&ids.document, "Release notes", "release", "ai_generated", "some-model", "Write notes", "sprint 9", "chat-42"]);
    said.says(&["2026-01-01", "2"]).hides(&["# First release", "spelling"]);

    let said = desk.call("get_document", json!({"documentId": ids.document, "includeContent": true})).good();
    said.tells(&["# First release"]).hides(&["spelling"]);
    let said = desk.call("get_document", json!({"documentId": ids.document, "includeContent": true, "includeVersions": true})).good();
    said.tells(&["# First release", "spelling", "second-model"]).says(&["2026-01-02"]);
}

#[test]
fn a_document_that_is_no_text_is_not_shown_as_text() {
    let (mut workspace, _) = stocked();
    let id = workspace.file("JVBERi0xLjQK", &json!({"title": "Scan", "mimeType": "application/pdf"}));
    workspace.documents.last_mut().expect("it is there").encoding = "base64";
    let mut desk = Desk::with(workspace);
    let said = desk.call("get_document", json!({"documentId": id, "includeContent": true})).good();
    said.says(&["Scan", "application/pdf"]).says_one_of(&["base64", "binary"]);
}

#[test]
fn an_unknown_document_is_named() {
    let mut desk = Desk::with(stocked().0);
    let id = "0b9b7c64-4b43-4f0a-8a37-ffffffffffff";
    desk.call("get_document", json!({"documentId": id})).bad().says(&[id, "not"]);
    desk.call("update_document", json!({"documentId": id, "operation": "append", "content": "c"})).bad().says(&[id, "not"]);
}

#[test]
fn a_document_is_updated_past_the_rules_for_browsers() {
    let (workspace, ids) = stocked();
    let arguments = json!({
        "documentId": ids.document, "operation": "append", "content": "More text",
        "metadata": {"model": model(), "changeSummary": "added text", "tags": ["new"], "updateReason": "r", "changesFromPrompt": "p"},
    });
    let mut desk = Desk::with(workspace);
    let said = desk.call("update_document", arguments).good();
    said.tells(&[&ids.document, "2"]).says(&["append"]);
    let request = desk.asked_once("PATCH /api/documents/");
    assert_eq!(request.origin.as_deref(), Some(&*desk.app.url()));
    assert!(request.requested_with.is_some(), "{request:?}");
    assert_eq!((&request.body["operation"], &request.body["content"]), (&json!("append"), &json!("More text")));
    assert_eq!(request.body["metadata"]["changeSummary"], "added text");
    desk.app.with(|workspace| {
        let document = workspace.document(&ids.document);
        assert_eq!(document.content, "# First release\n\nMore text");
        assert_eq!(document.record["tags"], json!(["new"]));
    });
    // Other requests need no such headers, and do not lie about where they come from.
    desk.call("list_documents", json!({})).good();
    assert_eq!(desk.asked().last().expect("it was asked").origin, None);
}

#[test]
fn the_origin_of_updates_can_be_set() {
    let (mut workspace, ids) = stocked();
    workspace.public_origin = Some("https://hub.example".to_owned());
    let update = json!({"documentId": ids.document, "operation": "replace", "content": "c"});

    // Reached by another name than people use: refused, with the way out.
    let mut desk = Desk::with(workspace.clone());
    desk.call("update_document", update.clone()).bad().says(&["--app-origin"]);
    assert_eq!(desk.app.count("PATCH "), 1);

    let ways: [fn(Proxy) -> Proxy; 4] = [
        |proxy| proxy.arg("--app-origin=https://hub.example"),
        |proxy| proxy.arg("--app-origin").arg("https://hub.example/"),
        |proxy| proxy.env("PLUGGEDIN_APP_ORIGIN", "https://hub.example"),
        |proxy| proxy.env("PLUGGEDIN_APP_ORIGIN", "https://else.example").arg("--app-origin=https://plugged.in"),
    ];
    for way in ways {
        let mut desk = Desk::started(workspace.clone(), way);
        desk.call("update_document", update.clone()).good();
    }
    for wrong in ["hub.example", "ftp://hub.example", "https://hub.example/path", "https://user@hub.example", "https://hub.example?x"] {
        let wrong = Proxy::new().arg(&format!("--app-origin={wrong}")).run(&[]);
        assert!(wrong.code == Some(64) && wrong.stderr.contains("--app-origin"), "{wrong:?}");
    }
}

/// An App may live below a path; an origin never has one.
#[test]
fn an_origin_has_no_path() {
    let (workspace, ids) = stocked();
    let app = App::start(workspace);
    let url = format!("{}/hub/", app.url());
    let mut client = Proxy::new().app(&app).env("PLUGGEDIN_API_BASE_URL", &url).start();
    let update = json!({"documentId": ids.document, "operation": "replace", "content": "c"});
    // Nobody is there, but what was asked is seen.
    let result = client.call("pluggedin_update_document", update);
    assert_eq!(result["isError"], true, "{result}");
    let requests = app.requests_to("PATCH /hub/api/documents/");
    assert_eq!((requests.len(), requests[0].origin.as_deref()), (1, Some(&*app.url())));
}

#[test]
fn refusals_of_updates_say_why() {
    let (mut workspace, ids) = stocked();
    let upload = workspace.file("x", &json!({"title": "Handbook"}));
    let mut desk = Desk::with(workspace);
    let update = |id: &str| json!({"documentId": id, "operation": "replace", "content": "c"});
    desk.call("update_document", update(&upload)).bad().says_one_of(&["ai_generated", "AI-generated", "AI-written"]);
    let answers = [
        (
            403,
            json!({"error": "Missing required header for JSON requests", "code": "CSRF_MISSING_HEADER"}),
            &["403", "refuse", "header"][..],
        ),
        (403, json!({"error": "Invalid file path"}), &["403", "refuse", "path"]),
        (404, json!({"error": "Document not found"}), &["not"]),
        (501, json!({"error": "Not implemented"}), &["not"]),
        (429, json!({"error": "Too many requests", "retryAfter": 271}), &["271"]),
    ];
    for (status, body, words) in answers {
        desk.app.answer_at(&format!("PATCH /api/documents/{}", ids.document), Answer::Refuse(status, body));
        desk.call("update_document", update(&ids.document)).bad().says_one_of(words);
    }
}
