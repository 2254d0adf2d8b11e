//! Passages of the documents of a Hub.

use super::reply::{failure, good};
use super::{Call, Workspace};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A passage that is found by every question.
#[derive(Debug, Clone)]
pub(crate) struct Passage {
    pub(crate) document: &'static str,
    pub(crate) id: &'static str,
    pub(crate) text: &'static str,
}

/// What the provider of embeddings says where it has no key.
pub(super) const NO_EMBEDDINGS: &str = "OPENAI_API_KEY is required for OpenAI provider";

pub(super) fn route(workspace: &Workspace, call: &Call) -> Option<Response> {
    let ["POST", "rag", "query"] = call.steps()[..] else {
        return None;
    };
    let body = call.json();
    let query = body["query"].as_str().unwrap_or_default().trim().to_owned();
    if query.is_empty() || query.chars().count() > 1000 || query.contains(['^', '\\']) {
        return Some(failure(400, "Query contains invalid characters"));
    }
    if workspace.without_embeddings {
        return Some(failure(500, NO_EMBEDDINGS));
    }
    let found = &workspace.passages;
    let texts: Vec<_> = found.iter().map(|passage| passage.text).collect();
    let answer = if texts.is_empty() { "No relevant documents found".to_owned() } else { texts.join("\n---\n") };
    if body["includeMetadata"] != true {
        return Some(answer.into_response());
    }
    let names: Vec<_> = found.iter().map(|passage| passage.document).collect();
    let ids: Vec<_> = found.iter().map(|passage| passage.id).collect();
    Some(good(json!({"answer": answer, "sources": names, "documentIds": ids})))
}
