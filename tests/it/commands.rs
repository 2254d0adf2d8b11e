//! What the App, and the owner of the machine, may have started here (threat model T13 to T15).

use crate::support::client::List;
use crate::support::patience::patiently;
use crate::support::{App, Client, KEY, Proxy, Server, Workspace, file_of};
use serde_json::{Value, json};

/// What none of the old proxy's arguments survived, and more.
const ODD: [&str; 8] =
    ["; & | ` $ ( ) < > \\", "print(1)", "C:\\Users\\me", "a\nb\tc", "{\"a\": [\"$HOME\"]}", "", " ", "*?[a]~#!'\"%ä\u{1f600}"];

#[track_caller]
fn works(client: &mut Client, server: &Server) {
    client.find(List::Tools, &server.tool("echo"));
    assert_eq!(client.call(&server.tool("echo"), json!({}))["structuredContent"]["server"], server.name);
}

/// What a child says about itself.
#[track_caller]
fn process(client: &mut Client, server: &Server) -> Value {
    client.find(List::Tools, &server.tool("process"));
    client.call(&server.tool("process"), json!({}))["structuredContent"].take()
}

/// An App with a server that is changed, and one that is not.
fn app_with(change: impl FnOnce(&mut Value)) -> (App, Server, Server) {
    let (bad, good) = (Server::stdio("bad", &[]), Server::stdio("good", &[]));
    let mut workspace = Workspace::of(&[&bad, &good]).with_tools(&bad, &["echo"]);
    change(&mut workspace.servers[0]);
    (App::start(workspace), bad, good)
}

/// The server is refused by this rule, everywhere in the same words, and the other one works.
#[track_caller]
fn refused(proxy: Proxy, (app, bad, good): &(App, Server, Server), rule: &str, words: &[&str]) {
    let mut client = proxy.clone().app(app).start();
    works(&mut client, good);
    let rule = format!("rule `{rule}`");
    let told = client.call(&bad.tool("echo"), json!({}));
    assert_eq!(told["isError"], true, "{told}");
    let mut discovered = String::new();
    let shown = patiently(|| {
        discovered = client.call("pluggedin_discover_tools", json!({})).to_string();
        discovered.contains(&rule).then_some(())
    });
    assert!(shown.is_some(), "{discovered}");
    let listed = proxy.app(app).run(&["tools", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("it is JSON");
    let of_bad = listed["servers"].as_array().and_then(|all| all.iter().find(|server| server["name"] == "bad")).expect("it is listed");
    assert_eq!(of_bad["state"], "disabled", "{listed}");
    for text in [told.to_string(), discovered, of_bad.to_string()] {
        assert!(text.contains(&rule) && text.contains("hint"), "{text}");
        for word in words {
            assert!(text.contains(word), "no {word}: {text}");
        }
        assert!(!text.contains("SECRET"), "{text}");
    }
}

#[test]
fn a_forbidden_command_disables_its_server_alone() {
    let proxy = Proxy::new();
    let home = proxy.home();
    let trace = home.path().join("trace");
    let touch = format!("touch {}", trace.display());
    let app = app_with(|record| {
        record["command"] = json!("/bin/sh");
        record["args"] = json!(["-c", touch]);
    });
    refused(proxy, &app, "command-name", &["/bin/sh", "--allow-command"]);
    assert!(!trace.exists(), "it was run");

    for (command, words) in [("npx -y SECRET", "`args`"), ("NPX", "did you mean `npx`"), ("node.exe", "did you mean `node`")] {
        let app = app_with(|record| record["command"] = json!(command));
        refused(Proxy::new(), &app, "command-name", &[words]);
    }
}

#[test]
fn code_in_arguments_is_refused_unless_it_is_allowed() {
    let app = app_with(|record| {
        record["command"] = json!("node");
        record["args"] = json!(["-e", "process.exit(0) // SECRET"]);
    });
    refused(Proxy::new(), &app, "inline-code", &["node -e", "--allow-inline-code"]);

    for proxy in [Proxy::new().arg("--allow-inline-code"), Proxy::new().env("PLUGGEDIN_ALLOW_INLINE_CODE", "true")] {
        let shown = proxy.app(&app.0).run(&["tools", "--json"]);
        assert!(!shown.stdout.contains("inline-code"), "{}", shown.stdout);
    }
}

#[test]
fn hooks_and_bad_variables_are_refused_whoever_wrote_them() {
    for (name, value, rule) in [
        ("NODE_OPTIONS", "--require=/tmp/SECRET.js", "env-hook"),
        ("LD_PRELOAD", "/tmp/SECRET.so", "env-hook"),
        ("npm_config_script_shell", "/tmp/SECRET", "env-hook"),
        ("NOT-A-NAME", "SECRET", "env-name"),
        ("NAME", "SECRET\0", "env-value"),
    ] {
        refused(Proxy::new(), &app_with(|record| record["env"] = json!({name: value})), rule, &[name]);
        let server = Server::stdio("own", &[]);
        let mut file = file_of(&[&server]);
        file["mcpServers"]["own"]["env"] = json!({name: value});
        let shown = Proxy::new().file(&file).run(&["tools"]);
        assert!(shown.stdout.contains(&format!("rule `{rule}`")), "{}", shown.stdout);
        assert!(!shown.stdout.contains("SECRET") && !shown.stderr.contains("SECRET"), "{shown:?}");
    }
}

#[test]
fn arguments_and_variables_arrive_byte_for_byte() {
    let pem = "-----BEGIN KEY-----\nabc\r\n\t$(x)\n-----END KEY-----\n";
    let odd = |entry: &mut Value| {
        let args = entry["args"].as_array_mut().expect("it is one");
        args.push(json!("--"));
        args.extend(ODD.map(Value::from));
        entry["env"] = json!({"PEM": pem, "_EMPTY": "", "NODE_OPTIONS": "--max-old-space-size=4096"});
    };
    let (remote, own) = (Server::stdio("remote", &[]), Server::stdio("own", &[]));
    let mut workspace = Workspace::of(&[&remote]);
    odd(&mut workspace.servers[0]);
    let app = App::start(workspace);
    let mut file = file_of(&[&own]);
    odd(&mut file["mcpServers"]["own"]);
    let mut client = Proxy::new().app(&app).file(&file).env("SOME_TOKEN", "x").start();
    for server in [&remote, &own] {
        let process = process(&mut client, server);
        assert_eq!(process["arguments"], json!(ODD));
        let environment = process["environment"].as_object().expect("it is one");
        assert_eq!((&environment["PEM"], &environment["_EMPTY"]), (&json!(pem), &json!("")));
        assert!(environment.contains_key("PATH"), "{environment:?}");
        for name in ["PLUGGEDIN_API_KEY", "PLUGGEDIN_API_BASE_URL", "SOME_TOKEN", "XDG_CONFIG_HOME"] {
            assert!(!environment.contains_key(name), "{name} is handed down");
        }
        assert!(!process.to_string().contains(KEY), "the key is handed down");
    }
}

#[test]
fn control_characters_and_sizes_are_refused() {
    for (arg, rule) in [("SECRET\u{1b}[0m".to_owned(), "control-character"), ("SECRET".repeat(30_000), "argument-size")] {
        refused(Proxy::new(), &app_with(|record| record["args"] = json!([arg])), rule, &[]);
    }
}

#[test]
fn the_operator_allows_more_by_option_or_variable_and_no_file_does() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let command = server.entry()["command"].as_str().expect("it is text").to_owned();
    let key = || Proxy::new().env("PLUGGEDIN_API_KEY", KEY).env("PLUGGEDIN_API_BASE_URL", &app.url());
    let mut client = key().env("PLUGGEDIN_ALLOW_COMMANDS", &format!("docker,{command}")).start();
    works(&mut client, &server);
    let proxy = key();
    let path = proxy.home().write("my.env", &format!("PLUGGEDIN_ALLOW_COMMANDS={command}\nPLUGGEDIN_ALLOW_INLINE_CODE=1\n"));
    let shown = proxy.arg(&format!("--env-file={}", path.display())).run(&["tools"]);
    assert!(shown.stdout.contains("rule `command-name`"), "{}", shown.stdout);
}

#[test]
fn each_start_is_written_down_and_a_changed_command_line_stands_out() {
    let server = Server::stdio("alpha", &[]);
    let mut file = file_of(&[&server]);
    file["mcpServers"]["alpha"]["env"] = json!({"A_TOKEN": "SECRET"});
    let proxy = Proxy::new().file(&file);
    let home = proxy.home();
    let mut client = proxy.start();
    works(&mut client, &server);
    client.complains("started");
    let log = client.stderr();
    let line = log.lines().find(|line| line.contains("started")).expect("it is there");
    for part in ["scripted-server", "args=1", "A_TOKEN", "origin=\"file\""] {
        assert!(line.contains(part), "no {part}: {line}");
    }
    assert!(!log.contains("another one than"), "{log}");
    file["mcpServers"]["alpha"]["args"].as_array_mut().expect("it is one").extend([json!("--"), json!("SECRET")]);
    home.replace("mcp.json", &file.to_string());
    client.complains("its command line is another one");
    assert!(!client.stderr().contains("SECRET"), "{}", client.stderr());
}
