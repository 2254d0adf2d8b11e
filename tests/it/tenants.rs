//! `--auth per-client`: each client brings its own key and sees its own workspace, and nothing of anybody else's.

use crate::support::client::List;
use crate::support::http::{Front, REVISION, Reply, call, initialize, keys, message};
use crate::support::{Answer, App, KEY, Kind, Proxy, Server, Workspace, eventually, stays};
use serde_json::{Value, json};
use std::thread::scope;
use std::time::Duration;

/// The key of somebody else.
const OTHER: &str = "pg_in_OtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOtherOther";

/// A key that the App knows nothing of.
const UNKNOWN: &str = "pg_in_NobodyNobodyNobodyNobodyNobodyNobodyNobodyNobodyNobody";

struct Shared {
    front: Front,
    app: App,
    servers: [Server; 2],
}

impl Shared {
    fn with(flags: &[&str]) -> Self {
        let servers = [Server::http("grenoble", &[]), Server::http("toulouse", &[])];
        let app = App::start(Workspace::of(&[&servers[0]]));
        app.switch(OTHER, Workspace::of(&[&servers[1]]));
        let front = serve(&app, flags);
        Self { front, app, servers }
    }

    fn start() -> Self {
        Self::with(&[])
    }
}

fn serve(app: &App, flags: &[&str]) -> Front {
    let proxy = Proxy::new()
        .allowing_scripted_servers()
        .env("PLUGGEDIN_API_BASE_URL", &app.url())
        .env("PLUGGEDIN_RATE_LIMIT_TOOLS", "0")
        .arg("--auth=per-client")
        .arg("--refresh-interval=0.5");
    flags.iter().fold(proxy, |proxy, flag| proxy.arg(flag)).serve()
}

impl Drop for Shared {
    fn drop(&mut self) {
        let stderr = self.front.stderr();
        if !std::thread::panicking() {
            assert!(!stderr.contains(OTHER) && !stderr.contains(UNKNOWN), "a key is on stderr");
        }
    }
}

#[test]
fn large_bodies_are_for_those_whose_key_the_app_knows() {
    let shared = Shared::start();
    let ping = message(1, "ping", json!({"x": "x".repeat(100_000)}));
    let post = |key: &str| shared.front.post(&ping).key(key).send();
    shared.front.post(&ping).send().is(413);
    post(UNKNOWN).is(401);
    // Their first message, too.
    assert_eq!((post(KEY).status, post(OTHER).status, post(KEY).status), (200, 200, 200));
}

#[track_caller]
fn says_nothing_of(reply: &Reply, name: &str) {
    assert!(!format!("{reply:?}").contains(name), "{reply:?}");
}

#[track_caller]
fn names(front: &Front, key: &str) -> Vec<String> {
    let reply = front.post(&message(1, "tools/list", json!({}))).key(key).send();
    keys(&reply.result(), List::Tools)
}

#[test]
fn each_key_has_its_own_workspace() {
    for flags in [&[][..], &["--stateless"]] {
        let shared = Shared::with(flags);
        for (key, mine, other) in [(KEY, "grenoble", "toulouse"), (OTHER, "toulouse", "grenoble")] {
            let ask = |message: &Value| shared.front.post(message).key(key).send();
            eventually("the own server is listed", || names(&shared.front, key).contains(&format!("{mine}__echo")).then_some(()));
            for list in List::ALL {
                let reply = ask(&message(1, list.method(), json!({})));
                says_nothing_of(&reply, other);
            }
            let reply = ask(&initialize(REVISION, json!({})));
            says_nothing_of(&reply, other);
            assert_eq!(ask(&call(1, &format!("{mine}__echo"), json!({}))).result()["structuredContent"]["server"], mine);
            for tool in [format!("{other}__echo"), format!("{}__echo", shared.servers[usize::from(key == KEY)].uuid())] {
                let reply = ask(&call(1, &tool, json!({})));
                assert!(!reply.body.contains("structuredContent"), "{reply:?}");
            }
            let setup = ask(&call(1, "pluggedin_discover_tools", json!({})));
            says_nothing_of(&setup, other);
        }
    }
}

#[test]
fn sessions_are_of_no_use_to_another_key() {
    let shared = Shared::start();
    let mut mine = shared.front.session_with(KEY);
    mine.find(List::Tools, "grenoble__echo");
    shared.front.session_with(OTHER).find(List::Tools, "toulouse__echo");
    let slow = mine.start_slow("grenoble", "mine");
    let thief = mine.with(|request| request.key(OTHER));
    for message in [message(1, "ping", json!({})), message(1, "tools/list", json!({})), call(1, "grenoble__echo", json!({}))] {
        let reply = thief.post(&message).send();
        reply.is(404);
        says_nothing_of(&reply, "grenoble");
    }
    thief.listening().send().is(404);
    thief.listening().header("Last-Event-ID", "1").send().is(404);
    thief.ending().send().is(404);
    thief.notify("notifications/cancelled", json!({"requestId": 1})).is(404);
    for nobody in [mine.with(|request| request.without("Authorization")), mine.with(|request| request.key(UNKNOWN))] {
        for request in [nobody.post(&call(1, "grenoble__echo", json!({}))), nobody.listening(), nobody.ending()] {
            let reply = request.send();
            assert!(matches!(reply.status, 401 | 404), "{reply:?}");
            reply.error();
        }
    }
    mine.release("grenoble", "mine");
    assert_eq!(slow.reply().result()["content"][0]["text"], "finished");
}

#[test]
fn changes_are_told_to_their_owners_only() {
    let shared = Shared::start();
    let mut mine = shared.front.session_with(KEY);
    let mut others = shared.front.session_with(OTHER);
    mine.find(List::Tools, "grenoble__echo");
    others.find(List::Tools, "toulouse__echo");
    let mut stream = mine.listen();
    let mut silent = others.listen();
    let more = Server::new(Kind::Http, "lille", &[]);
    shared.app.switch(KEY, Workspace::of(&[&shared.servers[0], &more]));
    stream.hear(&List::Tools.changed());
    mine.find(List::Tools, "lille__echo");
    silent.is_silent(Duration::from_millis(300));
    assert!(!others.names(List::Tools).contains(&"lille__echo".to_owned()));
}

#[test]
fn many_clients_of_two_keys_get_their_own_answers() {
    let shared = Shared::start();
    for (key, server) in [(KEY, "grenoble"), (OTHER, "toulouse")] {
        shared.front.session_with(key).find(List::Tools, &format!("{server}__echo"));
    }
    scope(|threads| {
        for client in 0..40 {
            let front = &shared.front;
            threads.spawn(move || {
                let (key, server) = if client % 2 == 0 { (KEY, "grenoble") } else { (OTHER, "toulouse") };
                let mut session = front.session_with(key);
                for round in 0..5 {
                    let result = session.call(&format!("{server}__echo"), json!({"text": format!("{client} {round}")}));
                    assert_eq!(result["structuredContent"]["server"], server);
                    assert_eq!(result["structuredContent"]["params"]["arguments"]["text"], format!("{client} {round}"));
                }
            });
        }
    });
    // Each key is used for its own alone.
    let seen: std::collections::HashSet<_> = shared.app.requests().into_iter().map(|request| request.authorization).collect();
    assert_eq!(seen, [KEY, OTHER].map(|key| format!("Bearer {key}")).into());
}

#[test]
fn a_key_that_the_app_refuses_is_refused() {
    for flags in [&[][..], &["--stateless"]] {
        let shared = Shared::with(flags);
        for message in [initialize(REVISION, json!({})), message(1, "tools/list", json!({})), call(1, "grenoble__echo", json!({}))] {
            let reply = shared.front.post(&message).key(UNKNOWN).send();
            reply.is(401);
            assert!(reply.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")), "{reply:?}");
            says_nothing_of(&reply, "grenoble");
        }
        for value in ["Bearer", "Bearer ", "Basic x", "Bearer \u{e9}", "Bearer x y", "Bearer ../../etc/passwd", "Bearer x\tHost: evil"] {
            let reply = shared.front.post(&call(1, "grenoble__echo", json!({}))).header("Authorization", value).send();
            assert!(matches!(reply.status, 400 | 401 | 429), "{value}: {reply:?}");
            reply.error();
        }
    }
}

#[test]
fn guesses_do_not_reach_the_app_for_long() {
    let shared = Shared::start();
    let guess = |number: usize| shared.front.post(&message(1, "tools/list", json!({}))).key(&format!("{UNKNOWN}{number}")).send();
    let mut guesses = 0;
    let slowed = eventually("guesses are slowed down", || {
        guesses += 1;
        let reply = guess(guesses);
        assert!(matches!(reply.status, 401 | 429), "{reply:?}");
        (reply.status == 429).then_some(reply)
    });
    assert!(guesses <= 100, "{guesses}");
    assert!(slowed.header("retry-after").is_some(), "{slowed:?}");
    guess(999).is(429);
    let asked_about = |number: usize| {
        let credentials = format!("Bearer {UNKNOWN}{number}");
        shared.app.requests().iter().filter(|request| request.authorization == credentials).count()
    };
    assert_eq!(asked_about(999), 0, "the App is asked about a guess that is refused anyway");
    // Who is refused is forgotten, and not asked about again and again.
    let before = asked_about(1);
    assert!(before > 0);
    stays("nobody asks about a key that was refused", || asked_about(1) == before);
}

#[test]
fn who_has_no_key_sees_what_everybody_may_see() {
    let shared = Shared::start();
    shared.front.session_with(KEY).find(List::Tools, "grenoble__echo");
    for message in std::iter::once(initialize(REVISION, json!({}))).chain(List::ALL.map(|list| message(1, list.method(), json!({})))) {
        let reply = shared.front.post(&message).send();
        says_nothing_of(&reply, "grenoble");
        let result = reply.result();
        if message["method"] == "tools/list" {
            let names = keys(&result, List::Tools);
            assert!(!names.is_empty() && names.iter().all(|name| name.starts_with("pluggedin_")), "{names:?}");
        }
    }
    for message in
        [call(1, "grenoble__echo", json!({})), call(1, "pluggedin_setup", json!({})), message(1, "prompts/get", json!({"name": "greet"}))]
    {
        let reply = shared.front.post(&message).send();
        reply.is(401);
        says_nothing_of(&reply, "grenoble");
    }
}

#[test]
fn while_the_app_is_away_nobody_new_is_let_in() {
    let shared = Shared::start();
    let mut known = shared.front.session_with(OTHER);
    known.find(List::Tools, "toulouse__echo");
    shared.app.answer(Answer::Status(500));
    let reply = shared.front.post(&message(1, "tools/list", json!({}))).key(KEY).send();
    reply.is(503);
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    // Who is known already goes on with what it has.
    assert_eq!(known.call("toulouse__echo", json!({}))["structuredContent"]["server"], "toulouse");
    shared.app.answer(Answer::Normally);
    eventually("the App is asked again", || {
        (shared.front.post(&message(1, "tools/list", json!({}))).key(KEY).send().status == 200).then_some(())
    });
}

#[test]
fn a_key_that_is_taken_back_is_worth_nothing() {
    let shared = Shared::start();
    let mut mine = shared.front.session_with(KEY);
    mine.find(List::Tools, "grenoble__echo");
    shared.app.revoke(KEY);
    eventually("it is refused", || {
        let reply = shared.front.post(&call(1, "grenoble__echo", json!({}))).key(KEY).send();
        (reply.status == 401).then_some(())
    });
    assert_ne!(mine.ask_call("grenoble__echo", json!({})).send().status, 200);
}

#[test]
fn servers_of_others_are_started_here_only_where_that_is_wanted() {
    let local = Server::stdio("local", &[]);
    let remote = Server::http("remote", &[]);
    let app = App::start(Workspace::of(&[&local, &remote]));
    let wary = serve(&app, &[]);
    eventually("the remote one is listed", || names(&wary, KEY).contains(&"remote__echo".to_owned()).then_some(()));
    assert!(!names(&wary, KEY).contains(&"local__echo".to_owned()));
    let reply = wary.post(&call(1, "local__echo", json!({}))).key(KEY).send();
    assert!(!reply.body.contains("structuredContent"), "{reply:?}");

    let trusting = serve(&app, &["--stdio-servers=on"]);
    eventually("both are listed", || names(&trusting, KEY).contains(&"local__echo".to_owned()).then_some(()));
    let reply = trusting.post(&call(1, "local__echo", json!({}))).key(KEY).send();
    assert_eq!(reply.result()["structuredContent"]["server"], "local");
}

#[test]
fn two_keys_with_the_same_server_have_a_connection_each() {
    let server = Server::http("both", &[]);
    let app = App::start(Workspace::of(&[&server]));
    app.switch(OTHER, Workspace::of(&[&server]));
    let front = serve(&app, &[]);
    for key in [KEY, OTHER] {
        front.session_with(key).find(List::Tools, "both__echo");
    }
    assert_eq!(server.running().sessions(), 2);
}
