//! The knowledge base: passages of the documents that belong to the key's Hub.

use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    outcome::{Failure, Output},
    services::{Services, unreadable},
};
use crate::source::app::{AppError, Request};

pub(super) const ASK: Definition = Definition {
    name: "pluggedin_ask_knowledge_base",
    title: "Ask the knowledge base",
    description: "Finds the passages in the user's uploaded documents that match a question best, with the documents they stand in. The answer is these passages word for word; no model has written it.",
    area: Area::Knowledge,
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":1000,"description":"The question, or words that the passages should be about"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{
            "answer":{"type":"string","description":"The passages, with a line of --- between them"},
            "sources":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"id":{"type":"string"},"version":{},"relevance":{}},"additionalProperties":false}},
            "metadata":{"type":"object","properties":{"query":{"type":"string"},"sourceCount":{"type":"integer"},"timestamp":{"type":"string","format":"date-time"}},"required":["query","sourceCount","timestamp"]}},
            "required":["answer","sources","metadata"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: false },
    run: Run::App(ask),
};

/// The search and the App's provider for it take their time.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The App's answer: lists that belong together, of which older Apps send fewer.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Passages {
    answer: String,
    sources: Vec<String>,
    document_ids: Vec<String>,
    document_versions: Vec<Value>,
    relevance_scores: Vec<Value>,
}

/// A document that a passage stands in.
#[derive(Serialize)]
struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    version: Option<Value>,
    relevance: Option<Value>,
}

fn ask(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let query = arguments.required("query");
        // The App refuses both characters, with an error that nobody understands.
        let sent = query.replace(['^', '\\'], " ");
        if sent.trim().is_empty() {
            return Err(Failure::mistake("invalid arguments: `query` holds nothing to search for"));
        }
        let request = Request {
            method: Method::POST,
            body: Some(json!({ "query": sent, "includeMetadata": true })),
            timeout: TIMEOUT,
            ..Request::get(&["api", "rag", "query"])
        };
        let body = services.app.request(request).await.map_err(|error| match error {
            AppError::Failing { status: 500, .. } => Failure::new(
                "plugged.in could not search; hint: the knowledge base may be switched off in this App, or try again in a minute",
            ),
            error => error.into(),
        })?;
        // Plain text is the answer alone.
        let passages = match serde_json::from_str::<Value>(&body) {
            Ok(value @ Value::Object(_)) => serde_json::from_value(value).map_err(|_| unreadable())?,
            Ok(Value::String(answer)) => Passages { answer, ..Passages::default() },
            Ok(_) => return Err(unreadable().into()),
            Err(_) if body.trim_start().starts_with(['<', '{', '[']) => return Err(unreadable().into()),
            Err(_) => Passages { answer: body, ..Passages::default() },
        };
        Ok(Output::json(&report(query, passages)))
    }
    .boxed()
}

fn report(query: &str, passages: Passages) -> Value {
    let Passages { answer, sources, document_ids, document_versions, relevance_scores } = passages;
    let sources: Vec<_> = (0..sources.len().max(document_ids.len()))
        .map(|index| Source {
            name: sources.get(index).cloned(),
            id: document_ids.get(index).cloned(),
            version: document_versions.get(index).cloned(),
            relevance: relevance_scores.get(index).cloned(),
        })
        .collect();
    let metadata = json!({ "query": query, "sourceCount": sources.len(), "timestamp": super::time::now() });
    json!({ "answer": answer, "sources": sources, "metadata": metadata })
}
