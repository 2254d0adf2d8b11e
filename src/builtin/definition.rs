//! What a built-in tool is: one entry of the table, and what it looks like in lists.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value};

use super::{
    Builtin, Call,
    arguments::Arguments,
    outcome::{Failure, Output},
    services::Services,
};

/// One built-in tool: all that is said of it anywhere comes from here.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// For the model: what it does, and when to use it.
    pub(super) description: &'static str,
    pub(super) area: Area,
    /// A JSON Schema. Arguments keep to it before anything is asked, and its defaults are filled in.
    pub(super) input_schema: &'static str,
    /// The JSON Schema of the structured content of every answer that is no failure, if answers have a shape.
    pub(super) output_schema: Option<&'static str>,
    pub(super) hints: Hints,
    pub(super) run: Run,
}

/// What clients go by when they ask the user for permission (specification, server/tools, `ToolAnnotations`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Hints {
    pub(super) read_only: bool,
    pub(super) destructive: bool,
    pub(super) idempotent: bool,
}

pub(super) type Running<'a> = BoxFuture<'a, Result<Output, Failure>>;

/// How a tool is run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// By what the proxy knows itself.
    Here(for<'a> fn(&'a Builtin, &'a Call<'a>, Arguments) -> Running<'a>),
    /// By asking the App, so that it needs a key. Each request has this time, including the wait until it is allowed.
    App(Duration, for<'a> fn(Services<'a>, Arguments) -> Running<'a>),
}

/// What a tool belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Setup,
    Discovery,
    Knowledge,
    Notifications,
    Documents,
    Clipboard,
    Memory,
    Collective,
    Archetypes,
}

impl Area {
    pub(super) const ALL: [Self; 9] = [
        Self::Setup,
        Self::Discovery,
        Self::Knowledge,
        Self::Notifications,
        Self::Documents,
        Self::Clipboard,
        Self::Memory,
        Self::Collective,
        Self::Archetypes,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Setup => "Setting up",
            Self::Discovery => "Discovery",
            Self::Knowledge => "Knowledge base",
            Self::Notifications => "Notifications",
            Self::Documents => "Documents",
            Self::Clipboard => "Clipboard",
            Self::Memory => "Memory",
            Self::Collective => "Collective best practices",
            Self::Archetypes => "Archetypes and individuation",
        }
    }

    /// When a model should think of it.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::Setup => "explains how to connect this server to plugged.in or to a local file",
            Self::Discovery => "shows what is there by callable names, with the state of each server",
            Self::Knowledge => "finds passages in the documents that the user has uploaded; ask it before you answer from memory",
            Self::Notifications => "tells the user of something that should not wait for the end of the chat",
            Self::Documents => "keeps texts that you write, with their versions, where the user and other assistants find them",
            Self::Clipboard => "hands values from one tool, chat or assistant to another",
            Self::Memory => "records what was learned in a session, and finds what was learned earlier",
            Self::Collective => "knows what worked for others with a tool or an error",
            Self::Archetypes => "weighs patterns by the situation, and shows how far the memory has developed",
        }
    }
}

impl Definition {
    /// As `tools/list` shows it.
    pub(super) fn record(&self) -> Bytes {
        let annotations = ToolAnnotations::with_title(self.title)
            .read_only(self.hints.read_only)
            .destructive(self.hints.destructive)
            .idempotent(self.hints.idempotent)
            .open_world(self.area == Area::Collective);
        let mut tool = Tool::new(self.name, self.description, Arc::new(schema(self.input_schema)))
            .with_title(self.title)
            .with_annotations(annotations);
        tool.output_schema = self.output_schema.map(|text| Arc::new(schema(text)));
        serde_json::to_vec(&tool).expect("a tool is always JSON").into()
    }
}

/// A schema of the table.
pub(super) fn schema(text: &'static str) -> Map<String, Value> {
    serde_json::from_str(text).expect("the schema is a constant object")
}
