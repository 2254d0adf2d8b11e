//! A client on either front that several threads may use at once, each under ids of its own.

use crate::support::{Client, Front, eventually, http, lock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Where clients come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Stdio,
    Http,
}

/// The proxy, with what keeps it alive.
#[derive(Debug)]
pub(super) enum Stage {
    Stdio(Arc<Mutex<Client>>),
    Http(Front),
}

#[derive(Debug, Clone)]
pub(super) struct Caller {
    way: Way,
    name: &'static str,
    next: u64,
}

#[derive(Debug, Clone)]
enum Way {
    Stdio(Arc<Mutex<Client>>),
    Http(http::Session),
}

/// An answer, and how long it took.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) answer: Value,
    pub(super) took: Duration,
}

impl Stage {
    /// A client; on the stdio front there is but one, and all callers speak through it.
    #[track_caller]
    pub(super) fn caller(&self, name: &'static str) -> Caller {
        let way = match self {
            Self::Stdio(client) => Way::Stdio(client.clone()),
            Self::Http(front) => Way::Http(front.session()),
        };
        Caller { way, name, next: 0 }
    }

    /// Every answer of the one client has come once. Over HTTP each answer is looked at when it comes.
    #[track_caller]
    pub(super) fn was_answered_once(&self) {
        let Self::Stdio(client) = self else { return };
        let client = lock(client);
        let mut answers = BTreeMap::new();
        for answer in client.since(crate::support::client::Mark::START).iter().filter(|message| message["method"].is_null()) {
            *answers.entry(answer["id"].to_string()).or_insert(0) += 1;
        }
        let repeated: Vec<_> = answers.iter().filter(|(_, times)| **times != 1).collect();
        assert!(repeated.is_empty(), "answered more than once: {repeated:?}");
    }
}

impl Caller {
    /// The same client, for another thread.
    pub(super) fn under(&self, name: &'static str) -> Self {
        Self { name, next: 0, ..self.clone() }
    }

    #[track_caller]
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Outcome {
        self.next += 1;
        let id = json!(format!("{}-{}", self.name, self.next));
        let begun = Instant::now();
        let answer = match &self.way {
            Way::Stdio(client) => {
                let params = json!({"name": tool, "arguments": arguments});
                let pending = lock(client).send_as(id.clone(), "tools/call", params);
                // The lock is for the others, too: nobody waits with it.
                eventually(&format!("{id} is answered ({tool})"), || lock(client).has_answered(&pending).then_some(()));
                lock(client).answer(&pending).message()
            }
            Way::Http(session) => {
                let reply = session.post(&http::call(id.clone(), tool, arguments.clone())).send();
                let answers: Vec<Value> = reply.messages().into_iter().filter(|message| message["method"].is_null()).collect();
                assert_eq!(answers.len(), 1, "{reply:?}");
                answers.into_iter().next().expect("there is one")
            }
        };
        assert_eq!(answer["id"], id, "{answer}");
        Outcome { answer, took: begun.elapsed() }
    }

    /// Calls until it works.
    #[track_caller]
    pub(super) fn call_until_ok(&mut self, tool: &str, arguments: &Value) -> Outcome {
        eventually(&format!("{tool} works"), || {
            let outcome = self.call(tool, arguments);
            outcome.is_ok().then_some(outcome)
        })
    }
}

impl Outcome {
    pub(super) fn is_ok(&self) -> bool {
        self.answer["error"].is_null() && self.answer["result"]["isError"] != true
    }

    /// What a model is told: of a result, or of an error.
    pub(super) fn text(&self) -> &str {
        let told = &self.answer["result"]["content"][0]["text"];
        told.as_str().or(self.answer["error"]["message"].as_str()).unwrap_or_default()
    }
}
