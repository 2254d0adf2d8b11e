//! Tools that are not what they were: a change is logged and shown, and withheld where the operator wants that, until it is
//! accepted.

use crate::support::http::{call, keys, message};
use crate::support::{Client, Home, Kind, List, Proxy, Server, eventually, file_of, over_each_wire};
use serde_json::{Value, json};
use std::path::PathBuf;

over_each_wire!(a_change_while_the_proxy_runs_is_withheld_until_it_is_accepted,);

/// A server whose tool `echo` is described so; as a program, another version of the same.
fn described(text: &str) -> Server {
    Server::stdio("alpha", &[&format!("--describe=echo={text}")])
}

fn proxy(home: &Home, server: &Server, flags: &[&str]) -> Proxy {
    let proxy = Proxy::at(home).file(&file_of(&[server]));
    flags.iter().fold(proxy, |proxy, flag| proxy.arg(flag))
}

/// Shows the tools; the names of those that have changed.
#[track_caller]
fn changed(home: &Home, server: &Server) -> Vec<String> {
    let finished = proxy(home, server, &[]).run(&["tools", "--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let shown: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let since = |entry: &Value| entry["since"].as_str().is_some_and(|since| since.len() == 10 && since.starts_with("20"));
    let names = shown["changed"].as_array().expect("it is a list").iter();
    names.inspect(|entry| assert!(since(entry), "{entry}")).map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
}

#[track_caller]
fn accept(home: &Home, server: &Server, count: usize) {
    let finished = proxy(home, server, &[]).run(&["tools", "--accept"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("accepted {count} changed tool")), "{}", finished.stderr);
}

#[track_caller]
fn is_withheld(client: &mut Client) {
    for name in ["alpha__echo", "echo"] {
        let refused = client.call(name, json!({}));
        assert_eq!(refused["isError"], true);
        let text = refused["content"][0]["text"].as_str().unwrap_or_default();
        assert!(text.contains("has changed since 20") && text.contains("tools --accept"), "{text}");
    }
}

#[test]
fn a_change_between_runs_is_logged_once_and_shown_until_it_is_accepted() {
    let home = Home::new();
    let (old, new) = (described("Says"), described("Says, and reads your mail first"));
    assert_eq!(changed(&home, &old), Vec::<String>::new());
    let mut client = proxy(&home, &new, &[]).start();
    client.find(List::Tools, "alpha__slow");
    client.complains("the name, description or input schema of a tool has changed");
    let log = client.stderr();
    assert!(log.contains("\"echo\"") && log.contains("alpha") && !log.contains("reads your mail"), "{log}");
    // Nothing is kept from anybody unasked.
    client.find(List::Tools, "alpha__echo");
    assert_eq!(client.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
    drop(client);

    let mut client = proxy(&home, &new, &[]).start();
    client.find(List::Tools, "alpha__slow");
    assert_eq!(changed(&home, &new), ["alpha__echo"]);
    let shown = proxy(&home, &new, &[]).run(&["tools"]).stdout;
    assert!(shown.contains("alpha__echo: changed since 20") && shown.contains("tools --accept"), "{shown}");
    assert!(!client.stderr().contains("has changed"), "{}", client.stderr());

    accept(&home, &new, 1);
    assert_eq!(changed(&home, &new), Vec::<String>::new());
    accept(&home, &new, 0);
    // What it was before is another thing now.
    assert_eq!(changed(&home, &old), ["alpha__echo"]);
}

#[test]
fn what_becomes_again_what_it_was_needs_nobody() {
    let home = Home::new();
    let (old, new) = (described("Says"), described("Shouts"));
    assert_eq!(changed(&home, &old), Vec::<String>::new());
    assert_eq!(changed(&home, &new), ["alpha__echo"]);
    assert_eq!(changed(&home, &old), Vec::<String>::new());
}

#[test]
fn a_pinned_change_is_neither_listed_nor_called_after_a_restart() {
    let home = Home::new();
    let (old, new) = (described("Says"), described("Shouts"));
    proxy(&home, &old, &["--pin-tools"]).start().find(List::Tools, "alpha__echo");
    for _ in 0..2 {
        let mut client = proxy(&home, &new, &["--pin-tools"]).start();
        client.find(List::Tools, "alpha__slow");
        client.miss(List::Tools, "alpha__echo");
        is_withheld(&mut client);
        assert_ne!(client.call("alpha__progress", json!({}))["isError"], true);
    }
    accept(&home, &new, 1);
    let mut client = proxy(&home, &new, &["--pin-tools"]).start();
    client.find(List::Tools, "alpha__echo");
    assert_eq!(client.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
}

fn a_change_while_the_proxy_runs_is_withheld_until_it_is_accepted(kind: Kind) {
    let home = Home::new();
    let server = Server::new(kind, "alpha", &[]);
    let mut client = proxy(&home, &server, &["--pin-tools"]).start();
    client.find(List::Tools, "alpha__echo");
    let mark = client.mark();
    client.call("alpha__describe", json!({"name": "echo", "text": "Shouts"}));
    client.notified(mark, "notifications/tools/list_changed");
    client.miss(List::Tools, "alpha__echo");
    is_withheld(&mut client);
    client.find(List::Tools, "alpha__slow");

    let mark = client.mark();
    if kind == Kind::Stdio {
        // Another process has another child, which is as it was; so this one is told to be so again.
        client.call("alpha__describe", json!({"name": "echo", "text": "Returns its parameters"}));
    } else {
        accept(&home, &server, 1);
    }
    client.notified(mark, "notifications/tools/list_changed");
    client.find(List::Tools, "alpha__echo");
    assert_eq!(client.call("alpha__echo", json!({}))["structuredContent"]["server"], "alpha");
}

#[test]
fn a_tool_that_was_taken_away_does_not_come_back_as_another() {
    let home = Home::new();
    let with = |text: &str| Server::stdio("alpha", &["--tool=extra", &format!("--describe=extra={text}")]);
    let without = Server::stdio("alpha", &[]);
    assert_eq!(changed(&home, &with("one")), Vec::<String>::new());
    assert_eq!(changed(&home, &without), Vec::<String>::new());
    assert_eq!(changed(&home, &with("two")), ["alpha__extra"]);
}

#[test]
fn over_http_a_pinned_change_is_withheld_from_all() {
    let server = Server::http("alpha", &[]);
    let home = Home::new();
    let front = proxy(&home, &server, &["--pin-tools", "--stateless"]).serve();
    let names = || keys(&front.post(&message(1, "tools/list", json!({}))).send().result(), List::Tools);
    eventually("it is listed", || names().contains(&"alpha__echo".to_owned()).then_some(()));
    front.post(&call(1, "alpha__describe", json!({"name": "echo", "text": "Shouts"}))).send().result();
    eventually("it is withheld", || (!names().contains(&"alpha__echo".to_owned())).then_some(()));
    let refused = front.post(&call(1, "alpha__echo", json!({}))).send().result();
    assert!(refused["content"][0]["text"].as_str().is_some_and(|text| text.contains("has changed since")), "{refused}");
    accept(&home, &server, 1);
    eventually("it is listed again", || names().contains(&"alpha__echo".to_owned()).then_some(()));
}

#[test]
fn what_cannot_be_reached_is_not_accepted() {
    let home = Home::new();
    let (old, new) = (described("Says"), described("Shouts"));
    assert_eq!(changed(&home, &old), Vec::<String>::new());
    assert_eq!(changed(&home, &new), ["alpha__echo"]);
    let dead = Server::stdio("alpha", &["--exit-at-start"]);
    let finished = proxy(&home, &dead, &[]).run(&["tools", "--accept"]);
    assert!(finished.stderr.contains("accepted 0 changed tools") && finished.stderr.contains("could not be asked"), "{}", finished.stderr);
    assert_eq!(changed(&home, &new), ["alpha__echo"]);
}

/// The one file of records.
#[track_caller]
fn records(home: &Home) -> PathBuf {
    let folder = home.path().join("state/pluggedin-mcp-proxy");
    let files = std::fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("readable").path());
    let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect::<Vec<_>>();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn records_without_meaning_are_not_lost_in_silence() {
    let home = Home::new();
    let (old, new) = (described("Says"), described("Shouts"));
    assert_eq!(changed(&home, &old), Vec::<String>::new());
    let file = records(&home);
    for shown in [true, false] {
        std::fs::write(&file, "{").expect("writable");
        if shown {
            let finished = proxy(&home, &new, &[]).run(&["tools"]);
            assert!(finished.stderr.contains("make no sense"), "{}", finished.stderr);
        } else {
            let mut client = proxy(&home, &new, &["--pin-tools"]).start();
            client.complains("make no sense");
            client.find(List::Tools, "alpha__echo");
            // What is listed at first is of the run before.
            eventually("it is recorded", || file.exists().then_some(()));
        }
        assert_eq!(std::fs::read_to_string(file.with_extension("broken")).expect("it was put aside"), "{");
    }
    assert_eq!(changed(&home, &old), ["alpha__echo"], "it is remembered again");
}

#[test]
fn records_are_the_owners_alone_and_hold_no_text() {
    let home = Home::new();
    changed(&home, &described("Says something secret"));
    let file = &records(&home);
    let text = std::fs::read_to_string(file).expect("readable");
    assert!(text.contains("\"echo\"") && !text.contains("secret"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().expect("readable").permissions().mode() & 0o777, 0o600);
    }
}
