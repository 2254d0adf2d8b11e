//! A client of a few lines that keeps the JSON as it came, and in the order in which it came: rmcp's typed models would lose on both
//! sides what a proxy may have lost on one.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::within;

/// An initialized connection. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Raw {
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    requests: u64,
    _process: Child,
}

/// What came back for one request.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// The notifications before the response, and the requests of the server, but for their ids.
    pub(crate) before: Vec<Value>,
    /// `{"result": …}` or `{"error": …}`: the response without its envelope.
    pub(crate) outcome: Value,
}

impl Raw {
    pub(crate) async fn open(mut command: Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdin = process.stdin.take().context("stdin is piped")?;
        let stdout = BufReader::new(process.stdout.take().context("stdout is piped")?).lines();
        let mut raw = Self { stdin, stdout, requests: 0, _process: process };
        let client = json!({"name": "raw", "version": "1"});
        // What the proxy offers to servers: some of them have more tools for clients that can be asked.
        let capabilities = json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}});
        raw.request("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client})).await?;
        raw.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(raw)
    }

    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Result<Answer> {
        self.requests += 1;
        let id = json!(self.requests);
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await?;

        let mut before = Vec::new();
        loop {
            let mut message = self.receive(method).await?;
            if message.get("method").is_none() {
                assert_eq!(message["id"], id, "an answer to nothing that was asked: {message}");
                let object = message.as_object_mut().context("messages are objects")?;
                object.retain(|member, _| !matches!(member.as_str(), "jsonrpc" | "id"));
                return Ok(Answer { before, outcome: message });
            }
            let id = message.as_object_mut().and_then(|object| object.shift_remove("id"));
            if let Some(id) = id {
                let mut answer = answer_to(message["method"].as_str().unwrap_or_default());
                answer["jsonrpc"] = json!("2.0");
                answer["id"] = id;
                self.send(&answer).await?;
            }
            before.push(message);
        }
    }

    /// All pages of a list, `member` being what the list is called in the result.
    pub(crate) async fn list(&mut self, method: &str, member: &str) -> Result<Vec<Value>> {
        let mut records = Vec::new();
        let mut params = json!({});
        loop {
            let mut outcome = self.request(method, params).await?.outcome;
            let page = outcome["result"][member].as_array_mut().with_context(|| format!("{method} has no {member}"))?;
            records.append(page);
            let Some(cursor) = outcome["result"].get("nextCursor") else {
                return Ok(records);
            };
            params = json!({"cursor": cursor});
        }
    }

    async fn send(&mut self, message: &Value) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stdin.write_all(&line).await?;
        Ok(())
    }

    async fn receive(&mut self, method: &str) -> Result<Value> {
        let line = within(method, self.stdout.next_line()).await??.context("the process closed its stdout")?;
        serde_json::from_str(&line).with_context(|| format!("not JSON on stdout: {line}"))
    }
}

/// What a user and a model would say.
fn answer_to(method: &str) -> Value {
    match method {
        "sampling/createMessage" => {
            let content = json!({"type": "text", "text": "as you like it"});
            json!({"result": {"role": "assistant", "model": "none", "content": content, "stopReason": "endTurn"}})
        }
        "elicitation/create" => json!({"result": {"action": "accept", "content": {"name": "Ada"}}}),
        _ => json!({"error": {"code": -32601, "message": "this client does not answer that"}}),
    }
}
