//! The rules about what the proxy may reach and run. Knows nothing of MCP.
//!
//! Its types are witnesses: `downstream` and `source` act only on what this
//! module has made.

pub mod command;
pub mod egress;
pub mod headers;
pub mod token;
