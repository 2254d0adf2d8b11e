//! What a client may ask to be told of, and how that is marked (2026-07-28, "Subscriptions"). The stream itself is the
//! front's.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    Answer, CallError, Ctx, Router,
    subscriptions::{EACH, TELLING},
};
use crate::{
    catalog::ListKind,
    protocol::{
        declared::{SUBSCRIPTION_KEY, TASKS_EXTENSION},
        json::{Object, with_member},
        message::{Frame, Id, Kind, Message, splice},
    },
};

/// Subscriptions that are made at once for one listener.
const TOGETHER: usize = 16;

/// What one listener wants to hear of.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Filter {
    #[serde(deserialize_with = "or_null")]
    tools_list_changed: bool,
    #[serde(deserialize_with = "or_null")]
    prompts_list_changed: bool,
    #[serde(deserialize_with = "or_null")]
    resources_list_changed: bool,
    #[serde(deserialize_with = "or_null")]
    resource_subscriptions: Vec<String>,
    /// Of the tasks extension.
    #[serde(deserialize_with = "or_null")]
    task_ids: Vec<String>,
}

/// `null` is as good as nothing.
fn or_null<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Filter {
    /// From the `params` of `subscriptions/listen`. Kinds that nobody here knows are left out.
    ///
    /// # Errors
    /// [`CallError::InvalidParams`]
    pub fn of(request: &Message) -> Result<Self, CallError> {
        let params = Object::parse(request.body().unwrap_or("{}")).map_err(|error| CallError::malformed(&error))?;
        let wanted = params.get("notifications").filter(|wanted| wanted.starts_with('{'));
        let wanted = wanted.ok_or_else(|| CallError::InvalidParams("`notifications` must be an object".to_owned()))?;
        let mut filter: Self =
            serde_json::from_str(wanted).map_err(|error| CallError::InvalidParams(format!("`notifications` cannot be read: {error}")))?;
        let mut known = HashSet::new();
        filter.resource_subscriptions.retain(|uri| known.insert(uri.clone()));
        // Each costs memory as long as the listener stays; what is left out here is not acknowledged.
        filter.resource_subscriptions.truncate(EACH);
        known.clear();
        filter.task_ids.retain(|task| known.insert(task.clone()));
        filter.task_ids.truncate(EACH);
        Ok(filter)
    }

    /// The lists whose changes are wanted.
    pub fn lists(&self) -> Vec<ListKind> {
        let resources = [ListKind::Resources, ListKind::Templates].map(|kind| (self.resources_list_changed, kind));
        let other = [(self.tools_list_changed, ListKind::Tools), (self.prompts_list_changed, ListKind::Prompts)];
        other.into_iter().chain(resources).filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
    }

    fn to_json(&self) -> Value {
        let lists = [
            ("toolsListChanged", self.tools_list_changed),
            ("promptsListChanged", self.prompts_list_changed),
            ("resourcesListChanged", self.resources_list_changed),
        ];
        let mut accepted: Map<_, _> =
            lists.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| (name.to_owned(), json!(true))).collect();
        if !self.resource_subscriptions.is_empty() {
            accepted.insert("resourceSubscriptions".to_owned(), json!(self.resource_subscriptions));
        }
        if !self.task_ids.is_empty() {
            accepted.insert("taskIds".to_owned(), json!(self.task_ids));
        }
        Value::Object(accepted)
    }

    /// The first message to the listener: what it will hear of.
    pub fn acknowledgement(&self) -> Frame {
        let params = json!({ "notifications": self.to_json() }).to_string();
        Message::notification("notifications/subscriptions/acknowledged", Some(&params)).into()
    }
}

impl Router {
    /// Subscribes to what of this can be had, in the name of `ctx`, and gives that.
    pub async fn accept(&self, ctx: &Ctx, mut filter: Filter) -> Filter {
        let wanted = std::mem::take(&mut filter.resource_subscriptions);
        let accepted = stream::iter(wanted).map(|uri| async move { self.is_subscribed(ctx, &uri).await.then_some(uri) });
        filter.resource_subscriptions = accepted.buffered(TOGETHER).filter_map(std::future::ready).collect().await;
        let wanted = std::mem::take(&mut filter.task_ids);
        if ctx.session.declared().has_extension(TASKS_EXTENSION) {
            let accepted = stream::iter(wanted).map(|task| async move { self.listen_to_task(ctx, &task).await.then_some(task) });
            filter.task_ids = accepted.buffered(TOGETHER).filter_map(std::future::ready).collect().await;
        }
        filter
    }

    async fn is_subscribed(&self, ctx: &Ctx, uri: &str) -> bool {
        let params = json!({ "uri": uri }).to_string();
        let request = Frame::request(&Id::number(0), "resources/subscribe", Some(&params)).into_bytes();
        let request = Message::parse(&request).expect("it is put together from JSON");
        // One server that does not answer must not keep the listener from all others.
        match timeout(TELLING, self.subscribe(ctx, &request)).await {
            Ok(Ok(Answer::Result(_))) => true,
            Ok(Ok(Answer::Forwarded(reply, _))) => reply.kind() == Kind::Result,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a resource cannot be listened to");
                false
            }
            Err(_) => false,
        }
    }
}

/// The notification with the mark of the `subscriptions/listen` request that it is sent for.
pub fn marked(notification: Frame, id: &Id) -> Frame {
    let text = notification.into_bytes();
    let Ok(message) = Message::parse(&text) else { return Frame::from(text) };
    let id = std::str::from_utf8(id.as_json()).expect("ids come from checked text");
    let meta = format!(r#"{{"{SUBSCRIPTION_KEY}":{id}}}"#);
    let Some(params) = message.body_bytes() else {
        return Message::notification(message.method(), Some(&format!(r#"{{"_meta":{meta}}}"#))).into();
    };
    match with_mark(&params, &meta, id) {
        Some(params) => message.with_body(params),
        None => Frame::from(text.clone()),
    }
}

/// `None` where `params` says things twice.
fn with_mark(params: &Bytes, meta: &str, id: &str) -> Option<Bytes> {
    let object = Object::parse(std::str::from_utf8(params).ok()?).ok()?;
    let Some(span) = object.span(params, "_meta") else { return Some(with_member(params, "_meta", meta)) };
    let own = params.slice(span.clone());
    let Some(known) = object.get("_meta").filter(|own| own.starts_with('{')) else {
        return Some(splice(params, &[(span, meta.to_owned().into())]));
    };
    let marked = match Object::parse(known).ok()?.span(known.as_bytes(), SUBSCRIPTION_KEY) {
        // A server's own mark names a request of ours.
        Some(mark) => splice(&own, &[(mark, id.to_owned().into())]),
        None => with_member(&own, SUBSCRIPTION_KEY, id),
    };
    Some(splice(params, &[(span, marked)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(params: &str) -> Result<Filter, CallError> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{params}}}"#);
        Filter::of(&Message::parse(&text.into()).expect("a request"))
    }

    #[test]
    fn a_filter_is_what_is_wanted_and_known() {
        for (wanted, expect) in [
            ("{}", "{}"),
            (r#"{"toolsListChanged":true,"promptsListChanged":false,"resourcesListChanged":null}"#, r#"{"toolsListChanged":true}"#),
            (r#"{"resourceSubscriptions":["a","b","a"]}"#, r#"{"resourceSubscriptions":["a","b"]}"#),
            (r#"{"resourceSubscriptions":[],"taskIds":["t","t"],"x":1}"#, r#"{"taskIds":["t"]}"#),
        ] {
            let filter = filter(&format!(r#"{{"notifications":{wanted}}}"#)).expect("it can be read");
            assert_eq!(filter.to_json().to_string(), expect, "{wanted}");
        }
        for wrong in [
            "{}",
            r#"{"notifications":null}"#,
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":1}}"#,
            r#"{"notifications":{"toolsListChanged":"true"}}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
            r#"{"notifications":{"toolsListChanged":true,"toolsListChanged":false}}"#,
        ] {
            assert!(matches!(filter(wrong), Err(CallError::InvalidParams(_))), "{wrong}");
        }
    }

    #[test]
    fn resources_beyond_the_limit_are_left_out() {
        let uris: Vec<_> = (0..EACH + 5).map(|n| n.to_string()).collect();
        let filter = filter(&json!({ "notifications": { "resourceSubscriptions": uris } }).to_string()).expect("it can be read");
        assert_eq!(filter.resource_subscriptions.len(), EACH);
    }

    #[test]
    fn notifications_are_marked() {
        let mark = r#""io.modelcontextprotocol/subscriptionId":"a""#;
        for (params, expect) in [
            ("", format!(r#"{{"_meta":{{{mark}}}}}"#)),
            (r#"{"uri":1.0}"#, format!(r#"{{"_meta":{{{mark}}},"uri":1.0}}"#)),
            (r#"{"_meta":{},"u":1}"#, format!(r#"{{"_meta":{{{mark}}},"u":1}}"#)),
            (r#"{"u":1,"_meta":{"x":1.0}}"#, format!(r#"{{"u":1,"_meta":{{{mark},"x":1.0}}}}"#)),
            (r#"{"_meta":null}"#, format!(r#"{{"_meta":{{{mark}}}}}"#)),
            (r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}"#, format!(r#"{{"_meta":{{{mark}}}}}"#)),
        ] {
            let notification = Message::notification("n", Some(params).filter(|params| !params.is_empty()));
            let id = Id::parse(r#""a""#).expect("an id");
            let marked = Message::parse(&marked(notification.into(), &id).into_bytes()).expect("a message still");
            assert_eq!((marked.method(), marked.body()), ("n", Some(expect.as_str())));
        }
    }
}
