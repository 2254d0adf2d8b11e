//! Sessions of HTTP clients: whose they are, how they end, and that nothing of one reaches another.

use crate::support::client::List;
use crate::support::http::{Connection, Front, REVISION, Request, Session, call, initialize, message};
use crate::support::{Kind, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

over_each_wire!(the_end_of_a_session_cancels_its_calls, calls_of_two_sessions_under_one_id_are_told_apart,);

// Ids.

#[test]
fn ids_are_long_visible_and_never_the_same() {
    let front = Proxy::new().serve();
    let mut ids = HashSet::new();
    for _ in 0..100 {
        let session = front.session();
        assert_eq!(session.id.len(), 32, "{}", session.id);
        assert!(session.id.bytes().all(|byte| byte.is_ascii_graphic()), "{}", session.id);
        assert!(ids.insert(session.id.clone()), "{} came twice", session.id);
        // Two thirds of hexadecimal digits stay the same from one to the next only where they are counted.
        let different = |other: &String| other.bytes().zip(session.id.bytes()).filter(|(a, b)| a != b).count();
        assert!(ids.iter().filter(|id| **id != session.id).all(|id| different(id) > 10), "{ids:?}");
    }
}

#[test]
fn ids_that_are_no_sessions_are_never_adopted() {
    let front = Proxy::new().serve();
    let elsewhere = Proxy::new().serve();
    let ended = front.session();
    ended.end();
    let own = front.session();
    let ids = [
        "00000000000000000000000000000000".to_owned(),
        "5c41b7ed-0000-4000-8000-000000000000".to_owned(),
        "x".to_owned(),
        "../../etc/passwd".to_owned(),
        "null".to_owned(),
        "x".repeat(5000),
        "with blanks".to_owned(),
        "\u{e9}".to_owned(),
        own.id.to_uppercase().replace(|digit: char| digit.is_ascii_digit(), "A"),
        own.id[..31].to_owned(),
        format!("{}0", own.id),
        format!("{0}, {0}", own.id),
        ended.id,
        elsewhere.session().id,
    ];
    for id in ids {
        let session = own.with(|request| request.in_session(&id));
        // Trying again does not help.
        for _ in 0..2 {
            let reply = session.post(&message(1, "tools/list", json!({}))).send();
            reply.is(404);
            assert_eq!(reply.header("mcp-session-id"), None, "{id}");
            session.post(&message(1, "ping", json!({}))).send().is(404);
            session.notify("notifications/initialized", json!({})).is(404);
            session.listening().send().is(404);
            session.ending().send().is(404);
        }
    }
}

#[test]
fn an_empty_id_or_two_of_them_are_no_session() {
    let front = Proxy::new().serve();
    let one = front.session();
    let two = front.session();
    let requests = [
        one.post(&message(1, "ping", json!({}))).in_session(""),
        one.post(&message(1, "ping", json!({}))).and("Mcp-Session-Id", &two.id),
        one.post(&message(1, "ping", json!({}))).and("mcp-session-id", "x"),
    ];
    for request in requests {
        let reply = request.send();
        assert!(matches!(reply.status, 400 | 404), "{reply:?}");
        reply.error();
    }
}

#[test]
fn a_client_cannot_choose_its_id() {
    let front = Proxy::new().serve();
    let chosen = "0123456789abcdef0123456789abcdef";
    let reply = front.post(&initialize(REVISION, json!({}))).in_session(chosen).send();
    assert_ne!(reply.header("mcp-session-id"), Some(chosen));
    let mut session = front.session().with(|request| request.in_session(chosen));
    assert!(!session.is_alive());
}

#[test]
fn every_revision_with_a_handshake_gets_a_session() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let reply = front.post(&initialize(revision, json!({}))).send();
        assert_eq!(reply.answer()["result"]["protocolVersion"], revision);
        let mut session = Session::open(&front.post(&Value::Null), revision, json!({}));
        session.find(List::Tools, "alpha__echo");
        // 2024-11-05 and 2025-03-26 know no such header.
        let reply = session.with(|request| request.without("MCP-Protocol-Version")).ask_call("alpha__echo", json!({})).send();
        assert_eq!(reply.result()["structuredContent"]["server"], "alpha");
    }
}

#[test]
fn a_revision_that_nobody_knows_is_refused() {
    let front = Proxy::new().serve();
    let session = front.session();
    for revision in ["1999-01-01", "latest", "2025-11-25x", "\u{e9}"] {
        let reply = session.post(&message(1, "ping", json!({}))).revision(revision).send();
        reply.is(400);
    }
    // A client that names another one in its handshake gets the newest.
    let reply = front.post(&initialize("1999-01-01", json!({}))).send();
    assert_eq!(reply.result()["protocolVersion"], REVISION);
}

// Ends.

fn the_end_of_a_session_cancels_its_calls(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut other = front.session();
    let mut doomed = front.session();
    let spared = other.start_slow("alpha", "spared");
    let lost = doomed.start_slow("alpha", "lost");
    let stream = doomed.listen();

    doomed.end();
    other.wait_for("alpha", "cancelled", "lost");
    assert!(!doomed.is_alive());
    stream.ends();
    // Its response ends in one way or the other, and holds no result.
    let rest = lost.closes_or_answers();
    assert!(!rest.contains("finished"), "{rest}");

    other.release("alpha", "spared");
    assert_eq!(spared.reply().result()["content"][0]["text"], "finished");
    assert_eq!(other.journal("alpha", "cancelled"), ["lost"]);
}

#[test]
fn a_session_ends_once() {
    let front = Proxy::new().serve();
    let session = front.session();
    let replies: Vec<_> = scope(|threads| {
        let ending: Vec<_> = (0..8).map(|_| threads.spawn(|| session.ending().send().status)).collect();
        ending.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let ended = replies.iter().filter(|status| matches!(status, 200 | 202 | 204)).count();
    let unknown = replies.iter().filter(|status| **status == 404).count();
    assert_eq!((ended, unknown), (1, 7), "{replies:?}");
}

#[test]
fn a_session_cannot_be_opened_twice() {
    let front = Proxy::new().serve();
    let mut session = front.session();
    let reply = session.post(&initialize(REVISION, json!({}))).send();
    assert_ne!(reply.header("mcp-session-id"), Some(session.id.as_str()), "{reply:?}");
    assert!(session.is_alive());
}

#[test]
fn idle_sessions_end_and_busy_ones_do_not() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--session-timeout=1").serve();
    let mut calling = front.session();
    let slow = calling.start_slow("alpha", "busy");
    let mut listening = front.session();
    let mut stream = listening.listen();
    // Asking makes a session younger, so each is asked but once.
    let mut idle: Vec<_> = (0..40).map(|_| front.session()).collect();
    let opened = Instant::now();
    eventually("idle sessions end", || {
        sleep(Duration::from_millis(250));
        (!idle.pop().expect("there are enough").is_alive()).then_some(())
    });
    assert!(opened.elapsed() > Duration::from_millis(900), "they ended after {:?}", opened.elapsed());
    assert!(idle.iter_mut().all(|session| !session.is_alive()));

    stream.is_silent(Duration::from_millis(500));
    assert!(listening.is_alive());
    // Not `is_alive`, which would make it younger before its call has ended.
    let mut other = front.session();
    other.release("alpha", "busy");
    assert_eq!(slow.reply().result()["content"][0]["text"], "finished");
    assert!(calling.is_alive());
}

#[test]
fn a_session_lives_on_as_long_as_it_is_used() {
    let front = Proxy::new().arg("--session-timeout=1").serve();
    let mut session = front.session();
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert!(session.is_alive());
        sleep(Duration::from_millis(200));
    }
}

// Limits.

#[test]
fn the_idlest_session_makes_room() {
    let front = Proxy::new().arg("--max-sessions=3").serve();
    let mut sessions: Vec<_> = (0..3).map(|_| front.session()).collect();
    for touched in [0, 2] {
        assert!(sessions[touched].is_alive());
    }
    let mut fourth = front.session();
    assert!(!sessions[1].is_alive());
    assert!(sessions[0].is_alive());
    assert!(sessions[2].is_alive());
    assert!(fourth.is_alive());
}

#[test]
fn a_busy_session_never_makes_room() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--max-sessions=3").serve();
    let mut calling = front.session();
    let slow = calling.start_slow("alpha", "busy");
    let mut listening = front.session();
    let stream = listening.listen();
    let mut idle = front.session();

    // The idlest of all, and the only one that may go.
    let mut third = front.session();
    assert!(!idle.is_alive());
    let busy = third.listen();
    for _ in 0..2 {
        let reply = front.post(&initialize(REVISION, json!({}))).send();
        reply.is(503);
        assert!(reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{reply:?}");
        assert_eq!(reply.header("mcp-session-id"), None);
    }
    // Who has a session is served as ever.
    assert!(listening.is_alive() && third.is_alive());
    calling.release("alpha", "busy");
    assert_eq!(slow.reply().result()["content"][0]["text"], "finished");
    drop(stream);
    drop(busy);
    eventually("there is room again", || (front.post(&initialize(REVISION, json!({}))).send().status == 200).then_some(()));
}

// No mixing up.

#[test]
fn two_hundred_sessions_at_once_get_their_own_answers() {
    const SESSIONS: usize = 200;
    const CALLS: usize = 10;
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let front = Proxy::serving(&[&alpha, &beta]);
    let mut first = front.session();
    first.find(List::Tools, "alpha__echo");
    first.find(List::Tools, "beta__echo");
    let barrier = std::sync::Barrier::new(SESSIONS);
    scope(|threads| {
        for number in 0..SESSIONS {
            let (front, barrier) = (&front, &barrier);
            threads.spawn(move || {
                let session = front.session();
                let mut connection = session.post(&Value::Null).connect();
                barrier.wait();
                for round in 0..CALLS {
                    let server = if (number + round) % 2 == 0 { "alpha" } else { "beta" };
                    // The same ids in every session, as clients have that count from 1.
                    let id = if round % 3 == 0 { json!(round.to_string()) } else { json!(round) };
                    let text = format!("{} {number} {round}", session.id);
                    let request = session.post(&call(id.clone(), &format!("{server}__echo"), json!({"text": text})));
                    let answer = connection.exchange(&request).answer();
                    assert_eq!(answer["id"], id, "{answer}");
                    let content = &answer["result"]["structuredContent"];
                    assert_eq!(content["params"]["arguments"]["text"], text, "{answer}");
                    assert_eq!(content["server"], server, "{answer}");
                }
            });
        }
    });
}

fn calls_of_two_sessions_under_one_id_are_told_apart(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut watch = front.session();
    watch.find(List::Tools, "alpha__slow");
    let start = |session: &Session, label: &str| session.post(&call(7, "alpha__slow", json!({"label": label}))).start();
    let (one, two) = (front.session(), front.session());
    let (first, second) = (start(&one, "one"), start(&two, "two"));
    watch.wait_for("alpha", "started", "one");
    watch.wait_for("alpha", "started", "two");

    // A cancellation reaches only the call of its own session.
    assert_eq!(two.notify("notifications/cancelled", json!({"requestId": 7})).status, 202);
    watch.wait_for("alpha", "cancelled", "two");
    watch.release("alpha", "one");
    let answer = first.reply().answer();
    assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(7), &json!("finished")));
    assert_eq!(watch.journal("alpha", "cancelled"), ["two"]);
    let rest = second.closes_or_answers();
    assert!(!rest.contains("finished"), "{rest}");
}

#[test]
fn two_clients_in_one_session_get_their_own_answers() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    scope(|threads| {
        for client in 0..8 {
            let session = &session;
            threads.spawn(move || {
                let mut connection = session.post(&Value::Null).connect();
                for round in 0..25 {
                    let id = client * 1000 + round;
                    let answer = connection.exchange(&session.post(&call(id, "alpha__echo", json!({"text": id})))).answer();
                    assert_eq!(answer["id"], id);
                    assert_eq!(answer["result"]["structuredContent"]["params"]["arguments"]["text"], id);
                }
            });
        }
    });
}

#[test]
fn an_id_in_use_is_refused_and_its_call_goes_on() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let first = session.post(&call(7, "alpha__slow", json!({"label": "first"}))).start();
    session.wait_for("alpha", "started", "first");

    let reply = session.post(&call(7, "alpha__echo", json!({"text": "again"}))).send();
    assert!(matches!(reply.status, 200 | 400 | 409), "{reply:?}");
    assert_eq!(reply.code(), -32_600);
    // A text is another id than a number.
    let reply = session.post(&call("7", "alpha__echo", json!({"text": "text"}))).send();
    assert_eq!(reply.answer()["id"], "7");

    session.release("alpha", "first");
    let answer = first.reply().answer();
    assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(7), &json!("finished")));
    // Once it is answered, the id is free.
    let reply = session.post(&call(7, "alpha__echo", json!({"text": "later"}))).send();
    assert_eq!(reply.result()["structuredContent"]["params"]["arguments"]["text"], "later");
}

// Lost connections.

#[test]
fn a_call_goes_on_when_its_connection_is_lost() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let request = session.ask_call("alpha__slow", json!({"label": "lost"}));
    let mut stream = request.open();
    assert_eq!(stream.kind(), "text/event-stream");
    let first = stream.event().expect("it begins with an event");
    assert_eq!(first.data, "", "it begins with an id alone");
    let id = stream.leave().expect("it names a place to go on from");

    session.release("alpha", "lost");
    session.wait_for("alpha", "finished", "lost");
    let answer = session.resume(&id).answer();
    assert_eq!(answer["result"]["content"][0]["text"], "finished");
    assert_eq!(session.journal("alpha", "cancelled"), [""; 0]);
}

#[test]
fn an_answer_can_be_waited_for_on_a_resumed_stream() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let mut stream = session.ask_call("alpha__slow", json!({"label": "lost"})).open();
    stream.event();
    let id = stream.leave().expect("it names a place to go on from");
    let resumed = session.resume(&id);
    session.release("alpha", "lost");
    assert_eq!(resumed.answer()["result"]["content"][0]["text"], "finished");
}

#[test]
fn the_stream_of_one_session_cannot_be_taken_up_by_another() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let mut stream = session.ask_call("alpha__slow", json!({"label": "mine"})).open();
    stream.event();
    let id = stream.leave().expect("it names a place to go on from");

    let other = front.session();
    let reply = other.listening().header("Last-Event-ID", &id).open();
    session.release("alpha", "mine");
    session.wait_for("alpha", "finished", "mine");
    match reply.status {
        // A stream of its own, on which nothing of the call comes.
        200 => {
            let mut reply = reply;
            reply.is_silent(Duration::from_millis(300));
        }
        status => assert!((400..500).contains(&status), "{status}"),
    }
    assert_eq!(session.resume(&id).answer()["result"]["content"][0]["text"], "finished");
}

// Many, one after the other.

#[cfg(target_os = "linux")]
#[test]
fn two_thousand_sessions_leave_nothing_behind() {
    const AT_ONCE: usize = 16;
    let front = Proxy::new().serve();
    churn(&front, AT_ONCE, 400);
    let before = (front.resident(), front.descriptors());
    churn(&front, AT_ONCE, 2000);
    let grown = front.resident().saturating_sub(before.0);
    // Half a kilobyte each, and what an allocator keeps for a rainy day.
    assert!(grown < 2000 * 512 + 3 * 1024 * 1024, "it has grown by {} KiB", grown / 1024);
    eventually("connections are closed", || (front.descriptors() <= before.1 + AT_ONCE).then_some(()));
}

#[cfg(target_os = "linux")]
fn churn(front: &Front, at_once: usize, sessions: usize) {
    scope(|threads| {
        for _ in 0..at_once {
            threads.spawn(|| {
                let mut connection = front.post(&Value::Null).connect();
                for _ in 0..sessions / at_once {
                    open_and_end(front, &mut connection);
                }
            });
        }
    });
}

#[cfg(target_os = "linux")]
fn open_and_end(front: &Front, connection: &mut Connection) {
    let reply = connection.exchange(&front.post(&initialize(REVISION, json!({}))));
    let id = reply.header("mcp-session-id").expect("a session").to_owned();
    let ending: Request = front.request("DELETE", "/mcp").in_session(&id).revision(REVISION);
    let reply = connection.exchange(&ending);
    assert!(matches!(reply.status, 200 | 202 | 204), "{reply:?}");
}
