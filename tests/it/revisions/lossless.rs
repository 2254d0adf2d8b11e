//! What goes through the proxy stays the text that it was: results, list entries and arguments that are valid, and that
//! whoever writes them anew changes. Texts are compared, not values.

use super::peer::{Face, MUTE, Peer};
use crate::support::modern::MODERN;
use crate::support::{Kind, List, Proxy, Server, eventually, file_of};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// They stand at several depths of results, of list entries and of arguments.
const VALUES: [&str; 26] = [
    "1",
    "1.0",
    "1.50e+2",
    "-0",
    "-0.0",
    "1e400",
    "-1E-400",
    "9007199254740993",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1000000000000000055511151231257827021181583404541015625",
    "null",
    "false",
    "[]",
    "{}",
    r#""""#,
    r#"{"":{"":null}}"#,
    r#"{"id":1,"ID":2,"Id":3,"i\u0064s":4}"#,
    r#"{"b":1,"a":2,"10":3,"9":4}"#,
    r#""\u00e9é\/\u002f/""#,
    r#""\ud83d\ude00 😀 \uD83D\uDE00""#,
    r#""half of a pair: \ud83d""#,
    "\"\\u2028\u{2028}\\u0000\\u007f\u{7f}\\t\u{feff}\"",
    r#"[1.0,[null,[false,[{"jsonrpc":"2.0","id":1,"method":"ping","result":{},"error":null}]]]]"#,
    r#"{"name":"echo","uri":"scripted://greeting","progressToken":1,"requestId":2,"cursor":"x","nextCursor":null}"#,
    r#"{ "spaced" : [ 1 , 2 ] }"#,
];

/// Results of calls beside those that hold the values.
const RESULTS: [&str; 15] = [
    r#"{"content":[]}"#,
    r#"{"content":[],"isError":false}"#,
    r#"{"isError":true,"content":[{"text":"first","type":"text"}]}"#,
    r#"{ "content" : [ ] , "x" : 1 }"#,
    r#"{"c\u006fntent":[],"x":1}"#,
    r#"{"content":[],"_meta":{}}"#,
    r#"{"content":[],"_meta":{"progressToken":"x","io.modelcontextprotocol/subscriptionId":1,"vendor.example/x":null}}"#,
    r#"{"content":[{"type":"hologram","frames":[1.0]},{"type":"","x":null},{"type":"text","text":""}]}"#,
    r#"{"content":[{"type":"image","data":"AA==","mimeType":"image/png","annotations":{"priority":1.0,"audience":[],"x":0}}]}"#,
    r#"{"content":[{"type":"audio","data":"","mimeType":"audio/wav"},{"type":"tool_use","id":"1","name":"echo","input":{}}]}"#,
    r#"{"content":[{"type":"resource","resource":{"uri":"x:@","blob":"AA==","mimeType":"","_meta":{"x":1.0}},"_meta":{}}]}"#,
    r#"{"content":[{"uri":"x:@/link","name":"link","type":"resource_link","size":1.0,"title":"\u00e9","icons":[{"src":"x:1"}]}]}"#,
    r#"{"content":[],"_meta":{"ui":{"resourceUri":"ui://@/view","csp":{"connectDomains":[]}}},"structuredContent":{}}"#,
    r#"{"structuredContent":[{"resultType":"mine","ttlMs":1,"cacheScope":"x"}],"content":[]}"#,
    r#"{"content":[],"task":null,"toolResult":1.0,"messages":[],"contents":[],"tools":[{"name":"echo"}]}"#,
];

/// Results that hold `$`, by what they belong to.
const HOLDING: [(Holder, &str); 3] = [
    (
        Holder::Tool,
        r#"{"x":$,"content":[{"type":"text","x":{"y":$},"text":"t","_meta":{"x":$}}],"structuredContent":$,"_meta":{"v.example/x":$}}"#,
    ),
    (
        Holder::Prompt,
        r#"{"messages":[{"content":{"text":"t","type":"text","x":$},"role":"user","x":$},{"role":"x","content":{"type":"x","y":$}}],"_meta":{"x":$}}"#,
    ),
    (
        Holder::Resource,
        r#"{"x":$,"contents":[{"text":"t","uri":"x:@","x":$},{"x":[$],"uri":"x:@/2","blob":"AA==","_meta":{"x":$}}],"_meta":{"x":$}}"#,
    ),
];

/// Entries of lists, where `$` are all values; of these only the name of the tool may change.
const ENTRIES: [(List, &str); 4] = [
    (
        List::Tools,
        r#"{"x":$,"name":"entry","inputSchema":{"x":$,"type":"object","properties":{"b":true,"a":{"default":1.0}}},"title":"\u00e9","outputSchema":{"type":"object","x":$},"annotations":{"readOnlyHint":false,"title":"é","x":$},"icons":[{"src":"data:,","sizes":["any"],"theme":"x","x":$}],"execution":{"taskSupport":"optional","x":1.0},"_meta":{"ui":{"resourceUri":"ui://@/view","visibility":["app"]},"x":$},"description":""}"#,
    ),
    (
        List::Prompts,
        r#"{"title":"\u00e9","x":$,"arguments":[{"x":$,"name":"a","required":false}],"name":"entry-@","icons":[],"_meta":{"x":$}}"#,
    ),
    (
        List::Resources,
        r#"{"x":$,"name":"\u00e9","uri":"entry:@","size":1.0,"annotations":{"priority":0.10,"x":$},"mimeType":"","_meta":{"ui":{"prefersBorder":true},"x":$}}"#,
    ),
    (List::Templates, r#"{"name":"t","x":$,"uriTemplate":"entry:@/{+x}","annotations":{},"_meta":{"x":$},"title":"","icons":[{"x":$}]}"#),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Tool,
    Prompt,
    Resource,
}

fn servers() -> Vec<Server> {
    let wires = [
        (Kind::Stdio, "--name=old"),
        (Kind::Http, "--name=old"),
        (Kind::HttpJson, "--name=old"),
        (Kind::Sse, "--name=old"),
        (Kind::Stdio, "--modern"),
        (Kind::Http, "--modern"),
        (Kind::HttpJson, "--modern"),
    ];
    let server = |(kind, era): (Kind, &str)| {
        let name = format!("{kind:?}{era}").to_lowercase().replace("--name=", "-").replace("--", "-");
        let mut flags = vec!["--tool=exact".to_owned(), format!("--prompt=kept-{name}"), format!("--resource=kept:{name}")];
        flags.extend(ENTRIES.map(|(list, entry)| format!("--entry={}={}", list.member(), filled(entry, &all_values(), &name))));
        flags.extend((era == "--modern").then(|| era.to_owned()));
        Server::new(kind, &name, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    wires.into_iter().map(server).collect()
}

/// All but the letter that no command line may hold.
fn all_values() -> String {
    format!("[{}]", VALUES.join(",").replace('\u{7f}', ""))
}

fn filled(text: &str, value: &str, server: &str) -> String {
    text.replace('@', server).replace('$', value)
}

/// The values, and those that are too large to be written down.
fn values() -> Vec<String> {
    let large = [format!("\"{}\"", "é".repeat(50_000)), format!("{}1.0{}", r#"{"a":["#.repeat(30), "]}".repeat(30))];
    VALUES.iter().map(|value| (*value).to_owned()).chain(large).collect()
}

/// What each result of 2026-07-28 begins with, in any order, is for the proxy to say.
fn undone(peer: &Peer, result: &str) -> String {
    let mut rest = result.strip_prefix('{').expect("results are objects");
    let own = ["\"resultType\":", "\"ttlMs\":", "\"cacheScope\":"];
    while let Some(value) = own.iter().find_map(|member| rest.strip_prefix(member)).filter(|_| peer.is_modern()) {
        let end = value.find([',', '}']).expect("the object ends");
        rest = value[end..].strip_prefix(',').unwrap_or(&value[end..]);
    }
    format!("{{{rest}")
}

/// Both texts from where they differ.
fn difference(what: &str, got: &str, expected: &str) -> Option<String> {
    let same = got.chars().zip(expected.chars()).take_while(|(one, other)| one == other).count();
    let part = |text: &str| text.chars().skip(same.saturating_sub(40)).take(120).collect::<String>();
    (got != expected).then(|| format!("{what}\n     got …{}\nexpected …{}", part(got), part(expected)))
}

/// What the server gives for each result of the corpus.
fn results(peer: &mut Peer, server: &Server) -> Vec<String> {
    let whole = RESULTS.map(|text| (Holder::Tool, filled(text, "", &server.name)));
    let held =
        HOLDING.into_iter().flat_map(|(holder, text)| values().into_iter().map(move |value| (holder, filled(text, &value, &server.name))));
    let mut failures = Vec::new();
    for (holder, text) in whole.into_iter().chain(held) {
        // The large text need not come thrice.
        if holder != Holder::Tool && text.len() > 50_000 {
            continue;
        }
        let kept = match holder {
            Holder::Tool => None,
            Holder::Prompt => Some(("prompts/get", "name", format!("kept-{}", server.name))),
            Holder::Resource => Some(("resources/read", "uri", format!("kept:{}", server.name))),
        };
        let exact = server.tool("exact");
        let answer = match kept {
            None => peer.exchange("tools/call", &format!(r#""name":"{exact}","arguments":{}"#, json!({"result": text})), "", MUTE),
            Some((method, member, key)) => {
                peer.call(&exact, &json!({"of": key, "result": text}));
                peer.exchange(method, &format!(r#""{member}":"{key}""#), "", MUTE)
            }
        };
        failures.extend(difference(&format!("{holder:?} of {}", server.name), &undone(peer, answer.result()), &text));
    }
    failures
}

/// The entries of a list to the letter, through all its pages.
fn listed(peer: &mut Peer, list: List) -> Vec<String> {
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = peer.exchange(list.method(), &cursor, "", MUTE);
        let members: HashMap<&str, &RawValue> = serde_json::from_str(page.result()).expect("it is an object");
        let found: Vec<&RawValue> = serde_json::from_str(members[list.member()].get()).expect("it is a list");
        entries.extend(found.into_iter().map(|entry| entry.get().to_owned()));
        let Some(next) = members.get("nextCursor") else { return entries };
        cursor = format!(r#""cursor":{next}"#);
    }
}

fn entries(peer: &mut Peer, servers: &[Server]) -> Vec<String> {
    let mut failures = Vec::new();
    for (list, entry) in ENTRIES {
        let listed = listed(peer, list);
        for server in servers {
            let mut expected = filled(entry, &all_values(), &server.name);
            let mut marker = format!(":{}", server.name);
            match list {
                List::Tools => {
                    marker = format!(r#""name":"{}""#, server.tool("entry"));
                    expected = expected.replacen(r#""name":"entry""#, &marker, 1);
                }
                List::Prompts => marker = format!(r#""name":"entry-{}""#, server.name),
                List::Resources => marker = format!(r#""uri":"entry{marker}""#),
                List::Templates => marker = format!(r#""uriTemplate":"entry{marker}/"#),
            }
            let got = listed.iter().find(|text| text.contains(&marker)).map_or("nothing", String::as_str);
            failures.extend(difference(&format!("{list:?} of {}", server.name), got, &expected));
        }
    }
    failures
}

/// What the server hears of each value in arguments.
fn arguments(peer: &mut Peer, server: &Server) -> Vec<String> {
    #[derive(Deserialize)]
    struct Received<'a> {
        #[serde(borrow)]
        arguments: &'a RawValue,
    }
    let mut failures = Vec::new();
    for value in values() {
        let sent = filled(r#"{"x":$,"":[$],"X":{"y": $ }}"#, &value, "");
        let answer = peer.exchange("tools/call", &format!(r#""name":"{}","arguments":{sent}"#, server.tool("echo")), "", MUTE).value();
        let text = answer["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"));
        let received: Received<'_> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        failures.extend(difference(&format!("arguments at {}", server.name), received.arguments.get(), &sent));
    }
    failures
}

#[track_caller]
fn check(face: Face, revision: &'static str) {
    let servers = servers();
    let mut peer = Peer::new(face, revision, Proxy::new().file(&file_of(&servers.iter().collect::<Vec<_>>())));
    for server in &servers {
        eventually(&format!("{} is listed", server.name), || peer.names(List::Tools).contains(&server.tool("exact")).then_some(()));
        let kept = format!("kept:{}", server.name);
        eventually(&format!("{kept} is listed"), || peer.names(List::Resources).contains(&kept).then_some(()));
    }
    let mut failures = entries(&mut peer, &servers);
    for server in &servers {
        failures.extend(results(&mut peer, server));
        failures.extend(arguments(&mut peer, server));
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn before_2025_11_25_over_stdio() {
    check(Face::Stdio, "2025-11-25");
}

#[test]
fn before_2026_07_28_over_http() {
    check(Face::Sessions, MODERN);
}
