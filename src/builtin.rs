//! The proxy's own tools, resources and prompt. One table drives listing, dispatch, help texts and documents.
//!
//! A tool runs after its arguments were found to be what its schema wants (`arguments`); what it says of failures is in
//! our own words (`outcome`). Those of the App ask it once, with a time limit, and nothing is tried again: dropping a call
//! aborts its request.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    arguments::InputSchema,
    definition::{Definition, Run},
    outcome::{Failure, Output},
    services::Services,
};
use crate::{
    catalog::{CatalogHandle, build::Own},
    downstream::Pool,
    source::SourceHandle,
};

mod arguments;
mod clipboard;
mod collective;
mod definition;
mod discover;
mod documents;
mod guide;
mod knowledge;
mod members;
mod memory;
mod notifications;
mod outcome;
mod resources;
mod services;
mod setup;
mod time;

pub use definition::Area;
pub use guide::instructions;
pub use outcome::{Ended, How};

/// All of them, in the order of lists.
static TOOLS: [Definition; 27] = [
    setup::DEFINITION,
    discover::DEFINITION,
    knowledge::ASK,
    notifications::SEND,
    notifications::LIST,
    notifications::MARK_DONE,
    notifications::DELETE,
    documents::create::DEFINITION,
    documents::list::DEFINITION,
    documents::search::DEFINITION,
    documents::get::DEFINITION,
    documents::update::DEFINITION,
    clipboard::SET,
    clipboard::GET,
    clipboard::DELETE,
    clipboard::LIST,
    clipboard::PUSH,
    clipboard::POP,
    memory::SESSION_START,
    memory::SESSION_END,
    memory::OBSERVE,
    memory::SEARCH,
    memory::DETAILS,
    collective::QUERY,
    collective::FEEDBACK,
    collective::SEARCH_WITH_CONTEXT,
    collective::INDIVIDUATION,
];

/// Which of its own entries the proxy offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offer {
    #[default]
    All,
    /// What works without the App.
    Minimal,
    None,
}

/// What the built-in tools work with.
#[derive(Debug)]
pub struct Builtin {
    offer: Offer,
    source: SourceHandle,
    pool: Pool,
    catalog: CatalogHandle,
    tracker: TaskTracker,
    token: CancellationToken,
    discovering: discover::Looks,
    /// See [`Services::alone`].
    toggling: tokio::sync::Mutex<()>,
}

/// One call of a tool.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// It stands in the table.
    pub name: &'a str,
    /// JSON text.
    pub arguments: Option<&'a str>,
    /// Where it is told how far the call is, if the client wants to know.
    pub progress: Option<&'a dyn Progress>,
}

/// The client of a call, as far as it waits for news.
pub trait Progress: Send + Sync {
    /// `done` of `total` steps.
    fn tell(&self, done: usize, total: usize, message: &str) -> BoxFuture<'_, ()>;
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names and records for lists.
pub fn offered(offer: Offer) -> Own {
    Own {
        tools: tools(offer).map(|definition| (definition.name.to_owned(), definition.record())).collect(),
        prompts: if offer == Offer::None { Vec::new() } else { vec![guide::prompt_record()] },
        resources: resources::records(offer),
        reserved: TOOLS.iter().map(|definition| definition.name).collect(),
    }
}

/// What a tool belongs to.
pub fn area(name: &str) -> Option<Area> {
    find(name).map(|(_, definition)| definition.area)
}

/// What a resource belongs to.
pub fn area_of_resource(uri: &str) -> Option<Area> {
    resources::area(uri)
}

fn tools(offer: Offer) -> impl Iterator<Item = &'static Definition> {
    TOOLS.iter().filter(move |definition| match offer {
        Offer::All => true,
        Offer::Minimal => matches!(definition.run, Run::Here(_)),
        Offer::None => false,
    })
}

fn find(name: &str) -> Option<(usize, &'static Definition)> {
    TOOLS.iter().enumerate().find(|(_, definition)| definition.name == name)
}

impl Builtin {
    /// Cancelling `token` ends what runs in the background; `tracker` waits for that.
    pub fn new(
        offer: Offer,
        source: SourceHandle,
        pool: Pool,
        catalog: CatalogHandle,
        tracker: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        Self { offer, source, pool, catalog, tracker, token, discovering: Arc::default(), toggling: tokio::sync::Mutex::default() }
    }

    /// Dropping it aborts what it asks.
    pub async fn call(&self, call: Call<'_>) -> Ended {
        self.run(call).await.into()
    }

    async fn run(&self, call: Call<'_>) -> Result<Output, Failure> {
        /// Made when a tool is first called.
        static SCHEMAS: [OnceLock<InputSchema>; TOOLS.len()] = [const { OnceLock::new() }; TOOLS.len()];
        let Some((index, definition)) = find(call.name) else {
            return Err(Failure::mistake(format!("unknown built-in tool: {}", call.name)));
        };
        let schema = SCHEMAS[index].get_or_init(|| InputSchema::of(definition.input_schema));
        let arguments = schema.read(call.arguments)?;
        match definition.run {
            Run::Here(run) => run(self, &call, arguments).await,
            Run::App(limit, run) => {
                let app = self.source.app().ok_or_else(services::no_key)?;
                run(Services::new(&app, limit, &self.toggling), arguments).await
            }
        }
    }

    /// The `result` of `resources/read` of one of [`offered`]'s resources.
    pub async fn read(&self, uri: &str) -> Ended {
        resources::read(self, uri).await
    }

    /// The `result` of `prompts/get`.
    pub fn prompt(&self) -> Bytes {
        guide::prompt(self.offer, self.source.app().is_some())
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::Tool;
    use serde_json::Value;

    use super::*;

    #[test]
    fn records_are_tools() {
        for (name, record) in offered(Offer::All).tools {
            let tool: Tool = serde_json::from_slice(&record).expect("rmcp reads what it wrote");
            assert_eq!(tool.name, name);
            assert!(name.starts_with("pluggedin_") && tool.title.is_some() && tool.description.is_some());
            assert_eq!(tool.input_schema["type"], "object");
            let members = tool.input_schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let silent: Vec<_> = members.filter(|(_, member)| !member["description"].is_string()).map(|(member, _)| member).collect();
            assert!(silent.is_empty(), "{name}: {silent:?}");
            assert!(tool.output_schema.is_none_or(|schema| schema["type"] == "object"));
        }
    }

    #[test]
    fn every_schema_can_be_used() {
        for definition in &TOOLS {
            let schema = InputSchema::of(definition.input_schema);
            assert!(schema.read(Some("[]")).is_err(), "{}", definition.name);
            if let Some(output) = definition.output_schema {
                let _ = InputSchema::of(output);
            }
        }
    }

    /// Nobody waits for ever, and nobody gives up while the App still works: it indexes a document before it answers.
    #[test]
    fn every_request_has_a_time_limit() {
        for definition in &TOOLS {
            let Run::App(limit, _) = definition.run else { continue };
            let expect = match definition.name {
                "pluggedin_create_document" => 60,
                "pluggedin_ask_knowledge_base"
                | "pluggedin_list_notifications"
                | "pluggedin_mark_notification_done"
                | "pluggedin_delete_notification" => 15,
                _ => 30,
            };
            assert_eq!(limit.as_secs(), expect, "{}", definition.name);
        }
    }

    /// Models know of these before they call, or not at all.
    #[test]
    fn descriptions_warn_of_what_surprises() {
        for (name, words) in [
            ("pluggedin_search_documents", "neither at meanings nor into the texts; pluggedin_ask_knowledge_base does"),
            ("pluggedin_create_document", "txt for text with code or angle brackets, which md and html do not keep"),
            ("pluggedin_update_document", "sanitizes the whole new text"),
        ] {
            let (_, definition) = find(name).expect("it is one");
            assert!(definition.description.contains(words), "{name}: {}", definition.description);
        }
    }

    #[test]
    fn less_can_be_offered() {
        let names = |offer| offered(offer).tools.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(Offer::Minimal), ["pluggedin_setup", "pluggedin_discover_tools"]);
        assert!(names(Offer::None).is_empty() && offered(Offer::None).prompts.is_empty() && offered(Offer::None).resources.is_empty());
    }
}
