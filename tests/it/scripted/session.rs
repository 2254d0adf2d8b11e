//! One client's stay: sorts what arrives into requests, cancellations and answers, whatever the wire is.

use super::{Server, fault, lock};
use axum::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// What goes to the client.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(String),
    /// The end of the connection in the middle of a word.
    Break,
    /// As they are, and no message for the wire.
    Bytes(Bytes),
    Pause(Duration),
    /// The end of the connection as if all had been said.
    End,
}

pub(crate) type Outbox = mpsc::UnboundedSender<Outgoing>;
pub(crate) type Inbox = mpsc::UnboundedReceiver<Outgoing>;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) server: Arc<Server>,
    /// For messages that belong to no call.
    outbox: Outbox,
    running: Mutex<HashMap<String, CancellationToken>>,
    /// Requests of ours that the client has not answered yet, by their ids to the letter.
    asked: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    next_ask: AtomicU64,
    /// `initialize` has come.
    begun: AtomicBool,
    /// The parameters of `initialize`.
    pub(crate) introduced: Mutex<Value>,
    /// Calls of `count`.
    pub(crate) counted: AtomicU64,
}

/// A session that may have ended.
#[derive(Debug)]
pub(crate) struct Weak(std::sync::Weak<Session>);

impl Weak {
    pub(crate) fn upgrade(&self) -> Option<Arc<Session>> {
        self.0.upgrade()
    }
}

/// One request being worked on.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) session: Arc<Session>,
    pub(crate) id: Value,
    /// Meant in a revision without a handshake.
    pub(crate) modern: bool,
    pub(crate) method: String,
    /// As they came, to the letter.
    pub(crate) params: Box<RawValue>,
    pub(crate) cancelled: CancellationToken,
    /// For messages that belong to this call.
    beside: Outbox,
}

/// How a request ends.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The text of a JSON value, sent to the letter.
    Result(String),
    Error(Value),
    /// A whole message, in which `$ID` stands for the id.
    Raw(String),
    /// Nothing is ever sent.
    Silence,
    /// The connection breaks.
    Break,
    /// Whatever this is.
    Wire(Vec<Outgoing>),
}

#[derive(Deserialize)]
struct Incoming {
    id: Option<Box<RawValue>>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

impl Session {
    /// A session and the messages for its client that belong to no call.
    pub(crate) fn open(server: &Arc<Server>) -> (Arc<Self>, Inbox) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let session = Arc::new(Self {
            server: server.clone(),
            outbox,
            running: Mutex::default(),
            asked: Mutex::default(),
            next_ask: AtomicU64::new(1),
            begun: AtomicBool::new(false),
            introduced: Mutex::default(),
            counted: AtomicU64::new(0),
        });
        lock(&server.sessions).push(Weak(Arc::downgrade(&session)));
        (session, inbox)
    }

    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, message: &Value) {
        let _ = self.outbox.send(Outgoing::Message(message.to_string()));
    }

    /// Takes one message. What it causes goes to `beside`, its answer to `answer`; both end when it is done.
    pub(crate) fn receive(self: &Arc<Self>, text: &str, beside: Outbox, answer: Outbox) {
        let incoming: Incoming = match serde_json::from_str(text) {
            Ok(incoming) => incoming,
            Err(error) => {
                let error = json!({"code": -32700, "message": error.to_string()});
                let message = json!({"jsonrpc": "2.0", "id": null, "error": error});
                let _ = answer.send(Outgoing::Message(message.to_string()));
                return;
            }
        };
        let params = incoming.params.unwrap_or_else(|| raw("{}"));
        let script = &self.server.script;
        if let Some(method) = &incoming.method {
            lock(&self.server.journal).methods.push(method.clone());
            if method == "initialize" && !script.modern {
                self.begun.store(true, Ordering::Relaxed);
            }
            if script.exit_on_probe && !self.has_begun() {
                eprintln!("scripted server: {method} before initialize, giving up");
                std::process::exit(9);
            }
        }
        match (incoming.method, incoming.id) {
            (Some(method), Some(id)) => {
                let cancelled = CancellationToken::new();
                lock(&self.running).insert(id.get().to_owned(), cancelled.clone());
                let modern = script.is_modern(&method, &parse(&params));
                if modern {
                    // Who goes away cancels.
                    let (answer, cancelled) = (answer.clone(), cancelled.clone());
                    tokio::spawn(async move {
                        let gone = answer.closed();
                        tokio::select! {
                            () = gone => cancelled.cancel(),
                            () = cancelled.cancelled() => {}
                        }
                    });
                }
                let call = Call { session: self.clone(), id: parse(&id), modern, method, params, cancelled, beside };
                tokio::spawn(call.work(answer));
            }
            (Some(method), None) if method == "notifications/cancelled" => {
                let params: Value = parse(&params);
                if let Some(token) = lock(&self.running).get(&params["requestId"].to_string()) {
                    token.cancel();
                }
            }
            (Some(method), None) if method == "notifications/initialized" => {}
            (Some(_), None) => lock(&self.server.journal).notified.push(text.to_owned()),
            (None, id) => {
                let id = id.unwrap_or_else(|| raw("null"));
                lock(&self.server.journal).answers.push(text.to_owned());
                let asked = lock(&self.asked).remove(id.get());
                if let Some(asked) = asked {
                    let _ = asked.send(json!(incoming.rest));
                }
            }
        }
    }
}

impl Call {
    async fn work(self, answer: Outbox) {
        let id = &self.id;
        let script = &self.session.server.script;
        if self.method == "initialize" && script.slow_start > 0 {
            tokio::time::sleep(Duration::from_millis(script.slow_start)).await;
        }
        let reply = if script.hang.contains(&self.method) {
            self.cancelled.cancelled().await;
            Reply::Silence
        } else if let Some(fault) = fault::of(&self)
            && let Some(reply) = self.fail(&fault).await
        {
            reply
        } else if self.modern {
            self.handle_modern().await
        } else {
            self.handle().await
        };
        if script.stray {
            self.stray();
        }
        lock(&self.session.running).remove(&id.to_string());
        let message = match reply {
            Reply::Result(result) => Outgoing::Message(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)),
            Reply::Error(error) if script.ignore_unknown && error["code"] == -32_601 => return,
            Reply::Error(error) => Outgoing::Message(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()),
            Reply::Raw(text) => Outgoing::Message(text.replace("$ID", &id.to_string())),
            Reply::Silence => return self.cancelled.cancel(),
            Reply::Break => Outgoing::Break,
            Reply::Wire(pieces) => {
                for piece in pieces {
                    let _ = answer.send(piece);
                }
                return self.cancelled.cancel();
            }
        };
        let _ = answer.send(message);
        // Ends the watch over it.
        self.cancelled.cancel();
    }

    pub(crate) fn beside(&self) -> Outbox {
        self.beside.clone()
    }

    /// Sends what fits nothing that the client ever said.
    fn stray(&self) {
        self.tell(&json!({"jsonrpc": "2.0", "id": "never asked", "result": {"x": 1}}));
        self.tell(&json!({"jsonrpc": "2.0", "id": 4_242_424_242_u64, "error": {"code": 1, "message": "x"}}));
        self.tell(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32_700, "message": "x"}}));
        let progress = json!({"progressToken": "never given", "progress": 1});
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}));
        let progress = json!({"progressToken": 4_242_424_242_u64, "progress": 1});
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}));
        let cancelled = json!({"requestId": "never asked"});
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}));
    }

    pub(crate) fn tell(&self, message: &Value) {
        let _ = self.beside.send(Outgoing::Message(message.to_string()));
    }

    /// Asks the client something and returns the members of its answer but the id.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let number = self.session.next_ask.fetch_add(1, Ordering::Relaxed);
        self.ask_as(&json!(format!("scripted-{number}")).to_string(), method, &params.to_string()).await
    }

    /// The same under an id that is given to the letter, as are the parameters.
    pub(crate) async fn ask_as(&self, id: &str, method: &str, params: &str) -> Value {
        let (answer, answered) = oneshot::channel();
        lock(&self.session.asked).insert(id.to_owned(), answer);
        let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{},"params":{params}}}"#, json!(method));
        let _ = self.beside.send(Outgoing::Message(request));
        answered.await.unwrap_or_default()
    }
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("a literal")
}

pub(crate) fn parse(raw: &RawValue) -> Value {
    read(raw.get()).expect("a raw value is valid JSON")
}

/// The value of a JSON text. What is valid and no value, as `1e400` or half of a surrogate pair, is null in it.
pub(crate) fn read(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let (whole, members) = (raw.get(), serde_json::from_str::<HashMap<String, &RawValue>>(raw.get()));
    Some(match (members, serde_json::from_str::<Vec<&RawValue>>(whole)) {
        (Ok(members), _) => members.into_iter().map(|(name, member)| (name, parse(member))).collect(),
        (_, Ok(entries)) => entries.into_iter().map(parse).collect(),
        _ => Value::Null,
    })
}
