//! Nothing that a server has started outlives the proxy, whatever ends it (threat model T16).
//!
//! Survivors are counted in `/proc`: every process of the server's group, whoever its parent is by now.

#![cfg(target_os = "linux")]

use crate::support::process::signal;
use crate::support::{Client, List, Proxy, Server, eventually, file_of};
use serde_json::json;
use std::time::{Duration, Instant};

/// Two seconds, and one for a machine that has other things to do.
const SOON: Duration = Duration::from_secs(3);

/// Parent, group and name of a living process.
fn stat(pid: u32) -> Option<(u32, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then_some((parent, group))
}

fn all() -> Vec<(u32, (u32, u32))> {
    let pids = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn members(group: u32) -> Vec<u32> {
    all().into_iter().filter(|(_, (_, of))| *of == group).map(|(pid, _)| pid).collect()
}

/// The helper processes of a proxy.
fn guards(proxy: u32) -> Vec<u32> {
    let is_guard = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"guard-children")
    };
    all().into_iter().filter(|(pid, (parent, _))| *parent == proxy && is_guard(*pid)).map(|(pid, _)| pid).collect()
}

/// A proxy with one server, the server's group, and the proxy's guard.
struct Tree {
    client: Client,
    group: u32,
    guard: u32,
}

impl Tree {
    /// The server as the proxy starts it, with a child of its own, both deaf to the end of their input and to SIGTERM.
    #[track_caller]
    fn plain() -> Self {
        let server = Server::stdio("alpha", &["--stubborn", "--grandchild"]);
        Self::of(Proxy::new().file(&file_of(&[&server])), 2)
    }

    /// The same behind a shell that waits for it, as npx does, and stays when it has ended.
    #[track_caller]
    fn wrapped() -> Self {
        let entry = Server::stdio("alpha", &["--stubborn", "--grandchild"]).entry();
        let mut args = vec![json!("-c"), json!("trap '' TERM HUP INT; \"$0\" \"$@\"; sleep 60"), entry["command"].clone()];
        args.extend(entry["args"].as_array().expect("it is one").iter().cloned());
        Self::of(Proxy::new().file(&json!({"mcpServers": {"alpha": {"command": "sh", "args": args}}})), 3)
    }

    #[track_caller]
    fn of(proxy: Proxy, processes: usize) -> Self {
        let mut client = proxy.start();
        client.find(List::Tools, "alpha__process");
        let process = client.call("alpha__process", json!({}))["structuredContent"].take();
        let pid = process["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a number");
        let (_, group) = stat(pid).expect("it lives");
        assert_eq!(members(group).len(), processes, "{process}");
        let proxy = client.process().id();
        assert_ne!(stat(proxy).expect("it lives").1, group, "the server has no group of its own");
        let [guard] = guards(proxy)[..] else { panic!("the guards are {:?}", guards(proxy)) };
        Self { client, group, guard }
    }

    #[track_caller]
    fn ends(group: u32, guard: u32, since: Instant) {
        eventually("nothing is left of the group", || members(group).is_empty().then_some(()));
        eventually("the guard has ended", || stat(guard).is_none().then_some(()));
        assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    }
}

const TREES: [fn() -> Tree; 2] = [Tree::plain, Tree::wrapped];

#[test]
fn nothing_survives_the_end_of_the_input() {
    for tree in TREES {
        let Tree { client, group, guard } = tree();
        let begun = Instant::now();
        assert_eq!(client.finish().code, Some(0));
        Tree::ends(group, guard, begun);
    }
}

#[test]
fn nothing_survives_a_signal() {
    for tree in TREES {
        let Tree { mut client, group, guard } = tree();
        let begun = Instant::now();
        signal(client.process().id(), "-TERM");
        let status = eventually("it ends", || client.process().try_wait().expect("it is ours"));
        assert_eq!(status.code(), Some(0));
        Tree::ends(group, guard, begun);
    }
}

#[test]
fn nothing_survives_a_proxy_that_is_killed() {
    for tree in TREES {
        let Tree { client, group, guard } = tree();
        let begun = Instant::now();
        client.kill();
        Tree::ends(group, guard, begun);
    }
}

/// Whoever waits for the end of the proxy's output must not wait for the guard.
#[test]
fn the_guard_holds_nothing_of_the_proxy() {
    let Tree { guard, client, .. } = Tree::plain();
    for (fd, expect) in [("0", "pipe:"), ("1", "pipe:"), ("2", "/dev/null")] {
        let target = std::fs::read_link(format!("/proc/{guard}/fd/{fd}")).expect("it is open");
        assert!(target.to_string_lossy().starts_with(expect), "{fd}: {target:?}");
    }
    let open = std::fs::read_dir(format!("/proc/{guard}/fd")).expect("it lives").count();
    assert_eq!(open, 3);
    let environment = std::fs::read(format!("/proc/{guard}/environ")).expect("it lives");
    assert!(environment.is_empty(), "the guard has no use for variables");
    client.kill();
}

/// A guard that has died is replaced with the next child, and knows of those before it.
#[test]
fn a_lost_guard_is_replaced() {
    let Tree { mut client, group, guard } = Tree::plain();
    let proxy = client.process().id();
    signal(guard, "-KILL");
    eventually("it is gone", || stat(guard).is_none().then_some(()));
    client.call("alpha__crash", json!({}));
    let second = eventually("there is another", || guards(proxy).first().copied());
    eventually("nothing is left of the first group", || members(group).is_empty().then_some(()));
    let begun = Instant::now();
    assert_eq!(client.finish().code, Some(0));
    Tree::ends(group, second, begun);
}

/// Without anything else that happens.
#[test]
fn a_guard_that_ends_is_replaced_at_once() {
    let Tree { client, group, guard } = Tree::plain();
    let mut client = client;
    let proxy = client.process().id();
    signal(guard, "-KILL");
    let second = eventually("there is another", || guards(proxy).first().copied().filter(|pid| *pid != guard));
    assert!(!std::path::Path::new(&format!("/proc/{guard}")).exists(), "the first is a zombie");
    let begun = Instant::now();
    client.kill();
    Tree::ends(group, second, begun);
}

/// A guard that is stopped is killed and replaced, sooner or later, and holds nothing up until then.
#[test]
fn a_guard_that_is_stopped_holds_nothing_up() {
    let Tree { mut client, group, guard } = Tree::plain();
    signal(guard, "-STOP");
    client.call("alpha__crash", json!({}));
    eventually("nothing is left of the first group", || members(group).is_empty().then_some(()));
    signal(guard, "-CONT");
    assert_eq!(client.finish().code, Some(0));
}

/// What the client has left open in the proxy is not the servers'.
#[test]
fn a_server_inherits_no_descriptor() {
    let home = tempfile::TempDir::new().expect("there is room");
    let file = home.path().join("left-open");
    std::fs::write(&file, "").expect("there is room");
    // As programs open files that do not think of their children; std does.
    let left_open = nix::fcntl::open(&file, nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty()).expect("it is there");
    let Tree { mut client, group, guard } = Tree::plain();
    let holds = |pid: u32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten();
        open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == file)
    };
    assert!(holds(client.process().id()), "the proxy itself has it");
    drop(left_open);
    assert!(members(group).into_iter().chain([guard]).all(|pid| !holds(pid)));
    client.kill();
}

#[test]
fn nothing_survives_a_server_that_crashes() {
    let server = Server::stdio("alpha", &["--grandchild"]);
    let Tree { mut client, group, .. } = Tree::of(Proxy::new().file(&file_of(&[&server])), 2);
    let begun = Instant::now();
    client.call("alpha__crash", json!({}));
    eventually("nothing is left of its group", || members(group).is_empty().then_some(()));
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}

/// A wrapper that ends first takes no time from what it has started.
#[test]
fn what_a_server_leaves_behind_is_asked_before_it_is_killed() {
    let proxy = Proxy::new();
    let home = proxy.home();
    let asked = home.path().join("asked");
    let line = format!(
        "(trap 'echo > {}; exit' TERM; while :; do sleep 0.05; done) </dev/null >/dev/null 2>&1 & exec \"$0\" \"$@\"",
        asked.display()
    );
    let entry = Server::stdio("alpha", &[]).entry();
    let mut args = vec![json!("-c"), json!(line), entry["command"].clone()];
    args.extend(entry["args"].as_array().expect("it is one").iter().cloned());
    let mut client = proxy.file(&json!({"mcpServers": {"alpha": {"command": "sh", "args": args}}})).start();
    client.find(List::Tools, "alpha__process");
    let process = client.call("alpha__process", json!({}))["structuredContent"].take();
    let pid = process["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a number");
    let begun = Instant::now();
    assert_eq!(client.finish().code, Some(0));
    eventually("nothing is left of the group", || members(pid).is_empty().then_some(()));
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    assert!(asked.exists(), "it was killed unasked");
}
