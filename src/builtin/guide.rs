//! What is said of the tools beside their own descriptions: the instructions that go with `initialize`, and the prompt.

use std::fmt::Write;

use bytes::Bytes;
use serde_json::json;

use super::{Area, Definition, Offer, TOOLS, tools};
use crate::catalog::{Catalog, Owner};

/// Of the prompt.
pub(super) const PROMPT: &str = "pluggedin_proxy_capabilities";
const TITLE: &str = "What this proxy can do";
const DESCRIPTION: &str =
    "A tour of the proxy's own tools: knowledge base, documents, notifications, clipboard, memory, and how servers' tools are found";

/// What a model should know of all this, sent with `initialize`: of the tools that are listed, and of no others.
pub fn instructions(catalog: &Catalog) -> String {
    /// Instructions of servers' owners, together, in bytes.
    const OWNERS_MAX: usize = 8_000;
    let is_listed = |definition: &&Definition| matches!(catalog.tool(definition.name), Ok(Some(tool)) if tool.owner == Owner::Builtin);
    let listed: Vec<_> = TOOLS.iter().filter(is_listed).collect();
    let mut text = "This server brings the tools, resources and prompts of several MCP servers together. \
        Most tools' names begin with their server: `{server}__{tool}`."
        .to_owned();
    if !listed.is_empty() {
        text.push_str("\n\nIts own tools:");
    }
    for (area, members) in by_area(&listed) {
        let names: Vec<_> = members.iter().map(|definition| format!("`{}`", definition.name)).collect();
        let _ = write!(text, "\n- {} {}: {}", area.title(), area.purpose(), names.join(", "));
    }
    let start = text.len();
    let mut left_out = Vec::new();
    for (_, server) in catalog.servers().filter(|(_, server)| !server.instructions.is_empty()) {
        let about: Vec<_> = server.instructions.iter().map(|message| message.text.as_str()).collect();
        let about = format!("\n\n## Instructions for tools of {}\n{}", server.name, about.join("\n\n"));
        if text.len() - start + about.len() <= OWNERS_MAX {
            text.push_str(&about);
        } else {
            left_out.push(server.slug.as_str());
        }
    }
    if !left_out.is_empty() {
        let _ = write!(text, "\n\nThere are longer instructions, as prompts, for: {}", left_out.join(", "));
    }
    text
}

fn by_area<'a>(listed: &'a [&'static Definition]) -> impl Iterator<Item = (Area, Vec<&'static Definition>)> + 'a {
    Area::ALL.into_iter().filter_map(|area| {
        let members: Vec<_> = listed.iter().copied().filter(|definition| definition.area == area).collect();
        (!members.is_empty()).then_some((area, members))
    })
}

/// Name and record, for the list of prompts.
pub(super) fn prompt_record() -> (String, Bytes) {
    let record = json!({ "name": PROMPT, "title": TITLE, "description": DESCRIPTION, "arguments": [] });
    (PROMPT.to_owned(), record.to_string().into())
}

/// The `result` of `prompts/get`.
pub(super) fn prompt(offer: Offer, has_key: bool) -> Bytes {
    let listed: Vec<_> = tools(offer).collect();
    let mut text = format!(
        "# {TITLE}\n\nThis proxy brings many MCP servers together behind one. Tools of servers are called `{{server}}__{{tool}}`; \
         `pluggedin_discover_tools` lists them. The proxy has {} tools of its own.\n",
        listed.len()
    );
    for (area, members) in by_area(&listed) {
        let _ = writeln!(text, "\n## {}\n\nIt {}.\n", area.title(), area.purpose());
        for Definition { name, description, .. } in members {
            let _ = writeln!(text, "- `{name}`: {description}");
        }
    }
    if !has_key {
        text.push_str("\nNo plugged.in API key is set, so that only what needs no App works; `pluggedin_setup` says how to set one.\n");
    }
    json!({
        "description": DESCRIPTION,
        "messages": [{ "role": "user", "content": { "type": "text", "text": text } }],
    })
    .to_string()
    .into()
}

/// Names and descriptions of the tools of an area, for those who ask what it is.
pub(super) fn available(area: Area) -> Vec<serde_json::Value> {
    TOOLS
        .iter()
        .filter(|definition| definition.area == area)
        .map(|Definition { name, description, .. }| json!({ "name": name, "description": description }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_promised_that_is_not_listed() {
        let text = instructions(&Catalog::default());
        assert!(TOOLS.iter().all(|definition| !text.contains(definition.name)), "{text}");
    }
}
