//! What servers ask of the client while a call runs, by the example of sampling: it reaches the client of that call, and
//! the answer reaches the server, to the letter.

#![allow(clippy::needless_pass_by_value, reason = "`json!({..})` reads better without a borrow in front of it")]

use crate::support::client::Pending;
use crate::support::http;
use crate::support::{Client, Kind, List, Proxy, Server, eventually, file_of, over_each_wire, stays};
use serde_json::{Value, json};

over_each_wire!(
    the_client_is_asked_and_its_answer_returned_to_the_letter,
    a_refusal_of_the_client_reaches_the_server,
    a_client_that_has_not_declared_it_is_not_asked,
    progress_and_requests_keep_their_order,
    the_end_of_a_call_withdraws_what_was_asked,
    a_server_withdraws_what_it_has_asked,
    requests_of_calls_at_the_same_time_are_told_apart,
    what_was_asked_outlives_other_calls_of_its_session,
);

const SAMPLING: &str = "sampling/createMessage";

/// Valid, and nothing to tidy up.
const PARAMS: &str = concat!(
    r#"{"messages":[{"role":"user","content":{"type":"text","text":"\u00e9\u2028</script>"}}],"maxTokens":1.0,"#,
    r#""temperature":0.10,"x-vendor":[null,9007199254740993],"modelPreferences":{"costPriority":0.30000000000000004}}"#
);
const RESULT: &str = concat!(
    r#"{"role":"assistant","content":{"type":"hologram","frames":[1.0,1,-0.0,18446744073709551615]},"#,
    r#""model":"m\u00e9","x-vendor":{"b":1,"a":null},"stopReason":null}"#
);

fn able(server: &Server) -> Client {
    let mut client = Proxy::before_able(&[server], json!({"sampling": {}}));
    client.find(List::Tools, &server.tool("talk"));
    client
}

#[track_caller]
fn talk(client: &mut Client, server: &str, lines: Value) -> Pending {
    client.send_call(&format!("{server}__talk"), json!({"lines": lines}))
}

/// What the server was answered, once its call has ended.
#[track_caller]
fn answers(client: &Client, call: &Pending) -> Value {
    client.answer(call).result()["structuredContent"].take()
}

/// Everything that clients have answered to this server so far, to the letter.
#[track_caller]
fn answered(client: &mut Client, server: &str) -> Vec<String> {
    let journal = client.call(&format!("{server}__calls"), json!({}));
    let answers = journal["structuredContent"]["answers"].as_array().expect("a list");
    answers.iter().map(|answer| answer.as_str().expect("a text").to_owned()).collect()
}

fn the_client_is_asked_and_its_answer_returned_to_the_letter(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server);
    let mut own = Vec::new();
    for id in ["7", "\"7\"", "0", "-1", "\"\"", "1.50", "\"n\\u00e9 \\\"x\\\"\"", "12345678901234567890123"] {
        let mark = client.mark();
        let call = talk(&mut client, "alpha", json!([{"ask": SAMPLING, "params": PARAMS, "id": id}]));
        let asked = client.asked(mark, SAMPLING);
        assert!(asked.text.contains(&format!(r#""params":{PARAMS}"#)), "{}", asked.text);
        assert!(!own.contains(&asked.value["id"]), "an id is used again: {}", asked.text);
        own.push(asked.value["id"].clone());
        client.reply(&asked, RESULT);
        client.answer(&call).result();
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{RESULT}}}"#);
        assert_eq!(answered(&mut client, "alpha").last(), Some(&expected));
    }
}

fn a_refusal_of_the_client_reaches_the_server(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server);
    let mark = client.mark();
    let call = talk(&mut client, "alpha", json!([{"ask": SAMPLING}]));
    let error = json!({"code": -1, "message": "the user said no", "data": {"x": [1.0]}, "x-vendor": null});
    client.refuse(&client.asked(mark, SAMPLING), error.clone());
    assert_eq!(answers(&client, &call), json!([{"jsonrpc": "2.0", "error": error}]));
}

fn a_client_that_has_not_declared_it_is_not_asked(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before_able(&[&server], json!({"sampling": null, "experimental": {"x": 1}}));
    client.find(List::Tools, "alpha__talk");
    let mark = client.mark();
    for (method, capability) in [(SAMPLING, "`sampling`"), ("elicitation/create", "`elicitation`"), ("roots/list", "`roots`")] {
        let call = talk(&mut client, "alpha", json!([{"ask": method}]));
        let answers = answers(&client, &call);
        assert_eq!(answers[0]["error"]["code"], -32_601, "{answers}");
        let message = answers[0]["error"]["message"].as_str().expect("a text");
        assert!(message.contains(capability), "{message}");
    }
    assert_eq!(client.since(mark).len(), 3, "the client hears only the answers");
}

fn progress_and_requests_keep_their_order(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server);
    let mark = client.mark();
    let lines = json!([
        {"progress": 1}, {"progress": 2},
        {"ask": SAMPLING, "id": "1"},
        {"progress": 3},
        {"ask": SAMPLING, "id": "2"},
        {"progress": 4},
    ]);
    let call = client.send("tools/call", json!({"name": "alpha__talk", "arguments": {"lines": lines}, "_meta": {"progressToken": "t"}}));
    let mut since = mark;
    for _ in 0..2 {
        let asked = client.asked(since, SAMPLING);
        since = client.mark();
        client.reply(&asked, "{}");
    }
    client.answer(&call).result();
    let heard: Vec<String> = client.since(mark).iter().map(short).collect();
    let mut expected = vec!["progress 1", "progress 2", "asked", "progress 3", "asked", "progress 4", "answer"];
    if kind == Kind::HttpJson {
        // Where the answer is a JSON body, the last progress may come too late.
        expected.retain(|step| *step != "progress 4");
        let heard: Vec<_> = heard.into_iter().filter(|step| step != "progress 4").collect();
        assert_eq!(heard, expected);
    } else {
        assert_eq!(heard, expected);
    }
}

fn short(value: &Value) -> String {
    match value["method"].as_str() {
        Some(SAMPLING) => "asked".to_owned(),
        Some("notifications/progress") => format!("progress {}", value["params"]["progress"]),
        Some(method) => method.to_owned(),
        None => "answer".to_owned(),
    }
}

fn the_end_of_a_call_withdraws_what_was_asked(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server);
    let mark = client.mark();
    let call = talk(&mut client, "alpha", json!([{"ask": SAMPLING, "id": "7"}]));
    let asked = client.asked(mark, SAMPLING);
    client.cancel(&call);
    let cancelled = client.notified(mark, "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked.value["id"]);
    // The server is not left waiting for an answer that will never come.
    let told = eventually("the server is told", || answered(&mut client, "alpha").pop());
    assert!(told.contains(r#""id":7,"error""#), "{told}");

    // An answer that comes too late is for nobody.
    let mark = client.mark();
    client.reply(&asked, "{}");
    assert_eq!(answered(&mut client, "alpha"), [told]);
    assert!(!client.has_answered(&call), "a cancelled call has no answer");
    assert_eq!(client.since(mark).len(), 1, "the client hears only the answer to its new call");
}

fn a_server_withdraws_what_it_has_asked(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server);
    let mark = client.mark();
    let lines = json!([{"ask": SAMPLING, "id": "\"7\"", "ms": 100}, {"wait": "withdrawn"}]);
    let call = talk(&mut client, "alpha", lines);
    let asked = client.asked(mark, SAMPLING);
    let cancelled = client.notified(mark, "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked.value["id"]);
    client.reply(&asked, "{}");
    client.call("alpha__release", json!({"label": "withdrawn"}));
    assert_eq!(answers(&client, &call), json!(["withdrawn"]));
    assert_eq!(answered(&mut client, "alpha"), [""; 0], "nothing is said to what was withdrawn");
}

fn requests_of_calls_at_the_same_time_are_told_apart(kind: Kind) {
    let alpha = Server::new(kind, "alpha", &[]);
    let beta = Server::new(kind, "beta", &[]);
    let mut client = Proxy::before_able(&[&alpha, &beta], json!({"sampling": {}}));
    let mark = client.mark();
    let mut calls = Vec::new();
    for n in 0..5 {
        for server in ["alpha", "beta"] {
            client.find(List::Tools, &format!("{server}__talk"));
            let label = format!("{server} {n}");
            // Both servers count alike.
            let line = json!({"ask": SAMPLING, "id": n.to_string(), "params": json!({"label": label}).to_string()});
            calls.push((label, talk(&mut client, server, json!([line]))));
        }
    }
    let asked: Vec<_> = calls.iter().map(|(label, _)| client.asked_for(mark, |value| value["params"]["label"] == *label)).collect();
    // The last one is answered first.
    for ((label, _), asked) in calls.iter().zip(&asked).rev() {
        client.reply(asked, &json!({"to": label}).to_string());
    }
    for (label, call) in calls {
        assert_eq!(answers(&client, &call)[0]["result"]["to"], label);
    }
}

/// Where a call has no stream of its own, its request is taken for that of the latest call, which may well be over first.
fn what_was_asked_outlives_other_calls_of_its_session(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server);
    let mut asks_behind_another = |label: &str, ask: Value| {
        let mark = client.mark();
        let asking = talk(&mut client, "alpha", json!([{"wait": format!("{label} ask")}, ask]));
        let other = talk(&mut client, "alpha", json!([{"wait": format!("{label} other")}]));
        client.call("alpha__release", json!({"label": format!("{label} ask")}));
        let asked = client.asked(mark, SAMPLING);
        client.call("alpha__release", json!({"label": format!("{label} other")}));
        assert_eq!(answers(&client, &other), json!([]));
        (mark, asking, asked)
    };
    let (_, answered, asked_first) = asks_behind_another("answered", json!({"ask": SAMPLING, "id": "7"}));
    let (withdrawn_since, withdrawn, asked_second) = asks_behind_another("withdrawn", json!({"ask": SAMPLING, "id": "8", "ms": 300}));
    client.reply(&asked_first, r#"{"model":"m"}"#);
    assert_eq!(answers(&client, &answered)[0]["result"]["model"], "m");
    let cancelled = client.notified(withdrawn_since, "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked_second.value["id"]);
    assert_eq!(answers(&client, &withdrawn), json!(["withdrawn"]));
}

/// Two sessions share the connection to a server. Where a call has a stream of its own it says whose the request is; elsewhere
/// nobody can know, and nobody is asked.
#[test]
fn two_sessions_are_told_apart_or_left_alone() {
    for kind in [Kind::Http, Kind::Stdio, Kind::Sse] {
        let server = Server::new(kind, "alpha", &[]);
        let front = Proxy::new().file(&file_of(&[&server])).arg("--isolation=shared").serve();
        let mut bystander = front.session_able(json!({"sampling": {}}));
        let mut asker = front.session_able(json!({"sampling": {}}));
        asker.find(List::Tools, "alpha__talk");
        let waiting = bystander.start_slow("alpha", "bystander");
        let lines = json!({"lines": [{"ask": SAMPLING, "id": "7"}]});
        if kind == Kind::Http {
            let mut stream = asker.post(&http::call(1001, "alpha__talk", lines)).open();
            let request = stream.hear(SAMPLING);
            asker.post(&json!({"jsonrpc": "2.0", "id": request["id"], "result": {"model": "m"}})).send();
            assert_eq!(stream.answer()["result"]["structuredContent"][0]["result"]["model"], "m");
        } else {
            let answer = asker.call("alpha__talk", lines);
            assert_eq!(answer["structuredContent"][0]["error"]["code"], -32_600, "{answer}");
        }

        // What was given up may go on at the server, and is not mistaken for another's either.
        bystander.end();
        drop(waiting);
        asker.wait_for("alpha", "cancelled", "bystander");
        if kind != Kind::Http {
            let answer = asker.call("alpha__talk", json!({"lines": [{"ask": SAMPLING, "id": "8"}]}));
            assert_eq!(answer["structuredContent"][0]["error"]["code"], -32_600, "{answer}");
        }
    }
}

#[test]
fn what_is_asked_on_a_resumed_stream_belongs_to_its_call() {
    let server = Server::http("alpha", &["--resumable"]);
    let mut client = able(&server);
    let mark = client.mark();
    let call = talk(&mut client, "alpha", json!([{"ask": SAMPLING}]));
    client.reply(&client.asked(mark, SAMPLING), "{}");
    assert_eq!(answers(&client, &call)[0]["result"], json!({}));
}

#[test]
fn a_server_may_be_silent_while_the_client_thinks() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--call-timeout=0.5").launch();
    client.initialize_able(json!({"sampling": {}}));
    client.find(List::Tools, "alpha__talk");
    let mark = client.mark();
    let call = talk(&mut client, "alpha", json!([{"ask": SAMPLING}, {"wait": "never"}]));
    let asked = client.asked(mark, SAMPLING);
    stays("the call waits", || !client.has_answered(&call));
    client.reply(&asked, "{}");
    // From now on the server is the one that is waited for.
    let result = client.answer(&call).result();
    assert_eq!(result["isError"], true, "{result}");
}

#[test]
fn roots_are_told_to_the_server_of_a_call() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before_able(&[&server], json!({"roots": {"listChanged": true}}));
    client.find(List::Tools, "alpha__talk");
    let mark = client.mark();
    let call = talk(&mut client, "alpha", json!([{"ask": "roots/list"}]));
    let roots = r#"{"roots":[{"uri":"file:///home","name":"home"}]}"#;
    client.reply(&client.asked(mark, "roots/list"), roots);
    assert_eq!(answers(&client, &call)[0]["result"]["roots"][0]["name"], "home");
}

#[test]
fn a_client_that_leaves_does_not_keep_the_proxy() {
    let server = Server::stdio("alpha", &[]);
    let mut client = able(&server);
    let mark = client.mark();
    talk(&mut client, "alpha", json!([{"ask": SAMPLING}]));
    client.asked(mark, SAMPLING);
    let left = std::time::Instant::now();
    assert_eq!(client.finish().code, Some(0));
    assert!(left.elapsed() < std::time::Duration::from_secs(8), "it waited for an answer that could not come");
}
