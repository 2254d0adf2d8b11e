//! MCP facts without I/O: raw messages, revisions, error codes, server
//! descriptions and names. Nothing here knows how a message travels.

pub mod capability;
pub mod declared;
pub mod error;
pub mod header;
pub mod json;
pub mod log_level;
pub mod message;
pub mod name;
pub mod revision;
pub mod server;
