//! Health, readiness, metrics and what registries read, of a proxy that serves HTTP.

use crate::support::http::{self, Connection, Front, Reply, message};
use crate::support::{App, KEY, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};
use std::str::FromStr;

/// What a reverse proxy on the same machine adds.
const FORWARDED: (&str, &str) = ("X-Forwarded-For", "203.0.113.7");

fn bearer() -> String {
    format!("Bearer {KEY}")
}

#[track_caller]
fn get(front: &Front, path: &str, headers: &[(&str, &str)]) -> Reply {
    headers.iter().fold(front.request("GET", path), |request, (name, value)| request.header(name, value)).send()
}

/// Asks for the tools in a session of its own.
#[track_caller]
fn list(front: &Front) {
    front.post(&message(1, "tools/list", json!({}))).send().result();
}

/// Calls a tool in a session of its own and returns the whole answer.
#[track_caller]
fn call(front: &Front, tool: &str) -> Value {
    front.post(&http::call(1, tool, json!({}))).accept("application/json").send().answer()
}

/// A call that goes on until its connection is closed.
#[track_caller]
fn start_slow(front: &Front) -> Connection {
    let slow = http::call(1, "printer__slow", json!({"label": "a"}));
    let connection = front.post(&slow).accept("application/json").start();
    eventually("the server works on it", || {
        (call(front, "printer__calls")["result"]["structuredContent"]["started"] == json!(["a"])).then_some(())
    });
    connection
}

/// With the App of these servers, for those who have the key.
#[track_caller]
fn guarded(app: &App) -> Front {
    Proxy::new().app(app).arg("--require-api-auth").serve()
}

#[track_caller]
fn wait_until_ready(front: &Front) {
    eventually("it is ready", || (get(front, "/ready", &[]).status == 200).then_some(()));
}

/// The value of a series.
#[track_caller]
fn value<T: FromStr>(page: &Reply, series: &str) -> T {
    let line = page.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no `{series}` in:\n{}", page.body))
}

#[track_caller]
fn count(page: &Reply, series: &str) -> u64 {
    value(page, series)
}

#[test]
fn health_has_the_shape_that_monitors_know_and_the_states_of_servers() {
    let (good, broken) = (Server::stdio("good", &[]), Server::stdio("broken", &["--exit-at-start"]));
    let front = Proxy::serving(&[&good, &broken]);
    let health = eventually("the servers are connected, or not", || {
        let health = get(&front, "/health", &[]);
        assert_eq!((health.status, health.header("content-type")), (200, Some("application/json")));
        let health = health.json();
        let states = health["servers"].as_array()?.iter().map(|server| server["state"].as_str()).collect::<Vec<_>>();
        (states == [Some("backoff"), Some("ready")]).then_some(health)
    });
    assert_eq!(health["status"], "ok");
    assert_eq!(health["transport"], "streamable-http");
    assert_eq!(health["sessions"], 0);
    assert_eq!(health["maxSessions"], 10_000);
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime"].as_u64().is_some_and(|seconds| seconds < 600), "{health}");
    assert_eq!(health["servers"][0]["name"], "broken");
    assert!(health["servers"][0]["error"].as_str().is_some_and(|error| !error.is_empty()), "{health}");
    assert_eq!(health["servers"][1], json!({"name": "good", "state": "ready"}));

    list(&front);
    assert_eq!(get(&front, "/health", &[]).json()["sessions"], 1);
}

#[test]
fn without_sessions_none_are_shown() {
    let front = Proxy::new().arg("--stateless").serve();
    list(&front);
    let health = get(&front, "/health", &[]).json();
    assert_eq!((&health["sessions"], &health["maxSessions"]), (&json!(0), &json!(0)));
}

#[test]
fn pages_are_only_read() {
    let front = Proxy::new().serve();
    for path in ["/health", "/ready", "/metrics", "/.well-known/mcp-config", "/.well-known/mcp.json"] {
        let head = front.request("HEAD", path).send();
        let get = get(&front, path, &[]);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            let refused = front.request(method, path).send();
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method} {path}");
        }
        let options = front.request("OPTIONS", path).send();
        assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")), "{path}");
    }
}

#[test]
fn it_is_ready_once_servers_have_said_what_they_offer() {
    let silent = Server::stdio("silent", &["--hang=initialize"]);
    let front = Proxy::new().file(&file_of(&[&silent])).arg("--list-wait").arg("4").serve();
    let unready = get(&front, "/ready", &[]);
    assert_eq!(unready.status, 503, "{}", unready.body);
    assert_eq!(unready.json()["ready"], false);
    assert!(unready.json()["reason"].as_str().is_some_and(|reason| reason.contains("servers")), "{}", unready.body);
    // It is not waited for any longer than a list waits.
    wait_until_ready(&front);
    assert_eq!(get(&front, "/ready", &[]).json(), json!({"ready": true}));
}

#[test]
fn calls_are_counted_by_owner_and_outcome() {
    let server = Server::http("printer", &[]);
    let front = Proxy::serving(&[&server]);
    wait_until_ready(&front);
    for _ in 0..2 {
        call(&front, "printer__odd");
    }
    call(&front, "printer__fail");
    call(&front, "printer__error");
    call(&front, "printer__crash");
    call(&front, "pluggedin_discover_tools");
    call(&front, "nobody__nothing");

    let page = get(&front, "/metrics", &[]);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let calls = |owner: &str, outcome: &str| count(&page, &format!(r#"pluggedin_calls_total{{owner="{owner}",outcome="{outcome}"}}"#));
    let counts = ["ok", "tool_error", "error", "cancelled"].map(|outcome| calls("printer", outcome));
    assert_eq!(counts, [2, 1, 2, 0], "{}", page.body);
    assert_eq!(calls("builtin", "ok"), 1);
    assert_eq!(count(&page, r#"pluggedin_call_duration_seconds_bucket{owner="printer",le="+Inf"}"#), 5);
    assert_eq!(count(&page, r#"pluggedin_call_duration_seconds_count{owner="printer"}"#), 5);
    let sum: f64 = value(&page, r#"pluggedin_call_duration_seconds_sum{owner="printer"}"#);
    assert!(sum > 0.0 && sum < 100.0, "{sum}");
    // Each call without a session began one; so did the one for a tool that nobody has.
    assert_eq!(count(&page, "pluggedin_sessions"), 7);
    assert_eq!(count(&page, "pluggedin_sessions_begun_total"), 7);
    assert!(count(&page, r#"pluggedin_http_requests_total{status="2xx"}"#) >= 7);
    let states = ["connecting", "ready", "backoff", "open", "idle", "disabled"];
    let connections: u64 =
        states.iter().map(|state| count(&page, &format!(r#"pluggedin_downstream_connections{{state="{state}"}}"#))).sum();
    assert_eq!(connections, 1, "{}", page.body);
    assert_eq!(count(&page, &format!(r#"pluggedin_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"))), 1);
    if cfg!(target_os = "linux") {
        assert!(count(&page, "process_resident_memory_bytes") > 1_000_000);
        assert!(count(&page, "process_open_fds") > 3);
    }
    assert!(!page.body.contains("nothing") && !page.body.contains("127.0.0.1"), "{}", page.body);
}

#[test]
fn a_call_that_nobody_waits_for_is_counted_as_cancelled() {
    let server = Server::http("printer", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--stateless").serve();
    wait_until_ready(&front);
    drop(start_slow(&front));
    eventually("it is counted", || {
        let page = get(&front, "/metrics", &[]);
        (count(&page, r#"pluggedin_calls_total{owner="printer",outcome="cancelled"}"#) == 1).then_some(())
    });
}

#[test]
fn metrics_are_also_there_as_open_metrics() {
    let front = Proxy::new().serve();
    let page = get(&front, "/metrics", &[("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")]);
    assert_eq!(page.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(page.body.contains("# TYPE pluggedin_calls counter\n") && page.body.ends_with("# EOF\n"), "{}", page.body);
}

#[test]
fn every_series_has_a_type_and_a_help_and_stands_once() {
    let server = Server::http("printer", &[]);
    let front = Proxy::serving(&[&server]);
    wait_until_ready(&front);
    call(&front, "printer__odd");
    let page = get(&front, "/metrics", &[]).body;
    let mut series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count);
    let readme = include_str!("../../README.md");
    for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(name.starts_with("process_") || readme.contains(&format!("`{name}`")), "the README does not name {name}");
    }
    for name in series.iter().map(|series| series.split('{').next().unwrap_or_default()) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        assert!(page.contains(&format!("# TYPE {family} ")) && page.contains(&format!("# HELP {family} ")), "{name}");
    }
}

#[test]
fn requests_to_the_app_are_counted() {
    let app = App::start(Workspace::default());
    let front = Proxy::new().app(&app).serve();
    wait_until_ready(&front);
    let page = eventually("the lists were read", || {
        let page = get(&front, "/metrics", &[]);
        (count(&page, r#"pluggedin_app_requests_total{request="prompts",outcome="ok"}"#) >= 1).then_some(page)
    });
    assert!(count(&page, r#"pluggedin_app_requests_total{request="servers",outcome="ok"}"#) >= 1);
    assert_eq!(count(&page, r#"pluggedin_app_requests_total{request="discover",outcome="ok"}"#), 0);
}

#[test]
fn details_are_for_who_has_the_key_and_for_this_machine() {
    let server = Server::http("printer", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let front = guarded(&app);
    wait_until_ready(&front);
    let (right, wrong) = (bearer(), "Bearer pg_in_wrong");
    let seen = |headers: &[(&str, &str)]| {
        let health = get(&front, "/health", headers);
        assert_eq!(health.status, 200);
        (get(&front, "/metrics", headers).status, health.json()["servers"].is_array())
    };
    assert_eq!(seen(&[]), (200, true));
    assert_eq!(seen(&[("Authorization", wrong)]), (200, true));
    assert_eq!(seen(&[FORWARDED]), (401, false));
    assert_eq!(seen(&[FORWARDED, ("Authorization", wrong)]), (401, false));
    assert_eq!(seen(&[FORWARDED, ("Authorization", &right)]), (200, true));
    assert_eq!(seen(&[("Forwarded", "for=127.0.0.1")]), (401, false));

    let refused = get(&front, "/metrics", &[FORWARDED]);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert!(!refused.body.contains("printer"), "{}", refused.body);
    let health = get(&front, "/health", &[FORWARDED]).json();
    let known = ["status", "transport", "sessions", "maxSessions", "version", "uptime"];
    let members: Vec<_> = health.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    assert_eq!(members, known);
}

#[test]
fn guesses_at_the_key_are_counted_here_as_well() {
    let app = App::start(Workspace::default());
    let front = guarded(&app);
    let guess = [FORWARDED, ("Authorization", "Bearer pg_in_wrong")];
    let statuses: Vec<_> = (0..40).map(|_| get(&front, "/metrics", &guess).status).collect();
    assert_eq!((statuses[0], statuses[39]), (401, 429), "{statuses:?}");
}

#[test]
fn who_brings_a_key_sees_nothing_of_others() {
    let server = Server::http("private-printer", &[]);
    let app = App::start(Workspace::of(&[&server]).with_tools(&server, &["odd"]));
    let front = Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).arg("--auth").arg("per-client").serve();
    assert_eq!(get(&front, "/ready", &[]).status, 200, "each client waits for its own servers");
    let key = bearer();
    let answer = front.post(&http::call(1, "private-printer__odd", json!({}))).key(KEY).send().answer();
    assert!(answer["result"].is_object(), "{answer}");

    let page = get(&front, "/metrics", &[]);
    assert_eq!(count(&page, r#"pluggedin_calls_total{owner="tenant",outcome="ok"}"#), 1);
    assert_eq!(count(&page, "pluggedin_workspaces"), 1);
    assert_eq!(count(&page, r#"pluggedin_downstream_connections{state="ready"}"#), 1);
    assert!(!page.body.contains("private"), "{}", page.body);
    let elsewhere = get(&front, "/metrics", &[FORWARDED, ("Authorization", &key)]);
    assert_eq!(elsewhere.status, 403, "{}", elsewhere.body);
    for headers in [&[FORWARDED, ("Authorization", key.as_str())][..], &[]] {
        let health = get(&front, "/health", headers);
        assert!(!health.body.contains("private"), "{}", health.body);
    }
}

#[test]
fn registries_read_what_the_endpoint_is() {
    let open = Proxy::new().serve();
    let app = App::start(Workspace::default());
    let guarded = guarded(&app);
    let read = |front: &Front, path: &str| {
        let page = get(front, path, &[FORWARDED]);
        assert_eq!((page.status, page.header("content-type")), (200, Some("application/json")), "{path}");
        page.json()
    };
    for (front, needs_key) in [(&open, false), (&guarded, true)] {
        let card = read(front, "/.well-known/mcp.json");
        assert_eq!((&card["name"], &card["version"]), (&json!("PluggedinMCP"), &json!(env!("CARGO_PKG_VERSION"))));
        assert_eq!(card["transport"], json!({"type": "streamable-http", "endpoint": "/mcp"}));
        assert_eq!(card["authentication"]["required"], needs_key);
        assert_eq!(card["authentication"]["schemes"], if needs_key { json!(["bearer"]) } else { json!([]) });

        let schema = read(front, "/.well-known/mcp-config");
        assert_eq!((&schema["type"], &schema["$schema"]), (&json!("object"), &json!("http://json-schema.org/draft-07/schema#")));
        let settings = schema["properties"].as_object().expect("a schema of an object");
        assert_eq!(settings.len(), usize::from(needs_key));
        assert!(settings.values().all(|setting| setting["x-to"] == json!({"header": "Authorization"})), "{schema}");
        assert_eq!(schema["required"], json!([]));
        assert_eq!(read(front, "/mcp/.well-known/mcp-config"), schema);
    }
}

/// Another port of this machine is another origin.
#[test]
fn pages_of_this_machine_may_read_them_and_others_not() {
    let front = Proxy::new().serve();
    for path in ["/health", "/metrics", "/.well-known/mcp.json"] {
        let local = get(&front, path, &[("Origin", "http://localhost:6274")]);
        assert_eq!((local.status, local.header("access-control-allow-origin")), (200, Some("http://localhost:6274")), "{path}");
        assert_eq!(get(&front, path, &[("Origin", "https://evil.example")]).status, 403, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn while_it_stops_it_is_alive_but_not_ready() {
    let server = Server::http("printer", &[]);
    let mut front = Proxy::new().file(&file_of(&[&server])).arg("--grace").arg("60").serve();
    wait_until_ready(&front);
    let call = start_slow(&front);
    front.signal("-TERM");
    eventually("it stops", || (get(&front, "/health", &[]).json()["status"] == "draining").then_some(()));
    let ready = get(&front, "/ready", &[]);
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &Value::from("the proxy is stopping")));
    assert_eq!(get(&front, "/metrics", &[]).status, 200);
    front.signal("-TERM");
    front.ends();
    drop(call);
}
