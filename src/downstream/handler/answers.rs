//! Answers of one server: each goes to the call that it is for. One that is for none may be a call's own nonetheless, under a
//! wrong id or none: that call then fails soon, and not when its time is over.

use std::time::{Duration, Instant};

use super::{Calls, Handler};
use crate::{
    downstream::{connection::error_message, error::LinkError},
    protocol::message::{Id, Kind, Message},
    telemetry::metrics::{self, Dropped},
};

/// How long a call waits for its answer after one that was most likely meant for it. Some servers say things that fit nothing,
/// and go on to answer.
const DOUBT: Duration = Duration::from_secs(2);

/// What was most likely the answer to a call, though it does not say so.
#[derive(Debug)]
pub(super) struct Doubt {
    call: u64,
    error: LinkError,
    until: Instant,
}

impl Handler {
    pub(super) fn reply(&self, message: Message, call: Option<u64>) {
        let id = message.id().as_ref().and_then(own_id);
        // SECURITY: on the stream of one call nothing is for another one, whose client may be another, too.
        let waiting = id.filter(|id| call.is_none_or(|call| call == *id)).and_then(|id| self.calls().take(id));
        let Some(mailbox) = waiting else { return self.stray(&message, id, call) };
        if mailbox.caller.session.is_some() {
            self.signs.served();
        }
        mailbox.finish(match message.flaw() {
            None => Ok(message),
            Some(flaw) => Err(LinkError::Protocol { what: described(flaw, &message) }),
        });
    }

    /// What was meant as an answer and cannot be read.
    pub fn unreadable(&self, id: &Id, call: Option<u64>, error: LinkError) {
        match own_id(id) {
            Some(id) if call.is_none_or(|call| call == id) => self.fail(id, error),
            Some(_) | None => self.calls().doubt(call, error),
        }
    }

    fn stray(&self, message: &Message, id: Option<u64>, call: Option<u64>) {
        metrics::dropped(Dropped::LateAnswer);
        tracing::debug!(server = %self.name, "an answer that nobody waits for was dropped");
        let mut calls = self.calls();
        // It has stopped working on the call.
        let was_given_up = id.is_some_and(|id| calls.given_up.remove(&id).is_some());
        let is_late = id.is_some_and(|id| id > 0 && id <= calls.last_id && call.is_none_or(|call| call == id));
        if !was_given_up && !is_late {
            let what = if message.id().is_none() { "its error names no request" } else { "it answered under another id" };
            calls.doubt(call, LinkError::Protocol { what: described(what, message) });
        }
    }

    /// On this call's own stream came what was most likely its answer, and was none.
    pub fn is_doubtful(&self, call: u64) -> bool {
        self.calls().doubts.contains_key(&call)
    }

    /// What that was.
    pub fn doubt(&self, call: u64) -> Option<LinkError> {
        self.calls().doubts.remove(&call)
    }

    /// When the only call of a connection without streams of calls fails, because of what was most likely its answer.
    pub fn doubtful_until(&self) -> Option<Instant> {
        self.calls().doubt.as_ref().map(|doubt| doubt.until)
    }

    /// That time has come.
    pub fn fail_doubtful(&self) {
        let doubt = self.calls().doubt.take();
        if let Some(Doubt { call, error, until: _ }) = doubt {
            self.fail(call, error);
        }
    }
}

impl Calls {
    /// The call, or the only one that there is, most likely gets no other answer. One that is made for no client is left
    /// alone: what comes of it is told by the status, or by silence, of which the revision of the server is learnt.
    fn doubt(&mut self, call: Option<u64>, error: LinkError) {
        let is_for_client = |id: &u64| self.waiting.get(id).is_some_and(|mailbox| mailbox.caller.session.is_some());
        match call {
            Some(call) if is_for_client(&call) => {
                self.doubts.entry(call).or_insert(error);
            }
            None if self.doubt.is_none() => {
                let mut open = self.waiting.keys().filter(|id| !self.listening.contains_key(id)).copied();
                if let (Some(call), None) = (open.next(), open.next())
                    && is_for_client(&call)
                {
                    self.doubt = Some(Doubt { call, error, until: Instant::now() + DOUBT });
                }
            }
            Some(_) | None => {}
        }
    }

    /// The call is answered, or nobody waits for it any more.
    pub(super) fn settle_doubt(&mut self, call: u64) {
        self.doubts.remove(&call);
        if self.doubt.as_ref().is_some_and(|doubt| doubt.call == call) {
            self.doubt = None;
        }
    }
}

/// An id as we give it. Some servers make a text of it.
fn own_id(id: &Id) -> Option<u64> {
    id.as_u64().or_else(|| std::str::from_utf8(id.as_json()).ok()?.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
}

/// With the server's own words where there are some.
fn described(what: &str, message: &Message) -> String {
    match (message.kind(), message.body()) {
        (Kind::Error, Some(error)) => format!("{what}: {}", error_message(error)),
        _ => what.to_owned(),
    }
}
