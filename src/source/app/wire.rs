//! The JSON of the App, and its conversion. Nothing outside `source::app` and the
//! refresh sees it.
//!
//! Old rows, imports and several App releases have left many shapes behind, so
//! nothing here is strict: an entry is read member by member, and one that cannot
//! be used is left out with a warning that names it and never shows a value.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use indexmap::IndexMap;
use serde_json::{Value, value::RawValue};

use super::{AppError, public_text};
use crate::{
    protocol::server::{
        HttpConfig, HttpKind, InstructionMessage, Origin, ServerConfig, ServerId, StdioConfig, ToolFilter, TransportConfig,
    },
    secret::Secret,
    security::redact,
    source::{InstructionRecord, PromptRecord, ResourceRecord, ToolRecord, instructions, positive_millis},
};

/// One list of the App: what is usable, and a sentence for each entry that is not.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    pub(crate) items: Vec<T>,
    pub(crate) warnings: Vec<String>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), warnings: Vec::new() }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ToolListing {
    pub(crate) items: Vec<ToolRecord>,
    pub(crate) warnings: Vec<String>,
    /// A bare array, as Apps 1.x send it: the names then begin with the name of
    /// their server, see [`restore_tool_names`].
    pub(crate) bare: bool,
}

/// An instruction of `/api/custom-instructions` with its content, which Apps before
/// 2.10 leave out.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub(crate) record: InstructionRecord,
    pub(crate) messages: Vec<InstructionMessage>,
}

pub(crate) fn servers(body: &str) -> Result<Listing<ServerConfig>, AppError> {
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    for entry in entries(body, &["servers", "mcpServers", "mcp_servers", "data"])?.0 {
        match server(entry) {
            Ok(Some(server)) if seen.insert(server.id.clone()) => listing.items.push(server),
            // The same server twice, or one that is switched off.
            Ok(_) => {}
            Err(warning) => listing.warnings.push(warning),
        }
    }
    Ok(listing)
}

/// `prefixed` tells whether prefixes were asked for; otherwise a name is never cut.
pub(super) fn tools(body: &str, prefixed: bool) -> Result<ToolListing, AppError> {
    let (entries, bare) = entries(body, &["tools", "data"])?;
    let mut listing = ToolListing { bare, ..ToolListing::default() };
    let mut seen = HashSet::new();
    for entry in entries {
        match tool(entry, prefixed) {
            Ok(tool) if seen.insert((tool.server.clone(), tool.name.clone())) => listing.items.push(tool),
            Ok(_) => {}
            Err(warning) => listing.warnings.push(warning),
        }
    }
    // The App gives no order; a stable one lets two answers be compared.
    listing.items.sort_by(|a, b| a.listed.cmp(&b.listed).then_with(|| a.server.cmp(&b.server)));
    Ok(listing)
}

/// Apps 1.x list a tool as `{server name with underscores}_{tool}`; the tool is
/// called by the second part.
pub(crate) fn restore_tool_names(tools: &mut [ToolRecord], servers: &[ServerConfig]) {
    for tool in tools {
        let Some(server) = servers.iter().find(|server| server.id == tool.server) else { continue };
        let blanks: String = server.name.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
        let words: String = server.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let rest = [&blanks, &words].into_iter().find_map(|prefix| {
            let head = tool.name.get(..prefix.len())?;
            let rest = tool.name.get(prefix.len()..)?.strip_prefix('_')?;
            (head.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then(|| rest.to_owned())
        });
        if let Some(rest) = rest {
            tool.name = rest;
        }
    }
}

pub(super) fn resources(body: &str) -> Result<Listing<ResourceRecord>, AppError> {
    resource_list(body, &["resources", "data"], &["uri"])
}

pub(super) fn templates(body: &str) -> Result<Listing<ResourceRecord>, AppError> {
    resource_list(body, &["resourceTemplates", "templates", "data"], &["uriTemplate", "uri_template", "uri"])
}

pub(super) fn prompts(body: &str) -> Result<Listing<PromptRecord>, AppError> {
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    for entry in entries(body, &["prompts", "data"])?.0 {
        let Some((name, fields)) = named(entry, &["name"]) else {
            listing.warnings.push("the App lists a prompt without a name; it is left out".to_owned());
            continue;
        };
        if !seen.insert(name.clone()) {
            continue;
        }
        listing.items.push(PromptRecord {
            name,
            description: fields.text("description"),
            arguments: fields.get("arguments").and_then(|raw| opens_with(raw, '[')).map(one_line),
        });
    }
    Ok(listing)
}

pub(super) fn instruction_list(body: &str) -> Result<Listing<Instruction>, AppError> {
    let mut listing = Listing::default();
    for entry in entries(body, &["instructions", "customInstructions", "data"])?.0 {
        let Some((name, fields)) = named(entry, &["name"]) else {
            listing.warnings.push("the App lists a custom instruction without a name; it is left out".to_owned());
            continue;
        };
        let Some(server) = fields.server_id(&["_serverUuid", "serverUuid"]) else {
            listing.warnings.push(format!("the App lists the custom instruction `{}` without its server; it is left out", shown(&name)));
            continue;
        };
        let messages = fields.get("instruction").map(|raw| instructions::parse(&value(raw))).unwrap_or_default();
        let record = InstructionRecord { name, description: fields.text("description"), server };
        listing.items.push(Instruction { record, messages });
    }
    Ok(listing)
}

/// The owner that a resolve route names. Only the identifier is used: the rest of
/// the answer is a partial configuration without headers and session.
pub(super) fn resolved(body: &str) -> Result<ServerId, AppError> {
    let fields = object(body)?;
    fields.server_id(&["uuid"]).ok_or(AppError::Unreadable { what: "an answer without the server's identifier" })
}

pub(super) fn message(body: &str) -> Result<String, AppError> {
    Ok(object(body)?.text("message").map(|text| public_text(&text)).unwrap_or_default())
}

/// What an error body says, in a form that people may read, and how long it asks
/// to wait. `details` is never looked at: it can hold SQL.
#[derive(Debug, Default)]
pub(super) struct Failure {
    pub(super) message: Option<String>,
    pub(super) retry_after: Option<String>,
    code: Option<String>,
}

impl Failure {
    /// What is wrong, where that can be told from the App's words under whatever status.
    pub(super) fn known(&self) -> Option<AppError> {
        match self {
            Self { code: Some(code), .. } if code.starts_with("CSRF_") => Some(AppError::Origin),
            Self { message: Some(message), .. } if message.contains("_API_KEY is required") => Some(AppError::Unconfigured),
            _ => None,
        }
    }
}

pub(super) fn failure(body: &str) -> Option<Failure> {
    let fields = Fields::of(body)?;
    let message = ["error", "message"].into_iter().find_map(|name| {
        let text = fields.text(name).or_else(|| fields.object(name)?.text("message"))?;
        Some(public_text(&text))
    });
    Some(Failure {
        message,
        retry_after: fields.scalar("retryAfter").or_else(|| fields.scalar("retry_after")),
        code: fields.scalar("code"),
    })
}

/// A failure inside a successful answer: `success: false`, or an `error` text
/// where content should be.
pub(super) fn in_band_failure(body: &str) -> Option<AppError> {
    let fields = Fields::of(body)?;
    let refused = fields.get("success").is_some_and(|raw| raw.get() == "false");
    let error = fields.text("error").is_some() && fields.get("success").is_none_or(|raw| raw.get() != "true");
    if !refused && !error {
        return None;
    }
    let failure = failure(body).unwrap_or_default();
    Some(
        failure
            .known()
            .unwrap_or_else(|| AppError::Rejected { status: 200, message: failure.message.unwrap_or_else(|| super::NO_REASON.to_owned()) }),
    )
}

/// The members of a JSON object, each still unread. With duplicate names the last
/// one counts, as in JavaScript.
#[derive(Default)]
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// The member, unless it is missing or null.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    fn object(&self, name: &str) -> Option<Self> {
        self.get(name).and_then(|raw| Fields::of(raw.get()))
    }

    /// A string, number or boolean as text.
    fn scalar(&self, name: &str) -> Option<String> {
        self.get(name).and_then(scalar)
    }

    /// A string that holds something.
    fn text(&self, name: &str) -> Option<String> {
        let text: String = serde_json::from_str(self.get(name)?.get()).ok()?;
        (!text.trim().is_empty()).then_some(text)
    }

    /// The JSON of an object, also of one that was itself stored as text.
    fn stored(&self, name: &str) -> Cow<'a, str> {
        match self.get(name) {
            None => Cow::Borrowed("{}"),
            Some(raw) => serde_json::from_str(raw.get()).map_or(Cow::Borrowed(raw.get()), Cow::Owned),
        }
    }

    fn server_id(&self, names: &[&str]) -> Option<ServerId> {
        let text = names.iter().find_map(|name| self.scalar(name))?;
        let text = text.trim();
        // A colon would allow to pose as a server of the local file, `file:NAME`.
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        (plain && (1..=128).contains(&text.len())).then(|| ServerId::new(text))
    }

    fn millis(&self, name: &str) -> Option<std::time::Duration> {
        positive_millis(self.scalar(name)?.trim().parse().ok()?)
    }
}

/// The items of a list, and whether they came as a bare array. An object may hold
/// them under one of `names`.
fn entries<'a>(body: &'a str, names: &[&str]) -> Result<(Vec<&'a RawValue>, bool), AppError> {
    if let Ok(items) = serde_json::from_str(body) {
        return Ok((items, true));
    }
    if body.trim() == "null" {
        return Ok((Vec::new(), false));
    }
    let fields = object(body)?;
    let list = names.iter().find_map(|name| serde_json::from_str(fields.get(name)?.get()).ok());
    match list {
        Some(items) => Ok((items, false)),
        // `{tools: null}` and `{}` are ways to say "none"; anything else is not a list.
        None if fields.0.keys().all(|key| names.contains(&key.as_str()) || key == "message") => Ok((Vec::new(), false)),
        None => Err(AppError::Unreadable { what: "JSON that holds no list" }),
    }
}

fn object(body: &str) -> Result<Fields<'_>, AppError> {
    Fields::of(body).ok_or(AppError::Unreadable {
        what: if body.trim_start().starts_with('<') {
            "a web page instead of JSON"
        } else if body.trim().is_empty() {
            "an empty body"
        } else {
            "something that is not the expected JSON"
        },
    })
}

fn named<'a>(entry: &'a RawValue, keys: &[&str]) -> Option<(String, Fields<'a>)> {
    let fields = Fields::of(entry.get())?;
    let name = keys.iter().find_map(|key| fields.scalar(key)).filter(|name| !name.trim().is_empty())?;
    Some((name, fields))
}

fn resource_list(body: &str, lists: &[&str], keys: &[&str]) -> Result<Listing<ResourceRecord>, AppError> {
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    for entry in entries(body, lists)?.0 {
        let Some((uri, fields)) = named(entry, keys) else {
            listing.warnings.push(format!("the App lists a resource without `{}`; it is left out", keys[0]));
            continue;
        };
        // The App cannot tell the owner, so the second of two equal URIs adds nothing.
        if !seen.insert(uri.clone()) {
            continue;
        }
        listing.items.push(ResourceRecord {
            uri,
            name: fields.text("name"),
            description: fields.text("description"),
            mime_type: ["mimeType", "mediaType", "mime_type"].into_iter().find_map(|name| fields.text(name)),
        });
    }
    Ok(listing)
}

fn tool(entry: &RawValue, prefixed: bool) -> Result<ToolRecord, String> {
    let Some((listed, fields)) = named(entry, &["name"]) else {
        return Err("the App lists a tool without a name; it is left out".to_owned());
    };
    let Some(server) = fields.server_id(&["_serverUuid", "serverUuid", "mcp_server_uuid"]) else {
        return Err(format!("the App lists the tool `{}` without its server; it is left out", shown(&listed)));
    };
    let slug = fields.text("_serverSlug").filter(|_| prefixed);
    let uuid = Some(server.to_string()).filter(|_| prefixed);
    // Exactly the known prefix of the known server is cut; the name is never split.
    let name = [slug, uuid]
        .into_iter()
        .flatten()
        .find_map(|prefix| listed.strip_prefix(&prefix)?.strip_prefix("__"))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&listed)
        .to_owned();
    Ok(ToolRecord {
        server,
        name,
        description: fields.text("description"),
        input_schema: ["inputSchema", "input_schema", "toolSchema"]
            .into_iter()
            .find_map(|key| opens_with(fields.get(key)?, '{'))
            .map(one_line),
        listed,
    })
}

/// `Ok(None)`: a server that is not active.
fn server(entry: &RawValue) -> Result<Option<ServerConfig>, String> {
    let Some(fields) = Fields::of(entry.get()) else {
        return Err("the App lists a server that is not an object; it is left out".to_owned());
    };
    let given_name = fields.scalar("name").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let Some(id) = fields.server_id(&["uuid", "id"]) else {
        let name = given_name.as_deref().unwrap_or_default();
        return Err(format!("the App lists the server `{}` without a usable identifier; it is left out", shown(name)));
    };
    if fields.text("status").is_some_and(|status| !status.eq_ignore_ascii_case("active")) {
        return Ok(None);
    }
    let slug = fields.scalar("slug").filter(|slug| is_slug(slug));
    let name = given_name.or_else(|| slug.clone()).unwrap_or_else(|| id.to_string());
    let env = fields.stored("env");
    let env = Fields::of(&env).unwrap_or_default();
    // Very old rows keep the transport and its options inside `env`.
    let options = match fields.get("streamableHTTPOptions") {
        Some(_) => fields.stored("streamableHTTPOptions"),
        None => env.stored("__streamableHTTPOptions"),
    };
    let options = Fields::of(&options).unwrap_or_default();
    let transport = match transport(&fields, &env, &options) {
        Ok(transport) => transport,
        Err(why) => return Err(format!("server `{}` of the App {why}; it is left out", shown(&name))),
    };
    Ok(Some(ServerConfig {
        id,
        name,
        slug,
        origin: Origin::App,
        transport,
        timeout: options.millis("timeout").or_else(|| fields.millis("timeout")),
        tools: ToolFilter::default(),
        isolation: None,
        revision: None,
        instructions: fields.get("customInstructions").map(|raw| instructions::parse(&value(raw))).unwrap_or_default(),
        requires_auth: fields.object("config").and_then(|config| config.scalar("requires_auth")).is_some_and(|text| text == "true"),
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdio,
    Http(HttpKind),
}

fn transport(fields: &Fields<'_>, env: &Fields<'_>, options: &Fields<'_>) -> Result<TransportConfig, String> {
    let transport = fields.text("transport").or_else(|| env.text("__transport"));
    let transport = transport.as_deref().and_then(kind_of);

    let command = fields.scalar("command").map(|command| command.trim().to_owned()).filter(|text| !text.is_empty());
    let args = arguments(fields.get("args"))?;
    let url = fields.text("url").or_else(|| options.text("url"));

    let kind = match fields.scalar("type").filter(|text| !text.trim().is_empty()) {
        Some(text) => kind_of(&text).ok_or_else(|| format!("has the unknown type `{}`", shown(&text)))?,
        None if command.is_none() && url.is_some() => transport.filter(|kind| *kind != Kind::Stdio).unwrap_or(Kind::Http(HttpKind::Auto)),
        None => Kind::Stdio,
    };
    // A row whose type says one thing and whose old transport another: try the
    // type's, with the other as fallback.
    let kind = match (kind, transport) {
        (Kind::Http(HttpKind::Streamable), Some(Kind::Http(HttpKind::Sse))) => Kind::Http(HttpKind::Auto),
        (Kind::Stdio, Some(http @ Kind::Http(_))) if command.is_none() => http,
        (kind, _) => kind,
    };

    // `mcp-remote` is itself a program that connects to the URL.
    let bridged = args.iter().any(|arg| arg == "mcp-remote" || arg.starts_with("mcp-remote@"));
    match kind {
        Kind::Stdio => {
            let command = command.ok_or("has no command")?;
            Ok(TransportConfig::Stdio(StdioConfig { command, args, env: environment(env), cwd: None }))
        }
        Kind::Http(_) if bridged => {
            let command = command.unwrap_or_else(|| "npx".to_owned());
            Ok(TransportConfig::Stdio(StdioConfig { command, args, env: environment(env), cwd: None }))
        }
        Kind::Http(kind) => {
            Ok(TransportConfig::Http(HttpConfig { url: url.ok_or("has no URL")?, kind, headers: headers(fields, options) }))
        }
    }
}

fn kind_of(text: &str) -> Option<Kind> {
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match plain.as_str() {
        "stdio" => Some(Kind::Stdio),
        "sse" => Some(Kind::Http(HttpKind::Sse)),
        "streamablehttp" | "http" => Some(Kind::Http(HttpKind::Streamable)),
        _ => None,
    }
}

/// SECURITY: an item that is no text is refused rather than left out or written as JSON: the others would get other places, and so
/// other meanings.
fn arguments(raw: Option<&RawValue>) -> Result<Vec<String>, String> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        // One argument was stored as JSON text of its own; `{}` is an old way to say "none".
        if Fields::of(raw.get()).is_some_and(|fields| !fields.0.is_empty()) {
            return Err("has an object as `args`, which must be a list of texts".to_owned());
        }
        return Ok(scalar(raw).filter(|text| !text.is_empty()).into_iter().collect());
    };
    let text = |(at, raw): (usize, &RawValue)| {
        let kind = match raw.get().as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            _ => "null",
        };
        scalar(raw).ok_or_else(|| format!("has {kind} as item {} of `args`, which must be texts", at + 1))
    };
    items.into_iter().enumerate().map(text).collect()
}

fn environment(env: &Fields<'_>) -> IndexMap<String, Secret> {
    // Names that start with `__` are the App's own notes.
    let own = env.0.iter().filter(|(name, raw)| !name.starts_with("__") && raw.get() != "null");
    own.filter_map(|(name, raw)| Some((name.clone(), Secret::named(name, scalar_or_json(raw)?)))).collect()
}

/// Headers of the options; `requestInit.headers` can hold a token from before the
/// last sign-in, so it counts only where `headers` is missing. Top-level members,
/// which no App sends today, rank below both.
fn headers(fields: &Fields<'_>, options: &Fields<'_>) -> IndexMap<String, Secret> {
    let current = options.get("headers");
    let initial = || options.object("requestInit")?.get("headers");
    let mut headers = IndexMap::new();
    // Two spellings of one name in one list are refused where the headers are judged.
    for (name, value) in current.or_else(initial).map(header_list).unwrap_or_default() {
        let value = Secret::named(&name, value);
        headers.insert(name, value);
    }
    for (name, value) in fields.get("headers").map(header_list).unwrap_or_default() {
        add_header(&mut headers, name, value);
    }
    if let Some(token) = fields.text("oauthToken").or_else(|| fields.object("oauthToken")?.text("access_token")) {
        add_header(&mut headers, "Authorization".to_owned(), format!("Bearer {token}"));
    }
    headers
}

/// What ranks below does not replace a header.
fn add_header(headers: &mut IndexMap<String, Secret>, name: String, value: String) {
    if !headers.keys().any(|known| known.eq_ignore_ascii_case(&name)) {
        let value = Secret::named(&name, value);
        headers.insert(name, value);
    }
}

/// An object, or the list of pairs that the Fetch standard allows as well.
fn header_list(raw: &RawValue) -> Vec<(String, String)> {
    if let Some(fields) = Fields::of(raw.get()) {
        return fields.0.into_iter().filter_map(|(name, raw)| Some((name, scalar(raw)?))).collect();
    }
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn scalar(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}

/// As [`scalar`]; an object or list stays JSON text, since that is what the user
/// typed before the App decoded it.
fn scalar_or_json(raw: &RawValue) -> Option<String> {
    scalar(raw).or_else(|| (raw.get() != "null").then(|| raw.get().to_owned()))
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn opens_with(raw: &RawValue, bracket: char) -> Option<&RawValue> {
    raw.get().starts_with(bracket).then_some(raw)
}

/// Raw values are forwarded as they are, on transports that end a message with a
/// line feed. In valid JSON a line break is always blank space.
fn one_line(raw: &RawValue) -> Box<RawValue> {
    if !raw.get().contains(['\n', '\r']) {
        return raw.to_owned();
    }
    RawValue::from_string(raw.get().replace(['\n', '\r'], " ")).unwrap_or_else(|_| raw.to_owned())
}

fn is_slug(text: &str) -> bool {
    let group = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 50 && text.split('-').all(group)
}

/// A name from the App within a sentence.
fn shown(name: &str) -> String {
    redact::quote(name, 80)
}

#[cfg(test)]
mod tests;
