//! `pluggedin_discover_tools`: what is there, by the names it is called by.

use std::fmt::Write;

use serde::Deserialize;

use super::{Builtin, Definition, Outcome, Which, flag, setup};
use crate::{
    catalog::{Catalog, ListKind, Owner, Prompt},
    downstream::{State, Status},
    protocol::server::{ServerConfig, ServerId},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "pluggedin_discover_tools",
    title: "Discover tools",
    description: "Lists all tools, prompts and resources by the names they are called by, with the state of each server. Also asks plugged.in, in the background, to look at its servers again.",
    input_schema: r#"{"type":"object","properties":{"server_uuid":{"type":"string","format":"uuid","description":"Only this server"},"force_refresh":{"type":"boolean","description":"Have every server asked again, even if that was done a moment ago","default":false}},"additionalProperties":false}"#,
    read_only: true,
    idempotent: false,
    which: Which::Discover,
};

/// Descriptions are shown up to this length.
const DESCRIPTION: usize = 120;
/// Entries of one kind that are shown of one server.
const SHOWN: usize = 200;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Arguments {
    #[serde(default)]
    server_uuid: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    force_refresh: bool,
}

impl Builtin {
    pub(super) fn discover(&self, arguments: &Arguments, catalog: &Catalog) -> Outcome {
        let only = match arguments.server_uuid.as_deref().map(ServerId::new) {
            Some(id) if catalog.server(&id).is_none() => {
                return Outcome::error(format!("invalid arguments: `server_uuid` names no server of this workspace: {id}"));
            }
            only => only,
        };
        self.look_again(only.clone(), arguments.force_refresh);
        Outcome::ok(self.report(catalog, only.as_ref(), arguments.force_refresh))
    }

    /// The App connects to its servers by itself, which takes up to a minute.
    fn look_again(&self, only: Option<ServerId>, force: bool) {
        for (config, status) in self.pool.servers() {
            if matches!(status.state, State::Backoff { .. }) {
                self.pool.demand(&config.id);
            }
        }
        let Some(app) = self.source.app() else { return };
        let source = self.source.clone();
        self.tracker.spawn(async move {
            match app.discover(only.as_ref(), force).await {
                Ok(answer) => {
                    tracing::info!(answer = %answer.message, "discovery finished");
                    source.refresh_now();
                }
                Err(error) => tracing::warn!(%error, "discovery failed"),
            }
        });
    }

    fn report(&self, catalog: &Catalog, only: Option<&ServerId>, forced: bool) -> String {
        let snapshot = self.source.snapshot();
        let servers: Vec<_> = self.pool.servers().into_iter().filter(|(config, _)| only.is_none_or(|only| config.id == *only)).collect();
        let mut text = format!("# {} server{}\n\n{}\n", servers.len(), if servers.len() == 1 { "" } else { "s" }, setup::state(&snapshot));
        if forced && self.source.app().is_some() {
            text.push_str("\nplugged.in looks at its servers again in the background; call this tool once more in half a minute.\n");
        }
        if only.is_none() {
            text.push_str("\n## Built-in tools\n");
            list(
                &mut text,
                &described(catalog, ListKind::Tools, |name| matches!(catalog.tool(name), Ok(Some(tool)) if tool.owner == Owner::Builtin)),
            );
        }
        for (config, status) in &servers {
            server(&mut text, catalog, config, status);
        }
        text
    }
}

fn server(text: &mut String, catalog: &Catalog, config: &ServerConfig, status: &Status) {
    let mine = |owner: &Owner| matches!(owner, Owner::Server(id) if *id == config.id);
    let _ = write!(text, "\n## {} ({}, {})\n", config.name, config.transport.label(), state(status));
    let tools = described(catalog, ListKind::Tools, |name| matches!(catalog.tool(name), Ok(Some(tool)) if mine(&tool.owner)));
    section(text, "Tools", &tools);
    let prompts = described(catalog, ListKind::Prompts, |name| match catalog.prompt(name) {
        Some(Prompt::Forwarded { owner, .. }) => mine(owner),
        Some(Prompt::Instructions { server, .. }) => *server == config.id,
        None => false,
    });
    section(text, "Prompts", &prompts);
    let resources: Vec<_> =
        catalog.resources().filter(|(_, resource)| mine(&resource.owner)).map(|(uri, _)| (uri.to_owned(), String::new())).collect();
    section(text, "Resources", &resources);
    let templates: Vec<_> =
        catalog.templates().filter(|(_, template)| mine(&template.owner)).map(|(uri, _)| (uri.to_owned(), String::new())).collect();
    section(text, "Resource templates", &templates);
    if config.requires_auth {
        text.push_str("plugged.in says that this server wants a sign-in; do that in the App.\n");
    }
}

fn state(status: &Status) -> String {
    match status.error() {
        Some(error) => format!("{}: {error}", status.label()),
        None => status.label().to_owned(),
    }
}

fn section(text: &mut String, title: &str, entries: &[(String, String)]) {
    if !entries.is_empty() {
        let _ = writeln!(text, "{title} ({}):", entries.len());
        list(text, entries);
    }
}

fn list(text: &mut String, entries: &[(String, String)]) {
    for (name, description) in entries.iter().take(SHOWN) {
        let colon = if description.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "- `{name}`{colon}{description}");
    }
    if entries.len() > SHOWN {
        let _ = writeln!(text, "- … and {} more", entries.len() - SHOWN);
    }
}

/// Names with the first line of their descriptions.
fn described(catalog: &Catalog, kind: ListKind, mine: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    catalog.descriptions(kind).into_iter().filter(|(name, _)| mine(name)).map(|(name, text)| (name, shortened(&text))).collect()
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(DESCRIPTION) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
