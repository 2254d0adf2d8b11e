//! The three that are measured side by side: the server itself, a relay before it, the proxy before it.

use std::env;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::http::{self, Body, Connection};
use crate::lines::Lines;

/// Whoever answers messages.
pub(crate) trait Peer {
    /// Sends lines, each a message; over HTTP it must be one.
    fn send(&mut self, lines: &[u8]) -> Result<()>;
    /// The next message from it, without a line end.
    fn next(&mut self) -> Result<&[u8]>;
    /// Whether the next message is here without waiting.
    fn ready(&self) -> bool {
        false
    }
}

/// A process spoken to over its standard streams; it dies with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    to: Option<ChildStdin>,
    from: Lines<ChildStdout>,
}

/// A server spoken to over HTTP.
pub(crate) enum Direct {
    Posted { connection: Connection, path: String, answer: Vec<u8> },
    Streamed { connection: Connection, path: String, events: Body<BufReader<TcpStream>>, answer: Vec<u8> },
}

/// A process that serves HTTP, and where its ports are.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) process: Process,
    hosts: Vec<String>,
}

/// A directory that holds a configuration of the proxy and what it stores.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    /// Of the App, where there is one.
    app: Option<String>,
}

/// This program in another role.
pub(crate) fn role(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--role").args(args);
    Ok(command)
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take();
        let from = Lines::new(child.stdout.take().context("piped")?);
        Ok(Self { child, to, from })
    }

    /// Ends its input and waits until it has put away what it stores.
    pub(crate) fn close(mut self) -> Result<()> {
        self.to = None;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(started.elapsed() < Duration::from_secs(10), "still runs 10 s after the end of its input");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("only on Linux")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim_end_matches("kB").trim().parse()?)
    }

    /// The processor time of its threads so far, in microseconds. Its children are not counted.
    pub(crate) fn processor_time(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id())).context("only on Linux")? {
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += schedstat.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(nanoseconds / 1e3)
    }
}

impl Peer for Process {
    fn send(&mut self, lines: &[u8]) -> Result<()> {
        self.to.as_mut().context("closed")?.write_all(lines)?;
        Ok(())
    }

    fn next(&mut self) -> Result<&[u8]> {
        self.from.next()?.context("the output of a process ended")
    }

    fn ready(&self) -> bool {
        self.from.ready()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Direct {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let (host, path) = http::split(url)?;
        let (connection, path) = (Connection::open(host)?, path.to_owned());
        if !path.starts_with("/legacy") {
            return Ok(Self::Posted { connection, path, answer: Vec::new() });
        }
        let mut events = Connection::open(host)?.listen(&path)?;
        let mut endpoint = Vec::new();
        ensure!(http::copy_event(&mut events, &mut endpoint)?, "no endpoint event");
        let path = String::from_utf8(endpoint)?.trim_end().to_owned();
        Ok(Self::Streamed { connection, path, events, answer: Vec::new() })
    }
}

impl Peer for Direct {
    fn send(&mut self, line: &[u8]) -> Result<()> {
        match self {
            Self::Posted { connection, path, answer } => {
                let head = connection.post(path, line)?;
                let mut body = connection.body(&head);
                answer.clear();
                if head.event_stream {
                    while http::copy_event(&mut body, answer)? {}
                } else {
                    body.read_to_end(answer)?;
                }
            }
            Self::Streamed { connection, path, .. } => {
                let head = connection.post(path, line)?;
                ensure!(head.status == 202, "status {}", head.status);
                connection.body(&head).read_to_end(&mut Vec::new())?;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<&[u8]> {
        match self {
            Self::Posted { answer, .. } => Ok(answer.trim_ascii_end()),
            Self::Streamed { events, answer, .. } => {
                answer.clear();
                ensure!(http::copy_event(events, answer)?, "the event stream ended");
                Ok(answer.trim_ascii_end())
            }
        }
    }
}

impl Servers {
    /// `ports` servers of `tools` tools each, in one process.
    pub(crate) fn start(ports: usize, tools: usize) -> Result<Self> {
        Self::listen(role(&["echo-http", &ports.to_string(), &tools.to_string()])?, ports)
    }

    /// A stand-in for the App.
    pub(crate) fn app() -> Result<Self> {
        Self::listen(role(&["app"])?, 1)
    }

    /// `127.0.0.1:PORT` of the only one.
    pub(crate) fn address(&self) -> &str {
        &self.hosts[0]
    }

    /// A reverse proxy with a port before each of these.
    pub(crate) fn reverse(&self) -> Result<Self> {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        Self::listen(role(&[&["reverse-proxy"], hosts.as_slice()].concat())?, hosts.len())
    }

    fn listen(mut command: Command, ports: usize) -> Result<Self> {
        let mut process = Process::start(&mut command)?;
        let mut hosts = Vec::new();
        for _ in 0..ports {
            hosts.push(String::from_utf8(process.next()?.to_vec())?);
        }
        Ok(Self { process, hosts })
    }

    /// The addresses of one kind: `json`, `sse` or `legacy`; `mcp` of the proxy.
    pub(crate) fn urls(&self, kind: &str) -> Vec<String> {
        self.hosts.iter().map(|host| format!("http://{host}/{kind}")).collect()
    }
}

impl Home {
    /// One server, started over its standard streams.
    pub(crate) fn with_process(tools: usize) -> Result<Self> {
        let args = ["--role", "echo-stdio", &tools.to_string()];
        Self::new(&json!({ "s0": { "command": env::current_exe()?, "args": args } }))
    }

    /// So many servers of few tools over their standard streams, and perhaps one that never says a word.
    pub(crate) fn with_processes(sound: usize, one_hangs: bool) -> Result<Self> {
        let me = env::current_exe()?;
        let entry = |args: &[&str]| json!({ "command": me, "args": args });
        let sound = (0..sound).map(|at| (format!("s{at}"), entry(&["--role", "echo-stdio", "2"])));
        let hanging = one_hangs.then(|| ("hanging".to_owned(), entry(&["--role", "hang"])));
        Self::new(&sound.chain(hanging).collect::<serde_json::Map<_, _>>().into())
    }

    /// A server at each of these addresses.
    pub(crate) fn with_urls(urls: &[String]) -> Result<Self> {
        let server = |(at, url): (usize, &String)| {
            let kind = if url.ends_with("/legacy") { "sse" } else { "http" };
            (format!("s{at}"), json!({ "type": kind, "url": url }))
        };
        let servers: serde_json::Map<_, _> = urls.iter().enumerate().map(server).collect();
        Self::new(&servers.into())
    }

    /// No server, and the App at this address.
    pub(crate) fn with_app(host: &str) -> Result<Self> {
        Ok(Self { app: Some(format!("http://{host}")), ..Self::new(&json!({}))? })
    }

    fn new(servers: &serde_json::Value) -> Result<Self> {
        let home = tempfile::tempdir()?;
        fs::write(home.path().join("mcp.json"), json!({ "mcpServers": servers }).to_string())?;
        Ok(Self { directory: home, app: None })
    }

    /// The proxy on this configuration, spoken to over its standard streams.
    pub(crate) fn proxy(&self) -> Result<Process> {
        Process::start(&mut self.command())
    }

    /// The proxy on this configuration as a Streamable HTTP server.
    pub(crate) fn front(&self) -> Result<Servers> {
        // Free now, and nobody else is about to take it.
        let host = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = self.command();
        command.args(["--transport", "streamable-http", "--port", &host.port().to_string()]);
        let mut process = Process::start(&mut command)?;
        let started = Instant::now();
        while TcpStream::connect(host).is_err() {
            ensure!(process.child.try_wait()?.is_none(), "the proxy ended before it listened; LOAD_STDERR=1 shows why");
            ensure!(started.elapsed() < Duration::from_secs(10), "the proxy does not listen at {host}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Servers { process, hosts: vec![host.to_string()] })
    }

    /// Nothing of the user's environment reaches the proxy.
    fn command(&self) -> Command {
        let home = self.directory.path();
        let built = env!("CARGO_BIN_EXE_pluggedin-mcp-proxy");
        let mut command = Command::new(env::var_os("LOAD_PROXY").unwrap_or_else(|| built.into()));
        command.arg("--config").arg(home.join("mcp.json")).current_dir(home).env_clear();
        command.env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", home);
        command.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_CONFIG_HOME", home.join("config"));
        if let Some(app) = &self.app {
            command.env("PLUGGEDIN_API_BASE_URL", app).env("PLUGGEDIN_API_KEY", format!("pg_in_{}", "x".repeat(64)));
            // Nothing waits for a limit, and nothing is asked in the background meanwhile.
            command.args(["--rate-limit-tools", "0", "--rate-limit-api", "0", "--refresh-interval", "3600"]);
        }
        if env::var_os("LOAD_STDERR").is_none() {
            command.stderr(Stdio::null());
        }
        command
    }
}

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#;
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Opens the session.
pub(crate) fn shake_hands(peer: &mut dyn Peer) -> Result<()> {
    peer.send(format!("{INITIALIZE}\n").as_bytes())?;
    answer_to(0, peer)?;
    peer.send(format!("{INITIALIZED}\n").as_bytes())
}

/// The next message that answers this request, over notifications and answers to others.
pub(crate) fn answer_to(id: u64, peer: &mut dyn Peer) -> Result<Vec<u8>> {
    loop {
        let message = peer.next()?;
        if id_of(message) == Some(id) {
            return Ok(message.to_vec());
        }
    }
}

/// The id of an answer; nothing for other messages.
pub(crate) fn id_of(message: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""id":"#;
    let digits = &message[memchr::memmem::find(message, KEY)? + KEY.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    result: Page<'a>,
}

/// A page of `tools/list`.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    pub(crate) tools: Vec<Tool<'a>>,
    #[serde(rename = "nextCursor")]
    pub(crate) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
}

/// Reads an answer to `tools/list`.
pub(crate) fn page(answer: &[u8]) -> Result<Page<'_>> {
    let listing: Listing =
        serde_json::from_slice(answer).with_context(|| String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned())?;
    Ok(listing.result)
}

/// The request for a page.
pub(crate) fn list(id: u64, cursor: Option<&str>) -> String {
    let params = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{params}}}"#) + "\n"
}

/// The names of all tools that a peer lists, on all pages.
pub(crate) fn tool_names(peer: &mut dyn Peer) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        peer.send(list(1, cursor.as_deref()).as_bytes())?;
        let answer = answer_to(1, peer)?;
        let page = page(&answer)?;
        names.extend(page.tools.iter().map(|tool| tool.name.to_owned()));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(names);
        }
    }
}

/// The names under which a peer offers a tool of `servers` servers, waited for while the proxy connects.
pub(crate) fn find_tools(tool: &str, servers: usize, peer: &mut dyn Peer) -> Result<Vec<String>> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let mut names = tool_names(peer)?;
        names.retain(|name| name.ends_with(tool));
        if names.len() >= servers {
            names.sort();
            return Ok(names);
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("tool {tool} of {servers} servers is not listed")
}

/// The name under which a peer offers a tool of its only server.
pub(crate) fn find_tool(tool: &str, peer: &mut dyn Peer) -> Result<String> {
    find_tools(tool, 1, peer)?.pop().context("at least one")
}
