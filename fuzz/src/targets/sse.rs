use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use sse_stream::SseStream;

use super::{Target, hash, pieces, size};

pub(super) const TARGET: Target = Target {
    name: "sse",
    seeds: &[
        "event: message\nid: 1\ndata: {\"jsonrpc\":\"2.0\"}\n\n",
        "event: endpoint\r\ndata: /messages?session=1\r\n\r\n: comment\n\nretry: 100\ndata: a\ndata: b\n\n",
        "\u{feff}data\ndata:x\rdata: y\r\r",
        "id\nid: \0\ndata: x\n\nretry: x\nunknown: y\n\n",
    ],
    words: &["data: ", "event: ", "id: ", "retry: ", "\n\n", "\r\n\r\n", "\r", ":", "\u{feff}"],
    run,
};

fn run(input: &[u8]) -> u64 {
    let whole = events(vec![input]);
    let split = events(pieces(input));
    assert_eq!(whole, split, "the events depend on how the bytes come in");
    hash(&(size(whole.len()), whole.iter().take(3).map(|event| size(event.len())).collect::<Vec<_>>()))
}

/// Up to the first error.
fn events(pieces: Vec<&[u8]>) -> Vec<String> {
    let bytes = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
    let mut events = SseStream::from_bytes_stream(stream::iter(bytes));
    let mut read = Vec::new();
    while let Some(Some(Ok(event))) = events.next().now_or_never() {
        read.push(format!("{event:?}"));
    }
    read
}
