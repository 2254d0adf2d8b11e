//! What the proxy says of itself to whoever asks what it offers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    builtin,
    catalog::Catalog,
    protocol::{
        declared::{SERVER_INFO_KEY, TASKS_EXTENSION},
        revision::Revision,
    },
    router::{Answer, Router},
};

/// Tasks are part of older revisions, and an extension of later ones; neither can be had from the other.
const TASKS: &str = "tasks";

/// A client that is not sure which revision it speaks to takes longer silence for an old server.
const DISCOVERY: Duration = Duration::from_secs(1);

/// What the proxy itself has, and what servers have that it passes on.
pub(super) fn capabilities(catalog: &Catalog, revision: Revision) -> Value {
    let mut all = json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "listChanged": true, "subscribe": true },
        "completions": {},
        "logging": {},
    });
    for (name, value) in catalog.capabilities() {
        all[name] = value.clone();
    }
    let all_members = all.as_object_mut().expect("it was made as an object");
    if revision.has_handshake() {
        let extensions = all_members.get_mut("extensions").and_then(Value::as_object_mut);
        extensions.map(|extensions| extensions.shift_remove(TASKS_EXTENSION));
    } else {
        all_members.shift_remove(TASKS);
    }
    all
}

pub(super) fn server_info() -> Value {
    json!({ "name": "PluggedinMCP", "title": "plugged.in", "version": env!("CARGO_PKG_VERSION") })
}

/// The answer to `server/discover` (2026-07-28), where the same capabilities mean other ways: changes are told to those who listen,
/// and log messages come with the requests that ask for them. No notification says that extensions have been added, so that servers
/// which nobody knows yet are waited for a little.
pub(super) async fn discover(router: &Router) -> Answer {
    let catalog = router.catalog().settled_within(DISCOVERY).await;
    let supported: Vec<_> = Revision::ALL.iter().rev().map(|revision| revision.as_str()).collect();
    let result = json!({
        "supportedVersions": supported,
        "capabilities": capabilities(&catalog, Revision::STATELESS),
        "instructions": builtin::instructions(&catalog),
        "_meta": { SERVER_INFO_KEY: server_info() },
    });
    Answer::Result(result.to_string().into())
}
