//! The built proxy against servers that other people published: from npm the MCP project's `server-everything` (over stdio,
//! HTTP+SSE and Streamable HTTP), `server-filesystem` and `server-memory`, from `PyPI` `mcp-server-time`, all by pinned version.
//!
//! `tests/it` scripts both sides and reaches every corner; here nothing is ours but the proxy. The client is rmcp's typed one, the
//! MCP Inspector, or, where the very JSON matters, a few lines that read and write it (`support/raw.rs`).
//!
//! The proxy's own Streamable HTTP is told by the official conformance suite (`conformance.rs`) and by the official TypeScript client
//! (`official_client.rs`). Behind it stands `node/reference-server.mjs`: nobody publishes a server that has all the suite asks for,
//! so this one is ours, on the official SDK.
//!
//! The servers are installed once, below `target/` (`support/published.rs`). Where Node or Python is missing the tests say
//! `skipped: …` and pass; where the variable `CI` is set they fail instead.

#![expect(clippy::disallowed_methods, reason = "these tests start the proxy, Node and Python themselves, and ask whether this is CI")]

mod commands;
mod conformance;
mod conformance_as_client;
mod dotenv;
mod everything;
mod filesystem;
mod inspector;
mod memory;
mod official_client;
mod same;
mod support;
mod time;
mod together;
