//! Prompts: listed, got, completed; and the instructions of the App's servers, which are prompts as well.

use crate::support::{App, Kind, List, Proxy, Server, Workspace, over_each_wire};
use serde_json::{Value, json};

over_each_wire!(lists_and_gets_prompts_as_the_server_has_them, completes_the_arguments_of_a_prompt,);

fn lists_and_gets_prompts_as_the_server_has_them(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--prompt=second"]);
    let mut client = Proxy::before(&[&server]);
    assert_eq!(
        client.find(List::Prompts, "greet"),
        json!({
            "name": "greet",
            "title": "Greeting",
            "description": "Greets somebody",
            "arguments": [{"name": "who", "description": "Whom", "required": true, "x-hint": 1.0}],
            "x-vendor": {"tone": ["warm", null]},
        }),
    );
    client.find(List::Prompts, "second");
    let params = json!({
        "name": "greet",
        "arguments": {"who": "\u{e9}"},
        "_meta": {"vendor.example/trace": 1.0},
        "x-vendor": null,
    });
    assert_eq!(
        client.request("prompts/get", params.clone()).result(),
        json!({
            "description": "Greets somebody",
            "messages": [{
                "role": "user",
                "content": {"type": "text", "text": "alpha", "x-raw": params},
            }],
            "x-vendor": 1.0,
        }),
    );
}

fn completes_the_arguments_of_a_prompt(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Prompts, "greet");
    let reference = json!({"type": "ref/prompt", "name": "greet"});
    let params = json!({"ref": reference, "argument": {"name": "who", "value": "gr"}});
    assert_eq!(
        client.request("completion/complete", params).result()["completion"],
        json!({"values": ["green", "grey"], "total": 2, "hasMore": false, "x-for": reference}),
    );
}

#[test]
fn a_prompt_that_nobody_has_is_a_mistake_of_the_client() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Prompts, "greet");
    for params in [json!({"name": "nothing"}), json!({"name": 7}), json!({})] {
        let answer = client.request("prompts/get", params.clone());
        assert_eq!(answer.code(), -32_602, "{params}");
    }
    let reference = json!({"type": "ref/prompt", "name": "nothing"});
    let params = json!({"ref": reference, "argument": {"name": "who", "value": ""}});
    assert_eq!(client.request("completion/complete", params).code(), -32_602);
}

#[test]
fn a_server_that_cannot_complete_has_nothing_to_offer() {
    let server = Server::stdio("alpha", &["--without=completions"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Prompts, "greet");
    let reference = json!({"type": "ref/prompt", "name": "greet"});
    let params = json!({"ref": reference, "argument": {"name": "who", "value": "gr"}});
    let result = client.request("completion/complete", params).result();
    assert_eq!(result["completion"]["values"], json!([]));
}

#[test]
fn instructions_in_the_app_are_prompts() {
    let alpha = Server::stdio("alpha", &[]);
    let text = |text: &str| json!({"type": "text", "text": text});
    let message = |words: &str| json!({"role": "user", "content": text(words)});
    // Every shape in which the App may hold instructions, under both of its spellings for their name.
    let cases = [
        ("alpha__system_context", json!(["Be brief."]), vec!["Be brief."]),
        ("pluggedin_instruction_alpha_default", json!(["Be brief.", "Be kind."]), vec!["Be brief.", "Be kind."]),
        (
            "alpha__system_context",
            json!([message("Only read."), {"role": "user", "content": "Never delete."}]),
            vec!["Only read.", "Never delete."],
        ),
        ("alpha__system_context", json!([{"role": "user", "content": [text("One."), text("Two.")]}]), vec!["One.", "Two."]),
    ];
    for (name, instructions, expected) in cases {
        let workspace = Workspace::of(&[&alpha]).with_instructions(&alpha, name, &instructions);
        let app = App::start(workspace);
        let mut client = Proxy::new().app(&app).start();
        client.find(List::Prompts, "greet");
        let own: Vec<String> = client.names(List::Prompts).into_iter().filter(|name| name.contains("alpha")).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        // Both spellings are accepted, whichever is listed.
        for spelling in [own[0].as_str(), "alpha__system_context"] {
            let result = client.request("prompts/get", json!({"name": spelling})).result();
            let said = result["messages"].to_string();
            for words in &expected {
                assert!(said.contains(words), "{spelling}: {said}");
            }
            let messages = result["messages"].as_array().expect("it is one");
            assert!(messages.iter().all(is_user_message), "{said}");
        }
    }
}

#[test]
fn instructions_of_the_system_are_said_to_be_so() {
    let alpha = Server::stdio("alpha", &[]);
    let instructions = json!([{"role": "system", "content": "Read-only."}]);
    let workspace = Workspace::of(&[&alpha]).with_instructions(&alpha, "alpha__system_context", &instructions);
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    let listed = client.find(List::Prompts, "alpha__system_context");
    assert_eq!(listed["description"], "House rules");
    let params = json!({"name": "alpha__system_context"});
    let result = client.request("prompts/get", params).result();
    assert!(is_user_message(&result["messages"][0]), "{result}");
    let said = result["messages"][0]["content"]["text"].as_str();
    assert!(said.is_some_and(|said| said.contains("Read-only.")), "{result}");
}

#[test]
fn instructions_go_with_the_tools_of_their_server() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let instructions = json!(["Never on a Sunday."]);
    let workspace = Workspace::of(&[&alpha, &beta]).with_instructions(&alpha, "alpha__system_context", &instructions);
    let app = App::start(workspace);
    let mut client = Proxy::new().app(&app).start();
    let meta = client.find(List::Tools, "alpha__odd")["_meta"].take();
    let meta = meta.as_object().expect("it is one");
    assert_eq!(meta["vendor.example/version"], 1, "what the server put there stays");
    let (key, text) = meta.iter().find(|(key, _)| *key != "vendor.example/version").expect("something was added");
    assert!(key.contains('/'), "{key} is not namespaced");
    assert!(text.to_string().contains("Never on a Sunday."), "{text}");
    assert_eq!(client.find(List::Tools, "beta__odd")["_meta"], json!({"vendor.example/version": 1}));
}

fn is_user_message(message: &Value) -> bool {
    message["role"] == "user" && message["content"]["type"] == "text"
}
