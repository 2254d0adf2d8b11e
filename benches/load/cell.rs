//! The cells: each measures something and prints a row for every figure of it.

mod clipboard;
mod front;
mod hanging;

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memchr::memmem::Finder;

use crate::answer;
use crate::peer::{self, Direct, Home, Peer, Process, Servers};
use crate::report::{Row, Target, Unit, median};
use front::Behind;

/// A measurement that runs in a process of its own, pinned to `cores` (as `taskset -c` takes them).
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) cores: &'static str,
    measure: fn(Effort) -> Result<()>,
}

/// One core wherever the figure allows it: to wake another one can take longer than all the work, above all on a virtual machine.
pub(crate) const CELLS: &[Cell] = &[
    Cell { name: "echo-one", cores: "0", measure: echo_one },
    Cell { name: "echo-many", cores: "0,1", measure: |effort| echo_many("two cores", effort) },
    Cell { name: "echo-many-pinned", cores: "0", measure: |effort| echo_many("one core", effort) },
    Cell { name: "large-stdio", cores: "0", measure: large_stdio },
    Cell { name: "large-json", cores: "0", measure: |effort| large_http("json", "Streamable HTTP, JSON", effort) },
    Cell { name: "large-sse", cores: "0", measure: |effort| large_http("sse", "Streamable HTTP, SSE", effort) },
    Cell { name: "large-legacy", cores: "0", measure: |effort| large_http("legacy", "HTTP+SSE", effort) },
    Cell { name: "list", cores: "0", measure: list },
    Cell { name: "cold-initialize", cores: "0", measure: |effort| cold(&COLD_INITIALIZE, effort) },
    Cell { name: "cold-list", cores: "0", measure: |effort| cold(&COLD_LIST, effort) },
    Cell { name: "hanging", cores: "0,1", measure: hanging::first_list },
    Cell { name: "memory", cores: "0,1", measure: memory },
    Cell { name: "clipboard", cores: "0", measure: clipboard::round_trip },
    Cell { name: "http-echo-1", cores: "0", measure: |effort| front::echo_one(Behind::Http, 65.0, effort) },
    Cell { name: "http-stdio-echo-1", cores: "0", measure: |effort| front::echo_one(Behind::Stdio, 45.0, effort) },
    Cell { name: "http-32", cores: "0,1", measure: front::before_http },
    Cell { name: "http-stdio-32", cores: "0,1", measure: front::before_stdio },
    Cell { name: "http-256", cores: "0,1", measure: front::crowd },
    Cell { name: "http-churn", cores: "0,1", measure: front::churn },
    Cell { name: "http-idle", cores: "0,1", measure: front::idle },
    Cell { name: "http-neighbours", cores: "0,1", measure: front::neighbours },
];

/// How often direct, relay and proxy take turns, and whether each turn is short.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    quick: bool,
}

impl Effort {
    fn turn(self, calls: usize) -> usize {
        if self.quick { calls / 4 } else { calls }
    }
}

pub(crate) fn measure(name: &str, quick: bool) -> Result<()> {
    let cell = CELLS.iter().find(|cell| cell.name == name).with_context(|| format!("no cell {name}"))?;
    (cell.measure)(Effort { rounds: if quick { 3 } else { 9 }, quick })
}

/// Direct, relay and proxy, each connected, each with the name of the tool to call.
struct Peers([(Box<dyn Peer>, String); 3]);

/// What each turn of each round measured, for direct, relay and proxy.
struct Rounds(Vec<[f64; 3]>);

impl Peers {
    fn before_process(tool: &str, tools: usize, home: &Home) -> Result<Self> {
        let tools = tools.to_string();
        let me = std::env::current_exe()?.into_os_string().into_string().ok().context("path is not UTF-8")?;
        let direct = Process::start(&mut peer::role(&["echo-stdio", &tools])?)?;
        let relay = Process::start(&mut peer::role(&["relay-stdio", &me, "--role", "echo-stdio", &tools])?)?;
        Self::connect(tool, [Box::new(direct), Box::new(relay), Box::new(home.proxy()?)])
    }

    fn connect(tool: &str, [mut direct, mut relay, mut proxy]: [Box<dyn Peer>; 3]) -> Result<Self> {
        let name = |peer: &mut Box<dyn Peer>| {
            peer::shake_hands(peer.as_mut())?;
            peer::find_tool(tool, peer.as_mut())
        };
        let names = [name(&mut direct)?, name(&mut relay)?, name(&mut proxy)?];
        let [of_direct, of_relay, of_proxy] = names;
        Ok(Self([(direct, of_direct), (relay, of_relay), (proxy, of_proxy)]))
    }

    fn rounds(&mut self, effort: Effort, mut turn: impl FnMut(&mut dyn Peer, &str) -> Result<f64>) -> Result<Rounds> {
        let [rounds] = take_turns(&mut self.0, effort, |(peer, tool)| Ok([turn(peer.as_mut(), tool)?]))?;
        Ok(rounds)
    }
}

/// Each one's turn in each round, after one turn that is not counted. A turn measures `N` things.
fn take_turns<T, const N: usize>(of: &mut [T; 3], effort: Effort, mut turn: impl FnMut(&mut T) -> Result<[f64; N]>) -> Result<[Rounds; N]> {
    let mut all = [const { Rounds(Vec::new()) }; N];
    for round in 0..=effort.rounds {
        let mut values = [[0.0; 3]; N];
        for (at, one) in of.iter_mut().enumerate() {
            for (values, value) in values.iter_mut().zip(turn(one)?) {
                values[at] = value;
            }
        }
        if round > 0 {
            all.iter_mut().zip(values).for_each(|(rounds, values)| rounds.0.push(values));
        }
    }
    Ok(all)
}

impl Rounds {
    /// The median over the rounds of something computed from direct, relay and proxy.
    fn median(&self, of: impl Fn([f64; 3]) -> f64) -> f64 {
        median(&mut self.0.iter().map(|&round| of(round)).collect::<Vec<_>>())
    }

    fn row(&self, name: String, unit: Unit, figure: (f64, Unit, String), target: Target) -> Row {
        let (figure, figure_unit, what) = figure;
        let [direct, relay, proxy] = [0, 1, 2].map(|at| self.median(|round| round[at]));
        Row { name, unit, direct: Some(direct), relay: Some(relay), proxy, what, figure, figure_unit, target }
    }

    /// The mean over the rounds, for what adds up over them.
    fn mean(&self, of: impl Fn([f64; 3]) -> f64) -> f64 {
        let (sum, rounds) = self.0.iter().fold((0.0, 0.0), |(sum, rounds), &round| (sum + of(round), rounds + 1.0));
        sum / rounds
    }

    /// Each turn's value in parts of the one that the same turn measured here.
    fn parts_of(&self, whole: &Self) -> Self {
        let rounds = self.0.iter().zip(&whole.0);
        Self(rounds.map(|(part, whole)| [0, 1, 2].map(|at| part[at] / whole[at])).collect())
    }

    /// The proxy's own value.
    fn of_proxy(&self) -> f64 {
        self.median(|[_, _, proxy]| proxy)
    }

    fn over_direct(&self) -> f64 {
        self.median(|[direct, _, proxy]| proxy - direct)
    }

    fn of_relay(&self) -> f64 {
        self.median(|[_, relay, proxy]| proxy / relay)
    }
}

/// The text of a call: 64 bytes that hold its id, so that answers cannot be mixed up unseen.
fn text(id: u64) -> [u8; 64] {
    let mut text = [b'-'; 64];
    let mut rest = id;
    for byte in text.iter_mut().rev() {
        *byte = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text
}

fn call(id: u64, tool: &str, into: &mut Vec<u8>) {
    let text = text(id);
    let digits = text.iter().rposition(|byte| *byte == b'-').map_or(0, |dash| dash + 1);
    let (head, middle) = (r#"{"jsonrpc":"2.0","id":"#, r#","method":"tools/call","params":{"name":""#);
    for part in [head.as_bytes(), &text[digits..], middle.as_bytes(), tool.as_bytes(), br#"","arguments":{"text":""#, &text, b"\"}}}\n"] {
        into.extend_from_slice(part);
    }
}

/// `calls` calls, one after the other: the median of their times, in microseconds. `check` sees every answer, off the clock.
fn one_by_one(calls: usize, tool: &str, peer: &mut dyn Peer, check: impl Fn(u64, &[u8]) -> bool) -> Result<f64> {
    let mut times = Vec::with_capacity(calls);
    let mut request = Vec::new();
    for id in (100..).take(calls) {
        request.clear();
        call(id, tool, &mut request);
        let started = Instant::now();
        peer.send(&request)?;
        let answer = peer.next()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
        ensure!(peer::id_of(answer) == Some(id) && check(id, answer), "call {id} is answered with {}", start_of(answer));
    }
    Ok(median(&mut times))
}

fn echoes(id: u64, answer: &[u8]) -> bool {
    let text = text(id);
    memchr::memchr(b'-', answer).is_some_and(|at| answer[at..].starts_with(&text))
}

fn start_of(answer: &[u8]) -> String {
    String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned()
}

fn echo_one(effort: Effort) -> Result<()> {
    let home = Home::with_process(2)?;
    let mut peers = Peers::before_process("echo", 2, &home)?;
    let rounds = peers.rounds(effort, |peer, tool| one_by_one(effort.turn(4000), tool, peer, echoes))?;
    let figure = (rounds.over_direct(), Unit::Micros, "over direct".to_owned());
    rounds.row("64-byte echo, 1 in flight, one core".to_owned(), Unit::Micros, figure, Target::AtMost(25.0)).print();
    Ok(())
}

const IN_FLIGHT: usize = 32;

/// Calls a second with a window of [`IN_FLIGHT`]: each answer is replaced by a call, and those that came together leave together.
fn many_at_once(calls: u32, tool: &str, peer: &mut dyn Peer) -> Result<f64> {
    let mut requests = Vec::new();
    let mut ids = 100..100 + u64::from(calls);
    let mut open: Vec<u64> = ids.by_ref().take(IN_FLIGHT).collect();
    for &id in &open {
        call(id, tool, &mut requests);
    }
    let started = Instant::now();
    while !open.is_empty() {
        if !requests.is_empty() {
            peer.send(&requests)?;
            requests.clear();
        }
        loop {
            let answer = peer.next()?;
            let id = peer::id_of(answer).context("no id")?;
            let answered = open.iter().position(|&open| open == id).filter(|_| echoes(id, answer));
            let answered = answered.with_context(|| format!("wrong answer: {}", start_of(answer)))?;
            match ids.next() {
                Some(id) => {
                    open[answered] = id;
                    call(id, tool, &mut requests);
                }
                None => drop(open.swap_remove(answered)),
            }
            if !peer.ready() {
                break;
            }
        }
    }
    Ok(f64::from(calls) / started.elapsed().as_secs_f64())
}

fn echo_many(cores: &str, effort: Effort) -> Result<()> {
    let home = Home::with_process(2)?;
    let mut peers = Peers::before_process("echo", 2, &home)?;
    let rounds = peers.rounds(effort, |peer, tool| many_at_once(if effort.quick { 10_000 } else { 40_000 }, tool, peer))?;
    let best = rounds.0.iter().map(|[_, _, proxy]| *proxy).fold(0.0, f64::max);
    let figure = (rounds.of_proxy(), Unit::PerSecond, format!("(best round {best:.0}/s)"));
    rounds.row(format!("64-byte echo, 32 in flight, {cores}"), Unit::PerSecond, figure, Target::AtLeast(100_000.0)).print();
    Ok(())
}

fn large(server: &str, mut peers: Peers, effort: Effort) -> Result<()> {
    let expected = answer::blob("\\n");
    let expected = Finder::new(&expected);
    let right = |_, answer: &[u8]| expected.find(answer).is_some();
    let rounds = peers.rounds(effort, |peer, tool| one_by_one(effort.turn(60), tool, peer, right))?;
    let figure = (rounds.of_relay(), Unit::Times, "the relay".to_owned());
    rounds.row(format!("1 MiB result, stdio to {server}"), Unit::Micros, figure, Target::AtMost(2.5)).print();
    Ok(())
}

fn large_stdio(effort: Effort) -> Result<()> {
    let home = Home::with_process(2)?;
    large("stdio", Peers::before_process("blob", 2, &home)?, effort)
}

fn large_http(kind: &str, name: &str, effort: Effort) -> Result<()> {
    let servers = Servers::start(1, 2)?;
    let urls = servers.urls(kind);
    let home = Home::with_urls(&urls)?;
    let direct = Direct::open(&urls[0])?;
    let relay = Process::start(&mut peer::role(&["relay-http", &urls[0]])?)?;
    large(name, Peers::connect("blob", [Box::new(direct), Box::new(relay), Box::new(home.proxy()?)])?, effort)
}

const SERVERS: usize = 10;
const TOOLS: usize = 100;

/// The median time of `times` listings to their last page, in milliseconds. Only the exchange is on the clock, not the reading of the pages.
fn whole_list(times: usize, peer: &mut dyn Peer) -> Result<f64> {
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        let mut names = HashSet::new();
        let mut cursor = None;
        let mut time = Duration::ZERO;
        loop {
            let request = peer::list(2, cursor.as_deref());
            let started = Instant::now();
            peer.send(request.as_bytes())?;
            let answer = peer.next()?;
            time += started.elapsed();
            let page = peer::page(answer)?;
            names.extend(page.tools.iter().map(|tool| tool.name.to_owned()).filter(|name| !name.starts_with("pluggedin_")));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        ensure!(names.len() == SERVERS * TOOLS, "{} tools instead of {}", names.len(), SERVERS * TOOLS);
        measured.push(time.as_secs_f64() * 1e3);
    }
    Ok(median(&mut measured))
}

/// Waits until the tools of all servers are listed.
fn wait_for_all(peer: &mut dyn Peer) -> Result<()> {
    let started = Instant::now();
    loop {
        let Err(error) = whole_list(1, peer) else {
            return Ok(());
        };
        if started.elapsed() > Duration::from_secs(10) {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Direct and relay stand before one server with as many tools in one page.
fn list(effort: Effort) -> Result<()> {
    let servers = Servers::start(SERVERS, TOOLS)?;
    let home = Home::with_urls(&servers.urls("json"))?;
    let mut peers = Peers::before_process("echo", SERVERS * TOOLS, &home)?;
    let [.., (proxy, _)] = &mut peers.0;
    wait_for_all(proxy.as_mut())?;
    let rounds = peers.rounds(effort, |peer, _| whole_list(effort.turn(60), peer))?;
    let figure = (rounds.of_proxy(), Unit::Millis, String::new());
    rounds.row("tools/list, 1 000 tools of 10 HTTP servers".to_owned(), Unit::Millis, figure, Target::AtMost(1.5)).print();
    Ok(())
}

/// A start that is measured: what is asked, and the request whose answer ends it.
struct Start {
    name: &'static str,
    ask: fn() -> String,
    last: u64,
    /// Servers whose tools are listed.
    servers: usize,
    most: f64,
}

const COLD_INITIALIZE: Start =
    Start { name: "start to initialize", ask: || format!("{}\n", peer::INITIALIZE), last: 0, servers: 0, most: 10.0 };
const COLD_LIST: Start = Start {
    name: "start to tools/list, stored catalog",
    ask: || format!("{}\n{}\n{}", peer::INITIALIZE, peer::INITIALIZED, peer::list(1, None)),
    last: 1,
    servers: 1,
    most: 15.0,
};

/// From before the process exists to the answer, in milliseconds. The questions lie ready in its input.
fn start(start: &Start, spawn: impl FnOnce() -> Result<Process>) -> Result<f64> {
    let questions = (start.ask)();
    let started = Instant::now();
    let mut process = spawn()?;
    process.send(questions.as_bytes())?;
    let answer = peer::answer_to(start.last, &mut process)?;
    let time = started.elapsed();
    if start.last == 0 {
        ensure!(memchr::memmem::find(&answer, b"\"protocolVersion\"").is_some(), "refused: {}", start_of(&answer));
    } else {
        let listed = peer::page(&answer)?.tools.iter().filter(|tool| tool.name.ends_with("echo")).count();
        ensure!(listed == start.servers, "{listed} servers listed: {}", start_of(&answer));
    }
    Ok(time.as_secs_f64() * 1e3)
}

fn cold(begin: &Start, effort: Effort) -> Result<()> {
    let home = Home::with_process(2)?;
    // A first run, so that the catalog is known and the files are in memory.
    let mut first = home.proxy()?;
    peer::shake_hands(&mut first)?;
    peer::find_tool("echo", &mut first)?;
    first.close()?;

    let me = std::env::current_exe()?.into_os_string().into_string().ok().context("path is not UTF-8")?;
    let mut rounds = Vec::new();
    for _ in 0..3 * effort.rounds {
        let direct = start(begin, || Process::start(&mut peer::role(&["echo-stdio", "2"])?))?;
        let relay = start(begin, || Process::start(&mut peer::role(&["relay-stdio", &me, "--role", "echo-stdio", "2"])?))?;
        let proxy = start(begin, || home.proxy())?;
        rounds.push([direct, relay, proxy]);
    }
    let rounds = Rounds(rounds);
    let figure = (rounds.of_proxy(), Unit::Millis, String::new());
    rounds.row(begin.name.to_owned(), Unit::Millis, figure, Target::AtMost(begin.most)).print();
    Ok(())
}

/// How long the proxy is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);

fn memory(_: Effort) -> Result<()> {
    let servers = Servers::start(SERVERS, TOOLS)?;
    let urls = servers.urls("json");
    let home = Home::with_urls(&urls)?;
    let mut relay = Process::start(&mut peer::role(&["relay-http", &urls[0]])?)?;
    peer::shake_hands(&mut relay)?;
    let mut proxy = home.proxy()?;
    peer::shake_hands(&mut proxy)?;
    wait_for_all(&mut proxy)?;
    thread::sleep(IDLE);
    let (relay, proxy) = (relay.resident()? / 1024.0, proxy.resident()? / 1024.0);
    Row {
        name: "resident memory, 10 idle HTTP servers of 100 tools".to_owned(),
        unit: Unit::Mebibytes,
        direct: None,
        relay: Some(relay),
        proxy,
        what: String::new(),
        figure: proxy,
        figure_unit: Unit::Mebibytes,
        target: Target::AtMost(12.0),
    }
    .print();
    Ok(())
}
