//! What servers say comes into logs and errors without secrets, and on one line.

use crate::support::http::message;
use crate::support::proxy::Finished;
use crate::support::{App, Client, KEY, List, Proxy, Server, Workspace, file_of};
use serde_json::{Value, json};

const TOKEN: &str = "s3cr3t/of \"alpha\"";

/// A server that says all it knows, and a client that has asked about it.
fn indiscreet(text: &str, format: &str) -> (Value, Finished) {
    let alpha = Server::stdio("alpha", &[&format!("--refuse={text}")]);
    let mut file = file_of(&[&alpha]);
    file["mcpServers"]["alpha"]["env"] = json!({"TOKEN": TOKEN, "NOTE": "plain words", "CLEAR": "\u{1b}[2J"});
    let mut client: Client = Proxy::new().file(&file).arg("--log-level=trace").arg(&format!("--log-format={format}")).start();
    let told = client.call_until("it is told", "pluggedin_discover_tools", &json!({}), |told| told.to_string().contains("refused"));
    (told, client.finish())
}

#[test]
fn a_server_that_says_its_secrets_is_not_quoted() {
    let text = "cannot log in with {TOKEN}\n2026-01-01T00:00:00Z ERROR forged: {NOTE}{CLEAR}\u{202e} Authorization: Bearer 0ther.t0ken";
    for format in ["text", "json"] {
        let (told, finished) = indiscreet(text, format);
        let told = told["content"][0]["text"].as_str().expect("it is text").to_owned();
        assert!(told.contains("cannot log in with [redacted]"), "{told}");
        for said in [told.as_str(), finished.stderr.as_str()] {
            for gone in ["s3cr3t", "0ther.t0ken", "\u{1b}", "\u{202e}"] {
                assert!(!said.contains(gone), "{gone:?}, {format}: {said}");
            }
        }
        assert!(finished.stderr.contains("cannot log in with [redacted]"), "{}", finished.stderr);
        for line in finished.stderr.lines().filter(|line| line.contains("forged")) {
            let ours = if format == "json" { line.starts_with('{') } else { line.contains("pluggedin_mcp_proxy") };
            assert!(ours, "somebody else's line: {line}");
            assert!(format == "text" || serde_json::from_str::<Value>(line).is_ok(), "no JSON: {line}");
        }
    }
}

#[test]
fn a_private_key_on_stderr_is_not_logged() {
    let text =
        "loading\n-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQ==\n-----END PRIVATE KEY-----\nloaded";
    let (told, finished) = indiscreet(text, "text");
    for said in [told.to_string(), finished.stderr] {
        assert!(!said.contains("MIIE") && !said.contains("BKcw"), "{said}");
        assert!(said.contains("loaded"), "{said}");
    }
}

/// Names and descriptions are the words of others, and terminals obey.
#[test]
fn tables_show_words_and_nothing_else() {
    let says = format!("has {TOKEN} \u{1b}]0;title\u{7}\u{9b}2J\u{202e}and more");
    let alpha = Server::http("alpha", &[&format!("--describe=echo={says}")]);
    let mut server = file_of(&[&alpha])["mcpServers"]["alpha"].take();
    server["headers"] = json!({"X-Token": TOKEN});
    let name = "alpha\u{1b}[8m\n## forged";
    let proxy = Proxy::new().file(&json!({"mcpServers": {name: server}}));
    for command in [&["tools"][..], &["tools", "--json"], &["call", "pluggedin_discover_tools"], &["call", "pluggedin_setup"]] {
        let Finished { stdout, stderr, .. } = proxy.run(command);
        assert!(!stdout.contains("s3cr3t") && !stderr.contains("s3cr3t"), "{command:?}: {stdout}{stderr}");
        assert!(!stdout.lines().any(|line| line.starts_with("## forged")), "{command:?}: {stdout}");
        let acts = |letter: char| letter == '\u{202e}' || (letter.is_control() && letter != '\n');
        assert_eq!(stdout.chars().chain(stderr.chars()).find(|letter| acts(*letter)), None, "{command:?}: {stdout:?}");
        assert!(command[0] == "call" && command[1] == "pluggedin_setup" || stdout.contains("has [redacted]"), "{command:?}: {stdout}");
        if command.contains(&"--json") {
            assert!(serde_json::from_str::<Value>(&stdout).is_ok(), "{stdout}");
        }
    }
}

/// An option's value in another option's place is a slip, not a reason to show it.
#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    for words in
        [&[KEY][..], &["--log-level", KEY], &["--port", KEY], &["tools", KEY], &["--connect", KEY], &["check", "url", "--source", KEY]]
    {
        let finished = Proxy::new().run(words);
        let said = finished.stdout + &finished.stderr;
        assert!(!said.contains(&KEY[8..40]), "{words:?}: {said}");
    }
}

/// Whoever looks for a fault of the wire has the libraries tell everything.
#[test]
fn libraries_tell_no_secrets() {
    let bearer = "Bearer 0pen-s3same-0f-alpha";
    let alpha = Server::http("alpha", &[&format!("--require-header=authorization: {bearer}")]);
    let mut workspace = Workspace::of(&[&alpha]);
    workspace.servers[0]["streamableHTTPOptions"] = json!({"headers": {"Authorization": bearer}});
    let app = App::start(workspace);
    let mut front = Proxy::new().app(&app).arg("--log-level=trace,hyper=trace").serve();
    let mut session = front.session();
    session.find(List::Tools, &alpha.tool("echo"));
    session.call(&alpha.tool("echo"), json!({}));
    front.post(&message(1, "ping", json!({}))).header("Authorization", format!("Bearer {KEY}")).header("Cookie", "id=cl1ents-own").send();
    front.signal("-TERM");
    let log = front.ends().stderr;
    assert!(log.contains("hyper"), "{log}");
    for secret in [&KEY[8..40], "s3same", "cl1ents-own"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
