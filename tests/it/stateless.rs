//! Requests that stand alone: nothing is kept between them.

use crate::support::http::{BOTH, Change, Front, REVISION, call, initialize, keys, message, notification};
use crate::support::{Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};
use std::thread::scope;

over_each_wire!(a_lost_connection_cancels_its_call);

fn serve(servers: &[&Server]) -> Front {
    let front = Proxy::new().file(&file_of(servers)).arg("--stateless").serve();
    for server in servers {
        eventually("it is listed", || names(&front).contains(&server.tool("echo")).then_some(()));
    }
    front
}

fn names(front: &Front) -> Vec<String> {
    let reply = front.post(&message(1, "tools/list", json!({}))).send();
    assert_eq!(reply.header("mcp-session-id"), None);
    keys(&reply.result(), List::Tools)
}

#[test]
fn every_request_is_answered_without_a_session() {
    let server = Server::stdio("alpha", &[]);
    let front = serve(&[&server]);
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let messages = [
            initialize(revision, json!({})),
            message(1, "ping", json!({})),
            message(2, "tools/list", json!({})),
            message(3, "prompts/list", json!({})),
            message(4, "resources/list", json!({})),
            message(5, "resources/read", json!({"uri": "scripted://greeting"})),
            message(6, "prompts/get", json!({"name": "greet"})),
            call(7, "alpha__echo", json!({"text": "x"})),
        ];
        for message in messages {
            let reply = front.post(&message).revision(revision).send();
            assert_eq!(reply.header("mcp-session-id"), None, "{message}");
            let answer = reply.answer();
            assert_eq!(answer["id"], message["id"]);
            assert!(answer["result"].is_object(), "{answer}");
        }
        let reply = front.post(&notification("notifications/initialized", json!({}))).revision(revision).send();
        assert_eq!((reply.status, reply.body.as_str(), reply.header("mcp-session-id")), (202, "", None));
    }
}

#[test]
fn there_is_nothing_to_hear_and_nothing_to_end() {
    let front = Proxy::new().arg("--stateless").serve();
    for method in ["GET", "DELETE"] {
        for request in [front.request(method, "/mcp"), front.request(method, "/mcp").in_session("x").revision(REVISION)] {
            let reply = request.accept("text/event-stream").send();
            reply.is(405);
            let allowed = reply.header("allow").expect("405 says what is allowed");
            assert!(allowed.contains("POST") && !allowed.contains(method), "{allowed}");
        }
    }
}

#[test]
fn an_id_from_elsewhere_is_ignored() {
    let server = Server::stdio("alpha", &[]);
    let front = serve(&[&server]);
    let elsewhere = Proxy::new().serve();
    let id = elsewhere.session().id;
    let reply = front.post(&call(1, "alpha__echo", json!({}))).in_session(&id).revision(REVISION).send();
    assert_eq!(reply.header("mcp-session-id"), None);
    assert_eq!(reply.result()["structuredContent"]["server"], "alpha");
}

#[test]
fn a_hundred_clients_with_the_same_ids_get_their_own_answers() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let front = serve(&[&alpha, &beta]);
    scope(|threads| {
        for client in 0..100 {
            let front = &front;
            threads.spawn(move || {
                let request = front.post(&Value::Null);
                let mut connection = request.connect();
                for id in 0..10 {
                    let server = if (client + id) % 2 == 0 { "alpha" } else { "beta" };
                    let text = format!("{client} {id}");
                    let request = request.clone().json(&call(id, &format!("{server}__echo"), json!({"text": text})));
                    let answer = connection.exchange(&request).answer();
                    assert_eq!(answer["id"], id);
                    let content = &answer["result"]["structuredContent"];
                    assert_eq!((&content["server"], &content["params"]["arguments"]["text"]), (&json!(server), &json!(text)));
                }
            });
        }
    });
}

fn a_lost_connection_cancels_its_call(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = serve(&[&server]);
    let slow = |label: &str| front.post(&call(7, "alpha__slow", json!({"label": label}))).start();
    let spared = slow("spared");
    let lost = slow("lost");
    let late = slow("late");
    let journal = |what: &str| {
        let reply = front.post(&call(1, "alpha__calls", json!({}))).send();
        reply.result()["structuredContent"][what].clone()
    };
    eventually("all have started", || (journal("started").as_array().map(Vec::len) == Some(3)).then_some(()));
    // One before the response begins, one after.
    drop(lost);
    let stream = late.stream();
    assert_eq!(stream.kind(), "text/event-stream");
    drop(stream);
    eventually("both are cancelled", || (journal("cancelled").as_array().map(Vec::len) == Some(2)).then_some(()));
    front.post(&call(2, "alpha__release", json!({"label": "spared"}))).send().result();
    assert_eq!(spared.reply().result()["content"][0]["text"], "finished");
    assert!(!journal("cancelled").to_string().contains("spared"));
}

#[test]
fn progress_of_a_call_comes_on_its_response() {
    let server = Server::stdio("alpha", &[]);
    let front = serve(&[&server]);
    let params = json!({"name": "alpha__progress", "arguments": {"steps": 20}, "_meta": {"progressToken": "t"}});
    let mut stream = front.post(&message(1, "tools/call", params)).open();
    for step in 1..=20 {
        assert_eq!(stream.hear("notifications/progress")["params"]["progress"], step);
    }
    assert_eq!(stream.answer()["result"]["content"][0]["text"], "done");
}

#[test]
fn who_cannot_be_answered_is_not_asked() {
    let server = Server::stdio("alpha", &[]);
    let front = serve(&[&server]);
    let lines = json!([{"ask": "sampling/createMessage"}, {"ask": "roots/list"}]);
    let answer = front.post(&call(1, "alpha__talk", json!({"lines": lines}))).send().result();
    for answer in answer["structuredContent"].as_array().expect("a list") {
        assert!(answer["error"]["code"].is_i64(), "{answer}");
    }
}

#[test]
fn json_alone_is_enough() {
    let server = Server::stdio("alpha", &[]);
    let front = serve(&[&server]);
    let ask = || front.post(&call(1, "alpha__slow", json!({"label": "x", "ms": 1200})));
    let with: [(&str, Change); 3] =
        [("json", |ask| ask.accept("application/json")), ("any", |ask| ask.accept("*/*")), ("nothing", |ask| ask.without("Accept"))];
    for (name, change) in with {
        let reply = change(ask()).send();
        assert_eq!((reply.status, reply.kind()), (200, "application/json"), "{name}");
        assert_eq!(reply.result()["content"][0]["text"], "finished in time");
    }
    let stream = ask().accept(BOTH).open();
    assert_eq!(stream.kind(), "text/event-stream");
}
