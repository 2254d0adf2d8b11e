//! Limits of what one HTTP client may use, and requests that are no good: each is refused in words that a client can
//! read, and disturbs nobody else.

use crate::support::client::List;
use crate::support::http::{BOTH, Connection, Front, REVISION, Reply, Request, Session, call, initialize, message};
use crate::support::{Proxy, Server, eventually, file_of};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::thread::scope;
use std::time::{Duration, Instant};

/// Long enough for what must happen at once on a loaded machine.
const SOON: Duration = Duration::from_secs(5);

fn ping(front: &Front) -> Request {
    front.post(&message(1, "ping", json!({})))
}

#[track_caller]
fn works(front: &Front) {
    assert_eq!(ping(front).send().status, 200);
}

/// A body of so many bytes that is a valid request.
fn sized(bytes: usize) -> String {
    let empty = message(1, "ping", json!({"x": ""})).to_string().len();
    message(1, "ping", json!({"x": "x".repeat(bytes - empty)})).to_string()
}

/// A request whose body comes in chunks.
fn chunked(request: &Request, chunks: &[&str]) -> Vec<u8> {
    let mut bytes = request.head();
    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in chunks {
        bytes.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[track_caller]
fn send_chunked(request: &Request, chunks: &[&str]) -> Reply {
    let mut connection = request.connect();
    // The proxy may stop reading before the end.
    let _ = connection.offer(&chunked(request, chunks));
    connection.reply()
}

// Bodies.

#[test]
fn bodies_have_a_size() {
    let front = Proxy::new().arg("--max-body=2000").serve();
    assert_eq!(ping(&front).body(sized(2000)).send().status, 200);
    ping(&front).body(sized(2001)).send().is(413);
    assert_eq!(send_chunked(&ping(&front), &[&sized(2000)]).status, 200);
    let large = sized(2001);
    send_chunked(&ping(&front), &[&large[..1000], &large[1000..]]).is(413);
    works(&front);
}

#[test]
fn a_large_body_is_refused_before_it_comes() {
    let front = Proxy::new().arg("--max-body=2000").serve();
    let mut head = ping(&front).head();
    head.extend_from_slice(b"Content-Length: 1000000000000\r\n\r\n");
    let mut connection = ping(&front).connect();
    connection.write(&head);
    connection.reply().is(413);
    // Nor is anybody invited to send it.
    let mut head = ping(&front).head();
    head.extend_from_slice(b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
    let mut connection = ping(&front).connect();
    connection.write(&head);
    connection.reply().is(413);
}

#[test]
fn chunks_without_end_are_refused() {
    let front = Proxy::new().arg("--max-body=100k").serve();
    let mut connection = ping(&front).connect();
    let mut head = ping(&front).head();
    head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    connection.write(&head);
    let chunk = format!("{:x}\r\n{}\r\n", 10_000, " ".repeat(10_000));
    let taken = (0..100).take_while(|_| connection.offer(chunk.as_bytes()).is_ok()).count();
    assert!(taken >= 10, "{taken}");
    connection.reply().is(413);
}

#[test]
fn ten_mebibytes_are_not_too_much() {
    let server = Server::http("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    let text = "x".repeat(9 << 20);
    let result = session.call("alpha__echo", json!({"text": text}));
    assert!(result["structuredContent"]["params"]["arguments"]["text"] == text.as_str());
    ping(&front).body(sized((10 << 20) + 1)).send().is(413);
}

#[test]
fn bodies_are_json_and_nothing_else() {
    let front = Proxy::new().serve();
    let kinds = ["text/plain", "application/xml", "application/json-rpc", "application/jsonx", "json", "", "application/json, text/plain"];
    for kind in kinds {
        ping(&front).header("Content-Type", kind).send().is(415);
    }
    ping(&front).without("Content-Type").send().is(415);
    ping(&front).and("Content-Type", "text/plain").send().is(415);
    for encoding in ["gzip", "deflate", "br", "x"] {
        ping(&front).header("Content-Encoding", encoding).send().is(415);
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=\"utf-8\"", " application/json "] {
        assert_eq!(ping(&front).header("Content-Type", kind).send().status, 200, "{kind}");
    }
}

#[test]
fn who_takes_neither_json_nor_events_gets_nothing() {
    let front = Proxy::new().serve();
    for accept in ["text/html", "text/plain, image/png", "application/xml", "application/json;q=0, text/event-stream;q=0"] {
        let reply = ping(&front).accept(accept).send();
        reply.is(406);
        assert_eq!(reply.header("mcp-session-id"), None);
    }
}

#[test]
fn bodies_that_are_no_json_are_explained() {
    let front = Proxy::new().serve();
    let good = ping(&front);
    let bodies: [&[u8]; 14] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"{]",
        b"hello",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} x",
        b"{'jsonrpc':'2.0'}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xffng\"}",
        b"\xff\xfe{\x00}\x00",
        b"\x1f\x8b\x08\x00",
        b"<html></html>",
    ];
    for body in bodies {
        for request in [good.clone(), good.clone().at("/")] {
            let reply = request.body(body).send();
            reply.is_refusal(400, -32_700);
            assert_eq!(reply.answer()["id"], Value::Null);
        }
    }
    works(&front);
}

#[test]
fn json_that_is_no_message_is_explained() {
    let front = Proxy::new().serve();
    let bodies = [
        "{}",
        "null",
        "1",
        "\"ping\"",
        "true",
        "[]",
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}"#,
    ];
    for body in bodies {
        let reply = ping(&front).body(body).send();
        assert_eq!((reply.status, reply.code()), (400, -32_600), "{body}: {reply:?}");
    }
    works(&front);
}

#[test]
fn depth_has_an_end() {
    let front = Proxy::new().serve();
    let nested = |depth: usize, open: &str, close: &str| {
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{open}1{close}}}}}"#)
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        assert_eq!(ping(&front).body(nested(60, open, close)).send().status, 200);
        for depth in [1000, 100_000, 1_000_000] {
            let reply = ping(&front).body(nested(depth, open, close)).send();
            assert_eq!(reply.status, 400);
            assert!(matches!(reply.code(), -32_700 | -32_600), "{reply:?}");
        }
        // Not closed, which is no better.
        let reply = ping(&front).body(open.repeat(1_000_000)).send();
        assert_eq!(reply.status, 400);
    }
    // Brackets in a text are no depth.
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}\"["}}}}"#, "[{".repeat(10_000));
    assert_eq!(ping(&front).body(text).send().status, 200);
    works(&front);
}

// Heads.

#[test]
fn a_revision_is_named_once() {
    let front = Proxy::new().serve();
    let session = front.session();
    for second in [REVISION, "2025-03-26", "nonsense"] {
        let twice = ping(&front).revision(REVISION).and("MCP-Protocol-Version", second);
        twice.send().is_refusal(400, -32_600);
        for method in ["GET", "DELETE"] {
            twice.clone().by(method).accept("text/event-stream").in_session(&session.id).send().is_refusal(400, -32_600);
        }
    }
    works(&front);
}

#[test]
fn heads_have_a_size() {
    let front = Proxy::new().serve();
    let many = (0..200).fold(ping(&front), |request, n| request.and(&format!("X-{n}"), "x"));
    too_large(&many);
    too_large(&ping(&front).header("X-Large", "x".repeat(64 * 1024)));
    let middling = (0..50).fold(ping(&front), |request, n| request.and(&format!("X-{n}"), "x".repeat(1000)));
    too_large(&middling);
    let few = (0..50).fold(ping(&front), |request, n| request.and(&format!("X-{n}"), "x".repeat(100)));
    assert_eq!(few.send().status, 200);
    // A target is part of the head.
    let reply = ping(&front).at(&format!("/mcp?{}", "x".repeat(64 * 1024))).send();
    assert!(matches!(reply.status, 414 | 431), "{reply:?}");
    works(&front);
}

/// Asserts that a head is refused, in JSON where the proxy reads it at all.
#[track_caller]
fn too_large(request: &Request) {
    let mut connection = request.connect();
    let _ = connection.offer(&request.bytes());
    let reply = connection.reply();
    assert_eq!(reply.status, 431, "{reply:?}");
    if !reply.body.is_empty() {
        reply.error();
    }
}

#[test]
fn a_megabyte_of_head_is_not_read() {
    let front = Proxy::new().serve();
    let mut connection = ping(&front).connect();
    let mut head = String::from("POST /mcp HTTP/1.1\r\nHost: localhost\r\n");
    for n in 0..20_000 {
        let _ = write!(head, "X-{n}: {}\r\n", "x".repeat(50));
    }
    let _ = connection.offer(head.as_bytes());
    let said = connection.closes_within(SOON);
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&said));
    works(&front);
}

#[test]
fn what_is_no_http_is_refused() {
    let front = Proxy::new().serve();
    let nonsense: [&[u8]; 9] = [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /mcp\r\n\r\n",
        b"POST /mcp HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    ];
    for bytes in nonsense {
        let mut connection = ping(&front).connect();
        connection.write(bytes);
        connection.finish();
        let said = connection.closes_within(SOON + SOON);
        let text = String::from_utf8_lossy(&said);
        assert!(!text.starts_with("HTTP/1.1 2"), "{:?}: {text}", String::from_utf8_lossy(bytes));
        assert!(!text.contains('<') && !text.contains(".rs"), "{text}");
    }
    works(&front);
}

#[test]
fn two_lengths_are_no_way_to_smuggle() {
    let front = Proxy::new().serve();
    let body = message(1, "ping", json!({})).to_string();
    let inner = String::from_utf8(front.request("GET", "/smuggled").bytes()).expect("it is text");
    let headers = [
        format!("Content-Length: {}\r\nContent-Length: {}\r\n", body.len(), body.len() + inner.len()),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        format!("Content-Length: +{}\r\n", body.len()),
        format!("Content-Length: {0}, {0}\r\n", body.len()),
    ];
    for header in headers {
        let mut bytes = ping(&front).head();
        bytes.extend_from_slice(format!("{header}\r\n{body}{inner}").as_bytes());
        let mut connection = ping(&front).connect();
        connection.write(&bytes);
        connection.finish();
        let said = connection.closes_within(SOON + SOON);
        let said = String::from_utf8_lossy(&said);
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{header}: {said}");
        assert!(!said.contains("HTTP/1.1 404"), "what was hidden is answered: {header}: {said}");
    }
    works(&front);
}

#[test]
fn methods_that_nobody_serves_are_refused() {
    let front = Proxy::new().serve();
    for method in ["PUT", "PATCH", "TRACE", "HEAD", "FOO", "post"] {
        let mut connection = front.request(method, "/mcp").start();
        connection.finish();
        let said = String::from_utf8_lossy(&connection.closes_within(SOON + SOON)).into_owned();
        assert!(said.starts_with("HTTP/1.1 405") || said.starts_with("HTTP/1.1 400"), "{method}: {said}");
        assert!(said.to_lowercase().contains("allow: "), "{method}: {said}");
    }
}

// Calls.

#[test]
fn one_session_has_so_many_calls_at_once() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--max-calls=2").serve();
    let mut other = front.session();
    let mut session = front.session();
    other.find(List::Tools, "alpha__slow");
    let slow = |id: u64, label: &str| session.post(&call(id, "alpha__slow", json!({"label": label}))).start();
    let calls = [slow(1001, "one"), slow(1002, "two")];
    other.wait_for("alpha", "started", "one");
    other.wait_for("alpha", "started", "two");

    let reply = session.post(&call(1003, "alpha__slow", json!({"label": "three"}))).send();
    reply.is(429);
    assert_eq!(reply.answer()["id"], 1003);
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    // Other sessions are not concerned, and what ends a call goes through.
    assert_eq!(other.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
    assert_eq!(session.notify("notifications/cancelled", json!({"requestId": 1001})).status, 202);
    other.wait_for("alpha", "cancelled", "one");
    eventually("there is room again", || (session.ask_call("alpha__echo", json!({})).send().status == 200).then_some(()));
    other.release("alpha", "two");
    let [_, two] = calls;
    assert_eq!(two.reply().result()["content"][0]["text"], "finished");
    assert!(!other.journal("alpha", "started").contains(&"three".to_owned()));
}

// Connections.

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

// What a client reads.

#[test]
fn every_refusal_is_a_message_in_plain_words() {
    let front = Proxy::new().arg("--max-body=1k").serve();
    let session: Session = front.session();
    let refused = [
        ping(&front).body("{"),
        ping(&front).body("{}"),
        ping(&front).body(sized(2000)),
        ping(&front).at("/no/such"),
        ping(&front).at("/../../etc/passwd"),
        ping(&front).at("/mcp/%3Cscript%3E"),
        ping(&front).by("PUT"),
        ping(&front).accept("text/html"),
        ping(&front).header("Content-Type", "text/html"),
        ping(&front).header("Host", "<script>"),
        ping(&front).header("Origin", "<script>"),
        ping(&front).revision("<script>"),
        ping(&front).in_session("<script>"),
        session.listening().accept("application/json"),
        session.listening().without("Mcp-Session-Id"),
        front.post(&initialize(REVISION, json!({}))).header("Content-Encoding", "gzip"),
    ];
    for request in refused {
        let reply = request.send();
        assert!((400..500).contains(&reply.status), "{request:?}: {reply:?}");
        reply.error();
        assert_eq!(reply.header("server"), None, "{reply:?}");
        assert_eq!(reply.header("x-powered-by"), None, "{reply:?}");
    }
}
