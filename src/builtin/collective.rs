//! What other users' experience says, and how far the workspace's own memory has come.

mod individuation;
mod pattern;

use futures_util::FutureExt;
use serde_json::{Value, json};

use self::pattern::Pattern;
use super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    members,
    memory::{TIMEOUT, ask, ask_or, post},
    outcome::{Failure, Output, unsure},
    services::{Services, unreadable},
};
use crate::source::app::{AppError, Request};

pub(super) use individuation::INDIVIDUATION;

pub(super) const QUERY: Definition = Definition {
    name: "pluggedin_cbp_query",
    title: "Ask the collective",
    description: "Finds what worked for other users with a task, a tool or an error, three patterns at most. Ask before a risky step, or after an error.",
    area: Area::Collective,
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":2000,"description":"The task or the problem"},"context":{"type":"string","enum":["proactive_warning","post_error","contextual"],"default":"contextual","description":"proactive_warning before a tool is used (give tool_name), post_error after an error (give error_message)"},"tool_name":{"type":"string","maxLength":200,"description":"The tool in question"},"error_message":{"type":"string","maxLength":1000,"description":"The error in question"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: Some(pattern::SCHEMA),
    hints: Hints { read_only: true, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, query),
};

pub(super) const FEEDBACK: Definition = Definition {
    name: "pluggedin_cbp_feedback",
    title: "Rate a pattern",
    description: "Rates a pattern of pluggedin_cbp_query after you have followed it, which helps everybody. A later rating replaces the earlier one.",
    area: Area::Collective,
    input_schema: r#"{"type":"object","properties":{"pattern_uuid":{"type":"string","format":"uuid","description":"The pattern's UUID"},"rating":{"type":"integer","minimum":1,"maximum":5,"description":"5 is best"},"feedback_type":{"type":"string","enum":["helpful","inaccurate","outdated","dangerous"],"description":"What it was"},"comment":{"type":"string","maxLength":1000,"description":"Why; others may read it"}},"required":["pattern_uuid","rating","feedback_type"],"additionalProperties":false}"#,
    output_schema: None,
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, feedback),
};

pub(super) const SEARCH_WITH_CONTEXT: Definition = Definition {
    name: "pluggedin_memory_search_with_context",
    title: "Search patterns by situation",
    description: "Finds patterns of other users, three at most, weighed by the situation: after a failure warnings count more, after a success what to build on. Your own memories are found by pluggedin_memory_search.",
    area: Area::Archetypes,
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":2000,"description":"The situation in words"},"tool_name":{"type":"string","maxLength":200,"description":"The tool in question"},"outcome":{"type":"string","enum":["success","failure","neutral"],"description":"How the last step went"},"include_archetypes":{"type":"boolean","default":true,"description":"Say which archetype brings a pattern up"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: Some(pattern::SCHEMA),
    hints: Hints { read_only: true, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, search_with_context),
};

/// Of a rating that may have been stored.
const AGAIN: &str = "rate again without fear, since only the last rating counts";

fn query(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let names = ["query", "context", "tool_name", "error_message"];
        let query: Vec<_> = names.into_iter().filter_map(|name| Some((name, arguments.text(name)?))).collect();
        let request = Request { query: &query, ..Request::get(&["api", "memory", "cbp"]) };
        patterns(&ask(services, request).await?, true)
    }
    .boxed()
}

fn feedback(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let pattern = members::word(arguments.required("pattern_uuid"));
        let request = post(&["api", "memory", "cbp", "feedback"], arguments.into_body());
        let answer = ask_or(services, request, |error| match error {
            // So an unknown pattern is answered, with the words of the database.
            AppError::Rejected { status: 200, .. } | AppError::NotFound { .. } => Failure::mistake(format!(
                "plugged.in did not take the rating, most likely because it has no pattern `{pattern}`; hint: take the UUID from an answer of `pluggedin_cbp_query`"
            )),
            error => unsure(error, AGAIN),
        })
        .await?;
        if answer["success"] != true {
            return Err(unsure(unreadable(), AGAIN));
        }
        Ok(Output::text("Thank you; the rating is stored. It replaces an earlier one of yours."))
    }
    .boxed()
}

fn search_with_context(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        // The App does not know it.
        let with_archetypes = arguments.take("include_archetypes") != Some(Value::Bool(false));
        let request = post(&["api", "memory", "archetype", "inject"], arguments.into_body());
        patterns(&ask(services, request).await?, with_archetypes)
    }
    .boxed()
}

fn patterns(answer: &Value, with_archetypes: bool) -> Result<Output, Failure> {
    let patterns = members::list(answer, "data").ok_or_else(unreadable)?;
    let patterns: Vec<_> = patterns.filter_map(|members| Pattern::of(members, with_archetypes)).collect();
    Ok(Output::structured(pattern::shown(&patterns), &json!({ "patterns": patterns })))
}
