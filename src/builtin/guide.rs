//! What is said of the tools beside their own descriptions: the instructions that go with `initialize`, and the prompt.

use std::fmt::Write;

use bytes::Bytes;
use serde_json::json;

use super::{Area, Definition, Offer, TOOLS, tools};
use crate::{
    catalog::{Catalog, Owner, Prompt},
    security::redact,
};

/// Of the prompt.
pub(super) const PROMPT: &str = "pluggedin_proxy_capabilities";
const TITLE: &str = "What this proxy can do";
const DESCRIPTION: &str =
    "A tour of the proxy's own tools: knowledge base, documents, notifications, clipboard, memory, and how servers' tools are found";

/// Of servers' tools. Whoever has chosen another prefix has no use for it, so that it says no more than what is usual.
const NAMES: &str = "Where nothing else is configured, their tools are called `{server}__{tool}`";

/// What a model should know of all this, sent with `initialize`: of the tools that are listed, and of no others.
pub fn instructions(catalog: &Catalog) -> String {
    let is_listed = |definition: &&Definition| matches!(catalog.tool(definition.name), Ok(Some(tool)) if tool.owner == Owner::Builtin);
    let listed: Vec<_> = TOOLS.iter().filter(is_listed).collect();
    let mut text = format!("This server brings the tools, resources and prompts of several MCP servers together. {NAMES}.");
    if !listed.is_empty() {
        text.push_str("\n\nIts own tools:");
    }
    for (area, members) in by_area(&listed) {
        let names: Vec<_> = members.iter().map(|definition| format!("`{}`", definition.name)).collect();
        let _ = write!(text, "\n- {} {}: {}", area.title(), area.purpose(), names.join(", "));
    }
    text.push_str(&of_owners(catalog));
    text
}

/// What the servers' owners have written for the model.
fn of_owners(catalog: &Catalog) -> String {
    /// Together, in bytes.
    const MAX: usize = 8_000;
    /// Prompts that are named where there is no room for their texts.
    const NAMED: usize = 20;
    let mut text = String::new();
    let mut left_out = 0;
    let mut named = Vec::new();
    for (id, server) in catalog.servers().filter(|(_, server)| !server.instructions.is_empty()) {
        let about: Vec<_> = server.instructions.iter().map(|message| message.text.as_str()).collect();
        // SECURITY: a name begins no line of ours.
        let about = format!("\n\n## Instructions for tools of {}\n{}", redact::quote(&server.name, 100), about.join("\n\n"));
        if text.len() + about.len() <= MAX {
            text.push_str(&about);
            continue;
        }
        left_out += 1;
        if named.len() < NAMED {
            let is_its = |prompt: &Prompt| matches!(prompt, Prompt::Instructions { server, .. } if server == id);
            let prompt = catalog.prompts().find(|(_, prompt)| is_its(prompt));
            named.extend(prompt.map(|(name, _)| format!("`{}`", redact::quote(name, 100))));
        }
    }
    if left_out > 0 {
        let _ = write!(text, "\n\nInstructions for {left_out} more servers are prompts: {}", named.join(", "));
        if left_out > named.len() {
            text.push_str(" and others");
        }
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
        "# {TITLE}\n\nThis proxy brings many MCP servers together behind one. {NAMES}; \
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
