//! Servers that fail: when they are tried again, and how soon callers know.

use crate::support::{Client, List, Proxy, Server, eventually, file_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[track_caller]
fn text(result: &Value) -> &str {
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().expect("a text")
}

/// What the proxy says of the state of its servers.
fn report(client: &mut Client) -> String {
    let result = client.call("pluggedin_discover_tools", json!({}));
    result["content"][0]["text"].as_str().expect("a text").to_owned()
}

#[test]
fn a_server_that_fails_again_and_again_is_not_started_for_every_call() {
    let (falling, good) = (Server::stdio("falling", &[]), Server::stdio("good", &[]));
    let mut client = Proxy::before(&[&falling, &good]);
    client.find(List::Tools, "falling__crash");
    client.find(List::Tools, "good__echo");
    // Nothing that it is asked comes to an answer.
    for n in 0..5 {
        let result = client.call("falling__crash", json!({}));
        assert!(text(&result).contains("it may or may not have taken effect"), "{n}: {result}");
    }
    let asked = Instant::now();
    let refused = client.call("falling__echo", json!({}));
    let said = text(&refused).to_owned();
    assert!(said.contains("failed 5 times in a row") && said.contains("tried again in"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    client.complains("it fails again and again");
    assert!(report(&mut client).contains("open: "), "it is shown");
    let echo = client.call("good__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "good");
    // To look at the servers is to want it tried at once.
    client.call_until("it is tried again", "falling__echo", &json!({}), |result| result["structuredContent"]["server"] == "falling");
}

#[test]
fn an_open_circuit_lets_one_try_through_after_a_while() {
    let falling = Server::stdio("falling", &[]);
    let mut client = Proxy::before(&[&falling]);
    client.find(List::Tools, "falling__crash");
    for _ in 0..5 {
        client.call("falling__crash", json!({}));
    }
    let opened = Instant::now();
    client.call_until("it is tried again", "falling__echo", &json!({}), |result| result["structuredContent"]["server"] == "falling");
    assert!(opened.elapsed() > Duration::from_secs(4), "nobody was refused: {:?}", opened.elapsed());
    // It has been of use, so that the next fall is a first one.
    client.call("falling__crash", json!({}));
    let echo = client.call("falling__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "falling", "{echo}");
}

#[test]
fn a_server_that_is_of_use_is_made_again_at_once_each_time() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__crash");
    for _ in 0..8 {
        let echo = client.call("alpha__echo", json!({}));
        assert_eq!(echo["structuredContent"]["server"], "alpha", "{echo}");
        client.call("alpha__crash", json!({}));
    }
}

#[test]
fn a_remote_server_that_is_gone_is_noticed_before_it_is_called() {
    for flags in [&[][..], &["--modern"], &["--no-get", "--sessionless"]] {
        let mut server = Server::http("alpha", flags);
        let mut client = Proxy::new().file(&file_of(&[&server])).arg("--health-interval=0.2").start();
        client.find(List::Tools, "alpha__echo");
        server.running_mut().stop();
        eventually("it is known to be gone", || report(&mut client).contains("backoff: ").then_some(()));
        server.running_mut().restart();
        eventually("it is known to be back", || report(&mut client).contains("http, ready").then_some(()));
        let echo = client.call("alpha__echo", json!({}));
        assert_eq!(echo["structuredContent"]["server"], "alpha", "{echo}");
    }
}
