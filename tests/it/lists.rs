//! Lists: all their pages, towards servers and towards the client, and what happens when they change.

use crate::support::client::Pending;
use crate::support::{Client, Home, Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};

over_each_wire!(takes_every_page_of_a_server, tells_the_client_when_a_server_changes_a_list,);

fn takes_every_page_of_a_server(kind: Kind) {
    let flags = [
        "--tools=30",
        "--page-size=4",
        "--prompt=one",
        "--prompt=two",
        "--prompt=three",
        "--prompt=four",
        "--resource=scripted://one",
        "--resource=scripted://two",
        "--resource=scripted://three",
        "--resource=scripted://four",
    ];
    let server = Server::new(kind, "alpha", &flags);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__tool-0029");
    let tools = client.names(List::Tools);
    for n in 0..30 {
        let name = format!("alpha__tool-{n:04}");
        assert_eq!(tools.iter().filter(|tool| **tool == name).count(), 1, "{name}");
    }
    client.find(List::Prompts, "four");
    client.find(List::Resources, "scripted://four");
}

fn tells_the_client_when_a_server_changes_a_list(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let additions = [
        (List::Tools, "tools", "new-tool", "alpha__new-tool"),
        (List::Prompts, "prompts", "new-prompt", "new-prompt"),
        (List::Resources, "resources", "scripted://new", "scripted://new"),
    ];
    client.find(List::Tools, "alpha__add");
    for (list, kind, name, listed) in additions {
        // Only who has read a list is told that it is another one now.
        let before = client.names(list);
        assert!(!before.iter().any(|known| known == listed));
        let mark = client.mark();
        client.call("alpha__add", json!({"kind": kind, "name": name}));
        client.notified(mark, &list.changed());
        // Whoever lists because of the notification sees the change.
        assert!(client.names(list).iter().any(|known| known == listed));
    }
    let echo = client.call("alpha__new-tool", json!({}));
    assert_eq!(echo["structuredContent"]["tool"], "new-tool");
}

#[test]
fn many_changes_at_once_are_all_seen_and_told_together() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__add");
    let mark = client.mark();
    let names: Vec<String> = (0..50).map(|n| format!("tool-{n}")).collect();
    for name in &names {
        client.send_call("alpha__add", json!({"kind": "tools", "name": name}));
    }
    client.notified(mark, "notifications/tools/list_changed");
    for name in &names {
        client.find(List::Tools, &format!("alpha__{name}"));
    }
    let told = client.since(mark).into_iter().filter(|value| !value["method"].is_null());
    let told = told.count();
    assert!(told <= 25, "the client was told {told} times");
}

#[test]
fn announces_that_lists_can_change() {
    let mut client = Proxy::new().launch();
    let answer = client.initialize();
    for area in ["tools", "prompts", "resources"] {
        assert_eq!(answer["capabilities"][area]["listChanged"], true, "{area}");
    }
    assert!(answer["serverInfo"]["name"].is_string());
    assert!(answer["instructions"].is_string());
}

#[test]
fn a_cursor_that_leads_back_ends_the_list() {
    let rude = Server::http("rude", &["--looping-cursor", "--tools=5", "--page-size=8"]);
    let mut client = Proxy::before(&[&rude]);
    client.find(List::Tools, "rude__echo");
    let names = client.names(List::Tools);
    let different: HashSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "a tool stands twice");
    let echo = client.call("rude__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "rude");
    let asked = rude.running().seen().into_iter();
    let asked = asked.filter(|seen| seen.method.as_deref() == Some("tools/list")).count();
    assert!(asked < 10, "the proxy asked for {asked} pages");
}

#[test]
fn cursors_without_end_hold_up_nobody_else() {
    let rude = Server::http("rude", &["--endless-cursor", "--page-size=1"]);
    let polite = Server::stdio("polite", &[]);
    let mut client = Proxy::before(&[&rude, &polite]);
    client.find(List::Tools, "polite__echo");
    let echo = client.call("polite__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "polite");
}

/// Ten servers of a hundred tools each, all of them listed.
#[track_caller]
fn thousand_tools() -> (Vec<Server>, Client) {
    let servers: Vec<Server> = (0..10).map(|n| Server::stdio(&format!("server-{n}"), &["--tools=100"])).collect();
    let mut client = Proxy::new().file(&file_of(&servers.iter().collect::<Vec<_>>())).start();
    for server in &servers {
        client.find(List::Tools, &server.tool("tool-0099"));
    }
    (servers, client)
}

#[test]
fn a_thousand_tools_come_in_pages_and_in_the_same_order_every_time() {
    let (servers, mut client) = thousand_tools();
    let names = client.names(List::Tools);
    let different: HashSet<_> = names.iter().cloned().collect();
    assert_eq!(different.len(), names.len(), "a tool stands twice");
    for server in &servers {
        for n in 0..100 {
            assert!(different.contains(&server.tool(&format!("tool-{n:04}"))));
        }
    }
    assert_eq!(client.names(List::Tools), names);
}

#[test]
fn a_cursor_may_outlive_the_list_it_was_given_for() {
    let (_servers, mut client) = thousand_tools();
    let first = client.request("tools/list", json!({})).result();
    let Some(cursor) = first["nextCursor"].as_str() else {
        return; // The page was large enough for all.
    };
    let mark = client.mark();
    client.call("server-0__add", json!({"kind": "tools", "name": "newcomer"}));
    client.notified(mark, "notifications/tools/list_changed");
    let pending = client.send("tools/list", json!({"cursor": cursor}));
    let answer = client.hear(mark, "the page", |value| value["id"] == pending.0);
    let fine = answer["result"]["tools"].is_array() || answer["error"]["code"] == -32_602;
    assert!(fine, "{answer}");
}

#[test]
fn a_cursor_that_nobody_gave_is_a_mistake_of_the_client() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let cursors = [json!("nonsense"), json!(""), json!("from 4"), json!("9999999999"), json!(7)];
    for list in List::ALL {
        for cursor in &cursors {
            let answer = client.request(list.method(), json!({"cursor": cursor}));
            assert_eq!(answer.code(), -32_602, "{} {cursor}", list.method());
        }
    }
}

#[test]
fn a_list_can_be_asked_for_in_several_ways() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let expected = client.list(List::Tools);
    client.line(r#"{"jsonrpc":"2.0","id":"bare","method":"tools/list"}"#);
    client.line(r#"{"jsonrpc":"2.0","id":"null","method":"tools/list","params":{"cursor":null}}"#);
    client.line(r#"{"jsonrpc":"2.0","id":"meta","method":"tools/list","params":{"_meta":{"a":1}}}"#);
    for id in ["bare", "null", "meta"] {
        let pending = Pending(json!(id));
        let result = client.answer(&pending).result();
        assert_eq!(result["tools"].as_array(), Some(&expected), "{id}");
    }
}

#[test]
fn with_nothing_configured_lists_hold_what_is_built_in() {
    let mut client = Proxy::new().start();
    let tools = client.names(List::Tools);
    for name in ["pluggedin_discover_tools", "pluggedin_setup"] {
        assert!(tools.iter().any(|known| known == name), "{tools:?}");
    }
    assert_eq!(client.list(List::Templates), Vec::<Value>::new());
    for tool in client.list(List::Tools) {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert!(tool["description"].is_string(), "{tool}");
    }
    let help = client.call("pluggedin_setup", json!({}));
    let text = help["content"][0]["text"].as_str().expect("it is text");
    assert!(text.contains("PLUGGEDIN_API_KEY") && text.contains("--config"), "{text}");
    assert_ne!(help["isError"], true);
}

#[test]
fn the_order_of_lists_does_not_depend_on_which_server_is_faster() {
    let mut orders = Vec::new();
    for delays in [[0, 200, 400], [400, 200, 0]] {
        let servers: Vec<Server> = ["alpha", "beta", "gamma"]
            .iter()
            .zip(delays)
            .map(|(name, delay)| Server::stdio(name, &[&format!("--slow-start={delay}")]))
            .collect();
        let mut client = Proxy::before(&servers.iter().collect::<Vec<_>>());
        let names = eventually("all servers are listed", || {
            let names = client.names(List::Tools);
            let all = servers.iter().all(|server| names.contains(&server.tool("echo")));
            all.then_some(names)
        });
        orders.push(names);
    }
    assert_eq!(orders[0], orders[1]);
}

/// How long a client waits for its very first list before these servers.
fn first_list(servers: &[&Server]) -> Duration {
    let begun = Instant::now();
    let mut client = Proxy::new().file(&file_of(servers)).start();
    let tools = client.names(List::Tools);
    let took = begun.elapsed();
    for server in servers.iter().filter(|server| server.name != "hanging") {
        assert!(tools.contains(&server.tool("echo")), "{} is not in {tools:?}", server.name);
    }
    took
}

#[test]
fn one_of_ten_servers_that_hangs_does_not_hold_up_the_first_list() {
    let sound: Vec<_> = (0..9).map(|n| Server::http(&format!("s{n}"), &[])).collect();
    let hanging = Server::stdio("hanging", &["--hang=initialize"]);
    let without = first_list(&sound.iter().collect::<Vec<_>>());
    let with = first_list(&sound.iter().chain([&hanging]).collect::<Vec<_>>());
    // What it really costs is measured by `cargo bench --bench load hanging`; here other tests run beside it.
    assert!(with < without * 2 + Duration::from_millis(500), "{with:?} instead of {without:?}");
}

/// A package runner may be downloading, so that it is waited for. Where that was in vain, the next start does not do it again.
#[cfg(unix)]
#[test]
fn a_package_runner_is_waited_for_in_vain_once_only() {
    use std::os::unix::fs::PermissionsExt;
    let quick = Server::http("quick", &[]);
    let home = Home::new();
    let runner = home.write("npx", "#!/bin/sh\nwhile read -r line; do :; done\n");
    std::fs::set_permissions(&runner, PermissionsExt::from_mode(0o700)).expect("it was written here");
    let mut file = file_of(&[&quick]);
    file["mcpServers"]["stuck"] = json!({"command": runner});
    let first_list = || {
        let begun = Instant::now();
        let mut client = Proxy::at(&home).file(&file).start();
        assert!(client.names(List::Tools).contains(&quick.tool("echo")));
        let took = begun.elapsed();
        client.finish();
        took
    };
    let (once, again) = (first_list(), first_list());
    assert!(once > Duration::from_secs(8), "{once:?}");
    assert!(again < Duration::from_secs(4), "{again:?}");
}
