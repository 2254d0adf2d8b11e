//! Servers that hang or take their time.

use super::scenario::{Again, SOUND, Scenario, Struck, Told, check};
use crate::support::Kind;

#[test]
fn of_slow_ones() {
    check(SCENARIOS);
}

const ALL: &[Kind] = &[Kind::Stdio, Kind::Http, Kind::HttpJson, Kind::Sse];
const SILENT: Told = Told::Failure(&["struck", "did not answer within 1 s", "may still be working"]);
const SLOW: Scenario = Scenario { options: &["--call-timeout=1"], within: 2500, ..SOUND };

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "it never answers", kinds: ALL, call: ("fault", r#"{"kind":"silence"}"#), answer: SILENT, ..SLOW },
    Scenario { name: "it answers later than is waited for", kinds: ALL, call: ("slow", r#"{"ms":3000}"#), answer: SILENT, ..SLOW },
    Scenario {
        name: "it answers just in time",
        kinds: ALL,
        call: ("slow", r#"{"ms":300}"#),
        answer: Told::Result("finished in time"),
        ..SLOW
    },
    Scenario { name: "it starts slowly", flags: &["--slow-start=1000"], within: 4000, ..SOUND },
    Scenario {
        name: "it never answers the handshake",
        kinds: &[Kind::Stdio, Kind::Http],
        flags: &["--hang=initialize"],
        is_dead: true,
        answer: Told::Failure(&["struck", "could not be connected within 1 s"]),
        within: 4000,
        again: Again::Never,
        ..SLOW
    },
    Scenario {
        name: "it hears nothing more",
        flags: &["--deaf"],
        call: ("fault", r#"{"kind":"silence"}"#),
        is_dead: true,
        answer: SILENT,
        within: 4000,
        mend: Struck::heal,
        again: Again::Never,
        ..SLOW
    },
];
