//! A local file: its forms, its variables, its filters, and what an edit does.

use crate::support::process::has_ended;
use crate::support::proxy::{self, FILE};
use crate::support::{Client, Home, Kind, List, Proxy, Server, eventually, file_of};
use serde_json::{Value, json};

#[track_caller]
fn works(client: &mut Client, server: &str) {
    client.find(List::Tools, &format!("{server}__echo"));
    let echo = client.call(&format!("{server}__echo"), json!({}));
    assert_eq!(echo["structuredContent"]["server"], server, "{echo}");
}

/// What a child says about itself.
#[track_caller]
fn process(client: &mut Client, server: &str) -> Value {
    client.find(List::Tools, &format!("{server}__process"));
    let mut result = client.call(&format!("{server}__process"), json!({}));
    result["structuredContent"].take()
}

fn echoes(client: &mut Client) -> Vec<String> {
    let names = client.names(List::Tools).into_iter();
    names.filter(|name| name.ends_with("__echo")).collect()
}

#[test]
fn files_of_other_clients_are_understood() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let gamma = Server::sse("gamma", &[]);
    let (a, b, c) = (alpha.entry(), beta.running().url(), gamma.running().url());
    let (command, arguments) = (&a["command"], &a["args"]);
    let texts = [
        // Claude Desktop, Cursor.
        format!(r#"{{"mcpServers": {{"alpha": {a}, "beta": {{"url": "{b}"}}, "gamma": {{"url": "{c}", "type": "sse"}}}}}}"#),
        // VS Code, with comments and commas too many.
        format!(
            r#"// what I use
            {{
                "inputs": [],
                /* the servers */
                "servers": {{
                    "alpha": {{"type": "stdio", "command": {command}, "args": {arguments},}}, // local
                    "beta": {{"type": "http", "url": "{b}",}},
                    "gamma": {{"type": "sse", "url": "{c}"}},
                }},
            }}"#
        ),
        // Cline, and members that nobody here knows.
        format!(
            r#"{{"theme": "dark", "mcpServers": {{
                "alpha": {{"command": {command}, "args": {arguments}, "disabled": false, "autoApprove": [], "x": null}},
                "beta": {{"type": "streamable-http", "url": "{b}", "timeout": 60}},
                "gamma": {{"transport": "sse", "type": "sse", "url": "{c}"}}
            }}}}"#
        ),
        // A byte order mark, as some editors write it.
        format!(
            "\u{feff}{{\"mcpServers\": {{\"alpha\": {a}, \
             \"beta\": {{\"type\": \"streamableHttp\", \"url\": \"{b}\"}}, \"gamma\": {{\"url\": \"{c}\"}}}}}}"
        ),
    ];
    for text in texts {
        let mut client = Proxy::new().file_text(&text).start();
        for server in ["alpha", "beta", "gamma"] {
            works(&mut client, server);
        }
    }
}

#[test]
fn a_file_without_servers_is_no_mistake() {
    for text in ["{}", r#"{"mcpServers": {}}"#, r#"{"servers": {}}"#] {
        let mut client = Proxy::new().file_text(text).start();
        assert!(client.names(List::Tools).iter().all(|name| name.starts_with("pluggedin_")));
    }
}

#[test]
fn a_child_gets_what_its_entry_says_and_nothing_of_the_proxys_own() {
    let arguments = ["two words", "$HOME `id` ; | & < > \\ \"'", "", "--flag=\u{e9}"];
    let flags: Vec<&str> = ["--"].into_iter().chain(arguments).collect();
    let server = Server::stdio("alpha", &flags);
    let mut file = file_of(&[&server]);
    let folder = Home::new();
    file["mcpServers"]["alpha"]["cwd"] = json!(folder.path());
    file["mcpServers"]["alpha"]["env"] = json!({"PEM": "a\nb", "EMPTY": "", "LANG": "xx_XX"});
    let mut client =
        Proxy::new().file(&file).env("SECRET", "mine").env("LANG", "C.UTF-8").env("PLUGGEDIN_UUID_TOOL_PREFIXING", "true").start();
    let process = process(&mut client, "alpha");
    assert_eq!(process["arguments"], json!(arguments));
    let directory = process["directory"].as_str().expect("it is text");
    let expected = folder.path().canonicalize().expect("it exists");
    assert_eq!(std::path::Path::new(directory), expected);
    let environment = process["environment"].as_object().expect("it is one");
    assert_eq!(environment["PEM"], "a\nb");
    assert_eq!(environment["EMPTY"], "");
    assert_eq!(environment["LANG"], "xx_XX", "what is configured wins");
    for needed in ["PATH", "HOME"] {
        assert!(environment.contains_key(needed), "{needed} is missing");
    }
    // A proxy may tell another how deep it stands, and nothing else of its own.
    let own = |name: &str| name.starts_with("PLUGGEDIN") && name != "PLUGGEDIN_PROXY_DEPTH";
    let foreign = |name: &&String| own(name) || *name == "SECRET";
    assert_eq!(environment.keys().find(foreign), None);
}

#[test]
fn variables_are_filled_in() {
    let cases = [
        ("${WHO}", "world"),
        ("hello ${WHO}!", "hello world!"),
        ("${env:WHO}", "world"),
        ("${WHO}${WHO}", "worldworld"),
        ("${NOBODY:-someone}", "someone"),
        ("${NOBODY:-}", ""),
        ("${WHO:-someone}", "world"),
        ("${EMPTY:-someone}", "someone"),
        ("${NOBODY:-a:-b}", "a:-b"),
        ("$WHO", "$WHO"),
        ("${", "${"),
        ("100 % $", "100 % $"),
    ];
    let expected: Vec<&str> = cases.iter().map(|(_, expected)| *expected).collect();
    let flags: Vec<&str> = ["--"].into_iter().chain(cases.iter().map(|(text, _)| *text)).collect();
    let server = Server::stdio("alpha", &flags);
    let mut file = file_of(&[&server]);
    file["mcpServers"]["alpha"]["env"] = json!({"GREETING": "hello ${WHO}"});
    let mut client = Proxy::new().file(&file).env("WHO", "world").env("EMPTY", "").start();
    let process = process(&mut client, "alpha");
    assert_eq!(process["arguments"], json!(expected));
    assert_eq!(process["environment"]["GREETING"], "hello world");
}

#[test]
fn variables_are_filled_in_for_http_servers_too() {
    let server = Server::http("alpha", &["--require-header=authorization: Bearer t0k3n"]);
    let url = server.running().url();
    let host = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let file = json!({"mcpServers": {"alpha": {
        "url": "http://${HOST}/${PATH_OF_IT:-mcp}",
        "headers": {"Authorization": "Bearer ${TOKEN}"},
    }}});
    let mut client = Proxy::new().file(&file).env("HOST", host).env("TOKEN", "t0k3n").start();
    works(&mut client, "alpha");
}

#[test]
fn a_variable_that_is_missing_disables_its_server_and_no_other() {
    let alpha = Server::stdio("alpha", &[]);
    let places: [fn(&mut Value); 4] = [
        |entry| entry["env"] = json!({"TOKEN": "${NO_SUCH_VARIABLE}"}),
        |entry| entry["args"][0] = json!("${NO_SUCH_VARIABLE}"),
        |entry| entry["command"] = json!("${env:NO_SUCH_VARIABLE}/bin/server"),
        |entry| *entry = json!({"url": "http://127.0.0.1/${NO_SUCH_VARIABLE}"}),
    ];
    for place in places {
        let mut file = file_of(&[&alpha]);
        file["mcpServers"]["lacking"] = alpha.entry();
        place(&mut file["mcpServers"]["lacking"]);
        let mut client = Proxy::new().file(&file).start();
        works(&mut client, "alpha");
        assert_eq!(echoes(&mut client), ["alpha__echo"]);
        client.complains("NO_SUCH_VARIABLE");
        client.complains("lacking");
        let told = client.call("pluggedin_discover_tools", json!({}));
        let told = told["content"][0]["text"].as_str().expect("it is text");
        assert!(told.contains("lacking") && told.contains("NO_SUCH_VARIABLE"), "{told}");
    }
}

#[test]
fn an_entry_that_makes_no_sense_disables_its_server_and_no_other() {
    let alpha = Server::stdio("alpha", &[]);
    let entries = [
        json!({}),
        json!({"command": 7}),
        json!({"url": "not an url"}),
        json!({"type": "pigeon", "url": "http://127.0.0.1/"}),
        json!({"command": "x", "args": "not a list"}),
        json!("npx"),
        json!(null),
    ];
    for entry in entries {
        let mut file = file_of(&[&alpha]);
        file["mcpServers"]["senseless"] = entry.clone();
        let mut client = Proxy::new().file(&file).start();
        works(&mut client, "alpha");
        client.complains("senseless");
    }
}

#[test]
fn a_server_can_be_switched_off() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let mut file = file_of(&[&alpha, &beta]);
    file["mcpServers"]["beta"]["disabled"] = json!(true);
    let mut client = Proxy::new().file(&file).start();
    works(&mut client, "alpha");
    assert_eq!(echoes(&mut client), ["alpha__echo"]);
    assert_eq!(beta.running().seen().len(), 0);
}

#[test]
fn tools_can_be_allowed_and_denied() {
    let everything = ["echo", "odd", "slow"];
    let cases = [
        (json!({"allow": ["echo", "slow"]}), vec!["echo", "slow"]),
        (json!({"deny": ["echo"]}), vec!["odd", "slow"]),
        (json!({"allow": ["echo", "slow"], "deny": ["slow"]}), vec!["echo"]),
        (json!({"allow": []}), vec![]),
        (json!({"deny": []}), vec!["echo", "odd", "slow"]),
        (json!({}), vec!["echo", "odd", "slow"]),
    ];
    for (filter, expected) in cases {
        let alpha = Server::stdio("alpha", &[]);
        let other = Server::stdio("other", &[]);
        let mut file = file_of(&[&alpha, &other]);
        file["mcpServers"]["alpha"]["tools"] = filter.clone();
        let mut client = Proxy::new().file(&file).start();
        client.find(List::Prompts, "greet");
        works(&mut client, "other");
        // Its tools are known when a call that must reach it or be refused has an answer.
        for tool in everything {
            let name = alpha.tool(tool);
            if expected.contains(&tool) {
                client.find(List::Tools, &name);
            } else {
                let pending = client.send_call(&name, json!({}));
                assert_eq!(client.answer(&pending).code(), -32_602, "{filter} {tool}");
                let names = client.names(List::Tools);
                assert!(!names.contains(&name), "{filter} {tool}");
            }
        }
    }
}

#[test]
fn headers_of_an_entry_reach_both_kinds_of_http_server() {
    for kind in [Kind::Http, Kind::HttpJson, Kind::Sse] {
        let server = Server::new(kind, "alpha", &["--require-header=x-api-key: 1234"]);
        let mut file = file_of(&[&server]);
        file["mcpServers"]["alpha"]["headers"] = json!({"X-Api-Key": "1234", "X-Other": "a"});
        let mut client = Proxy::new().file(&file).start();
        works(&mut client, "alpha");
    }
}

#[test]
fn instructions_of_an_entry_are_a_prompt() {
    let server = Server::stdio("alpha", &[]);
    let mut file = file_of(&[&server]);
    file["mcpServers"]["alpha"]["instructions"] = json!("Never on a Sunday.");
    let mut client = Proxy::new().file(&file).start();
    client.find(List::Prompts, "alpha__system_context");
    let params = json!({"name": "alpha__system_context"});
    let result = client.request("prompts/get", params).result();
    assert!(result["messages"].to_string().contains("Never on a Sunday."), "{result}");
}

#[test]
fn a_proxy_may_stand_behind_another_but_not_behind_itself() {
    let alpha = Server::stdio("alpha", &[]);
    let home = Home::new();
    let inner = home.write("inner.json", &file_of(&[&alpha]).to_string());
    let itself = home.path().join(FILE);
    let file = json!({"mcpServers": {
        "inner": {"command": proxy::PROGRAM, "args": ["--config", inner]},
        "itself": {"command": proxy::PROGRAM, "args": ["--config", itself, "--list-wait=1"]},
    }});
    let mut client = Proxy::at(&home).file(&file).start();
    let name = "inner__alpha__echo";
    client.find(List::Tools, name);
    let echo = client.call(name, json!({}));
    assert_eq!(echo["structuredContent"]["params"]["name"], "echo");
    // The other one is started by itself, too, and refuses.
    client.find(List::Tools, "itself__pluggedin_setup");
    client.complains("name the proxy itself");
    let deep = client.names(List::Tools).into_iter().find(|name| name.starts_with("itself__itself"));
    assert_eq!(deep, None);
}

// Edits.

#[test]
fn an_edit_takes_effect_and_disturbs_nobody_else() {
    let leaving = Server::stdio("leaving", &[]);
    let staying = Server::stdio("staying", &[]);
    let coming = Server::stdio("coming", &[]);
    for in_place in [true, false] {
        let mut client = Proxy::before(&[&leaving, &staying]);
        let gone = process(&mut client, "leaving")["pid"].as_u64().expect("a number");
        let kept = process(&mut client, "staying")["pid"].clone();

        let mark = client.mark();
        let edited = file_of(&[&coming, &staying]).to_string();
        if in_place {
            client.home.write(FILE, &edited);
        } else {
            client.home.replace(FILE, &edited);
        }
        client.notified(mark, "notifications/tools/list_changed");
        works(&mut client, "coming");
        client.miss(List::Tools, "leaving__echo");
        eventually("the child of the server that left has ended", || has_ended(gone).then_some(()));
        assert_eq!(process(&mut client, "staying")["pid"], kept, "it was restarted for nothing");

        // And once more, since some watchers lose a file that was replaced.
        client.home.write(FILE, &file_of(&[&staying]).to_string());
        client.miss(List::Tools, "coming__echo");
        assert_eq!(process(&mut client, "staying")["pid"], kept, "it was restarted for nothing");
    }
}

#[test]
fn an_edit_of_an_entry_restarts_its_server_and_keeps_its_tools() {
    let before = Server::stdio("alpha", &["--", "before"]);
    let after = Server::stdio("alpha", &["--slow-start=1000", "--", "after"]);
    let mut client = Proxy::before(&[&before]);
    let first = process(&mut client, "alpha");
    assert_eq!(first["arguments"], json!(["before"]));
    client.home.write(FILE, &file_of(&[&after]).to_string());
    let pid = first["pid"].as_u64().expect("a number");
    eventually("the old child has ended", || has_ended(pid).then_some(()));
    // The new one is not there yet, but a call waits for it.
    let second = client.call("alpha__process", json!({}));
    assert_eq!(second["structuredContent"]["arguments"], json!(["after"]), "{second}");
}

/// What the old child was doing may have taken effect; nobody may do it a second time unasked.
#[test]
fn a_call_is_not_repeated_because_its_server_is_edited() {
    let before = Server::stdio("alpha", &["--", "before"]);
    let after = Server::stdio("alpha", &["--", "after"]);
    let mut client = Proxy::before(&[&before]);
    client.find(List::Tools, "alpha__slow");
    let pending = client.send_call("alpha__slow", json!({"label": "once"}));
    eventually("the call has begun", || {
        let calls = client.call("alpha__calls", json!({}));
        (calls["structuredContent"]["started"] == json!(["once"])).then_some(())
    });
    client.home.write(FILE, &file_of(&[&after]).to_string());
    let result = client.answer(&pending).result();
    assert_eq!(result["isError"], true);
    let text = result["content"][0]["text"].as_str().expect("it is text");
    assert!(text.contains("may or may not have taken effect"), "{text}");
    let calls = client.call("alpha__calls", json!({}));
    assert_eq!(calls["structuredContent"]["started"], json!([]));
}

#[test]
fn an_entry_may_say_how_long_its_calls_take() {
    let server = Server::stdio("alpha", &[]);
    let mut file = file_of(&[&server]);
    file["mcpServers"]["alpha"]["timeout"] = json!(0.5);
    let mut client = Proxy::new().file(&file).start();
    client.find(List::Tools, "alpha__slow");
    let result = client.call("alpha__slow", json!({"label": "endless"}));
    assert_eq!(result["isError"], true, "{result}");
}

#[test]
fn an_edit_of_a_filter_restarts_nothing() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    let before = process(&mut client, "alpha")["pid"].clone();
    let mut file = file_of(&[&server]);
    file["mcpServers"]["alpha"]["tools"] = json!({"deny": ["echo"]});
    let mark = client.mark();
    client.home.write(FILE, &file.to_string());
    client.notified(mark, "notifications/tools/list_changed");
    client.miss(List::Tools, "alpha__echo");
    assert_eq!(process(&mut client, "alpha")["pid"], before, "it was restarted for nothing");
}

#[test]
fn a_broken_edit_changes_nothing_until_it_is_mended() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha]);
    let pid = process(&mut client, "alpha")["pid"].clone();
    client.home.write(FILE, "{\"mcpServers\": {");
    client.complains(FILE);
    assert_eq!(process(&mut client, "alpha")["pid"], pid);
    let told = client.call("pluggedin_discover_tools", json!({}));
    assert!(told["content"].to_string().contains(FILE), "{told}");
    client.home.write(FILE, &file_of(&[&alpha, &beta]).to_string());
    works(&mut client, "beta");
    assert_eq!(process(&mut client, "alpha")["pid"], pid);
}

#[test]
fn a_file_that_is_broken_from_the_start_is_explained_and_can_be_mended() {
    let alpha = Server::stdio("alpha", &[]);
    let texts = [
        ("{\n  \"mcpServers\": {\n    \"a\": {\"command\": }\n  }\n}", "line 3"),
        ("{\"mcpServers\": {", "line 1"),
        ("hello", FILE),
        ("[]", FILE),
        ("", FILE),
        ("{\"alpha\": {\"command\": \"npx\"}}", "mcpServers"),
    ];
    for (text, words) in texts {
        let mut client = Proxy::new().file_text(text).start();
        client.complains(FILE);
        client.complains(words);
        for tool in ["pluggedin_setup", "pluggedin_discover_tools"] {
            let told = client.call(tool, json!({}));
            let told = told["content"][0]["text"].as_str().expect("it is text");
            assert!(told.contains(FILE) && told.contains(words), "{text}: {told}");
        }
        client.home.write(FILE, &file_of(&[&alpha]).to_string());
        works(&mut client, "alpha");
    }
}

#[test]
fn a_file_that_does_not_exist_yet_may_come() {
    let alpha = Server::stdio("alpha", &[]);
    let home = Home::new();
    let path = home.path().join(FILE).display().to_string();
    let mut client = Proxy::at(&home).arg("--config").arg(&path).start();
    client.complains(FILE);
    client.home.write(FILE, &file_of(&[&alpha]).to_string());
    works(&mut client, "alpha");
}

#[test]
fn a_file_that_disappears_for_a_moment_changes_nothing() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha]);
    let pid = process(&mut client, "alpha")["pid"].clone();
    std::fs::remove_file(client.home.path().join(FILE)).expect("it is there");
    assert_eq!(process(&mut client, "alpha")["pid"], pid);
    client.home.write(FILE, &file_of(&[&alpha, &beta]).to_string());
    works(&mut client, "beta");
    assert_eq!(process(&mut client, "alpha")["pid"], pid);
}
