//! Many sessions, many servers and a fault every second, for as long as somebody has time; and thousands of calls of which some
//! meet a fault: each is answered once, with what it asked for.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "how long it takes is said by variables, and its figures are what it is for"
)]

use crate::support::http::call;
use crate::support::{Front, Kind, Proxy, Server, eventually, file_of, lock};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const KINDS: [Kind; 4] = [Kind::Stdio, Kind::Http, Kind::Sse, Kind::HttpJson];
/// What befalls a server, by way of its own tools.
const FAULTS: [&str; 5] = ["break", "half", "exit:1", "signal:KILL", "flood:3000000"];
/// In seconds; ten minutes by hand.
const DURATION: &str = "SOAK_SECONDS";
/// The calls of the volley, of which one in a hundred meets a fault.
const CALLS: &str = "VOLLEY_CALLS";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What has become of calls.
#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    /// Answered with what was asked for.
    right: AtomicU64,
    /// Failures by the words with which they begin.
    failures: Mutex<BTreeMap<String, u64>>,
    /// No answer, several, or another's.
    wrong: Mutex<Vec<String>>,
    longest: Mutex<Duration>,
}

impl Tally {
    /// One call, which is looked at whatever comes back.
    fn call(&self, session: &crate::support::http::Session, server: &Server, mark: &str) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let reply = session.post(&call(mark, &server.tool("echo"), json!({"mark": mark}))).send();
        let took = begun.elapsed();
        {
            let mut longest = lock(&self.longest);
            *longest = took.max(*longest);
        }
        let answers: Vec<_> = reply.messages().into_iter().filter(|message| message["method"].is_null()).collect();
        let [answer] = &answers[..] else {
            return lock(&self.wrong).push(format!("{mark}: {} answers", answers.len()));
        };
        let result = &answer["result"];
        if answer["id"] != mark {
            lock(&self.wrong).push(format!("{mark}: {answer}"));
        } else if result["isError"] == true {
            let text = result["content"][0]["text"].as_str().unwrap_or_default();
            let kind = text.replace(&server.name, "S");
            *lock(&self.failures).entry(kind.chars().take(90).collect()).or_insert(0) += 1;
        } else if result["structuredContent"]["params"]["arguments"]["mark"] == mark && result["structuredContent"]["server"] == server.name
        {
            self.right.fetch_add(1, Ordering::Relaxed);
        } else {
            lock(&self.wrong).push(format!("{mark}: {answer}"));
        }
    }

    /// Every call was answered once.
    #[track_caller]
    fn adds_up(&self) {
        let failed: u64 = lock(&self.failures).values().sum();
        let wrong = lock(&self.wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(self.calls.load(Ordering::Relaxed), self.right.load(Ordering::Relaxed) + failed);
    }
}

fn servers(count: usize) -> Vec<Server> {
    let kinds = KINDS.into_iter().cycle();
    // An in-process server must not end the tests with it: processes alone meet the faults of processes.
    (0..count).zip(kinds).map(|(n, kind)| Server::new(kind, &format!("server-{n}"), &["--tool=fault"])).collect()
}

/// A fault that the wire of a server can have.
fn strike(session: &crate::support::http::Session, server: &Server, n: usize) {
    let faults = if server.kind == Kind::Stdio { &FAULTS[..] } else { &FAULTS[..2] };
    let kind = faults[n % faults.len()];
    session.post(&call(format!("fault-{n}"), &server.tool("fault"), json!({"kind": kind}))).send();
}

/// All processes that the proxy has started, and theirs.
fn descendants(of: u32) -> Vec<u32> {
    let mut all = vec![of];
    let mut seen = 0;
    while let Some(pid) = all.get(seen).copied() {
        let children = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = children.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        all.extend(children.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()));
        seen += 1;
    }
    all.split_off(1)
}

#[track_caller]
fn serve(servers: &[Server], options: &[&str]) -> Front {
    let proxy = Proxy::new().file(&file_of(&servers.iter().collect::<Vec<_>>()));
    let front = options.iter().fold(proxy, |proxy, option| proxy.arg(option)).serve();
    let mut session = front.session();
    for server in servers {
        eventually("it works", || (session.call(&server.tool("echo"), json!({}))["isError"] != true).then_some(()));
    }
    session.end();
    front
}

#[test]
fn of_thousands_of_calls_none_is_lost_and_none_answered_twice() {
    const SESSIONS: usize = 8;
    let total = usize::try_from(number(CALLS, 2000)).expect("a number of calls");
    let servers = servers(4);
    let front = serve(&servers, &["--max-message=1MiB"]);
    let (tally, next) = (Tally::default(), AtomicUsize::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                let session = front.session();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        return;
                    }
                    let server = &servers[n % servers.len()];
                    if n % 100 == 37 {
                        strike(&session, &servers[n / 100 % servers.len()], n / 100);
                    }
                    tally.call(&session, server, &format!("call-{n}"));
                }
            });
        }
    });
    eprintln!(
        "{total} calls in {:?}: {} right, failed {:#?}, longest {:?}",
        begun.elapsed(),
        tally.right.load(Ordering::Relaxed),
        lock(&tally.failures),
        lock(&tally.longest)
    );
    tally.adds_up();
    assert_eq!(tally.calls.load(Ordering::Relaxed), u64::try_from(total).expect("a number of calls"));
    assert!(tally.right.load(Ordering::Relaxed) * 10 > tally.calls.load(Ordering::Relaxed) * 9, "faults reach too far");
}

#[test]
#[ignore = "takes ten minutes, or SOAK_SECONDS"]
fn a_soak() {
    const SESSIONS: usize = 50;
    let time = Duration::from_secs(number(DURATION, 600));
    let servers = servers(10);
    let mut front = serve(&servers, &["--max-message=1MiB", "--call-timeout=10"]);
    let (tally, stop, faults) = (Tally::default(), AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    let mut measured = Vec::new();
    std::thread::scope(|scope| {
        for n in 0..SESSIONS {
            let (front, servers, tally, stop) = (&front, &servers, &tally, &stop);
            scope.spawn(move || {
                let session = front.session();
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return session.end();
                    }
                    tally.call(&session, &servers[(n + round) % servers.len()], &format!("{n}-{round}"));
                    std::thread::park_timeout(Duration::from_millis(100));
                }
            });
        }
        let session = front.session();
        while begun.elapsed() < time {
            let n = faults.fetch_add(1, Ordering::Relaxed);
            strike(&session, &servers[n % servers.len()], n / servers.len());
            measured.push((begun.elapsed(), front.resident() >> 10, front.descriptors(), descendants(front.pid()).len()));
            std::thread::park_timeout(Duration::from_secs(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let left = descendants(front.pid());
    front.signal("-TERM");
    assert_eq!(front.ends().code, Some(0));
    let survivors: Vec<u32> = left.into_iter().filter(|pid| !crate::support::process::has_ended(u64::from(*pid))).collect();
    eprintln!("calls {:?}, right {:?}, faults {faults:?}", tally.calls, tally.right);
    eprintln!("failures {:#?}\nwrong {:#?}\nlongest {:?}", lock(&tally.failures), lock(&tally.wrong), lock(&tally.longest));
    // After a fifth it is warm.
    for part in [1, 3, 4] {
        let (at, kilobytes, descriptors, processes) = measured[(measured.len() * part / 5).min(measured.len() - 1)];
        eprintln!("at {at:?}: {kilobytes} kB, {descriptors} descriptors, {processes} processes");
    }
    let (at, kilobytes, descriptors, processes) = measured[measured.len() - 1];
    eprintln!("at {at:?}: {kilobytes} kB, {descriptors} descriptors, {processes} processes; survivors {survivors:?}");
    tally.adds_up();
    assert!(survivors.is_empty());
    let (warm, end) = (measured[measured.len() / 5], measured[measured.len() - 1]);
    assert!(end.1 < warm.1 + warm.1 / 2, "memory grows: {warm:?} {end:?}");
    assert!(end.2 < warm.2 + 60, "descriptors grow: {warm:?} {end:?}");
}
