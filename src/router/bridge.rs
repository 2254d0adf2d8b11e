//! What differs between what servers answer and what the client's revision demands.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Answer;
use crate::protocol::{
    declared::SERVER_INFO_KEY,
    error::{HEADER_MISMATCH, INVALID_PARAMS, RESOURCE_NOT_FOUND, URL_ELICITATION_REQUIRED},
    json::{self, FromObject, Object, with_member},
    message::{Frame, Kind, Message, Span},
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
    let missing = {
        let Some(object) = std::str::from_utf8(&result).ok().and_then(|text| Object::parse(text).ok()) else { return result };
        let kind = object.string("resultType");
        let mut members = vec![("resultType", Cow::Borrowed(r#""complete""#))];
        // What is no answer yet cannot be kept.
        if is_cacheable(method) && kind.is_none_or(|kind| kind == "complete") {
            members.extend([("ttlMs", Cow::Borrowed("0")), ("cacheScope", Cow::Borrowed(r#""private""#))]);
        }
        members.retain(|(name, _)| object.get(name).is_none());
        members
    };
    missing.into_iter().fold(result, |result, (name, value)| with_member(&result, name, &value))
}

fn is_cacheable(method: &str) -> bool {
    matches!(method, "server/discover" | "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "resources/read")
}

/// What a server with a handshake answered, for this client. `uri` is the resource that it was asked for, if it was one.
pub(super) fn from_older(reply: Message, client: Revision, uri: Option<&str>) -> Message {
    if !client.has_plain_not_found() {
        return reply;
    }
    let reply = recoded(reply, RESOURCE_NOT_FOUND, INVALID_PARAMS, false);
    match uri {
        Some(uri) => naming(&reply, uri).unwrap_or(reply),
        None => reply,
    }
}

/// An error about a resource, with the `data` that says so and that older servers leave out.
fn naming(reply: &Message, uri: &str) -> Option<Message> {
    let error = Object::parse(reply.body()?).ok()?;
    if reply.kind() != Kind::Error || error.get("code")? != INVALID_PARAMS.to_string() || error.get("data").is_some() {
        return None;
    }
    let data = format!(r#"{{"uri":{}}}"#, serde_json::Value::from(uri));
    let error = with_member(&reply.body_bytes()?, "data", &data);
    Message::parse(&reply.with_body(error).into_bytes()).ok()
}

/// Whether the server found headers to be at odds with their message.
pub(super) fn is_header_mismatch(reply: &Message) -> bool {
    let error = reply.body().filter(|_| reply.kind() == Kind::Error).and_then(|error| Object::parse(error).ok());
    error.and_then(|error| error.get("code")).is_some_and(|code| code == HEADER_MISMATCH.to_string())
}

/// What a server without a handshake answered, for a client with one: older revisions know nothing of
/// result types and of how long something may be kept.
pub(super) fn from_newer(reply: Message) -> Message {
    match reply.kind() {
        Kind::Result => stripped(&reply).unwrap_or(reply),
        // An invalid parameter with a URI is a resource that is not there.
        _ => recoded(reply, INVALID_PARAMS, RESOURCE_NOT_FOUND, true),
    }
}

fn stripped(reply: &Message) -> Option<Message> {
    let json = reply.body()?;
    let result = Object::parse(json).ok()?;
    // Another kind of result than a whole one is for the client to judge.
    result.string("resultType").filter(|kind| kind == "complete")?;
    // Servers say in each result who they are, which a handshake has said once.
    let meta = result.get("_meta").and_then(|json| Some((json, Object::parse(json).ok()?)));
    let only_names_server = meta.as_ref().is_some_and(|(_, meta)| !meta.is_empty() && meta.iter().all(|(name, _)| name == SERVER_INFO_KEY));
    let is_newer = |name: &str| matches!(name, "resultType" | "ttlMs" | "cacheScope") || (name == "_meta" && only_names_server);
    let mut pieces = result.without(reply.text(), json, is_newer);
    if let Some((json, meta)) = meta.filter(|_| !only_names_server) {
        pieces.extend(meta.without(reply.text(), json, |name| name == SERVER_INFO_KEY));
    }
    edited(reply, pieces.into_iter().map(|piece| (piece, Bytes::new())).collect())
}

/// An error with another code, if it has this one; `with_uri` is for those alone that name a resource.
fn recoded(reply: Message, from: i32, to: i32, with_uri: bool) -> Message {
    let edit = || {
        let error = Object::parse(reply.body()?).ok()?;
        let names_resource = || error.get("data").and_then(|data| Object::parse(data).ok()).is_some_and(|data| data.get("uri").is_some());
        if reply.kind() != Kind::Error || error.get("code")? != from.to_string() || (with_uri && !names_resource()) {
            return None;
        }
        let span = error.span(reply.text(), "code")?;
        edited(&reply, vec![(span, to.to_string().into())])
    };
    edit().unwrap_or(reply)
}

fn edited(message: &Message, edits: Vec<(Span, Bytes)>) -> Option<Message> {
    Message::parse(&Frame::spliced(message.text(), edits).into_bytes()).ok()
}

/// The URLs that are to be visited before the call is made again, where a client is asked that by a result and not by
/// an error (2026-07-28 has no such error).
pub(super) fn visits(reply: &Message, client: Revision) -> Option<Vec<Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Required {
        code: i32,
        data: FromObject<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        elicitations: Vec<Box<RawValue>>,
    }
    if client.has_handshake() || reply.kind() != Kind::Error {
        return None;
    }
    let Required { code, data: FromObject(data) } = json::read(reply.body()?).ok()?;
    (code == URL_ELICITATION_REQUIRED && !data.elicitations.is_empty()).then_some(data.elicitations)
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_clients_get_nothing_that_is_newer_than_they_are() {
        let info = format!(r#""{SERVER_INFO_KEY}":{{"name":"n"}}"#);
        for (result, expect) in [
            (r#"{"content":[],"resultType":"complete"}"#.to_owned(), r#"{"content":[]}"#),
            (format!(r#"{{"content":[1.0],"_meta":{{{info}}},"resultType":"complete","ttlMs":0}}"#), r#"{"content":[1.0]}"#),
            (format!(r#"{{"_meta":{{"x":1.0,{info}}},"content":[],"resultType":"complete"}}"#), r#"{"_meta":{"x":1.0},"content":[]}"#),
            (r#"{"_meta":{},"content":[],"resultType":"complete"}"#.to_owned(), r#"{"_meta":{},"content":[]}"#),
            (r#"{"taskId":"1","resultType":"task"}"#.to_owned(), r#"{"taskId":"1","resultType":"task"}"#),
            (r#"{"structuredContent":{"resultType":"complete"}}"#.to_owned(), r#"{"structuredContent":{"resultType":"complete"}}"#),
        ] {
            let reply = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()).expect("a reply");
            assert_eq!(from_newer(reply).body(), Some(expect), "{result}");
        }
    }
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
