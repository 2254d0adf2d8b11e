//! The end of a proxy that serves HTTP: calls in flight are answered, nothing new is begun, nothing is left behind.

#![cfg(unix)]

use crate::support::client::List;
use crate::support::http::{REVISION, Session, call, initialize, message};
use crate::support::process::has_ended;
use crate::support::{Front, Proxy, Server, eventually, file_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Long enough for a clean end on a loaded machine, and shorter than the grace period.
const SOON: Duration = Duration::from_secs(4);

#[track_caller]
fn pid_of(session: &mut Session, server: &str) -> u64 {
    let process = session.call(&format!("{server}__process"), json!({}));
    process["structuredContent"]["pid"].as_u64().expect("a number")
}

fn ready(front: &Front) -> u16 {
    front.request("GET", "/ready").send().status
}

#[test]
fn calls_in_flight_are_answered_and_nothing_new_is_begun() {
    let server = Server::stdio("alpha", &[]);
    let mut front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    eventually("it is ready", || (ready(&front) == 200).then_some(()));
    let pid = pid_of(&mut session, "alpha");
    let early = session.post(&call(1001, "alpha__slow", json!({"label": "early", "ms": 2500}))).open();
    assert_eq!(early.kind(), "text/event-stream");
    let late = session.post(&call(1002, "alpha__slow", json!({"label": "late", "ms": 1500}))).accept("application/json").start();
    session.wait_for("alpha", "started", "late");
    let stream = session.listen();
    // A connection that was there before is no way in.
    let mut kept = session.post(&Value::Null).connect();
    assert_eq!(kept.exchange(&session.post(&message(5, "ping", json!({})))).status, 200);

    front.signal("-TERM");
    stream.ends();
    eventually("it is not ready any more", || (ready(&front) == 503).then_some(()));
    for message in [initialize(REVISION, json!({})), message(1, "tools/list", json!({}))] {
        let reply = front.post(&message).send();
        reply.is(503);
        assert_eq!(reply.header("mcp-session-id"), None);
    }
    session.post(&call(1003, "alpha__echo", json!({}))).send().is(503);
    session.listening().send().is(503);
    kept.exchange(&session.post(&call(1004, "alpha__echo", json!({})))).is(503);

    assert_eq!(late.reply().result()["content"][0]["text"], "finished in time");
    assert_eq!(early.answer()["result"]["content"][0]["text"], "finished in time");
    let finished = front.ends();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(has_ended(pid), "the server is left behind");
}

#[test]
fn an_idle_proxy_ends_at_once() {
    for signal in ["-TERM", "-INT"] {
        let server = Server::stdio("alpha", &["--grandchild"]);
        let mut front = Proxy::serving(&[&server]);
        let mut session = front.session();
        session.find(List::Tools, "alpha__process");
        let process = session.call("alpha__process", json!({}))["structuredContent"].take();
        let stream = session.listen();
        let idle = session.post(&Value::Null).connect();
        let asked = Instant::now();
        front.signal(signal);
        let finished = front.ends();
        assert!(asked.elapsed() < SOON, "{signal}: {:?}", asked.elapsed());
        assert_eq!(finished.code, Some(0), "{signal}: {finished:?}");
        stream.ends();
        assert_eq!(idle.closes_within(SOON), b"");
        for pid in ["pid", "grandchild"] {
            let pid = process[pid].as_u64().expect("a number");
            eventually("nothing is left behind", || has_ended(pid).then_some(()));
        }
    }
}

#[test]
fn a_call_that_takes_too_long_is_given_up() {
    let server = Server::stdio("alpha", &[]);
    let mut front = Proxy::new().file(&file_of(&[&server])).arg("--grace=1").serve();
    let mut session = front.session();
    let call = session.start_slow("alpha", "endless");
    let pid = pid_of(&mut session, "alpha");
    let asked = Instant::now();
    front.signal("-TERM");
    let finished = front.ends();
    let took = asked.elapsed();
    assert!(took > Duration::from_millis(900) && took < SOON, "{took:?}");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(has_ended(pid));
    let rest = call.closes_or_answers();
    assert!(!rest.contains("finished"), "{rest}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in ["-TERM", "-INT"] {
        let server = Server::stdio("alpha", &[]);
        let mut front = Proxy::new().file(&file_of(&[&server])).arg("--grace=60").serve();
        let mut session = front.session();
        let _call = session.start_slow("alpha", "endless");
        let pid = pid_of(&mut session, "alpha");
        front.signal("-TERM");
        eventually("it drains", || (front.post(&message(1, "tools/list", json!({}))).send().status == 503).then_some(()));
        assert!(!front.has_ended());
        let asked = Instant::now();
        front.signal(second);
        front.ends();
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        eventually("the server has ended", || has_ended(pid).then_some(()));
    }
}

#[test]
fn who_does_not_read_does_not_keep_the_proxy() {
    let server = Server::http("alpha", &[]);
    let mut front = Proxy::new().file(&file_of(&[&server])).arg("--grace=1").serve();
    let mut session = front.session();
    session.find(List::Tools, "alpha__large");
    let _deaf = session.ask_call("alpha__large", json!({"bytes": 8 << 20})).start();
    let mut half = session.post(&Value::Null).connect();
    half.write(b"POST /mcp HTTP/1.1\r\n");
    session.call("alpha__echo", json!({}));
    let asked = Instant::now();
    front.signal("-TERM");
    assert_eq!(front.ends().code, Some(0));
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

#[test]
fn a_port_in_use_is_explained() {
    let front = Proxy::new().serve();
    let port = front.address.port();
    let finished = Proxy::new().arg("--transport=streamable-http").arg(&format!("--port={port}")).run(&[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains(&port.to_string()), "{finished:?}");
    assert!(!finished.stderr.contains("panicked") && !finished.stderr.contains(".rs"), "{finished:?}");
    assert_eq!(finished.stdout, "");
    assert_eq!(front.post(&message(1, "ping", json!({}))).send().status, 200);
}

#[test]
fn a_host_that_is_none_is_explained() {
    for host in ["no.such.host.invalid", "192.0.2.1", "not a host"] {
        let finished = Proxy::new().arg("--transport=streamable-http").arg("--port=0").arg(&format!("--host={host}")).run(&[]);
        assert!(matches!(finished.code, Some(1 | 64)), "{finished:?}");
        assert!(finished.stderr.contains(host) || finished.stderr.contains("--host"), "{finished:?}");
    }
}

#[test]
fn standard_input_is_nobodys_business() {
    // It is closed from the start, which ends only a proxy that reads it.
    let front = Proxy::new().serve();
    for _ in 0..3 {
        assert_eq!(front.post(&message(1, "ping", json!({}))).send().status, 200);
    }
}
