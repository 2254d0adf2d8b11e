//! Elicitations by URL go on after the client has agreed to them, and mostly after their call:
//! who is told when one is complete.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde::Deserialize;

use super::{Ctx, SessionPeer};
use crate::{
    downstream::Place,
    protocol::{
        error::URL_ELICITATION_REQUIRED,
        json::{self, FromObject, Object},
        message::{Kind, Message},
    },
    telemetry::metrics::{self, Dropped},
};

/// Elicitations that are remembered. Most are completed soon or never.
const KEPT: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Elicitations(Mutex<VecDeque<Open>>);

#[derive(Debug)]
struct Open {
    place: Place,
    id: String,
    session: Weak<dyn SessionPeer>,
}

impl Elicitations {
    /// The session gets a request with these `params`, which may be such an elicitation.
    pub(super) fn note(&self, ctx: &Ctx, place: &Place, params: Option<&str>) {
        if let Some(id) = params.and_then(elicitation_id) {
            self.insert(ctx, place, id);
        }
    }

    /// The session gets this reply, which may ask for elicitations before the call is made again.
    pub(super) fn note_reply(&self, ctx: &Ctx, place: &Place, reply: &Message) {
        #[derive(Deserialize)]
        struct Required {
            code: i32,
            data: FromObject<Elicitations>,
        }
        #[derive(Deserialize)]
        struct Elicitations {
            elicitations: Vec<FromObject<Elicitation>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Elicitation {
            elicitation_id: String,
        }
        if reply.kind() != Kind::Error {
            return;
        }
        let error = reply.body().and_then(|error| json::read::<Required>(error).ok());
        if let Some(Required { code: URL_ELICITATION_REQUIRED, data: FromObject(data) }) = error {
            for FromObject(Elicitation { elicitation_id }) in data.elicitations.into_iter().take(KEPT) {
                self.insert(ctx, place, elicitation_id);
            }
        }
    }

    /// Tells the session whose elicitation is complete. A server names only its own.
    pub(super) fn complete(&self, place: &Place, message: Message) {
        let open = {
            let mut open = self.open();
            let id = message.body().and_then(elicitation_id);
            let at = open.iter().position(|open| open.place == *place && Some(&open.id) == id.as_ref());
            at.and_then(|at| open.remove(at))
        };
        let Some(session) = open.and_then(|open| open.session.upgrade()) else {
            metrics::dropped(Dropped::UnwantedElicitation);
            return tracing::debug!(server = %place, "the end of an elicitation that no session waits for was dropped");
        };
        session.announce(message.into());
    }

    fn insert(&self, ctx: &Ctx, place: &Place, id: String) {
        let mut open = self.open();
        if open.len() == KEPT {
            open.pop_front();
        }
        open.push_back(Open { place: place.clone(), id, session: Arc::downgrade(&ctx.session) });
    }

    fn open(&self) -> std::sync::MutexGuard<'_, VecDeque<Open>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elicitation_id(params: &str) -> Option<String> {
    Some(Object::parse(params).ok()?.string("elicitationId")?.into_owned())
}
