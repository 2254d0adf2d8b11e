//! The rules about what the proxy may reach and run. Knows nothing of MCP.
//!
//! Its types are witnesses: `downstream` and `source` act only on what this
//! module has made. What is not allowed is a [`Refusal`].

pub mod check;
pub mod command;
pub mod dotenv;
pub mod egress;
pub mod headers;
pub mod line;
pub mod payload;
pub mod rate_limit;
pub mod redact;
mod refusal;
pub mod seal;
pub mod token;

pub use refusal::{Refusal, Rule};

/// Who wrote the configuration of a server. What the App says is remote authority; who hands the proxy a
/// file may use this machine and its networks as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    App,
    Owner,
}
