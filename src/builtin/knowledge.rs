//! The knowledge base: passages of the documents that belong to the key's Hub.

use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    outcome::{Failure, Output},
    services::{Services, unreadable},
    time,
};
use crate::{
    security::redact,
    source::app::{AppError, Request},
};

pub(super) const ASK: Definition = Definition {
    name: "pluggedin_ask_knowledge_base",
    title: "Ask the knowledge base",
    description: "Finds the passages in the user's uploaded documents that match a question best, with the documents they stand in. The answer is these passages word for word; no model has written it.",
    area: Area::Knowledge,
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":1000,"description":"The question, or words that the passages should be about"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{
            "answer":{"type":"string","description":"The passages, with a line of --- between them"},
            "sources":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"id":{"type":"string"},"version":{"type":["number","string","null"]},"relevance":{"type":["number","null"]}},"additionalProperties":false}},
            "metadata":{"type":"object","properties":{"query":{"type":"string"},"sourceCount":{"type":"integer"},"timestamp":{"type":"string","format":"date-time"}},"required":["query","sourceCount","timestamp"]}},
            "required":["answer","sources","metadata"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, ask),
};

/// The search and the App's provider for it take their time.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Names and identifiers are shown up to this length.
const WORD: usize = 200;

/// The App's answer: the text, and lists that belong together, of which older Apps send fewer, or none.
#[derive(Debug, Default)]
struct Passages {
    answer: String,
    names: Vec<Value>,
    ids: Vec<Value>,
    versions: Vec<Value>,
    relevances: Vec<Value>,
}

/// A document that a passage stands in.
#[derive(Debug, Serialize)]
struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    version: Option<Value>,
    relevance: Option<f64>,
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
            ..Request::get(&["api", "rag", "query"])
        };
        let body = services.text(request).await.map_err(failed)?;
        Ok(Output::json(&Passages::read(body)?.report(query)))
    }
    .boxed()
}

fn failed(error: AppError) -> Failure {
    match error {
        AppError::Failing { status: 500, .. } => {
            Failure::new("plugged.in could not search; hint: the knowledge base may be switched off in this App, or try again in a minute")
        }
        AppError::Rejected { status: 400, .. } => {
            Failure::mistake("plugged.in refused the `query` (400); hint: ask in plain words without markup, and perhaps shorter")
        }
        error => error.into(),
    }
}

impl Passages {
    fn read(body: String) -> Result<Self, AppError> {
        let answer = match serde_json::from_str(&body) {
            Ok(answer @ Value::Object(_)) => answer,
            Ok(_) => return Err(unreadable()),
            Err(_) if body.trim_start().is_empty() || body.trim_start().starts_with(['<', '{', '[']) => return Err(unreadable()),
            // Plain text is the answer alone.
            Err(_) => return Ok(Self { answer: body, ..Self::default() }),
        };
        let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(Self {
            answer: answer.get("answer").and_then(Value::as_str).ok_or_else(unreadable)?.to_owned(),
            names: list("sources"),
            ids: list("documentIds"),
            versions: list("documentVersions"),
            relevances: list("relevanceScores"),
        })
    }

    fn report(&self, query: &str) -> Value {
        let Self { answer, names, ids, versions, relevances } = self;
        let word = |values: &[Value], at: usize| Some(redact::quote(values.get(at)?.as_str()?, WORD));
        let sources: Vec<_> = (0..names.len().max(ids.len()))
            .map(|at| Source {
                name: word(names, at),
                id: word(ids, at),
                version: versions.get(at).filter(|version| version.is_number()).cloned().or_else(|| word(versions, at).map(Value::from)),
                relevance: relevances.get(at).and_then(Value::as_f64),
            })
            .collect();
        let metadata = json!({ "query": query, "sourceCount": sources.len(), "timestamp": time::now() });
        json!({ "answer": answer, "sources": sources, "metadata": metadata })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::builtin::arguments::InputSchema;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(body: &str, expect: Expect) {
        let said = Passages::read(body.to_owned()).map(|passages| passages.report("q"));
        let said = said.map_or_else(
            |error| error.to_string(),
            |mut data| {
                InputSchema::of(ASK.output_schema.expect("it has one")).assert_allows(&data);
                data["metadata"]["timestamp"].take();
                data.to_string()
            },
        );
        expect.assert_eq(&said);
    }

    #[test]
    fn passages_come_with_their_documents() {
        check(
            r#"{"answer":"A\n---\nB","sources":["ops.md"],"documentIds":["550e8400-e29b-41d4-a716-446655440000"]}"#,
            expect![[
                r#"{"answer":"A\n---\nB","sources":[{"name":"ops.md","id":"550e8400-e29b-41d4-a716-446655440000","version":null,"relevance":null}],"metadata":{"query":"q","sourceCount":1,"timestamp":null}}"#
            ]],
        );
        check(
            r#"{"answer":"A","sources":["n"],"documentIds":["1","2"],"documentVersions":[3,"4"],"relevanceScores":[0.5,1]}"#,
            expect![[
                r#"{"answer":"A","sources":[{"name":"n","id":"1","version":3,"relevance":0.5},{"id":"2","version":"4","relevance":1.0}],"metadata":{"query":"q","sourceCount":2,"timestamp":null}}"#
            ]],
        );
        check(
            r#"{"answer":"No relevant documents found","sources":[],"documentIds":[]}"#,
            expect![[r#"{"answer":"No relevant documents found","sources":[],"metadata":{"query":"q","sourceCount":0,"timestamp":null}}"#]],
        );
    }

    #[test]
    fn plain_text_is_the_answer_alone() {
        check(
            "Keys are rotated\nmonthly.",
            expect![[r#"{"answer":"Keys are rotated\nmonthly.","sources":[],"metadata":{"query":"q","sourceCount":0,"timestamp":null}}"#]],
        );
    }

    #[test]
    fn odd_members_keep_their_places() {
        check(
            r#"{"answer":"A","sources":[7,"b\u202e"],"documentIds":null,"documentVersions":[{}],"relevanceScores":["high",2]}"#,
            expect![[
                r#"{"answer":"A","sources":[{"version":null,"relevance":null},{"name":"b\\u202e","version":null,"relevance":2.0}],"metadata":{"query":"q","sourceCount":2,"timestamp":null}}"#
            ]],
        );
    }

    #[test]
    fn what_is_no_answer_is_not_one() {
        for body in [
            "",
            " \n",
            "<!DOCTYPE html><p>Sign in</p>",
            "{\"answer\":",
            "[]",
            "7",
            "null",
            r#""text""#,
            "{}",
            r#"{"answer":null}"#,
            r#"{"answer":{}}"#,
        ] {
            check(body, expect!["the plugged.in App sent an answer of another form than expected; does the base URL lead to it?"]);
        }
    }

    #[test]
    fn failures_say_whose_they_are() {
        let rejected = AppError::Rejected { status: 400, message: "zx_secret".to_owned() };
        for (error, is_mistake, words) in [
            (rejected, true, "`query`"),
            (AppError::Failing { status: 500, retry_after: None }, false, "switched off"),
            (AppError::Failing { status: 503, retry_after: None }, false, "503"),
            (AppError::Unconfigured, false, "OPENAI_API_KEY"),
        ] {
            let failure = failed(error);
            assert!(
                failure.is_mistake() == is_mistake && failure.said.contains(words) && !failure.said.contains("zx_secret"),
                "{failure:?}"
            );
        }
    }
}
