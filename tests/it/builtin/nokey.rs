//! Nobody has set a key: tools are shown all the same, and say how to get one.

use super::Shapes;
use super::facts::{arguments, services};
use super::{Ids, stocked};
use crate::support::{App, Client, List, Proxy, Workspace};
use serde_json::json;

fn ids() -> Ids {
    stocked().1
}

#[track_caller]
fn explain(client: &mut Client) {
    let shapes = Shapes::of(&client.list(List::Tools));
    for fact in services() {
        let result = client.call(&fact.full_name(), arguments(fact.name, &ids()));
        let said = shapes.check(fact.name, result).bad();
        said.says(&["PLUGGEDIN_API_KEY", "https://plugged.in/api-keys", "pluggedin_setup"]);
        // Mistakes are no reason to hide it, or the other way round.
        let result = client.call(&fact.full_name(), json!({"query": 7, "notificationId": 7}));
        shapes.check(fact.name, result).bad();
    }
}

#[test]
fn tools_say_how_to_get_a_key() {
    let mut client = Proxy::new().start();
    explain(&mut client);
    let setup = client.call("pluggedin_setup", json!({"topic": "api_key"}));
    assert_ne!(setup["isError"], true, "{setup}");
    let discovered = client.call("pluggedin_discover_tools", json!({}));
    assert_ne!(discovered["isError"], true, "{discovered}");
}

/// Placeholders that nobody replaced, blanks, and nothing at all.
#[test]
fn what_is_no_key_is_not_sent() {
    let app = App::start(Workspace::default());
    for no_key in ["", "  ", "${PLUGGEDIN_API_KEY}"] {
        let mut client = Proxy::new().app(&app).env("PLUGGEDIN_API_KEY", no_key).start();
        explain(&mut client);
    }
    assert!(app.requests().is_empty(), "{:?}", app.requests());
}

/// Over HTTP, where each client brings its own, the one without is told so, too.
#[test]
fn a_client_without_a_key_is_told_so() {
    let app = App::start(Workspace::default());
    let front =
        Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).env("PLUGGEDIN_RATE_LIMIT_TOOLS", "0").arg("--auth=per-client").serve();
    let reply = front.post(&crate::support::http::call(1, "pluggedin_list_notifications", json!({}))).send();
    // Either the door or the tool says it; the App is not asked.
    let status = reply.status;
    assert!(status == 401 || reply.result()["isError"] == true, "{status}");
    assert!(app.requests().iter().all(|request| !request.line.contains("/api/notifications")), "{:?}", app.requests());
}
