//! What HTTP servers answer that is no answer, and what becomes of connections and sessions.

use super::scenario::{Again, MAYBE, SOUND, Scenario, Struck, Told, check};
use crate::support::Kind;
use crate::support::relay::Line;

#[test]
fn of_http() {
    check(SCENARIOS);
}

const BOTH: &[Kind] = &[Kind::Http, Kind::HttpJson];
const LOST: Told = Told::Failure(&["struck", MAYBE]);
const SILENT: Told = Told::Failure(&["struck", "did not answer within 1 s"]);
const SAME: Told = Told::Result("all the same");
const UNAVAILABLE: Told = Told::Failure(&["struck", "not available"]);

const HTTP: Scenario = Scenario { kinds: &[Kind::Http], ..SOUND };
/// One that cannot be connected until it is mended.
const DEAD: Scenario = Scenario { is_dead: true, answer: UNAVAILABLE, within: 6000, mend: Struck::heal, again: Again::Soon(6000), ..HTTP };

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "500", call: ("fault", r#"{"kind":"status:500"}"#), answer: Told::Failure(&["HTTP 500", MAYBE]), ..HTTP },
    Scenario { name: "502", call: ("fault", r#"{"kind":"status:502"}"#), answer: Told::Failure(&["HTTP 502", MAYBE]), ..HTTP },
    Scenario { name: "503", call: ("fault", r#"{"kind":"status:503"}"#), answer: Told::Failure(&["HTTP 503", MAYBE]), ..HTTP },
    Scenario { name: "400", call: ("fault", r#"{"kind":"status:400"}"#), answer: Told::Failure(&["HTTP 400", MAYBE]), ..HTTP },
    Scenario { name: "too often", call: ("fault", r#"{"kind":"later"}"#), answer: Told::Failure(&["HTTP 429", MAYBE]), ..HTTP },
    Scenario {
        name: "401 in the middle of a session",
        call: ("fault", r#"{"kind":"challenge"}"#),
        answer: Told::Failure(&["HTTP 401"]),
        ..HTTP
    },
    Scenario {
        name: "403 in the middle of a session",
        call: ("fault", r#"{"kind":"status:403"}"#),
        answer: Told::Failure(&["HTTP 403"]),
        ..HTTP
    },
    Scenario { name: "a page for people", call: ("fault", r#"{"kind":"html"}"#), answer: LOST, ..HTTP },
    Scenario {
        name: "a page of a gateway",
        call: ("fault", r#"{"kind":"html:502"}"#),
        answer: Told::Failure(&["HTTP 502", MAYBE]),
        ..HTTP
    },
    Scenario {
        name: "gzip that breaks off",
        call: ("fault", r#"{"kind":"gzip-cut"}"#),
        answer: Told::Failure(&["compressed", MAYBE]),
        ..HTTP
    },
    Scenario {
        name: "gzip that is none",
        call: ("fault", r#"{"kind":"gzip-none"}"#),
        answer: Told::Failure(&["compressed", MAYBE]),
        ..HTTP
    },
    Scenario { name: "a body that is shorter than said", call: ("fault", r#"{"kind":"short"}"#), answer: LOST, ..HTTP },
    Scenario { name: "half a message", call: ("fault", r#"{"kind":"half-json"}"#), answer: LOST, ..HTTP },
    Scenario { name: "no JSON", call: ("fault", r#"{"kind":"no-json"}"#), answer: LOST, ..HTTP },
    Scenario { name: "nothing", call: ("fault", r#"{"kind":"empty"}"#), answer: LOST, ..HTTP },
    Scenario { name: "202 to a call", call: ("fault", r#"{"kind":"status:202"}"#), answer: LOST, ..HTTP },
    Scenario { name: "204 to a call", call: ("fault", r#"{"kind":"status:204"}"#), answer: LOST, ..HTTP },
    Scenario { name: "a message as plain text", call: ("fault", r#"{"kind":"plain"}"#), answer: LOST, ..HTTP },
    Scenario { name: "a body that breaks off at once", call: ("fault", r#"{"kind":"cut"}"#), answer: LOST, ..HTTP },
    Scenario {
        name: "redirects in a circle",
        call: ("fault", r#"{"kind":"loop"}"#),
        answer: Told::Failure(&["struck", "redirect"]),
        ..HTTP
    },
    Scenario {
        name: "a redirect to somebody else",
        call: ("fault", r#"{"kind":"redirect:http://127.0.0.1:9/mcp"}"#),
        answer: Told::Failure(&["struck", "redirect"]),
        ..HTTP
    },
    Scenario { name: "no head", options: &["--call-timeout=1"], call: ("fault", r#"{"kind":"headless"}"#), answer: SILENT, ..HTTP },
    Scenario { name: "no body", options: &["--call-timeout=1"], call: ("fault", r#"{"kind":"bodyless"}"#), answer: SILENT, ..HTTP },
    Scenario { name: "a stream that ends before the answer", call: ("fault", r#"{"kind":"events-end"}"#), answer: LOST, ..HTTP },
    Scenario { name: "half an event", call: ("fault", r#"{"kind":"half-event"}"#), answer: LOST, ..HTTP },
    Scenario { name: "an event that is no message, then the answer", call: ("fault", r#"{"kind":"bad-event"}"#), answer: SAME, ..HTTP },
    Scenario { name: "an event of another kind, then the answer", call: ("fault", r#"{"kind":"other-event"}"#), answer: SAME, ..HTTP },
    Scenario { name: "answers in streams that have to be resumed", flags: &["--resumable"], ..HTTP },
    Scenario { name: "a session that is forgotten", kinds: BOTH, strike: |struck| struck.server.running().forget_sessions(), ..SOUND },
    Scenario {
        name: "a session that is forgotten, as many servers say it",
        kinds: BOTH,
        flags: &["--unknown-session=400"],
        strike: |struck| struck.server.running().forget_sessions(),
        ..SOUND
    },
    Scenario {
        name: "a server that is started anew",
        kinds: BOTH,
        strike: |struck| struck.server.running_mut().restart(),
        // A tool that only reads: whether a request has reached a server that ends at that moment cannot be known.
        call: ("odd", "{}"),
        answer: Told::Result(""),
        ..SOUND
    },
    Scenario {
        name: "a server that goes away",
        strike: |struck| struck.server.running_mut().stop(),
        answer: Told::Failure(&["struck"]),
        mend: |struck| struck.server.running_mut().restart(),
        again: Again::Soon(4000),
        kinds: &[Kind::HttpJson],
        // Behind a wire that lasts, nobody can know that nothing was sent.
        entry: Some(|struck| struck.server.entry()),
        ..SOUND
    },
    Scenario { name: "connections that end while nobody needs them", strike: |struck| struck.relay().cut(), ..HTTP },
    Scenario {
        name: "a connection that ends during a call",
        call: ("slow", r#"{"label":"x"}"#),
        meanwhile: Some(|struck| struck.relay().cut()),
        answer: LOST,
        within: 4000,
        ..HTTP
    },
    Scenario {
        name: "connections that end with no word",
        strike: |struck| struck.relay().is(Line::Closed),
        answer: LOST,
        mend: |struck| struck.relay().is(Line::Open),
        ..HTTP
    },
    Scenario {
        name: "connections that are reset",
        strike: |struck| {
            struck.relay().is(Line::Reset);
            struck.relay().cut();
        },
        answer: Told::Failure(&["struck", MAYBE]),
        mend: |struck| struck.relay().is(Line::Open),
        ..HTTP
    },
    Scenario {
        name: "a network that swallows everything",
        options: &["--call-timeout=1"],
        strike: |struck| struck.relay().is(Line::Silent),
        answer: SILENT,
        mend: |struck| struck.relay().is(Line::Open),
        ..HTTP
    },
    Scenario {
        name: "something that is not HTTP",
        strike: |struck| struck.relay().is(Line::Says(b"220 mail.example.com ESMTP\r\n")),
        answer: LOST,
        mend: |struck| struck.relay().is(Line::Open),
        ..HTTP
    },
    Scenario { name: "500 in the handshake", flags: &["--fault=initialize=status:500"], ..DEAD },
    Scenario { name: "a page in the handshake", flags: &["--fault=initialize=html"], ..DEAD },
    Scenario { name: "401 from the start", flags: &["--fault=initialize=status:401"], ..DEAD },
    Scenario { name: "gzip that breaks off in the handshake", flags: &["--fault=initialize=gzip-cut"], ..DEAD },
    Scenario { name: "redirects in a circle from the start", flags: &["--fault=initialize=loop"], ..DEAD },
];
