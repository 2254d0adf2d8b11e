//! As much HTTP/1.1 as it takes to ask servers over loopback, one request at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

/// A kept connection to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

/// An answer's head, with what is needed to read its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) event_stream: bool,
    /// The session that the answer belongs to, if it says so.
    pub(crate) session: Option<String>,
    chunked: bool,
    length: u64,
}

/// An answer's body. It must be read to its end before the next request.
#[derive(Debug)]
pub(crate) struct Body<R> {
    from: R,
    /// Bytes left of the body, or of the current chunk.
    left: u64,
    chunked: bool,
}

/// Splits `http://HOST:PORT/PATH`.
pub(crate) fn split(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").context("only http")?;
    let slash = rest.find('/').context("no path in the url")?;
    ensure!(rest.starts_with("127.0.0.1:"), "only loopback is loaded: {url}");
    Ok(rest.split_at(slash))
}

impl Connection {
    pub(crate) fn open(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), host: host.to_owned() })
    }

    /// Posts one message and reads the head of the answer.
    pub(crate) fn post(&mut self, path: &str, message: &[u8]) -> Result<Head> {
        let mut request = Vec::with_capacity(message.len() + 256);
        write!(request, "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", self.host)?;
        write!(request, "Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n", message.len())?;
        request.extend_from_slice(message);
        self.stream.get_mut().write_all(&request)?;
        self.head()
    }

    /// Asks for a page and reads the head of the answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Head> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.head()
    }

    /// Opens an event stream, which takes the connection.
    pub(crate) fn listen(mut self, path: &str) -> Result<Body<BufReader<TcpStream>>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let head = self.head()?;
        ensure!(head.status == 200 && head.event_stream, "no event stream: {}", head.status);
        Ok(Body { from: self.stream, left: head.length, chunked: head.chunked })
    }

    pub(crate) fn body(&mut self, head: &Head) -> Body<&mut BufReader<TcpStream>> {
        Body { from: &mut self.stream, left: head.length, chunked: head.chunked }
    }

    fn head(&mut self) -> Result<Head> {
        let mut lines = String::new();
        while !lines.ends_with("\r\n\r\n") {
            ensure!(self.stream.read_line(&mut lines)? > 0, "the head of the answer breaks off");
        }
        Head::parse(&lines)
    }
}

impl Head {
    fn parse(lines: &str) -> Result<Self> {
        let mut lines = lines.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
        let mut head = Self { status, event_stream: false, session: None, chunked: false, length: 0 };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let (is, value) = (|known| name.eq_ignore_ascii_case(known), value.trim());
            if is("content-length") {
                head.length = value.parse()?;
            } else if is("transfer-encoding") {
                head.chunked = value == "chunked";
            } else if is("content-type") {
                head.event_stream = value.starts_with("text/event-stream");
            } else if is("mcp-session-id") {
                head.session = Some(value.to_owned());
            }
        }
        Ok(head)
    }
}

/// Takes an answer apart, once all of it is there: `body` then holds its body.
pub(crate) fn whole(bytes: &[u8], body: &mut Vec<u8>) -> Result<Option<Head>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = memchr::memmem::find(bytes, END) else { return Ok(None) };
    let head = Head::parse(std::str::from_utf8(&bytes[..end])?)?;
    let from = &bytes[end + END.len()..];
    if (from.len() as u64) < head.length {
        return Ok(None);
    }
    body.clear();
    let mut rest = Body { from, left: head.length, chunked: head.chunked };
    match rest.read_to_end(body) {
        Ok(_) => Ok((rest.left == 0 && !rest.chunked).then_some(head)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl<R: BufRead> Body<R> {
    /// The size of the next chunk; its line follows the line end of the chunk before.
    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut line = self.line()?;
        while line.trim_end().is_empty() {
            line = self.line()?;
        }
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        if size == 0 {
            self.line()?;
        }
        Ok(size)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: BufRead> BufRead for Body<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && self.chunked {
            self.left = self.next_chunk()?;
            self.chunked = self.left > 0;
        }
        if self.left == 0 {
            return Ok(&[]);
        }
        let read = self.from.fill_buf()?;
        let part = usize::try_from(self.left).unwrap_or(usize::MAX).min(read.len());
        Ok(&read[..part])
    }

    fn consume(&mut self, amount: usize) {
        self.left -= amount as u64;
        self.from.consume(amount);
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?;
        let part = read.len().min(into.len());
        into[..part].copy_from_slice(&read[..part]);
        self.consume(part);
        Ok(part)
    }
}

/// Writes the data of the next event, and a line end, as it arrives. False at the end of the stream.
pub(crate) fn copy_event(from: &mut impl BufRead, into: &mut impl Write) -> io::Result<bool> {
    loop {
        let Some(&first) = from.fill_buf()?.first() else {
            return Ok(false);
        };
        if first == b'd' {
            from.read_exact(&mut [0; "data: ".len()])?;
            copy_line(from, into)?;
            return Ok(true);
        }
        copy_line(from, &mut io::sink())?;
    }
}

/// Writes all that is left of one line, its end included, as it arrives.
fn copy_line(from: &mut impl BufRead, into: &mut impl Write) -> io::Result<()> {
    loop {
        let read = from.fill_buf()?;
        let end = memchr::memchr(b'\n', read);
        let part = end.map_or(read.len(), |at| at + 1);
        if part == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.write_all(&read[..part])?;
        from.consume(part);
        if end.is_some() {
            return into.flush();
        }
    }
}
