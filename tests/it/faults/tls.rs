//! TLS that fails: the call says what is wrong with it and what to do, and works as soon as that is done.

use super::scenario::{Again, MAYBE, SOUND, Scenario, Struck, Told, check};
use crate::support::tls::Shown;
use crate::support::{Kind, eventually};

#[test]
fn of_tls() {
    check(SCENARIOS);
}

#[test]
fn of_tls_before_the_app() {
    check(APPS);
}

const REMOTE: &[Kind] = &[Kind::HttpJson, Kind::Sse];

/// A server that nobody can get to from the start.
const DEAD: Scenario = Scenario { kinds: REMOTE, is_dead: true, within: 6000, mend: is_well, again: Again::Soon(6000), ..SOUND };
/// One that goes wrong while it is in use.
const LIVE: Scenario = Scenario { kinds: REMOTE, tls: Some(Shown::Good), mend: is_well, again: Again::Soon(4000), ..SOUND };

fn is_well(struck: &mut Struck) {
    struck.door().shows(Shown::Good);
}

/// Until the proxy has noticed calls may still take connections that have ended.
fn becomes(struck: &mut Struck, shown: Shown) {
    struck.door().shows(shown);
    eventually("the proxy has noticed", || (struck.door().failed() > 0).then_some(()));
}

const fn says(words: &'static [&'static str]) -> Told {
    Told::Failure(words)
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "TLS with which nothing is wrong",
        kinds: &[Kind::Http, Kind::HttpJson, Kind::Sse],
        mend: |_| {},
        again: Again::Next(2000),
        ..LIVE
    },
    Scenario {
        name: "a certificate that vouches for itself",
        tls: Some(Shown::Itself),
        answer: says(&["struck", "signed by nobody whom this machine trusts", "hint: ", "SSL_CERT_FILE"]),
        ..DEAD
    },
    Scenario {
        name: "a certificate of an authority",
        tls: Some(Shown::Authority),
        answer: says(&["struck", "not one for servers", "hint: its owner has to make one for the server"]),
        ..DEAD
    },
    Scenario {
        name: "a certificate that has expired",
        tls: Some(Shown::Expired),
        answer: says(&["struck", "its certificate has expired", "hint: its owner has to renew it"]),
        ..DEAD
    },
    Scenario {
        name: "a certificate that is not valid yet",
        tls: Some(Shown::Early),
        answer: says(&["struck", "not valid yet", "hint: see that this machine's clock is right"]),
        ..DEAD
    },
    Scenario {
        name: "a certificate for another host",
        tls: Some(Shown::Elsewhere),
        answer: says(&["struck", "for another host name", "hint: use the host name that the certificate is for"]),
        ..DEAD
    },
    Scenario {
        name: "an end in the middle of the handshake",
        tls: Some(Shown::End),
        answer: says(&["struck", "the connection ended in the TLS handshake", "hint: check that TLS is spoken at this port"]),
        ..DEAD
    },
    Scenario {
        name: "a version that nobody speaks any more",
        tls: Some(Shown::OldProtocol),
        answer: says(&["struck", "no TLS version and cipher", "hint: its owner has to enable TLS 1.2 or 1.3"]),
        ..DEAD
    },
    Scenario {
        name: "a handshake that is never answered",
        tls: Some(Shown::Nothing),
        answer: says(&["struck", "connecting took too long"]),
        within: 14_000,
        ..DEAD
    },
    Scenario {
        name: "plain HTTP where TLS is spoken",
        tls: Some(Shown::Good),
        entry: Some(|struck| {
            let mut entry = struck.entry();
            entry["url"] = entry["url"].as_str().expect("it has one").replacen("https:", "http:", 1).into();
            entry
        }),
        answer: says(&["struck", "does not speak HTTP", "should begin with `https:`"]),
        again: Again::Never,
        ..DEAD
    },
    Scenario {
        name: "TLS where plain HTTP is spoken",
        entry: Some(|struck| {
            let mut entry = struck.entry();
            entry["url"] = entry["url"].as_str().expect("it has one").replacen("http:", "https:", 1).into();
            entry
        }),
        answer: says(&["struck", "does not speak TLS", "should begin with `http:`"]),
        mend: |_| {},
        again: Again::Never,
        ..DEAD
    },
    Scenario {
        name: "a certificate that expires while the server is in use",
        strike: |struck| becomes(struck, Shown::Expired),
        answer: says(&["struck", "its certificate has expired"]),
        ..LIVE
    },
    Scenario {
        name: "a connection that ends while a call is under way",
        call: ("slow", r#"{"label":"x"}"#),
        meanwhile: Some(is_well),
        answer: says(&["struck", MAYBE]),
        within: 4000,
        ..LIVE
    },
];

const APP: Scenario = Scenario {
    with_app: true,
    tls: Some(Shown::Good),
    tls_of_app: true,
    options: &["--refresh-interval=0.5"],
    call: ("pluggedin_list_notifications", "{}"),
    within: 12_000,
    mend: is_well,
    again: Again::Soon(4000),
    ..SOUND
};

const APPS: &[Scenario] = &[
    Scenario { name: "an App behind TLS", answer: Told::Result(""), mend: |_| {}, ..APP },
    Scenario {
        name: "an App whose certificate vouches for itself",
        strike: |struck| becomes(struck, Shown::Itself),
        answer: says(&["plugged.in", "signed by nobody whom this machine trusts", "SSL_CERT_FILE"]),
        ..APP
    },
    Scenario {
        name: "an App whose certificate has expired",
        strike: |struck| becomes(struck, Shown::Expired),
        answer: says(&["plugged.in", "its certificate has expired", "hint: its owner has to renew it"]),
        ..APP
    },
    Scenario {
        name: "an App whose certificate is for another host",
        strike: |struck| becomes(struck, Shown::Elsewhere),
        answer: says(&["plugged.in", "for another host name"]),
        ..APP
    },
    Scenario {
        name: "an App that ends the handshake",
        strike: |struck| becomes(struck, Shown::End),
        answer: says(&["plugged.in", "ended in the TLS handshake"]),
        ..APP
    },
];
