//! The MCP Inspector, the client that the MCP project publishes, on its command line.

use std::{fs, process::Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use super::support::{PROXY, published::Node, server, within};

/// Runs one method through Inspector, proxy and server, each started by the one before.
async fn inspect(node: &Node, method: &[&str]) -> Result<Value> {
    let scratch = tempfile::tempdir()?;
    let servers = scratch.path().join("servers.json");
    fs::write(&servers, json!({"mcpServers": {"everything": server::everything(node)}}).to_string())?;
    let client = scratch.path().join("client.json");
    let proxy = json!({"command": PROXY, "args": ["--config", servers, "--list-wait", "60"]});
    fs::write(&client, json!({"mcpServers": {"proxy": proxy}}).to_string())?;

    // It looks for a `package.json` above its working directory, where there must be none.
    let folder = scratch.path().join("empty");
    fs::create_dir(&folder)?;
    let mut inspector = Command::new("node");
    inspector.current_dir(folder);
    inspector.arg(node.inspector()).args(["--cli", "--server", "proxy", "--config"]).arg(client).args(method);
    inspector.stdin(Stdio::null()).env("HOME", scratch.path()).env_remove("PLUGGEDIN_API_KEY").kill_on_drop(true);
    let output = within("end of the Inspector", inspector.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the Inspector ended with {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("not JSON: {}\n{said}", String::from_utf8_lossy(&output.stdout)))
}

#[tokio::test]
async fn it_lists_tools() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let listed = inspect(node, &["--method", "tools/list"]).await?;
    let names = listed["tools"].as_array().context("tools")?.iter().map(|tool| &tool["name"]).collect::<Vec<_>>();
    for name in ["everything__echo", "pluggedin_setup", "pluggedin_discover_tools"] {
        assert!(names.contains(&&json!(name)), "no {name}: {names:?}");
    }
    Ok(())
}

#[tokio::test]
async fn it_calls_a_tool() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let args = ["--method", "tools/call", "--tool-name", "everything__get-sum", "--tool-arg", "a=2", "--tool-arg", "b=40"];
    let result = inspect(node, &args).await?;
    assert_eq!(result["content"][0]["text"], "The sum of 2 and 40 is 42.");
    Ok(())
}
