//! rmcp's typed client on the proxy's stdio, or on a server's own: the same scenario can be told of both.

use std::{ffi::OsStr, fmt, fs, path::Path, process::Stdio};

use anyhow::{Context, Result};
use rmcp::{
    ClientHandler, Peer, RoleClient, ServiceExt,
    model::{CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ProgressNotificationParam},
    service::{NotificationContext, PeerRequestOptions, RequestHandle, RunningService},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, sync::mpsc};

use super::{PROXY, arguments, log::Log, text, within};

/// A connected client. Scenarios that fail show what the process behind it wrote to stderr.
pub(crate) struct Session {
    service: RunningService<RoleClient, Listener>,
    progress: mpsc::UnboundedReceiver<ProgressNotificationParam>,
    process: u32,
    tool_prefix: &'static str,
    // The order matters: the log is shown before the directory that holds it goes.
    log: Log,
    _scratch: TempDir,
}

impl Session {
    /// The proxy in front of these servers, `{name: entry}`.
    pub(crate) async fn proxied(servers: Value) -> Result<Self> {
        let scratch = TempDir::new()?;
        let command = proxy(scratch.path(), &servers)?;
        Self::connect(scratch, command, "").await
    }

    /// The same in front of a single server, with its own tool names: `tool("echo")` calls `everything__echo`.
    pub(crate) async fn proxied_everything(entry: Value) -> Result<Self> {
        let scratch = TempDir::new()?;
        let command = proxy(scratch.path(), &json!({"everything": entry}))?;
        Self::connect(scratch, command, "everything__").await
    }

    /// The server itself, without a proxy.
    pub(crate) async fn direct(entry: &Value) -> Result<Self> {
        Self::connect(TempDir::new()?, direct(entry), "").await
    }

    async fn connect(scratch: TempDir, command: Command, tool_prefix: &'static str) -> Result<Self> {
        let (log, stderr) = Log::open(scratch.path())?;
        let (transport, _) = TokioChildProcess::builder(command).stderr(stderr).spawn()?;
        let process = transport.id().context("the process has just started")?;
        let (sender, progress) = mpsc::unbounded_channel();
        let service = within("answer to initialize", Listener { progress: sender }.serve(transport)).await??;
        Ok(Self { service, progress, process, tool_prefix, log, _scratch: scratch })
    }

    /// The process that the client talks to.
    #[cfg(target_os = "linux")]
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    pub(crate) fn peer(&self) -> &Peer<RoleClient> {
        &self.service
    }

    /// The name under which the client sees this tool of the server.
    pub(crate) fn tool(&self, name: &str) -> String {
        format!("{}{name}", self.tool_prefix)
    }

    /// Calls a tool by the server's own name for it.
    pub(crate) async fn call(&self, tool: &str, args: Value) -> Result<CallToolResult> {
        let params = CallToolRequestParams::new(self.tool(tool)).with_arguments(arguments(args));
        Ok(within(tool, self.peer().call_tool(params)).await??)
    }

    /// Calls a tool that answers with one text.
    pub(crate) async fn say(&self, tool: &str, args: Value) -> Result<String> {
        text(&self.call(tool, args).await?)
    }

    /// Begins a call, to watch or to cancel it.
    pub(crate) async fn begin(&self, tool: &str, args: Value) -> Result<RequestHandle<RoleClient>> {
        let params = CallToolRequestParams::new(self.tool(tool)).with_arguments(arguments(args));
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        Ok(self.peer().send_cancellable_request(request, PeerRequestOptions::no_options()).await?)
    }

    /// The next progress notification, of whichever call.
    pub(crate) async fn next_progress(&mut self) -> Result<ProgressNotificationParam> {
        within("progress", self.progress.recv()).await?.context("the session is open")
    }

    /// Ends the session as a client does, by closing the process's standard input.
    pub(crate) async fn close(mut self) -> Result<()> {
        within("end of the process", self.service.cancel()).await??;
        self.log.forget();
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("process", &self.process).finish_non_exhaustive()
    }
}

/// The proxy with these servers in its configuration file, and nothing of the person who runs the tests: no home directory, no key.
pub(crate) fn proxy(scratch: &Path, servers: &Value) -> Result<Command> {
    let config = scratch.join("mcp.json");
    fs::write(&config, serde_json::to_string_pretty(&json!({"mcpServers": servers}))?)?;
    let mut command = bare(PROXY);
    command.args([OsStr::new("--config"), config.as_os_str(), OsStr::new("--list-wait"), OsStr::new("60")]);
    command.env("HOME", scratch).current_dir(scratch);
    Ok(command)
}

/// The server of a configuration entry, started as the proxy would.
pub(crate) fn direct(entry: &Value) -> Command {
    let words = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let mut command = bare(entry["command"].as_str().expect("an entry that can be started has a command"));
    command.args(words(&entry["args"]));
    for (name, value) in entry["env"].as_object().into_iter().flatten() {
        command.env(name, value.as_str().expect("variables are strings"));
    }
    command
}

/// A process with nothing of our environment but where programs are found.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().kill_on_drop(true).stderr(Stdio::null());
    for name in ["PATH", "SystemRoot", "TEMP", "TMP"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The client's side: keeps progress, refuses everything that a server may ask.
#[derive(Debug)]
struct Listener {
    progress: mpsc::UnboundedSender<ProgressNotificationParam>,
}

impl ClientHandler for Listener {
    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        // Nobody listens any more once the scenario has ended.
        self.progress.send(params).ok();
    }
}
