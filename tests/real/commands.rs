//! `tools` and `call`, the commands for people, on published servers; and the example of the README, as it stands.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::support::{
    PROXY,
    published::{Node, Python},
    server, within,
};

/// A configuration of one server that works and one that does not exist.
fn configuration(node: &Node) -> Result<(TempDir, PathBuf)> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("mcp.json");
    let servers = json!({"everything": server::everything(node), "Broken": {"command": "no-such-program-anywhere"}});
    fs::write(&file, json!({"mcpServers": servers}).to_string())?;
    Ok((scratch, file))
}

/// Runs a command of the proxy. It finds the person's npm cache, for the example, but no key and no stored catalog of theirs.
async fn proxy<A: AsRef<OsStr>>(config: &Path, args: &[A]) -> Result<Output> {
    let scratch = tempfile::tempdir()?;
    let mut command = Command::new(PROXY);
    command.args(args).arg("--config").arg(config).env_remove("PLUGGEDIN_API_KEY");
    command.env("XDG_CACHE_HOME", scratch.path()).env("XDG_CONFIG_HOME", scratch.path());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).kill_on_drop(true);
    Ok(within("end of the command", command.output()).await??)
}

fn stdout_json(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| {
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        format!("not JSON: {stdout}\n{}: {stderr}", output.status)
    })
}

fn server<'a>(listed: &'a Value, name: &str) -> Result<&'a Value> {
    let servers = listed["servers"].as_array().context("servers")?;
    servers.iter().find(|server| server["name"] == name).with_context(|| format!("no `{name}`: {listed}"))
}

#[tokio::test]
async fn tools_tells_of_every_server() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let (_scratch, config) = configuration(node)?;
    let listed = stdout_json(&proxy(&config, &["tools", "--json"]).await?)?;

    let everything = server(&listed, "everything")?;
    assert_eq!((&everything["transport"], &everything["error"]), (&json!("stdio"), &Value::Null));
    assert!(everything["connectMs"].is_number() && everything["tools"].as_u64() > Some(5), "{everything}");
    let broken = server(&listed, "Broken")?;
    assert_eq!((&broken["slug"], &broken["tools"]), (&json!("broken"), &json!(0)));
    assert!(broken["error"].as_str().is_some_and(|error| error.contains("no-such-program-anywhere")), "{broken}");

    let tools = listed["tools"].as_array().context("tools")?;
    let echo = tools.iter().find(|tool| tool["name"] == "everything__echo").context("echo is listed")?;
    assert_eq!((&echo["server"], &echo["original"]), (&json!("everything"), &json!("echo")));
    Ok(())
}

#[tokio::test]
async fn tools_prints_a_table() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let (_scratch, config) = configuration(node)?;
    let table = String::from_utf8(proxy(&config, &["tools"]).await?.stdout)?;
    for word in ["everything", "everything__echo", "Broken"] {
        assert!(table.contains(word), "no {word}:\n{table}");
    }
    assert!(!table.contains('\u{1b}') && !table.contains('\r'), "colours or a spinner in a pipe:\n{table:?}");
    Ok(())
}

#[tokio::test]
async fn call_prints_the_result() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let (_scratch, config) = configuration(node)?;
    let called = proxy(&config, &["call", "everything__echo", r#"{"message": "from the shell"}"#]).await?;
    assert!(called.status.success(), "{called:?}");
    assert!(String::from_utf8(called.stdout)?.contains("Echo: from the shell"));

    let failed = proxy(&config, &["call", "everything__get-sum", r#"{"a": "two"}"#]).await?;
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let unknown = proxy(&config, &["call", "everything__no-such-tool"]).await?;
    assert!(!unknown.status.success() && !unknown.stderr.is_empty(), "{unknown:?}");
    Ok(())
}

/// One server from npm and one from `PyPI`, and one that is not there.
#[tokio::test]
async fn doctor_examines_published_servers() -> Result<()> {
    let (Some(node), Some(python)) = (Node::installed(), Python::installed()) else {
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let config = scratch.path().join("mcp.json");
    let servers = json!({"everything": server::everything(node), "time": server::time(python)});
    fs::write(&config, json!({"mcpServers": servers}).to_string())?;
    let output = proxy(&config, &["doctor", "--json"]).await?;
    let report = stdout_json(&output)?;
    assert_eq!((output.status.code(), &report["ok"]), (Some(0), &json!(true)), "{report:#}");
    let checks = report["checks"].as_array().context("checks")?;
    for (group, name, words) in [
        ("programs", "everything", "node"),
        ("programs", "node", "v"),
        ("programs", "time", "mcp-server-time"),
        ("servers", "everything connect", "stdio"),
        ("servers", "everything list", "resources"),
        ("servers", "everything ping", "`ping`"),
        ("servers", "time connect", "mcp-time"),
        ("servers", "time list", "2 tools"),
        // Which of the two it is asked depends on the revision that its version speaks.
        ("servers", "time ping", "it answers"),
    ] {
        let check = checks.iter().find(|check| check["group"] == group && check["name"] == name);
        let check = check.with_context(|| format!("no {name}: {report:#}"))?;
        assert!(check["status"] != "fail" && check["message"].as_str().is_some_and(|message| message.contains(words)), "{check}");
    }

    let (_scratch, config) = configuration(node)?;
    let output = proxy(&config, &["doctor"]).await?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no-such-program-anywhere") && text.contains("hint: "), "{text}");
    Ok(())
}

/// The first command of the README, on the very file that it names. `npx` fetches the servers, so these are the only tests that
/// use a cache outside `target/`.
#[tokio::test]
async fn the_example_runs() -> Result<()> {
    if Node::installed().is_none() {
        return Ok(());
    }
    let listed = stdout_json(&proxy(&example(), &["tools", "--json", "--list-wait", "100"]).await?)?;
    for name in ["everything", "filesystem"] {
        let server = server(&listed, name)?;
        assert!(server["tools"].as_u64() > Some(5) && server["error"].is_null(), "{server}");
    }
    Ok(())
}

/// One version of each server in the whole repository, so that what the README shows is what is tested.
#[test]
fn the_example_names_the_tested_versions() -> Result<()> {
    let example = fs::read_to_string(example())?;
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/package.json"))?;
    let tested = serde_json::from_str::<Value>(&manifest)?;
    for name in ["everything", "filesystem"] {
        let package = format!("@modelcontextprotocol/server-{name}");
        let version = tested["dependencies"][&package].as_str().context("a pinned version")?;
        assert!(example.contains(&format!("\"{package}@{version}\"")), "{package} is tested as {version}");
    }
    Ok(())
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mcp.json")
}
