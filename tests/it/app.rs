//! The App: servers that it names, changes of its mind, and every way in which it can fail.

mod failures; // the App fails

use crate::support::client::Mark;
use crate::support::patience::patiently;
use crate::support::process::{has_ended, signal};
use crate::support::{Answer, App, Client, Home, KEY, List, Proxy, Server, Workspace, eventually, file_of, stays};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often the proxy looks at the App where a test waits for it.
const OFTEN: &str = "--refresh-interval=0.5";

/// What a built-in tool says.
#[track_caller]
fn ask(client: &mut Client, tool: &str) -> String {
    let result = client.call(tool, json!({}));
    let blocks = result["content"].as_array().expect("it is one");
    blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}

/// Asks a built-in tool until it says one of these.
#[track_caller]
fn says(client: &mut Client, tool: &str, words: &[&str]) {
    let mut last = String::new();
    let said = patiently(|| {
        last = ask(client, tool).to_lowercase();
        words.iter().any(|word| last.contains(word)).then_some(())
    });
    assert!(said.is_some(), "{tool} says none of {words:?} but: {last}");
}

#[track_caller]
fn works(client: &mut Client, server: &Server) {
    client.find(List::Tools, &server.tool("echo"));
    let echo = client.call(&server.tool("echo"), json!({}));
    assert_eq!(echo["structuredContent"]["server"], server.name, "{echo}");
}

// What the App names.

#[test]
fn servers_of_the_app_are_reached_over_every_wire() {
    let servers = [Server::stdio("alpha", &[]), Server::http("beta", &[]), Server::sse("gamma", &[])];
    let app = App::start(Workspace::of(&servers.each_ref()));
    let mut client = Proxy::new().app(&app).start();
    for server in &servers {
        works(&mut client, server);
    }
    for request in app.requests() {
        assert_eq!(request.authorization, format!("Bearer {KEY}"), "{}", request.line);
    }
}

#[test]
fn the_app_and_a_file_go_together() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).file(&file_of(&[&beta])).start();
    works(&mut client, &alpha);
    works(&mut client, &beta);
}

#[test]
fn stdio_servers_of_the_app_can_be_switched_off() {
    let servers = [Server::stdio("alpha", &[]), Server::http("beta", &[])];
    let own = Server::stdio("own", &[]);
    let app = App::start(Workspace::of(&servers.each_ref()).with_tools(&servers[0], &["echo"]));
    let proxies = [Proxy::new().arg("--stdio-servers=off"), Proxy::new().env("PLUGGEDIN_STDIO_SERVERS", "off").arg("--connect=lazy")];
    for proxy in proxies {
        let mut client = proxy.app(&app).file(&file_of(&[&own])).start();
        works(&mut client, &servers[1]);
        works(&mut client, &own);
        let refused = client.call("alpha__echo", json!({}));
        assert_eq!(refused["isError"], true, "{refused}");
        assert!(refused.to_string().contains("--stdio-servers"), "{refused}");
        says(&mut client, "pluggedin_discover_tools", &["`--stdio-servers on`"]);
    }

    let shown = Proxy::new().app(&app).arg("--stdio-servers=off").run(&["tools", "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("it is JSON");
    let states = shown["servers"].as_array().expect("it is one").iter().map(|server| &server["state"]).collect::<Vec<_>>();
    assert_eq!(states, ["disabled", "ready"], "{shown}");
}

#[test]
fn a_server_of_the_app_and_one_of_the_file_may_have_the_same_name() {
    let one = Server::stdio("alpha", &[]);
    let two = Server::stdio("two", &[]);
    let app = App::start(Workspace::of(&[&one]));
    let file = json!({"mcpServers": {"alpha": two.entry()}});
    let mut client = Proxy::new().app(&app).file(&file).start();
    let echoes = eventually("both are listed", || {
        let mut names = client.names(List::Tools);
        names.retain(|name| name.ends_with("__echo"));
        (names.len() == 2).then_some(names)
    });
    let mut servers: Vec<Value> = echoes.iter().map(|name| client.call(name, json!({}))["structuredContent"]["server"].take()).collect();
    servers.sort_by_key(Value::to_string);
    assert_eq!(servers, ["alpha", "two"]);
}

#[test]
fn the_live_listing_completes_what_the_app_knows() {
    let alpha = Server::stdio("alpha", &[]);
    let workspace = Workspace::of(&[&alpha]).with_tools(&alpha, &["echo", "odd"]);
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    eventually("the live record is there", || {
        let odd = client.find(List::Tools, "alpha__odd");
        (odd["title"] == "Odd" && odd["outputSchema"].is_object()).then_some(())
    });
    for tool in client.list(List::Tools) {
        for private in ["_serverUuid", "_serverName", "_serverSlug"] {
            assert!(tool.get(private).is_none(), "{tool}");
        }
    }
}

#[test]
fn tools_of_the_app_are_listed_before_their_server_is_there() {
    let slow = Server::stdio("slow", &["--hang=initialize"]);
    let workspace = Workspace::of(&[&slow]).with_tools(&slow, &["echo", "stored"]);
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Tools, "slow__stored");
}

#[test]
fn a_tool_that_is_switched_off_is_neither_shown_nor_called() {
    let alpha = Server::stdio("alpha", &["--tool=dangerous"]);
    let everything = ["echo", "odd", "slow", "release", "calls", "progress", "add", "process", "fail", "error", "crash", "large", "ask"];
    let workspace = Workspace::of(&[&alpha]).with_tools(&alpha, &everything).with_switched_off(&alpha, "dangerous");
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    works(&mut client, &alpha);
    client.miss(List::Tools, "alpha__dangerous");
    for name in ["alpha__dangerous", "dangerous", &format!("{}__dangerous", alpha.uuid())] {
        let pending = client.send_call(name, json!({}));
        assert_eq!(client.answer(&pending).code(), -32_602, "{name}");
    }
}

#[test]
fn records_of_old_and_careless_apps_are_understood() {
    // What is changed in the record, and whether the server still works.
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("no slug", |record| record["slug"] = Value::Null),
        ("no type means STDIO", |record| record["type"] = Value::Null),
        ("absent members", |record| {
            let record = record.as_object_mut().expect("it is one");
            record.retain(|name, _| ["uuid", "name", "command", "args"].contains(&name.as_str()));
        }),
        ("empty and unknown members", |record| {
            record["env"] = json!({});
            record["url"] = json!("");
            record["x-new"] = json!([1, {"a": null}]);
        }),
        ("scalars that were text once", |record| {
            record["env"] = json!({"A_NUMBER": 7, "A_SWITCH": true});
        }),
        ("an odd description", |record| {
            record["description"] = json!("\u{0}\u{1f600}\n");
        }),
    ];
    for (what, change) in changes {
        let alpha = Server::stdio("alpha", &[]);
        let mut workspace = Workspace::of(&[&alpha]);
        change(&mut workspace.servers[0]);
        let app = App::start(workspace);
        let mut client = Proxy::new().app(&app).start();
        let name = format!("{}__echo", alpha.uuid());
        client.call_until(what, &name, &json!({}), |result| result["structuredContent"]["server"] == "alpha");
    }
}

#[test]
fn tools_are_recognized_in_the_lists_of_older_apps() {
    let alpha = Server::stdio("My alpha", &["--hang=initialize"]);
    let record = |name: &str, slug: Option<&str>| {
        json!({
            "name": name,
            "description": "as stored",
            "inputSchema": {"type": "object"},
            "_serverUuid": alpha.uuid(),
            "_serverName": "My alpha",
            "_serverSlug": slug,
        })
    };
    let lists = [
        // 1.x: a bare array, with names of its own making.
        json!([record("My_alpha_stored", None)]),
        // 2.0 to 2.8: bare names.
        json!({"tools": [record("stored", None)], "message": "x"}),
        // 2.9 and later, without and with a slug.
        json!({"tools": [record(&format!("{}__stored", alpha.uuid()), None)]}),
        json!({"tools": [record("my-alpha__stored", Some("my-alpha"))]}),
    ];
    for list in lists {
        let app = App::start(Workspace::of(&[&alpha]));
        app.answer_at("/api/tools", Answer::Instead(list));
        let mut client = Proxy::new().app(&app).start();
        client.find(List::Tools, "my-alpha__stored");
    }
}

#[test]
fn records_that_name_no_server_harm_nobody() {
    let alpha = Server::stdio("alpha", &[]);
    let broken = Server::stdio("broken", &[]);
    let changes: [fn(&mut Value); 5] = [
        |record| record["command"] = Value::Null,
        |record| record["type"] = json!("STREAMABLE_HTTP"),
        |record| {
            record["type"] = json!("SSE");
            record["url"] = json!("not an url");
        },
        |record| record["type"] = json!("CARRIER_PIGEON"),
        |record| *record = json!("not even an object"),
    ];
    for change in changes {
        let mut workspace = Workspace::of(&[&broken, &alpha]);
        change(&mut workspace.servers[0]);
        let app = App::start(workspace);
        let mut client = Proxy::new().app(&app).start();
        works(&mut client, &alpha);
    }
}

#[test]
fn headers_of_the_app_reach_both_kinds_of_http_server() {
    let header = "--require-header=x-tenant: blue; \"1\"";
    for server in [Server::http("alpha", &[header]), Server::sse("alpha", &[header])] {
        let headers = json!({"X-Tenant": "blue; \"1\""});
        let stale = json!({"X-Tenant": "stale"});
        let options = [json!({"headers": headers, "requestInit": {"headers": stale}}), json!({"requestInit": {"headers": headers}})];
        for options in options {
            let mut workspace = Workspace::of(&[&server]);
            workspace.servers[0]["streamableHTTPOptions"] = options;
            let app = App::start(workspace);
            let mut client = Proxy::new().app(&app).start();
            works(&mut client, &server);
        }
    }
}

#[test]
fn a_child_gets_what_the_app_configures_and_nothing_of_the_proxys_own() {
    let alpha = Server::stdio("alpha", &["--", "plain", "two words", "$HOME `id` ; | & < > \\ \"'", ""]);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.servers[0]["env"] = json!({
        "PEM": "-----BEGIN-----\nabc\n-----END-----",
        "EMPTY": "",
        "__transport": "stdio",
        "__streamableHTTPOptions": "{}",
    });
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).env("AWS_SECRET_ACCESS_KEY", "mine").env("NODE_OPTIONS", "--inspect").start();
    client.find(List::Tools, "alpha__process");
    let process = client.call("alpha__process", json!({}));
    let process = &process["structuredContent"];
    assert_eq!(process["arguments"], json!(["plain", "two words", "$HOME `id` ; | & < > \\ \"'", ""]),);
    let environment = process["environment"].as_object().expect("it is one");
    assert_eq!(environment["PEM"], "-----BEGIN-----\nabc\n-----END-----");
    assert_eq!(environment["EMPTY"], "");
    for needed in ["PATH", "HOME"] {
        assert!(environment.contains_key(needed), "{needed} is missing");
    }
    for name in environment.keys() {
        // A proxy may tell another how deep it stands, and nothing else of its own.
        let own = name.starts_with("PLUGGEDIN") && name != "PLUGGEDIN_PROXY_DEPTH";
        let private = own || name.starts_with("__");
        let foreign = ["AWS_SECRET_ACCESS_KEY", "NODE_OPTIONS"].contains(&name.as_str());
        assert!(!private && !foreign, "{name} was handed down");
    }
    let text = process.to_string();
    assert!(!text.contains(KEY), "the key was handed down");
}

// Finding the App.

#[test]
fn the_key_and_the_address_are_found_where_they_may_stand() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let url = app.url();
    let credentials = json!({"api_key": KEY, "base_url": url}).to_string();
    let settings = json!({"env": {"PLUGGEDIN_API_KEY": KEY, "PLUGGEDIN_API_BASE_URL": url}}).to_string();
    let home = || Home::new();
    let with = |name: &str, text: &str| {
        let home = home();
        home.write(name, text);
        Proxy::at(&home)
    };
    let ways = [
        Proxy::new().arg(&format!("--pluggedin-api-key={KEY}")).arg(&format!("--pluggedin-api-base-url={url}")),
        Proxy::new().arg("--pluggedin-api-key").arg(KEY).arg("--pluggedin-api-base-url").arg(&url),
        Proxy::new().app(&app),
        // The flag wins.
        Proxy::new()
            .app(&app)
            .env("PLUGGEDIN_API_KEY", "pg_in_somebody_elses_key_that_is_wrong")
            .arg(&format!("--pluggedin-api-key={KEY}")),
        // Slashes at the end and blanks around a key do no harm.
        Proxy::new().env("PLUGGEDIN_API_KEY", &format!(" {KEY}\n")).env("PLUGGEDIN_API_BASE_URL", &format!("{url}//")),
        with("config/pluggedin/credentials.json", &credentials),
        with(".claude/settings.local.json", &settings),
        // Empty settings and placeholders count as absent.
        with("config/pluggedin/credentials.json", &credentials).env("PLUGGEDIN_API_KEY", "").env("PLUGGEDIN_API_BASE_URL", ""),
        with("config/pluggedin/credentials.json", &credentials).env("PLUGGEDIN_API_KEY", "${PLUGGEDIN_API_KEY}"),
    ];
    for proxy in ways {
        let described = format!("{proxy:?}").replace(KEY, "KEY");
        let mut client = proxy.allowing_scripted_servers().start();
        let found = patiently(|| client.names(List::Tools).contains(&alpha.tool("echo")).then_some(()));
        assert!(found.is_some(), "{described}");
    }
    assert_eq!(app.count("GET //"), 0, "slashes at the end are not sent");
}

#[test]
fn an_app_may_live_below_a_path() {
    let app = App::start(Workspace::default());
    let url = format!("{}/some-where/deep", app.url());
    let _client = Proxy::new().app(&app).env("PLUGGEDIN_API_BASE_URL", &url).start();
    eventually("the App is asked", || (app.count("GET /some-where/deep/api/mcp-servers") > 0).then_some(()));
}

#[test]
fn a_redirect_cannot_send_the_key_elsewhere() {
    let app = App::start(Workspace::default());
    let thief = App::start(Workspace::default());
    app.answer(Answer::Elsewhere(thief.url()));
    let mut client = Proxy::new().app(&app).start();
    // Whoever set the wrong address is told the right one.
    says(&mut client, "pluggedin_setup", &[&thief.url()]);
    assert_eq!(thief.requests().len(), 0, "the key went to another host");
}

#[test]
fn a_project_cannot_send_the_key_elsewhere() {
    let app = App::start(Workspace::default());
    let thief = App::start(Workspace::default());
    let credentials = json!({"api_key": KEY, "base_url": app.url()}).to_string();
    let settings = json!({"env": {"PLUGGEDIN_API_BASE_URL": thief.url()}}).to_string();
    let home = Home::new();
    home.write("config/pluggedin/credentials.json", &credentials);
    home.write("project/.claude/settings.local.json", &settings);
    let ways = [Proxy::at(&home), Proxy::at(&home).env("PLUGGEDIN_API_KEY", KEY).env("PLUGGEDIN_API_BASE_URL", &app.url())];
    for proxy in ways {
        let before = app.count("GET /api/mcp-servers");
        let _client = proxy.in_folder("project").start();
        eventually("the App is asked", || (app.count("GET /api/mcp-servers") > before).then_some(()));
    }
    assert_eq!(thief.requests().len(), 0, "the key went to another host");
}

// The App changes its mind.

/// A tool that was added in the App a moment ago can be called before the next regular look. Names that lead nowhere do not have
/// the App asked again and again.
#[test]
fn an_unknown_name_has_the_app_asked_once_more() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).arg("--refresh-interval=1h").start();
    works(&mut client, &alpha);
    app.switch_to(Workspace::of(&[&alpha, &beta]));
    works_at_once(&mut client, &beta);
    let asked = app.count("GET /api/mcp-servers");
    for n in 0..5 {
        assert_eq!(client.request("tools/call", json!({"name": format!("nobody__{n}")})).code(), -32_602);
    }
    assert_eq!(app.count("GET /api/mcp-servers"), asked);
}

/// Without a list before.
#[track_caller]
fn works_at_once(client: &mut Client, server: &Server) {
    let echo = client.call(&server.tool("echo"), json!({}));
    assert_eq!(echo["structuredContent"]["server"], server.name, "{echo}");
}

#[test]
fn a_switch_of_the_workspace_reaches_the_client() {
    let leaving = Server::stdio("leaving", &[]);
    let staying = Server::stdio("staying", &[]);
    let coming = Server::stdio("coming", &["--prompt=more", "--resource=scripted://more"]);
    let app = App::start(Workspace::of(&[&leaving, &staying]));
    let mut client = Proxy::new().app(&app).arg(OFTEN).start();
    works(&mut client, &leaving);
    works(&mut client, &staying);
    let mut pid = |server: &Server| {
        let process = client.call(&server.tool("process"), json!({}));
        process["structuredContent"]["pid"].as_u64().expect("it is a number")
    };
    let (gone, kept) = (pid(&leaving), pid(&staying));

    for list in List::ALL {
        client.list(list);
    }
    let mark = client.mark();
    app.switch_to(Workspace::of(&[&coming, &staying]));
    client.notified(mark, "notifications/tools/list_changed");
    client.notified(mark, "notifications/prompts/list_changed");
    client.notified(mark, "notifications/resources/list_changed");
    client.miss(List::Tools, "leaving__echo");
    works(&mut client, &coming);
    eventually("the child of the server that left has ended", || has_ended(gone).then_some(()));
    let pending = client.send_call("leaving__echo", json!({}));
    assert_eq!(client.answer(&pending).code(), -32_602);
    let process = client.call("staying__process", json!({}));
    assert_eq!(process["structuredContent"]["pid"], kept, "it was restarted for nothing");
}

#[cfg(unix)]
#[test]
fn a_hangup_has_the_app_asked_again() {
    let (alpha, beta) = (Server::stdio("alpha", &[]), Server::stdio("beta", &[]));
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).arg("--refresh-interval=1h").start();
    works(&mut client, &alpha);
    app.switch_to(Workspace::of(&[&alpha, &beta]));
    signal(client.process().id(), "-HUP");
    works(&mut client, &beta);
    works(&mut client, &alpha);
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn sessions_of_http_servers_that_leave_are_closed() {
    let servers = [Server::http("alpha", &[]), Server::sse("beta", &[])];
    let app = App::start(Workspace::of(&servers.each_ref()));
    let mut client = Proxy::new().app(&app).arg(OFTEN).start();
    for server in &servers {
        works(&mut client, server);
    }
    app.switch_to(Workspace::default());
    for server in &servers {
        client.miss(List::Tools, &server.tool("echo"));
        eventually("its session is closed", || (server.running().sessions() == 0).then_some(()));
    }
}

#[test]
fn changes_that_concern_no_connection_restart_nothing() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &[]);
    let app = App::start(Workspace::of(&[&alpha, &beta]));
    let mut client = Proxy::new().app(&app).arg(OFTEN).start();
    works(&mut client, &alpha);
    works(&mut client, &beta);
    let before = client.call("alpha__process", json!({}));

    let newcomer = Server::stdio("newcomer", &[]);
    let mut workspace = Workspace::of(&[&newcomer, &beta, &alpha]);
    workspace.servers[1]["streamableHTTPOptions"] = json!({"headers": {"X-Token": "fresh"}});
    workspace.servers[2]["notes"] = json!("for people");
    workspace.servers[2]["config"] = json!({"last_401_error": "2026-01-02T12:00:00.000Z"});
    workspace.servers[2]["description"] = json!("new words");
    app.switch_to(workspace);
    works(&mut client, &newcomer);

    let after = client.call("alpha__process", json!({}));
    let pid = |process: &Value| process["structuredContent"]["pid"].clone();
    assert_eq!(pid(&before), pid(&after), "it was restarted for nothing");
    // A new header is used from the next request on, in the same session.
    client.call("beta__echo", json!({}));
    let seen = beta.running().seen();
    let last = seen.iter().rev().find(|seen| seen.method.as_deref() == Some("tools/call"));
    let last = last.expect("it was called");
    assert_eq!(last.headers.get("x-token").map(String::as_str), Some("fresh"));
    let hellos = seen.iter().filter(|seen| seen.method.as_deref() == Some("initialize"));
    assert_eq!(hellos.count(), 1, "a session was opened for nothing");
}

#[test]
fn a_server_that_is_renamed_changes_its_names() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).arg(OFTEN).start();
    works(&mut client, &alpha);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.servers[0]["name"] = json!("Omega");
    workspace.servers[0]["slug"] = json!("omega");
    app.switch_to(workspace);
    client.find(List::Tools, "omega__echo");
    client.miss(List::Tools, "alpha__echo");
    let echo = client.call("omega__echo", json!({}));
    assert_eq!(echo["structuredContent"]["tool"], "echo");
}

// What the proxy remembers.

/// A home directory where a proxy has run with one server of the App, which needs a secret.
#[track_caller]
fn lived_in(app: &App, server: &Server) -> Home {
    let home = Home::new();
    let mut client = Proxy::at(&home).app(app).start();
    works(&mut client, server);
    client.finish();
    home
}

#[test]
fn a_stored_catalog_is_for_those_who_hold_the_key() {
    let alpha = Server::stdio("alpha", &[]);
    let mut app = App::start(Workspace::of(&[&alpha]));
    let home = lived_in(&app, &alpha);
    // A key that is no longer valid gets nothing out of it.
    app.answer(Answer::Status(401));
    let mut client = Proxy::at(&home).app(&app).start();
    client.miss(List::Tools, "alpha__echo");
    drop(client);
    // Nor does another key, while nobody can say whether it is valid.
    app.go_away();
    let other = KEY.replace("7Kq2", "2qK7");
    let proxy = Proxy::at(&home).app(&app).env("PLUGGEDIN_API_KEY", &other);
    let mut client = proxy.arg("--list-wait=0.3").start();
    let names = client.names(List::Tools);
    assert!(!names.contains(&"alpha__echo".to_owned()), "{names:?}");
}

#[test]
fn no_secret_is_kept_on_disk() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::http("beta", &["--require-header=x-api-key: s3cr3t-0f-beta"]);
    let mut workspace = Workspace::of(&[&alpha, &beta]);
    workspace.servers[0]["env"] = json!({"TOKEN": "s3cr3t-0f-alpha"});
    workspace.servers[1]["streamableHTTPOptions"] = json!({"headers": {"X-Api-Key": "s3cr3t-0f-beta"}});
    let app = App::start(workspace);
    let home = Home::new();
    let mut client = Proxy::at(&home).app(&app).start();
    works(&mut client, &alpha);
    works(&mut client, &beta);
    client.finish();
    for secret in [KEY, "s3cr3t-0f-alpha", "s3cr3t-0f-beta"] {
        assert_eq!(files_with(home.path(), secret), Vec::<String>::new());
    }
}

#[test]
fn a_server_that_is_away_at_the_start_is_listed_as_it_was() {
    let mut alpha = Server::http("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let home = lived_in(&app, &alpha);
    alpha.running_mut().stop();
    let mut client = Proxy::at(&home).app(&app).start();
    client.find(List::Tools, "alpha__echo");
    client.find(List::Templates, "scripted://items/{id}");
    let result = client.call("alpha__echo", json!({}));
    assert_eq!(result["isError"], true, "{result}");
    // What it offers now counts as soon as it is there.
    alpha.running_mut().restart();
    alpha.running().add("tools", "new-tool");
    client.find(List::Tools, "alpha__new-tool");
    works(&mut client, &alpha);
}

/// The files below a folder that hold a text.
fn files_with(folder: &std::path::Path, text: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder can be read");
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).contains(text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn lazy_servers_are_reached_at_the_first_call() {
    let alpha = Server::http("alpha", &[]);
    let workspace = Workspace::of(&[&alpha]).with_tools(&alpha, &["echo"]);
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).arg("--connect=lazy").start();
    client.find(List::Tools, "alpha__echo");
    stays("nobody called", || alpha.running().seen().is_empty());
    let echo = client.call("alpha__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "alpha");
}

// Discovery.

#[test]
fn discovery_shows_what_can_be_called_and_asks_the_app_to_look() {
    let alpha = Server::stdio("alpha", &[]);
    let dead = Server::stdio("dead", &["--exit-at-start"]);
    let app = App::start(Workspace::of(&[&alpha, &dead]));
    let mut client = Proxy::new().app(&app).start();
    works(&mut client, &alpha);
    // Tools, prompts and resources are listed one after the other.
    eventually("everything is shown", || {
        let text = ask(&mut client, "pluggedin_discover_tools");
        ["alpha__echo", "pluggedin_setup", "dead", "greet", "scripted://greeting"].iter().all(|words| text.contains(words)).then_some(())
    });
    eventually("the App was asked to look", || (app.count("POST /api/discover/all") > 0).then_some(()));
    let params = json!({"server_uuid": alpha.uuid(), "force_refresh": true});
    let result = client.call("pluggedin_discover_tools", params);
    assert_ne!(result["isError"], true, "{result}");
    let line = format!("POST /api/discover/{}", alpha.uuid());
    eventually("the App was asked for one", || (app.count(&line) > 0).then_some(()));
    let wrong = [json!({"server_uuid": "not-one"}), json!({"server_uuid": 7}), json!({"force_refresh": "yes"})];
    for arguments in wrong {
        let pending = client.send_call("pluggedin_discover_tools", arguments.clone());
        let answer = client.hear(Mark::START, "an answer", |value| value["id"] == pending.0);
        let refused = answer["result"]["isError"] == true || answer["error"]["code"] == -32_602;
        assert!(refused, "{arguments}: {answer}");
    }
}
