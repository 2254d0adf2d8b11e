//! The library: texts that assistants write and users upload. A file for each tool; here is what they have in common.
//!
//! Not the search in their contents, which is [`knowledge`](super::knowledge).

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{
    members::Members,
    outcome::{Failure, shared_limit},
    time,
};
use crate::{security::redact, source::app::AppError};

pub(super) mod create;
pub(super) mod get;
pub(super) mod list;
pub(super) mod search;
pub(super) mod update;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Words of the App and lines of others are shown up to these lengths.
const WORD: usize = 100;
const LINE: usize = 500;

/// What is told of a document everywhere, as far as the App tells it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// That has written it.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

impl Summary {
    /// `None` where it has no id, so that it could not be asked for.
    fn of(document: Members<'_>) -> Option<Self> {
        Some(Self {
            id: document.line("id", WORD)?,
            title: document.line("title", LINE),
            source: document.line("source", WORD),
            model: document.object("aiMetadata").and_then(|metadata| metadata.object("model")).and_then(model),
            tags: document.texts("tags").iter().map(|tag| redact::quote(tag, WORD)).collect(),
            visibility: document.line("visibility", WORD),
            version: document.integer("version"),
            mime_type: document.line("mimeType", WORD),
            file_size: document.integer("fileSize"),
            created_at: document.time("createdAt"),
            updated_at: document.time("updatedAt"),
            description: document.line("description", LINE),
        })
    }

    fn title(&self) -> &str {
        self.title.as_deref().unwrap_or("(no title)")
    }

    /// Everything but the title, a line each.
    fn lines(&self) -> Vec<String> {
        let Self { id, title: _, source, model, tags, visibility, version, mime_type, file_size, created_at, updated_at, description } =
            self;
        let file: Vec<_> = mime_type.iter().cloned().chain(file_size.map(|size| format!("{size} bytes"))).collect();
        // One that nobody has changed was updated when it was created.
        let updated_at = updated_at.as_ref().filter(|updated| Some(*updated) != created_at.as_ref());
        [
            ("ID", Some(id.clone())),
            ("Created", created_at.clone()),
            ("Updated", updated_at.cloned()),
            ("Source", source.clone()),
            ("Model", model.clone()),
            ("Version", version.map(|version| version.to_string())),
            ("Visibility", visibility.clone()),
            ("File", (!file.is_empty()).then(|| file.join(", "))),
            ("Tags", (!tags.is_empty()).then(|| tags.join(", "))),
            ("Description", description.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}: {}", value?)))
        .collect()
    }

    /// As an entry of a list.
    fn entry(&self, number: usize, more: impl IntoIterator<Item = String>) -> String {
        let lines: Vec<_> = self.lines().into_iter().chain(more).map(|line| format!("\n   {line}")).collect();
        format!("\n{number}. **{}**{}\n", self.title(), lines.concat())
    }
}

/// `some-model 2 (acme)`.
fn model(model: Members<'_>) -> Option<String> {
    let name = model.line("name", WORD)?;
    let version = model.line("version", WORD).map(|version| format!(" {version}")).unwrap_or_default();
    let provider = model.line("provider", WORD).map(|provider| format!(" ({provider})")).unwrap_or_default();
    Some(format!("{name}{version}{provider}"))
}

/// Writes the times of filters as the App reads them: in UTC, which is said by a `Z`.
fn in_utc(filters: &mut Value) -> Result<(), Failure> {
    for name in ["dateFrom", "dateTo"] {
        let Some(given) = filters.get_mut(name) else { continue };
        let utc = given.as_str().and_then(time::utc);
        *given = utc.ok_or_else(|| Failure::mistake(format!("invalid arguments: `filters.{name}` is too far away in UTC")))?.into();
    }
    Ok(())
}

/// Whether the App's HTML sanitizer would change a text.
fn is_sanitized(content: &str) -> bool {
    content.contains(['<', '>', '&'])
}

fn missing(id: &str) -> Failure {
    Failure::mistake(format!("there is no document {id}, or it is not for this key; hint: `pluggedin_list_documents` shows what is there"))
}

/// `what` the App may be asked for only so often.
fn limited(what: &str, error: AppError) -> Failure {
    match error {
        AppError::RateLimited { retry_after } => shared_limit(what, retry_after),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_told_as_far_as_it_is_known() {
        let document = json!({
            "id": "550e8400-e29b-41d4-a716-446655440000",
            "title": "Release\nnotes",
            "description": "AI-generated report by some-model",
            "fileName": "a.md",
            "fileSize": 1024,
            "mimeType": "text/markdown",
            "tags": ["release", 7, "b\u{202e}"],
            "source": "ai_generated",
            "visibility": "private",
            "version": 2,
            "createdAt": "2026-01-01T12:00:00.000Z",
            "updatedAt": "2026-01-02 12:00:00.5+00",
            "aiMetadata": { "model": { "name": "some-model", "provider": "acme", "version": "2" } },
        });
        let summary = |document: &Value| Summary::of(Members::of(document).expect("an object"));
        expect![[r#"

            3. **Release\nnotes**
               ID: 550e8400-e29b-41d4-a716-446655440000
               Created: 2026-01-01T12:00:00Z
               Updated: 2026-01-02T12:00:00Z
               Source: ai_generated
               Model: some-model 2 (acme)
               Version: 2
               Visibility: private
               File: text/markdown, 1024 bytes
               Tags: release, b\u202e
               Description: AI-generated report by some-model
               Relevance: 57.6 %
        "#]]
        .assert_eq(&summary(&document).expect("it has an id").entry(3, ["Relevance: 57.6 %".to_owned()]));
        let odd = json!({ "id": "x", "title": 7, "tags": "t", "aiMetadata": { "model": "m" }, "version": "2", "createdAt": "soon", "fileSize": null });
        expect![[r#"

            1. **(no title)**
               ID: x
        "#]]
        .assert_eq(&summary(&odd).expect("it has an id").entry(1, []));
        assert!(summary(&json!({ "title": "T", "id": 7 })).is_none());
    }

    #[test]
    fn times_of_filters_are_sent_in_utc() {
        for (from, expect) in [
            ("2026-01-01T02:00:00+02:00", Some("2026-01-01T00:00:00Z")),
            ("2026-12-31t23:59:59.5z", Some("2026-12-31T23:59:59.5Z")),
            ("9999-12-31T23:59:59-01:00", None),
            ("2026-01-01", None),
        ] {
            let mut filters = json!({ "dateTo": from, "tags": ["a"] });
            let done = in_utc(&mut filters);
            assert_eq!(done.is_ok().then_some(&filters["dateTo"]), expect.map(Value::from).as_ref(), "{from}");
            assert!(done.is_ok() || done.is_err_and(|failure| failure.is_mistake() && failure.said.contains("dateTo")));
        }
        let mut none = json!({});
        assert_eq!((in_utc(&mut none), none), (Ok(()), json!({})));
    }
}
