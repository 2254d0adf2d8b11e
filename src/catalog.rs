//! What clients see: all tools, resources, templates and prompts under one roof,
//! each with its owner. A [`Catalog`] never changes; a new one replaces it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value, value::RawValue};
use tokio::sync::watch;

use crate::protocol::{
    header::ParamHeader,
    json::Object,
    name::{SEPARATOR, template::Template},
    server::{InstructionMessage, ServerId},
};

pub mod build;
mod declared;
pub mod integrity;
pub mod keeper;
mod remembered;
pub mod store;

pub use crate::downstream::ListKind;

/// An immutable picture of everything that can be listed and called.
#[derive(Debug, Default)]
pub struct Catalog {
    servers: IndexMap<ServerId, CatalogServer>,
    tools: IndexMap<String, Tool>,
    /// Servers' own tool names; `None` where several servers have one.
    bare_tools: HashMap<String, Option<usize>>,
    prompts: IndexMap<String, Prompt>,
    /// Other spellings of instruction prompts.
    prompt_aliases: HashMap<String, usize>,
    resources: IndexMap<String, Resource>,
    templates: IndexMap<String, UriTemplate>,
    lists: [List; 4],
    /// What servers have declared that the proxy itself knows nothing of.
    capabilities: Map<String, Value>,
    /// Every server has been asked what it offers, or is not waited for any more.
    pub settled: bool,
}

/// A server as far as names go.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct CatalogServer {
    pub name: String,
    pub slug: String,
    pub instructions: Vec<InstructionMessage>,
    /// The server offers to complete arguments.
    pub completions: bool,
    /// The server has resources, be they listed or not.
    pub resources: bool,
    /// The server itself has said what it offers.
    pub listed: bool,
    /// It is known how to reach it. Otherwise the App has said so in an earlier run, and not yet in this one.
    pub configured: bool,
    /// Capabilities and extensions, by their names.
    declared: Vec<String>,
}

impl CatalogServer {
    /// Whether the server has declared a capability or an extension of this name, with a prefix or without.
    pub fn declares(&self, name: &str) -> bool {
        self.declared.iter().any(|declared| declared.rsplit('/').next() == Some(name))
    }
}

#[derive(Debug, Clone)]
pub struct Tool {
    pub owner: Owner,
    /// The name that the owner knows.
    pub original: String,
    /// It is not what it was when it was trusted.
    pub change: Option<Change>,
    /// Calling it twice is as good as calling it once, by its own word (`readOnlyHint`, `idempotentHint`).
    pub is_repeatable: bool,
    /// The arguments that clients repeat in headers. Absent from most tools.
    pub headers: Option<Arc<[ParamHeader]>>,
}

/// A change that the operator has not accepted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub since: integrity::Day,
    /// Until then the tool is neither listed nor called.
    pub withheld: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The proxy itself.
    Builtin,
    Server(ServerId),
    /// The App listed it, without saying of which server; nobody has claimed it yet.
    Unknown,
}

impl Owner {
    /// The server, where it is one and it is known.
    pub fn server(&self) -> Option<&ServerId> {
        match self {
            Self::Server(server) => Some(server),
            Self::Builtin | Self::Unknown => None,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Prompt {
    /// One of the proxy's own.
    Builtin,
    Forwarded {
        owner: Owner,
        original: String,
    },
    /// The instructions of a server's owner.
    Instructions {
        server: ServerId,
        description: Option<String>,
    },
}

#[derive(Debug, Clone)]
pub struct Resource {
    pub owner: Owner,
    pub original: String,
}

#[derive(Debug, Clone)]
pub struct UriTemplate {
    pub owner: Owner,
    pub original: String,
    /// Matches the URIs as clients write them.
    matcher: Option<Template>,
    /// What clients write before the server's own URI, if anything.
    marker: String,
}

/// One list, ready to be sent: the `result` of each page as JSON text.
#[derive(Debug, Default)]
struct List {
    pages: Vec<Bytes>,
    /// Of the content: two catalogs with the same number list the same.
    generation: u64,
}

/// A cursor that this list did not give out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is unknown or the list has changed since; hint: list again from the start")]
pub struct BadCursor;

/// Where something that a client named is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub owner: Owner,
    /// The name or URI that the owner knows.
    pub original: String,
}

/// Several servers have a tool of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous {
    /// How each can be called.
    pub names: Vec<String>,
}

impl Catalog {
    /// The `result` of a list request.
    ///
    /// # Errors
    /// [`BadCursor`]
    pub fn page(&self, kind: ListKind, cursor: Option<&str>) -> Result<Bytes, BadCursor> {
        let list = &self.lists[kind as usize];
        let index = match cursor {
            None => 0,
            Some(cursor) => list.page_of(cursor).ok_or(BadCursor)?,
        };
        list.pages.get(index).cloned().ok_or(BadCursor)
    }

    /// Changes with the content of the list.
    pub fn generation(&self, kind: ListKind) -> u64 {
        self.lists[kind as usize].generation
    }

    /// By the listed name, `{uuid}__{tool}`, `{slug}__{tool}`, or the bare name
    /// where only one server has it. `Ok(None)` if nobody has it.
    ///
    /// # Errors
    /// [`Ambiguous`] for a bare name that several servers have.
    pub fn tool(&self, name: &str) -> Result<Option<&Tool>, Ambiguous> {
        if let Some(tool) = self.tools.get(name) {
            return Ok(Some(tool));
        }
        // Exactly the known prefix of a known server is taken off; names are never split.
        for (id, server) in &self.servers {
            let rest = name.strip_prefix(id.as_str()).or_else(|| name.strip_prefix(server.slug.as_str()));
            if let Some(tool) = rest.and_then(|rest| rest.strip_prefix(SEPARATOR)).and_then(|original| self.tool_of(id, original)) {
                return Ok(Some(tool));
            }
        }
        match self.bare_tools.get(name) {
            Some(Some(index)) => Ok(self.tools.get_index(*index).map(|(_, tool)| tool)),
            Some(None) => Err(Ambiguous { names: self.named(name) }),
            None => Ok(None),
        }
    }

    /// The server that a tool's name begins with, if it has not said yet what it offers.
    pub fn unlisted_server(&self, name: &str) -> Option<&ServerId> {
        let named = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(SEPARATOR));
        self.servers.iter().find(|(id, server)| !server.listed && (named(&server.slug) || named(id.as_str()))).map(|(id, _)| id)
    }

    fn tool_of(&self, server: &ServerId, original: &str) -> Option<&Tool> {
        self.tools.values().find(|tool| tool.original == original && matches!(&tool.owner, Owner::Server(id) if id == server))
    }

    fn named(&self, original: &str) -> Vec<String> {
        self.tools.iter().filter(|(_, tool)| tool.original == original).map(|(name, _)| name.clone()).collect()
    }

    pub fn prompt(&self, name: &str) -> Option<&Prompt> {
        self.prompts.get(name).or_else(|| {
            let index = self.prompt_aliases.get(name)?;
            self.prompts.get_index(*index).map(|(_, prompt)| prompt)
        })
    }

    /// The owner of a URI: listed, or of the closest template.
    pub fn resource(&self, uri: &str) -> Option<Target> {
        if let Some(Resource { owner, original }) = self.resources.get(uri) {
            return Some(Target { owner: owner.clone(), original: original.clone() });
        }
        let closest = self.templates.values().filter_map(|template| {
            let original = uri.strip_prefix(template.marker.as_str())?;
            Some((template.matcher.as_ref()?.matches(original)?, template, original))
        });
        // The first of equals, so that the answer does not depend on chance.
        let (_, template, original) = closest.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        Some(Target { owner: template.owner.clone(), original: original.to_owned() })
    }

    pub fn template(&self, template: &str) -> Option<&UriTemplate> {
        self.templates.get(template)
    }

    /// The one server that has resources at all, for URIs that nobody listed.
    pub fn only_resource_server(&self) -> Option<&ServerId> {
        let mut servers = self.servers.iter().filter(|(_, server)| server.resources);
        let (id, _) = servers.next()?;
        servers.next().is_none().then_some(id)
    }

    /// Names and descriptions of a list's entries, in order. Reads the pages, so
    /// this is for people's eyes, not for the path of a call.
    pub fn descriptions(&self, kind: ListKind) -> Vec<(String, String)> {
        #[derive(serde::Deserialize)]
        struct Entry {
            #[serde(alias = "uri", alias = "uriTemplate")]
            name: String,
            #[serde(default)]
            description: Option<String>,
        }
        // Raw values in between: a schema may be nested deeper than a parsed value can be.
        let pages = self.lists[kind as usize].pages.iter().filter_map(|page| std::str::from_utf8(page).ok());
        let lists = pages.filter_map(|page| Object::parse(page).ok()?.get(member(kind)));
        let records = lists.flat_map(|list| serde_json::from_str::<Vec<&RawValue>>(list).unwrap_or_default());
        let entries = records.filter_map(|record| serde_json::from_str::<Entry>(record.get()).ok());
        entries.map(|entry| (entry.name, entry.description.unwrap_or_default())).collect()
    }

    /// What servers have declared that the proxy itself knows nothing of, together.
    pub fn capabilities(&self) -> &Map<String, Value> {
        &self.capabilities
    }

    pub fn server(&self, id: &ServerId) -> Option<&CatalogServer> {
        self.servers.get(id)
    }

    pub fn servers(&self) -> impl Iterator<Item = (&ServerId, &CatalogServer)> {
        self.servers.iter()
    }

    pub fn tools(&self) -> impl Iterator<Item = (&str, &Tool)> {
        self.tools.iter().map(|(name, tool)| (name.as_str(), tool))
    }

    pub fn prompts(&self) -> impl Iterator<Item = (&str, &Prompt)> {
        self.prompts.iter().map(|(name, prompt)| (name.as_str(), prompt))
    }

    pub fn resources(&self) -> impl Iterator<Item = (&str, &Resource)> {
        self.resources.iter().map(|(uri, resource)| (uri.as_str(), resource))
    }

    pub fn templates(&self) -> impl Iterator<Item = (&str, &UriTemplate)> {
        self.templates.iter().map(|(uri, template)| (uri.as_str(), template))
    }
}

/// The member of a list's result that holds its entries.
fn member(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tools",
        ListKind::Prompts => "prompts",
        ListKind::Resources => "resources",
        ListKind::Templates => "resourceTemplates",
    }
}

impl List {
    /// A cursor names the list's content and a page of it. It says nothing else,
    /// so any process with the same catalog can answer it.
    fn cursor(generation: u64, page: usize) -> String {
        format!("{generation:016x}-{page}")
    }

    fn page_of(&self, cursor: &str) -> Option<usize> {
        let (generation, page) = cursor.split_once('-')?;
        let page = page.parse().ok()?;
        (u64::from_str_radix(generation, 16) == Ok(self.generation) && Self::cursor(self.generation, page) == cursor).then_some(page)
    }
}

/// The catalog of this moment, and news of the next ones.
#[derive(Debug, Clone)]
pub struct CatalogHandle {
    catalog: watch::Receiver<Arc<Catalog>>,
    /// How long a first answer waits at most for servers that nobody knows yet.
    patience: Duration,
}

impl CatalogHandle {
    pub fn current(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.borrow())
    }

    /// The catalog once every server has been asked, or is not waited for any more.
    pub async fn settled(&self) -> Arc<Catalog> {
        self.settled_within(self.patience).await
    }

    /// As [`settled`](Self::settled), for who can wait no longer than `patience`.
    pub async fn settled_within(&self, patience: Duration) -> Arc<Catalog> {
        {
            let catalog = self.catalog.borrow();
            if catalog.settled {
                return Arc::clone(&catalog);
            }
        }
        let mut receiver = self.catalog.clone();
        let settled = tokio::time::timeout(patience.min(self.patience), receiver.wait_for(|catalog| catalog.settled)).await;
        match settled {
            Ok(Ok(catalog)) => Arc::clone(&catalog),
            Ok(Err(_)) | Err(_) => self.current(),
        }
    }

    /// The catalog once this server has said what it offers, or is gone.
    pub async fn listed(&self, server: &ServerId) -> Arc<Catalog> {
        let mut receiver = self.catalog.clone();
        let listed = receiver.wait_for(|catalog| catalog.server(server).is_none_or(|server| server.listed)).await;
        listed.map_or_else(|_| self.current(), |catalog| Arc::clone(&catalog))
    }

    /// The catalog once it is known how this server is reached, or that it is gone.
    pub async fn configured(&self, server: &ServerId) -> Arc<Catalog> {
        let mut receiver = self.catalog.clone();
        let configured = receiver.wait_for(|catalog| catalog.server(server).is_none_or(|server| server.configured)).await;
        configured.map_or_else(|_| self.current(), |catalog| Arc::clone(&catalog))
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.clone()
    }
}
