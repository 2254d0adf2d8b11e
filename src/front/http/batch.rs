//! Several messages in one body, where the revision has them (JSON-RPC 2.0, "Batch").

use std::fmt;

use axum::{http::StatusCode, response::Response};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::reply;
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
    pub(super) fn parse(body: &Bytes) -> Result<Self, Response> {
        let refused = |message: String| reply::error(StatusCode::BAD_REQUEST, None, &ErrorObject::new(INVALID_REQUEST, message));
        let texts = serde_json::from_slice(body);
        let Texts(texts) = texts.map_err(|error| refused(format!("this is not a batch of JSON-RPC messages: {error}")))?;
        if texts.is_empty() {
            return Err(refused(format!("a batch holds 1 to {} messages", payload::BATCH)));
        }
        let mut batch = Self { messages: Vec::new(), refused: Vec::new() };
        for text in texts {
            match Message::parse(&body.slice_ref(text.get().as_bytes())) {
                Ok(message) => batch.messages.push(message),
                Err(invalid) => batch.refused.push(Frame::error(invalid.id.as_ref(), &invalid.error)),
            }
        }
        let Self { messages, refused: _ } = &batch;
        if messages.is_empty() {
            return Err(reply::frame(StatusCode::BAD_REQUEST, Frame::batch(batch.refused)));
        }
        if messages.iter().any(|message| message.method() == "initialize") {
            return Err(refused("`initialize` must not be part of a batch".to_owned()));
        }
        Ok(batch)
    }
}
