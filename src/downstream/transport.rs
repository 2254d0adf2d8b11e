//! The ways to a server. Each takes whole messages, delivers what comes back to
//! a [`Handler`] in order, and ends when its token is cancelled.

use bytes::Bytes;
use tokio::{sync::mpsc, task::AbortHandle, time::timeout_at};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{error::LinkError, handler::Handler};
use crate::protocol::{
    json::Elements,
    message::{Frame, Message},
    revision::Revision,
};
use crate::security::{payload, redact};

pub mod http;
pub mod sse;
pub mod stdio;

/// Characters of a library's words in a log line.
const MAX_QUOTE: usize = 300;

/// Where messages for the server go in.
#[derive(Debug)]
pub enum Outbox {
    Stdio(mpsc::Sender<Frame>),
    Http(http::Client),
    Sse(sse::Client),
}

impl Outbox {
    /// Sends the request `id`. Over HTTP it runs on its own; the handle ends it.
    ///
    /// # Errors
    /// [`LinkError`] if the message cannot have reached the server.
    pub async fn request(&self, id: u64, frame: Frame) -> Result<Option<AbortHandle>, LinkError> {
        match self {
            Self::Stdio(queue) => queue.send(frame).await.map(|()| None).map_err(|_| LinkError::Closed),
            Self::Http(client) => Ok(Some(client.request(id, frame))),
            Self::Sse(client) => Ok(Some(client.request(id, frame))),
        }
    }

    /// Sends a notification or a response and waits until the server has it.
    ///
    /// # Errors
    /// [`LinkError`] if the server did not take it.
    pub async fn notify(&self, frame: Frame) -> Result<(), LinkError> {
        match self {
            Self::Stdio(queue) => queue.send(frame).await.map_err(|_| LinkError::Closed),
            Self::Http(client) => client.notify(frame).await,
            Self::Sse(client) => client.notify(frame).await,
        }
    }

    /// As [`Self::notify`], from where nothing can be awaited (`Drop`, a read
    /// loop). Lost where a child does not read its input, which is then stuck anyway.
    pub fn notify_soon(&self, frame: Frame) {
        match self {
            Self::Stdio(queue) => drop(queue.try_send(frame)),
            Self::Http(client) => client.notify_soon(frame),
            Self::Sse(client) => client.notify_soon(frame),
        }
    }

    /// Until all that was sent in this way has gone out, as far as it can be told. A child is ended anyway.
    pub async fn settled(&self) {
        match self {
            Self::Stdio(_) => {}
            Self::Http(client) => client.settled().await,
            Self::Sse(client) => client.settled().await,
        }
    }

    /// There may be more to send until this is dropped, which [`settled`](Self::settled) waits for.
    pub fn sending(&self) -> Option<TaskTrackerToken> {
        match self {
            Self::Stdio(_) => None,
            Self::Http(client) => Some(client.sending()),
            Self::Sse(client) => Some(client.sending()),
        }
    }

    /// The server learns of a cancelled request by the end of its exchange, and of nothing else.
    pub fn cancels_by_closing(&self) -> bool {
        matches!(self, Self::Http(client) if client.annotated().is_some())
    }

    /// The arguments that are sent as headers too, where there are headers.
    pub fn annotated(&self) -> Option<&http::stated::Annotated> {
        match self {
            Self::Stdio(_) | Self::Sse(_) => None,
            Self::Http(client) => client.annotated(),
        }
    }

    /// HTTP names the revision in every request from now on.
    pub fn agreed(&self, revision: Revision) {
        match self {
            Self::Stdio(_) | Self::Sse(_) => {}
            Self::Http(client) => client.agreed(revision),
        }
    }

    /// Opens the stream for what the server says unasked, where that is one of its own.
    pub fn listen(&self) {
        match self {
            Self::Stdio(_) | Self::Sse(_) => {}
            Self::Http(client) => client.listen(),
        }
    }
}

/// The server sends more at once than it may.
fn too_large(handler: &Handler) -> LinkError {
    LinkError::Protocol { what: format!("its message is larger than {} bytes (`--max-message`)", handler.limits().message) }
}

/// What `next` gives on a connection that all calls share. A call that will most likely get no other answer than one under a wrong
/// id, or none, is failed meanwhile.
async fn heard<T>(handler: &Handler, next: impl Future<Output = T>) -> T {
    let mut next = std::pin::pin!(next);
    loop {
        let Some(until) = handler.doubtful_until() else { return next.await };
        match timeout_at(until.into(), &mut next).await {
            Ok(heard) => return heard,
            Err(_) => handler.fail_doubtful(),
        }
    }
}

fn overlooked(handler: &Handler, text: &[u8], problem: &str) {
    tracing::warn!(server = handler.server(), bytes = text.len(), problem, "the server sent something that is not a JSON-RPC message");
}

/// Hands one text from the server to the handler, and the call on whose own stream it
/// came; what it returns is to be sent back, each by itself. The text is a message, or a batch of them: revision 2025-03-26 demands
/// that batches are received, and who sends one in another revision means the same.
fn deliver(handler: &Handler, text: &Bytes, call: Option<u64>) -> Vec<Frame> {
    if !text.trim_ascii_start().starts_with(b"[") {
        return deliver_one(handler, text, call).into_iter().collect();
    }
    match Elements::parse(text, payload::BATCH) {
        Ok(Elements { texts, is_cut }) => {
            if is_cut {
                tracing::warn!(server = handler.server(), "a batch of more than {} messages was cut", payload::BATCH);
            }
            // SECURITY: each is a copy, or a small message that waits for its client would hold the whole batch (threat model T11).
            let texts = texts.into_iter().map(|text| Bytes::copy_from_slice(text.get().as_bytes()));
            texts.filter_map(|text| deliver_one(handler, &text, call)).collect()
        }
        Err(error) => {
            overlooked(handler, text, &redact::quote(&error.to_string(), MAX_QUOTE));
            Vec::new()
        }
    }
}

/// A text that is no message is logged (never its content) and skipped: the messages around it are still good.
fn deliver_one(handler: &Handler, text: &Bytes, call: Option<u64>) -> Option<Frame> {
    match Message::parse(text) {
        Ok(message) if payload::too_deep(text, handler.limits().depth) => {
            let what = format!("its message is nested deeper than {} levels", handler.limits().depth);
            let error = LinkError::Protocol { what };
            tracing::warn!(server = handler.server(), %error, "a message was refused");
            handler.refuse(&message, call, &error)
        }
        Ok(message) => handler.receive(message, call),
        Err(invalid) => {
            // The library quotes values that it did not expect.
            let problem = redact::quote(&invalid.error.message, MAX_QUOTE);
            overlooked(handler, text, &problem);
            if let Some(id) = invalid.id.filter(|_| invalid.is_response) {
                handler.unreadable(&id, call, LinkError::Protocol { what: format!("its answer is malformed: {problem}") });
            }
            None
        }
    }
}
