//! What is served although the protocol asks for more: people with curl, and clients that
//! came with the Node proxy. Who speaks the protocol gets the protocol.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::Response,
};

use super::reply;
use crate::protocol::{
    message::{Kind, Message},
    revision::Revision,
};

/// Whether a request without a session id may begin a session. By the protocol only
/// `initialize` does. Without it any request may, unless its client names a revision: then
/// it has been initialised, and must have a session.
pub(super) fn may_begin(messages: &[Message], version: Option<Revision>) -> bool {
    match messages {
        [only] if only.method() == "initialize" => true,
        messages => version.is_none() && messages.iter().any(|message| message.kind() == Kind::Request),
    }
}

/// What the client takes as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub json: bool,
    pub events: bool,
}

impl Accepted {
    /// By the protocol a client names both types. JSON alone, anything and nothing at all are
    /// answered with JSON: who did not ask for events may not be able to read them.
    ///
    /// # Errors
    /// 406 where neither would be taken.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Response> {
        let mut accepted = Self { json: false, events: false };
        let mut said = false;
        for value in headers.get_all(header::ACCEPT) {
            said = true;
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default();
                if parts.any(is_never) {
                    continue;
                }
                accepted.json |= ["application/json", "application/*", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known));
                accepted.events |= ["text/event-stream", "text/*"].iter().any(|known| kind.eq_ignore_ascii_case(known));
            }
        }
        accepted.json |= !said;
        if accepted.json || accepted.events {
            return Ok(accepted);
        }
        Err(reply::refuse(StatusCode::NOT_ACCEPTABLE, "not acceptable; hint: send `Accept: application/json, text/event-stream`"))
    }
}

/// `q=0` in one of its spellings (RFC 9110, section 12.4.2).
fn is_never(parameter: &str) -> bool {
    let value = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q")).map(|(_, value)| value.trim());
    value.is_some_and(|value| value.parse::<f32>() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: Option<&str>, expect: Option<(bool, bool)>) {
        let headers = accept.map(|accept| (header::ACCEPT, accept.parse().expect("a header value"))).into_iter().collect();
        let accepted = Accepted::of(&headers).ok().map(|accepted| (accepted.json, accepted.events));
        assert_eq!(accepted, expect, "{accept:?}");
    }

    #[test]
    fn what_a_client_takes() {
        check(Some("application/json, text/event-stream"), Some((true, true)));
        check(Some("TEXT/event-stream;q=0.5 , Application/JSON"), Some((true, true)));
        check(Some("application/json"), Some((true, false)));
        check(Some("*/*"), Some((true, false)));
        check(None, Some((true, false)));
        check(Some("text/event-stream"), Some((false, true)));
        check(Some("application/json;q=0, text/event-stream"), Some((false, true)));
        check(Some("text/html"), None);
        check(Some("application/json;q=0.0"), None);
        check(Some(""), None);
    }

    #[test]
    fn only_who_names_no_revision_may_leave_out_initialize() {
        let message = |method: &str| Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#).into()).expect("valid");
        let notification = Message::notification("notifications/initialized", None);
        assert!(may_begin(&[message("initialize")], Some(Revision::V2025_11_25)));
        assert!(may_begin(&[message("tools/list")], None));
        assert!(!may_begin(&[message("tools/list")], Some(Revision::V2025_11_25)));
        assert!(!may_begin(&[notification], None));
        assert!(!may_begin(&[], None));
    }
}
