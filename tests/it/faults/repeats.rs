//! Connections that are lost while a call is under way: what may be done twice is called once more, and nothing else is.

use super::scenario::MAYBE;
use crate::support::{Client, Home, Kind, List, Proxy, Server, over_each_wire};
use serde_json::{Value, json};
use std::path::PathBuf;

over_each_wire!(a_call_that_only_reads_is_made_once_more, a_call_that_may_change_something_is_not_repeated, a_second_failure_is_told);

/// A server that breaks off so many calls, wherever it is started anew.
struct Breaking {
    _home: Home,
    /// Has a letter for each.
    file: PathBuf,
    server: Server,
}

impl Breaking {
    fn new(kind: Kind, calls: u32) -> Self {
        let home = Home::new();
        let file = home.write("broken", "");
        let flags = [format!("--fault=tools/call=breaks:{calls}"), format!("--fault-while={}", file.display())];
        let server = Server::new(kind, "alpha", &[&flags[0], &flags[1]]);
        Self { _home: home, file, server }
    }

    fn client(&self) -> Client {
        let mut client = Proxy::before(&[&self.server]);
        client.find(List::Tools, "alpha__odd");
        client
    }

    fn broken(&self) -> usize {
        std::fs::read(&self.file).expect("a file").len()
    }

    /// Calls that have arrived at one that tells.
    fn arrived(&self) -> Option<usize> {
        let seen = (self.server.kind != Kind::Stdio).then(|| self.server.running().seen())?;
        Some(seen.iter().filter(|seen| seen.method.as_deref() == Some("tools/call")).count())
    }
}

#[track_caller]
fn is_uncertain(result: &Value) {
    let text = result["content"][0]["text"].as_str().expect("a text");
    assert!(result["isError"] == true && text.contains("alpha") && text.contains(MAYBE), "{result}");
}

fn a_call_that_only_reads_is_made_once_more(kind: Kind) {
    let breaking = Breaking::new(kind, 1);
    let result = breaking.client().call("alpha__odd", json!({}));
    assert_ne!(result["isError"], true, "{result}");
    assert_eq!(breaking.broken(), 1);
    assert!(breaking.arrived().is_none_or(|arrived| arrived == 2), "{:?}", breaking.arrived());
}

fn a_call_that_may_change_something_is_not_repeated(kind: Kind) {
    let breaking = Breaking::new(kind, 1);
    let mut client = breaking.client();
    is_uncertain(&client.call("alpha__echo", json!({})));
    assert_eq!(breaking.broken(), 1);
    assert!(breaking.arrived().is_none_or(|arrived| arrived == 1), "{:?}", breaking.arrived());
    let echo = client.call("alpha__echo", json!({}));
    assert_eq!(echo["structuredContent"]["server"], "alpha", "{echo}");
}

fn a_second_failure_is_told(kind: Kind) {
    let breaking = Breaking::new(kind, 9);
    is_uncertain(&breaking.client().call("alpha__odd", json!({})));
    assert_eq!(breaking.broken(), 2);
    assert!(breaking.arrived().is_none_or(|arrived| arrived == 2), "{:?}", breaking.arrived());
}
