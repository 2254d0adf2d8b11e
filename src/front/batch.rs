//! Several messages in one text, where the revision has them (JSON-RPC 2.0, "Batch").

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};

use super::session::{self, Received};
use crate::{
    protocol::{
        error::{ErrorObject, INVALID_REQUEST},
        json::Elements,
        message::{Frame, Message},
    },
    security::payload,
};

/// Several messages, of which each has its own answer (JSON-RPC 2.0, "Batch").
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    /// What is said to those that are no messages.
    pub(super) refused: Vec<Frame>,
}

impl Batch {
    /// # Errors
    /// The answer to what is no batch, an empty or too large one, and one that begins a session.
    pub(super) fn parse(text: &Bytes) -> Result<Self, Frame> {
        let refused = |message: String| Frame::error(None, &ErrorObject::new(INVALID_REQUEST, message));
        let elements = Elements::parse(text, payload::BATCH);
        let Elements { texts, is_cut } = elements.map_err(|error| refused(format!("this is not a batch of JSON-RPC messages: {error}")))?;
        if texts.is_empty() || is_cut {
            return Err(refused(format!("a batch holds 1 to {} messages", payload::BATCH)));
        }
        let mut batch = Self { messages: Vec::new(), refused: Vec::new() };
        for element in texts {
            match Message::parse(&text.slice_ref(element.get().as_bytes())) {
                Ok(message) => batch.messages.push(message),
                Err(invalid) => batch.refused.push(Frame::error(invalid.id.as_ref(), &invalid.error)),
            }
        }
        let Self { messages, refused: _ } = &batch;
        if messages.is_empty() {
            return Err(Frame::batch(batch.refused));
        }
        if messages.iter().any(|message| message.method() == "initialize") {
            return Err(refused("`initialize` must not be part of a batch".to_owned()));
        }
        Ok(batch)
    }

    /// Whether a text is one, of messages or not.
    pub(super) fn is(text: &[u8]) -> bool {
        text.trim_ascii_start().starts_with(b"[")
    }

    /// What becomes of each message, in `take`'s hands, as far as it is answered.
    pub(super) fn answers(self, mut take: impl FnMut(Message) -> Received) -> Vec<BoxFuture<'static, Option<Frame>>> {
        let Self { messages, refused } = self;
        let at_once = |frame| futures_util::future::ready(Some(frame)).boxed();
        let answers = messages.into_iter().filter_map(|message| {
            let id = message.id();
            match take(message) {
                Received::Nothing | Received::Unasked => None,
                Received::Answer(frame) => Some(at_once(frame)),
                Received::TooMany => Some(at_once(Frame::error(id.as_ref(), &session::too_many()))),
                Received::Call(call) => Some(call.boxed()),
            }
        });
        refused.into_iter().map(at_once).chain(answers).collect()
    }
}
