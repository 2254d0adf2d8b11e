//! What the Node proxy got wrong, a test for each.
//!
//! | Mistake | Tests |
//! | --- | --- |
//! | any address was connected to | `servers_of_the_app_are_not_looked_for_nearby`, `the_proxy_does_not_connect_to_itself`; `check::networks`, `check::urls` |
//! | any program was started | `programs_that_are_not_allowed_are_not_started`; `check::commands`, `check::inline` |
//! | arguments and variables were rewritten | `arguments_and_variables_arrive_as_they_were_written`; `app::a_child_gets_what_the_app_configures_and_nothing_of_the_proxys_own` |
//! | only `/mcp` was guarded, and lists were | `auth::everybody_may_look_around`, `auth::everything_else_needs_the_key`, `auth::a_batch_hides_nothing`, `auth::no_path_leads_around_the_key` |
//! | odd keys and bodies gave pages with traces | `auth::any_bytes_may_stand_where_a_key_belongs`, `limits::bodies_that_are_no_json_are_explained`, `limits::ten_mebibytes_are_not_too_much`, `limits::every_refusal_is_a_message_in_plain_words` |
//! | every web page was let in | `origin::other_names_are_refused_on_every_path`, `origin::pages_from_elsewhere_are_refused_on_every_path`, `origin::who_is_no_page_is_told_nothing_of_pages` |
//! | sessions were chosen by clients and shared | `sessions::ids_that_are_no_sessions_are_never_adopted`, `sessions::a_client_cannot_choose_its_id`, `sessions::two_hundred_sessions_at_once_get_their_own_answers` |
//! | base URLs and keys were rewritten | `base_urls_and_keys_are_used_as_they_are_written` and the test after it; `app::an_app_may_live_below_a_path` |
//! | a project chose where the key was sent | `app::a_project_cannot_send_the_key_elsewhere` |
//! | children outlived the proxy | `cli::the_end_of_the_input_is_the_end_of_everything`, `faults::nothing_that_a_server_started_outlives_the_proxy` |
//! | secrets were shown | `secrets` |
//! | a prefixed name called another server's tool | `a_prefixed_name_is_never_a_tool_of_another_server` |
//! | the App's failures hid tools; limits were shared | `app::failures::an_app_that_fails_at_the_start_is_explained_and_asked_again`, `app::failures::an_app_that_never_answers_does_not_hold_up_the_end`, `faults::initialize_is_answered_whatever_servers_and_the_app_do`; `who_calls_too_often_slows_nobody_else`, `servers_of_the_file_are_not_limited` |
//! | headers were not checked, and not sent over SSE | `headers_that_are_dangerous_disable_their_server`; `app::headers_of_the_app_reach_both_kinds_of_http_server` |

use crate::scripted::Port;
use crate::support::client::List;
use crate::support::http::{Reply, call};
use crate::support::{App, Client, Home, KEY, Kind, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Instant;

/// What `tools --json` says of servers, by their names.
#[track_caller]
fn shown(proxy: &Proxy) -> Vec<Value> {
    let finished = proxy.run(&["tools", "--json"]);
    let mut shown: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let Value::Array(servers) = shown["servers"].take() else { panic!("no servers: {finished:?}") };
    servers
}

#[track_caller]
fn is_disabled(servers: &[Value], name: &str, words: &str) {
    let found = servers.iter().find(|server| server["name"] == name);
    let server = found.unwrap_or_else(|| panic!("{name} is not shown: {servers:#?}"));
    assert_eq!(server["state"], "disabled", "{server}");
    let error = server["error"].as_str().unwrap_or_default();
    assert!(error.contains(words), "{name}: no `{words}` in: {error}");
}

#[track_caller]
fn is_ready(servers: &[Value], name: &str) {
    let found = servers.iter().find(|server| server["name"] == name);
    assert_eq!(found.map(|server| &server["state"]), Some(&json!("ready")), "{name}: {servers:#?}");
}

/// A record of the App like that of a server, with another name.
fn renamed(server: &Server, name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut record = server.record();
    record["uuid"] = json!(Server::stdio(name, &[]).uuid());
    record["name"] = json!(name);
    record["slug"] = json!(name);
    change(&mut record);
    record
}

// Addresses.

#[test]
fn servers_of_the_app_are_not_looked_for_nearby() {
    for (kind, path) in [(Kind::Http, "mcp"), (Kind::Sse, "sse")] {
        let near = Server::new(kind, "near", &[]);
        let port = near.running().url().rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
        let hosts = [
            "127.0.0.1",
            "127.0.0.1.",
            "localhost",
            "LOCALHOST.",
            "x.localhost",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "[::1]",
            "%31%32%37.0.0.1",
            "me@127.0.0.1",
        ];
        let records = hosts
            .iter()
            .enumerate()
            .map(|(n, host)| renamed(&near, &format!("near-{n}"), |record| record["url"] = json!(format!("http://{host}:{port}/{path}"))));
        let far = ["http://169.254.169.254/latest/meta-data/", "http://10.255.255.1/mcp", "http://[fd00:ec2::254]/", "file:///etc/passwd"];
        let far = far.iter().enumerate().map(|(n, url)| renamed(&near, &format!("far-{n}"), |record| record["url"] = json!(url)));
        let local = Server::stdio("local", &[]);
        let workspace = Workspace { servers: records.chain(far).collect(), ..Workspace::default() };
        let app = App::start(workspace);
        let proxy = Proxy::new().without_permissions().app(&app).file(&file_of(&[&local]));
        let servers = shown(&proxy);
        for n in 0..hosts.len() {
            is_disabled(&servers, &format!("near-{n}"), "");
        }
        for n in 0..4 {
            is_disabled(&servers, &format!("far-{n}"), "");
        }
        is_disabled(&servers, "near-0", "--allow-private-network");
        is_ready(&servers, "local");
        assert_eq!(near.running().seen().len(), 0, "{:?}", near.running().seen());

        // Nor when they are called.
        let mut client = proxy.arg("--connect=lazy").start();
        client.find(List::Tools, "local__echo");
        for n in 0..hosts.len() {
            let pending = client.send_call(&format!("near-{n}__echo"), json!({}));
            client.answer(&pending);
        }
        assert_eq!(near.running().seen().len(), 0, "{:?}", near.running().seen());

        // The same server can be allowed.
        let app = App::start(Workspace::of(&[&near]));
        let servers = shown(&Proxy::new().without_permissions().app(&app).arg("--allow-private-network=loopback"));
        is_ready(&servers, "near");
    }
}

/// The owner of the machine may write what is near into the file.
#[test]
fn servers_of_the_file_may_be_nearby() {
    let servers = [Server::http("alpha", &[]), Server::sse("beta", &[]), Server::stdio("gamma", &[])];
    let proxy = Proxy::new().without_permissions().file(&file_of(&servers.each_ref()));
    let shown = shown(&proxy);
    for server in &servers {
        is_ready(&shown, &server.name);
    }
}

#[test]
fn the_proxy_does_not_connect_to_itself() {
    let port = Port::reserve(0).address.port().to_string();
    let other = Server::http("other", &[]);
    let mut workspace = Workspace::of(&[&other]);
    for (n, host) in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"].iter().enumerate() {
        workspace.servers.push(renamed(&other, &format!("self-{n}"), |record| record["url"] = json!(format!("http://{host}:{port}/mcp"))));
    }
    let app = App::start(workspace);
    let front = Proxy::new().app(&app).env("PORT", &port).serve();
    let health = eventually("all servers were looked at", || {
        let health = front.request("GET", "/health").send().json();
        let servers = health["servers"].as_array()?;
        let settled = servers.len() == 4 && servers.iter().all(|server| !matches!(server["state"].as_str(), Some("connecting" | "idle")));
        settled.then_some(health)
    });
    for server in health["servers"].as_array().expect("it is one") {
        // A name may lead elsewhere another time, so it is tried again, and refused again.
        let expected = match server["name"].as_str() {
            Some("other") => "ready",
            Some("self-1") => "backoff",
            _ => "disabled",
        };
        assert_eq!(server["state"], expected, "{health}");
        let error = server["error"].as_str().unwrap_or_default();
        assert_eq!(error.contains("the proxy's own address"), server["name"] != "other", "{health}");
    }
}

// Programs.

#[cfg(unix)]
#[test]
fn programs_that_are_not_allowed_are_not_started() {
    let home = Home::new();
    let mark = home.path().join("mark");
    let mark = mark.display().to_string();
    let script = home.write("server.sh", &format!("#!/bin/sh\n: > '{mark}'\n"));
    let script = script.display().to_string();
    let write = format!("require('fs').writeFileSync('{mark}', '')");
    let print = format!("open('{mark}', 'w')");
    let programs = [
        json!({"command": "/bin/sh", "args": ["-c", format!(": > '{mark}'")], "env": {"NODE_OPTIONS": "--inspect"}}),
        json!({"command": "sh", "args": ["-c", format!(": > '{mark}'")]}),
        json!({"command": "/usr/bin/touch", "args": [mark]}),
        json!({"command": "touch", "args": [mark]}),
        json!({"command": format!("touch {mark}"), "args": []}),
        json!({"command": script, "args": []}),
        json!({"command": "./server.sh", "args": []}),
        json!({"command": "node", "args": ["-e", write]}),
        json!({"command": "node", "args": [format!("--eval={write}")]}),
        json!({"command": "node", "args": ["server.js"], "env": {"NODE_OPTIONS": format!("--require={script}")}}),
        json!({"command": "node", "args": ["server.js"], "env": {"LD_PRELOAD": script}}),
        json!({"command": "python3", "args": ["-uc", print]}),
        json!({"command": "python3", "args": [format!("-c{print}")]}),
        json!({"command": "npx", "args": ["-y", "-c", format!("touch {mark}")]}),
        json!({"command": "npx", "args": ["--call", format!("touch {mark}")]}),
        json!({"command": "node", "args": ["server.js", "a\u{1b}[2Jb"]}),
        json!({"command": "node", "args": ["server.js"], "env": {"A-B": "x"}}),
    ];
    let local = Server::stdio("local", &[]);
    let records = programs.iter().enumerate().map(|(n, program)| {
        renamed(&local, &format!("program-{n}"), |record| {
            for (member, value) in program.as_object().expect("it is one") {
                record[member] = value.clone();
            }
        })
    });
    let app = App::start(Workspace { servers: records.collect(), ..Workspace::default() });
    let proxy = Proxy::at(&home).without_permissions().app(&app).file(&file_of(&[&local]));
    let servers = shown(&proxy);
    for n in 0..programs.len() {
        is_disabled(&servers, &format!("program-{n}"), "");
    }
    is_disabled(&servers, "program-1", "--allow-command");
    is_disabled(&servers, "program-7", "--allow-inline-code");
    is_ready(&servers, "local");
    let mut client = proxy.arg("--connect=lazy").start();
    client.find(List::Tools, "local__echo");
    for n in 0..programs.len() {
        let pending = client.send_call(&format!("program-{n}__echo"), json!({}));
        client.answer(&pending);
    }
    assert!(!home.path().join("mark").exists(), "a program was started");
}

/// A program that is started is told of in one line, which holds no argument and no value.
#[test]
fn each_start_is_logged_without_arguments_and_values() {
    let local = Server::stdio("local", &["--", "s3cr3t-argument"]);
    let mut file = file_of(&[&local]);
    file["mcpServers"]["local"]["env"] = json!({"SOME_TOKEN": "s3cr3t-value"});
    let mut client = Proxy::new().file(&file).start();
    client.find(List::Tools, "local__echo");
    let stderr = client.finish().stderr;
    let told = stderr.lines().find(|line| line.contains("local") && line.contains("scripted-server"));
    let told = told.unwrap_or_else(|| panic!("no start is logged: {stderr}"));
    assert!(told.contains("SOME_TOKEN"), "names of variables are told: {told}");
    assert!(!stderr.contains("s3cr3t"), "{stderr}");
}

#[test]
fn arguments_and_variables_arrive_as_they_were_written() {
    let odd = [
        "print(1)",
        "C:\\Users\\me",
        "a;b&c|d`e$f(g)h<i>j\\k",
        "{\"k\": \"v\"}",
        "^(a|b)+$",
        "postgres://u:p&s;w@h/d?a=1|2",
        "two\nlines\tand a tab",
        "--",
        "",
        "é日😀",
    ];
    let each: Vec<String> = ('!'..='~').map(String::from).collect();
    let arguments: Vec<&str> = odd.into_iter().chain(each.iter().map(String::as_str)).collect();
    let alpha = Server::stdio("alpha", &[&["--"][..], &arguments].concat());
    let mut workspace = Workspace::of(&[&alpha]);
    let values =
        json!({"PEM": "-----BEGIN KEY-----\r\nabc\n-----END KEY-----\n", "ODD": "a;b&c|d`e$f(g)h<i>j\\k\t", "EMPTY": "", "UNI": "é日😀"});
    workspace.servers[0]["env"] = values.clone();
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Tools, "alpha__process");
    let process = client.call("alpha__process", json!({}))["structuredContent"].take();
    assert_eq!(process["arguments"], json!(arguments));
    for (name, value) in values.as_object().expect("it is one") {
        assert_eq!(process["environment"][name], *value, "{name}");
    }
}

// The App's address and the key.

/// Answers every request with an empty list, and sends its head.
fn list_of_nothing(listener: TcpListener) -> mpsc::Receiver<String> {
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let lines = BufReader::new(&connection).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]";
            if sender.send(head.join("\n")).is_err() || connection.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    heads
}

#[test]
fn base_urls_and_keys_are_used_as_they_are_written() {
    let key = "pg_in_with.dots.and-hyphens_and_underscores.0123456789abcdef";
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // Not every machine has IPv6.
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let address = listener.local_addr().expect("it is bound");
        let heads = list_of_nothing(listener);
        let url = format!("http://{address}/my-app/v1.0_x");
        let client = Proxy::new().env("PLUGGEDIN_API_KEY", key).env("PLUGGEDIN_API_BASE_URL", &url).start();
        let head = heads.recv_timeout(crate::support::patience::PATIENCE).expect("the App is asked");
        assert!(head.starts_with("GET /my-app/v1.0_x/api/"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains(&format!("\nhost: {address}")), "{head}");
        assert!(head.contains(&format!("\nauthorization: bearer {key}")), "{head}");
        assert!(!client.stderr().contains(key));
    }
}

#[test]
fn hyphens_of_a_host_are_kept() {
    // An HTTP proxy is told the name, and finds its address.
    for (url, place) in
        [("https://my-host.invalid", "my-host.invalid:443"), ("https://a-b-c.my-host.invalid:8443/x-y", "a-b-c.my-host.invalid:8443")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let egress = format!("http://{}", listener.local_addr().expect("it is bound"));
        let heads = list_of_nothing(listener);
        let _client =
            Proxy::new().env("PLUGGEDIN_API_KEY", KEY).env("PLUGGEDIN_API_BASE_URL", url).arg("--egress-proxy").arg(&egress).start();
        let head = heads.recv_timeout(crate::support::patience::PATIENCE).expect("the App is asked for");
        assert!(head.starts_with(&format!("CONNECT {place} ")), "{head}");
        assert!(!head.contains(KEY), "{head}");
    }
}

// Names.

#[test]
fn a_prefixed_name_is_never_a_tool_of_another_server() {
    let servers = [Server::http("alpha", &["--tool=of-alpha"]), Server::http("beta", &["--tool=of-beta"])];
    let app = App::start(Workspace::of(&servers.each_ref()));
    for prefix in ["slug", "uuid"] {
        let mut client = Proxy::new().app(&app).arg(&format!("--tool-prefix={prefix}")).start();
        let own = |server: &Server, tool: &str| if prefix == "slug" { server.tool(tool) } else { format!("{}__{tool}", server.uuid()) };
        for (server, other) in [(&servers[0], &servers[1]), (&servers[1], &servers[0])] {
            client.find(List::Tools, &own(server, "echo"));
            let result = client.call(&own(server, "echo"), json!({}));
            assert_eq!(result["structuredContent"]["server"], server.name);
            // The tool exists elsewhere, and that is not meant.
            let tool = format!("of-{}", other.name);
            for name in [own(server, &tool), format!("nobody__{tool}"), format!("{}__{tool}", server.uuid()), format!("__{tool}")] {
                let pending = client.send_call(&name, json!({}));
                assert_eq!(client.answer(&pending).code(), -32_602, "{name}");
            }
        }
    }
    // A server that has gone takes its names with it.
    let mut client = Proxy::new().app(&app).arg("--refresh-interval=0.5").start();
    client.find(List::Tools, "alpha__of-alpha");
    client.find(List::Tools, "beta__echo");
    app.switch_to(Workspace::of(&[&servers[1]]));
    client.miss(List::Tools, "alpha__echo");
    let pending = client.send_call("alpha__echo", json!({}));
    assert_eq!(client.answer(&pending).code(), -32_602);
}

// Limits.

/// The key of somebody else.
const OTHER: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";

/// What a refused call says, if it is one.
fn refusal(result: &Value) -> Option<String> {
    (result["isError"] == true).then(|| result["content"][0]["text"].as_str().unwrap_or_default().to_owned())
}

/// It says how long to wait, in seconds.
#[track_caller]
fn tells_when(text: &str) {
    let seconds = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok()).collect::<Vec<_>>();
    assert!(seconds.iter().any(|seconds| (1..=60).contains(seconds)), "no seconds in: {text}");
}

#[test]
fn who_calls_too_often_slows_nobody_else() {
    let server = Server::http("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    app.switch(OTHER, Workspace::of(&[&server]));
    let front = Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url()).arg("--auth=per-client").arg("--rate-limit-tools=5").serve();
    let ask = |key: &str| -> Reply { front.post(&call(1, "alpha__echo", json!({}))).key(key).send() };
    for key in [KEY, OTHER] {
        eventually("it is listed", || {
            let reply = front.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).key(key).send();
            reply.body.contains("alpha__echo").then_some(())
        });
    }
    let begin = Instant::now();
    let mut passed = 0;
    let refused = loop {
        let result = ask(KEY).result();
        match refusal(&result) {
            Some(text) => break text,
            None => passed += 1,
        }
        let at_most = 5 + begin.elapsed().as_secs() / 12 + 1;
        assert!(passed <= at_most, "{passed} calls of {at_most} passed");
    };
    assert!(passed >= 1);
    tells_when(&refused);
    // The same client under another session is the same principal, and another key is not.
    let mut session = front.session_with(KEY);
    assert!(refusal(&session.call("alpha__echo", json!({}))).is_some());
    assert_eq!(refusal(&ask(OTHER).result()), None);
    // Nothing of it reached the server, and what is no call goes on.
    let reply = front.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).key(KEY).send();
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Calls until one is refused, or so many have passed.
#[track_caller]
fn passes(client: &mut Client, tool: &str, most: usize) -> (usize, Option<String>) {
    for passed in 0..most {
        let result = client.call(tool, json!({}));
        if let Some(text) = refusal(&result) {
            return (passed, Some(text));
        }
    }
    (most, None)
}

#[test]
fn sixty_calls_a_minute_reach_servers_of_the_app() {
    let server = Server::http("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let mut client = Proxy::new().app_with_limits(&app).start();
    client.find(List::Tools, "alpha__echo");
    let begin = Instant::now();
    let (passed, refused) = passes(&mut client, "alpha__echo", 500);
    let at_most = 60 + usize::try_from(begin.elapsed().as_secs()).expect("a short time") + 1;
    assert!((1..=at_most).contains(&passed), "{passed}");
    tells_when(&refused.expect("one is refused"));
    // The session goes on.
    assert_eq!(client.request("ping", json!({})).result(), json!({}));
    assert!(client.names(List::Tools).iter().any(|name| name == "alpha__echo"));

    let mut client = Proxy::new().app(&app).arg("--rate-limit-tools=0").start();
    client.find(List::Tools, "alpha__echo");
    assert_eq!(passes(&mut client, "alpha__echo", 200), (200, None));
}

#[test]
fn servers_of_the_file_are_not_limited() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    assert_eq!(passes(&mut client, "alpha__echo", 200), (200, None));
    drop(client);
    // Unless somebody asks for it.
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--rate-limit-tools=3").start();
    client.find(List::Tools, "alpha__echo");
    let (passed, refused) = passes(&mut client, "alpha__echo", 20);
    assert!((1..=5).contains(&passed), "{passed}");
    tells_when(&refused.expect("one is refused"));
}

// Headers.

#[test]
fn headers_that_are_dangerous_disable_their_server() {
    let long = "v".repeat(8193);
    let headers = [
        ("X-Split", "a\r\nX-Evil: 1"),
        ("X-Line", "a\nb"),
        ("X-Nul", "a\0b"),
        ("X-Latin", "é"),
        ("X-Long", long.as_str()),
        ("X Name", "x"),
        ("X-Evil\r\nX", "x"),
        ("Transfer-Encoding", "chunked"),
        ("content-length", "0"),
        ("HOST", "evil.example"),
        ("Connection", "close"),
        ("Cookie", "a=b"),
        ("Origin", "http://localhost"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Mcp-Session-Id", "x"),
    ];
    for kind in [Kind::Http, Kind::Sse] {
        let target = Server::new(kind, "target", &[]);
        let local = Server::stdio("local", &[]);
        let records = headers.iter().enumerate().map(|(n, (name, value))| {
            renamed(&target, &format!("app-{n}"), |record| {
                record["streamableHTTPOptions"] = json!({"headers": {*name: value, "X-Api-Key": "s3cr3t"}});
            })
        });
        let app = App::start(Workspace { servers: records.collect(), ..Workspace::default() });
        let mut file = file_of(&[&local]);
        for (n, (name, value)) in headers.iter().enumerate() {
            let mut entry = target.entry();
            entry["headers"] = json!({*name: value});
            file["mcpServers"][format!("file-{n}")] = entry;
        }
        let proxy = Proxy::new().app(&app).file(&file);
        let servers = shown(&proxy);
        is_ready(&servers, "local");
        let of_app = (0..headers.len()).map(|n| format!("app-{n}"));
        for name in of_app {
            is_disabled(&servers, &name, "");
        }
        // An entry of the file that makes no sense is left out or disabled, with a message either way.
        for n in 0..headers.len() {
            let server = servers.iter().find(|server| server["name"] == format!("file-{n}"));
            assert!(server.is_none_or(|server| server["state"] == "disabled"), "{server:?}");
        }
        assert_eq!(target.running().seen().len(), 0, "{:?}", target.running().seen());
    }
}
