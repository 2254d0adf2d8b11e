//! Clients of revision 2026-07-28: no handshake, no session, everything in each request.

use crate::support::http::{Change, Front, Reply};
use crate::support::modern::{CAPABILITIES, MODERN, VERSION, ask, call, modern};
use crate::support::{Kind, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(a_lost_connection_cancels_its_call);

const MISMATCH: i64 = -32_020;
const UNSUPPORTED: i64 = -32_022;

/// Something that is wrong with a message.
type Spoil = fn(&mut Value);

/// Both ways to start the proxy, which must make no difference here.
fn fronts(servers: &[&Server]) -> [Front; 2] {
    [&["--session-timeout=60"], &["--stateless"]].map(|flags: &[&str; 1]| {
        let front = Proxy::new().file(&file_of(servers)).arg(flags[0]).serve();
        for server in servers {
            eventually("it is listed", || {
                let tools = ask(&front, &modern(1, "tools/list", json!({}))).send().result();
                tools["tools"].to_string().contains(&server.tool("echo")).then_some(())
            });
        }
        front
    })
}

/// What every whole result has.
#[track_caller]
fn complete(reply: Reply) -> Value {
    assert_eq!(reply.header("mcp-session-id"), None, "{reply:?}");
    let result = reply.result();
    assert_eq!(result["resultType"], "complete", "{result}");
    result
}

/// What results have beside it that may be kept.
#[track_caller]
fn cacheable(reply: Reply) -> Value {
    let result = complete(reply);
    assert!(result["ttlMs"].is_u64(), "{result}");
    assert!(matches!(result["cacheScope"].as_str(), Some("public" | "private")), "{result}");
    result
}

#[test]
fn requests_are_served_without_a_session() {
    let server = Server::stdio("alpha", &[]);
    for front in fronts(&[&server]) {
        for method in ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            cacheable(ask(&front, &modern("x", method, json!({}))).send());
        }
        cacheable(ask(&front, &modern(1, "resources/read", json!({"uri": "scripted://greeting"}))).send());
        complete(ask(&front, &modern(1, "prompts/get", json!({"name": "greet"}))).send());
        let result = complete(ask(&front, &call("alpha__echo", json!({"text": "x"}))).send());
        assert_eq!(result["structuredContent"]["params"]["arguments"]["text"], "x");
        // A tool that fails is still a whole result, and what its server said stays.
        let result = complete(ask(&front, &call("alpha__fail", json!({}))).send());
        assert_eq!((&result["isError"], &result["x-code"]), (&json!(true), &json!(451)));
    }
}

#[test]
fn discovery_says_what_is_offered() {
    let server = Server::stdio("alpha", &[]);
    for front in fronts(&[&server]) {
        let result = cacheable(ask(&front, &modern(1, "server/discover", json!({}))).send());
        let versions = result["supportedVersions"].as_array().expect("a list");
        assert!(versions.contains(&json!(MODERN)), "{result}");
        assert!(result["capabilities"]["tools"].is_object(), "{result}");
        let identity = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert!(identity["name"].is_string() && identity["version"].is_string(), "{result}");
        // What only sessions have is not promised.
        assert!(result["capabilities"].get("logging").is_none_or(Value::is_object), "{result}");
    }
}

#[test]
fn an_id_of_a_session_is_ignored() {
    let server = Server::stdio("alpha", &[]);
    for front in fronts(&[&server]) {
        for id in ["x", "00000000000000000000000000000000"] {
            complete(ask(&front, &call("alpha__echo", json!({}))).in_session(id).send());
        }
    }
}

#[test]
fn headers_and_message_must_say_the_same() {
    let server = Server::stdio("alpha", &[]);
    let change: [(&str, Change); 14] = [
        ("another method", |ask| ask.header("Mcp-Method", "tools/list")),
        ("a method in other letters", |ask| ask.header("Mcp-Method", "TOOLS/CALL")),
        ("no method", |ask| ask.without("Mcp-Method")),
        ("an empty method", |ask| ask.header("Mcp-Method", "")),
        ("two methods", |ask| ask.and("Mcp-Method", "ping")),
        ("another name", |ask| ask.header("Mcp-Name", "alpha__fail")),
        ("a name in other letters", |ask| ask.header("Mcp-Name", "ALPHA__ECHO")),
        ("no name", |ask| ask.without("Mcp-Name")),
        ("two names", |ask| ask.and("Mcp-Name", "alpha__fail")),
        ("another name in base64", |ask| ask.header("Mcp-Name", "=?base64?YWxwaGFfX2ZhaWw=?=")),
        ("bad base64", |ask| ask.header("Mcp-Name", "=?base64?%%%?=")),
        ("base64 of no text", |ask| ask.header("Mcp-Name", "=?base64?//79?=")),
        ("no version", |ask| ask.without("MCP-Protocol-Version")),
        ("another version", |ask| ask.revision("2025-11-25")),
    ];
    for front in fronts(&[&server]) {
        for (what, change) in change {
            let reply = change(ask(&front, &call("alpha__echo", json!({})))).send();
            assert_eq!((reply.status, reply.code()), (400, MISMATCH), "{what}: {reply:?}");
            assert_eq!(reply.answer()["id"], 1, "{what}");
        }
    }
}

#[test]
fn names_may_be_written_in_base64() {
    let server = Server::stdio("alpha", &["--tool=Grüße", "--resource=scripted://grün"]);
    for front in fronts(&[&server]) {
        // The same name in both ways.
        for name in ["alpha__echo", "=?base64?YWxwaGFfX2VjaG8=?=", "  alpha__echo  "] {
            complete(ask(&front, &call("alpha__echo", json!({}))).header("Mcp-Name", name).send());
        }
        let read = modern(1, "resources/read", json!({"uri": "scripted://grün"}));
        let reply = ask(&front, &read).header("Mcp-Name", "=?base64?c2NyaXB0ZWQ6Ly9ncsO8bg==?=").send();
        assert_eq!(complete(reply)["contents"][0]["uri"], "scripted://grün");
        // To the letter, it is no header value.
        let reply = ask(&front, &read).header("Mcp-Name", "scripted://grün").send();
        assert_eq!(reply.status, 400, "{reply:?}");
    }
}

#[test]
fn versions_that_nobody_knows_are_refused() {
    for front in fronts(&[]) {
        for version in ["2099-01-01", "2026-07-29"] {
            let mut message = modern(1, "tools/list", json!({}));
            message["params"]["_meta"][VERSION] = json!(version);
            let reply = ask(&front, &message).revision(version).send();
            reply.is_refusal(400, UNSUPPORTED);
            let data = &reply.error()["data"];
            assert_eq!(data["requested"], version, "{data}");
            assert!(data["supported"].as_array().is_some_and(|known| known.contains(&json!(MODERN))), "{data}");
            assert_eq!(reply.answer()["id"], 1);
        }
    }
}

#[test]
fn metadata_must_be_there() {
    let change: [(&str, Spoil); 7] = [
        ("no metadata", |message| message["params"] = json!({})),
        ("no parameters", |message| {
            message.as_object_mut().expect("an object").remove("params");
        }),
        ("empty metadata", |message| message["params"]["_meta"] = json!({})),
        ("metadata that is none", |message| message["params"]["_meta"] = json!("x")),
        ("no version", |message| {
            message["params"]["_meta"].as_object_mut().expect("an object").remove(VERSION);
        }),
        ("no capabilities", |message| {
            message["params"]["_meta"].as_object_mut().expect("an object").remove(CAPABILITIES);
        }),
        ("capabilities that are none", |message| message["params"]["_meta"][CAPABILITIES] = json!([])),
    ];
    for front in fronts(&[]) {
        for (what, change) in change {
            let mut message = modern(1, "tools/list", json!({}));
            change(&mut message);
            let reply = ask(&front, &message).send();
            assert_eq!((reply.status, reply.code()), (400, -32_602), "{what}: {reply:?}");
            assert_eq!(reply.answer()["id"], 1, "{what}");
        }
    }
}

#[test]
fn methods_that_are_gone_or_unknown_are_not_found() {
    for front in fronts(&[]) {
        let gone = ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "no/such", "Tools/List"];
        for method in gone {
            let reply = ask(&front, &modern(1, method, json!({"uri": "x", "level": "info"}))).send();
            assert_eq!((reply.status, reply.code()), (404, -32_601), "{method}: {reply:?}");
            assert_eq!(reply.answer()["id"], 1);
        }
        // The headers speak for themselves.
        for method in ["GET", "DELETE"] {
            let reply = front.request(method, "/mcp").accept("text/event-stream").revision(MODERN).send();
            reply.is(405);
        }
    }
}

#[test]
fn errors_of_servers_stay_what_they_are() {
    let server = Server::stdio("alpha", &[]);
    for front in fronts(&[&server]) {
        let reply = ask(&front, &call("alpha__error", json!({}))).send();
        assert_eq!((reply.status, reply.code()), (200, -32_050));
    }
}

#[test]
fn notifications_are_taken_and_answers_are_not() {
    for front in fronts(&[]) {
        let mut message = modern(1, "notifications/cancelled", json!({"requestId": 7}));
        message.as_object_mut().expect("an object").remove("id");
        let reply = ask(&front, &message).send();
        assert_eq!((reply.status, reply.body.as_str()), (202, ""));
        let batch = json!([modern(1, "tools/list", json!({})), modern(2, "tools/list", json!({}))]);
        let reply = front.post(&batch).revision(MODERN).header("Mcp-Method", "tools/list").send();
        reply.is(400);
    }
}

#[test]
fn progress_comes_to_who_asks_for_it() {
    let server = Server::stdio("alpha", &[]);
    for front in fronts(&[&server]) {
        let mut message = call("alpha__progress", json!({"steps": 5}));
        message["params"]["_meta"]["progressToken"] = json!("t");
        let mut stream = ask(&front, &message).open();
        assert_eq!((stream.status, stream.kind(), stream.header("mcp-session-id")), (200, "text/event-stream", None));
        for step in 1..=5 {
            assert_eq!(stream.hear("notifications/progress")["params"]["progress"], step);
        }
        assert_eq!(stream.answer()["result"]["resultType"], "complete");
    }
}

#[test]
fn nobody_is_asked_by_a_request_of_its_own() {
    let server = Server::stdio("alpha", &[]);
    for front in fronts(&[&server]) {
        let mut message = call("alpha__talk", json!({"lines": [{"ask": "sampling/createMessage", "ms": 2000}]}));
        message["params"]["_meta"][CAPABILITIES] = json!({"sampling": {}});
        let reply = ask(&front, &message).send();
        let requests = reply.messages().iter().filter(|message| message.get("method").is_some() && message.get("id").is_some()).count();
        assert_eq!(requests, 0, "{reply:?}");
    }
}

fn a_lost_connection_cancels_its_call(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    for (number, front) in fronts(&[&server]).into_iter().enumerate() {
        let label = format!("lost {number}");
        let started = ask(&front, &call("alpha__slow", json!({"label": label}))).start();
        let journal = |what: &str| complete(ask(&front, &call("alpha__calls", json!({}))).send())["structuredContent"][what].to_string();
        eventually("it has started", || journal("started").contains(&label).then_some(()));
        drop(started);
        eventually("it is cancelled", || journal("cancelled").contains(&label).then_some(()));
    }
}
