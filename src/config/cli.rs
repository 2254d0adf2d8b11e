//! The command line.
//!
//! Values stay text here: they are judged together with those of the environment, so
//! that all mistakes are reported at once.
#![expect(clippy::doc_markdown, reason = "these comments are the help text, which would show the backticks")]

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

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
    /// Stop a STDIO server unused for so long, as 600 or 10m; 0 is never [env: PLUGGEDIN_IDLE_TIMEOUT] [default: 0]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) idle_timeout: Option<String>,
    /// How often the App is asked for changes [env: PLUGGEDIN_REFRESH_INTERVAL] [default: 30]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) refresh_interval: Option<String>,
    /// How long a list waits for servers that still connect [env: PLUGGEDIN_LIST_WAIT] [default: 9]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) list_wait: Option<String>,
    /// How long one call may take [env: PLUGGEDIN_CALL_TIMEOUT] [default: 60]
    #[arg(long, global = true, value_name = "TIME")]
    pub(super) call_timeout: Option<String>,
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

/// What is left of a command line.
struct Kept {
    args: Vec<OsString>,
    warnings: Vec<String>,
    /// The first word that is a command.
    command: Option<String>,
}

/// What clap can be given, and a warning for everything that was taken out. MCP
/// inspectors and hosts append options of their own, which must not stop anything.
fn known_only(command: &clap::Command, args: impl IntoIterator<Item = OsString>) -> Kept {
    // These are clap's own, which adds them later.
    let own = ["-h", "--help", "-V", "--version"].map(str::to_owned);
    let mut known = Known { flags: own.into(), valued: Vec::new(), commands: vec!["help".to_owned()] };
    known.commands.extend(command.get_subcommands().map(|sub| sub.get_name().to_owned()));
    known.collect(command);

    let mut args = args.into_iter().peekable();
    let mut kept: Vec<OsString> = vec![args.next().unwrap_or_else(|| "pluggedin-mcp-proxy".into())];
    let mut warnings = Vec::new();
    let mut chosen: Option<String> = None;
    let mut only_words = false;
    while let Some(arg) = args.next() {
        // Nobody appends options to a question, and what it is about may look like one.
        if chosen.as_deref() == Some(CHECK) {
            kept.push(arg);
            continue;
        }
        let text = arg.to_string_lossy().into_owned();
        if !only_words && text == "--" {
            only_words = true;
            if chosen.is_some() {
                kept.push(arg);
            }
            continue;
        }
        if only_words || !text.starts_with('-') || text == "-" {
            match &chosen {
                None if known.commands.contains(&text) && !only_words => {
                    if let Some(sub) = command.find_subcommand(&text) {
                        known.collect(sub);
                    }
                    chosen = Some(text);
                    kept.push(arg);
                }
                None => warnings.push(format!("ignored {}", stray(&text))),
                Some(chosen) if matches!(chosen.as_str(), "tools" | "health" | "login" | "logout" | "whoami") => {
                    warnings.push(format!("ignored {}", stray(&text)));
                }
                Some(_) => kept.push(arg),
            }
            continue;
        }
        // SECURITY: what follows `=` may be a misspelt option's secret and is never shown.
        let name = text.split('=').next().unwrap_or_default().to_owned();
        let inline = text.contains('=');
        let mut follows = |kept: &mut Vec<OsString>, keep: bool| {
            let value = args.next_if(|next| {
                let next = next.to_string_lossy();
                !next.starts_with('-') && (keep || !known.commands.iter().any(|command| *command == next))
            });
            if keep {
                kept.extend(value);
            }
        };
        if known.flags.contains(&name) {
            kept.push(arg);
        } else if known.valued.contains(&name) {
            kept.push(arg);
            if !inline {
                follows(&mut kept, true);
            }
        } else {
            // In a command a word behind is more likely meant for the command.
            if !inline && chosen.is_none() {
                follows(&mut kept, false);
            }
            let hint = known.nearest(&name).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            warnings.push(format!("ignored the unknown option `{}`{hint}", shorten(&name)));
        }
    }
    Kept { args: kept, warnings, command: chosen }
}

#[derive(Debug)]
struct Known {
    /// With their hyphens.
    flags: Vec<String>,
    valued: Vec<String>,
    commands: Vec<String>,
}

impl Known {
    /// The options of the program, or of one command.
    fn collect(&mut self, command: &clap::Command) {
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let list = if arg.get_action().takes_values() { &mut self.valued } else { &mut self.flags };
            list.extend(arg.get_long().map(|long| format!("--{long}")));
            list.extend(arg.get_short().map(|short| format!("-{short}")));
        }
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let all = self.flags.iter().chain(&self.valued).filter(|known| known.starts_with("--"));
        let (distance, known) = all.map(|known| (strsim::levenshtein(name, known), known)).min()?;
        (distance <= 3 && distance * 3 < known.len()).then_some(known)
    }
}

/// A word that nothing asked for. A long one may be a key in the wrong place.
fn stray(word: &str) -> String {
    match word.chars().count() {
        0..=24 => format!("the word `{}`", shorten(word)),
        length => format!("a word of {length} characters"),
    }
}

fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(line: &str, expect: Expect) {
        let args = std::iter::once("proxy").chain(line.split_whitespace()).map(OsString::from);
        let Kept { args: kept, warnings, command: _ } = known_only(&Cli::command(), args);
        let kept: Vec<_> = kept.iter().skip(1).map(|arg| arg.to_string_lossy()).collect();
        let lines: Vec<String> = std::iter::once(kept.join(" ")).chain(warnings.into_iter().map(|w| format!("! {w}"))).collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn the_known_passes() {
        check("", expect![""]);
        check("--port 1 --stateless --transport=stdio -V", expect!["--port 1 --stateless --transport=stdio -V"]);
        check("--port 1 tools --json --log-level debug", expect!["--port 1 tools --json --log-level debug"]);
        check("call echo {} --json --config x", expect!["call echo {} --json --config x"]);
        check("call -- -odd {}", expect!["call -- -odd {}"]);
        check("help call", expect!["help call"]);
        check("health --url http://x", expect!["health --url http://x"]);
        check("--port 1 check command node --odd -e x", expect!["--port 1 check command node --odd -e x"]);
        check("--allowed-host a --allowed-host b", expect!["--allowed-host a --allowed-host b"]);
    }

    #[test]
    fn an_option_of_a_command_means_nothing_without_it() {
        check(
            "--json --url http://x --port 1",
            expect![[r#"
            --port 1
            ! ignored the unknown option `--json`
            ! ignored the unknown option `--url`"#]],
        );
        check(
            "health --json stray",
            expect![[r#"
            health
            ! ignored the unknown option `--json`
            ! ignored the word `stray`"#]],
        );
    }

    #[test]
    fn what_may_be_repeated_is_kept() {
        let args = ["proxy", "--allowed-host", "a", "--port", "1", "--allowed-host=b", "--port", "2"].map(OsString::from);
        let Parsed { cli, warnings, is_check: _ } = parse(args);
        let http = cli.expect("all of it is known").options.http;
        assert_eq!((http.allowed_host, http.port.as_deref(), warnings.len()), (vec!["a".to_owned(), "b".to_owned()], Some("2"), 0));
    }

    #[test]
    fn the_unknown_is_taken_out_with_its_value() {
        check(
            "--inspector on --port 1",
            expect![[r#"
            --port 1
            ! ignored the unknown option `--inspector`"#]],
        );
        check(
            "--inspector --port 1",
            expect![[r#"
            --port 1
            ! ignored the unknown option `--inspector`"#]],
        );
        check(
            "--inspector=on -x y stray",
            expect![[r#"

            ! ignored the unknown option `--inspector`
            ! ignored the unknown option `-x`
            ! ignored the word `stray`"#]],
        );
        check(
            "--x tools --y z",
            expect![[r#"
            tools
            ! ignored the unknown option `--x`
            ! ignored the unknown option `--y`
            ! ignored the word `z`"#]],
        );
        check(
            "call --y echo {}",
            expect![[r#"
            call echo {}
            ! ignored the unknown option `--y`"#]],
        );
        check(
            "-- tools",
            expect![[r#"

            ! ignored the word `tools`"#]],
        );
    }

    #[test]
    fn a_slip_is_pointed_out_and_no_secret_shown() {
        check(
            "--plugedin-api-key=pg_in_secret",
            expect![[r#"

            ! ignored the unknown option `--plugedin-api-key`; did you mean `--pluggedin-api-key`?"#]],
        );
        check(
            "--prot 1",
            expect![[r#"

                ! ignored the unknown option `--prot`"#]],
        );
        check(
            "pg_in_0123456789012345678901234567890123456789",
            expect![[r#"

            ! ignored a word of 46 characters"#]],
        );
    }
}
