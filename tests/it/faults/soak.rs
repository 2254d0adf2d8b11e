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

    /// A fault that the wire of a server can have, by a call which is answered once, too.
    fn strike(&self, session: &crate::support::http::Session, server: &Server, n: usize) {
        let faults = if server.kind == Kind::Stdio { &FAULTS[..] } else { &FAULTS[..2] };
        let (mark, kind) = (format!("fault-{n}"), faults[n % faults.len()]);
        let reply = session.post(&call(&*mark, &server.tool("fault"), json!({"kind": kind}))).send();
        let answers: Vec<_> = reply.messages().into_iter().filter(|message| message["method"].is_null()).collect();
        if answers.len() != 1 || answers[0]["id"] != *mark {
            lock(&self.wrong).push(format!("{mark}: {answers:?}"));
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

/// What the processes of servers have in their environment, so that they are found wherever they are in the tree.
const MARK: &str = "SOAK_MARK";

/// Processes whose environment holds this mark.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_marked = |path: &std::path::PathBuf| {
        std::fs::read(path.join("environ")).is_ok_and(|text| text.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
    };
    processes.filter(is_marked).map(|path| path.display().to_string()).collect()
}

#[track_caller]
fn serve(servers: &[Server], mark: &str, options: &[&str]) -> Front {
    let mut file = file_of(&servers.iter().collect::<Vec<_>>());
    for server in servers.iter().filter(|server| server.kind == Kind::Stdio) {
        file["mcpServers"][&server.name]["env"][MARK] = json!(mark);
    }
    let proxy = Proxy::new().file(&file);
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
    let front = serve(&servers, "volley", &["--max-message=1MiB"]);
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
                        tally.strike(&session, &servers[n / 100 % servers.len()], n / 100);
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

/// What the proxy holds at some time.
#[derive(Debug, Clone, Copy)]
struct Held {
    kilobytes: u64,
    descriptors: usize,
    processes: usize,
}

impl Held {
    fn now(front: &Front, mark: &str) -> Self {
        Self { kilobytes: front.resident() >> 10, descriptors: front.descriptors(), processes: marked(mark).len() }
    }

    /// The median of each, since a fault of three megabytes or a server that starts is seen in single samples.
    fn typical(samples: &[Self]) -> Self {
        fn median<T: Ord>(values: impl Iterator<Item = T>) -> T {
            let mut values: Vec<_> = values.collect();
            values.sort();
            let middle = values.len() / 2;
            values.swap_remove(middle)
        }
        Self {
            kilobytes: median(samples.iter().map(|held| held.kilobytes)),
            descriptors: median(samples.iter().map(|held| held.descriptors)),
            processes: median(samples.iter().map(|held| held.processes)),
        }
    }
}

#[test]
#[ignore = "takes ten minutes, or SOAK_SECONDS"]
fn a_soak() {
    const SESSIONS: usize = 50;
    let seconds = number(DURATION, 600);
    let servers = servers(10);
    let mark = format!("{}-{seconds}", std::process::id());
    let mut front = serve(&servers, &mark, &["--max-message=1MiB", "--call-timeout=10"]);
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let mut held = Vec::new();
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
        let begun = Instant::now();
        for second in 0..seconds {
            let n = usize::try_from(second).expect("a number of seconds");
            let (front, servers, tally) = (&front, &servers, &tally);
            // By a client of its own, so that the next fault does not wait for the answer to this one.
            scope.spawn(move || {
                let session = front.session();
                tally.strike(&session, &servers[n % servers.len()], n / servers.len());
                session.end();
            });
            held.push(Held::now(front, &mark));
            while let Some(rest) = Duration::from_secs(second + 1).checked_sub(begun.elapsed()) {
                std::thread::park_timeout(rest);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    front.signal("-TERM");
    assert_eq!(front.ends().code, Some(0));
    let survivors = marked(&mark);
    eprintln!("{seconds} s and as many faults: calls {:?}, right {:?}", tally.calls, tally.right);
    eprintln!("failures {:#?}\nwrong {:#?}\nlongest {:?}", lock(&tally.failures), lock(&tally.wrong), lock(&tally.longest));
    let fifths: Vec<_> = held.chunks(held.len().div_ceil(5)).map(Held::typical).collect();
    eprintln!("by fifths of the time: {fifths:#?}\nsurvivors {survivors:?}");
    tally.adds_up();
    assert!(survivors.is_empty(), "{survivors:?}");
    // The first two fifths warm it up: caches, pools, the allocator's arenas.
    let (warm, end) = (fifths[2], fifths[fifths.len() - 1]);
    assert!(end.kilobytes * 10 <= warm.kilobytes * 11, "memory grows: {warm:?} {end:?}");
    assert!(end.descriptors <= warm.descriptors + 20, "descriptors grow: {warm:?} {end:?}");
    assert!(end.processes <= warm.processes + 2, "processes are left behind: {warm:?} {end:?}");
}
