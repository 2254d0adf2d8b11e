//! The local configuration file, in the `mcpServers` form that MCP clients share.
//!
//! Reading is pure: text and variables in, servers and problems out. Watching the
//! file is `source::refresh`'s.

use std::{collections::HashMap, fmt, fs, io, path::PathBuf, time::Duration};

use indexmap::IndexMap;
use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Object, ObjectProp, Value},
    common::Ranged,
    errors::ParseError,
};

use crate::{
    protocol::{
        revision::Revision,
        server::{
            HttpConfig, HttpKind, InstructionMessage, InstructionRole, Isolation, Origin, ServerConfig, ServerId, StdioConfig, ToolFilter,
            TransportConfig,
        },
    },
    secret::Secret,
    security::payload,
    source::positive_millis,
};

/// As long as the slugs of the App.
const MAX_SLUG: usize = 50;

#[derive(Debug, Clone)]
pub struct Config {
    pub path: PathBuf,
    pub variables: Variables,
}

/// What `${…}` in the file may refer to: the environment that the proxy was started
/// with. Nothing here reads the environment itself.
#[derive(Clone, Default)]
pub struct Variables {
    pub values: HashMap<String, String>,
    /// `${userHome}`.
    pub home: Option<String>,
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("count", &self.values.len()).finish_non_exhaustive()
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self { values: pairs.into_iter().collect(), home: None }
    }
}

/// What a readable file says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// In the order of the file.
    pub(super) servers: Vec<ServerConfig>,
    /// A sentence for each server that had to be left out, and for each member that
    /// looks like a slip of the pen.
    pub(super) problems: Vec<String>,
}

/// Why there are no servers to be had from the file at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it does not exist")]
    Missing,
    #[error("it cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    #[error("it is larger than 8 MiB")]
    TooLarge,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it is empty; hint: the least is `{{\"mcpServers\": {{}}}}`")]
    Empty,
    #[error("line {line}, column {column}: {what}")]
    Syntax { line: usize, column: usize, what: String },
    #[error("it has no `mcpServers` (or `servers`) object; hint: `{{\"mcpServers\": {{\"NAME\": {{\"command\": …}}}}}}`")]
    NoServers,
    #[error("its servers stand at the top; hint: put them into `{{\"mcpServers\": {{…}}}}`")]
    BareServers,
}

pub(super) fn read(path: &std::path::Path) -> Result<String, Broken> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Broken::Missing,
        kind => Broken::Unreadable(kind),
    };
    if fs::metadata(path).map_err(unreadable)?.len() > payload::SERVERS_FILE as u64 {
        return Err(Broken::TooLarge);
    }
    String::from_utf8(fs::read(path).map_err(unreadable)?).map_err(|_| Broken::NotText)
}

pub(super) fn parse(text: &str, variables: &Variables) -> Result<Parsed, Broken> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let syntax = |error: ParseError| Broken::Syntax {
        line: error.line_display(),
        column: error.column_display(),
        what: lower_first(&error.kind().to_string()),
    };
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        // JSON with comments, as editors understand it, not JSON5.
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let ast = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &options).map_err(syntax)?;
    let root = match ast.value {
        None => return Err(Broken::Empty),
        Some(Value::Object(root)) => root,
        Some(_) => return Err(Broken::NoServers),
    };
    let maps: Vec<&Object<'_>> = ["mcpServers", "servers"].into_iter().filter_map(|name| member(&root, name)?.as_object()).collect();
    if maps.is_empty() {
        let bare = root.properties.iter().any(|property| looks_like_a_server(&property.value));
        return Err(if bare { Broken::BareServers } else { Broken::NoServers });
    }

    let mut parsed = Parsed::default();
    let mut entries: IndexMap<&str, &ObjectProp<'_>> = IndexMap::new();
    for property in maps.iter().flat_map(|map| &map.properties) {
        if let Some(first) = entries.insert(property.name.as_str(), property) {
            parsed.problems.push(format!(
                "server `{}` is there twice (lines {} and {}); the second is used",
                property.name.as_str(),
                line(text, first),
                line(text, property),
            ));
        }
    }
    // Servers that are switched off or broken take their slug as well: repairing one
    // must not rename the tools of another.
    let mut slugs = Vec::new();
    for (name, property) in entries {
        let slug = unique_slug(name, &mut slugs);
        let mut server = Server { name, text, variables, hints: Vec::new() };
        match server.read(&property.value, slug) {
            Ok(Some(config)) => parsed.servers.push(config),
            Ok(None) => {}
            Err(problem) => parsed.problems.push(format!("server `{name}` is left out: {problem}")),
        }
        parsed.problems.append(&mut server.hints);
    }
    Ok(parsed)
}

/// Every member that is read; others belong to other clients.
const MEMBERS: &[&str] = &[
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "serverUrl",
    "httpUrl",
    "type",
    "transport",
    "transportType",
    "headers",
    "disabled",
    "enabled",
    "timeout",
    "tools",
    "instructions",
    "isolation",
    "protocolVersion",
];

/// One entry on its way to a configuration.
struct Server<'a> {
    name: &'a str,
    text: &'a str,
    variables: &'a Variables,
    hints: Vec<String>,
}

impl Server<'_> {
    /// `Ok(None)`: switched off.
    fn read(&mut self, value: &Value<'_>, slug: String) -> Result<Option<ServerConfig>, String> {
        let Value::Object(entry) = value else {
            return Err(self.expected("the entry", "an object", value));
        };
        if self.flag(entry, "disabled")? == Some(true) || self.flag(entry, "enabled")? == Some(false) {
            return Ok(None);
        }
        self.note_slips(entry);
        let transport = self.transport(entry)?;
        Ok(Some(ServerConfig {
            id: ServerId::of_file(self.name),
            name: self.name.to_owned(),
            slug: Some(slug),
            origin: Origin::File,
            revision: self.revision(entry, &transport)?,
            transport,
            timeout: self.timeout(entry)?,
            tools: self.tools(entry)?,
            isolation: self.isolation(entry)?,
            instructions: self.instructions(entry)?,
            requires_auth: false,
        }))
    }

    fn transport(&self, entry: &Object<'_>) -> Result<TransportConfig, String> {
        let command = self.expanded(entry, "command")?;
        let url = ["url", "serverUrl", "httpUrl"].into_iter().find(|name| member(entry, name).is_some());
        let kind = ["type", "transport", "transportType"].into_iter().find(|name| member(entry, name).is_some());
        let kind = match kind {
            Some(member) => Some((member, self.string(entry, member)?.unwrap_or_default())),
            None => None,
        };
        let http = match &kind {
            Some((member, word)) => match word.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
                "stdio" => None,
                "sse" => Some(HttpKind::Sse),
                "http" | "streamablehttp" => Some(HttpKind::Streamable),
                _ => return Err(format!("`{member}` must be `stdio`, `sse`, `http` or `streamable-http`")),
            },
            None => match (&command, url) {
                (Some(_), Some(url)) => {
                    return Err(format!("it has both `command` and `{url}`; hint: say which by `type`"));
                }
                (None, Some(_)) => Some(HttpKind::Auto),
                (Some(_), None) => None,
                (None, None) => return Err("it has neither `command` nor `url`".to_owned()),
            },
        };
        let Some(kind) = http else {
            let command = command.filter(|command| !command.trim().is_empty()).ok_or("it has no `command`")?;
            return Ok(TransportConfig::Stdio(StdioConfig {
                command,
                args: self.args(entry)?,
                env: self.secrets(entry, "env")?,
                cwd: self.expanded(entry, "cwd")?.map(PathBuf::from),
            }));
        };
        let url = match url {
            Some(member) => self.expanded(entry, member)?,
            None => None,
        };
        Ok(TransportConfig::Http(HttpConfig {
            url: url.filter(|url| !url.trim().is_empty()).ok_or("it has no `url`")?,
            kind,
            headers: self.secrets(entry, "headers")?,
        }))
    }

    fn args(&self, entry: &Object<'_>) -> Result<Vec<String>, String> {
        let Some(value) = member(entry, "args") else { return Ok(Vec::new()) };
        let Value::Array(items) = value else {
            return Err(self.expected("`args`", "a list of strings", value));
        };
        items
            .elements
            .iter()
            .map(|item| {
                let text = scalar(item).ok_or_else(|| self.expected("an item of `args`", "a string", item))?;
                self.expand("args", &text)
            })
            .collect()
    }

    fn secrets(&self, entry: &Object<'_>, name: &str) -> Result<IndexMap<String, Secret>, String> {
        let Some(value) = member(entry, name) else { return Ok(IndexMap::new()) };
        let Value::Object(map) = value else {
            return Err(self.expected(&format!("`{name}`"), "an object of strings", value));
        };
        let mut secrets = IndexMap::new();
        for property in &map.properties {
            let key = property.name.as_str();
            if matches!(property.value, Value::NullKeyword(_)) {
                continue;
            }
            let text = scalar(&property.value).ok_or_else(|| self.expected(&format!("`{name}.{key}`"), "a string", &property.value))?;
            secrets.insert(key.to_owned(), Secret::named(key, self.expand(&format!("{name}.{key}"), &text)?));
        }
        Ok(secrets)
    }

    /// Seconds, as in Cline; numbers from 1000 are milliseconds, as in Gemini CLI.
    fn timeout(&self, entry: &Object<'_>) -> Result<Option<Duration>, String> {
        let Some(value) = member(entry, "timeout") else { return Ok(None) };
        let expected = || self.expected("`timeout`", "a number of seconds above 0", value);
        let number: f64 = match value {
            Value::NumberLit(number) => number.value.parse().map_err(|_| expected())?,
            _ => return Err(expected()),
        };
        let millis = if number >= 1000.0 { number } else { number * 1000.0 };
        positive_millis(millis).map(Some).ok_or_else(expected)
    }

    fn tools(&self, entry: &Object<'_>) -> Result<ToolFilter, String> {
        let Some(value) = member(entry, "tools") else { return Ok(ToolFilter::default()) };
        let expected = |value| self.expected("`tools`", "`{\"allow\": […], \"deny\": […]}`", value);
        let Value::Object(filter) = value else { return Err(expected(value)) };
        Ok(ToolFilter { allow: self.names(filter, "allow")?, deny: self.names(filter, "deny")?.unwrap_or_default() })
    }

    fn names(&self, filter: &Object<'_>, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = member(filter, name) else { return Ok(None) };
        let expected = || self.expected(&format!("`tools.{name}`"), "a list of tool names", value);
        let Value::Array(items) = value else { return Err(expected()) };
        let text = |item: &Value<'_>| item.as_string_lit().map(|text| text.value.to_string());
        items.elements.iter().map(|item| text(item).ok_or_else(expected)).collect::<Result<_, _>>().map(Some)
    }

    fn isolation(&self, entry: &Object<'_>) -> Result<Option<Isolation>, String> {
        match self.string(entry, "isolation")?.as_deref() {
            None => Ok(None),
            Some("auto") => Ok(Some(Isolation::Auto)),
            Some("session") => Ok(Some(Isolation::Session)),
            Some("shared") => Ok(Some(Isolation::Shared)),
            Some(_) => Err("`isolation` must be `auto`, `session` or `shared`".to_owned()),
        }
    }

    fn revision(&self, entry: &Object<'_>, transport: &TransportConfig) -> Result<Option<Revision>, String> {
        let Some(version) = self.string(entry, "protocolVersion")? else { return Ok(None) };
        let Some(revision) = Revision::parse(&version) else {
            let known = Revision::ALL.map(Revision::as_str);
            let [known @ .., last] = &known;
            return Err(format!("`protocolVersion` must be `{}` or `{last}`", known.join("`, `")));
        };
        if matches!(transport, TransportConfig::Http(HttpConfig { kind: HttpKind::Sse, .. })) && !revision.has_handshake() {
            return Err(format!("`protocolVersion` `{revision}` does not go with the type `sse`"));
        }
        Ok(Some(revision))
    }

    fn instructions(&self, entry: &Object<'_>) -> Result<Vec<InstructionMessage>, String> {
        let Some(value) = member(entry, "instructions") else { return Ok(Vec::new()) };
        let expected = || self.expected("`instructions`", "a string or a list of strings", value);
        let items = match value {
            Value::Array(items) => items.elements.as_slice(),
            single => std::slice::from_ref(single),
        };
        let texts = items.iter().map(|item| item.as_string_lit().map(|text| text.value.to_string()));
        let texts: Vec<String> = texts.collect::<Option<_>>().ok_or_else(expected)?;
        let message = |text| InstructionMessage { role: InstructionRole::User, text };
        Ok(texts.into_iter().filter(|text| !text.trim().is_empty()).map(message).collect())
    }

    fn flag(&self, entry: &Object<'_>, name: &str) -> Result<Option<bool>, String> {
        match member(entry, name) {
            None => Ok(None),
            Some(Value::BooleanLit(flag)) => Ok(Some(flag.value)),
            Some(other) => Err(self.expected(&format!("`{name}`"), "`true` or `false`", other)),
        }
    }

    fn string(&self, entry: &Object<'_>, name: &str) -> Result<Option<String>, String> {
        match member(entry, name) {
            None => Ok(None),
            Some(Value::StringLit(text)) => Ok(Some(text.value.to_string())),
            Some(other) => Err(self.expected(&format!("`{name}`"), "a string", other)),
        }
    }

    fn expanded(&self, entry: &Object<'_>, name: &str) -> Result<Option<String>, String> {
        match self.string(entry, name)? {
            None => Ok(None),
            Some(text) => self.expand(name, &text).map(Some),
        }
    }

    fn expand(&self, member: &str, text: &str) -> Result<String, String> {
        expand(text, self.variables).map_err(|missing| format!("`{member}` {missing}"))
    }

    /// Never shows the value: it may be a secret that stands in the wrong place.
    fn expected(&self, what: &str, wanted: &str, found: &Value<'_>) -> String {
        let kind = match found {
            Value::StringLit(_) => "a string",
            Value::NumberLit(_) => "a number",
            Value::BooleanLit(_) => "a boolean",
            Value::Object(_) => "an object",
            Value::Array(_) => "a list",
            Value::NullKeyword(_) => "null",
        };
        format!("{what} must be {wanted}, not {kind} (line {})", line(self.text, found))
    }

    fn note_slips(&mut self, entry: &Object<'_>) {
        for property in &entry.properties {
            let name = property.name.as_str();
            if MEMBERS.contains(&name) {
                continue;
            }
            let meant = MEMBERS.iter().find(|known| is_slip(name, known) && member(entry, known).is_none());
            if let Some(meant) = meant {
                let line = line(self.text, property);
                self.hints.push(format!("server `{}`: did you mean `{meant}` by `{name}` (line {line})?", self.name));
            }
        }
    }
}

/// The last member of that name, as in every JSON parser; null is as good as absent.
fn member<'a, 'b>(object: &'b Object<'a>, name: &str) -> Option<&'b Value<'a>> {
    let property = object.properties.iter().rev().find(|property| property.name.as_str() == name)?;
    (!matches!(property.value, Value::NullKeyword(_))).then_some(&property.value)
}

/// People write ports and flags without quotes.
fn scalar(value: &Value<'_>) -> Option<String> {
    match value {
        Value::StringLit(text) => Some(text.value.to_string()),
        Value::NumberLit(number) => Some(number.value.to_owned()),
        Value::BooleanLit(flag) => Some(flag.value.to_string()),
        Value::Object(_) | Value::Array(_) | Value::NullKeyword(_) => None,
    }
}

fn looks_like_a_server(value: &Value<'_>) -> bool {
    value.as_object().is_some_and(|entry| ["command", "url"].iter().any(|name| member(entry, name).is_some()))
}

fn line(text: &str, node: &impl Ranged) -> usize {
    1 + text[..node.range().start].matches('\n').count()
}

/// `None` of the values is ever part of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Missing {
    #[error("needs the environment variable `{0}`, which is not set")]
    Variable(String),
    #[error("needs `${{userHome}}`, and there is no home directory")]
    Home,
    #[error("uses `${{{0}}}`, which only an editor can fill in; hint: use an environment variable")]
    Editor(String),
}

/// Fills in `${VAR}`, `${VAR:-default}`, `${env:VAR}` and `${userHome}`. Anything
/// else in braces is ordinary text; what was filled in is not looked at again.
fn expand(text: &str, variables: &Variables) -> Result<String, Missing> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = after.find('}') else {
            rest = after;
            break;
        };
        match reference(&after[2..end], variables)? {
            Some(value) => out.push_str(&value),
            None => out.push_str(&after[..=end]),
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn reference(inner: &str, variables: &Variables) -> Result<Option<String>, Missing> {
    if inner == "userHome" {
        return variables.home.clone().map(Some).ok_or(Missing::Home);
    }
    let editor = ["input:", "config:", "command:"].iter().any(|prefix| inner.starts_with(prefix));
    if editor || inner.starts_with("workspaceFolder") {
        return Err(Missing::Editor(inner.to_owned()));
    }
    let inner = inner.strip_prefix("env:").unwrap_or(inner);
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(None);
    }
    let value = variables.values.get(name).filter(|value| default.is_none() || !value.is_empty());
    match (value, default) {
        (Some(value), _) => Ok(Some(value.clone())),
        (None, Some(default)) => Ok(Some(default.to_owned())),
        (None, None) => Err(Missing::Variable(name.to_owned())),
    }
}

/// The prefix for a server's tools: lower-case letters and digits in groups joined
/// by single hyphens, unique among `taken`.
fn unique_slug(name: &str, taken: &mut Vec<String>) -> String {
    let base = slug(name, MAX_SLUG);
    let mut unique = base.clone();
    let mut number = 0;
    while taken.contains(&unique) {
        number += 1;
        let suffix = format!("-{number}");
        unique = slug(&base, MAX_SLUG - suffix.len()) + &suffix;
    }
    taken.push(unique.clone());
    unique
}

fn slug(name: &str, longest: usize) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(longest);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "server".to_owned() } else { slug.to_owned() }
}

/// One letter too many, too few, wrong, swapped with its neighbour, or of the wrong
/// case.
fn is_slip(written: &str, meant: &str) -> bool {
    let written: Vec<char> = written.to_lowercase().chars().filter(|c| !matches!(c, '_' | '-')).collect();
    let meant: Vec<char> = meant.to_lowercase().chars().collect();
    let common = |a: &mut dyn Iterator<Item = (&char, &char)>| a.take_while(|(a, b)| a == b).count();
    let head = common(&mut written.iter().zip(&meant));
    let tail = common(&mut written.iter().rev().zip(meant.iter().rev()));
    let longer = written.len().max(meant.len());
    let swapped =
        written.len() == meant.len() && head + tail + 2 == longer && written[head] == meant[head + 1] && written[head + 1] == meant[head];
    written.len().abs_diff(meant.len()) <= 1 && (head + tail + 1 >= longer || swapped)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests;
