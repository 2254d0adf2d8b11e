//! Health, readiness, metrics and what registries read, of a proxy that serves HTTP.

use crate::support::front::{Front, Reply};
use crate::support::{App, KEY, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};
use std::str::FromStr;

/// What a reverse proxy on the same machine adds.
const FORWARDED: (&str, &str) = ("X-Forwarded-For", "203.0.113.7");

fn bearer() -> String {
    format!("Bearer {KEY}")
}

#[track_caller]
fn before(servers: &[&Server]) -> Front {
    Front::start(Proxy::new().file(&file_of(servers)))
}

/// With the App of these servers, for those who have the key.
#[track_caller]
fn guarded(app: &App) -> Front {
    Front::start(Proxy::new().app(app).arg("--require-api-auth"))
}

#[track_caller]
fn wait_until_ready(front: &Front) {
    eventually("it is ready", || (front.get("/ready", &[]).status == 200).then_some(()));
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
    let front = before(&[&good, &broken]);
    let health = eventually("the servers are connected, or not", || {
        let health = front.get("/health", &[]);
        assert_eq!((health.status, health.header("content-type")), (200, "application/json"));
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

    front.post(&[], "tools/list", &json!({}));
    assert_eq!(front.get("/health", &[]).json()["sessions"], 1);
}

#[test]
fn without_sessions_none_are_shown() {
    let front = Front::start(Proxy::new().arg("--stateless"));
    front.post(&[], "tools/list", &json!({}));
    let health = front.get("/health", &[]).json();
    assert_eq!((&health["sessions"], &health["maxSessions"]), (&json!(0), &json!(0)));
}

#[test]
fn pages_are_only_read() {
    let front = Front::start(Proxy::new());
    for path in ["/health", "/ready", "/metrics", "/.well-known/mcp-config", "/.well-known/mcp.json"] {
        let head = front.ask("HEAD", path, &[], "");
        let get = front.get(path, &[]);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            let refused = front.ask(method, path, &[], "");
            assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD, OPTIONS"), "{method} {path}");
        }
        let options = front.ask("OPTIONS", path, &[], "");
        assert_eq!((options.status, options.header("allow")), (204, "GET, HEAD, OPTIONS"), "{path}");
    }
}

#[test]
fn it_is_ready_once_servers_have_said_what_they_offer() {
    let silent = Server::stdio("silent", &["--hang=initialize"]);
    let front = Front::start(Proxy::new().file(&file_of(&[&silent])).arg("--list-wait").arg("4"));
    let unready = front.get("/ready", &[]);
    assert_eq!(unready.status, 503, "{}", unready.body);
    assert_eq!(unready.json()["ready"], false);
    assert!(unready.json()["reason"].as_str().is_some_and(|reason| reason.contains("servers")), "{}", unready.body);
    // It is not waited for any longer than a list waits.
    wait_until_ready(&front);
    assert_eq!(front.get("/ready", &[]).json(), json!({"ready": true}));
}

#[test]
fn calls_are_counted_by_owner_and_outcome() {
    let server = Server::http("printer", &[]);
    let front = before(&[&server]);
    wait_until_ready(&front);
    for _ in 0..2 {
        front.call(&[], "printer__odd");
    }
    front.call(&[], "printer__fail");
    front.call(&[], "printer__error");
    front.call(&[], "printer__crash");
    front.call(&[], "pluggedin_discover_tools");
    front.call(&[], "nobody__nothing");

    let page = front.get("/metrics", &[]);
    assert_eq!((page.status, page.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
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
    let states = ["connecting", "ready", "backoff", "idle", "disabled"];
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
    let front = Front::start(Proxy::new().file(&file_of(&[&server])).arg("--stateless"));
    wait_until_ready(&front);
    let call = front.open_post(&[], "tools/call", &json!({"name": "printer__slow", "arguments": {"label": "a"}}));
    eventually("the server works on it", || {
        let calls = front.call(&[], "printer__calls");
        (calls["result"]["structuredContent"]["started"] == json!(["a"])).then_some(())
    });
    drop(call);
    eventually("it is counted", || {
        let page = front.get("/metrics", &[]);
        (count(&page, r#"pluggedin_calls_total{owner="printer",outcome="cancelled"}"#) == 1).then_some(())
    });
}

#[test]
fn metrics_are_also_there_as_open_metrics() {
    let front = Front::start(Proxy::new());
    let page = front.get("/metrics", &[("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")]);
    assert_eq!(page.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(page.body.contains("# TYPE pluggedin_calls counter\n") && page.body.ends_with("# EOF\n"), "{}", page.body);
}

#[test]
fn every_series_has_a_type_and_a_help_and_stands_once() {
    let server = Server::http("printer", &[]);
    let front = before(&[&server]);
    wait_until_ready(&front);
    front.call(&[], "printer__odd");
    let page = front.get("/metrics", &[]).body;
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
    let front = Front::start(Proxy::new().app(&app));
    wait_until_ready(&front);
    let page = eventually("the lists were read", || {
        let page = front.get("/metrics", &[]);
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
        let health = front.get("/health", headers);
        assert_eq!(health.status, 200);
        (front.get("/metrics", headers).status, health.json()["servers"].is_array())
    };
    assert_eq!(seen(&[]), (200, true));
    assert_eq!(seen(&[("Authorization", wrong)]), (200, true));
    assert_eq!(seen(&[FORWARDED]), (401, false));
    assert_eq!(seen(&[FORWARDED, ("Authorization", wrong)]), (401, false));
    assert_eq!(seen(&[FORWARDED, ("Authorization", &right)]), (200, true));
    assert_eq!(seen(&[("Forwarded", "for=127.0.0.1")]), (401, false));

    let refused = front.get("/metrics", &[FORWARDED]);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    assert!(!refused.body.contains("printer"), "{}", refused.body);
    let health = front.get("/health", &[FORWARDED]).json();
    let known = ["status", "transport", "sessions", "maxSessions", "version", "uptime"];
    let members: Vec<_> = health.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    assert_eq!(members, known);
}

#[test]
fn guesses_at_the_key_are_counted_here_as_well() {
    let app = App::start(Workspace::default());
    let front = guarded(&app);
    let guess = [FORWARDED, ("Authorization", "Bearer pg_in_wrong")];
    let statuses: Vec<_> = (0..40).map(|_| front.get("/metrics", &guess).status).collect();
    assert_eq!((statuses[0], statuses[39]), (401, 429), "{statuses:?}");
}

#[test]
fn who_brings_a_key_sees_nothing_of_others() {
    let server = Server::http("private-printer", &[]);
    let app = App::start(Workspace::of(&[&server]).with_tools(&server, &["odd"]));
    let front = Front::start(Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).arg("--auth").arg("per-client"));
    assert_eq!(front.get("/ready", &[]).status, 200, "each client waits for its own servers");
    let key = bearer();
    let answer = front.call(&[("Authorization", &key)], "private-printer__odd");
    assert!(answer["result"].is_object(), "{answer}");

    let page = front.get("/metrics", &[]);
    assert_eq!(count(&page, r#"pluggedin_calls_total{owner="tenant",outcome="ok"}"#), 1);
    assert_eq!(count(&page, "pluggedin_workspaces"), 1);
    assert_eq!(count(&page, r#"pluggedin_downstream_connections{state="ready"}"#), 1);
    assert!(!page.body.contains("private"), "{}", page.body);
    let elsewhere = front.get("/metrics", &[FORWARDED, ("Authorization", &key)]);
    assert_eq!(elsewhere.status, 403, "{}", elsewhere.body);
    for headers in [&[FORWARDED, ("Authorization", key.as_str())][..], &[]] {
        let health = front.get("/health", headers);
        assert!(!health.body.contains("private"), "{}", health.body);
    }
}

#[test]
fn registries_read_what_the_endpoint_is() {
    let open = Front::start(Proxy::new());
    let app = App::start(Workspace::default());
    let guarded = guarded(&app);
    let read = |front: &Front, path: &str| {
        let page = front.get(path, &[FORWARDED]);
        assert_eq!((page.status, page.header("content-type")), (200, "application/json"), "{path}");
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
    let front = Front::start(Proxy::new());
    for path in ["/health", "/metrics", "/.well-known/mcp.json"] {
        let local = front.get(path, &[("Origin", "http://localhost:6274")]);
        assert_eq!((local.status, local.header("access-control-allow-origin")), (200, "http://localhost:6274"), "{path}");
        assert_eq!(front.get(path, &[("Origin", "https://evil.example")]).status, 403, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn while_it_stops_it_is_alive_but_not_ready() {
    let server = Server::http("printer", &[]);
    let mut front = Front::start(Proxy::new().file(&file_of(&[&server])).arg("--grace").arg("60"));
    wait_until_ready(&front);
    let call = front.open_post(&[], "tools/call", &json!({"name": "printer__slow", "arguments": {"label": "a"}}));
    let started = || front.call(&[], "printer__calls")["result"]["structuredContent"]["started"] == json!(["a"]);
    eventually("the server works on it", || started().then_some(()));
    front.signal("-TERM");
    eventually("it stops", || (front.get("/health", &[]).json()["status"] == "draining").then_some(()));
    let ready = front.get("/ready", &[]);
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &Value::from("the proxy is stopping")));
    assert_eq!(front.get("/metrics", &[]).status, 200);
    front.signal("-TERM");
    front.wait();
    drop(call);
}
