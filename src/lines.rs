//! Newline-delimited messages over byte streams (MCP transports, "stdio"), for
//! the children below and the client above.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::protocol::message::Frame;

/// Messages that may wait for a peer to read. A full queue makes senders wait.
pub const QUEUE: usize = 256;

/// What is read at once at least. A pipe holds 64 KiB, but most messages are small.
const READ: usize = 8 * 1024;

/// Pieces above this are written from where they are instead of being collected.
const COLLECTED: usize = 16 * 1024;

/// What is kept of a line that is too long. Ids stand in front in what most programs write.
const BEGINNING: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Text(Bytes),
    /// The beginning of a line of more than the limit. It is told as soon as that is seen; the rest of the line is skipped.
    TooLong(Bytes),
}

/// Splits a byte stream into lines without copying them. Holds no more than the limit, and as much again while it grows.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    limit: usize,
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no line end.
    scanned: usize,
    /// The current line was too long.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, buffer: BytesMut::new(), scanned: 0, skipping: false }
    }

    /// The next line without its end, blank ones left out; `None` at the end of
    /// input. A last line without a line end counts.
    ///
    /// # Errors
    /// What the reader says.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
                let line = self.buffer.split_to(self.scanned + end + 1);
                self.scanned = 0;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                if let Some(line) = self.finish(line) {
                    return Ok(Some(line));
                }
            }
            self.scanned = self.buffer.len();
            if self.skipping {
                self.buffer.clear();
                self.scanned = 0;
            } else if self.scanned > self.limit {
                self.skipping = true;
                // With its memory: the next line is likely a short one.
                let line = std::mem::take(&mut self.buffer);
                self.scanned = 0;
                return Ok(Some(too_long(&line)));
            }
            // A long line doubles the buffer, a short one leaves it small.
            self.buffer.reserve(self.buffer.len().clamp(READ, 1024 * 1024));
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                self.scanned = 0;
                let rest = self.buffer.split();
                return Ok(if self.skipping { None } else { self.finish(rest) });
            }
        }
    }

    fn finish(&self, mut line: BytesMut) -> Option<Line> {
        if line.len() > self.limit {
            return Some(too_long(&line));
        }
        let end = line.trim_ascii_end().len();
        line.truncate(end);
        line.advance(end - line.trim_ascii_start().len());
        (!line.is_empty()).then(|| Line::Text(line.freeze()))
    }
}

fn too_long(line: &[u8]) -> Line {
    Line::TooLong(Bytes::copy_from_slice(&line[..line.len().min(BEGINNING)]))
}

/// Writes frames as lines until the queue ends. What is waiting goes out in one
/// write, but for a frame that must be alone.
///
/// # Errors
/// What the writer says; the peer is gone then.
pub async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut waiting = Vec::new();
    let mut collected = Vec::new();
    while frames.recv_many(&mut waiting, QUEUE).await > 0 {
        for frame in waiting.drain(..) {
            for piece in frame.pieces() {
                if piece.len() > COLLECTED {
                    writer.write_all(&collected).await?;
                    collected.clear();
                    write_large(&mut writer, piece).await?;
                } else {
                    collect(&mut collected, piece);
                }
            }
            collected.push(b'\n');
            if frame.is_alone() || collected.len() > 4 * COLLECTED {
                writer.write_all(&collected).await?;
                writer.flush().await?;
                collected.clear();
            }
        }
        writer.write_all(&collected).await?;
        writer.flush().await?;
        collected.clear();
        collected.shrink_to(4 * COLLECTED);
    }
    Ok(())
}

/// A message that came over HTTP may have line breaks between its tokens. They
/// cannot stand inside strings, so a blank means the same.
fn collect(collected: &mut Vec<u8>, piece: &[u8]) {
    let start = collected.len();
    collected.extend_from_slice(piece);
    if memchr::memchr2(b'\n', b'\r', piece).is_some() {
        collected[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
}

async fn write_large<W: AsyncWrite + Unpin>(writer: &mut W, piece: &[u8]) -> io::Result<()> {
    let mut rest = piece;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        writer.write_all(&rest[..at]).await?;
        writer.write_all(b" ").await?;
        rest = &rest[at + 1..];
    }
    writer.write_all(rest).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(input, limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.expect("reading memory cannot fail") {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn lines_are_split_and_trimmed() {
        let text = |text: &'static str| Line::Text(Bytes::from_static(text.as_bytes()));
        assert_eq!(all(b"a\r\n\n  \nbc\n d", 10).await, [text("a"), text("bc"), text("d")]);
        assert_eq!(all(b"", 10).await, []);
    }

    #[tokio::test]
    async fn a_long_line_is_skipped_and_the_next_one_read() {
        let input = [&b"x".repeat(300_000)[..], b"\nnext\n"].concat();
        assert_eq!(all(&input, 1000).await, [too_long(&input), Line::Text(Bytes::from_static(b"next"))]);
        assert_eq!(all(&input[..300_000], 1000).await, [too_long(&input)]);
        assert_eq!(
            all(b"12345678901\nnext\n", 10).await,
            [Line::TooLong(Bytes::from_static(b"12345678901\n")), Line::Text(Bytes::from_static(b"next"))]
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_told_at_once_and_never_held() {
        let (mut writer, reader) = tokio::io::duplex(4096);
        let mut lines = Lines::new(reader, 10_000);
        let writing = async {
            for _ in 0..100 {
                writer.write_all(&[b'x'; 4096]).await.expect("somebody reads");
            }
            writer.write_all(b"\nnext\n").await.expect("somebody reads");
            drop(writer);
        };
        let reading = async {
            assert_eq!(lines.next().await.expect("memory"), Some(too_long(&[b'x'; BEGINNING])));
            assert!(lines.buffer.capacity() < 10_000, "it is held");
            assert_eq!(lines.next().await.expect("memory"), Some(Line::Text(Bytes::from_static(b"next"))));
            assert!(lines.buffer.capacity() < 50_000, "it is held");
            assert_eq!(lines.next().await.expect("memory"), None);
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn frames_become_single_lines() {
        let (sender, receiver) = mpsc::channel(4);
        let long = format!("{{\n\"a\":\r\n\"{}\"}}", "b".repeat(50_000));
        for text in ["{\n}", &long, "{}"] {
            sender.send(Frame::from(Bytes::copy_from_slice(text.as_bytes()))).await.expect("the queue is open");
        }
        drop(sender);
        let mut out = Vec::new();
        write(&mut out, receiver).await.expect("writing memory cannot fail");
        let lines: Vec<_> = std::str::from_utf8(&out).expect("UTF-8").lines().collect();
        assert_eq!(lines, ["{ }", &long.replace(['\n', '\r'], " "), "{}"]);
    }
}
