//! What a source says about a server, in one form for the App and the local
//! file. It is *not* a running server; that is `downstream::Link`.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use indexmap::IndexMap;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::revision::Revision;
use crate::secret::Secret;

/// Names a server for as long as the proxy runs: the App's UUID, or
/// `file:NAME` for a server of the local file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ServerId(Arc<str>);

impl ServerId {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn of_file(name: &str) -> Self {
        Self(format!("file:{name}").into())
    }

    pub fn is_of_file(&self) -> bool {
        self.0.starts_with("file:")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ServerId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<ServerId> for String {
    fn from(id: ServerId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerId({})", self.0)
    }
}

/// Who wrote the configuration. The security rules differ: what the App says
/// is remote authority, the local file belongs to the owner of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    App,
    File,
}

/// One server, ready to be connected to.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub id: ServerId,
    /// As people wrote it; shown in tables, logs and errors.
    pub name: String,
    /// Prefix of this server's tools, `^[a-z0-9]+(-[a-z0-9]+)*$`. The App gives
    /// it or leaves it out; the file's servers get one from their name.
    pub slug: Option<String>,
    pub origin: Origin,
    pub transport: TransportConfig,
    /// How long one call may take; `None` means the proxy's default.
    pub timeout: Option<Duration>,
    pub tools: ToolFilter,
    /// Goes before what holds for all servers.
    pub isolation: Option<Isolation>,
    /// The revision that the server is spoken to in, where it is not to be found out.
    pub revision: Option<Revision>,
    /// The owner's instructions for models that use this server, one text an
    /// item. Offered as a prompt and as `_meta` of the server's tools.
    pub instructions: Vec<InstructionMessage>,
    /// The App saw a 401 from this server: a hint for error texts.
    pub requires_auth: bool,
}

#[derive(Debug, Clone)]
pub enum TransportConfig {
    Stdio(StdioConfig),
    Http(HttpConfig),
}

impl TransportConfig {
    /// The word that users write for it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Stdio(_) => "stdio",
            Self::Http(http) => match http.kind {
                HttpKind::Sse => "sse",
                HttpKind::Streamable | HttpKind::Auto => "streamable-http",
            },
        }
    }
}

#[derive(Clone)]
pub struct StdioConfig {
    pub command: String,
    pub args: Vec<String>,
    /// Names are public, values may be secrets.
    pub env: IndexMap<String, Secret>,
    pub cwd: Option<PathBuf>,
}

/// SECURITY: people put keys into arguments, and whole command lines into `command` (threat model T17).
impl fmt::Debug for StdioConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command: _, args, env, cwd } = self;
        let names: Vec<_> = env.keys().collect();
        f.debug_struct("StdioConfig").field("args", &args.len()).field("env", &names).field("cwd", cwd).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub struct HttpConfig {
    pub url: String,
    pub kind: HttpKind,
    pub headers: IndexMap<String, Secret>,
}

/// SECURITY: any part of a URL may be a key, also one that no rule has judged yet.
impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, kind, headers } = self;
        let names: Vec<_> = headers.keys().collect();
        f.debug_struct("HttpConfig").field("kind", kind).field("headers", &names).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HttpKind {
    Streamable,
    Sse,
    /// A URL without a type: Streamable HTTP, and HTTP+SSE where the server
    /// answers 4xx to the `initialize` POST (MCP transports, "backwards
    /// compatibility").
    Auto,
}

/// Which of a server's own tool names are shown and callable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ToolFilter {
    /// `None` allows all.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

impl ToolFilter {
    pub fn admits(&self, tool: &str) -> bool {
        let allowed = self.allow.as_ref().is_none_or(|names| names.iter().any(|name| name == tool));
        allowed && !self.deny.iter().any(|name| name == tool)
    }
}

/// Whether the sessions of one workspace share one connection to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// A remote server has a connection for each session; a child process is shared.
    #[default]
    Auto,
    /// Each session has a connection of its own.
    Session,
    Shared,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstructionMessage {
    pub role: InstructionRole,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstructionRole {
    System,
    User,
    Assistant,
}

impl ServerConfig {
    /// A digest of what the connection depends on. Two configurations with the
    /// same fingerprint can keep the same connection; a renamed server, new
    /// instructions or another filter do not restart anything.
    pub fn fingerprint(&self) -> Fingerprint {
        self.digest(ExposeSecret::expose_secret)
    }

    /// Headers are not part of the fingerprint: tokens are renewed while a connection lives.
    pub fn same_headers(&self, other: &Self) -> bool {
        let headers = |config: &Self| match &config.transport {
            TransportConfig::Http(http) => {
                http.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
            }
            TransportConfig::Stdio(_) => Vec::new(),
        };
        headers(self) == headers(other)
    }

    /// As [`Self::fingerprint`], but without secrets, so that it may be stored: what
    /// is run or asked, not with which credentials.
    pub fn shape(&self) -> Fingerprint {
        self.digest(|_| "")
    }

    fn digest(&self, value_of: impl Fn(&Secret) -> &str) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut feed = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        match &self.transport {
            TransportConfig::Stdio(StdioConfig { command, args, env, cwd }) => {
                feed("stdio");
                feed(command);
                feed(&args.len().to_string());
                for arg in args {
                    feed(arg);
                }
                for (name, value) in env {
                    feed(name);
                    feed(value_of(value));
                }
                feed(&cwd.as_ref().map_or_else(String::new, |cwd| cwd.display().to_string()));
            }
            // SECURITY: headers may change without a new connection, so they are left out.
            TransportConfig::Http(HttpConfig { url, kind, headers: _ }) => {
                feed(match kind {
                    HttpKind::Streamable => "http",
                    HttpKind::Sse => "sse",
                    HttpKind::Auto => "auto",
                });
                feed(url);
            }
        }
        if let Some(revision) = self.revision {
            feed(revision.as_str());
        }
        Fingerprint(hash.finalize().into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    pub fn to_hex(self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_do_not_show_what_may_be_secret() {
        let one = |name: &str| IndexMap::from([(name.to_owned(), Secret::from("hidden value"))]);
        let stdio = StdioConfig {
            command: "sh -c hidden".to_owned(),
            args: vec!["--token".to_owned(), "hidden".to_owned()],
            env: one("TOKEN"),
            cwd: None,
        };
        let http = HttpConfig { url: "https://hidden@h.example/hidden?hidden".to_owned(), kind: HttpKind::Auto, headers: one("X-Key") };
        let shown = format!("{:?} {:?}", TransportConfig::Stdio(stdio), TransportConfig::Http(http));
        assert!(!shown.contains("hidden") && shown.contains("TOKEN") && shown.contains("X-Key"), "{shown}");
    }
}
