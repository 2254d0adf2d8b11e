//! HTTP+SSE: one stream that brings everything, and what becomes of it.

use super::scenario::{Again, MAYBE, SOUND, Scenario, Struck, Told, check};
use crate::support::relay::Line;
use crate::support::{Kind, eventually};

#[test]
fn of_http_and_sse() {
    check(SCENARIOS);
}

/// Which ends the stream with it. A call at that very moment would be lost; nobody calls.
fn forget(struck: &mut Struck) {
    struck.server.running().forget_sessions();
    eventually("the proxy is back", || (struck.server.running().sessions() > 0).then_some(()));
}

const SSE: Scenario = Scenario { kinds: &[Kind::Sse], ..SOUND };

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "500 to a message", call: ("fault", r#"{"kind":"status:500"}"#), answer: Told::Failure(&["HTTP 500", MAYBE]), ..SSE },
    Scenario { name: "401 to a message", call: ("fault", r#"{"kind":"challenge"}"#), answer: Told::Failure(&["HTTP 401"]), ..SSE },
    Scenario {
        name: "a session that nobody knows, whoever opens it",
        call: ("fault", r#"{"kind":"status:404"}"#),
        answer: Told::Failure(&["struck", "does not know our session any more"]),
        again: Again::Soon(4000),
        ..SSE
    },
    Scenario { name: "400 to a message", call: ("fault", r#"{"kind":"status:400"}"#), answer: Told::Failure(&["HTTP 400", MAYBE]), ..SSE },
    Scenario {
        name: "a message that is taken and never answered",
        options: &["--call-timeout=1"],
        call: ("fault", r#"{"kind":"status:202"}"#),
        answer: Told::Failure(&["did not answer within 1 s"]),
        ..SSE
    },
    Scenario {
        name: "the stream ends as if all were said",
        call: ("fault", r#"{"kind":"close"}"#),
        answer: Told::Failure(&["struck", MAYBE]),
        ..SSE
    },
    Scenario {
        name: "the stream breaks during a call",
        call: ("slow", r#"{"label":"x"}"#),
        meanwhile: Some(|struck| struck.relay().cut()),
        answer: Told::Failure(&["struck", MAYBE]),
        within: 4000,
        ..SSE
    },
    Scenario { name: "a session that is forgotten", strike: forget, again: Again::Soon(3000), ..SSE },
    Scenario {
        name: "a server that is started anew",
        strike: |struck| struck.server.running_mut().restart(),
        // A tool that only reads: whether a request has reached a server that ends at that moment cannot be known.
        call: ("odd", "{}"),
        answer: Told::Result(""),
        again: Again::Soon(3000),
        ..SSE
    },
    Scenario {
        name: "a network that swallows everything",
        options: &["--call-timeout=1"],
        strike: |struck| struck.relay().is(Line::Silent),
        answer: Told::Failure(&["did not answer within 1 s"]),
        mend: |struck| struck.relay().is(Line::Open),
        again: Again::Soon(3000),
        ..SSE
    },
];
