//! An App that is away, slow or of another mind when the proxy starts, and what is known from the last run.

use crate::support::client::Mark;
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
        client.finish();
        scene
    }

    fn proxy(&self, flags: &[&str]) -> Proxy {
        flags.iter().fold(Proxy::at(&self.home).app(&self.app).arg(OFTEN), |proxy, flag| proxy.arg(flag))
    }

    fn files(&self) -> Vec<PathBuf> {
        files_below(&self.home.path().join("cache"))
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
        eventually("the file is gone", || (!scene.files().iter().any(|path| name_of(path).starts_with("catalog-"))).then_some(()));
        client.finish();
        assert!(!scene.files().iter().any(|path| name_of(path).starts_with("catalog-")), "{:?}", scene.files());
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
