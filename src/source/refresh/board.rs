//! What each source said last, and the snapshot made of it.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::{
    protocol::server::ServerConfig,
    source::{AppStatus, FileStatus, InstructionRecord, Records, Snapshot, Told},
};

/// Shared by the tasks; a snapshot leaves it only when something is different.
#[derive(Debug)]
pub(super) struct Board {
    parts: Mutex<Parts>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

#[derive(Debug, Default)]
struct Parts {
    app: AppPart,
    file: FilePart,
}

#[derive(Debug, Default)]
pub(super) struct AppPart {
    pub(super) servers: Vec<Arc<ServerConfig>>,
    pub(super) records: Records,
    pub(super) told: Told,
    pub(super) status: AppStatus,
}

#[derive(Debug, Default)]
pub(super) struct FilePart {
    pub(super) servers: Vec<Arc<ServerConfig>>,
    pub(super) status: FileStatus,
}

impl Board {
    pub(super) fn new(app: bool) -> (Arc<Self>, watch::Receiver<Arc<Snapshot>>) {
        let mut parts = Parts::default();
        if app {
            parts.app.status = AppStatus::Loading;
        }
        let (snapshots, receiver) = watch::channel(Arc::new(parts.snapshot()));
        (Arc::new(Self { parts: Mutex::new(parts), snapshots }), receiver)
    }

    pub(super) fn set_app(&self, mut new: AppPart) {
        self.update(|parts| {
            keep_equal(&parts.app.servers, &mut new.servers);
            let same = same_servers(&parts.app.servers, &new.servers)
                && same_records(&parts.app.records, &new.records)
                && parts.app.told == new.told
                && parts.app.status == new.status;
            parts.app = new;
            !same
        });
    }

    pub(super) fn set_app_status(&self, status: AppStatus) {
        self.update(|parts| {
            let same = parts.app.status == status;
            parts.app.status = status;
            !same
        });
    }

    pub(super) fn set_file(&self, mut new: FilePart) {
        self.update(|parts| {
            keep_equal(&parts.file.servers, &mut new.servers);
            let same = same_servers(&parts.file.servers, &new.servers) && parts.file.status == new.status;
            parts.file = new;
            !same
        });
    }

    pub(super) fn set_file_status(&self, status: FileStatus) {
        self.update(|parts| {
            let same = parts.file.status == status;
            parts.file.status = status;
            !same
        });
    }

    /// `change` tells whether it made a difference. The lock is held while the
    /// snapshot is sent, so that the last change is also the last one published.
    fn update(&self, change: impl FnOnce(&mut Parts) -> bool) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut parts) {
            self.snapshots.send_replace(Arc::new(parts.snapshot()));
        }
    }
}

impl Parts {
    fn snapshot(&self) -> Snapshot {
        let mut servers: Vec<_> = self.app.servers.iter().chain(&self.file.servers).cloned().collect();
        servers.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
        let mut records = self.app.records.clone();
        complete_instructions(&servers, &mut records.instructions);
        Snapshot { servers, records, told: self.app.told, app: self.app.status.clone(), file: self.file.status.clone() }
    }
}

/// Every server with instructions has a record, also one of the file, and one of an
/// App without `/api/custom-instructions`. Records of servers that are not there, or
/// have no instructions, would only fail when they are asked for.
fn complete_instructions(servers: &[Arc<ServerConfig>], records: &mut Vec<InstructionRecord>) {
    records.retain(|record| servers.iter().any(|server| server.id == record.server && !server.instructions.is_empty()));
    for server in servers.iter().filter(|server| !server.instructions.is_empty()) {
        if records.iter().any(|record| record.server == server.id) {
            continue;
        }
        let name: String = server.name.to_lowercase().chars().map(word_character).collect();
        records.push(InstructionRecord {
            name: format!("{name}__system_context"),
            description: Some(format!("Custom instructions for {}", server.name)),
            server: server.id.clone(),
        });
    }
}

/// The App's own rule for the names of instruction prompts.
fn word_character(c: char) -> char {
    if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' }
}

/// A server that did not change stays the same value, so that others can compare by
/// pointer.
fn keep_equal(old: &[Arc<ServerConfig>], new: &mut [Arc<ServerConfig>]) {
    for server in new {
        if let Some(known) = old.iter().find(|known| same_server(known, server)) {
            *server = Arc::clone(known);
        }
    }
}

/// In any order: the App gives none.
fn same_servers(a: &[Arc<ServerConfig>], b: &[Arc<ServerConfig>]) -> bool {
    a.len() == b.len() && a.iter().all(|server| b.iter().any(|other| Arc::ptr_eq(server, other)))
}

fn same_server(a: &ServerConfig, b: &ServerConfig) -> bool {
    let ServerConfig { id, name, slug, origin, transport: _, timeout, tools, isolation, revision, instructions, requires_auth } = a;
    *id == b.id
        && *name == b.name
        && *slug == b.slug
        && *origin == b.origin
        && *timeout == b.timeout
        && *tools == b.tools
        && *isolation == b.isolation
        && *revision == b.revision
        && *instructions == b.instructions
        && *requires_auth == b.requires_auth
        && a.fingerprint() == b.fingerprint()
        && a.same_headers(b)
}

fn same_records(a: &Records, b: &Records) -> bool {
    let Records { tools, resources, templates, prompts, instructions } = a;
    same(tools, &b.tools, |a, b| {
        a.server == b.server
            && a.name == b.name
            && a.listed == b.listed
            && a.description == b.description
            && same_json(a.input_schema.as_deref(), b.input_schema.as_deref())
    }) && [(resources, &b.resources), (templates, &b.templates)]
        .into_iter()
        .all(|(a, b)| same(a, b, |a, b| a.uri == b.uri && a.name == b.name && a.description == b.description && a.mime_type == b.mime_type))
        && same(prompts, &b.prompts, |a, b| {
            a.name == b.name && a.description == b.description && same_json(a.arguments.as_deref(), b.arguments.as_deref())
        })
        && same(instructions, &b.instructions, |a, b| a.name == b.name && a.description == b.description && a.server == b.server)
}

fn same<T>(a: &[T], b: &[T], equal: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
}

fn same_json(a: Option<&RawValue>, b: Option<&RawValue>) -> bool {
    a.map(RawValue::get) == b.map(RawValue::get)
}
