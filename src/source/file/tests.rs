#![expect(clippy::format_push_string, reason = "brevity counts for more than speed here")]

use expect_test::{Expect, expect};
use secrecy::ExposeSecret;

use super::*;

fn variables() -> Variables {
    let pairs = [("TOKEN", "s3cret"), ("EMPTY", ""), ("NESTED", "${TOKEN}")];
    let mut variables: Variables = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    variables.home = Some("/home/me".to_owned());
    variables
}

/// One line a server or problem, secrets included.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
fn check(text: &str, expect: Expect) {
    let shown = match parse(text, &variables()) {
        Err(broken) => format!("broken: {broken}"),
        Ok(parsed) => {
            let servers = parsed.servers.iter().map(describe);
            let problems = parsed.problems.iter().map(|problem| format!("! {problem}"));
            servers.chain(problems).collect::<Vec<_>>().join("\n")
        }
    };
    expect.assert_eq(&shown);
}

fn describe(server: &ServerConfig) -> String {
    let secrets = |map: &IndexMap<String, Secret>| {
        let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect();
        pairs.join(",")
    };
    let transport = match &server.transport {
        TransportConfig::Stdio(stdio) => format!("{} {:?} [{}] {:?}", stdio.command, stdio.args, secrets(&stdio.env), stdio.cwd),
        TransportConfig::Http(http) => format!("{:?} {} [{}]", http.kind, http.url, secrets(&http.headers)),
    };
    let mut line = format!("{} {}: {transport}", server.id, server.slug.as_deref().unwrap_or("-"));
    if let Some(timeout) = server.timeout {
        line += &format!(" timeout {timeout:?}");
    }
    if server.tools != ToolFilter::default() {
        line += &format!(" {:?}", server.tools);
    }
    if let Some(isolation) = server.isolation {
        line += &format!(" {isolation:?}");
    }
    if let Some(revision) = server.revision {
        line += &format!(" {revision}");
    }
    for message in &server.instructions {
        line += &format!(" {:?}({})", message.role, message.text);
    }
    line
}

/// A file with this one server.
fn one(entry: &str) -> String {
    format!("{{\"mcpServers\": {{\"x\": {entry}}}}}")
}

#[test]
fn comments_commas_and_a_byte_order_mark() {
    check(
        "\u{feff}// mine\n{ \"mcpServers\": { /* one */ \"files\": { \"command\": \"npx\", \"args\": [\"-y\", \"pkg\",], }, }, }",
        expect![[r#"file:files files: npx ["-y", "pkg"] [] None"#]],
    );
}

#[test]
fn all_members() {
    check(
        r#"{"servers": {"My Files": {
            "type": "stdio", "command": "npx", "args": ["a", 1, true], "env": {"PORT": 3000, "X": null}, "cwd": "/srv",
            "timeout": 30, "tools": {"allow": ["a"], "deny": ["b"]}, "instructions": ["one", ""], "isolation": "session",
            "disabled": false, "autoApprove": ["a"], "description": "ignored"}}}"#,
        expect![[
            r#"file:My Files my-files: npx ["a", "1", "true"] [PORT=3000] Some("/srv") timeout 30s ToolFilter { allow: Some(["a"]), deny: ["b"] } Session User(one)"#
        ]],
    );
}

#[test]
fn transports_by_every_spelling() {
    let mut lines = Vec::new();
    for entry in [
        r#"{"url": "u"}"#,
        r#"{"serverUrl": "u"}"#,
        r#"{"httpUrl": "u", "headers": {"A": "b"}}"#,
        r#"{"url": "u", "type": "sse"}"#,
        r#"{"url": "u", "type": "http"}"#,
        r#"{"url": "u", "type": "streamable-http"}"#,
        r#"{"url": "u", "type": "streamableHttp"}"#,
        r#"{"url": "u", "transport": "streamable_http"}"#,
        r#"{"url": "u", "command": "c", "type": "stdio"}"#,
        r#"{"url": "u", "command": "c", "transportType": "sse"}"#,
    ] {
        let parsed = parse(&one(entry), &variables()).expect("valid");
        lines.push(parsed.servers.iter().map(describe).chain(parsed.problems).collect::<String>());
    }
    expect![[r#"
        file:x x: Auto u []
        file:x x: Auto u []
        file:x x: Auto u [A=b]
        file:x x: Sse u []
        file:x x: Streamable u []
        file:x x: Streamable u []
        file:x x: Streamable u []
        file:x x: Streamable u []
        file:x x: c [] [] None
        file:x x: Sse u []"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn time_limits_in_seconds_or_milliseconds() {
    for (given, meant) in [("0.5", 500), ("60", 60_000), ("999", 999_000), ("1000", 1000), ("60000", 60_000)] {
        let parsed = parse(&one(&format!(r#"{{"command": "c", "timeout": {given}}}"#)), &variables()).expect("valid");
        assert_eq!(parsed.servers[0].timeout, Some(Duration::from_millis(meant)), "{given}");
    }
    for given in ["0", "-1", "\"60\"", "1e300", "true"] {
        let parsed = parse(&one(&format!(r#"{{"command": "c", "timeout": {given}}}"#)), &variables()).expect("valid");
        assert!(parsed.servers.is_empty(), "{given}");
        assert!(parsed.problems[0].contains("`timeout` must be a number of seconds above 0"), "{given}: {:?}", parsed.problems);
    }
}

#[test]
fn variables_are_filled_in_everywhere() {
    check(
        r#"{"mcpServers": {
            "a": {"command": "${userHome}/bin/x", "args": ["--t=${TOKEN}", "${NONE:-d e}", "${EMPTY:-full}", "[${EMPTY}]"],
                  "env": {"T": "${env:TOKEN}", "D": "${env:NONE:-}"}, "cwd": "${userHome}"},
            "b": {"url": "https://${NONE:-h.example}/${TOKEN}", "headers": {"Authorization": "Bearer ${TOKEN}"}},
            "c": {"command": "sh", "args": ["$TOKEN ${} ${1x} ${a b} ${TOKEN", "${NESTED}", "}${TOKEN}{"]}}}"#,
        expect![[r#"
            file:a a: /home/me/bin/x ["--t=s3cret", "d e", "full", "[]"] [T=s3cret,D=] Some("/home/me")
            file:b b: Auto https://h.example/s3cret [Authorization=Bearer s3cret]
            file:c c: sh ["$TOKEN ${} ${1x} ${a b} ${TOKEN", "${TOKEN}", "}s3cret{"] [] None"#]],
    );
}

#[test]
fn a_missing_variable_disables_only_its_server() {
    check(
        r#"{"mcpServers": {
            "bad": {"command": "x", "env": {"KEY": "${NOPE}"}},
            "vs": {"command": "x", "args": ["${input:key}"]},
            "ws": {"command": "x", "cwd": "${workspaceFolder}"},
            "off": {"command": "${NOPE}", "disabled": true},
            "good": {"command": "x"}}}"#,
        expect![[r#"
            file:good good: x [] [] None
            ! server `bad` is left out: `env.KEY` needs the environment variable `NOPE`, which is not set
            ! server `vs` is left out: `args` uses `${input:key}`, which only an editor can fill in; hint: use an environment variable
            ! server `ws` is left out: `cwd` uses `${workspaceFolder}`, which only an editor can fill in; hint: use an environment variable"#]],
    );
}

#[test]
fn wrong_types_name_server_and_member() {
    check(
        r#"{"mcpServers": {
            "a": "npx",
            "b": {"command": ["npx"]},
            "c": {"command": "x", "args": "-y"},
            "d": {"command": "x",
                  "env": {"K": ["SECRET"]}},
            "e": {"url": "u", "headers": "SECRET"},
            "f": {"command": "x", "disabled": "yes"},
            "g": {"type": "carrier"},
            "h": {"command": "x", "url": "u"},
            "i": {},
            "j": {"type": "http", "command": "x"},
            "k": {"type": "stdio", "url": "u"},
            "l": {"command": "x", "tools": ["a"]},
            "m": {"command": "x", "tools": {"allow": [1]}},
            "n": {"command": "x", "isolation": "both"},
            "o": {"command": "x", "instructions": {"role": "system"}},
            "p": {"command": "x", "args": [{}]},
            "q": {"command": " "},
            "r": {"command": "x", "protocolVersion": "2025-01-01"},
            "s": {"command": "x", "protocolVersion": 20260728},
            "t": {"url": "u", "type": "sse", "protocolVersion": "2026-07-28"}}}"#,
        expect![[r#"
            ! server `a` is left out: the entry must be an object, not a string (line 2)
            ! server `b` is left out: `command` must be a string, not a list (line 3)
            ! server `c` is left out: `args` must be a list of strings, not a string (line 4)
            ! server `d` is left out: `env.K` must be a string, not a list (line 6)
            ! server `e` is left out: `headers` must be an object of strings, not a string (line 7)
            ! server `f` is left out: `disabled` must be `true` or `false`, not a string (line 8)
            ! server `g` is left out: `type` must be `stdio`, `sse`, `http` or `streamable-http`
            ! server `h` is left out: it has both `command` and `url`; hint: say which by `type`
            ! server `i` is left out: it has neither `command` nor `url`
            ! server `j` is left out: it has no `url`
            ! server `k` is left out: it has no `command`
            ! server `l` is left out: `tools` must be `{"allow": […], "deny": […]}`, not a list (line 14)
            ! server `m` is left out: `tools.allow` must be a list of tool names, not a list (line 15)
            ! server `n` is left out: `isolation` must be `auto`, `session` or `shared`
            ! server `o` is left out: `instructions` must be a string or a list of strings, not an object (line 17)
            ! server `p` is left out: an item of `args` must be a string, not an object (line 18)
            ! server `q` is left out: it has no `command`
            ! server `r` is left out: `protocolVersion` must be `2024-11-05`, `2025-03-26`, `2025-06-18`, `2025-11-25` or `2026-07-28`
            ! server `s` is left out: `protocolVersion` must be a string, not a number (line 21)
            ! server `t` is left out: `protocolVersion` `2026-07-28` does not go with the type `sse`"#]],
    );
}

#[test]
fn a_broken_file_says_where() {
    check("", expect![[r#"broken: it is empty; hint: the least is `{"mcpServers": {}}`"#]]);
    check("// only a comment\n", expect![[r#"broken: it is empty; hint: the least is `{"mcpServers": {}}`"#]]);
    check(
        "{\n  \"mcpServers\": {\n    \"a\" {}\n  }\n}",
        expect!["broken: line 3, column 9: expected colon after the string or word in object property"],
    );
    check("{\"mcpServers\": {", expect!["broken: line 1, column 16: unterminated object"]);
    check("{'mcpServers': {}}", expect!["broken: line 1, column 2: single-quoted strings are not allowed"]);
    check("{\"mcpServers\": {} \"x\": 1}", expect!["broken: line 1, column 18: expected comma"]);
    check("[]", expect![[r#"broken: it has no `mcpServers` (or `servers`) object; hint: `{"mcpServers": {"NAME": {"command": …}}}`"#]]);
    check(
        "{\"mcpServers\": []}",
        expect![[r#"broken: it has no `mcpServers` (or `servers`) object; hint: `{"mcpServers": {"NAME": {"command": …}}}`"#]],
    );
    check(
        "{\"files\": {\"command\": \"npx\"}}",
        expect![[r#"broken: its servers stand at the top; hint: put them into `{"mcpServers": {…}}`"#]],
    );
    check("{\"mcpServers\": {}}", expect![""]);
    let deep = "[".repeat(100_000);
    assert!(parse(&deep, &variables()).is_err());
}

#[test]
fn the_second_of_two_equal_names_counts() {
    check(
        "{\"mcpServers\": {\"a\": {\"command\": \"one\"},\n\"a\": {\"command\": \"two\"}}}",
        expect![[r#"
            file:a a: two [] [] None
            ! server `a` is there twice (lines 1 and 2); the second is used"#]],
    );
}

#[test]
fn slips_are_pointed_out() {
    check(
        r#"{"mcpServers": {"a": {"comand": "x", "command": "x", "arg": ["1"], "evn": {}, "Headers": {}, "environment": {}, "alwaysAllow": [], "name": "n", "tool": 1}}}"#,
        expect![[r#"
            file:a a: x [] [] None
            ! server `a`: did you mean `args` by `arg` (line 1)?
            ! server `a`: did you mean `env` by `evn` (line 1)?
            ! server `a`: did you mean `headers` by `Headers` (line 1)?
            ! server `a`: did you mean `tools` by `tool` (line 1)?"#]],
    );
}

#[test]
fn slugs() {
    let mut taken = Vec::new();
    let mut slug = |name: &str| unique_slug(name, &mut taken);
    assert_eq!(slug("GitHub"), "github");
    assert_eq!(slug("github"), "github-1");
    assert_eq!(slug("git--hub!!"), "git-hub");
    assert_eq!(slug("  Größe (1.0) "), "gr-e-1-0");
    assert_eq!(slug("日本"), "server");
    assert_eq!(slug("__"), "server-1");
    let long = "a".repeat(60);
    assert_eq!(slug(&long), "a".repeat(50));
    assert_eq!(slug(&long), format!("{}-1", "a".repeat(48)));
    let edge = format!("{} b", "c".repeat(49));
    assert_eq!(slug(&edge), "c".repeat(49));
}

#[test]
fn a_disabled_server_keeps_its_slug() {
    check(
        r#"{"mcpServers": {"A b": {"command": "x", "disabled": true}, "a-b": {"command": "y"}}}"#,
        expect!["file:a-b a-b-1: y [] [] None"],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(read(&dir.path().join("none.json")), Err(Broken::Missing));
    assert!(matches!(read(dir.path()), Err(Broken::Unreadable(_))));
    let path = dir.path().join("latin1.json");
    fs::write(&path, b"{\"\xe9\": 1}").expect("written");
    assert_eq!(read(&path), Err(Broken::NotText));
}

#[test]
fn a_revision_can_be_configured() {
    check(
        r#"{"mcpServers": {
            "a": {"command": "x", "protocolVersion": "2025-06-18"},
            "b": {"url": "u", "protocolVersion": "2026-07-28"},
            "c": {"command": "x", "protocolVersion": null}}}"#,
        expect![[r#"
            file:a a: x [] [] None 2025-06-18
            file:b b: Auto u [] 2026-07-28
            file:c c: x [] [] None"#]],
    );
}
