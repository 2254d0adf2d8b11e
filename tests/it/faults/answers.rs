//! Answers that are none, of servers and of clients, and texts that are no single message.

use super::recovery::recovers;
use crate::support::{Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::json;
use std::time::{Duration, Instant};

over_each_wire!(batches_of_a_server_are_taken_apart, an_error_for_no_request_ends_the_only_call);

fn batches_of_a_server_are_taken_apart(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--revision=2025-03-26", "--tool=raw"]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--call-timeout=5").start();
    client.find(List::Tools, "alpha__echo");
    let mark = client.mark();
    let text = concat!(
        r#"[{"jsonrpc":"2.0","method":"notifications/x","params":{"n":1.0}},{"jsonrpc":"2.0","id":"p","method":"ping"},7,"#,
        r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"x":1.0}}, {"jsonrpc":"2.0","id":"q","method":"ping"}]"#
    );
    let result = client.call("alpha__raw", json!({"text": text}));
    assert_eq!(result, json!({"content": [], "x": 1.0}));
    let heard = client.since(mark);
    assert!(heard.len() == 2 && heard[0]["method"] == "notifications/x", "{heard:#?}");
    let answers = eventually("both are answered, each by itself", || {
        let calls = client.call("alpha__calls", json!({}));
        let answers = calls["structuredContent"]["answers"].as_array()?.clone();
        (answers.len() == 2).then_some(answers)
    });
    let mut answers: Vec<_> = answers.iter().map(|answer| answer.as_str().expect("it is text")).collect();
    answers.sort_unstable();
    assert_eq!(answers, [r#"{"jsonrpc":"2.0","id":"p","result":{}}"#, r#"{"jsonrpc":"2.0","id":"q","result":{}}"#]);
}

fn an_error_for_no_request_ends_the_only_call(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--tool=raw"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__raw");
    let begin = Instant::now();
    let text = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the comma is missing"}}"#;
    let result = client.call("alpha__raw", json!({"text": text}));
    let told = result["content"][0]["text"].as_str().expect("it is text");
    assert!(result["isError"] == true && told.contains("the comma is missing"), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    recovers(&mut client, "alpha");
}

#[test]
fn a_result_that_is_too_large_fails_its_call_alone() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--max-message=100k").start();
    client.find(List::Tools, "alpha__slow");
    let slow = client.send_call("alpha__slow", json!({"label": "other"}));
    let large = client.call("alpha__large", json!({"bytes": 300_000}));
    let told = large["content"][0]["text"].as_str().expect("it is text");
    assert!(large["isError"] == true && told.contains("--max-message"), "{told}");
    client.call("alpha__release", json!({"label": "other"}));
    assert_eq!(client.answer(&slow).result()["content"][0]["text"], "finished");
}

#[test]
fn a_malformed_answer_of_a_client_is_told_to_the_server() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before_able(&[&server], json!({"roots": {}}));
    client.find(List::Tools, "alpha__ask");
    let mark = client.mark();
    let call = client.send_call("alpha__ask", json!({"method": "roots/list", "params": {}}));
    let asked = client.asked(mark, "roots/list");
    let id = asked.value["id"].clone();
    client.line(&json!({"jsonrpc": "2.0", "id": id, "result": {}, "error": {"code": 1, "message": "both"}}).to_string());
    let answer = client.answer(&call).result();
    assert_eq!(answer["structuredContent"]["error"]["message"], "the client's answer is malformed", "{answer}");
    assert!(client.since(mark).iter().all(|said| said["id"] != id || said["method"] == "roots/list"), "nothing is said under its id");
}

#[test]
fn an_array_is_no_message_of_a_client() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    for line in [r#"["2.0",77,"ping"]"#, r#"["2.0",78,"tools/call",{"name":"alpha__echo"}]"#, "[]"] {
        let mark = client.mark();
        client.line(line);
        client.hear(mark, "it is refused", |value| value["id"].is_null() && value["error"]["code"] == -32_600);
    }
    // Nor has it reached the server, which it would have ended.
    recovers(&mut client, "alpha");
}
