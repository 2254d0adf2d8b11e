//! Tasks (2025-11-25, core; 2026-07-28, extension `io.modelcontextprotocol/tasks`): a call that goes on after its answer.
//! Servers name their tasks without knowing of each other, so that clients know each by a name that
//! leads back to its server: `{server}/{task}`. Nothing is kept for it here, because a task may outlive
//! the proxy.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CallError, forward::Outgoing};
use crate::{
    catalog::Catalog,
    protocol::{
        json::{Object, quoted},
        message::{Frame, Kind, Message, Span, span_in},
        server::ServerId,
    },
};

const SEPARATOR: char = '/';
/// In `_meta`, what names the task that a message is about.
const RELATED_KEY: &str = "io.modelcontextprotocol/related-task";

/// The server of the task that the request names. The request is made what its server knows.
///
/// # Errors
/// [`CallError::InvalidParams`] for a task of no server of this workspace.
pub(super) fn resolve(catalog: &Catalog, outgoing: &mut Outgoing<'_>) -> Result<ServerId, CallError> {
    let task = outgoing.string("taskId")?;
    let unknown = || CallError::InvalidParams("`taskId` names no task of this workspace".to_owned());
    let (server, original) = owner(catalog, &task).ok_or_else(unknown)?;
    let params = outgoing.params.clone();
    outgoing.rename(&params, "taskId", &original);
    Ok(server)
}

/// The server that a task's name leads to, and the server's own name of it.
pub(super) fn owner(catalog: &Catalog, task: &str) -> Option<(ServerId, String)> {
    let of = |server: &ServerId| task.strip_prefix(server.as_str())?.strip_prefix(SEPARATOR).map(str::to_owned);
    // The longest, since the name of a server may begin with that of another one.
    let found = catalog.servers().filter_map(|(server, _)| Some((server.clone(), of(server)?)));
    found.max_by_key(|(server, _)| server.as_str().len())
}

/// The reply with tasks named as clients know them; `None` where it names none.
pub(super) fn exposed(server: &ServerId, reply: &Message) -> Option<Message> {
    if reply.kind() != Kind::Result {
        return None;
    }
    let edits = names(server, reply.text(), reply.body()?);
    (!edits.is_empty())
        .then(|| Message::parse(&Frame::spliced(reply.text(), edits).into_bytes()).expect("strings stand where strings stood"))
}

/// A notification of the server for a client: one that tells of a task names it as clients know it.
pub(super) fn announced(server: &ServerId, notification: Message) -> Frame {
    match notification.body() {
        Some(params) if is_of_task(notification.method()) => {
            Frame::spliced(notification.text(), names(server, notification.text(), params))
        }
        _ => notification.into(),
    }
}

/// 2025-11-25 has `notifications/tasks/status`, 2026-07-28 `notifications/tasks`.
fn is_of_task(notification: &str) -> bool {
    notification.strip_prefix("notifications/tasks").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is to stand in `text` where `json`, a part of it, names tasks.
fn names(server: &ServerId, text: &Bytes, json: &str) -> Vec<(Span, Bytes)> {
    #[derive(Deserialize)]
    struct List<'a>(#[serde(borrow)] Vec<&'a RawValue>);
    if memchr::memmem::find(json.as_bytes(), b"\"taskId\"").is_none() {
        return Vec::new();
    }
    let Ok(object) = Object::parse(json) else { return Vec::new() };
    let inner = |object: &Object<'_>, name: &str| object.get(name).map(|inner| &text[span_in(text, inner)]);
    let meta = object.get("_meta").and_then(|meta| Object::parse(meta).ok());
    let listed = object.get("tasks").and_then(|tasks| serde_json::from_str::<List<'_>>(tasks).ok()).map(|List(tasks)| tasks);
    let listed = listed.into_iter().flatten().map(|task| task.get().as_bytes());
    let objects = inner(&object, "task").into_iter().chain(meta.as_ref().and_then(|meta| inner(meta, RELATED_KEY))).chain(listed);
    let within = objects.filter_map(|json| Object::parse(std::str::from_utf8(json).ok()?).ok());
    let named = within.filter_map(|object| name(server, text, &object)).collect::<Vec<_>>();
    name(server, text, &object).into_iter().chain(named).collect()
}

fn name(server: &ServerId, text: &Bytes, object: &Object<'_>) -> Option<(Span, Bytes)> {
    let task = object.string("taskId")?;
    Some((object.span(text, "taskId")?, quoted(&format!("{server}{SEPARATOR}{task}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(result: &str, expect: Option<&str>) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let reply = Message::parse(&text.into()).expect("a reply");
        let exposed = exposed(&ServerId::new("s"), &reply);
        assert_eq!(exposed.as_ref().and_then(Message::body), expect, "{result}");
    }

    #[test]
    fn what_is_told_of_tasks_names_them_for_their_servers() {
        for (method, task) in [
            ("notifications/tasks", "s/a"),
            ("notifications/tasks/status", "s/a"),
            ("notifications/tasksx", "a"),
            ("notifications/message", "a"),
        ] {
            let text = |task: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"taskId":"{task}","x":1.0}}}}"#);
            let notification = Message::parse(&text("a").into()).expect("a notification");
            assert_eq!(announced(&ServerId::new("s"), notification).into_bytes(), text(task), "{method}");
        }
    }

    #[test]
    fn tasks_are_named_for_their_servers() {
        check(r#"{"content":[]}"#, None);
        check(r#"{"resultType":"task","taskId":"a","ttlMs":1.0}"#, Some(r#"{"resultType":"task","taskId":"s/a","ttlMs":1.0}"#));
        check(r#"{"task":{"taskId":"a\"b"}}"#, Some(r#"{"task":{"taskId":"s/a\"b"}}"#));
        check(r#"{"tasks":[{"taskId":"a"},{"taskId":"b"}]}"#, Some(r#"{"tasks":[{"taskId":"s/a"},{"taskId":"s/b"}]}"#));
        check(
            r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"}},"content":[]}"#,
            Some(r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s/a"}},"content":[]}"#),
        );
        // What a tool returns is its own.
        check(r#"{"content":[],"structuredContent":{"taskId":"a"}}"#, None);
        check(r#"{"taskId":7}"#, None);
    }
}
