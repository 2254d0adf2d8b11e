//! The proxy's own tools. One table drives listing and dispatch.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rmcp::model::{Tool, ToolAnnotations};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{catalog::Catalog, downstream::Pool, protocol::server::ServerId, source::SourceHandle};

mod discover;
mod setup;

/// One built-in tool.
struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// A JSON Schema.
    input_schema: &'static str,
    read_only: bool,
    idempotent: bool,
    which: Which,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Setup,
    Discover,
}

const TOOLS: [Definition; 2] = [setup::DEFINITION, discover::DEFINITION];

/// What the built-in tools work with.
#[derive(Debug)]
pub struct Builtin {
    source: SourceHandle,
    pool: Pool,
    tracker: TaskTracker,
    token: CancellationToken,
    /// What the App is looking at: one server, or all of them.
    discovering: Arc<Mutex<HashSet<Option<ServerId>>>>,
}

/// A tool's text, and whether it is bad news.
struct Outcome {
    text: String,
    is_error: bool,
}

impl Outcome {
    fn ok(text: String) -> Self {
        Self { text, is_error: false }
    }

    fn error(text: String) -> Self {
        Self { text, is_error: true }
    }

    /// A `CallToolResult`.
    fn into_result(self) -> Bytes {
        let Self { text, is_error } = self;
        json!({ "content": [{ "type": "text", "text": text }], "isError": is_error }).to_string().into()
    }
}

/// Names and records for `tools/list`.
pub fn records() -> Vec<(String, Bytes)> {
    TOOLS.iter().map(|definition| (definition.name.to_owned(), definition.record())).collect()
}

impl Definition {
    fn record(&self) -> Bytes {
        let schema = serde_json::from_str(self.input_schema).expect("the schema is a constant object");
        let annotations = ToolAnnotations::with_title(self.title)
            .read_only(self.read_only)
            .destructive(false)
            .idempotent(self.idempotent)
            .open_world(false);
        let tool = Tool::new(self.name, self.description, Arc::new(schema)).with_title(self.title).with_annotations(annotations);
        serde_json::to_vec(&tool).expect("a tool is always JSON").into()
    }
}

impl Builtin {
    /// Cancelling `token` ends what runs in the background; `tracker` waits for that.
    pub fn new(source: SourceHandle, pool: Pool, tracker: TaskTracker, token: CancellationToken) -> Self {
        Self { source, pool, tracker, token, discovering: Arc::default() }
    }

    /// The `result` of `tools/call`. `name` stands in the table.
    pub fn call(&self, name: &str, arguments: Option<&str>, catalog: &Catalog) -> Bytes {
        let Some(definition) = TOOLS.iter().find(|definition| definition.name == name) else {
            return Outcome::error(format!("unknown built-in tool: {name}")).into_result();
        };
        let outcome = match definition.which {
            Which::Setup => read(arguments).map(|arguments| self.setup(&arguments)),
            Which::Discover => read(arguments).map(|arguments| self.discover(&arguments, catalog)),
        };
        outcome.unwrap_or_else(Outcome::error).into_result()
    }
}

/// The arguments of a tool, or a sentence about what is wrong with them.
fn read<T: DeserializeOwned + Default>(arguments: Option<&str>) -> Result<T, String> {
    match arguments {
        None | Some("null") => Ok(T::default()),
        Some(arguments) => serde_json::from_str(arguments).map_err(|error| format!("invalid arguments: {error}")),
    }
}

/// What a model should know of all this, sent with `initialize`.
pub fn instructions(catalog: &Catalog) -> String {
    /// Instructions of servers' owners, together.
    const OWNERS_MAX: usize = 8_000;
    let mut text = "This server brings the tools, resources and prompts of several MCP servers together. \
        Most tools' names begin with their server: `{server}__{tool}`. \
        `pluggedin_discover_tools` lists what is there by callable names, with the state of each server; \
        `pluggedin_setup` explains how to connect it to plugged.in or to a local file."
        .to_owned();
    let start = text.len();
    for (_, server) in catalog.servers().filter(|(_, server)| !server.instructions.is_empty()) {
        let about: Vec<_> = server.instructions.iter().map(|message| message.text.as_str()).collect();
        let about = format!("\n\n## Instructions for tools of {}\n{}", server.name, about.join("\n\n"));
        if text.len() - start + about.len() <= OWNERS_MAX {
            text.push_str(&about);
        }
    }
    text
}

/// A `bool` that may be left out or be `null`.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_tools() {
        for (name, record) in records() {
            let tool: Tool = serde_json::from_slice(&record).expect("rmcp reads what it wrote");
            assert_eq!(tool.name, name);
            assert!(name.starts_with("pluggedin_") && tool.title.is_some() && tool.description.is_some());
            assert_eq!(tool.input_schema["type"], "object");
        }
    }
}
