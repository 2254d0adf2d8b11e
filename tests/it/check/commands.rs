//! Programs by their names, and arguments by their characters and sizes.

use super::Check;
use serde_json::{Value, json};

fn command(name: &str) -> Value {
    json!({"kind": "command", "command": name, "args": ["server.js"]})
}

fn argument(argument: &str) -> Value {
    json!({"kind": "command", "command": "node", "args": ["server.js", argument]})
}

pub(super) fn variable(name: &str, value: &str) -> Value {
    json!({"kind": "command", "command": "node", "args": ["server.js"], "env": {name: value}})
}

pub(super) fn of_file(mut case: Value) -> Value {
    case["source"] = json!("file");
    case
}

// Names.

pub(super) const NAMES: [&str; 7] = ["node", "npx", "python", "python3", "uv", "uvx", "uvenv"];

const OTHER_NAMES: &[&str] = &[
    // Other programs.
    "sh",
    "bash",
    "zsh",
    "dash",
    "fish",
    "cmd",
    "cmd.exe",
    "powershell",
    "pwsh",
    "docker",
    "podman",
    "deno",
    "bun",
    "bunx",
    "npm",
    "pnpm",
    "pnpx",
    "yarn",
    "dnx",
    "dotnet",
    "java",
    "go",
    "cargo",
    "ruby",
    "perl",
    "php",
    "lua",
    "pip",
    "pipx",
    "py",
    "env",
    "sudo",
    "su",
    "xargs",
    "nohup",
    "time",
    "timeout",
    "make",
    "git",
    "curl",
    "wget",
    "ssh",
    "nc",
    "busybox",
    "touch",
    "rm",
    "cat",
    "true",
    "pluggedin-mcp-proxy",
    // Near names.
    "nodejs",
    "node18",
    "node20",
    "node-20",
    "nodes",
    "nod",
    "Node",
    "NODE",
    "nOdE",
    "node.exe",
    "node.js",
    "npx.cmd",
    "npx.exe",
    "NPX",
    "npxx",
    "npx2",
    "python2",
    "python3.11",
    "python3.12",
    "python3.13t",
    "python311",
    "Python",
    "PYTHON3",
    "python.exe",
    "python3.exe",
    "pythonw",
    "ipython",
    "python-3",
    "uv.exe",
    "UV",
    "Uvx",
    "uvw",
    "uvxx",
    "uvx.exe",
    "uv-x",
    "uvenv.exe",
    "uvenv2",
    "xnode",
    "_node",
    "node_",
    "node1",
    // Paths.
    "/usr/bin/node",
    "/bin/sh",
    "/usr/bin/env",
    "./node",
    "../node",
    "bin/node",
    "node/",
    "/node",
    "//node",
    "~/node",
    "node/node",
    "./npx",
    ".\\node",
    "..\\node",
    "\\node",
    "C:\\node.exe",
    "C:node",
    "c:/node.exe",
    "\\\\server\\share\\node.exe",
    "\\\\?\\C:\\node.exe",
    "file:///usr/bin/node",
    "/proc/self/exe",
    "node_modules/.bin/npx",
    ".",
    "..",
    "/",
    "\\",
    // Whole lines.
    "node server.js",
    "npx -y pkg",
    "python -m server",
    "uvx mcp-server",
    "node -e 1",
    "npx -y @scope/pkg@1.2.3",
    "uv run server.py",
    "node --version",
    "node;id",
    "node; id",
    "node&&id",
    "node&",
    "node|sh",
    "node||sh",
    "node\nid",
    "node>x",
    "node<x",
    "$(node)",
    "`node`",
    "${NODE}",
    "$NODE",
    "%NODE%",
    "node$IFS",
    "{node,x}",
    "(node)",
    "!node",
    "#node",
    "\"node\"",
    "'node'",
    "node\\",
    "no\\de",
    "n?de",
    "node*",
    "@node",
    "node=x",
    "A=1 node",
    "-e",
    "--",
    "-",
    "--version",
    // Blanks and what cannot be seen.
    "",
    " ",
    " node",
    "node ",
    "\tnode",
    "node\t",
    "node\n",
    "\nnode",
    "node\r",
    "node\r\n",
    "node\0",
    "node\0.exe",
    "\0",
    "no\0de",
    "no de",
    "node\u{1b}",
    "node\u{7f}",
    "node\u{a0}",
    "\u{a0}node",
    "node\u{200b}",
    "no\u{200b}de",
    "no\u{ad}de",
    "\u{feff}node",
    "node\u{2028}",
    "\u{202e}edon",
    "node\u{3000}",
    "node\u{301}",
    "node\u{fe0f}",
    "n\u{2060}ode",
    "node.",
    "node ",
    "node::$DATA",
    // Look-alikes.
    "nоde",
    "nοde",
    "nodе",
    "ɴode",
    "ｎｏｄｅ",
    "𝚗𝚘𝚍𝚎",
    "ⓝⓞⓓⓔ",
    "ոode",
    "nрx",
    "npх",
    "ｎｐｘ",
    "рython",
    "pythοn3",
    "ｐｙｔｈｏｎ",
    "pуthon",
    "python３",
    "𝗉ython",
    "υv",
    "uѵ",
    "ｕｖ",
    "uvх",
    "uvҳ",
    "ｕｖｘ",
    "uvеnv",
    "ｕｖｅｎｖ",
];

#[test]
fn seven_programs_are_allowed() {
    Check::new().allows(
        NAMES.map(command).into_iter().chain(NAMES.map(|name| json!({"kind": "command", "command": name, "args": ["x"], "env": {}}))),
    );
}

#[test]
fn other_names_are_refused() {
    Check::new().refuses(OTHER_NAMES.iter().map(|name| command(name)));
    // What is allowed besides does not open near names either.
    Check::with(&["--allow-command=docker", "--allow-inline-code"])
        .refuses(OTHER_NAMES.iter().filter(|name| **name != "docker").map(|name| command(name)));
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    for name in [json!(null), json!(5), json!(true), json!(["node"]), json!({"node": 1})] {
        let finished = Check::new().batch(format!("{}\n", json!({"kind": "command", "command": name, "args": []})));
        let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
        assert_eq!(verdict["allowed"], false, "{name}: {finished:?}");
    }
}

#[test]
fn other_programs_can_be_allowed_by_their_names() {
    let check = Check::with(&["--allow-command", "docker", "--allow-command=deno"]);
    let allowed = NAMES.iter().chain(&["docker", "deno"]).map(|name| (command(name), true));
    let near = ["Docker", "docker ", "docker.exe", "bin/docker", "./docker", "docker run", "docker2", "dеno", "bunx", "sh", "*", ""];
    check.judges(allowed.chain(near.map(|name| (command(name), false))));
    // They are programs of which nothing is known: their arguments are their own.
    check.allows([json!({"kind": "command", "command": "docker", "args": ["run", "-i", "--rm", "-e", "TOKEN", "-c", "x", "--eval", "y"]})]);
}

#[test]
fn a_wildcard_is_no_name() {
    for pattern in ["*", "?", "doc*", "", "all", "any"] {
        let finished = Check::with(&["--allow-command", pattern]).run(&["command", "--", "docker", "run"]);
        assert!(matches!(finished.code, Some(1 | 2 | 64)), "{pattern:?}: {finished:?}");
    }
}

#[test]
fn servers_of_the_file_may_be_any_program() {
    let check = Check::new();
    let path = check.home.path().join("bin/docker").display().to_string();
    let cases = [
        (of_file(command("docker")), true),
        (of_file(command("sh")), true),
        (of_file(command(&path)), true),
        (of_file(command("/bin/sh")), true),
        (of_file(json!({"kind": "command", "command": "bash", "args": ["-c", "echo $HOME; id"]})), true),
        (of_file(json!({"kind": "command", "command": "node", "args": ["-e", "1"]})), true),
        (of_file(json!({"kind": "command", "command": "npx", "args": ["-c", "id"]})), true),
        (of_file(json!({"kind": "command", "command": "uv", "args": ["run", "sh", "-c", "id"]})), true),
        (of_file(command("")), false),
        (of_file(command("node\0")), false),
        (of_file(argument("a\0b")), false),
        (of_file(argument("a\rb")), false),
        (of_file(argument("a\u{1b}[31mb")), false),
        (of_file(variable("LD_PRELOAD", "/tmp/x.so")), false),
        (of_file(variable("NODE_OPTIONS", "--require /tmp/x.js")), false),
        (of_file(variable("A-B", "x")), false),
        (of_file(variable("A", "x\0y")), false),
        (of_file(variable("A", "x\ny")), true),
    ];
    check.judges(cases);
}

// Arguments.

#[test]
fn control_characters_but_tab_and_line_feed_are_refused() {
    let controls = (0..0x20_u8).chain([0x7f]).map(char::from);
    Check::new().judges(controls.flat_map(|control| {
        let allowed = matches!(control, '\t' | '\n');
        [control.to_string(), format!("{control}x"), format!("x{control}"), format!("x{control}y")].map(|text| (argument(&text), allowed))
    }));
}

#[test]
fn everything_else_is_data() {
    let fine = [
        "",
        " ",
        "  two  words  ",
        "a;b",
        "a & b",
        "a|b",
        "`id`",
        "$(id)",
        "$HOME",
        "${HOME}",
        "%PATH%",
        "!!",
        "print(1)",
        "(a)",
        "{a,b}",
        "[a-z]*?",
        "a<b",
        "a>b",
        "2>&1",
        "a\\b",
        "\\",
        "\\\\",
        "C:\\Users\\me",
        "\\\\server\\share",
        "'",
        "\"",
        "'a'",
        "\"a\"",
        "it's",
        "a\"b'c`d",
        "#x",
        "~",
        "~/x",
        "^(a|b)+$",
        "a\tb",
        "a\nb",
        "line one\nline two\n",
        "-----BEGIN KEY-----\nabc\n-----END KEY-----\n",
        "{\"k\": [1, \"v\"]}",
        "postgres://me:p&ss;w(r)d@host/db?x=1|2",
        "Server=x;Password=`$y`;",
        "--flag=a;b",
        "--",
        "-",
        "-x",
        "/etc/passwd",
        "../..",
        "é",
        "日本語",
        "😀",
        "\u{202e}x",
        "\u{200b}",
        "\u{feff}",
        "\u{2028}",
        "\u{a0}",
        "\u{80}",
        "\u{9b}31m",
        "\u{fffd}",
        "\u{10ffff}",
        "${{x}}",
        "{{x}}",
        "<%= x %>",
        "&&",
        "||",
        "*",
        "rm -rf /",
        "'; DROP TABLE x; --",
        "../../etc/passwd",
        "http://169.254.169.254/",
        "data:text/javascript,x",
        "-e",
        "-c",
        "--eval",
        "--call=id",
    ];
    let metacharacters =
        ('!'..='~').map(String::from).chain(('!'..='~').map(|c| format!("a{c}b"))).map(|text| argument(&text)).collect::<Vec<_>>();
    Check::new().allows(fine.into_iter().map(argument).chain(metacharacters));
}

#[test]
fn long_arguments_are_allowed_to_4096_characters_and_counts_have_an_end() {
    let args = |args: Vec<String>| {
        let args = [vec!["server.js".to_owned()], args].concat();
        json!({"kind": "command", "command": "node", "args": args})
    };
    Check::new().judges([
        (args(vec!["x".repeat(4095)]), true),
        (args(vec!["x".repeat(4096)]), true),
        (args(vec!["é".repeat(4096)]), true),
        (args(vec!["€".repeat(4096)]), true),
        (args(vec!["😀".repeat(4096)]), true),
        (args(vec!["\n".repeat(4096)]), true),
        (args(vec!["x".repeat(4096); 16]), true),
        (args(vec!["x".to_owned(); 100]), true),
        (args(Vec::new()), true),
        (args(vec!["x".repeat(100_000); 80]), false),
        (args(vec!["x".to_owned(); 100_000]), false),
        (args(vec![String::new(); 100_000]), false),
    ]);
}

#[test]
fn arguments_are_texts() {
    for args in
        [json!([5]), json!([null]), json!([true]), json!([["x"]]), json!([{"x": 1}]), json!("server.js"), json!({"0": "x"}), json!(5)]
    {
        let finished = Check::new().batch(format!("{}\n", json!({"kind": "command", "command": "node", "args": args})));
        let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
        assert_eq!(verdict["allowed"], false, "{args}: {finished:?}");
    }
}

/// A verdict is for the log, too.
#[test]
fn a_verdict_repeats_no_value() {
    let check = Check::new();
    let cases: [&[&str]; 5] = [
        &["command", "--env", "LD_PRELOAD=s3cr3t-word", "--", "node", "server.js"],
        &["command", "--env", "A-B=s3cr3t-word", "--", "node", "server.js"],
        &["command", "--env", "NODE_OPTIONS=--require s3cr3t-word", "--", "node", "server.js"],
        &["command", "--", "node", "-e", "s3cr3t-word"],
        &["command", "--", "node", "server.js", "s3cr3t-word\u{1b}"],
    ];
    for arguments in cases {
        let finished = check.run(arguments);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(!format!("{finished:?}").contains("s3cr3t-word"), "{finished:?}");
    }
}
