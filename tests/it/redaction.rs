//! What servers say comes into logs and errors without secrets, and on one line.

use crate::support::proxy::Finished;
use crate::support::{Client, Proxy, Server, file_of};
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
