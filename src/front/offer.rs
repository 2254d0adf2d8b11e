//! What the proxy says of itself to whoever asks what it offers.

use serde_json::{Value, json};

use crate::{
    builtin,
    protocol::{declared::SERVER_INFO_KEY, revision::Revision},
    router::{Answer, Router},
};

/// To clients with a handshake.
pub(super) fn capabilities() -> Value {
    json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "listChanged": true, "subscribe": true },
        "completions": {},
        "logging": {},
    })
}

pub(super) fn server_info() -> Value {
    json!({ "name": "PluggedinMCP", "title": "plugged.in", "version": env!("CARGO_PKG_VERSION") })
}

/// The answer to `server/discover` (2026-07-28), where the same capabilities mean other ways: changes are told to those who listen,
/// and log messages come with the requests that ask for them.
pub(super) fn discover(router: &Router) -> Answer {
    let supported: Vec<_> = Revision::ALL.iter().rev().map(|revision| revision.as_str()).collect();
    let result = json!({
        "supportedVersions": supported,
        "capabilities": capabilities(),
        "instructions": builtin::instructions(&router.catalog().current()),
        "_meta": { SERVER_INFO_KEY: server_info() },
    });
    Answer::Result(result.to_string().into())
}
