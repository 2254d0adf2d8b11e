//! Sessions with a Streamable HTTP front: each has one kept connection and asks one thing at a time, and many share a thread.

use std::io::Write as _;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::http::{self, Head};
use crate::peer::Peer;

#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
    host: String,
    path: String,
    /// The header lines of every request after the first.
    opened: String,
    request: Vec<u8>,
    received: Vec<u8>,
    body: Vec<u8>,
}

impl Session {
    /// A connection for a session; the session begins with the first message.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let (host, path) = http::split(url)?;
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (host, path, opened) = (host.to_owned(), path.to_owned(), String::new());
        Ok(Self { stream, host, path, opened, request: Vec::new(), received: Vec::new(), body: Vec::new() })
    }

    /// Posts a message. Gives the one that answers it, or nothing where it is only accepted.
    pub(crate) async fn ask(&mut self, message: &[u8]) -> Result<&[u8]> {
        let head = self.exchange("POST", message).await?;
        ensure!(matches!(head.status, 200 | 202), "status {}: {}", head.status, String::from_utf8_lossy(&self.body));
        if let (Some(session), "") = (&head.session, self.opened.as_str()) {
            self.opened = format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-06-18\r\n");
        }
        Ok(if head.event_stream { last_event(&self.body) } else { &self.body })
    }

    /// Ends the session. The connection serves another one.
    pub(crate) async fn end(&mut self) -> Result<()> {
        let head = self.exchange("DELETE", &[]).await?;
        ensure!(matches!(head.status, 200 | 202 | 204), "status {} of DELETE", head.status);
        self.opened.clear();
        Ok(())
    }

    async fn exchange(&mut self, method: &str, message: &[u8]) -> Result<Head> {
        let Self { stream, host, path, opened, request, received, body } = self;
        request.clear();
        write!(request, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{opened}Content-Type: application/json\r\n")?;
        write!(request, "Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n", message.len())?;
        request.extend_from_slice(message);
        stream.write_all(request).await?;
        received.clear();
        loop {
            if stream.read_buf(received).await? == 0 {
                bail!("the connection ends before the answer");
            }
            if let Some(head) = http::whole(received, body)? {
                return Ok(head);
            }
        }
    }
}

/// The data of the last event that has any: notifications stand before the answer.
fn last_event<'a>(stream: &'a [u8]) -> &'a [u8] {
    let data = |line: &'a [u8]| line.strip_prefix(b"data:").map(<[u8]>::trim_ascii).filter(|data| !data.is_empty());
    stream.rsplit(|byte| *byte == b'\n').find_map(data).unwrap_or_default()
}

/// A session that is spoken to as every other peer is, one message after the other.
#[derive(Debug)]
pub(crate) struct Alone {
    runtime: Rc<Runtime>,
    session: Session,
    answer: Vec<u8>,
}

impl Alone {
    pub(crate) fn connect(runtime: &Rc<Runtime>, url: &str) -> Result<Self> {
        let session = runtime.block_on(Session::connect(url))?;
        Ok(Self { runtime: Rc::clone(runtime), session, answer: Vec::new() })
    }

    pub(crate) fn into_session(self) -> Session {
        self.session
    }
}

impl Peer for Alone {
    fn send(&mut self, line: &[u8]) -> Result<()> {
        self.answer.clear();
        self.answer.extend_from_slice(self.runtime.block_on(self.session.ask(line))?);
        Ok(())
    }

    fn next(&mut self) -> Result<&[u8]> {
        Ok(&self.answer)
    }
}
