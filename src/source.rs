//! Where server configurations come from: the App, a local file, or both.
//!
//! A source publishes a [`Snapshot`] whenever what it knows changes. It never
//! talks to a server and knows nothing of the names that clients see.
//!
//! [`Source::start`] reads the file at once and then leaves everything to tasks: one
//! asks the App every now and then, one watches the file.

pub mod app;
pub mod file;
mod instructions;
mod refresh;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::server::{ServerConfig, ServerId};
pub use refresh::{Config, Source, SourceHandle, kept};

/// All that the sources say at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Sorted by name, then by id, so that everything built from it is in a
    /// stable order.
    pub servers: Vec<Arc<ServerConfig>>,
    /// What the App recorded of its servers' capabilities. Servers of the local
    /// file have none; they are asked themselves.
    pub records: Records,
    pub told: Told,
    pub app: AppStatus,
    pub file: FileStatus,
}

/// Whether what a snapshot holds of the App is all that it has said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told {
    /// It has not said everything yet, or has taken it back.
    #[default]
    Nothing,
    /// In an earlier run. It is away, or has not answered yet.
    Earlier,
    Now,
}

/// As it is kept between runs, too: nothing in here is a secret, or shows how a server is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Records {
    pub tools: Vec<ToolRecord>,
    pub resources: Vec<ResourceRecord>,
    pub templates: Vec<ResourceRecord>,
    pub prompts: Vec<PromptRecord>,
    /// One or more for each server of either source that has instructions; the
    /// messages stand in the server's configuration.
    pub instructions: Vec<InstructionRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolRecord {
    pub server: ServerId,
    /// The name that the server itself knows.
    pub name: String,
    /// The name as the App lists it with its prefix, `{slug}__{tool}`.
    pub listed: String,
    pub description: Option<String>,
    pub input_schema: Option<Box<RawValue>>,
}

/// A resource, or a template (then `uri` is the template). The App does not say
/// which server it belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResourceRecord {
    pub uri: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub mime_type: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PromptRecord {
    pub name: String,
    pub description: Option<String>,
    /// A JSON array of `PromptArgument`.
    pub arguments: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstructionRecord {
    /// `pluggedin_instruction_{server}_default` or `{server}__system_context`.
    pub name: String,
    pub description: Option<String>,
    pub server: ServerId,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AppStatus {
    /// No key: the App is not asked.
    #[default]
    Unset,
    /// The first answer is still awaited.
    Loading,
    Current,
    /// The key was refused. What the App said before is gone from the snapshot.
    Refused {
        message: String,
    },
    /// The App cannot be reached or fails. The snapshot holds what it said last.
    Away {
        message: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FileStatus {
    #[default]
    Unset,
    Current {
        /// One sentence for each server that had to be left out, and for members
        /// that look like slips of the pen.
        problems: Vec<String>,
    },
    /// The file cannot be read or parsed. The snapshot holds its last good state.
    Broken { message: String },
}

/// A time limit that makes sense: above zero, at most a day.
fn positive_millis(millis: f64) -> Option<Duration> {
    let limit = Duration::try_from_secs_f64(millis / 1000.0).ok()?;
    (Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60)).contains(&limit).then_some(limit)
}
