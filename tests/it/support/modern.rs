//! Requests of revision 2026-07-28, which say for themselves who asks.

use super::http::{self, Front, Request, message};
use serde_json::{Value, json};

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

pub(crate) fn modern(id: impl Into<Value>, method: &str, params: Value) -> Value {
    with_metadata(message(id, method, params))
}

/// A message with the metadata that each needs.
fn with_metadata(mut message: Value) -> Value {
    message["params"]["_meta"][VERSION] = json!(MODERN);
    message["params"]["_meta"][CAPABILITIES] = json!({});
    message
}

pub(crate) fn call(tool: &str, arguments: Value) -> Value {
    with_metadata(http::call(1, tool, arguments))
}

/// The request with the headers that belong to its message.
pub(crate) fn ask(front: &Front, message: &Value) -> Request {
    let request = front.post(message).revision(MODERN).header("Mcp-Method", message["method"].as_str().expect("a text"));
    let params = &message["params"];
    let name = match message["method"].as_str() {
        Some("tools/call" | "prompts/get") => params["name"].as_str(),
        Some("resources/read") => params["uri"].as_str(),
        _ => None,
    };
    match name {
        Some(name) => request.header("Mcp-Name", name),
        None => request,
    }
}
