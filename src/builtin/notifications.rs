//! Notifications: what the user is told outside of the chat, and what of it is done.
//!
//! The App toggles where it should mark, and says yes to whatever it is asked to delete.

use std::{fmt::Write, time::Duration};

use futures_util::FutureExt;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    members::{self, Members},
    outcome::{Failure, Output, shared_limit, unsure},
    services::{Services, unreadable},
};
use crate::{
    security::redact,
    source::app::{AppError, Request},
};

pub(super) const SEND: Definition = Definition {
    name: "pluggedin_send_notification",
    title: "Send a notification",
    description: "Tells the user something through plugged.in, and by email if wanted. Use it for what should reach the user outside of this chat, such as the end of a long task or a failure.",
    area: Area::Notifications,
    input_schema: r#"{"type":"object","properties":{"title":{"type":"string","description":"A short headline"},"message":{"type":"string","minLength":1,"description":"The text, as Markdown"},"severity":{"type":"string","enum":["INFO","SUCCESS","WARNING","ALERT"],"default":"INFO","description":"How much it matters"},"sendEmail":{"type":"boolean","default":false,"description":"Send it by email, too"}},"required":["message"]}"#,
    output_schema: None,
    hints: Hints { read_only: false, destructive: false, idempotent: false },
    run: Run::App(SEND_TIMEOUT, send),
};

pub(super) const LIST: Definition = Definition {
    name: "pluggedin_list_notifications",
    title: "List notifications",
    description: "Lists the user's notifications, newest first, with the ids that the tools for marking and deleting want.",
    area: Area::Notifications,
    input_schema: r#"{"type":"object","properties":{"onlyUnread":{"type":"boolean","default":false,"description":"Leave out what the user has read"},"limit":{"type":"integer","minimum":1,"maximum":100,"description":"Only so many; all if this is missing"}}}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"notifications":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"title":{"type":"string"},"message":{"type":"string"},"type":{"type":"string"},"severity":{"type":"string"},"read":{"type":"boolean"},"completed":{"type":"boolean"},"createdAt":{"type":"string"},"link":{"type":"string"}},"required":["id"]}}},"required":["notifications"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(TIMEOUT, list),
};

pub(super) const MARK_DONE: Definition = Definition {
    name: "pluggedin_mark_notification_done",
    title: "Mark a notification as done",
    description: "Marks a notification as done when what it asks for has been dealt with. One that is done already stays so.",
    area: Area::Notifications,
    input_schema: r#"{"type":"object","properties":{"notificationId":{"type":"string","minLength":1,"description":"Its id, from pluggedin_list_notifications"}},"required":["notificationId"]}"#,
    output_schema: None,
    hints: Hints { read_only: false, destructive: false, idempotent: true },
    run: Run::App(TIMEOUT, mark_done),
};

pub(super) const DELETE: Definition = Definition {
    name: "pluggedin_delete_notification",
    title: "Delete a notification",
    description: "Deletes a notification, which cannot be undone. It also succeeds where there is none with this id.",
    area: Area::Notifications,
    input_schema: r#"{"type":"object","properties":{"notificationId":{"type":"string","minLength":1,"description":"Its id, from pluggedin_list_notifications"}},"required":["notificationId"]}"#,
    output_schema: None,
    hints: Hints { read_only: false, destructive: true, idempotent: true },
    run: Run::App(TIMEOUT, delete),
};

const TIMEOUT: Duration = Duration::from_secs(15);

/// The App sends the email before it answers.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

const LOOK: &str = "before you try again, look with `pluggedin_list_notifications`";

/// Titles, types and messages are shown up to these lengths.
const TITLE: usize = 200;
const WORD: usize = 50;
const MESSAGE: usize = 1000;

/// One notification, as it is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Notification {
    /// `None` where it has no id, so that nothing could be done with it.
    fn of(members: Members<'_>, absolute: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            id: members.line("id", WORD)?,
            title: members.line("title", TITLE),
            message: members.line("message", MESSAGE),
            kind: members.line("type", WORD),
            severity: members.line("severity", WORD),
            read: members.flag("read"),
            completed: members.flag("completed"),
            created_at: members.time("created_at"),
            link: members.text("link").and_then(absolute).map(|link| redact::quote(&link, MESSAGE)),
        })
    }
}

fn send(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let by_email = arguments.flag("sendEmail");
        let request =
            Request { method: Method::POST, body: Some(arguments.into_body()), ..Request::get(&["api", "notifications", "custom"]) };
        let answer = services.ask::<Value>(request).await.and_then(|answer| match answer {
            Value::Object(_) => Ok(answer),
            _ => Err(unreadable()),
        });
        let answer = answer.map_err(|error| match error {
            AppError::RateLimited { retry_after } => shared_limit("notifications", retry_after),
            error => unsure(error, LOOK),
        })?;
        let is_sent = answer.get("emailSent").and_then(Value::as_bool);
        Ok(Output::text(sent(by_email, is_sent)))
    }
    .boxed()
}

fn sent(by_email: bool, is_sent: Option<bool>) -> &'static str {
    match (by_email, is_sent) {
        (false, _) => "Notification created.",
        (true, Some(true)) => "Notification created and email sent.",
        (true, Some(false)) => "Notification created, but no email could be sent.",
        (true, None) => "Notification created. Whether the email was sent, too, plugged.in does not say.",
    }
}

fn list(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let only_unread = arguments.flag("onlyUnread");
        let limit = arguments.integer("limit");
        let limit_text = limit.map(|limit| limit.to_string());
        let mut query = Vec::new();
        if only_unread {
            query.push(("onlyUnread", "true"));
        }
        query.extend(limit_text.as_deref().map(|limit| ("limit", limit)));
        let answer = all(services, &query).await?;
        let listed = members::list(&answer, "notifications").ok_or_else(unreadable)?;
        let notifications: Vec<_> = listed.filter_map(|members| Notification::of(members, |link| services.absolute(link))).collect();
        let text = told(&notifications, only_unread, limit);
        Ok(Output::structured(text, &json!({ "notifications": notifications })))
    }
    .boxed()
}

async fn all(services: Services<'_>, query: &[(&str, &str)]) -> Result<Value, AppError> {
    services.ask(Request { query, ..Request::get(&["api", "notifications"]) }).await
}

fn told(notifications: &[Notification], only_unread: bool, limit: Option<i64>) -> String {
    let unread = if only_unread { "unread " } else { "" };
    let count = notifications.len();
    if count == 0 {
        return format!("There are no {unread}notifications.");
    }
    let mut text = format!("{count} {unread}notification{}:\n", if count == 1 { "" } else { "s" });
    for (index, notification) in notifications.iter().enumerate() {
        let Notification { id, title, message, kind, severity, read, completed, created_at, link } = notification;
        let _ = writeln!(text, "\n{}. **{}**", index + 1, title.as_deref().unwrap_or("(no title)"));
        let _ = writeln!(text, "   ID: {id}");
        let about: Vec<_> = [("Type", kind), ("Severity", severity)]
            .into_iter()
            .filter_map(|(name, word)| Some(format!("{name}: {}", word.as_deref()?)))
            .chain(read.map(|read| if read { "read" } else { "unread" }.to_owned()))
            .chain(completed.map(|completed| if completed { "done" } else { "not done" }.to_owned()))
            .collect();
        if !about.is_empty() {
            let _ = writeln!(text, "   {}", about.join(", "));
        }
        for (name, line) in [("Created", created_at), ("Message", message), ("Link", link)] {
            if let Some(line) = line {
                let _ = writeln!(text, "   {name}: {line}");
            }
        }
    }
    if limit.and_then(|limit| usize::try_from(limit).ok()).is_some_and(|limit| count >= limit) {
        text.push_str("\nThere may be older ones, beyond the limit.");
    }
    text.push_str("\n`pluggedin_mark_notification_done` and `pluggedin_delete_notification` take an ID from here.");
    text
}

fn mark_done(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let id = id(&arguments)?;
        // The App toggles, so that a second time would take the first one back; and it finds no single one, but lists all.
        let _alone = services.alone().await?;
        let answer = all(services, &[]).await?;
        if is_done(&answer, &id)? {
            return Ok(Output::text(format!("Notification {id} was done already.")));
        }
        let path = ["api", "notifications", &id, "completed"];
        let request = Request { method: Method::PATCH, body: Some(json!({})), as_page: true, ..Request::get(&path) };
        let answer: Value = services.ask(request).await.map_err(|error| match error {
            AppError::NotFound { .. } => missing(&id),
            error => unsure(error, LOOK),
        })?;
        Members::of(&answer).ok_or_else(|| unsure(unreadable(), LOOK))?;
        Ok(Output::text(format!("Notification {id} is done now.")))
    }
    .boxed()
}

/// Whether a notification of the list is done. Apps that do not know of being done list none as done, and then have no route for it.
fn is_done(answer: &Value, id: &str) -> Result<bool, Failure> {
    let mut listed = members::list(answer, "notifications").ok_or_else(unreadable)?;
    let found = listed.find(|members| members.text("id").is_some_and(|listed| listed.eq_ignore_ascii_case(id)));
    match found.ok_or_else(|| missing(id))?.get("completed") {
        None => Ok(false),
        // Who cannot see the state must not toggle it.
        Some(completed) => Ok(completed.as_bool().ok_or_else(unreadable)?),
    }
}

fn missing(id: &str) -> Failure {
    Failure::mistake(format!("there is no notification {id} in this workspace; hint: `pluggedin_list_notifications` shows what is there"))
}

fn delete(services: Services<'_>, arguments: Arguments) -> Running<'_> {
    async move {
        let id = id(&arguments)?;
        let path = ["api", "notifications", &id];
        let request = Request { method: Method::DELETE, ..Request::get(&path) };
        let answer: Value = services.ask(request).await.map_err(|error| unsure(error, LOOK))?;
        Members::of(&answer).ok_or_else(|| unsure(unreadable(), LOOK))?;
        Ok(Output::text(format!("Notification {id} is deleted. (plugged.in says the same where there was none with this ID.)")))
    }
    .boxed()
}

/// As the App writes it. It refuses what is no UUID, in words that nobody understands.
fn id(arguments: &Arguments) -> Result<String, Failure> {
    const HYPHENATED: usize = 36;
    let text = arguments.required("notificationId").trim();
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == HYPHENATED);
    id.map(|id| id.to_string()).ok_or_else(|| {
        Failure::mistake("invalid arguments: `notificationId` must be a UUID; hint: `pluggedin_list_notifications` shows the ID of each")
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::builtin::arguments::InputSchema;

    const ID: &str = "0b9b7c64-4b43-4f0a-8a37-9a0a3c9b2f10";

    /// What is told of the list, and the structured content, which must keep to its schema.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(listed: Value, only_unread: bool, limit: Option<i64>, expect: Expect) {
        let answer = json!({ "notifications": listed });
        let listed = members::list(&answer, "notifications").expect("a list");
        let absolute = |link: &str| Some(format!("https://plugged.in{link}"));
        let notifications: Vec<_> = listed.filter_map(|members| Notification::of(members, absolute)).collect();
        let data = json!({ "notifications": notifications });
        InputSchema::of(LIST.output_schema.expect("it has one")).assert_allows(&data);
        expect.assert_eq(&format!("{}\n{data}", told(&notifications, only_unread, limit)));
    }

    #[test]
    fn notifications_are_told_with_ids_and_states() {
        check(
            json!([
                {"id": ID, "profile_uuid": "p", "type": "CUSTOM", "title": "Build done", "message": "All tests\npass", "read": false,
                    "link": null, "severity": "SUCCESS", "completed": false, "metadata": {"source": {"type": "api"}},
                    "created_at": "2026-01-01T12:00:00.000Z", "expires_at": "2026-01-31T12:00:00.000Z"},
                {"id": "7", "type": "SYSTEM", "title": "T", "message": "M", "read": true, "completed": true, "severity": null, "link": "/x",
                    "created_at": "2026-01-01 12:00:00.5+00"},
            ]),
            false,
            None,
            expect![[r#"
                2 notifications:

                1. **Build done**
                   ID: 0b9b7c64-4b43-4f0a-8a37-9a0a3c9b2f10
                   Type: CUSTOM, Severity: SUCCESS, unread, not done
                   Created: 2026-01-01T12:00:00Z
                   Message: All tests\npass

                2. **T**
                   ID: 7
                   Type: SYSTEM, read, done
                   Created: 2026-01-01T12:00:00Z
                   Message: M
                   Link: https://plugged.in/x

                `pluggedin_mark_notification_done` and `pluggedin_delete_notification` take an ID from here.
                {"notifications":[{"id":"0b9b7c64-4b43-4f0a-8a37-9a0a3c9b2f10","title":"Build done","message":"All tests\\npass","type":"CUSTOM","severity":"SUCCESS","read":false,"completed":false,"createdAt":"2026-01-01T12:00:00Z"},{"id":"7","title":"T","message":"M","type":"SYSTEM","read":true,"completed":true,"createdAt":"2026-01-01T12:00:00Z","link":"https://plugged.in/x"}]}"#]],
        );
    }

    #[test]
    fn odd_members_cost_themselves() {
        check(
            json!([]),
            true,
            Some(5),
            expect![[r#"
            There are no unread notifications.
            {"notifications":[]}"#]],
        );
        check(
            json!([{"id": ID, "title": {}, "message": 7, "read": "no", "completed": null, "created_at": "soon", "link": 1}, {"title": "x"}, 7]),
            true,
            Some(1),
            expect![[r#"
                1 unread notification:

                1. **(no title)**
                   ID: 0b9b7c64-4b43-4f0a-8a37-9a0a3c9b2f10

                There may be older ones, beyond the limit.
                `pluggedin_mark_notification_done` and `pluggedin_delete_notification` take an ID from here.
                {"notifications":[{"id":"0b9b7c64-4b43-4f0a-8a37-9a0a3c9b2f10"}]}"#]],
        );
        check(
            json!([{"id": "a\nb", "title": "\u{202e}x\n# Heading", "message": "m"}]),
            false,
            Some(2),
            expect![[r#"
            1 notification:

            1. **\u202ex\n# Heading**
               ID: a\nb
               Message: m

            `pluggedin_mark_notification_done` and `pluggedin_delete_notification` take an ID from here.
            {"notifications":[{"id":"a\\nb","title":"\\u202ex\\n# Heading","message":"m"}]}"#]],
        );
    }

    #[test]
    fn who_cannot_see_the_state_does_not_toggle() {
        let list = |completed: Value| json!({ "notifications": [{"id": "other"}, {"id": ID.to_uppercase(), "completed": completed}] });
        let said = |answer: &Value| is_done(answer, ID).map_err(|failure| failure.is_mistake());
        assert_eq!(said(&list(json!(true))), Ok(true));
        assert_eq!(said(&list(json!(false))), Ok(false));
        assert_eq!(said(&json!({ "notifications": [{"id": ID}] })), Ok(false));
        // A mistake of the App's, and one of the caller's.
        assert_eq!(said(&list(json!("yes"))), Err(false));
        assert_eq!(said(&list(json!(null))), Err(false));
        assert_eq!(said(&json!({ "success": true })), Err(false));
        assert_eq!(said(&json!({ "notifications": [] })), Err(true));
    }

    #[test]
    fn ids_are_uuids() {
        let said = |text: &str| {
            let mut arguments = Arguments::default();
            arguments.set("notificationId", text);
            id(&arguments).map_err(|failure| failure.is_mistake())
        };
        assert_eq!(said(&format!(" {}\n", ID.to_uppercase())).as_deref(), Ok(ID));
        for text in ["7", "0b9b7c644b434f0a8a379a0a3c9b2f10", "{0b9b7c64-4b43-4f0a-8a37-9a0a3c9b2f10}", "../custom", ""] {
            assert_eq!(said(text), Err(true), "{text}");
        }
    }

    #[test]
    fn emails_are_told_of_where_they_were_wanted() {
        for (by_email, is_sent, expect) in [(false, None, "created."), (true, Some(true), "email sent"), (true, Some(false), "no email")] {
            assert!(sent(by_email, is_sent).contains(expect));
        }
    }
}
