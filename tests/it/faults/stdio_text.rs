//! What servers write that is no message, or not the one that was waited for; mostly the same on every wire.

use super::scenario::{Again, MAYBE, SOUND, Scenario, Told, check};
use crate::support::Kind;

#[test]
fn of_what_is_written() {
    check(SCENARIOS);
}

const ALL: &[Kind] = &[Kind::Stdio, Kind::Http, Kind::HttpJson, Kind::Sse];
/// Where an answer has no place of its own.
const PIPES: &[Kind] = &[Kind::Stdio, Kind::Sse];
const SILENT: Told = Told::Failure(&["struck", "did not answer within 1 s"]);
const SAME: Told = Told::Result("all the same");
const PROTOCOL: Told = Told::Failure(&["struck", "broke the protocol", MAYBE]);

/// A server that answers with this text instead of its answer.
const RAW: Scenario = Scenario { kinds: ALL, options: &["--call-timeout=1"], within: 2500, ..SOUND };

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "it says what is no message", flags: &["--garbage"], ..SOUND },
    Scenario {
        name: "bytes that are no text, then the answer",
        call: ("fault", r#"{"kind":"binary"}"#),
        kinds: PIPES,
        answer: SAME,
        ..SOUND
    },
    Scenario {
        name: "half a message, then the end",
        call: ("fault", r#"{"kind":"half"}"#),
        kinds: ALL,
        answer: Told::Failure(&["struck", MAYBE]),
        ..SOUND
    },
    Scenario {
        name: "half a message, then nothing",
        call: ("fault", r#"{"kind":"stuck"}"#),
        options: &["--call-timeout=1"],
        answer: SILENT,
        within: 3000,
        mend: |struck| struck.signal("-KILL"),
        again: Again::Soon(4000),
        ..SOUND
    },
    Scenario {
        name: "200 MB without a newline",
        call: ("fault", r#"{"kind":"flood:209715200"}"#),
        kinds: PIPES,
        options: &["--max-message=1MiB"],
        answer: Told::Failure(&["struck", "larger than 1048576 bytes", MAYBE]),
        within: 5000,
        again: Again::Soon(4000),
        ..SOUND
    },
    Scenario {
        name: "200 MB without a newline, with the limits of everybody",
        call: ("fault", r#"{"kind":"flood:209715200"}"#),
        answer: Told::Failure(&["struck", "larger than", MAYBE]),
        within: 10_000,
        again: Again::Soon(5000),
        ..SOUND
    },
    Scenario {
        name: "an answer that is too long",
        kinds: ALL,
        call: ("large", r#"{"bytes":2000000}"#),
        options: &["--max-message=1MiB"],
        answer: Told::Failure(&["struck", "larger than 1048576 bytes", MAYBE]),
        within: 5000,
        again: Again::Soon(4000),
        ..SOUND
    },
    Scenario { name: "it drips", kinds: ALL, call: ("fault", r#"{"kind":"drip:20"}"#), answer: SAME, within: 4000, ..SOUND },
    Scenario {
        name: "an answer to nobody",
        kinds: PIPES,
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":98765432,\"result\":{}}"}"#),
        answer: Told::Failure(&["struck"]),
        ..RAW
    },
    Scenario {
        name: "an answer to another",
        kinds: &[Kind::Http, Kind::HttpJson],
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":98765432,\"result\":{}}"}"#),
        answer: Told::Failure(&["struck", MAYBE]),
        ..RAW
    },
    Scenario {
        name: "answered twice",
        kinds: &[Kind::Stdio],
        call: (
            "raw",
            r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"first\"}]}}\n{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{}}"}"#,
        ),
        answer: Told::Result("first"),
        ..RAW
    },
    Scenario {
        name: "a result and an error",
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{},\"error\":{\"code\":1,\"message\":\"x\"}}"}"#),
        answer: PROTOCOL,
        ..RAW
    },
    Scenario {
        name: "neither a result nor an error",
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":$ID}"}"#),
        answer: PROTOCOL,
        ..RAW
    },
    Scenario { name: "a message of no version", call: ("raw", r#"{"text":"{\"id\":$ID,\"result\":{}}"}"#), answer: PROTOCOL, ..RAW },
    Scenario {
        name: "JSON that is none",
        kinds: PIPES,
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{]}"}"#),
        answer: Told::Failure(&["struck"]),
        ..RAW
    },
    Scenario {
        name: "JSON that is none, where it can only be the answer",
        kinds: &[Kind::Http, Kind::HttpJson],
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{]}"}"#),
        answer: Told::Failure(&["struck", MAYBE]),
        ..RAW
    },
    Scenario {
        name: "an error that is a text",
        call: ("raw", r#"{"text":"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"error\":\"no\"}"}"#),
        answer: PROTOCOL,
        ..RAW
    },
    Scenario {
        name: "blank lines, an odd line end, a mark of byte order",
        kinds: &[Kind::Stdio],
        call: (
            "raw",
            r#"{"text":"\n\r\n\ufeff\n \t{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"all the same\"}]}}\r"}"#,
        ),
        answer: SAME,
        ..RAW
    },
    Scenario { name: "messages that belong to nothing", kinds: ALL, flags: &["--stray"], ..SOUND },
];
