//! Connections: how many there may be, and how long they may be slow or silent.

use super::*;

#[test]
fn requests_may_come_one_after_the_other() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    let mut connection = ping(&front).connect();
    for n in 0..50 {
        let reply = connection.exchange(&session.post(&call(n, "alpha__echo", json!({"text": n}))));
        assert_eq!(reply.answer()["id"], n);
    }
    // An event stream that has ended leaves the connection usable.
    let progress = json!({"name": "alpha__progress", "arguments": {"steps": 3}, "_meta": {"progressToken": "t"}});
    let reply = connection.exchange(&session.post(&message(100, "tools/call", progress)));
    assert_eq!((reply.kind(), reply.messages().len()), ("text/event-stream", 4));
    // And so does a refusal.
    connection.exchange(&ping(&front).body("{")).is(400);
    connection.exchange(&ping(&front).at("/no/such")).is(404);
    assert_eq!(connection.exchange(&ping(&front)).status, 200);
}

#[test]
fn requests_at_once_on_one_connection_are_answered_in_order() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let mut bytes = session.post(&call(0, "alpha__slow", json!({"label": "x", "ms": 200}))).bytes();
    for id in 1..20 {
        bytes.extend(session.post(&call(id, "alpha__echo", json!({"text": id}))).bytes());
    }
    let mut connection = ping(&front).connect();
    connection.write(&bytes);
    for id in 0..20 {
        assert_eq!(connection.next_reply().answer()["id"], id);
    }
}

#[test]
fn a_request_may_come_letter_by_letter() {
    let front = Proxy::new().serve();
    let mut connection = ping(&front).connect();
    for byte in ping(&front).bytes() {
        connection.write(&[byte]);
    }
    assert_eq!(connection.reply().status, 200);
    let body = message(1, "ping", json!({})).to_string();
    let letters: Vec<String> = body.chars().map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    assert_eq!(send_chunked(&ping(&front), &letters).status, 200);
}

#[test]
fn clients_of_http_1_0_are_answered() {
    let front = Proxy::new().serve();
    let text = String::from_utf8(ping(&front).bytes()).expect("it is text").replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut connection = ping(&front).connect();
    connection.write(text.as_bytes());
    let said = String::from_utf8_lossy(&connection.closes_within(SOON)).into_owned();
    assert!(said.starts_with("HTTP/1.") && said.contains(" 200 ") && said.contains(r#""result":{}"#), "{said}");
    assert!(!said.to_lowercase().contains("transfer-encoding"), "{said}");
}

#[test]
fn http_2_is_spoken_without_asking_first() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let (client, url) = front.http_2("localhost");
    let post = |message: Value| {
        let request = client.post(&url).header("Content-Type", "application/json").header("Accept", BOTH).body(message.to_string());
        let request = request.header("Mcp-Session-Id", &session.id).header("MCP-Protocol-Version", REVISION);
        async move { request.send().await.expect("it is answered") }
    };
    runtime.block_on(async {
        // Many at once on one connection, and none waits for another.
        let slow = tokio::spawn(post(call(1001, "alpha__slow", json!({"label": "h2"}))));
        let echoes = (0..50).map(|id| tokio::spawn(post(call(id, "alpha__echo", json!({"text": id}))))).collect::<Vec<_>>();
        for (id, echo) in echoes.into_iter().enumerate() {
            let reply = echo.await.expect("it does not panic");
            assert_eq!((reply.status().as_u16(), reply.version()), (200, reqwest::Version::HTTP_2));
            let answer: Value = serde_json::from_str(&reply.text().await.expect("a body")).expect("JSON");
            assert_eq!(answer["id"], id);
            assert_eq!(answer["result"]["structuredContent"]["params"]["arguments"]["text"], id);
        }
        let head = slow.await.expect("it does not panic");
        assert_eq!(head.headers()["content-type"], "text/event-stream");
        post(call(1002, "alpha__release", json!({"label": "h2"}))).await;
        let text = head.text().await.expect("a body");
        assert!(text.contains(r#""text":"finished""#), "{text}");
        // The checks are the same.
        let foreign = client.post(&url).header("Origin", "http://evil.example").send().await.expect("it is answered");
        assert_eq!(foreign.status().as_u16(), 403);
        let (rebound, url) = front.http_2("evil.example");
        let reply = rebound.get(&url).send().await.expect("it is answered");
        assert!(matches!(reply.status().as_u16(), 403 | 421), "{reply:?}");
        let reply = rebound.get(&url).header("Host", "localhost").send().await.expect("it is answered");
        assert!(matches!(reply.status().as_u16(), 400 | 403 | 421), "{reply:?}");
    });
}

#[test]
fn a_client_that_has_said_all_is_answered() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__slow");
    let slow = session.ask_call("alpha__slow", json!({"label": "x", "ms": 300}));
    // The end may come with the last byte or after it.
    for request in std::iter::repeat_n(ping(&front), 20).chain([slow]) {
        let mut connection = request.start();
        connection.finish();
        assert_eq!(connection.reply().status, 200);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn half_a_request_leaves_nothing_behind() {
    let front = Proxy::new().serve();
    works(&front);
    let before = front.descriptors();
    let whole = ping(&front).bytes();
    for part in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        for end in [true, false] {
            let mut connection = ping(&front).connect();
            connection.write(&whole[..part]);
            if end {
                connection.finish();
                let said = connection.closes_within(SOON + SOON);
                assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&said));
            }
        }
    }
    eventually("every connection is closed", || (front.descriptors() <= before).then_some(()));
}

#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_holds_nobody_up() {
    const LETTERS: usize = 4 << 20;
    let large = Server::http("large", &[]);
    let alpha = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&large, &alpha]);
    let mut session = front.session();
    session.find(List::Tools, "large__large");
    session.find(List::Tools, "alpha__echo");
    let before = front.resident();
    let deaf: Vec<Connection> = (0..3).map(|_| session.ask_call("large__large", json!({"bytes": LETTERS})).start()).collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        let asked = Instant::now();
        session.call("alpha__echo", json!({}));
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    // Each answer is there once, or not at all.
    let grown = front.resident().saturating_sub(before);
    assert!(grown < 3 * 4 * LETTERS as u64, "{} MiB", grown >> 20);
    for connection in deaf {
        let result = connection.reply().result();
        assert_eq!(result["content"][0]["text"].as_str().map(str::len), Some(LETTERS));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn streams_that_are_left_are_forgotten() {
    let front = Proxy::new().serve();
    let session = front.session();
    let before = front.descriptors();
    for _ in 0..50 {
        session.listen().leave();
    }
    eventually("they are closed", || (front.descriptors() <= before + 1).then_some(()));
}

#[cfg(target_os = "linux")]
/// One after the other they would take a minute: each client does nothing until it is cut off.
#[test]
fn clients_that_are_too_slow_are_cut_off() {
    let server = Server::http("large", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "large__large");
    let before = front.descriptors();
    // More than the operating system takes for a client that does not read.
    let deaf = session.ask_call("large__large", json!({"bytes": 16 << 20})).start();
    let whole = ping(&front).bytes();
    let body = whole.len() - 10;
    let (started, limit) = (Instant::now(), Duration::from_secs(45));
    scope(|threads| {
        // A head that never ends, though something comes now and then.
        threads.spawn(|| {
            let mut connection = ping(&front).connect();
            connection.write(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n");
            let mut taken = 0;
            while connection.offer(b"X: x\r\n").is_ok() && started.elapsed() < limit {
                taken += 1;
                std::thread::sleep(Duration::from_millis(500));
            }
            assert!(started.elapsed() < limit, "a head may take for ever; {taken} lines were taken");
        });
        // A head of which nothing more comes.
        threads.spawn(|| {
            let mut connection = ping(&front).connect();
            connection.write(&whole[..20]);
            let said = connection.closes_within(limit);
            assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&said));
        });
        // A body of which nothing more comes.
        threads.spawn(|| {
            let mut connection = ping(&front).connect();
            connection.write(&whole[..body]);
            let said = connection.closes_within(limit);
            assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&said));
        });
        // And somebody who is quick.
        threads.spawn(|| works(&front));
    });
    works(&front);
    eventually("who does not read is cut off", || (front.descriptors() <= before).then_some(()));
    drop(deaf);
}

#[test]
fn there_are_only_so_many_connections() {
    let front = Proxy::new().arg("--max-connections=4").serve();
    let mut kept: Vec<Connection> = (0..4).map(|_| ping(&front).connect()).collect();
    for connection in &mut kept {
        assert_eq!(connection.exchange(&ping(&front)).status, 200);
    }
    // One more is refused, or waits for its turn, and does not take anybody else's.
    let mut waiting = ping(&front).connect();
    let _ = waiting.offer(&ping(&front).bytes());
    for connection in &mut kept {
        assert_eq!(connection.exchange(&ping(&front)).status, 200);
    }
    drop(kept);
    drop(waiting);
    eventually("there is room again", || {
        let mut connection = ping(&front).connect();
        let _ = connection.offer(&ping(&front).bytes());
        let said = connection.closes_or_answers();
        said.contains(r#""result":{}"#).then_some(())
    });
}
