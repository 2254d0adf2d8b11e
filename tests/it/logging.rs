//! Log messages of servers: they reach the client of the call, from the level on that it wants.

#![allow(clippy::needless_pass_by_value, reason = "`json!({..})` reads better without a borrow in front of it")]

use crate::support::client::{Mark, Pending};
use crate::support::http;
use crate::support::{Client, Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(log_messages_of_a_call_arrive_in_order_and_before_its_answer, a_client_gets_what_it_has_asked_for,);

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

fn log(level: &str, data: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "logger": "l", "data": data, "x-vendor": 1.0}})
}

/// A call during which the server logs once at each level. It ends when it is released.
#[track_caller]
fn send(client: &mut Client, server: &str, label: &str) -> Pending {
    let mut lines: Vec<_> = LEVELS.iter().map(|level| json!({"say": log(level, json!(label))})).collect();
    lines.push(json!({"wait": label}));
    client.send_call(&format!("{server}__talk"), json!({"lines": lines}))
}

/// The levels that were heard.
fn heard(client: &Client, mark: Mark) -> Vec<String> {
    let heard = client.since(mark);
    let logs = heard.iter().filter(|value| value["method"] == "notifications/message");
    logs.map(|value| value["params"]["level"].as_str().expect("a text").to_owned()).collect()
}

#[track_caller]
fn journal(client: &mut Client, server: &str, what: &str) -> Value {
    client.call(&format!("{server}__calls"), json!({}))["structuredContent"][what].take()
}

fn log_messages_of_a_call_arrive_in_order_and_before_its_answer(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__talk");
    let mark = client.mark();
    let lines: Vec<_> = (0..50).map(|n| json!({"say": log("info", json!([n, 1.0, null]))})).collect();
    let call = client.send_call("alpha__talk", json!({"lines": lines}));
    client.answer(&call).result();
    let mut heard = client.since(mark);
    let expected: Vec<_> = (0..50).map(|n| log("info", json!([n, 1.0, null]))).collect();
    if kind == Kind::HttpJson {
        // Where the answer is a JSON body, logs come on another stream, and what comes late belongs to no call any more.
        for log in expected {
            client.hear(mark, "a log message", |value| *value == log);
        }
    } else {
        assert_eq!(heard.pop().expect("the answer")["id"], call.0, "nothing comes after the answer");
        assert_eq!(heard, expected);
    }
}

fn a_client_gets_what_it_has_asked_for(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__talk");
    for from in [0, 3, 7, 1] {
        let level = LEVELS[from];
        assert_eq!(client.request("logging/setLevel", json!({"level": level})).result(), json!({}));
        eventually("the server knows the level", || (journal(&mut client, "alpha", "levels").as_array()?.last()? == level).then_some(()));
        let mark = client.mark();
        let label = format!("from {level}");
        let call = send(&mut client, "alpha", &label);
        client.hear(mark, "the last message", |value| value["params"]["level"] == "emergency");
        client.call("alpha__release", json!({"label": label}));
        client.answer(&call).result();
        assert_eq!(heard(&client, mark), LEVELS[from..]);
    }
}

/// Where there are several clients; the only one hears of it.
#[test]
fn what_belongs_to_no_call_is_dropped() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__talk");
    let mut heard = session.listen();
    session.call("alpha__talk", json!({"lines": [{"later": log("error", json!(1)), "ms": 200}]}));
    std::thread::sleep(std::time::Duration::from_millis(400));
    session.call("alpha__add", json!({"kind": "tools", "name": "new"}));
    heard.hear("notifications/tools/list_changed");
}

#[test]
fn each_session_has_a_level_of_its_own() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut curious = front.session();
    let mut calm = front.session();
    calm.find(List::Tools, "alpha__talk");
    for (session, level, told) in [(&mut calm, "error", "error"), (&mut curious, "info", "info")] {
        assert_eq!(session.request("logging/setLevel", json!({"level": level})), json!({}));
        eventually("the server knows the level", || (session.journal("alpha", "levels").last()? == told).then_some(()));
    }
    for (session, from) in [(&mut calm, 4), (&mut curious, 1)] {
        let lines: Vec<_> = LEVELS.iter().map(|level| json!({"say": log(level, json!(1))})).collect();
        let mut stream = session.post(&http::call(1001, "alpha__talk", json!({"lines": lines}))).open();
        for level in &LEVELS[from..] {
            assert_eq!(stream.hear("notifications/message"), log(level, json!(1)));
        }
        assert_eq!(stream.answer()["id"], 1001);
    }
    // The server is asked for as much as the most curious of those who are left wants.
    curious.end();
    eventually("the server is told less", || (calm.journal("alpha", "levels") == ["error", "info", "error"]).then_some(()));
}

#[test]
fn a_level_that_does_not_exist_is_refused() {
    let mut client = Proxy::new().launch();
    assert_eq!(client.initialize()["capabilities"]["logging"], json!({}));
    for params in [json!({}), json!({"level": "verbose"}), json!({"level": "INFO"}), json!({"level": 3}), json!({"level": null})] {
        assert_eq!(client.request("logging/setLevel", params.clone()).code(), -32_602, "{params}");
    }
}

#[test]
fn a_server_that_does_not_log_is_told_of_no_level() {
    let alpha = Server::stdio("alpha", &["--without=logging"]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Tools, "alpha__calls");
    client.find(List::Tools, "beta__calls");
    client.request("logging/setLevel", json!({"level": "alert"})).result();
    eventually("beta knows the level", || (journal(&mut client, "beta", "levels") == json!(["alert"])).then_some(()));
    assert_eq!(journal(&mut client, "alpha", "levels"), json!([]));
}

#[test]
fn a_server_that_connects_later_is_told_the_level() {
    let mut server = Server::http("alpha", &[]);
    let home = crate::support::Home::new();
    let mut client = Proxy::at(&home).file(&file_of(&[&server])).launch();
    client.initialize();
    client.request("logging/setLevel", json!({"level": "warning"})).result();
    client.find(List::Tools, "alpha__calls");
    eventually("alpha knows the level", || (journal(&mut client, "alpha", "levels") == json!(["warning"])).then_some(()));
    server.running_mut().restart();
    client.call_until("it is told again", "alpha__calls", &json!({}), |result| result["structuredContent"]["levels"] == json!(["warning"]));
}
