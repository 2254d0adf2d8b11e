//! What servers ask a client that is asked by results and not while its call runs (2026-07-28, "Multi round-trip
//! requests"), and a client that is asked while it runs: before servers of the same kind and of the other.

#![allow(clippy::needless_pass_by_value, reason = "`json!({..})` reads better without a borrow in front of it")]

use crate::support::client::Client;
use crate::support::http::{Front, Reply};
use crate::support::modern::{CAPABILITIES, ask, call, modern};
use crate::support::{Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(
    a_server_is_answered_in_rounds,
    progress_goes_on_after_a_round,
    a_round_that_is_answered_in_part_is_asked_again,
    what_was_not_declared_is_not_asked,
    a_call_that_ends_by_itself_is_answered,
);

/// Something that is wrong with a message.
type Spoil<'a> = &'a dyn Fn(&mut Value);

const FORM: &str = r#"{"message":"Your name?","requestedSchema":{"type":"object","properties":{"name":{"type":"string","x-max":1.0}}}}"#;
const SAMPLING: &str = r#"{"messages":[],"maxTokens":1.0,"x-vendor":[null,9007199254740993]}"#;

fn front(servers: &[&Server]) -> Front {
    let front = Proxy::new().file(&file_of(servers)).serve();
    for server in servers {
        eventually("it is listed", || {
            let tools = ask(&front, &modern(1, "tools/list", json!({}))).send().result();
            tools["tools"].to_string().contains(&server.tool("talk")).then_some(())
        });
    }
    front
}

fn talk(lines: Value) -> Value {
    able(call("alpha__talk", json!({ "lines": lines })))
}

/// The message of a client that can be asked everything.
fn able(mut message: Value) -> Value {
    message["params"]["_meta"][CAPABILITIES] = json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}});
    message
}

/// The same request with the answers to its last result.
fn again(message: &Value, round: &Value, answers: Value) -> Value {
    let mut message = message.clone();
    message["id"] = json!(message["id"].as_u64().expect("a number") + 1);
    message["params"]["inputResponses"] = answers;
    message["params"]["requestState"] = round["requestState"].clone();
    message
}

/// What is asked, by key.
#[track_caller]
fn round(reply: Reply) -> Value {
    assert_eq!((reply.status, reply.header("mcp-session-id")), (200, None), "{reply:?}");
    let result = reply.result();
    assert_eq!(result["resultType"], "input_required", "{result}");
    assert!(result.get("ttlMs").is_none() && result.get("cacheScope").is_none(), "it is no answer yet: {result}");
    assert!(result["requestState"].is_string(), "{result}");
    result
}

/// The key of the only request, and the request.
#[track_caller]
fn only(round: &Value) -> (String, Value) {
    let requests = round["inputRequests"].as_object().expect("an object");
    assert_eq!(requests.len(), 1, "{round}");
    let (key, request) = requests.iter().next().expect("it is one");
    (key.clone(), request.clone())
}

#[track_caller]
fn answers(reply: Reply) -> Value {
    let mut result = reply.result();
    assert_eq!(result["resultType"], "complete", "{result}");
    let answers = result["structuredContent"].as_array_mut().expect("a list").iter_mut();
    // Whole messages, of which the results matter, or the errors.
    answers.map(|answer| if answer["result"].is_object() { answer["result"].take() } else { answer.take() }).collect()
}

fn a_server_is_answered_in_rounds(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = front(&[&server]);
    let lines = json!([
        {"ask": "elicitation/create", "params": FORM, "id": "1"},
        {"ask": "sampling/createMessage", "params": SAMPLING, "id": r#""two""#},
        {"ask": "roots/list", "id": "3.0"},
    ]);
    let message = talk(lines);
    let first = round(ask(&front, &message).send());
    let (key, request) = only(&first);
    assert_eq!(request, json!({"method": "elicitation/create", "params": serde_json::from_str::<Value>(FORM).expect("JSON")}));

    let named = json!({"action": "accept", "content": {"name": "Ada"}, "x-vendor": 1.0});
    let message = again(&message, &first, json!({key: named, "unknown": {}}));
    let second = round(ask(&front, &message).send());
    let (key, request) = only(&second);
    assert_eq!(request["method"], "sampling/createMessage");
    assert_eq!(request["params"].to_string(), SAMPLING);

    let sampled = json!({"role": "assistant", "content": {"type": "text", "text": "x"}, "model": "m"});
    let message = again(&message, &second, json!({key: sampled}));
    let third = round(ask(&front, &message).send());
    let (key, request) = only(&third);
    assert_eq!(request["method"], "roots/list");

    let roots = json!({"roots": []});
    let message = again(&message, &third, json!({key: roots}));
    assert_eq!(answers(ask(&front, &message).send()), json!([named, sampled, roots]));

    // Each state leads back once.
    ask(&front, &message).send().is_refusal(200, -32_602);
}

fn progress_goes_on_after_a_round(kind: Kind) {
    if kind == Kind::HttpJson {
        // Progress and answer come on streams of their own there, in any order.
        return;
    }
    let server = Server::new(kind, "alpha", &[]);
    let front = front(&[&server]);
    let mut message = talk(json!([{"progress": 1}, {"ask": "roots/list", "id": "1"}, {"progress": 2}]));
    message["params"]["_meta"]["progressToken"] = json!("before");
    let mut stream = ask(&front, &message).open();
    assert_eq!(stream.hear("notifications/progress")["params"], json!({"progressToken": "before", "progress": 1}));
    let first = stream.answer()["result"].take();
    let (key, _) = only(&first);
    let mut message = again(&message, &first, json!({key: {"roots": []}}));
    message["params"]["_meta"]["progressToken"] = json!(7);
    let mut stream = ask(&front, &message).open();
    assert_eq!(stream.hear("notifications/progress")["params"], json!({"progressToken": 7, "progress": 2}));
    assert_eq!(stream.answer()["result"]["structuredContent"][0]["result"], json!({"roots": []}));
}

fn a_round_that_is_answered_in_part_is_asked_again(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = front(&[&server]);
    let message = talk(json!([{"ask": "roots/list", "id": "1"}]));
    let first = round(ask(&front, &message).send());
    let second = round(ask(&front, &again(&message, &first, json!({"other": {}}))).send());
    assert_eq!(only(&second), only(&first));
    let (key, _) = only(&second);
    // What is no answer leaves the call where it is.
    let reply = ask(&front, &again(&message, &second, json!({&key: 1}))).send();
    reply.is_refusal(200, -32_602);
    assert_eq!(answers(ask(&front, &again(&message, &second, json!({key: {"roots": []}}))).send()), json!([{"roots": []}]));
}

fn what_was_not_declared_is_not_asked(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = front(&[&server]);
    for (method, declared) in [
        ("roots/list", json!({"sampling": {}, "elicitation": {}})),
        ("sampling/createMessage", json!({"roots": {}})),
        ("elicitation/create", json!({})),
        ("x/custom", json!({"sampling": {}})),
    ] {
        let mut message = talk(json!([{"ask": method, "id": "1"}]));
        message["params"]["_meta"][CAPABILITIES] = declared;
        let refused = answers(ask(&front, &message).send());
        assert_eq!(refused[0]["error"]["code"], -32_601, "{method}: {refused}");
    }
}

fn a_call_that_ends_by_itself_is_answered(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let front = front(&[&server]);
    // Withdrawn at once: nobody needs to be asked any more.
    let message = talk(json!([{"ask": "roots/list", "id": "1", "ms": 1}]));
    let reply = ask(&front, &message).send().result();
    if reply["resultType"] == "input_required" {
        // The machine was slow, so that the client was asked first.
        let (key, _) = only(&reply);
        assert_eq!(answers(ask(&front, &again(&message, &reply, json!({key: {"roots": []}}))).send()), json!(["withdrawn"]));
    } else {
        assert_eq!(reply["structuredContent"], json!(["withdrawn"]), "{reply}");
    }
}

#[test]
fn a_server_that_keeps_talking_is_asked_for_soon() {
    let server = Server::stdio("alpha", &[]);
    let front = front(&[&server]);
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
    let mut lines: Vec<_> = (0..1_000).map(|n| json!({"later": log, "ms": 5 * n})).collect();
    lines.push(json!({"ask": "roots/list", "id": "1"}));
    let begin = std::time::Instant::now();
    let round = round(ask(&front, &talk(json!(lines))).send());
    assert_eq!(only(&round).1["method"], "roots/list");
    // It talks for five seconds.
    assert!(begin.elapsed() < std::time::Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_state_leads_only_where_it_belongs() {
    let (alpha, beta) = (Server::stdio("alpha", &[]), Server::stdio("beta", &[]));
    let (front, other) = (front(&[&alpha, &beta]), front(&[&alpha]));
    let message = talk(json!([{"ask": "roots/list", "id": "1"}]));
    let first = round(ask(&front, &message).send());
    let (key, _) = only(&first);
    let good = again(&message, &first, json!({key: {"roots": []}}));
    let state = first["requestState"].as_str().expect("a text").to_owned();
    let mut altered = state.clone().into_bytes();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).expect("it was text");
    let wrong: [(&str, Spoil<'_>); 7] = [
        ("altered", &|message| message["params"]["requestState"] = json!(altered)),
        ("cut", &|message| message["params"]["requestState"] = json!(state[1..])),
        ("empty", &|message| message["params"]["requestState"] = json!("")),
        ("no text", &|message| message["params"]["requestState"] = json!(7)),
        ("another tool", &|message| message["params"]["name"] = json!("alpha__echo")),
        ("another server", &|message| message["params"]["name"] = json!("beta__talk")),
        ("other arguments", &|message| message["params"]["arguments"]["x"] = json!(1)),
    ];
    for (what, spoil) in wrong {
        let mut message = good.clone();
        spoil(&mut message);
        let reply = ask(&front, &message).send();
        assert_eq!((reply.status, reply.code()), (200, -32_602), "{what}: {reply:?}");
        assert!(reply.error()["message"].as_str().is_some_and(|said| said.contains("requestState")), "{what}: {reply:?}");
    }
    // A process that has another secret.
    ask(&other, &good).send().is_refusal(200, -32_602);
    assert_eq!(answers(ask(&front, &good).send()), json!([{"roots": []}]), "the call has waited all the while");
}

#[test]
fn a_url_that_must_be_visited_first_is_a_round() {
    let server = Server::stdio("alpha", &[]);
    let front = front(&[&server]);
    let elicitation = json!({"mode": "url", "elicitationId": "e1", "url": "https://example.com/x", "message": "Sign in"});
    let error = json!({"code": -32_042, "message": "URL elicitation required", "data": {"elicitations": [elicitation]}});
    let message = able(call("alpha__error", json!({"error": error})));
    let first = round(ask(&front, &message).send());
    let (key, request) = only(&first);
    assert_eq!(request, json!({"method": "elicitation/create", "params": elicitation}));
    let visited = again(&message, &first, json!({&key: {"action": "accept"}}));
    // The server is called once more, and asks once more.
    round(ask(&front, &visited).send());
    let declined = again(&message, &first, json!({key: {"action": "decline"}}));
    let result = ask(&front, &declined).send().result();
    assert_eq!(result["isError"], true, "{result}");
    // Who cannot be asked is told what is missing.
    let mut unable = message;
    unable["params"]["_meta"][CAPABILITIES] = json!({"elicitation": {"form": {}}});
    let reply = ask(&front, &unable).send();
    assert_eq!(reply.code(), -32_021, "{reply:?}");
    assert_eq!(reply.error()["data"]["requiredCapabilities"], json!({"elicitation": {"url": {}}}));
}

#[test]
fn codes_of_errors_are_those_of_the_revision() {
    let server = Server::stdio("alpha", &[]);
    let front = front(&[&server]);
    let error = json!({"code": -32_002, "message": "gone", "data": {"uri": "x:y", "n": 1.0}});
    let reply = ask(&front, &call("alpha__error", json!({"error": error}))).send();
    assert_eq!(reply.code(), -32_602, "{reply:?}");
    assert_eq!(reply.error()["data"], json!({"uri": "x:y", "n": 1.0}));
}

/// Servers that ask by results, on both wires that they can have.
const MODERN_SERVERS: [Kind; 3] = [Kind::Stdio, Kind::Http, Kind::HttpJson];

#[test]
fn rounds_of_a_server_are_passed_on() {
    for kind in MODERN_SERVERS {
        let server = Server::new(kind, "alpha", &["--modern"]);
        let front = front(&[&server]);
        let message = able(call("alpha__ask-twice", json!({"x": 1.0})));
        let first = round(ask(&front, &message).send());
        let (key, request) = only(&first);
        assert_eq!((key.as_str(), &request["params"]["message"]), ("first", &json!("First name?")));
        assert_eq!(request["params"]["x-vendor"].to_string(), "1.0");
        assert!(!first["requestState"].as_str().expect("a text").contains("ask-twice"), "the server's own state is sealed: {first}");
        let ada = json!({"action": "accept", "content": {"name": "Ada"}, "n": 1.0});
        let second_message = again(&message, &first, json!({"first": ada}));
        let second = round(ask(&front, &second_message).send());
        let cancel = json!({"action": "cancel"});
        let last = again(&second_message, &second, json!({"second": cancel}));
        let result = ask(&front, &last).send().result();
        assert_eq!(result["structuredContent"]["answer"], json!([ada, cancel]), "{kind:?} {result}");
        // Its rounds stand alone, so that an earlier one can be repeated; not for another request.
        round(ask(&front, &second_message).send());
        let mut other = second_message.clone();
        other["params"]["arguments"] = json!({"x": 1});
        ask(&front, &other).send().is_refusal(200, -32_602);

        let message = able(call("alpha__ask-again", json!({})));
        let first = round(ask(&front, &message).send());
        let mut last = again(&message, &first, json!(null));
        last["params"].as_object_mut().expect("an object").remove("inputResponses");
        assert_eq!(ask(&front, &last).send().result()["structuredContent"]["answer"], "again");

        let unable = call("alpha__ask", json!({}));
        let reply = ask(&front, &unable).send();
        assert_eq!(reply.code(), -32_021, "{reply:?}");
    }
}

/// A client with a handshake that has seen the server's tools.
fn handshaken(server: &Server, capabilities: Value) -> Client {
    let mut client = Proxy::before_able(&[server], capabilities);
    client.find(List::Tools, &server.tool("ask"));
    client
}

#[test]
fn a_client_with_a_handshake_is_asked_while_its_call_runs() {
    for kind in MODERN_SERVERS {
        let server = Server::new(kind, "alpha", &["--modern"]);
        let mut client = handshaken(&server, json!({"sampling": {}, "elicitation": {}, "roots": {}}));
        let mark = client.mark();
        let pending = client.send_call("alpha__ask-twice", json!({}));
        let first = client.asked_for(mark, |asked| asked["params"]["message"] == "First name?");
        assert!(first.text.contains(r#""x-vendor":1.0"#), "{}", first.text);
        client.reply(&first, r#"{"action":"accept","content":{"name":"Ada"},"n":1.0}"#);
        let second = client.asked_for(mark, |asked| asked["params"]["message"] == "Second name?");
        client.reply(&second, r#"{"action":"decline"}"#);
        let result = client.answer(&pending).result();
        let expected = json!([{"action": "accept", "content": {"name": "Ada"}, "n": 1.0}, {"action": "decline"}]);
        assert_eq!(result["structuredContent"]["answer"].to_string(), expected.to_string());
        assert!(result.get("resultType").is_none(), "older clients know nothing of it: {result}");

        // Several at once, answered in another order.
        let mark = client.mark();
        let pending = client.send_call("alpha__ask-all", json!({}));
        for (method, answer) in [
            ("roots/list", r#"{"roots":[]}"#),
            ("sampling/createMessage", r#"{"role":"assistant","content":{"type":"text","text":"x"},"model":"m"}"#),
            ("elicitation/create", r#"{"action":"cancel"}"#),
        ] {
            let asked = client.asked(mark, method);
            client.reply(&asked, answer);
        }
        let answer = client.answer(&pending).result()["structuredContent"]["answer"].take();
        assert_eq!(answer["form"], json!({"action": "cancel"}));
        assert_eq!((&answer["model"]["model"], &answer["roots"]["roots"]), (&json!("m"), &json!([])));

        assert_eq!(client.call("alpha__ask-again", json!({}))["structuredContent"]["answer"], "again");

        // A client that refuses ends the call, and the proxy says why.
        let mark = client.mark();
        let pending = client.send_call("alpha__ask", json!({}));
        let asked = client.asked(mark, "elicitation/create");
        client.refuse(&asked, json!({"code": -1, "message": "nobody is there"}));
        let result = client.answer(&pending).result();
        assert!(result["isError"] == true && result.to_string().contains("nobody is there"), "{result}");
    }
}

#[test]
fn a_client_with_a_handshake_is_asked_only_what_it_has_declared() {
    let server = Server::stdio("alpha", &["--modern"]);
    let mut client = handshaken(&server, json!({"sampling": {}}));
    // The server itself sees that it cannot ask.
    assert_eq!(client.request("tools/call", json!({"name": "alpha__ask", "arguments": {}})).code(), -32_021);
}

#[test]
fn a_call_that_is_cancelled_withdraws_what_was_asked_in_a_round() {
    let server = Server::stdio("alpha", &["--modern"]);
    let mut client = handshaken(&server, json!({"elicitation": {}}));
    let mark = client.mark();
    let pending = client.send_call("alpha__ask", json!({}));
    let asked = client.asked(mark, "elicitation/create");
    client.cancel(&pending);
    let withdrawn = client.notified(mark, "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], asked.value["id"]);
}
