//! What a refusal says: one sentence, the rule, and what the operator may do about it.

use std::{borrow::Cow, fmt};

/// Why something is not allowed. It is made of our own words and of what the operator wrote in the clear; it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub rule: Rule,
    /// What was refused, and why, as one sentence without a full stop.
    pub what: String,
    /// What the operator may do about it.
    pub hint: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(rule: Rule, what: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { rule, what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (rule `{}`); hint: {}", self.what, self.rule.name(), self.hint)
    }
}

impl std::error::Error for Refusal {}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $name:literal,)+) => {
        /// The rules by which something is refused. Their names are shown to operators and stay as they are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])* $rule,)+
        }

        impl Rule {
            /// As `check` and errors show it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }
        }
    };
}

rules! {
    // URLs and addresses
    /// Not a URL, or one with characters that parsers read differently.
    UrlSyntax = "url-syntax",
    Scheme = "scheme",
    Userinfo = "userinfo",
    Port = "port",
    /// `localhost`, a single label, or a name that only a private network has.
    HostName = "host-name",
    PrivateAddress = "private-address",
    MetadataAddress = "metadata-address",
    /// The proxy's own listener.
    OwnAddress = "own-address",
    /// An address that a server named, or a redirect, leads to another origin.
    OtherOrigin = "other-origin",
    // Commands
    /// The operator has switched STDIO servers of the App off.
    StdioServers = "stdio-servers",
    CommandName = "command-name",
    CommandNotFound = "command-not-found",
    ControlCharacter = "control-character",
    ArgumentSize = "argument-size",
    InlineCode = "inline-code",
    EnvName = "env-name",
    EnvValue = "env-value",
    /// A variable that makes a program load or run code.
    EnvHook = "env-hook",
    // Headers
    HeaderName = "header-name",
    HeaderValue = "header-value",
    HeaderSize = "header-size",
    /// A header that is the proxy's own to set.
    HeaderReserved = "header-reserved",
    // Files
    /// Not UTF-8, or too large.
    EnvFile = "env-file",
    // Questions
    /// A line of `check --batch` that asks nothing.
    BadCase = "bad-case",
}
