//! Several messages in one text, where the revision has them (JSON-RPC 2.0, "Batch").

use std::fmt;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::session::{self, Received};
use crate::{
    protocol::{
        error::{ErrorObject, INVALID_REQUEST},
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

/// The elements, of which no more than may be are ever held.
struct Texts<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Texts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = elements.next_element()? {
                    if texts.len() == payload::BATCH {
                        return Err(A::Error::custom(format_args!("it holds more than {} messages", payload::BATCH)));
                    }
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

impl Batch {
    /// # Errors
    /// The answer to what is no batch, an empty or too large one, and one that begins a session.
    pub(super) fn parse(text: &Bytes) -> Result<Self, Frame> {
        let refused = |message: String| Frame::error(None, &ErrorObject::new(INVALID_REQUEST, message));
        let texts = serde_json::from_slice(text);
        let Texts(texts) = texts.map_err(|error| refused(format!("this is not a batch of JSON-RPC messages: {error}")))?;
        if texts.is_empty() {
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
                Received::Nothing => None,
                Received::Answer(frame) => Some(at_once(frame)),
                Received::TooMany => Some(at_once(Frame::error(id.as_ref(), &session::too_many()))),
                Received::Call(call) => Some(call.boxed()),
            }
        });
        refused.into_iter().map(at_once).chain(answers).collect()
    }
}
