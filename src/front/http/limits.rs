//! How much of everything one client may use (threat model T11), and the checks of one request's
//! head and body. Connections have their limits in `connections`.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::Response,
};
use hyper::body::Frame as Chunk;

use super::reply;
use crate::security::payload;

/// The limits of the HTTP front.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes of one request's body.
    pub body: usize,
    /// Bytes of all header lines of one request together.
    pub header_bytes: usize,
    /// Header lines of one request. hyper reads up to 100 without memory of their own.
    pub header_fields: usize,
    /// Open connections.
    pub connections: usize,
    /// Calls in flight of one session, or of one address where there are no sessions.
    pub calls: usize,
    /// Levels of nesting in a message.
    pub depth: usize,
    /// For the head of a request, from its first byte on.
    pub header_read: Duration,
    /// For the body of a request.
    pub body_read: Duration,
    /// A connection without a request is closed after this.
    pub idle: Duration,
    /// A client that takes nothing for this long is cut off.
    pub write: Duration,
    /// A client that has closed its side is taken for gone when it has been sent nothing for this long. TCP does not tell
    /// one that waits for its answer from one that left, whose calls run on meanwhile.
    pub half_closed: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body: payload::BODY,
            header_bytes: payload::HEAD,
            header_fields: payload::HEAD_FIELDS,
            connections: 10_000,
            calls: 256,
            depth: payload::DEPTH,
            header_read: Duration::from_secs(15),
            body_read: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(30),
            half_closed: Duration::from_secs(5),
        }
    }
}

/// 431 for a head that is larger than allowed.
pub(super) fn check_head(headers: &HeaderMap, uri: &Uri, limits: &Config) -> Result<(), Response> {
    /// The colon and the blank behind a name, and the end of the line.
    const SIGNS: usize = 4;
    if headers.len() > limits.header_fields {
        return Err(too_large_head(format!("more than {} header lines", limits.header_fields)));
    }
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + SIGNS);
    if target + lines.sum::<usize>() > limits.header_bytes {
        return Err(too_large_head(format!("header lines of more than {} bytes", limits.header_bytes)));
    }
    Ok(())
}

fn too_large_head(what: String) -> Response {
    reply::refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, what)
}

/// 415 for a body that is not plain JSON.
///
/// SECURITY: a web page may send any other type to any address without asking first (threat model T4).
pub(super) fn check_content(headers: &HeaderMap) -> Result<(), Response> {
    let unsupported = |message| Err(reply::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    let mut types = headers.get_all(CONTENT_TYPE).iter().peekable();
    let is_json = |value: &axum::http::HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    if types.peek().is_none() || !types.all(is_json) {
        return unsupported("the body must be JSON: send `Content-Type: application/json`");
    }
    // A small compressed body may be a very large one, so none is unpacked.
    if headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return unsupported("the body must not be compressed: send no `Content-Encoding`");
    }
    Ok(())
}

/// The whole body, without a copy where it comes in one piece.
///
/// # Errors
/// The answer to send: 413 if it is too large (at once where its length is given), 408 if it is not there in time, 400 if it
/// breaks off.
pub(super) async fn read_body(body: Body, room: Room, limits: &Config) -> Result<Bytes, Response> {
    if body.size_hint().lower() > room.bytes(limits) as u64 {
        return Err(room.exceeded(limits));
    }
    let mut gathering = pin!(gather(body, room, limits));
    if let Some(outcome) = at_once(gathering.as_mut()).await {
        return outcome;
    }
    let in_time = tokio::time::timeout(limits.body_read, gathering).await;
    in_time.unwrap_or_else(|_| {
        let message = format!("the body did not arrive within {} seconds", limits.body_read.as_secs_f32());
        Err(reply::refuse(StatusCode::REQUEST_TIMEOUT, message))
    })
}

async fn gather(mut body: Body, room: Room, limits: &Config) -> Result<Bytes, Response> {
    let limit = room.bytes(limits);
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(limit).min(payload::RESERVED);
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(chunk) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let broken = |_| reply::refuse(StatusCode::BAD_REQUEST, "the body broke off");
        let Ok(data) = chunk.map_err(broken).map(Chunk::into_data)? else { continue };
        if first.len().max(all.len()) + data.len() > limit {
            return Err(room.exceeded(limits));
        }
        if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(expected.max(first.len() + data.len()));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// How large a body may be depends on who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Full,
    /// A key is asked for, and none was sent.
    WithoutKey,
}

impl Room {
    fn bytes(self, limits: &Config) -> usize {
        match self {
            Self::Full => limits.body,
            Self::WithoutKey => limits.body.min(payload::BODY_WITHOUT_KEY),
        }
    }

    fn exceeded(self, limits: &Config) -> Response {
        let hint = match self {
            Self::Full => "",
            Self::WithoutKey => " without an API key; hint: send `Authorization: Bearer KEY`",
        };
        let message = format!("the body is larger than the limit of {} bytes{hint}", self.bytes(limits));
        reply::refuse(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

/// Whether the body may turn out larger than it may be without a key.
pub(super) fn may_be_large(body: &Body) -> bool {
    body.size_hint().upper().is_none_or(|most| most > payload::BODY_WITHOUT_KEY as u64)
}

/// What the future gives if it needs nothing but a second look: hyper hands a body that has already been received over
/// when it is asked for the second time, and a timer for each such request would be a waste.
async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut asked = false;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[cfg(test)]
mod tests;
