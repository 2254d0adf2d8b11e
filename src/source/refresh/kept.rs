//! What the App said last with all that it takes to call its servers, for a start while it is away. Only for operators who
//! ask for it (`--cache-servers`).
//!
//! SECURITY: it holds commands, variables, headers and addresses, secrets among them. It is sealed with a key that is derived
//! from the API key and bound to the App's address, so that only who has both can open it; nothing else tells who may. An
//! operating system's keyring was not taken: a proxy without a desktop has none, and the API key must be at hand anyway.
//! A file that is broken, foreign or too old counts as none.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use indexmap::IndexMap;
use secrecy::{ExposeSecret, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use url::Url;

use super::app::Lists;
use crate::{
    files,
    protocol::server::{
        Fingerprint, HttpConfig, HttpKind, InstructionMessage, Origin, ServerConfig, ServerId, StdioConfig, ToolFilter, TransportConfig,
    },
    secret::Secret,
    security::seal::Seal,
    source::{InstructionRecord, PromptRecord, ResourceRecord, ToolRecord, app, app::wire::Instruction},
};

/// Changes with the format.
const VERSION: u32 = 1;

const PREFIX: &str = "servers-";

/// A larger file is not ours.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// What the App has not confirmed for so long is not used: a key that was revoked meanwhile must not open servers for ever.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Clocks differ, and are put right. What was written later than this from now was not.
const CLOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// What stays the same is written anew this often, so that its age is counted from when the App last confirmed it.
const CONFIRMED_EVERY: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Clone)]
pub struct Config {
    pub path: PathBuf,
    /// Otherwise what an earlier run has kept is removed.
    pub keep: bool,
}

/// Where the file for this App and key is: only a hash of both is in the name.
pub fn path(cache_dir: &Path, app: &app::Config) -> PathBuf {
    files::path_of(cache_dir, PREFIX, &format!("{} {}", app.base_url, app.key.expose_secret()))
}

pub(super) struct Kept {
    path: PathBuf,
    seal: Seal,
    base_url: Url,
    /// What was written last, and when.
    written: Option<(Fingerprint, Instant)>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct Content<'a> {
    /// When the App said so, in seconds since 1970.
    said: u64,
    servers: Vec<Server<'a>>,
    tools: Cow<'a, [ToolRecord]>,
    resources: Cow<'a, [ResourceRecord]>,
    templates: Cow<'a, [ResourceRecord]>,
    prompts: Cow<'a, [PromptRecord]>,
    instructions: Vec<(Cow<'a, InstructionRecord>, Cow<'a, [InstructionMessage]>)>,
}

#[derive(Serialize, Deserialize)]
struct Server<'a> {
    id: ServerId,
    name: Cow<'a, str>,
    slug: Option<Cow<'a, str>>,
    way: Way<'a>,
    timeout: Option<Duration>,
    instructions: Cow<'a, [InstructionMessage]>,
    requires_auth: bool,
}

#[derive(Serialize, Deserialize)]
enum Way<'a> {
    Stdio { command: Cow<'a, str>, args: Cow<'a, [String]>, env: IndexMap<Cow<'a, str>, Cow<'a, str>> },
    Http { url: Cow<'a, str>, kind: HttpKind, headers: IndexMap<Cow<'a, str>, Cow<'a, str>> },
}

impl Kept {
    pub(super) fn new(path: PathBuf, app: &app::Config) -> Self {
        Self { path, seal: Seal::for_keeping(&app.key), base_url: app.base_url.clone(), written: None }
    }

    /// What the App said in an earlier run, if there is something to use.
    pub(super) fn load(&self) -> Option<Lists> {
        self.read(now()).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(reason = %error.kind(), "the servers that were kept are not used");
            }
            None
        })
    }

    fn read(&self, now: Duration) -> io::Result<Option<Lists>> {
        if std::fs::metadata(&self.path)?.len() > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let File { version, sealed } = serde_json::from_slice(&std::fs::read(&self.path)?)?;
        if version != VERSION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let plain = self.seal.open(&self.purpose(), &sealed).map(Zeroizing::new).ok_or(io::ErrorKind::InvalidData)?;
        let content: Content<'_> = serde_json::from_slice(&plain)?;
        let said = Duration::from_secs(content.said);
        let is_current = now.saturating_sub(said) <= MAX_AGE && said.saturating_sub(now) <= CLOCK;
        Ok(is_current.then(|| content.into_lists()))
    }

    /// Keeps what the App has just said, where the file does not say so yet. The text for the file is made here; writing it
    /// is for a thread that may wait.
    pub(super) async fn save(&mut self, lists: &Lists) {
        let Some(text) = self.text(lists, now()) else { return };
        let path = self.path.clone();
        let write = move || {
            let written = files::replace(&path, |writer| io::Write::write_all(writer, text.as_bytes()));
            files::forget_old(path.parent().unwrap_or(&path), PREFIX);
            written
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(reason = %error.kind(), "the servers of the App could not be kept");
        }
    }

    fn text(&mut self, lists: &Lists, now: Duration) -> Option<String> {
        let mut content = Content::of(lists);
        let print = Fingerprint::of(&Zeroizing::new(serde_json::to_vec(&content).ok()?));
        if self.written.is_some_and(|(written, at)| written == print && at.elapsed() < CONFIRMED_EVERY) {
            return None;
        }
        self.written = Some((print, Instant::now()));
        content.said = now.as_secs();
        let plain = Zeroizing::new(serde_json::to_vec(&content).ok()?);
        serde_json::to_string(&File { version: VERSION, sealed: self.seal.seal(&self.purpose(), &plain) }).ok()
    }

    pub(super) fn forget(&mut self) {
        self.written = None;
        forget(&self.path);
    }

    /// What is opened for another App, or in another format, is not opened.
    fn purpose(&self) -> Vec<u8> {
        format!("servers {VERSION} {}", self.base_url).into_bytes()
    }
}

pub(super) fn forget(path: &Path) {
    if let Err(error) = files::remove(path) {
        tracing::warn!(reason = %error.kind(), "the servers of the App that were kept could not be removed");
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl<'a> Content<'a> {
    fn of(lists: &'a Lists) -> Self {
        let Lists { servers, tools, resources, templates, prompts, instructions } = lists;
        Self {
            said: 0,
            servers: servers.iter().map(Server::of).collect(),
            tools: tools.into(),
            resources: resources.into(),
            templates: templates.into(),
            prompts: prompts.into(),
            instructions: instructions.iter().map(|all| (Cow::Borrowed(&all.record), Cow::Borrowed(&*all.messages))).collect(),
        }
    }

    fn into_lists(self) -> Lists {
        let Self { said: _, servers, tools, resources, templates, prompts, instructions } = self;
        let instruction = |(record, messages): (Cow<'_, InstructionRecord>, Cow<'_, [InstructionMessage]>)| Instruction {
            record: record.into_owned(),
            messages: messages.into_owned(),
        };
        Lists {
            servers: servers.into_iter().map(Server::into_config).collect(),
            tools: tools.into_owned(),
            resources: resources.into_owned(),
            templates: templates.into_owned(),
            prompts: prompts.into_owned(),
            instructions: instructions.into_iter().map(instruction).collect(),
        }
    }
}

impl<'a> Server<'a> {
    fn of(config: &'a ServerConfig) -> Self {
        // The App's servers have no filter, isolation or revision of their own.
        let ServerConfig {
            id,
            name,
            slug,
            origin: _,
            transport,
            timeout,
            tools: _,
            isolation: _,
            revision: _,
            instructions,
            requires_auth,
        } = config;
        Self {
            id: id.clone(),
            name: name.into(),
            slug: slug.as_deref().map(Cow::Borrowed),
            way: Way::of(transport),
            timeout: *timeout,
            instructions: instructions.into(),
            requires_auth: *requires_auth,
        }
    }

    fn into_config(self) -> ServerConfig {
        let Self { id, name, slug, way, timeout, instructions, requires_auth } = self;
        ServerConfig {
            id,
            name: name.into_owned(),
            slug: slug.map(Cow::into_owned),
            origin: Origin::App,
            transport: way.into_transport(),
            timeout,
            tools: ToolFilter::default(),
            isolation: None,
            revision: None,
            instructions: instructions.into_owned(),
            requires_auth,
        }
    }
}

impl<'a> Way<'a> {
    fn of(transport: &'a TransportConfig) -> Self {
        let exposed = |secrets: &'a IndexMap<String, Secret>| {
            secrets.iter().map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(value.expose_secret()))).collect()
        };
        match transport {
            TransportConfig::Stdio(StdioConfig { command, args, env, cwd: _ }) => {
                Self::Stdio { command: command.into(), args: args.into(), env: exposed(env) }
            }
            TransportConfig::Http(HttpConfig { url, kind, headers }) => {
                Self::Http { url: url.into(), kind: *kind, headers: exposed(headers) }
            }
        }
    }

    fn into_transport(self) -> TransportConfig {
        let hidden = |texts: IndexMap<Cow<'_, str>, Cow<'_, str>>| {
            let secret = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
                let secret = Secret::named(&name, value.into_owned());
                (name.into_owned(), secret)
            };
            texts.into_iter().map(secret).collect()
        };
        match self {
            Self::Stdio { command, args, env } => {
                TransportConfig::Stdio(StdioConfig { command: command.into_owned(), args: args.into_owned(), env: hidden(env), cwd: None })
            }
            Self::Http { url, kind, headers } => {
                TransportConfig::Http(HttpConfig { url: url.into_owned(), kind, headers: hidden(headers) })
            }
        }
    }
}

#[cfg(test)]
mod tests;
