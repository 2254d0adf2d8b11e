//! Who may do what with `--require-api-auth`: everybody may look around, and the rest needs the key.

use crate::support::client::List;
use crate::support::http::{Change, Front, REVISION, Reply, Request, call, initialize, keys, message, notification};
use crate::support::{App, Home, KEY, Kind, Proxy, Server, Workspace, eventually};
use serde_json::{Value, json};

/// A name that nobody may see without the key.
const SECRET: &str = "grenoble";

/// A key that nobody accepts.
const WRONG: &str = "pg_in_WrongWrongWrongWrongWrongWrongWrongWrongWrongWrongWrongWrong";

struct Guarded {
    front: Front,
    app: App,
    server: Server,
}

impl Guarded {
    fn with(flags: &[&str]) -> Self {
        let server = Server::http(SECRET, &[]);
        let app = App::start(Workspace::of(&[&server]).with_tools(&server, &["echo"]));
        let proxy = flags.iter().fold(Proxy::new().app(&app).arg("--require-api-auth"), |proxy, flag| proxy.arg(flag));
        let front = proxy.serve();
        eventually("the server is listed", || {
            let tools = front.post(&message(1, "tools/list", json!({}))).key(KEY).send().result();
            keys(&tools, List::Tools).contains(&"grenoble__echo".to_owned()).then_some(())
        });
        Self { front, app, server }
    }

    fn start() -> Self {
        Self::with(&[])
    }

    /// How many calls have reached the server.
    fn calls(&self) -> usize {
        self.server.running().seen().iter().filter(|seen| seen.method.as_deref() == Some("tools/call")).count()
    }
}

fn echo() -> Value {
    call(1, "grenoble__echo", json!({"text": "x"}))
}

fn public() -> Vec<Value> {
    let mut messages = vec![initialize(REVISION, json!({})), message(1, "ping", json!({}))];
    messages.extend(List::ALL.map(|list| message(1, list.method(), json!({}))));
    messages
}

fn private() -> Vec<Value> {
    vec![
        echo(),
        call(1, "pluggedin_setup", json!({})),
        call(1, "no_such_tool", json!({})),
        message(1, "prompts/get", json!({"name": "greet"})),
        message(1, "resources/read", json!({"uri": "scripted://greeting"})),
        message(1, "resources/subscribe", json!({"uri": "scripted://greeting"})),
        message(
            1,
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "who", "value": "x"}}),
        ),
        message(1, "logging/setLevel", json!({"level": "debug"})),
        message(1, "no/such", json!({})),
        message(1, "TOOLS/LIST", json!({})),
        message(1, "tools/list ", json!({})),
        message(1, "tools/list/../call", json!({})),
    ]
}

#[track_caller]
fn is_unauthorized(reply: &Reply) {
    reply.is(401);
    let challenge = reply.header("www-authenticate").expect("401 says what is wanted");
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    says_nothing(reply);
}

/// Asserts that the name of the server is nowhere in a response.
#[track_caller]
fn says_nothing(reply: &Reply) {
    assert!(!format!("{reply:?}").to_lowercase().contains(SECRET), "{reply:?}");
}

// Bodies.

#[test]
fn large_bodies_need_the_key_before_they_are_read() {
    let guarded = Guarded::start();
    let ping = |bytes: usize| guarded.front.post(&message(1, "ping", json!({"x": "x".repeat(bytes)})));
    assert_eq!(ping(60 << 10).send().status, 200);
    assert_eq!(ping(70 << 10).key(KEY).send().status, 200);
    let refused = ping(70 << 10).send();
    refused.is(413);
    assert!(refused.body.contains("65536 bytes without an API key"), "{refused:?}");
    // None of it has to come for that, and nobody is invited to send it.
    let announced = |request: Request, more: &str| {
        let mut head = request.head();
        head.extend_from_slice(format!("{more}\r\n").as_bytes());
        let mut connection = request.connect();
        connection.write(&head);
        connection.reply()
    };
    announced(ping(0), "Content-Length: 70000\r\n").is(413);
    announced(ping(0), "Content-Length: 70000\r\nExpect: 100-continue\r\n").is(413);
    is_unauthorized(&announced(ping(0).key(WRONG), "Content-Length: 70000\r\n"));
    is_unauthorized(&announced(ping(0).key(WRONG), "Transfer-Encoding: chunked\r\n"));
    // Nor is a length believed that nobody names.
    let mut chunked = ping(0).head();
    chunked.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    chunked.extend_from_slice(format!("{:x}\r\n{}\r\n", 70_000, " ".repeat(70_000)).as_bytes());
    let mut connection = ping(0).connect();
    let _ = connection.offer(&chunked);
    connection.reply().is(413);
    assert_eq!(guarded.calls(), 0);
}

// Methods and keys.

#[test]
fn everybody_may_look_around() {
    for flags in [&[][..], &["--stateless"]] {
        let guarded = Guarded::with(flags);
        for message in public() {
            let reply = guarded.front.post(&message).send();
            says_nothing(&reply);
            let result = reply.result();
            if message["method"] == "tools/list" {
                let names = keys(&result, List::Tools);
                assert!(names.iter().any(|name| name == "pluggedin_setup"), "{names:?}");
                assert!(names.iter().all(|name| name.starts_with("pluggedin_")), "{names:?}");
            }
        }
        let reply = guarded.front.post(&notification("notifications/initialized", json!({}))).send();
        assert!(matches!(reply.status, 202 | 400), "{reply:?}");
        for path in ["/", "/health", "/ready", "/metrics", "/.well-known/mcp.json", "/.well-known/mcp-config", "/no/such"] {
            // From this machine alone more can be seen.
            says_nothing(&guarded.front.request("GET", path).header("X-Forwarded-For", "203.0.113.7").send());
        }
        assert_eq!(guarded.calls(), 0);
    }
}

#[test]
fn a_modern_client_without_a_key_may_look_around() {
    let guarded = Guarded::start();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let ask = |method: &str, params: Value, name: Option<&str>| {
        let mut params = params;
        params["_meta"] = meta.clone();
        let request = guarded.front.post(&message(1, method, params)).revision("2026-07-28").header("Mcp-Method", method);
        let request = name.iter().fold(request, |request, name| request.header("Mcp-Name", name));
        request.send()
    };
    for method in ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        let reply = ask(method, json!({}), None);
        says_nothing(&reply);
        reply.result();
    }
    is_unauthorized(&ask("tools/call", json!({"name": "grenoble__echo"}), Some("grenoble__echo")));
    is_unauthorized(&ask("prompts/get", json!({"name": "greet"}), Some("greet")));
    is_unauthorized(&ask("no/such", json!({}), None));
    // What the headers say does not matter.
    let mut message = message(1, "tools/call", json!({"name": "grenoble__echo"}));
    message["params"]["_meta"] = meta;
    let reply = guarded.front.post(&message).revision("2026-07-28").header("Mcp-Method", "tools/list").send();
    assert!(matches!(reply.status, 400 | 401), "{reply:?}");
    assert_eq!(guarded.calls(), 0);
}

#[test]
fn everything_else_needs_the_key() {
    for flags in [&[][..], &["--stateless"]] {
        let guarded = Guarded::with(flags);
        let anonymous = guarded.front.post(&initialize(REVISION, json!({}))).send();
        let session = anonymous.header("mcp-session-id").map(str::to_owned);
        for message in private() {
            is_unauthorized(&guarded.front.post(&message).send());
            let request = guarded.front.post(&message).revision(REVISION);
            let request = session.iter().fold(request, |request, id| request.in_session(id));
            is_unauthorized(&request.send());
        }
        assert_eq!(guarded.calls(), 0);
        let reply = guarded.front.post(&echo()).key(KEY).send();
        assert_eq!(reply.result()["structuredContent"]["server"], SECRET);
    }
}

fn bearer(request: Request, value: &str) -> Request {
    request.header("Authorization", value.replace("KEY", KEY))
}

#[test]
fn right_keys_are_known_however_they_are_written() {
    let guarded = Guarded::start();
    let right: [(&str, Change); 6] = [
        ("plain", |request| bearer(request, "Bearer KEY")),
        ("lower case", |request| bearer(request, "bearer KEY")),
        ("upper case", |request| bearer(request, "BEARER KEY")),
        ("more blanks between", |request| bearer(request, "Bearer   KEY")),
        ("blanks around", |request| bearer(request, "   Bearer KEY  \t")),
        ("another case of the name", |request| request.without("authorization").and("aUTHORIZATION", format!("Bearer {KEY}"))),
    ];
    for (what, with) in right {
        let reply = with(guarded.front.post(&echo())).send();
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
    }
    assert_eq!(guarded.calls(), right.len());
}

#[test]
fn wrong_keys_are_refused_however_they_are_written() {
    let guarded = Guarded::start();
    let wrong: [(&str, Change); 20] = [
        ("another key", |request| bearer(request, &format!("Bearer {WRONG}"))),
        ("the scheme alone", |request| bearer(request, "Bearer")),
        ("the scheme and a blank", |request| bearer(request, "Bearer ")),
        ("nothing", |request| bearer(request, "")),
        ("no scheme", |request| bearer(request, "KEY")),
        ("another scheme", |request| bearer(request, "Basic KEY")),
        ("the key as a name and password", |request| bearer(request, "Basic Og==")),
        ("a longer scheme", |request| bearer(request, "Bearers KEY")),
        ("no blank", |request| bearer(request, "BearerKEY")),
        ("a colon", |request| bearer(request, "Bearer: KEY")),
        ("something behind it", |request| bearer(request, "Bearer KEY x")),
        ("a comma behind it", |request| bearer(request, "Bearer KEY,")),
        ("twice in one line", |request| bearer(request, "Bearer KEY, Bearer KEY")),
        ("in quotes", |request| bearer(request, "Bearer \"KEY\"")),
        ("one letter more", |request| bearer(request, "Bearer KEYx")),
        ("one letter less", |request| bearer(request, &format!("Bearer {}", &KEY[..KEY.len() - 1]))),
        ("other letters", |request| bearer(request, &format!("Bearer {}", KEY.to_lowercase()))),
        ("a right one and a wrong one", |request| request.key(KEY).and("Authorization", format!("Bearer {WRONG}"))),
        ("a wrong one and a right one", |request| request.key(WRONG).and("Authorization", format!("Bearer {KEY}"))),
        ("another header", |request| request.header("X-Api-Key", KEY).header("Cookie", format!("key={KEY}"))),
    ];
    for (what, with) in wrong {
        let reply = with(guarded.front.post(&echo())).send();
        // Too many of them are refused in another way.
        assert!(matches!(reply.status, 400 | 401 | 429), "{what}: {reply:?}");
        reply.error();
        says_nothing(&reply);
    }
    assert_eq!(guarded.calls(), 0);
    assert!(!guarded.front.stderr().contains(WRONG), "a wrong key may be somebody's right one");
}

#[test]
fn any_bytes_may_stand_where_a_key_belongs() {
    let guarded = Guarded::start();
    let mut connection = guarded.front.post(&echo()).connect();
    for byte in 0x80..=0xff_u8 {
        for length in [1, KEY.len()] {
            let mut value = b"Bearer ".to_vec();
            value.extend(std::iter::repeat_n(byte, length));
            let reply = connection.exchange(&guarded.front.post(&echo()).header("Authorization", value));
            assert!(matches!(reply.status, 400 | 401 | 429), "{byte:x}: {reply:?}");
            reply.error();
        }
    }
    assert_eq!(guarded.front.post(&echo()).key(KEY).send().status, 200);
}

#[test]
fn a_key_in_the_address_counts_for_nothing() {
    let guarded = Guarded::start();
    for name in ["api_key", "key", "access_token", "token", "Authorization"] {
        let reply = guarded.front.post(&echo()).at(&format!("/mcp?{name}={KEY}")).send();
        is_unauthorized(&reply);
    }
}

// Ways around.

#[test]
fn a_batch_hides_nothing() {
    for flags in [&[][..], &["--stateless"]] {
        let guarded = Guarded::with(flags);
        let batches = [
            json!([echo()]),
            json!([message(2, "ping", json!({})), echo()]),
            json!([echo(), message(2, "tools/list", json!({}))]),
            json!([notification("notifications/initialized", json!({})), echo()]),
            json!([[echo()]]),
            json!([{"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "grenoble__echo"}}]),
        ];
        for batch in batches {
            let reply = guarded.front.post(&batch).send();
            says_nothing(&reply);
            assert!(matches!(reply.status, 200 | 202 | 400 | 401), "{reply:?}");
            assert!(!reply.body.contains("structuredContent"), "{reply:?}");
        }
        // What is public may be asked for in a batch, too.
        let reply = guarded.front.post(&json!([message(2, "tools/list", json!({}))])).send();
        says_nothing(&reply);
        assert_eq!(guarded.calls(), 0);
    }
}

#[test]
fn doubled_members_hide_nothing() {
    let guarded = Guarded::start();
    let bodies = [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"grenoble__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{"name":"grenoble__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","\u006dethod":"ping","params":{"name":"grenoble__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"tools/call","params":{"name":"grenoble__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools\u002fcall","params":{"name":"grenoble__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"ping","method":"tools/call","params":{"name":"grenoble__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{},"params":{"name":"grenoble__echo"}}"#,
    ];
    for body in bodies {
        let reply = guarded.front.post(&Value::Null).body(body).send();
        says_nothing(&reply);
        assert!(!reply.body.contains("structuredContent"), "{body}: {reply:?}");
    }
    assert_eq!(guarded.calls(), 0);
}

#[test]
fn no_path_leads_around_the_key() {
    let guarded = Guarded::start();
    let host = guarded.front.address;
    let whole = format!("http://{host}/mcp");
    let targets = [
        "/",
        "/mcp",
        "/mcp/",
        "/MCP",
        "//mcp",
        "//",
        "/mcp//",
        "/./mcp",
        "/x/../mcp",
        "/%6dcp",
        "/mcp%2f",
        "/mcp;x",
        "/mcp?x=/health",
        "/mcp/health",
        "/health",
        "/ready",
        "/metrics",
        "/health/../mcp",
        "/.well-known/mcp.json",
        "/.well-known/mcp-config",
        "/message",
        "/sse",
        "*",
        &whole,
    ];
    for target in targets {
        for method in ["POST", "PUT", "PATCH"] {
            let reply = guarded.front.post(&echo()).at(target).by(method);
            let reply = if method == "POST" { reply } else { reply.header("Content-Length", echo().to_string().len().to_string()) };
            let reply = reply.header("X-HTTP-Method-Override", "POST").header("X-Original-URL", "/mcp").send();
            assert!((400..500).contains(&reply.status), "{method} {target}: {reply:?}");
            says_nothing(&reply);
        }
    }
    assert_eq!(guarded.calls(), 0);
}

#[test]
fn a_client_on_this_machine_is_no_exception() {
    let guarded = Guarded::start();
    let headers =
        [("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("Origin", "http://localhost")];
    for (name, value) in headers {
        is_unauthorized(&guarded.front.post(&echo()).header(name, value).send());
    }
}

// Sessions.

#[test]
fn a_session_is_useless_without_its_key() {
    let guarded = Guarded::start();
    let mut session = guarded.front.session_with(KEY);
    session.find(List::Tools, "grenoble__echo");
    let changes: [(&str, Change); 2] = [("no key", |request| request.without("Authorization")), ("another", |request| request.key(WRONG))];
    for (what, change) in changes {
        let thief = session.with(change);
        for message in public().into_iter().chain(private()) {
            let reply = thief.post(&message).send();
            says_nothing(&reply);
            assert_ne!(reply.header("mcp-session-id"), Some(session.id.as_str()), "{what}: {message}");
            if private().contains(&message) {
                assert!(matches!(reply.status, 401 | 404 | 429), "{what}: {message}: {reply:?}");
            }
        }
        for request in [thief.listening(), thief.listening().header("Last-Event-ID", "1"), thief.ending()] {
            let reply = request.send();
            assert!(matches!(reply.status, 401 | 404 | 429), "{what}: {reply:?}");
            reply.error();
        }
        let reply = thief.notify("notifications/cancelled", json!({"requestId": 1}));
        assert!(matches!(reply.status, 401 | 404 | 429), "{what}: {reply:?}");
    }
    assert_eq!(guarded.calls(), 0);
    assert_eq!(session.call("grenoble__echo", json!({}))["structuredContent"]["server"], SECRET);
}

#[test]
fn nothing_private_is_heard_without_a_key() {
    let guarded = Guarded::with(&["--refresh-interval=0.5"]);
    let anonymous = guarded.front.session();
    let mut session = guarded.front.session_with(KEY);
    session.find(List::Tools, "grenoble__echo");
    anonymous.post(&message(1, "tools/list", json!({}))).send().result();
    let mut stream = session.listen();
    let overheard = anonymous.listening().open();
    let other = Server::new(Kind::Http, "toulouse", &[]);
    guarded.app.switch_to(Workspace::of(&[&guarded.server, &other]).with_tools(&other, &["echo"]));
    stream.hear(&List::Tools.changed());
    if overheard.status == 200 {
        let mut overheard = overheard;
        overheard.is_silent(std::time::Duration::from_millis(300));
    } else {
        assert_eq!(overheard.status, 401);
    }
}

// Guessing.

#[test]
fn nobody_without_the_key_displaces_who_has_it() {
    // The key's owner has one already, of the list that was asked for without a handshake.
    let guarded = Guarded::with(&["--max-sessions=3"]);
    let front = &guarded.front;
    let mut owner = front.session_with(KEY);
    let anonymous: Vec<_> = (0..5).map(|_| front.session()).collect();
    assert!(owner.is_alive());
    // A stream keeps a session busy, which is no way to hold a place against the key's owner.
    let stream = anonymous.last().expect("there are five").listen();
    let mut second = front.session_with(KEY);
    assert!(owner.is_alive() && second.is_alive());
    let third = front.session_with(KEY);
    drop(stream);
    // Now all are the owner's.
    for _ in 0..3 {
        front.post(&initialize(REVISION, json!({}))).send().is(503);
    }
    for mut session in [second, third] {
        assert_eq!(session.call("grenoble__echo", json!({}))["structuredContent"]["server"], SECRET);
    }
}

#[test]
fn guessing_is_slowed_down_and_nobody_else() {
    let guarded = Guarded::start();
    let mut session = guarded.front.session_with(KEY);
    let guess = |number: usize| guarded.front.post(&echo()).key(&format!("{WRONG}{number}")).send();
    let mut guesses = 0;
    let slowed = eventually("guesses are slowed down", || {
        guesses += 1;
        let reply = guess(guesses);
        assert!(matches!(reply.status, 401 | 429), "{reply:?}");
        (reply.status == 429).then_some(reply)
    });
    assert!((3..=100).contains(&guesses), "after {guesses} guesses");
    let seconds: u32 = slowed.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("429 says when");
    assert!((1..=3600).contains(&seconds), "{seconds}");
    slowed.error();

    // Who has the key is served as ever, from the same address, and so is who has none.
    assert_eq!(session.call("grenoble__echo", json!({}))["structuredContent"]["server"], SECRET);
    assert_eq!(guarded.front.session_with(KEY).call("grenoble__echo", json!({}))["structuredContent"]["server"], SECRET);
    guarded.front.post(&message(1, "tools/list", json!({}))).send().result();
    is_unauthorized(&guarded.front.post(&echo()).send());
    // And a right key does not make the next guesses any cheaper.
    assert_eq!(guess(0).status, 429);
    assert!(!guarded.front.stderr().contains(WRONG));
}

#[test]
fn who_has_no_key_is_not_guessing() {
    let guarded = Guarded::start();
    let request = guarded.front.post(&echo());
    let mut connection = request.connect();
    for _ in 0..200 {
        is_unauthorized(&connection.exchange(&request));
    }
}

// Starting.

#[test]
fn a_guard_without_a_key_does_not_start() {
    let finished = Proxy::at(&Home::new()).arg("--transport=streamable-http").arg("--port=0").arg("--require-api-auth").run(&[]);
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    assert!(finished.stderr.contains("key"), "{finished:?}");
}

#[test]
fn who_serves_everybody_is_warned() {
    let app = App::start(Workspace::default());
    let open = Proxy::new().app(&app).arg("--host=0.0.0.0").serve();
    open.complains("--require-api-auth");
    let guarded = Proxy::new().app(&app).arg("--host=0.0.0.0").arg("--require-api-auth").serve();
    let quiet = Proxy::new().app(&app).serve();
    for front in [guarded, quiet] {
        front.session_with(KEY);
        assert!(!front.stderr().contains("--require-api-auth"), "{}", front.stderr());
    }
}
