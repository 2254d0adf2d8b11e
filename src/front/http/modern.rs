//! Clients of 2026-07-28 and later: no handshake and no session; every request says for itself
//! who asks and in which revision, in its `_meta` and again in its headers.
//!
//! Headers are checked against the message before anything is done with it, because others on
//! the way route and authorise by them (transport, "Server validation").

use axum::{
    http::{HeaderMap, HeaderName, StatusCode},
    response::Response,
};

use super::{
    messages::{PROTOCOL_VERSION, SESSION_ID},
    reply,
};
use crate::{
    front::modern,
    protocol::{
        declared::{self, Declared},
        error::{ErrorObject, HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY, UNSUPPORTED_VERSION},
        header::{self, decoded, named_by},
        json::Object,
        message::{Frame, Id, Kind, Message},
        revision::Revision,
    },
    router::Router,
};

const METHOD: HeaderName = HeaderName::from_static(header::METHOD);
const NAME: HeaderName = HeaderName::from_static(header::NAME);

/// Whether the message is meant in a revision without sessions. `initialize` never is, whatever
/// it names, nor is anything that comes with a session. Where header and message are at odds it
/// is, to be told so.
pub(super) fn is_modern(headers: &HeaderMap, version: Option<Revision>, message: &Message) -> bool {
    if message.method() == "initialize" {
        // A client with a handshake has nothing to declare beside it.
        return version.is_none_or(|version| !version.has_handshake()) && declared::is_declaring(message);
    }
    match version {
        Some(version) if !version.has_handshake() => true,
        None if message.method() == "server/discover" => true,
        Some(_) | None if headers.contains_key(SESSION_ID) => false,
        Some(_) => declared::named_version(message).is_some_and(|named| !Revision::parse(&named).is_some_and(Revision::has_handshake)),
        None => declared::is_declaring(message),
    }
}

/// What a request says of its client.
///
/// # Errors
/// The answer to a request that does not say enough or is at odds with its headers.
pub(super) fn declared(headers: &HeaderMap, message: &Message) -> Result<Declared, Response> {
    let id = message.id();
    let bad = |error: ErrorObject| reply::error(StatusCode::BAD_REQUEST, id.as_ref(), &error);
    let refused = |code, message: String| bad(ErrorObject::new(code, message));
    let mismatch = |name: &HeaderName| refused(HEADER_MISMATCH, format!("the header `{name}` does not say what the message says"));
    // First of all: who routes by the header has believed it, whatever it names.
    if let Some(named) = declared::named_version(message) {
        same(headers, &PROTOCOL_VERSION, &named).map_err(|()| mismatch(&PROTOCOL_VERSION))?;
    }
    let declared = Declared::in_request(message).map_err(bad)?;
    same(headers, &METHOD, message.method()).map_err(|()| mismatch(&METHOD))?;
    if let Some(member) = named_by(message.method()) {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let name = params.as_ref().and_then(|params| params.string(member));
        let name = name.ok_or_else(|| refused(INVALID_PARAMS, format!("`{member}` must be a string")))?;
        same(headers, &NAME, &name).map_err(|()| mismatch(&NAME))?;
    }
    Ok(declared)
}

/// # Errors
/// The answer to a request for something that is not served.
pub(super) fn check_method(request: &Message, router: &Router) -> Result<(), Response> {
    modern::check_method(request, router).map_err(|error| reply::error(StatusCode::NOT_FOUND, request.id().as_ref(), &error))
}

/// Whether a call says in its headers what it says in the arguments that its tool's schema marks for it. Headers of others are
/// somebody else's.
///
/// # Errors
/// The answer to one that does not.
pub(super) fn check_params(headers: &HeaderMap, call: &Message, router: &Router) -> Result<(), Response> {
    if call.method() != "tools/call" {
        return Ok(());
    }
    let Some(params) = call.body().and_then(|params| Object::parse(params).ok()) else { return Ok(()) };
    let Some(marked) = params.string("name").and_then(|tool| router.param_headers(&tool)) else { return Ok(()) };
    let arguments = params.get("arguments").unwrap_or("{}");
    for param in marked.iter() {
        let name = HeaderName::try_from(&param.header).expect("annotations are names of headers");
        let is_same = match param.text(arguments) {
            Some(text) => same(headers, &name, &text).is_ok(),
            None => !headers.contains_key(&name),
        };
        if !is_same {
            let error = ErrorObject::new(HEADER_MISMATCH, format!("the header `{name}` does not say what the argument says"));
            return Err(reply::error(StatusCode::BAD_REQUEST, call.id().as_ref(), &error));
        }
    }
    Ok(())
}

/// The status that goes with an answer ("Error handling"): that of errors which somebody on the way may act upon.
pub(super) fn status(answer: &Frame) -> StatusCode {
    /// Errors are short, and results may be large.
    const LONGEST: usize = 64 * 1024;
    let message = if answer.len() <= LONGEST { Message::parse(&answer.clone().into_bytes()).ok() } else { None };
    let message = message.filter(|message| message.kind() == Kind::Error);
    let error = message.as_ref().and_then(|message| Object::parse(message.body()?).ok());
    match error.and_then(|error| error.get("code")?.parse().ok()) {
        Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// A client has no requests to answer, and batches are gone.
pub(super) fn not_a_request(id: Option<&Id>) -> Response {
    let error = ErrorObject::new(INVALID_REQUEST, "in this revision a client sends requests and notifications only, one at a time");
    reply::error(StatusCode::BAD_REQUEST, id, &error)
}

/// Whether exactly one header of this name has this value.
fn same(headers: &HeaderMap, name: &HeaderName, expected: &str) -> Result<(), ()> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().and_then(|value| decoded(value.as_bytes())).ok_or(())?;
    if values.next().is_none() && *value == *expected.as_bytes() { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;
    use crate::protocol::declared::VERSION_KEY;

    fn message(method: &str, params: &str) -> Message {
        Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#).into()).expect("valid")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    const META: &str =
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1}}"#;

    #[test]
    fn eras_are_told_apart_by_message() {
        let modern = message("tools/list", &format!("{{{META}}}"));
        let none = HeaderMap::new();
        assert!(is_modern(&none, None, &modern));
        assert!(is_modern(&none, None, &message("server/discover", "{}")));
        assert!(is_modern(&none, Some(Revision::V2026_07_28), &message("tools/list", "{}")));
        assert!(is_modern(&none, Some(Revision::V2025_11_25), &modern));
        assert!(!is_modern(&none, Some(Revision::V2025_11_25), &message("tools/list", "{}")));
        assert!(!is_modern(&headers(&[("mcp-session-id", "x")]), None, &modern));
        assert!(!is_modern(&headers(&[("mcp-session-id", "x")]), Some(Revision::V2025_11_25), &modern));
        assert!(!is_modern(&none, Some(Revision::V2026_07_28), &message("initialize", "{}")));
        assert!(!is_modern(&none, None, &message("tools/call", &format!(r#"{{"arguments":{{"text":"{VERSION_KEY}"}}}}"#))));
    }

    #[track_caller]
    fn check(method: &str, params: &str, pairs: &[(&'static str, &str)], expect: Option<&str>) {
        let message = message(method, params);
        let outcome = declared(&headers(pairs), &message).ok();
        assert_eq!(outcome.as_ref().map(|declared| &*declared.capabilities_json), expect, "{method} {params} {pairs:?}");
    }

    #[test]
    fn headers_must_say_what_the_message_says() {
        let version = ("mcp-protocol-version", "2026-07-28");
        let call = format!(r#"{{"name":"héllo",{META}}}"#);
        let list = format!("{{{META}}}");
        let encoded = format!("=?base64?{}?=", BASE64_STANDARD.encode("héllo"));
        check("tools/list", &list, &[version, ("mcp-method", "tools/list")], Some(r#"{"x":1}"#));
        check("tools/list", &list, &[version, ("mcp-method", "=?base64?dG9vbHMvbGlzdA==?=")], Some(r#"{"x":1}"#));
        check("tools/list", &list, &[version], None);
        check("tools/list", &list, &[("mcp-method", "tools/list")], None);
        check("tools/list", &list, &[version, ("mcp-method", "tools/call")], None);
        check("tools/list", &list, &[version, ("mcp-method", "tools/list"), ("mcp-method", "tools/call")], None);
        check("tools/call", &call, &[version, ("mcp-method", "tools/call"), ("mcp-name", &encoded)], Some(r#"{"x":1}"#));
        check("tools/call", &call, &[version, ("mcp-method", "tools/call"), ("mcp-name", "hello")], None);
        check("tools/call", &call, &[version, ("mcp-method", "tools/call"), ("mcp-name", "héllo")], None);
        check("tools/call", &call, &[version, ("mcp-method", "tools/call"), ("mcp-name", "=?base64?***?=")], None);
        check("tools/call", &call, &[version, ("mcp-method", "tools/call")], None);
        check("tools/list", "{}", &[version, ("mcp-method", "tools/list")], None);
    }
}
