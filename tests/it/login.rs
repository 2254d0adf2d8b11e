//! `login`, `logout` and `whoami`: a key by way of the browser, where it is kept, and what the App thinks of it.

use crate::support::app::{Approval, DEVICE_CODE, USER_CODE};
use crate::support::proxy::Finished;
use crate::support::{Answer, App, Home, KEY, List, Proxy, Server, Workspace, eventually};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const FILE: &str = "config/pluggedin/credentials.json";
const INITIATE: &str = "/api/cli/auth/initiate";
const POLL: &str = "/api/cli/auth/poll";
const POLLS: &str = "GET /api/cli/auth/poll";

/// Somebody else's key.
const OTHER: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";

/// An App without servers, whose sign-ins are asked after every second.
fn app() -> App {
    let app = App::start(Workspace::default());
    app.sign_ins_have(json!({"interval": 1}));
    app
}

/// A proxy that has no key, for this App.
fn keyless(app: &App) -> Proxy {
    Proxy::new().env("PLUGGEDIN_API_BASE_URL", &app.url())
}

fn file(home: &Home) -> PathBuf {
    home.path().join(FILE)
}

#[track_caller]
fn stored(home: &Home) -> Value {
    let text = fs::read_to_string(file(home)).expect("the file is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Nothing but what was there before.
#[track_caller]
fn stores_nothing(home: &Home) {
    let folder = file(home).parent().expect("it has one").to_owned();
    let names: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("it can be read").file_name()).collect();
    assert!(names.is_empty(), "{names:?}");
}

/// Failed with these words and nothing on stdout.
#[track_caller]
fn fails(finished: &Finished, words: &str) {
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains(&format!("error: {words}")), "no `{words}`: {finished:?}");
}

#[test]
fn a_key_that_was_approved_in_the_browser_is_stored_and_used() {
    let alpha = Server::http("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    app.sign_ins_have(json!({"interval": 1}));
    let proxy = keyless(&app);
    let login = proxy.begin(&["login"]);
    eventually("it has asked twice", || (app.count(POLLS) == 2).then_some(()));
    stores_nothing(&proxy.home());
    app.sign_in_is(Approval::Approved);
    let finished = login.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    let page = format!("{}/cli/authorize?code={USER_CODE}", app.url());
    for words in [&page, USER_CODE, &app.url(), "300 s", FILE] {
        assert!(finished.stderr.contains(words), "no `{words}`: {}", finished.stderr);
    }
    assert!(!finished.stderr.contains(DEVICE_CODE), "{}", finished.stderr);
    assert!(!finished.stderr.contains("warning"), "{}", finished.stderr);
    assert_eq!(stored(&proxy.home()), json!({"api_key": KEY, "base_url": app.url()}));
    // The one that brought the key was the last.
    assert_eq!(app.count(POLLS), 3);
    for request in app.requests() {
        assert_eq!(request.authorization, "", "{}", request.line);
    }

    let mut client = Proxy::at(&proxy.home()).allowing_scripted_servers().start();
    client.find(List::Tools, "alpha__echo");
    assert!(app.requests_to("GET /api/mcp-servers").iter().all(|request| request.authorization == format!("Bearer {KEY}")));
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_alone_and_keeps_what_it_holds() {
    use std::os::unix::fs::PermissionsExt;
    let app = app();
    app.sign_in_is(Approval::Approved);
    let fresh = keyless(&app);
    assert_eq!(fresh.run(&["login"]).code, Some(0));
    let mode = |path: PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(file(&fresh.home())), 0o600);
    assert_eq!(mode(file(&fresh.home()).parent().expect("it has one").to_owned()), 0o700);

    // The address beside the old key is that of the next one.
    let old = json!({"mcp_endpoint": "https://h.example/mcp", "api_key": OTHER, "base_url": app.url(), "x": [1, null]});
    let again = Proxy::new();
    again.home().write(FILE, &old.to_string());
    let finished = again.run(&["login"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let mut expect = old;
    expect["api_key"] = json!(KEY);
    assert_eq!(stored(&again.home()), expect);
    assert_eq!(mode(file(&again.home())), 0o600);
}

#[test]
fn what_cannot_be_stored_is_not_asked_for() {
    let app = app();
    let proxy = keyless(&app);
    for text in ["{\"api_key\": ", "[]", ""] {
        proxy.home().write(FILE, text);
        fails(&proxy.run(&["login"]), "the credentials file `");
        fails(&proxy.run(&["logout"]), "the credentials file `");
        assert_eq!(fs::read_to_string(file(&proxy.home())).expect("it is there"), text);
    }
    assert_eq!(app.requests().len(), 0);
}

#[cfg(unix)]
#[test]
fn a_link_is_neither_followed_nor_replaced() {
    let app = app();
    let proxy = keyless(&app);
    let target = proxy.home().write("elsewhere.json", r#"{"api_key": "x"}"#);
    fs::create_dir_all(file(&proxy.home()).parent().expect("it has one")).expect("a folder can be made");
    std::os::unix::fs::symlink(&target, file(&proxy.home())).expect("a link can be made");
    for command in ["login", "logout"] {
        let finished = proxy.run(&[command]);
        fails(&finished, "the credentials file `");
        assert!(finished.stderr.contains("is a symbolic link"), "{finished:?}");
    }
    assert_eq!(fs::read_to_string(target).expect("it is there"), r#"{"api_key": "x"}"#);
    assert_eq!(app.requests().len(), 0);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
    let app = app();
    let proxy = keyless(&app);
    let settings = proxy.home().write(".claude/settings.local.json", "");
    fs::remove_file(&settings).expect("it was there");
    fs::create_dir_all(file(&proxy.home()).parent().expect("it has one")).expect("a folder can be made");
    for pipe in [&settings, &file(&proxy.home())] {
        nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    }
    for command in ["login", "logout"] {
        let finished = proxy.run(&[command]);
        fails(&finished, "the credentials file `");
        assert!(finished.stderr.contains("is no file"), "{finished:?}");
    }
    fails(&proxy.run(&["whoami"]), "there is no API key");
    let client = Proxy::at(&proxy.home()).start();
    for place in [FILE, ".claude/settings.local.json"] {
        let ignored = format!("{place}` is ignored: it is no file");
        client.complains(&ignored);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let app = app();
    app.sign_in_is(Approval::Denied);
    for (mode, is_shared) in [(0o775, true), (0o757, true), (0o755, false)] {
        let proxy = keyless(&app);
        let path = file(&proxy.home());
        let folder = path.parent().expect("it has one");
        fs::create_dir_all(folder).expect("a folder can be made");
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("it is ours");
        let finished = proxy.run(&["login"]);
        let warning = format!("warning: others can write to the folder `{}` (mode {mode:o})", folder.display());
        assert_eq!(finished.stderr.contains(&warning), is_shared, "{finished:?}");
    }
}

#[test]
fn a_login_that_cannot_begin_says_why() {
    let cases = [
        (Answer::Status(500), "the plugged.in App failed (500)"),
        (Answer::Status(429), "the plugged.in App allows no more logins from this address"),
        (Answer::Page, "the plugged.in App sent no codes for a login"),
        (Answer::Instead(json!({})), "the plugged.in App sent no codes for a login"),
        (Answer::Refuse(404, Value::Null), "this plugged.in App is too old for this"),
        (Answer::Elsewhere("https://h.example".to_owned()), "the plugged.in App redirects to `https://h.example"),
    ];
    for (answer, words) in cases {
        let app = app();
        app.answer_at(INITIATE, answer);
        let proxy = keyless(&app);
        fails(&proxy.run(&["login"]), words);
        stores_nothing(&proxy.home());
    }
    let strange = [
        (json!({"verification_url": "javascript:alert(1)"}), "the plugged.in App sent no address to open"),
        (json!({"verification_url": "https://plugged.in@h.example/"}), "the plugged.in App sent no address to open"),
        (json!({"user_code": "\u{1b}[2J"}), "the plugged.in App sent no codes"),
        (json!({"user_code": ""}), "the plugged.in App sent no codes"),
    ];
    for (codes, words) in strange {
        let app = app();
        app.sign_ins_have(codes);
        fails(&keyless(&app).run(&["login"]), words);
    }
    let mut away = app();
    away.go_away();
    fails(&keyless(&away).run(&["login"]), "the plugged.in App cannot be reached");
}

#[test]
fn a_login_that_does_not_succeed_says_why() {
    let at_poll = |answer: Answer| {
        let app = app();
        app.answer_at(POLL, answer);
        app
    };
    let after = |approval: Approval| {
        let app = app();
        app.sign_in_is(approval);
        app
    };
    let short = app();
    short.sign_ins_have(json!({"interval": 1, "expires_in": 2}));
    let failing = at_poll(Answer::Status(503));
    failing.sign_ins_have(json!({"interval": 1, "expires_in": 2}));
    let cases = [
        (after(Approval::Denied), "the login was denied in the browser"),
        (after(Approval::Expired), "nobody approved the login in time;"),
        (short, "nobody approved the login in time;"),
        (failing, "nobody approved the login in time (the plugged.in App failed (503)"),
        (at_poll(Answer::Instead(json!({"status": "approved"}))), "the plugged.in App has handed the key out already"),
        (
            at_poll(Answer::Instead(json!({"status": "approved", "api_key": "short"}))),
            "the plugged.in App sent something that is no API key",
        ),
        (at_poll(Answer::Refuse(404, json!({"error": "Device code not found"}))), "the plugged.in App does not know this login any more"),
        (at_poll(Answer::Refuse(400, json!({"error": "Invalid device code"}))), "the plugged.in App refused the request (400)"),
        (at_poll(Answer::Refuse(403, json!({"error": "Forbidden"}))), "the plugged.in App refused the request (403)"),
    ];
    // Each takes a second or two.
    let begun: Vec<_> = cases.into_iter().map(|(app, words)| (keyless(&app), app, words)).collect();
    let begun: Vec<_> = begun.into_iter().map(|(proxy, app, words)| (proxy.begin(&["login"]), proxy, app, words)).collect();
    for (login, proxy, _app, words) in begun {
        fails(&login.finish(), words);
        stores_nothing(&proxy.home());
    }
}

#[test]
fn an_app_that_is_away_for_a_while_ends_no_login() {
    let mut app = app();
    let login_of = |proxy: &Proxy| proxy.begin(&["login"]);
    let proxy = keyless(&app);
    let login = login_of(&proxy);
    eventually("it has asked", || (app.count(POLLS) >= 1).then_some(()));
    app.go_away();
    app.answer_at(POLL, Answer::Page);
    app.come_back();
    let wait_for_another = |app: &App| {
        let before = app.count(POLLS);
        eventually("it asks again", || (app.count(POLLS) > before).then_some(()));
    };
    wait_for_another(&app);
    app.answer_at(POLL, Answer::Later(1));
    wait_for_another(&app);
    app.sign_in_is(Approval::Approved);
    app.answer_at(POLL, Answer::Normally);
    let finished = login.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(stored(&proxy.home())["api_key"], KEY);
}

#[cfg(unix)]
#[test]
fn an_interrupted_login_stores_nothing() {
    use crate::support::process::signal;
    let app = app();
    let proxy = keyless(&app);
    let login = proxy.begin(&["login"]);
    eventually("it has asked", || (app.count(POLLS) >= 1).then_some(()));
    signal(login.pid(), "-INT");
    let finished = login.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(130), ""), "{finished:?}");
    assert!(finished.stderr.contains("interrupted; nothing was stored"), "{finished:?}");
    stores_nothing(&proxy.home());
}

#[test]
fn a_page_elsewhere_and_a_stronger_key_are_warned_of() {
    let app = app();
    app.sign_ins_have(json!({"interval": 1, "verification_url": "https://h.example/cli?code=1"}));
    app.sign_in_is(Approval::Approved);
    let proxy = keyless(&app).env("PLUGGEDIN_API_KEY", OTHER);
    let finished = proxy.run(&["login"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for words in
        ["warning: the App sends you to another address", "https://h.example/cli?code=1", "as long as `PLUGGEDIN_API_KEY` names another"]
    {
        assert!(finished.stderr.contains(words), "no `{words}`: {}", finished.stderr);
    }
    assert!(!finished.stderr.contains(OTHER), "{}", finished.stderr);
    assert_eq!(stored(&proxy.home())["api_key"], KEY);
}

#[test]
fn a_key_does_not_come_over_plain_http_from_a_public_host() {
    let by_file = Proxy::new();
    by_file.home().write(FILE, r#"{"base_url": "http://plugged.example"}"#);
    for proxy in [Proxy::new().arg("--pluggedin-api-base-url=http://plugged.example"), by_file] {
        let finished = proxy.run(&["login"]);
        assert_eq!(finished.code, Some(64), "{finished:?}");
        assert!(finished.stderr.contains("is plain `http` to a public host"), "{finished:?}");
    }
}

#[test]
fn logout_takes_the_key_out_and_names_those_that_are_left() {
    let app = app();
    app.sign_in_is(Approval::Approved);
    let proxy = keyless(&app);
    proxy.run(&["login"]);
    let finished = proxy.run(&["logout"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    for words in ["logged out", &format!("{}/api-keys", app.url())] {
        assert!(finished.stderr.contains(words), "no `{words}`: {}", finished.stderr);
    }
    assert_eq!(stored(&proxy.home()), json!({"base_url": app.url()}));

    let proxy = proxy.env("PLUGGEDIN_API_KEY", OTHER);
    proxy.home().write(FILE, &json!({"api_key": KEY}).to_string());
    proxy.home().write(".claude/settings.local.json", &json!({"env": {"PLUGGEDIN_API_KEY": OTHER}}).to_string());
    let finished = proxy.run(&["logout"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for place in ["`PLUGGEDIN_API_KEY` still", "`~/.claude/settings.local.json` still"] {
        assert!(finished.stderr.contains(place), "{finished:?}");
    }
    assert!(!file(&proxy.home()).exists());
    let again = proxy.run(&["logout"]);
    assert_eq!(again.code, Some(0));
    assert!(again.stderr.contains("there is no key in"), "{again:?}");
}

#[test]
fn the_page_for_keys_is_below_the_address_of_the_app() {
    let app = app();
    let base = format!("{}/below/this", app.url());
    let of = |home: &Home| Proxy::at(home).env("PLUGGEDIN_API_BASE_URL", &base);
    let proxy = Proxy::new();
    let page = format!("{base}/api-keys");
    let finished = of(&proxy.home()).run(&["whoami"]);
    assert!(finished.stderr.contains(&page), "{finished:?}");
    let mut client = of(&proxy.home()).env("PLUGGEDIN_API_KEY", KEY).start();
    for topic in ["getting_started", "api_key", "troubleshooting"] {
        let help = client.call("pluggedin_setup", json!({"topic": topic})).to_string();
        assert!(help.contains(&page), "{topic}: {help}");
    }
}

#[test]
fn whoami_tells_what_the_app_thinks_of_the_key() {
    let app = App::start(Workspace::of(&[&Server::stdio("alpha", &[]), &Server::stdio("beta", &[])]));
    let of = |proxy: Proxy| {
        let json = proxy.run(&["whoami", "--json"]);
        let shown: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|_| panic!("no JSON: {json:?}"));
        (proxy.run(&["whoami"]), json.code, shown)
    };
    let by_file = Proxy::new();
    by_file.home().write(FILE, &json!({"api_key": KEY, "base_url": app.url()}).to_string());
    let (plain, code, shown) = of(by_file);
    assert_eq!(shown, json!({"key": "pluggedin/credentials.json", "app": app.url(), "accepted": true, "servers": 2, "error": null}));
    assert_eq!((plain.code, code), (Some(0), Some(0)));
    let sentence = format!("the key of `pluggedin/credentials.json` is accepted by {}; its workspace has 2 servers\n", app.url());
    assert_eq!((plain.stdout, plain.stderr.as_str()), (sentence, ""));

    let (plain, code, shown) = of(keyless(&app).env("PLUGGEDIN_API_KEY", OTHER));
    assert_eq!((&shown["key"], &shown["accepted"], &shown["servers"]), (&json!("PLUGGEDIN_API_KEY"), &json!(false), &Value::Null));
    assert_eq!(code, Some(1));
    fails(&plain, &format!("the key of `PLUGGEDIN_API_KEY`, for {}: the plugged.in App refused the API key", app.url()));
    assert!(!format!("{plain:?} {shown}").contains(OTHER));

    let (plain, code, shown) = of(keyless(&app));
    assert_eq!((&shown["key"], &shown["app"], code), (&Value::Null, &json!(app.url()), Some(1)));
    fails(&plain, "there is no API key; hint: run `pluggedin-mcp-proxy login`");

    app.answer(Answer::Status(500));
    let (plain, code, shown) = of(keyless(&app).env("PLUGGEDIN_API_KEY", KEY));
    assert_eq!((&shown["accepted"], code), (&Value::Null, Some(1)), "{shown}");
    fails(&plain, "the key of `PLUGGEDIN_API_KEY`, for ");
}
