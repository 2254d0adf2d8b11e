//! Clients that know little of the protocol, such as people with curl, and those that send several messages at once.

use crate::support::client::List;
use crate::support::http::{BOTH, Change, Front, REVISION, Request, Session, call, initialize, keys, message, notification};
use crate::support::process::shell;
use crate::support::{App, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};

fn list(front: &Front) -> Request {
    front.post(&message(1, "tools/list", json!({})))
}

// curl.

#[test]
fn a_list_without_a_handshake_opens_a_session() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let first = front.request("POST", "/mcp").header("Content-Type", "application/json").header("Accept", BOTH);
    let reply = first.json(&json!({"jsonrpc": "2.0", "method": "tools/list", "id": 1})).send();
    let id = reply.header("mcp-session-id").expect("a session").to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(reply.kind(), "application/json");
    assert!(keys(&reply.result(), List::Tools).contains(&"alpha__echo".to_owned()));

    // The id is one of a session like any other.
    let reply = front.post(&call(2, "alpha__echo", json!({"text": "x"}))).in_session(&id).send();
    assert!(reply.header("mcp-session-id").is_none_or(|known| known == id));
    assert_eq!(reply.result()["structuredContent"]["params"]["arguments"]["text"], "x");
    let stream = front.request("GET", "/mcp").accept("text/event-stream").in_session(&id).open();
    assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"));
    assert!(matches!(front.request("DELETE", "/mcp").in_session(&id).send().status, 200 | 202 | 204));
    list(&front).in_session(&id).send().is(404);
}

#[test]
fn every_request_may_come_first() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    eventually("it is listed", || keys(&list(&front).send().result(), List::Tools).contains(&"alpha__echo".to_owned()).then_some(()));
    let messages = [
        message(1, "ping", json!({})),
        message(1, "prompts/list", json!({})),
        message(1, "resources/list", json!({})),
        message(1, "resources/read", json!({"uri": "scripted://greeting"})),
        call(1, "alpha__echo", json!({})),
    ];
    let mut ids = std::collections::HashSet::new();
    for message in messages {
        let reply = front.post(&message).send();
        let id = reply.header("mcp-session-id").unwrap_or_else(|| panic!("no session: {message}")).to_owned();
        assert!(ids.insert(id), "sessions are not shared");
        assert!(reply.result().is_object());
    }
}

#[test]
fn json_is_answered_to_everybody_who_takes_it() {
    let server = Server::stdio("alpha", &[]);
    for flags in [&["--session-timeout=60"], &["--stateless"]] {
        let front = Proxy::new().file(&file_of(&[&server])).arg(flags[0]).serve();
        let accepted: [(&str, Change); 6] = [
            ("json", |list| list.accept("application/json")),
            ("anything", |list| list.accept("*/*")),
            ("nothing said", |list| list.without("Accept")),
            ("any application", |list| list.accept("application/*")),
            ("as browsers do", |list| list.accept("text/html, application/xhtml+xml, */*;q=0.8")),
            ("in two lines", |list| list.accept("application/json").and("Accept", "text/event-stream")),
        ];
        for (what, change) in accepted {
            let reply = change(list(&front)).send();
            assert_eq!((reply.status, reply.kind()), (200, "application/json"), "{what}");
            assert_eq!(reply.header("mcp-session-id").is_some(), flags[0] != "--stateless", "{what}");
            assert!(!keys(&reply.result(), List::Tools).is_empty());
        }
    }
}

#[test]
fn the_endpoint_is_at_the_root_too() {
    let front = Proxy::new().serve();
    for target in ["/mcp", "/", "/mcp/", "/mcp?x=1", "/?"] {
        let reply = list(&front).at(target).send();
        assert_eq!(reply.status, 200, "{target}");
    }
    for target in ["/MCP", "//mcp", "/mcp/x", "/sse", "/messages", "/mcp%2f"] {
        list(&front).at(target).send().is(404);
    }
}

#[test]
fn who_knows_the_protocol_is_held_to_it() {
    let front = Proxy::new().serve();
    for revision in ["2025-06-18", REVISION] {
        for message in [message(1, "tools/list", json!({})), notification("notifications/initialized", json!({}))] {
            let reply = front.post(&message).revision(revision).send();
            reply.is(400);
            assert_eq!(reply.header("mcp-session-id"), None);
        }
        front.request("GET", "/mcp").accept("text/event-stream").revision(revision).send().is(400);
        front.request("DELETE", "/mcp").revision(revision).send().is(400);
    }
    // Whoever names a revision in its handshake does so in the message.
    let reply = front.post(&initialize(REVISION, json!({}))).revision(REVISION).send();
    assert!(reply.header("mcp-session-id").is_some(), "{reply:?}");
}

#[test]
fn an_error_opens_no_session() {
    let front = Proxy::new().serve();
    let broken = front.post(&Value::Null).body("{");
    let requests = [
        broken,
        front.post(&json!({})),
        front.post(&notification("notifications/initialized", json!({}))),
        front.post(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})),
        front.post(&initialize(REVISION, json!({}))).header("Content-Type", "text/plain"),
    ];
    for request in requests {
        let reply = request.send();
        assert_eq!(reply.header("mcp-session-id"), None, "{reply:?}");
    }
}

/// The examples of the README are run as they stand there, but for the port, the key and the session.
#[test]
fn the_examples_of_the_readme_work() {
    let readme = include_str!("../../README.md");
    let examples = examples(readme);
    assert!(!examples.is_empty(), "README.md shows nobody how to ask over HTTP with curl");
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    for flags in [&["--session-timeout=60"], &["--stateless"]] {
        let front = Proxy::new().app(&app).arg(flags[0]).serve();
        for example in &examples {
            let session = if flags[0] == "--stateless" { "none".to_owned() } else { front.session().id };
            let command = fill_in(example, &front.address.port().to_string(), &session);
            // The status after the answer; the example itself says what else it wants.
            let command = command.replacen("curl ", "curl --silent --show-error --max-time 10 --write-out '\\n%{http_code}' ", 1);
            let output = shell(&command);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let status = text.lines().last().unwrap_or_default();
            assert!(output.status.success() && status.starts_with('2'), "{command}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
            assert!(!text.contains("\"error\""), "{command}\n{text}");
        }
    }
}

/// The curl commands of fenced blocks that ask a proxy on this machine for the endpoint.
fn examples(readme: &str) -> Vec<String> {
    let blocks = readme.split("```").skip(1).step_by(2);
    let mut examples = Vec::new();
    for block in blocks {
        let mut command = String::new();
        for line in block.lines().skip(1) {
            let line = line.trim_start_matches("$ ");
            if command.is_empty() && !line.starts_with("curl ") {
                continue;
            }
            command.push_str(line);
            // It goes on after a backslash and inside quotes.
            if line.ends_with('\\') || command.matches('\'').count() % 2 == 1 {
                command.push('\n');
                continue;
            }
            let mine = command.contains(":12006");
            let whole = std::mem::take(&mut command);
            examples.extend(mine.then_some(whole));
        }
    }
    examples
}

fn fill_in(example: &str, port: &str, session: &str) -> String {
    let text = example.replace(":12006", &format!(":{port}"));
    let text = replace_value(&text, "Authorization: Bearer ", crate::support::KEY);
    replace_value(&text, "Mcp-Session-Id: ", session)
}

/// Replaces what stands behind a label up to the closing quote, whatever letters the label has.
fn replace_value(text: &str, label: &str, value: &str) -> String {
    let Some(start) = text.to_lowercase().find(&label.to_lowercase()) else {
        return text.to_owned();
    };
    let start = start + label.len();
    let length = text[start..].find(['"', '\'']).expect("a header stands in quotes");
    format!("{}{value}{}", &text[..start], &text[start + length..])
}

// Several messages at once.

#[test]
fn several_messages_are_answered_to_those_who_may_send_them() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut old = Session::open(&front.post(&Value::Null), "2025-03-26", json!({}));
    old.find(List::Tools, "alpha__echo");
    let batch = json!([
        message(1, "ping", json!({})),
        notification("notifications/cancelled", json!({"requestId": 4242})),
        call("x", "alpha__echo", json!({"text": "one"})),
        message(2, "no/such", json!({})),
        {"jsonrpc": "2.0", "id": 77, "result": {}},
        call(3, "alpha__echo", json!({"text": "two"})),
        7,
    ]);
    for request in [old.post(&batch), old.with(|request| request.without("MCP-Protocol-Version")).post(&batch), front.post(&batch)] {
        let reply = request.send();
        assert_eq!(reply.status, 200, "{reply:?}");
        let answers = flat(reply.messages());
        let of = |id: Value| answers.iter().find(|answer| answer["id"] == id).unwrap_or_else(|| panic!("no answer to {id}: {answers:?}"));
        assert_eq!(answers.len(), 5, "{answers:?}");
        assert_eq!(of(json!(1))["result"], json!({}));
        assert_eq!(of(json!("x"))["result"]["structuredContent"]["params"]["arguments"]["text"], "one");
        assert_eq!(of(json!(3))["result"]["structuredContent"]["params"]["arguments"]["text"], "two");
        assert_eq!(of(json!(2))["error"]["code"], -32_601);
        assert_eq!(of(Value::Null)["error"]["code"], -32_600);
    }
}

/// Answers may come as one array or as one event each.
fn flat(messages: Vec<Value>) -> Vec<Value> {
    let lists = messages.into_iter().map(|message| match message {
        Value::Array(messages) => messages,
        message => vec![message],
    });
    lists.flatten().collect()
}

#[test]
fn what_needs_no_answer_gets_none() {
    let front = Proxy::new().serve();
    let old = Session::open(&front.post(&Value::Null), "2025-03-26", json!({}));
    let batch = json!([notification("notifications/initialized", json!({})), {"jsonrpc": "2.0", "id": 1, "result": {}}]);
    let reply = old.post(&batch).send();
    assert_eq!((reply.status, reply.body.as_str()), (202, ""));
}

#[test]
fn several_messages_are_refused_where_the_revision_has_none() {
    let front = Proxy::new().serve();
    for revision in ["2025-06-18", REVISION] {
        let mut session = Session::open(&front.post(&Value::Null), revision, json!({}));
        for batch in [json!([message(1, "ping", json!({}))]), json!([message(1, "ping", json!({})), message(2, "ping", json!({}))])] {
            session.post(&batch).send().is(400);
            // Leaving the header out makes the session no older.
            session.with(|request| request.without("MCP-Protocol-Version")).post(&batch).send().is(400);
        }
        assert!(session.is_alive());
    }
}

#[test]
fn an_empty_batch_and_batches_of_handshakes_are_refused() {
    let front = Proxy::new().serve();
    let old = Session::open(&front.post(&Value::Null), "2025-03-26", json!({}));
    old.post(&json!([])).send().is_refusal(400, -32_600);
    front.post(&json!([])).send().is_refusal(400, -32_600);
    let reply = front.post(&json!([initialize("2025-03-26", json!({})), message(1, "ping", json!({}))])).send();
    // 2025-03-26: "The initialize request MUST NOT be part of a JSON-RPC batch".
    let answers = flat(reply.messages());
    assert!(answers.iter().all(|answer| answer["result"].get("protocolVersion").is_none()), "{answers:?}");
}

#[test]
fn an_id_may_not_come_twice_in_one_batch() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut old = Session::open(&front.post(&Value::Null), "2025-03-26", json!({}));
    old.find(List::Tools, "alpha__echo");
    let batch = json!([call(1, "alpha__slow", json!({"label": "x", "ms": 100})), call(1, "alpha__slow", json!({"label": "y", "ms": 100}))]);
    let answers = flat(old.post(&batch).send().messages());
    let refused = answers.iter().filter(|answer| answer["error"]["code"] == -32_600).count();
    assert_eq!((answers.len(), refused), (2, 1), "{answers:?}");
}
