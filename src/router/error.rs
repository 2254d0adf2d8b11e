//! Why a call failed, in the caller's words. How it is shown, as a result or as a
//! JSON-RPC error, is `front::rescue`'s to say.

use std::time::Duration;

use crate::{
    catalog::{Ambiguous, BadCursor, integrity::Day},
    downstream::{LinkError, Unavailable},
    security::rate_limit::Exceeded,
};

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("method not found: {0}")]
    UnknownMethod(String),
    #[error("invalid parameters: {0}")]
    InvalidParams(String),
    #[error("unknown tool: {name}; hint: list the tools again, or call pluggedin_discover_tools")]
    UnknownTool { name: String },
    /// SECURITY: it may tell the model something else than what was trusted (threat model T20).
    #[error(
        "the tool {name} has changed since {since} and is withheld; hint: its owner can look at it with `pluggedin-mcp-proxy tools` and accept it with `pluggedin-mcp-proxy tools --accept`"
    )]
    ChangedTool { name: String, since: Day },
    #[error("several servers have a tool `{name}`; hint: call one of {}", .names.join(", "))]
    AmbiguousTool { name: String, names: Vec<String> },
    #[error("unknown prompt: {name}; hint: list the prompts again")]
    UnknownPrompt { name: String },
    #[error("resource not found: {uri}")]
    UnknownResource { uri: String },
    #[error("the server {server} does not tell of changes of single resources")]
    NoSubscriptions { server: String },
    #[error("this session has subscribed to {limit} resources already")]
    TooManySubscriptions { limit: usize },
    #[error(transparent)]
    BadCursor(#[from] BadCursor),
    #[error(transparent)]
    TooOften(Exceeded),
    /// The App has to be asked who answers, and has been asked too often.
    #[error("the plugged.in App has been asked too often to find out who answers this; try again in {} s", .wait.as_secs_f64().ceil())]
    AppTooOften { wait: Duration },
    #[error("what the server {server} asked of the client was not answered: {why}")]
    Unanswered { server: String, why: String },
    #[error("the server {server} did not finish within {} s in all (`--call-timeout-max`); it may still be working", .after.as_secs_f32())]
    TooLong { server: String, after: Duration },
    #[error("the call needs the capability `{}`, which the client has not declared", .path.join("."))]
    MissingCapability { path: &'static [&'static str] },
    #[error("the server wants a URL to be visited first, and that was declined")]
    Declined,
    #[error("{limit} calls wait for their clients already; try again later")]
    TooManyRounds { limit: usize },
    #[error("the server {server} asked the client {limit} times in a row in one call; it was given up")]
    EndlessRounds { server: String, limit: usize },
    #[error("the server {server} is not available: {error}")]
    Unavailable { server: String, error: Unavailable },
    #[error("the server {server} did not answer within {} s; it may still be working", .after.as_secs_f32())]
    Timeout { server: String, after: Duration },
    #[error(
        "the server {server} could not be called within {} s, since the plugged.in App, which knows how to reach it, is away: {why}; hint: try again later; started with `--cache-servers`, the proxy keeps what it takes to call servers while the App is away", .after.as_secs_f32()
    )]
    AppAway { server: String, why: String, after: Duration },
    #[error("the server {server} could not be connected within {} s", .after.as_secs_f32())]
    ConnectTimeout { server: String, after: Duration },
    #[error("the call to the server {server} failed: {error}{}", if error.not_sent() { "" } else { "; it may or may not have taken effect" })]
    Link { server: String, error: LinkError },
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Client,
    Server,
    /// Nobody's: the same will be right in a while.
    Rate,
}

impl CallError {
    pub fn malformed(error: &serde_json::Error) -> Self {
        Self::InvalidParams(error.to_string())
    }

    pub fn ambiguous(name: &str, Ambiguous { names }: Ambiguous) -> Self {
        Self::AmbiguousTool { name: name.to_owned(), names }
    }

    /// After what time the same may be asked again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooOften(exceeded) => Some(exceeded.wait),
            Self::AppTooOften { wait } => Some(*wait),
            _ => None,
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::UnknownMethod(_)
            | Self::InvalidParams(_)
            | Self::UnknownTool { .. }
            | Self::AmbiguousTool { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownResource { .. }
            | Self::NoSubscriptions { .. }
            | Self::TooManySubscriptions { .. }
            | Self::MissingCapability { .. }
            | Self::BadCursor(_) => Blame::Client,
            Self::TooOften(_) | Self::AppTooOften { .. } => Blame::Rate,
            Self::ChangedTool { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::ConnectTimeout { .. }
            | Self::AppAway { .. }
            | Self::TooLong { .. }
            | Self::Unanswered { .. }
            | Self::Declined
            | Self::TooManyRounds { .. }
            | Self::EndlessRounds { .. }
            | Self::Link { .. } => Blame::Server,
        }
    }
}
