//! What servers ask the user while a call runs: by a form, or by a URL that the user visits.

#![allow(clippy::needless_pass_by_value, reason = "`json!({..})` reads better without a borrow in front of it")]

use crate::support::client::Pending;
use crate::support::{Client, Kind, List, Proxy, Server, over_each_wire, stays};
use serde_json::{Value, json};

over_each_wire!(a_form_is_filled_in, the_end_of_an_elicitation_by_url_is_told_to_the_client_that_began_it);

const ELICIT: &str = "elicitation/create";

fn able(server: &Server, capability: Value) -> Client {
    let mut client = Proxy::before_able(&[server], json!({"elicitation": capability}));
    client.find(List::Tools, &server.tool("talk"));
    client
}

#[track_caller]
fn elicit(client: &mut Client, params: &Value) -> Pending {
    client.send_call("alpha__talk", json!({"lines": [{"ask": ELICIT, "params": params.to_string()}]}))
}

fn by_url(id: &str) -> Value {
    json!({"mode": "url", "elicitationId": id, "url": "https://example.com/?a=%C3%A9", "message": "Please sign in"})
}

fn complete(id: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": id, "x-vendor": 1.0}})
}

fn a_form_is_filled_in(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server, json!({}));
    let form = json!({
        "message": "Who are you?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string", "x-hint": 1.0}}, "required": ["name"]},
    });
    let answers = [
        r#"{"action":"accept","content":{"name":"\u00e9","age":1.0}}"#,
        r#"{"action":"decline","content":null}"#,
        r#"{"action":"cancel"}"#,
    ];
    for answer in answers {
        let mark = client.mark();
        let call = elicit(&mut client, &form);
        let asked = client.asked(mark, ELICIT);
        assert_eq!(asked.value["params"], form);
        client.reply(&asked, answer);
        let result = client.answer(&call).result();
        let expected: Value = serde_json::from_str(answer).expect("it is JSON");
        assert_eq!(result["structuredContent"][0]["result"], expected);
    }
}

fn the_end_of_an_elicitation_by_url_is_told_to_the_client_that_began_it(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = able(&server, json!({"url": {}}));
    let mark = client.mark();
    let line = json!({"ask": ELICIT, "params": by_url("mine").to_string()});
    let call = client.send_call("alpha__talk", json!({"lines": [line, {"later": complete("mine"), "ms": 100}]}));
    let asked = client.asked(mark, ELICIT);
    assert_eq!(asked.value["params"], by_url("mine"));
    client.reply(&asked, r#"{"action":"accept"}"#);
    client.answer(&call).result();
    // Long after the call.
    assert_eq!(client.notified(mark, "notifications/elicitation/complete"), complete("mine"));

    // Once only, and only what this client has begun.
    let lines = json!([{"say": complete("mine")}, {"say": complete("another's")}]);
    let mark = client.mark();
    client.call("alpha__talk", json!({"lines": lines}));
    stays("nothing more is told", || client.since(mark).len() == 1);
}

#[test]
fn a_client_is_asked_only_in_the_way_that_it_has_declared() {
    let server = Server::stdio("alpha", &[]);
    let form = json!({"message": "Who are you?", "requestedSchema": {"type": "object", "properties": {}}});
    for (capability, params, missing) in [
        (json!({}), by_url("a"), "`elicitation.url`"),
        (json!({"form": {}}), by_url("a"), "`elicitation.url`"),
        (json!({"url": {}}), form, "`elicitation.form`"),
    ] {
        let mut client = able(&server, capability);
        let call = elicit(&mut client, &params);
        let answers = client.answer(&call).result()["structuredContent"].take();
        assert_eq!(answers[0]["error"]["code"], -32_602, "{answers}");
        let message = answers[0]["error"]["message"].as_str().expect("a text");
        assert!(message.contains(missing), "{message}");
    }
}
