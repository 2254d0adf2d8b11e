use std::time::Duration;

use crate::{
    downstream::LinkError,
    protocol::server::{HttpConfig, HttpKind, Origin, ServerId, ToolFilter, TransportConfig},
    router::measure,
};

use super::*;

pub(super) fn server(id: &str, name: &str) -> Arc<ServerConfig> {
    let transport = HttpConfig { url: "https://h.example/mcp".to_owned(), kind: HttpKind::Streamable, headers: indexmap::IndexMap::new() };
    Arc::new(ServerConfig {
        id: ServerId::new(id),
        name: name.to_owned(),
        slug: None,
        origin: Origin::App,
        transport: TransportConfig::Http(transport),
        timeout: None,
        tools: ToolFilter::default(),
        isolation: None,
        revision: None,
        instructions: Vec::new(),
        requires_auth: false,
    })
}

pub(super) fn entry(item: &str, failure: Option<&str>) -> Entry {
    Entry {
        whose: Whose::Server(server("6f1c2f0e-3c1b-4a52-9a51-0d0c1d1f9a01", "Git\u{1b}Hub")),
        subject: Subject { action: Action::ToolCall, item: item.to_owned() },
        took: Duration::from_micros(12_900),
        failure: failure.map(str::to_owned),
    }
}

#[test]
fn of_replies_only_failures_of_the_server_are_failures() {
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that it stands alone in the calls")]
    fn check(reply: &str, expect: End) {
        let reply =
            Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,{reply}}}"#).into()).map_err(|_| CallError::UnknownMethod(String::new()));
        let outcome = measure::outcome_of(&reply);
        assert_eq!(End::of(&reply, outcome), expect);
    }
    let failed = |text: &str| End::Failed(text.to_owned());
    check(r#""result":{"content":[{"type":"text","text":"ok"}]}"#, End::Done);
    check(r#""result":{"messages":[]}"#, End::Done);
    check(r#""result":{"content":[{"type":"text","text":"no \"way\""}],"isError":true}"#, failed("no \"way\""));
    check(
        r#""result":{"content":[{"type":"image","text":"x"},{"type":"text","text":"a"},{"type":"text","text":"b"}],"isError":true}"#,
        failed("a"),
    );
    check(r#""result":{"content":[],"isError":true}"#, failed("the tool gave no reason"));
    check(r#""result":{"isError":true}"#, failed("the tool gave no reason"));
    check(r#""result":{"content":7,"isError":true}"#, failed("the tool gave no reason"));
    check(r#""result":{"content":[{"type":"text","text":"MCP error -32602: Tool x not found"}],"isError":true}"#, End::Mistaken);
    check(r#""error":{"code":-32603,"message":"it broke"}"#, failed("it broke"));
    check(r#""error":{"code":-32000,"message":7}"#, failed("the server gave no reason"));
    check(r#""error":"odd""#, failed("the server gave no reason"));
    for code in [-32602, -32601, -32002, -32042] {
        check(&format!(r#""error":{{"code":{code},"message":"no"}}"#), End::Mistaken);
    }
    let long = "ü".repeat(LONGEST);
    check(&format!(r#""error":{{"code":1,"message":"{long}"}}"#), failed(&"ü".repeat(LONGEST / 2)));
}

#[test]
fn of_errors_only_those_of_the_server_are_failures() {
    let check = |error, expect: Option<&str>| {
        let end = End::of(&Err(error), Outcome::Error);
        assert_eq!(end, expect.map_or(End::Mistaken, |text| End::Failed(text.to_owned())));
    };
    let name = || "a".to_owned();
    check(CallError::UnknownTool { name: name() }, None);
    check(CallError::UnknownResource { uri: name() }, None);
    check(CallError::InvalidParams(name()), None);
    check(CallError::AppTooOften { wait: Duration::from_secs(1) }, None);
    check(
        CallError::Timeout { server: name(), after: Duration::from_secs(3) },
        Some("the server a did not answer within 3 s; it may still be working"),
    );
    let lost = LinkError::Lost { reason: "gone".to_owned() };
    check(
        CallError::Link { server: name(), error: lost },
        Some("the call to the server a failed: the connection was lost: gone; it may or may not have taken effect"),
    );
}

#[test]
fn a_full_queue_loses_its_oldest() {
    let queue = Queue::default();
    for n in 0..MOST + 3 {
        queue.push(entry(&n.to_string(), None));
    }
    assert_eq!(queue.len(), MOST);
    let first = queue.pop().expect("it is full");
    assert_eq!(first.subject.item, "3");
    queue.push_back(first);
    assert_eq!(queue.pop().expect("it is full").subject.item, "3");
    queue.push(entry("new", None));
    queue.push_back(entry("old", None));
    assert_eq!((queue.len(), queue.pop().expect("it is full").subject.item.as_str()), (MOST, "4"));
}

#[test]
fn the_parts_of_the_proxy_have_the_names_of_the_app() {
    let check = |area, expect: Option<(&str, &str)>| {
        let part = Part::of(area);
        assert_eq!(part.filter(|part| part.is_known).map(|part| (part.name, part.id)), expect, "{part:?}");
    };
    check(Area::Setup, None);
    check(Area::Discovery, Some(("Discovery System", "pluggedin_discovery")));
    check(Area::Knowledge, Some(("RAG System", "pluggedin_rag")));
    check(Area::Notifications, Some(("Notification System", "pluggedin_notifications")));
    check(Area::Documents, Some(("Document System", "pluggedin_documents")));
    check(Area::Clipboard, Some(("Clipboard System", "pluggedin_clipboard")));
    for area in [Area::Memory, Area::Collective, Area::Archetypes] {
        check(area, None);
        assert!(Part::of(area).is_some_and(|part| part.id.starts_with("pluggedin_")));
    }
}

#[test]
fn of_own_tools_mistakes_and_the_guide_are_not_told() {
    let activities = Activities(Arc::default());
    let note = |tool: &str, how| activities.note_builtin(tool, Duration::ZERO, how);
    note("pluggedin_setup", How::Done);
    note("pluggedin_discover_tools", How::Mistake);
    note("pluggedin_discover_tools", How::Refused);
    note("no_tool_of_ours", How::Done);
    assert_eq!(activities.0.len(), 0);
    note("pluggedin_discover_tools", How::Failed("no".to_owned()));
    let entry = activities.0.pop().expect("it is told");
    assert_eq!((entry.subject.item.as_str(), entry.failure.as_deref()), ("pluggedin_discover_tools", Some("no")));
}
