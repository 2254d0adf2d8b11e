//! An App that fails: the call that needs it is told so, and servers and sessions go on without it.

use super::scenario::{Again, SOUND, Scenario, Struck, Told, check};
use crate::support::{Answer, App};
use serde_json::json;

#[test]
fn of_the_app() {
    check(SCENARIOS);
}

const APP: Scenario = Scenario {
    with_app: true,
    options: &["--refresh-interval=0.5"],
    call: ("pluggedin_list_notifications", "{}"),
    answer: Told::Failure(&["plugged.in"]),
    within: 12_000,
    mend: |struck| struck.app().answer(Answer::Normally),
    again: Again::Soon(4000),
    ..SOUND
};

/// The App as seen by a tool of its own; its servers are asked for as before.
const PATH: &str = "/api/notifications";

fn fails(struck: &mut Struck, answer: Answer) {
    struck.app().answer_at(PATH, answer);
}

fn is_well(struck: &mut Struck) {
    fails(struck, Answer::Normally);
}

const TOOL: Scenario = Scenario { mend: is_well, ..APP };

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "500", strike: |struck| fails(struck, Answer::Status(500)), ..TOOL },
    Scenario { name: "503", strike: |struck| fails(struck, Answer::Status(503)), ..TOOL },
    Scenario {
        name: "401 in the middle of a session",
        strike: |struck| fails(struck, Answer::Status(401)),
        answer: Told::Failure(&["plugged.in", "key"]),
        ..TOOL
    },
    Scenario {
        name: "429 with a time",
        strike: |struck| fails(struck, Answer::Later(7)),
        answer: Told::Failure(&["plugged.in", "try again in 7 s"]),
        ..TOOL
    },
    Scenario { name: "a page for people", strike: |struck| fails(struck, Answer::Page), ..TOOL },
    Scenario { name: "half an answer", strike: |struck| fails(struck, Answer::Torn), ..TOOL },
    Scenario { name: "gzip that breaks off", strike: |struck| fails(struck, Answer::Packed(vec![0x1f, 0x8b, 8, 0, 0, 0])), ..TOOL },
    Scenario { name: "an answer of another kind", strike: |struck| fails(struck, Answer::Instead(json!(7))), ..TOOL },
    Scenario {
        name: "redirects in a circle",
        strike: |struck| {
            let url = struck.app().url();
            fails(struck, Answer::Elsewhere(url));
        },
        ..TOOL
    },
    Scenario { name: "everything fails", strike: |struck| struck.app().answer(Answer::Status(500)), ..APP },
    Scenario { name: "it is away", strike: |struck| struck.app().go_away(), mend: |struck| App::come_back(struck.app()), ..APP },
];
