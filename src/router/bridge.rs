//! What differs between what servers answer and what the client's revision demands.

use std::borrow::Cow;

use bytes::Bytes;

use super::Answer;
use crate::protocol::{
    json::{Object, with_member},
    message::Kind,
    revision::Revision,
};

/// The answer as the client's revision has it. Members that are there already stay.
pub fn shape(answer: Answer, method: &str, revision: Revision) -> Answer {
    if !revision.has_result_types() {
        return answer;
    }
    match answer {
        Answer::Result(result) => Answer::Result(completed(result, method)),
        Answer::Forwarded(message, body) if message.kind() == Kind::Result => {
            let result = body.or_else(|| message.body_bytes()).unwrap_or_default();
            Answer::Forwarded(message, Some(completed(result, method)))
        }
        // An error has the same shape in all revisions.
        Answer::Forwarded(message, body) => Answer::Forwarded(message, body),
    }
}

/// `resultType`, and for what may be cached how (2026-07-28, "Results", "Caching"). Lists change with
/// the workspace and belong to who asks, so that nothing may be kept.
fn completed(result: Bytes, method: &str) -> Bytes {
    let has = |result: &Bytes, name: &str| {
        let object = std::str::from_utf8(result).ok().and_then(|text| Object::parse(text).ok());
        object.is_none_or(|object| object.get(name).is_some())
    };
    let mut members = vec![("resultType", Cow::Borrowed(r#""complete""#))];
    if is_cacheable(method) {
        members.extend([("ttlMs", Cow::Borrowed("0")), ("cacheScope", Cow::Borrowed(r#""private""#))]);
    }
    let missing: Vec<_> = members.into_iter().filter(|(name, _)| !has(&result, name)).collect();
    missing.into_iter().fold(result, |result, (name, value)| with_member(&result, name, &value))
}

fn is_cacheable(method: &str) -> bool {
    matches!(method, "server/discover" | "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "resources/read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Message;

    fn shaped(result: &str, method: &str, revision: Revision) -> String {
        let reply = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()).expect("valid");
        let id = reply.id().expect("it has one");
        let frame = shape(Answer::Forwarded(reply, None), method, revision).into_frame(&id);
        let text = String::from_utf8(frame.into_bytes().to_vec()).expect("UTF-8");
        text.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#).and_then(|text| text.strip_suffix('}')).expect("a result").to_owned()
    }

    #[test]
    fn what_the_revision_demands_is_added_once() {
        let new = Revision::V2026_07_28;
        assert_eq!(shaped(r#"{"content":[1.0]}"#, "tools/call", new), r#"{"resultType":"complete","content":[1.0]}"#);
        assert_eq!(shaped(r#"{"resultType":"task"}"#, "tools/call", new), r#"{"resultType":"task"}"#);
        assert_eq!(
            shaped(r#"{"ttlMs":5,"contents":[]}"#, "resources/read", new),
            r#"{"cacheScope":"private","resultType":"complete","ttlMs":5,"contents":[]}"#
        );
        assert_eq!(shaped(r#"{"content":[]}"#, "tools/call", Revision::V2025_11_25), r#"{"content":[]}"#);
    }
}
