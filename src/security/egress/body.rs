//! Reads a body to its end, or to a limit that holds for what it unpacks to.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use hyper::header::CONTENT_ENCODING;
use reqwest::Response;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// It is longer than it may be, as it came or unpacked.
    TooLong,
    /// The connection ended first.
    Broken,
    /// Compressed in a way that was not asked for, or not really.
    Encoding,
}

/// Reads a response that may have come with `Content-Encoding: gzip`.
///
/// SECURITY: `limit` bytes are held at most, whatever a kilobyte unpacks to (threat model T12).
///
/// # Errors
/// [`ReadError`]
pub async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let coding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    let mut sink = match coding.as_deref() {
        None | Some(b"identity") => Sink::Plain(Bounded::new(limit)),
        Some(b"gzip" | b"x-gzip") => Sink::Gzip(Box::new(GzDecoder::new(Bounded::new(limit)))),
        Some(_) => return Err(ReadError::Encoding),
    };
    while let Some(chunk) = response.chunk().await.map_err(|_| ReadError::Broken)? {
        sink.take(&chunk)?;
    }
    sink.finish()
}

enum Sink {
    Plain(Bounded),
    Gzip(Box<GzDecoder<Bounded>>),
}

impl Sink {
    fn take(&mut self, chunk: &[u8]) -> Result<(), ReadError> {
        let (written, is_full) = match self {
            Self::Plain(bounded) => (bounded.write_all(chunk), bounded.is_full),
            Self::Gzip(decoder) => (decoder.write_all(chunk), decoder.get_ref().is_full),
        };
        written.map_err(|_| if is_full { ReadError::TooLong } else { ReadError::Encoding })
    }

    fn finish(self) -> Result<Vec<u8>, ReadError> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            Self::Gzip(mut decoder) => {
                let ended = decoder.try_finish();
                let is_full = decoder.get_ref().is_full;
                let broken = if is_full { ReadError::TooLong } else { ReadError::Broken };
                ended.map_err(|_| broken)?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl Bounded {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, is_full: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn response(coding: Option<&str>, body: Vec<u8>) -> Response {
        let mut builder = hyper::http::Response::builder();
        if let Some(coding) = coding {
            builder = builder.header(CONTENT_ENCODING, coding);
        }
        builder.body(body).expect("a response").into()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    }

    #[tokio::test]
    async fn the_limit_is_that_of_the_unpacked() {
        let text = vec![b'a'; 1000];
        for (coding, body) in [(None, text.clone()), (Some("identity"), text.clone()), (Some("GZIP"), packed(&text))] {
            assert_eq!(read(response(coding, body.clone()), 1000).await, Ok(text.clone()), "{coding:?}");
            assert_eq!(read(response(coding, body), 999).await, Err(ReadError::TooLong), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_does_not_go_off() {
        // 64 MiB of blanks in 64 KiB.
        let bomb = packed(&vec![b' '; 1 << 26]);
        assert!(bomb.len() < 1 << 17);
        let begun = Instant::now();
        assert_eq!(read(response(Some("gzip"), bomb), 1 << 20).await, Err(ReadError::TooLong));
        assert!(begun.elapsed().as_secs() < 5);
    }

    #[tokio::test]
    async fn what_is_not_gzip_is_said_so() {
        assert_eq!(read(response(Some("br"), b"x".to_vec()), 9).await, Err(ReadError::Encoding));
        assert_eq!(read(response(Some("gzip"), b"not packed at all".to_vec()), 99).await, Err(ReadError::Encoding));
        let half = packed(b"some text that is long enough to be cut");
        assert_eq!(read(response(Some("gzip"), half[..half.len() / 2].to_vec()), 99).await, Err(ReadError::Broken));
    }
}
