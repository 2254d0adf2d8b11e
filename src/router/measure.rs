//! How a call counts: what its answer says of its outcome.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{CallError, Router};
use crate::{
    protocol::{
        json::Object,
        message::{Kind, Message},
        server::ServerId,
    },
    telemetry::metrics::{Outcome, calls::Timed},
};

impl Router {
    /// The time of a call to this server begins.
    pub(super) fn time(&self, server: &ServerId) -> Timed {
        let catalog = self.catalog.current();
        self.calls.begin(catalog.server(server).map(|server| server.slug.as_str()))
    }
}

pub(super) fn outcome_of(answer: &Result<Message, CallError>) -> Outcome {
    match answer {
        Ok(reply) if reply.kind() == Kind::Result => outcome_of_result(&reply.body_bytes().unwrap_or_default()),
        Ok(_) | Err(_) => Outcome::Error,
    }
}

/// Of a `result` as JSON text.
pub(super) fn outcome_of_result(result: &[u8]) -> Outcome {
    if may_be_error(result) && is_error(result) { Outcome::ToolError } else { Outcome::Ok }
}

/// Whether a member `isError` is true, at whatever level. Large results are not taken apart for
/// this: within a string a quote has a backslash before it, so that the search goes past all content.
fn may_be_error(result: &[u8]) -> bool {
    /// Made once: to make it takes longer than to search a small result.
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(br#""isError""#));
    NAME.find_iter(result).any(|at| {
        let value = result[at + NAME.needle().len()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
    })
}

fn is_error(result: &[u8]) -> bool {
    let object = std::str::from_utf8(result).ok().and_then(|text| Object::parse(text).ok());
    object.is_some_and(|object| object.get("isError") == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_error_is_told_from_its_content() {
        let check = |result: &str, expect| assert_eq!(outcome_of_result(result.as_bytes()), expect, "{result}");
        check(r#"{"content":[]}"#, Outcome::Ok);
        check(r#"{"content":[],"isError":false}"#, Outcome::Ok);
        check(r#"{"content":[],"isError":true}"#, Outcome::ToolError);
        check("{\"isError\" :\n true , \"content\":[]}", Outcome::ToolError);
        check(r#"{"structuredContent":{"isError":false},"isError":true}"#, Outcome::ToolError);
        check(r#"{"structuredContent":{"isError":true},"isError":false}"#, Outcome::Ok);
        check(r#"{"content":[{"type":"text","text":"\"isError\":true"}]}"#, Outcome::Ok);
        check(r#"{"content":[{"type":"text","text":"isError"}],"isError":tru"#, Outcome::Ok);
        check("", Outcome::Ok);
    }

    #[test]
    fn what_is_no_result_is_an_error() {
        let reply = |text: &str| Message::parse(&text.to_owned().into()).expect("valid");
        let refused = reply(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}"#);
        assert_eq!(outcome_of(&Ok(refused)), Outcome::Error);
        assert_eq!(outcome_of(&Ok(reply(r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#))), Outcome::ToolError);
        assert_eq!(outcome_of(&Err(CallError::UnknownTool { name: "a".to_owned() })), Outcome::Error);
    }
}
