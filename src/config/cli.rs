//! The command line.
//!
//! Values stay text here: they are judged together with those of the environment, so
//! that all mistakes are reported at once.
#![expect(clippy::doc_markdown, reason = "these comments are the help text, which would show the backticks")]

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

mod known;

use known::{Kept, known_only};

/// One MCP server for all your MCP servers.
///
/// Serves the servers of your plugged.in workspace, of a local file, or of both.
#[derive(Debug, Parser)]
#[command(name = "pluggedin-mcp-proxy", version, args_override_self = true, subcommand_value_name = "COMMAND")]
#[command(after_help = "Without a command it serves MCP. Precedence: option, environment, --env-file, credentials file, default.")]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) command: Option<Sub>,
}

#[derive(Debug, Default, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) app: AppOptions,
    /// Built-in tools to offer: all, minimal, none [env: PLUGGEDIN_BUILTIN_TOOLS]
    #[arg(long, global = true, value_name = "WHICH")]
    pub(super) builtin_tools: Option<String>,
    /// Local file with servers, in the `mcpServers` form [env: PLUGGEDIN_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// How clients connect: stdio, streamable-http [env: PLUGGEDIN_TRANSPORT] [default: stdio]
    #[arg(long, global = true, value_name = "KIND")]
    pub(super) transport: Option<String>,
    /// What stands before tool names: slug, uuid, none [env: PLUGGEDIN_TOOL_PREFIX] [default: slug]
    #[arg(long, global = true, value_name = "KIND")]
    pub(super) tool_prefix: Option<String>,
    /// Longest tool name, 16 to 128 [env: PLUGGEDIN_MAX_TOOL_NAME] [default: 60]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) max_tool_name: Option<String>,
    /// When servers are connected: eager, lazy [env: PLUGGEDIN_CONNECT] [default: eager]
    #[arg(long, global = true, value_name = "WHEN")]
    pub(super) connect: Option<String>,
    /// Whether HTTP sessions have servers of their own: auto, session, shared [env: PLUGGEDIN_ISOLATION] [default: auto]
    #[arg(long, global = true, value_name = "KIND")]
    pub(super) isolation: Option<String>,
    /// Stop a STDIO server unused for so long, as 600 or 10m; 0 is never [env: PLUGGEDIN_IDLE_TIMEOUT] [default: 0]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) idle_timeout: Option<String>,
    /// Ask a remote server for a sign of life that was silent for so long; 0 is never [env: PLUGGEDIN_HEALTH_INTERVAL] [default: 30]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) health_interval: Option<String>,
    /// How often the App is asked for changes [env: PLUGGEDIN_REFRESH_INTERVAL] [default: 30]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) refresh_interval: Option<String>,
    /// Keep what it takes to call the App's servers, sealed with the API key, for a start while the App is away [env: PLUGGEDIN_CACHE_SERVERS]
    #[arg(long, global = true)]
    pub(super) cache_servers: bool,
    /// How long a list waits for servers that still connect [env: PLUGGEDIN_LIST_WAIT] [default: 9]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) list_wait: Option<String>,
    /// How long a server may be silent in a call [env: PLUGGEDIN_CALL_TIMEOUT] [default: 60]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) call_timeout: Option<String>,
    /// How long a call may take in all, as 90 or 30m [env: PLUGGEDIN_CALL_TIMEOUT_MAX] [default: 30m]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) call_timeout_max: Option<String>,
    #[command(flatten)]
    pub(super) commands: CommandOptions,
    #[command(flatten)]
    pub(super) rates: RateOptions,
    #[command(flatten)]
    pub(super) egress: EgressOptions,
    /// Largest message of a server, or of the client over stdio, as 512k or 64MiB [env: PLUGGEDIN_MAX_MESSAGE] [default: 64MiB]
    #[arg(long, global = true, value_name = "SIZE")]
    pub(super) max_message: Option<String>,
    /// Withhold tools whose description or schema has changed until tools --accept [env: PLUGGEDIN_PIN_TOOLS]
    #[arg(long, global = true)]
    pub(super) pin_tools: bool,
    /// Do not tell the App which of its servers were called, and whether that succeeded [env: PLUGGEDIN_NO_ACTIVITY]
    #[arg(long, global = true)]
    pub(super) no_activity: bool,
    /// off, error, warn, info, debug, trace, or filter directives [env: PLUGGEDIN_LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// Form of the log on stderr: text, json [env: PLUGGEDIN_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORM")]
    pub(super) log_format: Option<String>,
    /// File of variables, ranking below the environment [env: PLUGGEDIN_ENV_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) http: HttpOptions,
}

/// The App and what it is asked with.
#[derive(Debug, Default, Args)]
pub(super) struct AppOptions {
    /// API key of the plugged.in App [env: PLUGGEDIN_API_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub(super) pluggedin_api_key: Option<String>,
    /// File that holds the API key and nothing else [env: PLUGGEDIN_API_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) pluggedin_api_key_file: Option<String>,
    /// Address of the App [env: PLUGGEDIN_API_BASE_URL] [default: https://plugged.in]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) pluggedin_api_base_url: Option<String>,
    /// Public origin of the App, where it is not that of its address [env: PLUGGEDIN_APP_ORIGIN]
    #[arg(long, global = true, value_name = "ORIGIN")]
    pub(super) app_origin: Option<String>,
}

/// What may be started.
#[derive(Debug, Default, Args)]
pub(super) struct CommandOptions {
    /// Whether STDIO servers of the App may be started: on, off [env: PLUGGEDIN_STDIO_SERVERS] [default: on, with --auth per-client off]
    #[arg(long, global = true, value_name = "SWITCH")]
    pub(super) stdio_servers: Option<String>,
    /// Program that the App may start beside node, npx, python, python3, uv, uvx, uvenv; may be repeated [env: PLUGGEDIN_ALLOW_COMMANDS]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) allow_command: Vec<String>,
    /// Let the App hand code to programs in their arguments, as node -e [env: PLUGGEDIN_ALLOW_INLINE_CODE]
    #[arg(long, global = true)]
    pub(super) allow_inline_code: bool,
}

/// How often something may be done.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_field_names, reason = "fields are named as the options are")]
pub(super) struct RateOptions {
    /// Tool calls a minute of one client, 0 for any number [env: PLUGGEDIN_RATE_LIMIT_TOOLS] [default: 60 with the App, else 0]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) rate_limit_tools: Option<String>,
    /// Tool calls of one client that may come at once [env: PLUGGEDIN_RATE_LIMIT_BURST] [default: those of a minute]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) rate_limit_burst: Option<String>,
    /// Calls a minute of all clients, 0 for any number [env: PLUGGEDIN_RATE_LIMIT_GLOBAL] [default: over HTTP 100 times those of one]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) rate_limit_global: Option<String>,
    /// Requests a minute to the App with one key, 0 for any number [env: PLUGGEDIN_RATE_LIMIT_API] [default: 100]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) rate_limit_api: Option<String>,
}

/// Where requests may go.
#[derive(Debug, Default, Args)]
pub(super) struct EgressOptions {
    /// Addresses that servers of the App may use besides public ones: a range such as 10.0.0.0/8, or loopback; may be repeated [env: PLUGGEDIN_ALLOW_PRIVATE_NETWORKS]
    #[arg(long, global = true, value_name = "RANGE")]
    pub(super) allow_private_network: Vec<String>,
    /// Let the API key go to a public host over plain http [env: PLUGGEDIN_ALLOW_PLAIN_HTTP]
    #[arg(long, global = true)]
    pub(super) allow_plain_http: bool,
    /// HTTP proxy for requests to servers and the App [env: PLUGGEDIN_EGRESS_PROXY]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) egress_proxy: Option<String>,
}

/// For `--transport streamable-http`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of --transport streamable-http")]
pub(super) struct HttpOptions {
    /// Name or address to listen at [env: BIND_HOST] [default: 127.0.0.1]
    #[arg(long, global = true, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// Port to listen at, 0 for any; PORT wins over it [env: PORT] [default: 12006]
    #[arg(long, global = true, value_name = "PORT")]
    pub(super) port: Option<String>,
    /// Serve without sessions [env: PLUGGEDIN_STATELESS]
    #[arg(long, global = true)]
    pub(super) stateless: bool,
    /// What clients are asked for: none, key, per-client [env: PLUGGEDIN_AUTH] [default: none]
    #[arg(long, global = true, value_name = "KIND")]
    pub(super) auth: Option<String>,
    /// Ask clients for the proxy's API key, as --auth key [env: PLUGGEDIN_REQUIRE_API_AUTH]
    #[arg(long, global = true)]
    pub(super) require_api_auth: bool,
    /// Host name that clients may use; may be repeated [env: PLUGGEDIN_ALLOWED_HOSTS]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) allowed_host: Vec<String>,
    /// Origin of web pages that may ask; may be repeated [env: PLUGGEDIN_ALLOWED_ORIGINS]
    #[arg(long, global = true, value_name = "ORIGIN")]
    pub(super) allowed_origin: Vec<String>,
    /// End sessions that are unused for so long [env: PLUGGEDIN_SESSION_TIMEOUT] [default: 30m]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) session_timeout: Option<String>,
    /// Sessions at once [env: PLUGGEDIN_MAX_SESSIONS] [default: 10000]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) max_sessions: Option<String>,
    /// Largest body of a request, as 512k or 10MiB [env: PLUGGEDIN_MAX_BODY] [default: 10MiB]
    #[arg(long, global = true, value_name = "SIZE")]
    pub(super) max_body: Option<String>,
    /// Connections at once [env: PLUGGEDIN_MAX_CONNECTIONS] [default: 10000]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) max_connections: Option<String>,
    /// Calls in flight of one session [env: PLUGGEDIN_MAX_CALLS] [default: 256]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(super) max_calls: Option<String>,
    /// How long calls may take to finish when the proxy is asked to end [env: PLUGGEDIN_GRACE] [default: 10]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) grace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Sub {
    /// List servers and their tools
    Tools {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Accept tools that have changed as they are now
        #[arg(long)]
        accept: bool,
    },
    /// Call a tool and print its result
    Call {
        /// Name as `tools` lists it
        name: String,
        /// JSON object
        arguments: Option<String>,
        /// Print the whole result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a proxy that serves HTTP how it is
    Health {
        /// Address to ask; without a path, its /health [default: that of --host and --port]
        #[arg(long)]
        url: Option<String>,
    },
    /// Get an API key from the App through your browser, and keep it in the credentials file
    Login,
    /// Take the API key out of the credentials file
    Logout,
    /// Say which API key counts, and whether the App accepts it
    Whoami {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Find out what is wrong, and what to do about it
    #[command(after_help = "Exit code: 0 nothing failed, 1 something failed, 64 misused.")]
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// How long each server may take in all [default: 90]
        #[arg(long, value_name = "TIME")]
        timeout: Option<String>,
    },
    /// Say whether the security rules allow something
    #[command(after_help = "Exit code: 0 allowed, 1 refused, 2 misused.")]
    Check {
        /// Print JSON
        #[arg(long, global = true)]
        json: bool,
        /// Who would have written it: app, file
        #[arg(long, global = true, value_name = "WHO", default_value = "app", value_parser = ["app", "file"])]
        source: String,
        /// Read cases from stdin, one JSON object a line, and write a verdict a line
        #[arg(long)]
        batch: bool,
        #[command(subcommand)]
        subject: Option<Subject>,
    },
}

/// What `check` is asked about.
#[derive(Debug, Subcommand)]
pub(super) enum Subject {
    /// A URL that would be connected to
    Url {
        #[arg(allow_hyphen_values = true)]
        url: String,
    },
    /// A command line that would be started
    Command {
        /// Variable of the program's environment, as NAME=VALUE; may be repeated
        #[arg(long, value_name = "VARIABLE")]
        env: Vec<String>,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        line: Vec<String>,
    },
    /// A header that would be sent
    Header {
        #[arg(allow_hyphen_values = true)]
        name: String,
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// A file of variables
    EnvFile { file: PathBuf },
}

/// The command whose arguments are taken as they are.
const CHECK: &str = "check";

/// What the command line says.
pub(super) struct Parsed {
    pub(super) cli: Result<Cli, clap::Error>,
    /// One for everything that means nothing.
    pub(super) warnings: Vec<String>,
    /// It asks what the rules say, and mistakes have an exit code of their own.
    pub(super) is_check: bool,
}

pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Parsed {
    let command = Cli::command();
    let Kept { args, warnings, command: chosen } = known_only(&command, args);
    let matches = command.try_get_matches_from(args);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    Parsed { cli, warnings, is_check: chosen.as_deref() == Some(CHECK) }
}
