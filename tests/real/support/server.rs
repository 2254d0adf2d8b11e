//! The servers' entries in the configuration file, and those servers that somebody has to start first because they listen.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{
    eventually,
    published::{Node, Python},
};

/// `server-everything`, started by whoever reads the configuration.
pub(crate) fn everything(node: &Node) -> Value {
    json!({"command": "node", "args": [node.server("everything"), "stdio"]})
}

/// `server-filesystem`, serving one directory.
pub(crate) fn filesystem(node: &Node, directory: &Path) -> Value {
    json!({"command": "node", "args": [node.server("filesystem"), directory]})
}

/// `server-memory`, keeping its graph in one file.
pub(crate) fn memory(node: &Node, file: &Path) -> Value {
    json!({"command": "node", "args": [node.server("memory")], "env": {"MEMORY_FILE_PATH": file}})
}

/// `mcp-server-time`.
pub(crate) fn time(python: &Python) -> Value {
    json!({"command": python.time(), "args": ["--local-timezone", "Etc/UTC"]})
}

/// `server-everything` listening on a port, with the words of its own command line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listens {
    Sse,
    StreamableHttp,
}

/// A server of which we are the parent. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Listening {
    transport: Listens,
    port: u16,
    process: Child,
}

impl Listening {
    pub(crate) async fn start(node: &Node, transport: Listens) -> Result<Self> {
        // The server cannot be told to choose its own port, so another process may take the one that was free a moment ago.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if let Some(listening) = Self::start_at(node, transport, port).await? {
                return Ok(listening);
            }
        }
        bail!("server-everything ends as soon as it has started")
    }

    /// Ends the server, which forgets its sessions, and starts it again in the same place.
    pub(crate) async fn restart(self, node: &Node) -> Result<Self> {
        let Self { transport, port, mut process } = self;
        process.kill().await?;
        Self::start_at(node, transport, port).await?.context("its port is still free")
    }

    /// `None` where the server ends at once, since the port is taken.
    async fn start_at(node: &Node, transport: Listens, port: u16) -> Result<Option<Self>> {
        let mode = match transport {
            Listens::Sse => "sse",
            Listens::StreamableHttp => "streamableHttp",
        };
        let mut process = Command::new("node")
            .args([&node.server("everything"), mode])
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let up = eventually("port of server-everything", async || {
            if process.try_wait().is_ok_and(|status| status.is_some()) {
                return Some(false);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok().then_some(true)
        });
        Ok(up.await?.then_some(Self { transport, port, process }))
    }

    /// Its entry in the configuration file.
    pub(crate) fn entry(&self) -> Value {
        let port = self.port;
        match self.transport {
            Listens::Sse => json!({"type": "sse", "url": format!("http://127.0.0.1:{port}/sse")}),
            Listens::StreamableHttp => {
                json!({"type": "streamable-http", "url": format!("http://127.0.0.1:{port}/mcp")})
            }
        }
    }
}
