//! The program: commands, options, exit codes, the end.

mod bad_input; // what is no message

use crate::scripted::{ODD_RESULT, Port};
use crate::support::client::{Mark, Pending};
use crate::support::process::{self, has_ended};
use crate::support::proxy::FILE;
use crate::support::{Answer, App, Client, Home, KEY, List, Proxy, Server, Workspace, eventually, file_of, stays};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

// Commands for people.

/// What `tools --json` says.
#[track_caller]
fn tools_json(proxy: &Proxy) -> Value {
    let finished = proxy.run(&["tools", "--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).expect("it is JSON")
}

#[test]
fn tools_shows_servers_and_what_they_offer() {
    let alpha = Server::stdio("alpha", &["--tools=3"]);
    let beta = Server::http("beta", &[]);
    let dead = Server::stdio("dead", &["--exit-at-start"]);
    let proxy = Proxy::new().file(&file_of(&[&alpha, &beta, &dead]));

    let shown = tools_json(&proxy);
    let servers = shown["servers"].as_array().expect("it is one");
    let server = |name: &str| {
        let found = servers.iter().find(|server| server["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not shown: {shown}"))
    };
    for (name, state) in [("alpha", "ready"), ("beta", "ready")] {
        assert_eq!(server(name)["state"], state, "{shown}");
    }
    let states = ["failed", "backoff", "connecting"];
    assert!(states.iter().any(|state| server("dead")["state"] == *state), "{shown}");
    assert!(server("dead")["error"].is_string(), "{shown}");
    assert!(server("alpha")["error"].is_null());
    assert!(server("alpha")["connectMs"].is_number());
    assert_eq!(server("alpha")["revision"], "2025-11-25");
    assert_eq!(server("alpha")["slug"], "alpha");
    let offered = server("alpha")["tools"].as_u64().expect("it is a number");
    assert_eq!(offered, server("beta")["tools"].as_u64().expect("it is a number") + 3);

    let tools = shown["tools"].as_array().expect("it is one");
    let echo = tools.iter().find(|tool| tool["name"] == "alpha__echo").expect("it is there");
    assert_eq!(echo["original"], "echo");
    assert_eq!(echo["server"], "alpha");
    assert_eq!(echo["description"], "Returns its parameters");
    let of_alpha = tools.iter().filter(|tool| tool["server"] == "alpha").count();
    assert_eq!(u64::try_from(of_alpha).ok(), Some(offered));

    let finished = proxy.run(&["tools"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for word in ["alpha", "beta", "dead", "ready"] {
        assert!(finished.stdout.contains(word), "{word}: {}", finished.stdout);
    }
    // Nobody watches, so nothing moves.
    let all = finished.stdout + &finished.stderr;
    assert!(!all.contains('\r') && !all.contains('\u{1b}'), "{all:?}");
}

#[test]
fn tools_of_the_app_are_shown_as_well() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let shown = tools_json(&Proxy::new().app(&app));
    assert_eq!(shown["servers"][0]["name"], "alpha");
    assert_eq!(shown["servers"][0]["id"], alpha.uuid());
    assert_eq!(shown["servers"][0]["state"], "ready");
}

#[test]
fn tools_tells_what_is_wrong_with_the_sources() {
    let app = App::start(Workspace::default());
    app.answer(Answer::Status(401));
    let cases = [
        (Proxy::new().app(&app), "key"),
        (Proxy::new().file_text("{\"mcpServers\": {"), "mcp.json"),
        (Proxy::new().file_text(r#"{"mcpServers": {"lacking": {"command": "${NO_SUCH_VARIABLE}"}}}"#), "NO_SUCH_VARIABLE"),
    ];
    for (proxy, words) in cases {
        let finished = proxy.run(&["tools"]);
        assert!(finished.code.is_some_and(|code| code != 0), "{words}");
        assert!(finished.stderr.contains(words), "{words}: {}", finished.stderr);
    }
}

#[test]
fn call_prints_the_result_and_tells_failure_by_its_exit_code() {
    let server = Server::stdio("alpha", &[]);
    let proxy = Proxy::new().file(&file_of(&[&server]));
    let cases: [(&[&str], i32, &str); 4] = [
        (&["call", "alpha__echo", r#"{"text":"hi"}"#], 0, "hi"),
        (&["call", "alpha__echo"], 0, "echo"),
        (&["call", "echo", "{}"], 0, "echo"),
        (&["call", "alpha__fail"], 1, "the printer is on fire"),
    ];
    for (command, code, words) in cases {
        let finished = proxy.run(command);
        assert_eq!(finished.code, Some(code), "{command:?}: {}", finished.stderr);
        assert!(finished.stdout.contains(words), "{command:?}: {}", finished.stdout);
    }
    let finished = proxy.run(&["call", "alpha__odd", "{}", "--json"]);
    let result: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let expected: Value = serde_json::from_str(ODD_RESULT).expect("it is JSON");
    assert_eq!(result, expected);
    for command in [["call", "alpha__nothing", "{}"], ["call", "alpha__echo", "{text: hi}"], ["call", "alpha__echo", "[1]"]] {
        let finished = proxy.run(&command);
        assert_ne!(finished.code, Some(0), "{command:?}");
        assert!(!finished.stderr.is_empty(), "{command:?}");
    }
}

/// Answers each connection with this, or holds it open with nothing. The receiver gets the first line of each request.
fn listener(answer: Option<&'static str>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut connection, _)) = listener.accept() {
            let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            let _ = lines.find(String::is_empty);
            if sender.send(request).is_err() {
                return;
            }
            match answer {
                Some(answer) => connection.write_all(answer.as_bytes()).expect("the client listens"),
                None => held.push(connection),
            }
        }
    });
    (address, requests)
}

#[test]
fn health_asks_the_proxy_that_the_options_describe() {
    let (address, requests) = listener(Some("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"status\":\"ok\",\"sessions\":12}"));
    let port = address.port().to_string();
    let url = format!("http://{address}");
    let cases: [(Proxy, &[&str]); 5] = [
        (Proxy::new().env("BIND_HOST", "0.0.0.0").env("PORT", &port), &["health"]),
        (Proxy::new(), &["health", "--port", &port]),
        (Proxy::new(), &["--transport=streamable-http", "--host=127.0.0.1", "--port", &port, "health"]),
        (Proxy::new().env("PLUGGEDIN_REQUIRE_API_AUTH", "true"), &["health", "--url", &url]),
        (Proxy::new().env("PORT", "1"), &["health", "--url", &url]),
    ];
    for (proxy, command) in cases {
        let finished = proxy.run(command);
        assert_eq!(finished.code, Some(0), "{command:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, format!("ok: {url}/health: ok\n"), "{command:?}");
        assert_eq!(requests.recv().expect("it was asked"), "GET /health HTTP/1.1", "{command:?}");
    }
}

#[test]
fn health_tells_what_is_wrong_by_one_line_and_the_exit_code() {
    let (ill, _asked) = listener(Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let (elsewhere, _asked_too) = listener(Some("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let (other, _asked_as_well) = listener(Some("220 mail.example.com ESMTP\r\n"));
    let (silent, _heard) = listener(None);
    let nobody = Port::reserve(0);
    for (address, words) in [
        (ill, "HTTP 503"),
        (elsewhere, "HTTP 302"),
        (other, "does not speak HTTP"),
        (silent, "no answer within 5 s"),
        (nobody.address, "nobody answers there"),
    ] {
        let finished = Proxy::new().run(&["health", "--port", &address.port().to_string()]);
        assert_eq!(finished.code, Some(1), "{words}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{words}");
        assert!(finished.stderr.contains(words) && finished.stderr.lines().count() == 1, "{words}: {}", finished.stderr);
    }
}

#[test]
fn health_starts_nothing_and_asks_nobody_else() {
    let (address, _requests) = listener(Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let home = Home::new();
    let mark = home.path().join("started");
    let app = App::start(Workspace::default());
    let proxy = Proxy::at(&home).app(&app).file(&json!({"mcpServers": {"mark": {"command": "touch", "args": [mark]}}}));
    let finished = proxy.run(&["health", "--port", &address.port().to_string()]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!mark.exists() && app.requests().is_empty());
    // It would have been noticed.
    proxy.run(&["tools"]);
    assert!(mark.exists() && !app.requests().is_empty());
}

#[test]
fn help_and_version_are_for_people() {
    let proxy = Proxy::new();
    let version = proxy.run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")));
    let help = proxy.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    let options = [
        "--pluggedin-api-key",
        "--pluggedin-api-base-url",
        "--config",
        "--tool-prefix",
        "--max-tool-name",
        "--connect",
        "--isolation",
        "--idle-timeout",
        "--refresh-interval",
        "--log-level",
        "--log-format",
        "--env-file",
        "--stdio-servers",
        "--transport",
        "--host",
        "--port",
        "--stateless",
        "--auth",
        "--require-api-auth",
        "--allowed-host",
        "--allowed-origin",
        "--session-timeout",
        "--max-sessions",
        "--max-body",
        "--max-connections",
        "--max-calls",
        "--grace",
    ];
    for option in options {
        assert!(help.stdout.contains(option), "{option} is not explained");
    }
}

// Options.

#[test]
fn unknown_options_are_passed_over_with_a_warning() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().arg("--inspector-port=7000").file(&file_of(&[&server])).arg("--flying").arg("--quite-new=yes").start();
    client.find(List::Tools, "alpha__echo");
    for option in ["--inspector-port", "--flying", "--quite-new"] {
        client.complains(option);
    }
}

#[test]
fn mistakes_in_the_configuration_are_told_all_at_once() {
    let finished = Proxy::new()
        .arg("--tool-prefix=sideways")
        .arg("--max-tool-name=many")
        .arg("--refresh-interval=soon")
        .arg("--pluggedin-api-base-url=ftp://example.org")
        .run(&[]);
    assert_eq!(finished.code, Some(64), "{}", finished.stderr);
    for option in ["--tool-prefix", "--max-tool-name", "--refresh-interval", "--pluggedin-api-base-url"] {
        assert!(finished.stderr.contains(option), "{option}: {}", finished.stderr);
    }
    assert_eq!(finished.stdout, "");
}

#[test]
fn options_with_wrong_values_are_refused_one_by_one() {
    let cases = [
        ["--tool-prefix", "name"],
        ["--max-tool-name", "0"],
        ["--max-tool-name", "-3"],
        ["--connect", "sometimes"],
        ["--isolation", "always"],
        ["--idle-timeout", "-1"],
        ["--refresh-interval", "-1"],
        ["--log-level", "very"],
        ["--log-format", "xml"],
        ["--transport", "pigeon"],
        ["--env-file", "/no/such/file.env"],
        ["--pluggedin-api-base-url", "not an url"],
        ["--host", "http://localhost"],
        ["--port", "70000"],
        ["--auth", "maybe"],
        ["--allowed-host", "*"],
        ["--allowed-origin", "https://app.example.com/path"],
        ["--session-timeout", "0"],
        ["--max-sessions", "0"],
        ["--max-body", "1"],
        ["--max-connections", "many"],
        ["--max-calls", "0"],
        ["--grace", "soon"],
        ["--stdio-servers", "some"],
    ];
    for [option, value] in cases {
        let finished = Proxy::new().run(&[option, value]);
        assert_eq!(finished.code, Some(64), "{option} {value}: {}", finished.stderr);
        let named = finished.stderr.contains(option) || finished.stderr.contains(value);
        assert!(named, "{option} {value}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{option} {value}");
    }
}

#[test]
fn a_key_that_cannot_be_one_is_explained_and_not_repeated() {
    for key in [
        "too-short",
        "pg_in_with blanks and more than thirty-two letters",
        "pg_in_\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
    ] {
        for proxy in [Proxy::new().arg("--pluggedin-api-key").arg(key), Proxy::new().env("PLUGGEDIN_API_KEY", key)] {
            let finished = proxy.run(&[]);
            assert_eq!(finished.code, Some(64), "{}", finished.stderr);
            let stderr = finished.stderr.to_lowercase();
            assert!(stderr.contains("api") && stderr.contains("key"), "{stderr}");
            assert!(!finished.stderr.contains(key), "{stderr}");
        }
    }
}

#[test]
fn an_env_file_gives_settings_that_the_environment_overrides() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let proxy = Proxy::new();
    let home = Home::new();
    let text = format!("# the App\nPLUGGEDIN_API_KEY={KEY}\nexport PLUGGEDIN_API_BASE_URL=\"{}\"\n", app.url());
    let file = home.write("settings.env", &text);
    let mut client = proxy.allowing_scripted_servers().arg("--env-file").arg(&file.display().to_string()).start();
    client.find(List::Tools, "alpha__echo");
}

#[test]
fn logs_can_be_json() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--log-format=json").arg("--log-level=debug").start();
    client.find(List::Tools, "alpha__echo");
    let finished = client.finish();
    assert!(!finished.stderr.is_empty(), "debug says something");
    for line in finished.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        assert!(entry.is_object(), "no JSON: {line}");
    }
}

#[test]
fn a_trace_of_everything_holds_no_secrets() {
    let alpha = Server::http("alpha", &["--require-header=authorization: Bearer s3cr3t-0f-alpha"]);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.servers[0]["streamableHTTPOptions"] = json!({"headers": {"Authorization": "Bearer s3cr3t-0f-alpha"}});
    let beta = Server::stdio("beta", &[]);
    let mut file = file_of(&[&beta]);
    file["mcpServers"]["beta"]["env"] = json!({"TOKEN": "s3cr3t-0f-beta"});
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).file(&file).arg("--log-level=trace").start();
    client.find(List::Tools, "alpha__echo");
    client.find(List::Tools, "beta__echo");
    client.call("alpha__echo", json!({}));
    client.call("pluggedin_discover_tools", json!({}));
    client.call("pluggedin_setup", json!({}));
    app.answer(Answer::Status(500));
    let finished = client.finish();
    for secret in [KEY, "s3cr3t-0f-alpha", "s3cr3t-0f-beta"] {
        assert!(!finished.stderr.contains(secret), "{secret} was logged");
    }
}

// Handshake.

#[test]
fn every_revision_with_a_handshake_is_spoken() {
    let cases = [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2020-01-01", "2025-11-25"),
        ("2099-12-31", "2025-11-25"),
        ("", "2025-11-25"),
    ];
    for (asked, answered) in cases {
        let mut client = Proxy::new().launch();
        let answer = client.initialize_with(asked).result();
        assert_eq!(answer["protocolVersion"], answered, "{asked}");
        client.notify("notifications/initialized", json!({}));
        assert!(!client.names(List::Tools).is_empty());
    }
}

#[test]
fn the_setup_guide_has_a_page_for_every_topic() {
    let mut client = Proxy::new().start();
    let topics = ["getting_started", "api_key", "configuration", "troubleshooting"];
    let pages = topics.map(|topic| client.call("pluggedin_setup", json!({"topic": topic})));
    for (topic, page) in topics.iter().zip(&pages) {
        assert_ne!(page["isError"], true, "{topic}: {page}");
        assert_eq!(pages.iter().filter(|other| other == &page).count(), 1, "{topic}");
    }
    let pending = client.send_call("pluggedin_setup", json!({"topic": "astrology"}));
    let answer = client.hear(Mark::START, "an answer", |value| value["id"] == pending.0);
    let refused = answer["result"]["isError"] == true || answer["error"]["code"] == -32_602;
    assert!(refused, "{answer}");
}

// The end.

#[test]
fn it_stays_as_long_as_its_input() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::default());
    let proxies = [Proxy::new(), Proxy::new().app(&app), Proxy::new().file(&file_of(&[&server]))];
    for proxy in proxies {
        let mut client = proxy.start();
        client.list(List::Tools);
        stays("it runs", || client.process().try_wait().expect("it is ours").is_none());
        assert_eq!(client.request("ping", json!({})).result(), json!({}));
    }
}

/// A client with children, and the process ids of those.
#[track_caller]
fn with_children() -> (Client, Vec<u64>) {
    let servers = ["alpha", "beta"].map(|name| Server::stdio(name, &["--grandchild"]));
    let mut client = Proxy::before(&servers.each_ref());
    let mut pids = Vec::new();
    for server in &servers {
        client.find(List::Tools, &server.tool("process"));
        let process = client.call(&server.tool("process"), json!({}));
        let which = ["pid", "grandchild"].iter();
        pids.extend(which.map(|which| process["structuredContent"][which].as_u64().expect("a number")));
    }
    (client, pids)
}

#[test]
fn the_end_of_the_input_is_the_end_of_everything() {
    let (client, pids) = with_children();
    assert_eq!(client.finish().code, Some(0));
    for pid in pids {
        eventually(&format!("{pid} has ended"), || has_ended(pid).then_some(()));
    }
}

#[test]
fn the_end_of_the_input_before_any_word_is_no_mistake() {
    let client = Proxy::new().launch();
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn answers_under_way_are_given_before_the_end() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let list = client.send("tools/list", json!({}));
    let ping = client.send("ping", json!({}));
    let echo = client.send_call("alpha__echo", json!({}));
    client.end_input();
    client.answer(&echo).result();
    client.answer(&list).result();
    client.answer(&ping).result();
}

#[test]
fn children_end_with_a_proxy_that_is_killed() {
    let (client, pids) = with_children();
    client.kill();
    for pid in pids {
        eventually(&format!("{pid} has ended"), || has_ended(pid).then_some(()));
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_as_well() {
    for signal in ["-TERM", "-INT"] {
        let (mut client, pids) = with_children();
        process::signal(client.process().id(), signal);
        let status = eventually("it ends", || client.process().try_wait().expect("it is ours"));
        assert_eq!(status.code(), Some(0), "{signal}");
        for pid in pids {
            eventually(&format!("{pid} has ended"), || has_ended(pid).then_some(()));
        }
    }
}

#[test]
fn a_file_that_names_the_proxy_itself_starts_no_endless_row() {
    let home = Home::new();
    let path = home.path().join(FILE);
    let entry = json!({"command": env!("CARGO_BIN_EXE_pluggedin-mcp-proxy"), "args": ["--config", path]});
    let mut client = Proxy::at(&home).file(&json!({"mcpServers": {"again": entry}})).start();
    // One proxy behind another makes sense, and is not told from this. The next one says no.
    client.find(List::Tools, "again__pluggedin_setup");
    client.complains("started by a proxy");
    client.miss(List::Tools, "again__again__pluggedin_setup");
}

#[test]
fn a_refused_key_is_explained_on_the_command_line() {
    let app = App::start(Workspace::default());
    app.answer(Answer::Status(401));
    let finished = Proxy::new().app(&app).run(&["call", "pluggedin_setup"]);
    assert!(finished.stdout.contains("refused the API key"), "{}", finished.stdout);
}
