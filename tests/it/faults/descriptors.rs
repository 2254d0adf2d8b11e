//! A proxy that has no descriptors left: it says so, waits without a whirl, serves those whom it has, and takes others again later.

use crate::support::http::{Connection, Front, call, message};
use crate::support::{Proxy, Server, client::List, eventually, file_of, stays};
use serde_json::{Value, json};

/// Enough for the proxy itself, two children and a few connections.
const FILES: usize = 64;

/// Connections that the proxy cannot all have.
fn crowd(front: &Front) -> Vec<Connection> {
    let crowd = (0..FILES).map(|_| front.post(&message(1, "ping", json!({}))).connect()).collect();
    front.complains("no connection can be taken");
    crowd
}

/// What it has used of a processor, in hundredths of a second.
fn used(front: &Front) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", front.pid())).expect("it runs");
    let (_, behind_name) = stat.rsplit_once(')').expect("a name in brackets");
    // utime and stime, the 14th and 15th of all.
    behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[test]
fn clients_that_cannot_be_taken_wait_and_others_notice_nothing() {
    let servers = [Server::stdio("calm", &[]), Server::http("far", &[])];
    let front = Proxy::new().file(&file_of(&[&servers[0], &servers[1]])).limited_to(FILES).serve();
    let mut session = front.session();
    session.find(List::Tools, "calm__echo");
    session.find(List::Tools, "far__echo");
    session.call("far__echo", json!({}));
    let mut known = front.request("GET", "/health").connect();
    let mut asks = |n: u32| known.exchange(&session.post(&call(n, "calm__echo", json!({"n": n})))).answer()["result"].clone();
    assert_eq!(asks(1)["structuredContent"]["server"], "calm");

    let crowd = crowd(&front);
    front.complains("`ulimit -n`");
    let before = used(&front);
    stays("who is there is served", || asks(2)["structuredContent"]["server"] == "calm");
    let (spent, said) = (used(&front) - before, front.stderr().matches("no connection can be taken").count());
    assert!(spent < 70 && said == 1, "it spent {spent} hundredths of a second and said so {said} times");

    drop(crowd);
    let mut another = front.session();
    for server in ["calm", "far"] {
        let echo = another.call(&format!("{server}__echo"), json!({}));
        assert_eq!(echo["structuredContent"]["server"], server, "{echo}");
    }
}

#[test]
fn a_program_that_cannot_be_started_for_want_of_descriptors_is_told_as_such() {
    let servers = [Server::stdio("calm", &[]), Server::stdio("struck", &[])];
    let front = Proxy::new().file(&file_of(&[&servers[0], &servers[1]])).limited_to(FILES).serve();
    let mut session = front.session();
    session.find(List::Tools, "calm__echo");
    session.find(List::Tools, "struck__crash");
    let mut known = front.request("GET", "/health").connect();
    let mut ask = |tool: &str| -> Value { known.exchange(&session.post(&call(1, tool, json!({})))).answer()["result"].clone() };
    // The descriptors of what has ended are taken before it can be started anew.
    let crowd = crowd(&front);
    ask("struck__crash");
    let mut more = Vec::new();
    let failed = eventually("there is nothing left for a program", || {
        more.push(front.post(&message(1, "ping", json!({}))).connect());
        let answer = ask("struck__echo");
        (answer["isError"] == true).then_some(answer)
    });
    let text = failed["content"][0]["text"].as_str().expect("a text");
    assert!(text.contains("struck") && text.contains("too many open files") && text.contains("`ulimit -n`"), "{text}");
    assert_eq!(ask("calm__echo")["structuredContent"]["server"], "calm");
    drop((crowd, more));
    eventually("it is started again", || (ask("struck__echo")["structuredContent"]["server"] == "struck").then_some(()));
}
