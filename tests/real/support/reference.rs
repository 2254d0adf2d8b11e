//! Our own servers on the official TypeScript SDK, listening: `node/reference-server.mjs`, with sessions, and
//! `node/modern-server.mjs`, without.

use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{published::Node, within};

/// Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Reference {
    url: String,
    // It ends with its standard input, so even a test run that is killed leaves none behind.
    _process: Child,
}

impl Reference {
    pub(crate) async fn start(node: &Node) -> Result<Self> {
        Self::run(node, "reference-server.mjs").await
    }

    /// One that knows nothing older than 2026-07-28.
    pub(crate) async fn start_modern(node: &Node) -> Result<Self> {
        Self::run(node, "modern-server.mjs").await
    }

    async fn run(node: &Node, script: &str) -> Result<Self> {
        let mut command = Command::new("node");
        command.arg(node.script(script)).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().context("stdout is piped")?;
        let url = within("address of the reference server", BufReader::new(stdout).lines().next_line()).await??;
        Ok(Self { url: url.context("the reference server ends as soon as it has started")?, _process: process })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
