//! The built proxy against servers that other people published: from npm the MCP project's `server-everything` (over stdio,
//! HTTP+SSE and Streamable HTTP), `server-filesystem` and `server-memory`, from `PyPI` `mcp-server-time`, all by pinned version.
//!
//! `tests/it` scripts both sides and reaches every corner; here nothing is ours but the proxy. The client is rmcp's typed one, the
//! MCP Inspector, or, where the very JSON matters, a few lines that read and write it (`support/raw.rs`).
//!
//! The servers are installed once, below `target/` (`support/published.rs`). Where Node or Python is missing the tests say
//! `skipped: …` and pass; where the variable `CI` is set they fail instead.

#![expect(clippy::disallowed_methods, reason = "these tests start the proxy, Node and Python themselves, and ask whether this is CI")]

mod commands;
mod everything;
mod filesystem;
mod inspector;
mod memory;
mod same;
mod support;
mod time;
mod together;
