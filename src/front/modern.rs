//! Requests of 2026-07-28 and later, which no handshake comes before: how they are told from others where
//! no header says so, and which of them are served. The same on every wire.

use crate::{
    protocol::{
        declared::{self, Declared},
        error::{ErrorObject, METHOD_NOT_FOUND},
        message::{Kind, Message},
        revision::Revision,
    },
    router::Router,
    security::redact,
};

/// The methods that the proxy serves itself, on every wire.
const SERVED: [&str; 10] = [
    "server/discover",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
    "subscriptions/listen",
];

/// What older revisions have and this one has not, so that no server can be meant.
const GONE: [&str; 7] =
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "tasks/result"];

/// Whether a message stands for itself on a wire without headers. `agreed` is what a handshake has settled: after one, messages
/// are not searched for what they say of their client, and only a client that looks for another era gets its answer.
pub(super) fn is_modern(message: &Message, agreed: Option<Revision>) -> bool {
    match (message.kind(), message.method(), agreed) {
        (Kind::Request, "server/discover", None) => true,
        // A client with a handshake has nothing to declare beside it.
        (Kind::Request, "initialize" | "server/discover", _) | (Kind::Request, _, None) => declared::is_declaring(message),
        (Kind::Request, _, Some(_)) | (Kind::Notification | Kind::Result | Kind::Error, ..) => false,
    }
}

/// What a request says of its client, if it says all that it must and asks for something that is served.
///
/// # Errors
/// What is answered.
pub(super) fn declared(request: &Message, router: &Router) -> Result<Declared, ErrorObject> {
    let declared = Declared::in_request(request)?;
    check_method(request, router)?;
    Ok(declared)
}

/// # Errors
/// What is answered to a request for something else than what is served.
pub(super) fn check_method(request: &Message, router: &Router) -> Result<(), ErrorObject> {
    let method = request.method();
    if SERVED.contains(&method) || (!GONE.contains(&method) && router.passes(method)) {
        return Ok(());
    }
    Err(ErrorObject::new(METHOD_NOT_FOUND, format!("method not found: {}", redact::quote(method, 100))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    const CAPABILITIES: &str = r#""io.modelcontextprotocol/clientCapabilities":{}"#;

    fn message(method: &str, meta: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{{{meta}}}}}}}"#);
        Message::parse(&text.into()).expect("valid")
    }

    #[test]
    fn eras_are_told_apart_by_message() {
        let old = Some(Revision::V2025_11_25);
        for (method, meta, agreed, expect) in [
            ("tools/list", VERSION, None, true),
            ("tools/list", CAPABILITIES, None, true),
            ("tools/list", r#""io.modelcontextprotocol/protocolVersion":1"#, None, true),
            ("tools/list", "", None, false),
            ("tools/list", r#""io.modelcontextprotocol/related-task":{"taskId":"x"}"#, None, false),
            ("tools/list", r#""progressToken":"io.modelcontextprotocol/protocolVersion""#, None, false),
            ("tools/list", VERSION, old, false),
            ("server/discover", "", None, true),
            ("server/discover", "", old, false),
            ("server/discover", VERSION, old, true),
            ("initialize", "", None, false),
            ("initialize", VERSION, None, true),
        ] {
            assert_eq!(is_modern(&message(method, meta), agreed), expect, "{method} {meta} {agreed:?}");
        }
    }
}
