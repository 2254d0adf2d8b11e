//! Sessions, and what is observed in them. A session has two identifiers: one for observations, one for its end.

use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{
        arguments::Arguments,
        definition::{Area, Definition, Hints, Run, Running},
        members::{Members, word},
        outcome::{Failure, Output, unsure},
        services::{Services, unreadable},
    },
    TIMEOUT, ask_or, post,
};
use crate::source::app::{AppError, Request};

pub(in super::super) const SESSION_START: Definition = Definition {
    name: "pluggedin_memory_session_start",
    title: "Start a memory session",
    description: "Starts a memory session, in which pluggedin_memory_observe records what happens. Do this once at the beginning of work that is worth remembering.",
    area: Area::Memory,
    input_schema: r#"{"type":"object","properties":{"content_session_id":{"type":"string","minLength":1,"description":"Your own name for this chat or piece of work"},"agent_uuid":{"type":"string","format":"uuid","description":"The agent that it belongs to, if one does"}},"required":["content_session_id"],"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"session_uuid":{"type":"string","description":"For pluggedin_memory_observe"},"memory_session_id":{"type":"string","description":"For pluggedin_memory_session_end"}},"required":["session_uuid","memory_session_id"]}"#,
    ),
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, start),
};

pub(in super::super) const SESSION_END: Definition = Definition {
    name: "pluggedin_memory_session_end",
    title: "End a memory session",
    description: "Ends a memory session. plugged.in then sums it up and turns its observations into memories, in the background.",
    area: Area::Memory,
    input_schema: r#"{"type":"object","properties":{"memory_session_id":{"type":"string","minLength":1,"pattern":"^[a-zA-Z0-9_-]+$","description":"The memory_session_id of pluggedin_memory_session_start"}},"required":["memory_session_id"],"additionalProperties":false}"#,
    output_schema: None,
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, end),
};

pub(in super::super) const OBSERVE: Definition = Definition {
    name: "pluggedin_memory_observe",
    title: "Record an observation",
    description: "Records in a memory session what is worth remembering: a decision, an insight, a preference of the user, what worked and what failed. At most 10000 characters.",
    area: Area::Memory,
    input_schema: r#"{"type":"object","properties":{"session_uuid":{"type":"string","format":"uuid","description":"The session_uuid of pluggedin_memory_session_start"},"type":{"type":"string","enum":["tool_call","tool_result","user_preference","error_pattern","decision","success_pattern","failure_pattern","workflow_step","insight","context_switch"],"description":"What kind of thing it is"},"content":{"type":"string","minLength":1,"maxLength":50000,"description":"What was observed; plugged.in takes 10000 characters"},"outcome":{"type":"string","enum":["success","failure","neutral"],"description":"How it went"},"metadata":{"type":"object","additionalProperties":{},"description":"Anything else, such as tool_name"}},"required":["session_uuid","type","content"],"additionalProperties":false}"#,
    output_schema: Some(r#"{"type":"object","properties":{"uuid":{"type":"string"},"type":{"type":"string"}},"required":["uuid","type"]}"#),
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, observe),
};

/// What to do about what may have been done. There is no tool that would show it.
const STARTED: &str = "to start another is no harm, since plugged.in gives up those that nobody uses";
const ENDED: &str = "a second attempt says so, if it has";
const RECORDED: &str = "go on without it unless it matters, since a second attempt may record it twice";

/// The App's own words, which come with a status that means success. Other failures come in the same way.
const ENDED_BEFORE: &str = "Session not found or already ended";

/// Of an observation, in UTF-16 units: the App counts as JavaScript does.
const LONGEST: usize = 10_000;

fn start(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let request = post(&["api", "memory", "sessions"], arguments.into_body());
        let answer = ask_or(services, request, |error| unsure(error, STARTED)).await?;
        let names = data(&answer).and_then(|data| Some((data.text("uuid")?, data.text("memorySessionId")?)));
        let (uuid, id) = names.ok_or_else(|| unsure(unreadable(), STARTED))?;
        Ok(Output::structured(started(uuid, id), &json!({ "session_uuid": uuid, "memory_session_id": id })))
    }
    .boxed()
}

fn started(uuid: &str, id: &str) -> String {
    let (uuid, id) = (word(uuid), word(id));
    format!(
        "Memory session started.\n- session_uuid: `{uuid}`, for `pluggedin_memory_observe`\n- memory_session_id: `{id}`, for `pluggedin_memory_session_end`"
    )
}

fn end(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let id = arguments.required("memory_session_id");
        let path = ["api", "memory", "sessions", id];
        let request = Request { method: Method::PATCH, ..post(&path, json!({ "action": "end" })) };
        let answer = ask_or(services, request, |error| match error {
            AppError::Rejected { status: 200, message } if message.eq_ignore_ascii_case(ENDED_BEFORE) => {
                Failure::mistake("this memory session cannot be ended: it has ended before, or was given up after two hours")
            }
            AppError::NotFound { .. } => unknown("memory_session_id", id),
            error => unsure(error, ENDED),
        })
        .await?;
        if answer["success"] != true {
            return Err(unsure(unreadable(), ENDED));
        }
        Ok(Output::text("Memory session ended. plugged.in now sums it up; `pluggedin_memory_search` finds what it keeps, in a while."))
    }
    .boxed()
}

fn observe(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        check(arguments.required("content"))?;
        let session = arguments.take("session_uuid");
        let session = session.as_ref().and_then(Value::as_str).expect("the schema requires it");
        let kind = arguments.required("type").to_owned();
        let path = ["api", "memory", "sessions", session, "observations"];
        let answer = ask_or(services, post(&path, arguments.into_body()), |error| match error {
            AppError::Rejected { status: 400, .. } => Failure::mistake(
                "plugged.in refused the observation (400), most likely because its session has ended; hint: start a new one by `pluggedin_memory_session_start`",
            ),
            AppError::NotFound { .. } => unknown("session_uuid", session),
            error => unsure(error, RECORDED),
        })
        .await?;
        let uuid = data(&answer).and_then(|data| data.text("uuid")).ok_or_else(|| unsure(unreadable(), RECORDED))?;
        let text = format!("Observation recorded as {kind}: `{}`.", word(uuid));
        Ok(Output::structured(text, &json!({ "uuid": uuid, "type": kind })))
    }
    .boxed()
}

fn check(content: &str) -> Result<(), Failure> {
    let length = content.encode_utf16().count();
    if length <= LONGEST {
        return Ok(());
    }
    Err(Failure::mistake(format!(
        "invalid arguments: `content` has {length} characters, and plugged.in takes {LONGEST} (it counts most emoji as two); hint: shorten it, or record it in parts"
    )))
}

fn data(answer: &Value) -> Option<Members<'_>> {
    Members::of(answer)?.object("data")
}

/// `member` is what the identifier was given as.
fn unknown(member: &str, id: &str) -> Failure {
    Failure::mistake(format!(
        "plugged.in does not know a memory session `{}` of this workspace; hint: `{member}` comes from `pluggedin_memory_session_start`, which gives another identifier for each of its uses",
        word(id)
    ))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// It looks like the tokens that are hidden elsewhere.
    #[test]
    fn both_identifiers_can_be_read() {
        let said = started("550e8400-e29b-41d4-a716-446655440000", "ms_V1StGXR8_Z5jdHi6B-myT");
        expect![[r#"
            Memory session started.
            - session_uuid: `550e8400-e29b-41d4-a716-446655440000`, for `pluggedin_memory_observe`
            - memory_session_id: `ms_V1StGXR8_Z5jdHi6B-myT`, for `pluggedin_memory_session_end`"#]]
        .assert_eq(&said);
    }

    #[test]
    fn characters_are_counted_as_the_app_does() {
        for (content, expect) in [
            ("x".repeat(10_000), true),
            ("x".repeat(10_001), false),
            ("ä".repeat(10_000), true),
            ("\u{1f600}".repeat(5_000), true),
            (format!("x{}", "\u{1f600}".repeat(5_000)), false),
        ] {
            assert_eq!(check(&content).is_ok(), expect, "{} bytes", content.len());
        }
    }
}
