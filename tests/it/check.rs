//! `check`: what the policy decides about a URL, a command, a header or an `.env` file, without acting on it.
//!
//! The tables of cases are written from the specifications of what is judged, and run as one batch a test.

#![allow(clippy::disallowed_methods, reason = "a batch is written to the standard input of a process")]

mod commands; // programs and their arguments
mod env_files; // the grammar of `.env` files
mod environment; // the variables of programs
mod headers; // names and values of configured headers
mod inline; // code in arguments, as interpreters read them
mod networks; // addresses: every special range at both edges, and what opens them
mod urls; // all else about URLs

use crate::support::Home;
use crate::support::patience::patiently;
use crate::support::proxy::{Finished, PROGRAM};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A way to call `check`, with the defaults of the program and nothing of the machine.
#[derive(Debug, Clone)]
struct Check {
    home: Home,
    options: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What `PATH` leads to, so that verdicts do not depend on the machine.
const PROGRAMS: [&str; 12] = ["node", "npx", "python", "python3", "uv", "uvx", "uvenv", "docker", "deno", "bunx", "sh", "bash"];

impl Check {
    fn new() -> Self {
        let home = Home::new();
        for program in PROGRAMS {
            executable(home.write(&format!("bin/{program}"), "#!/bin/sh\n"));
        }
        Self { home, options: Vec::new(), environment: Vec::new() }
    }

    /// With options that stand before the command.
    fn with(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { options, ..Self::new() }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `check` with these arguments.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, Vec::new())
    }

    #[track_caller]
    fn batch(&self, input: impl Into<Vec<u8>>) -> Finished {
        self.run_with(&["--batch"], input.into())
    }

    #[track_caller]
    fn run_with(&self, arguments: &[&str], input: Vec<u8>) -> Finished {
        let home = self.home.path();
        let mut child = Command::new(PROGRAM)
            .args(&self.options)
            .arg("check")
            .args(arguments)
            .env_clear()
            .env("PATH", home.join("bin"))
            .env("HOME", home)
            .envs(self.environment.iter().cloned())
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the proxy can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        // Whoever has read enough closes the pipe.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = reader(child.stdout.take().expect("it is piped"));
        let stderr = reader(child.stderr.take().expect("it is piped"));
        let Some(status) = patiently(|| child.try_wait().expect("it is ours")) else {
            child.kill().expect("it is ours");
            panic!("`check {}` does not end", arguments.join(" "));
        };
        writer.join().expect("writing does not panic");
        let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("reading does not panic"));
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        Finished { code: status.code(), stdout, stderr }
    }

    /// Judges all cases in one batch, and tells all at once that are judged otherwise than expected.
    #[track_caller]
    fn judges(&self, cases: impl IntoIterator<Item = (Value, bool)>) {
        let cases: Vec<(Value, bool)> = cases.into_iter().collect();
        let finished = self.batch(lines(cases.iter().map(|(case, _)| case)));
        let verdicts = verdicts(&finished);
        assert_eq!(verdicts.len(), cases.len(), "a verdict for each case: {finished:?}");
        let judged = cases.iter().zip(&verdicts);
        let wrong: Vec<String> = judged.filter_map(|((case, allowed), verdict)| mismatch(case, *allowed, verdict)).collect();
        assert!(wrong.is_empty(), "{} of {} cases, with {self:?}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
        assert_eq!(finished.code, Some(0), "every line was a case: {}", finished.stderr);
    }

    #[track_caller]
    fn allows(&self, cases: impl IntoIterator<Item = Value>) {
        self.judges(cases.into_iter().map(|case| (case, true)));
    }

    #[track_caller]
    fn refuses(&self, cases: impl IntoIterator<Item = Value>) {
        self.judges(cases.into_iter().map(|case| (case, false)));
    }
}

fn executable(path: PathBuf) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, everybody).expect("it is ours");
    }
    #[cfg(not(unix))]
    drop(path);
}

fn reader(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8(bytes).expect("it is UTF-8")
    })
}

fn lines<'a>(cases: impl IntoIterator<Item = &'a Value>) -> String {
    cases.into_iter().flat_map(|case| [case.to_string(), "\n".to_owned()]).collect()
}

#[track_caller]
fn verdicts(finished: &Finished) -> Vec<Value> {
    let verdict = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    finished.stdout.lines().map(verdict).collect()
}

/// What is wrong with a verdict, if something is.
fn mismatch(case: &Value, allowed: bool, verdict: &Value) -> Option<String> {
    let complaint = if verdict["allowed"] != allowed {
        format!("should be {}", if allowed { "allowed" } else { "refused" })
    } else if allowed {
        (!verdict["rule"].is_null() || !verdict["hint"].is_null()).then(|| "has a rule or a hint".to_owned())?
    } else {
        lacking(verdict)?
    };
    let mut case = case.to_string();
    if case.len() > 300 {
        case = case.chars().take(300).chain("…".chars()).collect();
    }
    Some(format!("{complaint}: {case}\n    {verdict}"))
}

/// What a refusal must say and does not.
fn lacking(refusal: &Value) -> Option<String> {
    for member in ["rule", "hint"] {
        let Some(text) = refusal[member].as_str().filter(|text| !text.is_empty()) else {
            return Some(format!("refused without a {member}"));
        };
        if text.chars().any(char::is_control) {
            return Some(format!("control characters in the {member}"));
        }
    }
    None
}

// One case, for people.

#[test]
fn what_is_allowed_says_so() {
    let check = Check::new();
    let file = check.home.write("some.env", "PLUGGEDIN_LOG_LEVEL=debug\n");
    let file = file.display().to_string();
    let cases: [&[&str]; 7] = [
        &["url", "https://mcp.example.com/mcp"],
        &["command", "--", "npx", "-y", "@modelcontextprotocol/server-everything"],
        &["command", "--", "npx", "-y", "pkg", "-c", "config.json", "--json", "--", "--help"],
        &["command", "--env", "TOKEN=a=b", "--env", "EMPTY=", "--", "node", "server.js"],
        &["header", "Authorization", "Bearer abc"],
        &["header", "X-Empty", ""],
        &["env-file", &file],
    ];
    for arguments in cases {
        let finished = check.run(arguments);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout.lines().next(), Some("allowed"), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stderr, "", "{arguments:?}");
    }
}

const REFUSED: [(&[&str], &str); 9] = [
    (&["url", "http://127.0.0.1:3000/mcp"], "--allow-private-network"),
    (&["url", "http://10.1.2.3/mcp"], "--allow-private-network"),
    (&["url", "ftp://example.com/"], ""),
    (&["command", "--", "docker", "run", "--rm", "image"], "--allow-command"),
    (&["command", "--", "node", "-e", "1"], "--allow-inline-code"),
    (&["command", "--", "python3", "-uc", "1"], "--allow-inline-code"),
    (&["command", "--env", "LD_PRELOAD=/tmp/x.so", "--", "node", "server.js"], ""),
    (&["header", "Transfer-Encoding", "chunked"], ""),
    (&["header", "X-Name", "a\r\nX-Other: b"], ""),
];

#[test]
fn what_is_refused_says_by_which_rule_and_what_to_do() {
    let check = Check::new();
    for (arguments, advice) in REFUSED {
        let finished = check.run(arguments);
        assert_eq!(finished.code, Some(1), "{arguments:?}: {finished:?}");
        let said: Vec<&str> = finished.stdout.lines().collect();
        for (n, start) in ["refused: ", "rule: ", "hint: "].iter().enumerate() {
            let line = said.get(n).and_then(|line| line.strip_prefix(start)).unwrap_or_default();
            assert!(!line.is_empty(), "{arguments:?}: {finished:?}");
        }
        assert_eq!(said.len(), 3, "{arguments:?}: {finished:?}");
        assert!(said[2].contains(advice), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stderr, "", "{arguments:?}");
    }
}

#[test]
fn both_can_be_json() {
    let check = Check::new();
    for (arguments, advice) in REFUSED {
        let mut arguments = arguments.to_vec();
        arguments.insert(1, "--json");
        let finished = check.run(&arguments);
        assert_eq!(finished.code, Some(1), "{arguments:?}: {finished:?}");
        let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
        assert_eq!(verdict["allowed"], false, "{arguments:?}: {verdict}");
        assert_eq!(lacking(&verdict), None, "{arguments:?}: {verdict}");
        assert!(verdict["hint"].as_str().expect("a text").contains(advice), "{arguments:?}: {verdict}");
    }
    let finished = check.run(&["--json", "url", "https://example.com/"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    assert_eq!((&verdict["allowed"], &verdict["rule"], &verdict["hint"]), (&json!(true), &Value::Null, &Value::Null), "{verdict}");
    for member in ["rule", "hint"] {
        assert!(verdict.get(member).is_some(), "{member} is null, and there: {verdict}");
    }
}

#[test]
fn options_of_serving_count_wherever_they_stand() {
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--allow-private-network", "loopback"], &["url", "http://127.0.0.1:3000/"]),
        (&[], &["url", "http://127.0.0.1:3000/", "--allow-private-network", "loopback"]),
        (&[], &["--allow-private-network=10.0.0.0/8", "url", "http://10.0.0.1/"]),
        (&["--allow-private-network=10.0.0.0/8", "--allow-private-network=192.168.0.0/16"], &["url", "http://192.168.0.1/"]),
        (&["--allow-command", "docker"], &["command", "--", "docker", "run"]),
        (&[], &["command", "--allow-command=docker", "--", "docker", "run"]),
        (&["--allow-inline-code"], &["command", "--", "node", "-e", "1"]),
        (&[], &["command", "--allow-inline-code", "--", "python", "-c", "1"]),
    ];
    for (before, arguments) in cases {
        let finished = Check::with(before).run(arguments);
        assert_eq!(finished.code, Some(0), "{before:?} {arguments:?}: {finished:?}");
    }
    // Behind `--` they are the program's own.
    let finished = Check::new().run(&["command", "--", "node", "-e", "1", "--allow-inline-code"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

#[test]
fn variables_of_serving_count_as_well() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("PLUGGEDIN_ALLOW_PRIVATE_NETWORKS", "loopback", &["url", "http://[::1]:3000/"]),
        ("PLUGGEDIN_ALLOW_PRIVATE_NETWORKS", "10.0.0.0/8,loopback", &["url", "http://10.0.0.1/"]),
        ("PLUGGEDIN_ALLOW_PRIVATE_NETWORKS", "10.0.0.0/8,loopback", &["url", "http://localhost/"]),
        ("PLUGGEDIN_ALLOW_COMMANDS", "docker", &["command", "--", "docker", "run"]),
        ("PLUGGEDIN_ALLOW_COMMANDS", "deno,docker", &["command", "--", "docker", "run"]),
        ("PLUGGEDIN_ALLOW_INLINE_CODE", "true", &["command", "--", "node", "-e", "1"]),
    ];
    for (name, value, arguments) in cases {
        let finished = Check::new().env(name, value).run(arguments);
        assert_eq!(finished.code, Some(0), "{name}={value} {arguments:?}: {finished:?}");
        let finished = Check::new().run(arguments);
        assert_eq!(finished.code, Some(1), "{arguments:?}: {finished:?}");
    }
}

#[test]
fn variables_of_a_file_are_named_and_their_values_only_in_json() {
    let check = Check::new();
    let file = check.home.write("some.env", "B=secret-b\nA=secret-a\n").display().to_string();
    let finished = check.run(&["env-file", &file]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "allowed\nB\nA\n"), "{finished:?}");
    let finished = check.run(&["env-file", &file, "--json"]);
    let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    assert_eq!(verdict, json!({"allowed": true, "rule": null, "hint": null, "values": {"B": "secret-b", "A": "secret-a"}}));
}

#[test]
fn a_case_may_be_one_of_the_local_file() {
    let check = Check::new();
    for arguments in
        [&["url", "http://127.0.0.1:3000/"][..], &["command", "--", "/bin/sh", "-c", "id"], &["command", "--", "node", "-e", "1"]]
    {
        assert_eq!(check.run(arguments).code, Some(1), "{arguments:?}");
        let mut arguments = arguments.to_vec();
        arguments.splice(1..1, ["--source", "file"]);
        let finished = check.run(&arguments);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    }
}

#[test]
fn misuse_is_told_from_refusal() {
    let check = Check::new();
    let cases: [&[&str]; 14] = [
        &[],
        &["url"],
        &["url", "https://example.com/", "https://example.org/"],
        &["command"],
        &["command", "--"],
        &["command", "--env", "NAME", "--", "node", "server.js"],
        &["header"],
        &["header", "X-Name"],
        &["header", "X-Name", "a", "b"],
        &["env-file"],
        &["env-file", "no/such/file"],
        &["nonsense", "x"],
        &["url", "https://example.com/", "--source", "moon"],
        &["--batch", "url", "https://example.com/"],
    ];
    for arguments in cases {
        let finished = check.run(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert_ne!(finished.stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_network_that_is_none_is_no_permission() {
    for network in
        ["", "nonsense", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "0x7f000001/8", "localhost", "*", "10.0.0.1-10.0.0.9"]
    {
        let finished = Check::with(&["--allow-private-network", network]).run(&["url", "http://127.0.0.1/"]);
        assert!(matches!(finished.code, Some(2 | 64)) || network.is_empty() && finished.code == Some(1), "{network:?}: {finished:?}");
        assert!(!finished.stdout.starts_with("allowed"), "{network:?}: {finished:?}");
    }
}

#[test]
fn nothing_is_started_and_nothing_is_connected_to() {
    let check = Check::new();
    let mark = check.home.path().join("mark");
    executable(check.home.write("bin/node", &format!("#!/bin/sh\n: > '{}'\n", mark.display())));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("it can be asked");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    assert_eq!(check.run(&["command", "--", "node", "server.js"]).code, Some(0));
    assert_eq!(check.run(&["url", "--allow-private-network=loopback", &url]).code, Some(0));
    assert!(!mark.exists(), "the program was started");
    assert!(listener.accept().is_err(), "somebody connected");
}

// Many cases.

#[test]
fn verdicts_come_in_the_order_of_their_cases() {
    let cases: Vec<Value> = (0..200)
        .map(|n| match n % 5 {
            0 => json!({"kind": "url", "url": format!("https://example.com/{n}")}),
            1 => json!({"kind": "url", "url": format!("http://127.0.0.1/{n}")}),
            2 => json!({"kind": "header", "name": "X-N", "value": n.to_string()}),
            3 => json!({"kind": "env-file", "text": format!("N={n}\n")}),
            _ => json!({"kind": "command", "command": "sh", "args": ["-c", n.to_string()], "env": {}}),
        })
        .collect();
    let finished = Check::new().batch(lines(&cases));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let verdicts = verdicts(&finished);
    assert_eq!(verdicts.len(), cases.len());
    for (n, verdict) in verdicts.iter().enumerate() {
        match n % 5 {
            0 | 2 => assert_eq!(verdict["allowed"], true, "{n}: {verdict}"),
            3 => assert_eq!(verdict["values"], json!({"N": n.to_string()}), "{n}: {verdict}"),
            _ => assert_eq!(verdict["allowed"], false, "{n}: {verdict}"),
        }
    }
}

#[test]
fn what_is_no_case_is_answered_in_its_place() {
    let good = r#"{"kind":"url","url":"https://example.com/"}"#;
    let broken: [&[u8]; 16] = [
        b"{",
        b"[]",
        b"null",
        b"5",
        b"\"url\"",
        b"{}",
        br#"{"kind":"nonsense"}"#,
        br#"{"kind":5,"url":"https://example.com/"}"#,
        br#"{"url":"https://example.com/"}"#,
        br#"{"kind":"url"}"#,
        br#"{"kind":"url","url":5}"#,
        br#"{"kind":"url","url":"https://example.com/","source":"moon"}"#,
        br#"{"kind":"header","name":"X-Name"}"#,
        br#"{"kind":"command","args":[]}"#,
        br#"{"kind":"url","url":"https://example.com/"} x"#,
        b"{\"kind\":\"url\",\"url\":\"https://example.com/\xff\"}",
    ];
    for line in broken {
        let mut input = format!("{good}\n").into_bytes();
        input.extend(line);
        input.extend(format!("\n{good}\n").into_bytes());
        let shown = String::from_utf8_lossy(line);
        let finished = Check::new().batch(input);
        assert_eq!(finished.code, Some(2), "{shown}: {finished:?}");
        let allowed: Vec<Value> = verdicts(&finished).iter_mut().map(|verdict| verdict["allowed"].take()).collect();
        assert_eq!(allowed, [true, false, true], "{shown}: {finished:?}");
    }
}

#[test]
fn lines_may_end_as_they_like() {
    let good = r#"{"kind":"url","url":"https://example.com/"}"#;
    for (input, count) in
        [(String::new(), 0), (good.to_owned(), 1), (format!("{good}\r\n{good}\r\n"), 2), (format!(" {good}\t\n{good}"), 2)]
    {
        let finished = Check::new().batch(input.clone());
        assert_eq!(finished.code, Some(0), "{input:?}: {finished:?}");
        assert_eq!(verdicts(&finished).len(), count, "{input:?}: {finished:?}");
    }
}

#[test]
fn a_large_case_is_a_case() {
    let long = "x".repeat(4096);
    let env: serde_json::Map<String, Value> = (0..100).map(|n| (format!("NAME_{n}"), json!(long))).collect();
    let case = json!({"kind": "command", "command": "node", "args": ["server.js"], "env": env});
    Check::new().judges([(case, true), (json!({"kind": "url", "url": "https://example.com/"}), true)]);
}

#[test]
fn thousands_of_cases_take_a_moment() {
    let cases = (0..5000_u32).map(|n| match n % 4 {
        0 => json!({"kind": "url", "url": format!("https://host-{n}.example.com:8443/mcp?n={n}")}),
        1 => json!({"kind": "url", "url": format!("http://{}/", std::net::Ipv4Addr::from(0x0a00_0000 + n))}),
        2 => json!({"kind": "command", "command": "npx", "args": ["-y", format!("pkg-{n}"), "-c", "x"], "env": {"TOKEN": n.to_string()}}),
        _ => json!({"kind": "header", "name": format!("X-N-{n}"), "value": "v"}),
    });
    let input = lines(&cases.collect::<Vec<_>>());
    let begin = Instant::now();
    let finished = Check::new().batch(input);
    let took = begin.elapsed();
    assert_eq!((finished.code, finished.stdout.lines().count()), (Some(0), 5000), "{}", finished.stderr);
    assert!(took < Duration::from_secs(5), "{took:?}");
}
