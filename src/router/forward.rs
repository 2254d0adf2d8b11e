//! The path that all forwarded requests share: find the connection, start the call
//! under an id of ours, relay until its answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::{CallError, Ctx, Router, activity::Subject, measure, relay};
use crate::{
    downstream::{Caller, InFlight, Link, LinkError},
    protocol::{
        json::{Object, quoted},
        message::{Frame, Id, Message, Span, span_in},
        server::{Origin, ServerConfig, ServerId},
    },
    security::rate_limit::Permit,
};

/// A request on its way to a server: the client's own text, and what is replaced in it.
pub(super) struct Outgoing<'a> {
    request: &'a Message,
    pub(super) params: Object<'a>,
    edits: Vec<(Span, Bytes)>,
    /// The client's progress token and where it stands.
    token: Option<(Bytes, Span)>,
    /// `_meta`, if it is an object.
    meta: Option<Object<'a>>,
    /// What the App is told that it was about, if it is told at all.
    pub(super) subject: Option<Subject>,
}

impl<'a> Outgoing<'a> {
    /// # Errors
    /// [`CallError::InvalidParams`] where `params` is no object, or says things twice.
    pub(super) fn of(request: &'a Message) -> Result<Self, CallError> {
        let body = request.body().ok_or_else(|| CallError::InvalidParams("`params` is missing".to_owned()))?;
        let params = Object::parse(body).map_err(|error| CallError::malformed(&error))?;
        let meta = params.get("_meta").filter(|meta| *meta != "null").map(Object::parse).transpose();
        let meta = meta.map_err(|error| CallError::malformed(&error))?;
        // A token is a string or a number, as an id is; anything else asks for nothing.
        let token = meta.as_ref().filter(|meta| meta.get("progressToken").is_some_and(|token| Id::parse(token).is_some()));
        let token = token.and_then(|meta| meta.span(request.text(), "progressToken"));
        let token = token.map(|span| (request.text().slice(span.clone()), span));
        Ok(Self { request, params, edits: Vec::with_capacity(3), token, meta, subject: None })
    }

    /// A member that must be there and be a string.
    pub(super) fn string(&self, name: &str) -> Result<String, CallError> {
        string_in(&self.params, name)
    }

    /// Puts another string where `member` of `object`, a part of the request, stands.
    pub(super) fn rename(&mut self, object: &Object<'_>, member: &str, to: &str) {
        if let Some(span) = object.span(self.request.text(), member) {
            self.edits.push((span, quoted(to)));
        }
    }

    /// The client's progress token, as JSON text.
    pub(super) fn token(&self) -> Option<&Bytes> {
        self.token.as_ref().map(|(token, _)| token)
    }

    /// `envelope` is what a server without a handshake must be told of the client.
    fn frame(&self, id: u64, envelope: &[(&str, String)]) -> Frame {
        let number = Id::number(id);
        let mut edits = self.edits.clone();
        if let Some((_, span)) = &self.token {
            edits.push((span.clone(), number.as_json().clone()));
        }
        edits.extend(self.introduced(envelope));
        self.request.edited(&number, edits)
    }

    /// What is put into `_meta` of what is not there yet. A client that says for itself who it is is not spoken for.
    fn introduced(&self, envelope: &[(&str, String)]) -> Option<(Span, Bytes)> {
        let meta = self.meta.as_ref();
        let missing = envelope.iter().filter(|(key, _)| meta.is_none_or(|meta| meta.get(key).is_none()));
        let members = missing.map(|(key, value)| format!(r#""{key}":{value}"#)).collect::<Vec<_>>().join(",");
        if members.is_empty() {
            return None;
        }
        let (object, json, text) = match (meta, self.params.get("_meta")) {
            (Some(meta), Some(json)) => (meta, json, members),
            (None, Some(null)) => return Some((span_in(self.request.text(), null), format!("{{{members}}}").into())),
            (_, None) => (&self.params, self.request.body()?, format!(r#""_meta":{{{members}}}"#)),
        };
        let comma = if object.is_empty() { "" } else { "," };
        // Right behind the brace that opens the object.
        let at = span_in(self.request.text(), json).start + 1;
        Some((at..at, format!("{text}{comma}").into()))
    }
}

pub(super) fn string_in(object: &Object<'_>, name: &str) -> Result<String, CallError> {
    let text = object.string(name).ok_or_else(|| CallError::InvalidParams(format!("`{name}` must be a string")))?;
    Ok(text.into_owned())
}

impl Router {
    /// Sends the request to the server and gives its response, be it a result or
    /// an error. What certainly did not reach the server is sent once more.
    pub(super) async fn forward(&self, _: Permit, ctx: &Ctx, server: &ServerId, outgoing: &mut Outgoing<'_>) -> Result<Message, CallError> {
        let timed = self.time(server);
        let answer = match self.attempt(ctx, server, outgoing).await {
            Err(CallError::Link { error, .. }) if error == LinkError::Closed || error == LinkError::SessionGone => {
                self.attempt(ctx, server, outgoing).await
            }
            outcome => outcome,
        };
        let outcome = measure::outcome_of(&answer);
        if let (Some(activities), Some(subject)) = (&self.activities, outgoing.subject.take())
            && let Some(config) = self.known_to_app(server)
        {
            activities.note(config, subject, timed.elapsed(), &answer, outcome);
        }
        timed.end(outcome);
        answer
    }

    /// The server, if it is one of the App. What people have on their own machine is nobody else's business.
    pub(super) fn known_to_app(&self, server: &ServerId) -> Option<Arc<ServerConfig>> {
        self.pool.config(server).filter(|config| config.origin == Origin::App)
    }

    async fn attempt(&self, ctx: &Ctx, server: &ServerId, outgoing: &Outgoing<'_>) -> Result<Message, CallError> {
        let target = self.target(server);
        let link = self.reach(&target).await?;
        let patience = target.patience;
        let failed = |error: LinkError| CallError::Link { server: target.name(), error };
        let caller = Caller { session: Some(ctx.session.number()), wants_progress: outgoing.token.is_some() };
        let envelope =
            if link.peer().revision.has_handshake() { Vec::new() } else { ctx.session.declared().members(ctx.session.verbosity().level()) };
        let starting = timeout(patience, link.start(caller, |id| outgoing.frame(id, &envelope)));
        let Ok(started) = starting.await else { return Err(CallError::Timeout { server: target.name(), after: patience }) };
        let call: InFlight = started.map_err(failed)?;
        let token = outgoing.token();
        let terms =
            relay::Terms { ctx, server, elicitations: &self.elicitations, tracker: &self.tracker, stop: &self.token, token, patience };
        match relay::relay(terms, call).await {
            Ok(reply) => {
                let reply = reply.map_err(failed)?;
                self.elicitations.note_reply(ctx, server, &reply);
                Ok(reply)
            }
            Err(relay::Silent) => Err(CallError::Timeout { server: target.name(), after: patience }),
        }
    }

    pub(super) fn target<'a>(&self, server: &'a ServerId) -> Target<'a> {
        let config = self.pool.config(server);
        let patience = config.as_ref().and_then(|config| config.timeout).unwrap_or(self.config.call_timeout);
        Target { server, config, patience }
    }

    /// A connection to the server, new or not.
    pub(super) async fn reach(&self, target: &Target<'_>) -> Result<Arc<Link>, CallError> {
        match timeout(target.patience, self.pool.link(target.server)).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(CallError::Unavailable { server: target.name(), error }),
            Err(_) => Err(CallError::ConnectTimeout { server: target.name(), after: target.patience }),
        }
    }
}

/// A server, and what a call to it must know.
pub(super) struct Target<'a> {
    server: &'a ServerId,
    config: Option<Arc<ServerConfig>>,
    /// How long the server may be silent.
    patience: Duration,
}

impl Target<'_> {
    /// For errors.
    pub(super) fn name(&self) -> String {
        self.config.as_ref().map_or_else(|| self.server.to_string(), |config| config.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(params: &str, expect: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{params}}}"#);
        let request = Message::parse(&text.into()).expect("a request");
        let outgoing = Outgoing::of(&request).expect("its params are an object");
        let frame = outgoing.frame(7, &[("v", "1".to_owned()), ("c", "{}".to_owned())]).into_bytes();
        let sent = Message::parse(&frame).expect("a request still");
        assert_eq!(sent.body(), Some(expect));
    }

    #[test]
    fn a_client_is_introduced_where_it_does_not_do_so_itself() {
        check("{}", r#"{"_meta":{"v":1,"c":{}}}"#);
        check(r#"{"name":"x"}"#, r#"{"_meta":{"v":1,"c":{}},"name":"x"}"#);
        check(r#"{"name":"x","_meta":null}"#, r#"{"name":"x","_meta":{"v":1,"c":{}}}"#);
        check(r#"{"_meta":{ },"name":"x"}"#, r#"{"_meta":{"v":1,"c":{} },"name":"x"}"#);
        check(r#"{"_meta":{"x":1.0}}"#, r#"{"_meta":{"v":1,"c":{},"x":1.0}}"#);
        check(r#"{"_meta":{"progressToken":"p"}}"#, r#"{"_meta":{"v":1,"c":{},"progressToken":7}}"#);
        check(r#"{"_meta":{"c":{"a":1},"v":2}}"#, r#"{"_meta":{"c":{"a":1},"v":2}}"#);
        check(r#"{"_meta":{"c":{"a":1}}}"#, r#"{"_meta":{"v":1,"c":{"a":1}}}"#);
    }
}
