//! `pluggedin_search_documents`: by words of titles and descriptions, whatever the App's own name for it promises.

use futures_util::FutureExt;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

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
    name: "pluggedin_search_documents",
    title: "Search documents",
    description: "Finds documents of the user's library by words in their titles and descriptions, best first. It looks neither at meanings nor into the texts; pluggedin_ask_knowledge_base does.",
    area: Area::Documents,
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":500,"description":"Plain words"},"filters":{"type":"object","description":"Only documents that match all of these","properties":{"modelName":{"type":"string"},"modelProvider":{"type":"string"},"dateFrom":{"type":"string","format":"date-time","description":"Created then or later"},"dateTo":{"type":"string","format":"date-time","description":"Created then or earlier"},"tags":{"type":"array","items":{"type":"string"},"description":"One of these"},"source":{"type":"string","enum":["all","upload","ai_generated","api"],"default":"all","description":"Where it came from"}},"additionalProperties":false},"limit":{"type":"integer","minimum":1,"maximum":50,"default":10,"description":"Only so many"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"results":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"title":{"type":"string"},"relevance":{"type":"number","description":"In percent"},"snippet":{"type":"string"},"source":{"type":"string"},"model":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"createdAt":{"type":"string"}},"required":["id"]}}},"required":["results"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(super::TIMEOUT, run),
};

/// What was found. The App's number of hits is not among it: it counts a document once for each model that wrote in it.
#[derive(Debug, Serialize)]
struct Found {
    results: Vec<Hit>,
}

#[derive(Debug, Serialize)]
struct Hit {
    #[serde(flatten)]
    document: Summary,
    /// In percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    relevance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<String>,
}

fn run(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        if let Some(mut filters) = arguments.take("filters") {
            super::in_utc(&mut filters)?;
            arguments.set("filters", filters);
        }
        let query = redact::quote(arguments.required("query"), super::LINE);
        let limit = arguments.integer("limit");
        let request = Request { method: Method::POST, body: Some(arguments.into_body()), ..Request::get(&["api", "documents", "search"]) };
        let answer: Value = services.ask(request).await.map_err(failed)?;
        let found = Found::of(&answer).ok_or_else(unreadable)?;
        Ok(Output::structured(found.told(&query, limit), &found))
    }
    .boxed()
}

fn failed(error: AppError) -> Failure {
    match error {
        AppError::Rejected { status: 400, .. } => Failure::mistake(
            "plugged.in refused the `query` (400), as it does where there are ten or more characters such as `*`, `(` or `.` in it; hint: search for plain words",
        ),
        error => super::limited("searches", error),
    }
}

impl Found {
    /// `None` of what is no list.
    fn of(answer: &Value) -> Option<Self> {
        Some(Self { results: members::list(answer, "results")?.filter_map(Hit::of).collect() })
    }

    fn told(&self, query: &str, limit: Option<i64>) -> String {
        let count = self.results.len();
        if count == 0 {
            return format!(
                "No document has the words `{query}` in its title or description. `pluggedin_ask_knowledge_base` looks into the texts."
            );
        }
        let mut text = format!("{count} document{} for `{query}`, best first:\n", if count == 1 { "" } else { "s" });
        text.extend(self.results.iter().enumerate().map(|(index, hit)| hit.document.entry(index + 1, hit.lines())));
        if limit.and_then(|limit| usize::try_from(limit).ok()).is_some_and(|limit| count >= limit) {
            text.push_str("\nThere may be more, beyond the limit.");
        }
        text.push_str("\n`pluggedin_get_document` reads one by its ID.");
        text
    }
}

impl Hit {
    fn of(hit: Members<'_>) -> Option<Self> {
        let snippet = hit.line("snippet", super::LINE);
        let mut document = Summary::of(hit)?;
        if document.description == snippet {
            document.description = None;
        }
        Some(Self { document, relevance: hit.number("relevanceScore").map(percent), snippet })
    }

    fn lines(&self) -> Vec<String> {
        let relevance = self.relevance.map(|relevance| format!("Relevance: {relevance:.1} %"));
        relevance.into_iter().chain(self.snippet.as_ref().map(|snippet| format!("Snippet: {snippet}"))).collect()
    }
}

/// To one decimal. The App adds up several marks, which may be more than all.
fn percent(score: f64) -> f64 {
    (score * 1000.0).round().clamp(0.0, 1000.0) / 10.0
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::builtin::arguments::InputSchema;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(answer: Value, limit: i64, expect: Expect) {
        let said = Found::of(&answer).map_or_else(
            || "unreadable".to_owned(),
            |found| {
                let data = json!(found);
                InputSchema::of(DEFINITION.output_schema.expect("it has one")).assert_allows(&data);
                format!("{}\n{data}", found.told("notes", Some(limit)))
            },
        );
        expect.assert_eq(&said);
    }

    #[test]
    fn hits_are_told_and_counted() {
        check(
            json!({"results": [
                {"id": "1", "title": "Release notes", "description": "D", "snippet": "D", "relevanceScore": 0.575_990_885_496_139_5,
                    "source": "ai_generated", "aiMetadata": {"model": {"name": "some-model", "provider": "acme"}}, "tags": ["release"],
                    "visibility": "private", "createdAt": "2026-01-01T12:00:00.000Z", "modelAttributions": []},
                {"id": "2", "title": "B", "description": "D", "snippet": "S\nT", "relevanceScore": 1.2},
            ], "total": "74", "limit": 2, "offset": 0, "hasMore": true}),
            2,
            expect![[r#"
                2 documents for `notes`, best first:

                1. **Release notes**
                   ID: 1
                   Created: 2026-01-01T12:00:00Z
                   Source: ai_generated
                   Model: some-model (acme)
                   Visibility: private
                   Tags: release
                   Relevance: 57.6 %
                   Snippet: D

                2. **B**
                   ID: 2
                   Description: D
                   Relevance: 100.0 %
                   Snippet: S\nT

                There may be more, beyond the limit.
                `pluggedin_get_document` reads one by its ID.
                {"results":[{"id":"1","title":"Release notes","source":"ai_generated","model":"some-model (acme)","tags":["release"],"visibility":"private","createdAt":"2026-01-01T12:00:00Z","relevance":57.6,"snippet":"D"},{"id":"2","title":"B","description":"D","relevance":100.0,"snippet":"S\\nT"}]}"#]],
        );
        check(
            json!({"results": [], "total": "0"}),
            10,
            expect![[r#"
            No document has the words `notes` in its title or description. `pluggedin_ask_knowledge_base` looks into the texts.
            {"results":[]}"#]],
        );
    }

    #[test]
    fn odd_members_cost_themselves() {
        check(
            json!({"results": [{"id": "1", "relevanceScore": "high", "snippet": null}, {"title": "no id"}, 7]}),
            10,
            expect![[r#"
            1 document for `notes`, best first:

            1. **(no title)**
               ID: 1

            `pluggedin_get_document` reads one by its ID.
            {"results":[{"id":"1"}]}"#]],
        );
        check(json!({"results": {}}), 10, expect![["unreadable"]]);
        check(json!(7), 10, expect![["unreadable"]]);
    }

    #[test]
    fn relevance_is_part_of_all() {
        for (score, expect) in [(0.0, 0.0), (0.57599, 57.6), (1.0, 100.0), (1.2, 100.0), (-1.0, 0.0), (1e300, 100.0)] {
            assert!((percent(score) - expect).abs() < 1e-9, "{score}");
        }
    }
}
