//! The proxy, serving Streamable HTTP.

use std::process::Stdio;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use super::{eventually, log::Log, reference::Reference, session};

/// A proxy that listens. Dropping it ends it, and shows its log unless [`Front::close`] was called.
#[derive(Debug)]
pub(crate) struct Front {
    servers: Value,
    args: Vec<&'static str>,
    port: u16,
    process: Child,
    // The order matters: the log is shown before the directory that holds it goes.
    log: Log,
    _scratch: TempDir,
}

impl Front {
    /// In front of the reference server alone, whose names it keeps.
    pub(crate) async fn start(reference: &Reference, args: &[&'static str]) -> Result<Self> {
        let servers = json!({"reference": {"type": "streamable-http", "url": reference.url()}});
        Self::start_at(servers, args.to_vec(), 0).await
    }

    /// Ends the proxy without a word, and starts it again in the same place.
    pub(crate) async fn restart(self) -> Result<Self> {
        let Self { servers, args, port, mut process, mut log, _scratch } = self;
        process.kill().await?;
        log.forget();
        Self::start_at(servers, args, port).await
    }

    async fn start_at(servers: Value, args: Vec<&'static str>, port: u16) -> Result<Self> {
        let scratch = TempDir::new()?;
        let (log, stderr) = Log::open(scratch.path())?;
        let mut command = session::proxy(scratch.path(), &servers)?;
        command.args(["--transport", "streamable-http", "--tool-prefix", "none", "--port", &port.to_string()]).args(&args);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn()?;
        let port = eventually("address of the proxy", async || {
            if let Some(port) = port_in(&log.text()) {
                return Some(Ok(port));
            }
            let ended = process.try_wait().ok().flatten()?;
            Some(Err(ended))
        });
        match port.await? {
            Ok(port) => Ok(Self { servers, args, port, process, log, _scratch: scratch }),
            Err(ended) => bail!("the proxy ends as soon as it has started: {ended}"),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Ends the proxy after a scenario that went well.
    pub(crate) async fn close(mut self) -> Result<()> {
        if let Some(ended) = self.process.try_wait()? {
            bail!("the proxy has ended by itself: {ended}");
        }
        self.process.kill().await?;
        self.log.forget();
        Ok(())
    }
}

/// The port that the log names once the proxy listens.
fn port_in(log: &str) -> Option<u16> {
    let (_, address) = log.split_once("http://127.0.0.1:")?;
    let (port, _) = address.split_once("/mcp")?;
    port.parse().ok()
}
