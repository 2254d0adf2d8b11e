//! What the App is told of calls: which, with what outcome, how often, and that no call waits for it.

use crate::support::http::{Front, call};
use crate::support::{Answer, App, Client, KEY, List, Proxy, Server, Workspace, eventually, file_of, stays};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATH: &str = "/api/notifications/mcp-activity";
const REPORT: &str = "POST /api/notifications/mcp-activity";

/// The key of somebody else.
const OTHER: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";

/// A proxy before an App with one server, whose tools are listed.
#[track_caller]
fn before(app: &App, flags: &[&str]) -> Client {
    let proxy = flags.iter().fold(Proxy::new().app(app), |proxy, flag| proxy.arg(flag));
    let mut client = proxy.start();
    client.find(List::Tools, "alpha__echo");
    client
}

/// What the App has been told once there is so much of it, without the times.
#[track_caller]
fn told(app: &App, count: usize) -> Vec<Value> {
    let mut activities = eventually("the App is told", || {
        let activities = app.activities();
        (activities.len() >= count).then_some(activities)
    });
    for activity in &mut activities {
        let millis = activity.as_object_mut().expect("it is one").remove("executionTime");
        assert!(millis.is_some_and(|millis| millis.as_u64().is_some_and(|millis| millis < 60_000)), "{activity}");
    }
    activities
}

/// What is told of a call of this server.
fn of(server: &Server, action: &str, item: &str) -> Value {
    json!({"action": action, "serverName": server.name, "serverUuid": server.uuid(), "itemName": item, "success": true})
}

fn failed(server: &Server, action: &str, item: &str, text: &str) -> Value {
    let mut activity = of(server, action, item);
    activity["success"] = json!(false);
    activity["errorMessage"] = json!(text);
    activity
}

#[test]
fn the_app_is_told_of_tools_prompts_and_resources() {
    let alpha = Server::http("alpha", &["--tool=odd name/x"]);
    let workspace = Workspace::of(&[&alpha]).with_instructions(&alpha, "alpha__system_context", &json!(["Be brief."]));
    let app = App::start(workspace);
    let mut client = before(&app, &[]);
    client.call("alpha__echo", json!({"secret": "of the arguments"}));
    client.call("alpha__odd_name_x", json!({}));
    client.request("prompts/get", json!({"name": "greet", "arguments": {"who": "you"}})).result();
    client.request("prompts/get", json!({"name": "alpha__system_context"})).result();
    client.request("resources/read", json!({"uri": "scripted://items/7"})).result();
    let mut instructions = of(&alpha, "prompt_get", "alpha__system_context");
    instructions["serverName"] = json!("Custom Instructions");
    let expect = [
        of(&alpha, "tool_call", "echo"),
        of(&alpha, "tool_call", "odd name/x"),
        of(&alpha, "prompt_get", "greet"),
        instructions,
        of(&alpha, "resource_read", "scripted://items/7"),
    ];
    assert_eq!(told(&app, 5), expect);
    for request in app.requests_to(REPORT) {
        assert_eq!(request.authorization, format!("Bearer {KEY}"));
    }
}

#[test]
fn failures_are_told_with_their_reason() {
    let (alpha, broken) = (Server::stdio("alpha", &[]), Server::stdio("broken", &["--exit-at-start"]));
    let app = App::start(Workspace::of(&[&alpha, &broken]).with_tools(&broken, &["echo"]));
    let mut client = before(&app, &["--call-timeout=1.5"]);
    client.call("alpha__fail", json!({}));
    assert_eq!(client.request("tools/call", json!({"name": "alpha__error", "arguments": {}})).code(), -32_050);
    assert_eq!(client.call("alpha__slow", json!({"label": "late"}))["isError"], true);
    assert_eq!(client.call("broken__echo", json!({}))["isError"], true);
    assert_eq!(client.call("alpha__crash", json!({}))["isError"], true);
    let told = told(&app, 5);
    assert_eq!(told[0], failed(&alpha, "tool_call", "fail", "the printer is on fire"));
    assert_eq!(told[1], failed(&alpha, "tool_call", "error", "the moon is in the wrong phase"));
    assert_eq!(told[2], failed(&alpha, "tool_call", "slow", "the server alpha did not answer within 1.5 s; it may still be working"));
    for (activity, server, item) in [(&told[3], &broken, "echo"), (&told[4], &alpha, "crash")] {
        let text = activity["errorMessage"].as_str().expect("there is a reason");
        assert_eq!(*activity, failed(server, "tool_call", item, text));
    }
}

#[test]
fn mistakes_cancelled_calls_and_the_rest_are_not_told() {
    let (alpha, own) = (Server::stdio("alpha", &[]), Server::stdio("own", &[]));
    let app = App::start(Workspace::of(&[&alpha]).with_tools(&alpha, &["echo", "slow", "calls", "fail", "gone"]));
    let mut client = Proxy::new().app(&app).file(&file_of(&[&own])).start();
    client.find(List::Tools, "alpha__slow");
    client.find(List::Tools, "own__echo");
    // What the proxy refuses, and what the server does.
    for name in ["nothing", "alpha__nothing", "alpha__gone"] {
        assert_eq!(client.request("tools/call", json!({"name": name, "arguments": {}})).code(), -32_602, "{name}");
    }
    assert_eq!(client.request("tools/call", json!({"name": "alpha__echo", "arguments": []})).code(), -32_602);
    assert_eq!(client.request("prompts/get", json!({"name": "nothing"})).code(), -32_602);
    assert!(client.request("resources/read", json!({"uri": "scripted://nothing"})).code() < 0);
    let mistaken = client.call("alpha__fail", json!({"text": "MCP error -32602: Invalid arguments for tool fail"}));
    assert_eq!(mistaken["isError"], true);
    // What was cancelled.
    let slow = client.send_call("alpha__slow", json!({"label": "slow"}));
    let happened = |what: &'static str| move |result: &Value| result["structuredContent"][what] == json!(["slow"]);
    client.call_until("it works", "alpha__calls", &json!({}), happened("started"));
    client.cancel(&slow);
    client.call_until("it is cancelled", "alpha__calls", &json!({}), happened("cancelled"));
    // What is nobody's business, or no news.
    client.call("own__echo", json!({}));
    client.call("pluggedin_setup", json!({}));
    client.request("ping", json!({})).result();
    let reference = json!({"type": "ref/prompt", "name": "greet"});
    client.request("completion/complete", json!({"ref": reference, "argument": {"name": "who", "value": "r"}})).result();
    // Those that looked for the cancelled call are told of, and nothing else.
    client.call("alpha__echo", json!({}));
    let last = eventually("the last call is told", || {
        let activities = app.activities();
        (activities.last()?["itemName"] == "echo").then_some(activities)
    });
    assert!(last.iter().all(|activity| activity["success"] == true), "{last:#?}");
    let others = last.iter().filter(|activity| !["calls", "echo"].contains(&activity["itemName"].as_str().expect("text")));
    assert_eq!(others.count(), 0, "{last:#?}");
    assert!(last.iter().all(|activity| activity["serverUuid"] == alpha.uuid()), "{last:#?}");
}

#[test]
fn calls_beyond_the_limit_of_clients_are_not_told() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app_with_limits(&app).arg("--rate-limit-tools=2").start();
    client.find(List::Tools, "alpha__echo");
    let refused = (0..4).filter(|_| client.call("alpha__echo", json!({}))["isError"] == true).count();
    assert_eq!(refused, 2);
    assert_eq!(told(&app, 2), [of(&alpha, "tool_call", "echo"), of(&alpha, "tool_call", "echo")]);
    assert_eq!(client.finish().code, Some(0));
    assert_eq!(app.activities().len(), 2);
}

#[test]
fn secrets_are_taken_out_of_what_is_told() {
    let alpha = Server::stdio("alpha", &["--resource=scripted://user:hunter2@h/x?token=hunter3"]);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.servers[0]["env"] = json!({"ALPHA_TOKEN": "correct horse battery"});
    let app = App::start(workspace);
    let mut client = before(&app, &[]);
    let text = format!("no: {OTHER}, correct horse battery, Authorization: Bearer abcdefgh.12345678\n{}", "x".repeat(10_000));
    client.call("alpha__fail", json!({"text": text}));
    client.find(List::Resources, "scripted://user:hunter2@h/x?token=hunter3");
    client.request("resources/read", json!({"uri": "scripted://user:hunter2@h/x?token=hunter3"})).result();
    let told = told(&app, 2);
    let said = told[0]["errorMessage"].as_str().expect("there is a reason");
    assert!(said.starts_with("no: [redacted], [redacted], Authorization: "), "{said}");
    assert!(said.chars().count() <= 501 && !said.contains('\n'), "{said}");
    for secret in [OTHER, "battery", "abcdefgh", "hunter"] {
        assert!(!json!(told).to_string().contains(secret), "{secret}: {told:#?}");
    }
}

#[test]
fn it_can_be_switched_off() {
    for proxy in [Proxy::new().arg("--no-activity"), Proxy::new().env("PLUGGEDIN_NO_ACTIVITY", "true")] {
        let alpha = Server::stdio("alpha", &[]);
        let app = App::start(Workspace::of(&[&alpha]));
        let mut client = proxy.app(&app).start();
        client.find(List::Tools, "alpha__echo");
        client.call("alpha__echo", json!({}));
        // What is told at the end at the latest is not told then either.
        client.finish();
        assert_eq!(app.count(REPORT), 0);
    }
}

#[test]
fn without_a_key_nobody_is_told() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).file(&file_of(&[&alpha])).start();
    client.find(List::Tools, "alpha__echo");
    client.call("alpha__echo", json!({}));
    client.finish();
    assert_eq!(app.requests().len(), 0);
}

// How often, and what if not.

#[test]
fn the_app_is_told_of_at_most_a_hundred_calls_a_minute() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = before(&app, &["--refresh-interval=3600"]);
    let start = Instant::now();
    for _ in 0..150 {
        client.call("alpha__echo", json!({}));
    }
    eventually("the first are told at once", || (app.activities().len() >= 40).then_some(()));
    // 40 at once and one a second: 100 in the first minute.
    stays("one a second", || app.count(REPORT) as u64 <= 41 + start.elapsed().as_secs());
    eventually("it goes on", || (app.activities().len() >= 42).then_some(()));
}

#[test]
fn a_call_does_not_wait_for_an_app_that_does_not_answer() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    app.answer_at(PATH, Answer::Never);
    let mut client = before(&app, &[]);
    client.call("alpha__echo", json!({}));
    eventually("the App is told", || (app.count(REPORT) == 1).then_some(()));
    let start = Instant::now();
    for _ in 0..50 {
        client.call("alpha__echo", json!({}));
    }
    // One that waited for the App would take 5 s.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(app.count(REPORT), 1);
    eventually("it is given up", || (app.abandoned() == [REPORT]).then_some(()));
    assert!(start.elapsed() > Duration::from_secs(4));
    eventually("the next one is told", || (app.count(REPORT) == 2).then_some(()));
    assert_eq!(client.stderr().matches("the App is not told of calls").count(), 1);
    // The end does not wait for it either, but for a moment.
    let end = Instant::now();
    client.finish();
    assert!(end.elapsed() < Duration::from_secs(6), "{:?}", end.elapsed());
}

#[test]
fn what_a_failing_app_does_not_take_is_dropped_with_one_warning() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = before(&app, &[]);
    let warnings = |client: &Client| client.stderr().matches("the App is not told of calls").count();
    for spell in 1..=2 {
        app.answer_at(PATH, Answer::Status(500));
        let before = app.count(REPORT);
        for _ in 0..3 {
            client.call("alpha__fail", json!({}));
        }
        eventually("each is tried once", || (app.count(REPORT) == before + 3).then_some(()));
        eventually("there is one warning", || (warnings(&client) == spell).then_some(()));
        app.answer_at(PATH, Answer::Normally);
        client.call("alpha__echo", json!({}));
        assert_eq!(told(&app, spell), vec![of(&alpha, "tool_call", "echo"); spell]);
        assert_eq!(app.count(REPORT), before + 4);
        assert_eq!(warnings(&client), spell);
    }
}

#[test]
fn an_app_that_asks_for_a_pause_gets_it_and_nothing_is_lost() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    app.answer_at(PATH, Answer::Later(2));
    let mut client = before(&app, &[]);
    client.call("alpha__echo", json!({}));
    client.call("alpha__fail", json!({}));
    eventually("the App has been told", || (app.count(REPORT) == 1).then_some(()));
    stays("the App has its pause", || app.count(REPORT) == 1);
    app.answer_at(PATH, Answer::Normally);
    assert_eq!(told(&app, 2), [of(&alpha, "tool_call", "echo"), failed(&alpha, "tool_call", "fail", "the printer is on fire")]);
    assert_eq!(app.count(REPORT), 3);
}

/// The value of a series.
#[track_caller]
fn count(front: &Front, series: &str) -> u64 {
    let page = front.request("GET", "/metrics").send().body;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no `{series}` in:\n{page}"))
}

#[test]
fn what_does_not_fit_into_the_queue_is_counted() {
    let alpha = Server::http("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    app.answer_at(PATH, Answer::Later(3600));
    let front = Proxy::new().app(&app).arg("--rate-limit-global=0").serve();
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    session.call("alpha__echo", json!({}));
    eventually("the App wants no more", || (app.count(REPORT) == 1).then_some(()));
    for _ in 0..10 {
        let batch: Vec<_> = (0..100).map(|n| call(1000 + n, "alpha__echo", json!({}))).collect();
        let reply = front.post(&json!(batch)).accept("application/json").send();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let lost = r#"pluggedin_dropped_total{what="activity"}"#;
    assert_eq!(count(&front, lost), 1);
    session.call("alpha__echo", json!({}));
    assert_eq!(count(&front, lost), 2);
    assert_eq!(count(&front, r#"pluggedin_app_requests_total{request="activity",outcome="rate_limited"}"#), 1);
}

#[test]
fn at_the_end_the_app_is_told_what_is_left() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = before(&app, &[]);
    for _ in 0..20 {
        client.call("alpha__echo", json!({}));
    }
    assert_eq!(client.finish().code, Some(0));
    assert_eq!(app.activities().len(), 20);

    let shown = Proxy::new().app(&app).run(&["call", "alpha__fail"]);
    assert_eq!(shown.code, Some(1));
    assert_eq!(app.activities().len(), 21);
}

#[test]
fn tenants_are_told_of_their_own() {
    let (mine, theirs) = (Server::http("mine", &[]), Server::http("theirs", &[]));
    let app = App::start(Workspace::of(&[&mine]));
    app.switch(OTHER, Workspace::of(&[&theirs]));
    let proxy = Proxy::new().allowing_scripted_servers().env("PLUGGEDIN_API_BASE_URL", &app.url()).env("PLUGGEDIN_RATE_LIMIT_TOOLS", "0");
    let front = proxy.arg("--auth=per-client").serve();
    for (key, server) in [(KEY, &mine), (OTHER, &theirs)] {
        let mut session = front.session_with(key);
        session.find(List::Tools, &server.tool("echo"));
        session.call(&server.tool("echo"), json!({}));
    }
    let reports = eventually("the App is told of both", || {
        let reports = app.requests_to(REPORT);
        (reports.len() == 2).then_some(reports)
    });
    for (key, server) in [(KEY, &mine), (OTHER, &theirs)] {
        let of_key: Vec<_> = reports.iter().filter(|report| report.authorization == format!("Bearer {key}")).collect();
        assert_eq!(of_key.len(), 1);
        assert_eq!(of_key[0].body["serverUuid"], server.uuid());
    }
}

#[test]
fn the_proxy_is_told_of_as_the_app_knows_its_parts() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = before(&app, &[]);
    client.call("pluggedin_setup", json!({}));
    client.call("pluggedin_discover_tools", json!({"server_uuid": "no uuid"}));
    client.request("prompts/get", json!({"name": "pluggedin_proxy_capabilities"})).result();
    client.call("pluggedin_discover_tools", json!({}));
    app.answer_at("/api/rag/query", Answer::Status(500));
    let unanswered = client.call("pluggedin_ask_knowledge_base", json!({"query": "why?"}));
    assert_eq!(unanswered["isError"], true);
    client.request("resources/read", json!({"uri": "pluggedin://setup"})).result();
    client.request("resources/read", json!({"uri": "pluggedin://notifications"})).result();
    let told = told(&app, 4);
    let own = |action: &str, name: &str, id: &str, item: &str| json!({"action": action, "serverName": name, "serverUuid": id, "itemName": item, "success": true});
    assert_eq!(told[0], own("prompt_get", "Proxy System", "pluggedin_proxy", "pluggedin_proxy_capabilities"));
    assert_eq!(told[1], own("tool_call", "Discovery System", "pluggedin_discovery", "pluggedin_discover_tools"));
    let mut failed = own("tool_call", "RAG System", "pluggedin_rag", "pluggedin_ask_knowledge_base");
    failed["success"] = json!(false);
    failed["errorMessage"] = unanswered["content"][0]["text"].clone();
    assert_eq!(told[2], failed);
    assert_eq!(told[3], own("resource_read", "Notification System", "pluggedin_notifications", "pluggedin://notifications"));
}
