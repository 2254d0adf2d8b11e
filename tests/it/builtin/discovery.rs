//! Discovery: the App looks at its servers again, which takes its time, and a client that asked for progress sees it.

use super::Desk;
use crate::support::client::{Mark, Pending};
use crate::support::{Answer, App, Client, List, Proxy, Server, Workspace, eventually};
use serde_json::{Value, json};

/// The progress that was told under a token before the answer.
#[track_caller]
fn progress(client: &Client, mark: Mark, token: &Value, call: &Pending) -> Vec<Value> {
    client.answer(call).result();
    let heard = client.since(mark);
    let answer = heard.iter().position(|value| value["method"].is_null() && value["id"] == call.0).expect("it was heard");
    let told = |value: &&Value| value["method"] == "notifications/progress" && value["params"]["progressToken"] == *token;
    assert_eq!(heard[answer..].iter().find(told), None, "progress after the answer");
    heard[..answer].iter().filter(told).map(|value| value["params"].clone()).collect()
}

fn discover(client: &mut Client, arguments: &Value, token: Option<&Value>) -> Pending {
    let mut params = json!({"name": "pluggedin_discover_tools", "arguments": arguments});
    if let Some(token) = token {
        params["_meta"] = json!({"progressToken": token});
    }
    client.send("tools/call", params)
}

#[test]
fn progress_is_told_for_each_server() {
    let servers = [Server::stdio("alpha", &[]), Server::http("beta", &[])];
    let app = App::start(Workspace::of(&servers.each_ref()));
    let mut client = Proxy::new().app(&app).start();
    for server in &servers {
        client.find(List::Tools, &server.tool("echo"));
    }
    for (arguments, names) in
        [(json!({"force_refresh": true}), &["alpha", "beta"][..]), (json!({"server_uuid": servers[1].uuid()}), &["beta"])]
    {
        for token in [json!("one"), json!(7)] {
            let mark = client.mark();
            let call = discover(&mut client, &arguments, Some(&token));
            let told = progress(&client, mark, &token, &call);
            for name in names {
                assert!(told.iter().any(|step| step["message"].as_str().is_some_and(|text| text.contains(name))), "{name}: {told:#?}");
            }
            let steps: Vec<_> = told.iter().map(|step| step["progress"].as_f64().expect("a number")).collect();
            assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
            if let Some(total) = told.last().and_then(|step| step["total"].as_f64()) {
                assert!(*steps.last().expect("there are some") <= total, "{told:#?}");
            }
        }
    }
    // Who did not ask is told nothing.
    let mark = client.mark();
    let call = discover(&mut client, &json!({"force_refresh": true}), None);
    client.answer(&call).result();
    assert!(client.since(mark).iter().all(|value| value["method"] != "notifications/progress"));
}

/// One look at a server is enough for all who wait for it.
#[test]
fn looks_at_the_same_server_are_shared() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Tools, "alpha__echo");
    let one = format!("/api/discover/{}", alpha.uuid());
    app.answer_at(&one, Answer::Never);
    let first = discover(&mut client, &json!({"force_refresh": true}), Some(&json!("first")));
    eventually("the App looks", || (app.count(&format!("POST {one}")) == 1).then_some(()));
    let call = discover(&mut client, &json!({"force_refresh": true}), Some(&json!("second")));
    let report = client.answer(&call).result();
    assert!(report["content"][0]["text"].as_str().is_some_and(|text| text.contains("alpha__echo")), "{report}");
    assert_eq!(app.count(&format!("POST {one}")), 1);
    // Else the end of the proxy waits for it.
    client.cancel(&first);
}

#[test]
fn the_app_is_asked_to_look_as_was_meant() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Tools, "alpha__echo");
    let one = format!("POST /api/discover/{}", alpha.uuid());
    for (arguments, line, forced) in [
        (json!({}), "POST /api/discover/all", false),
        (json!({"force_refresh": true}), "POST /api/discover/all", true),
        (json!({"server_uuid": alpha.uuid(), "force_refresh": true}), one.as_str(), true),
    ] {
        let before = app.count(line);
        eventually("the App is asked", || {
            client.call("pluggedin_discover_tools", arguments.clone());
            let requests = app.requests_to(line);
            let new = requests.get(before..).unwrap_or_default();
            new.iter().any(|request| (request.body["force_refresh"] == true) == forced).then_some(())
        });
    }
}

/// What the App says to that is of no use where it does not work; the listing is.
#[test]
fn a_listing_needs_no_discovery() {
    let alpha = Server::stdio("alpha", &[]);
    let limited = json!({"error": "Rate limit exceeded for force refresh operations", "limit": 10, "remaining": 0, "reset": "2026-01-01T12:00:00.000Z"});
    for answer in
        [Answer::Refuse(429, limited), Answer::Refuse(500, json!({"error": "x", "details": "zx_secret"})), Answer::Torn, Answer::Never]
    {
        let mut desk = Desk::with(Workspace::of(&[&alpha]));
        desk.client.find(List::Tools, "alpha__echo");
        desk.app.answer_at("/api/discover/all", answer);
        let said = desk.call("discover_tools", json!({"force_refresh": true})).good();
        said.says(&["alpha__echo", "pluggedin_send_notification"]).hides(&["zx_secret"]);
    }
}
