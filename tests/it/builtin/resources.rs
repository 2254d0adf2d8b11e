//! Resources and the prompt that the proxy has itself.

use super::facts::TOOLS;
use crate::support::{App, Client, List, Proxy, Server, Workspace, file_of};
use serde_json::{Value, json};

const PROMPT: &str = "pluggedin_proxy_capabilities";
const SETUP: &str = "pluggedin://setup";
const DOCUMENTS: &str = "pluggedin://documents";
const NOTIFICATIONS: &str = "pluggedin://notifications";
const SERVERS: &str = "pluggedin://mcp-servers";

/// The text of a resource, which must have one block of its own address and the type that the list says.
#[track_caller]
fn read(client: &mut Client, uri: &str) -> String {
    let listed = client.list(List::Resources).into_iter().find(|resource| resource["uri"] == uri);
    let listed = listed.unwrap_or_else(|| panic!("{uri} is not listed"));
    assert!(listed["name"].is_string() && listed["description"].is_string(), "{listed}");
    let result = client.request("resources/read", json!({"uri": uri})).result();
    let contents = result["contents"].as_array().expect("it is one");
    assert_eq!((contents.len(), &contents[0]["uri"]), (1, &json!(uri)), "{result}");
    assert_eq!(contents[0]["mimeType"], listed["mimeType"], "{result}");
    contents[0]["text"].as_str().expect("it is text").to_owned()
}

#[track_caller]
fn own(client: &mut Client) -> Vec<String> {
    let mut uris = client.names(List::Resources);
    uris.retain(|uri| uri.starts_with("pluggedin://"));
    uris.sort();
    uris
}

#[track_caller]
fn prompt(client: &mut Client) -> String {
    let result = client.request("prompts/get", json!({"name": PROMPT})).result();
    let messages = result["messages"].as_array().expect("it is one");
    assert_eq!((messages.len(), &messages[0]["role"]), (1, &json!("user")), "{result}");
    messages[0]["content"]["text"].as_str().expect("it is text").to_owned()
}

/// The built-in tools that a text speaks of.
fn mentioned(text: &str) -> Vec<&'static str> {
    let words: Vec<_> = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_').collect();
    TOOLS.iter().map(|fact| fact.name).filter(|name| words.contains(&&*format!("pluggedin_{name}"))).collect()
}

#[test]
fn resources_of_the_proxy_are_listed_and_read() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Resources, "scripted://greeting");
    assert_eq!(own(&mut client), [DOCUMENTS, SERVERS, NOTIFICATIONS, SETUP]);
    let listed = client.list(List::Resources);
    for resource in listed.iter().filter(|resource| resource["uri"].as_str().is_some_and(|uri| uri.starts_with("pluggedin://"))) {
        let wanted = if resource["uri"] == SETUP { "text/markdown" } else { "application/json" };
        assert_eq!(resource["mimeType"], wanted, "{resource}");
    }
    assert!(read(&mut client, SETUP).contains("PLUGGEDIN_API_KEY"));
    for (uri, words) in [(DOCUMENTS, "document"), (NOTIFICATIONS, "notification")] {
        let text = read(&mut client, uri);
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        assert!(value["message"].is_string(), "{value}");
        let tools: Vec<_> = value["available_tools"].as_array().expect("it is one").iter().map(ToString::to_string).collect();
        assert!(!tools.is_empty() && tools.iter().all(|tool| tool.contains(words)), "{uri}: {value}");
    }
    let servers = read(&mut client, SERVERS);
    let value: Value = serde_json::from_str(&servers).expect("it is JSON");
    assert!(value["message"].is_string() && value["available_tools"].is_array() && servers.contains("alpha"), "{value}");
    // Their records hold secrets, which are nobody's business.
    assert!(!servers.contains("--config") && !servers.contains("\"env\""), "{servers}");
    // Unknown ones are unknown.
    let pending = client.send("resources/read", json!({"uri": "pluggedin://secrets"}));
    assert!([-32_002, -32_602].contains(&client.answer(&pending).code()));
}

/// What cannot work without a key is not offered where it is known that there is none to come.
#[test]
fn resources_follow_the_tools() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::default());
    let with_key = || Proxy::new().app(&app);
    let minimal = [SERVERS, SETUP];
    let all = [DOCUMENTS, SERVERS, NOTIFICATIONS, SETUP];
    let cases: [(&str, Proxy, &[&str], bool); 6] = [
        ("nothing is set up", Proxy::new(), &all, true),
        ("a file alone", Proxy::new().file(&file_of(&[&alpha])), &minimal, true),
        ("all, by flag, of a file", Proxy::new().file(&file_of(&[&alpha])).arg("--builtin-tools=all"), &all, true),
        ("minimal with a key", with_key().arg("--builtin-tools=minimal"), &minimal, true),
        ("none with a key", with_key().arg("--builtin-tools=none"), &[], false),
        ("none of a file", Proxy::new().file(&file_of(&[&alpha])).arg("--builtin-tools=none"), &[], false),
    ];
    for (what, proxy, uris, has_prompt) in cases {
        let mut client = proxy.start();
        assert_eq!(own(&mut client), uris, "{what}");
        for uri in uris {
            read(&mut client, uri);
        }
        for uri in all.iter().filter(|uri| !uris.contains(uri)) {
            let pending = client.send("resources/read", json!({"uri": uri}));
            assert!([-32_002, -32_602].contains(&client.answer(&pending).code()), "{what}: {uri}");
        }
        assert_eq!(client.names(List::Prompts).contains(&PROMPT.to_owned()), has_prompt, "{what}");
        if has_prompt {
            // It speaks of what is there and of nothing else.
            let listed = client.names(List::Tools);
            let text = prompt(&mut client);
            let mentioned = mentioned(&text);
            let unknown: Vec<_> = mentioned.iter().filter(|name| !listed.contains(&format!("pluggedin_{name}"))).collect();
            assert!(unknown.is_empty(), "{what}: {unknown:?}");
            let own = listed.iter().filter(|name| name.starts_with("pluggedin_")).count();
            assert_eq!(mentioned.len(), own, "{what}: {text}");
        } else {
            let pending = client.send("prompts/get", json!({"name": PROMPT}));
            assert_eq!(client.answer(&pending).code(), -32_602, "{what}");
        }
    }
}

#[test]
fn the_prompt_has_no_arguments() {
    let mut client = Proxy::new().start();
    let listed = client.find(List::Prompts, PROMPT);
    assert!(listed["description"].is_string() && listed["arguments"].as_array().is_none_or(Vec::is_empty), "{listed}");
}
