//! How often clients may call: who is refused, who is not, and what they are told.

use crate::support::client::List;
use crate::support::http::{Front, Session, call};
use crate::support::{App, Client, KEY, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};

/// Of a result that says when to come back.
#[track_caller]
fn seconds(result: &Value) -> u64 {
    assert_eq!(result["isError"], true, "{result}");
    let text = result["content"][0]["text"].as_str().expect("it is text");
    let seconds = text.split("try again in ").nth(1).and_then(|rest| rest.strip_suffix(" s")?.parse().ok());
    seconds.unwrap_or_else(|| panic!("it does not say when: {text}"))
}

fn is_refused(result: &Value) -> bool {
    result["content"][0]["text"].as_str().is_some_and(|text| text.contains("too many calls"))
}

/// How many of so many calls are let through.
#[track_caller]
fn admitted(calls: usize, mut call: impl FnMut() -> Value) -> usize {
    let results = (0..calls).map(|_| call()).collect::<Vec<_>>();
    let refused = results.iter().filter(|result| is_refused(result)).collect::<Vec<_>>();
    for refusal in &refused {
        seconds(refusal);
    }
    calls - refused.len()
}

#[track_caller]
fn echoes(client: &mut Client, calls: usize) -> usize {
    admitted(calls, || client.call("alpha__echo", json!({})))
}

#[track_caller]
fn http_echoes(session: &mut Session, calls: usize) -> usize {
    admitted(calls, || session.call("alpha__echo", json!({})))
}

/// A token comes back each second, and a loaded machine takes its time.
#[track_caller]
fn about(admitted: usize, limit: usize) {
    assert!((limit..limit + 15).contains(&admitted), "{admitted} of {limit}");
}

#[test]
fn the_61st_call_of_a_minute_to_a_server_of_the_app_waits() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let mut client = Proxy::new().app_with_limits(&app).start();
    client.find(List::Tools, "alpha__echo");
    about(echoes(&mut client, 100), 60);
    let refused = eventually("a call is refused", || {
        let result = client.call("alpha__echo", json!({}));
        is_refused(&result).then_some(result)
    });
    assert_eq!(seconds(&refused), 1);
    assert!(refused.to_string().contains("60 tool calls a minute") && refused.to_string().contains("--rate-limit-tools"));
    // The proxy's own tools count as well; nothing else does.
    assert!((0..20).any(|_| is_refused(&client.call("pluggedin_setup", json!({})))));
    for _ in 0..100 {
        assert!(client.names(List::Tools).contains(&"alpha__echo".to_owned()));
        client.request("ping", json!({})).result();
        client.request("prompts/get", json!({"name": "greet"})).result();
    }
}

#[test]
fn nobody_is_limited_on_their_own_machine_unasked() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    assert_eq!(echoes(&mut client, 200), 200);
    assert_eq!(admitted(200, || client.call("pluggedin_setup", json!({}))), 200);
}

#[test]
fn beside_the_app_the_own_servers_stay_without_limit() {
    let (theirs, own) = (Server::stdio("alpha", &[]), Server::stdio("beta", &[]));
    let app = App::start(Workspace::of(&[&theirs]));
    let mut client = Proxy::new().app_with_limits(&app).file(&file_of(&[&own])).start();
    client.find(List::Tools, "alpha__echo");
    client.find(List::Tools, "beta__echo");
    about(echoes(&mut client, 100), 60);
    assert_eq!(admitted(200, || client.call("beta__echo", json!({}))), 200);
}

#[test]
fn on_request_the_own_machine_is_limited_too() {
    let server = Server::stdio("alpha", &[]);
    for proxy in [Proxy::new().arg("--rate-limit-tools=5"), Proxy::new().env("PLUGGEDIN_RATE_LIMIT_TOOLS", "5")] {
        let mut client = proxy.file(&file_of(&[&server])).start();
        client.find(List::Tools, "alpha__echo");
        assert_eq!(echoes(&mut client, 20), 5);
        assert!((8..=12).contains(&seconds(&client.call("alpha__echo", json!({})))));
    }
}

#[test]
fn a_burst_can_be_smaller_than_the_quota() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--rate-limit-tools=6").arg("--rate-limit-burst=2").start();
    client.find(List::Tools, "alpha__echo");
    assert_eq!(echoes(&mut client, 10), 2);
}

#[test]
fn zero_is_no_limit() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let mut client = Proxy::new().app_with_limits(&app).arg("--rate-limit-tools=0").arg("--rate-limit-api=0").start();
    client.find(List::Tools, "alpha__echo");
    assert_eq!(echoes(&mut client, 200), 200);
}

#[test]
fn numbers_that_are_none_are_refused() {
    for option in ["tools", "burst", "global", "api"] {
        for value in ["-1", "many", "1.5", "1000001", "60/min"] {
            let finished = Proxy::new().arg(&format!("--rate-limit-{option}={value}")).run(&[]);
            assert_eq!(finished.code, Some(64), "{option} {value}");
            assert!(finished.stderr.contains(&format!("`--rate-limit-{option}` must be a number")), "{}", finished.stderr);
        }
    }
    assert_eq!(Proxy::new().arg("--rate-limit-burst=0").run(&[]).code, Some(64));
}

#[test]
fn sessions_have_their_own_quota() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--rate-limit-tools=5").serve();
    let (mut one, mut other) = (front.session(), front.session());
    one.find(List::Tools, "alpha__echo");
    assert_eq!((http_echoes(&mut one, 10), http_echoes(&mut other, 10), http_echoes(&mut one, 3)), (5, 5, 0));
    let metrics = front.request("GET", "/metrics").send().body;
    assert!(metrics.contains("pluggedin_rate_limited_total{limit=\"tool_calls\"} 13"), "{metrics}");
}

#[test]
fn sessions_without_end_are_no_quota_without_end() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--rate-limit-tools=1").serve();
    front.session().find(List::Tools, "alpha__echo");
    let once = || front.session().call("alpha__echo", json!({}));
    let admitted = admitted(15, once);
    // A token comes back each six seconds.
    assert!((10..14).contains(&admitted), "{admitted}");
    let refused = eventually("a call is refused", || Some(once()).filter(is_refused));
    assert!(refused.to_string().contains("10 tool calls of one address a minute"), "{refused}");
    let metrics = front.request("GET", "/metrics").send().body;
    assert!(!metrics.contains("pluggedin_rate_limited_total{limit=\"address\"} 0"), "{metrics}");
}

#[test]
fn without_sessions_an_address_has_a_quota() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--rate-limit-tools=5").arg("--stateless").serve();
    let echo = || front.post(&call(1, "alpha__echo", json!({}))).send().result();
    assert_eq!(admitted(10, echo), 5);
}

#[test]
fn a_key_has_a_quota_whatever_its_sessions() {
    const OTHER: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";
    let server = Server::http("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    app.switch(OTHER, Workspace::of(&[&server]));
    let proxy = Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).arg("--auth=per-client").arg("--rate-limit-tools=5");
    let front: Front = proxy.serve();
    let session = |key: &str| {
        let mut session = front.session_with(key);
        session.find(List::Tools, "alpha__echo");
        session
    };
    let (mut one, mut again, mut other) = (session(KEY), session(KEY), session(OTHER));
    assert_eq!((http_echoes(&mut one, 3), http_echoes(&mut again, 5), http_echoes(&mut other, 8)), (3, 2, 5));
}

#[test]
fn all_together_have_a_quota_that_other_requests_count_to() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::new().file(&file_of(&[&server])).arg("--rate-limit-global=6").serve();
    let (mut one, mut other) = (front.session(), front.session());
    one.find(List::Tools, "alpha__echo");
    let read = |session: &mut Session| session.ask("resources/read", json!({"uri": "scripted://greeting"})).send().answer();
    assert_eq!(http_echoes(&mut one, 3), 3);
    assert!((0..3).all(|_| read(&mut other)["result"].is_object()));
    assert_eq!(http_echoes(&mut one, 2), 0);
    let refused = read(&mut other);
    assert_eq!(refused["error"]["code"], -32_005, "{refused}");
    let wait = refused["error"]["data"]["retryAfterMs"].as_u64().expect("it says when");
    assert!((5_000..=10_000).contains(&wait), "{refused}");
    // Lists come from memory.
    assert!((0..20).all(|_| !one.names(List::Tools).is_empty()));
}

#[test]
fn the_app_is_asked_so_often_and_no_more() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let proxy = |limit: &str| {
        Proxy::new().app_with_limits(&app).env("PLUGGEDIN_RATE_LIMIT_API", limit).arg("--refresh-interval=0.05").arg("--list-wait=0")
    };
    let mut client = proxy("2").start();
    eventually("it is asked", || (app.requests().len() == 2).then_some(()));
    for _ in 0..20 {
        client.names(List::Tools);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(app.requests().len(), 2);
    drop(client);
    let _client = proxy("0").start();
    eventually("it is asked without end", || (app.requests().len() > 150).then_some(()));
}
