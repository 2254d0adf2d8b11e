//! The clipboard: by name, by index, as a stack.

use super::{Desk, parameters};
use crate::support::{Answer, Workspace};
use serde_json::{Value, json};

const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A workspace with these entries.
fn holding(entries: &[Value]) -> Workspace {
    let mut workspace = Workspace::default();
    for entry in entries {
        workspace.clip(&json!({}), entry);
    }
    workspace
}

#[test]
fn an_entry_is_set_and_read() {
    let mut desk = Desk::with(Workspace::default());
    let arguments = json!({
        "name": "a b&c", "value": "hello ü", "contentType": "text/markdown", "encoding": "utf-8", "visibility": "workspace",
        "createdByTool": "t", "createdByModel": "m", "ttlSeconds": 60,
    });
    let said = desk.call("clipboard_set", arguments.clone()).good();
    let mut sent = arguments;
    sent["source"] = json!("mcp");
    assert_eq!(desk.asked_once("POST /api/clipboard").body, sent);
    said.tells(&["a b&c", "8", "2099-01-02T12:00:00"]);
    let said = desk.call("clipboard_get", json!({"name": "a b&c"})).good();
    said.tells(&["hello ü", "text/markdown"]);
    let asked = desk.asked();
    let by_name = parameters(&asked[1]).into_iter().find(|(name, _)| name == "name").expect("it asks by name");
    assert_eq!(by_name.1, "a b&c");
}

#[test]
fn entries_are_set_and_read_by_index() {
    let mut desk = Desk::with(Workspace::default());
    desk.call("clipboard_set", json!({"idx": 0, "value": "zero"})).good().says(&["0"]);
    desk.call("clipboard_set", json!({"idx": -3, "value": "minus"})).good().says(&["-3"]);
    desk.call("clipboard_get", json!({"idx": 0})).good().tells(&["zero"]).hides(&["minus"]);
    desk.call("clipboard_get", json!({"idx": -3})).good().tells(&["minus"]);
    // A taken index is a conflict, which push would not have.
    desk.call("clipboard_set", json!({"idx": 0, "value": "other"})).bad().says(&["0", "clipboard_push"]);
    desk.call("clipboard_get", json!({"idx": 7})).bad().says(&["7", "not"]);
    desk.call("clipboard_get", json!({"name": "nobody"})).bad().says(&["nobody", "not"]);
}

#[test]
fn images_are_shown_as_images() {
    let image = json!({"name": "pixel", "value": PIXEL, "contentType": "image/png", "encoding": "base64"});
    let mut desk = Desk::with(Workspace::default());
    desk.call("clipboard_set", image).good();
    let said = desk.call("clipboard_get", json!({"name": "pixel"})).good();
    let blocks = said.result["content"].as_array().expect("it is one");
    let shown = blocks.iter().find(|block| block["type"] == "image").unwrap_or_else(|| panic!("no image: {said:?}"));
    assert_eq!((&shown["data"], &shown["mimeType"]), (&json!(PIXEL), &json!("image/png")));
    assert!(!said.text.contains(PIXEL), "the text repeats the image: {said:?}");
    // Pages hold a part of it only, which is no image.
    for tool in ["clipboard_list", "clipboard_get"] {
        let said = desk.call(tool, json!({})).good();
        said.says(&["pixel", "image/png"]);
        assert!(!said.text.contains(PIXEL), "{said:?}");
        assert!(said.result["content"].as_array().expect("it is one").iter().all(|block| block["type"] == "text"), "{said:?}");
    }
    // What says that it is an image and is none is no image block.
    let odd = holding(&[json!({"name": "svg", "value": "<svg/>", "contentType": "image/svg+xml"})]);
    let mut desk = Desk::with(odd);
    let said = desk.call("clipboard_get", json!({"name": "svg"})).good();
    assert!(said.result["content"].as_array().expect("it is one").iter().all(|block| block["type"] == "text"), "{said:?}");
    said.says(&["<svg/>"]);
}

#[test]
fn pages_show_previews_and_how_to_go_on() {
    let long = format!("{}END", "x".repeat(500));
    let entries = [
        json!({"name": "oldest", "value": "one", "createdByTool": "writer"}),
        json!({"name": "long", "value": long}),
        json!({"idx": 4, "value": "four", "contentType": "application/json"}),
    ];
    let mut desk = Desk::with(holding(&entries));
    let said = desk.call("clipboard_get", json!({"limit": 2})).good();
    let asked = desk.asked_once("GET /api/clipboard?");
    assert!(parameters(&asked).contains(&("limit".to_owned(), "2".to_owned())), "{asked:?}");
    said.says(&["long", "4", "3", "application/json", "2026-01-01"]);
    assert!(!said.text.contains("END") && !said.text.contains("oldest"), "{said:?}");
    assert_eq!(said.result["structuredContent"]["total"], 3);
    desk.call("clipboard_get", json!({"offset": 2})).good().says(&["oldest", "one", "writer"]);
    desk.call("clipboard_get", json!({"contentType": "application/json"})).good().says(&["four"]).hides(&["oldest"]);

    let said = desk.call("clipboard_list", json!({"limit": 1, "offset": 1})).good();
    let shown: Value = serde_json::from_str(&said.text).expect("the text is JSON, as it was");
    assert_eq!((&shown["total"], &shown["entries"][0]["name"]), (&json!(3), &json!("long")), "{shown}");
    let asked = parameters(desk.asked().last().expect("it was asked"));
    assert!(asked.contains(&("offset".to_owned(), "1".to_owned())) && asked.contains(&("limit".to_owned(), "1".to_owned())), "{asked:?}");
    let mut desk = Desk::with(Workspace::default());
    desk.call("clipboard_get", json!({})).good();
    assert_eq!(desk.call("clipboard_list", json!({})).good().result["structuredContent"]["entries"], json!([]));
}

/// The App shows what has expired until somebody cleans up.
#[test]
fn what_has_expired_is_gone() {
    let entries = [
        json!({"name": "old", "value": "stale words", "expiresAt": "2020-01-01T00:00:00.000Z"}),
        json!({"name": "new", "value": "fresh words"}),
        json!({"name": "ever", "value": "lasting words", "expiresAt": null}),
    ];
    let mut desk = Desk::with(holding(&entries));
    desk.call("clipboard_get", json!({"name": "old"})).bad().says(&["old", "expired"]).hides(&["stale words"]);
    for tool in ["clipboard_get", "clipboard_list"] {
        desk.call(tool, json!({})).good().says(&["fresh words", "lasting words"]).hides(&["stale words"]);
    }
    desk.call("clipboard_get", json!({"name": "ever"})).good().tells(&["lasting words"]);
    // It never ends, and a model is told so.
    desk.app.answer_at(
        "POST /api/clipboard",
        Answer::Instead(json!({"success": true, "entry": desk.app.with(|workspace| workspace.clipboard[2].clone())})),
    );
    desk.call("clipboard_set", json!({"name": "ever", "value": "lasting words"})).good().says(&["never"]);
}

/// The database writes times in its own way.
#[test]
fn push_and_pop_tell_times_as_everybody_does() {
    let mut desk = Desk::with(Workspace::default());
    let said = desk.call("clipboard_push", json!({"value": "step one"})).good();
    let request = desk.asked_once("POST /api/clipboard/push");
    assert_eq!((&request.body["value"], &request.body["source"]), (&json!("step one"), &json!("mcp")));
    said.tells(&["0", "8", "2099-01-02T12:00:00"]).hides(&["2099-01-02 12:00:00"]);
    desk.call("clipboard_push", json!({"value": "step two"})).good().says(&["1"]);

    let said = desk.call("clipboard_pop", json!({})).good();
    said.tells(&["step two", "2099-01-02T12:00:00"]).hides(&["2099-01-02 12:00:00"]);
    let request = desk.asked().pop().expect("it was asked");
    assert!(request.line == "POST /api/clipboard/pop" && (request.body == json!({}) || request.body.is_null()), "{request:?}");
    desk.call("clipboard_pop", json!({})).good().tells(&["step one"]);
    desk.call("clipboard_pop", json!({})).bad().says(&["empty"]);
}

#[test]
fn an_image_is_popped_as_an_image() {
    let mut desk = Desk::with(holding(&[json!({"idx": 0, "value": PIXEL, "contentType": "image/png", "encoding": "base64"})]));
    let said = desk.call("clipboard_pop", json!({})).good();
    assert!(
        said.result["content"].as_array().expect("it is one").iter().any(|block| block["type"] == "image" && block["data"] == PIXEL),
        "{said:?}"
    );
}

#[test]
fn entries_are_deleted_as_meant() {
    let entries = [
        json!({"name": "a", "value": "1"}),
        json!({"idx": 5, "value": "2"}),
        json!({"name": "c", "value": "3"}),
        json!({"name": "d", "value": "4"}),
    ];
    let mut desk = Desk::with(holding(&entries));
    let left = |desk: &Desk| desk.app.with(|workspace| workspace.clipboard.len());
    desk.call("clipboard_delete", json!({"name": "a"})).good().says(&["1"]);
    desk.call("clipboard_delete", json!({"idx": 5})).good().says(&["1"]);
    assert_eq!(left(&desk), 2);
    desk.call("clipboard_delete", json!({"name": "a"})).bad().says(&["not"]);
    desk.call("clipboard_delete", json!({"clearAll": true})).good().says(&["2"]);
    assert_eq!(left(&desk), 0);
    desk.call("clipboard_delete", json!({"clearAll": true})).good().says(&["0"]);
    // Some Apps do not find what is empty.
    desk.app.answer_at("/api/clipboard", Answer::Refuse(404, json!({"error": "Clipboard entry not found"})));
    for (tool, arguments) in [("clipboard_delete", json!({"clearAll": true})), ("clipboard_get", json!({}))] {
        desk.call(tool, arguments).bad().says(&["nothing is on the clipboard"]).hides(&["name", "index", "identifier"]);
    }
    let first = &desk.asked()[0];
    assert_eq!((first.line.as_str(), &first.body["name"]), ("DELETE /api/clipboard", &json!("a")));
}

/// The App says 400 where it means that something is too large or badly encoded.
#[test]
fn values_that_the_app_refuses_are_explained() {
    let mut desk = Desk::with(Workspace::default());
    let cases = [
        (json!({"name": "n", "value": "x".repeat(2_097_153)}), &["2097152", "2,097,152", "2 097 152", "2 MiB", "too large"][..]),
        (json!({"name": "n", "value": "abc", "encoding": "base64"}), &["base64"]),
        (json!({"name": "n", "value": "abc", "encoding": "hex"}), &["hex"]),
    ];
    for (arguments, words) in cases {
        let said = desk.call("clipboard_set", arguments).bad();
        said.says_one_of(words);
        assert!(said.text.len() < 4000, "{} bytes", said.text.len());
    }
}
