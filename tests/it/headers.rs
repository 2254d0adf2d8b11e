//! Headers that are configured for servers: harmless ones are sent as they are, others are refused by name, and the
//! other servers do not notice.

use crate::support::{App, Kind, List, Proxy, Server, Workspace, file_of};
use serde_json::{Value, json};

/// One name and value, and the rule that refuses it.
fn refused() -> [(&'static str, String, &'static str); 7] {
    [
        ("Host", "evil.example".to_owned(), "header-reserved"),
        ("X-Forwarded-For", "127.0.0.1".to_owned(), "header-reserved"),
        ("Mcp-Session-Id", "stolen-s3ssion".to_owned(), "header-reserved"),
        ("Cookie", "a=b-s3cr3t".to_owned(), "header-reserved"),
        ("X-Key", "k3y\r\nX-Other: 1".to_owned(), "header-value"),
        ("X-Blank Key", "s3cr3t".to_owned(), "header-name"),
        ("X-Key", "k".repeat(8 * 1024 + 1), "header-size"),
    ]
}

#[track_caller]
fn is_refused(proxy: Proxy, name: &str, value: &str, rule: &str) {
    let mut client = proxy.start();
    client.find(List::Tools, "good__echo");
    assert_eq!(client.call("good__echo", json!({}))["structuredContent"]["server"], "good");
    let told = client.call_until("it is told", "pluggedin_discover_tools", &json!({}), |told| told.to_string().contains(rule));
    let told = told["content"][0]["text"].as_str().expect("it is text").to_lowercase();
    // What is no name is shown as far as it could be one.
    let shown = name.split(' ').next().unwrap_or_default().to_lowercase();
    assert!(told.contains(&format!("`{shown}`")) && told.contains("hint: "), "{told}");
    let stderr = client.finish().stderr;
    for said in [told, stderr] {
        assert!(!said.contains(value), "{name}: {said}");
    }
}

#[test]
fn dangerous_headers_are_refused_whoever_configures_them() {
    for (name, value, rule) in refused() {
        let (good, bad) = (Server::http("good", &[]), Server::sse("bad", &[]));
        let mut file = file_of(&[&good, &bad]);
        file["mcpServers"]["bad"]["headers"] = json!({ name: value });
        is_refused(Proxy::new().file(&file), name, &value, rule);
        assert_eq!(bad.running().seen().len(), 0, "{name}: it was asked nevertheless");

        let (good, bad) = (Server::http("good", &[]), Server::http("bad", &[]));
        let mut workspace = Workspace::of(&[&good, &bad]);
        workspace.servers[1]["streamableHTTPOptions"] = json!({"headers": { name: value }});
        is_refused(Proxy::new().app(&App::start(workspace)), name, &value, rule);
        assert_eq!(bad.running().seen().len(), 0, "{name}: it was asked nevertheless");
    }
}

#[test]
fn two_spellings_of_one_header_are_refused() {
    let (good, bad) = (Server::http("good", &[]), Server::http("bad", &[]));
    let mut workspace = Workspace::of(&[&good, &bad]);
    workspace.servers[1]["streamableHTTPOptions"] =
        json!({"headers": {"Authorization": "Bearer 0ne-t0ken", "authorization": "Bearer tw0"}});
    is_refused(Proxy::new().app(&App::start(workspace)), "authorization", "Bearer 0ne-t0ken", "header-name");
}

#[test]
fn headers_of_the_file_reach_both_kinds_of_http_server() {
    for kind in [Kind::Http, Kind::Sse] {
        let server = Server::new(kind, "alpha", &["--require-header=x-tenant: a\tb; \"1\""]);
        let mut file: Value = file_of(&[&server]);
        file["mcpServers"]["alpha"]["headers"] = json!({"X-Tenant": "a\tb; \"1\"", "User-Agent": "mine/1"});
        let mut client = Proxy::new().file(&file).start();
        client.find(List::Tools, "alpha__echo");
        let requests = server.running().seen();
        assert!(requests.iter().all(|request| request.headers.get("user-agent").map(String::as_str) == Some("mine/1")), "{requests:?}");
    }
}
