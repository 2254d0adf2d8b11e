use std::{collections::VecDeque, convert::Infallible, task::Context};

use axum::http::{HeaderName, HeaderValue};
use hyper::body::SizeHint;

use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")));
    lines.collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Response>) -> u16 {
    outcome.expect_err("it is refused").status().as_u16()
}

#[test]
fn a_large_head_is_refused() {
    let limits = Config { header_bytes: 40, header_fields: 2, ..Config::default() };
    let check = |lines: &[(&'static str, &str)], uri: &str| check_head(&headers(lines), &uri.parse().expect("a URI"), &limits);
    // 5 bytes of target, 4 of name, 4 of signs, 27 of value.
    assert!(check(&[("name", &"x".repeat(27))], "http://elsewhere:1/mcp?").is_ok());
    assert_eq!(refused(check(&[("name", &"x".repeat(28))], "/mcp?")), 431);
    assert_eq!(refused(check(&[("name", "")], &"/".repeat(40))), 431);
    assert!(check(&[("a", ""), ("b", "")], "/").is_ok());
    assert_eq!(refused(check(&[("a", ""), ("a", ""), ("b", "")], "/")), 431);
}

#[test]
fn only_plain_json_is_a_body() {
    for (lines, accepted) in [
        (&[("content-type", "application/json")][..], true),
        (&[("content-type", "Application/JSON; charset=utf-8")], true),
        (&[("content-type", " application/json ;charset=x")], true),
        (&[("content-type", "application/json"), ("content-encoding", "Identity")], true),
        (&[], false),
        (&[("content-type", "")], false),
        (&[("content-type", "text/plain")], false),
        (&[("content-type", "text/plain; application/json")], false),
        (&[("content-type", "application/json, text/plain")], false),
        (&[("content-type", "application/json"), ("content-type", "text/plain")], false),
        (&[("content-type", "application/jsonx")], false),
        (&[("content-type", "application/x-www-form-urlencoded")], false),
        (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
        (&[("content-type", "application/json"), ("content-encoding", "identity, gzip")], false),
        (&[("content-type", "application/json"), ("content-encoding", "identity"), ("content-encoding", "br")], false),
    ] {
        let outcome = check_content(&headers(lines));
        assert_eq!(outcome.is_ok(), accepted, "{lines:?}");
        if !accepted {
            assert_eq!(refused(outcome), 415, "{lines:?}");
        }
    }
}

/// A body of these chunks; where one is `None` nothing ever comes.
struct Script {
    chunks: VecDeque<Option<Bytes>>,
    length: Option<u64>,
}

impl HttpBody for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Chunk<Bytes>, Infallible>>> {
        match self.chunks.front() {
            Some(None) => Poll::Pending,
            _ => Poll::Ready(self.chunks.pop_front().flatten().map(|chunk| Ok(Chunk::data(chunk)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn body<const N: usize>(length: Option<u64>, chunks: [Option<&'static str>; N]) -> Body {
    Body::new(Script { chunks: chunks.map(|chunk| chunk.map(Bytes::from)).into(), length })
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_whole_or_refused() {
    let limits = Config { body: 6, ..Config::default() };
    let read = |body| read_body(body, Room::Full, &limits);
    assert_eq!(read(body(Some(6), [Some("abc"), Some("def")])).await.expect("it fits"), "abcdef");
    assert_eq!(read(body(None, [Some("a"), Some(""), Some("b"), Some("c")])).await.expect("it fits"), "abc");
    assert_eq!(read(body(None, [])).await.expect("it fits"), "");
    // By its given length at once, though nothing of it ever comes.
    assert_eq!(refused(read(body(Some(7), [None])).await), 413);
    assert_eq!(refused(read(body(None, [Some("abcdefg")])).await), 413);
    assert_eq!(refused(read(body(None, [Some("abcd"), Some("efg"), None])).await), 413);
    assert_eq!(refused(read(body(None, [Some("ab"), Some("cd"), Some("efg"), None])).await), 413);
    let begun = tokio::time::Instant::now();
    assert_eq!(refused(read(body(Some(6), [Some("abc"), None])).await), 408);
    assert_eq!(begun.elapsed().as_secs(), limits.body_read.as_secs());
}

#[tokio::test]
async fn a_body_in_one_piece_is_not_copied() {
    let text = Bytes::from(vec![b'1'; 1000]);
    let read = read_body(Body::from(text.clone()), Room::Full, &Config::default()).await.expect("it fits");
    assert_eq!(read.as_ptr(), text.as_ptr());
}

#[tokio::test]
async fn without_a_key_there_is_less_room() {
    let read = |bytes: usize, room, limits: Config| async move {
        read_body(Body::from(vec![b' '; bytes]), room, &limits).await.map(|body| body.len()).map_err(|refused| refused.status())
    };
    let (most, too_large) = (payload::BODY_WITHOUT_KEY, Err(StatusCode::PAYLOAD_TOO_LARGE));
    assert_eq!(read(most, Room::WithoutKey, Config::default()).await, Ok(most));
    assert_eq!(read(most + 1, Room::WithoutKey, Config::default()).await, too_large);
    assert_eq!(read(most + 1, Room::Full, Config::default()).await, Ok(most + 1));
    // Never more than with one.
    assert_eq!(read(11, Room::WithoutKey, Config { body: 10, ..Config::default() }).await, too_large);
}
