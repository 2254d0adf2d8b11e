//! Requests of 2026-07-28 and later, which no handshake comes before: how they are told from others where
//! no header says so, and which of them are served. The same on every wire.

use crate::{
    protocol::{
        declared::{self, Declared},
        error::{ErrorObject, METHOD_NOT_FOUND},
        message::{Kind, Message},
        revision::Revision,
    },
    security::redact,
};

/// The methods that are served, each with the member of `params` that the header `Mcp-Name` repeats. Others exist in older
/// revisions only, or not at all.
const SERVED: [(&str, Option<&str>); 10] = [
    ("server/discover", None),
    ("tools/list", None),
    ("tools/call", Some("name")),
    ("prompts/list", None),
    ("prompts/get", Some("name")),
    ("resources/list", None),
    ("resources/templates/list", None),
    ("resources/read", Some("uri")),
    ("completion/complete", None),
    ("subscriptions/listen", None),
];

/// Whether a message stands for itself on a wire without headers. `agreed` is what a handshake has settled: after one, messages
/// are not searched for what they say of their client, and only a client that looks for another era gets its answer.
pub(super) fn is_modern(message: &Message, agreed: Option<Revision>) -> bool {
    match (message.kind(), message.method(), agreed) {
        (Kind::Notification | Kind::Result | Kind::Error, ..) | (Kind::Request, "initialize", _) => false,
        (Kind::Request, "server/discover", None) => true,
        (Kind::Request, "server/discover", Some(_)) | (Kind::Request, _, None) => declared::is_declaring(message),
        (Kind::Request, _, Some(_)) => false,
    }
}

/// What a request says of its client, if it says all that it must and asks for something that is served.
///
/// # Errors
/// What is answered.
pub(super) fn declared(request: &Message) -> Result<Declared, ErrorObject> {
    let declared = Declared::in_request(request)?;
    check_method(request)?;
    Ok(declared)
}

/// # Errors
/// What is answered to a request for something else than what is served.
pub(super) fn check_method(request: &Message) -> Result<(), ErrorObject> {
    let method = request.method();
    if SERVED.iter().any(|(served, _)| *served == method) {
        return Ok(());
    }
    Err(ErrorObject::new(METHOD_NOT_FOUND, format!("method not found: {}", redact::quote(method, 100))))
}

/// The member that `Mcp-Name` repeats.
pub(super) fn named_by(method: &str) -> Option<&'static str> {
    SERVED.iter().find(|(served, _)| *served == method).and_then(|(_, member)| *member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::{INVALID_PARAMS, UNSUPPORTED_VERSION};

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
            ("initialize", VERSION, None, false),
        ] {
            assert_eq!(is_modern(&message(method, meta), agreed), expect, "{method} {meta} {agreed:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_said() {
        let both = format!("{VERSION},{CAPABILITIES}");
        for (method, meta, code) in [
            ("tools/list", both.as_str(), None),
            ("ping", &both, Some(METHOD_NOT_FOUND)),
            ("resources/subscribe", &both, Some(METHOD_NOT_FOUND)),
            ("tools/list", VERSION, Some(INVALID_PARAMS)),
            ("tools/list", r#""io.modelcontextprotocol/protocolVersion":"2025-11-25""#, Some(UNSUPPORTED_VERSION)),
        ] {
            assert_eq!(declared(&message(method, meta)).err().map(|error| error.code), code, "{method} {meta}");
        }
    }
}
