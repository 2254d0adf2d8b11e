//! What the proxy knows nothing of passes through it: methods, capabilities and tasks of servers.

use crate::support::modern::{CAPABILITIES, SUBSCRIPTION, ask, call, modern};
use crate::support::{Client, List, Proxy, Server, eventually, file_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn before(servers: &[&Server]) -> Client {
    let mut client = Proxy::before(servers);
    for server in servers {
        client.find(List::Tools, &server.tool("echo"));
    }
    client
}

#[test]
fn a_method_goes_to_the_server_that_has_declared_it() {
    let (alpha, beta) = (Server::stdio("alpha", &["--declare=maps"]), Server::http("beta", &["--declare=skills", "--declare=tasks"]));
    let gamma = Server::stdio("gamma", &[]);
    let mut client = before(&[&alpha, &beta, &gamma]);
    for (method, server) in [("maps/find", "alpha"), ("skills/list", "beta")] {
        let params = r#"{"b":1.0,"a":[9007199254740993],"_meta":{"x":null}}"#;
        let result = client.request(method, serde_json::from_str(params).expect("JSON")).result();
        assert_eq!((&result["server"], &result["method"]), (&json!(server), &json!(method)), "{result}");
        assert_eq!(result["params"].to_string(), params);
    }
    // Nobody has declared it, and there are several who might have it.
    for method in ["vendor/x", "toolbox"] {
        assert_eq!(client.request(method, json!({})).code(), -32_601, "{method}");
    }
    let task = client.request("tasks/get", json!({"taskId": "file:beta/7/8"})).result();
    assert_eq!(task["params"]["taskId"], "7/8", "the server's own name of it");
    for unknown in ["7", "file:alpha", "file:delta/7", ""] {
        assert_eq!(client.request("tasks/get", json!({"taskId": unknown})).code(), -32_602, "{unknown}");
    }
}

#[test]
fn the_only_server_gets_what_nobody_knows() {
    let server = Server::stdio("alpha", &["--declare=vendor"]);
    let mut client = before(&[&server]);
    let result = client.request("vendor/no/such", json!({"x": 1})).result();
    assert_eq!(result["method"], "vendor/no/such");
    // Its own refusal.
    assert_eq!(client.request("other/x", json!({})).error()["message"], "Method not found: other/x");
}

#[test]
fn two_servers_of_one_extension_are_not_confused() {
    let (alpha, beta) = (Server::stdio("alpha", &["--declare=maps"]), Server::stdio("beta", &["--declare=maps"]));
    let mut client = before(&[&alpha, &beta]);
    assert_eq!(client.request("maps/find", json!({})).code(), -32_601);
    // But for what is named by a URI, which has one owner.
    let unique = Server::stdio("gamma", &["--declare=maps", "--resource=maps://x"]);
    let mut client = before(&[&alpha, &unique]);
    let result = client.request("maps/get", json!({"uri": "maps://x"})).result();
    assert_eq!(result["server"], "gamma");
}

#[test]
fn clients_are_told_what_servers_have_declared() {
    let (old, new) = (Server::stdio("alpha", &["--declare=maps"]), Server::http("beta", &["--modern", "--declare=skills"]));
    let front = Proxy::new().file(&file_of(&[&old, &new])).serve();
    eventually("both are listed", || {
        let discovered = ask(&front, &modern(1, "server/discover", json!({}))).send().result();
        let extensions = &discovered["capabilities"]["extensions"];
        let expected = json!({"com.example/maps": {"x": 1.0}, "com.example/skills": {"x": 1.0}});
        (*extensions == expected).then_some(())
    });
    let session = front.session();
    let result: Value = front.post(&crate::support::http::initialize("2025-11-25", json!({}))).send().result();
    assert_eq!(result["capabilities"]["extensions"]["com.example/maps"], json!({"x": 1.0}), "{result}");
    assert_eq!(result["capabilities"]["experimental"], json!({"x-odd": {"deep": [1]}}), "{result}");
    session.end();
    // A client of 2026-07-28 is served as well, whatever its server speaks.
    for method in ["maps/find", "skills/list"] {
        let result = ask(&front, &modern(1, method, json!({"x": 1.0}))).send().result();
        assert_eq!((&result["method"], &result["resultType"]), (&json!(method), &json!("complete")), "{result}");
    }
    ask(&front, &modern(1, "vendor/x", json!({}))).send().is_refusal(404, -32_601);
    // Who does not know tasks cannot ask for them.
    let reply = ask(&front, &modern(1, "tasks/get", json!({"taskId": "file:beta/1"}))).header("Mcp-Name", "file:beta/1").send();
    reply.is_refusal(400, -32_021);
    assert_eq!(reply.error()["data"]["requiredCapabilities"]["extensions"]["io.modelcontextprotocol/tasks"], json!({}));
}

#[test]
fn the_first_discovery_waits_a_little_for_new_servers() {
    let server = Server::http("alpha", &["--modern", "--declare=maps"]);
    let discover = |servers: &[&Server]| {
        let front = Proxy::new().file(&file_of(servers)).serve();
        let asked = Instant::now();
        let discovered = ask(&front, &modern(1, "server/discover", json!({}))).send().result();
        (discovered["capabilities"]["extensions"].clone(), asked.elapsed())
    };
    // A busy machine may take longer than a client has patience.
    eventually("the first answer names the extension", || (discover(&[&server]).0["com.example/maps"] != json!(null)).then_some(()));
    let hanging = Server::stdio("beta", &["--hang=initialize", "--hang=server/discover"]);
    let (_, took) = discover(&[&server, &hanging]);
    assert!(took < Duration::from_secs(5), "who hangs is waited for: {took:?}");
}

#[test]
fn a_task_is_told_of_to_those_who_listen_to_it() {
    let flags = ["--modern", "--tool=touch"];
    let (alpha, beta) = (Server::http("alpha", &flags), Server::stdio("beta", &flags));
    let front = Proxy::new().file(&file_of(&[&alpha, &beta])).serve();
    for server in [&alpha, &beta] {
        eventually("it is listed", || {
            ask(&front, &modern(1, "tools/list", json!({}))).send().result()["tools"]
                .to_string()
                .contains(&server.tool("touch"))
                .then_some(())
        });
        let task = format!("file:{}/7", server.name);
        let mut listening = modern(7, "subscriptions/listen", json!({"notifications": {"taskIds": [task, "nobody/7"]}}));
        // Who knows nothing of tasks is not told of them.
        let mut stream = ask(&front, &listening).open();
        assert_eq!(stream.message().expect("an acknowledgement")["params"]["notifications"], json!({}));
        listening["params"]["_meta"][CAPABILITIES] = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        let mut stream = ask(&front, &listening).open();
        assert_eq!(stream.message().expect("an acknowledgement")["params"]["notifications"], json!({"taskIds": [task]}));
        for told in ["8", "7"] {
            ask(&front, &call(&server.tool("touch"), json!({"task": told}))).send().result();
        }
        let changed = stream.message().expect("it is told of");
        assert_eq!((&changed["method"], &changed["params"]["taskId"]), (&json!("notifications/tasks"), &json!(task)), "{changed}");
        assert_eq!((&changed["params"]["x-vendor"], &changed["params"]["_meta"][SUBSCRIPTION]), (&json!(1.0), &json!(7)));
    }
}
