//! Cancellation: it reaches the server that works on the call, and nobody else.

use crate::support::client::Pending;
use crate::support::process::has_ended;
use crate::support::{Client, Kind, List, Proxy, Server, eventually, over_each_wire, stays};
use serde_json::json;

over_each_wire!(cancels_one_call_of_many, a_cancelled_call_leaves_the_connection_usable);

/// Starts a call that goes on until it is cancelled or released, and waits until the server works on it.
#[track_caller]
fn start(client: &mut Client, server: &str, label: &str) -> Pending {
    client.find(List::Tools, &format!("{server}__slow"));
    let call = client.send_call(&format!("{server}__slow"), json!({"label": label}));
    wait_for(client, server, "started", label);
    call
}

/// Waits until a server's journal holds a label.
#[track_caller]
fn wait_for(client: &mut Client, server: &str, what: &str, label: &str) {
    let calls = format!("{server}__calls");
    let what_happened = format!("{label} is {what} at {server}");
    client.call_until(&what_happened, &calls, &json!({}), |result| {
        let labels = result["structuredContent"][what].as_array();
        labels.is_some_and(|labels| labels.iter().any(|known| known == label))
    });
}

fn cancels_one_call_of_many(kind: Kind) {
    let alpha = Server::new(kind, "alpha", &[]);
    let beta = Server::new(kind, "beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    let doomed = start(&mut client, "alpha", "doomed");
    let sibling = start(&mut client, "alpha", "sibling");
    let stranger = start(&mut client, "beta", "stranger");

    client.cancel(&doomed);
    wait_for(&mut client, "alpha", "cancelled", "doomed");
    for (server, label, call) in [("alpha", "sibling", &sibling), ("beta", "stranger", &stranger)] {
        client.call(&format!("{server}__release"), json!({"label": label}));
        let result = client.answer(call).result();
        assert_eq!(result["content"][0]["text"], "finished");
    }
    for (server, cancelled) in [("alpha", json!(["doomed"])), ("beta", json!([]))] {
        let result = client.call(&format!("{server}__calls"), json!({}));
        assert_eq!(result["structuredContent"]["cancelled"], cancelled);
    }
}

fn a_cancelled_call_leaves_the_connection_usable(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    for n in 0..5 {
        let label = format!("call {n}");
        let call = start(&mut client, "alpha", &label);
        client.cancel(&call);
        wait_for(&mut client, "alpha", "cancelled", &label);
        assert!(!client.has_answered(&call), "a cancelled call has no answer");
    }
    let mark = client.mark();
    stays("nothing is answered late", || client.since(mark).is_empty());
}

#[test]
fn ids_that_look_alike_are_told_apart() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__slow");
    let call = |label: &str| json!({"name": "alpha__slow", "arguments": {"label": label}});
    let number = client.send_as(json!(7001), "tools/call", call("number"));
    let text = client.send_as(json!("7001"), "tools/call", call("text"));
    wait_for(&mut client, "alpha", "started", "number");
    wait_for(&mut client, "alpha", "started", "text");
    client.cancel(&text);
    wait_for(&mut client, "alpha", "cancelled", "text");
    client.call("alpha__release", json!({"label": "number"}));
    let result = client.answer(&number).result();
    assert_eq!(result["content"][0]["text"], "finished");
}

#[test]
fn a_cancellation_of_nothing_changes_nothing() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let call = start(&mut client, "alpha", "spared");
    let pointless = [
        json!({"requestId": 424_242}),
        json!({"requestId": "no such"}),
        json!({"requestId": null}),
        json!({"requestId": {"a": 1}}),
        json!({}),
        json!([]),
    ];
    for params in pointless {
        client.notify("notifications/cancelled", params);
    }
    client.call("alpha__release", json!({"label": "spared"}));
    let result = client.answer(&call).result();
    assert_eq!(result["content"][0]["text"], "finished");
    let result = client.call("alpha__calls", json!({}));
    assert_eq!(result["structuredContent"]["cancelled"], json!([]));
}

#[test]
fn the_end_of_the_input_ends_calls_under_way() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    start(&mut client, "alpha", "stdio");
    start(&mut client, "beta", "http");
    let process = client.call("alpha__process", json!({}));
    let pid = process["structuredContent"]["pid"].as_u64().expect("it is a number");
    let finished = client.finish();
    assert_eq!(finished.code, Some(0));
    eventually("the child has ended", || has_ended(pid).then_some(()));
    // A server of its own lives on, and must hear that nobody waits for it any more.
    eventually("the HTTP server knows", || {
        let running = beta.running();
        let cancelled = running.server.journal().cancelled == ["http"];
        (cancelled || running.sessions() == 0).then_some(())
    });
}
