//! Servers that are dead, slow, rude or forgetful, and what becomes of them: one test for each, where a table says too little.

use crate::support::process::has_ended;
use crate::support::{Answer, App, Client, Kind, List, Proxy, Server, Workspace, eventually, file_of, over_each_wire};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

over_each_wire!(a_broken_connection_is_made_again, speaks_older_revisions_to_servers);

/// Calls until the server answers, whatever came before.
#[track_caller]
pub(super) fn recovers(client: &mut Client, server: &str) {
    let name = format!("{server}__echo");
    let what = format!("{server} answers again");
    client.call_until(&what, &name, &json!({}), |result| result["structuredContent"]["server"] == server);
}

fn a_broken_connection_is_made_again(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__crash");
    for _ in 0..2 {
        let result = client.call("alpha__crash", json!({}));
        assert_eq!(result["isError"], true, "{result}");
        let text = result["content"][0]["text"].as_str().expect("it is text");
        assert!(text.contains("alpha"), "which server? {text}");
        recovers(&mut client, "alpha");
    }
}

fn speaks_older_revisions_to_servers(kind: Kind) {
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let server = Server::new(kind, "alpha", &[&format!("--revision={revision}")]);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__echo");
        recovers(&mut client, "alpha");
    }
}

#[test]
fn nine_servers_work_beside_a_dead_one() {
    let ways_to_be_dead: [(&str, Value); 4] = [
        ("it ends at once", Server::stdio("dead", &["--exit-at-start"]).entry()),
        ("there is no such program", json!({"command": "/no/such/program"})),
        ("nobody listens", json!({"type": "http", "url": "http://127.0.0.1:9/mcp"})),
        ("nobody listens", json!({"type": "sse", "url": "http://127.0.0.1:9/sse"})),
    ];
    for (why, entry) in ways_to_be_dead {
        let kinds = [Kind::Stdio, Kind::Http, Kind::Sse].into_iter().cycle();
        let living: Vec<Server> = (0..9).zip(kinds).map(|(n, kind)| Server::new(kind, &format!("server-{n}"), &[])).collect();
        let mut file = file_of(&living.iter().collect::<Vec<_>>());
        file["mcpServers"]["dead"] = entry;
        let mut client = Proxy::new().file(&file).start();
        for server in &living {
            client.find(List::Tools, &server.tool("echo"));
            let echo = client.call(&server.tool("echo"), json!({}));
            assert_eq!(echo["structuredContent"]["server"], server.name, "{why}");
        }
        // Somebody who asks is told.
        let told = client.call_until("it is told", "pluggedin_discover_tools", &json!({}), |told| {
            told["content"][0]["text"].as_str().is_some_and(|text| text.contains("dead"))
        });
        assert_ne!(told["isError"], true, "{why}: {told}");
    }
}

#[test]
fn a_server_that_hangs_keeps_nobody_waiting() {
    for method in ["initialize", "tools/list"] {
        let hanging = Server::stdio("hanging", &[&format!("--hang={method}")]);
        let quick = Server::stdio("quick", &[]);
        let begin = Instant::now();
        let mut client = Proxy::before(&[&hanging, &quick]);
        // The first list holds what is quick, and does not wait for the other one until it gives up.
        let names = client.names(List::Tools);
        assert!(names.iter().any(|name| name == "quick__echo"), "{names:?}");
        let echo = client.call("quick__echo", json!({}));
        assert_eq!(echo["structuredContent"]["server"], "quick");
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
}

#[test]
fn initialize_is_answered_whatever_servers_and_the_app_do() {
    let hanging = Server::stdio("hanging", &["--hang=initialize"]);
    let app = App::start(Workspace::default());
    app.answer(Answer::Never);
    let mut client = Proxy::new().app(&app).file(&file_of(&[&hanging])).launch();
    let begin = Instant::now();
    client.initialize();
    let pong = client.request("ping", json!({})).result();
    assert_eq!(pong, json!({}));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_list_waits_no_longer_than_it_is_told_to() {
    let hanging = Server::stdio("hanging", &["--hang=initialize"]);
    let mut client = Proxy::new().file(&file_of(&[&hanging])).arg("--list-wait=0.5").start();
    let begin = Instant::now();
    let names = client.names(List::Tools);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(names.iter().all(|name| name.starts_with("pluggedin_")));
}

#[test]
fn a_server_that_comes_late_is_announced() {
    let late = Server::stdio("late", &["--slow-start=1500"]);
    let quick = Server::stdio("quick", &[]);
    let mut client = Proxy::new().file(&file_of(&[&late, &quick])).arg("--list-wait=0.2").start();
    let mark = client.mark();
    let names = client.names(List::Tools);
    if !names.iter().any(|name| name == "late__echo") {
        client.hear(mark, "the late tools", |value| value["method"] == "notifications/tools/list_changed");
        client.find(List::Tools, "late__echo");
    }
    recovers(&mut client, "late");
}

#[test]
fn what_is_no_message_on_a_servers_stdout_is_overlooked() {
    let server = Server::stdio("alpha", &["--garbage"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    recovers(&mut client, "alpha");
}

#[test]
fn a_server_may_talk_on_stderr_as_much_as_it_likes() {
    let server = Server::stdio("alpha", &["--chatter=2000000"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    recovers(&mut client, "alpha");
}

#[test]
fn what_a_server_says_before_it_dies_can_be_read() {
    let server = Server::stdio("mortal", &["--exit-at-start"]);
    let client = Proxy::before(&[&server]);
    client.complains("no licence found, giving up");
    client.complains("mortal");
}

#[test]
fn an_http_server_may_go_away_and_come_back() {
    for kind in [Kind::Http, Kind::Sse] {
        let mut server = Server::new(kind, "alpha", &[]);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__echo");
        server.running_mut().stop();
        let result = client.call("alpha__echo", json!({}));
        assert_eq!(result["isError"], true, "{result}");
        server.running_mut().restart();
        recovers(&mut client, "alpha");
    }
}

#[test]
fn an_event_stream_that_breaks_is_opened_again() {
    for kind in [Kind::Http, Kind::Sse] {
        let server = Server::new(kind, "alpha", &[]);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__echo");
        for n in 0..3 {
            let (mark, name) = (client.mark(), format!("tool-{n}"));
            server.running().break_streams();
            server.running().add("tools", &name);
            client.notified(mark, "notifications/tools/list_changed");
            client.find(List::Tools, &format!("alpha__{name}"));
        }
    }
}

#[test]
fn a_forgotten_session_is_opened_anew_without_the_client_noticing() {
    for kind in [Kind::Http, Kind::HttpJson] {
        let server = Server::new(kind, "alpha", &[]);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__echo");
        server.running().forget_sessions();
        let echo = client.call("alpha__echo", json!({}));
        assert_eq!(echo["structuredContent"]["server"], "alpha", "{echo}");
    }
}

#[test]
fn of_parallel_calls_none_fails_because_the_session_was_forgotten() {
    for (kind, flags) in [(Kind::Http, &[][..]), (Kind::HttpJson, &["--unknown-session=400"]), (Kind::Sse, &[])] {
        let server = Server::new(kind, "alpha", flags);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__echo");
        for round in 0..5 {
            server.running().forget_sessions();
            let calls: Vec<_> = (0..8).map(|n| client.send_call("alpha__echo", json!({"n": n}))).collect();
            for (n, call) in calls.iter().enumerate() {
                let echo = client.answer(call).result();
                assert_eq!(echo["structuredContent"]["params"]["arguments"]["n"], n, "{kind:?} {round}: {echo}");
            }
        }
    }
}

#[test]
fn a_call_that_runs_outlives_the_loss_of_its_session() {
    let server = Server::http("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut session = front.session();
    session.find(List::Tools, "alpha__echo");
    let slow = session.start_slow("alpha", "a");
    server.running().forget_sessions();
    assert_eq!(session.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
    session.release("alpha", "a");
    let reply = slow.reply();
    assert!(reply.messages().iter().any(|message| message["result"]["isError"] != true && message["result"].is_object()), "{reply:?}");
}

#[test]
fn sessions_and_streams_of_http_servers_are_optional() {
    let flags: [&[&str]; 4] = [&["--no-get"], &["--sessionless"], &["--no-get", "--sessionless", "--json-answers"], &["--resumable"]];
    for flags in flags {
        let server = Server::http("alpha", flags);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__echo");
        for n in 0..3 {
            let echo = client.call("alpha__echo", json!({"n": n}));
            let seen = &echo["structuredContent"]["params"]["arguments"]["n"];
            assert_eq!(*seen, n, "{flags:?}");
        }
    }
}

#[test]
fn http_requests_carry_the_session_and_the_revision() {
    let server = Server::http("alpha", &["--revision=2025-06-18"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    client.call("alpha__echo", json!({}));
    let seen = server.running().seen();
    let calls: Vec<_> = seen.iter().filter(|seen| seen.method.as_deref() == Some("tools/call")).collect();
    assert_eq!(calls.len(), 1);
    let headers = &calls[0].headers;
    assert_eq!(headers["mcp-protocol-version"], "2025-06-18");
    assert_eq!(headers["mcp-session-id"], "session-1");
    assert!(headers["accept"].contains("text/event-stream"));
    // At the end the session is given back.
    client.finish();
    eventually("the session is closed", || (server.running().sessions() == 0).then_some(()));
    let seen = server.running().seen();
    assert!(seen.iter().any(|seen| seen.http == "DELETE"), "it was not said good-bye");
}

#[test]
fn a_server_that_wants_a_sign_in_says_so() {
    for kind in [Kind::Http, Kind::Sse] {
        let locked = Server::new(kind, "locked", &["--require-header=authorization: Bearer x"]);
        let open = Server::new(kind, "open", &[]);
        let mut client = Proxy::before(&[&locked, &open]);
        recovers(&mut client, "open");
        client.call_until("it is told", "pluggedin_discover_tools", &json!({}), |told| {
            let text = told["content"][0]["text"].as_str().unwrap_or_default();
            text.contains("locked") && text.contains("401")
        });
    }
}

#[test]
fn headers_for_one_host_are_not_carried_to_another() {
    let other = Server::http("other", &[]);
    let redirect = format!("--redirect={}", other.running().url());
    let redirecting = Server::http("redirecting", &[&redirect]);
    let endpoint = format!("--endpoint={}", other.running().url());
    let luring = Server::sse("luring", &[&endpoint]);
    let honest = Server::stdio("honest", &[]);
    for server in [&redirecting, &luring] {
        let mut file = file_of(&[server, &honest]);
        file["mcpServers"][&server.name]["headers"] = json!({"X-Api-Key": "s3cr3t"});
        let mut client = Proxy::new().file(&file).start();
        recovers(&mut client, "honest");
        // The server has been tried by the time that its tools are known to be missing.
        client.call_until("it has failed", "pluggedin_discover_tools", &json!({}), |told| {
            let text = told["content"][0]["text"].as_str().unwrap_or_default();
            text.contains(&server.name) && !text.contains("connecting")
        });
        for seen in other.running().seen() {
            assert!(!seen.headers.contains_key("x-api-key"), "{}: {seen:?}", server.name);
        }
    }
}

#[test]
fn an_url_of_unknown_type_may_turn_out_to_be_http_and_sse() {
    let server = Server::sse("alpha", &[]);
    let mut file = file_of(&[&server]);
    file["mcpServers"]["alpha"] = json!({"url": server.running().url()});
    let mut client = Proxy::new().file(&file).start();
    client.find(List::Tools, "alpha__echo");
    recovers(&mut client, "alpha");
}

#[test]
fn a_server_with_an_unknown_revision_harms_nobody() {
    let odd = Server::stdio("odd", &["--revision=1999-01-01"]);
    let even = Server::stdio("even", &[]);
    let mut client = Proxy::before(&[&odd, &even]);
    client.find(List::Tools, "even__echo");
    recovers(&mut client, "even");
}

#[test]
fn nothing_that_a_server_started_outlives_the_proxy() {
    let flags: [&[&str]; 3] = [&[], &["--grandchild"], &["--grandchild", "--stubborn"]];
    for flags in flags {
        let server = Server::stdio("alpha", flags);
        let mut client = Proxy::before(&[&server]);
        client.find(List::Tools, "alpha__process");
        let process = client.call("alpha__process", json!({}));
        let pids = ["pid", "grandchild"].map(|which| process["structuredContent"][which].as_u64());
        let finished = client.finish();
        assert_eq!(finished.code, Some(0), "{flags:?}: {}", finished.stderr);
        for pid in pids.into_iter().flatten() {
            eventually(&format!("{pid} has ended ({flags:?})"), || has_ended(pid).then_some(()));
        }
    }
}

#[test]
fn an_unused_child_is_stopped_and_comes_back_when_needed() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--idle-timeout=1").start();
    client.find(List::Tools, "alpha__process");
    let pid = |process: Value| process["structuredContent"]["pid"].as_u64().expect("a number");
    let first = pid(client.call("alpha__process", json!({})));
    eventually("the child is stopped", || has_ended(first).then_some(()));
    // What it offers is still known, and a call brings it back.
    assert!(client.names(List::Tools).iter().any(|name| name == "alpha__process"));
    let second = pid(client.call("alpha__process", json!({})));
    assert_ne!(first, second);
}

#[test]
fn a_child_that_works_is_not_unused() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--idle-timeout=0.3").start();
    client.find(List::Tools, "alpha__slow");
    let result = client.call("alpha__slow", json!({"label": "long", "ms": 1500}));
    assert_eq!(result["content"][0]["text"], "finished in time");
}
