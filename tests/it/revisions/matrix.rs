//! The same scenarios for each front, each revision of the client, each wire to a server and each revision of it.

use super::peer::{Face, MUTE, Peer, elicits};
use crate::scripted::ODD_RESULT;
use crate::support::modern::MODERN;
use crate::support::{Kind, List, Proxy, Server, eventually, file_of};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A server behind the proxy.
struct Far {
    server: Server,
    revision: &'static str,
}

const OLD: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Valid, and changed by whoever writes it anew.
const ARGUMENTS: &str = r#"{"b":1.0,"a":[1,-0.0,9007199254740993,18446744073709551616],"B":"\u00e9é\u2028","":{"":null}}"#;

const UPDATED: &str = "notifications/resources/updated";
const TOOLS: &str = "notifications/tools/list_changed";

type Scenario = fn(&mut Peer, &Far);

/// In this order: what was cancelled may go on at its server, which must then not ask anybody else.
const SCENARIOS: [(&str, Scenario); 14] = [
    ("what is offered", what_is_offered),
    ("a call and its result to the letter", a_call),
    ("a tool that fails", a_tool_that_fails),
    ("a call that is refused", a_call_that_is_refused),
    ("a resource", a_resource),
    ("a resource that is missing", a_missing_resource),
    ("a prompt", a_prompt),
    ("completion", completion),
    ("progress", progress),
    ("log messages", log_messages),
    ("what a server asks", what_a_server_asks),
    ("a list that changes", a_list_that_changes),
    ("a resource that changes", a_resource_that_changes),
    ("a cancellation", a_cancellation),
];

impl Far {
    fn new(kind: Kind, revision: &'static str) -> Self {
        let name = format!("{}-{revision}", format!("{kind:?}").to_lowercase());
        let prompt = format!("--prompt=prompt-{name}");
        let [resource, gone] = ["scripted", "gone"].map(|scheme| format!("--resource={scheme}://{name}"));
        let era = if revision == MODERN { "--modern".to_owned() } else { format!("--revision={revision}") };
        let server = Server::new(kind, &name, &[&era, &prompt, &resource, &gone, "--tool=touch"]);
        Self { server, revision }
    }

    fn all() -> Vec<Self> {
        let revisions = || OLD.into_iter().chain([MODERN]);
        let both = [Kind::Stdio, Kind::Http].into_iter().flat_map(|kind| revisions().map(move |revision| Self::new(kind, revision)));
        both.chain(OLD.map(|revision| Self::new(Kind::Sse, revision))).collect()
    }

    fn tool(&self, tool: &str) -> String {
        self.server.tool(tool)
    }

    fn uri(&self) -> String {
        format!("scripted://{}", self.server.name)
    }

    fn prompt(&self) -> String {
        format!("prompt-{}", self.server.name)
    }

    fn is_modern(&self) -> bool {
        self.revision == MODERN
    }
}

#[track_caller]
fn check(face: Face, revision: &'static str) {
    let servers = Far::all();
    let file = file_of(&servers.iter().map(|far| &far.server).collect::<Vec<_>>());
    let mut peer = Peer::new(face, revision, Proxy::new().file(&file));
    for far in &servers {
        eventually(&format!("{} is listed", far.server.name), || peer.names(List::Tools).contains(&far.tool("echo")).then_some(()));
        for (list, key) in [(List::Prompts, far.prompt()), (List::Resources, far.uri())] {
            eventually(&format!("{key} is listed"), || peer.names(list).contains(&key).then_some(()));
        }
    }
    let mut failures = Vec::new();
    for (name, scenario) in SCENARIOS {
        for far in &servers {
            if catch_unwind(AssertUnwindSafe(|| scenario(&mut peer, far))).is_err() {
                failures.push(format!("{name}: client {revision} over {face:?}, server {}", far.server.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), SCENARIOS.len() * servers.len(), failures.join("\n"));
}

/// A test for each front and each revision of the client.
macro_rules! each_client {
    ($($face:ident: $Face:ident),+) => {$(
        mod $face {
            use super::super::peer::Face;

            #[test]
            fn before_2024_11_05() {
                super::check(Face::$Face, "2024-11-05");
            }

            #[test]
            fn before_2025_03_26() {
                super::check(Face::$Face, "2025-03-26");
            }

            #[test]
            fn before_2025_06_18() {
                super::check(Face::$Face, "2025-06-18");
            }

            #[test]
            fn before_2025_11_25() {
                super::check(Face::$Face, "2025-11-25");
            }

            #[test]
            fn before_2026_07_28() {
                super::check(Face::$Face, "2026-07-28");
            }
        }
    )+};
}

each_client!(stdio: Stdio, with_sessions: Sessions, without_sessions: Stateless);

/// What a result has beside what the server has said.
#[track_caller]
fn is_whole(peer: &Peer, result: &Value, is_kept: bool) {
    let has = ["resultType", "ttlMs", "cacheScope"].map(|member| result.get(member).is_some());
    let expected = [peer.is_modern(), peer.is_modern() && is_kept, peer.is_modern() && is_kept];
    assert_eq!(has, expected, "{result}");
}

fn what_is_offered(peer: &mut Peer, far: &Far) {
    let tools = peer.names(List::Tools);
    for tool in ["echo", "odd", "fail", "talk", "touch"] {
        assert!(tools.contains(&far.tool(tool)), "{tool}");
    }
    for list in List::ALL {
        let page = peer.result(list.method(), "");
        is_whole(peer, &page, true);
        assert_ne!(page[list.member()], json!([]));
    }
    assert!(peer.names(List::Templates).iter().any(|template| template.contains("scripted://items/")));
}

fn a_call(peer: &mut Peer, far: &Far) {
    let echo = peer.exchange("tools/call", &format!(r#""name":"{}","arguments":{ARGUMENTS}"#, far.tool("echo")), "", MUTE);
    let said = echo.value()["content"][0]["text"].as_str().expect("a text").to_owned();
    assert!(said.contains(&format!(r#""arguments":{ARGUMENTS}"#)), "{said}");
    assert!(said.contains(r#""name":"echo""#), "{said}");
    assert!(echo.result().contains(&format!(r#""arguments":{ARGUMENTS}"#)), "{}", echo.result());

    let odd = peer.exchange("tools/call", &format!(r#""name":"{}""#, far.tool("odd")), "", MUTE);
    let own = if peer.is_modern() { r#"{"resultType":"complete","# } else { "{" };
    assert_eq!(odd.result(), format!("{own}{}", &ODD_RESULT[1..]));
}

fn a_tool_that_fails(peer: &mut Peer, far: &Far) {
    let failed = peer.call(&far.tool("fail"), &json!({"text": "x"}));
    is_whole(peer, &failed, false);
    assert_eq!((&failed["isError"], &failed["content"][0]["text"], &failed["x-code"]), (&json!(true), &json!("x"), &json!(451)));
}

fn a_call_that_is_refused(peer: &mut Peer, far: &Far) {
    let refused = peer.exchange("tools/call", &format!(r#""name":"{}","arguments":{{}}"#, far.tool("error")), "", MUTE);
    let expected = json!({"code": -32_050, "message": "the moon is in the wrong phase", "data": {"phase": "waxing", "fraction": 1.0}});
    assert_eq!(refused.error(), expected);
}

fn a_resource(peer: &mut Peer, far: &Far) {
    let read = peer.result("resources/read", &format!(r#""uri":"{}""#, far.uri()));
    is_whole(peer, &read, true);
    assert_eq!(read["contents"][0]["uri"], far.uri());
    assert_eq!(read["contents"][0]["text"], format!("resource of {}", far.server.name));
    assert_eq!(read["_meta"]["vendor.example/etag"], "7");
}

fn a_missing_resource(peer: &mut Peer, far: &Far) {
    for uri in [format!("gone://{}", far.server.name), "nobody://has/it".to_owned()] {
        let error = peer.exchange("resources/read", &format!(r#""uri":"{uri}""#), "", MUTE).error();
        let code = if peer.is_modern() { -32_602 } else { -32_002 };
        assert_eq!((&error["code"], &error["data"]["uri"]), (&json!(code), &json!(uri)), "{error}");
    }
}

fn a_prompt(peer: &mut Peer, far: &Far) {
    let prompt = peer.result("prompts/get", &format!(r#""name":"{}","arguments":{{"who":"x"}}"#, far.prompt()));
    is_whole(peer, &prompt, false);
    let content = &prompt["messages"][0]["content"];
    assert_eq!((&content["text"], &content["x-raw"]["arguments"]), (&json!(far.server.name), &json!({"who": "x"})));
    assert_eq!(content["x-raw"]["name"], far.prompt());
}

fn completion(peer: &mut Peer, far: &Far) {
    let reference = json!({"type": "ref/prompt", "name": far.prompt()});
    let completed = peer.result("completion/complete", &format!(r#""ref":{reference},"argument":{{"name":"who","value":"gr"}}"#));
    is_whole(peer, &completed, false);
    assert_eq!(completed["completion"], json!({"values": ["green", "grey"], "total": 2, "hasMore": false, "x-for": reference}));
}

fn progress(peer: &mut Peer, far: &Far) {
    for token in [r#""t""#, "7", r#""7""#] {
        let params = format!(r#""name":"{}","arguments":{{"steps":5,"label":"l"}}"#, far.tool("progress"));
        let done = peer.exchange("tools/call", &params, &format!(r#""progressToken":{token}"#), MUTE);
        assert_eq!(done.value()["content"][0]["text"], "done");
        let heard = done.heard.iter().filter(|heard| heard["method"] == "notifications/progress");
        let heard: Vec<_> =
            heard.map(|heard| (heard["params"]["progressToken"].to_string(), heard["params"]["progress"].clone())).collect();
        assert_eq!(heard, (1..=5).map(|step| (token.to_owned(), json!(step))).collect::<Vec<_>>());
    }
}

fn log_messages(peer: &mut Peer, far: &Far) {
    let log = |level| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": [1.0], "x": null}});
    let lines = json!({"lines": [{"say": log("error")}, {"say": log("debug")}]});
    let params = format!(r#""name":"{}","arguments":{lines}"#, far.tool("talk"));
    let mut meta = "";
    if peer.is_modern() {
        meta = r#""io.modelcontextprotocol/logLevel":"warning""#;
    } else {
        peer.result("logging/setLevel", r#""level":"warning""#);
    }
    let heard = peer.exchange("tools/call", &params, meta, MUTE).heard;
    let heard: Vec<_> = heard.into_iter().filter(|heard| heard["method"] == "notifications/message").collect();
    // Without sessions nobody remembers what an earlier request has said.
    let expected = if peer.face == Face::Stateless && !peer.is_modern() { vec![log("error"), log("debug")] } else { vec![log("error")] };
    assert_eq!(heard, expected);
}

fn what_a_server_asks(peer: &mut Peer, far: &Far) {
    let answer = |method: &str| match method {
        "sampling/createMessage" => json!({"role": "assistant", "content": {"type": "text", "text": "x"}, "model": "m", "x-vendor": 1.0}),
        "roots/list" => json!({"roots": [{"uri": "file:///x", "x-vendor": null}]}),
        _ => json!({"action": "accept", "content": {"name": "Ada"}}),
    };
    for (method, tool) in [("sampling/createMessage", "ask-model"), ("roots/list", "ask-roots"), ("elicitation/create", "ask")] {
        if method.starts_with("elicit") && !(peer.elicits() && elicits(far.revision)) {
            continue;
        }
        let (tool, arguments) =
            if far.is_modern() { (tool, json!({})) } else { ("talk", json!({"lines": [{"ask": method, "params": r#"{"x":[1.0]}"#}]})) };
        let params = format!(r#""name":"{}","arguments":{arguments}"#, far.tool(tool));
        if !peer.is_asked() {
            let told = peer.exchange("tools/call", &params, "", MUTE).answer;
            assert!(told.contains("capability") || told.contains("cannot be asked"), "{told}");
            continue;
        }
        let asked = peer.exchange("tools/call", &params, "", &|method, _| answer(method));
        assert_eq!(asked.asked.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>(), [method], "{}", asked.answer);
        if !far.is_modern() {
            assert_eq!(asked.asked[0].1["x"], json!([1.0]));
        }
        let told = asked.value()["structuredContent"].take();
        let told = match (far.is_modern(), method) {
            (false, _) => &told[0]["result"],
            (true, "elicitation/create") => &told["answer"],
            (true, "roots/list") => &told["answer"]["roots"],
            (true, _) => &told["answer"]["model"],
        };
        assert_eq!(*told, answer(method), "{}", asked.answer);
    }
}

fn a_list_that_changes(peer: &mut Peer, far: &Far) {
    let ear = peer.listen(&far.uri());
    peer.call(&far.tool("add"), &json!({"kind": "tools", "name": "added"}));
    let Some(mut ear) = ear else {
        return eventually("it is listed", || peer.names(List::Tools).contains(&far.tool("added")).then_some(()));
    };
    // What was changed before may be told late.
    loop {
        peer.hears(&mut ear, TOOLS);
        if peer.names(List::Tools).contains(&far.tool("added")) {
            break;
        }
    }
    peer.turn_away(ear, &far.uri());
}

fn a_resource_that_changes(peer: &mut Peer, far: &Far) {
    let Some(mut ear) = peer.listen(&far.uri()) else { return };
    peer.call(&far.tool("touch"), &json!({"uri": "scripted://elsewhere"}));
    peer.call(&far.tool("touch"), &json!({"uri": far.uri()}));
    let mut update = peer.hears(&mut ear, UPDATED);
    update["params"].as_object_mut().expect("an object").remove("_meta");
    assert_eq!(update["params"], json!({"uri": far.uri(), "x-vendor": 1.0}));
    peer.turn_away(ear, &far.uri());
}

fn a_cancellation(peer: &mut Peer, far: &Far) {
    // The end of a connection is believed after some seconds alone, too long for each of the older servers.
    if peer.cancels_by_leaving() && !(far.server.kind == Kind::Http && ["2025-11-25", MODERN].contains(&far.revision)) {
        return;
    }
    let journal = |peer: &mut Peer, what: &str| peer.call(&far.tool("calls"), &json!({}))["structuredContent"][what].take();
    let slow = |label: &str| format!(r#""name":"{}","arguments":{{"label":"{label}"}}"#, far.tool("slow"));
    let lost = peer.begin("tools/call", &slow("lost"));
    let _spared = peer.begin("tools/call", &slow("spared"));
    eventually("both have started", || (journal(peer, "started").as_array().map(Vec::len) == Some(2)).then_some(()));
    peer.cancel(lost);
    eventually("it is cancelled", || (journal(peer, "cancelled") == json!(["lost"])).then_some(()));
    peer.call(&far.tool("release"), &json!({"label": "spared"}));
    eventually("the other one ends", || (journal(peer, "finished") == json!(["spared"])).then_some(()));
}
