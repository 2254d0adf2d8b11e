//! The environment of programs.

use super::Check;
use super::commands::{NAMES, of_file, variable};
use serde_json::{Value, json};

#[test]
fn names_of_variables_are_letters_digits_and_underscores() {
    let right = ["A", "a", "_", "_A", "A1", "API_KEY", "apiKey", "__transport", "a_b_c", "X9_", "Path"];
    let wrong = [
        "",
        "1",
        "1A",
        "A-B",
        "A B",
        " A",
        "A ",
        "A=B",
        "=A",
        "A=",
        "A.B",
        "A:B",
        "A/B",
        "A\\B",
        "A\0",
        "\0",
        "A\nB",
        "A\n",
        "\nA",
        "A\tB",
        "A\rB",
        "A\u{7f}",
        "É",
        "Aé",
        "А",
        "Ａ",
        "A\u{200b}",
        "A;B",
        "A$B",
        "$A",
        "${A}",
        "A(B)",
        "A[0]",
        "BASH_FUNC_x%%",
        "A+",
        "A*",
        "A?",
        "A@B",
        "A!",
        "A'B",
        "A\"B",
        "A`B",
        "#A",
        "A,B",
        "A|B",
        "A&B",
        "~A",
        "npm_config_//registry.npmjs.org/:_authToken",
    ];
    let right = right.map(|name| (variable(name, "x"), true));
    let long = "N".repeat(200);
    Check::new().judges(right.into_iter().chain(wrong.map(|name| (variable(name, "x"), false))).chain([(variable(&long, "x"), true)]));
}

#[test]
fn values_of_variables_are_anything_without_nul() {
    let right = [
        "",
        " ",
        "x",
        "a b",
        "a\nb",
        "a\r\nb",
        "\n",
        "a\tb",
        "-----BEGIN KEY-----\nabc\n-----END KEY-----\n",
        "$HOME",
        "$(id)",
        "`id`",
        "a;b|c&d",
        "a\\b",
        "'\"",
        "é",
        "日本語",
        "😀",
        "\u{202e}",
        "{\"a\": 1}",
        "a=b",
        "postgres://me:p@host/db",
    ];
    let wrong = ["\0", "a\0", "\0a", "a\0b", "a\n\0"];
    let long = "x".repeat(20_000);
    let right = right.into_iter().chain([long.as_str()]).map(|value| (variable("NAME", value), true)).collect::<Vec<_>>();
    Check::new().judges(right.into_iter().chain(wrong.map(|value| (variable("NAME", value), false))));
}

#[test]
fn values_of_variables_are_texts() {
    for env in [json!({"A": 5}), json!({"A": ["x"]}), json!({"A": {"x": 1}}), json!(["A=x"]), json!("A=x"), json!(5)] {
        let finished = Check::new().batch(format!("{}\n", json!({"kind": "command", "command": "node", "args": ["x"], "env": env})));
        let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
        assert_eq!(verdict["allowed"], false, "{env}: {finished:?}");
    }
}

/// What loads code into every program, or into one that is allowed.
const HOOKS: &[(&str, &str)] = &[
    ("LD_PRELOAD", "/tmp/x.so"),
    ("LD_PRELOAD", ""),
    ("LD_AUDIT", "/tmp/x.so"),
    ("DYLD_INSERT_LIBRARIES", "/tmp/x.dylib"),
    ("PYTHONSTARTUP", "/tmp/x.py"),
    ("PYTHONHOME", "/tmp"),
    ("BASH_ENV", "/tmp/x.sh"),
    ("ENV", "/tmp/x.sh"),
    ("OPENSSL_CONF", "/tmp/x.cnf"),
    ("GCONV_PATH", "/tmp"),
    // npm reads its settings from variables, with the prefix in any case.
    ("npm_config_script_shell", "/tmp/x.sh"),
    ("NPM_CONFIG_SCRIPT_SHELL", "/tmp/x.sh"),
    ("NPM_config_Script_Shell", "/tmp/x.sh"),
    ("npm_config_call", "id"),
    ("NPM_CONFIG_CALL", "id"),
    ("npm_config_CALL", "id"),
    ("npm_config_node_options", "--require=/tmp/x.js"),
    ("NPM_CONFIG_Node_Options", "--require=/tmp/x.js"),
];

/// Values of `NODE_OPTIONS` that make Node 20 load code or open an inspector.
const HARMFUL_OPTIONS: &[&str] = &[
    "--require /tmp/x.js",
    "--require=/tmp/x.js",
    "-r /tmp/x.js",
    "-r ./x.js",
    "--import /tmp/x.mjs",
    "--import=/tmp/x.mjs",
    "--import=data:text/javascript,1",
    "--loader /tmp/x.mjs",
    "--loader=/tmp/x.mjs",
    "--experimental-loader /tmp/x.mjs",
    "--experimental-loader=/tmp/x.mjs",
    "--experimental_loader=/tmp/x.mjs",
    "\"--require\" /tmp/x.js",
    "\"--require=/tmp/x.js\"",
    "--re\"quire\" /tmp/x.js",
    "--re\"qu\\ire\" /tmp/x.js",
    "\"-r\" /tmp/x.js",
    "-\"r\" /tmp/x.js",
    "--im\"port\"=/tmp/x.mjs",
    "  --require   /tmp/x.js ",
    "--no-warnings --require /tmp/x.js",
    "--max-old-space-size=4096 -r /tmp/x.js",
    "--title x --require /tmp/x.js",
    "--no-warnings --import=/tmp/x.mjs --no-deprecation",
    "--inspect",
    "--inspect=0.0.0.0:9229",
    "--inspect=0",
    "--inspect-brk",
    "--inspect-brk=0",
    "--inspect_brk=0",
    "--inspect-wait",
    "--inspect-wait=0",
    "--insp\"ect\"=0",
    "--no-warnings --inspect",
    "--openssl-config=/tmp/x.cnf",
    "--snapshot-blob=/tmp/x",
];

const HARMLESS_OPTIONS: &[&str] = &[
    "",
    " ",
    "--max-old-space-size=4096",
    "--max_old_space_size=4096",
    "--no-warnings",
    "--no-deprecation",
    "--no-warnings --max-old-space-size=512",
    "  --no-warnings  ",
    "--dns-result-order=ipv4first",
    "--enable-source-maps",
    "--experimental-vm-modules",
    "--openssl-legacy-provider",
    "--max-http-header-size=16384",
    "--stack-trace-limit=50",
    "--tls-min-v1.2",
    "--trace-warnings",
    "--trace-deprecation",
    "--unhandled-rejections=strict",
    "--use-openssl-ca",
    "--use-bundled-ca",
    "--no-network-family-autoselection",
    "--preserve-symlinks",
    "--title=require",
];

#[test]
fn variables_that_load_code_are_refused() {
    let hooks = HOOKS.iter().map(|(name, value)| variable(name, value));
    let options = HARMFUL_OPTIONS.iter().map(|value| variable("NODE_OPTIONS", value));
    // For every program: children inherit them.
    let programs = NAMES.iter().flat_map(|name| {
        ["LD_PRELOAD", "BASH_ENV", "PYTHONSTARTUP", "npm_config_script_shell"]
            .map(|hook| json!({"kind": "command", "command": name, "args": ["x"], "env": {"A": "1", hook: "/tmp/x", "B": "2"}}))
    });
    let all: Vec<Value> = hooks.chain(options).chain(programs).collect();
    let of_the_file = all.clone().into_iter().map(of_file);
    Check::new().refuses(all.iter().cloned().chain(of_the_file));
    // No option for commands opens them.
    Check::with(&["--allow-inline-code", "--allow-command=docker"]).refuses(all);
}

#[test]
fn variables_that_people_need_are_allowed() {
    let needed = [
        ("PATH", "/opt/homebrew/bin:/usr/bin"),
        ("PYTHONPATH", "/srv/lib"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONIOENCODING", "utf-8"),
        ("PYTHONUTF8", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("NODE_ENV", "production"),
        ("NODE_EXTRA_CA_CERTS", "/etc/ssl/ca.pem"),
        ("NODE_NO_WARNINGS", "1"),
        ("SSL_CERT_FILE", "/etc/ssl/ca.pem"),
        ("SSL_CERT_DIR", "/etc/ssl/certs"),
        ("REQUESTS_CA_BUNDLE", "/etc/ssl/ca.pem"),
        ("CURL_CA_BUNDLE", "/etc/ssl/ca.pem"),
        ("HTTP_PROXY", "http://proxy.example:3128"),
        ("HTTPS_PROXY", "http://me:secret@proxy.example:3128"),
        ("http_proxy", "http://proxy.example:3128"),
        ("https_proxy", "http://proxy.example:3128"),
        ("ALL_PROXY", "socks5://proxy.example:1080"),
        ("NO_PROXY", "localhost,127.0.0.1"),
        ("no_proxy", "*"),
        ("HOME", "/home/me"),
        ("LANG", "C.UTF-8"),
        ("TZ", "Europe/Berlin"),
        ("TMPDIR", "/tmp"),
        ("DEBUG", "*"),
        ("LOG_LEVEL", "debug"),
        ("UV_INDEX_URL", "https://pypi.example/simple"),
        ("UV_CACHE_DIR", "/var/cache/uv"),
        ("npm_config_registry", "https://npm.example/"),
        ("NPM_CONFIG_REGISTRY", "https://npm.example/"),
        ("npm_config_cache", "/var/cache/npm"),
        ("npm_config_loglevel", "error"),
        ("npm_config_yes", "true"),
        ("GITHUB_TOKEN", "ghp_x"),
        ("DATABASE_URL", "postgres://me:secret@db/x"),
        ("ENVIRONMENT", "production"),
        ("MY_ENV", "x"),
        ("ENV_NAME", "x"),
        ("APP_LD_PRELOAD", "x"),
        ("NODE_OPTIONS_EXTRA", "--require x"),
        ("CALL", "id"),
        ("SCRIPT_SHELL", "sh"),
    ];
    let options = HARMLESS_OPTIONS.iter().map(|value| variable("NODE_OPTIONS", value));
    Check::new().allows(needed.map(|(name, value)| variable(name, value)).into_iter().chain(options));
}
