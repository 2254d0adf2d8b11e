//! What a scenario is, and the body that runs each.

use super::bystanders::Bystanders;
use super::caller::{Caller, Face, Outcome, Stage};
use crate::support::relay::Relay;
use crate::support::tls::{self, Door, Shown};
use crate::support::{App, Home, Kind, Proxy, Server, Workspace, eventually, file_of, lock};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Scenarios that run at once: they wait more than they work.
const AT_ONCE: usize = 8;

/// One fault, and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The ways to the server that is struck. Each is a run of its own.
    pub(super) kinds: &'static [Kind],
    /// Flags of that server. `{file}` is a file that is there until the server is mended.
    pub(super) flags: &'static [&'static str],
    /// Options of the proxy.
    pub(super) options: &'static [&'static str],
    /// Another entry for the server in the file than its own.
    pub(super) entry: Option<fn(&Struck) -> Value>,
    /// It cannot be reached from the start, so that nobody waits for its tools.
    pub(super) is_dead: bool,
    /// There is an App behind the proxy, too.
    pub(super) with_app: bool,
    /// There is TLS before a server of an HTTP kind, which shows this at first. What is good is trusted.
    pub(super) tls: Option<Shown>,
    /// It is before the App, not before the server.
    pub(super) tls_of_app: bool,
    /// Before the affected call.
    pub(super) strike: fn(&mut Struck),
    /// A tool, and its arguments as JSON text.
    pub(super) call: (&'static str, &'static str),
    /// While the server works on the call.
    pub(super) meanwhile: Option<fn(&mut Struck)>,
    pub(super) answer: Told,
    /// The answer is there after so many milliseconds.
    pub(super) within: u64,
    /// Makes good what the fault has done.
    pub(super) mend: fn(&mut Struck),
    pub(super) again: Again,
}

/// What the affected call is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    /// What it asked for, with these words.
    Result(&'static str),
    /// `isError`, with all of these words.
    Failure(&'static [&'static str]),
    /// A JSON-RPC error with this code and these words.
    Error(i64, &'static str),
}

/// When the server can be used again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Again {
    /// The very next call works, and is answered after so many milliseconds.
    Next(u64),
    /// A call works after so many milliseconds.
    Soon(u64),
    /// Not before somebody does something about it.
    Never,
}

/// What is said of every call that may have been carried out.
pub(super) const MAYBE: &str = "may or may not have taken effect";

/// A server at which nothing is wrong yet.
pub(super) const SOUND: Scenario = Scenario {
    name: "",
    kinds: &[Kind::Stdio],
    flags: &[],
    options: &[],
    entry: None,
    is_dead: false,
    with_app: false,
    tls: None,
    tls_of_app: false,
    strike: |_| {},
    call: ("echo", "{}"),
    meanwhile: None,
    answer: Told::Result("{}"),
    within: 2000,
    mend: |_| {},
    again: Again::Next(2000),
};

/// Whoever has the fault, and the means to bring it about.
#[derive(Debug)]
pub(super) struct Struck {
    pub(super) server: Server,
    /// Before a server of an HTTP kind.
    pub(super) relay: Option<Relay>,
    pub(super) app: Option<App>,
    door: Option<Door>,
    /// Where the server runs, if it is a child of the proxy.
    pub(super) pid: Option<u64>,
    file: PathBuf,
}

impl Struck {
    /// Removes the file as long as which there are faults.
    pub(super) fn heal(&mut self) {
        std::fs::remove_file(&self.file).expect("it was there");
    }

    #[track_caller]
    pub(super) fn relay(&mut self) -> &mut Relay {
        self.relay.as_mut().expect("it is of an HTTP kind")
    }

    #[track_caller]
    pub(super) fn app(&mut self) -> &mut App {
        self.app.as_mut().expect("the scenario has one")
    }

    #[track_caller]
    pub(super) fn door(&self) -> &Door {
        self.door.as_ref().expect("the scenario has one")
    }

    #[cfg(unix)]
    #[track_caller]
    pub(super) fn signal(&self, signal: &str) {
        let pid = self.pid.and_then(|pid| u32::try_from(pid).ok()).expect("it is a child of the proxy");
        crate::support::process::signal(pid, signal);
    }

    /// The entry of the server in the file, behind the relay where there is one, and TLS before that.
    pub(super) fn entry(&self) -> Value {
        let mut entry = self.server.entry();
        let Some(relay) = &self.relay else { return entry };
        let mut url = relay.url_of(&self.server.running().url());
        if let Some(door) = &self.door {
            url = url.replacen(&relay.origin(), &door.origin(), 1);
        }
        entry["url"] = json!(url);
        entry
    }
}

/// Runs a family, each scenario over each of its wires and on both fronts.
#[track_caller]
pub(super) fn check(family: &'static [Scenario]) {
    let runs = family.iter().flat_map(|scenario| scenario.kinds.iter().map(move |kind| (scenario, *kind)));
    let runs: VecDeque<_> = runs.flat_map(|(scenario, kind)| [Face::Stdio, Face::Http].map(|face| (scenario, kind, face))).collect();
    let total = runs.len();
    let (runs, failures) = (Arc::new(Mutex::new(runs)), Arc::new(Mutex::new(Vec::new())));
    let workers: Vec<_> = (0..AT_ONCE.min(total))
        .map(|_| {
            let (runs, failures) = (runs.clone(), failures.clone());
            std::thread::spawn(move || {
                while let Some((scenario, kind, face)) = next(&runs) {
                    let name = format!("{} ({kind:?} behind {face:?})", scenario.name);
                    let begun = Instant::now();
                    let outcome = catch_unwind(AssertUnwindSafe(|| scenario.run(kind, face)));
                    if let Err(panic) = outcome {
                        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
                        lock(&failures).push(format!("{name}, after {:?}: {}", begun.elapsed(), text.unwrap_or_default()));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("panics of scenarios are caught");
    }
    let failures = lock(&failures);
    assert!(failures.is_empty(), "{} of {total} failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

fn next<T>(runs: &Mutex<VecDeque<T>>) -> Option<T> {
    lock(runs).pop_front()
}

impl Scenario {
    #[track_caller]
    fn run(&self, kind: Kind, face: Face) {
        let home = Home::new();
        let file = home.write("faulty", "");
        let while_there = format!("--fault-while={}", file.display());
        let flags: Vec<&str> = self.flags.iter().copied().chain(["--tool=raw", "--tool=fault", &while_there]).collect();
        let server = Server::new(kind, "struck", &flags);
        let relay = (kind != Kind::Stdio).then(|| Relay::to(&server.running().url()));
        let app = self.with_app.then(|| App::start(Workspace::default()));
        let behind_tls = if self.tls_of_app { app.as_ref().map(App::address) } else { relay.as_ref().map(Relay::address) };
        let door = self.tls.map(|shown| Door::before(behind_tls.expect("it is of an HTTP kind"), shown));
        let mut struck = Struck { server, relay, app, door, pid: None, file };
        let bystanders = Bystanders::new();

        let mut servers = file_of(&bystanders.servers());
        servers["mcpServers"]["struck"] = self.entry.map_or_else(|| struck.entry(), |entry| entry(&struck));
        let proxy = Proxy::at(&home).file(&servers).arg("--list-wait=2");
        let proxy = struck.app.iter().fold(proxy, Proxy::app);
        let proxy = struck.door.iter().fold(proxy, |proxy, door| {
            let proxy = proxy.env("SSL_CERT_FILE", &tls::authority());
            if self.tls_of_app { proxy.env("PLUGGEDIN_API_BASE_URL", &door.origin()) } else { proxy }
        });
        let proxy = self.options.iter().fold(proxy, |proxy, option| proxy.arg(option));
        let stage = match face {
            Face::Stdio => Stage::Stdio(Arc::new(Mutex::new(proxy.start()))),
            Face::Http => Stage::Http(proxy.serve()),
        };
        let mut caller = stage.caller("affected");
        if !self.is_dead {
            caller.call_until_ok("struck__echo", &json!({}));
            let process = caller.call("struck__process", &json!({}));
            struck.pid = process.answer["result"]["structuredContent"]["pid"].as_u64().filter(|_| kind == Kind::Stdio);
        }
        let watch = bystanders.watch(&stage, &caller);

        (self.strike)(&mut struck);
        let outcome = self.call(&mut caller, &mut struck);
        self.answer.is(&outcome);
        assert!(outcome.took <= Duration::from_millis(self.within), "it took {:?}: {}", outcome.took, outcome.answer);
        (self.mend)(&mut struck);
        self.again.holds(&mut caller, self.call.0);

        bystanders.noticed_nothing(watch);
        drop(caller);
        stage.was_answered_once();
    }

    #[track_caller]
    fn call(&self, caller: &mut Caller, struck: &mut Struck) -> Outcome {
        let (tool, arguments) = self.call;
        let name = named(tool);
        let arguments = serde_json::from_str(arguments).expect("arguments are JSON");
        let Some(meanwhile) = self.meanwhile else { return caller.call(&name, &arguments) };
        std::thread::scope(|scope| {
            let mut second = caller.under("second");
            let calling = scope.spawn(|| caller.call(&name, &arguments));
            // It works on the call when the call is in its journal.
            eventually("the server works on the call", || {
                let journal = second.call("struck__calls", &json!({}));
                (journal.answer["result"]["structuredContent"]["started"] != json!([])).then_some(())
            });
            meanwhile(struck);
            calling.join().expect("the call is answered")
        })
    }
}

/// Tools are those of the struck server, but for the proxy's own.
fn named(tool: &str) -> String {
    if tool.starts_with("pluggedin_") { tool.to_owned() } else { format!("struck__{tool}") }
}

impl Told {
    #[track_caller]
    fn is(self, outcome: &Outcome) {
        let Outcome { answer, .. } = outcome;
        let text = outcome.text();
        match self {
            Self::Result(words) => assert!(outcome.is_ok() && text.contains(words), "no result with `{words}`: {answer}"),
            Self::Failure(words) => {
                assert_eq!(answer["result"]["isError"], true, "{answer}");
                for words in words {
                    assert!(text.contains(words), "it does not say `{words}`: {text}");
                }
                // What is certain is not called uncertain.
                assert_eq!(text.contains(MAYBE), words.contains(&MAYBE), "{text}");
            }
            Self::Error(code, words) => {
                assert_eq!(answer["error"]["code"], code, "{answer}");
                assert!(text.contains(words), "it does not say `{words}`: {text}");
            }
        }
        for private in [env!("CARGO_MANIFEST_DIR"), "panicked", ".rs:"] {
            assert!(!text.contains(private), "`{private}` in {text}");
        }
    }
}

impl Again {
    #[track_caller]
    fn holds(self, caller: &mut Caller, tool: &str) {
        let tool = if tool.starts_with("pluggedin_") { tool } else { "struck__echo" };
        match self {
            Self::Next(millis) => {
                let outcome = caller.call(tool, &json!({}));
                assert!(outcome.is_ok(), "the next call fails: {}", outcome.answer);
                assert!(outcome.took <= Duration::from_millis(millis), "the next call took {:?}", outcome.took);
            }
            Self::Soon(millis) => {
                let begun = Instant::now();
                caller.call_until_ok(tool, &json!({}));
                assert!(begun.elapsed() <= Duration::from_millis(millis), "it took {:?}", begun.elapsed());
            }
            Self::Never => {
                let outcome = caller.call(tool, &json!({}));
                assert!(!outcome.is_ok(), "it works: {}", outcome.answer);
            }
        }
    }
}
