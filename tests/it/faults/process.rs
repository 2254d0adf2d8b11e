//! Servers that end, freeze or leave somebody behind, and those that cannot even be started.

use super::scenario::{Again, MAYBE, SOUND, Scenario, Struck, Told, check};
use crate::support::{Kind, eventually};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn of_processes() {
    check(SCENARIOS);
}

const LOST: Told = Told::Failure(&["struck", MAYBE]);
const UNAVAILABLE: Told = Told::Failure(&["struck", "not available"]);

/// Ends it and waits until the proxy has seen that.
fn kill(struck: &mut Struck) {
    struck.signal("-KILL");
    let pid = struck.pid.expect("it is a child");
    eventually("the proxy has collected it", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

/// Behind a shell that stays, as npx does.
fn wrapped(struck: &Struck) -> Value {
    let entry = struck.server.entry();
    let mut args = vec![json!("-c"), json!("\"$0\" \"$@\"; exit 7"), entry["command"].clone()];
    args.extend(entry["args"].as_array().expect("it is one").iter().cloned());
    json!({"command": "sh", "args": args})
}

fn nowhere(struck: &Struck) -> Value {
    let mut entry = struck.server.entry();
    entry["cwd"] = json!("/no/such/folder");
    entry
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "it crashes in a call",
        kinds: &[Kind::Stdio, Kind::Http, Kind::HttpJson, Kind::Sse],
        call: ("crash", "{}"),
        answer: LOST,
        ..SOUND
    },
    Scenario { name: "it ends as if all were well", call: ("fault", r#"{"kind":"exit:0"}"#), answer: LOST, ..SOUND },
    Scenario { name: "it gives up", call: ("fault", r#"{"kind":"exit:3"}"#), answer: LOST, ..SOUND },
    Scenario { name: "it is killed for its memory", call: ("fault", r#"{"kind":"signal:KILL"}"#), answer: LOST, ..SOUND },
    Scenario { name: "it is ended by a fault of its own", call: ("fault", r#"{"kind":"signal:ABRT"}"#), answer: LOST, ..SOUND },
    Scenario { name: "it is asked to end", call: ("fault", r#"{"kind":"signal:TERM"}"#), answer: LOST, ..SOUND },
    Scenario {
        name: "it ends with its answer",
        call: ("fault", r#"{"kind":"last"}"#),
        answer: Told::Result("all the same"),
        again: Again::Soon(2000),
        ..SOUND
    },
    Scenario {
        name: "it is killed while it works",
        call: ("slow", r#"{"label":"x"}"#),
        meanwhile: Some(|struck| struck.signal("-KILL")),
        answer: LOST,
        within: 4000,
        ..SOUND
    },
    Scenario { name: "it is killed while nobody needs it", strike: kill, ..SOUND },
    Scenario {
        name: "it leaves somebody who holds on to its output",
        call: ("fault", r#"{"kind":"orphan"}"#),
        answer: LOST,
        within: 4000,
        again: Again::Next(4000),
        ..SOUND
    },
    Scenario {
        name: "it is stopped and goes on",
        options: &["--call-timeout=1"],
        call: ("fault", r#"{"kind":"signal:STOP"}"#),
        answer: Told::Failure(&["struck", "did not answer within 1 s", "may still be working"]),
        within: 3000,
        mend: |struck| struck.signal("-CONT"),
        ..SOUND
    },
    Scenario {
        name: "it is stopped and killed",
        options: &["--call-timeout=1"],
        call: ("fault", r#"{"kind":"signal:STOP"}"#),
        answer: Told::Failure(&["struck", "did not answer within 1 s", "may still be working"]),
        within: 3000,
        mend: kill,
        ..SOUND
    },
    Scenario {
        name: "it talks on stderr without end",
        call: ("fault", r#"{"kind":"stderr:300000"}"#),
        answer: Told::Result("all the same"),
        within: 5000,
        ..SOUND
    },
    Scenario { name: "it crashes behind a shell", entry: Some(wrapped), call: ("crash", "{}"), answer: LOST, ..SOUND },
    Scenario { name: "it crashes and has a child", flags: &["--grandchild"], call: ("crash", "{}"), answer: LOST, ..SOUND },
    Scenario {
        name: "it crashes though nothing else ends it",
        flags: &["--grandchild", "--stubborn"],
        call: ("crash", "{}"),
        answer: LOST,
        ..SOUND
    },
    Scenario {
        name: "it ends at its start",
        flags: &["--exit-at-start"],
        is_dead: true,
        answer: UNAVAILABLE,
        within: 6000,
        again: Again::Never,
        ..SOUND
    },
    Scenario {
        name: "there is no such program",
        entry: Some(|_| json!({"command": "/no/such/program"})),
        is_dead: true,
        answer: UNAVAILABLE,
        within: 6000,
        again: Again::Never,
        ..SOUND
    },
    Scenario {
        name: "it is no program",
        entry: Some(|_| json!({"command": "/etc/passwd"})),
        is_dead: true,
        answer: UNAVAILABLE,
        within: 6000,
        again: Again::Never,
        ..SOUND
    },
    Scenario {
        name: "its folder is not there",
        entry: Some(nowhere),
        is_dead: true,
        answer: UNAVAILABLE,
        within: 6000,
        again: Again::Never,
        ..SOUND
    },
    Scenario {
        name: "it crashes in the handshake",
        flags: &["--fault=initialize=exit:5"],
        is_dead: true,
        answer: UNAVAILABLE,
        within: 6000,
        mend: Struck::heal,
        again: Again::Soon(6000),
        ..SOUND
    },
    Scenario {
        name: "it is asked for a tool that it has not",
        call: ("nosuch", "{}"),
        answer: Told::Error(-32_602, "unknown tool"),
        ..SOUND
    },
    Scenario {
        name: "it crashes when it is asked for its tools",
        flags: &["--fault=tools/list=exit:5"],
        options: &["--call-timeout=2"],
        is_dead: true,
        answer: Told::Failure(&["is not available", "exit status: 5"]),
        within: 6000,
        mend: Struck::heal,
        again: Again::Soon(12_000),
        ..SOUND
    },
];
