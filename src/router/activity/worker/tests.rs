use super::super::tests::{entry, server};
use super::*;
use crate::{builtin::Area, router::activity::Part, source::app::activity::Action};

#[test]
fn what_is_told_of_a_call() {
    let expect = Activity {
        action: Action::ToolCall,
        server_name: "Git\\u001bHub".to_owned(),
        server: ServerRef::Known("6f1c2f0e-3c1b-4a52-9a51-0d0c1d1f9a01".to_owned()),
        item_name: "create_issue".to_owned(),
        success: true,
        error_message: None,
        execution_time: 12,
    };
    assert_eq!(entry("create_issue", None).activity(), expect);
    let failed = Activity { success: false, error_message: Some("no\\nway".to_owned()), ..expect };
    assert_eq!(entry("create_issue", Some("no\nway")).activity(), failed);
}

#[test]
fn what_the_app_cannot_place_is_named_elsewhere() {
    let config = server("seven", "x");
    let instructions = Entry { whose: Whose::Instructions(config), ..entry("a", None) }.activity();
    assert_eq!(instructions.server_name, "Custom Instructions");
    assert_eq!(instructions.server, ServerRef::External("seven".to_owned()));
    let of = |part| Entry { whose: Whose::Own(part), ..entry("a", None) }.activity();
    assert_eq!(of(Part::PROXY).server, ServerRef::Known("pluggedin_proxy".to_owned()));
    let memory = of(Part::of(Area::Memory).expect("it is told of"));
    assert_eq!((memory.server_name.as_str(), memory.server), ("Memory System", ServerRef::External("pluggedin_memory".to_owned())));
}

#[test]
fn secrets_stay_here_and_texts_are_cut() {
    let item = |text: &str| entry(text, None).activity().item_name;
    let error = |text: &str| entry("a", Some(text)).activity().error_message.expect("it failed");
    for text in [
        "https://user:hunter2@h.example/a",
        "https://h.example/a?token=hunter2&b=1",
        "https://h.example/a?b=1&api_key=hunter2",
        "db://x?password=hunter2",
    ] {
        assert!(!item(text).contains("hunter2"), "{}", item(text));
        assert!(!error(&format!("cannot open {text}")).contains("hunter2"), "{text}");
    }
    assert_eq!(item("file:///home/a%20b/c?line=3"), "file:///home/a%20b/c?line=3");
    let known = crate::secret::Secret::certain("correct horse battery");
    assert_eq!(error("with correct horse battery: no"), "with [redacted]: no");
    drop(known);
    let long = "word ".repeat(10_000);
    assert_eq!((error(&long).chars().count(), item(&long).chars().count()), (MAX_ERROR + 1, MAX_ITEM + 1));
    // Half a key is not found any more, so that it is looked for before the text is cut.
    let cut = format!("{}pg_in_0123456789abcdef0123456789abcdef", "x ".repeat(240));
    assert!(!error(&cut).contains("pg_in_0"), "{}", error(&cut));
}

#[test]
fn the_rate_is_that_of_the_app_in_every_minute() {
    assert_eq!(RATE.per_minute.get() + RATE.burst.get(), 100);
}
