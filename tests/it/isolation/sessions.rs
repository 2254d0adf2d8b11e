//! Connections of single sessions: who has them, that nothing leaks between them, and how they end.

use super::SAMPLING;
use crate::support::http::{Front, Session, Stream};
use crate::support::process::has_ended;
use crate::support::proxy::FILE;
use crate::support::{Home, KEY, Kind, List, Proxy, Server, Workspace, eventually, file_of, stays};
use crate::support::{app::App, client::Client};
use serde_json::{Value, json};
use std::time::Duration;

const GREETING: &str = "scripted://greeting";
const UPDATED: &str = "notifications/resources/updated";

/// How servers are isolated over each wire that leads to them.
const ISOLATED: [(Kind, &str); 4] = [(Kind::Http, "auto"), (Kind::HttpJson, "auto"), (Kind::Sse, "auto"), (Kind::Stdio, "session")];

fn server(kind: Kind) -> Server {
    Server::new(kind, "alpha", &["--tool=introduced", "--tool=count"])
}

fn proxy(servers: &[&Server], isolation: &str) -> Proxy {
    Proxy::new().file(&file_of(servers)).arg(&format!("--isolation={isolation}"))
}

/// A session that knows the tools of `alpha`.
#[track_caller]
fn join(front: &Front, capabilities: Value) -> Session {
    let mut session = front.session_able(capabilities);
    session.find(List::Tools, "alpha__count");
    session
}

#[track_caller]
fn introduced(session: &mut Session) -> Value {
    session.call("alpha__introduced", json!({}))["structuredContent"]["capabilities"].take()
}

#[track_caller]
fn count(session: &mut Session) -> u64 {
    session.call("alpha__count", json!({}))["structuredContent"]["count"].as_u64().expect("a number")
}

#[track_caller]
fn metric(front: &Front, name: &str) -> String {
    let page = front.request("GET", "/metrics").send().body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().to_owned()
}

#[track_caller]
fn has_own(front: &Front, expect: &str) {
    eventually(&format!("{expect} connections are of single sessions"), || {
        (metric(front, "pluggedin_own_connections ") == expect).then_some(())
    });
}

/// Has the server say something on the session's connection when no call is in flight any more.
#[track_caller]
fn later(session: &mut Session, message: &Value) {
    session.call("alpha__talk", json!({"lines": [{"later": message, "ms": 100}]}));
}

fn request(id: &str, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"x": [1.0]}})
}

/// Waits for the answer that the server has got under this id. It asks while no call is in flight, which could be meant.
#[track_caller]
fn answered(server: &Server, session: &mut Session, id: &str) -> String {
    let mut answers = || match server.kind {
        Kind::Stdio => session.journal("alpha", "answers"),
        Kind::Http | Kind::HttpJson | Kind::Sse => server.running().server.journal().answers,
    };
    if server.kind == Kind::Stdio {
        stays("no call is in flight", || true);
    }
    eventually(&format!("{id} is answered"), || answers().into_iter().find(|answer| answer.contains(&format!(r#""id":"{id}""#))))
}

fn silent(stream: &mut Stream) {
    stream.is_silent(Duration::from_millis(200));
}

#[test]
fn sessions_have_connections_as_it_is_configured() {
    let shared = json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}});
    let (one, other) = (json!({"roots": {"x": 1.0}}), json!({"sampling": {"tools": {}}}));
    for (kind, option, entry, isolated) in [
        (Kind::Http, "auto", None, true),
        (Kind::Http, "session", None, true),
        (Kind::Http, "shared", None, false),
        (Kind::Sse, "auto", None, true),
        (Kind::Sse, "session", None, true),
        (Kind::Sse, "shared", None, false),
        (Kind::Stdio, "auto", None, false),
        (Kind::Stdio, "session", None, true),
        (Kind::Stdio, "shared", None, false),
        (Kind::Http, "session", Some("shared"), false),
        (Kind::Stdio, "shared", Some("session"), true),
        (Kind::Stdio, "session", Some("auto"), false),
    ] {
        let case = format!("{kind:?} {option} {entry:?}");
        let server = server(kind);
        let mut file = file_of(&[&server]);
        if let Some(entry) = entry {
            file["mcpServers"]["alpha"]["isolation"] = json!(entry);
        }
        let front = Proxy::new().file(&file).arg(&format!("--isolation={option}")).serve();
        let mut first = join(&front, one.clone());
        let mut second = join(&front, other.clone());
        let seen = [introduced(&mut first), introduced(&mut second)];
        if isolated {
            assert_eq!(seen, [one.clone(), other.clone()], "{case}");
        } else {
            assert_eq!(seen, [shared.clone(), shared.clone()], "{case}");
        }
        let counts = [count(&mut first), count(&mut first), count(&mut second)];
        assert_eq!(counts, [1, 2, if isolated { 1 } else { 3 }], "{case}");
        assert_eq!(metric(&front, "pluggedin_own_connections "), if isolated { "2" } else { "0" }, "{case}");
        let health = front.request("GET", "/health").send().json();
        assert_eq!(health["servers"][0]["ofSessions"], if isolated { json!(2) } else { Value::Null }, "{case}");
    }
}

#[test]
fn servers_without_a_handshake_are_shared() {
    let server = Server::http("alpha", &["--modern", "--tool=count"]);
    let front = proxy(&[&server], "session").serve();
    let (mut first, mut second) = (join(&front, json!({})), join(&front, json!({})));
    count(&mut first);
    count(&mut second);
    assert_eq!(metric(&front, "pluggedin_own_connections "), "0");
}

#[test]
fn a_client_that_introduces_itself_late_is_known_to_servers_as_what_it_is() {
    let server = server(Kind::Http);
    let front = proxy(&[&server], "auto").serve();
    let mut session = join(&front, json!({}));
    assert_eq!(introduced(&mut session), json!({}));
    let again = crate::support::http::initialize("2025-11-25", json!({"sampling": {}}));
    session.post(&again).send().result();
    assert_eq!(introduced(&mut session), json!({"sampling": {}}));
}

#[test]
fn what_a_server_asks_outside_of_calls_reaches_its_session() {
    for (kind, isolation) in ISOLATED {
        let server = server(kind);
        let front = proxy(&[&server], isolation).serve();
        let mut able = join(&front, json!({"roots": {}, "sampling": {}}));
        let mut other = join(&front, json!({"roots": {}}));
        count(&mut other);

        for method in ["roots/list", SAMPLING] {
            let id = format!("early {method}");
            later(&mut able, &request(&id, method));
            let refusal = answered(&server, &mut able, &id);
            assert!(refusal.contains("no event stream open") && refusal.contains("-32600"), "{refusal}");
        }
        let (mut news, mut other_news) = (able.listen(), other.listen());
        for method in ["roots/list", SAMPLING] {
            later(&mut able, &request(method, method));
            let asked = news.hear(method);
            assert_eq!(asked["params"], json!({"x": [1.0]}));
            assert_ne!(asked["id"], method, "ids of servers are not those of the client");
            able.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"y": 1.0}})).send();
            assert_eq!(answered(&server, &mut able, method), format!(r#"{{"jsonrpc":"2.0","id":"{method}","result":{{"y":1.0}}}}"#));
        }
        later(&mut other, &request("other", SAMPLING));
        let refusal = answered(&server, &mut other, "other");
        assert!(refusal.contains("-32601"), "{refusal}");
        let said = json!({"jsonrpc": "2.0", "method": "notifications/x/said", "params": {"x": 1.0}});
        later(&mut able, &said);
        assert_eq!(news.hear("notifications/x/said"), said);
        silent(&mut other_news);
    }
}

#[test]
fn roots_that_are_asked_for_during_a_call_reach_a_client_without_a_stream() {
    for (kind, isolation) in ISOLATED {
        let server = server(kind);
        let front = proxy(&[&server], isolation).serve();
        let mut session = join(&front, json!({"roots": {}}));
        let mut call = session.ask_call("alpha__talk", json!({"lines": [{"ask": "roots/list"}]})).open();
        let asked = call.hear("roots/list");
        session.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})).send();
        assert_eq!(call.answer()["result"]["structuredContent"][0]["result"], json!({"roots": []}));
    }
}

#[test]
fn changed_roots_are_told_to_servers_of_that_client_alone() {
    let server = server(Kind::Http);
    let front = proxy(&[&server], "auto").serve();
    let (mut first, mut second) = (join(&front, json!({"roots": {}})), join(&front, json!({"roots": {}})));
    count(&mut first);
    count(&mut second);
    let connections =
        || server.running().seen().into_iter().filter(|seen| seen.method.as_deref() == Some("notifications/roots/list_changed"));
    first.notify("notifications/roots/list_changed", json!({}));
    eventually("it is told", || (connections().count() == 1).then_some(()));
    second.notify("notifications/roots/list_changed", json!({}));
    eventually("it is told", || (connections().count() == 2).then_some(()));
    stays("nobody else is told", || connections().count() == 2);
    let ids: std::collections::HashSet<_> = connections().map(|seen| seen.headers["mcp-session-id"].clone()).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn log_levels_and_subscriptions_are_those_of_the_session() {
    for (isolation, levels, subscriptions) in [("auto", vec!["debug", "debug", "error"], 2), ("shared", vec!["debug"], 1)] {
        let server = server(Kind::Http);
        let front = proxy(&[&server], isolation).serve();
        let (mut first, mut second) = (join(&front, json!({})), join(&front, json!({})));
        first.find(List::Resources, GREETING);
        first.request("logging/setLevel", json!({"level": "debug"}));
        second.request("logging/setLevel", json!({"level": "error"}));
        let (mut first_news, mut second_news) = (first.listen(), second.listen());
        for session in [&mut first, &mut second] {
            assert_eq!(session.request("resources/subscribe", json!({"uri": GREETING})), json!({}));
        }
        assert_eq!(first.journal("alpha", "subscriptions"), vec![format!("+{GREETING}"); subscriptions], "{isolation}");
        let told = || {
            let mut told = server.running().server.journal().levels;
            told.sort_unstable();
            (told == levels).then_some(())
        };
        eventually("each connection has its level", told);
        let updated = json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": GREETING}});
        later(&mut first, &updated);
        assert_eq!(first_news.hear(UPDATED), updated);
        if isolation == "shared" {
            assert_eq!(second_news.hear(UPDATED), updated);
        } else {
            silent(&mut second_news);
        }
    }
}

#[test]
fn the_end_of_a_session_ends_its_connections() {
    for (kind, isolation) in ISOLATED {
        let server = server(kind);
        let front = proxy(&[&server], isolation).arg("--session-timeout=1").serve();
        let mut first = join(&front, json!({}));
        let pid = first.call("alpha__process", json!({}))["structuredContent"]["pid"].as_u64().expect("a number");
        has_own(&front, "1");
        first.end();
        has_own(&front, "0");
        let ends = |what: &str| match kind {
            Kind::Stdio => eventually(what, || has_ended(pid).then_some(())),
            Kind::Http | Kind::HttpJson | Kind::Sse => eventually(what, || (server.running().sessions() == 1).then_some(())),
        };
        ends("a session that its client ends");
        if matches!(kind, Kind::Http | Kind::HttpJson) {
            assert!(server.running().seen().iter().any(|seen| seen.http == "DELETE"));
        }
        count(&mut join(&front, json!({})));
        has_own(&front, "0");
        ends("a session that nobody uses");
    }
}

#[test]
fn a_killed_server_is_connected_to_again_where_it_is_needed() {
    let mut server = server(Kind::Http);
    let front = proxy(&[&server], "auto").serve();
    let mut plain = join(&front, json!({}));
    let mut subscribed = join(&front, json!({"sampling": {}}));
    subscribed.find(List::Resources, GREETING);
    assert_eq!([count(&mut plain), count(&mut subscribed)], [1, 1]);
    subscribed.request("resources/subscribe", json!({"uri": GREETING}));
    server.running_mut().restart();
    eventually("it is subscribed to again without a call", || {
        (server.running().server.journal().subscriptions == [format!("+{GREETING}")]).then_some(())
    });
    assert_eq!(introduced(&mut subscribed), json!({"sampling": {}}));
    assert_eq!(count(&mut plain), 1);
    let mut news = subscribed.listen();
    let updated = json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": GREETING}});
    later(&mut subscribed, &updated);
    assert_eq!(news.hear(UPDATED), updated);
}

#[test]
fn another_configuration_ends_connections_of_sessions() {
    for (kind, isolation) in [(Kind::Http, "auto"), (Kind::Stdio, "session")] {
        let server = server(kind);
        let proxy = proxy(&[&server], isolation);
        let home: Home = proxy.home();
        let front = proxy.serve();
        let mut session = join(&front, json!({"roots": {}}));
        assert_eq!([count(&mut session), count(&mut session)], [1, 2]);
        let mut file = file_of(&[&server]);
        let entry = &mut file["mcpServers"]["alpha"];
        match kind {
            Kind::Stdio => entry["env"] = json!({"MARK": "new"}),
            _ => entry["url"] = json!(format!("{}?new", server.running().url())),
        }
        home.replace(FILE, &file.to_string());
        eventually("the connection is another one", || {
            // A call that is in flight at this very moment is lost.
            let answer = session.ask_call("alpha__count", json!({})).send().answer();
            (answer["result"]["structuredContent"]["count"] == 1).then_some(())
        });
        assert_eq!(introduced(&mut session), json!({"roots": {}}));
        assert_eq!(metric(&front, "pluggedin_own_connections "), "1");

        file["mcpServers"]["alpha"]["isolation"] = json!("shared");
        home.replace(FILE, &file.to_string());
        has_own(&front, "0");
        assert_eq!(introduced(&mut session)["roots"], Value::Null);

        home.replace(FILE, r#"{"mcpServers":{}}"#);
        eventually("it is gone", || (!session.names(List::Tools).contains(&"alpha__count".to_owned())).then_some(()));
    }
}

#[test]
fn unused_connections_of_sessions_end() {
    for (kind, isolation) in [(Kind::Http, "auto"), (Kind::Stdio, "session")] {
        let server = server(kind);
        let front = proxy(&[&server], isolation).arg("--idle-timeout=0.3").serve();
        let mut idle = join(&front, json!({}));
        assert_eq!([count(&mut idle), count(&mut idle)], [1, 2]);
        has_own(&front, "0");
        assert_eq!(count(&mut idle), 1, "it comes back when it is needed");
        has_own(&front, "0");

        let mut subscribed = join(&front, json!({"sampling": {}}));
        subscribed.find(List::Resources, GREETING);
        subscribed.request("resources/subscribe", json!({"uri": GREETING}));
        stays("a connection whose news are waited for", || metric(&front, "pluggedin_own_connections ") == "1");
        subscribed.request("resources/unsubscribe", json!({"uri": GREETING}));
        has_own(&front, "0");

        let mut news = subscribed.listen();
        later(&mut subscribed, &request("open", SAMPLING));
        let asked = news.hear(SAMPLING);
        stays("a connection that waits for an answer", || metric(&front, "pluggedin_own_connections ") == "1");
        subscribed.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {}})).send();
        has_own(&front, "0");
    }
}

#[test]
fn a_session_beyond_its_room_shares() {
    let server = server(Kind::Http);
    let names: Vec<_> = (0..65).map(|number| format!("s{number:02}")).collect();
    let entries: serde_json::Map<_, _> = names.iter().map(|name| (name.clone(), server.entry())).collect();
    let front = Proxy::new().file(&json!({"mcpServers": entries})).serve();
    let mut session = front.session_able(json!({"roots": {}}));
    for name in &names {
        session.find(List::Tools, &format!("{name}__introduced"));
    }
    let mut has_own = |name: &str| {
        let introduced = session.call(&format!("{name}__introduced"), json!({}));
        introduced["structuredContent"]["capabilities"] == json!({"roots": {}})
    };
    let own: Vec<_> = names.iter().map(|name| has_own(name)).collect();
    assert_eq!((own.iter().filter(|own| **own).count(), own[64]), (64, false));
    assert_eq!(metric(&front, "pluggedin_own_connections "), "64");
    assert_eq!(metric(&front, "pluggedin_own_connections_refused_total "), "1");
    front.complains("shares a server with others");
}

#[test]
fn workspaces_of_two_keys_never_share() {
    const OTHER: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";
    let server = server(Kind::Http);
    let app = App::start(Workspace::of(&[&server]));
    app.switch(OTHER, Workspace::of(&[&server]));
    let proxy = Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).env("PLUGGEDIN_RATE_LIMIT_TOOLS", "0").arg("--auth=per-client");
    let front = proxy.arg("--isolation=shared").serve();
    let counts = [KEY, KEY, OTHER].map(|key| {
        let mut session = front.session_with(key);
        session.find(List::Tools, "alpha__count");
        count(&mut session)
    });
    assert_eq!(counts, [1, 2, 1]);
}

/// There is one client anyhow.
#[test]
fn a_client_over_stdio_has_one_connection_to_each_server() {
    let server = server(Kind::Http);
    let mut client: Client = proxy(&[&server], "session").start();
    client.find(List::Tools, "alpha__count");
    assert_eq!(client.call("alpha__count", json!({}))["structuredContent"]["count"], 1);
    assert_eq!(server.running().sessions(), 1);
}
