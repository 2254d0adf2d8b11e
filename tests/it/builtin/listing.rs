//! Which tools are shown, and what their records say.

use super::Shapes;
use super::facts::{TOOLS, services};
use crate::support::{App, Client, List, Proxy, Server, Workspace, file_of};
use serde_json::{Map, Value, json};

/// The names of the built-in tools that are listed, without their prefix, sorted.
#[track_caller]
fn shown(client: &mut Client) -> Vec<String> {
    let names = client.names(List::Tools);
    let mut names: Vec<_> = names.iter().filter_map(|name| name.strip_prefix("pluggedin_")).map(str::to_owned).collect();
    names.sort();
    names
}

fn all() -> Vec<String> {
    let mut names: Vec<_> = TOOLS.iter().map(|fact| fact.name.to_owned()).collect();
    names.sort();
    names
}

/// The facts of a schema, without its words, where the same fact can be said in two ways in one of them.
fn facts_of(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut facts = Map::new();
    for (name, value) in members {
        let fact = match (name.as_str(), value) {
            // Words, and that everything is allowed, which goes without saying.
            ("description" | "title" | "examples" | "$schema" | "$comment", _) | ("additionalProperties", Value::Bool(true)) => continue,
            ("additionalProperties", Value::Object(members)) if members.is_empty() => continue,
            ("properties", Value::Object(members)) => members.iter().map(|(name, value)| (name.clone(), facts_of(value))).collect(),
            ("items", value) => facts_of(value),
            ("pattern", Value::String(pattern)) => json!(pattern.replace(r"\/", "/")),
            ("required", Value::Array(names)) => {
                let mut names = names.clone();
                names.sort_by_key(Value::to_string);
                json!(names)
            }
            (_, value) => value.clone(),
        };
        facts.insert(name.clone(), fact);
    }
    if facts.get("type") == Some(&json!("integer"))
        && let Some(below) = facts.remove("exclusiveMinimum")
    {
        facts.insert("minimum".to_owned(), json!(below.as_i64().expect("a whole number") + 1));
    }
    facts.sort_keys();
    Value::Object(facts)
}

#[test]
fn all_tools_are_listed_with_a_key() {
    let app = App::start(Workspace::default());
    let mut client = Proxy::new().app(&app).start();
    assert_eq!(shown(&mut client), all());
    assert_eq!(client.list(List::Tools), client.list(List::Tools), "the order changes");
}

#[test]
fn records_say_what_the_contract_says() {
    let app = App::start(Workspace::default());
    let mut client = Proxy::new().app(&app).start();
    let records = client.list(List::Tools);
    Shapes::of(&records);
    for fact in &TOOLS {
        let name = fact.full_name();
        let record = records.iter().find(|record| record["name"] == name).unwrap_or_else(|| panic!("{name} is missing"));
        for text in ["title", "description"] {
            assert!(record[text].as_str().is_some_and(|text| !text.trim().is_empty()), "{name} has no {text}");
        }
        let length = record["description"].as_str().map_or(0, str::len);
        assert!(length < 2000, "the description of {name} is a book of {length} bytes");
        let input = &record["inputSchema"];
        assert_eq!(facts_of(input), facts_of(&fact.input()), "{name}");
        let hints = &record["annotations"];
        for (letter, hint) in [('R', "readOnlyHint"), ('D', "destructiveHint")] {
            assert_eq!(hints[hint], fact.hints.contains(letter), "{name}: {hint}");
        }
        assert_eq!(hints["idempotentHint"] == true, fact.hints.contains('I'), "{name}: idempotentHint");
        if let Some(title) = hints.get("title") {
            assert_eq!(title, &record["title"], "{name} has two titles");
        }
    }
}

#[test]
fn answers_with_a_shape_have_a_schema() {
    let app = App::start(Workspace::default());
    let mut client = Proxy::new().app(&app).start();
    let records = client.list(List::Tools);
    // Of these the App says nothing but a sentence.
    let sentences = ["send_notification", "mark_notification_done", "delete_notification", "memory_session_end", "cbp_feedback"];
    for fact in services().filter(|fact| !sentences.contains(&fact.name)) {
        let record = records.iter().find(|record| record["name"] == fact.full_name()).expect("it is listed");
        let members = record["outputSchema"]["properties"].as_object();
        assert!(members.is_some_and(|members| !members.is_empty()), "{} has no outputSchema", fact.name);
    }
}

#[test]
fn what_is_listed_depends_on_the_sources_and_the_switch() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::default());
    let with_key = || Proxy::new().app(&app);
    let minimal = ["discover_tools".to_owned(), "setup".to_owned()];
    let none: [String; 0] = [];
    let everything = all();
    let switch = |proxy: Proxy, value: &str| proxy.arg("--builtin-tools").arg(value);
    let cases: [(&str, Proxy, &[String]); 12] = [
        ("nothing is set up", Proxy::new(), &everything),
        ("a file alone", Proxy::new().file(&file_of(&[&alpha])), &minimal),
        ("a file and a key", with_key().file(&file_of(&[&alpha])), &everything),
        ("all, by flag, of a file", switch(Proxy::new().file(&file_of(&[&alpha])), "all"), &everything),
        ("minimal with a key", switch(with_key(), "minimal"), &minimal),
        ("minimal without", switch(Proxy::new(), "minimal"), &minimal),
        ("none with a key", switch(with_key(), "none"), &none),
        ("none of a file", switch(Proxy::new().file(&file_of(&[&alpha])), "none"), &none),
        ("minimal by its variable", with_key().env("PLUGGEDIN_BUILTIN_TOOLS", "minimal"), &minimal),
        ("none by its variable", with_key().env("PLUGGEDIN_BUILTIN_TOOLS", "none"), &none),
        ("all by its variable", Proxy::new().file(&file_of(&[&alpha])).env("PLUGGEDIN_BUILTIN_TOOLS", "all"), &everything),
        ("the flag wins", switch(with_key().env("PLUGGEDIN_BUILTIN_TOOLS", "none"), "minimal"), &minimal),
    ];
    for (what, proxy, expected) in cases {
        let mut client = proxy.start();
        assert_eq!(shown(&mut client), expected, "{what}");
        // What is not offered is not there.
        for fact in TOOLS.iter().filter(|fact| !expected.contains(&fact.name.to_owned())) {
            let pending = client.send_call(&fact.full_name(), json!({}));
            assert_eq!(client.answer(&pending).code(), -32_602, "{what}: {}", fact.name);
        }
    }
    let wrong = Proxy::new().arg("--builtin-tools=some").run(&[]);
    assert!(wrong.code != Some(0) && wrong.stderr.contains("--builtin-tools"), "{wrong:?}");
}

#[test]
fn servers_do_not_take_the_places_of_built_in_tools() {
    let alpha = Server::stdio("alpha", &["--tool=pluggedin_send_notification"]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).arg("--tool-prefix=none").start();
    client.find(List::Tools, "echo");
    let names = client.names(List::Tools);
    for fact in &TOOLS {
        assert_eq!(names.iter().filter(|name| **name == fact.full_name()).count(), 1, "{names:?}");
    }
    let sent = client.call("pluggedin_send_notification", json!({"message": "to the App"}));
    assert_ne!(sent["isError"], true, "{sent}");
    assert_eq!(app.count("POST /api/notifications/custom"), 1);
}
