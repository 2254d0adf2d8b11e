//! A client that speaks to the proxy in plain lines, so that nothing is tidied up on the way.

use super::patience::{PATIENCE, eventually, patiently};
use super::proxy::Finished;
use super::stderr::Stderr;
use super::{Home, KEY, lock};
use crate::scripted::read;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) home: Home,
    child: Child,
    /// Absent once the input has been ended.
    stdin: Option<ChildStdin>,
    heard: Arc<Heard>,
    stderr: Stderr,
    next_id: u64,
    killed: bool,
}

/// Something that a proxy lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// A line that the proxy wrote.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) value: Value,
}

/// A request under way, by its id as JSON.
#[derive(Debug, Clone)]
pub(crate) struct Pending(pub Value);

/// An answer to a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer(Message);

/// A moment in what the proxy wrote, to ask what came after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Mark {
    /// Before the first word.
    pub(crate) const START: Self = Self(0);
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<Transcript>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Transcript {
    messages: Vec<Message>,
    ended: bool,
    /// The first line that is no message.
    nonsense: Option<String>,
}

impl List {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member that tells entries apart.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    pub(crate) fn changed(self) -> String {
        let area = match self {
            Self::Templates => "resources",
            list => list.member(),
        };
        format!("notifications/{area}/list_changed")
    }
}

impl Client {
    pub(crate) fn new(mut child: Child, home: Home) -> Self {
        let heard = Arc::new(Heard::default());
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let listener = heard.clone();
        std::thread::spawn(move || listener.listen(stdout));

        let stderr = Stderr::of(child.stderr.take().expect("it is piped"));
        Self { home, stdin: child.stdin.take(), child, heard, stderr, next_id: 1, killed: false }
    }

    // Talking.

    /// Shakes hands as a client of the newest revision with a handshake, and returns the proxy's side of it.
    #[track_caller]
    pub(crate) fn initialize(&mut self) -> Value {
        let answer = self.initialize_with("2025-11-25").result();
        self.notify("notifications/initialized", json!({}));
        answer
    }

    /// Only the request.
    #[track_caller]
    pub(crate) fn initialize_with(&mut self, revision: &str) -> Answer {
        self.initialize_as(revision, json!({}))
    }

    #[track_caller]
    fn initialize_as(&mut self, revision: &str, capabilities: Value) -> Answer {
        self.request(
            "initialize",
            json!({
                "protocolVersion": revision,
                "capabilities": capabilities,
                "clientInfo": {"name": "it", "version": "1"},
            }),
        )
    }

    /// Shakes hands as one that can be asked.
    #[track_caller]
    pub(crate) fn initialize_able(&mut self, capabilities: Value) -> Value {
        let answer = self.initialize_as("2025-11-25", capabilities).result();
        self.notify("notifications/initialized", json!({}));
        answer
    }

    /// Writes a line as it is.
    #[track_caller]
    pub(crate) fn line(&mut self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes bytes as they are.
    #[track_caller]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input has not been ended");
        let written = stdin.write_all(bytes).and_then(|()| stdin.flush());
        if let Err(error) = written {
            self.fail(&format!("writing to the proxy: {error}"));
        }
    }

    #[track_caller]
    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.line(&message.to_string());
    }

    /// Sends a request under a fresh id.
    #[track_caller]
    pub(crate) fn send(&mut self, method: &str, params: Value) -> Pending {
        let id = json!(self.next_id);
        self.next_id += 1;
        self.send_as(id, method, params)
    }

    #[track_caller]
    pub(crate) fn send_as(&mut self, id: Value, method: &str, params: Value) -> Pending {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.line(&message.to_string());
        Pending(id)
    }

    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Answer {
        let pending = self.send(method, params);
        self.answer(&pending)
    }

    /// Sends several messages in one line, and returns what comes in one line: answers, or a refusal of all.
    #[track_caller]
    pub(crate) fn batch(&mut self, messages: &Value) -> Vec<Value> {
        let mark = self.mark();
        self.line(&messages.to_string());
        let answer = self.hear(mark, "an answer to all", |value| value.is_array() || value["id"].is_null() && value["method"].is_null());
        match answer {
            Value::Array(answers) => answers,
            refusal => vec![refusal],
        }
    }

    /// Waits for a server's request after a moment.
    #[track_caller]
    pub(crate) fn asked(&self, since: Mark, method: &str) -> Message {
        self.asked_for(since, |value| value["method"] == method)
    }

    #[track_caller]
    pub(crate) fn asked_for(&self, since: Mark, wanted: impl Fn(&Value) -> bool) -> Message {
        self.wait("a request", |messages| {
            let mut requests =
                messages[since.0..].iter().filter(|message| !message.value["method"].is_null() && !message.value["id"].is_null());
            requests.find(|message| wanted(&message.value)).cloned()
        })
    }

    /// Answers a server's request with this `result`, to the letter.
    #[track_caller]
    pub(crate) fn reply(&mut self, request: &Message, result: &str) {
        let id = &request.value["id"];
        self.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    /// Refuses a server's request.
    #[track_caller]
    pub(crate) fn refuse(&mut self, request: &Message, error: Value) {
        let message = json!({"jsonrpc": "2.0", "id": request.value["id"], "error": error});
        self.line(&message.to_string());
    }

    #[track_caller]
    pub(crate) fn cancel(&mut self, pending: &Pending) {
        let params = json!({"requestId": pending.0, "reason": "changed my mind"});
        self.notify("notifications/cancelled", params);
    }

    #[track_caller]
    pub(crate) fn send_call(&mut self, tool: &str, arguments: Value) -> Pending {
        let params = json!({"name": tool, "arguments": arguments});
        self.send("tools/call", params)
    }

    /// Calls a tool and returns the result.
    #[track_caller]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let pending = self.send_call(tool, arguments);
        self.answer(&pending).result()
    }

    /// Every entry of a list, through all its pages.
    #[track_caller]
    pub(crate) fn list(&mut self, list: List) -> Vec<Value> {
        self.pages(list).concat()
    }

    #[track_caller]
    pub(crate) fn pages(&mut self, list: List) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut params = json!({});
        loop {
            let mut result = self.request(list.method(), params).result();
            let Value::Array(page) = result[list.member()].take() else {
                panic!("{} without {}: {result}", list.method(), list.member());
            };
            pages.push(page);
            let Some(cursor) = result["nextCursor"].as_str() else {
                return pages;
            };
            assert!(pages.len() < 2000, "{} never ends", list.method());
            params = json!({"cursor": cursor});
        }
    }

    /// What tells the entries of a list apart: names or URIs.
    #[track_caller]
    pub(crate) fn names(&mut self, list: List) -> Vec<String> {
        let entries = self.list(list);
        let keys = entries.iter().map(|entry| &entry[list.key()]);
        keys.map(|key| key.as_str().expect("keys are text").to_owned()).collect()
    }

    /// Lists until an entry is there, and returns it.
    #[track_caller]
    pub(crate) fn find(&mut self, list: List, key: &str) -> Value {
        eventually(&format!("{key} is listed"), || {
            let mut entries = self.list(list).into_iter();
            entries.find(|entry| entry[list.key()] == key)
        })
    }

    /// Lists until an entry is gone.
    #[track_caller]
    pub(crate) fn miss(&mut self, list: List, key: &str) {
        eventually(&format!("{key} is listed no more"), || {
            let names = self.names(list);
            (!names.iter().any(|name| name == key)).then_some(())
        });
    }

    /// Calls until the result is as wanted, and returns it.
    #[track_caller]
    pub(crate) fn call_until(&mut self, what: &str, tool: &str, arguments: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let result = self.call(tool, arguments.clone());
            wanted(&result).then_some(result)
        })
    }

    // Listening.

    /// Waits for an answer.
    #[track_caller]
    pub(crate) fn answer(&self, pending: &Pending) -> Answer {
        self.wait(&format!("an answer to request {}", pending.0), |messages| {
            let answer = messages.iter().find(|message| message.answers(&pending.0));
            answer.cloned().map(Answer)
        })
    }

    /// Whether an answer has come so far.
    pub(crate) fn has_answered(&self, pending: &Pending) -> bool {
        let state = lock(&self.heard.state);
        state.messages.iter().any(|message| message.answers(&pending.0))
    }

    /// Forgets what was heard, so that an id can be used again.
    pub(crate) fn forget(&mut self) {
        lock(&self.heard.state).messages.clear();
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(lock(&self.heard.state).messages.len())
    }

    /// Waits for the message after a moment, which has passed then.
    #[track_caller]
    pub(crate) fn next(&self, mark: &mut Mark) -> Message {
        let message = self.wait("a message", |messages| messages.get(mark.0).cloned());
        mark.0 += 1;
        message
    }

    /// Waits for a notification after a moment.
    #[track_caller]
    pub(crate) fn notified(&self, since: Mark, method: &str) -> Value {
        self.wait(method, |messages| {
            let mut after = messages[since.0..].iter().map(|message| &message.value);
            after.find(|value| value["method"] == method).cloned()
        })
    }

    /// Waits for a message that meets a condition.
    #[track_caller]
    pub(crate) fn hear(&self, since: Mark, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait(what, |messages| {
            let mut after = messages[since.0..].iter().map(|message| &message.value);
            after.find(|value| wanted(value)).cloned()
        })
    }

    /// Everything that came after a moment, in order.
    pub(crate) fn since(&self, mark: Mark) -> Vec<Value> {
        let state = lock(&self.heard.state);
        let after = state.messages[mark.0..].iter();
        after.map(|message| message.value.clone()).collect()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for words on stderr.
    #[track_caller]
    pub(crate) fn complains(&self, words: &str) {
        let found = patiently(|| self.stderr().contains(words).then_some(()));
        if found.is_none() {
            self.fail(&format!("stderr never said: {words}"));
        }
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, mut look: impl FnMut(&[Message]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = lock(&self.heard.state);
        loop {
            if let Some(found) = look(&state.messages) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended { "stdout ended" } else { "in vain" };
                drop(state);
                self.fail(&format!("waited for {what}: {why}"));
            }
            state = self.heard.more.wait_timeout(state, left).expect("nothing panics while it holds the lock").0;
        }
    }

    // Ending.

    /// Ends the input, as a client does that has had enough.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Ends the input and waits for the end of the proxy.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        let status = self.end();
        Finished { code: status.code(), stdout: String::new(), stderr: self.stderr() }
    }

    /// Ends the process as nobody should.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
        self.killed = true;
    }

    /// The process itself.
    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        self.end_input();
        let child = &mut self.child;
        let status = patiently(|| child.try_wait().expect("it is ours"));
        let Some(status) = status else {
            self.fail("the proxy does not end with its input");
        };
        eventually("stdout ends with the proxy", || lock(&self.heard.state).ended.then_some(()));
        status
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let state = lock(&self.heard.state);
        let last: Vec<String> = state.messages.iter().rev().take(5).map(Message::start).collect();
        let nonsense = state.nonsense.as_deref().unwrap_or("none");
        panic!("{what}\nlast messages, newest first: {last:#?}\nnonsense on stdout: {nonsense}")
    }
}

impl Drop for Client {
    /// Every scenario ends well: with its input, with exit code 0, with nothing but messages on stdout, and without
    /// the key in any of it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("stderr of the proxy:\n{}", self.stderr());
            return;
        }
        if self.killed {
            return;
        }
        let status = self.end();
        let state = lock(&self.heard.state);
        assert_eq!(state.nonsense, None, "a line on stdout is no message");
        let leak = state.messages.iter().find(|message| message.text.contains(KEY));
        assert!(leak.is_none(), "the key is on stdout");
        assert!(!self.stderr().contains(KEY), "the key is on stderr");
        assert_eq!(status.code(), Some(0), "stderr: {}", self.stderr());
    }
}

impl Heard {
    fn listen(&self, mut stdout: impl BufRead) {
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut state = lock(&self.state);
            match read(&text) {
                Some(value) if is_message(&value) => state.messages.push(Message { text, value }),
                _ => state.nonsense = state.nonsense.take().or(Some(text)),
            }
            self.more.notify_all();
        }
        lock(&self.state).ended = true;
        self.more.notify_all();
    }
}

impl Message {
    fn answers(&self, id: &Value) -> bool {
        self.value["method"].is_null() && self.value["id"] == *id
    }

    fn start(&self) -> String {
        self.text.chars().take(300).collect()
    }
}

impl Answer {
    /// All of it, be it a result or an error.
    pub(crate) fn message(self) -> Value {
        self.0.value
    }

    #[track_caller]
    pub(crate) fn result(self) -> Value {
        let mut value = self.0.value;
        assert!(value["error"].is_null(), "an error: {}", value["error"]);
        value["result"].take()
    }

    /// The result to the letter.
    #[track_caller]
    pub(crate) fn result_text(&self) -> String {
        #[derive(Deserialize)]
        struct Response<'a> {
            #[serde(borrow)]
            result: &'a RawValue,
        }
        let response: Response = serde_json::from_str(&self.0.text).expect("the answer is a result");
        response.result.get().to_owned()
    }

    #[track_caller]
    pub(crate) fn error(self) -> Value {
        let mut value = self.0.value;
        assert!(!value["error"].is_null(), "no error: {value}");
        value["error"].take()
    }

    #[track_caller]
    pub(crate) fn code(self) -> i64 {
        let error = self.error();
        assert!(error["message"].is_string(), "without a message: {error}");
        error["code"].as_i64().expect("codes are integers")
    }
}

/// A request, a notification, a result or an error, and never two of them at once; or several messages.
fn is_message(value: &Value) -> bool {
    if let Some(messages) = value.as_array() {
        return !messages.is_empty() && messages.iter().all(|message| !message.is_array() && is_message(message));
    }
    let has = |member: &str| value.get(member).is_some();
    let shape = match (has("method"), has("result"), has("error")) {
        (true, false, false) => true,
        (false, true, false) | (false, false, true) => has("id"),
        _ => false,
    };
    shape && value["jsonrpc"] == "2.0"
}
