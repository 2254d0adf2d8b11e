//! Names: what a client may call, and how the proxy keeps servers apart that chose the same names.

use crate::support::{App, Client, Home, List, Proxy, Server, Workspace, eventually, file_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// The exposed names of everything that a server lists besides the built-in tools.
#[track_caller]
fn names_of(client: &mut Client, known: &str) -> Vec<String> {
    client.find(List::Tools, known);
    let names = client.names(List::Tools);
    names.into_iter().filter(|name| !name.starts_with("pluggedin_")).collect()
}

#[track_caller]
fn check_names(names: &[String], longest: usize) {
    for name in names {
        let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        assert!(allowed && (1..=longest).contains(&name.len()), "{name:?}");
    }
    let different: HashSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "a name stands twice");
}

/// Who answers to each name: the server and its own name for the tool.
#[track_caller]
fn owners(client: &mut Client, names: &[String]) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut owners = BTreeMap::new();
    for name in names {
        let result = client.call(name, json!({}));
        let seen = &result["structuredContent"];
        owners.insert(name.clone(), (text(&seen["server"]), text(&seen["tool"])));
    }
    owners
}

/// The names among these that an echo stands behind.
fn with<'a>(names: &'a [String], part: &'a str) -> Vec<String> {
    names.iter().filter(|name| name.contains(part)).cloned().collect()
}

#[test]
fn a_tool_answers_to_its_exposed_name_its_long_name_and_its_bare_name() {
    let server = Server::stdio("Alpha Beta", &["--tool=with__bars"]);
    let app = App::start(Workspace::of(&[&server]));
    let mut client = Proxy::new().app(&app).start();
    client.find(List::Tools, "alpha-beta__echo");
    let uuid = server.uuid();
    let cases = [
        ("alpha-beta__echo".to_owned(), "echo"),
        (format!("{uuid}__echo"), "echo"),
        ("echo".to_owned(), "echo"),
        ("alpha-beta__with__bars".to_owned(), "with__bars"),
        (format!("{uuid}__with__bars"), "with__bars"),
        ("with__bars".to_owned(), "with__bars"),
    ];
    for (name, tool) in cases {
        let result = client.call(&name, json!({}));
        assert_eq!(result["structuredContent"]["params"]["name"], tool, "{name}");
    }
}

#[test]
fn a_bare_name_that_two_servers_have_is_no_name() {
    let alpha = Server::stdio("alpha", &["--tool=mine"]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Tools, "alpha__echo");
    client.find(List::Tools, "beta__echo");
    let pending = client.send_call("echo", json!({}));
    assert_eq!(client.answer(&pending).code(), -32_602);
    let result = client.call("mine", json!({}));
    assert_eq!(result["structuredContent"]["server"], "alpha");
}

#[test]
fn servers_whose_names_look_the_same_keep_all_their_tools() {
    let one = Server::stdio("My Server", &["--tool=only-one"]);
    let two = Server::stdio("my server!", &["--tool=only-two"]);
    let mut ways = Vec::new();
    for _ in 0..2 {
        let mut client = Proxy::before(&[&one, &two]);
        let names = eventually("both servers are listed", || {
            let mut names = client.names(List::Tools);
            names.retain(|name| name.contains("echo") || name.contains("only"));
            (names.len() == 4).then_some(names)
        });
        check_names(&names, 60);
        let owners = owners(&mut client, &names);
        let answers: HashSet<_> = owners.values().cloned().collect();
        let expected = [("My Server", "echo"), ("My Server", "only-one"), ("my server!", "echo"), ("my server!", "only-two")];
        let expected = expected.map(|(server, tool)| (server.to_owned(), tool.to_owned()));
        assert_eq!(answers, HashSet::from(expected));
        ways.push(owners);
    }
    assert_eq!(ways[0], ways[1], "names differ from one start to the next");
}

#[test]
fn long_names_are_cut_and_stay_apart_and_stay_the_same() {
    let stem = "a_tool_with_a_name_that_goes_on_and_on_and_on_until_nobody_can_follow_it_any_more";
    let flags = ["one", "two", "three"].map(|end| format!("--tool={stem}_{end}"));
    let server = Server::stdio("alpha", &flags.each_ref().map(String::as_str));
    let home = Home::new();
    for (options, longest) in [(vec![], 60), (vec!["--max-tool-name", "46"], 46), (vec!["--max-tool-name", "20"], 20)] {
        let mut ways = Vec::new();
        for _ in 0..2 {
            let mut proxy = Proxy::at(&home).file(&file_of(&[&server]));
            for option in &options {
                proxy = proxy.arg(option);
            }
            let mut client = proxy.start();
            let names = names_of(&mut client, "alpha__echo");
            check_names(&names, longest);
            let long = with(&names, "alpha__a_t");
            assert_eq!(long.len(), 3);
            let owners = owners(&mut client, &long);
            let tools: HashSet<_> = owners.values().map(|(_, tool)| tool.clone()).collect();
            assert_eq!(tools.len(), 3, "{owners:?}");
            // The name that was cut is accepted in full, too.
            let full = client.call(&format!("alpha__{stem}_two"), json!({}));
            assert_eq!(full["structuredContent"]["tool"], format!("{stem}_two"));
            ways.push(owners);
        }
        assert_eq!(ways[0], ways[1], "names differ from one start to the next");
    }
}

#[test]
fn letters_that_clients_refuse_are_replaced_and_the_server_hears_its_own_name() {
    let tools = ["files/read", "files.read", "files read", "caf\u{e9}", "\u{4e2d}\u{6587}", "x:y", "a__b", "plain"];
    let flags = tools.map(|tool| format!("--tool={tool}"));
    let server = Server::stdio("alpha", &flags.each_ref().map(String::as_str));
    let mut client = Proxy::before(&[&server]);
    let names = names_of(&mut client, "alpha__plain");
    check_names(&names, 60);
    let echoes: Vec<String> = {
        let own = ["odd", "slow", "release", "calls", "progress", "add", "process", "fail", "error", "crash", "large", "ask"];
        let own = own.map(|tool| format!("alpha__{tool}"));
        names.iter().filter(|name| !own.contains(name)).cloned().collect()
    };
    let owners = owners(&mut client, &echoes);
    let heard: HashSet<&str> = owners.values().map(|(_, tool)| tool.as_str()).collect();
    for tool in tools {
        assert!(heard.contains(tool), "{tool} cannot be called: {owners:?}");
    }
    assert_eq!(owners["alpha__plain"].1, "plain");
    assert_eq!(owners["alpha__a__b"].1, "a__b");
}

#[test]
fn servers_of_any_name_can_be_called() {
    let long = "a server with a name that goes on and on ".repeat(5);
    let names = ["\u{65e5}\u{672c}\u{8a9e}", "!!!", "__", "-", "a__b", "CON", "\u{1f600}", "x/y:z", " blank ", long.as_str()];
    let servers: Vec<Server> = names.iter().map(|name| Server::stdio(name, &[])).collect();
    let mut client = Proxy::before(&servers.iter().collect::<Vec<_>>());
    let exposed = eventually("all servers are listed", || {
        let names = client.names(List::Tools);
        check_names(&names, 60);
        let mut echoes = names;
        echoes.retain(|name| name.contains("echo"));
        (echoes.len() == servers.len()).then_some(echoes)
    });
    let owners = owners(&mut client, &exposed);
    let servers: HashSet<&str> = owners.values().map(|(server, _)| server.as_str()).collect();
    assert_eq!(servers, HashSet::from(names), "{owners:?}");
}

#[test]
fn tools_that_call_themselves_like_built_in_ones_stay_apart() {
    let server = Server::stdio("alpha", &["--tool=pluggedin_setup"]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--tool-prefix=none").start();
    client.find(List::Tools, "echo");
    let names = client.names(List::Tools);
    check_names(&names, 60);
    let theirs = with(&names, "pluggedin_setup");
    assert_eq!(theirs.len(), 2, "{theirs:?}");
    let owners = owners(&mut client, &theirs);
    assert_eq!(owners["pluggedin_setup"].0, "", "the built-in tool keeps its name");
    assert!(owners.values().any(|(server, _)| server == "alpha"));
}

/// A model takes what is called like a built-in tool for one, whether that is offered or not.
#[test]
fn names_of_built_in_tools_are_reserved() {
    let server = Server::stdio("alpha", &["--tool=pluggedin_setup", "--tool=pluggedin_clipboard_get"]);
    for offer in ["none", "minimal"] {
        let proxy = Proxy::new().file(&file_of(&[&server])).arg("--tool-prefix=none");
        let mut client = proxy.arg(&format!("--builtin-tools={offer}")).start();
        client.find(List::Tools, "echo");
        let names = client.names(List::Tools);
        assert!(!names.iter().any(|name| name == "pluggedin_clipboard_get"), "{names:?}");
        assert_eq!(names.iter().any(|name| name == "pluggedin_setup"), offer == "minimal", "{names:?}");
        assert_eq!(with(&names, "pluggedin_clipboard_get").len(), 1, "the server's own is listed under another name: {names:?}");
    }
}

#[test]
fn without_a_prefix_names_are_bare_and_nothing_is_lost() {
    let alpha = Server::stdio("alpha", &["--tool=mine"]);
    let beta = Server::stdio("beta", &[]);
    let ways: [fn(Proxy) -> Proxy; 2] =
        [|proxy| proxy.arg("--tool-prefix=none"), |proxy| proxy.env("PLUGGEDIN_UUID_TOOL_PREFIXING", "false")];
    for way in ways {
        let mut client = way(Proxy::new().file(&file_of(&[&alpha, &beta]))).start();
        client.find(List::Tools, "mine");
        eventually("both servers are listed", || (with(&client.names(List::Tools), "echo").len() == 2).then_some(()));
        let names = client.names(List::Tools);
        check_names(&names, 60);
        let owners = owners(&mut client, &with(&names, "echo"));
        let servers: HashSet<_> = owners.values().map(|(server, _)| server.as_str()).collect();
        assert_eq!(servers, HashSet::from(["alpha", "beta"]));
        // The long names are accepted all the same.
        let result = client.call("beta__echo", json!({}));
        assert_eq!(result["structuredContent"]["server"], "beta");
    }
}

#[test]
fn a_prefix_can_be_the_uuid() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let mut client = Proxy::new().app(&app).arg("--tool-prefix=uuid").start();
    let exposed = format!("{}__echo", server.uuid());
    client.find(List::Tools, &exposed);
    for name in [exposed.as_str(), "alpha__echo", "echo"] {
        let result = client.call(name, json!({}));
        assert_eq!(result["structuredContent"]["server"], "alpha", "{name}");
    }
}

#[test]
fn prompts_of_the_same_name_all_stay_reachable() {
    let alpha = Server::stdio("alpha", &["--prompt=mine"]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Prompts, "mine");
    let greetings = eventually("both servers are listed", || {
        let names = with(&client.names(List::Prompts), "greet");
        (names.len() == 2).then_some(names)
    });
    let mut servers = HashSet::new();
    for name in greetings {
        let params = json!({"name": name, "arguments": {"who": "you"}});
        let mut result = client.request("prompts/get", params).result();
        let content = result["messages"][0]["content"].take();
        // Each server hears its own name for the prompt.
        assert_eq!(content["x-raw"]["name"], "greet");
        servers.insert(content["text"].as_str().expect("it is text").to_owned());
    }
    assert_eq!(servers, HashSet::from(["alpha".to_owned(), "beta".to_owned()]));
}

#[test]
fn templates_of_the_same_form_all_stay_reachable() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    let templates = eventually("both servers are listed", || {
        let templates = client.names(List::Templates);
        (templates.len() == 2).then_some(templates)
    });
    let mut answers = HashSet::new();
    for template in templates {
        let uri = template.replace("{id}", "7");
        let result = client.request("resources/read", json!({"uri": uri})).result();
        assert_eq!(result["contents"][0]["uri"], uri);
        let text = result["contents"][0]["text"].as_str().expect("it is text");
        answers.insert(text.to_owned());

        let reference = json!({"type": "ref/resource", "uri": template});
        let params = json!({"ref": reference, "argument": {"name": "id", "value": "r"}});
        let completed = client.request("completion/complete", params).result();
        // Each server hears its own name for the template.
        assert_eq!(completed["completion"]["x-for"]["uri"], "scripted://items/{id}");
        assert_eq!(completed["completion"]["values"], json!(["red"]));
    }
    let expected = ["7 of alpha".to_owned(), "7 of beta".to_owned()];
    assert_eq!(answers, HashSet::from(expected));
}

#[test]
fn resources_of_the_same_uri_all_stay_reachable() {
    let alpha = Server::stdio("alpha", &["--resource=scripted://mine"]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Resources, "scripted://mine");
    let uris = eventually("both servers are listed", || {
        let mut uris = client.names(List::Resources);
        uris.retain(|uri| uri != "scripted://mine" && !uri.starts_with("pluggedin://"));
        (uris.len() == 2).then_some(uris)
    });
    assert_ne!(uris[0], uris[1]);
    let mut texts = HashSet::new();
    for uri in uris {
        let result = client.request("resources/read", json!({"uri": uri})).result();
        // The answer is about what was asked for.
        assert_eq!(result["contents"][0]["uri"], uri);
        let text = result["contents"][0]["text"].as_str().expect("it is text");
        texts.insert(text.to_owned());
    }
    let expected = ["resource of alpha".to_owned(), "resource of beta".to_owned()];
    assert_eq!(texts, HashSet::from(expected));
}
