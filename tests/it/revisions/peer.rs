//! A client of any revision on any front, so that a scenario need not know how it asks: with a handshake or by what each
//! request declares, asked while its call runs or by results, by subscriptions or by listening.

use crate::scripted::read;
use crate::support::client::Mark;
use crate::support::http::{Front, Request, Session, Stream};
use crate::support::modern::{CAPABILITIES, MODERN, SUBSCRIPTION, VERSION, ask};
use crate::support::{Client, List, Proxy};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Where clients come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Stdio,
    Sessions,
    Stateless,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) face: Face,
    pub(super) revision: &'static str,
    wire: Wire,
    next_id: u64,
}

#[derive(Debug)]
enum Wire {
    Stdio(Client),
    Session {
        session: Session,
        /// It serves as long.
        _front: Front,
    },
    /// Each request stands alone.
    Alone(Front),
}

/// What a client says to what it is asked: the result, by method.
pub(super) type Answering<'a> = &'a dyn Fn(&str, &Value) -> Value;

/// A request from its beginning to its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Notifications that came before the answer.
    pub(super) heard: Vec<Value>,
    /// What was asked meanwhile: methods and parameters.
    pub(super) asked: Vec<(String, Value)>,
    /// The answer, to the letter.
    pub(super) answer: String,
}

/// A request whose answer nobody has waited for yet.
#[derive(Debug)]
pub(super) enum Begun {
    Stdio(u64),
    Http(u64, crate::support::http::Connection),
}

/// What hears of changes.
#[derive(Debug)]
pub(super) enum Ear {
    Stdio(Mark, Option<u64>),
    Http(Box<Stream>, Option<u64>),
}

/// The client of a scenario that is asked nothing.
pub(super) const MUTE: Answering<'_> = &|method, _| panic!("it is asked {method}");

fn able() -> Value {
    json!({"sampling": {}, "elicitation": {"form": {}}, "roots": {}})
}

impl Peer {
    #[track_caller]
    pub(super) fn new(face: Face, revision: &'static str, proxy: Proxy) -> Self {
        let old = revision != MODERN;
        let wire = match face {
            Face::Stdio => {
                let mut client = proxy.launch();
                if old {
                    client.request("initialize", handshake(revision)).result();
                    client.notify("notifications/initialized", json!({}));
                }
                Wire::Stdio(client)
            }
            Face::Sessions if old => {
                let front = proxy.serve();
                let mut capabilities = able();
                if !elicits(revision) {
                    capabilities = json!({"sampling": {}, "roots": {}});
                }
                let session = Session::open(&front.post(&Value::Null), revision, capabilities);
                let session =
                    session.with(|request| if names_itself(revision) { request } else { request.without("MCP-Protocol-Version") });
                Wire::Session { session, _front: front }
            }
            Face::Sessions => Wire::Alone(proxy.serve()),
            Face::Stateless => Wire::Alone(proxy.arg("--stateless").serve()),
        };
        Self { face, revision, wire, next_id: 1000 }
    }

    pub(super) fn is_modern(&self) -> bool {
        self.revision == MODERN
    }

    /// Whether it can be asked something.
    pub(super) fn is_asked(&self) -> bool {
        self.is_modern() || self.face != Face::Stateless
    }

    pub(super) fn cancels_by_leaving(&self) -> bool {
        matches!(self.wire, Wire::Alone(_))
    }

    pub(super) fn elicits(&self) -> bool {
        elicits(self.revision)
    }

    /// A request under a new id: `params` and what is put into `_meta` are members as JSON text.
    fn request(&mut self, method: &str, params: &str, meta: &str) -> (u64, String) {
        let id = self.next_id;
        self.next_id += 1;
        let mut metadata = meta.to_owned();
        if self.is_modern() {
            let comma = if meta.is_empty() { "" } else { "," };
            metadata = format!(r#""{VERSION}":"{MODERN}","{CAPABILITIES}":{}{comma}{meta}"#, able());
        }
        let comma = if params.is_empty() || metadata.is_empty() { "" } else { "," };
        let metadata = if metadata.is_empty() { String::new() } else { format!(r#""_meta":{{{metadata}}}"#) };
        (id, format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{comma}{metadata}}}}}"#))
    }

    /// The message as an HTTP request.
    fn post(&self, text: &str) -> Request {
        match &self.wire {
            Wire::Stdio(_) => unreachable!("it is no HTTP client"),
            Wire::Session { session, .. } => session.post(&Value::Null).body(text),
            Wire::Alone(front) if self.is_modern() => ask(front, &read(text).expect("it is JSON")).body(text),
            Wire::Alone(front) if names_itself(self.revision) => front.post(&Value::Null).revision(self.revision).body(text),
            Wire::Alone(front) => front.post(&Value::Null).body(text),
        }
    }

    /// Asks and waits for the answer; a client of rounds asks until there is one.
    #[track_caller]
    pub(super) fn exchange(&mut self, method: &str, params: &str, meta: &str, answering: Answering<'_>) -> Exchange {
        let mut exchange = Exchange { heard: Vec::new(), asked: Vec::new(), answer: String::new() };
        let mut round = String::new();
        loop {
            let (id, text) = self.request(method, &format!("{params}{round}"), meta);
            exchange.answer = self.until_answered(id, &text, answering, &mut exchange);
            let answer = read(&exchange.answer).expect("it was read before");
            if !self.is_modern() || answer["result"]["resultType"] != "input_required" {
                return exchange;
            }
            let mut responses = json!({});
            for (key, request) in answer["result"]["inputRequests"].as_object().into_iter().flatten() {
                responses[key] = exchange.is_asked(request, answering);
            }
            let state = answer["result"].get("requestState").map_or_else(String::new, |state| format!(r#","requestState":{state}"#));
            round = format!(r#","inputResponses":{responses}{state}"#);
        }
    }

    #[track_caller]
    fn until_answered(&mut self, id: u64, text: &str, answering: Answering<'_>, exchange: &mut Exchange) -> String {
        let (mut stream, mut mark) = match &mut self.wire {
            Wire::Stdio(client) => {
                let mark = client.mark();
                client.line(text);
                (None, mark)
            }
            Wire::Session { .. } | Wire::Alone(_) => (Some(self.post(text).open()), Mark::START),
        };
        loop {
            let text = match (&mut stream, &self.wire) {
                (Some(stream), _) => stream.text().unwrap_or_else(|| panic!("no answer to {text}")),
                (None, Wire::Stdio(client)) => client.next(&mut mark).text,
                (None, _) => unreachable!("it was begun over HTTP"),
            };
            let message = read(&text).unwrap_or_else(|| panic!("no JSON: {text}"));
            match (&message["id"], message["method"].is_string()) {
                (own, false) if *own == id => return text,
                (Value::Null, true) => exchange.heard.push(message),
                (asked, true) => {
                    assert!(!self.is_modern(), "nobody is asked in this revision: {message}");
                    let answer = json!({"jsonrpc": "2.0", "id": asked, "result": exchange.is_asked(&message, answering)});
                    self.say(&answer);
                }
                (_, false) => {}
            }
        }
    }

    /// Says what has no answer.
    #[track_caller]
    fn say(&mut self, message: &Value) {
        match &mut self.wire {
            Wire::Stdio(client) => client.line(&message.to_string()),
            Wire::Session { session, .. } => assert_eq!(session.post(message).send().status, 202),
            Wire::Alone(_) => panic!("nothing is said to a proxy without sessions: {message}"),
        }
    }

    #[track_caller]
    pub(super) fn result(&mut self, method: &str, params: &str) -> Value {
        self.exchange(method, params, "", MUTE).value()
    }

    #[track_caller]
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.result("tools/call", &format!(r#""name":"{tool}","arguments":{arguments}"#))
    }

    /// What tells the entries of a list apart, through all its pages.
    #[track_caller]
    pub(super) fn names(&mut self, list: List) -> Vec<String> {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.result(list.method(), &cursor);
            let entries = page[list.member()].as_array().unwrap_or_else(|| panic!("no {}: {page}", list.member()));
            names.extend(entries.iter().map(|entry| entry[list.key()].as_str().expect("keys are text").to_owned()));
            let Some(next) = page.get("nextCursor") else { return names };
            cursor = format!(r#""cursor":{next}"#);
        }
    }

    /// Asks and does not wait.
    #[track_caller]
    pub(super) fn begin(&mut self, method: &str, params: &str) -> Begun {
        let (id, text) = self.request(method, params, "");
        match &mut self.wire {
            Wire::Stdio(client) => {
                client.line(&text);
                Begun::Stdio(id)
            }
            Wire::Session { .. } | Wire::Alone(_) => Begun::Http(id, self.post(&text).start()),
        }
    }

    /// Cancels as the revision has it.
    #[track_caller]
    pub(super) fn cancel(&mut self, begun: Begun) {
        let cancelled = |id| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        match begun {
            Begun::Stdio(id) => self.say(&cancelled(id)),
            Begun::Http(id, _) if matches!(self.wire, Wire::Session { .. }) => self.say(&cancelled(id)),
            Begun::Http(_, connection) => drop(connection),
        }
    }

    /// Begins to hear of changes of tools and of this resource; nothing for a client that has no way to.
    #[track_caller]
    pub(super) fn listen(&mut self, uri: &str) -> Option<Ear> {
        let resource = format!(r#""uri":"{uri}""#);
        if self.is_modern() {
            let filter = format!(r#""notifications":{{"toolsListChanged":true,"resourceSubscriptions":["{uri}"]}}"#);
            let (id, text) = self.request("subscriptions/listen", &filter, "");
            let mut ear = match &mut self.wire {
                Wire::Stdio(client) => {
                    let mark = client.mark();
                    client.line(&text);
                    Ear::Stdio(mark, Some(id))
                }
                Wire::Session { .. } | Wire::Alone(_) => Ear::Http(Box::new(self.post(&text).open()), Some(id)),
            };
            let accepted = self.hears(&mut ear, "notifications/subscriptions/acknowledged");
            assert_eq!(accepted["params"]["notifications"]["resourceSubscriptions"], json!([uri]), "{accepted}");
            return Some(ear);
        }
        let ear = match &self.wire {
            Wire::Stdio(client) => Ear::Stdio(client.mark(), None),
            Wire::Session { session, .. } => Ear::Http(Box::new(session.listen()), None),
            Wire::Alone(_) => return None,
        };
        self.result("resources/subscribe", &resource);
        Some(ear)
    }

    /// The next notification of this method.
    #[track_caller]
    pub(super) fn hears(&self, ear: &mut Ear, method: &str) -> Value {
        loop {
            let (message, id) = match (&mut *ear, &self.wire) {
                (Ear::Stdio(mark, id), Wire::Stdio(client)) => (client.next(mark).value, *id),
                (Ear::Http(stream, id), _) => (stream.message().expect("the stream goes on"), *id),
                (Ear::Stdio(..), _) => unreachable!("it is of this peer"),
            };
            // Over a pipe others are told beside it, until they have been turned away.
            let own = &message["params"]["_meta"][SUBSCRIPTION];
            let is_another = matches!(ear, Ear::Stdio(..)) && id.is_some() && *own != json!(id);
            if message["method"] == method && !is_another {
                assert_eq!(message["params"]["_meta"][SUBSCRIPTION], id.map_or(Value::Null, Value::from), "{message}");
                return message;
            }
        }
    }

    /// Ends a subscription.
    #[track_caller]
    pub(super) fn turn_away(&mut self, ear: Ear, uri: &str) {
        match ear {
            Ear::Stdio(_, Some(id)) => self.cancel(Begun::Stdio(id)),
            Ear::Http(_, Some(_)) => drop(ear),
            Ear::Stdio(_, None) | Ear::Http(_, None) => drop(self.result("resources/unsubscribe", &format!(r#""uri":"{uri}""#))),
        }
    }
}

impl Exchange {
    fn is_asked(&mut self, request: &Value, answering: Answering<'_>) -> Value {
        let method = request["method"].as_str().expect("a text");
        self.asked.push((method.to_owned(), request["params"].clone()));
        answering(method, &request["params"])
    }

    /// The result to the letter.
    #[track_caller]
    pub(super) fn result(&self) -> &str {
        #[derive(Deserialize)]
        struct Response<'a> {
            #[serde(borrow)]
            result: &'a RawValue,
        }
        let response = serde_json::from_str::<Response<'_>>(&self.answer);
        response.unwrap_or_else(|error| panic!("{error}: {}", self.answer)).result.get()
    }

    #[track_caller]
    pub(super) fn value(&self) -> Value {
        read(self.result()).expect("it is JSON")
    }

    #[track_caller]
    pub(super) fn error(&self) -> Value {
        let mut answer: Value = serde_json::from_str(&self.answer).expect("it is JSON");
        assert!(answer["error"].is_object(), "no error: {answer}");
        answer["error"].take()
    }
}

fn handshake(revision: &str) -> Value {
    let capabilities = if elicits(revision) { able() } else { json!({"sampling": {}, "roots": {}}) };
    json!({"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "it", "version": "1"}})
}

/// Elicitation came with 2025-06-18, as did the header that names the revision.
pub(super) fn elicits(revision: &str) -> bool {
    revision >= "2025-06-18"
}

fn names_itself(revision: &str) -> bool {
    revision >= "2025-06-18"
}
