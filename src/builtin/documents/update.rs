//! `pluggedin_update_document`.

use futures_util::FutureExt;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use super::super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    members::Members,
    outcome::{Failure, Output, unsure},
    services::{Services, unreadable},
};
use crate::source::app::{AppError, Request};

pub(in super::super) const DEFINITION: Definition = Definition {
    name: "pluggedin_update_document",
    title: "Update a document",
    description: "Replaces the text of a document that an assistant wrote, or adds to its end or beginning, as a new version. plugged.in sanitizes the whole new text as if it were a page, so that code and angle brackets change; for such text create a new document with the format txt.",
    area: Area::Documents,
    input_schema: r#"{"type":"object","properties":{"documentId":{"type":"string","format":"uuid","description":"Its id"},"operation":{"type":"string","enum":["replace","append","prepend"],"description":"Whether the content takes the place of the text, or goes behind or before it"},"content":{"type":"string","minLength":1,"description":"The new text, or what is added to it"},"metadata":{"type":"object","description":"What is noted of the change","properties":{"tags":{"type":"array","items":{"type":"string"},"description":"Replace the document's tags"},"changeSummary":{"type":"string"},"updateReason":{"type":"string"},"changesFromPrompt":{"type":"string"},"model":{"type":"object","description":"The model that wrote it: you","properties":{"name":{"type":"string"},"provider":{"type":"string"},"version":{"type":"string"}},"required":["name","provider"],"additionalProperties":false}},"required":["model"],"additionalProperties":false}},"required":["documentId","operation","content"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"documentId":{"type":"string"},"version":{"type":"integer"},"warning":{"type":"string"}},"required":["documentId"]}"#,
    ),
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(super::TIMEOUT, run),
};

/// In characters.
const LONGEST: usize = 10_000_000;

const SANITIZED: &str = "the content holds `<`, `>` or `&`, and plugged.in sanitizes every update as if it were a page, whatever the format: such characters are escaped, and tags that it does not know are left out. To keep such text as it is, create a new document with the format `txt`.";

const NOT_WRITTEN: &str =
    "plugged.in has noted the new version, but could not write the file; look with `pluggedin_get_document` at what it holds.";

/// What has come of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    document_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

fn run(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        let content = arguments.required("content");
        acceptable(content)?;
        let is_sanitized = super::is_sanitized(content);
        let operation = arguments.required("operation").to_owned();
        let id = arguments.required("documentId").to_owned();
        arguments.take("documentId");
        let path = ["api", "documents", &id];
        let request = Request { method: Method::PATCH, body: Some(arguments.into_body()), as_page: true, ..Request::get(&path) };
        let answer = services.ask::<Value>(request).await;
        let updated = answer.and_then(|answer| Updated::of(&answer, id.clone(), is_sanitized).ok_or_else(unreadable));
        let updated = updated.map_err(|error| failed(error, &id, &operation))?;
        Ok(Output::structured(updated.told(&operation), &updated))
    }
    .boxed()
}

/// The App refuses the rest, and does not say why.
fn acceptable(content: &str) -> Result<(), Failure> {
    if content.len() > LONGEST && content.chars().count() > LONGEST {
        return Err(Failure::mistake("invalid arguments: `content` is too large: plugged.in takes 10 000 000 characters at most"));
    }
    let acts = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r');
    if content.contains(acts) {
        return Err(Failure::mistake("invalid arguments: `content` holds control characters other than tabs and line ends"));
    }
    Ok(())
}

fn failed(error: AppError, id: &str, operation: &str) -> Failure {
    match error {
        AppError::NotFound { .. } => super::missing(id),
        AppError::Rejected { status: 400, .. } => Failure::mistake(
            "plugged.in refused the update (400); hint: only documents that assistants wrote in this workspace (source `ai_generated`) can be changed, which `pluggedin_get_document` shows; otherwise look at `content` and `metadata` once more",
        ),
        AppError::Failing { status: 501, .. } => Failure::new(format!(
            "this plugged.in App does not support the operation `{operation}` for this document (501); hint: create a new document instead"
        )),
        AppError::RateLimited { .. } => super::limited("updates of documents", error),
        error => unsure(error, "before you try again, look with `pluggedin_get_document`"),
    }
}

impl Updated {
    fn of(answer: &Value, document_id: String, is_sanitized: bool) -> Option<Self> {
        let answer = Members::of(answer)?;
        let warnings = [(is_sanitized, SANITIZED), (answer.flag("fileWritten") == Some(false), NOT_WRITTEN)];
        let warnings: Vec<_> = warnings.into_iter().filter_map(|(applies, warning)| applies.then_some(warning)).collect();
        Some(Self { document_id, version: answer.integer("version"), warning: (!warnings.is_empty()).then(|| warnings.join(" Also, ")) })
    }

    fn told(&self, operation: &str) -> String {
        let Self { document_id, version, warning } = self;
        let version = version.map(|version| format!("\nVersion: {version}")).unwrap_or_default();
        let warning = warning.as_ref().map(|warning| format!("\n\nWarning: {warning}")).unwrap_or_default();
        format!("Document updated.\nID: {document_id}\nOperation: {operation}{version}{warning}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::builtin::arguments::InputSchema;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(answer: Value, is_sanitized: bool, expect: Expect) {
        let said = Updated::of(&answer, "1".to_owned(), is_sanitized).map_or_else(
            || "unreadable".to_owned(),
            |updated| {
                let data = json!(updated);
                InputSchema::of(DEFINITION.output_schema.expect("it has one")).assert_allows(&data);
                format!("{}\n{data}", updated.told("append"))
            },
        );
        expect.assert_eq(&said);
    }

    #[test]
    fn updates_are_told_with_warnings() {
        check(
            json!({"success": true, "documentId": "1", "version": 2, "fileWritten": true, "message": "m"}),
            false,
            expect![[r#"
            Document updated.
            ID: 1
            Operation: append
            Version: 2
            {"documentId":"1","version":2}"#]],
        );
        check(
            json!({"version": "2", "fileWritten": false}),
            true,
            expect![[r#"
            Document updated.
            ID: 1
            Operation: append

            Warning: the content holds `<`, `>` or `&`, and plugged.in sanitizes every update as if it were a page, whatever the format: such characters are escaped, and tags that it does not know are left out. To keep such text as it is, create a new document with the format `txt`. Also, plugged.in has noted the new version, but could not write the file; look with `pluggedin_get_document` at what it holds.
            {"documentId":"1","warning":"the content holds `<`, `>` or `&`, and plugged.in sanitizes every update as if it were a page, whatever the format: such characters are escaped, and tags that it does not know are left out. To keep such text as it is, create a new document with the format `txt`. Also, plugged.in has noted the new version, but could not write the file; look with `pluggedin_get_document` at what it holds."}"#]],
        );
        check(json!(7), true, expect![["unreadable"]]);
    }

    #[test]
    fn what_the_app_refuses_is_not_sent() {
        for (content, expect) in [("a\tb\r\nc", true), ("a\u{0}", false), ("\u{1b}[31m", false), ("\u{7f}", false), ("ü\u{85}", true)] {
            assert_eq!(acceptable(content).is_ok(), expect, "{content:?}");
        }
        assert!(acceptable(&"x".repeat(LONGEST)).is_ok() && acceptable(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn failures_say_whose_they_are() {
        let rejected = |status| AppError::Rejected { status, message: "zx_secret".to_owned() };
        for (error, is_mistake, words) in [
            (AppError::NotFound { message: "zx_secret".to_owned() }, true, "no document 1,"),
            (rejected(400), true, "ai_generated"),
            (rejected(413), true, "too large"),
            (AppError::Failing { status: 501, retry_after: None }, false, "`append`"),
            (AppError::Failing { status: 500, retry_after: None }, false, "look with `pluggedin_get_document`"),
            (AppError::RateLimited { retry_after: Some(Duration::from_secs(271)) }, false, "271 s; documents, the clipboard"),
            (AppError::Origin, false, "--app-origin"),
        ] {
            let failure = failed(error, "1", "append");
            assert!(
                failure.is_mistake() == is_mistake && failure.said.contains(words) && !failure.said.contains("zx_secret"),
                "{failure:?}"
            );
        }
    }
}
