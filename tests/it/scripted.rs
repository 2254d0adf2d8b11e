//! A scripted MCP server, written by hand on plain JSON text, so that it can also misbehave.
//!
//! It is no model of a good server and shares no code with the proxy. The same script runs as a child process (STDIO)
//! and inside the test process (the two HTTP kinds), where a test can look at what arrived.

#![allow(dead_code, unused_imports, reason = "compiled twice, as a program and into the tests, and neither uses all of it")]
#![allow(
    clippy::exit,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it is a program that is rude on purpose"
)]

mod fault;
mod features;
mod http;
mod modern;
mod port;
mod session;
mod sse;
mod stdio;

pub(crate) use features::ODD_RESULT;
pub(crate) use http::Running;
pub(crate) use port::Port;
pub(crate) use session::read;

use clap::{Parser, ValueEnum};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// What the server is and does. Every field is a flag, so that a scenario is the same text for a child process and for
/// a server inside the test process.
#[derive(Debug, Clone, Parser)]
#[allow(clippy::struct_excessive_bools, reason = "a flag each, and none excludes another")]
pub(crate) struct Script {
    /// Name in `serverInfo`.
    #[arg(long, default_value = "scripted")]
    pub(crate) name: String,
    #[arg(long, value_enum, default_value_t = Wire::Stdio)]
    pub(crate) wire: Wire,
    /// Port of the HTTP kinds; 0 picks one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,

    /// Number of generated tools, `tool-0000` and so on.
    #[arg(long, default_value_t = 0)]
    pub(crate) tools: usize,
    /// One more tool, of any name.
    #[arg(long = "tool")]
    pub(crate) more_tools: Vec<String>,
    /// One more prompt, of any name.
    #[arg(long = "prompt")]
    pub(crate) more_prompts: Vec<String>,
    /// One more resource, of any URI.
    #[arg(long = "resource")]
    pub(crate) more_resources: Vec<String>,
    /// A resource that can be read but stands in no list.
    #[arg(long)]
    pub(crate) unlisted: Vec<String>,
    /// One more entry of a list as JSON text, `tools=ENTRY`, which is sent to the letter.
    #[arg(long = "entry")]
    pub(crate) entries: Vec<String>,
    /// Leaves out a capability and answers its methods with -32601: `tools`, `prompts`, `resources`, `completions`,
    /// `logging`. `subscribe` leaves out only that of `resources`; `subscriptions` is no capability, but answered so, too.
    #[arg(long)]
    pub(crate) without: Vec<String>,
    /// Declares the extension `com.example/NAME` and answers its methods, `NAME/…`.
    #[arg(long)]
    pub(crate) declare: Vec<String>,
    /// Entries in one page of a list; all of them when absent.
    #[arg(long)]
    pub(crate) page_size: Option<usize>,
    /// Every page of a list is the first one and points to the same next.
    #[arg(long)]
    pub(crate) looping_cursor: bool,
    /// Every page of a list is the first one and points to a next that was never named before.
    #[arg(long)]
    pub(crate) endless_cursor: bool,
    /// `protocolVersion` of the answer to `initialize`; the client's own when absent.
    #[arg(long)]
    pub(crate) revision: Option<String>,

    /// Speaks 2026-07-28 and nothing older.
    #[arg(long)]
    pub(crate) modern: bool,
    /// Speaks 2026-07-28 and what has a handshake.
    #[arg(long)]
    pub(crate) dual: bool,
    /// Milliseconds before `server/discover` is answered.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow_probe: u64,
    /// Does not know `server/discover`, though its revision demands it.
    #[arg(long)]
    pub(crate) without_discovery: bool,
    /// STDIO: ends when it hears anything before `initialize`.
    #[arg(long)]
    pub(crate) exit_on_probe: bool,
    /// Says nothing to methods that it does not know.
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
    /// One more tool with a schema of its own, `name=SCHEMA`.
    #[arg(long = "schema")]
    pub(crate) schemas: Vec<String>,

    /// A method that is never answered.
    #[arg(long)]
    pub(crate) hang: Vec<String>,
    /// Milliseconds before `initialize` is answered.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow_start: u64,
    /// Ends with a message on stderr before it reads anything.
    #[arg(long)]
    pub(crate) exit_at_start: bool,
    /// Says this on stderr and answers `initialize` with an error of this text, in which `{NAME}` stands for the variable.
    #[arg(long)]
    pub(crate) refuse: Option<String>,
    /// Sends messages before each answer that have nothing to do with anything.
    #[arg(long)]
    pub(crate) stray: bool,
    /// Reads nothing more once a tool has been called.
    #[arg(long)]
    pub(crate) deaf: bool,
    /// Another description of a tool, `name=text`.
    #[arg(long)]
    pub(crate) describe: Vec<String>,
    /// Prints lines on stdout that are no messages.
    #[arg(long)]
    pub(crate) garbage: bool,
    /// Bytes of chatter on stderr before the first message.
    #[arg(long, default_value_t = 0)]
    pub(crate) chatter: usize,
    /// Starts a process of its own, as `npx` does.
    #[arg(long)]
    pub(crate) grandchild: bool,
    /// Stays when its stdin ends and when it is asked to terminate.
    #[arg(long)]
    pub(crate) stubborn: bool,

    /// Streamable HTTP: answers are JSON bodies rather than event streams.
    #[arg(long)]
    pub(crate) json_answers: bool,
    /// Streamable HTTP: GET answers 405.
    #[arg(long)]
    pub(crate) no_get: bool,
    /// Streamable HTTP: no session ids.
    #[arg(long)]
    pub(crate) sessionless: bool,
    /// Streamable HTTP: the stream of an answer ends at once and has to be resumed with `Last-Event-ID`.
    #[arg(long)]
    pub(crate) resumable: bool,
    /// Streamable HTTP: requests of sessions that it does not know are answered with this status, and words.
    #[arg(long)]
    pub(crate) unknown_session: Option<u16>,
    /// Streamable HTTP: every POST is redirected to this URL, but for those that a query shows to have been.
    #[arg(long)]
    pub(crate) redirect: Option<String>,
    /// HTTP+SSE: the URL for messages is this one, which may be anybody's.
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// HTTP kinds: every request without this header, written `name: value`, is answered with 401.
    #[arg(long)]
    pub(crate) require_header: Option<String>,

    /// What goes wrong with each request of a method, `METHOD=KIND[:ARG]`; the kinds stand in `fault`.
    #[arg(long = "fault")]
    pub(crate) faults: Vec<String>,
    /// As long as there is this file, and always where none is named.
    #[arg(long)]
    pub(crate) fault_while: Option<PathBuf>,

    /// Anything more, to be seen with the `process` tool.
    #[arg(last = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wire {
    Stdio,
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE of revision 2024-11-05.
    Sse,
}

/// The state that all clients of one server share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) script: Script,
    added: Mutex<Added>,
    journal: Mutex<Journal>,
    released: watch::Sender<HashSet<String>>,
    sessions: Mutex<Vec<session::Weak>>,
    listeners: Mutex<Vec<modern::Listener>>,
    /// Changes when all who listen are sent away.
    dismissed: watch::Sender<()>,
    grandchild: Option<u32>,
}

/// What clients added to the lists with the `add` tool.
#[derive(Debug, Default)]
struct Added {
    tools: Vec<String>,
    prompts: Vec<String>,
    resources: Vec<String>,
    /// Descriptions that replace those of the tools, by their names.
    descriptions: Vec<(String, String)>,
    /// Results for prompts and resources, by their names and URIs, as JSON text.
    exact: HashMap<String, String>,
}

/// What happened, in order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Journal {
    /// The labels of `slow` calls.
    pub(crate) started: Vec<String>,
    pub(crate) cancelled: Vec<String>,
    pub(crate) finished: Vec<String>,
    /// Answers of clients to requests of ours, to the letter.
    pub(crate) answers: Vec<String>,
    /// What `logging/setLevel` asked for.
    pub(crate) levels: Vec<String>,
    /// `+uri` and `-uri` for each subscription made and ended.
    pub(crate) subscriptions: Vec<String>,
    /// `+FILTER` and `-FILTER` for each who began and ended to listen.
    pub(crate) listens: Vec<String>,
    /// Notifications of clients, to the letter, but for those that every client sends.
    pub(crate) notified: Vec<String>,
    /// The methods of all requests and notifications.
    pub(crate) methods: Vec<String>,
}

impl Script {
    /// The schema that was given for a tool.
    pub(crate) fn schema_of(&self, tool: &str) -> Value {
        let named = self.schemas.iter().filter_map(|text| text.split_once('=')).find(|(name, _)| *name == tool);
        named.map(|(_, schema)| serde_json::from_str(schema).expect("a schema is JSON")).unwrap_or_default()
    }

    pub(crate) fn refusal(&self) -> Option<String> {
        let text = self.refuse.clone()?;
        Some(std::env::vars().fold(text, |text, (name, value)| text.replace(&format!("{{{name}}}"), &value)))
    }
}

impl Script {
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.declare.iter().any(|own| own == name)
    }
}

impl Server {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        let grandchild = script.grandchild.then(stdio::start_grandchild);
        Arc::new(Self {
            added: Mutex::new(Added {
                tools: script.more_tools.clone(),
                prompts: script.more_prompts.clone(),
                resources: script.more_resources.clone(),
                exact: HashMap::new(),
                descriptions: script
                    .describe
                    .iter()
                    .filter_map(|text| text.split_once('='))
                    .map(|(name, text)| (name.to_owned(), text.to_owned()))
                    .collect(),
            }),
            script,
            journal: Mutex::default(),
            released: watch::Sender::default(),
            sessions: Mutex::default(),
            listeners: Mutex::default(),
            dismissed: watch::Sender::default(),
            grandchild,
        })
    }

    pub(crate) fn journal(&self) -> Journal {
        lock(&self.journal).clone()
    }

    /// Tells every client something that belongs to no call.
    pub(crate) fn broadcast(&self, notification: &Value) {
        for session in lock(&self.sessions).iter().filter_map(session::Weak::upgrade).filter(|session| session.has_begun()) {
            session.tell(notification);
        }
        self.tell_listeners(notification);
    }
}

/// Runs the program until its input ends (STDIO) or forever (HTTP kinds, which print their URL first).
pub(crate) fn run(script: Script) -> std::io::Result<()> {
    if script.exit_at_start {
        eprintln!("scripted server: no licence found, giving up");
        std::process::exit(3);
    }
    if let Some(text) = script.refusal() {
        eprintln!("{text}");
    }
    match script.wire {
        Wire::Stdio => stdio::run(&Server::new(script)),
        Wire::Http | Wire::Sse => {
            let running = Running::start(script);
            println!("{}", running.url());
            loop {
                std::thread::park();
            }
        }
    }
}

/// A lock that a panic elsewhere does not spoil.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
