//! Input rounds (2026-07-28, "Multi round-trip requests"). A client of that revision is asked nothing
//! while a call runs: the call is answered with what is asked, and made again with the answers.
//!
//! A server of an older revision knows nothing of this. Its call is parked until the client has come
//! back, and goes on then. What a server of the same revision asks is passed on. In both cases the
//! client carries `requestState`, sealed here: it names the call or the server that it belongs to,
//! holds for a time, and only for the same request in the same workspace.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

use super::{CallError, forward::Outgoing};
use crate::{
    downstream::{Ask, InFlight},
    protocol::{
        error::{ErrorObject, INVALID_REQUEST},
        json::{Object, quoted},
        message::{Frame, Id, Kind, Message, Span, span_in},
        server::ServerId,
    },
    security::seal::Seal,
};

/// How long a client may take for a round: people answer it.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Calls that may be parked at once. Each holds a call open at its server.
const PARKED: usize = 1024;

/// The rounds of one workspace.
#[derive(Debug)]
pub(super) struct Rounds {
    seal: Seal,
    parked: Mutex<HashMap<Uuid, Parked>>,
}

/// A call whose client is to come back.
#[derive(Debug)]
pub(super) struct Parked {
    server: ServerId,
    call: InFlight,
    asks: Vec<Question>,
    /// Ends the task that would end the call.
    _found: DropGuard,
}

/// What the server asks, under its key in `inputRequests`.
#[derive(Debug)]
pub(super) struct Question {
    key: String,
    ask: Ask,
}

/// What `requestState` holds.
#[derive(Serialize, Deserialize)]
struct State {
    /// In seconds since 1970.
    until: u64,
    what: What,
}

#[derive(Serialize, Deserialize)]
enum What {
    /// The call that this process has parked.
    Parked(Uuid),
    /// A server goes on by itself; this is its own state, as JSON text, where it has given one.
    Server { id: String, state: Option<Box<RawValue>> },
    /// The server wants to be called once more when the client has done what was asked.
    Anew { id: String },
}

/// How a call begins.
pub(super) enum Begin {
    /// It is sent to its server.
    Send,
    /// It goes on where it was.
    GoOn(Box<Parked>),
}

impl Parked {
    /// The call, and what its client was asked and has not answered.
    pub(super) fn into_parts(self) -> (InFlight, Vec<Question>) {
        (self.call, self.asks)
    }
}

impl Question {
    /// The next ones after `known`; keys are of one round.
    pub(super) fn new(ask: Ask, known: &[Self]) -> Self {
        let kind = ask.request().method().split('/').next().unwrap_or_default().to_owned();
        let taken = |key: &str| known.iter().any(|question| question.key == key);
        let key = (1..=usize::MAX).map(|count| format!("{kind}-{count}")).find(|key| !taken(key)).expect("numbers do not end");
        Self { key, ask }
    }

    pub(super) fn is(&self, id: &Id) -> bool {
        self.ask.id() == *id
    }

    /// The server does not ask this any more.
    pub(super) fn withdrawn(self) {
        self.ask.withdrawn();
    }
}

impl Rounds {
    pub(super) fn new(seal: Seal) -> Self {
        Self { seal, parked: Mutex::default() }
    }

    /// Looks whether the request belongs to an earlier one, and makes it what its server is to see.
    ///
    /// # Errors
    /// [`CallError::InvalidParams`] where it says so and does not.
    pub(super) async fn begin(&self, server: &ServerId, outgoing: &mut Outgoing<'_>) -> Result<Begin, CallError> {
        let Some(state) = outgoing.params.get("requestState") else { return Ok(Begin::Send) };
        let wrong = |what: &str| CallError::InvalidParams(format!("`requestState` {what}; hint: make the call again without it"));
        let state = outgoing.params.string("requestState").filter(|_| state.starts_with('"')).ok_or_else(|| wrong("must be a string"))?;
        let opened = self.seal.open(&purpose(outgoing), &state).and_then(|state| serde_json::from_slice::<State>(&state).ok());
        let State { until, what } = opened.ok_or_else(|| wrong("was altered, or belongs to another request"))?;
        if until < now() {
            return Err(wrong("has expired"));
        }
        let other_server = || wrong("belongs to a tool of another server");
        match what {
            What::Parked(handle) => {
                let answers = Answers::of(outgoing)?;
                let is_ours = |parked: &Parked| parked.server == *server;
                let found = {
                    let mut parked = self.parked();
                    let is_ours = parked.get(&handle).map(is_ours).ok_or_else(|| wrong("belongs to a call that does not wait any more"))?;
                    if is_ours { parked.remove(&handle) } else { None }
                };
                let mut parked = found.ok_or_else(other_server)?;
                parked.asks = answers.give(parked.asks).await;
                Ok(Begin::GoOn(Box::new(parked)))
            }
            What::Server { id, .. } | What::Anew { id } if id != server.as_str() => Err(other_server()),
            What::Server { state, id: _ } => {
                outgoing.replace_state(state.as_deref().map(RawValue::get));
                Ok(Begin::Send)
            }
            What::Anew { id: _ } => {
                if Answers::of(outgoing)?.0.iter().any(|(_, answer)| !is_accepted(answer)) {
                    return Err(CallError::Declined);
                }
                outgoing.forget_round();
                Ok(Begin::Send)
            }
        }
    }

    /// Parks the call and gives the result that its client gets meanwhile.
    pub(super) fn park(
        self: &Arc<Self>,
        server: &ServerId,
        outgoing: &Outgoing<'_>,
        (call, asks): (InFlight, Vec<Question>),
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Message, CallError> {
        let handle = Uuid::new_v4();
        let requests = asks.iter().map(|question| (question.key.as_str(), question.ask.request().method(), question.ask.request().body()));
        let requests = input_requests(requests);
        let found = CancellationToken::new();
        {
            let mut parked = self.parked();
            if parked.len() >= PARKED {
                drop(parked);
                let error = ErrorObject::new(INVALID_REQUEST, format!("{PARKED} calls wait for their clients already"));
                for question in asks {
                    question.ask.refuse(&error);
                }
                return Err(CallError::TooManyRounds { limit: PARKED });
            }
            let call = Parked { server: server.clone(), call, asks, _found: found.clone().drop_guard() };
            parked.insert(handle, call);
        }
        let (rounds, stop) = (Arc::clone(self), stop.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = found.cancelled() => return,
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PATIENCE) => tracing::info!("a call was cancelled: its client did not come back with what it was asked"),
            }
            // Outside of the lock, since much ends with it.
            let call = rounds.parked().remove(&handle);
            drop(call);
        });
        Ok(self.required(outgoing, What::Parked(handle), &requests))
    }

    /// The client does what the error asks for, and then the server is called once more.
    pub(super) fn anew(&self, server: &ServerId, outgoing: &Outgoing<'_>, elicitations: &[Box<RawValue>]) -> Message {
        let keys: Vec<_> = (1..=elicitations.len()).map(|count| format!("elicitation-{count}")).collect();
        let requests = keys.iter().zip(elicitations).map(|(key, params)| (key.as_str(), "elicitation/create", Some(params.get())));
        self.required(outgoing, What::Anew { id: server.to_string() }, &input_requests(requests))
    }

    /// A server's own interim result, with a state that leads back to it.
    pub(super) fn lead_back(&self, server: &ServerId, outgoing: &Outgoing<'_>, reply: &Message) -> Option<Message> {
        let result = Object::parse(reply.body()?).ok()?;
        let state = result.get("requestState").map(|state| RawValue::from_string(state.to_owned()).expect("it was read as JSON"));
        let sealed = quoted(&self.sealed(outgoing, What::Server { id: server.to_string(), state }));
        let edit: (Span, Bytes) = if let Some(span) = result.span(reply.text(), "requestState") {
            (span, sealed)
        } else {
            // Before the first member of the result, which has at least its type.
            let at = span_in(reply.text(), reply.body()?).start + 1;
            (at..at, [b"\"requestState\":".as_slice(), &sealed, b","].concat().into())
        };
        Message::parse(&Frame::spliced(reply.text(), vec![edit]).into_bytes()).ok()
    }

    fn required(&self, outgoing: &Outgoing<'_>, what: What, requests: &str) -> Message {
        let state = self.sealed(outgoing, what);
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":0,"result":{{"resultType":"input_required","inputRequests":{requests},"requestState":"{state}"}}}}"#
        );
        Message::parse(&text.into()).expect("it is made of messages that were read")
    }

    fn sealed(&self, outgoing: &Outgoing<'_>, what: What) -> String {
        let state = State { until: now() + PATIENCE.as_secs(), what };
        let state = serde_json::to_vec(&state).expect("a state is plain data");
        self.seal.seal(&purpose(outgoing), &state)
    }

    fn parked(&self) -> MutexGuard<'_, HashMap<Uuid, Parked>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `inputResponses`: by key, a result each, as JSON text.
struct Answers(Vec<(String, String)>);

impl Answers {
    fn of(outgoing: &Outgoing<'_>) -> Result<Self, CallError> {
        let Some(responses) = outgoing.params.get("inputResponses") else { return Ok(Self(Vec::new())) };
        let wrong = || CallError::InvalidParams("`inputResponses` must be an object of objects".to_owned());
        let responses = Object::parse(responses).map_err(|_| wrong())?;
        let answers = responses.iter().map(|(key, answer)| {
            let is_result = answer.starts_with('{');
            is_result.then(|| (key.to_owned(), answer.to_owned())).ok_or_else(wrong)
        });
        answers.collect::<Result<_, _>>().map(Self)
    }

    /// Gives each answer to the server; what has none is left.
    async fn give(mut self, asks: Vec<Question>) -> Vec<Question> {
        let mut left = Vec::new();
        let mut giving = Vec::new();
        for question in asks {
            match self.0.iter().position(|(key, _)| *key == question.key) {
                Some(at) => {
                    let (_, result) = self.0.swap_remove(at);
                    giving.push(async move {
                        let answer = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#).into());
                        question.ask.answer(Ok(&answer.expect("it was read as an object"))).await;
                    });
                }
                None => left.push(question),
            }
        }
        join_all(giving).await;
        left
    }
}

fn is_accepted(answer: &str) -> bool {
    Object::parse(answer).ok().and_then(|answer| answer.string("action").map(|action| action == "accept")).unwrap_or(false)
}

/// A result that asks for input.
pub(super) fn is_interim(reply: &Message) -> bool {
    if reply.kind() != Kind::Result || memchr::memmem::find(reply.text(), br#""input_required""#).is_none() {
        return false;
    }
    let result = reply.body().and_then(|result| Object::parse(result).ok());
    result.and_then(|result| result.string("resultType").map(|kind| kind == "input_required")).unwrap_or(false)
}

/// An object of requests, by key.
fn input_requests<'a>(requests: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>) -> String {
    let mut text = String::from("{");
    for (index, (key, method, params)) in requests.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let params = params.map_or_else(String::new, |params| format!(r#","params":{params}"#));
        // Writing to text does not fail.
        let _ = write!(text, r#"{comma}"{key}":{{"method":{}{params}}}"#, serde_json::Value::from(method));
    }
    text + "}"
}

/// What a state is sealed for: the same request, but for what changes from round to round.
fn purpose(outgoing: &Outgoing<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut feed = |part: &str| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    feed(outgoing.method());
    let mut members: Vec<_> =
        outgoing.params.iter().filter(|(name, _)| !matches!(*name, "_meta" | "inputResponses" | "requestState")).collect();
    members.sort_unstable();
    for (name, value) in members {
        feed(name);
        feed(value);
    }
    hash.finalize().into()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
