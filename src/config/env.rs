//! The environment: the names that mean something here, and the only place that reads
//! them.

use std::{collections::HashMap, ffi::OsString, path::PathBuf};

use secrecy::ExposeSecret;

use crate::secret::Secret;

pub const API_KEY: &str = "PLUGGEDIN_API_KEY";
pub const API_KEY_FILE: &str = "PLUGGEDIN_API_KEY_FILE";
pub const API_BASE_URL: &str = "PLUGGEDIN_API_BASE_URL";
pub const APP_ORIGIN: &str = "PLUGGEDIN_APP_ORIGIN";
pub const BUILTIN_TOOLS: &str = "PLUGGEDIN_BUILTIN_TOOLS";
pub const TRANSPORT: &str = "PLUGGEDIN_TRANSPORT";
pub const STATELESS: &str = "PLUGGEDIN_STATELESS";
pub const REQUIRE_API_AUTH: &str = "PLUGGEDIN_REQUIRE_API_AUTH";
pub const AUTH: &str = "PLUGGEDIN_AUTH";
pub const ALLOWED_HOSTS: &str = "PLUGGEDIN_ALLOWED_HOSTS";
pub const ALLOWED_ORIGINS: &str = "PLUGGEDIN_ALLOWED_ORIGINS";
pub const SESSION_TIMEOUT: &str = "PLUGGEDIN_SESSION_TIMEOUT";
pub const MAX_SESSIONS: &str = "PLUGGEDIN_MAX_SESSIONS";
pub const MAX_BODY: &str = "PLUGGEDIN_MAX_BODY";
pub const MAX_CONNECTIONS: &str = "PLUGGEDIN_MAX_CONNECTIONS";
pub const MAX_CALLS: &str = "PLUGGEDIN_MAX_CALLS";
pub const GRACE: &str = "PLUGGEDIN_GRACE";
pub const STDIO_SERVERS: &str = "PLUGGEDIN_STDIO_SERVERS";
pub const PIN_TOOLS: &str = "PLUGGEDIN_PIN_TOOLS";
pub const NO_ACTIVITY: &str = "PLUGGEDIN_NO_ACTIVITY";
pub const MAX_MESSAGE: &str = "PLUGGEDIN_MAX_MESSAGE";
pub const RATE_LIMIT_TOOLS: &str = "PLUGGEDIN_RATE_LIMIT_TOOLS";
pub const RATE_LIMIT_BURST: &str = "PLUGGEDIN_RATE_LIMIT_BURST";
pub const RATE_LIMIT_GLOBAL: &str = "PLUGGEDIN_RATE_LIMIT_GLOBAL";
pub const RATE_LIMIT_API: &str = "PLUGGEDIN_RATE_LIMIT_API";
pub const ALLOW_PRIVATE_NETWORKS: &str = "PLUGGEDIN_ALLOW_PRIVATE_NETWORKS";
pub const ALLOW_PLAIN_HTTP: &str = "PLUGGEDIN_ALLOW_PLAIN_HTTP";
pub const EGRESS_PROXY: &str = "PLUGGEDIN_EGRESS_PROXY";
pub const ALLOW_COMMANDS: &str = "PLUGGEDIN_ALLOW_COMMANDS";
pub const ALLOW_INLINE_CODE: &str = "PLUGGEDIN_ALLOW_INLINE_CODE";
pub const CONFIG: &str = "PLUGGEDIN_CONFIG";
pub const TOOL_PREFIX: &str = "PLUGGEDIN_TOOL_PREFIX";
pub const MAX_TOOL_NAME: &str = "PLUGGEDIN_MAX_TOOL_NAME";
pub const CONNECT: &str = "PLUGGEDIN_CONNECT";
pub const ISOLATION: &str = "PLUGGEDIN_ISOLATION";
pub const IDLE_TIMEOUT: &str = "PLUGGEDIN_IDLE_TIMEOUT";
pub const HEALTH_INTERVAL: &str = "PLUGGEDIN_HEALTH_INTERVAL";
pub const REFRESH_INTERVAL: &str = "PLUGGEDIN_REFRESH_INTERVAL";
pub const CACHE_SERVERS: &str = "PLUGGEDIN_CACHE_SERVERS";
pub const LIST_WAIT: &str = "PLUGGEDIN_LIST_WAIT";
pub const CALL_TIMEOUT: &str = "PLUGGEDIN_CALL_TIMEOUT";
pub const CALL_TIMEOUT_MAX: &str = "PLUGGEDIN_CALL_TIMEOUT_MAX";
pub const LOG_LEVEL: &str = "PLUGGEDIN_LOG_LEVEL";
pub const LOG_FORMAT: &str = "PLUGGEDIN_LOG_FORMAT";
pub const ENV_FILE: &str = "PLUGGEDIN_ENV_FILE";

/// Exactly `false` switches the prefixes of tools off; from the Node proxy.
pub const UUID_TOOL_PREFIXING: &str = "PLUGGEDIN_UUID_TOOL_PREFIXING";
/// Exactly `true` means the log level `debug`; from the Node proxy.
pub const DEBUG: &str = "DEBUG";
/// Wins over `--port`, as in the Node proxy: hosting platforms set it.
pub const PORT: &str = "PORT";
/// The address to listen at; from the Node proxy.
pub const BIND_HOST: &str = "BIND_HOST";

/// Where `pluggedin/credentials.json` is looked for.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";

/// Where listings are kept between runs.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";

/// Where it is kept what tools were.
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";

/// How many proxies stand above this one. Set for children, so that a proxy whose
/// file names the proxy itself does not start itself without end.
pub const DEPTH: &str = "PLUGGEDIN_PROXY_DEPTH";

/// Every variable that is a setting. Of a file named by `--env-file` only these are
/// read. SECURITY: not those that open what the App may do on this machine ([`ALLOW_COMMANDS`], [`ALLOW_INLINE_CODE`]): such a
/// file can come with a project.
pub const SETTINGS: &[&str] = &[
    API_KEY,
    API_KEY_FILE,
    API_BASE_URL,
    APP_ORIGIN,
    BUILTIN_TOOLS,
    TRANSPORT,
    STATELESS,
    REQUIRE_API_AUTH,
    AUTH,
    ALLOWED_HOSTS,
    ALLOWED_ORIGINS,
    SESSION_TIMEOUT,
    MAX_SESSIONS,
    MAX_BODY,
    MAX_CONNECTIONS,
    MAX_CALLS,
    GRACE,
    STDIO_SERVERS,
    PIN_TOOLS,
    NO_ACTIVITY,
    MAX_MESSAGE,
    RATE_LIMIT_TOOLS,
    RATE_LIMIT_BURST,
    RATE_LIMIT_GLOBAL,
    RATE_LIMIT_API,
    CONFIG,
    TOOL_PREFIX,
    MAX_TOOL_NAME,
    CONNECT,
    ISOLATION,
    IDLE_TIMEOUT,
    HEALTH_INTERVAL,
    REFRESH_INTERVAL,
    CACHE_SERVERS,
    LIST_WAIT,
    CALL_TIMEOUT,
    CALL_TIMEOUT_MAX,
    LOG_LEVEL,
    LOG_FORMAT,
    ENV_FILE,
    UUID_TOOL_PREFIXING,
    DEBUG,
    PORT,
    BIND_HOST,
];

/// Settings that open what is closed otherwise. SECURITY: a file that lies in a project must not, even where the operator has named it
/// for its other variables.
pub const OPERATORS: &[&str] = &[ALLOW_PRIVATE_NETWORKS, ALLOW_PLAIN_HTTP, EGRESS_PROXY, ALLOW_COMMANDS, ALLOW_INLINE_CODE];

/// What every child process gets of our own environment: what the official
/// libraries pass on, the language, and where temporary files go. SECURITY: everything
/// else, keys above all, stays here.
const FOR_CHILDREN: &[&str] = if cfg!(windows) {
    &[
        "APPDATA",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMFILES",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "USERNAME",
        "USERPROFILE",
    ]
} else {
    &["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"]
};

/// What the process was started with. A value of its own, so that tests need not touch
/// the real one.
#[derive(Clone, Default)]
pub struct Environment {
    pub variables: HashMap<String, String>,
    pub home: Option<PathBuf>,
    pub working_dir: Option<PathBuf>,
    /// The file of this program.
    pub program: Option<PathBuf>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.len()).finish_non_exhaustive()
    }
}

impl Environment {
    /// Variables that are not text cannot be settings and are left out.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            working_dir: std::env::current_dir().ok(),
            program: std::env::current_exe().ok(),
        }
    }

    /// By the XDG base directory specification.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        let named = self.get(XDG_CACHE_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(self.home.as_ref()?.join(".cache")))
    }

    /// By the XDG base directory specification.
    pub fn state_dir(&self) -> Option<PathBuf> {
        let named = self.get(XDG_STATE_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(self.home.as_ref()?.join(".local").join("state")))
    }

    /// The part that children may see. SECURITY: without a value that holds the key, whatever its name (threat model T15).
    pub fn for_children(&self, key: Option<&Secret>) -> Vec<(OsString, OsString)> {
        let key = key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty());
        let shown = self.variables.iter().filter(|(name, value)| {
            FOR_CHILDREN.iter().any(|shown| names_equal(shown, name)) && !key.is_some_and(|key| value.contains(key))
        });
        let depth = (OsString::from(DEPTH), OsString::from((self.depth() + 1).to_string()));
        shown.map(|(name, value)| (name.into(), value.into())).chain([depth]).collect()
    }

    /// Proxies above this one.
    pub fn depth(&self) -> u32 {
        self.get(DEPTH).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Where programs are looked up.
    pub fn path(&self) -> Option<OsString> {
        self.variables.iter().find(|(name, _)| names_equal("PATH", name)).map(|(_, value)| value.into())
    }

    /// A setting, if it says anything.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| says_something(value))
    }
}

/// Windows does not tell `Path` from `PATH`.
fn names_equal(a: &str, b: &str) -> bool {
    if cfg!(windows) { a.eq_ignore_ascii_case(b) } else { a == b }
}

/// Empty means unset, and so does a placeholder like `${PLUGGEDIN_API_KEY}` that a client
/// passed on without filling it in.
pub(crate) fn says_something(value: &str) -> bool {
    let value = value.trim();
    let placeholder = value.starts_with("${") && value.ends_with('}');
    !value.is_empty() && !placeholder
}
