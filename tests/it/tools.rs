//! Tools: listed, called, and nothing changed on the way.

use crate::scripted::ODD_RESULT;
use crate::support::client::Pending;
use crate::support::{Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(
    lists_tools_as_the_server_describes_them,
    calls_a_tool_with_what_the_client_gave,
    passes_an_odd_result_on_to_the_letter,
    passes_failures_on_as_the_server_put_them,
    answers_calls_in_flight_under_their_own_ids,
    carries_large_arguments_and_results,
    answers_what_a_server_asks,
    keeps_what_fits_nothing_from_the_client,
    gives_up_a_call_that_takes_too_long,
);

fn lists_tools_as_the_server_describes_them(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let odd = client.find(List::Tools, "alpha__odd");
    // The name is the proxy's; everything else is the server's.
    let expected = json!({
        "x-vendor": {"rank": 1.0, "limit": 9_007_199_254_740_993_u64, "none": null},
        "name": "alpha__odd",
        "title": "Odd",
        "description": "Returns what is valid and unusual",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"b": {"type": "number", "default": 1.0}, "a": true},
            "x-order": ["b", "a"],
        },
        "outputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": true, "x-cost": 0.10},
        "icons": [{"src": "data:image/png;base64,AA==", "mimeType": "image/png", "sizes": ["any"]}],
        "execution": {"taskSupport": "optional"},
        "_meta": {"vendor.example/version": 1},
    });
    assert_eq!(odd, expected);
    let properties = odd["inputSchema"]["properties"].as_object().expect("it is one");
    assert!(properties.keys().eq(["b", "a"]), "properties keep their order");
    for name in ["alpha__echo", "alpha__slow", "alpha__process"] {
        assert!(client.names(List::Tools).iter().any(|known| known == name));
    }
}

fn calls_a_tool_with_what_the_client_gave(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.line(concat!(
        r#"{"id":"first","method":"tools/call","jsonrpc":"2.0","params":{"x-vendor":[1.0,1],"#,
        r#""arguments":{"z":9007199254740993,"a":-0.0,"e":[],"n":null,"u":"\u00e9\u2028</"},"#,
        r#""_meta":{"vendor.example/trace":"00-4bf9"},"name":"alpha__echo"}}"#,
    ));
    let result = client.answer(&Pending(json!("first"))).result();
    let seen = &result["structuredContent"];
    let expected = json!({
        "x-vendor": [1.0, 1],
        "arguments": {"z": 9_007_199_254_740_993_u64, "a": -0.0, "e": [], "n": null, "u": "\u{e9}\u{2028}</"},
        "_meta": {"vendor.example/trace": "00-4bf9"},
        "name": "echo",
    });
    assert_eq!(seen["server"], "alpha");
    assert_eq!(seen["params"], expected);
    let arguments = seen["params"]["arguments"].as_object().expect("it is one");
    assert!(arguments.keys().eq(["z", "a", "e", "n", "u"]), "arguments keep their order");

    // Absent stays absent: neither arguments nor `_meta` are invented.
    let echo = client.request("tools/call", json!({"name": "alpha__echo"})).result();
    assert_eq!(echo["structuredContent"]["params"], json!({"name": "echo"}));
}

fn passes_an_odd_result_on_to_the_letter(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let pending = client.send_call("alpha__odd", json!({}));
    let answer = client.answer(&pending);
    assert_eq!(answer.result_text(), ODD_RESULT);
}

fn passes_failures_on_as_the_server_put_them(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    // A tool that fails.
    assert_eq!(
        client.call("alpha__fail", json!({})),
        json!({
            "content": [{"type": "text", "text": "the printer is on fire"}],
            "isError": true,
            "x-code": 451,
        }),
    );
    // A request that fails.
    let pending = client.send_call("alpha__error", json!({}));
    assert_eq!(
        client.answer(&pending).error(),
        json!({
            "code": -32_050,
            "message": "the moon is in the wrong phase",
            "data": {"phase": "waxing", "fraction": 1.0},
        }),
    );
}

fn answers_calls_in_flight_under_their_own_ids(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let ids = (0..40).map(|n| match n % 4 {
        0 => json!(format!("text-{n}")),
        // Not the same as the number.
        1 => json!(format!("{}", 10_000 + n + 1)),
        2 => json!(10_000 + n),
        _ => json!(9_007_199_254_740_000_i64 + n),
    });
    let calls: Vec<Pending> = ids
        .map(|id| {
            let arguments = json!({"text": id});
            let params = json!({"name": "alpha__echo", "arguments": arguments});
            client.send_as(id, "tools/call", params)
        })
        .collect();
    // Latest first, so that no answer is only found because it is the next one.
    for call in calls.iter().rev() {
        let result = client.answer(call).result();
        assert_eq!(result["structuredContent"]["params"]["arguments"]["text"], call.0);
    }
}

fn carries_large_arguments_and_results(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let bytes = 3 << 20;
    let large = client.call("alpha__large", json!({"bytes": bytes}));
    let text = large["content"][0]["text"].as_str().expect("it is text");
    assert!(text.len() == bytes && text.bytes().all(|byte| byte == b'x'));

    let letters = "\u{e9}\n".repeat(300_000);
    let echo = client.call("alpha__echo", json!({"text": letters}));
    assert!(echo["structuredContent"]["params"]["arguments"]["text"] == letters);
}

fn answers_what_a_server_asks(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let pong = client.call("alpha__ask", json!({"method": "ping", "params": {}}));
    assert_eq!(pong["structuredContent"]["result"], json!({}));
    // This client declared no capability, so nobody can answer this; but it must be answered.
    let refused = client.call("alpha__ask", json!({"method": "sampling/createMessage", "params": {}}));
    assert_eq!(refused["structuredContent"]["error"]["code"], -32_601);
    // What the proxy does not know is for the client to judge.
    let mark = client.mark();
    let unknown = client.send_call("alpha__ask", json!({"method": "x-vendor/what", "params": {}}));
    let asked = client.asked(mark, "x-vendor/what");
    client.refuse(&asked, json!({"code": -32_601, "message": "what?"}));
    assert_eq!(client.answer(&unknown).result()["structuredContent"]["error"]["message"], "what?");
}

fn keeps_what_fits_nothing_from_the_client(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--stray"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let mark = client.mark();
    for n in 0..3 {
        let echo = client.call("alpha__echo", json!({"n": n}));
        assert_eq!(echo["structuredContent"]["params"]["arguments"]["n"], n);
    }
    let heard = client.since(mark);
    assert_eq!(heard.len(), 3, "{heard:#?}");
}

fn gives_up_a_call_that_takes_too_long(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--call-timeout=0.5").start();
    client.find(List::Tools, "alpha__slow");
    let result = client.call("alpha__slow", json!({"label": "endless"}));
    assert_eq!(result["isError"], true, "{result}");
    let text = result["content"][0]["text"].as_str().expect("it is text");
    assert!(text.contains("alpha"), "{text}");
    // The server need not work on it any longer.
    client
        .call_until("it is cancelled", "alpha__calls", &json!({}), |result| result["structuredContent"]["cancelled"] == json!(["endless"]));
}

#[test]
fn a_tool_that_a_server_lists_twice_is_listed_once() {
    let server = Server::stdio("alpha", &["--tool=twice", "--tool=once", "--tool=twice"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__once");
    let names = client.names(List::Tools);
    assert_eq!(names.iter().filter(|name| name.contains("twice")).count(), 1, "{names:?}");
}

#[test]
fn a_tool_can_be_called_before_anything_was_listed() {
    let server = Server::stdio("alpha", &["--slow-start=300"]);
    let mut client = Proxy::before(&[&server]);
    let echo = client.call("alpha__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "alpha");
}

#[test]
fn calls_at_different_servers_do_not_wait_for_each_other() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Tools, "alpha__slow");
    client.find(List::Tools, "beta__slow");
    let slow = client.send_call("alpha__slow", json!({"label": "one"}));
    let slower = client.send_call("beta__slow", json!({"label": "two"}));
    for server in ["alpha", "beta"] {
        let echo = client.call(&format!("{server}__echo"), json!({}));
        assert_eq!(echo["structuredContent"]["server"], server);
    }
    assert!(!client.has_answered(&slow) && !client.has_answered(&slower));
    client.call("beta__release", json!({"label": "two"}));
    let finished = client.answer(&slower).result();
    assert_eq!(finished["content"][0]["text"], "finished");
    assert!(!client.has_answered(&slow));
    // A release counts for calls that arrive later, too, so this one cannot be missed.
    client.call("alpha__release", json!({"label": "one"}));
    client.answer(&slow).result();
}

#[test]
fn a_tool_that_nobody_has_is_a_mistake_of_the_client() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    for name in ["alpha__nothing", "beta__echo", "nothing", "", "alpha__", "__echo", "ALPHA__echo"] {
        let pending = client.send_call(name, json!({}));
        assert_eq!(client.answer(&pending).code(), -32_602, "{name:?}");
    }
}

#[test]
fn parameters_that_make_no_call_are_a_mistake_of_the_client() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let wrong = [
        json!({}),
        json!({"name": null}),
        json!({"name": 7}),
        json!({"name": ["alpha__echo"]}),
        json!({"arguments": {}}),
        json!([]),
        json!(["alpha__echo"]),
    ];
    for params in wrong {
        let answer = client.request("tools/call", params.clone());
        assert_eq!(answer.code(), -32_602, "{params}");
    }
    client.line(r#"{"jsonrpc":"2.0","id":"bare","method":"tools/call"}"#);
    assert_eq!(client.answer(&Pending(json!("bare"))).code(), -32_602);
    // It is the server's business whether its own arguments make sense.
    let echo = client.call("alpha__echo", json!({"text": 7}));
    assert_eq!(echo["structuredContent"]["params"]["arguments"], json!({"text": 7}));
}

#[test]
fn a_server_without_a_capability_is_not_asked_for_it() {
    let server = Server::http("alpha", &["--without=prompts", "--without=resources"]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--builtin-tools=none").start();
    client.find(List::Tools, "alpha__echo");
    for list in [List::Resources, List::Templates] {
        assert_eq!(client.list(list), Vec::<Value>::new());
    }
    let methods = server.running().seen().into_iter().filter_map(|seen| seen.method);
    let needless: Vec<_> = methods.filter(|method| method.starts_with("prompts/") || method.starts_with("resources/")).collect();
    assert!(needless.is_empty(), "{needless:?}");
}

#[test]
fn a_call_under_way_when_a_server_breaks_fails_alone() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Tools, "alpha__slow");
    client.find(List::Tools, "beta__slow");
    let doomed = client.send_call("alpha__slow", json!({"label": "doomed"}));
    let spared = client.send_call("beta__slow", json!({"label": "spared"}));
    let crash = client.send_call("alpha__crash", json!({}));
    for failed in [crash, doomed] {
        let result = client.answer(&failed).result();
        assert_eq!(result["isError"], true, "{result}");
        assert!(result["content"][0]["text"].is_string(), "{result}");
    }
    client.call("beta__release", json!({"label": "spared"}));
    let result = client.answer(&spared).result();
    assert_eq!(result["content"][0]["text"], "finished");
    // The server comes back for the next call.
    eventually("alpha is back", || {
        let result = client.call("alpha__echo", json!({}));
        (result["structuredContent"]["server"] == "alpha").then_some(())
    });
}
