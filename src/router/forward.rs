//! The path that all forwarded requests share: find the connection, start the call
//! under an id of ours, relay until its answer.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{
    CallError, Ctx, Router, SessionPeer,
    activity::Subject,
    bridge,
    heartbeat::Beat,
    measure,
    relay::{self, Ended, Overdue, Terms},
    reverse,
    rounds::{self, Begin, Parked},
};
use crate::{
    downstream::{Caller, Guest, InFlight, Link, LinkError, ListKind, Place, Unavailable},
    protocol::{
        json::{Object, quoted},
        message::{Frame, Id, Message, Span, span_in},
        revision::Revision,
        server::{Origin, ServerConfig, ServerId},
    },
    security::rate_limit::Permit,
};

/// Rounds of one call that the proxy goes through for its client. A server that asks this often asks without end.
const ROUNDS: usize = 32;

/// Further attempts at a call, of which one at most may follow one that the server may have seen.
const MORE: usize = 2;
/// From the end of a connection to where it is known.
const ENDING: Duration = Duration::from_secs(1);
/// A server that is being restarted refuses connections for a moment.
const RESTART: Duration = Duration::from_millis(300);
/// Who has waited longer for a connection that cannot be made is not made to wait for another.
const PROMPTLY: Duration = Duration::from_secs(2);

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
    /// Doing it twice is as good as doing it once.
    pub(super) is_repeatable: bool,
}

impl<'a> Outgoing<'a> {
    /// # Errors
    /// [`CallError::InvalidParams`] where `params` is no object, or says things twice.
    pub(super) fn of(request: &'a Message) -> Result<Self, CallError> {
        match request.body() {
            Some(_) => Self::of_any(request),
            None => Err(CallError::InvalidParams("`params` is missing".to_owned())),
        }
    }

    /// As [`Self::of`], of a request that may have no `params`.
    pub(super) fn of_any(request: &'a Message) -> Result<Self, CallError> {
        let body = request.body().unwrap_or("{}");
        let params = Object::parse(body).map_err(|error| CallError::malformed(&error))?;
        let meta = params.get("_meta").filter(|meta| *meta != "null").map(Object::parse).transpose();
        let meta = meta.map_err(|error| CallError::malformed(&error))?;
        // A token is a string or a number, as an id is; anything else asks for nothing.
        let token = meta.as_ref().filter(|meta| meta.get("progressToken").is_some_and(|token| Id::parse(token).is_some()));
        let token = token.and_then(|meta| meta.span(request.text(), "progressToken"));
        let token = token.map(|span| (request.text().slice(span.clone()), span));
        Ok(Self { request, params, edits: Vec::with_capacity(3), token, meta, subject: None, is_repeatable: is_read(request.method()) })
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

    pub(super) fn method(&self) -> &str {
        self.request.method()
    }

    /// The resource that is asked for, if it is one.
    fn resource(&self) -> Option<Cow<'_, str>> {
        if self.method() == "resources/read" { self.params.string("uri") } else { None }
    }

    /// Puts the server's own state where the client has one of ours, as JSON text; `None` leaves none.
    pub(super) fn replace_state(&mut self, state: Option<&str>) {
        match (state, self.params.span(self.request.text(), "requestState")) {
            (Some(state), Some(span)) => self.edits.push((span, Bytes::copy_from_slice(state.as_bytes()))),
            _ => self.take_out(&["requestState"]),
        }
    }

    /// Makes the request one that knows of no earlier round.
    pub(super) fn forget_round(&mut self) {
        self.take_out(&["requestState", "inputResponses"]);
    }

    fn take_out(&mut self, members: &[&str]) {
        let params = self.request.body().unwrap_or_default();
        let pieces = self.params.without(self.request.text(), params, |name| members.contains(&name));
        self.edits.extend(pieces.into_iter().map(|piece| (piece, Bytes::new())));
    }

    /// The client's progress token, as JSON text.
    pub(super) fn token(&self) -> Option<&Bytes> {
        self.token.as_ref().map(|(token, _)| token)
    }

    /// `envelope` is what a server without a handshake must be told of the client.
    fn frame(&self, id: u64, envelope: &[(&str, String)]) -> Frame {
        self.frame_of_round(id, envelope, None)
    }

    /// `round` holds the members of `params` that answer the server's last interim result, as JSON text.
    fn frame_of_round(&self, id: u64, envelope: &[(&str, String)], round: Option<&str>) -> Frame {
        let number = Id::number(id);
        let mut edits = self.edits.clone();
        if let Some((_, span)) = &self.token {
            edits.push((span.clone(), number.as_json().clone()));
        }
        edits.extend(self.introduced(envelope));
        edits.extend(round.zip(self.request.body()).map(|(round, params)| {
            let at = span_in(self.request.text(), params).start + 1;
            // There always is a member that says what is called.
            (at..at, format!("{round},").into())
        }));
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
        let Some(params) = self.request.body() else {
            // Before the brace that closes the message, which has other members.
            let end = self.request.text().iter().rposition(|byte| *byte == b'}')?;
            return Some((end..end, format!(r#","params":{{"_meta":{{{members}}}}}"#).into()));
        };
        let (object, json, text) = match (meta, self.params.get("_meta")) {
            (Some(meta), Some(json)) => (meta, json, members),
            (None, Some(null)) => return Some((span_in(self.request.text(), null), format!("{{{members}}}").into())),
            (_, None) => (&self.params, params, format!(r#""_meta":{{{members}}}"#)),
        };
        let comma = if object.is_empty() { "" } else { "," };
        // Right behind the brace that opens the object.
        let at = span_in(self.request.text(), json).start + 1;
        Some((at..at, format!("{text}{comma}").into()))
    }
}

/// Whether a call that failed may be made again, and may fare better. What the server may have acted upon is not repeated unless
/// that is as good as doing it once.
fn is_worth_another(error: &LinkError, outgoing: &Outgoing<'_>, took: Duration) -> bool {
    match error {
        LinkError::Closed | LinkError::SessionGone => true,
        LinkError::Unreachable { .. } => took < PROMPTLY,
        LinkError::Lost { .. } => outgoing.is_repeatable,
        LinkError::Refused(_)
        | LinkError::Redirected { .. }
        | LinkError::Unauthorized { .. }
        | LinkError::Status { .. }
        | LinkError::Protocol { .. }
        | LinkError::Defect => false,
    }
}

fn is_read(method: &str) -> bool {
    matches!(method, "resources/read" | "prompts/get" | "completion/complete")
}

pub(super) fn string_in(object: &Object<'_>, name: &str) -> Result<String, CallError> {
    let text = object.string(name).ok_or_else(|| CallError::InvalidParams(format!("`{name}` must be a string")))?;
    Ok(text.into_owned())
}

impl Router {
    /// Sends the request to the server and gives its response, be it a result or
    /// an error. What certainly did not reach the server is sent once more, and so is what may be done twice.
    pub(super) async fn forward(&self, _: Permit, ctx: &Ctx, server: &ServerId, outgoing: &mut Outgoing<'_>) -> Result<Message, CallError> {
        let timed = self.time(server);
        let answer = match outgoing.token().cloned() {
            Some(token) => {
                let beat = Beat::new();
                // Boxed, because most calls have no token and should not pay for it with their size.
                Box::pin(beat.during(ctx, &token, self.carry_out(ctx, server, outgoing, Some(&beat)))).await
            }
            None => self.carry_out(ctx, server, outgoing, None).await,
        };
        let outcome = measure::outcome_of(&answer);
        if let (Some(activities), Some(subject)) = (&self.activities, outgoing.subject.take())
            && let Some(config) = self.known_to_app(server)
            // What is asked of a client on the way is no call of its own.
            && !answer.as_ref().is_ok_and(rounds::is_interim)
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

    async fn carry_out(
        &self,
        ctx: &Ctx,
        server: &ServerId,
        outgoing: &mut Outgoing<'_>,
        beat: Option<&Beat>,
    ) -> Result<Message, CallError> {
        self.configured(server).await?;
        let client = ctx.session.declared().revision;
        let target = self.target(server);
        let way = Way { ctx, target: &target, beat, end: Instant::now() + target.longest, client };
        if !client.has_handshake()
            && let Begin::GoOn(parked) = self.rounds.begin(server, outgoing).await?
        {
            return Box::pin(self.go_on(way, outgoing, *parked)).await;
        }
        let begun = Instant::now();
        for _ in 0..MORE {
            let error = match self.attempt(way, outgoing).await {
                Err(CallError::Link { error, .. }) if is_worth_another(&error, outgoing, begun.elapsed()) => error,
                outcome => return outcome,
            };
            tracing::debug!(server = way.target.name(), %error, "the call is made once more");
            match error {
                LinkError::Unreachable { .. } => sleep(RESTART).await,
                // As good as doing it once, and not more often.
                LinkError::Lost { .. } => outgoing.is_repeatable = false,
                _ => {}
            }
        }
        self.attempt(way, outgoing).await
    }

    async fn attempt(&self, way: Way<'_>, outgoing: &Outgoing<'_>) -> Result<Message, CallError> {
        let link = self.reach(way.ctx, way.target).await?;
        if link.peer().revision.has_handshake() {
            let call = self.send(way, &link, |id| outgoing.frame(id, &[]), outgoing.token.is_some()).await?;
            let reply = self.follow(way, outgoing, link.place(), relay::relay(self.terms(way, outgoing), call)).await?;
            return self.finish(way, outgoing, reply);
        }
        // Boxed, because most servers are of older revisions.
        Box::pin(self.attempt_without_handshake(way, &link, outgoing)).await
    }

    /// A server that asks by its results. A client of an older revision is asked while its call runs.
    async fn attempt_without_handshake(&self, way: Way<'_>, link: &Arc<Link>, outgoing: &Outgoing<'_>) -> Result<Message, CallError> {
        let Way { ctx, target, client, .. } = way;
        let envelope = ctx.session.declared().members(ctx.session.verbosity().level());
        let mut round = None;
        let mut has_listed = false;
        for _ in 0..ROUNDS {
            let frame = |id| outgoing.frame_of_round(id, &envelope, round.as_deref());
            let call = self.send(way, link, frame, outgoing.token.is_some()).await?;
            let reply = self.follow(way, outgoing, link.place(), relay::relay(self.terms(way, outgoing), call)).await?;
            if bridge::is_header_mismatch(&reply) && !has_listed {
                // It did not act on the call: its tools are not marked any more as they were when they were read.
                has_listed = true;
                let _ = tokio::time::timeout_at(way.end, link.list(ListKind::Tools)).await;
                continue;
            }
            if !rounds::is_interim(&reply) {
                return Ok(if client.has_handshake() { bridge::from_newer(reply) } else { reply });
            }
            if !client.has_handshake() {
                let unclear = || LinkError::Protocol { what: "what it asks cannot be read".to_owned() };
                return self.rounds.lead_back(target.server, outgoing, &reply).ok_or_else(|| target.failed(unclear()));
            }
            let answering = tokio::time::timeout_at(way.end, reverse::answer_round(ctx, &reply));
            let answers = answering.await.map_err(|_| target.overdue(Overdue::Endless))?;
            round = Some(answers.map_err(|why| CallError::Unanswered { server: target.name(), why })?);
        }
        Err(CallError::EndlessRounds { server: target.name(), limit: ROUNDS })
    }

    /// The client has come back to a call that was parked.
    async fn go_on(&self, way: Way<'_>, outgoing: &Outgoing<'_>, parked: Parked) -> Result<Message, CallError> {
        let (call, questions) = parked.into_parts();
        let place = call.place().clone();
        let reply = self.follow(way, outgoing, &place, relay::relay_in_rounds(self.terms(way, outgoing), call, questions)).await?;
        self.finish(way, outgoing, reply)
    }

    async fn send(
        &self,
        way: Way<'_>,
        link: &Arc<Link>,
        frame: impl FnOnce(u64) -> Frame,
        wants_progress: bool,
    ) -> Result<InFlight, CallError> {
        let target = way.target;
        let caller = Caller { session: Some(way.ctx.session.number()), wants_progress };
        let Ok(started) = timeout(target.patience, link.start(caller, frame)).await else {
            return Err(target.overdue(Overdue::Silent));
        };
        if matches!(started, Err(LinkError::Closed)) {
            // A child that has ended takes nothing any more, a moment before that is known; the next attempt must not meet it again.
            let _ = timeout(ENDING, link.ended()).await;
        }
        started.map_err(|error| target.failed(error))
    }

    /// Until the reply, or until the client must be asked before there can be one.
    async fn follow(
        &self,
        way: Way<'_>,
        outgoing: &Outgoing<'_>,
        place: &Place,
        relaying: impl Future<Output = Result<Ended, Overdue>>,
    ) -> Result<Message, CallError> {
        let target = way.target;
        match relaying.await {
            Ok(Ended::Reply(reply)) => {
                let reply = reply.map_err(|error| target.failed(error))?;
                self.elicitations.note_reply(way.ctx, place, &reply);
                Ok(reply)
            }
            Ok(Ended::Asked(call, questions)) => self.rounds.park(target.server, outgoing, (call, questions), &self.tracker, &self.token),
            Err(overdue) => Err(target.overdue(overdue)),
        }
    }

    fn terms<'a>(&'a self, way: Way<'a>, outgoing: &'a Outgoing<'_>) -> Terms<'a> {
        let Way { ctx, target, beat, end, client } = way;
        Terms {
            ctx,
            server: target.server,
            elicitations: &self.elicitations,
            tracker: &self.tracker,
            stop: &self.token,
            token: outgoing.token(),
            beat,
            patience: target.patience,
            end,
            in_rounds: !client.has_handshake(),
        }
    }

    /// What a server with a handshake answered, for this client.
    fn finish(&self, way: Way<'_>, outgoing: &Outgoing<'_>, reply: Message) -> Result<Message, CallError> {
        let Some(elicitations) = bridge::visits(&reply, way.client) else {
            return Ok(bridge::from_older(reply, way.client, outgoing.resource().as_deref()));
        };
        if !way.ctx.session.declared().capabilities.elicitation_url {
            return Err(CallError::MissingCapability { path: &["elicitation", "url"] });
        }
        Ok(self.rounds.anew(way.target.server, outgoing, &elicitations))
    }

    pub(super) fn target<'a>(&self, server: &'a ServerId) -> Target<'a> {
        let config = self.pool.config(server);
        let own = config.as_ref().and_then(|config| config.timeout);
        let patience = own.unwrap_or(self.config.call_timeout);
        // Who allows one server more silence has said so of that server.
        let longest = self.config.call_timeout_max.max(own.unwrap_or_default());
        Target { server, config, patience, longest }
    }

    /// A connection to the server for this client, new or not.
    pub(super) async fn reach(&self, ctx: &Ctx, target: &Target<'_>) -> Result<Arc<Link>, CallError> {
        let linking = async {
            match self.guest(ctx.session.as_ref(), target.config.as_deref()) {
                Some(guest) => self.link_of(ctx, target.server, &guest).await,
                None => self.pool.link(target.server).await,
            }
        };
        match timeout(target.patience, linking).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(CallError::Unavailable { server: target.name(), error }),
            Err(_) => Err(CallError::ConnectTimeout { server: target.name(), after: target.patience }),
        }
    }

    /// The client, if it is to have a connection of its own to the server.
    fn guest(&self, session: &dyn SessionPeer, config: Option<&ServerConfig>) -> Option<Guest> {
        if config.is_some_and(|config| self.pool.isolates(config)) { session.guest() } else { None }
    }

    async fn link_of(&self, ctx: &Ctx, server: &ServerId, guest: &Guest) -> Result<Arc<Link>, Unavailable> {
        match self.pool.own_link(server, guest.session) {
            Some(link) => Ok(link),
            // Boxed, because most calls find one and should not pay for it with their size.
            None => Box::pin(self.pool.link_of(server, guest, || self.admit_outside(guest.session, ctx))).await,
        }
    }

    /// The live connection that is meant by what a client says outside of calls.
    pub(super) fn current_link(&self, session: &dyn SessionPeer, server: &ServerId) -> Option<Arc<Link>> {
        let shared = || self.pool.link_at(&Place::shared(server.clone()));
        match self.guest(session, self.pool.config(server).as_deref()) {
            Some(guest) => {
                let stateless = || shared().filter(|link| !link.peer().revision.has_handshake());
                self.pool.own_link(server, guest.session).or_else(stateless)
            }
            None => shared(),
        }
    }
}

/// From one client to one server.
#[derive(Clone, Copy)]
struct Way<'a> {
    ctx: &'a Ctx,
    target: &'a Target<'a>,
    beat: Option<&'a Beat>,
    /// When the call has taken too long in all.
    end: Instant,
    /// The client's.
    client: Revision,
}

/// A server, and what a call to it must know.
pub(super) struct Target<'a> {
    server: &'a ServerId,
    config: Option<Arc<ServerConfig>>,
    /// How long the server may be silent.
    patience: Duration,
    /// How long a call may take in all.
    longest: Duration,
}

impl Target<'_> {
    fn failed(&self, error: LinkError) -> CallError {
        CallError::Link { server: self.name(), error }
    }

    fn overdue(&self, overdue: Overdue) -> CallError {
        let server = self.name();
        match overdue {
            Overdue::Silent => CallError::Timeout { server, after: self.patience },
            Overdue::Endless => CallError::TooLong { server, after: self.longest },
        }
    }

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
