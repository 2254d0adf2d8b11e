//! What the App is told of finished calls of its servers: that they were made, whether they succeeded, and how long they
//! took. Never arguments or results.
//!
//! A call only leaves an [`Entry`] in a queue, which is one short lock; [`worker`] does all the rest. Not told are lists,
//! refusals, cancelled calls, and mistakes of the client: what is reported as a failure alerts a person.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Blame, CallError};
use crate::{
    builtin::{self, Area, How},
    protocol::{
        error::{INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, URL_ELICITATION_REQUIRED},
        json::{self, Object},
        message::{Kind, Message},
        server::ServerConfig,
    },
    security::line,
    source::app::{AppClient, activity::Action},
    telemetry::metrics::{self, Dropped, Outcome},
};

mod worker;

/// Calls that may wait to be told of. More is a quarter of an hour of what the App takes.
const MOST: usize = 1_000;

/// Of an error's text. What is shown of it is found in its first part, however long it is; see [`redact::beginning`](crate::security::redact::beginning).
const LONGEST: usize = 20 * 1024;

/// Of a name or URI, which is the client's and may be of any length.
const ITEM: usize = 2 * 1024;

/// Where finished calls are left. Clones leave them in the same place.
#[derive(Debug, Clone)]
pub(super) struct Activities(Arc<Queue>);

/// What a call is about.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) action: Action,
    /// The name or URI that the server itself knows.
    pub(super) item: String,
}

/// A finished call.
#[derive(Debug)]
struct Entry {
    whose: Whose,
    subject: Subject,
    took: Duration,
    /// What went wrong, as it was said.
    failure: Option<String>,
}

#[derive(Debug)]
enum Whose {
    /// A server of the App.
    Server(Arc<ServerConfig>),
    /// The instructions of such a server's owner, which the proxy gives itself.
    Instructions(Arc<ServerConfig>),
    /// The proxy itself.
    Own(Part),
}

/// A part of the proxy, as the App's activity log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    name: &'static str,
    id: &'static str,
    /// The App takes the identifier for a server's.
    is_known: bool,
}

impl Part {
    const PROXY: Self = Self { name: "Proxy System", id: "pluggedin_proxy", is_known: true };

    /// `None` is not told of: a guide is read by who sets the proxy up.
    fn of(area: Area) -> Option<Self> {
        let known = |name, id| Some(Self { name, id, is_known: true });
        let unknown = |name, id| Some(Self { name, id, is_known: false });
        match area {
            Area::Setup => None,
            Area::Discovery => known("Discovery System", "pluggedin_discovery"),
            Area::Knowledge => known("RAG System", "pluggedin_rag"),
            Area::Notifications => known("Notification System", "pluggedin_notifications"),
            Area::Documents => known("Document System", "pluggedin_documents"),
            Area::Clipboard => known("Clipboard System", "pluggedin_clipboard"),
            Area::Memory => unknown("Memory System", "pluggedin_memory"),
            Area::Collective => unknown("CBP System", "pluggedin_cbp"),
            Area::Archetypes => unknown("Jungian Intelligence", "pluggedin_jungian"),
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    entries: Mutex<VecDeque<Entry>>,
    /// There is one in an empty queue.
    begun: Notify,
}

impl Activities {
    /// The worker tells the App until `token` is cancelled, and a little longer; `tracker` waits for it.
    pub(super) fn start(app: AppClient, tracker: &TaskTracker, token: &CancellationToken) -> Self {
        let queue = Arc::new(Queue::default());
        tracker.spawn(worker::Worker::new(Arc::clone(&queue), app).run(token.clone()));
        Self(queue)
    }

    /// A call of a server of the App has ended with this.
    pub(super) fn note(
        &self,
        server: Arc<ServerConfig>,
        subject: Subject,
        took: Duration,
        answer: &Result<Message, CallError>,
        outcome: Outcome,
    ) {
        let failure = match End::of(answer, outcome) {
            End::Done => None,
            End::Failed(text) => Some(text),
            End::Mistaken => return,
        };
        self.0.push(Entry { whose: Whose::Server(server), subject, took, failure });
    }

    /// A call of one of the proxy's own tools has ended so.
    pub(super) fn note_builtin(&self, name: &str, took: Duration, how: How) {
        self.note_own(builtin::area(name), Subject { action: Action::ToolCall, item: name.to_owned() }, took, how);
    }

    /// One of the proxy's own resources was read, with this outcome.
    pub(super) fn note_own_resource(&self, uri: &str, took: Duration, how: How) {
        self.note_own(builtin::area_of_resource(uri), Subject { action: Action::ResourceRead, item: uri.to_owned() }, took, how);
    }

    fn note_own(&self, area: Option<Area>, subject: Subject, took: Duration, how: How) {
        let Some(part) = area.and_then(Part::of) else { return };
        let failure = match how {
            How::Done => None,
            How::Failed(text) => Some(text),
            How::Mistake | How::Refused => return,
        };
        self.0.push(Entry { whose: Whose::Own(part), subject, took, failure });
    }

    /// A client has got a prompt of the proxy's own.
    pub(super) fn note_own_prompt(&self, prompt: &str) {
        let subject = Subject { action: Action::PromptGet, item: prompt.to_owned() };
        self.0.push(Entry { whose: Whose::Own(Part::PROXY), subject, took: Duration::ZERO, failure: None });
    }

    /// A client has got the instructions of a server's owner as a prompt.
    pub(super) fn note_instructions(&self, server: Arc<ServerConfig>, prompt: &str) {
        let subject = Subject { action: Action::PromptGet, item: prompt.to_owned() };
        self.0.push(Entry { whose: Whose::Instructions(server), subject, took: Duration::ZERO, failure: None });
    }
}

/// How a call ended, as far as a person would say.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed(String),
    /// The client asked for what there is not, or asked wrongly.
    Mistaken,
}

impl End {
    fn of(answer: &Result<Message, CallError>, outcome: Outcome) -> Self {
        match answer {
            Ok(_) if outcome == Outcome::Ok => Self::Done,
            Ok(reply) if reply.kind() == Kind::Result => Self::of_tool_error(reply.body().unwrap_or_default()),
            Ok(reply) => Self::of_error(reply.body().unwrap_or_default()),
            Err(error) if error.blame() == Blame::Server => Self::failed(&error.to_string()),
            Err(_) => Self::Mistaken,
        }
    }

    /// Of a result that says that it is an error.
    fn of_tool_error(result: &str) -> Self {
        #[derive(Deserialize)]
        struct Said<'a> {
            #[serde(borrow)]
            content: Vec<&'a RawValue>,
        }
        let content = json::read(result).map(|Said { content }| content).unwrap_or_default();
        let mut blocks = content.into_iter().filter_map(|block| Object::parse(block.get()).ok());
        let text = blocks.find(|block| block.string("type").as_deref() == Some("text")).and_then(|block| block.string("text"));
        let text = text.as_deref().unwrap_or("the tool gave no reason");
        // The official library for TypeScript answers so to a tool that it does not know, and to arguments that do not fit its schema.
        let mistaken = [INVALID_PARAMS, METHOD_NOT_FOUND].iter().any(|code| text.starts_with(&format!("MCP error {code}")));
        if mistaken { Self::Mistaken } else { Self::failed(text) }
    }

    /// Of the `error` of a response.
    fn of_error(error: &str) -> Self {
        let error = Object::parse(error).ok();
        let code = error.as_ref().and_then(|error| error.get("code")?.parse().ok());
        // The last one asks for something else first; the call comes again.
        if let Some(INVALID_PARAMS | METHOD_NOT_FOUND | RESOURCE_NOT_FOUND | URL_ELICITATION_REQUIRED) = code {
            return Self::Mistaken;
        }
        let message = error.as_ref().and_then(|error| error.string("message"));
        Self::failed(message.as_deref().unwrap_or("the server gave no reason"))
    }

    fn failed(text: &str) -> Self {
        Self::Failed(line::head(text, LONGEST).to_owned())
    }
}

impl Queue {
    /// Never waits: where there is no room, the oldest goes.
    fn push(&self, mut entry: Entry) {
        let length = line::head(&entry.subject.item, ITEM).len();
        entry.subject.item.truncate(length);
        let (first, oldest) = {
            let mut entries = self.lock();
            let oldest = if entries.len() >= MOST { entries.pop_front() } else { None };
            entries.push_back(entry);
            (entries.len() == 1, oldest)
        };
        // Not under the lock: to wake a task can take longer than all the rest.
        if first {
            self.begun.notify_one();
        }
        if oldest.is_some() {
            metrics::dropped(Dropped::Activity);
        }
    }

    /// Puts the oldest back.
    fn push_back(&self, entry: Entry) {
        let mut entries = self.lock();
        if entries.len() < MOST {
            entries.push_front(entry);
        } else {
            metrics::dropped(Dropped::Activity);
        }
    }

    fn pop(&self) -> Option<Entry> {
        self.lock().pop_front()
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
