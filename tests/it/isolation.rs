//! What a server sees of its clients, and whom it reaches outside of calls: where there is one client, it is that one.

#![allow(clippy::needless_pass_by_value, reason = "`json!({..})` reads better without a borrow in front of it")]

use crate::support::client::{Mark, Message};
use crate::support::{Client, Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};

mod sessions; // connections of single sessions

over_each_wire!(
    a_server_is_offered_what_the_only_client_can_do,
    what_a_server_asks_outside_of_calls_reaches_the_only_client,
    the_end_withdraws_what_was_asked_outside_of_calls,
    what_a_server_says_outside_of_calls_reaches_the_only_client,
    servers_hear_that_the_roots_of_the_only_client_have_changed,
    progress_of_the_client_finds_the_server_that_has_asked,
    requests_and_notifications_of_other_kinds_belong_to_their_calls,
);

const SAMPLING: &str = "sampling/createMessage";

/// With what no proxy knows.
const ABLE: &str = concat!(
    r#"{"x-vendor":[1.0,null],"roots":{"listChanged":true},"sampling":{"tools":{}},"elicitation":{"form":{}},"#,
    r#""extensions":{"com.example/odd":{"depth":1}},"experimental":{"a":{"b":-0.0}}}"#
);

fn able() -> Value {
    serde_json::from_str(ABLE).expect("JSON")
}

fn introducing(kind: Kind, name: &str) -> Server {
    Server::new(kind, name, &["--tool=introduced"])
}

fn alone(servers: &[&Server], capabilities: Value) -> Client {
    let mut client = Proxy::before_able(servers, capabilities);
    for server in servers {
        client.find(List::Tools, &server.tool("talk"));
    }
    client
}

/// Has the server say something when no call is in flight any more.
#[track_caller]
fn later(client: &mut Client, server: &str, message: Value) {
    let lines = json!([{"later": message, "ms": 200}]);
    client.call(&format!("{server}__talk"), json!({"lines": lines}));
}

/// Waits for the newest entry of a server's journal that has these words in it.
#[track_caller]
fn noted(client: &mut Client, server: &str, what: &str, words: &str) -> String {
    eventually(&format!("{words} is {what} at {server}"), || {
        let journal = client.call(&format!("{server}__calls"), json!({}));
        let entries = journal["structuredContent"][what].as_array().expect("a list").clone();
        entries.iter().rev().filter_map(Value::as_str).find(|entry| entry.contains(words)).map(str::to_owned)
    })
}

fn a_server_is_offered_what_the_only_client_can_do(kind: Kind) {
    let server = introducing(kind, "alpha");
    let mut client = alone(&[&server], able());
    let introduced = client.call("alpha__introduced", json!({}))["structuredContent"].clone();
    assert_eq!(introduced["capabilities"].to_string(), able().to_string());
    assert_eq!(introduced["clientInfo"]["name"], "pluggedin-mcp-proxy");

    let server = introducing(kind, "alpha");
    let mut client = alone(&[&server], json!({}));
    assert_eq!(client.call("alpha__introduced", json!({}))["structuredContent"]["capabilities"], json!({}));
}

#[test]
fn many_clients_are_offered_as_one_that_can_be_asked_during_its_calls() {
    let server = introducing(Kind::Stdio, "alpha");
    let front = Proxy::serving(&[&server]);
    let mut session = front.session_able(able());
    session.find(List::Tools, "alpha__introduced");
    let introduced = session.call("alpha__introduced", json!({}))["structuredContent"].clone();
    assert_eq!(introduced["capabilities"], json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}}));

    // What belongs to no call is refused: nobody knows which of them it is for.
    for (id, method) in [SAMPLING, "roots/list", "elicitation/create"].into_iter().enumerate() {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}});
        session.call("alpha__talk", json!({"lines": [{"later": request, "ms": 200}]}));
        std::thread::sleep(std::time::Duration::from_millis(400));
        let refusal = eventually("the refusal has come", || session.journal("alpha", "answers").get(id).cloned());
        assert!(refusal.contains(&format!(r#""id":{id},"error":{{"code":-32600"#)) && refusal.contains("no call in flight"), "{refusal}");
    }
    front.complains("no call in flight");
}

fn what_a_server_asks_outside_of_calls_reaches_the_only_client(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = alone(&[&server], able());
    for method in ["roots/list", SAMPLING, "elicitation/create", "x-vendor/ask"] {
        let mark = client.mark();
        let params = json!({"message": method, "x": [1.0]});
        later(&mut client, "alpha", json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params}));
        let asked = client.asked(mark, method);
        assert_eq!(asked.value["params"], params);
        assert_ne!(asked.value["id"], method, "ids of servers are not those of the client");
        client.reply(&asked, r#"{"x":1.0}"#);
        assert_eq!(noted(&mut client, "alpha", "answers", method), format!(r#"{{"jsonrpc":"2.0","id":"{method}","result":{{"x":1.0}}}}"#));
    }

    let server = Server::new(kind, "alpha", &[]);
    let mut client = alone(&[&server], json!({}));
    for method in ["roots/list", SAMPLING, "elicitation/create"] {
        let mark = client.mark();
        later(&mut client, "alpha", json!({"jsonrpc": "2.0", "id": method, "method": method, "params": {}}));
        let refusal = noted(&mut client, "alpha", "answers", method);
        assert!(refusal.contains(r#""error":{"code":-32601"#), "{refusal}");
        assert!(client.since(mark).iter().all(|message| message["method"].is_null()), "it has not declared it and is not asked");
    }
}

fn the_end_withdraws_what_was_asked_outside_of_calls(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = alone(&[&server], able());
    let mark = client.mark();
    later(&mut client, "alpha", json!({"jsonrpc": "2.0", "id": 7, "method": SAMPLING, "params": {}}));
    let asked = client.asked(mark, SAMPLING);
    later(&mut client, "alpha", json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}));
    assert_eq!(client.notified(mark, "notifications/cancelled")["params"]["requestId"], asked.value["id"]);

    let mark = client.mark();
    later(&mut client, "alpha", json!({"jsonrpc": "2.0", "id": 8, "method": SAMPLING, "params": {}}));
    let asked = client.asked(mark, SAMPLING);
    client.send_call("alpha__crash", json!({}));
    if kind == Kind::Stdio {
        assert_eq!(client.notified(mark, "notifications/cancelled")["params"]["requestId"], asked.value["id"]);
    }
    // A client that leaves is not waited for.
    let left = std::time::Instant::now();
    assert_eq!(client.finish().code, Some(0));
    assert!(left.elapsed() < std::time::Duration::from_secs(8));
}

fn what_a_server_says_outside_of_calls_reaches_the_only_client(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = alone(&[&server], able());
    let mark = client.mark();
    let news = json!({"jsonrpc": "2.0", "method": "notifications/x/changed", "params": {"x": [1.0, null]}});
    later(&mut client, "alpha", news.clone());
    assert_eq!(client.notified(mark, "notifications/x/changed"), news);

    let log = |level: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": level}});
    later(&mut client, "alpha", log("debug"));
    assert_eq!(client.notified(mark, "notifications/message"), log("debug"));
    client.request("logging/setLevel", json!({"level": "warning"})).result();
    let mark = client.mark();
    later(&mut client, "alpha", log("info"));
    later(&mut client, "alpha", log("error"));
    assert_eq!(client.notified(mark, "notifications/message"), log("error"));

    // Tasks are named for their servers everywhere.
    let status = json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "t", "status": "working"}});
    later(&mut client, "alpha", status);
    assert_eq!(client.notified(mark, "notifications/tasks/status")["params"]["taskId"], "file:alpha/t");
}

fn servers_hear_that_the_roots_of_the_only_client_have_changed(kind: Kind) {
    let (alpha, beta) = (Server::new(kind, "alpha", &[]), Server::new(kind, "beta", &[]));
    let modern = Server::stdio("modern", &["--modern"]);
    let mut client = alone(&[&alpha, &beta, &modern], able());
    client.notify("notifications/roots/list_changed", json!({"x": 1.0}));
    for server in ["alpha", "beta"] {
        let heard = noted(&mut client, server, "notified", "roots/list_changed");
        assert_eq!(heard, r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{"x":1.0}}"#);
    }
    let journal = client.call("modern__calls", json!({}));
    assert!(!journal.to_string().contains("roots/list_changed"), "servers of that revision are told nothing");
}

fn progress_of_the_client_finds_the_server_that_has_asked(kind: Kind) {
    let (alpha, beta) = (Server::new(kind, "alpha", &[]), Server::new(kind, "beta", &[]));
    let mut client = alone(&[&alpha, &beta], able());
    let asking = |client: &mut Client, server: &str| -> Message {
        let mark = client.mark();
        let params = json!({"_meta": {"progressToken": "same", "x": 1.0}, "from": server}).to_string();
        client.send_call(&format!("{server}__talk"), json!({"lines": [{"ask": SAMPLING, "params": params}]}));
        client.asked(mark, SAMPLING)
    };
    let asked = ["alpha", "beta"].map(|server| (server, asking(&mut client, server)));
    assert_ne!(asked[0].1.value["params"]["_meta"]["progressToken"], asked[1].1.value["params"]["_meta"]["progressToken"]);
    // Of nobody, and of one who has not been asked by this name.
    for token in [json!("same"), json!("asked-77"), json!(7), json!(null)] {
        client.notify("notifications/progress", json!({"progressToken": token, "progress": 0}));
    }
    for (server, asked) in &asked {
        let token = &asked.value["params"]["_meta"]["progressToken"];
        assert_ne!(*token, "same");
        client.line(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":1.0,"progressToken":{token},"message":"{server}"}}}}"#
        ));
    }
    for (server, asked) in &asked {
        let heard = noted(&mut client, server, "notified", "notifications/progress");
        let expect = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0,"progressToken":"same","message":""#;
        assert_eq!(heard, format!("{expect}{server}\"}}}}"));
        let journal = client.call(&format!("{server}__calls"), json!({}));
        assert_eq!(journal["structuredContent"]["notified"].as_array().map(Vec::len), Some(1), "{journal}");
        client.reply(asked, "{}");
    }
}

fn requests_and_notifications_of_other_kinds_belong_to_their_calls(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = alone(&[&server], json!({}));
    let news = json!({"jsonrpc": "2.0", "method": "notifications/x/news", "params": {"x": 1.0}});
    let mark = client.mark();
    let call = client.send_call("alpha__talk", json!({"lines": [{"say": news}, {"ask": "x-vendor/ask", "params": r#"{"y":1.0}"#}]}));
    let asked = client.asked(mark, "x-vendor/ask");
    assert_eq!(asked.value["params"].to_string(), r#"{"y":1.0}"#);
    assert_eq!(client.notified(mark, "notifications/x/news"), news);
    client.refuse(&asked, json!({"code": -32_601, "message": "what is that"}));
    assert_eq!(client.answer(&call).result()["structuredContent"][0]["error"]["message"], "what is that");
}

/// Connections are made when the client is late; it is the only one all the same.
#[test]
fn a_client_that_is_late_is_reached_all_the_same() {
    let server = introducing(Kind::Stdio, "alpha");
    let mut client = Proxy::new().file(&file_of(&[&server])).launch();
    client.complains("connected");
    client.initialize_able(able());
    client.find(List::Tools, "alpha__introduced");
    let introduced = client.call("alpha__introduced", json!({}))["structuredContent"].clone();
    assert_eq!(introduced["capabilities"], json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}}));
    later(&mut client, "alpha", json!({"jsonrpc": "2.0", "id": 7, "method": "roots/list", "params": {}}));
    let asked = client.asked(Mark::START, "roots/list");
    client.reply(&asked, r#"{"roots":[]}"#);
    noted(&mut client, "alpha", "answers", r#""result":{"roots":[]}"#);
}
