//! Limits of what one HTTP client may use, and requests that are no good: each is refused in words that a client can
//! read, and disturbs nobody else.

mod connections; // how many, how slow, how silent

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
