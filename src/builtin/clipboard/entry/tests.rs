use expect_test::{Expect, expect};

use super::{
    super::{
        super::{arguments::InputSchema, definition::Definition, outcome::Ended},
        GET, LIST, POP, SET,
    },
    *,
};
use crate::security::line;

/// What a tool with these answers: first the content, and then the structured content.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
fn check(definition: &Definition, output: Output, expect: Expect) {
    let data = output.data().expect("it has a schema").clone();
    InputSchema::of(definition.output_schema.expect("it has one")).assert_allows(&data);
    let result: Value = serde_json::from_slice(&Ended::from(Ok(output)).result).expect("JSON");
    let block = &result["content"][0];
    let content = block["text"].as_str().map_or_else(|| block.to_string(), str::to_owned);
    // So that nothing acts in this file.
    let data = line::escape(&data.to_string()).into_owned();
    expect.assert_eq(&format!("{content}\n= {data}\n"));
}

fn entry(entry: &Value) -> Entry {
    Entry::of(Members::of(entry).expect("an object"))
}

fn page(answer: &Value) -> Page {
    Page::of(answer).expect("a page")
}

/// As a GET gives it.
fn text() -> Value {
    json!({"uuid": "0ce77b0a-66de-4ec1-867e-2a929ab2b6d9", "name": "k", "idx": null, "value": "v\n1", "contentType": "text/plain",
        "encoding": "utf-8", "sizeBytes": 3, "visibility": "private", "createdByTool": "tool", "createdByModel": null, "source": "ui",
        "createdAt": "2026-11-23T03:40:20.259Z", "updatedAt": "2026-11-23T03:40:20.254Z", "expiresAt": null})
}

/// As a push gives it.
fn pushed() -> Value {
    json!({"uuid": "f8cf4006-f084-48ad-b828-8a18f74d6267", "name": null, "idx": 0, "value": "p1", "contentType": "text/plain",
        "encoding": "utf-8", "sizeBytes": 2, "visibility": "private", "createdByTool": null, "createdByModel": null,
        "createdAt": "2026-11-23 03:42:10.615898+00", "updatedAt": "2026-11-23 03:42:10.615898+00", "expiresAt": "2999-11-24 03:42:10.606+00"})
}

fn image(value: &str, size: usize) -> Value {
    json!({"name": "pic", "value": value, "contentType": "image/png", "encoding": "base64", "sizeBytes": size, "expiresAt": null})
}

#[test]
fn what_is_stored_says_where_and_how_long() {
    let nowhere = Place::default();
    check(
        &SET,
        entry(&text()).stored(&nowhere, 3),
        expect![[r#"
        Stored on the clipboard: `k`, 3 bytes, never expires.
        = {"uuid":"0ce77b0a-66de-4ec1-867e-2a929ab2b6d9","name":"k","contentType":"text/plain","encoding":"utf-8","sizeBytes":3,"visibility":"private","createdByTool":"tool","source":"ui","createdAt":"2026-11-23T03:40:20Z","updatedAt":"2026-11-23T03:40:20Z","expiresAt":null}
    "#]],
    );
    check(
        &SET,
        entry(&pushed()).stored(&nowhere, 2),
        expect![[r#"
        Stored on the clipboard: index 0, 2 bytes, expires at 2999-11-24T03:42:10Z.
        = {"uuid":"f8cf4006-f084-48ad-b828-8a18f74d6267","idx":0,"contentType":"text/plain","encoding":"utf-8","sizeBytes":2,"visibility":"private","createdAt":"2026-11-23T03:42:10Z","updatedAt":"2026-11-23T03:42:10Z","expiresAt":"2999-11-24T03:42:10Z"}
    "#]],
    );
    let place = Place { name: Some("a`\nb".to_owned()), index: Some(3) };
    check(
        &SET,
        entry(&json!({"name": 7, "sizeBytes": "2", "expiresAt": "soon"})).stored(&place, 2),
        expect![[r#"
        Stored on the clipboard: `a`\nb` (index 3), 2 bytes, expires at an unknown time.
        = {"name":"a`\nb","idx":3,"sizeBytes":2}
    "#]],
    );
}

#[test]
fn one_entry_is_shown_whole() {
    check(
        &GET,
        entry(&text()).shown(""),
        expect![[r#"
        {
          "uuid": "0ce77b0a-66de-4ec1-867e-2a929ab2b6d9",
          "name": "k",
          "value": "v\n1",
          "contentType": "text/plain",
          "encoding": "utf-8",
          "sizeBytes": 3,
          "visibility": "private",
          "createdByTool": "tool",
          "source": "ui",
          "createdAt": "2026-11-23T03:40:20Z",
          "updatedAt": "2026-11-23T03:40:20Z",
          "expiresAt": null
        }
        = {"entry":{"uuid":"0ce77b0a-66de-4ec1-867e-2a929ab2b6d9","name":"k","value":"v\n1","contentType":"text/plain","encoding":"utf-8","sizeBytes":3,"visibility":"private","createdByTool":"tool","source":"ui","createdAt":"2026-11-23T03:40:20Z","updatedAt":"2026-11-23T03:40:20Z","expiresAt":null}}
    "#]],
    );
    check(
        &POP,
        entry(&pushed()).shown("This entry had expired at 2026-11-24T03:42:10Z."),
        expect![[r#"
        This entry had expired at 2026-11-24T03:42:10Z.

        {
          "uuid": "f8cf4006-f084-48ad-b828-8a18f74d6267",
          "idx": 0,
          "value": "p1",
          "contentType": "text/plain",
          "encoding": "utf-8",
          "sizeBytes": 2,
          "visibility": "private",
          "createdAt": "2026-11-23T03:42:10Z",
          "updatedAt": "2026-11-23T03:42:10Z",
          "expiresAt": "2999-11-24T03:42:10Z"
        }
        = {"entry":{"uuid":"f8cf4006-f084-48ad-b828-8a18f74d6267","idx":0,"value":"p1","contentType":"text/plain","encoding":"utf-8","sizeBytes":2,"visibility":"private","createdAt":"2026-11-23T03:42:10Z","updatedAt":"2026-11-23T03:42:10Z","expiresAt":"2999-11-24T03:42:10Z"}}
    "#]],
    );
}

/// It is the same JSON.
#[test]
fn nothing_acts_in_an_entry() {
    let odd = json!({"name": "k\u{202e}", "value": "a\u{9b}\n\u{2028}\u{feff}"});
    check(
        &GET,
        entry(&odd).shown(""),
        expect![[r#"
        {
          "name": "k\u202e",
          "value": "a\u009b\n\u2028\ufeff"
        }
        = {"entry":{"name":"k\u202e","value":"a\u009b\n\u2028\ufeff"}}
    "#]],
    );
    check(
        &LIST,
        page(&json!({"entries": [odd]})).whole(),
        expect![[r#"
        {
          "entries": [
            {
              "name": "k\u202e",
              "value": "a\u009b\n\u2028\ufeff"
            }
          ],
          "total": 1
        }
        = {"entries":[{"name":"k\u202e","value":"a\u009b\n\u2028\ufeff"}],"total":1}
    "#]],
    );
}

#[test]
fn an_image_is_shown_as_one() {
    check(
        &GET,
        entry(&image("aGVsbG8=", 8)).shown(""),
        expect![[r#"
        {"type":"image","data":"aGVsbG8=","mimeType":"image/png"}
        = {"entry":{"name":"pic","contentType":"image/png","encoding":"base64","sizeBytes":8,"expiresAt":null}}
    "#]],
    );
    let mut odd = image("aGVsbG8=", 8);
    odd["contentType"] = json!("image/png\n<b>");
    check(
        &GET,
        entry(&odd).shown(""),
        expect![[r#"
        {
          "name": "pic",
          "value": "aGVsbG8=",
          "contentType": "image/png\n<b>",
          "encoding": "base64",
          "sizeBytes": 8,
          "expiresAt": null
        }
        = {"entry":{"name":"pic","value":"aGVsbG8=","contentType":"image/png\n<b>","encoding":"base64","sizeBytes":8,"expiresAt":null}}
    "#]],
    );
    // No client could show it.
    check(
        &GET,
        entry(&image("aGVs*", 5)).shown(""),
        expect![[r#"
        {
          "name": "pic",
          "value": "aGVs*",
          "contentType": "image/png",
          "encoding": "base64",
          "sizeBytes": 5,
          "expiresAt": null
        }
        = {"entry":{"name":"pic","value":"aGVs*","contentType":"image/png","encoding":"base64","sizeBytes":5,"expiresAt":null}}
    "#]],
    );
}

#[test]
fn pages_are_without_what_has_expired() {
    let mut old = text();
    old["expiresAt"] = json!("2020-01-01T00:00:00.000Z");
    let answer =
        json!({"entries": [text(), old, pushed(), image("aGVs", 5_000), image("aGVs", 4), null, 7], "total": 9, "limit": 50, "offset": 0});
    check(
        &GET,
        page(&answer).overview(),
        expect![[r#"
            Clipboard entries, 4 of 9, the newest on top:

            1. `k`: text/plain, 3 bytes, created at 2026-11-23T03:40:20Z by tool, never expires
               v\n1

            2. index 0: text/plain, 2 bytes, created at 2026-11-23T03:42:10Z, expires at 2999-11-24T03:42:10Z
               p1

            3. `pic`: image/png, 5000 bytes, never expires

            4. `pic`: image/png, 4 bytes, never expires

            Left out, since they have expired: 1.
            There are more: go on with the offset 5.
            `pluggedin_clipboard_get` with a name or index gives the whole value.
            = {"entries":[{"uuid":"0ce77b0a-66de-4ec1-867e-2a929ab2b6d9","name":"k","preview":"v\\n1","contentType":"text/plain","encoding":"utf-8","sizeBytes":3,"visibility":"private","createdByTool":"tool","source":"ui","createdAt":"2026-11-23T03:40:20Z","updatedAt":"2026-11-23T03:40:20Z","expiresAt":null},{"uuid":"f8cf4006-f084-48ad-b828-8a18f74d6267","idx":0,"preview":"p1","contentType":"text/plain","encoding":"utf-8","sizeBytes":2,"visibility":"private","createdAt":"2026-11-23T03:42:10Z","updatedAt":"2026-11-23T03:42:10Z","expiresAt":"2999-11-24T03:42:10Z"},{"name":"pic","contentType":"image/png","encoding":"base64","sizeBytes":5000,"expiresAt":null},{"name":"pic","contentType":"image/png","encoding":"base64","sizeBytes":4,"expiresAt":null}],"total":9,"limit":50,"offset":0,"expired":1}
        "#]],
    );
    check(
        &LIST,
        page(&answer).whole(),
        expect![[r#"
            {
              "entries": [
                {
                  "uuid": "0ce77b0a-66de-4ec1-867e-2a929ab2b6d9",
                  "name": "k",
                  "value": "v\n1",
                  "contentType": "text/plain",
                  "encoding": "utf-8",
                  "sizeBytes": 3,
                  "visibility": "private",
                  "createdByTool": "tool",
                  "source": "ui",
                  "createdAt": "2026-11-23T03:40:20Z",
                  "updatedAt": "2026-11-23T03:40:20Z",
                  "expiresAt": null
                },
                {
                  "uuid": "f8cf4006-f084-48ad-b828-8a18f74d6267",
                  "idx": 0,
                  "value": "p1",
                  "contentType": "text/plain",
                  "encoding": "utf-8",
                  "sizeBytes": 2,
                  "visibility": "private",
                  "createdAt": "2026-11-23T03:42:10Z",
                  "updatedAt": "2026-11-23T03:42:10Z",
                  "expiresAt": "2999-11-24T03:42:10Z"
                },
                {
                  "name": "pic",
                  "contentType": "image/png",
                  "encoding": "base64",
                  "sizeBytes": 5000,
                  "expiresAt": null
                },
                {
                  "name": "pic",
                  "contentType": "image/png",
                  "encoding": "base64",
                  "sizeBytes": 4,
                  "expiresAt": null
                }
              ],
              "total": 9,
              "limit": 50,
              "offset": 0,
              "expired": 1
            }
            = {"entries":[{"uuid":"0ce77b0a-66de-4ec1-867e-2a929ab2b6d9","name":"k","value":"v\n1","contentType":"text/plain","encoding":"utf-8","sizeBytes":3,"visibility":"private","createdByTool":"tool","source":"ui","createdAt":"2026-11-23T03:40:20Z","updatedAt":"2026-11-23T03:40:20Z","expiresAt":null},{"uuid":"f8cf4006-f084-48ad-b828-8a18f74d6267","idx":0,"value":"p1","contentType":"text/plain","encoding":"utf-8","sizeBytes":2,"visibility":"private","createdAt":"2026-11-23T03:42:10Z","updatedAt":"2026-11-23T03:42:10Z","expiresAt":"2999-11-24T03:42:10Z"},{"name":"pic","contentType":"image/png","encoding":"base64","sizeBytes":5000,"expiresAt":null},{"name":"pic","contentType":"image/png","encoding":"base64","sizeBytes":4,"expiresAt":null}],"total":9,"limit":50,"offset":0,"expired":1}
        "#]],
    );
}

#[test]
fn odd_pages_are_shown_as_far_as_they_go() {
    check(
        &GET,
        page(&json!({"entries": []})).overview(),
        expect![[r#"
        There is nothing to show on this page of the clipboard.
        = {"entries":[],"total":0}
    "#]],
    );
    let answer = json!({"entries": [{"name": [], "idx": "1", "value": 1, "contentType": null}], "total": "1", "limit": null});
    check(
        &GET,
        page(&answer).overview(),
        expect![[r#"
            Clipboard entries, 1 of 1, the newest on top:

            1. an entry without name and index: unknown type, expires at an unknown time

            `pluggedin_clipboard_get` with a name or index gives the whole value.
            = {"entries":[{}],"total":1}
        "#]],
    );
    check(
        &LIST,
        page(&answer).whole(),
        expect![[r#"
        {
          "entries": [
            {}
          ],
          "total": 1
        }
        = {"entries":[{}],"total":1}
    "#]],
    );
    assert!(Page::of(&json!({"entries": 1})).is_none() && Page::of(&json!([])).is_none());
}
