//! `pluggedin_discover_tools`: what is there, by the names it is called by.

use std::{
    collections::HashSet,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::timeout;

use super::{
    Builtin, Call, Progress,
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    outcome::{Failure, Output},
    setup,
};
use crate::{
    catalog::{Catalog, ListKind, Owner, Prompt},
    downstream::Status,
    protocol::server::{Origin, ServerConfig, ServerId},
    security::{line, redact},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "pluggedin_discover_tools",
    title: "Discover tools",
    description: "Lists all tools, prompts and resources by the names they are called by, with the state of each server. Also asks plugged.in, in the background, to look at its servers again.",
    area: Area::Discovery,
    input_schema: r#"{"type":"object","properties":{"server_uuid":{"type":"string","format":"uuid","description":"Only this server"},"force_refresh":{"type":"boolean","description":"Have every server asked again, even if that was done a moment ago","default":false}},"additionalProperties":false}"#,
    output_schema: None,
    hints: Hints { read_only: true, destructive: false, idempotent: false },
    run: Run::Here(run),
};

/// Descriptions are shown up to this length.
const DESCRIPTION: usize = 120;
/// Names of servers are shown up to this length.
const NAME: usize = 200;
/// Entries of one kind that are shown of one server.
const SHOWN: usize = 200;

/// How long one server may take while the client is told of each.
const PER_SERVER: Duration = Duration::from_secs(20);
/// How long all of them may take together. Clients wait a minute or so without news, and longer with them.
const ALL_SERVERS: Duration = Duration::from_secs(90);
/// Servers that are looked at together.
const TOGETHER: usize = 8;

fn run<'a>(builtin: &'a Builtin, call: &'a Call<'a>, arguments: Arguments) -> Running<'a> {
    async move {
        let only = match arguments.text("server_uuid").map(ServerId::new) {
            Some(id) if builtin.catalog.current().server(&id).is_none() => {
                return Err(Failure::mistake(format!(
                    "invalid arguments: `server_uuid` names no server of this workspace: {}",
                    redact::quote(id.as_str(), 100)
                )));
            }
            only => only,
        };
        let force = arguments.flag("force_refresh");
        let Some(progress) = call.progress else {
            let is_asked = builtin.look_again(only.clone(), force);
            return Ok(Output::text(builtin.report(only.as_ref(), is_asked && force)));
        };
        let done = timeout(ALL_SERVERS, builtin.look_now(only.as_ref(), force, progress)).await.is_ok();
        Ok(Output::text(builtin.report(only.as_ref(), !done)))
    }
    .boxed()
}

impl Builtin {
    /// Looks at servers one by one and tells of each, for a client that waits for it.
    async fn look_now(&self, only: Option<&ServerId>, force: bool, progress: &dyn Progress) {
        let servers: Vec<_> =
            self.pool.servers().into_iter().map(|(config, _)| config).filter(|config| only.is_none_or(|only| config.id == *only)).collect();
        let total = servers.len();
        let mut looks = stream::iter(servers).map(|config| self.look_at(config, force)).buffer_unordered(TOGETHER).enumerate();
        while let Some((index, said)) = looks.next().await {
            progress.tell(index + 1, total, &said).await;
        }
        if self.source.app().is_some() {
            // What the App has found shows in its lists only.
            let _ = timeout(PER_SERVER, self.source.refresh_and_wait()).await;
        }
    }

    /// One server: by ourselves, and by the App if it is one of its own. The App can reach others than we can, and its word
    /// decides which tools are switched on.
    async fn look_at(&self, config: Arc<ServerConfig>, force: bool) -> String {
        let name = redact::quote(&config.name, NAME);
        let by_app = async {
            let app = self.source.app().filter(|_| config.origin == Origin::App)?;
            // Somebody else may be having it looked at.
            let _looking = Looking::begin(&self.discovering, Some(config.id.clone()))?;
            app.discover(Some(&config.id), force).await.err()
        };
        let (link, refused) = tokio::join!(timeout(PER_SERVER, self.pool.link(&config.id)), by_app);
        let state = match link {
            Ok(Ok(_)) => "connected".to_owned(),
            Ok(Err(error)) => format!("not available: {}", line::escape(&redact::redact(&error.to_string()))),
            Err(_) => "still connecting".to_owned(),
        };
        match refused {
            None => format!("{name}: {state}"),
            Some(error) => format!("{name}: {state}; plugged.in did not look at it: {}", Failure::from(error).said),
        }
    }

    /// Asks servers that failed once more, and has the App look at its own, which
    /// takes up to a minute. One look at the same at a time is enough. False if the App has nothing to look at.
    fn look_again(&self, only: Option<ServerId>, force: bool) -> bool {
        let servers = self.pool.servers();
        for (config, _) in servers.iter().filter(|(_, status)| status.can_be_tried()) {
            self.pool.demand(&config.id);
        }
        let is_the_apps = |id: &ServerId| servers.iter().any(|(config, _)| config.id == *id && config.origin == Origin::App);
        let Some(app) = self.source.app().filter(|_| only.as_ref().is_none_or(is_the_apps)) else { return false };
        let Some(looking) = Looking::begin(&self.discovering, only) else { return true };
        let (source, token) = (self.source.clone(), self.token.clone());
        self.tracker.spawn(async move {
            let answer = tokio::select! {
                () = token.cancelled() => return,
                answer = app.discover(looking.at.as_ref(), force) => answer,
            };
            drop(looking);
            match answer {
                Ok(answer) => {
                    tracing::info!(answer = %answer.message, "discovery finished");
                    source.refresh_now();
                }
                Err(error) => tracing::warn!(%error, "discovery failed"),
            }
        });
        true
    }

    fn report(&self, only: Option<&ServerId>, is_unfinished: bool) -> String {
        let catalog = &*self.catalog.current();
        let snapshot = self.source.snapshot();
        let servers: Vec<_> = self.pool.servers().into_iter().filter(|(config, _)| only.is_none_or(|only| config.id == *only)).collect();
        // What is known of them is from an earlier run.
        let unreached: Vec<_> =
            catalog.servers().filter(|(id, server)| !server.configured && only.is_none_or(|only| only == *id)).collect();
        let count = servers.len() + unreached.len();
        let mut text = format!("# {count} server{}\n\n{}\n", if count == 1 { "" } else { "s" }, setup::state(&snapshot));
        if is_unfinished {
            text.push_str("\nplugged.in is still looking at its servers; call this tool once more in half a minute.\n");
        }
        let entries = Entries { catalog, tools: described(catalog, ListKind::Tools), prompts: described(catalog, ListKind::Prompts) };
        if only.is_none() {
            text.push_str("\n## Built-in tools\n");
            list(&mut text, &entries.tools_of(&Owner::Builtin));
        }
        for (config, status) in &servers {
            let state = format!("{}, {}", config.transport.label(), state(status));
            server(&mut text, &entries, (&config.id, &config.name), &state);
            if config.requires_auth {
                text.push_str("plugged.in says that this server wants a sign-in; do that in the App.\n");
            }
        }
        for (id, known) in unreached {
            server(&mut text, &entries, (id, &known.name), "as last listed; how it is reached is not known until plugged.in answers");
        }
        text
    }
}

/// What the App is looking at: one server, or all of them.
pub(super) type Looks = Arc<Mutex<HashSet<Option<ServerId>>>>;

/// A look of the App's. Ends when it is dropped.
struct Looking {
    looks: Looks,
    at: Option<ServerId>,
}

impl Looking {
    /// `None` if there is one already.
    fn begin(looks: &Looks, at: Option<ServerId>) -> Option<Self> {
        let is_first = looks.lock().unwrap_or_else(PoisonError::into_inner).insert(at.clone());
        is_first.then(|| Self { looks: Arc::clone(looks), at })
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.at);
    }
}

/// What the catalog lists, with descriptions.
struct Entries<'a> {
    catalog: &'a Catalog,
    tools: Vec<Entry>,
    prompts: Vec<Entry>,
}

/// Name and description.
type Entry = (String, String);

impl Entries<'_> {
    fn tools_of(&self, owner: &Owner) -> Vec<&Entry> {
        let mine = |name: &str| matches!(self.catalog.tool(name), Ok(Some(tool)) if tool.owner == *owner);
        self.tools.iter().filter(|(name, _)| mine(name)).collect()
    }

    fn prompts_of(&self, server: &ServerId) -> Vec<&Entry> {
        let mine = |name: &str| match self.catalog.prompt(name) {
            Some(Prompt::Forwarded { owner: Owner::Server(id), .. } | Prompt::Instructions { server: id, .. }) => id == server,
            Some(Prompt::Builtin | Prompt::Forwarded { .. }) | None => false,
        };
        self.prompts.iter().filter(|(name, _)| mine(name)).collect()
    }
}

fn server(text: &mut String, entries: &Entries<'_>, (id, name): (&ServerId, &str), state: &str) {
    let owner = Owner::Server(id.clone());
    let bare = |uri: &str| (uri.to_owned(), String::new());
    let _ = write!(text, "\n## {} ({state})\n", redact::quote(name, NAME));
    section(text, "Tools", &entries.tools_of(&owner));
    section(text, "Prompts", &entries.prompts_of(id));
    let resources = entries.catalog.resources().filter(|(_, resource)| resource.owner == owner);
    let resources: Vec<_> = resources.map(|(uri, _)| bare(uri)).collect();
    section(text, "Resources", &resources.iter().collect::<Vec<_>>());
    let templates = entries.catalog.templates().filter(|(_, template)| template.owner == owner);
    let templates: Vec<_> = templates.map(|(uri, _)| bare(uri)).collect();
    section(text, "Resource templates", &templates.iter().collect::<Vec<_>>());
}

fn state(status: &Status) -> String {
    match status.error() {
        Some(error) => format!("{}: {}", status.label(), line::escape(&redact::redact(&error.to_string()))),
        None => status.label().to_owned(),
    }
}

fn section(text: &mut String, title: &str, entries: &[&Entry]) {
    if !entries.is_empty() {
        let _ = writeln!(text, "{title} ({}):", entries.len());
        list(text, entries);
    }
}

fn list(text: &mut String, entries: &[&Entry]) {
    for (name, description) in entries.iter().take(SHOWN) {
        let colon = if description.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "- `{}`{colon}{description}", line::escape(name));
    }
    if entries.len() > SHOWN {
        let _ = writeln!(text, "- … and {} more", entries.len() - SHOWN);
    }
}

/// Names with the first line of their descriptions. SECURITY: what others wrote begins no line of ours.
fn described(catalog: &Catalog, kind: ListKind) -> Vec<Entry> {
    let first_line = |text: &str| redact::quote(text.lines().next().unwrap_or_default().trim(), DESCRIPTION);
    catalog.descriptions(kind).into_iter().map(|(name, text)| (name, first_line(&text))).collect()
}
