use std::{collections::HashMap, fs, sync::LazyLock};

use expect_test::{Expect, expect};
use secrecy::ExposeSecret;

use super::{app::parse_base_url, *};
use crate::front::http::auth;

static KEY: LazyLock<String> = LazyLock::new(|| format!("pg_in_{}", "k".repeat(64)));
static OTHER: LazyLock<String> = LazyLock::new(|| format!("pg_in_{}", "o".repeat(64)));

/// A machine of its own: a home, a working directory, and an environment.
struct Machine {
    dir: tempfile::TempDir,
    environment: Environment,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let environment = Environment {
            variables: HashMap::new(),
            home: Some(dir.path().join("home")),
            working_dir: Some(dir.path().join("project")),
            program: None,
        };
        Self { dir, environment }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
        self
    }

    fn user(self, key: Option<&str>, url: Option<&str>) -> Self {
        self.file("home/.config/pluggedin/credentials.json", &serde_json::json!({"api_key": key, "base_url": url}).to_string())
    }

    fn settings(self, place: &str, key: Option<&str>, url: Option<&str>) -> Self {
        let env = serde_json::json!({"env": {"PLUGGEDIN_API_KEY": key, "PLUGGEDIN_API_BASE_URL": url}});
        self.file(&format!("{place}/.claude/settings.local.json"), &env.to_string())
    }

    fn load(&self, line: &str) -> Result<Config, Stop> {
        let line = line.replace("DIR", &self.dir.path().display().to_string());
        let args = std::iter::once("proxy").chain(line.split_whitespace()).map(OsString::from);
        Config::load(args, &self.environment)
    }

    /// Key and address (with names for the two keys), warnings and problems.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(&self, line: &str, expect: Expect) {
        let shown = match self.load(line) {
            Ok(config) => {
                let app = config
                    .parts
                    .source
                    .app
                    .map_or_else(|| "no key".to_owned(), |app| format!("{} to {}", app.key.expose_secret(), app.base_url));
                let warnings = config.warnings.iter().map(|warning| format!("warning: {warning}"));
                std::iter::once(app).chain(warnings).collect::<Vec<_>>().join("\n")
            }
            Err(Stop::Problems(problems) | Stop::Misused(problems)) => problems.to_string(),
            Err(Stop::Print(text)) => text,
        };
        let dir = self.dir.path().display().to_string();
        expect.assert_eq(&shown.replace(KEY.as_str(), "KEY").replace(OTHER.as_str(), "OTHER").replace(&dir, "DIR"));
    }
}

#[track_caller]
fn load(line: &str) -> Config {
    Machine::new().load(line).expect("a good configuration")
}

/// What the HTTP front is given.
#[track_caller]
fn http(machine: &Machine, line: &str) -> front::http::Config {
    match machine.load(&format!("--transport http {line}")).expect("a good configuration").front {
        Front::Http(http) => *http,
        Front::Stdio => panic!("HTTP was asked for"),
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = load("");
    assert!(config.command == Command::Serve && matches!(config.front, Front::Stdio));
    assert!(config.parts.downstream.commands.config().stdio_servers);
    assert_eq!(
        (config.parts.catalog.naming.prefix, config.parts.catalog.naming.max, config.parts.downstream.connect),
        (ToolPrefix::Slug, 60, Connect::Eager)
    );
    assert_eq!(
        (config.parts.downstream.idle_timeout, config.parts.catalog.patience, config.parts.router.call_timeout),
        (None, Duration::from_secs(9), Duration::from_secs(60))
    );
    assert_eq!(config.parts.router.call_timeout_max, Duration::from_secs(1800));
    assert_eq!(load("--call-timeout 1h").parts.router.call_timeout_max, Duration::from_secs(3600));
    assert_eq!(config.log.filter, logging::Filter::parse("info").expect("a level"));
    assert!(config.parts.source.app.is_none() && config.parts.source.file.is_none());
    assert_eq!(config.parts.source.refresh_interval, Duration::from_secs(30));
    assert!(config.warnings.is_empty());
}

#[test]
fn every_option_arrives() {
    let config = load(
        "--config mcp.json --tool-prefix uuid --max-tool-name 46 --connect lazy --isolation session --idle-timeout 10m --refresh-interval 0.2 \
         --list-wait 0 --call-timeout 2h --call-timeout-max 3h --stdio-servers off --log-level trace --log-format json",
    );
    assert!(!config.parts.downstream.commands.config().stdio_servers);
    assert_eq!(
        (config.parts.catalog.naming.prefix, config.parts.catalog.naming.max, config.parts.downstream.connect),
        (ToolPrefix::Uuid, 46, Connect::Lazy)
    );
    assert_eq!(config.parts.downstream.isolating.default, Isolation::Session);
    assert_eq!(config.parts.downstream.idle_timeout, Some(Duration::from_secs(600)));
    assert_eq!((config.parts.catalog.patience, config.parts.router.call_timeout), (Duration::ZERO, Duration::from_secs(7200)));
    assert_eq!(config.parts.router.call_timeout_max, Duration::from_secs(3 * 3600));
    assert_eq!(config.parts.source.refresh_interval, Duration::from_millis(200));
    assert_eq!(config.parts.source.file.expect("a file").path, Path::new("mcp.json"));
    assert_eq!(config.log.format, logging::Format::Json);
}

#[test]
fn the_environment_says_the_same() {
    let mut machine = Machine::new();
    for (name, value) in [
        (env::STDIO_SERVERS, "off"),
        (env::CONFIG, "mcp.json"),
        (env::TOOL_PREFIX, "none"),
        (env::MAX_TOOL_NAME, " 64 "),
        (env::CONNECT, "lazy"),
        (env::ISOLATION, "shared"),
        (env::IDLE_TIMEOUT, "5"),
        (env::REFRESH_INTERVAL, "1m"),
        (env::LIST_WAIT, "1"),
        (env::CALL_TIMEOUT, "1"),
        (env::LOG_LEVEL, "warn"),
        (env::LOG_FORMAT, "json"),
        ("OTHER", "x"),
    ] {
        machine = machine.env(name, value);
    }
    let config = machine.load("").expect("good");
    assert!(!config.parts.downstream.commands.config().stdio_servers);
    assert_eq!(
        (config.parts.catalog.naming.prefix, config.parts.catalog.naming.max, config.parts.downstream.connect),
        (ToolPrefix::None, 64, Connect::Lazy)
    );
    assert_eq!(config.parts.downstream.isolating.default, Isolation::Shared);
    assert_eq!(config.parts.source.refresh_interval, Duration::from_secs(60));
    assert_eq!(config.parts.source.file.expect("a file").variables.values["OTHER"], "x");
    // Options win.
    let config = machine.load("--tool-prefix slug --connect eager --stdio-servers on").expect("good");
    assert_eq!(
        (config.parts.catalog.naming.prefix, config.parts.downstream.connect, config.parts.downstream.commands.config().stdio_servers),
        (ToolPrefix::Slug, Connect::Eager, true)
    );
}

#[test]
fn the_http_front_gets_its_defaults() {
    let http = http(&Machine::new(), "");
    assert_eq!((http.host.as_str(), http.port, http.stateless, http.grace), ("127.0.0.1", 12006, false, Duration::from_secs(10)));
    assert!(matches!(http.auth, auth::Config::Open));
    assert!(http.origins.allowed_hosts.is_empty() && http.origins.allowed_origins.is_empty());
    assert_eq!((http.sessions.timeout, http.sessions.max), (Duration::from_secs(1800), 10_000));
    assert_eq!((http.limits.body, http.limits.connections, http.limits.calls), (10 * 1024 * 1024, 10_000, 256));
}

#[test]
fn the_http_front_gets_every_option() {
    let http = http(
        &Machine::new().env(env::API_KEY, &KEY),
        "--host [::1] --port 0 --stateless --require-api-auth --allowed-host MCP.example.com --allowed-host a.example,fd00::1 \
         --allowed-origin https://app.example.com --allowed-origin http://localhost:80 --session-timeout 5m --max-sessions 7 \
         --max-body 64k --max-connections 8 --max-calls 9 --grace 0",
    );
    assert_eq!((http.host.as_str(), http.port, http.stateless, http.grace), ("::1", 0, true, Duration::ZERO));
    let auth::Config::Key(key) = http.auth else { panic!("the key is asked for") };
    assert_eq!(key.expose_secret(), *KEY);
    assert_eq!(http.origins.allowed_hosts, ["mcp.example.com", "a.example", "[fd00::1]"]);
    assert_eq!(http.origins.allowed_origins, ["https://app.example.com", "http://localhost:80"]);
    assert_eq!((http.sessions.timeout, http.sessions.max), (Duration::from_secs(300), 7));
    assert_eq!((http.limits.body, http.limits.connections, http.limits.calls), (65_536, 8, 9));
}

#[test]
fn the_environment_says_the_same_of_the_http_front() {
    let mut machine = Machine::new();
    for (name, value) in [
        (env::TRANSPORT, "streamable-http"),
        (env::PORT, "2"),
        (env::BIND_HOST, "0.0.0.0"),
        (env::STATELESS, "true"),
        (env::REQUIRE_API_AUTH, "1"),
        (env::API_KEY, &KEY),
        (env::ALLOWED_HOSTS, "a.example, b.example,"),
        (env::ALLOWED_ORIGINS, "https://a.example,https://b.example"),
        (env::SESSION_TIMEOUT, "60"),
        (env::MAX_SESSIONS, "1000000"),
        (env::MAX_BODY, "1024"),
        (env::MAX_CONNECTIONS, "1"),
        (env::MAX_CALLS, "2"),
        (env::GRACE, "500ms"),
    ] {
        machine = machine.env(name, value);
    }
    let of = |line: &str| http(&machine, line);
    let from_env = of("");
    assert_eq!((from_env.host.as_str(), from_env.port, from_env.stateless), ("0.0.0.0", 2, true));
    assert!(matches!(from_env.auth, auth::Config::Key(_)));
    assert_eq!(from_env.origins.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(from_env.origins.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!((from_env.sessions.timeout, from_env.sessions.max, from_env.limits.body), (Duration::from_secs(60), 1_000_000, 1024));
    assert_eq!((from_env.limits.connections, from_env.limits.calls, from_env.grace), (1, 2, Duration::from_millis(500)));
    // Options win, but for the port; lists are not mixed.
    let both = of("--host ::1 --port 3 --allowed-host c.example --max-calls 5");
    assert_eq!((both.host.as_str(), both.port, both.limits.calls), ("::1", 2, 5));
    assert_eq!(both.origins.allowed_hosts, ["c.example"]);
}

#[test]
fn what_http_clients_are_asked_for() {
    let shown = |machine: Machine, line: &str| match machine.load(&format!("--transport http {line}")) {
        Ok(Config { front: Front::Http(http), .. }) => match http.auth {
            auth::Config::Open => "open".to_owned(),
            auth::Config::Key(key) => key.expose_secret().replace(KEY.as_str(), "KEY"),
            auth::Config::PerClient => "per client".to_owned(),
        },
        Ok(_) => panic!("HTTP was asked for"),
        Err(Stop::Problems(problems) | Stop::Misused(problems)) => problems.to_string(),
        Err(Stop::Print(text)) => text,
    };
    let with_key = || Machine::new().env(env::API_KEY, &KEY);
    for (line, auth) in [
        ("", "open"),
        ("--auth none", "open"),
        ("--auth key", "KEY"),
        ("--require-api-auth", "KEY"),
        ("--require-api-auth --auth key", "KEY"),
        ("--auth per-client", "per client"),
        ("--auth per-client --require-api-auth", "per client"),
        (
            "--auth none --require-api-auth",
            "error: `--auth none` and `--require-api-auth` contradict each other; hint: leave one of them out",
        ),
        ("--auth SECRET", "error: `--auth` must be `none`, `key` or `per-client`"),
    ] {
        assert_eq!(shown(with_key(), line), auth, "{line}");
    }
    assert_eq!(shown(Machine::new().user(Some(&KEY), None), "--auth key"), "KEY");
    assert_eq!(shown(Machine::new().env(env::AUTH, "per-client"), ""), "per client");
    for line in ["--require-api-auth", "--auth key"] {
        expect![[r#"error: `--require-api-auth` (or `--auth key`) needs an API key to compare with, and none can be used; hint: set `PLUGGEDIN_API_KEY`"#]]
            .assert_eq(&shown(Machine::new(), line));
        // Nobody is let in by these.
        for command in ["tools", "health"] {
            assert_eq!(shown(Machine::new(), &format!("{line} {command}")), "open");
        }
        assert!(Machine::new().load(line).is_ok(), "nothing is asked of a client over stdio");
    }
}

#[test]
fn an_open_port_is_warned_of() {
    let machine = Machine::new().env(env::BIND_HOST, "0.0.0.0").env(env::API_KEY, &KEY);
    machine.check(
        "--transport http",
        expect![[r#"
            KEY to https://plugged.in/
            warning: listening at `0.0.0.0` without asking for a key: WHOEVER REACHES THE PORT CAN USE ALL SERVERS; hint: `--require-api-auth`, or `--host 127.0.0.1`"#]],
    );
    for line in [
        "",
        "--transport http --require-api-auth",
        "--transport http --host localhost",
        "--transport http --host ::1",
        "--transport http tools",
        "health",
    ] {
        machine.check(line, expect!["KEY to https://plugged.in/"]);
    }
}

#[test]
fn each_client_may_bring_a_key() {
    let machine = Machine::new().env(env::API_BASE_URL, "https://a.example").user(Some(&KEY), Some("https://file.example"));
    let parts = machine.load("--transport http --auth per-client --config mcp.json").expect("good").parts;
    // SECURITY: the proxy's own key is not even at hand.
    assert!(parts.source.app.is_none() && !parts.downstream.commands.config().stdio_servers);
    let (one, two) = (parts.for_key(KEY.as_str().into()), parts.for_key(OTHER.as_str().into()));
    for (parts, key) in [(&one, &KEY), (&two, &OTHER)] {
        let app = parts.source.app.as_ref().expect("the client's App");
        assert_eq!((app.key.expose_secret(), app.base_url.as_str()), (key.as_str(), "https://a.example/"));
        assert_eq!(parts.source.file.as_ref().expect("the file").path, Path::new("mcp.json"));
        assert!(!parts.downstream.commands.config().stdio_servers);
        let store = parts.catalog.store.as_ref().expect("a file").display().to_string();
        assert!(!store.contains(key.as_str()), "{store}");
    }
    assert!(one.catalog.store != two.catalog.store && one.catalog.store != parts.catalog.store);
    assert_eq!(one.catalog.store, parts.for_key(KEY.as_str().into()).catalog.store);

    // A file's address is for the key beside it, and not for those of clients.
    let machine = Machine::new().user(Some(&KEY), Some("https://file.example"));
    let of = |line: &str| machine.load(line).expect("good").parts;
    assert_eq!(of("--transport http --auth per-client").app_base_url.as_str(), "https://plugged.in/");
    // Over stdio, and for commands, the own key is the one.
    for line in ["--auth per-client", "--transport http --auth per-client tools"] {
        assert!(of(line).source.app.is_some(), "{line}");
    }
    assert!(of("--auth per-client").downstream.commands.config().stdio_servers);
}

#[test]
fn what_goes_badly_with_keys_of_clients_is_warned_of() {
    let machine = Machine::new().env(env::API_KEY, &KEY).env(env::API_BASE_URL, "http://app.example");
    machine.check(
        "--transport http --auth per-client --stdio-servers on --config mcp.json --allow-plain-http",
        expect![[r#"
            no key
            warning: `PLUGGEDIN_API_KEY` is not used: with `--auth per-client` each client brings a key
            warning: `PLUGGEDIN_API_BASE_URL` is plain `http` to a public host: others can read the API key
            warning: `--stdio-servers` is on with `--auth per-client`: whoever has a key of the App can run programs on this machine
            warning: the servers of `--config` are offered to every client with `--auth per-client`, whatever its key"#]],
    );
    Machine::new().settings("project", Some(&KEY), None).check("--transport http --auth per-client --host 0.0.0.0", expect!["no key"]);
}

#[test]
fn mistakes_in_options_of_the_http_front_are_reported_together() {
    Machine::new().env(env::MAX_BODY, "1g").check(
        "--host http://SECRET --allowed-host * --allowed-host a:1,b --allowed-origin null --allowed-origin https://SECRET/ --max-sessions 0 \
         --session-timeout 0 --max-connections 1000001 --max-calls SECRET --grace 8d --stdio-servers SECRET --auth none --require-api-auth",
        expect![[r#"
            error: `--auth none` and `--require-api-auth` contradict each other; hint: leave one of them out
            error: `--stdio-servers` must be `on` or `off`
            error: `--host` must be a host name or an address, without scheme, port and path
            error: `--allowed-host` cannot hold `*`: each host has to be named
            error: `--allowed-host` must be a host name or an address, without scheme, port and path
            error: `--allowed-origin` cannot be `null`: every page in a sandbox says that of itself
            error: `--allowed-origin` must be `scheme://host` or `scheme://host:port` with nothing after it, such as `https://app.example.com`
            error: `--session-timeout` must be a time above 0, such as `30` or `10m`
            error: `--max-sessions` must be a number from 1 to 1000000
            error: `PLUGGEDIN_MAX_BODY` must be a size such as `65536`, `512k` or `10MiB`, from 1 KiB to 1 GiB
            error: `--max-connections` must be a number from 1 to 1000000
            error: `--max-calls` must be a number from 1 to 1000000
            error: `--grace` must be a time such as `30`, `0.5`, `500ms`, `10m` or `2h`, a week at most"#]],
    );
}

#[test]
fn where_health_asks() {
    let url = |machine: Machine, line: &str| match machine.load(line).expect("good").command {
        Command::Health { url } => url.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(url(Machine::new(), "health"), "http://127.0.0.1:12006/health");
    assert_eq!(url(Machine::new().env(env::PORT, "5"), "health --port 6"), "http://127.0.0.1:5/health");
    for (host, asked) in [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("[::]", "[::1]"),
        ("192.168.0.7", "192.168.0.7"),
        ("fd00::1", "[fd00::1]"),
        ("mcp.example.com", "mcp.example.com"),
    ] {
        assert_eq!(url(Machine::new().env(env::BIND_HOST, host), "health"), format!("http://{asked}:12006/health"), "{host}");
    }
    for (given, asked) in [
        ("http://localhost:1", "http://localhost:1/health"),
        ("https://mcp.example.com/", "https://mcp.example.com/health"),
        ("https://mcp.example.com/proxy/health", "https://mcp.example.com/proxy/health"),
    ] {
        assert_eq!(url(Machine::new(), &format!("health --url {given} --port 0")), asked);
    }
    Machine::new().check("health --port 0", expect!["error: `health` needs a port to ask; hint: `--port` or `--url`"]);
    Machine::new().check("health --url SECRET", expect!["error: `--url` must begin with `http://` or `https://`"]);
}

#[test]
fn the_old_variables_keep_their_meaning() {
    let prefix = |value: &str| Machine::new().env(env::UUID_TOOL_PREFIXING, value).load("").expect("good").parts.catalog.naming.prefix;
    assert_eq!(
        (prefix("false"), prefix("False"), prefix("0"), prefix("true")),
        (ToolPrefix::None, ToolPrefix::Slug, ToolPrefix::Slug, ToolPrefix::Slug)
    );
    let both = Machine::new().env(env::UUID_TOOL_PREFIXING, "false").load("--tool-prefix slug").expect("good");
    assert_eq!(both.parts.catalog.naming.prefix, ToolPrefix::Slug);

    let filter = |value: &str, line: &str| Machine::new().env(env::DEBUG, value).load(line).expect("good").log.filter;
    let level = |text: &str| logging::Filter::parse(text).expect("a level");
    assert_eq!(filter("true", ""), level("debug"));
    assert_eq!(filter("1", ""), level("info"));
    assert_eq!(filter("true", "--log-level error"), level("error"));

    // A PORT of something else does not disturb STDIO.
    assert!(Machine::new().env(env::PORT, "tcp://x").env(env::BIND_HOST, "tcp://x").load("--port 5").is_ok());
    for name in [env::PORT, env::BIND_HOST] {
        assert!(Machine::new().env(name, "tcp://x").load("--transport streamable-http").is_err(), "{name}");
        assert!(Machine::new().env(name, "tcp://x").load("health").is_err(), "{name}");
    }
}

#[test]
fn commands_and_where_options_may_stand() {
    assert_eq!(load("tools").command, Command::Tools { json: false, accept: false });
    let config = load("--connect lazy tools --json --tool-prefix none");
    assert_eq!(
        (config.command, config.parts.downstream.connect, config.parts.catalog.naming.prefix),
        (Command::Tools { json: true, accept: false }, Connect::Lazy, ToolPrefix::None)
    );
    let call = |arguments: Option<&str>| Command::Call { name: "echo".into(), arguments: arguments.map(str::to_owned), json: false };
    assert_eq!(load("call echo").command, call(None));
    assert_eq!(load("call echo {\"a\":1} --config x").command, call(Some("{\"a\":1}")));
    assert_eq!(http(&Machine::new(), "--port 1 --port 2").port, 2);
}

#[test]
fn unknown_options_are_only_warned_of() {
    Machine::new().check(
        "--inspector-port 5 --stateles stray",
        expect![[r#"
            no key
            warning: ignored the unknown option `--inspector-port`
            warning: ignored the unknown option `--stateles`; did you mean `--stateless`?"#]],
    );
}

#[test]
fn all_mistakes_are_reported_together_and_none_shows_its_value() {
    Machine::new().env(env::LIST_WAIT, "SECRET").env(env::STATELESS, "SECRET").check(
        "--x --pluggedin-api-key SECRET --pluggedin-api-base-url https://me:SECRET@x.example --transport SECRET --tool-prefix SECRET \
         --max-tool-name 15 --connect SECRET --idle-timeout -5 --refresh-interval 0 --call-timeout 8d --log-level SECRET --log-format SECRET \
         --env-file none.env --port 65536 --transport sse",
        expect![[r#"
            warning: ignored the unknown option `--x`
            warning: ignored the unknown option `-5`
            error: a value is required for '--idle-timeout <TIME>' but none was supplied"#]],
    );
    Machine::new().env(env::LIST_WAIT, "SECRET").env(env::STATELESS, "SECRET").check(
        "--pluggedin-api-key SECRET --pluggedin-api-base-url https://me:SECRET@x.example --transport SECRET --tool-prefix SECRET \
         --max-tool-name 15 --connect SECRET --idle-timeout SECRET --refresh-interval 0 --call-timeout 8d --log-level SECRET --log-format SECRET \
         --env-file none.env --port 65536",
        expect![[r#"
            error: `--env-file`: `none.env` does not exist
            error: `--transport` must be `stdio` or `streamable-http`
            error: `--pluggedin-api-base-url` holds a user name or password, which does not belong there
            error: `--pluggedin-api-key` has 6 characters; an API key has 32 to 256 (today's: 70, beginning with `pg_in_`)
            error: `--refresh-interval` must be a time above 0, such as `30` or `10m`
            error: `--idle-timeout` must be a time such as `30`, `0.5`, `500ms`, `10m` or `2h`, a week at most
            error: `--tool-prefix` must be `slug`, `uuid` or `none`
            error: `--max-tool-name` must be a number from 16 to 128
            error: `--connect` must be `eager` or `lazy`
            error: `PLUGGEDIN_LIST_WAIT` must be a time such as `30`, `0.5`, `500ms`, `10m` or `2h`, a week at most
            error: `--call-timeout` must be a time such as `30`, `0.5`, `500ms`, `10m` or `2h`, a week at most
            error: `--port` must be a port, 0 to 65535
            error: `PLUGGEDIN_STATELESS` must be `true` or `false`
            error: `--log-level` must be `off`, `error`, `warn`, `info`, `debug` or `trace`, or a list such as `info,pluggedin_mcp_proxy::source=debug`
            error: `--log-format` must be `text` or `json`"#]],
    );
    Machine::new().check("call", expect!["error: the following required arguments were not provided: <NAME>"]);
}

#[test]
fn base_urls() {
    let url = |text: &str| parse_base_url(text).map_or_else(|why| why, |url| url.to_string());
    assert_eq!(url("https://my-app.example/"), "https://my-app.example/");
    assert_eq!(url("http://localhost:12005"), "http://localhost:12005/");
    assert_eq!(url("http://[::1]:12005/prefix//"), "http://[::1]:12005/prefix");
    assert_eq!(url("http://192.168.0.7"), "http://192.168.0.7/");
    assert_eq!(url("HTTPS://plugged.in"), "https://plugged.in/");
    for bad in [
        "plugged.in",
        "localhost:12005",
        "ftp://x.example",
        "file:///etc/passwd",
        "https://",
        "https://u@x.example",
        "https://u:p@x.example",
        "https://x.example/?a",
        "https://x.example/#a",
        "https://x.ex\tample",
        "https://x.example/a b",
        "http://169.254.169.254",
        "http://169.254.169.254./",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9fea9fe/",
        "http://metadata.google.internal",
        "http://[fd00:ec2::254]",
    ] {
        assert!(parse_base_url(bad).is_err(), "{bad} became {}", url(bad));
    }
}

#[test]
fn key_and_url_from_the_operator() {
    let machine = Machine::new().env(env::API_KEY, &KEY);
    machine.check("", expect!["KEY to https://plugged.in/"]);
    machine.check("--pluggedin-api-base-url https://a.example", expect!["KEY to https://a.example/"]);
    machine.check(&format!("--pluggedin-api-key {}", *OTHER), expect!["OTHER to https://plugged.in/"]);
    machine
        .env(env::API_BASE_URL, "http://localhost:1/")
        .check(&format!("--pluggedin-api-key {}", *OTHER), expect!["OTHER to http://localhost:1/"]);
}

#[test]
fn placeholders_and_blanks_count_as_unset() {
    for value in ["", "  ", "${PLUGGEDIN_API_KEY}", "${user_config.api_key}"] {
        Machine::new().env(env::API_KEY, value).env(env::API_BASE_URL, value).check("", expect!["no key"]);
        Machine::new().env(env::API_KEY, value).user(Some(&KEY), None).check("", expect!["KEY to https://plugged.in/"]);
    }
    Machine::new().env(env::API_KEY, &KEY).check("--pluggedin-api-key ${PLUGGEDIN_API_KEY}", expect!["KEY to https://plugged.in/"]);
}

#[test]
fn files_in_their_order() {
    let (one, two) = (Some(KEY.as_str()), Some(OTHER.as_str()));
    Machine::new().user(one, Some("https://a.example")).settings("home", two, None).check("", expect!["KEY to https://a.example/"]);
    Machine::new().settings("home", one, Some("http://localhost:1")).check("", expect!["KEY to http://localhost:1/"]);
    Machine::new().settings("project", one, None).settings("home", two, None).check("", expect!["OTHER to https://plugged.in/"]);
    let machine = Machine::new().file("xdg/pluggedin/credentials.json", &format!("{{\"api_key\": \"{}\"}}", *KEY)).user(two, None);
    let xdg = machine.dir.path().join("xdg").display().to_string();
    machine.env(env::XDG_CONFIG_HOME, &xdg).check("", expect!["KEY to https://plugged.in/"]);
    // In the home directory it is the user's own file.
    let mut machine = Machine::new().settings("home", one, None);
    machine.environment.working_dir.clone_from(&machine.environment.home);
    machine.check("", expect!["KEY to https://plugged.in/"]);
}

#[test]
fn an_env_file_redirects_no_key_from_elsewhere() {
    let (url, key) = ("PLUGGEDIN_API_BASE_URL=https://a.example\n", format!("PLUGGEDIN_API_KEY={}\n", *KEY));
    let machine = Machine::new().file("both.env", &format!("{url}{key}")).file("url.env", url).file("key.env", &key);
    machine.check("--env-file DIR/both.env", expect!["KEY to https://a.example/"]);
    machine.check("--env-file DIR/key.env --pluggedin-api-base-url https://b.example", expect!["KEY to https://b.example/"]);
    let machine = machine.env(env::API_KEY, &OTHER);
    for file in ["url.env", "both.env"] {
        machine.check(
            &format!("--env-file DIR/{file}"),
            expect![[r#"
                OTHER to https://plugged.in/
                warning: `PLUGGEDIN_API_BASE_URL` of the env file is ignored, because the API key comes from elsewhere"#]],
        );
    }
}

#[test]
fn a_base_url_that_parsers_disagree_on_is_refused() {
    for url in ["https:///a.example", "https://a.example\\@b.example", "https://@a.example"] {
        let Err(Stop::Problems(problems)) = Machine::new().load(&format!("--pluggedin-api-base-url {url}")) else { panic!("{url}") };
        assert!(problems.to_string().contains("`--pluggedin-api-base-url`"), "{url}: {problems}");
    }
}

#[test]
fn a_key_of_a_project_starts_no_programs_unasked() {
    let may_start =
        |machine: &Machine, line: &str| machine.load(line).expect("a configuration").parts.downstream.commands.config().stdio_servers;
    let machine = Machine::new().settings("project", Some(&KEY), None);
    assert!(!may_start(&machine, ""));
    assert!(may_start(&machine, "--stdio-servers on"));
    assert!(may_start(&machine, &format!("--pluggedin-api-key {}", *OTHER)));
    let machine = machine.settings("home", Some(&OTHER), None);
    assert!(may_start(&machine, ""));
}

#[test]
fn a_key_may_stand_in_a_file_of_its_own() {
    let machine = Machine::new().file("secret", &format!("{}\n", *KEY)).file("other", &OTHER).user(Some(&OTHER), Some("https://c.example"));
    machine.check("--pluggedin-api-key-file DIR/secret --pluggedin-api-base-url https://e.example", expect!["KEY to https://e.example/"]);
    // It is the operator's key, so the address of a credentials file is not for it.
    machine.check(
        "--pluggedin-api-key-file DIR/secret",
        expect![[r#"
            KEY to https://plugged.in/
            warning: the base URL in `pluggedin/credentials.json` is ignored, because the API key comes from elsewhere"#]],
    );
    let machine = Machine::new().file("secret", &KEY).file("other", &OTHER);
    machine.check(&format!("--pluggedin-api-key-file DIR/secret --pluggedin-api-key {}", *OTHER), expect!["OTHER to https://plugged.in/"]);
    let secret = machine.dir.path().join("secret").display().to_string();
    let machine = machine.env("PLUGGEDIN_API_KEY_FILE", &secret);
    machine.check("", expect!["KEY to https://plugged.in/"]);
    machine.check("--pluggedin-api-key-file DIR/other", expect!["OTHER to https://plugged.in/"]);
    let machine = machine.env("PLUGGEDIN_API_KEY", &OTHER);
    machine.check("", expect!["OTHER to https://plugged.in/"]);
    machine.check("--pluggedin-api-key-file DIR/secret", expect!["KEY to https://plugged.in/"]);
}

#[test]
fn a_key_file_that_is_no_good_stops_the_start() {
    let machine = Machine::new().user(Some(&OTHER), None);
    machine.check(
        "--pluggedin-api-key-file none.key",
        expect!["error: `--pluggedin-api-key-file`: `none.key` cannot be read: entity not found"],
    );
    let machine = Machine::new().file("bad.key", &format!("{} {}", *KEY, *KEY));
    let Err(Stop::Problems(problems)) = machine.load("--pluggedin-api-key-file DIR/bad.key") else { panic!("two keys are none") };
    let said = problems.to_string();
    assert!(said.contains("bad.key") && said.contains("holds a character that no API key has") && !said.contains(KEY.as_str()), "{said}");
}

#[test]
fn no_file_redirects_a_key_from_elsewhere() {
    let (one, two) = (Some(KEY.as_str()), Some(OTHER.as_str()));
    let evil = Some("https://evil.example");
    // From the environment.
    Machine::new().settings("project", None, evil).env(env::API_KEY, &KEY).check(
        "",
        expect![[r#"
        KEY to https://plugged.in/
        warning: the base URL in `./.claude/settings.local.json` is ignored, because the API key comes from elsewhere"#]],
    );
    Machine::new().settings("project", two, evil).env(env::API_KEY, &KEY).check(
        "",
        expect![[r#"
        KEY to https://plugged.in/
        warning: the base URL in `./.claude/settings.local.json` is ignored, because the API key comes from elsewhere"#]],
    );
    // From the user's file, with and without an address of its own.
    Machine::new().user(one, None).settings("project", None, evil).check(
        "",
        expect![[r#"
        KEY to https://plugged.in/
        warning: the base URL in `./.claude/settings.local.json` is ignored, because the API key comes from elsewhere"#]],
    );
    Machine::new().user(one, Some("https://mine.example")).settings("project", two, evil).check(
        "",
        expect![[r#"
        KEY to https://mine.example/
        warning: the base URL in `./.claude/settings.local.json` is ignored, because the API key comes from elsewhere"#]],
    );
    // From the weakest file.
    Machine::new().settings("home", one, None).settings("project", None, evil).check(
        "",
        expect![[r#"
        KEY to https://plugged.in/
        warning: the base URL in `./.claude/settings.local.json` is ignored, because the API key comes from elsewhere"#]],
    );
    // The operator may say where any key goes, and then no warning is due.
    Machine::new()
        .settings("project", None, evil)
        .user(one, None)
        .env(env::API_BASE_URL, "https://op.example")
        .check("", expect!["KEY to https://op.example/"]);
    // A project's key does not get the user's address.
    Machine::new().settings("project", one, None).settings("home", None, Some("https://mine.example")).check(
        "",
        expect![[r#"
            KEY to https://plugged.in/
            warning: the API key of the working directory, in `./.claude/settings.local.json`, is used; unless `--stdio-servers on` is given, its STDIO servers are not started
            warning: the base URL in `~/.claude/settings.local.json` is ignored, because the API key comes from elsewhere"#]],
    );
}

#[test]
fn files_with_mistakes_are_passed_over() {
    Machine::new().user(Some("SECRET"), None).settings("home", Some(&KEY), None).check("", expect![[r#"
        KEY to https://plugged.in/
        warning: the API key in `pluggedin/credentials.json` is ignored: it has 6 characters; an API key has 32 to 256 (today's: 70, beginning with `pg_in_`)"#]]);
    Machine::new().user(Some(&KEY), Some("localhost:1")).check(
        "",
        expect![[r#"
        no key
        warning: the API key in `pluggedin/credentials.json` is ignored: the base URL beside it must begin with `http://` or `https://`"#]],
    );
    Machine::new().file("home/.config/pluggedin/credentials.json", "{oops").check(
        "",
        expect![[r#"
        no key
        warning: the file `DIR/home/.config/pluggedin/credentials.json` is ignored: it is not valid JSON"#]],
    );
    for odd in ["[]", "7", "null", "{\"api_key\": 7, \"base_url\": []}", "{\"env\": 7}", "{\"env\": {\"PLUGGEDIN_API_KEY\": null}}"] {
        Machine::new().file("home/.config/pluggedin/credentials.json", odd).check("", expect!["no key"]);
    }
}

#[test]
fn plain_http_to_a_public_host_is_refused_unless_forced() {
    let warned = |url: &str| {
        let machine = Machine::new().env(env::API_KEY, &KEY).env(env::API_BASE_URL, url);
        let warnings = machine.load("--allow-plain-http").expect("good").warnings.len();
        assert_eq!(machine.load("").is_err(), warnings == 1, "{url}");
        warnings == 1
    };
    for public in ["http://app.example", "http://8.8.8.8", "http://[2001:db8::1]", "http://plugged.in"] {
        assert!(warned(public), "{public}");
    }
    for private in [
        "https://app.example",
        "http://localhost:12005",
        "http://127.0.0.1",
        "http://[::1]",
        "http://10.0.0.1",
        "http://pluggedin-app:3000",
        "http://nas.local",
        "http://100.64.1.1",
        "http://[fd00::1]",
        "http://[::ffff:10.0.0.1]",
    ] {
        assert!(!warned(private), "{private}");
    }
}

#[test]
fn no_file_lets_a_key_go_over_plain_http() {
    Machine::new().user(Some(&KEY), Some("http://app.example")).check(
        "--allow-plain-http",
        expect![[r#"
            no key
            warning: the API key in `pluggedin/credentials.json` is ignored: the base URL beside it is plain `http` to a public host: others can read the API key"#]],
    );
    Machine::new().env(env::API_KEY, &KEY).env(env::API_BASE_URL, "http://app.example").check(
        "",
        expect!["error: `PLUGGEDIN_API_BASE_URL` is plain `http` to a public host: others can read the API key; hint: use `https`, or `--allow-plain-http` if nobody else is on the way"],
    );
}

/// Whether servers of the App may use the URL.
#[track_caller]
fn opens(machine: &Machine, line: &str, url: &str) -> bool {
    machine.load(line).expect("a good configuration").parts.egress.allow(crate::security::Author::App, url).is_ok()
}

#[test]
fn private_networks_are_opened_by_option_or_environment() {
    let machine = Machine::new();
    let (ten, own) = ("http://10.0.0.1", "http://127.0.0.1");
    assert!(!opens(&machine, "", ten) && !opens(&machine, "", own));
    let both = "--allow-private-network 10.0.0.0/8 --allow-private-network loopback,fd00::/8";
    assert!(opens(&machine, both, ten) && opens(&machine, both, own) && opens(&machine, both, "http://[fd00::1]"));
    let machine = machine.env(env::ALLOW_PRIVATE_NETWORKS, "loopback, 192.168.0.0/16");
    assert!(opens(&machine, "", own) && opens(&machine, "", "http://192.168.1.1") && !opens(&machine, "", ten));
    // The option takes the variable's place.
    assert!(!opens(&machine, "--allow-private-network 10.0.0.0/8", own));
    Machine::new().env(env::EGRESS_PROXY, "ftp://SECRET").check(
        "--allow-private-network 10.0.0.1/8,SECRET --allow-private-network 300.0.0.0/8",
        expect![[r#"
            error: `--allow-private-network` is not the beginning of a range; hint: `10.0.0.0/8` or `10.0.0.1/32`
            error: `--allow-private-network` must be `loopback` or a range of addresses such as `10.0.0.0/8` or `fd00::/8`
            error: `--allow-private-network` must be `loopback` or a range of addresses such as `10.0.0.0/8` or `fd00::/8`
            error: `PLUGGEDIN_EGRESS_PROXY` must be the URL of an HTTP proxy, such as `http://proxy.example.com:3128`"#]],
    );
}

#[test]
fn no_file_opens_a_network() {
    let machine = Machine::new().file(
        "my.env",
        "PLUGGEDIN_ALLOW_PRIVATE_NETWORKS=loopback\nPLUGGEDIN_EGRESS_PROXY=http://evil.example\nPLUGGEDIN_ALLOW_PLAIN_HTTP=true",
    );
    assert!(!opens(&machine, "--env-file DIR/my.env", "http://127.0.0.1"));
    machine.check(
        "--env-file DIR/my.env",
        expect![[r#"
            no key
            warning: `PLUGGEDIN_ALLOW_PRIVATE_NETWORKS` of the env file is ignored: what it opens is for an option or a variable of the environment to open
            warning: `PLUGGEDIN_EGRESS_PROXY` of the env file is ignored: what it opens is for an option or a variable of the environment to open
            warning: `PLUGGEDIN_ALLOW_PLAIN_HTTP` of the env file is ignored: what it opens is for an option or a variable of the environment to open"#]],
    );
}

#[test]
fn an_egress_proxy_is_warned_of() {
    Machine::new().check(
        "--egress-proxy http://user:SECRET@proxy.example:3128",
        expect![[r#"
            no key
            warning: `--egress-proxy`: requests go through that proxy, which finds the addresses of names; IT HAS TO KEEP SERVERS FROM PRIVATE NETWORKS, since only names and literal addresses are judged here"#]],
    );
}

#[test]
fn the_env_file_ranks_below_the_environment() {
    let machine = Machine::new()
        .file("my.env", &format!("PLUGGEDIN_API_KEY='{}'\nPLUGGEDIN_CONNECT=lazy\nPLUGGEDIN_API_BASE_URL=https://e.example\nFOO=1", *KEY));
    machine.check("", expect!["no key"]);
    machine.check("--env-file DIR/my.env", expect!["KEY to https://e.example/"]);
    let config = machine.load("--env-file DIR/my.env --config x").expect("good");
    assert_eq!(config.parts.downstream.connect, Connect::Lazy);
    assert!(config.parts.source.file.expect("a file").variables.values.is_empty());
    let machine = machine.env(env::API_KEY, &OTHER).env(env::CONNECT, "eager");
    machine.check(
        "--env-file DIR/my.env",
        expect![[r#"
        OTHER to https://plugged.in/
        warning: `PLUGGEDIN_API_BASE_URL` of the env file is ignored, because the API key comes from elsewhere"#]],
    );
    assert_eq!(machine.load("--env-file DIR/my.env").expect("good").parts.downstream.connect, Connect::Eager);
    let machine = Machine::new().file("bad.env", "PLUGGEDIN_API_KEY=SECRET");
    machine.check("--env-file DIR/bad.env", expect![[r#"error: `PLUGGEDIN_API_KEY` of the env file has 6 characters; an API key has 32 to 256 (today's: 70, beginning with `pg_in_`)"#]]);
}

#[test]
fn help_names_every_variable() {
    let Err(Stop::Print(help)) = Machine::new().load("--help") else { panic!("help expected") };
    let old = [env::UUID_TOOL_PREFIXING, env::DEBUG];
    for name in env::SETTINGS.iter().filter(|name| !old.contains(name)) {
        assert!(help.contains(name), "{name} is not in the help");
    }
    let Err(Stop::Print(version)) = Machine::new().load("tools --version --config").or_else(|_| Machine::new().load("--version")) else {
        panic!("the version expected")
    };
    assert_eq!(version.trim(), concat!("pluggedin-mcp-proxy ", env!("CARGO_PKG_VERSION")));
    assert!(command_line().get_arguments().all(|arg| arg.get_help().is_some()));
}

#[test]
fn times() {
    let millis = |text: &str| time(text).map(|time| time.as_millis()).ok();
    for (text, expected) in
        [("0", 0), ("30", 30_000), ("0.25", 250), ("500ms", 500), ("5s", 5000), ("10m", 600_000), ("1.5 h", 5_400_000), ("7min", 420_000)]
    {
        assert_eq!(millis(text), Some(expected), "{text}");
    }
    for bad in ["", "s", "-1", "1d", "1e99", "nan", "inf", "1 2", "200h"] {
        assert_eq!(millis(bad), None, "{bad}");
    }
}

/// What the App may run is widened by the command line and the environment, and by no file.
#[test]
fn what_the_app_may_run_is_not_for_files_to_say() {
    let commands = |machine: &Machine, line: &str| machine.load(line).expect("good").parts.downstream.commands.config().clone();
    let machine = Machine::new();
    let plain = commands(&machine, "");
    assert_eq!((plain.allowed.len(), plain.inline_code), (0, false));
    let given = commands(&machine, "--allow-command docker --allow-command /opt/x,y --allow-command pnpm,dnx --allow-inline-code");
    assert_eq!((given.allowed, given.inline_code), (["docker", "/opt/x,y", "pnpm", "dnx"].map(str::to_owned).to_vec(), true));

    let machine = Machine::new().env("PLUGGEDIN_ALLOW_COMMANDS", " docker, ,/opt/x").env("PLUGGEDIN_ALLOW_INLINE_CODE", "true");
    let given = commands(&machine, "");
    assert_eq!((given.allowed, given.inline_code), (["docker", "/opt/x"].map(str::to_owned).to_vec(), true));

    let machine =
        Machine::new().file("x.env", "PLUGGEDIN_ALLOW_COMMANDS=sh\nPLUGGEDIN_ALLOW_INLINE_CODE=true\nPLUGGEDIN_TOOL_PREFIX=none\n");
    let config = machine.load("--env-file DIR/x.env").expect("good");
    assert_eq!(config.parts.catalog.naming.prefix, ToolPrefix::None, "the file is not read");
    let commands = config.parts.downstream.commands.config();
    assert_eq!((commands.allowed.len(), commands.inline_code), (0, false));
}

#[test]
fn a_command_that_cannot_be_allowed_is_a_mistake() {
    let machine = Machine::new();
    for bad in ["--allow-command ./x", "--allow-command a/b", "--allow-command .."] {
        let Err(Stop::Problems(problems)) = machine.load(bad) else { panic!("{bad} is accepted") };
        assert!(problems.to_string().contains("`--allow-command` must be the name of a program"), "{problems}");
    }
}

/// Threat model T15.
#[test]
fn no_value_with_the_key_is_handed_to_children() {
    let machine = Machine::new()
        .env("PLUGGEDIN_API_KEY", &KEY)
        .env("SECRET", "x")
        .env("HOME", "/h")
        .env("LANG", &format!("a{}", *KEY))
        .env("TERM", "xterm");
    let env = machine.load("").expect("good").parts.downstream.base_env;
    let mut names: Vec<_> = env.iter().map(|(name, _)| name.to_str().expect("text")).collect();
    names.sort_unstable();
    assert_eq!(names, if cfg!(windows) { &["PLUGGEDIN_PROXY_DEPTH"][..] } else { &["HOME", "PLUGGEDIN_PROXY_DEPTH", "TERM"] });
}
