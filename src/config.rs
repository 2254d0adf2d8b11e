//! All settings, from everywhere, judged once.
//!
//! Precedence lives here only: option, environment, `--env-file`, credentials files,
//! default. This module fills the parts' own configurations and knows nothing of how
//! they work; nothing below it can reach an option or the environment.

mod cli;
pub mod defaults;
mod dotenv;
pub mod env;
mod file;

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::{
    catalog::{
        build::{Naming, ToolPrefix},
        keeper, store,
    },
    downstream::{self, Connect},
    router,
    security::egress,
    source,
    telemetry::logging,
};
use cli::{Cli, Options, Sub};
pub use env::Environment;

#[derive(Debug)]
pub struct Config {
    pub command: Command,
    pub parts: Parts,
    pub front: Front,
    pub log: logging::Config,
    /// For stderr, to be written before anything else.
    pub warnings: Vec<String>,
}

/// What the parts need to know, each in its own words.
#[derive(Debug)]
pub struct Parts {
    pub source: source::Config,
    pub downstream: downstream::Config,
    pub catalog: keeper::Config,
    pub router: router::Config,
}

/// How clients reach the proxy.
#[derive(Debug)]
pub struct Front {
    pub transport: Transport,
    pub port: u16,
    pub bind_host: String,
    pub stateless: bool,
    pub require_api_auth: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Serve,
    Tools { json: bool },
    Call { name: String, arguments: Option<String>, json: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Stdio,
    StreamableHttp,
}

/// Why there is no configuration to go on with.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version were asked for: print this to stdout and exit with 0.
    Print(String),
    /// Print it to stderr and exit with 64.
    Problems(Problems),
}

/// Every mistake at once; one line each.
#[derive(Debug, Default)]
pub struct Problems {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warnings = self.warnings.iter().map(|warning| ("warning", warning));
        let problems = self.problems.iter().map(|problem| ("error", problem));
        for (index, (kind, text)) in warnings.chain(problems).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{kind}: {text}")?;
        }
        Ok(())
    }
}

impl Config {
    /// `args` begins with the program's name, as the operating system gives it.
    pub fn load(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> Result<Self, Stop> {
        let (parsed, warnings) = cli::parse(args);
        let mut problems = Problems { problems: Vec::new(), warnings };
        let Cli { options, command } = match parsed {
            Ok(cli) => cli,
            Err(error) if !error.use_stderr() => return Err(Stop::Print(error.render().to_string())),
            Err(error) => {
                // Up to the blank line; usage and tips follow.
                let text = error.render().to_string();
                let line = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
                problems.problems.push(line.trim_start_matches("error: ").to_owned());
                return Err(Stop::Problems(problems));
            }
        };
        let mut given = Settings::new(environment, options.env_file.as_deref(), problems);

        let command = match command {
            None => Command::Serve,
            Some(Sub::Tools { json }) => Command::Tools { json },
            Some(Sub::Call { name, arguments, json }) => Command::Call { name, arguments, json },
        };
        let Options {
            pluggedin_api_key,
            pluggedin_api_base_url,
            config,
            transport,
            port,
            stateless,
            require_api_auth,
            tool_prefix,
            max_tool_name,
            connect,
            idle_timeout,
            refresh_interval,
            list_wait,
            call_timeout,
            log_level,
            log_format,
            env_file: _,
        } = options;

        let app = given.app(pluggedin_api_key, pluggedin_api_base_url);
        let file = config.or_else(|| given.variable(env::CONFIG).map(|given| given.text.into())).map(|path| source::file::Config {
            path,
            variables: source::file::Variables {
                values: environment.variables.clone(),
                home: environment.home.as_ref().and_then(|home| home.to_str()).map(str::to_owned),
            },
        });
        let refresh_interval = given.option("--refresh-interval", refresh_interval, env::REFRESH_INTERVAL);
        let source = source::Config { app, file, refresh_interval: given.parse(refresh_interval, defaults::REFRESH_INTERVAL, some_time) };

        let transport = given.transport(transport);
        let max_tool_name = given.option("--max-tool-name", max_tool_name, env::MAX_TOOL_NAME);
        let connect = given.option("--connect", connect, env::CONNECT);
        let idle_timeout = given.option("--idle-timeout", idle_timeout, env::IDLE_TIMEOUT);
        let list_wait = given.option("--list-wait", list_wait, env::LIST_WAIT);
        let call_timeout = given.option("--call-timeout", call_timeout, env::CALL_TIMEOUT);
        let idle_timeout = given.parse(idle_timeout, Duration::ZERO, time);
        let naming = Naming {
            prefix: given.tool_prefix(tool_prefix),
            max: given.parse(max_tool_name, defaults::MAX_TOOL_NAME, |text| {
                let number = text.parse().ok().filter(|number| defaults::MAX_TOOL_NAME_RANGE.contains(number));
                number.ok_or_else(|| "must be a number from 16 to 128".to_owned())
            }),
        };
        let connect = given.parse(connect, Connect::Eager, |text| match text {
            "eager" => Ok(Connect::Eager),
            "lazy" => Ok(Connect::Lazy),
            _ => Err("must be `eager` or `lazy`".to_owned()),
        });
        let store = environment.cache_dir().map(|dir| store::path(&dir, &identity(&source)));
        let parts = Parts {
            source,
            downstream: downstream::Config {
                connect,
                idle_timeout: Some(idle_timeout).filter(|time| !time.is_zero()),
                base_env: Arc::new(environment.for_children()),
                path: environment.path(),
            },
            catalog: keeper::Config {
                naming,
                // Who says how long means every server.
                for_stragglers: list_wait.is_some(),
                patience: given.parse(list_wait, defaults::LIST_WAIT, time),
                store,
            },
            router: router::Config { call_timeout: given.parse(call_timeout, defaults::CALL_TIMEOUT, some_time) },
        };
        let front = Front {
            transport,
            port: given.port(port, transport),
            bind_host: given.variable(env::BIND_HOST).map_or_else(|| defaults::BIND_HOST.to_owned(), |given| given.text),
            stateless: stateless || given.switch(env::STATELESS),
            require_api_auth: require_api_auth || given.switch(env::REQUIRE_API_AUTH),
        };
        let log = given.log(log_level, log_format);
        if environment.depth() > defaults::MAX_DEPTH {
            let problem =
                "this proxy was started by a proxy that was started by a proxy; hint: does the file of `--config` name the proxy itself?";
            given.problems.problems.push(problem.to_owned());
        }
        if !given.problems.problems.is_empty() {
            return Err(Stop::Problems(given.problems));
        }
        Ok(Self { command, parts, front, log, warnings: given.problems.warnings })
    }
}

/// The options as they are defined, for checking documents against them.
pub fn command_line() -> clap::Command {
    use clap::CommandFactory;
    Cli::command()
}

/// Tells this set of servers from any other.
fn identity(source: &source::Config) -> String {
    let source::Config { app, file, refresh_interval: _ } = source;
    let app = app.as_ref().map(|app| format!("{} {}", app.base_url, app.key.expose_secret())).unwrap_or_default();
    let file = file
        .as_ref()
        .map(|file| std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone()).display().to_string())
        .unwrap_or_default();
    format!("{app}\n{file}")
}

/// A value, and where it comes from as messages put it.
struct Given {
    text: String,
    from: String,
}

/// What the operator says: options are handed in, the rest is here.
struct Settings<'a> {
    environment: &'a Environment,
    env_file: HashMap<String, String>,
    problems: Problems,
}

impl<'a> Settings<'a> {
    fn new(environment: &'a Environment, env_file: Option<&Path>, mut problems: Problems) -> Self {
        let named = env_file.map(PathBuf::from).or_else(|| environment.get(env::ENV_FILE).map(PathBuf::from));
        let mut variables = HashMap::new();
        if let Some(path) = named {
            match fs::read(&path).map(String::from_utf8) {
                Ok(Ok(text)) => {
                    let ours = dotenv::parse(&text).into_iter().filter(|(name, _)| env::SETTINGS.contains(&name.as_str()));
                    variables.extend(ours);
                }
                Ok(Err(_)) => problems.problems.push(format!("`--env-file`: `{}` is not UTF-8 text", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    problems.problems.push(format!("`--env-file`: `{}` does not exist", path.display()));
                }
                Err(error) => problems.problems.push(format!("`--env-file`: `{}` cannot be read: {}", path.display(), error.kind())),
            }
        }
        Self { environment, env_file: variables, problems }
    }

    fn variable(&self, name: &str) -> Option<Given> {
        if let Some(text) = self.environment.get(name) {
            return Some(Given { text: text.to_owned(), from: format!("`{name}`") });
        }
        let text = self.env_file.get(name).map(|text| text.trim()).filter(|text| env::says_something(text))?;
        Some(Given { text: text.to_owned(), from: format!("`{name}` of the env file") })
    }

    fn option(&self, option: &str, value: Option<String>, variable: &str) -> Option<Given> {
        let value = value.map(|text| text.trim().to_owned()).filter(|text| env::says_something(text));
        value.map(|text| Given { text, from: format!("`{option}`") }).or_else(|| self.variable(variable))
    }

    /// Never shows the value: people put keys in the strangest places.
    fn parse<T>(&mut self, given: Option<Given>, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        let Some(Given { text, from }) = given else { return default };
        parse(&text).unwrap_or_else(|why| {
            self.problems.problems.push(format!("{from} {why}"));
            default
        })
    }

    fn switch(&mut self, name: &str) -> bool {
        let given = self.variable(name);
        self.parse(given, false, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be `true` or `false`".to_owned()),
        })
    }

    fn transport(&mut self, option: Option<String>) -> Transport {
        let given = self.option("--transport", option, env::TRANSPORT);
        self.parse(given, Transport::Stdio, |text| match text {
            "stdio" => Ok(Transport::Stdio),
            "streamable-http" | "http" => Ok(Transport::StreamableHttp),
            _ => Err("must be `stdio` or `streamable-http`".to_owned()),
        })
    }

    fn port(&mut self, option: Option<String>, transport: Transport) -> u16 {
        let port = |text: &str| text.parse().map_err(|_| "must be a port, 0 to 65535".to_owned());
        // Whoever serves over stdio may have a PORT of something else in the environment.
        let variable = self.variable(env::PORT).filter(|_| transport == Transport::StreamableHttp);
        let option = self.option("--port", option, env::PORT).filter(|given| given.from == "`--port`");
        self.parse(variable.or(option), defaults::PORT, port)
    }

    fn tool_prefix(&mut self, option: Option<String>) -> ToolPrefix {
        let old = self.variable(env::UUID_TOOL_PREFIXING).is_some_and(|given| given.text == "false");
        let default = if old { ToolPrefix::None } else { ToolPrefix::Slug };
        let given = self.option("--tool-prefix", option, env::TOOL_PREFIX);
        self.parse(given, default, |text| match text {
            "slug" => Ok(ToolPrefix::Slug),
            "uuid" => Ok(ToolPrefix::Uuid),
            "none" => Ok(ToolPrefix::None),
            _ => Err("must be `slug`, `uuid` or `none`".to_owned()),
        })
    }

    fn log(&mut self, level: Option<String>, format: Option<String>) -> logging::Config {
        let old = self.variable(env::DEBUG).is_some_and(|given| given.text == "true");
        let default = logging::Filter::parse(if old { "debug" } else { defaults::LOG_LEVEL }).expect("both are levels");
        let level = self.option("--log-level", level, env::LOG_LEVEL);
        let format = self.option("--log-format", format, env::LOG_FORMAT);
        logging::Config {
            filter: self.parse(level, default, |text| logging::Filter::parse(text).map_err(|error| error.to_string())),
            format: self.parse(format, logging::Format::Text, |text| match text {
                "text" => Ok(logging::Format::Text),
                "json" => Ok(logging::Format::Json),
                _ => Err("must be `text` or `json`".to_owned()),
            }),
        }
    }

    /// The App's address and key, if there is a key.
    ///
    /// SECURITY: a key is sent only where its owner wants it. Options, environment and
    /// env file are the operator's word and one level; each credentials file is a level
    /// of its own. The address comes from the key's level or from the operator, so no
    /// file, and least of all one that lies in a project, can redirect another's key.
    fn app(&mut self, key: Option<String>, base_url: Option<String>) -> Option<source::app::Config> {
        let key = self.option("--pluggedin-api-key", key, env::API_KEY);
        let base_url = self.option("--pluggedin-api-base-url", base_url, env::API_BASE_URL);
        let operators = base_url.map(|Given { text, from }| {
            let default = Url::parse(defaults::BASE_URL).expect("the default is a URL");
            self.parse(Some(Given { text, from: from.clone() }), (default, from.clone()), |text| Ok((parse_base_url(text)?, from)))
        });
        let (files, warnings) = file::credentials(self.environment);
        self.problems.warnings.extend(warnings);

        let (key, own_url, place) = match key {
            Some(Given { text, from }) => match parse_key(&text) {
                Ok(key) => (key, None, None),
                Err(why) => {
                    self.problems.problems.push(format!("{from} {why}"));
                    return None;
                }
            },
            None => files.iter().find_map(|file| self.file_key(file))?,
        };
        if place == Some(file::PROJECT_SETTINGS) {
            self.problems.warnings.push(format!("the API key of the working directory, in `{}`, is used", file::PROJECT_SETTINGS));
        }
        let operator_says = operators.is_some();
        let (base_url, from) = operators
            .or_else(|| own_url.map(|url| (url, format!("the base URL in `{}`", place.unwrap_or_default()))))
            .unwrap_or_else(|| (Url::parse(defaults::BASE_URL).expect("the default is a URL"), String::new()));
        for file in files.iter().filter(|file| !operator_says && Some(file.place) != place) {
            if file.base_url.as_deref().is_some_and(|url| parse_base_url(url).as_ref() != Ok(&base_url)) {
                let warning = format!("the base URL in `{}` is ignored, because the API key comes from elsewhere", file.place);
                self.problems.warnings.push(warning);
            }
        }
        if base_url.scheme() == "http" && is_public(&base_url) {
            self.problems.warnings.push(format!("{from} is plain `http` to a public host: others can read the API key; hint: use `https`"));
        }
        Some(source::app::Config { base_url, key })
    }

    /// The key of a file with the file's own base URL, if both can be used.
    fn file_key(&mut self, file: &file::Credentials) -> Option<(SecretString, Option<Url>, Option<&'static str>)> {
        let key = match parse_key(file.api_key.as_deref()?) {
            Ok(key) => key,
            Err(why) => {
                self.problems.warnings.push(format!("the API key in `{}` is ignored: it {why}", file.place));
                return None;
            }
        };
        match file.base_url.as_deref().map(parse_base_url).transpose() {
            Ok(base_url) => Some((key, base_url, Some(file.place))),
            Err(why) => {
                // Its key is for another App than the default one.
                self.problems.warnings.push(format!("the API key in `{}` is ignored: the base URL beside it {why}", file.place));
                None
            }
        }
    }
}

/// The set that every proxy so far has accepted. Says what is wrong without the key.
fn parse_key(text: &str) -> Result<SecretString, String> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.chars().all(plain) {
        return Err("holds a character that no API key has; only letters, digits, `.`, `_` and `-` are expected".to_owned());
    }
    match text.len() {
        32..=256 => Ok(text.into()),
        length => Err(format!("has {length} characters; an API key has 32 to 256 (today's: 70, beginning with `pg_in_`)")),
    }
}

/// SECURITY: refused rather than repaired, because a repaired address is another
/// address. Never shows the text, which may hold a password.
fn parse_base_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds a blank or control character".to_owned());
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("must begin with `http://` or `https://`".to_owned());
    }
    let mut url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password, which does not belong there".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds `?` or `#`; only scheme, host, port and a path are allowed".to_owned());
    }
    if egress::is_metadata(&url) {
        return Err("is an address of a cloud metadata service".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Whether the way to it leads through networks of others.
fn is_public(url: &Url) -> bool {
    const LOCAL: [&str; 10] = [
        "0.0.0.0/32",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/127",
        "fc00::/7",
        "fe80::/10",
    ];
    const LOCAL_NAMES: [&str; 7] = [".localhost", ".local", ".internal", ".lan", ".home", ".home.arpa", ".test"];
    if let Some(address) = address(url) {
        return !LOCAL.iter().any(|net| net.parse::<IpNet>().is_ok_and(|net| net.contains(&address)));
    }
    let name = url.host_str().unwrap_or_default().trim_end_matches('.');
    name.contains('.') && !LOCAL_NAMES.iter().any(|suffix| name.ends_with(suffix))
}

/// The host where it is an address; IPv4 in IPv6's clothes is IPv4.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)),
        Host::Domain(_) => None,
    }
}

/// `30`, `0.5`, `500ms`, `30s`, `10m`, `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let bad = || "must be a time such as `30`, `0.5`, `500ms`, `10m` or `2h`, a week at most".to_owned();
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| bad())? * factor;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
    if time > Duration::from_secs(7 * 24 * 3600) { Err(bad()) } else { Ok(time) }
}

/// As [`time`], and at least ten milliseconds.
fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time < Duration::from_millis(10) => Err("must be a time above 0, such as `30` or `10m`".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests;
