//! The proxy as an HTTP server, and a client for it over plain sockets, so that every header, every byte and every pause
//! is the test's own.

use super::patience::{PATIENCE, eventually, patiently};
use super::process::{self, has_ended};
use super::proxy::Finished;
use super::stderr::Stderr;
use super::{Home, KEY, List};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

/// The newest revision with a handshake.
pub(crate) const REVISION: &str = "2025-11-25";

/// What clients accept that do as the specification says.
pub(crate) const BOTH: &str = "application/json, text/event-stream";

/// A proxy that serves HTTP.
#[derive(Debug)]
pub(crate) struct Front {
    /// Its home directory lives as long.
    _home: Home,
    pub(crate) address: SocketAddr,
    child: Child,
    stderr: Stderr,
    ended: bool,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// A client's side of one session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// A POST with everything that each request of this session has.
    base: Request,
    next_id: u64,
}

/// A connection, over which requests can be sent one after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come and was not looked at yet.
    buffer: Vec<u8>,
    ended: bool,
}

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A response whose head is there, and whose body comes piece by piece.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    connection: Connection,
    framing: Framing,
    /// What the body has brought and nobody has looked at yet.
    body: Vec<u8>,
    /// The ids of the events so far.
    pub(crate) last_event: Option<String>,
}

/// One event of an event stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
    Ended,
}

/// Something that is different about a request.
pub(crate) type Change = fn(Request) -> Request;

/// A message as a client writes it.
pub(crate) fn message(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

pub(crate) fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

pub(crate) fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    message(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

pub(crate) fn initialize(revision: &str, capabilities: Value) -> Value {
    let client = json!({"name": "it", "version": "1"});
    message(0, "initialize", json!({"protocolVersion": revision, "capabilities": capabilities, "clientInfo": client}))
}

impl Front {
    /// A process that was just started; waits until it says where it serves.
    #[track_caller]
    pub(crate) fn new(mut child: Child, home: Home) -> Self {
        let stderr = Stderr::of(child.stderr.take().expect("it is piped"));
        let address = patiently(|| {
            let ended = child.try_wait().expect("it is ours").is_some();
            let address = address(&stderr.text());
            (ended || address.is_some()).then_some(address)
        });
        let Some(Some(mut address)) = address else {
            let _ = child.kill();
            panic!("it does not say where it serves:\n{}", stderr.text());
        };
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Self { _home: home, address, child, stderr, ended: false }
    }

    // Asking.

    /// A request with a `Host` and nothing else.
    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::to(self.address, method, target)
    }

    /// A message as a well-behaved client sends it, outside a session.
    pub(crate) fn post(&self, message: &Value) -> Request {
        self.request("POST", "/mcp").header("Content-Type", "application/json").header("Accept", BOTH).json(message)
    }

    /// Opens a session.
    #[track_caller]
    pub(crate) fn session(&self) -> Session {
        self.session_able(json!({}))
    }

    /// Opens a session of a client that can be asked.
    #[track_caller]
    pub(crate) fn session_able(&self, capabilities: Value) -> Session {
        Session::open(&self.post(&Value::Null), REVISION, capabilities)
    }

    /// Opens a session with a key.
    #[track_caller]
    pub(crate) fn session_with(&self, key: &str) -> Session {
        Session::open(&self.post(&Value::Null).key(key), REVISION, json!({}))
    }

    /// A client that speaks HTTP/2 from the first byte on, and what it calls the proxy.
    pub(crate) fn http_2(&self, name: &str) -> (reqwest::Client, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().resolve(name, self.address);
        let url = format!("http://{name}:{}/mcp", self.address.port());
        (client.build().expect("a client can be built"), url)
    }

    // Looking.

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    #[track_caller]
    pub(crate) fn complains(&self, words: &str) {
        eventually(&format!("stderr says: {words}"), || self.stderr().contains(words).then_some(()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that it occupies.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has one");
        let kilobytes: u64 = line.trim_end_matches("kB").trim().parse().expect("a number");
        kilobytes * 1024
    }

    /// How many sockets and files it holds open.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> usize {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
        entries.count()
    }

    // Ending.

    pub(crate) fn signal(&self, signal: &str) {
        process::signal(self.pid(), signal);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Waits until it has ended after a signal.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> Finished {
        let child = &mut self.child;
        let status = eventually("the proxy ends", || child.try_wait().expect("it is ours"));
        self.ended = true;
        eventually("stderr ends", || self.stderr.has_ended().then_some(()));
        Finished { code: status.code(), stdout: String::new(), stderr: self.stderr() }
    }
}

impl Drop for Front {
    /// Every scenario ends well: when it is asked to, with exit code 0, without a panic and without the key on stderr.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("stderr of the proxy:\n{}", self.stderr());
            return;
        }
        if !self.ended {
            self.signal("-TERM");
            let finished = self.ends();
            assert_eq!(finished.code, Some(0), "stderr: {}", finished.stderr);
        }
        let stderr = self.stderr();
        assert!(!stderr.contains(KEY), "the key is on stderr");
        assert!(!stderr.contains("panicked"), "it panicked: {stderr}");
        assert!(has_ended(self.pid().into()));
    }
}

/// Where it serves, if it has said so.
fn address(stderr: &str) -> Option<SocketAddr> {
    let (_, rest) = stderr.split_once("serving Streamable HTTP at http://")?;
    let (address, _) = rest.split_once("/mcp")?;
    address.parse().ok()
}

impl Request {
    /// With a `Host` and nothing else.
    pub(crate) fn to(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![("Host".to_owned(), address.to_string().into_bytes())],
            body: Vec::new(),
        }
    }

    /// Sets a header, in place of others of that name.
    pub(crate) fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).and(name, value)
    }

    /// Adds a header, whether or not there is another of that name.
    pub(crate) fn and(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Authorization", format!("Bearer {key}"))
    }

    pub(crate) fn accept(self, types: &str) -> Self {
        self.header("Accept", types)
    }

    pub(crate) fn in_session(self, id: &str) -> Self {
        self.header("Mcp-Session-Id", id)
    }

    /// Names a revision, as clients do after their handshake.
    pub(crate) fn revision(self, revision: &str) -> Self {
        self.header("MCP-Protocol-Version", revision)
    }

    pub(crate) fn at(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    pub(crate) fn by(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn json(self, message: &Value) -> Self {
        self.body(message.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The head, with nothing about the body.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// All of it, with the length of the body.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        if self.method == "POST" || !self.body.is_empty() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it over a connection of its own.
    #[track_caller]
    pub(crate) fn start(&self) -> Connection {
        let mut connection = Connection::open(self.address);
        connection.write(&self.bytes());
        connection
    }

    /// Sends it and waits for the head of the response.
    #[track_caller]
    pub(crate) fn open(&self) -> Stream {
        self.start().stream()
    }

    /// Sends it and waits for the whole response.
    #[track_caller]
    pub(crate) fn send(&self) -> Reply {
        let mut connection = self.start();
        if self.method == "HEAD" {
            let (status, headers) = connection.response_head();
            connection.stream.shutdown(Shutdown::Both).expect("it is open");
            let body = String::from_utf8(connection.buffer).expect("bodies are text");
            return Reply { status, headers, body };
        }
        connection.reply()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }
}

impl Session {
    /// Shakes hands with requests like this one.
    #[track_caller]
    pub(crate) fn open(like: &Request, revision: &str, capabilities: Value) -> Self {
        let reply = like.clone().json(&initialize(revision, capabilities)).send();
        reply.clone().result();
        let id = reply.header("mcp-session-id").expect("a session").to_owned();
        let base = like.clone().in_session(&id).revision(revision);
        let session = Self { id, base, next_id: 1 };
        let reply = session.notify("notifications/initialized", json!({}));
        assert_eq!((reply.status, reply.body.as_str()), (202, ""));
        session
    }

    pub(crate) fn post(&self, message: &Value) -> Request {
        self.base.clone().json(message)
    }

    /// The same session with another key, or other such changes of its requests.
    pub(crate) fn with(&self, change: impl FnOnce(Request) -> Request) -> Self {
        Self { base: change(self.base.clone()), ..self.clone() }
    }

    #[track_caller]
    pub(crate) fn notify(&self, method: &str, params: Value) -> Reply {
        self.post(&notification(method, params)).send()
    }

    /// A request under a fresh id.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Request {
        let id = self.next_id;
        self.next_id += 1;
        self.post(&message(id, method, params))
    }

    pub(crate) fn ask_call(&mut self, tool: &str, arguments: Value) -> Request {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).send().result()
    }

    /// Calls a tool and returns the result.
    #[track_caller]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask_call(tool, arguments).send().result()
    }

    /// Starts a call that goes on until it is cancelled or released, and waits until the server works on it.
    #[track_caller]
    pub(crate) fn start_slow(&mut self, server: &str, label: &str) -> Connection {
        self.find(List::Tools, &format!("{server}__slow"));
        let call = self.ask_call(&format!("{server}__slow"), json!({"label": label})).start();
        self.wait_for(server, "started", label);
        call
    }

    /// Ends a slow call.
    #[track_caller]
    pub(crate) fn release(&mut self, server: &str, label: &str) {
        self.call(&format!("{server}__release"), json!({"label": label}));
    }

    /// Waits until a server's journal holds a label.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, server: &str, what: &str, label: &str) {
        eventually(&format!("{label} is {what} at {server}"), || self.journal(server, what).contains(&label.to_owned()).then_some(()));
    }

    /// The labels under one heading of a server's journal.
    #[track_caller]
    pub(crate) fn journal(&mut self, server: &str, what: &str) -> Vec<String> {
        let journal = self.call(&format!("{server}__calls"), json!({}));
        let labels = journal["structuredContent"][what].as_array().expect("a list");
        labels.iter().map(|label| label.as_str().expect("a text").to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn names(&mut self, list: List) -> Vec<String> {
        let result = self.request(list.method(), json!({}));
        assert!(result.get("nextCursor").is_none(), "a test that needs pages asks for them");
        keys(&result, list)
    }

    /// Lists until an entry is there.
    #[track_caller]
    pub(crate) fn find(&mut self, list: List, key: &str) {
        eventually(&format!("{key} is listed"), || self.names(list).contains(&key.to_owned()).then_some(()));
    }

    /// A GET for the session's stream.
    pub(crate) fn listening(&self) -> Request {
        self.base.clone().by("GET").accept("text/event-stream").without("Content-Type")
    }

    /// Opens the session's stream.
    #[track_caller]
    pub(crate) fn listen(&self) -> Stream {
        let stream = self.listening().open();
        assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"));
        stream
    }

    /// Takes up a stream after an event.
    #[track_caller]
    pub(crate) fn resume(&self, after: &str) -> Stream {
        let stream = self.listening().header("Last-Event-ID", after).open();
        assert_eq!((stream.status, stream.kind()), (200, "text/event-stream"));
        stream
    }

    /// A DELETE of the session.
    pub(crate) fn ending(&self) -> Request {
        self.base.clone().by("DELETE").without("Content-Type")
    }

    #[track_caller]
    pub(crate) fn end(&self) {
        let reply = self.ending().send();
        assert!(matches!(reply.status, 200 | 202 | 204), "{reply:?}");
    }

    /// Whether it is still known. Asking does not make it any younger for good: `ping` is a request as any.
    #[track_caller]
    pub(crate) fn is_alive(&mut self) -> bool {
        let reply = self.ask("ping", json!({})).send();
        match reply.status {
            200 => true,
            404 => false,
            _ => panic!("{reply:?}"),
        }
    }
}

/// What tells the entries of a list apart.
pub(crate) fn keys(result: &Value, list: List) -> Vec<String> {
    let entries = result[list.member()].as_array().unwrap_or_else(|| panic!("{} without {}: {result}", list.method(), list.member()));
    entries.iter().map(|entry| entry[list.key()].as_str().expect("keys are text").to_owned()).collect()
}

impl Connection {
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a TCP socket");
        Self { stream, buffer: Vec::new(), ended: false }
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy reads");
    }

    /// Writes as much as the proxy takes, which may not be all.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be written.
    pub(crate) fn finish(&mut self) {
        // A server that has refused what came before may have closed it already.
        if let Err(error) = self.stream.shutdown(Shutdown::Write) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotConnected, "{error}");
        }
    }

    /// Sends a request and waits for the whole response; the connection can be used again.
    #[track_caller]
    pub(crate) fn exchange(&mut self, request: &Request) -> Reply {
        self.write(&request.bytes());
        self.next_reply()
    }

    /// The next response, of several that were asked for at once.
    #[track_caller]
    pub(crate) fn next_reply(&mut self) -> Reply {
        let (status, headers) = self.response_head();
        let mut framing = Framing::of(status, &headers);
        let mut body = Vec::new();
        while framing != Framing::Ended {
            body.extend(self.piece(&mut framing));
        }
        Reply { status, headers, body: String::from_utf8(body).expect("bodies are text") }
    }

    #[track_caller]
    pub(crate) fn reply(mut self) -> Reply {
        self.next_reply()
    }

    #[track_caller]
    pub(crate) fn stream(mut self) -> Stream {
        let (status, headers) = self.response_head();
        let framing = Framing::of(status, &headers);
        Stream { status, headers, connection: self, framing, body: Vec::new(), last_event: None }
    }

    /// Waits until the proxy closes the connection, for at most so long, and returns what it said before.
    #[track_caller]
    pub(crate) fn closes_within(mut self, time: Duration) -> Vec<u8> {
        let deadline = Instant::now() + time;
        while !self.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the connection stays open after {:?}", String::from_utf8_lossy(&self.buffer));
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("it is a TCP socket");
            self.fill();
        }
        self.buffer
    }

    /// Whatever still comes, up to the end of the response or of the connection.
    #[track_caller]
    pub(crate) fn closes_or_answers(mut self) -> String {
        while !self.ended && find(&self.buffer, b"\r\n\r\n").is_none() {
            self.fill();
        }
        if self.ended {
            return String::from_utf8_lossy(&self.buffer).into_owned();
        }
        let (status, headers) = self.response_head();
        let mut framing = Framing::of(status, &headers);
        if framing == Framing::Chunked {
            while !self.ended && find(&self.buffer, b"0\r\n\r\n").is_none() {
                self.fill();
            }
            return String::from_utf8_lossy(&self.buffer).into_owned();
        }
        let mut body = Vec::new();
        while framing != Framing::Ended {
            body.extend(self.piece(&mut framing));
        }
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The status and the headers of the next response.
    #[track_caller]
    fn response_head(&mut self) -> (u16, Vec<(String, String)>) {
        let length = self.until(b"\r\n\r\n");
        let head: Vec<u8> = self.buffer.drain(..length).collect();
        let head = String::from_utf8(head).expect("heads are ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap_or_default().split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {head}"));
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        if status == 100 {
            return self.response_head();
        }
        (status, headers)
    }

    /// The next piece of a body.
    #[track_caller]
    fn piece(&mut self, framing: &mut Framing) -> Vec<u8> {
        match *framing {
            Framing::Length(left) => {
                if self.buffer.is_empty() && left > 0 {
                    self.fill_or_fail();
                }
                let piece: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
                *framing = match left - piece.len() {
                    0 => Framing::Ended,
                    left => Framing::Length(left),
                };
                piece
            }
            Framing::Chunked => {
                let line = self.until(b"\r\n");
                let size = String::from_utf8_lossy(&self.buffer[..line]).trim().to_owned();
                let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("no size of a chunk: {size}"));
                while self.buffer.len() < line + size + 2 {
                    self.fill_or_fail();
                }
                let piece = self.buffer[line..line + size].to_vec();
                self.buffer.drain(..line + size + 2);
                if size == 0 {
                    *framing = Framing::Ended;
                }
                piece
            }
            Framing::UntilEnd => {
                self.fill();
                if self.ended {
                    *framing = Framing::Ended;
                }
                std::mem::take(&mut self.buffer)
            }
            Framing::Ended => Vec::new(),
        }
    }

    /// Reads until the buffer holds these bytes, and returns where they end.
    #[track_caller]
    fn until(&mut self, bytes: &[u8]) -> usize {
        loop {
            if let Some(start) = find(&self.buffer, bytes) {
                return start + bytes.len();
            }
            self.fill_or_fail();
        }
    }

    #[track_caller]
    fn fill_or_fail(&mut self) {
        self.fill();
        assert!(!self.ended, "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
    }

    /// Reads what is there, or waits for it.
    #[track_caller]
    fn fill(&mut self) {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) => self.ended = true,
            Ok(length) => {
                let before = self.buffer.len().saturating_sub(KEY.len());
                self.buffer.extend_from_slice(&piece[..length]);
                assert!(find(&self.buffer[before..], KEY.as_bytes()).is_none(), "the key is in a response");
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe) => self.ended = true,
            Err(error) => panic!("waited for a response: {error}, after {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

impl Framing {
    fn of(status: u16, headers: &[(String, String)]) -> Self {
        let header = |name| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (status, header("transfer-encoding"), header("content-length")) {
            (204 | 304, _, _) => Self::Ended,
            (_, Some(encoding), _) if encoding.eq_ignore_ascii_case("chunked") => Self::Chunked,
            (_, _, Some("0")) => Self::Ended,
            (_, _, Some(length)) => Self::Length(length.parse().expect("a length is a number")),
            (_, _, None) => Self::UntilEnd,
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let value = found.next();
    assert_eq!(found.next(), None, "{name} is there twice");
    value
}

/// The media type, without its parameters.
fn kind(headers: &[(String, String)]) -> &str {
    let kind = header(headers, "content-type").unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn kind(&self) -> &str {
        kind(&self.headers)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Every message in it, whether it is JSON or an event stream.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Value> {
        match self.kind() {
            "application/json" => vec![self.json()],
            "text/event-stream" => {
                let mut rest = self.body.clone().into_bytes();
                let events = std::iter::from_fn(|| Event::take(&mut rest)).filter(|event| !event.data.is_empty());
                events.map(|event| event.message()).collect()
            }
            _ => panic!("neither JSON nor an event stream: {self:?}"),
        }
    }

    /// The answer, which comes last.
    #[track_caller]
    pub(crate) fn answer(&self) -> Value {
        self.messages().pop().unwrap_or_else(|| panic!("no answer in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn result(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let mut answer = self.answer();
        assert!(answer.get("result").is_some(), "no result: {answer}");
        answer["result"].take()
    }

    /// The error, which must be one that a client may see: a JSON-RPC error in plain words.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        assert_eq!(self.kind(), "application/json", "{self:?}");
        let mut answer = self.answer();
        assert_eq!(answer["jsonrpc"], "2.0", "{self:?}");
        assert!(answer.get("id").is_some(), "{self:?}");
        let error = answer["error"].take();
        assert!(error["code"].is_i64(), "{self:?}");
        let message = error["message"].as_str().unwrap_or_else(|| panic!("without a message: {self:?}"));
        for foreign in ["<", ".rs", "src/", "panicked", "/home", "/root", "/work", "target/"] {
            assert!(!message.contains(foreign), "`{foreign}` in {message}");
        }
        error
    }

    #[track_caller]
    pub(crate) fn code(&self) -> i64 {
        self.error()["code"].as_i64().expect("it is a number")
    }

    /// Asserts that it is a refusal of this kind.
    #[track_caller]
    pub(crate) fn is_refusal(&self, status: u16, code: i64) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
    }

    /// Asserts that it is a refusal with this status, in JSON.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        self.error();
    }
}

impl Stream {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn kind(&self) -> &str {
        kind(&self.headers)
    }

    /// The next event, also one without data. Nothing, when the stream has ended.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Option<Event> {
        // Comments keep the connection alive, and must not keep the test waiting.
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "waited in vain for an event");
            if let Some(event) = Event::take(&mut self.body) {
                self.last_event = event.id.clone().or(self.last_event.take());
                return Some(event);
            }
            if self.framing == Framing::Ended {
                return None;
            }
            let piece = self.connection.piece(&mut self.framing);
            self.body.extend(piece);
        }
    }

    /// The next message. Nothing, when the stream has ended.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Option<Value> {
        let event = std::iter::from_fn(|| self.event()).find(|event| !event.data.is_empty())?;
        Some(event.message())
    }

    /// The next message to the letter, be it an event or all of a JSON body.
    #[track_caller]
    pub(crate) fn text(&mut self) -> Option<String> {
        if self.kind() == "text/event-stream" {
            return std::iter::from_fn(|| self.event()).find(|event| !event.data.is_empty()).map(|event| event.data);
        }
        while self.framing != Framing::Ended {
            let piece = self.connection.piece(&mut self.framing);
            self.body.extend(piece);
        }
        let body = String::from_utf8(std::mem::take(&mut self.body)).expect("bodies are text");
        (!body.is_empty()).then_some(body)
    }

    /// The next message, which must be of this method.
    #[track_caller]
    pub(crate) fn hear(&mut self, method: &str) -> Value {
        let message = self.message().expect("the stream goes on");
        assert_eq!(message["method"], method, "{message}");
        message
    }

    /// The answer, which must come next and last.
    #[track_caller]
    pub(crate) fn answer(mut self) -> Value {
        let answer = self.message().expect("an answer comes");
        assert!(answer.get("method").is_none(), "no answer: {answer}");
        assert_eq!(self.message(), None, "nothing comes after the answer");
        answer
    }

    /// Everything to its end.
    #[track_caller]
    pub(crate) fn messages(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.message()).collect()
    }

    /// Asserts that no message comes for a while.
    #[track_caller]
    pub(crate) fn is_silent(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        self.connection.stream.set_nonblocking(true).expect("it is a TCP socket");
        while Instant::now() < deadline {
            let mut piece = [0; 4096];
            match self.connection.stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => self.connection.buffer.extend_from_slice(&piece[..length]),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        self.connection.stream.set_nonblocking(false).expect("it is a TCP socket");
        let heard = String::from_utf8_lossy(&self.connection.buffer).into_owned();
        assert!(!heard.contains("jsonrpc"), "{heard}");
    }

    /// Waits until the stream has ended as streams should: with the end of its body.
    #[track_caller]
    pub(crate) fn ends(mut self) {
        let message = self.message();
        assert_eq!(message, None);
    }

    /// Goes away.
    pub(crate) fn leave(self) -> Option<String> {
        self.last_event
    }
}

impl Event {
    /// Takes the first whole event from the start of a body.
    fn take(body: &mut Vec<u8>) -> Option<Self> {
        loop {
            let (length, ending) = [(&b"\n\n"[..], 2), (&b"\r\n\r\n"[..], 4)]
                .iter()
                .filter_map(|(ending, length)| find(body, ending).map(|start| (start, *length)))
                .min()?;
            let block: Vec<u8> = body.drain(..length + ending).take(length).collect();
            let block = String::from_utf8(block).expect("events are UTF-8");
            let mut event = Self::default();
            let mut data = Vec::new();
            let mut is_comment = true;
            for line in block.lines().filter(|line| !line.starts_with(':')) {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                is_comment = false;
                match field {
                    "id" => event.id = Some(value.to_owned()),
                    "retry" => event.retry = value.parse().ok(),
                    "data" => data.push(value),
                    _ => {}
                }
            }
            if !is_comment {
                event.data = data.join("\n");
                return Some(event);
            }
        }
    }

    #[track_caller]
    pub(crate) fn message(&self) -> Value {
        let message: Value = serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in {self:?}"));
        assert!(message.is_array() || message["jsonrpc"] == "2.0", "{self:?}");
        message
    }
}
