//! Two clients at one server that they share: what a server asks, reports and is told to stop is that of the one call
//! it belongs to, or is refused.

use crate::support::http::{Front, Session};
use crate::support::{Kind, List, Proxy, Server, file_of};
use serde_json::{Value, json};
use std::thread;

const SAMPLING: &str = "sampling/createMessage";

/// In all, by both clients.
const CALLS: usize = 1_000;

/// How often each client was answered, and how often its call was told that nobody could be asked.
#[derive(Debug, Default)]
struct Outcome {
    answered: usize,
    refused: usize,
}

fn front(server: &Server) -> Front {
    Proxy::new().file(&file_of(&[server])).serve()
}

/// Calls a tool again and again that asks for a sample which names the call, and answers with the client's own name.
fn talks(mut session: Session, me: &str, calls: usize) -> Outcome {
    let mut outcome = Outcome::default();
    for number in 0..calls {
        let wanted = format!("{me} {number}");
        let params = json!({"messages": [{"role": "user", "content": {"type": "text", "text": wanted}}], "maxTokens": 1}).to_string();
        // Both count alike, so that ids and tokens are the same on both sides.
        let lines = json!([{"progress": number}, {"ask": SAMPLING, "params": params, "id": format!("\"{me}-{number}\"")}]);
        let arguments = json!({"name": "alpha__talk", "arguments": {"lines": lines}, "_meta": {"progressToken": number}});
        let mut stream = session.ask("tools/call", arguments).open();
        let result = loop {
            let message = stream.message().expect("a call is answered");
            match message["method"].as_str() {
                Some("notifications/progress") => assert_eq!(message["params"]["progressToken"], number, "{me}: {message}"),
                Some(SAMPLING) => {
                    assert_eq!(message["params"]["messages"][0]["content"]["text"], json!(wanted), "{me} is asked for another");
                    let result = json!({"role": "assistant", "content": {"type": "text", "text": wanted}, "model": me});
                    let reply = session.post(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).send();
                    assert_eq!(reply.status, 202, "{reply:?}");
                }
                Some(other) => panic!("{me} hears {other}"),
                None => break message["result"].clone(),
            }
        };
        let answer = &result["structuredContent"][0];
        if answer["result"].is_object() {
            assert_eq!((&answer["result"]["model"], &answer["result"]["content"]["text"]), (&json!(me), &json!(wanted)), "{result}");
            outcome.answered += 1;
        } else {
            let said = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(said.contains("several clients"), "{me}: {result}");
            outcome.refused += 1;
        }
    }
    outcome
}

/// Requests of servers that were refused because it was not clear whose they are.
fn counted(front: &Front) -> usize {
    let metrics = front.request("GET", "/metrics").send().body;
    let line = metrics.lines().find(|line| line.contains("unclear_request") && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

fn both_talk(kind: Kind) -> (usize, Outcome, Outcome) {
    let server = Server::new(kind, "alpha", &[]);
    let front = front(&server);
    let [one, two] = ["one", "two"].map(|me| {
        let mut session = front.session_able(json!({"sampling": {}}));
        session.find(List::Tools, "alpha__talk");
        thread::spawn(move || talks(session, me, CALLS / 2))
    });
    let (one, two) = (one.join().expect("no fault was found"), two.join().expect("no fault was found"));
    (counted(&front), one, two)
}

#[test]
fn a_server_on_a_pipe_reaches_the_right_client_or_none() {
    let (counted, one, two) = both_talk(Kind::Stdio);
    // Nothing tells there whose call it is while both have one.
    assert_eq!(counted, one.refused + two.refused, "{one:?} {two:?}");
    assert!(one.refused + two.refused > 0, "they never met: {one:?} {two:?}");
}

#[test]
fn a_server_over_http_always_reaches_the_right_client() {
    let (counted, one, two) = both_talk(Kind::Http);
    assert_eq!((counted, one.answered, two.answered), (0, CALLS / 2, CALLS / 2), "{one:?} {two:?}");
}

#[test]
fn a_cancellation_ends_one_call_of_one_client() {
    for kind in [Kind::Stdio, Kind::Http] {
        let server = Server::new(kind, "alpha", &[]);
        let front = front(&server);
        let [mut one, mut two] = ["one", "two"].map(|_| front.session_able(json!({})));
        for session in [&mut one, &mut two] {
            session.find(List::Tools, "alpha__slow");
        }
        // The same ids on both sides, and of each client two calls.
        let slow = |session: &Session, id: u64, label: &str| {
            let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "alpha__slow", "arguments": {"label": label}}});
            session.post(&call).start()
        };
        let calls = [slow(&one, 100, "one a"), slow(&one, 101, "one b"), slow(&two, 100, "two a"), slow(&two, 101, "two b")];
        for label in ["one a", "one b", "two a", "two b"] {
            one.wait_for("alpha", "started", label);
        }
        two.notify("notifications/cancelled", json!({"requestId": 100}));
        one.wait_for("alpha", "cancelled", "two a");
        for label in ["one a", "one b", "two b"] {
            one.release("alpha", label);
            one.wait_for("alpha", "finished", label);
        }
        assert_eq!(one.journal("alpha", "cancelled"), ["two a"], "{kind:?}");
        drop(calls);
    }
}

/// States of two clients, swapped: each leads to the same request alone, whoever brings it.
#[test]
fn a_state_of_another_client_is_good_for_the_same_request_alone() {
    use crate::support::modern::{CAPABILITIES, ask, call};
    let server = Server::http("alpha", &[]);
    let front = front(&server);
    front.session().find(List::Tools, "alpha__talk");
    let message = |text: &str| {
        let params = json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}], "maxTokens": 1}).to_string();
        let mut message = call("alpha__talk", json!({"lines": [{"ask": SAMPLING, "params": params, "id": format!("\"{text}\"")}]}));
        message["params"]["_meta"][CAPABILITIES] = json!({"sampling": {}});
        message
    };
    let round = |message: &Value| ask(&front, message).send().result();
    let (mut one, mut two) = (message("of one"), message("of two"));
    let (first, second) = (round(&one), round(&two));
    for (message, state) in [(&mut one, &second), (&mut two, &first)] {
        message["params"]["inputResponses"] =
            json!({"sampling-1": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "x"}}});
        message["params"]["requestState"] = state["requestState"].clone();
        ask(&front, message).send().is_refusal(200, -32_602);
    }
    for (message, state) in [(&mut one, &first), (&mut two, &second)] {
        message["params"]["requestState"] = state["requestState"].clone();
        let result = ask(&front, message).send().result();
        assert_eq!(result["structuredContent"][0]["result"]["model"], "m", "{result}");
    }
}
