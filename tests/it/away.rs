//! An App that is away, slow or of another mind when the proxy starts, and what is known from the last run.

use crate::support::client::Mark;
use crate::support::http::message;
use crate::support::process::has_ended;
use crate::support::{Answer, App, Client, Home, KEY, List, Proxy, Server, Workspace, eventually, stays};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How often the proxy looks at the App where a test waits for it.
const OFTEN: &str = "--refresh-interval=0.5";

/// The servers' configurations are kept, too.
const KEEP: &str = "--cache-servers";

/// How soon a client has its lists that are known from the last run. The proxy needs a few milliseconds; a loaded machine more.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What the workspace of these tests has that is nobody's business.
const SECRETS: [&str; 4] = ["s3cr3t-0f-the-env", "s3cr3t-0f-the-header", "s3cr3t-0f-the-arguments", "s3cr3t-0f-the-url"];

/// An App with a server over each kind of wire, and what it has of them.
struct Scene {
    app: App,
    alpha: Server,
    beta: Server,
    home: Home,
}

impl Scene {
    /// A home directory where a proxy has listed everything.
    #[track_caller]
    fn lived_in(flags: &[&str]) -> Self {
        let alpha = Server::stdio("alpha", &["--", SECRETS[2]]);
        let beta = Server::http("beta", &[]);
        let mut workspace = Workspace::of(&[&alpha, &beta]).with_tools(&beta, &["echo", "odd"]).with_switched_off(&beta, "slow");
        let rules = json!([{"role": "system", "content": "Be brief."}]);
        workspace = workspace.with_instructions(&alpha, "alpha__system_context", &rules);
        workspace.servers[0]["env"] = json!({"TOKEN": SECRETS[0]});
        workspace.servers[1]["streamableHTTPOptions"] = json!({"headers": {"X-Api-Key": SECRETS[1]}});
        let url = workspace.servers[1]["url"].as_str().expect("it has one");
        workspace.servers[1]["url"] = json!(format!("{url}?token={}", SECRETS[3]));
        let scene = Self { app: App::start(workspace), alpha, beta, home: Home::new() };
        let mut client = scene.proxy(flags).start();
        works(&mut client, "alpha");
        works(&mut client, "beta");
        client.find(List::Resources, "scripted://greeting");
        if flags.contains(&KEEP) {
            eventually("the servers are kept", || scene.has_file("servers-").then_some(()));
        }
        client.finish();
        scene
    }

    fn proxy(&self, flags: &[&str]) -> Proxy {
        flags.iter().fold(Proxy::at(&self.home).app(&self.app).arg(OFTEN), |proxy, flag| proxy.arg(flag))
    }

    fn files(&self) -> Vec<PathBuf> {
        files_below(&self.home.path().join("cache"))
    }

    fn has_file(&self, prefix: &str) -> bool {
        self.files().iter().any(|path| name_of(path).starts_with(prefix))
    }

    /// The file of the catalog.
    #[track_caller]
    fn catalog(&self) -> PathBuf {
        let found = self.files().into_iter().find(|path| name_of(path).starts_with("catalog-"));
        found.expect("the catalog is kept")
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("it is a file").to_string_lossy().into_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[track_caller]
fn works(client: &mut Client, server: &str) {
    client.find(List::Tools, &format!("{server}__echo"));
    let echo = client.call(&format!("{server}__echo"), json!({}));
    assert_eq!(echo["structuredContent"]["server"], server, "{echo}");
}

/// All lists, entry by entry.
#[track_caller]
fn lists(client: &mut Client) -> [Vec<Value>; 4] {
    List::ALL.map(|list| client.list(list))
}

#[track_caller]
fn is_told_nothing(client: &Client, since: Mark) {
    let told: Vec<_> = client.since(since).into_iter().filter(|value| !value["method"].is_null()).collect();
    assert_eq!(told, Vec::<Value>::new());
}

/// The names of the App's servers' tools, at once.
#[track_caller]
fn tools_at_once(client: &mut Client) -> Vec<String> {
    let begin = Instant::now();
    let names = client.names(List::Tools);
    assert!(begin.elapsed() < AT_ONCE, "the list took {:?}", begin.elapsed());
    names.into_iter().filter(|name| !name.starts_with("pluggedin_")).collect()
}

#[test]
fn an_app_that_is_away_is_stood_in_for_by_the_last_good_list() {
    let mut scene = Scene::lived_in(&[]);
    let mut client = scene.proxy(&[]).start();
    works(&mut client, "alpha");
    works(&mut client, "beta");
    let before = lists(&mut client);
    client.finish();

    scene.app.go_away();
    let mut client = scene.proxy(&[]).launch();
    let welcome = client.initialize();
    assert!(welcome["instructions"].to_string().contains("Be brief."), "{welcome}");
    let tools = tools_at_once(&mut client);
    assert!(tools.contains(&"beta__odd".to_owned()), "{tools:?}");
    assert!(!tools.contains(&"beta__slow".to_owned()), "it is switched off: {tools:?}");
    assert_eq!(lists(&mut client), before);
    let rules = client.request("prompts/get", json!({"name": "alpha__system_context"})).result();
    assert!(rules.to_string().contains("Be brief."), "{rules}");
    let said = client.call("pluggedin_discover_tools", json!({})).to_string();
    assert!(said.contains("beta__echo") && said.contains("cannot be reached"), "{said}");

    // When it is back, nothing is different, and so nobody is told of anything.
    let mark = client.mark();
    scene.app.come_back();
    works(&mut client, "alpha");
    works(&mut client, "beta");
    stays("the lists are the same", || lists(&mut client) == before);
    is_told_nothing(&client, mark);
}

#[test]
fn without_a_kept_list_there_is_nothing_to_show() {
    let mut app = App::start(Workspace::of(&[&Server::stdio("alpha", &[])]));
    app.go_away();
    let mut client = Proxy::new().app(&app).arg("--list-wait=0.3").start();
    assert_eq!(tools_at_once(&mut client), Vec::<String>::new());
}

#[test]
fn a_slow_app_holds_up_nobody_who_knows_its_list() {
    let scene = Scene::lived_in(&[]);
    let gate = Arc::new(Semaphore::new(0));
    scene.app.answer(Answer::Held(gate.clone()));
    let mut client = scene.proxy(&[]).start();
    let tools = tools_at_once(&mut client);
    assert!(tools.contains(&"alpha__echo".to_owned()), "{tools:?}");
    let before = lists(&mut client);
    // A call waits until it is known how its server is reached.
    let pending = client.send_call("alpha__echo", json!({}));
    stays("the call waits", || !client.has_answered(&pending));
    let mark = client.mark();
    gate.add_permits(1_000);
    assert_eq!(client.answer(&pending).result()["structuredContent"]["server"], "alpha");
    works(&mut client, "beta");
    stays("the lists are the same", || lists(&mut client) == before);
    let told = client.since(mark).into_iter().filter(|value| !value["method"].is_null()).count();
    assert_eq!(told, 0, "nothing has changed");
}

#[test]
fn another_workspace_takes_the_place_of_what_was_kept() {
    let mut scene = Scene::lived_in(&[]);
    scene.app.go_away();
    let mut client = scene.proxy(&[]).start();
    assert!(tools_at_once(&mut client).contains(&"alpha__echo".to_owned()));
    let gamma = Server::stdio("gamma", &[]);
    let workspace = Workspace::of(&[&gamma]).with_tools(&gamma, &["echo"]);
    scene.app.switch_to(workspace);
    let mark = client.mark();
    scene.app.come_back();
    client.notified(mark, "notifications/tools/list_changed");
    let names = client.names(List::Tools);
    assert!(!names.iter().any(|name| name.starts_with("alpha__") || name.starts_with("beta__")), "{names:?}");
    works(&mut client, "gamma");
    client.finish();
    // The old one is not kept either.
    let kept = std::fs::read_to_string(scene.catalog()).expect("it can be read");
    assert!(kept.contains("gamma") && !kept.contains("alpha"), "{kept}");
}

#[test]
fn a_call_that_waits_in_vain_says_what_to_do() {
    let mut scene = Scene::lived_in(&[]);
    scene.app.go_away();
    let mut client = scene.proxy(&["--call-timeout=0.5"]).start();
    for tool in ["alpha__echo", "alpha__unheard-of"] {
        let result = client.call(tool, json!({}));
        assert_eq!(result["isError"], true, "{result}");
        let text = result["content"][0]["text"].as_str().expect("it is text");
        for words in ["alpha", "plugged.in App", "cannot be reached", "--cache-servers"] {
            assert!(text.contains(words), "`{words}` is missing: {text}");
        }
    }
}

#[test]
fn a_key_that_is_refused_loses_what_was_kept() {
    for status in [401, 403] {
        let mut scene = Scene::lived_in(&[]);
        scene.app.go_away();
        let mut client = scene.proxy(&[]).start();
        assert!(tools_at_once(&mut client).contains(&"alpha__echo".to_owned()));
        let pending = client.send_call("alpha__echo", json!({}));
        let mark = client.mark();
        scene.app.answer(Answer::Status(status));
        scene.app.come_back();
        client.notified(mark, "notifications/tools/list_changed");
        let result = client.answer(&pending).result();
        assert_eq!(result["isError"], true, "{result}");
        assert!(result.to_string().contains("alpha"), "{result}");
        assert_eq!(tools_at_once(&mut client), Vec::<String>::new());
        let refused = client.send_call("alpha__echo", json!({}));
        assert_eq!(client.answer(&refused).code(), -32_602);
        eventually("the file is gone", || (!scene.has_file("catalog-")).then_some(()));
        client.finish();
        assert!(!scene.has_file("catalog-"), "{:?}", scene.files());
    }
}

#[test]
fn a_page_of_somebody_on_the_way_takes_nothing_away() {
    let scene = Scene::lived_in(&[]);
    scene.app.answer(Answer::Page);
    let mut client = scene.proxy(&[]).start();
    assert!(tools_at_once(&mut client).contains(&"alpha__echo".to_owned()));
    stays("the list is shown", || client.names(List::Tools).contains(&"alpha__echo".to_owned()));
}

#[test]
fn a_file_that_is_no_good_counts_as_none() {
    let mut scene = Scene::lived_in(&[]);
    scene.app.go_away();
    let path = scene.catalog();
    let good = std::fs::read_to_string(&path).expect("it can be read");
    assert!(good.contains(r#""version":1"#));
    let half = good[..good.len() / 2].to_owned();
    for text in [String::new(), half, "[]".to_owned(), good.replace(r#""version":1"#, r#""version":999"#)] {
        std::fs::write(&path, &text).expect("it can be written");
        let mut client = scene.proxy(&["--list-wait=0.3"]).start();
        let tools = tools_at_once(&mut client);
        assert_eq!(tools, Vec::<String>::new());
        client.finish();
    }
}

#[test]
fn what_is_kept_is_for_one_key_and_one_app() {
    let mut scene = Scene::lived_in(&[]);
    scene.app.go_away();
    let other = KEY.replace("7Kq2", "2qK7");
    let elsewhere = scene.app.url().replace("127.0.0.1", "localhost");
    for (name, value) in [("PLUGGEDIN_API_KEY", &other), ("PLUGGEDIN_API_BASE_URL", &elsewhere)] {
        let mut client = scene.proxy(&["--list-wait=0.3"]).env(name, value).start();
        assert_eq!(tools_at_once(&mut client), Vec::<String>::new(), "{name}");
    }
    // For who has both, it is still there.
    assert!(tools_at_once(&mut scene.proxy(&[]).start()).contains(&"alpha__echo".to_owned()));
}

/// SECURITY: whatever is kept is for its owner alone, and shows nothing secret.
#[track_caller]
fn keeps_its_secrets(scene: &Scene) {
    for path in scene.files() {
        let bytes = std::fs::read(&path).expect("it can be read");
        let text = String::from_utf8_lossy(&bytes);
        for secret in SECRETS.into_iter().chain([KEY]) {
            let packed = [BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD].map(|engine| engine.encode(secret));
            for form in packed.iter().map(String::as_str).chain([secret]) {
                assert!(!text.contains(form), "{} holds `{form}`", path.display());
            }
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = path.metadata().expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

#[test]
fn what_is_kept_holds_no_secret_and_is_private() {
    let scene = Scene::lived_in(&[]);
    assert!(scene.catalog().exists());
    keeps_its_secrets(&scene);
    // Nor does it say how servers are reached.
    let kept = std::fs::read_to_string(scene.catalog()).expect("it can be read");
    let url = scene.beta.record()["url"].as_str().expect("it has one").to_owned();
    let command = scene.alpha.record()["command"].as_str().expect("it has one").to_owned();
    assert!(!kept.contains(&url) && !kept.contains(&command), "{kept}");
}

#[test]
fn the_http_front_lists_what_was_kept_too() {
    let mut scene = Scene::lived_in(&[]);
    scene.app.go_away();
    let front = scene.proxy(&[]).serve();
    let mut session = front.session();
    let begin = Instant::now();
    let names = session.names(List::Tools);
    assert!(begin.elapsed() < AT_ONCE && names.contains(&"beta__echo".to_owned()), "{:?} {names:?}", begin.elapsed());
    scene.app.come_back();
    assert_eq!(session.call("beta__echo", json!({}))["structuredContent"]["server"], "beta");
}

// With the configurations of servers.

#[test]
fn calls_work_while_the_app_is_away_where_servers_are_kept() {
    let mut scene = Scene::lived_in(&[KEEP]);
    keeps_its_secrets(&scene);
    scene.app.go_away();
    let mut client = scene.proxy(&[KEEP]).start();
    let tools = tools_at_once(&mut client);
    assert!(tools.contains(&"beta__odd".to_owned()) && !tools.contains(&"beta__slow".to_owned()), "{tools:?}");
    works(&mut client, "alpha");
    works(&mut client, "beta");
    // They are called as the App has said, with all that is secret about it.
    let process = client.call("alpha__process", json!({}));
    let process = &process["structuredContent"];
    assert_eq!((&process["environment"]["TOKEN"], &process["arguments"]), (&json!(SECRETS[0]), &json!([SECRETS[2]])));
    let seen = scene.beta.running().seen();
    let last = seen.last().expect("it was called");
    assert_eq!(last.headers.get("x-api-key").map(String::as_str), Some(SECRETS[1]));
    let refused = client.send_call("beta__slow", json!({}));
    assert_eq!(client.answer(&refused).code(), -32_602, "it is switched off");

    // When the App is back, nothing has changed, and nothing is started anew.
    let before = lists(&mut client);
    let mark = client.mark();
    scene.app.come_back();
    eventually("the App is asked", || (scene.app.count("GET /api/custom-instructions") > 1).then_some(()));
    stays("the lists are the same", || lists(&mut client) == before);
    is_told_nothing(&client, mark);
    assert_eq!(client.call("alpha__process", json!({}))["structuredContent"]["pid"], process["pid"]);
    let shown = client.stderr();
    assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{shown}");
}

#[test]
fn calls_over_http_work_while_the_app_is_away_where_servers_are_kept() {
    let mut scene = Scene::lived_in(&[KEEP]);
    scene.app.go_away();
    let front = scene.proxy(&[KEEP]).arg("--auth=key").serve();
    let mut session = front.session_with(KEY);
    for server in ["alpha", "beta"] {
        assert_eq!(session.call(&format!("{server}__echo"), json!({}))["structuredContent"]["server"], server);
    }
}

#[test]
fn a_key_that_is_refused_loses_the_kept_servers_too() {
    let mut scene = Scene::lived_in(&[KEEP]);
    scene.app.go_away();
    let mut client = scene.proxy(&[KEEP]).start();
    works(&mut client, "alpha");
    let pid = client.call("alpha__process", json!({}))["structuredContent"]["pid"].as_u64().expect("it is a number");
    let mark = client.mark();
    scene.app.revoke(KEY);
    scene.app.come_back();
    client.notified(mark, "notifications/tools/list_changed");
    assert_eq!(tools_at_once(&mut client), Vec::<String>::new());
    eventually("its child has ended", || has_ended(pid).then_some(()));
    eventually("nothing is kept", || (!scene.has_file("servers-") && !scene.has_file("catalog-")).then_some(()));
}

#[test]
fn servers_are_kept_only_for_those_who_ask_for_it() {
    let scene = Scene::lived_in(&[]);
    assert!(!scene.has_file("servers-"));
    let scene = Scene::lived_in(&[KEEP]);
    // A command for people takes nothing away, and a client's proxy that does not keep them does.
    scene.proxy(&[]).run(&["tools"]);
    assert!(scene.has_file("servers-"));
    scene.proxy(&[]).start().finish();
    assert!(!scene.has_file("servers-"));
}

#[test]
fn kept_servers_that_cannot_be_opened_count_as_none() {
    let mut scene = Scene::lived_in(&[KEEP]);
    scene.app.go_away();
    let path = scene.files().into_iter().find(|path| name_of(path).starts_with("servers-")).expect("it is there");
    let good = std::fs::read_to_string(&path).expect("it can be read");
    let seven = good.len() - 7;
    let changed = format!("{}{}{}", &good[..seven], if &good[seven..=seven] == "A" { "B" } else { "A" }, &good[seven + 1..]);
    for text in [changed, String::new(), "[]".to_owned(), good.replace(r#""version":1"#, r#""version":999"#)] {
        assert_ne!(text, good);
        std::fs::write(&path, &text).expect("it can be written");
        let mut client = scene.proxy(&[KEEP, "--call-timeout=0.3"]).start();
        // The list is there all the same.
        assert!(tools_at_once(&mut client).contains(&"alpha__echo".to_owned()));
        let result = client.call("alpha__echo", json!({}));
        assert!(result["isError"] == true && result.to_string().contains("away"), "{result}");
    }
    std::fs::write(&path, &good).expect("it can be written");
    works(&mut scene.proxy(&[KEEP]).start(), "alpha");
}

#[test]
fn a_kept_credential_that_is_out_of_date_is_told_as_it_is() {
    let beta = Server::http("beta", &["--require-header=x-api-key: new"]);
    let mut workspace = Workspace::of(&[&beta]).with_tools(&beta, &["echo"]);
    workspace.servers[0]["streamableHTTPOptions"] = json!({"headers": {"X-Api-Key": "old"}});
    let mut scene = Scene { app: App::start(workspace), alpha: Server::stdio("alpha", &[]), beta, home: Home::new() };
    let mut client = scene.proxy(&[KEEP]).start();
    client.find(List::Tools, "beta__echo");
    eventually("the servers are kept", || scene.has_file("servers-").then_some(()));
    let told = client.call("beta__echo", json!({}));
    client.finish();
    scene.app.go_away();
    let mut client = scene.proxy(&[KEEP]).start();
    let result = client.call("beta__echo", json!({}));
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result, told, "what the server says counts, not that the App is away");
}

#[test]
fn a_client_with_a_key_of_its_own_is_let_in_by_the_app_alone() {
    let beta = Server::http("beta", &[]);
    let mut app = App::start(Workspace::of(&[&beta]));
    let home = Home::new();
    let serve = |app: &App| {
        let proxy = Proxy::at(&home).allowing_scripted_servers().env("PLUGGEDIN_API_BASE_URL", &app.url());
        proxy.arg("--auth=per-client").arg(OFTEN).arg(KEEP).serve()
    };
    let front = serve(&app);
    front.complains("--cache-servers");
    let mut session = front.session_with(KEY);
    session.find(List::Tools, "beta__echo");
    // Whom the App has let in goes on while it is away.
    app.go_away();
    assert_eq!(session.call("beta__echo", json!({}))["structuredContent"]["server"], "beta");
    drop(front);
    // Nothing that is kept lets anybody in, not even who was let in by another process.
    let front = serve(&app);
    front.post(&message(1, "tools/list", json!({}))).key(KEY).send().is(503);
    let kept = files_below(&home.path().join("cache"));
    assert!(!kept.iter().any(|path| name_of(path).starts_with("servers-")), "{kept:?}");
}
