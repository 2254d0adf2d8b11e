//! The cells of the Streamable HTTP front. Direct is an HTTP server itself, relay a reverse proxy before it.

use std::cell::Cell as Shared;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use tokio::runtime::{self, Runtime};
use tokio::{task, time, try_join};

use super::{Effort, IDLE, SERVERS, TOOLS, call, echoes, start_of, take_turns};
use crate::answer::SLEEP;
use crate::peer::{self, Home, Process, Servers};
use crate::report::{Row, Target, Unit, median, p99};
use crate::session::{Alone, Session};

/// What stands behind the proxy. Direct and relay lead to HTTP servers all the same.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behind {
    Http,
    Stdio,
}

/// Direct, relay and proxy, with all that must run or exist meanwhile.
struct Stage {
    faces: [Face; 3],
    _home: Home,
}

/// One of the three, and who calls it.
struct Face {
    runtime: Rc<Runtime>,
    process: Process,
    urls: Vec<String>,
    callers: Vec<Caller>,
}

/// A session and the tool that it calls.
struct Caller {
    session: Session,
    tool: String,
    /// The id of the next call, different from all ids of other callers, so that no answer can be taken for another.
    next: u64,
    request: Vec<u8>,
}

impl Behind {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Stdio => "stdio",
        }
    }
}

impl Stage {
    fn set(behind: Behind, servers: usize, tools: usize) -> Result<Self> {
        let direct = Servers::start(servers, tools)?;
        let relay = direct.reverse()?;
        let home = match behind {
            Behind::Http => Home::with_urls(&direct.urls("json"))?,
            Behind::Stdio => Home::with_process(tools)?,
        };
        let proxy = home.front()?;
        let runtime = Rc::new(runtime::Builder::new_current_thread().enable_all().build()?);
        let face = |servers: Servers, kind| {
            let urls = servers.urls(kind);
            Face { runtime: Rc::clone(&runtime), process: servers.process, urls, callers: Vec::new() }
        };
        Ok(Self { faces: [face(direct, "json"), face(relay, "json"), face(proxy, "mcp")], _home: home })
    }

    /// Each with as many sessions that call `echo` of one server.
    fn with_callers(behind: Behind, callers: usize) -> Result<Self> {
        let mut stage = Self::set(behind, 1, 2)?;
        for face in &mut stage.faces {
            let (url, tool) = face.find("echo", 1)?.swap_remove(0);
            for _ in 0..callers {
                face.admit(&url, &tool)?;
            }
        }
        Ok(stage)
    }
}

impl Face {
    fn visit(&self, url: &str) -> Result<Alone> {
        let mut alone = Alone::connect(&self.runtime, url)?;
        peer::shake_hands(&mut alone)?;
        Ok(alone)
    }

    /// Where `tool` of each server is to be called, and its name there.
    fn find(&self, tool: &str, servers: usize) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for url in &self.urls {
            let names = peer::find_tools(tool, servers / self.urls.len(), &mut self.visit(url)?)?;
            found.extend(names.into_iter().map(|name| (url.clone(), name)));
        }
        Ok(found)
    }

    fn admit(&mut self, url: &str, tool: &str) -> Result<()> {
        let session = self.visit(url)?.into_session();
        let next = (self.callers.len() as u64 + 1) * 1_000_000_000;
        self.callers.push(Caller { session, tool: tool.to_owned(), next, request: Vec::new() });
        Ok(())
    }

    /// The times of so many calls of the first so many callers, all at once, each one call after the other.
    fn call(&mut self, callers: usize, calls: usize) -> Result<Vec<f64>> {
        // Without tokio's budget, which would send the one task of all callers to the end of the queue amid its work.
        self.runtime.block_on(task::unconstrained(call_while(&mut self.callers[..callers], budget(calls))))
    }

    /// Calls a second.
    fn rate(&mut self, callers: usize, calls: u32) -> Result<f64> {
        let started = Instant::now();
        self.call(callers, calls as usize)?;
        Ok(f64::from(calls) / started.elapsed().as_secs_f64())
    }
}

impl Caller {
    /// One call; its time, in microseconds. The answer is checked off the clock.
    async fn call(&mut self) -> Result<f64> {
        let id = self.next;
        self.next += 1;
        self.request.clear();
        call(id, &self.tool, &mut self.request);
        let started = Instant::now();
        let answer = self.session.ask(&self.request).await?;
        let time = started.elapsed();
        ensure!(peer::id_of(answer) == Some(id) && echoes(id, answer), "call {id} is answered with {}", start_of(answer));
        Ok(time.as_secs_f64() * 1e6)
    }
}

/// Says yes so many times.
fn budget(times: usize) -> impl Fn() -> bool {
    let left = Shared::new(times);
    move || {
        let some = left.get() > 0;
        left.set(left.get().saturating_sub(1));
        some
    }
}

/// The times of all calls that the callers make, each one after the other, while there is `more` to do.
async fn call_while(callers: &mut [Caller], more: impl Fn() -> bool) -> Result<Vec<f64>> {
    let one = async |caller: &mut Caller| {
        let mut times = Vec::new();
        while more() {
            times.push(caller.call().await?);
        }
        anyhow::Ok(times)
    };
    Ok(try_join_all(callers.iter_mut().map(one)).await?.concat())
}

pub(super) fn echo_one(behind: Behind, most: f64, effort: Effort) -> Result<()> {
    let mut stage = Stage::with_callers(behind, 1)?;
    let [rounds] = take_turns(&mut stage.faces, effort, |face| Ok([median(&mut face.call(1, effort.turn(4000))?)]))?;
    let name = format!("64-byte echo, HTTP to {}, 1 session, one core", behind.name());
    rounds.row(name, Unit::Micros, (rounds.of_proxy(), Unit::Micros, String::new()), Target::AtMost(most)).print();
    Ok(())
}

/// Sessions at once where not said otherwise.
const SESSIONS: usize = 32;

fn calls(effort: Effort) -> u32 {
    if effort.quick { 10_000 } else { 40_000 }
}

pub(super) fn before_http(effort: Effort) -> Result<()> {
    let mut stage = Stage::with_callers(Behind::Http, SESSIONS)?;
    let calls = calls(effort);
    let [rates, times] = take_turns(&mut stage.faces, effort, |face| {
        let before = face.process.processor_time()?;
        let rate = face.rate(SESSIONS, calls)?;
        Ok([rate, (face.process.processor_time()? - before) / f64::from(calls)])
    })?;
    let name = format!("64-byte echo, HTTP to HTTP, {SESSIONS} sessions, two cores");
    let figure = (rates.of_relay(), Unit::Times, "the relay".to_owned());
    rates.row(name, Unit::PerSecond, figure, Target::AtLeast(0.5)).print();
    let figure = (times.of_proxy(), Unit::Micros, String::new());
    let row = times.row("the same, processor time a call".to_owned(), Unit::Micros, figure, Target::AtMost(30.0));
    // Of direct it is the server's, which the others do not hold.
    Row { direct: None, ..row }.print();
    Ok(())
}

pub(super) fn before_stdio(effort: Effort) -> Result<()> {
    let mut stage = Stage::with_callers(Behind::Stdio, SESSIONS)?;
    let [rates] = take_turns(&mut stage.faces, effort, |face| Ok([face.rate(SESSIONS, calls(effort))?]))?;
    let name = format!("64-byte echo, HTTP to stdio, {SESSIONS} sessions, two cores");
    rates.row(name, Unit::PerSecond, (rates.of_proxy(), Unit::PerSecond, String::new()), Target::AtLeast(45_000.0)).print();
    Ok(())
}

pub(super) fn crowd(effort: Effort) -> Result<()> {
    const CROWD: usize = 256;
    let mut stage = Stage::with_callers(Behind::Http, CROWD)?;
    let [few, many] =
        take_turns(&mut stage.faces, effort, |face| Ok([face.rate(SESSIONS, calls(effort))?, face.rate(CROWD, calls(effort))?]))?;
    let name = format!("64-byte echo, HTTP to HTTP, {CROWD} sessions, two cores");
    let kept = many.parts_of(&few);
    let [direct, relay] = [0, 1].map(|at| kept.median(|round| round[at]));
    let figure = (kept.of_proxy(), Unit::Times, format!("with {SESSIONS} (direct {direct:.2}×, relay {relay:.2}×)"));
    many.row(name, Unit::PerSecond, figure, Target::AtLeast(0.8)).print();
    Ok(())
}

/// How long a process may put away what was used before its memory is read.
const SETTLE: Duration = Duration::from_millis(100);

/// `initialize`, `notifications/initialized` and DELETE, over a connection that is there already.
async fn make_and_end(session: &mut Session) -> Result<()> {
    let answer = session.ask(peer::INITIALIZE.as_bytes()).await?;
    ensure!(memchr::memmem::find(answer, b"\"protocolVersion\"").is_some(), "refused: {}", start_of(answer));
    session.ask(peer::INITIALIZED.as_bytes()).await?;
    session.end().await
}

pub(super) fn churn(effort: Effort) -> Result<()> {
    const MADE: u32 = 2000;
    const AT_ONCE: usize = 8;
    let mut stage = Stage::set(Behind::Http, 1, 2)?;
    for face in &stage.faces {
        face.find("echo", 1)?;
    }
    let [rates, kept] = take_turns(&mut stage.faces, effort, |face| {
        let before = face.process.resident()?;
        let mut sessions = face.runtime.block_on(try_join_all((0..AT_ONCE).map(|_| Session::connect(&face.urls[0]))))?;
        let more = budget(MADE as usize);
        let one = async |session: &mut Session| {
            while more() {
                make_and_end(session).await?;
            }
            anyhow::Ok(())
        };
        let started = Instant::now();
        face.runtime.block_on(task::unconstrained(try_join_all(sessions.iter_mut().map(one))))?;
        let rate = f64::from(MADE) / started.elapsed().as_secs_f64();
        thread::sleep(SETTLE);
        Ok([rate, (face.process.resident()? - before) / f64::from(MADE)])
    })?;
    let name = format!("{MADE} sessions made and ended, {AT_ONCE} at a time");
    let figure = (rates.of_proxy(), Unit::PerSecond, String::new());
    rates.row(name, Unit::PerSecond, figure, Target::AtLeast(10_000.0)).print();
    let [relay, proxy] = [1, 2].map(|at| kept.mean(|round| round[at]));
    Row {
        name: "the same, memory kept of a session".to_owned(),
        unit: Unit::Kibibytes,
        direct: None,
        relay: Some(relay),
        proxy,
        what: format!("over {} sessions", MADE as usize * kept.0.len()),
        figure: proxy,
        figure_unit: Unit::Kibibytes,
        target: Target::AtMost(0.5),
    }
    .print();
    Ok(())
}

/// The growth of resident memory by a thousand sessions that have listed the tools and are kept open, connections included.
pub(super) fn idle(_: Effort) -> Result<()> {
    const OPEN: u32 = 1000;
    let stage = Stage::set(Behind::Http, SERVERS, TOOLS)?;
    let [_, relay, proxy] = &stage.faces;
    let of_one = |face: &Face| {
        face.find("echo", SERVERS)?;
        thread::sleep(SETTLE);
        let before = face.process.resident()?;
        let mut open = Vec::new();
        for at in 0..OPEN as usize {
            let mut session = face.visit(&face.urls[at % face.urls.len()])?;
            ensure!(peer::tool_names(&mut session)?.len() >= TOOLS, "tools are missing");
            open.push(session);
        }
        thread::sleep(IDLE);
        anyhow::Ok((face.process.resident()? - before) / f64::from(OPEN))
    };
    let (relay, proxy) = (of_one(relay)?, of_one(proxy)?);
    Row {
        name: format!("memory of an idle session, of {OPEN} with their connections"),
        unit: Unit::Kibibytes,
        direct: None,
        relay: Some(relay),
        proxy,
        what: String::new(),
        figure: proxy,
        figure_unit: Unit::Kibibytes,
        target: Target::AtMost(20.0),
    }
    .print();
    Ok(())
}

/// One session for each fast server calls without pause, alone and then beside slow calls to another server.
pub(super) fn neighbours(effort: Effort) -> Result<()> {
    const FAST: usize = SERVERS - 1;
    const SLOW: usize = 8;
    /// From the start of the slow calls until all are in flight, for certain.
    const AHEAD: Duration = Duration::from_millis(100);
    /// Ends before the slow calls do.
    const WINDOW: Duration = Duration::from_millis(1500);
    let mut stage = Stage::set(Behind::Http, SERVERS, 3)?;
    for face in &mut stage.faces {
        for (url, tool) in face.find("echo", SERVERS)?.into_iter().skip(1) {
            face.admit(&url, &tool)?;
        }
        let (url, tool) = face.find("sleep", SERVERS)?.swap_remove(0);
        for _ in 0..SLOW {
            face.admit(&url, &tool)?;
        }
    }
    let [alone, beside] = take_turns(&mut stage.faces, effort, |face| {
        let (fast, slow) = face.callers.split_at_mut(FAST);
        let mut window = async || {
            let end = Instant::now() + WINDOW;
            call_while(fast, || Instant::now() < end).await
        };
        face.runtime.block_on(task::unconstrained(async {
            let alone = p99(&mut window().await?);
            let late = async {
                time::sleep(AHEAD).await;
                window().await
            };
            let (slow, mut beside) = try_join!(try_join_all(slow.iter_mut().map(Caller::call)), late)?;
            ensure!(slow.iter().all(|time| *time >= SLEEP.as_secs_f64() * 1e6), "a slow call ended early");
            Ok([alone, p99(&mut beside)])
        }))
    })?;
    let by = beside.parts_of(&alone);
    let [direct, relay] = [0, 1].map(|at| by.median(|round| round[at]));
    let name = format!("p99 of {FAST} servers beside {SLOW} slow calls to another");
    let figure = (by.of_proxy(), Unit::Times, format!("that without them (direct {direct:.2}×, relay {relay:.2}×)"));
    beside.row(name, Unit::Micros, figure, Target::AtMost(1.1)).print();
    Ok(())
}
