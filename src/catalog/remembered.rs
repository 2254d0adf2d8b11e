//! What the App said last of its servers, as far as lists need it: which there are, what they are called, which of their
//! tools are on. It stands in for the App at a start while that is away or slow.
//!
//! SECURITY: nothing in here says how a server is reached. No command, URL, variable or header has a place in it, so none can
//! come into the file.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::build::Face;
use crate::{
    protocol::server::{InstructionMessage, Origin, ServerId, ToolFilter},
    source::{Records, Snapshot},
};

/// The App's servers have no filter of their own: what is switched off is missing from the records.
static UNFILTERED: ToolFilter = ToolFilter { allow: None, deny: Vec::new() };

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remembered {
    servers: Vec<Server>,
    records: Records,
    /// Servers of which the App has recorded tools: of these only what it lists is on.
    recorded: HashSet<ServerId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Server {
    id: ServerId,
    name: String,
    slug: Option<String>,
    instructions: Vec<InstructionMessage>,
}

impl Remembered {
    /// The App's part of a snapshot.
    pub fn of(snapshot: &Snapshot, recorded: &HashSet<ServerId>) -> Self {
        let servers = snapshot.servers.iter().filter(|config| config.origin == Origin::App);
        let servers = servers.map(|config| Server {
            id: config.id.clone(),
            name: config.name.clone(),
            slug: config.slug.clone(),
            instructions: config.instructions.clone(),
        });
        let mut records = snapshot.records.clone();
        records.instructions.retain(|record| !record.server.is_of_file());
        Self { servers: servers.collect(), records, recorded: recorded.clone() }
    }

    pub fn recorded(&self) -> &HashSet<ServerId> {
        &self.recorded
    }

    /// These servers and those of the local file, in the order of a snapshot.
    pub fn faces<'a>(&'a self, snapshot: &'a Snapshot) -> Vec<Face<'a>> {
        let is_configured = |id: &ServerId| snapshot.servers.iter().any(|config| config.id == *id);
        let own = self.servers.iter().map(|Server { id, name, slug, instructions }| Face {
            id,
            name,
            slug: slug.as_deref(),
            origin: Origin::App,
            tools: &UNFILTERED,
            instructions,
            configured: is_configured(id),
        });
        let of_file = snapshot.servers.iter().filter(|config| config.origin == Origin::File).map(|config| Face::of(config));
        let mut faces: Vec<_> = own.chain(of_file).collect();
        faces.sort_by(|a, b| a.name.cmp(b.name).then_with(|| a.id.cmp(b.id)));
        faces
    }

    /// These records, and what a snapshot has of the local file's servers.
    pub fn records(&self, snapshot: &Snapshot) -> Records {
        let mut records = self.records.clone();
        records.instructions.extend(snapshot.records.instructions.iter().filter(|record| record.server.is_of_file()).cloned());
        records
    }
}
