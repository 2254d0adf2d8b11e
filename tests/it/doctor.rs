//! `doctor`: each thing that can be wrong is told, with what to do about it, and nothing secret is.

use crate::support::process;
use crate::support::proxy::{FILE, Finished};
use crate::support::{Answer, App, Front, Home, KEY, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// Servers that hang are given so long; the others never need it.
const PATIENCE: &str = "--timeout=3";

/// A value that stands beside names that tell of secrets.
const SECRET: &str = "d0ct0r-w1ll-n0t-t3ll";

/// What the doctor said.
struct Report {
    json: Value,
    finished: Finished,
}

impl Report {
    /// Checks of this group and name, as `status: message` and the hint.
    fn all(&self, group: &str, name: &str) -> Vec<&Value> {
        let checks = self.json["checks"].as_array().expect("it has checks");
        checks.iter().filter(|check| check["group"] == group && check["name"] == name).collect()
    }

    /// One of these checks has this status, and these words in its message or hint.
    #[track_caller]
    fn says(&self, group: &str, name: &str, status: &str, words: &[&str]) -> &Self {
        let fits = |check: &&Value| check["status"] == status && words.iter().all(|word| said(check).contains(word));
        assert!(self.all(group, name).iter().any(fits), "no `{status}` of `{group}`, `{name}` with {words:?}: {:#}", self.json);
        self
    }

    #[track_caller]
    fn ends_with(&self, code: i32) -> &Self {
        assert_eq!(self.finished.code, Some(code), "{:#}\n{}", self.json, self.finished.stderr);
        self
    }
}

fn said(check: &Value) -> String {
    format!("{} {}", check["message"].as_str().unwrap_or_default(), check["hint"].as_str().unwrap_or_default())
}

/// Runs it, and judges what holds for every report.
#[track_caller]
fn examine(proxy: &Proxy) -> Report {
    let finished = proxy.run(&["doctor", "--json", PATIENCE]);
    let json: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let checks = json["checks"].as_array().expect("it has checks");
    for check in checks {
        let members: Vec<_> = check.as_object().expect("each is an object").keys().map(String::as_str).collect();
        assert!(members.starts_with(&["group", "name", "status", "message"]), "{check}");
        assert!(members[4..].iter().all(|name| ["hint", "took_ms"].contains(name)), "{check}");
        let status = check["status"].as_str().expect("it is text");
        assert!(["ok", "warn", "fail"].contains(&status), "{check}");
        // Warnings about settings are sentences of other parts, which may have none.
        assert!(
            status == "ok"
                || check["hint"].is_string()
                || check["group"] == "settings"
                || check["name"] == "none"
                || check["name"] == "answer",
            "no hint: {check}"
        );
    }
    let failed = checks.iter().any(|check| check["status"] == "fail");
    assert_eq!(json["ok"], !failed, "{json:#}");
    assert_eq!(finished.code, Some(i32::from(failed)), "{json:#}");
    let everything = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!everything.contains(SECRET) && !everything.contains(KEY), "a secret is told: {everything}");
    Report { json, finished }
}

fn with_file(file: &Value) -> Proxy {
    Proxy::new().file(file)
}

/// A file that the proxy is started with, by this key and App.
fn with_app(app: &App) -> Proxy {
    Proxy::new().app(app)
}

/// A program of a test, which prints this.
#[cfg(unix)]
fn program(home: &Home, name: &str, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = home.write(name, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[cfg(unix)]
fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn all_is_well_where_all_is_well() {
    let (own, remote) = (Server::stdio("own", &[]), Server::http("remote", &["--modern"]));
    let app = App::start(Workspace::of(&[&remote]));
    let proxy = Proxy::new().app(&app).file(&file_of(&[&own]));
    let report = examine(&proxy);
    report
        .ends_with(0)
        .says("settings", "options and variables", "ok", &[])
        .says("key", "place", "ok", &["`PLUGGEDIN_API_KEY`"])
        .says("key", "accepted", "ok", &["1 server"])
        .says("app", "answer", "ok", &[&app.url()])
        .says("clock", "difference", "ok", &[])
        .says("files", "servers", "ok", &[FILE, "1 server"])
        .says("files", "cache", "ok", &[])
        .says("files", "state", "ok", &[])
        .says("programs", "own", "ok", &["scripted-server"])
        .says("servers", "own connect", "ok", &["2025-11-25", "stdio"])
        .says("servers", "own list", "ok", &["tools", "prompts", "resources"])
        .says("servers", "own ping", "ok", &["`ping`"])
        .says("servers", "remote connect", "ok", &["2026-07-28"])
        .says("servers", "remote ping", "ok", &["`server/discover`"]);
    assert!(report.all("servers", "own connect")[0]["took_ms"].is_u64());
    for words in ["own: connecting", "remote: connecting", "[1/2] ", "[2/2] "] {
        assert!(report.finished.stderr.contains(words), "no `{words}`: {}", report.finished.stderr);
    }
    let text = proxy.run(&["doctor"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for words in ["settings\n", "\n  ok    own ping ", " warn, 0 fail\n"] {
        assert!(text.stdout.contains(words), "no `{words}`: {}", text.stdout);
    }
}

#[test]
fn a_key_is_judged_by_its_form_and_never_shown() {
    let server = Server::stdio("own", &[]);
    for (key, words) in [
        ("YOUR_API_KEY", "placeholder"),
        (&format!("\"{KEY}\""), "quotes"),
        (&format!("Bearer {KEY}"), "Bearer"),
        (SECRET, "20 characters"),
        (&format!("{KEY} {KEY}"), "character"),
    ] {
        // Not even the App of a person's own machine is asked.
        let app = App::start(Workspace::default());
        let proxy = with_file(&file_of(&[&server])).env("PLUGGEDIN_API_KEY", key).env("PLUGGEDIN_API_BASE_URL", &app.url());
        let report = examine(&proxy);
        report.ends_with(1).says("key", "form", "fail", &["`PLUGGEDIN_API_KEY`", words]);
        report.says("servers", "none", "warn", &["not connected"]);
        assert!(app.requests().is_empty(), "{:?}", app.requests());
    }
    let unfilled = with_file(&file_of(&[&server])).env("PLUGGEDIN_API_KEY", "${PLUGGEDIN_API_KEY}");
    examine(&unfilled).ends_with(0).says("key", "form", "warn", &["`PLUGGEDIN_API_KEY`", "placeholder"]);
    let of_file = with_file(&file_of(&[&server]));
    of_file.home().write("config/pluggedin/credentials.json", &json!({"api_key": SECRET}).to_string());
    examine(&of_file).ends_with(0).says("key", "form", "warn", &["pluggedin/credentials.json", "20 characters"]);
    examine(&Proxy::new()).ends_with(1).says("key", "place", "fail", &["login", "--config"]);
}

#[test]
fn wrong_settings_are_told_and_nothing_is_done_under_them() {
    let server = Server::stdio("own", &[]);
    let app = App::start(Workspace::default());
    let report = examine(&with_file(&file_of(&[&server])).app(&app).arg("--call-timeout=soon"));
    report.ends_with(1).says("settings", "options and variables", "fail", &["`--call-timeout`"]);
    report.says("app", "answer", "warn", &["not asked"]).says("servers", "none", "warn", &[]);
    assert!(app.requests().is_empty(), "{:?}", app.requests());
    // A command line that cannot be read is another matter.
    let misused = Proxy::new().run(&["doctor", "--timeout"]);
    assert_eq!((misused.code, misused.stdout.as_str()), (Some(64), ""), "{misused:?}");
}

#[test]
fn a_key_that_the_app_refuses_is_not_the_apps_fault() {
    let app = App::start(Workspace::default());
    app.revoke(KEY);
    let report = examine(&with_app(&app));
    report.ends_with(1).says("key", "accepted", "fail", &["401", "/api-keys"]).says("app", "answer", "ok", &[]);
    report.says("clock", "difference", "ok", &[]);
    app.answer(Answer::Status(403));
    examine(&with_app(&app)).ends_with(1).says("key", "accepted", "fail", &["403"]);
}

#[test]
fn an_app_that_fails_is_told_by_its_kind() {
    let app = App::start(Workspace::default());
    for (answer, words) in [
        (Answer::Page, &["web page instead of JSON", "--pluggedin-api-base-url"][..]),
        (Answer::Status(500), &["failed (500)", "log"]),
        (Answer::Status(502), &["failed (502)"]),
        (Answer::Later(30), &["no more requests", "wait"]),
        (Answer::Text("hello"), &["does the base URL lead to it"]),
        (Answer::Elsewhere("http://127.0.0.1:9".to_owned()), &["redirects to `http://127.0.0.1:9", "--pluggedin-api-base-url"]),
    ] {
        app.answer(answer);
        let report = examine(&with_app(&app));
        report.ends_with(1).says("app", "answer", "fail", words);
        assert!(report.all("key", "accepted").is_empty(), "{:#}", report.json);
    }
    app.violations();
}

#[test]
fn an_app_that_cannot_be_reached_is_told_by_its_kind() {
    let mut app = App::start(Workspace::default());
    app.go_away();
    let proxy = with_app(&app).env("HTTPS_PROXY", "http://proxy.example:3128");
    let report = examine(&proxy);
    report.ends_with(1).says("app", "answer", "fail", &["connection was refused", "start the App"]);
    report.says("app", "proxy", "warn", &["`HTTPS_PROXY`", "--egress-proxy"]);
    let unknown = with_app(&app).arg("--pluggedin-api-base-url=http://no-such-host.invalid");
    examine(&unknown.arg("--allow-plain-http")).ends_with(1).says("app", "answer", "fail", &["name"]);
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let tls = with_app(&app).arg(&format!("--pluggedin-api-base-url=https://{}", plain.local_addr().expect("it has one")));
    let silent = std::thread::spawn(move || plain.accept().map(drop));
    examine(&tls).ends_with(1).says("app", "answer", "fail", &["cannot be reached"]);
    silent.join().expect("nothing panics there").expect("it was asked");
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let app = App::start(Workspace::default());
    for (ahead, status, words) in
        [(10, "ok", "behind"), (120, "warn", "behind"), (-120, "warn", "ahead"), (4000, "fail", "behind"), (-4000, "fail", "ahead")]
    {
        app.clock_is_ahead(ahead);
        let report = examine(&with_app(&app));
        report.ends_with(i32::from(status == "fail")).says("clock", "difference", status, &[words]);
    }
}

#[test]
fn a_file_is_judged_as_it_is_loaded() {
    for (text, words) in [("{\"mcpServers\": {\n  oops", "line 2"), ("", "empty"), ("{\"a\": {\"command\": \"x\"}}", "mcpServers")] {
        examine(&Proxy::new().file_text(text)).ends_with(1).says("files", "servers", "fail", &[FILE, words]);
    }
    let missing = Proxy::new().arg("--config=nowhere.json");
    examine(&missing).ends_with(1).says("files", "servers", "fail", &["nowhere.json", "does not exist"]);
    let mut file = file_of(&[&Server::stdio("own", &[])]);
    file["mcpServers"]["bad"] = json!({"comand": "x", "env": {"TOKEN": SECRET}});
    let report = examine(&with_file(&file));
    report.ends_with(1).says("files", "servers", "fail", &["`bad` is left out"]).says("files", "servers", "warn", &["`command`"]);
    report.says("servers", "own ping", "ok", &[]);
}

#[cfg(unix)]
#[test]
fn permissions_are_told() {
    let mut file = file_of(&[&Server::stdio("own", &[])]);
    let plain = with_file(&file);
    let path = plain.home().path().join(FILE);
    mode(&path, 0o644);
    assert_eq!(examine(&plain).ends_with(0).all("files", "servers").len(), 1);
    mode(&path, 0o666);
    examine(&plain).ends_with(0).says("files", "servers", "warn", &["666", "chmod go-w"]);

    file["mcpServers"]["own"]["env"] = json!({"A_TOKEN": SECRET});
    let secret = with_file(&file);
    let path = secret.home().path().join(FILE);
    mode(&path, 0o644);
    let credentials = secret.home().write("config/pluggedin/credentials.json", "{}");
    mode(&credentials, 0o640);
    let report = examine(&secret);
    report.ends_with(0).says("files", "servers", "warn", &["644", "chmod 600"]).says("files", "credentials", "warn", &["640", "chmod 600"]);
    mode(&path, 0o600);
    mode(&credentials, 0o600);
    let report = examine(&secret);
    assert_eq!(report.ends_with(0).all("files", "servers").len(), 1);
    report.says("files", "credentials", "ok", &[]);
}

#[test]
fn directories_that_cannot_be_written_are_told() {
    let proxy = with_file(&file_of(&[&Server::stdio("own", &[])]));
    // Whoever administers the machine writes everywhere, but not below a file.
    for name in ["cache", "state"] {
        proxy.home().write(name, "in the way");
    }
    let report = examine(&proxy);
    report.ends_with(0).says("files", "cache", "warn", &["XDG_CACHE_HOME"]).says("files", "state", "warn", &["XDG_STATE_HOME"]);
    examine(&proxy.arg("--pin-tools")).ends_with(1).says("files", "state", "fail", &["XDG_STATE_HOME"]);
}

#[test]
fn a_program_that_is_nowhere_is_told_with_how_to_get_it() {
    let file = json!({"mcpServers": {"none": {"command": "no-such-program-anywhere"}, "uv": {"command": "uvx", "args": ["x"]}}});
    let report = examine(&with_file(&file).env("PATH", "/nowhere"));
    report.ends_with(1).says("programs", "none", "fail", &["command-not-found"]).says("programs", "uv", "fail", &["docs.astral.sh"]);
    report.says("servers", "none connect", "fail", &["command-not-found"]);
}

#[cfg(unix)]
#[test]
fn a_program_of_a_version_manager_is_found_for_whoever_has_a_short_path() {
    let (file_server, app_server) = (json!({"mcpServers": {"own": {"command": "npx", "args": ["-y", "x"]}}}), Server::stdio("remote", &[]));
    let mut workspace = Workspace::of(&[&app_server]);
    workspace.servers[0]["command"] = json!("npx");
    workspace.servers[0]["args"] = json!(["-y", "x"]);
    let app = App::start(workspace);
    let proxy = with_file(&file_server).app(&app).env("PATH", "/nowhere");
    let home = proxy.home();
    for version in ["v9.0.0", "v20.1.0"] {
        program(&home, &format!(".nvm/versions/node/{version}/bin/npx"), "#!/usr/bin/env node\n");
    }
    let dir = home.path().join(".nvm/versions/node/v20.1.0/bin");
    let dir = dir.display().to_string();
    let report = examine(&proxy);
    let absolute = format!("\"command\": \"{dir}/npx\"");
    report.ends_with(1).says("programs", "own", "fail", &["nvm", "shorter PATH", &absolute, &format!("\"PATH\": \"{dir}:")]);
    report.says("programs", "remote", "fail", &["nvm", "where your client starts this proxy"]);
    assert!(!said(report.all("programs", "remote")[0]).contains("\"command\""), "{:#}", report.json);

    // An absolute path is not enough: it is a script that looks for Node itself.
    let absolute = json!({"mcpServers": {"own": {"command": format!("{dir}/npx")}}});
    let report = examine(&Proxy::at(&home).file(&absolute).env("PATH", "/nowhere"));
    report.ends_with(1).says("programs", "own", "fail", &["needs `node`"]);

    // Where a shell leads there, a desktop does not.
    program(&home, ".nvm/versions/node/v20.1.0/bin/node", "#!/bin/sh\necho v20.1.0\n");
    let report = examine(&Proxy::at(&home).file(&file_server).env("PATH", &format!("{dir}:/usr/bin:/bin")));
    report.says("programs", "own", "warn", &["nvm", "desktop", &dir]).says("programs", "node", "ok", &["v20.1.0"]);
}

#[cfg(unix)]
#[test]
fn versions_are_asked_of_what_servers_use_and_of_nothing_else() {
    let home = Home::new();
    let bin = home.path().join("tools");
    for (name, says) in [("node", "v16.20.0"), ("python3", "Python 3.9.1"), ("uv", "uv 0.5.1"), ("uvx", "x"), ("npx", "x")] {
        program(&home, &format!("tools/{name}"), &format!("#!/bin/sh\necho \"$*\" >> \"$HOME/{name}.asked\"\necho '{says}'\n"));
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let file = json!({"mcpServers": {"a": {"command": "npx"}, "b": {"command": "npx"}, "c": {"command": "uvx"}}});
    let report = examine(&Proxy::at(&home).file(&file).env("PATH", &path));
    report.says("programs", "node", "warn", &["v16.20.0", "18"]).says("programs", "uv", "ok", &["0.5.1"]);
    assert_eq!(report.all("programs", "node").len(), 1);
    assert_eq!(fs::read_to_string(home.path().join("node.asked")).expect("it was asked"), "--version\n");
    assert!(!home.path().join("python3.asked").exists());
    let file = json!({"mcpServers": {"a": {"command": "python3", "args": ["x.py"]}}});
    let report = examine(&Proxy::at(&home).file(&file).env("PATH", &path));
    report.says("programs", "python3", "warn", &["3.9.1", "3.10"]);
}

#[test]
fn servers_that_do_not_work_are_told_each_by_itself() {
    let servers = [
        Server::stdio("dead", &["--exit-at-start"]),
        Server::stdio("hanging", &["--hang=initialize", "--hang=server/discover", "--chatter=100"]),
        Server::stdio("listless", &["--hang=tools/list"]),
        Server::stdio("deaf", &["--hang=ping"]),
        Server::stdio("rude", &["--refuse=no licence for {A_TOKEN}"]),
        Server::stdio("good", &[]),
    ];
    let mut file = file_of(&servers.iter().collect::<Vec<_>>());
    file["mcpServers"]["rude"]["env"] = json!({"A_TOKEN": SECRET});
    file["mcpServers"]["gone"] = json!({"type": "http", "url": "http://127.0.0.1:9/mcp"});
    file["mcpServers"]["metadata"] = json!({"type": "http", "url": format!("http://169.254.169.254/?token={SECRET}")});
    let report = examine(&with_file(&file));
    report
        .ends_with(1)
        .says("servers", "dead connect", "fail", &["ended", "standard error", "no licence found", "by hand"])
        .says("servers", "hanging connect", "fail", &["within 3 s", "chatter", "--timeout"])
        .says("servers", "listless connect", "ok", &[])
        .says("servers", "listless list", "fail", &["within 3 s"])
        .says("servers", "deaf ping", "fail", &["`ping`", "within 3 s"])
        .says("servers", "rude connect", "fail", &["refused", "no licence for [redacted]"])
        .says("servers", "good ping", "ok", &[])
        .says("servers", "gone connect", "fail", &["cannot be reached", "`url`"])
        .says("servers", "metadata connect", "fail", &["rule `metadata-address`", "--allow-private-network"]);
    assert!(report.all("servers", "listless ping").is_empty(), "{:#}", report.json);
}

#[test]
fn what_the_rules_refuse_is_told_with_what_would_open_it() {
    let (local, shell) = (Server::http("local", &[]), Server::stdio("shell", &[]));
    let mut workspace = Workspace::of(&[&local, &shell]);
    workspace.servers[1]["command"] = json!("/bin/sh");
    let app = App::start(workspace);
    let report = examine(&with_app(&app).without_permissions());
    report.ends_with(1).says("servers", "local connect", "fail", &["rule `private-address`", "--allow-private-network"]);
    report.says("servers", "shell connect", "fail", &["rule `command-name`", "--allow-command"]);
    let off = examine(&with_app(&app).arg("--stdio-servers=off"));
    off.says("servers", "shell connect", "fail", &["rule `stdio-servers`", "--stdio-servers on"]).says("servers", "local ping", "ok", &[]);
}

#[test]
fn a_port_that_is_taken_is_told_with_who_is_there() {
    let server = Server::stdio("own", &[]);
    let at = |port: u16| with_file(&file_of(&[&server])).arg(&format!("--port={port}"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it has one").port();
    let name = format!("127.0.0.1:{port}");
    let other = std::thread::spawn({
        let taken = taken.try_clone().expect("it can be");
        move || (0..2).for_each(|_| drop(taken.accept()))
    });
    examine(&at(port)).ends_with(0).says("port", &name, "ok", &["another program", "streamable-http"]);
    examine(&at(port).arg("--transport=streamable-http")).ends_with(1).says("port", &name, "fail", &["another program", "--port"]);
    other.join().expect("nothing panics there");
    drop(taken);

    let front: Front = Proxy::serving(&[]);
    let name = front.address.to_string();
    let report = examine(&at(front.address.port()).arg("--transport=streamable-http"));
    report.ends_with(0).says("port", &name, "warn", &["pluggedin-mcp-proxy", env!("CARGO_PKG_VERSION"), "runs already"]);
    examine(&at(0).arg("--transport=streamable-http")).ends_with(0).says("port", "127.0.0.1:0", "ok", &["any port"]);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_what_it_has_started() {
    let home = Home::new();
    let server = program(&home, "server", "#!/bin/sh\necho $$ > \"$HOME/pid.new\"\nmv \"$HOME/pid.new\" \"$HOME/pid\"\nsleep 60\n");
    let doctor = Proxy::at(&home).file(&json!({"mcpServers": {"slow": {"command": server}}})).begin(&["doctor"]);
    let pid = eventually("the server runs", || fs::read_to_string(home.path().join("pid")).ok());
    process::signal(doctor.pid(), "-INT");
    let finished = doctor.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("interrupted"), "{finished:?}");
    assert!(process::has_ended(pid.trim().parse().expect("a number")));
}

#[test]
fn an_app_that_fails_after_its_first_answer_is_told() {
    let server = Server::http("remote", &[]);
    let app = App::start(Workspace::of(&[&server]));
    app.answer_at("/api/tools", Answer::Status(503));
    examine(&with_app(&app)).says("app", "answer", "ok", &[]).says("app", "lists", "warn", &["failed (503)", "below"]);
}
