//! Progress: it arrives at the call it belongs to, in order, before the answer.

use crate::support::client::{Mark, Pending};
use crate::support::{Client, Kind, List, Proxy, Server, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(progress_arrives_in_order_and_before_the_answer, progress_of_calls_at_the_same_time_is_not_mixed_up,);

/// A call that asks for progress.
#[track_caller]
fn send(client: &mut Client, server: &str, token: &Value, steps: u64) -> Pending {
    let params = json!({
        "name": format!("{server}__progress"),
        "arguments": {"steps": steps, "label": token},
        "_meta": {"progressToken": token},
    });
    client.send("tools/call", params)
}

/// The parameters of the notifications for a token, all of which must have come before the answer.
#[track_caller]
fn progress(client: &Client, mark: Mark, token: &Value, call: &Pending) -> Vec<Value> {
    client.answer(call).result();
    let mut heard = client.since(mark);
    let is_answer = |value: &Value| value["method"].is_null() && value["id"] == call.0;
    let answer = heard.iter().position(is_answer).expect("it was heard");
    let late = heard.split_off(answer);
    let own = |value: &&Value| value["params"]["progressToken"] == *token;
    assert_eq!(late.iter().find(own), None, "progress after the answer");
    let own = heard.iter().filter(own);
    own.map(|value| value["params"].clone()).collect()
}

fn expected(server: &str, token: &Value, steps: u64) -> Vec<Value> {
    let step = |step| {
        json!({
            "progressToken": token,
            "progress": step,
            "total": steps,
            "message": format!("{token} {step}"),
            "x-step": {"of": server, "share": 1.0},
        })
    };
    (1..=steps).map(step).collect()
}

#[track_caller]
fn check(kind: Kind, progress: &[Value], expected: &[Value]) {
    if kind == Kind::HttpJson {
        // Where the answer is a JSON body, progress comes on another stream and may come too late.
        let mut rest = expected.iter();
        let in_order = progress.iter().all(|step| rest.any(|known| known == step));
        assert!(in_order, "{progress:#?}");
    } else {
        assert_eq!(progress, expected);
    }
}

fn progress_arrives_in_order_and_before_the_answer(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__progress");
    let tokens = [json!("text"), json!(7), json!("7"), json!(0), json!("")];
    for token in tokens {
        let mark = client.mark();
        let call = send(&mut client, "alpha", &token, 50);
        let progress = progress(&client, mark, &token, &call);
        check(kind, &progress, &expected("alpha", &token, 50));
    }
}

fn progress_of_calls_at_the_same_time_is_not_mixed_up(kind: Kind) {
    let alpha = Server::new(kind, "alpha", &[]);
    let beta = Server::new(kind, "beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Tools, "alpha__progress");
    client.find(List::Tools, "beta__progress");
    let mark = client.mark();
    let mut calls = Vec::new();
    for n in 0..10 {
        for server in ["alpha", "beta"] {
            let token = json!(format!("{server} {n}"));
            let call = send(&mut client, server, &token, 20);
            calls.push((server, token, call));
        }
    }
    for (server, token, call) in calls {
        let progress = progress(&client, mark, &token, &call);
        check(kind, &progress, &expected(server, &token, 20));
    }
}

#[test]
fn without_a_token_a_server_is_not_asked_for_progress() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__progress");
    let mark = client.mark();
    let result = client.call("alpha__progress", json!({"steps": 3}));
    assert_eq!(result["content"][0]["text"], "nobody listened");
    let heard = client.since(mark);
    assert_eq!(heard.len(), 1, "{heard:?}");
}
