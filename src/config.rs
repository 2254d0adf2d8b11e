//! All settings, from everywhere, judged once.
//!
//! Precedence lives here only: option, environment, `--env-file`, credentials files,
//! default. This module fills the parts' own configurations and knows nothing of how
//! they work; nothing below it can reach an option or the environment.

mod account;
mod app;
mod check;
mod cli;
mod commands;
pub mod defaults;
mod doctor;
mod egress;
pub mod env;
mod file;
mod http;
mod limits;
pub(crate) mod regular;
mod settings;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::ExposeSecret;
use url::Url;

use crate::{
    builtin::Offer,
    catalog::{
        build::{Naming, ToolPrefix},
        integrity, keeper, store,
    },
    downstream::transport::stdio::Spawner,
    downstream::{
        self, Connect, Isolating,
        eras::{self, Eras},
    },
    front,
    protocol::server::Isolation,
    router,
    secret::Secret,
    security::{
        check::Rules,
        command,
        egress::Policy,
        rate_limit::{Rate, Rates},
    },
    source,
    telemetry::logging,
};
pub use account::Account;
use app::{AppAddress, Asking, Keys};
pub use check::{Asked, Check};
use cli::{Cli, Options, Parsed, Sub};
pub use doctor::{BadKeys, Doctor, Listens, OuterProxy};
pub use env::Environment;
use http::Auth;
use limits::Reach;
use settings::{Given, Settings, bounded, on_or_off, some_time, time};

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
///
/// They are those of the proxy's own key and file. Where clients bring their keys, [`Parts::for_key`] gives the
/// parts of each.
#[derive(Debug, Clone)]
pub struct Parts {
    pub source: source::Config,
    pub downstream: downstream::Config,
    pub catalog: keeper::Config,
    pub router: router::Config,
    /// The App that clients' own keys are sent to.
    pub app_base_url: Url,
    /// Judges every request that leaves the proxy. One for all workspaces.
    pub egress: Arc<Policy>,
    /// Below it, every set of sources has a file of its own.
    pub cache_dir: Option<PathBuf>,
    /// The same for what must outlast a cache.
    pub state_dir: Option<PathBuf>,
    /// Which entries of its own the proxy offers.
    pub builtin: Offer,
    /// The origin that the App takes for its own, where it is not the one of its address.
    pub app_origin: Option<String>,
    /// Where it is kept what tools were.
    pub records: Option<PathBuf>,
    /// How often clients may call.
    pub rates: Rates,
    /// How often the App may be asked with each key.
    pub app_rate: Option<Rate>,
}

/// How clients reach the proxy.
#[derive(Debug)]
pub enum Front {
    Stdio,
    Http(Box<front::http::Config>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Serve,
    Tools {
        json: bool,
        /// Tools that have changed are trusted from now on.
        accept: bool,
    },
    Call {
        name: String,
        arguments: Option<String>,
        json: bool,
    },
    /// Asks a running proxy at this address, and needs no parts.
    Health {
        url: Url,
    },
    /// Asks the security rules, and needs no other part.
    Check(Check),
    /// Gets a key from the App and keeps it.
    Login(Account),
    Logout(Account),
    Whoami {
        account: Account,
        json: bool,
    },
    /// Looks at everything that serving needs.
    Doctor(Box<Doctor>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
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
    /// The same of the command `check`, whose exit codes are its verdicts: exit with 2.
    Misused(Problems),
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

impl Problems {
    /// Help and the version are errors to clap.
    fn stopped_by(mut self, error: &clap::Error, is_check: bool) -> Stop {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Stop::Print(text);
        }
        // Up to the blank line; usage and tips follow.
        let line = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
        self.problems.push(line.trim_start_matches("error: ").to_owned());
        self.stop(is_check)
    }

    fn stop(self, is_check: bool) -> Stop {
        if is_check { Stop::Misused(self) } else { Stop::Problems(self) }
    }
}

impl Front {
    fn of(transport: Transport, http: front::http::Config) -> Self {
        match transport {
            Transport::Stdio => Self::Stdio,
            Transport::StreamableHttp => Self::Http(Box::new(http)),
        }
    }
}

impl Config {
    /// `args` begins with the program's name, as the operating system gives it.
    pub fn load(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> Result<Self, Stop> {
        let Parsed { cli, warnings, is_check } = cli::parse(args);
        let problems = Problems { problems: Vec::new(), warnings };
        let Cli { options, command } = match cli {
            Ok(cli) => cli,
            Err(error) => return Err(problems.stopped_by(&error, is_check)),
        };
        let mut given = Settings::new(environment, options.env_file.as_deref(), problems);

        let Options {
            app,
            builtin_tools,
            config,
            transport,
            tool_prefix,
            max_tool_name,
            connect,
            isolation,
            idle_timeout,
            health_interval,
            refresh_interval,
            cache_servers,
            list_wait,
            call_timeout,
            call_timeout_max,
            commands,
            rates,
            egress,
            max_message,
            pin_tools,
            no_activity,
            log_level,
            log_format,
            env_file: _,
            mut http,
        } = options;

        let transport = given.transport(transport);
        let over_http = transport == Transport::StreamableHttp;
        // The doctor looks at what serving would be.
        let serving_http = over_http && matches!(command, None | Some(Sub::Doctor { .. }));
        let auth = given.auth(http.auth.take(), http.require_api_auth);
        let per_client = over_http && auth == Auth::PerClient;
        let keys = if per_client && serving_http { Keys::OfClients } else { Keys::Own };
        let (egress, plain_http) = given.egress(egress);
        let AppAddress { app_base_url, app_origin, app } = given.app(app, &Asking { keys, plain_http, egress: &egress });
        let reach = Reach { app: app.is_some() || keys == Keys::OfClients, http: over_http };
        let (rates, app_rate) = given.rates(rates, reach);
        let app = app.map(|app| source::app::Config { rate: app_rate, ..app });
        let auth = given.front_auth(auth, app.as_ref().map(|app| &app.key), serving_http);
        let file = given.local_file(config);
        let builtin = given.builtin_tools(builtin_tools, reach.app || file.is_none());
        let kept = given.kept(cache_servers, keys, app.as_ref(), command.is_none());
        let source = source::Config { app, file, kept, refresh_interval: given.refresh_interval(refresh_interval) };

        let idle_timeout = given.idle_timeout(idle_timeout);
        let health_interval = given.health_interval(health_interval);
        let naming = Naming { prefix: given.tool_prefix(tool_prefix), max: given.max_tool_name(max_tool_name) };
        let (connect, isolation) = (given.connect(connect), given.isolation(isolation));
        let commands = given.commands(commands, per_client);
        if keys == Keys::OfClients {
            given.warn_of_sharing(commands.stdio_servers, source.file.is_some());
        }
        let base_env = Arc::new(environment.for_children(source.app.as_ref().map(|app| &app.key)));
        let (cache_dir, state_dir) = (environment.cache_dir(), environment.state_dir());
        let catalog_store = store(cache_dir.as_deref(), &source);
        let records = records(state_dir.as_deref(), &source);
        let mut parts = Parts {
            source,
            downstream: downstream::Config {
                connect,
                isolating: Isolating::new(isolation),
                idle_timeout,
                health_interval,
                base_env,
                commands: Arc::new(command::Policy::new(commands)),
                spawner: Spawner::new(environment.program.clone()),
                egress: Arc::clone(&egress),
                limits: given.limits(max_message),
                eras: Arc::new(Eras::new(cache_dir.as_deref().map(eras::path))),
            },
            catalog: given.catalog(naming, list_wait, pin_tools, catalog_store),
            router: given.router(call_timeout, call_timeout_max, no_activity),
            app_base_url,
            egress,
            cache_dir,
            state_dir,
            builtin,
            app_origin,
            records,
            rates,
            app_rate,
        };
        let http = given.http(http, over_http || matches!(command, Some(Sub::Health { .. })), auth);
        let mut command = given.command(command, &http);
        if serving_http {
            given.warn_of_open_port(&http);
        }
        let front = Front::of(transport, http);
        let log = given.log(log_level, log_format);
        let said = given.conclude(&mut command, &mut parts);
        if !said.problems.is_empty() {
            return Err(said.stop(is_check));
        }
        Ok(Self { command, parts, front, log, warnings: said.warnings })
    }
}

impl Parts {
    /// The security rules as the operator has set them.
    pub fn rules(&self) -> Rules<'_> {
        Rules { egress: &self.egress, commands: &self.downstream.commands }
    }

    /// The same for the workspace that another key selects: that of a client. The file's servers are part of it,
    /// and its listings are kept apart from those of all other keys.
    #[must_use]
    pub fn for_key(&self, key: Secret) -> Self {
        let app = source::app::Config {
            base_url: self.app_base_url.clone(),
            key,
            rate: self.app_rate,
            origin: self.app_origin.clone(),
            egress: Arc::clone(&self.egress),
        };
        // SECURITY: only whom the App knows now is let in, so that there is nothing to be kept for a key (SECURITY.md).
        let source = source::Config { app: Some(app), kept: None, ..self.source.clone() };
        let catalog = keeper::Config { store: store(self.cache_dir.as_deref(), &source), ..self.catalog.clone() };
        let records = records(self.state_dir.as_deref(), &source);
        Self { source, catalog, records, ..self.clone() }
    }

    /// The same for nobody: a workspace without any server.
    #[must_use]
    pub fn without_servers(&self) -> Self {
        let source = source::Config { app: None, file: None, kept: None, ..self.source.clone() };
        let catalog = keeper::Config { store: None, ..self.catalog.clone() };
        Self { source, catalog, records: None, ..self.clone() }
    }
}

/// Where the listings of this set of servers are kept.
fn store(cache_dir: Option<&Path>, source: &source::Config) -> Option<PathBuf> {
    Some(store::path(cache_dir?, &identity(source)))
}

/// Where it is kept what the tools of this set of servers were.
fn records(state_dir: Option<&Path>, source: &source::Config) -> Option<PathBuf> {
    if source.app.is_none() && source.file.is_none() {
        return None;
    }
    Some(integrity::path(state_dir?, &identity(source)))
}

/// The options as they are defined, for checking documents against them.
pub fn command_line() -> clap::Command {
    use clap::CommandFactory;
    Cli::command()
}

/// Tells this set of servers from any other.
fn identity(source: &source::Config) -> String {
    let source::Config { app, file, kept: _, refresh_interval: _ } = source;
    let app = app.as_ref().map(|app| format!("{} {}", app.base_url, app.key.expose_secret())).unwrap_or_default();
    let file = file
        .as_ref()
        .map(|file| std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone()).display().to_string())
        .unwrap_or_default();
    format!("{app}\n{file}")
}

impl Settings<'_> {
    fn command(&mut self, command: Option<Sub>, front: &front::http::Config) -> Command {
        match command {
            None => Command::Serve,
            Some(Sub::Tools { json, accept }) => Command::Tools { json, accept },
            Some(Sub::Call { name, arguments, json }) => Command::Call { name, arguments, json },
            Some(Sub::Health { url }) => Command::Health { url: self.health_url(url, front) },
            Some(Sub::Login) => Command::Login(self.login()),
            Some(Sub::Logout) => Command::Logout(self.logout()),
            Some(Sub::Whoami { json }) => Command::Whoami { account: self.account(), json },
            Some(Sub::Doctor { json, timeout }) => Command::Doctor(Box::new(self.doctor(json, timeout, front))),
            Some(Sub::Check { json, source, batch, subject }) => Command::Check(self.check(subject, batch, &source, json)),
        }
    }

    fn local_file(&self, option: Option<PathBuf>) -> Option<source::file::Config> {
        let path = option.or_else(|| self.variable(env::CONFIG).map(|given| given.text.into()))?;
        let variables = source::file::Variables {
            values: self.environment.variables.clone(),
            home: self.environment.home.as_ref().and_then(|home| home.to_str()).map(str::to_owned),
        };
        Some(source::file::Config { path, variables })
    }

    fn transport(&mut self, option: Option<String>) -> Transport {
        let given = self.option("--transport", option, env::TRANSPORT);
        let transport = self.parse(given, Transport::Stdio, |text| match text {
            "stdio" => Ok(Transport::Stdio),
            "streamable-http" | "http" => Ok(Transport::StreamableHttp),
            _ => Err("must be `stdio` or `streamable-http`".to_owned()),
        });
        self.found.over_http = transport == Transport::StreamableHttp;
        transport
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

    /// Beside a file and without the App a model is not offered what cannot work. Who has neither is to learn what there is.
    fn builtin_tools(&mut self, option: Option<String>, all_make_sense: bool) -> Offer {
        let default = if all_make_sense { Offer::All } else { Offer::Minimal };
        let given = self.option("--builtin-tools", option, env::BUILTIN_TOOLS);
        self.parse(given, default, |text| match text {
            "all" => Ok(Offer::All),
            "minimal" => Ok(Offer::Minimal),
            "none" => Ok(Offer::None),
            _ => Err("must be `all`, `minimal` or `none`".to_owned()),
        })
    }

    fn max_tool_name(&mut self, option: Option<String>) -> usize {
        let given = self.option("--max-tool-name", option, env::MAX_TOOL_NAME);
        self.parse(given, defaults::MAX_TOOL_NAME, |text| {
            let number = text.parse().ok().filter(|number| defaults::MAX_TOOL_NAME_RANGE.contains(number));
            number.ok_or_else(|| "must be a number from 16 to 128".to_owned())
        })
    }

    fn catalog(&mut self, naming: Naming, list_wait: Option<String>, pin: bool, store: Option<PathBuf>) -> keeper::Config {
        let list_wait = self.option("--list-wait", list_wait, env::LIST_WAIT);
        keeper::Config {
            naming,
            // Who says how long means every server.
            for_stragglers: list_wait.is_some(),
            patience: self.parse(list_wait, defaults::LIST_WAIT, time),
            store,
            pin: self.pin_tools(pin),
        }
    }

    fn router(&mut self, call_timeout: Option<String>, call_timeout_max: Option<String>, no_activity: bool) -> router::Config {
        let call_timeout = self.option("--call-timeout", call_timeout, env::CALL_TIMEOUT);
        let call_timeout = self.parse(call_timeout, defaults::CALL_TIMEOUT, some_time);
        let call_timeout_max = self.option("--call-timeout-max", call_timeout_max, env::CALL_TIMEOUT_MAX);
        router::Config {
            call_timeout,
            // Not shorter than the silence that was asked for, unless it was asked for as well.
            call_timeout_max: self.parse(call_timeout_max, defaults::CALL_TIMEOUT_MAX.max(call_timeout), some_time),
            activity: !(no_activity || self.switch(env::NO_ACTIVITY)),
        }
    }

    fn pin_tools(&mut self, option: bool) -> bool {
        let pin = option || self.switch(env::PIN_TOOLS);
        if pin && self.environment.state_dir().is_none() {
            self.problem("`--pin-tools` needs a directory to keep what tools were; hint: set `HOME` or `XDG_STATE_HOME`");
        }
        pin
    }

    fn connect(&mut self, option: Option<String>) -> Connect {
        let given = self.option("--connect", option, env::CONNECT);
        self.parse(given, Connect::Eager, |text| match text {
            "eager" => Ok(Connect::Eager),
            "lazy" => Ok(Connect::Lazy),
            _ => Err("must be `eager` or `lazy`".to_owned()),
        })
    }

    /// `None` is never.
    fn idle_timeout(&mut self, option: Option<String>) -> Option<Duration> {
        let given = self.option("--idle-timeout", option, env::IDLE_TIMEOUT);
        Some(self.parse(given, Duration::ZERO, time)).filter(|time| !time.is_zero())
    }

    fn health_interval(&mut self, option: Option<String>) -> Option<Duration> {
        let given = self.option("--health-interval", option, env::HEALTH_INTERVAL);
        Some(self.parse(given, defaults::HEALTH_INTERVAL, time)).filter(|time| !time.is_zero())
    }

    fn isolation(&mut self, option: Option<String>) -> Isolation {
        let given = self.option("--isolation", option, env::ISOLATION);
        self.parse(given, Isolation::Auto, |text| match text {
            "auto" => Ok(Isolation::Auto),
            "session" => Ok(Isolation::Session),
            "shared" => Ok(Isolation::Shared),
            _ => Err("must be `auto`, `session` or `shared`".to_owned()),
        })
    }

    fn check(&mut self, subject: Option<cli::Subject>, batch: bool, source: &str, json: bool) -> Check {
        let asked = check::asked(subject, batch, source).unwrap_or_else(|problem| {
            self.problem(problem);
            Asked::Batch
        });
        Check { asked, json }
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
}

#[cfg(test)]
mod tests;
