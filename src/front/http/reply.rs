//! Answers: JSON-RPC messages as HTTP bodies, so that a client reads why it was refused.
//! What an answer says is decided elsewhere.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{
        HeaderValue, StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::Response,
};
use hyper::body::{Frame as Chunk, SizeHint};

use crate::protocol::{
    error::{ErrorObject, REFUSED},
    message::{Frame, Id},
};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON-RPC error; `id` is `None` where the request's own is not known.
pub(super) fn error(status: StatusCode, id: Option<&Id>, error: &ErrorObject) -> Response {
    frame(status, Frame::error(id, error))
}

/// A JSON-RPC error for what is refused before a message is looked at.
pub(super) fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    error(status, None, &ErrorObject::new(REFUSED, message))
}

/// 401: a key is needed, or another one (RFC 6750, section 3).
pub(super) fn unauthorized(id: Option<&Id>, why: &ErrorObject) -> Response {
    with(error(StatusCode::UNAUTHORIZED, id, why), WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// 405. `allow` names the methods of this path, `GET, POST`.
pub(super) fn method_not_allowed(allow: &'static str) -> Response {
    let refused = refuse(StatusCode::METHOD_NOT_ALLOWED, format!("this path answers {allow} alone"));
    with(refused, ALLOW, HeaderValue::from_static(allow))
}

/// 429 or 503, with the time after which to ask again. It is sent in whole seconds, at least one.
pub(super) fn later(status: StatusCode, id: Option<&Id>, why: &ErrorObject, after: Duration) -> Response {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    with(error(status, id, why), RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// One message as the whole answer. Large pieces are not copied.
pub(super) fn frame(status: StatusCode, frame: Frame) -> Response {
    /// Up to here a copy costs less than pieces that are queued and written one by one.
    const COPIED: usize = 8 * 1024;
    let frame = if frame.len() <= COPIED { Frame::from(frame.into_bytes()) } else { frame };
    let mut response = Response::new(Body::new(Pieces::from(frame)));
    *response.status_mut() = status;
    with(response, CONTENT_TYPE, JSON)
}

fn with(mut response: Response, name: axum::http::HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// The pieces of a [`Frame`] as a body. Its length is known, so that it goes out with
/// `Content-Length` and not in chunks.
struct Pieces {
    pieces: vec::IntoIter<Bytes>,
    left: u64,
}

impl From<Frame> for Pieces {
    fn from(frame: Frame) -> Self {
        Self { left: frame.len() as u64, pieces: frame.into_pieces().into_iter() }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Chunk<Bytes>, Infallible>>> {
        let piece = self.pieces.by_ref().find(|piece| !piece.is_empty());
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Chunk::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body's chunks, and after each how much is still to come.
    async fn chunks(response: Response) -> (u64, Vec<(Bytes, u64)>) {
        let mut body = response.into_body();
        let whole = body.size_hint().exact().expect("the length is known");
        let mut chunks = Vec::new();
        while let Some(chunk) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let data = chunk.expect("it cannot fail").into_data().expect("there are no trailers");
            chunks.push((data, body.size_hint().exact().expect("the length is known")));
        }
        assert!(body.is_end_stream());
        (whole, chunks)
    }

    async fn text(response: Response) -> String {
        let (_, chunks) = chunks(response).await;
        chunks.iter().map(|(chunk, _)| std::str::from_utf8(chunk).expect("text")).collect()
    }

    #[tokio::test]
    async fn a_small_message_is_one_piece() {
        let result = Frame::result(&Id::number(7), Bytes::from_static(b"{}"));
        assert_eq!(result.pieces().len(), 3);
        let response = frame(StatusCode::OK, result);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let text = br#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
        assert_eq!(chunks(response).await, (36, vec![(Bytes::from_static(text), 0)]));
    }

    #[tokio::test]
    async fn a_large_piece_is_not_copied() {
        let result = Bytes::from(vec![b'1'; 100_000]);
        let (whole, chunks) = chunks(frame(StatusCode::OK, Frame::result(&Id::number(7), result.clone()))).await;
        let lengths = chunks.iter().map(|(chunk, left)| (chunk.len(), *left)).collect::<Vec<_>>();
        assert_eq!((whole, lengths), (100_034, vec![(33, 100_001), (100_000, 1), (1, 0)]));
        assert_eq!(chunks[1].0.as_ptr(), result.as_ptr());
    }

    #[tokio::test]
    async fn a_frame_without_text_is_an_empty_body() {
        assert_eq!(chunks(frame(StatusCode::OK, Frame::default())).await, (0, Vec::new()));
    }

    #[tokio::test]
    async fn refusals_say_why_and_what_to_do() {
        let why = ErrorObject::new(REFUSED, "no");
        let id = Id::number(1);
        let cases = [
            (unauthorized(Some(&id), &why), 401, Some((WWW_AUTHENTICATE, "Bearer")), r#"1,"error":{"code":-32000,"message":"no"}}"#),
            (refuse(StatusCode::FORBIDDEN, "no"), 403, None, r#"null,"error":{"code":-32000,"message":"no"}}"#),
            (
                method_not_allowed("GET, POST"),
                405,
                Some((ALLOW, "GET, POST")),
                r#"null,"error":{"code":-32000,"message":"this path answers GET, POST alone"}}"#,
            ),
            (
                later(StatusCode::TOO_MANY_REQUESTS, Some(&id), &why, Duration::from_millis(1001)),
                429,
                Some((RETRY_AFTER, "2")),
                r#"1,"error":{"code":-32000,"message":"no"}}"#,
            ),
            (
                later(StatusCode::SERVICE_UNAVAILABLE, None, &why, Duration::ZERO),
                503,
                Some((RETRY_AFTER, "1")),
                r#"null,"error":{"code":-32000,"message":"no"}}"#,
            ),
        ];
        for (response, status, header, rest) in cases {
            assert_eq!(response.status(), status);
            if let Some((name, value)) = header {
                assert_eq!(response.headers()[name], value);
            }
            assert_eq!(text(response).await, format!(r#"{{"jsonrpc":"2.0","id":{rest}"#));
        }
    }
}
