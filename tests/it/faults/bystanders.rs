//! Two servers and two clients who must not notice what happens to a third server: they call all the time, and are answered
//! at once by the processes and in the sessions that they had before.

use super::caller::{Caller, Stage};
use crate::support::Server;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two calls.
const PACE: Duration = Duration::from_millis(20);

/// Much shorter than any fault that lasts, and long enough for a machine on which many scenarios run at once.
const AT_ONCE: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub(super) struct Bystanders {
    calm: Server,
    far: Server,
}

/// They call since [`Bystanders::watch`].
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    /// Absent once it has been waited for.
    calling: Option<JoinHandle<Seen>>,
    own: Caller,
    before: Identity,
}

/// What they have seen.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    longest: Duration,
    wrong: Vec<Value>,
}

/// The process of the one server, and what has become of sessions at the other.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    pid: Option<u64>,
    handshakes: usize,
    sessions: usize,
}

impl Bystanders {
    pub(super) fn new() -> Self {
        Self { calm: Server::stdio("calm", &[]), far: Server::http("far", &[]) }
    }

    pub(super) fn servers(&self) -> [&Server; 2] {
        [&self.calm, &self.far]
    }

    /// `affected` is the client whose call will suffer; on the HTTP front there is another session besides.
    #[track_caller]
    pub(super) fn watch(&self, stage: &Stage, affected: &Caller) -> Watch {
        let (mut own, mut other) = (affected.under("own"), stage.caller("other"));
        for caller in [&mut own, &mut other] {
            caller.call_until_ok("calm__echo", &json!({}));
            caller.call_until_ok("far__echo", &json!({}));
        }
        let before = self.identity(&mut own);
        let stop = Arc::new(AtomicBool::new(false));
        let calling = {
            let (stop, callers) = (stop.clone(), [own.under("watch"), other]);
            let watching =
                std::thread::Builder::new().name(format!("bystanders of {:?}", std::thread::current().name().unwrap_or_default()));
            watching.spawn(move || call_on(callers, &stop)).expect("a thread can be started")
        };
        Watch { stop, calling: Some(calling), own, before }
    }

    #[track_caller]
    fn identity(&self, caller: &mut Caller) -> Identity {
        let process = caller.call("calm__process", &json!({}));
        let seen = self.far.running().seen();
        Identity {
            pid: process.answer["result"]["structuredContent"]["pid"].as_u64(),
            handshakes: seen.iter().filter(|seen| seen.method.as_deref() == Some("initialize")).count(),
            sessions: self.far.running().sessions(),
        }
    }

    /// They have noticed nothing until now.
    #[track_caller]
    pub(super) fn noticed_nothing(&self, mut watch: Watch) {
        let after = self.identity(&mut watch.own);
        let seen = watch.end().expect("every call of theirs is answered");
        assert!(seen.wrong.is_empty(), "bystanders were told: {:?}", seen.wrong);
        assert!(seen.calls > 0 && seen.longest < AT_ONCE, "bystanders waited: {:?} of {} calls", seen.longest, seen.calls);
        assert_eq!(after, watch.before, "bystanders have other connections");
        assert!(after.pid.is_some());
    }
}

impl Watch {
    fn end(&mut self) -> std::thread::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let calling = self.calling.take().expect("it ends once");
        calling.thread().unpark();
        calling.join()
    }
}

impl Drop for Watch {
    /// Nobody calls on after a scenario that has failed.
    fn drop(&mut self) {
        if self.calling.is_some() {
            let _ = self.end();
        }
    }
}

fn call_on(mut callers: [Caller; 2], stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        for caller in &mut callers {
            for server in ["calm", "far"] {
                let outcome = caller.call(&format!("{server}__echo"), &json!({"n": seen.calls}));
                let result = &outcome.answer["result"]["structuredContent"];
                if (&result["server"], &result["params"]["arguments"]["n"]) != (&json!(server), &json!(seen.calls)) {
                    seen.wrong.push(outcome.answer);
                }
                seen.calls += 1;
                seen.longest = seen.longest.max(outcome.took);
            }
        }
        std::thread::park_timeout(PACE);
    }
    seen
}
