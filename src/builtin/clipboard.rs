//! The clipboard of the workspace: values under names, and a stack of them under indexes.
//!
//! What was stored is removed some time after it has expired; until then the App still gives it, and we do not, except for
//! what a pop has already taken away.

mod check;
mod entry;

use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};

use self::{
    check::{Place, place},
    entry::{Entry, Page},
};
use super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    members::Members,
    outcome::{self, Failure, Output, shared_limit},
    services::{Services, unreadable},
};
use crate::source::app::{AppError, Request};

/// The members of an entry that say what it is; there can be more.
macro_rules! entry_schema {
    ($value:literal) => {
        concat!(
            r#"{"type":"object","properties":{"name":{"type":"string"},"idx":{"type":"integer"},"#,
            $value,
            r#""contentType":{"type":"string"},"encoding":{"type":"string"},"sizeBytes":{"type":"integer"},"createdAt":{"type":"string"},"expiresAt":{"type":["string","null"],"description":"Null means never"}}}"#
        )
    };
}

/// What set and push have in common.
macro_rules! value_schema {
    () => {
        r#""value":{"type":"string","description":"What to keep, 2 MiB at most"},"contentType":{"type":"string","pattern":"^[\\w.-]+\\/[\\w.+-]+$","maxLength":256,"default":"text/plain","description":"MIME type; image/* needs the encoding base64"},"encoding":{"type":"string","enum":["utf-8","base64","hex"],"default":"utf-8","description":"How the value is written"},"visibility":{"type":"string","enum":["private","workspace","public"],"default":"private","description":"Who may see it"},"createdByTool":{"type":"string","maxLength":255,"description":"The tool that made the value"},"createdByModel":{"type":"string","maxLength":255,"description":"The model that made the value"},"ttlSeconds":{"type":"integer","exclusiveMinimum":0,"maximum":31536000,"description":"How long it is kept; a day if this is missing"}},"required":["value"],"additionalProperties":false}"#
    };
}

/// Filter and part of a list.
macro_rules! page_schema {
    () => {
        r#""contentType":{"type":"string","description":"Only entries of exactly this MIME type"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":50,"description":"Entries on a page"},"offset":{"type":"integer","minimum":0,"default":0,"description":"Entries to skip"}},"additionalProperties":false}"#
    };
}

const STORED: &str = r#"{"type":"object","properties":{"name":{"type":"string"},"idx":{"type":"integer"},"sizeBytes":{"type":"integer"},"expiresAt":{"type":["string","null"],"description":"Null means never"}},"required":["sizeBytes"]}"#;

const ONE: &str = concat!(
    r#"{"type":"object","properties":{"entry":"#,
    entry_schema!(r#""value":{"type":"string","description":"Missing where the content is an image"},"#),
    r#"},"required":["entry"]}"#
);

pub(super) const SET: Definition = Definition {
    name: "pluggedin_clipboard_set",
    title: "Set a clipboard entry",
    description: "Keeps a value on the shared clipboard under a name, where other tools, chats and assistants find it; the name's earlier value is replaced. With an index alone the value takes that free place.",
    area: Area::Clipboard,
    input_schema: concat!(
        r#"{"type":"object","properties":{"name":{"type":"string","maxLength":255,"description":"Name to find it by; this or idx is needed"},"idx":{"type":"integer","description":"Index to find it by, which must be free"},"#,
        value_schema!()
    ),
    output_schema: Some(STORED),
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, set),
};

pub(super) const GET: Definition = Definition {
    name: "pluggedin_clipboard_get",
    title: "Get from the clipboard",
    description: "Gives the whole value of one clipboard entry, by its name or index. Without both it gives an overview of what is there, newest first, with the beginning of each value.",
    area: Area::Clipboard,
    input_schema: concat!(
        r#"{"type":"object","properties":{"name":{"type":"string","description":"The entry's name"},"idx":{"type":"integer","description":"The entry's index"},"#,
        page_schema!()
    ),
    output_schema: Some(concat!(
        r#"{"type":"object","properties":{"entry":"#,
        entry_schema!(r#""value":{"type":"string","description":"Missing where the content is an image"},"#),
        r#","entries":{"type":"array","items":"#,
        r#"{"type":"object","properties":{"name":{"type":"string"},"idx":{"type":"integer"},"preview":{"type":"string"}}}"#,
        r#"},"total":{"type":"integer"}}}"#
    )),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(TIMEOUT, get),
};

pub(super) const DELETE: Definition = Definition {
    name: "pluggedin_clipboard_delete",
    title: "Delete from the clipboard",
    description: "Deletes the clipboard entry with a name or an index, or with clearAll every entry. This cannot be undone.",
    area: Area::Clipboard,
    input_schema: r#"{"type":"object","properties":{"name":{"type":"string","description":"The entry's name"},"idx":{"type":"integer","description":"The entry's index"},"clearAll":{"type":"boolean","default":false,"description":"Delete everything; goes without name and idx"}},"additionalProperties":false}"#,
    output_schema: Some(r#"{"type":"object","properties":{"deleted":{"type":"integer"}},"required":["deleted"]}"#),
    hints: Hints { read_only: false, destructive: true, idempotent: true },
    run: Run::App(TIMEOUT, delete),
};

pub(super) const LIST: Definition = Definition {
    name: "pluggedin_clipboard_list",
    title: "List the clipboard",
    description: "Lists the clipboard entries, newest first, with their whole values. Where these are long, pluggedin_clipboard_get without a name gives a shorter overview.",
    area: Area::Clipboard,
    input_schema: concat!(r#"{"type":"object","properties":{"#, page_schema!()),
    output_schema: Some(concat!(
        r#"{"type":"object","properties":{"entries":{"type":"array","items":"#,
        entry_schema!(r#""value":{"type":"string","description":"Missing for images, which pluggedin_clipboard_get shows"},"#),
        r#"},"total":{"type":"integer","description":"On all pages, with expired ones"},"limit":{"type":"integer"},"offset":{"type":"integer"},"expired":{"type":"integer","description":"Left out of this page"}},"required":["entries","total"]}"#
    )),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(TIMEOUT, list),
};

pub(super) const PUSH: Definition = Definition {
    name: "pluggedin_clipboard_push",
    title: "Push onto the clipboard",
    description: "Puts a value on top of the clipboard's stack, at the next index, for results of steps that follow each other. pluggedin_clipboard_pop takes it off again.",
    area: Area::Clipboard,
    input_schema: concat!(r#"{"type":"object","properties":{"#, value_schema!()),
    output_schema: Some(STORED),
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(TIMEOUT, push),
};

pub(super) const POP: Definition = Definition {
    name: "pluggedin_clipboard_pop",
    title: "Pop off the clipboard",
    description: "Takes the entry with the highest index off the clipboard and gives its whole value. The entry is gone then; pluggedin_clipboard_get only looks.",
    area: Area::Clipboard,
    input_schema: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output_schema: Some(ONE),
    hints: Hints { read_only: false, destructive: true, idempotent: false },
    run: Run::App(TIMEOUT, pop),
};

/// Values can be long.
const TIMEOUT: Duration = Duration::from_secs(30);

const ROUTE: &[&str] = &["api", "clipboard"];

fn set(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        let Some(place) = place(&mut arguments)? else {
            return Err(Failure::mistake("invalid arguments: `name` or `idx` is needed, so that the value can be found again"));
        };
        let failed = |error, size| match error {
            AppError::Rejected { status: 409, .. } => Failure::mistake(format!(
                "{place} is taken; hint: choose another index or a name, let `pluggedin_clipboard_push` find a free one, or delete the entry first"
            )),
            AppError::Failing { status: 500, .. } if place.has_both() => Failure::new(
                "plugged.in failed (500), as it does where the index belongs to another entry; hint: give the name alone",
            ),
            error => not_stored(error, size),
        };
        store(services, ROUTE, &place, arguments, failed).await
    }
    .boxed()
}

fn push(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let failed = |error, size| match error {
            AppError::Rejected { status: 409, .. } | AppError::Failing { status: 500, .. } => Failure::new(
                "plugged.in did not store the value, as it happens when two push at the same moment; hint: look with `pluggedin_clipboard_get` and push again",
            ),
            error => not_stored(error, size),
        };
        store(services, &["api", "clipboard", "push"], &Place::default(), arguments, failed).await
    }
    .boxed()
}

/// Stores a value; `failed` knows the size of the value.
async fn store(
    services: Services<'_>,
    path: &[&str],
    place: &Place,
    mut arguments: Arguments,
    failed: impl FnOnce(AppError, usize) -> Failure,
) -> Result<Output, Failure> {
    let value = arguments.required("value");
    check::value(value, arguments.required("encoding"), arguments.required("contentType"))?;
    let size = value.len();
    arguments.set("source", "mcp");
    let request = Request { method: Method::POST, body: Some(arguments.into_body()), ..Request::get(path) };
    let answer: Value = services.ask(request).await.map_err(|error| failed(error, size))?;
    let entry = Members::of(&answer).and_then(|answer| answer.object("entry")).ok_or_else(|| unsure(unreadable()))?;
    Ok(Entry::of(entry).stored(place, size))
}

/// `size` is that of the value, in bytes.
fn not_stored(error: AppError, size: usize) -> Failure {
    match error {
        AppError::Rejected { status: 400 | 413, .. } if size > check::LONGEST => Failure::mistake(format!(
            "the value has {size} bytes, and plugged.in takes {} at most; hint: store it in parts, or as a document",
            check::LONGEST
        )),
        AppError::Rejected { status: 413, .. } => {
            Failure::mistake(format!("the value is too large for plugged.in, with {size} bytes; hint: store it in parts, or as a document"))
        }
        AppError::Rejected { status: 400, .. } => Failure::mistake(
            "plugged.in refused the entry (400); hint: look at the content type and the encoding once more, and try a shorter value",
        ),
        error => unsure(error),
    }
}

fn get(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        let Some(place) = place(&mut arguments)? else {
            return Ok(page(services, &arguments).await?.overview());
        };
        let index = place.index.map(|index| index.to_string());
        let mut query = Vec::new();
        query.extend(place.name.as_deref().map(|name| ("name", name)));
        query.extend(index.as_deref().map(|index| ("idx", index)));
        query.extend(arguments.text("contentType").map(|kind| ("contentType", kind)));
        let request = Request { query: &query, ..Request::get(ROUTE) };
        let answer: Value = services.ask(request).await.map_err(|error| missing(&error, Some(&place)).unwrap_or_else(|| failed(error)))?;
        let entry = one(&answer)?;
        match entry.expired() {
            Some(since) => Err(Failure::mistake(format!("{place} held a value that has expired, at {since}; hint: it must be set again"))),
            None => Ok(entry.shown("")),
        }
    }
    .boxed()
}

fn list(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move { Ok(page(services, &arguments).await?.whole()) }.boxed()
}

async fn page(services: Services<'_>, arguments: &Arguments) -> Result<Page, Failure> {
    let number = |name: &str| match arguments.integer(name) {
        Some(number) => Ok(number.to_string()),
        None => Err(Failure::mistake(format!("invalid arguments: `{name}` is larger than any clipboard"))),
    };
    let (limit, offset) = (number("limit")?, number("offset")?);
    let mut query = vec![("limit", limit.as_str()), ("offset", offset.as_str())];
    query.extend(arguments.text("contentType").filter(|kind| !kind.is_empty()).map(|kind| ("contentType", kind)));
    let request = Request { query: &query, ..Request::get(ROUTE) };
    let answer: Value = services.ask(request).await.map_err(|error| missing(&error, None).unwrap_or_else(|| failed(error)))?;
    Page::of(&answer).ok_or_else(|| unreadable().into())
}

fn pop(services: Services<'_>, _: Arguments) -> Running<'_> {
    async move {
        let path = &["api", "clipboard", "pop"];
        let request = Request { method: Method::POST, body: Some(json!({})), ..Request::get(path) };
        let answer: Value = services.ask(request).await.map_err(|error| match error {
            AppError::NotFound { .. } => Failure::mistake(
                "the clipboard's stack is empty: no entry has an index; hint: `pluggedin_clipboard_push` puts one there, and named entries are read by `pluggedin_clipboard_get`",
            ),
            error => unsure(error),
        })?;
        let entry = one(&answer).map_err(unsure)?;
        // It is gone in the App, so that this is the last chance to see it.
        let note = entry.expired().map(|since| format!("This entry had expired at {since}."));
        Ok(entry.shown(&note.unwrap_or_default()))
    }
    .boxed()
}

fn delete(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        let place = place(&mut arguments)?;
        let all = arguments.flag("clearAll");
        let body = match &place {
            None if !all => {
                return Err(Failure::mistake("invalid arguments: one of `name`, `idx` and `clearAll` with the value true is needed"));
            }
            Some(_) if all => {
                return Err(Failure::mistake(
                    "invalid arguments: `clearAll` would delete everything, and not only what `name` and `idx` say; hint: give one or the other",
                ));
            }
            _ => arguments.into_body(),
        };
        let request = Request { method: Method::DELETE, body: Some(body), ..Request::get(ROUTE) };
        let asked = services.ask::<Value>(request).await;
        let answer = asked.map_err(|error| missing(&error, place.as_ref()).unwrap_or_else(|| unsure(error)))?;
        let deleted = Members::of(&answer).and_then(|answer| answer.integer("deleted")).ok_or_else(|| unsure(unreadable()))?;
        let entries = if deleted == 1 { "entry" } else { "entries" };
        let text = match &place {
            Some(place) => format!("Deleted {deleted} clipboard {entries}: {place}."),
            None => format!("Cleared the clipboard; {deleted} {entries} deleted."),
        };
        Ok(Output::structured(text, &json!({ "deleted": deleted })))
    }
    .boxed()
}

/// The entry of an answer that holds one.
fn one(answer: &Value) -> Result<Entry, AppError> {
    let entry = Members::of(answer).and_then(|answer| answer.object("entry")).map(Entry::of);
    entry.filter(Entry::has_value).ok_or_else(unreadable)
}

/// That nothing is there, or at one place, if this is what the App says.
fn missing(error: &AppError, place: Option<&Place>) -> Option<Failure> {
    let AppError::NotFound { .. } = error else { return None };
    Some(Failure::mistake(match place {
        Some(place) => {
            format!("nothing is on the clipboard under {place}; hint: `pluggedin_clipboard_get` without name and index shows what is there")
        }
        None => "nothing is on the clipboard".to_owned(),
    }))
}

/// Of what changes something.
fn unsure(error: AppError) -> Failure {
    match error {
        error @ AppError::RateLimited { .. } => failed(error),
        error => outcome::unsure(error, "before you try again, look with `pluggedin_clipboard_get`"),
    }
}

fn failed(error: AppError) -> Failure {
    match error {
        AppError::RateLimited { retry_after } => shared_limit("clipboard requests", retry_after),
        error => error.into(),
    }
}
