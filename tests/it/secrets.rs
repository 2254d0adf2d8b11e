//! Secrets: whatever happens, none is in the log, in what is shown to people, or in errors that the proxy makes.
//!
//! Every secret is a canary. What servers, children and the App do with the canaries they are given is the worst that
//! they could: they repeat them in plain, percent-encoded, as JSON and in base64.

#![cfg(unix)]

use crate::support::client::List;
use crate::support::http::{Session, call, message};
use crate::support::{App, Front, Home, KEY, Proxy, Server, Workspace, eventually, file_of, lock};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

// Letters around the middle part change with each encoding; the middle part does not, but in base64.
const TOKEN: &str = "Hq7\"z\\canaryOfTheToken+/9=";
const HEADER: &str = "Kp2&z<canaryOfTheHeader>+/3=";
const ENV: &str = "Vw5\"z\\canaryOfTheVariable+/1=";
const QUERY: &str = "canaryOfTheQuery";
const USER: &str = "canaryOfTheUser";
const PASSWORD: &str = "canaryOfThePassword";
const LINE: &str = "Y2FuYXJ5T2ZUaGVQZW1GaWxlYW5kbW9yZWFuZG1vcmU";

/// What must be seen nowhere: the part of a canary that stays the same, and the whole in base64.
fn forbidden() -> Vec<String> {
    let cores = ["canaryOfTheToken", "canaryOfTheHeader", "canaryOfTheVariable", QUERY, USER, PASSWORD, LINE, &KEY[8..40]];
    let whole = [TOKEN, HEADER, ENV, QUERY, PASSWORD, KEY];
    let coded =
        whole.iter().flat_map(|secret| [STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret)]).map(|coded| coded[..20].to_owned());
    cores.iter().map(|core| (*core).to_owned()).chain(coded).collect()
}

#[track_caller]
fn holds_no_secret(what: &str, text: &str) {
    for secret in forbidden() {
        if let Some(at) = text.find(&secret) {
            let start: String = text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
            panic!("{secret} is in {what}, after: …{start}");
        }
    }
}

/// Ways to write a secret.
fn forms(secret: &str) -> String {
    let percent = |upper: bool| {
        let mut text = String::new();
        for byte in secret.bytes() {
            let written = match (byte.is_ascii_alphanumeric(), upper) {
                (true, _) => write!(text, "{}", char::from(byte)),
                (false, true) => write!(text, "%{byte:02X}"),
                (false, false) => write!(text, "%{byte:02x}"),
            };
            written.expect("a text takes everything");
        }
        text
    };
    let json = json!(secret);
    let twice = json!(json.to_string());
    let all = [
        secret.to_owned(),
        percent(true),
        percent(false),
        json.to_string(),
        twice.to_string(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    all.join(" ")
}

/// An HTTP server that repeats what it was sent, in every way to fail.
#[derive(Debug, Clone)]
struct Echoing {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Echoing {
    const WAYS: [&'static str; 8] = ["401", "403", "404", "500", "rpc", "moved", "text", "torn"];

    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let echoing = Self { address, heads: Arc::default() };
        let served = echoing.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let served = served.clone();
                std::thread::spawn(move || served.serve(&connection));
            }
        });
        echoing
    }

    fn url(&self, way: &str) -> String {
        format!("http://{}/{way}?token={QUERY}", self.address)
    }

    /// Answers one request and closes the connection.
    fn serve(&self, mut connection: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection.try_clone().ok()?);
        let mut head = String::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if line.trim_end().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let field =
            |name: &str| head.lines().find_map(|line| line.to_lowercase().starts_with(name).then(|| line[name.len()..].trim().to_owned()));
        let length = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        lock(&self.heads).push(head.clone());
        let bearer = field("authorization:").unwrap_or_default();
        let secret = bearer.strip_prefix("Bearer ").unwrap_or(&bearer);
        let text = format!("who is {} {}? I was sent\n{head}", forms(secret), forms(&field("x-secret:").unwrap_or_default()));
        let way = head.split(['/', '?']).nth(1).unwrap_or_default();
        let answer = match way {
            "rpc" => {
                let id = serde_json::from_slice::<Value>(&body).unwrap_or_default()["id"].take();
                let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32_001, "message": text, "data": {"sent": head}}});
                plain("200 OK", "application/json", "", &error.to_string())
            }
            "moved" => plain(
                "302 Found",
                "text/plain",
                &format!("Location: http://127.0.0.1:9/?token={QUERY}&bearer={}\r\n", URL_SAFE_NO_PAD.encode(secret)),
                "",
            ),
            "401" => plain(
                "401 Unauthorized",
                "text/plain",
                &format!("WWW-Authenticate: Bearer realm=\"{QUERY}\", error_description=\"{secret}\"\r\n"),
                &text,
            ),
            "403" => plain("403 Forbidden", "application/json", "", &json!({"error": text}).to_string()),
            "404" => plain("404 Not Found", "text/html", "", &text),
            "500" => plain("500 Internal Server Error", "text/html", "", &text),
            "torn" => plain("200 OK", "application/json", "", &json!({"x": text}).to_string())[..300].to_owned(),
            _ => plain("200 OK", "text/plain", "", &text),
        };
        connection.write_all(answer.as_bytes()).ok()
    }

    fn was_sent(&self, way: &str, secret: &str) -> bool {
        lock(&self.heads).iter().any(|head| head.split(['/', '?']).nth(1) == Some(way) && head.contains(secret))
    }
}

fn plain(status: &str, kind: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

/// A program that tells everything it knows on stderr, and ends.
fn talkative(home: &Home, name: &str) -> Value {
    let script = format!(
        "env >&2\n\
         printf '%s\\n' 'I was told {}' \"$TOKEN\" \"token=$TOKEN&x\" \"{{\\\"apiKey\\\": \\\"$TOKEN\\\"}}\" >&2\n\
         printf 'in base64: %s\\n' \"$(printf %s \"$TOKEN\" | base64)\" >&2\n\
         printf '%s\\n' \"$PEM\" >&2\n\
         echo 'last words of {name}' >&2\n\
         exit 3\n",
        forms(KEY),
    );
    let script = home.write(&format!("{name}.sh"), &script);
    json!({"command": "/bin/sh", "args": [script], "env": {"TOKEN": ENV, "PEM": pem()}})
}

fn pem() -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{LINE}\n{LINE}\n-----END PRIVATE KEY-----\n")
}

/// A proxy with canaries in every place, before servers that repeat them, one that works, and an App.
struct Scene {
    app: App,
    echoing: Echoing,
    working: [Server; 2],
    proxy: Proxy,
}

impl Scene {
    fn new(options: &[&str]) -> Self {
        let home = Home::new();
        let echoing = Echoing::start();
        let working = [
            Server::http("remote", &[&format!("--require-header=authorization: Bearer {TOKEN}")]),
            Server::stdio("local", &["--chatter=2000"]),
        ];
        let headers = json!({"Authorization": format!("Bearer {TOKEN}"), "X-Secret": HEADER});

        let mut workspace = Workspace::of(&[&working[0]]);
        workspace.servers[0]["streamableHTTPOptions"] = json!({"headers": headers});
        for (n, way) in Echoing::WAYS.iter().enumerate() {
            let mut record = Server::stdio(&format!("app-{way}"), &[]).record();
            record["type"] = json!(if n % 2 == 0 { "STREAMABLE_HTTP" } else { "SSE" });
            record["url"] = json!(echoing.url(way));
            record["command"] = Value::Null;
            record["args"] = Value::Null;
            record["streamableHTTPOptions"] = json!({"headers": headers});
            workspace.servers.push(record);
        }
        let mut person = Server::stdio("app-person", &[]).record();
        person["type"] = json!("STREAMABLE_HTTP");
        person["command"] = Value::Null;
        person["args"] = Value::Null;
        person["url"] = json!(format!("http://{USER}:{PASSWORD}@{}/mcp?token={QUERY}", echoing.address));
        let mut program = Server::stdio("app-program", &[]).record();
        program["command"] = json!(format!("/bin/sh -c {PASSWORD}"));
        program["args"] = json!(["--password", PASSWORD]);
        program["env"] = json!({"TOKEN": ENV, "LD_PRELOAD": ENV, "A-B": ENV});
        let mut code = Server::stdio("app-code", &[]).record();
        code["command"] = json!("node");
        code["args"] = json!(["-e", PASSWORD]);
        workspace.servers.extend([person, program, code]);
        let app = App::start(workspace);

        let mut file = file_of(&[&working[1]]);
        file["mcpServers"]["local"]["env"] = json!({"TOKEN": ENV});
        file["mcpServers"]["talkative"] = talkative(&home, "talkative");
        for way in Echoing::WAYS {
            file["mcpServers"][format!("file-{way}")] = json!({"url": echoing.url(way), "headers": headers});
        }
        file["mcpServers"]["file-person"] = json!({"url": format!("https://{USER}:{PASSWORD}@example.com/?token={QUERY}")});
        file["mcpServers"]["file-header"] = json!({"url": echoing.url("text"), "headers": {"X-Bad": format!("{HEADER}\r\nX: {TOKEN}")}});
        file["mcpServers"]["file-scheme"] = json!({"url": format!("ftp://{USER}:{PASSWORD}@example.com/{QUERY}")});
        file["mcpServers"]["file-nonsense"] = json!({"url": format!("http://[{PASSWORD}/?{QUERY}")});
        file["mcpServers"]["file-missing"] = json!({"command": "/no/such/program", "args": [PASSWORD], "env": {"TOKEN": ENV}});
        let proxy = Proxy::at(&home).app(&app).file(&file);
        let proxy = options.iter().fold(proxy, |proxy, option| proxy.arg(option));
        Self { app, echoing, working, proxy }
    }

    /// The canaries were where they could have been repeated.
    #[track_caller]
    fn has_sent_everything(&self) {
        for way in Echoing::WAYS {
            eventually(&format!("{way} was sent the secrets"), || self.echoing.was_sent(way, "canaryOfTheToken").then_some(()));
            assert!(self.echoing.was_sent(way, "canaryOfTheHeader"));
            assert!(self.echoing.was_sent(way, QUERY));
        }
        assert!(self.app.requests().iter().any(|request| request.authorization.contains(KEY)));
    }
}

/// Everything that a client of a proxy over HTTP can be told.
#[track_caller]
fn told(front: &Front, session: &mut Session) -> String {
    let mut told = String::new();
    for tool in ["pluggedin_discover_tools", "pluggedin_setup"] {
        told.push_str(&session.call(tool, json!({})).to_string());
    }
    for list in List::ALL {
        told.push_str(&front.post(&message(1, list.method(), json!({}))).send().body);
    }
    for name in ["app", "file"].iter().flat_map(|source| Echoing::WAYS.map(|way| format!("{source}-{way}__echo"))) {
        told.push_str(&front.post(&call(1, &name, json!({"token": "x"}))).send().body);
    }
    for name in ["app-person", "app-program", "app-code", "talkative", "file-person", "file-header", "file-scheme", "file-missing"] {
        told.push_str(&front.post(&call(1, &format!("{name}__echo"), json!({}))).send().body);
    }
    for path in ["/health", "/ready", "/metrics", "/.well-known/mcp.json", "/.well-known/mcp-config", &format!("/{QUERY}?{PASSWORD}")] {
        told.push_str(&front.request("GET", path).send().body);
    }
    told.push_str(&front.request("GET", "/metrics").header("Accept", "application/openmetrics-text").send().body);
    told
}

fn runs_without_a_leak(options: &[&str]) -> String {
    let scene = Scene::new(options);
    let mut front = scene.proxy.clone().serve();
    let mut session = front.session();
    for server in &scene.working {
        session.find(List::Tools, &server.tool("echo"));
        session.call(&server.tool("echo"), json!({}));
        let failed = session.call(&server.tool("crash"), json!({}));
        holds_no_secret("the result of a crash", &failed.to_string());
    }
    scene.has_sent_everything();
    eventually("the talkative one has spoken", || front.stderr().contains("last words of talkative").then_some(()));
    holds_no_secret("what a client is told", &told(&front, &mut session));
    front.signal("-TERM");
    let stderr = front.ends().stderr;
    holds_no_secret("the log", &stderr);
    stderr
}

#[test]
fn nothing_leaks_at_the_usual_level() {
    let stderr = runs_without_a_leak(&["--log-level=info,pluggedin_mcp_proxy=debug"]);
    assert!(stderr.contains("app-person"), "the server is named: {stderr}");
}

#[test]
fn nothing_leaks_into_a_trace() {
    runs_without_a_leak(&["--log-level=trace"]);
}

#[test]
fn nothing_leaks_into_json() {
    let stderr = runs_without_a_leak(&["--log-level=trace", "--log-format=json"]);
    for line in stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        holds_no_secret("a line of the log", &entry.to_string());
    }
}

#[test]
fn nothing_leaks_to_who_looks_at_the_servers() {
    let scene = Scene::new(&[]);
    for command in [
        &["tools"][..],
        &["tools", "--json"],
        &["tools", "--log-level=trace"],
        &["call", "app-rpc__echo", "{}"],
        &["call", "pluggedin_discover_tools"],
    ] {
        let finished = scene.proxy.run(command);
        holds_no_secret(&format!("the output of {command:?}"), &finished.stdout);
        holds_no_secret(&format!("the log of {command:?}"), &finished.stderr);
        if command[0] == "tools" {
            assert!(finished.stdout.contains("app-401") && finished.stdout.contains("file-rpc"), "{finished:?}");
        }
    }
    scene.has_sent_everything();
}

// The App.

#[test]
fn an_app_that_repeats_the_key_is_not_repeated() {
    for way in Echoing::WAYS {
        let echoing = Echoing::start();
        let url = format!("http://{}/{way}", echoing.address);
        let proxy =
            Proxy::new().env("PLUGGEDIN_API_KEY", KEY).env("PLUGGEDIN_API_BASE_URL", &url).arg("--log-level=trace").arg("--list-wait=0.3");
        let mut client = proxy.start();
        eventually("the App was asked", || echoing.was_sent(way, KEY).then_some(()));
        // Its failure is known by the time that somebody is told of it.
        eventually("it is told", || {
            let told =
                client.call("pluggedin_setup", json!({})).to_string() + &client.call("pluggedin_discover_tools", json!({})).to_string();
            holds_no_secret(way, &told);
            ["problem", "refused"].iter().any(|word| told.contains(word)).then_some(())
        });
        holds_no_secret(way, &client.finish().stderr);
    }
}

#[test]
fn addresses_of_the_app_with_a_password_are_refused_without_it() {
    for url in [
        format!("https://{USER}:{PASSWORD}@plugged.example/"),
        format!("https://{PASSWORD}@plugged.example/"),
        format!("ftp://{USER}:{PASSWORD}@plugged.example/"),
        format!("https://[{PASSWORD}/"),
    ] {
        let as_option = Proxy::new().env("PLUGGEDIN_API_KEY", KEY).arg(&format!("--pluggedin-api-base-url={url}"));
        let as_variable = Proxy::new().env("PLUGGEDIN_API_KEY", KEY).env("PLUGGEDIN_API_BASE_URL", &url);
        for proxy in [as_option, as_variable] {
            let finished = proxy.arg("--log-level=trace").run(&[]);
            assert_eq!(finished.code, Some(64), "{finished:?}");
            holds_no_secret("the log", &finished.stderr);
        }
    }
}

#[test]
fn a_key_that_is_no_key_is_not_repeated() {
    for key in [format!("{TOKEN}\u{7f}"), format!("pg_in_{PASSWORD} {PASSWORD}"), format!("Bearer {TOKEN}")] {
        let finished = Proxy::new().env("PLUGGEDIN_API_KEY", &key).arg("--log-level=trace").run(&[]);
        holds_no_secret("the log", &finished.stderr);
    }
}

// Clients.

#[test]
fn keys_of_clients_are_not_logged() {
    let app = App::start(Workspace::default());
    let mut front = Proxy::new().app(&app).arg("--require-api-auth").arg("--log-level=trace").serve();
    let wrong = format!("pg_in_{}", PASSWORD.repeat(3));
    for value in [format!("Bearer {wrong}"), format!("Basic {}", STANDARD.encode(PASSWORD)), format!("Bearer {KEY}"), wrong.clone()] {
        let reply = front
            .post(&call(1, "pluggedin_setup", json!({"token": PASSWORD})))
            .header("Authorization", &value)
            .header("Cookie", PASSWORD)
            .send();
        holds_no_secret("an answer", &format!("{reply:?}"));
    }
    front.post(&message(1, "ping", json!({}))).at(&format!("/mcp?key={PASSWORD}")).header("X-Api-Key", PASSWORD).send();
    front.post(&Value::Null).body(format!("{{\"token\": \"{PASSWORD}\"")).send();
    front.signal("-TERM");
    holds_no_secret("the log", &front.ends().stderr);
}

// What children write.

/// Characters that move the cursor, change colours, or make a terminal or a viewer see other lines than there are.
fn is_deceptive(letter: char) -> bool {
    let bidi = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    let line = matches!(letter, '\u{2028}' | '\u{2029}');
    (letter.is_control() && letter != '\n') || bidi || line
}

/// What a child writes, as `printf` takes it, and words that stay.
const DECEPTIONS: [(&str, &str); 14] = [
    ("colour \\033[31mred\\033[0m", "colour"),
    ("title \\033]0;evil\\007", "title"),
    ("clear \\033[2J\\033[H", "clear"),
    ("csi \\302\\2332J", "csi"),
    ("over\\rFORGED one", "FORGED one"),
    ("tabulator\\vFORGED two", "FORGED two"),
    ("page\\fFORGED three", "FORGED three"),
    ("next\\302\\205FORGED four", "FORGED four"),
    ("separator\\342\\200\\250FORGED five", "FORGED five"),
    ("paragraph\\342\\200\\251FORGED six", "FORGED six"),
    ("bidi \\342\\200\\256live\\342\\200\\254", "bidi"),
    ("isolate \\342\\201\\246live\\342\\201\\251", "isolate"),
    ("nothing \\000 here", "nothing"),
    ("bytes \\377\\376 rubout \\177\\010 bell \\007", "rubout"),
];

#[test]
fn what_children_write_cannot_forge_the_log() {
    for format in ["text", "json"] {
        let home = Home::new();
        let lines = DECEPTIONS.iter().map(|(text, _)| format!("printf '{text}\\n' >&2\n"));
        let script = home.write("rude.sh", &(lines.collect::<String>() + "printf 'last words' >&2\nexit 3\n"));
        let file = json!({"mcpServers": {"rude\u{1b}[31m\u{202e}": {"command": "/bin/sh", "args": [script]}}});
        let client = Proxy::at(&home).file(&file).arg("--log-level=debug").arg(&format!("--log-format={format}")).start();
        client.complains("last words");
        let stderr = client.finish().stderr;
        for (_, words) in DECEPTIONS {
            let line = stderr.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("`{words}` is lost: {stderr}"));
            assert!(!line.starts_with("FORGED"), "{line:?}");
        }
        let found = stderr.chars().find(|letter| is_deceptive(*letter));
        assert_eq!(found, None, "{format}: {stderr:?}");
        if format == "json" {
            for line in stderr.lines() {
                assert!(serde_json::from_str::<Value>(line).is_ok_and(|entry| entry.is_object()), "{line}");
            }
        }
    }
}

/// Names and messages that come from elsewhere are data as well.
#[test]
fn what_servers_say_cannot_forge_the_log() {
    let words = "first\r\nFORGED second\u{2028}third\u{202e}\u{1b}[2J\u{85}";
    let home = Home::new();
    let error = json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32_000, "message": words}});
    let script = format!(
        "while read -r line; do id=${{line#*\\\"id\\\":}}; id=${{id%%[,\\}}]*}}; printf '%s\\n' '{error}' | sed \"s/\\\"id\\\":0/\\\"id\\\":$id/\"; done\n"
    );
    let script = home.write("rude.sh", &script);
    let mut record = Server::http("rude", &[]).record();
    record["name"] = json!(words);
    let app = App::start(Workspace { servers: vec![record], ..Workspace::default() });
    let file = json!({"mcpServers": {"rude": {"command": "/bin/sh", "args": [script]}, words: {"url": words}}});
    let mut client = Proxy::at(&home).app(&app).file(&file).arg("--log-level=trace").start();
    client.call("pluggedin_discover_tools", json!({}));
    client.complains("rude");
    let stderr = client.finish().stderr;
    assert!(!stderr.lines().any(|line| line.starts_with("FORGED")), "{stderr}");
    assert_eq!(stderr.chars().find(|letter| is_deceptive(*letter)), None, "{stderr:?}");

    for command in [&["tools"][..], &["call", "pluggedin_discover_tools"]] {
        let finished = Proxy::at(&home).app(&app).file(&file).run(command);
        let found = finished.stdout.chars().find(|letter| is_deceptive(*letter));
        assert_eq!(found, None, "{command:?}: {:?}", finished.stdout);
    }
}
