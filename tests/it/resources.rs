//! Resources and templates: listed, read, completed.

use crate::support::{App, Kind, List, Proxy, Server, Workspace, over_each_wire};
use serde_json::json;

over_each_wire!(lists_and_reads_resources_as_the_server_has_them, reads_what_only_a_template_covers,);

fn lists_and_reads_resources_as_the_server_has_them(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--resource=scripted://second"]);
    let mut client = Proxy::before(&[&server]);
    assert_eq!(
        client.find(List::Resources, "scripted://greeting"),
        json!({
            "uri": "scripted://greeting",
            "name": "greeting",
            "title": "Greeting",
            "mimeType": "text/plain",
            "size": 5,
            "annotations": {"priority": 1.0, "lastModified": "2025-01-12T15:00:58Z"},
            "x-vendor": null,
        }),
    );
    client.find(List::Resources, "scripted://second");
    let params = json!({"uri": "scripted://greeting"});
    assert_eq!(
        client.request("resources/read", params).result(),
        json!({
            "contents": [{
                "uri": "scripted://greeting",
                "mimeType": "text/plain",
                "text": "resource of alpha",
                "x-vendor": {"rank": 1.0},
            }],
            "_meta": {"vendor.example/etag": "7"},
        }),
    );
}

fn reads_what_only_a_template_covers(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    assert_eq!(
        client.find(List::Templates, "scripted://items/{id}"),
        json!({
            "uriTemplate": "scripted://items/{id}",
            "name": "item",
            "title": "Item",
            "description": "Any item",
            "mimeType": "text/plain",
            "x-vendor": {"ids": 1.0},
        }),
    );
    for item in ["7", "a-b_c", "%C3%A9"] {
        let uri = format!("scripted://items/{item}");
        let result = client.request("resources/read", json!({"uri": uri})).result();
        assert_eq!(result["contents"][0]["uri"], uri);
        assert_eq!(result["contents"][0]["text"], format!("{item} of alpha"));
    }
    let reference = json!({"type": "ref/resource", "uri": "scripted://items/{id}"});
    let params = json!({"ref": reference, "argument": {"name": "id", "value": "r"}});
    let completed = client.request("completion/complete", params).result();
    assert_eq!(completed["completion"]["values"], json!(["red"]));
    assert_eq!(completed["completion"]["x-for"], reference);
}

#[test]
fn a_resource_that_nobody_has_is_not_found() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Resources, "scripted://greeting");
    for uri in ["scripted://nothing", "file:///etc/passwd", "scripted://items", ""] {
        let code = client.request("resources/read", json!({"uri": uri})).code();
        assert!([-32_002, -32_602].contains(&code), "{uri}: {code}");
    }
    for params in [json!({}), json!({"uri": 7}), json!([])] {
        let answer = client.request("resources/read", params.clone());
        assert_eq!(answer.code(), -32_602, "{params}");
    }
}

#[test]
fn the_app_knows_owners_that_no_list_names() {
    // While a server has not said what it has, the App's own records count.
    let mute = Server::stdio("mute", &["--hang=initialize"]);
    let alpha = Server::stdio("alpha", &["--unlisted=scripted://secret"]);
    let beta = Server::stdio("beta", &["--unlisted=scripted://secret"]);
    let mut workspace = Workspace::of(&[&alpha, &beta, &mute]);
    workspace.resources = vec![json!({
        "uri": "scripted://secret",
        "name": "secret",
        "description": "Only the App lists this",
        "mimeType": "text/plain",
    })];
    workspace.owners.insert("scripted://secret".to_owned(), beta.uuid());
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Tools, "beta__echo");
    let params = json!({"uri": "scripted://secret"});
    let result = client.request("resources/read", params).result();
    assert_eq!(result["contents"][0]["text"], "resource of beta");
}

#[test]
fn templates_that_only_the_app_knows_are_listed_in_the_words_of_the_protocol() {
    let alpha = Server::stdio("alpha", &["--hang=initialize"]);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.templates = vec![json!({"uriTemplate": "app://{id}", "mediaType": "text/plain"})];
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).arg("--list-wait=0.5").start();
    let template = client.find(List::Templates, "app://{id}");
    assert_eq!(template["mimeType"], "text/plain");
    assert!(template["mediaType"].is_null());
    assert!(template["name"].is_string());
}

#[test]
fn the_app_is_not_asked_for_more_than_a_client_may_ask() {
    let alpha = Server::stdio("alpha", &["--hang=initialize"]);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.templates = vec![json!({"uriTemplate": "app://{id}"})];
    workspace.prompts = vec![json!({"name": "nobodys"})];
    let app = App::start(workspace);
    let front = Proxy::new().app(&app).arg("--list-wait=0.5").arg("--rate-limit-global=4").serve();
    let mut session = front.session();
    session.find(List::Templates, "app://{id}");
    session.find(List::Prompts, "nobodys");
    let mut codes = Vec::new();
    let mut ask = |method: &str, params| codes.push(session.ask(method, params).send().answer()["error"]["code"].as_i64());
    ask("prompts/get", json!({"name": "nobodys"}));
    ask("resources/subscribe", json!({"uri": "app://subscribed"}));
    (0..8).for_each(|n| ask("resources/read", json!({"uri": format!("app://{n}")})));
    ask("resources/subscribe", json!({"uri": "app://late"}));
    ask("prompts/get", json!({"name": "nobodys"}));
    assert_eq!(app.count("GET /api/resolve/"), 4, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(-32_005)).count(), 8, "{codes:?}");
}
