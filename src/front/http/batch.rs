//! Several messages in one body, where the revision has them (JSON-RPC 2.0, "Batch").

use axum::{http::StatusCode, response::Response};
use bytes::Bytes;
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

impl Batch {
    /// # Errors
    /// The answer to what is no batch, an empty or too large one, and one that begins a session.
    pub(super) fn parse(body: &Bytes) -> Result<Self, Response> {
        let refused = |message: String| reply::error(StatusCode::BAD_REQUEST, None, &ErrorObject::new(INVALID_REQUEST, message));
        let texts: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|error| refused(format!("this is not a batch of JSON-RPC messages: {error}")))?;
        if texts.is_empty() || texts.len() > payload::BATCH {
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
