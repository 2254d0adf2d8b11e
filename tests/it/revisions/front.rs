//! What clients of 2026-07-28 get, on both fronts.

#![allow(clippy::needless_pass_by_value, reason = "`json!({..})` reads better without a borrow in front of it")]

use crate::support::client::Mark;
use crate::support::http::{self, Stream};
use crate::support::modern::{CAPABILITIES, MODERN, SUBSCRIPTION, VERSION, ask, call, modern};
use crate::support::{Client, Front, Proxy, Server, eventually, file_of, process, stays};
use serde_json::{Value, json};

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const UPDATED: &str = "notifications/resources/updated";
const GREETING: &str = "scripted://greeting";

/// A client without a handshake, over one of the fronts.
enum Wire {
    Stdio(Client),
    Http(Front),
}

/// A `subscriptions/listen` request.
struct Listener {
    id: Value,
    /// What it has heard over stdio.
    heard: usize,
    mark: Mark,
    /// Over HTTP.
    stream: Option<Stream>,
}

fn both(servers: &[&Server]) -> [Wire; 2] {
    let proxy = || Proxy::new().file(&file_of(servers));
    let mut wires = [Wire::Stdio(proxy().launch()), Wire::Http(proxy().serve())];
    for wire in &mut wires {
        for server in servers {
            wire.finds(&server.tool("echo"));
        }
    }
    wires
}

impl Wire {
    /// The whole answer.
    #[track_caller]
    fn ask(&mut self, message: &Value) -> Value {
        match self {
            Self::Http(front) => ask(front, message).send().answer(),
            Self::Stdio(client) => {
                let mark = client.mark();
                client.line(&message.to_string());
                let id = message["id"].clone();
                eventually("an answer", || client.since(mark).into_iter().find(|heard| heard["method"].is_null() && heard["id"] == id))
            }
        }
    }

    #[track_caller]
    fn request(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(&modern("request", method, params));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    #[track_caller]
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    #[track_caller]
    fn finds(&mut self, tool: &str) {
        eventually("it is listed", || self.request("tools/list", json!({}))["tools"].to_string().contains(tool).then_some(()));
    }

    #[track_caller]
    fn code(&mut self, message: &Value) -> i64 {
        let answer = self.ask(message);
        assert_eq!(answer["id"], message["id"], "{answer}");
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer} to {message}"))
    }

    /// Begins to listen, and returns what is acknowledged.
    #[track_caller]
    fn listen(&mut self, id: impl Into<Value>, notifications: Value) -> (Listener, Value) {
        let message = modern(id, "subscriptions/listen", json!({"notifications": notifications}));
        let id = message["id"].clone();
        let (mark, stream) = match self {
            Self::Stdio(client) => {
                let mark = client.mark();
                client.line(&message.to_string());
                (mark, None)
            }
            Self::Http(front) => {
                let stream = ask(front, &message).open();
                assert_eq!((stream.status, stream.kind(), stream.header("x-accel-buffering")), (200, "text/event-stream", Some("no")));
                assert_eq!(stream.header("mcp-session-id"), None);
                (Mark::START, Some(stream))
            }
        };
        let mut listener = Listener { id, heard: 0, mark, stream };
        let first = listener.next(self);
        assert_eq!(first["method"], ACKNOWLEDGED, "{first}");
        (listener, first["params"]["notifications"].clone())
    }

    #[track_caller]
    fn journal(&mut self, server: &str) -> Value {
        self.call(&format!("{server}__calls"), json!({}))["structuredContent"]["subscriptions"].take()
    }

    /// Lets a server say that a resource has changed.
    #[track_caller]
    fn change(&mut self, server: &str, uri: &str) {
        let updated = json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri, "_meta": {"x": 1}, "x-vendor": 1.0}});
        self.call(&format!("{server}__talk"), json!({"lines": [{"say": updated}]}));
    }
}

impl Listener {
    /// The next message, which must be its own.
    #[track_caller]
    fn next(&mut self, wire: &Wire) -> Value {
        let message = match (wire, &mut self.stream) {
            (Wire::Http(_), Some(stream)) => stream.message().expect("the stream goes on"),
            (Wire::Stdio(client), None) => eventually("a message", || self.all(client).into_iter().nth(self.heard)),
            _ => unreachable!("it is of this wire"),
        };
        self.heard += 1;
        assert_eq!(message["params"]["_meta"][SUBSCRIPTION], self.id, "{message}");
        message
    }

    /// What is its own of what the client has heard.
    fn all(&self, client: &Client) -> Vec<Value> {
        client.since(self.mark).into_iter().filter(|heard| heard["params"]["_meta"][SUBSCRIPTION] == self.id).collect()
    }

    #[track_caller]
    fn hears(&mut self, wire: &Wire, method: &str) -> Value {
        let message = self.next(wire);
        assert_eq!(message["method"], method, "{message}");
        message
    }

    #[track_caller]
    fn is_silent(&mut self, wire: &Wire) {
        match (wire, &mut self.stream) {
            (Wire::Http(_), Some(stream)) => stream.is_silent(std::time::Duration::from_millis(300)),
            (Wire::Stdio(client), None) => stays("nothing is heard", || self.all(client).len() == self.heard),
            _ => unreachable!("it is of this wire"),
        }
    }

    /// Ends it as a client does.
    fn end(self, wire: &mut Wire) {
        match wire {
            // The connection is what it lives by.
            Wire::Http(_) => drop(self),
            Wire::Stdio(client) => client.notify("notifications/cancelled", json!({"requestId": self.id})),
        }
    }
}

#[test]
fn requests_need_no_handshake() {
    let server = Server::stdio("alpha", &[]);
    for mut wire in both(&[&server]) {
        for method in ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            let result = wire.request(method, json!({}));
            assert_eq!((&result["resultType"], result["ttlMs"].is_u64()), (&json!("complete"), true), "{method}: {result}");
        }
        let result = wire.call("alpha__echo", json!({"text": "x"}));
        assert_eq!((&result["resultType"], &result["structuredContent"]["params"]["arguments"]["text"]), (&json!("complete"), &json!("x")));
        // What the two revisions call the same is one promise.
        let offered = wire.request("server/discover", json!({}))["capabilities"].take();
        assert_eq!((&offered["tools"]["listChanged"], &offered["resources"]["subscribe"]), (&json!(true), &json!(true)), "{offered}");
    }
}

#[test]
fn broken_declarations_are_told_so() {
    let cases: [(&str, Value, i64); 9] = [
        ("no capabilities", json!({VERSION: MODERN}), -32_602),
        ("no version", json!({CAPABILITIES: {}}), -32_602),
        ("a version of another type", json!({VERSION: 20_260_728, CAPABILITIES: {}}), -32_602),
        ("no version at all", json!({VERSION: null, CAPABILITIES: {}}), -32_602),
        ("capabilities of another type", json!({VERSION: MODERN, CAPABILITIES: []}), -32_602),
        ("capabilities that are null", json!({VERSION: MODERN, CAPABILITIES: null}), -32_602),
        ("a future version", json!({VERSION: "2099-01-01", CAPABILITIES: {}}), -32_022),
        ("no version of ours", json!({VERSION: "x", CAPABILITIES: {}}), -32_022),
        ("a version with a handshake", json!({VERSION: "2025-11-25", CAPABILITIES: {}}), -32_022),
    ];
    for mut wire in both(&[]) {
        for (what, meta, code) in &cases {
            let message = http::message("7", "tools/list", json!({"_meta": meta}));
            let answer = match &wire {
                // Header and message agree where they can.
                Wire::Http(front) => {
                    let version = meta[VERSION].as_str().filter(|version| *version != "2025-11-25" && *version != "x");
                    let request = front.post(&message).header("Mcp-Method", "tools/list");
                    let reply = version.map_or_else(|| request.clone(), |version| request.clone().revision(version)).send();
                    assert_eq!(reply.status, 400, "{what}: {reply:?}");
                    reply.answer()
                }
                Wire::Stdio(_) => wire.ask(&message),
            };
            // What is no version of ours fits no header.
            let is_mismatch = matches!(wire, Wire::Http(_)) && ["2025-11-25", "x"].iter().any(|version| meta[VERSION] == *version);
            let code = if is_mismatch { -32_020 } else { *code };
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("7"), &json!(code)), "{what}: {answer}");
            if code == -32_022 {
                let data = &answer["error"]["data"];
                assert_eq!(data["requested"], meta[VERSION], "{what}");
                assert!(data["supported"].as_array().is_some_and(|known| known.contains(&json!(MODERN))), "{what}: {data}");
            }
        }
        assert_eq!(wire.request("tools/list", json!({}))["resultType"], "complete");
    }
}

#[test]
fn methods_of_other_revisions_are_not_found() {
    for mut wire in both(&[]) {
        for method in ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "tasks/result", "x"] {
            assert_eq!(wire.code(&modern(1, method, json!({"uri": "x", "level": "info"}))), -32_601, "{method}");
        }
    }
}

#[test]
fn a_handshake_settles_the_era_of_a_pipe() {
    // It knows the methods of the other era, which are not passed on to it.
    let server = Server::stdio("alpha", &["--modern"]);
    let mut client = Proxy::new().file(&file_of(&[&server])).launch();
    // Before it each message says for itself, and one that says nothing is served as ever.
    client.request("ping", json!({})).result();
    assert_eq!(client.request("tools/list", json!({})).result()["resultType"], Value::Null);
    client.initialize();
    client.find(crate::support::List::Tools, "alpha__echo");
    let meta = json!({VERSION: MODERN, CAPABILITIES: {}});
    client.request("ping", json!({"_meta": meta})).result();
    assert_eq!(client.request("tools/list", json!({"_meta": meta})).result()["resultType"], Value::Null);
    assert_eq!(client.request("subscriptions/listen", json!({"_meta": meta, "notifications": {}})).code(), -32_601);
    // A client that looks for another era finds it, and asks as it did before.
    assert_eq!(client.request("server/discover", json!({"_meta": meta})).result()["resultType"], "complete");
    assert_eq!(client.request("server/discover", json!({})).code(), -32_601);
    client.request("ping", json!({})).result();
}

#[test]
fn initialize_is_of_the_old_era_unless_it_declares_its_client() {
    for (asked, agreed) in [("2026-07-28", "2025-11-25"), ("2099-01-01", "2025-11-25"), ("2025-06-18", "2025-06-18")] {
        let mut client = Proxy::new().launch();
        let params = json!({"protocolVersion": asked, "capabilities": {}});
        assert_eq!(client.request("initialize", params.clone()).result()["protocolVersion"], agreed);
        let front = Proxy::new().serve();
        let reply = front.post(&http::message(1, "initialize", params)).send();
        assert!(reply.header("mcp-session-id").is_some(), "{reply:?}");
        assert_eq!(reply.result()["protocolVersion"], agreed);
    }
    for mut wire in both(&[]) {
        assert_eq!(wire.code(&modern(1, "initialize", json!({"protocolVersion": MODERN, "capabilities": {}}))), -32_601);
    }
}

#[test]
fn nobody_is_asked_in_a_pipe_without_a_handshake() {
    let server = Server::stdio("alpha", &[]);
    let [mut wire, _] = both(&[&server]);
    let Wire::Stdio(client) = &mut wire else { unreachable!("it is the first") };
    let mark = client.mark();
    let mut message = call("alpha__talk", json!({"lines": [{"ask": "sampling/createMessage", "ms": 300}]}));
    message["params"]["_meta"][CAPABILITIES] = json!({"sampling": {}});
    client.line(&message.to_string());
    // Nor is there anything to answer.
    for answer in [json!({"jsonrpc": "2.0", "id": 1, "result": {}}), json!({"jsonrpc": "2.0", "id": "asked-1", "result": {"x": 1}})] {
        client.line(&answer.to_string());
    }
    client.hear(mark, "the answer", |heard| heard["id"] == 1);
    let requests = client.since(mark).into_iter().filter(|heard| !heard["method"].is_null() && !heard["id"].is_null());
    assert_eq!(requests.collect::<Vec<_>>(), [Value::Null; 0]);
    assert_eq!(client.since(mark).iter().filter(|heard| heard["id"] == 1).count(), 1);
}

#[test]
fn a_cancellation_over_a_pipe_is_no_matter_of_eras() {
    let server = Server::stdio("alpha", &[]);
    let [mut wire, _] = both(&[&server]);
    let journal = |wire: &mut Wire, what: &str| wire.call("alpha__calls", json!({}))["structuredContent"][what].to_string();
    let Wire::Stdio(client) = &mut wire else { unreachable!("it is the first") };
    client.line(&modern("slow", "tools/call", json!({"name": "alpha__slow", "arguments": {"label": "x"}})).to_string());
    eventually("it has started", || journal(&mut wire, "started").contains('x').then_some(()));
    let Wire::Stdio(client) = &mut wire else { unreachable!("it is the first") };
    client.notify("notifications/cancelled", json!({"requestId": "slow", "_meta": {VERSION: MODERN, CAPABILITIES: {}}}));
    eventually("it is cancelled", || journal(&mut wire, "cancelled").contains('x').then_some(()));
}

#[test]
fn an_id_in_use_is_refused_and_its_owner_is_answered() {
    let server = Server::stdio("alpha", &[]);
    let [mut wire, _] = both(&[&server]);
    let Wire::Stdio(client) = &mut wire else { unreachable!("it is the first") };
    let mark = client.mark();
    client.line(&modern("same", "tools/call", json!({"name": "alpha__slow", "arguments": {"label": "x"}})).to_string());
    client.line(&modern("same", "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})).to_string());
    let refused = client.hear(mark, "an answer", |heard| heard["id"] == "same");
    assert_eq!(refused["error"]["code"], -32_600, "{refused}");
    let mark = client.mark();
    wire.call("alpha__release", json!({"label": "x"}));
    let Wire::Stdio(client) = &mut wire else { unreachable!("it is the first") };
    let answer = client.hear(mark, "an answer", |heard| heard["id"] == "same");
    assert_eq!(answer["result"]["content"][0]["text"], "finished", "{answer}");
}

#[test]
fn a_listener_is_told_what_it_has_asked_for_and_no_more() {
    let server = Server::stdio("alpha", &["--resource=scripted://second"]);
    for mut wire in both(&[&server]) {
        let (mut tools, accepted) = wire.listen(7, json!({"toolsListChanged": true, "promptsListChanged": false}));
        assert_eq!(accepted, json!({"toolsListChanged": true}));
        let (mut other, accepted) = wire.listen("7", json!({"promptsListChanged": true, "resourceSubscriptions": [GREETING], "x": 1}));
        assert_eq!(accepted, json!({"promptsListChanged": true, "resourceSubscriptions": [GREETING]}));
        let (mut nothing, accepted) = wire.listen(1.5, json!({}));
        assert_eq!(accepted, json!({}));

        wire.call("alpha__add", json!({"kind": "tools", "name": "new"}));
        tools.hears(&wire, TOOLS);
        wire.call("alpha__add", json!({"kind": "prompts", "name": "new"}));
        other.hears(&wire, PROMPTS);
        wire.change("alpha", "scripted://second");
        wire.change("alpha", GREETING);
        let update = other.hears(&wire, UPDATED);
        assert_eq!(update["params"], json!({"uri": GREETING, "_meta": {"x": 1, SUBSCRIPTION: "7"}, "x-vendor": 1.0}));
        for listener in [&mut tools, &mut other, &mut nothing] {
            listener.is_silent(&wire);
        }
        // Another change of what it has been told of before.
        wire.call("alpha__add", json!({"kind": "tools", "name": "newer"}));
        tools.hears(&wire, TOOLS);
    }
}

#[test]
fn nobody_is_told_of_changes_who_does_not_listen() {
    let server = Server::stdio("alpha", &[]);
    let [mut wire, _] = both(&[&server]);
    let Wire::Stdio(client) = &wire else { unreachable!("it is the first") };
    let mark = client.mark();
    let (mut listener, _) = wire.listen(1, json!({"toolsListChanged": true}));
    wire.call("alpha__add", json!({"kind": "tools", "name": "new"}));
    listener.hears(&wire, TOOLS);
    let Wire::Stdio(client) = &wire else { unreachable!("it is the first") };
    let told = || client.since(mark).into_iter().filter(|heard| !heard["method"].is_null()).collect::<Vec<_>>();
    stays("nothing else is said", || told().len() == 2);
    assert!(told().iter().all(|heard| heard["params"]["_meta"][SUBSCRIPTION] == 1), "{:?}", told());
}

#[test]
fn a_subscription_ends_with_its_last_listener() {
    let server = Server::stdio("alpha", &[]);
    for mut wire in both(&[&server]) {
        let [(first, _), (mut second, _)] = [1, 2].map(|id| wire.listen(id, json!({"resourceSubscriptions": [GREETING, GREETING]})));
        assert_eq!(wire.journal("alpha"), json!([format!("+{GREETING}")]));
        first.end(&mut wire);
        wire.change("alpha", GREETING);
        second.hears(&wire, UPDATED);
        second.end(&mut wire);
        eventually("the server has no subscriber", || {
            (wire.journal("alpha") == json!([format!("+{GREETING}"), format!("-{GREETING}")])).then_some(())
        });
        // The ids are free again.
        let (last, _) = wire.listen(1, json!({"resourceSubscriptions": [GREETING]}));
        last.end(&mut wire);
    }
}

#[test]
fn what_cannot_be_listened_to_is_not_acknowledged() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &["--without=subscribe", "--resource=scripted://beta"]);
    for mut wire in both(&[&alpha, &beta]) {
        let wanted = json!(["nothing://here", "scripted://beta", "scripted://items/7"]);
        let (_listener, accepted) = wire.listen(1, json!({"toolsListChanged": true, "resourceSubscriptions": wanted, "taskIds": ["x"]}));
        assert_eq!(accepted["toolsListChanged"], true, "{accepted}");
        assert!(accepted.get("taskIds").is_none(), "{accepted}");
        let uris = accepted["resourceSubscriptions"].as_array().cloned().unwrap_or_default();
        assert!(!uris.contains(&json!("nothing://here")) && !uris.contains(&json!("scripted://beta")), "{accepted}");
    }
}

#[test]
fn a_filter_of_the_wrong_shape_is_refused() {
    for mut wire in both(&[]) {
        for params in [
            json!({}),
            json!({"notifications": null}),
            json!({"notifications": ["toolsListChanged"]}),
            json!({"notifications": {"toolsListChanged": "yes"}}),
            json!({"notifications": {"resourceSubscriptions": GREETING}}),
            json!({"notifications": {"resourceSubscriptions": [1]}}),
        ] {
            assert_eq!(wire.code(&modern(3, "subscriptions/listen", params.clone())), -32_602, "{params}");
        }
        wire.listen(3, json!({"toolsListChanged": true}));
    }
}

/// What a listener is answered when it is over.
#[track_caller]
fn is_over(answer: &Value, id: &Value) {
    assert_eq!(*answer, json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: id}}}));
}

#[test]
fn those_who_listen_do_not_hold_up_the_end() {
    let server = Server::stdio("alpha", &[]);
    let mut front = Proxy::serving(&[&server]);
    let listen = modern("l", "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let mut stream = ask(&front, &listen).open();
    stream.hear(ACKNOWLEDGED);
    let begun = std::time::Instant::now();
    front.signal("-TERM");
    let last = stream.messages().pop().expect("an answer");
    is_over(&last, &json!("l"));
    front.ends();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_pipe_that_ends_answers_those_who_listen() {
    for signal in [false, true] {
        let [mut wire, _] = both(&[]);
        let (listener, _) = wire.listen(5, json!({"toolsListChanged": true}));
        let Wire::Stdio(client) = &mut wire else { unreachable!("it is the first") };
        if signal {
            process::signal(client.process().id(), "-TERM");
        } else {
            client.end_input();
        }
        let answer = client.hear(listener.mark, "the answer", |heard| heard["id"] == 5 && heard["method"].is_null());
        is_over(&answer, &json!(5));
    }
}

#[test]
fn listeners_over_http_are_counted_and_take_events() {
    let front = Proxy::new().arg("--max-sessions=2").serve();
    let listen = |id: i32| ask(&front, &modern(id, "subscriptions/listen", json!({"notifications": {}})));
    listen(1).accept("application/json").send().is(406);
    let [first, _second] = [1, 2].map(|id| {
        let mut stream = listen(id).open();
        stream.hear(ACKNOWLEDGED);
        stream
    });
    let refused = listen(3).send();
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    refused.is(503);
    drop(first);
    eventually("there is room again", || (listen(3).open().status == 200).then_some(()));
    // In a session there is another way to be told.
    let mut session = front.session();
    assert_eq!(session.ask("subscriptions/listen", json!({"notifications": {}})).send().code(), -32_601);
}

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// A call during which the server logs once at each level.
fn logging(id: &str, level: Option<Value>) -> Value {
    let say = |level| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": id}});
    let lines: Vec<_> = LEVELS.iter().map(|level| json!({"say": say(level)})).collect();
    let mut message = modern(id, "tools/call", json!({"name": "alpha__talk", "arguments": {"lines": lines}}));
    if let Some(level) = level {
        message["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = level;
    }
    message
}

/// The levels that were heard before the answer.
fn heard(wire: &mut Wire, message: &Value) -> Vec<String> {
    let messages = match wire {
        Wire::Http(front) => ask(front, message).send().messages(),
        Wire::Stdio(client) => {
            let mark = client.mark();
            client.line(&message.to_string());
            client.hear(mark, "the answer", |heard| heard["id"] == message["id"]);
            client.since(mark)
        }
    };
    let logs = messages.iter().take_while(|message| message["id"].is_null());
    logs.map(|message| message["params"]["level"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn log_messages_come_to_the_request_that_asks_for_them() {
    let server = Server::stdio("alpha", &[]);
    for mut wire in both(&[&server]) {
        let levels = |wire: &mut Wire| wire.call("alpha__calls", json!({}))["structuredContent"]["levels"].clone();
        for level in [None, Some(json!("verbose")), Some(json!(3)), Some(Value::Null)] {
            assert_eq!(heard(&mut wire, &logging("none", level)), [""; 0]);
        }
        assert_eq!(levels(&mut wire), json!([]));
        assert_eq!(heard(&mut wire, &logging("some", Some(json!("warning")))), LEVELS[3..]);
        assert_eq!(heard(&mut wire, &logging("all", Some(json!("debug")))), LEVELS);
        assert_eq!(heard(&mut wire, &logging("few", Some(json!("alert")))), LEVELS[6..]);
        assert_eq!(heard(&mut wire, &logging("none", None)), [""; 0]);
        // The server is told before the call where it must log more, and afterwards that it need not.
        assert_eq!(levels(&mut wire).as_array().expect("a list")[..2], ["warning", "debug"]);
        eventually("the server is told less", || (levels(&mut wire) == json!(["warning", "debug", "info"])).then_some(()));
    }
}

#[test]
fn what_sessions_want_to_see_outlasts_requests() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(crate::support::List::Tools, "alpha__talk");
    session.request("logging/setLevel", json!({"level": "error"}));
    eventually("the server knows the level", || (session.journal("alpha", "levels") == ["error"]).then_some(()));
    let mut wire = Wire::Http(front);
    assert_eq!(heard(&mut wire, &logging("all", Some(json!("debug")))), LEVELS);
    eventually("the server is told less", || (session.journal("alpha", "levels") == ["error", "debug", "error"]).then_some(()));
}

/// A client over a pipe that has agreed on a revision.
fn agreed(servers: &[&Server], revision: &str) -> Client {
    let mut client = Proxy::new().file(&file_of(servers)).launch();
    assert_eq!(client.initialize_with(revision).result()["protocolVersion"], revision);
    client.notify("notifications/initialized", json!({}));
    client
}

#[test]
fn several_messages_in_a_line_are_of_one_revision_alone() {
    let batch = json!([http::message(1001, "ping", json!({})), http::message(1002, "ping", json!({}))]);
    for (revision, is_batched) in [("2024-11-05", false), ("2025-03-26", true), ("2025-06-18", false), ("2025-11-25", false)] {
        let mut client = agreed(&[], revision);
        let answers = client.batch(&batch);
        assert_eq!(answers.len() == 2, is_batched, "{revision}: {answers:?}");
        if !is_batched {
            assert_eq!((&answers[0]["id"], &answers[0]["error"]["code"]), (&Value::Null, &json!(-32_600)), "{revision}");
        }
        let front = Proxy::new().serve();
        let session = http::Session::open(&front.post(&Value::Null), revision, json!({}));
        let reply = session.post(&batch).send();
        assert_eq!(reply.status, if is_batched { 200 } else { 400 }, "{revision}: {reply:?}");
    }
    // Before a handshake nobody has agreed on anything.
    let mut client = Proxy::new().launch();
    assert_eq!(client.batch(&batch)[0]["error"]["code"], -32_600);
}

#[test]
fn each_message_of_a_line_is_taken_for_itself() {
    let server = Server::stdio("alpha", &[]);
    let mut client = agreed(&[&server], "2025-03-26");
    client.find(crate::support::List::Tools, "alpha__slow");
    let slow = |id: &str| http::call(id, "alpha__slow", json!({"label": id}));
    let cancel = http::notification("notifications/cancelled", json!({"requestId": "gone"}));
    let echo = http::call(1001, "alpha__echo", json!({"text": "x"}));
    let release = http::call("release", "alpha__release", json!({"label": "kept"}));
    let answers = client.batch(&json!([echo, 7, slow("kept"), slow("gone"), cancel, {"jsonrpc": "2.0", "id": 9}, release]));
    let mut ids: Vec<_> = answers.iter().map(|answer| answer["id"].to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["\"kept\"", "\"release\"", "1001", "9", "null"], "{answers:?}");
    for (batch, what) in [
        (json!([]), "an empty one"),
        (json!([http::initialize("2025-03-26", json!({}))]), "one that begins a session"),
        (json!(vec![http::message(1, "ping", json!({})); 101]), "one too large"),
    ] {
        assert_eq!(client.batch(&batch)[0]["error"]["code"], -32_600, "{what}");
    }
    // Nothing is said to what needs no answer.
    let mark = client.mark();
    client.line(&json!([cancel, {"jsonrpc": "2.0", "id": "asked-1", "result": {}}]).to_string());
    client.request("ping", json!({})).result();
    assert_eq!(client.since(mark).len(), 1);
}

#[test]
fn another_revision_that_is_known_does_not_end_a_session() {
    let front = Proxy::new().serve();
    let session = http::Session::open(&front.post(&Value::Null), "2025-06-18", json!({}));
    let ping = |revision: &str| session.post(&http::message(1, "ping", json!({}))).revision(revision).send();
    for known in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(ping(known).result(), json!({}), "{known}");
    }
    assert_eq!(session.post(&http::message(1, "ping", json!({}))).without("MCP-Protocol-Version").send().result(), json!({}));
    for unknown in ["2025-06-19", "x", ""] {
        ping(unknown).is(400);
    }
    // This one has no sessions, so that the message must say who asks.
    assert_eq!(ping(MODERN).status, 400);
}

type Headers = &'static [(&'static str, &'static str)];

#[test]
fn marked_arguments_must_stand_in_headers() {
    let schema = r#"--schema=located={"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}"#;
    let broken = r#"--schema=broken={"type":"object","properties":{"a":{"type":"array","x-mcp-header":"A"}}}"#;
    let server = Server::stdio("alpha", &[schema, broken]);
    let cases: [(&str, Value, Headers, bool); 15] = [
        ("nothing to say", json!({}), &[], true),
        ("a null", json!({"region": null}), &[], true),
        ("as it is", json!({"region": "eu"}), &[("Mcp-Param-Region", "eu")], true),
        ("in other letters", json!({"region": "eu"}), &[("MCP-PARAM-REGION", "  eu ")], true),
        ("in base64", json!({"region": "eu"}), &[("Mcp-Param-Region", "=?base64?ZXU=?=")], true),
        ("what no header holds", json!({"region": "ü"}), &[("Mcp-Param-Region", "=?base64?w7w=?=")], true),
        ("two of them", json!({"region": "eu", "deep": {"n": 7}}), &[("Mcp-Param-Region", "eu"), ("Mcp-Param-N", "7")], true),
        ("somebody else's", json!({"deep": {"n": 7}}), &[("Mcp-Param-N", "7"), ("Mcp-Param-X", "y")], true),
        ("missing", json!({"region": "eu"}), &[], false),
        ("one missing", json!({"region": "eu", "deep": {"n": 7}}), &[("Mcp-Param-Region", "eu")], false),
        ("another value", json!({"region": "eu"}), &[("Mcp-Param-Region", "us")], false),
        ("a value in other letters", json!({"region": "eu"}), &[("Mcp-Param-Region", "EU")], false),
        ("bad base64", json!({"region": "eu"}), &[("Mcp-Param-Region", "=?base64?%?=")], false),
        ("twice", json!({"region": "eu"}), &[("Mcp-Param-Region", "eu"), ("Mcp-Param-Region", "eu")], false),
        ("of no argument", json!({}), &[("Mcp-Param-Region", "eu")], false),
    ];
    let [mut stdio, http] = both(&[&server]);
    let Wire::Http(front) = &http else { unreachable!("it is the second") };
    for (what, arguments, headers, is_right) in cases {
        let message = call("alpha__located", arguments.clone());
        let request = headers.iter().fold(ask(front, &message), |request, (name, value)| request.and(name, value));
        let reply = request.send();
        if is_right {
            assert_eq!(reply.result()["structuredContent"]["params"]["arguments"], arguments, "{what}");
        } else {
            assert_eq!((reply.status, reply.code(), &reply.answer()["id"]), (400, -32_020, &json!(1)), "{what}: {reply:?}");
        }
        // A pipe has no headers.
        assert_eq!(stdio.call("alpha__located", arguments.clone())["structuredContent"]["params"]["arguments"], arguments, "{what}");
    }
    // What no client can follow is not asked of any.
    ask(front, &call("alpha__broken", json!({"a": [1]}))).send().result();
}
