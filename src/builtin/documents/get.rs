//! `pluggedin_get_document`: what is known of one document, and its text.

use std::fmt::Write;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    super::{
        arguments::Arguments,
        definition::{Area, Definition, Hints, Run, Running},
        members::{self, Members},
        outcome::{Failure, Output},
        services::{Services, unreadable},
    },
    Summary,
};
use crate::{
    security::redact,
    source::app::{AppError, Request},
};

pub(in super::super) const DEFINITION: Definition = Definition {
    name: "pluggedin_get_document",
    title: "Get a document",
    description: "Shows what is known of a document in the user's library, and if wanted its text and its versions. The ids come from the tools that list and search documents.",
    area: Area::Documents,
    input_schema: r#"{"type":"object","properties":{"documentId":{"type":"string","format":"uuid","description":"Its id"},"includeContent":{"type":"boolean","default":false,"description":"With the whole text"},"includeVersions":{"type":"boolean","default":false,"description":"With the history of changes"}},"required":["documentId"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"id":{"type":"string"},"title":{"type":"string"},"source":{"type":"string"},"model":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"version":{"type":"integer"},"mimeType":{"type":"string"},"createdAt":{"type":"string"},"updatedAt":{"type":"string"},"description":{"type":"string"},"aiMetadata":{"type":"object"},"versions":{"type":"array","items":{"type":"object","properties":{"versionNumber":{"type":"integer"},"createdAt":{"type":"string"},"model":{"type":"string"},"changeSummary":{"type":"string"}}}},"content":{"type":"string"},"contentEncoding":{"type":"string","description":"base64 for what is no text"}},"required":["id"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(super::TIMEOUT, run),
};

/// Members of the metadata that are shown.
const SHOWN: usize = 50;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(flatten)]
    summary: Summary,
    /// How it was written, in the words of who wrote it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    ai_metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<Version>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    #[serde(skip_serializing_if = "Option::is_none", rename = "versionNumber")]
    number: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_summary: Option<String>,
}

fn run(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let id = arguments.required("documentId");
        let (content, versions) = (arguments.flag("includeContent"), arguments.flag("includeVersions"));
        let said = |flag| if flag { "true" } else { "false" };
        let path = ["api", "documents", id];
        let request = Request { query: &[("includeContent", said(content)), ("includeVersions", said(versions))], ..Request::get(&path) };
        let answer: Value = services.ask(request).await.map_err(|error| failed(error, id))?;
        let document = Document::of(&answer).ok_or_else(unreadable)?;
        Ok(Output::structured(document.told(content), &document))
    }
    .boxed()
}

fn failed(error: AppError, id: &str) -> Failure {
    match error {
        AppError::NotFound { .. } => super::missing(id),
        error => error.into(),
    }
}

impl Document {
    fn of(answer: &Value) -> Option<Self> {
        let document = Members::of(answer)?;
        Some(Self {
            summary: Summary::of(document)?,
            ai_metadata: document.get("aiMetadata").map(written).unwrap_or_default(),
            versions: members::list(answer, "versions").map(|versions| versions.map(Version::of).collect()),
            content: document.get("content").and_then(Value::as_str).map(str::to_owned),
            content_encoding: document.line("contentEncoding", super::WORD),
        })
    }

    /// Last comes what others wrote: where it ends, everything ends.
    fn told(&self, with_content: bool) -> String {
        let Self { summary, ai_metadata, versions, content, content_encoding } = self;
        let mut text = format!("**{}**\n{}\n", summary.title(), summary.lines().join("\n"));
        if !ai_metadata.is_empty() {
            text.push_str("\nHow it was written:\n");
        }
        for (name, value) in ai_metadata {
            let _ = writeln!(text, "- {name}: {}", value.as_str().unwrap_or_default());
        }
        match versions.as_deref() {
            None => {}
            Some([]) => text.push_str("\nIt has not been changed yet.\n"),
            Some(versions) => {
                text.push_str("\nVersions, newest first:\n");
                text.extend(versions.iter().map(Version::told));
            }
        }
        if !with_content {
            return text;
        }
        match (content, content_encoding.as_deref()) {
            (None, _) => text.push_str("\nplugged.in sent no content.\n"),
            (Some(content), None | Some("utf-8")) => {
                let _ = write!(text, "\nContent, to the end of this text:\n\n{content}");
            }
            (Some(content), Some(encoding)) => {
                let _ =
                    writeln!(text, "\nThe content is no text; {} characters of {encoding} are in the structured content.", content.len());
            }
        }
        text
    }
}

impl Version {
    fn of(version: Members<'_>) -> Self {
        Self {
            number: version.integer("versionNumber"),
            created_at: version.time("createdAt"),
            model: version.object("createdByModel").and_then(super::model),
            change_summary: version.line("changeSummary", super::LINE),
        }
    }

    fn told(&self) -> String {
        let Self { number, created_at, model, change_summary } = self;
        let number = number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let parts = [created_at.clone(), model.as_ref().map(|model| format!("by {model}")), change_summary.clone()];
        let parts: Vec<_> = [number].into_iter().chain(parts.into_iter().flatten()).collect();
        format!("- {}\n", parts.join(", "))
    }
}

/// Any members, each on a line. The model stands elsewhere.
fn written(metadata: &Value) -> Map<String, Value> {
    let members = metadata.as_object().into_iter().flatten().filter(|(name, value)| *name != "model" && !value.is_null());
    members
        .take(SHOWN)
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (redact::quote(name, super::WORD), redact::quote(&text, super::LINE).into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::builtin::arguments::InputSchema;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(answer: Value, with_content: bool, expect: Expect) {
        let said = Document::of(&answer).map_or_else(
            || "unreadable".to_owned(),
            |document| {
                let data = json!(document);
                InputSchema::of(DEFINITION.output_schema.expect("it has one")).assert_allows(&data);
                format!("{}\n{data}", document.told(with_content))
            },
        );
        expect.assert_eq(&said);
    }

    #[test]
    fn a_document_is_told_with_all_that_was_asked_for() {
        check(
            json!({
                "id": "1", "title": "Release notes", "description": null, "fileName": "a.md", "fileSize": 12, "mimeType": "text/markdown",
                "tags": [], "source": "ai_generated", "visibility": "private", "version": 2, "parentDocumentId": null,
                "aiMetadata": {"model": {"name": "m", "provider": "acme"}, "context": "sprint\n9", "tags": ["a", "b"], "x\n": 1, "y": null},
                "contentHash": null, "createdAt": "2026-01-01T12:00:00.000Z", "updatedAt": "2026-01-02T12:00:00.000Z", "modelAttributions": [],
                "content": "# Hi\n\nID: not ours", "contentEncoding": "utf-8",
                "versions": [{"versionNumber": 2, "createdAt": "2026-01-02T12:00:00.000Z", "createdByModel": {"name": "m2", "provider": "acme"},
                    "changeSummary": "append\noperation", "contentDiff": {"additions": 3, "deletions": 0}}],
            }),
            true,
            expect![[r##"
                **Release notes**
                ID: 1
                Created: 2026-01-01T12:00:00Z
                Updated: 2026-01-02T12:00:00Z
                Source: ai_generated
                Model: m (acme)
                Version: 2
                Visibility: private
                File: text/markdown, 12 bytes

                How it was written:
                - context: sprint\n9
                - tags: ["a","b"]
                - x\n: 1

                Versions, newest first:
                - 2, 2026-01-02T12:00:00Z, by m2 (acme), append\noperation

                Content, to the end of this text:

                # Hi

                ID: not ours
                {"id":"1","title":"Release notes","source":"ai_generated","model":"m (acme)","visibility":"private","version":2,"mimeType":"text/markdown","fileSize":12,"createdAt":"2026-01-01T12:00:00Z","updatedAt":"2026-01-02T12:00:00Z","aiMetadata":{"context":"sprint\\n9","tags":"[\"a\",\"b\"]","x\\n":"1"},"versions":[{"versionNumber":2,"createdAt":"2026-01-02T12:00:00Z","model":"m2 (acme)","changeSummary":"append\\noperation"}],"content":"# Hi\n\nID: not ours","contentEncoding":"utf-8"}"##]],
        );
        check(
            json!({"id": "1", "title": "T", "versions": []}),
            false,
            expect![[r#"
            **T**
            ID: 1

            It has not been changed yet.

            {"id":"1","title":"T","versions":[]}"#]],
        );
    }

    #[test]
    fn what_is_no_text_is_not_told_as_text() {
        check(
            json!({"id": "1", "title": "Scan", "mimeType": "application/pdf", "content": "JVBERi0xLjQK", "contentEncoding": "base64"}),
            true,
            expect![[r#"
                **Scan**
                ID: 1
                File: application/pdf

                The content is no text; 12 characters of base64 are in the structured content.

                {"id":"1","title":"Scan","mimeType":"application/pdf","content":"JVBERi0xLjQK","contentEncoding":"base64"}"#]],
        );
    }

    #[test]
    fn odd_members_cost_themselves() {
        check(
            json!({"id": "1", "content": 7, "versions": [{"versionNumber": "2"}, 7], "aiMetadata": "x", "tags": {}}),
            true,
            expect![[r#"
                **(no title)**
                ID: 1

                Versions, newest first:
                - ?

                plugged.in sent no content.

                {"id":"1","versions":[{}]}"#]],
        );
        check(json!({"title": "T"}), true, expect![["unreadable"]]);
        check(json!([]), true, expect![["unreadable"]]);
    }
}
