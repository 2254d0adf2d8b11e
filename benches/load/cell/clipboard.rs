//! What the proxy's own tools cost: a clipboard round trip, beside the same requests made to the App without the proxy.

use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use memchr::memmem::find;

use super::{Effort, start_of, take_turns, text};
use crate::http::Connection;
use crate::peer::{self, Home, Peer as _, Process, Servers};
use crate::report::{Row, Target, Unit, median};

/// Who sets and gets a value.
enum Desk {
    /// By the App's own requests, with or without a reverse proxy before it.
    Requests(Connection),
    Tools(Process),
}

impl Desk {
    /// So many round trips, one after the other: the median of their times, in microseconds.
    fn round_trips(&mut self, times: usize) -> Result<f64> {
        let mut measured = Vec::with_capacity(times);
        for id in (100..).take(times) {
            let value = text(id);
            let value = std::str::from_utf8(&value)?;
            let started = Instant::now();
            let (stored, found) = match self {
                Self::Requests(connection) => {
                    let entry =
                        format!(r#"{{"name":"load","value":"{value}","contentType":"text/plain","encoding":"utf-8","source":"mcp"}}"#);
                    (post(connection, &entry)?, get(connection, "/api/clipboard?name=load")?)
                }
                Self::Tools(proxy) => {
                    let set = format!(r#"{{"name":"load","value":"{value}"}}"#);
                    (call(proxy, 2 * id, "set", &set)?, call(proxy, 2 * id + 1, "get", r#"{"name":"load"}"#)?)
                }
            };
            measured.push(started.elapsed().as_secs_f64() * 1e6);
            let is_right = find(&stored, b"expiresAt").is_some() && find(&found, value.as_bytes()).is_some();
            ensure!(is_right, "wrong answers: {} and {}", start_of(&stored), start_of(&found));
        }
        Ok(median(&mut measured))
    }
}

fn call(proxy: &mut Process, id: u64, tool: &str, arguments: &str) -> Result<Vec<u8>> {
    let params = format!(r#"{{"name":"pluggedin_clipboard_{tool}","arguments":{arguments}}}"#);
    proxy.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{params}}}\n").as_bytes())?;
    peer::answer_to(id, proxy)
}

fn post(connection: &mut Connection, entry: &str) -> Result<Vec<u8>> {
    let head = connection.post("/api/clipboard", entry.as_bytes())?;
    let mut answer = Vec::new();
    connection.body(&head).read_to_end(&mut answer)?;
    Ok(answer)
}

fn get(connection: &mut Connection, path: &str) -> Result<Vec<u8>> {
    let head = connection.get(path)?;
    let mut answer = Vec::new();
    connection.body(&head).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Each round trip is two calls of tools, and two requests of the App.
pub(super) fn round_trip(effort: Effort) -> Result<()> {
    let app = Servers::app()?;
    let relay = app.reverse()?;
    let home = Home::with_app(app.address())?;
    let mut proxy = home.proxy()?;
    peer::shake_hands(&mut proxy)?;
    peer::find_tool("clipboard_set", &mut proxy)?;

    let mut asked = Connection::open(app.address())?;
    let mut requests = || -> Result<f64> { Ok(String::from_utf8(get(&mut asked, "/requests")?)?.parse()?) };
    let before = settled(&mut requests)?;
    let tools = (0..LISTS).map(|_| Ok(peer::tool_names(&mut proxy)?.len())).sum::<Result<usize>>()? / LISTS;
    let by_lists = requests()? - before;

    let open = |servers: &Servers| Ok::<_, anyhow::Error>(Desk::Requests(Connection::open(servers.address())?));
    let mut desks = [open(&app)?, open(&relay)?, Desk::Tools(proxy)];
    let [rounds] = take_turns(&mut desks, effort, |desk| Ok([desk.round_trips(effort.turn(1000))?]))?;
    let figure = (rounds.over_direct(), Unit::Micros, "over direct".to_owned());
    rounds.row("clipboard set and get, one core".to_owned(), Unit::Micros, figure, Target::AtMost(1_000.0)).print();
    Row {
        name: format!("App requests for {LISTS} lists of the {tools} built-in tools"),
        unit: Unit::Number,
        direct: None,
        relay: None,
        proxy: by_lists,
        what: String::new(),
        figure: by_lists,
        figure_unit: Unit::Number,
        target: Target::AtMost(0.0),
    }
    .print();
    Ok(())
}

const LISTS: usize = 100;

/// The number once the proxy has read all lists, after its start.
fn settled(requests: &mut impl FnMut() -> Result<f64>) -> Result<f64> {
    let started = Instant::now();
    let mut last = 0.0;
    while started.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(500));
        let now = requests()?;
        if now > 0.0 && now.total_cmp(&last).is_eq() {
            return Ok(now);
        }
        last = now;
    }
    bail!("the proxy does not stop asking the App");
}
