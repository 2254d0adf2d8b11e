//! Event streams: what comes on which, in which order, and how a client goes on after it has lost one.

use crate::support::http::{BOTH, Front, Session, call, keys, message};
use crate::support::proxy::FILE;
use crate::support::{Home, Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

over_each_wire!(what_belongs_to_a_call_comes_on_its_own_response, a_client_is_asked_on_the_response_of_the_call);

const SAMPLING: &str = "sampling/createMessage";

/// Long enough for a message that must not come.
const WHILE: Duration = Duration::from_millis(400);

/// A proxy whose file can be edited.
struct Edited {
    home: Home,
    front: Front,
}

impl Edited {
    fn with(servers: &[&Server]) -> Self {
        let home = Home::new();
        let front = Proxy::at(&home).file(&file_of(servers)).serve();
        Self { home, front }
    }

    /// Writes a file of these servers in place of the old one.
    fn edit(&self, servers: &[&Server]) {
        self.home.replace(FILE, &file_of(servers).to_string());
    }
}

fn log(data: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": data}})
}

/// A call of `talk` that asks for progress.
fn talk(id: u64, token: &Value, lines: &Value) -> Value {
    let params = json!({"name": "alpha__talk", "arguments": {"lines": lines}, "_meta": {"progressToken": token}});
    message(id, "tools/call", params)
}

// The stream of a session.

#[test]
fn a_stream_stays_open_and_says_what_it_is() {
    let front = Proxy::new().serve();
    let session = front.session();
    let mut stream = session.listen();
    assert_eq!(stream.header("cache-control").map(|value| value.contains("no-cache") || value.contains("no-store")), Some(true));
    assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
    stream.is_silent(WHILE);
}

#[test]
fn a_stream_is_only_for_clients_that_can_read_it() {
    let front = Proxy::new().serve();
    let session = front.session();
    for accept in ["application/json", "text/html", "text/event-stream;q=0"] {
        session.listening().accept(accept).send().is(406);
    }
    for accept in ["text/event-stream", BOTH, "text/event-stream;q=0.5", "TEXT/Event-Stream"] {
        let stream = session.listening().accept(accept).open();
        assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"), "{accept}");
    }
    // Outside a session there is nothing to hear.
    let reply = session.listening().without("Mcp-Session-Id").send();
    reply.is(400);
}

#[test]
fn changes_are_told_to_those_who_have_read_the_list() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let proxy = Edited::with(&[&alpha]);
    let mut readers: Vec<(Session, List)> = [List::Tools, List::Prompts, List::Resources].map(|list| (proxy.front.session(), list)).into();
    let indifferent = proxy.front.session();
    let mut silent = indifferent.listen();
    let mut streams = Vec::new();
    for (session, list) in &mut readers {
        session.find(
            *list,
            match list {
                List::Tools => "alpha__echo",
                List::Prompts => "greet",
                _ => "scripted://greeting",
            },
        );
        streams.push(session.listen());
    }
    proxy.edit(&[&alpha, &beta]);
    for (stream, (session, list)) in streams.iter_mut().zip(&mut readers) {
        let told = stream.hear(&list.changed());
        assert!(told.get("id").is_none(), "{told}");
        if *list == List::Tools {
            session.find(List::Tools, "beta__echo");
        }
    }
    for mut stream in streams {
        stream.is_silent(Duration::from_millis(100));
    }
    silent.is_silent(Duration::from_millis(100));
}

#[test]
fn changes_are_told_on_one_stream_only() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let proxy = Edited::with(&[&alpha]);
    let mut session = proxy.front.session();
    session.find(List::Tools, "alpha__echo");
    let first = session.listen();
    // The second one takes over, and the first one ends.
    let mut second = session.listen();
    first.ends();
    proxy.edit(&[&alpha, &beta]);
    second.hear(&List::Tools.changed());
}

#[test]
fn what_was_missed_is_said_again_and_nothing_else() {
    let servers = ["alpha", "beta", "gamma", "delta"].map(|name| Server::stdio(name, &[]));
    let all: Vec<&Server> = servers.iter().collect();
    let proxy = Edited::with(&all[..1]);
    let mut session = proxy.front.session();
    let mut other = proxy.front.session();
    session.find(List::Tools, "alpha__echo");
    let mut stream = session.listen();
    proxy.edit(&all[..2]);
    stream.hear(&List::Tools.changed());
    let heard = stream.leave().expect("events have ids");
    session.find(List::Tools, "beta__echo");

    // Nobody listens while this happens.
    proxy.edit(&all[..3]);
    other.find(List::Tools, "gamma__echo");
    let mut resumed = session.resume(&heard);
    resumed.hear(&List::Tools.changed());
    resumed.is_silent(WHILE);
    assert_ne!(resumed.last_event.as_deref(), Some(heard.as_str()));

    // The resumed stream is the stream of the session from then on.
    proxy.edit(&all);
    resumed.hear(&List::Tools.changed());
    let last = resumed.leave().expect("events have ids");
    session.resume(&last).is_silent(WHILE);
}

#[test]
fn what_happens_before_the_first_stream_is_not_lost() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let proxy = Edited::with(&[&alpha]);
    let mut session = proxy.front.session();
    session.find(List::Tools, "alpha__echo");
    let mut other = proxy.front.session();
    proxy.edit(&[&alpha, &beta]);
    other.find(List::Tools, "beta__echo");
    session.listen().hear(&List::Tools.changed());
}

#[test]
fn events_that_nobody_sent_cannot_be_resumed() {
    let front = Proxy::new().serve();
    let session = front.session();
    for event in ["x", "", "0", "-1", "18446744073709551616", "\u{e9}", "a/b/c", "1-1", "0-0", "../..", "99999999_1"] {
        let stream = session.listening().header("Last-Event-ID", event).open();
        assert!(matches!(stream.status, 200 | 400 | 404), "{event}: {}", stream.status);
    }
    assert!(session.clone().is_alive());
}

// The response of a call.

#[test]
fn an_answer_that_comes_alone_is_json() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    for accept in [BOTH, "text/event-stream, application/json", "application/json", "*/*", "application/*, text/event-stream;q=0.1"] {
        let reply = session.ask_call("alpha__echo", json!({"text": "x"})).accept(accept).send();
        assert_eq!((reply.status, reply.kind()), (200, "application/json"), "{accept}");
        assert_eq!(reply.result()["structuredContent"]["params"]["arguments"]["text"], "x");
    }
}

#[test]
fn who_accepts_nothing_but_event_streams_gets_one() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    let stream = session.ask_call("alpha__echo", json!({"text": "x"})).accept("text/event-stream").open();
    assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"));
    assert_eq!(stream.answer()["result"]["structuredContent"]["server"], "alpha");
}

fn what_belongs_to_a_call_comes_on_its_own_response(kind: Kind) {
    if kind == Kind::HttpJson {
        // Such a server says everything on its own stream, where nothing belongs to a call for sure.
        return;
    }
    let server = Server::new(kind, "alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__talk");
    let mut silent = session.listen();
    let lines: Vec<_> = (0..20).flat_map(|n| [json!({"progress": n}), json!({"say": log(&json!(n))})]).collect();
    let mut stream = session.post(&talk(1001, &json!("t"), &json!(lines))).open();
    assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"));
    for n in 0..20 {
        let progress = stream.hear("notifications/progress");
        assert_eq!(progress["params"], json!({"progressToken": "t", "progress": n}));
        assert_eq!(stream.hear("notifications/message")["params"]["data"], n);
    }
    assert_eq!(stream.answer()["result"]["structuredContent"], json!([]));
    silent.is_silent(Duration::from_millis(100));
}

#[test]
fn progress_of_calls_at_the_same_time_is_not_mixed_up() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut one = front.session();
    one.find(List::Tools, "alpha__talk");
    let two = front.session();
    // The same ids and the same tokens in both, as clients have that count from 1.
    let start = |session: &Session, label: &str, from: u64| {
        let steps = (from..from + 20).map(|n| json!({"progress": n})).chain([json!({"wait": label})]);
        session.post(&talk(1001, &json!(1), &steps.collect())).start()
    };
    let calls = [("one", 0, start(&one, "one", 0)), ("two", 100, start(&two, "two", 100))];
    let mut streams = calls.map(|(label, from, connection)| (label, from, connection.stream()));
    for (_, from, stream) in &mut streams {
        for n in *from..*from + 20 {
            assert_eq!(stream.hear("notifications/progress")["params"], json!({"progressToken": 1, "progress": n}));
        }
    }
    for (label, _, stream) in streams {
        one.release("alpha", label);
        assert_eq!(stream.answer()["result"]["structuredContent"], json!([]));
    }
}

#[test]
fn a_call_that_takes_long_begins_to_answer_early() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let sent = Instant::now();
    let stream = session.ask_call("alpha__slow", json!({"label": "long", "ms": 2000})).open();
    let begun = sent.elapsed();
    assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"));
    assert!(begun < Duration::from_millis(1800), "it began after {begun:?}");
    assert_eq!(stream.answer()["result"]["content"][0]["text"], "finished in time");
    assert!(sent.elapsed() > Duration::from_millis(1900));
}

#[test]
fn a_call_that_takes_long_waits_for_its_json() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let reply = session.ask_call("alpha__slow", json!({"label": "long", "ms": 1500})).accept("application/json").send();
    assert_eq!((reply.status, reply.kind()), (200, "application/json"));
    assert_eq!(reply.result()["content"][0]["text"], "finished in time");
}

#[test]
fn what_a_call_said_is_said_again_where_it_was_lost() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__talk");
    let mut lines: Vec<Value> = (0..5).map(|n| json!({"progress": n})).collect();
    lines.push(json!({"wait": "go on"}));
    lines.extend((5..10).map(|n| json!({"progress": n})));
    let mut stream = session.post(&talk(1001, &json!("t"), &json!(lines))).open();
    let mut places = Vec::new();
    for n in 0..5 {
        assert_eq!(stream.hear("notifications/progress")["params"]["progress"], n);
        places.push(stream.last_event.clone().expect("events have ids"));
    }
    drop(stream);
    session.release("alpha", "go on");
    // A later place first: being asked again must not depend on what was asked before.
    for heard in [4, 2, 0, 4] {
        let said = session.resume(&places[heard]).messages();
        let (answer, progress) = said.split_last().expect("there is an answer");
        let progress: Vec<_> = progress.iter().map(|message| message["params"]["progress"].as_u64().expect("a number")).collect();
        let expected: Vec<_> = (heard as u64 + 1..10).collect();
        assert_eq!(progress, expected);
        assert_eq!(answer["id"], 1001);
    }
}

#[test]
fn ids_of_events_are_never_the_same_in_one_session() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__talk");
    let mut ids = std::collections::HashSet::new();
    for id in 0..3 {
        let mut stream = session.post(&talk(1000 + id, &json!("t"), &json!([{"progress": 1}, {"progress": 2}]))).open();
        while let Some(event) = stream.event() {
            let id = event.id.expect("every event has an id");
            assert!(!id.contains(['\n', '\r', '\0']), "{id}");
            assert!(ids.insert(id.clone()), "{id} came twice");
        }
    }
    assert!(ids.len() >= 9, "{ids:?}");
}

// Asking the client.

fn a_client_is_asked_on_the_response_of_the_call(kind: Kind) {
    if kind == Kind::HttpJson {
        return;
    }
    let server = Server::new(kind, "alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session_able(json!({"sampling": {}}));
    session.find(List::Tools, "alpha__talk");
    let mut silent = session.listen();
    let ask = json!([{"progress": 1}, {"ask": SAMPLING, "params": r#"{"maxTokens":1.0}"#}, {"progress": 2}]);
    let mut stream = session.post(&talk(1001, &json!("t"), &ask)).open();
    stream.hear("notifications/progress");
    let asked = stream.hear(SAMPLING);
    assert_eq!(asked["params"].to_string(), r#"{"maxTokens":1.0}"#);
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"model": "m", "x": 1.0}});
    // An answer of somebody else is for nobody.
    let mut stranger = front.session_able(json!({"sampling": {}}));
    stranger.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"model": "false"}})).send();
    let reply = session.post(&answer).send();
    assert_eq!((reply.status, reply.body.as_str()), (202, ""));
    stream.hear("notifications/progress");
    let answer = stream.answer();
    assert_eq!(answer["result"]["structuredContent"][0]["result"], json!({"model": "m", "x": 1.0}));
    silent.is_silent(Duration::from_millis(50));
    assert!(stranger.is_alive());
}

#[test]
fn what_a_client_was_asked_is_asked_again_after_a_lost_connection() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session_able(json!({"sampling": {}}));
    session.find(List::Tools, "alpha__talk");
    let ask = json!([{"progress": 1}, {"ask": SAMPLING}]);
    let mut stream = session.post(&talk(1001, &json!("t"), &ask)).open();
    stream.hear("notifications/progress");
    let heard = stream.leave().expect("events have ids");
    let mut resumed = session.resume(&heard);
    let asked = resumed.hear(SAMPLING);
    session.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"model": "m"}})).send();
    assert_eq!(resumed.answer()["result"]["structuredContent"][0]["result"]["model"], "m");
}

#[test]
fn answers_that_nobody_asked_for_are_refused_and_harm_nobody() {
    let front = Proxy::new().serve();
    let mut session = front.session_able(json!({"sampling": {}}));
    for id in [json!(1), json!("x"), json!(u64::MAX), json!("")] {
        let reply = session.post(&json!({"jsonrpc": "2.0", "id": id, "result": {}})).send();
        reply.is_refusal(400, -32_000);
        let reply = session.post(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": 1, "message": "x"}})).send();
        reply.is_refusal(400, -32_000);
    }
    assert!(session.is_alive());
}

#[test]
fn a_cancelled_call_ends_its_response() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let stream = session.post(&call(1001, "alpha__slow", json!({"label": "doomed"}))).open();
    session.wait_for("alpha", "started", "doomed");
    assert_eq!(session.notify("notifications/cancelled", json!({"requestId": 1001})).status, 202);
    session.wait_for("alpha", "cancelled", "doomed");
    let said = stream.messages();
    assert!(said.iter().all(|message| message.get("result").is_none()), "{said:?}");
}

#[test]
fn a_list_that_has_changed_is_new_at_once() {
    let alpha = Server::http("alpha", &[]);
    let front = Proxy::serving(&[&alpha]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    let mut stream = session.listen();
    alpha.running().add("tools", "late");
    stream.hear(&List::Tools.changed());
    let tools = session.request("tools/list", json!({}));
    assert!(keys(&tools, List::Tools).contains(&"alpha__late".to_owned()));
    eventually("it can be called", || {
        let reply = session.ask_call("alpha__late", json!({})).send();
        (reply.answer()["result"]["structuredContent"]["tool"] == "late").then_some(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_kept_for_clients_that_come_back_has_an_end() {
    const LETTERS: usize = 1 << 20;
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__talk");
    let before = front.resident();
    let say = log(&json!("x".repeat(LETTERS)));
    for id in 0..24 {
        // Half of them take what they are sent, and half are gone before.
        let mut stream = session.post(&talk(1000 + id, &json!("t"), &json!([{"progress": 1}, {"say": say}]))).open();
        if id % 2 == 0 {
            stream.messages();
        } else {
            stream.event();
            stream.leave();
        }
    }
    assert!(session.is_alive());
    let grown = front.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "it has grown by {} MiB", grown >> 20);
}

#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_is_not_kept_for_without_end() {
    const STEPS: u64 = 20_000;
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__progress");
    let before = front.resident();
    let params =
        json!({"name": "alpha__progress", "arguments": {"steps": STEPS, "label": "x".repeat(1000)}, "_meta": {"progressToken": "t"}});
    let deaf: Vec<_> = (0..2).map(|_| session.ask("tools/call", params.clone()).start()).collect();
    let end = Instant::now() + Duration::from_secs(2);
    let mut most = 0;
    while Instant::now() < end {
        most = most.max(front.resident().saturating_sub(before));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(most < 20 << 20, "it has grown by {} MiB", most >> 20);
    drop(deaf);
}
