//! Servers of every revision: how each is found out, what is remembered of it, what is sent to it, and what it says.

use crate::support::client::Mark;
use crate::support::{Client, Home, Kind, List, Proxy, Server, eventually, file_of, over_each_wire, stays};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

over_each_wire!(an_answer_that_is_none_fails_its_call_at_once);

const KINDS: [Kind; 3] = [Kind::Stdio, Kind::Http, Kind::HttpJson];
const DISCOVER: &str = "server/discover";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A client of 2025-11-25 that has seen the server's tools.
#[track_caller]
fn before(server: &Server) -> Client {
    let mut client = Proxy::before(&[server]);
    client.find(List::Tools, &server.tool("echo"));
    client
}

/// The methods that the server has heard.
#[track_caller]
fn methods(client: &mut Client, server: &Server) -> Vec<String> {
    journal(client, server, "methods")
}

#[track_caller]
fn journal(client: &mut Client, server: &Server, what: &str) -> Vec<String> {
    let journal = client.call(&server.tool("calls"), json!({}));
    let entries = journal["structuredContent"][what].as_array().expect("a list");
    entries.iter().map(|entry| entry.as_str().expect("a text").to_owned()).collect()
}

fn heard(methods: &[String], method: &str) -> usize {
    methods.iter().filter(|heard| *heard == method).count()
}

/// Everything works, whatever the server speaks.
#[track_caller]
fn serves(client: &mut Client, server: &Server) {
    let result = client.call(&server.tool("echo"), json!({"text": "x", "n": 1.0}));
    assert_eq!(result["structuredContent"]["params"]["arguments"], json!({"text": "x", "n": 1.0}));
    assert_eq!(client.request("prompts/get", json!({"name": "greet"})).result()["description"], "Greets somebody");
    let read = client.request("resources/read", json!({"uri": "scripted://greeting"})).result();
    assert_eq!(read["contents"][0]["uri"], "scripted://greeting");
    assert_eq!(client.call(&server.tool("fail"), json!({}))["isError"], true);
}

#[test]
fn a_server_is_asked_once_what_it_is() {
    for kind in KINDS {
        for (flags, discovered, initialized) in [(&[][..], 1, 1), (&["--modern"][..], 1, 0), (&["--dual"][..], 1, 0)] {
            let server = Server::new(kind, "alpha", flags);
            let mut client = before(&server);
            serves(&mut client, &server);
            let methods = methods(&mut client, &server);
            // The old one refuses the question over HTTP before it looks at it.
            let looked = if flags.is_empty() && kind != Kind::Stdio { 0 } else { discovered };
            assert_eq!(heard(&methods, DISCOVER), looked, "{kind:?} {flags:?} {methods:?}");
            for method in ["initialize", "notifications/initialized"] {
                assert_eq!(heard(&methods, method), initialized, "{kind:?} {flags:?} {methods:?}");
            }
        }
    }
}

#[test]
fn over_http_and_sse_nothing_is_asked() {
    let server = Server::sse("alpha", &[]);
    let mut client = before(&server);
    serves(&mut client, &server);
    assert_eq!(heard(&methods(&mut client, &server), DISCOVER), 0);
}

#[test]
fn a_server_that_dies_of_the_question_is_started_again_and_never_asked_again() {
    let server = Server::stdio("alpha", &["--exit-on-probe"]);
    let home = Home::new();
    for run in 0..2 {
        let mut client = Proxy::at(&home).file(&file_of(&[&server])).start();
        client.find(List::Tools, &server.tool("echo"));
        serves(&mut client, &server);
        let died = client.stderr().contains("before initialize, giving up");
        assert_eq!(died, run == 0, "run {run}: {}", client.stderr());
        client.finish();
    }
}

#[test]
fn a_server_that_ignores_the_question_is_told_initialize() {
    for (kind, flags) in [(Kind::Stdio, "--ignore-unknown"), (Kind::HttpJson, "--hang=server/discover")] {
        let server = Server::new(kind, "alpha", &[flags]);
        let mut client = before(&server);
        serves(&mut client, &server);
        assert_eq!(heard(&methods(&mut client, &server), "initialize"), 1, "{kind:?}");
    }
}

#[test]
fn a_server_that_starts_slowly_is_what_it_says_in_the_end() {
    // It hears both, and refuses one.
    let server = Server::stdio("alpha", &["--modern", "--slow-probe=6000"]);
    let mut client = before(&server);
    serves(&mut client, &server);
    let methods = methods(&mut client, &server);
    assert_eq!((heard(&methods, DISCOVER), heard(&methods, "initialize")), (1, 1), "{methods:?}");
    assert_eq!(heard(&methods, "notifications/initialized"), 0, "{methods:?}");
}

#[test]
fn what_a_server_is_stays_known_between_runs() {
    let home = Home::new();
    let old = Server::http("old", &[]);
    let modern = Server::http("modern", &["--modern"]);
    let count = |server: &Server, method: &str| {
        let seen = server.running().seen();
        seen.iter().filter(|seen| seen.method.as_deref() == Some(method)).count()
    };
    let run = |round: usize, probes: usize| {
        let mut client = Proxy::at(&home).file(&file_of(&[&old, &modern])).start();
        // Listings are kept between runs as well, so that only a call shows who is there.
        for server in [&old, &modern] {
            client.find(List::Tools, &server.tool("echo"));
            client.call(&server.tool("echo"), json!({}));
        }
        client.finish();
        assert_eq!((count(&old, DISCOVER), count(&old, "initialize")), (probes, round), "round {round}");
        assert_eq!((count(&modern, DISCOVER), count(&modern, "initialize")), (round, 0), "round {round}");
    };
    run(1, 1);
    let file = home.path().join("cache/pluggedin-mcp-proxy/revisions.json");
    eventually("it is stored", || file.exists().then_some(()));
    run(2, 1);
    // A file that makes no sense is as good as none, and is written anew.
    std::fs::write(&file, "{").expect("it can be written");
    run(3, 2);
    eventually("it is stored again", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("handshakes")));
    run(4, 2);
}

#[test]
fn a_server_that_has_become_newer_is_found_out() {
    let home = Home::new();
    let flags = |flag: &'static str| move || Server::http("alpha", if flag.is_empty() { vec![] } else { vec![flag] }.as_slice());
    let old = flags("")();
    let port = old.running().url().rsplit(':').next().and_then(|rest| rest.split('/').next().map(str::to_owned)).expect("a port");
    let run = |server: &Server| {
        let mut client = Proxy::at(&home).file(&file_of(&[server])).start();
        client.find(List::Tools, "alpha__echo");
        serves(&mut client, server);
        client.finish();
    };
    run(&old);
    drop(old);
    let new = Server::http("alpha", &["--modern", &format!("--port={port}")]);
    run(&new);
    let seen: Vec<_> = new.running().seen().into_iter().filter_map(|seen| seen.method).take(2).collect();
    assert_eq!(seen, ["initialize", DISCOVER], "it was known to want a handshake");
}

/// The server's entry with a revision.
fn pinned(server: &Server, revision: &str) -> Value {
    let mut file = file_of(&[server]);
    file["mcpServers"][&server.name]["protocolVersion"] = json!(revision);
    file
}

#[test]
fn a_configured_revision_is_spoken_at_once() {
    for kind in KINDS {
        for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
            let server = Server::new(kind, "alpha", &["--dual"]);
            let mut client = Proxy::new().file(&pinned(&server, revision)).start();
            client.find(List::Tools, "alpha__echo");
            let methods = methods(&mut client, &server);
            assert_eq!((heard(&methods, DISCOVER), heard(&methods, "initialize")), (0, 1), "{kind:?} {methods:?}");
            client.complains(&format!("revision={revision}"));
        }
        let server = Server::new(kind, "alpha", &["--dual"]);
        let mut client = Proxy::new().file(&pinned(&server, "2026-07-28")).start();
        client.find(List::Tools, "alpha__echo");
        assert_eq!(heard(&methods(&mut client, &server), "initialize"), 0, "{kind:?}");
    }
}

#[test]
fn a_server_without_discovery_can_be_configured() {
    let server = Server::http("alpha", &["--modern", "--hang=server/discover"]);
    let mut client = Proxy::new().file(&pinned(&server, "2026-07-28")).start();
    client.find(List::Tools, "alpha__echo");
    serves(&mut client, &server);
    let server = Server::stdio("alpha", &["--modern", "--without-discovery"]);
    let mut client = Proxy::new().file(&pinned(&server, "2026-07-28")).start();
    client.find(List::Tools, "alpha__echo");
    serves(&mut client, &server);
}

#[test]
fn requests_over_http_say_in_headers_what_they_are() {
    for kind in [Kind::Http, Kind::HttpJson] {
        // The server compares every header with the message, and refuses what differs.
        let schema = r#"--schema=located={"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"},"yes":{"type":"boolean","x-mcp-header":"Yes"}}}}}"#;
        let server = Server::new(kind, "alpha", &["--modern", "--tool=Grüße", "--resource=scripted://grün", schema]);
        let mut client = before(&server);
        let called = |client: &mut Client, tool: &str, arguments: Value| {
            client.call(tool, arguments.clone());
            let seen = server.running().seen();
            let seen = seen.iter().rfind(|seen| seen.method.as_deref() == Some("tools/call")).expect("it was called").clone();
            seen.headers.into_iter().filter(|(name, _)| name.starts_with("mcp-")).map(|(name, value)| format!("{name}: {value}")).collect()
        };
        let expect = |rest: &[&str]| -> Vec<String> {
            let all = ["mcp-method: tools/call"].iter().chain(rest).chain(&["mcp-protocol-version: 2026-07-28"]);
            let mut all: Vec<_> = all.map(|header| (*header).to_owned()).collect();
            all.sort();
            all
        };
        let headers: Vec<String> = called(&mut client, "alpha__echo", json!({"region": "x"}));
        assert_eq!(headers, expect(&["mcp-name: echo"]));
        let strange = client.names(List::Tools).into_iter().find(|name| name.contains("Gr")).expect("it is listed");
        let headers: Vec<String> = called(&mut client, &strange, json!({}));
        assert_eq!(headers, expect(&["mcp-name: =?base64?R3LDvMOfZQ==?="]));
        let arguments = json!({"region": "eu ", "deep": {"n": -7, "yes": true}});
        let headers: Vec<String> = called(&mut client, "alpha__located", arguments);
        assert_eq!(headers, expect(&["mcp-name: located", "mcp-param-n: -7", "mcp-param-region: =?base64?ZXUg?=", "mcp-param-yes: true"]));
        let headers: Vec<String> = called(&mut client, "alpha__located", json!({"region": null}));
        assert_eq!(headers, expect(&["mcp-name: located"]));
        let read = client.request("resources/read", json!({"uri": "scripted://grün"})).result();
        assert_eq!(read["contents"][0]["uri"], "scripted://grün");
        client.finish();
        let seen = server.running().seen();
        assert!(seen.iter().all(|seen| seen.http == "POST" && !seen.headers.contains_key("mcp-session-id")), "{seen:?}");
    }
}

#[test]
fn a_tool_whose_headers_make_no_sense_is_left_out_over_http_alone() {
    let schema = r#"--schema=broken={"type":"object","properties":{"a":{"type":"array","x-mcp-header":"A"}}}"#;
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern", schema]);
        let mut client = before(&server);
        let listed = client.names(List::Tools).contains(&"alpha__broken".to_owned());
        assert_eq!(listed, kind == Kind::Stdio, "{kind:?}");
        if !listed {
            client.complains("a tool was left out: `x-mcp-header`");
        }
    }
    let server = Server::http("alpha", &[schema]);
    before(&server).find(List::Tools, "alpha__broken");
}

#[test]
fn each_request_tells_a_newer_server_who_asks() {
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern"]);
        let mut client = before(&server);
        let echoed = client.call("alpha__echo", json!({}));
        let meta = &echoed["structuredContent"]["params"]["_meta"];
        assert_eq!(meta[VERSION], "2026-07-28", "{meta}");
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "it", "{meta}");
    }
}

#[test]
fn a_cancelled_call_is_cancelled_as_the_wire_has_it() {
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern"]);
        let mut client = before(&server);
        let pending = client.send_call("alpha__slow", json!({"label": "x"}));
        eventually("it has started", || (journal(&mut client, &server, "started") == ["x"]).then_some(()));
        client.cancel(&pending);
        eventually("it is cancelled", || (journal(&mut client, &server, "cancelled") == ["x"]).then_some(()));
        let told = heard(&methods(&mut client, &server), "notifications/cancelled");
        assert_eq!(told, usize::from(kind == Kind::Stdio), "{kind:?}");
    }
}

#[test]
fn a_newer_server_that_sends_a_request_is_refused() {
    for kind in [Kind::Stdio, Kind::Http] {
        let server = Server::new(kind, "alpha", &["--modern"]);
        let mut client = Proxy::before_able(&[&server], json!({"sampling": {}}));
        client.find(List::Tools, "alpha__talk");
        let pending = client.send_call("alpha__talk", json!({"lines": [{"ask": "sampling/createMessage"}]}));
        let answer = client.answer(&pending).result();
        assert!(answer.to_string().contains("request"), "{kind:?} {answer}");
        let asked = client.since(Mark::START).into_iter().filter(|message| message["method"] == "sampling/createMessage").count();
        assert_eq!(asked, 0, "{kind:?}");
    }
}

fn an_answer_that_is_none_fails_its_call_at_once(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--tool=raw"]);
    let mut client = before(&server);
    client.find(List::Tools, "alpha__raw");
    for text in [
        r#"{"jsonrpc":"2.0","id":$ID,"result":{},"error":{"code":1,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":$ID}"#,
        r#"{"id":$ID,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"result":7}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"error":"m"}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"result":{},"result":{}}"#,
    ] {
        let answer = client.call("alpha__raw", json!({"text": text}));
        assert_eq!(answer["isError"], true, "{text}: {answer}");
        assert!(answer["content"][0]["text"].as_str().is_some_and(|text| text.contains("broke the protocol")), "{text}: {answer}");
        // The connection is as good as before.
        client.call("alpha__echo", json!({}));
    }
}

const GREETING: &str = "scripted://greeting";
const UPDATED: &str = "notifications/resources/updated";
const LISTS: &str = r#"{"promptsListChanged":true,"resourcesListChanged":true,"toolsListChanged":true}"#;

/// The filters of those who listen at the server now.
#[track_caller]
fn listeners(client: &mut Client, server: &Server) -> Vec<Value> {
    let mut open = Vec::new();
    for entry in journal(client, server, "listens") {
        let filter: Value = serde_json::from_str(&entry[1..]).expect("a filter");
        if entry.starts_with('+') {
            open.push(filter);
        } else if let Some(at) = open.iter().position(|known| *known == filter) {
            open.remove(at);
        }
    }
    open
}

#[track_caller]
fn listens(client: &mut Client, server: &Server, uris: &[&str]) {
    let mut filter: Value = serde_json::from_str(LISTS).expect("an object");
    if !uris.is_empty() {
        filter["resourceSubscriptions"] = json!(uris);
    }
    eventually("one stream is open, for what is wanted", || (listeners(client, server) == [filter.clone()]).then_some(()));
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri, "x-vendor": 1.0}})
}

#[test]
fn what_a_newer_server_does_not_tell_of_is_refused_and_costs_nobody_else() {
    let server = Server::http("alpha", &["--modern", "--resource=scripted://second"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Resources, GREETING);
    client.request("resources/subscribe", json!({"uri": GREETING})).result();
    let asked = Instant::now();
    for uri in ["scripted://unheard", "scripted://forbidden"] {
        let refused = client.request("resources/subscribe", json!({"uri": uri}));
        assert!(refused.error()["message"].as_str().is_some_and(|text| text.contains("does not tell of changes")), "{uri}");
    }
    client.request("resources/subscribe", json!({"uri": "scripted://second"})).result();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    listens(&mut client, &server, &[GREETING, "scripted://second"]);
    for uri in [GREETING, "scripted://second"] {
        let mark = client.mark();
        server.running().touch(uri);
        assert_eq!(client.notified(mark, UPDATED), updated(uri));
    }
}

#[test]
fn changes_of_lists_at_a_newer_server_reach_older_clients() {
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern", "--tool=touch"]);
        let mut client = before(&server);
        listens(&mut client, &server, &[]);
        for list in [List::Tools, List::Prompts, List::Resources] {
            client.list(list);
            let mark = client.mark();
            client.call("alpha__add", json!({"kind": list.member(), "name": "scripted://new"}));
            client.notified(mark, &list.changed());
            assert!(client.names(list).iter().any(|name| name.contains("new")), "{kind:?} {list:?}");
        }
    }
}

#[test]
fn changes_of_resources_at_a_newer_server_reach_older_clients() {
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern", "--tool=touch", "--resource=scripted://second"]);
        let mut client = before(&server);
        client.find(List::Resources, "scripted://second");
        listens(&mut client, &server, &[]);
        let mark = client.mark();
        for uri in [GREETING, "scripted://second"] {
            assert_eq!(client.request("resources/subscribe", json!({"uri": uri})).result(), json!({}), "{kind:?}");
        }
        // What was agreed to holds at once.
        client.call("alpha__touch", json!({"uri": GREETING}));
        assert_eq!(client.notified(mark, UPDATED), updated(GREETING), "{kind:?}");
        listens(&mut client, &server, &[GREETING, "scripted://second"]);
        assert_eq!(client.request("resources/unsubscribe", json!({"uri": GREETING})).result(), json!({}));
        listens(&mut client, &server, &["scripted://second"]);
        let mark = client.mark();
        for uri in [GREETING, "scripted://second"] {
            client.call("alpha__touch", json!({"uri": uri}));
        }
        assert_eq!(client.notified(mark, UPDATED), updated("scripted://second"), "{kind:?}");
        let heard = methods(&mut client, &server);
        assert!(!heard.iter().any(|method| method.starts_with("resources/subscribe")), "{heard:?}");
    }
}

#[test]
fn who_is_sent_away_listens_again() {
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern", "--tool=touch", "--tool=dismiss"]);
        let mut client = before(&server);
        client.find(List::Resources, GREETING);
        client.request("resources/subscribe", json!({"uri": GREETING})).result();
        listens(&mut client, &server, &[GREETING]);
        client.call("alpha__dismiss", json!({}));
        // What is said while nobody listens is not lost for good.
        client.call("alpha__add", json!({"kind": "tools", "name": "meanwhile"}));
        client.find(List::Tools, "alpha__meanwhile");
        listens(&mut client, &server, &[GREETING]);
        let mark = client.mark();
        client.call("alpha__touch", json!({"uri": GREETING}));
        assert_eq!(client.notified(mark, UPDATED), updated(GREETING), "{kind:?}");
    }
}

#[test]
fn a_newer_server_that_is_restarted_is_listened_to_again() {
    let mut server = Server::http("alpha", &["--modern", "--tool=touch"]);
    let mut client = before(&server);
    client.find(List::Resources, GREETING);
    client.request("resources/subscribe", json!({"uri": GREETING})).result();
    server.running_mut().restart();
    listens(&mut client, &server, &[GREETING]);
    let mark = client.mark();
    client.call("alpha__touch", json!({"uri": GREETING}));
    assert_eq!(client.notified(mark, UPDATED), updated(GREETING));
}

#[test]
fn to_listen_keeps_no_process_running() {
    let server = Server::stdio("alpha", &["--modern"]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--idle-timeout=0.3").start();
    client.find(List::Resources, GREETING);
    let pid = |client: &mut Client| client.call("alpha__process", json!({}))["structuredContent"]["pid"].clone();
    let running = pid(&mut client);
    stays("it may stop", || true);
    let next = pid(&mut client);
    assert_ne!(next, running);
    // Unless somebody waits for its news.
    client.request("resources/subscribe", json!({"uri": GREETING})).result();
    let running = pid(&mut client);
    stays("it runs", || true);
    assert_eq!(pid(&mut client), running);
}

#[test]
fn a_newer_server_that_tells_of_nothing_is_served_all_the_same() {
    for kind in KINDS {
        let server = Server::new(kind, "alpha", &["--modern", "--without=subscriptions"]);
        let mut client = before(&server);
        serves(&mut client, &server);
        let refused = client.request("resources/subscribe", json!({"uri": GREETING})).error();
        assert_eq!(refused["code"], -32_601, "{kind:?} {refused}");
        assert_eq!(heard(&methods(&mut client, &server), "subscriptions/listen"), 1, "{kind:?}");
    }
}
