//! `pluggedin_create_document`.

use std::time::Duration;

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
use crate::{
    security::redact,
    source::app::{AppError, Request},
};

pub(in super::super) const DEFINITION: Definition = Definition {
    name: "pluggedin_create_document",
    title: "Create a document",
    description: "Keeps a text that you have written as a document in the user's library, where the user and other assistants find it. Use it for results that should last; choose the format txt for text with code or angle brackets, which md and html do not keep as they are.",
    area: Area::Documents,
    input_schema: r#"{"type":"object","properties":{"title":{"type":"string","minLength":1,"maxLength":255,"description":"By which it is found"},"content":{"type":"string","minLength":1,"description":"The whole text, 10 MiB at most"},"format":{"type":"string","enum":["md","txt","json","html"],"default":"md","description":"txt and json are kept exactly as they are; md and html are sanitized"},"tags":{"type":"array","items":{"type":"string"},"maxItems":20,"description":"To filter by"},"category":{"type":"string","enum":["report","analysis","documentation","guide","research","code","other"],"default":"other","description":"What kind of text it is"},"metadata":{"type":"object","description":"How it was written","properties":{"model":{"type":"object","description":"The model that wrote it: you","properties":{"name":{"type":"string"},"provider":{"type":"string"},"version":{"type":"string"}},"required":["name","provider"],"additionalProperties":false},"context":{"type":"string","description":"What it was written for"},"visibility":{"type":"string","enum":["private","workspace","public"],"default":"private","description":"Who may see it"},"prompt":{"type":"string","description":"What was asked for"},"conversationContext":{"type":"array","items":{"type":"string"}},"sourceDocuments":{"type":"array","items":{"type":"string"},"description":"What it draws on"},"generationParams":{"type":"object","properties":{"temperature":{"type":"number","minimum":0,"maximum":2},"maxTokens":{"type":"number","exclusiveMinimum":0},"topP":{"type":"number","minimum":0,"maximum":1}},"additionalProperties":false}},"required":["model"],"additionalProperties":false}},"required":["title","content","metadata"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"documentId":{"type":"string"},"url":{"type":"string"},"warning":{"type":"string"}},"required":["documentId"]}"#,
    ),
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, run),
};

/// The App indexes it before it answers.
const TIMEOUT: Duration = Duration::from_secs(60);

/// In bytes.
const LONGEST: usize = 10 * 1024 * 1024;

const WARNING: &str = "the content holds `<`, `>` or `&`, and plugged.in sanitizes md and html as if they were pages, also within code: such characters are escaped, and tags that it does not know are left out (`Vec<String>` loses its parameter). To keep the text as it is, create the document with the format `txt`.";

/// What has come of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    document_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

fn run(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        if arguments.required("content").len() > LONGEST {
            return Err(too_large());
        }
        let title = redact::quote(arguments.required("title"), super::LINE);
        let warning = warning(&arguments);
        let request = Request { method: Method::POST, body: Some(arguments.into_body()), ..Request::get(&["api", "documents", "ai"]) };
        let answer = services.ask::<Value>(request).await;
        let created = answer.and_then(|answer| {
            let answer = Members::of(&answer).ok_or_else(unreadable)?;
            let url = answer.text("url").and_then(|url| services.absolute(url)).map(|url| redact::quote(&url, super::LINE));
            Ok(Created { document_id: answer.line("documentId", super::WORD).ok_or_else(unreadable)?, url, warning })
        });
        let created = created.map_err(failed)?;
        Ok(Output::structured(created.told(&title), &created))
    }
    .boxed()
}

/// The sanitizer works on what is shown as a page.
fn warning(arguments: &Arguments) -> Option<&'static str> {
    let is_page = matches!(arguments.text("format"), Some("md" | "html"));
    (is_page && super::is_sanitized(arguments.required("content"))).then_some(WARNING)
}

impl Created {
    fn told(&self, title: &str) -> String {
        let Self { document_id, url, warning } = self;
        let url = url.as_ref().map(|url| format!("\nURL: {url}")).unwrap_or_default();
        let warning = warning.map(|warning| format!("\n\nWarning: {warning}")).unwrap_or_default();
        format!("Document created.\nID: {document_id}\nTitle: {title}{url}{warning}")
    }
}

fn too_large() -> Failure {
    Failure::mistake(
        "invalid arguments: the document is too large: plugged.in takes 10 MiB at most; hint: divide `content` into several documents",
    )
}

fn failed(error: AppError) -> Failure {
    match error {
        AppError::Rejected { status: 413, .. } => too_large(),
        AppError::Rejected { status: 400, .. } => {
            Failure::mistake("plugged.in refused the document (400); hint: look at `title`, `content`, `tags` and `metadata` once more")
        }
        AppError::RateLimited { .. } => super::limited("new documents", error),
        error => unsure(error, "before you try again, look with `pluggedin_list_documents`"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::builtin::arguments::InputSchema;

    #[test]
    fn who_writes_angle_brackets_as_a_page_is_warned() {
        for (format, content, expect) in [
            ("md", "Vec<String>", true),
            ("md", "a && b", true),
            ("html", "<p>", true),
            ("md", "plain", false),
            ("txt", "Vec<String>", false),
            ("json", "[\"<\"]", false),
        ] {
            let mut arguments = Arguments::default();
            arguments.set("format", format);
            arguments.set("content", content);
            assert_eq!(warning(&arguments).is_some(), expect, "{format} {content}");
        }
    }

    #[test]
    fn what_was_created_is_told() {
        let url = Some("https://plugged.in/library/1".to_owned());
        let schema = InputSchema::of(DEFINITION.output_schema.expect("it has one"));
        for (created, expect) in [
            (
                Created { document_id: "1".to_owned(), url, warning: None },
                expect![[r#"
                Document created.
                ID: 1
                Title: T
                URL: https://plugged.in/library/1
                {"documentId":"1","url":"https://plugged.in/library/1"}"#]],
            ),
            (
                Created { document_id: "1".to_owned(), url: None, warning: Some("W.") },
                expect![[r#"
                Document created.
                ID: 1
                Title: T

                Warning: W.
                {"documentId":"1","warning":"W."}"#]],
            ),
        ] {
            let data = json!(created);
            schema.assert_allows(&data);
            expect.assert_eq(&format!("{}\n{data}", created.told("T")));
        }
    }

    #[test]
    fn failures_say_whose_they_are() {
        let said = |error| {
            let failure = failed(error);
            (failure.is_mistake(), failure.said)
        };
        let rejected = |status| AppError::Rejected { status, message: "zx_secret".to_owned() };
        for (error, is_mistake, words) in [
            (rejected(413), true, "10 MiB"),
            (rejected(400), true, "once more"),
            (rejected(403), false, "403"),
            (AppError::RateLimited { retry_after: Some(Duration::from_secs(3571)) }, false, "3571 s; documents, the clipboard"),
            (AppError::Failing { status: 500, retry_after: None }, false, "look with `pluggedin_list_documents`"),
            (unreadable(), false, "look with"),
            (AppError::Unauthorized, false, "API key"),
        ] {
            let (mistake, text) = said(error);
            assert!(mistake == is_mistake && text.contains(words) && !text.contains("zx_secret"), "{text}");
        }
        assert!(!said(AppError::Unauthorized).1.contains("look with"));
    }
}
