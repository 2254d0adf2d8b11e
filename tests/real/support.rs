//! What the scenarios are told with: published servers, a proxy in front of them, and clients that are not ours.

pub(crate) mod front;
pub(crate) mod log;
pub(crate) mod published;
pub(crate) mod raw;
pub(crate) mod reference;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod suite;

use std::{future::Future, time::Duration};

use anyhow::{Context, Result, bail};
use rmcp::model::{CallToolResult, JsonObject};
use serde_json::Value;

/// How long anything may take. Generous: six Node servers on two busy cores start slowly, and only a failure ever waits this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The proxy under test.
pub(crate) const PROXY: &str = env!("CARGO_BIN_EXE_pluggedin-mcp-proxy");

/// Waits for one thing, and says what it was if it does not come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future).await.with_context(|| format!("no {what} within {PATIENCE:?}"))
}

/// Asks again and again until there is an answer. For what cannot be awaited: another process's end, a server's return.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let asking = async {
        loop {
            tick.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    within(what, asking).await
}

/// The arguments of a call, from `json!({…})`.
pub(crate) fn arguments(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("arguments are an object: {other}"),
    }
}

/// The text of a result that is one block of text and no error.
pub(crate) fn text(result: &CallToolResult) -> Result<String> {
    let json = serde_json::to_value(result)?;
    if result.is_error == Some(true) {
        bail!("the tool failed: {json}");
    }
    let text = json["content"][0]["text"].as_str().with_context(|| format!("not a text: {json}"))?;
    Ok(text.to_owned())
}
