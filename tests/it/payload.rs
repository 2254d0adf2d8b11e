//! How large messages of servers and of the client over stdio may be. Those of HTTP clients stand in `limits`.

use crate::support::{Client, Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(a_message_of_a_server_has_a_size, a_message_of_a_server_is_not_nested_without_end,);

/// Before these servers, with messages of 200 KiB at most.
#[track_caller]
fn limited(servers: &[&Server]) -> Client {
    let mut client = Proxy::new().file(&file_of(servers)).arg("--max-message=200k").start();
    for server in servers {
        client.find(List::Tools, &server.tool("echo"));
    }
    client
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({"a": inner}))
}

fn a_message_of_a_server_has_a_size(kind: Kind) {
    let (alpha, beta) = (Server::new(kind, "alpha", &[]), Server::stdio("beta", &[]));
    let mut client = limited(&[&alpha, &beta]);
    let fits = client.call("alpha__large", json!({"bytes": 190_000}));
    assert_eq!(text(&fits).len(), 190_000);
    let refused = client.call("alpha__large", json!({"bytes": 210_000}));
    assert_eq!(refused["isError"], true);
    assert!(text(&refused).contains("larger than 204800 bytes (`--max-message`)"), "{refused}");
    // Nobody else is disturbed, and the server may come back.
    assert_eq!(client.call("beta__echo", json!({}))["structuredContent"]["server"], "beta");
    client.call_until("it is connected again", "alpha__echo", &json!({}), |result| result["isError"] != true);
}

fn a_message_of_a_server_is_not_nested_without_end(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = limited(&[&server]);
    let fits = client.call("alpha__echo", nested(120));
    assert_eq!(fits["structuredContent"]["params"]["arguments"], nested(120));
    // In the answer the same stands two levels deeper.
    let refused = client.call("alpha__echo", nested(125));
    assert_eq!(refused["isError"], true);
    assert!(text(&refused).contains("nested deeper than 128 levels"), "{refused}");
    assert_eq!(client.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
}

#[test]
fn a_server_that_ends_no_line_takes_no_memory() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--max-message=1MiB").serve();
    let mut session = front.session();
    session.find(List::Tools, "alpha__large");
    let before = front.resident();
    let refused = session.call("alpha__large", json!({"bytes": 50_000_000}));
    assert!(text(&refused).contains("larger than 1048576 bytes"), "{refused}");
    let grown = front.resident().saturating_sub(before);
    assert!(grown < 12 << 20, "{grown} bytes");
    front.complains("larger than 1048576 bytes");
}

#[test]
fn a_line_of_the_client_has_a_size() {
    let server = Server::stdio("alpha", &[]);
    let mut client = limited(&[&server]);
    let mark = client.mark();
    client.line(&format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(300_000)));
    let refused = client.hear(mark, "a refusal", |value| value["error"]["code"] == -32_600);
    assert!(
        refused["id"].is_null() && refused["error"]["message"].as_str().is_some_and(|text| text.contains("--max-message")),
        "{refused}"
    );
    client.request("ping", json!({})).result();
}

#[test]
fn a_line_of_the_client_is_not_nested_without_end() {
    let mut client = Proxy::new().start();
    for levels in [200, 100_000] {
        let mark = client.mark();
        let (open, close) = (r#"{"a":"#.repeat(levels), "}".repeat(levels));
        client.line(&format!(r#"{{"jsonrpc":"2.0","id":"deep {levels}","method":"tools/call","params":{open}1{close}}}"#));
        let refused = client.hear(mark, "a refusal", |value| value["id"] == format!("deep {levels}"));
        assert_eq!(refused["error"]["code"], -32_600, "{refused}");
    }
    client.request("ping", json!({})).result();
}

#[test]
fn a_listing_is_no_larger_than_a_message() {
    let server = Server::stdio("alpha", &["--tools=4000", "--page-size=100"]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--max-message=100k").start();
    client.find(List::Tools, "alpha__tool-0099");
    client.complains("the list does not end; it was cut");
    let tools = client.names(List::Tools).len();
    assert!((200..3000).contains(&tools), "{tools}");
    assert_eq!(client.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
}

#[test]
fn sizes_that_are_none_are_refused() {
    for value in ["0", "1000", "-1", "2g", "much"] {
        let finished = Proxy::new().env("PLUGGEDIN_MAX_MESSAGE", value).run(&[]);
        assert_eq!(finished.code, Some(64), "{value}");
        assert!(finished.stderr.contains("`PLUGGEDIN_MAX_MESSAGE` must be a size"), "{}", finished.stderr);
    }
}

/// The client sends more than the server reads.
#[test]
fn a_server_that_does_not_read_takes_no_memory_without_end() {
    let server = Server::stdio("alpha", &["--deaf"]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--call-timeout=2").serve();
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    let before = front.resident();
    let letter = "x".repeat(1 << 20);
    let calls: Vec<_> =
        (0..60).map(|id| session.post(&crate::support::http::call(id, "alpha__echo", json!({"text": letter}))).start()).collect();
    let answers: Vec<_> = calls.into_iter().map(|call| call.reply().result()).collect();
    let failed = answers.iter().filter(|answer| answer["isError"] == true).count();
    assert!(failed >= 59, "{failed}: the server reads the first call");
    eventually("what was sent is forgotten", || (front.resident().saturating_sub(before) < 150 << 20).then_some(()));
}
