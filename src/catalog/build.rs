//! Servers, the App's records and live listings in, [`Catalog`] out. Pure: no task, no clock,
//! and the same input gives the same names, order and cursors.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::json;

use super::{Catalog, CatalogServer, Change, List, ListKind, Owner, Prompt, Resource, Tool, UriTemplate, declared, integrity::Changes};
use crate::{
    downstream::Item,
    protocol::{
        header,
        json::{Object, quoted, with_member},
        message::splice,
        name::{self, template::Template},
        server::{InstructionMessage, Origin, ServerConfig, ServerId, ToolFilter},
    },
    source::{Records, ResourceRecord, ToolRecord},
};

/// Entries of one page. Many clients read only the first page, so that pages are
/// large; their purpose is to bound a message, not to be turned.
const PAGE_ITEMS: usize = 2_000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Where a server's instructions stand in the `_meta` of its tools.
const INSTRUCTIONS_KEY: &str = "in.plugged/instructions";
/// They are repeated with each tool, so a long text is left to its prompt.
const INSTRUCTIONS_MAX: usize = 2_000;

/// How tools are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    pub prefix: ToolPrefix,
    /// The longest name.
    pub max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolPrefix {
    #[default]
    Slug,
    Uuid,
    None,
}

/// What a connected server offers, as it wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub tools: Vec<Item>,
    pub prompts: Vec<Item>,
    pub resources: Vec<Item>,
    pub templates: Vec<Item>,
    pub completions: bool,
    /// All that the server has declared that it can do: a JSON object, empty where that is not known.
    pub declared: Bytes,
    /// The server declared the capability, even if its lists are empty.
    pub offers_resources: bool,
    /// From the present connection, not from the store.
    pub live: bool,
}

/// What the proxy itself offers: names and records, as lists show them.
#[derive(Debug, Clone, Default)]
pub struct Own {
    pub tools: Vec<(String, Bytes)>,
    pub prompts: Vec<(String, Bytes)>,
    /// By their URIs.
    pub resources: Vec<(String, Bytes)>,
    /// Names of tools that no server gets, whether they are offered or not. SECURITY: a model takes what is called so for
    /// ours (threat model T19).
    pub reserved: Vec<&'static str>,
}

/// A server as far as names and lists go. What runs it does not matter here.
#[derive(Debug, Clone, Copy)]
pub struct Face<'a> {
    pub id: &'a ServerId,
    pub name: &'a str,
    pub slug: Option<&'a str>,
    pub origin: Origin,
    pub tools: &'a ToolFilter,
    pub instructions: &'a [InstructionMessage],
    /// It is known how to reach it.
    pub configured: bool,
}

impl<'a> Face<'a> {
    pub fn of(config: &'a ServerConfig) -> Self {
        Self {
            id: &config.id,
            name: &config.name,
            slug: config.slug.as_deref(),
            origin: config.origin,
            tools: &config.tools,
            instructions: &config.instructions,
            configured: true,
        }
    }
}

/// Everything that a catalog is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// In the order of their tools.
    pub servers: &'a [Face<'a>],
    /// The App's.
    pub records: &'a Records,
    pub listings: &'a HashMap<ServerId, Arc<Listing>>,
    /// Servers whose tools the App has recorded, now or earlier: of these only what it
    /// lists is on.
    pub recorded: &'a HashSet<ServerId>,
    pub builtin: &'a Own,
    pub naming: Naming,
    /// Tools that are not what they were, and whether they are kept from clients.
    pub changes: &'a HashMap<ServerId, Changes>,
    pub pin: bool,
    pub settled: bool,
}

pub fn build(inputs: Inputs<'_>) -> Catalog {
    let mut builder = Builder { inputs, catalog: Catalog { settled: inputs.settled, ..Catalog::default() }, entries: Default::default() };
    builder.servers();
    builder.capabilities();
    builder.tools();
    builder.prompts();
    builder.resources();
    builder.templates();
    builder.finish()
}

struct Builder<'a> {
    inputs: Inputs<'a>,
    catalog: Catalog,
    /// Records of each list, in order.
    entries: [Vec<Bytes>; 4],
}

impl Builder<'_> {
    fn servers(&mut self) {
        let mut taken = HashSet::new();
        for config in self.inputs.servers {
            let wanted = config.slug.map_or_else(|| name::slug(config.name), str::to_owned);
            let slug = unique(&wanted, &mut taken);
            let listing = self.inputs.listings.get(config.id);
            let server = CatalogServer {
                name: config.name.to_owned(),
                slug,
                instructions: config.instructions.to_vec(),
                completions: listing.is_some_and(|listing| listing.completions),
                resources: listing.is_some_and(|listing| listing.offers_resources),
                listed: listing.is_some_and(|listing| listing.live),
                configured: config.configured,
                declared: listing.map(|listing| declared::names(&listing.declared)).unwrap_or_default(),
            };
            self.catalog.servers.insert(config.id.clone(), server);
        }
    }

    fn capabilities(&mut self) {
        let listings = self.inputs.servers.iter().filter_map(|config| self.inputs.listings.get(config.id));
        self.catalog.capabilities = declared::together(listings.map(|listing| listing.declared.as_ref()));
    }

    fn tools(&mut self) {
        for (name, record) in &self.inputs.builtin.tools {
            self.catalog.tools.insert(
                name.clone(),
                Tool { owner: Owner::Builtin, original: name.clone(), change: None, is_repeatable: false, headers: None },
            );
            self.entries[ListKind::Tools as usize].push(record.clone());
        }
        let mut recorded: HashMap<&ServerId, Vec<&ToolRecord>> = HashMap::new();
        for record in &self.inputs.records.tools {
            recorded.entry(&record.server).or_default().push(record);
        }
        for config in self.inputs.servers {
            let records = recorded.get(config.id).map(Vec::as_slice).unwrap_or_default();
            match self.inputs.listings.get(config.id) {
                Some(listing) => {
                    let judged = self.inputs.recorded.contains(config.id);
                    for item in visible(config, judged.then_some(records), &listing.tools) {
                        self.tool(config, &item.key, &item.json);
                    }
                }
                None => {
                    for record in records.iter().filter(|record| config.tools.admits(&record.name)) {
                        self.tool(config, &record.name, &tool_record(record));
                    }
                }
            }
        }
    }

    fn tool(&mut self, config: &Face<'_>, original: &str, record: &Bytes) {
        let exposed = self.tool_name(config, original);
        let Some(renamed) = with_string(record, "name", &exposed) else { return };
        let record = with_instructions(renamed, config);
        let since = self.inputs.changes.get(config.id).and_then(|changes| changes.get(original)).copied();
        let change = since.map(|since| Change { since, withheld: self.inputs.pin });
        // Where the annotations of a tool cannot be followed no client can follow them either.
        let headers = header::param_headers(&record).ok().filter(|headers| !headers.is_empty()).map(Into::into);
        let is_repeatable = is_repeatable(&record);
        let tool = Tool { owner: Owner::Server(config.id.clone()), original: original.to_owned(), change, is_repeatable, headers };
        let index = self.catalog.tools.len();
        self.catalog.tools.insert(exposed, tool);
        self.catalog.bare_tools.entry(original.to_owned()).and_modify(|index| *index = None).or_insert(Some(index));
        // What is withheld keeps its name, so that it is not another's meanwhile.
        if change.is_none_or(|change| !change.withheld) {
            self.entries[ListKind::Tools as usize].push(record);
        }
    }

    fn tool_name(&self, config: &Face<'_>, original: &str) -> String {
        let Naming { prefix, max } = self.inputs.naming;
        let slug = self.catalog.servers[config.id].slug.as_str();
        let prefix = match prefix {
            ToolPrefix::Slug => Some(slug),
            // A server of the local file has no UUID.
            ToolPrefix::Uuid => Some(if config.origin == Origin::App { config.id.as_str() } else { slug }),
            ToolPrefix::None => None,
        };
        let identity = format!("{}\0{original}", config.id);
        let mut exposed = name::exposed(prefix, original, &identity, max);
        let mut salt = identity;
        while self.catalog.tools.contains_key(&exposed) || self.inputs.builtin.reserved.contains(&exposed.as_str()) {
            exposed = name::with_hash(&exposed, &salt, max);
            salt.push('\0');
        }
        exposed
    }

    fn prompts(&mut self) {
        for (name, record) in &self.inputs.builtin.prompts {
            self.entries[ListKind::Prompts as usize].push(record.clone());
            self.catalog.prompts.insert(name.clone(), Prompt::Builtin);
        }
        self.instruction_prompts();
        let mut claimed = HashSet::new();
        for config in self.inputs.servers {
            let Some(listing) = self.inputs.listings.get(config.id) else { continue };
            for item in &listing.prompts {
                claimed.insert(item.key.as_str());
                self.prompt(config.id, &item.key, &item.json);
            }
        }
        if self.someone_is_unknown() {
            for record in &self.inputs.records.prompts {
                if !claimed.contains(record.name.as_str()) && !self.catalog.prompts.contains_key(&record.name) {
                    let arguments =
                        record.arguments.as_deref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_else(|| json!([]));
                    let mut entry = json!({ "name": record.name, "arguments": arguments });
                    set(&mut entry, "description", record.description.as_deref());
                    self.entries[ListKind::Prompts as usize].push(entry.to_string().into());
                    self.catalog
                        .prompts
                        .insert(record.name.clone(), Prompt::Forwarded { owner: Owner::Unknown, original: record.name.clone() });
                }
            }
        }
    }

    fn prompt(&mut self, server: &ServerId, original: &str, record: &Bytes) {
        let slug = &self.catalog.servers[server].slug;
        let exposed =
            free(original, |name| self.catalog.prompts.contains_key(name), |count| format!("{slug}{}{original}{count}", name::SEPARATOR));
        let Some(record) = with_string(record, "name", &exposed) else { return };
        self.entries[ListKind::Prompts as usize].push(record);
        self.catalog.prompts.insert(exposed, Prompt::Forwarded { owner: Owner::Server(server.clone()), original: original.to_owned() });
    }

    /// The owner's instructions for a server, under the App's name for them where it
    /// has one. Both of the App's spellings are understood.
    fn instruction_prompts(&mut self) {
        for config in self.inputs.servers.iter().filter(|config| !config.instructions.is_empty()) {
            let record = self.inputs.records.instructions.iter().find(|record| record.server == *config.id);
            let slug = &self.catalog.servers[config.id].slug;
            let current = format!("{slug}__system_context");
            let older = format!("pluggedin_instruction_{}_default", slug.replace('-', "_"));
            let name = record.map_or_else(|| current.clone(), |record| record.name.clone());
            if self.catalog.prompts.contains_key(&name) {
                continue;
            }
            let description = record
                .and_then(|record| record.description.clone())
                .unwrap_or_else(|| format!("Instructions for using the server {}", config.name));
            let entry = json!({ "name": name, "description": description });
            let index = self.catalog.prompts.len();
            for alias in [current, older] {
                self.catalog.prompt_aliases.entry(alias).or_insert(index);
            }
            self.entries[ListKind::Prompts as usize].push(entry.to_string().into());
            self.catalog.prompts.insert(name, Prompt::Instructions { server: config.id.clone(), description: Some(description) });
        }
    }

    fn resources(&mut self) {
        for (uri, record) in &self.inputs.builtin.resources {
            self.entries[ListKind::Resources as usize].push(record.clone());
            self.catalog.resources.insert(uri.clone(), Resource { owner: Owner::Builtin, original: uri.clone() });
        }
        let mut claimed = HashSet::new();
        for config in self.inputs.servers {
            let Some(listing) = self.inputs.listings.get(config.id) else { continue };
            for item in &listing.resources {
                claimed.insert(item.key.as_str());
                let marker = self.marker(config.id);
                let exposed =
                    free(&item.key, |uri| self.catalog.resources.contains_key(uri), |count| format!("{marker}{}{count}", item.key));
                let Some(record) = with_string(&item.json, "uri", &exposed) else { continue };
                self.entries[ListKind::Resources as usize].push(record);
                self.catalog.resources.insert(exposed, Resource { owner: Owner::Server(config.id.clone()), original: item.key.clone() });
            }
        }
        if self.someone_is_unknown() {
            for record in &self.inputs.records.resources {
                if !claimed.contains(record.uri.as_str()) && !self.catalog.resources.contains_key(&record.uri) {
                    self.entries[ListKind::Resources as usize].push(resource_record("uri", record));
                    self.catalog.resources.insert(record.uri.clone(), Resource { owner: Owner::Unknown, original: record.uri.clone() });
                }
            }
        }
    }

    fn templates(&mut self) {
        let mut claimed = HashSet::new();
        for config in self.inputs.servers {
            let Some(listing) = self.inputs.listings.get(config.id) else { continue };
            for item in &listing.templates {
                claimed.insert(item.key.as_str());
                let taken = self.catalog.templates.contains_key(&item.key);
                let marker = if taken { self.marker(config.id) } else { String::new() };
                let exposed = format!("{marker}{}", item.key);
                let Some(record) = with_string(&item.json, "uriTemplate", &exposed) else { continue };
                if self.catalog.templates.contains_key(&exposed) {
                    continue;
                }
                self.entries[ListKind::Templates as usize].push(record);
                self.insert_template(exposed, Owner::Server(config.id.clone()), &item.key, marker);
            }
        }
        if self.someone_is_unknown() {
            for record in &self.inputs.records.templates {
                if !claimed.contains(record.uri.as_str()) && !self.catalog.templates.contains_key(&record.uri) {
                    self.entries[ListKind::Templates as usize].push(resource_record("uriTemplate", record));
                    self.insert_template(record.uri.clone(), Owner::Unknown, &record.uri, String::new());
                }
            }
        }
    }

    fn insert_template(&mut self, exposed: String, owner: Owner, original: &str, marker: String) {
        let template = UriTemplate { owner, original: original.to_owned(), matcher: Template::parse(original), marker };
        self.catalog.templates.insert(exposed, template);
    }

    /// In front of a URI that another server has too: a scheme of its own, as
    /// `git+ssh` is one. A scheme begins with a letter (RFC 3986, 3.1).
    fn marker(&self, server: &ServerId) -> String {
        let slug = &self.catalog.servers[server].slug;
        let letter = if slug.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { "s-" };
        format!("{letter}{slug}+")
    }

    /// The App's records of prompts and resources name no server. They stand in
    /// until every one of its servers has been asked.
    fn someone_is_unknown(&self) -> bool {
        self.inputs.servers.iter().any(|config| config.origin == Origin::App && !self.inputs.listings.contains_key(config.id))
    }

    fn finish(mut self) -> Catalog {
        for kind in ListKind::ALL {
            self.catalog.lists[kind as usize] = list(kind, &std::mem::take(&mut self.entries[kind as usize]));
        }
        self.catalog
    }
}

/// The tools that are switched on, each once. `records` is the App's word on the
/// server, if it has one.
fn visible<'a>(config: &'a Face<'_>, records: Option<&[&'a ToolRecord]>, items: &'a [Item]) -> impl Iterator<Item = &'a Item> {
    let recorded: Option<HashSet<&str>> = records.map(|records| records.iter().map(|record| record.name.as_str()).collect());
    let mut seen = HashSet::new();
    items.iter().filter(move |Item { key, .. }| {
        config.tools.admits(key) && recorded.as_ref().is_none_or(|recorded| recorded.contains(key.as_str())) && seen.insert(key.as_str())
    })
}

/// What the tool's annotations say of calling it again (specification, `ToolAnnotations`).
fn is_repeatable(record: &[u8]) -> bool {
    let annotated = || {
        let record = Object::parse(std::str::from_utf8(record).ok()?).ok()?;
        let annotations = Object::parse(record.get("annotations")?).ok()?;
        Some(["readOnlyHint", "idempotentHint"].iter().any(|hint| annotations.get(hint) == Some("true")))
    };
    // Most records have none, and are not taken apart for it.
    memchr::memmem::find(record, b"Hint\"").is_some() && annotated().unwrap_or(false)
}

fn tool_record(record: &ToolRecord) -> Bytes {
    let schema = record.input_schema.as_deref().map_or(r#"{"type":"object"}"#, |schema| schema.get());
    let name = quoted(&record.name);
    let name = std::str::from_utf8(&name).expect("JSON is UTF-8");
    let description = record
        .description
        .as_ref()
        .map_or_else(String::new, |text| format!(r#","description":{}"#, serde_json::Value::from(text.as_str())));
    format!(r#"{{"name":{name}{description},"inputSchema":{schema}}}"#).into()
}

fn resource_record(uri_member: &str, record: &ResourceRecord) -> Bytes {
    let ResourceRecord { uri, name, description, mime_type } = record;
    let mut entry = json!({ uri_member: uri, "name": name.as_deref().unwrap_or(uri) });
    set(&mut entry, "description", description.as_deref());
    set(&mut entry, "mimeType", mime_type.as_deref());
    entry.to_string().into()
}

fn set(entry: &mut serde_json::Value, member: &str, text: Option<&str>) {
    if let Some(text) = text {
        entry[member] = text.into();
    }
}

/// `record` with another string in `member`, all else as it was.
fn with_string(record: &Bytes, member: &str, text: &str) -> Option<Bytes> {
    let object = std::str::from_utf8(record).ok().and_then(|json| Object::parse(json).ok());
    let Some(span) = object.and_then(|object| object.span(record, member)) else {
        tracing::warn!(member, "a record that cannot be read was left out");
        return None;
    };
    Some(splice(record, &[(span, quoted(text))]))
}

fn with_instructions(record: Bytes, config: &Face<'_>) -> Bytes {
    if config.instructions.is_empty() {
        return record;
    }
    let text = config.instructions.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n\n");
    if text.len() > INSTRUCTIONS_MAX {
        return record;
    }
    let value = serde_json::Value::from(text).to_string();
    let json = std::str::from_utf8(&record).expect("records are JSON");
    let meta = Object::parse(json).ok().and_then(|object| object.get("_meta"));
    match meta {
        None => with_member(&record, "_meta", &format!(r#"{{"{INSTRUCTIONS_KEY}":{value}}}"#)),
        Some(meta) if meta.starts_with('{') && !meta.contains(INSTRUCTIONS_KEY) => {
            let span = crate::protocol::message::span_in(&record, meta);
            let meta = with_member(&record.slice(span.clone()), INSTRUCTIONS_KEY, &value);
            splice(&record, &[(span, meta)])
        }
        Some(_) => record,
    }
}

/// `wanted`, or else the first of `other(""), other("-2"), …` that is free.
fn free(wanted: &str, taken: impl Fn(&str) -> bool, other: impl Fn(&str) -> String) -> String {
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let first = other("");
    if !taken(&first) {
        return first;
    }
    let mut numbered = (2..=usize::MAX).map(|count| other(&format!("-{count}")));
    numbered.find(|name| !taken(name)).expect("numbers do not end")
}

/// As the App numbers equal slugs: `a`, `a-1`, `a-2`.
fn unique(wanted: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (1..=usize::MAX).map(|count| format!("{wanted}-{count}"));
    let slug = std::iter::once(wanted.to_owned()).chain(numbered).find(|slug| !taken.contains(slug)).expect("numbers do not end");
    taken.insert(slug.clone());
    slug
}

fn list(kind: ListKind, entries: &[Bytes]) -> List {
    let member = super::member(kind);
    let mut hasher = DefaultHasher::new();
    entries.hash(&mut hasher);
    let generation = hasher.finish();
    let pages = split(entries);
    let last = pages.len() - 1;
    let pages = pages
        .into_iter()
        .enumerate()
        .map(|(number, entries)| {
            // Exactly as large as it becomes, since the old page still lives meanwhile.
            let size: usize = entries.iter().map(|entry| entry.len() + 1).sum();
            let mut page = Vec::with_capacity(size + member.len() + 64);
            page.extend_from_slice(format!(r#"{{"{member}":["#).as_bytes());
            for (at, entry) in entries.iter().enumerate() {
                if at > 0 {
                    page.push(b',');
                }
                page.extend_from_slice(entry);
            }
            page.push(b']');
            if number < last {
                page.extend_from_slice(format!(r#","nextCursor":"{}""#, List::cursor(generation, number + 1)).as_bytes());
            }
            page.push(b'}');
            page.into()
        })
        .collect();
    List { pages, generation }
}

/// At least one page, none above the limits unless a single entry is.
fn split(entries: &[Bytes]) -> Vec<&[Bytes]> {
    let mut pages = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        if at > start && (at - start == PAGE_ITEMS || bytes + entry.len() > PAGE_BYTES) {
            pages.push(&entries[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += entry.len();
    }
    pages.push(&entries[start..]);
    pages
}

#[cfg(test)]
mod tests;
