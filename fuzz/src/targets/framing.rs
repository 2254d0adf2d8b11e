use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use pluggedin_mcp_proxy::{
    lines::{Line, Lines},
    protocol::message::{Id, Message},
};
use tokio::io::{AsyncRead, ReadBuf};

use super::{Target, hash, pieces, size};

/// Bytes of a line, so that short inputs reach it.
const LIMIT: usize = 256;

pub(super) const TARGET: Target = Target {
    name: "framing",
    seeds: &[
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"x\",\"_meta\":{\"progressToken\":1}}}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":\"a\\u0062\",\"result\":{}}\r\n \n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}",
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]\n",
        "{\"id\":null,\"error\":{\"code\":-32600,\"message\":\"x\"},\"jsonrpc\":\"2.0\"}\n",
        "{\"method\":\"a\\/b\",\"jsonrpc\":\"2.0\",\"id\":1.0,\"id\":2}\n\n\n",
    ],
    words: &[
        "\"id\":",
        "\"method\":",
        "\"params\":",
        "\"result\":",
        "\"error\":",
        "\"jsonrpc\":\"2.0\"",
        "{",
        "}",
        "[",
        "]",
        "null",
        "1e400",
        "\\u0000",
        "\\ud800",
        "\n",
        "\r\n",
        "\u{2028}",
        "\u{feff}",
    ],
    run,
};

fn run(input: &[u8]) -> u64 {
    let lines = lines(input);
    let mut expected = plain(input).into_iter();
    let mut outcome = Vec::new();
    for line in &lines {
        let plain = expected.next().expect("a line that is not there");
        match line {
            Line::Text(text) => {
                assert_eq!(text, plain.trim_ascii());
                assert!(plain.len() <= LIMIT);
                outcome.push(message(text));
            }
            Line::TooLong { .. } => {
                assert!(plain.len() + 2 > LIMIT, "{} bytes are not too long", plain.len());
                outcome.push(1);
            }
        }
    }
    assert!(expected.next().is_none(), "a line was lost");
    outcome.truncate(3);
    hash(&(outcome, size(lines.len())))
}

fn message(text: &Bytes) -> u64 {
    let Ok(message) = Message::parse(text) else { return 2 };
    assert_eq!(message.text(), text);
    if let Some(body) = message.body() {
        serde_json::from_str::<&serde_json::value::RawValue>(body).expect("a body is JSON");
    }
    let id = Id::number(77);
    let again = Message::parse(&message.with(&id, None).into_bytes()).expect("with another id it is a message still");
    assert_eq!((again.kind(), again.method(), again.body()), (message.kind(), message.method(), message.body()));
    assert_eq!(again.id(), message.id().map(|_| id));
    hash(&(format!("{:?}", message.kind()), message.id().is_some(), message.body().is_some(), size(message.method().len())))
}

/// Lines with their ends, blank ones left out unless they are too long.
fn plain(input: &[u8]) -> Vec<&[u8]> {
    input.split_inclusive(|&byte| byte == b'\n').filter(|line| line.len() > LIMIT || !line.trim_ascii().is_empty()).collect()
}

fn lines(input: &[u8]) -> Vec<Line> {
    let reader = InPieces(pieces(input).into_iter().map(<[u8]>::to_vec).rev().collect());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut lines = Lines::new(reader, LIMIT);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.expect("memory does not fail") {
            read.push(line);
        }
        read
    })
}

/// The last piece comes first.
struct InPieces(Vec<Vec<u8>>);

impl AsyncRead for InPieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if let Some(piece) = self.0.pop() {
            buffer.put_slice(&piece);
        }
        Poll::Ready(Ok(()))
    }
}
