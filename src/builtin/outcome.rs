//! What comes of a tool: what the model reads, in our own words.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    security::line,
    source::app::{AppError, again},
};

/// What a tool says when it has done its work.
#[derive(Debug)]
pub(super) struct Output {
    content: Vec<Value>,
    structured: Option<Value>,
}

impl Output {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { content: vec![json!({ "type": "text", "text": text.into() })], structured: None }
    }

    /// Text for those who read, and the same as data, which keeps to the tool's output schema.
    pub(super) fn structured(text: impl Into<String>, data: &impl Serialize) -> Self {
        let structured = serde_json::to_value(data).expect("data of the proxy's own is always JSON");
        Self { structured: Some(structured), ..Self::text(text) }
    }

    /// Data that is its own text.
    pub(super) fn json(data: &impl Serialize) -> Self {
        Self::structured(json_text(data), data)
    }

    /// An image instead of the text; `data` is base64 (specification, server/tools, "Image Content").
    #[must_use]
    pub(super) fn with_image(mut self, mime_type: &str, data: &str) -> Self {
        self.content = vec![json!({ "type": "image", "data": data, "mimeType": mime_type })];
        self
    }

    pub(super) fn data(&self) -> Option<&Value> {
        self.structured.as_ref()
    }

    fn into_result(self) -> Bytes {
        let Self { content, structured } = self;
        let mut result = json!({ "content": content, "isError": false });
        if let Some(structured) = structured {
            result["structuredContent"] = structured;
        }
        result.to_string().into()
    }
}

/// JSON for those who read: nothing in it acts, whoever has written it.
pub(super) fn json_text(data: &impl Serialize) -> String {
    line::escape_each(&serde_json::to_string_pretty(data).expect("data of the proxy's own is always JSON"))
}

/// Why a tool has not done its work. SECURITY: in our own words, since the App's can hold SQL or be meant for somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) said: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Mistake,
    Refused,
}

impl Failure {
    pub(super) fn new(said: impl Into<String>) -> Self {
        Self { said: said.into(), kind: Kind::Failed }
    }

    /// Of the caller's, who can do better.
    pub(super) fn mistake(said: impl Into<String>) -> Self {
        Self { said: said.into(), kind: Kind::Mistake }
    }

    /// The App, or the proxy before it, lets nobody through at the moment.
    pub(super) fn refused(said: impl Into<String>) -> Self {
        Self { said: said.into(), kind: Kind::Refused }
    }

    #[cfg(test)]
    pub(super) fn is_mistake(&self) -> bool {
        self.kind == Kind::Mistake
    }
}

/// What any service may answer. A tool that knows better says so before.
impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::new(match error {
            AppError::Unauthorized => {
                return Self::refused(
                    "plugged.in refused the API key; hint: check it, or make a new one; `pluggedin_setup` with the topic `api_key` says how",
                );
            }
            AppError::RateLimited { retry_after } => {
                return Self::refused(format!("plugged.in allows no more requests of this kind at the moment; hint: {}", again(retry_after)));
            }
            AppError::NotFound { .. } => return Self::mistake("plugged.in has nothing under this identifier; hint: list what is there first"),
            AppError::TooOld => {
                "this plugged.in App does not know this service; hint: it is too old for it, or the base URL does not lead to an App".to_owned()
            }
            AppError::Unconfigured => {
                "this plugged.in App has no key for the AI provider that it searches with; hint: its operator has to set `OPENAI_API_KEY` there".to_owned()
            }
            AppError::Origin => {
                "plugged.in refused the request because it came to another address than its public one; hint: start the proxy with `--app-origin` and the App's public address, as in `--app-origin https://plugged.in`".to_owned()
            }
            AppError::Failing { status, retry_after } => {
                format!("plugged.in failed ({status}) and gave no reason that helps; hint: {}", again(retry_after))
            }
            AppError::Rejected { status: 200, .. } => "plugged.in could not do it, and gave no reason that helps; hint: try again later".to_owned(),
            AppError::Rejected { status: 400, .. } => {
                return Self::mistake("plugged.in refused the request (400); hint: look at the arguments once more");
            }
            AppError::Rejected { status: 413, .. } => {
                return Self::mistake("the request is too large for plugged.in; hint: send less at once");
            }
            AppError::Rejected { status, .. } => {
                format!("plugged.in refused the request ({status}); hint: look at the arguments once more")
            }
            error @ AppError::Tls(_) => error.to_string(),
            error @ (AppError::Redirected { .. } | AppError::Network { .. } | AppError::Refused(_) | AppError::Unreadable { .. }) => {
                format!("{error}; hint: `pluggedin_setup` with the topic `troubleshooting` may help")
            }
        })
    }
}

/// The App counts documents that are written, changed and searched, clipboard requests and notifications that are sent together, by
/// key, and measures each kind by its own limit. So the wait can be long, and is often owed to something else.
pub(super) fn shared_limit(what: &str, retry_after: Option<Duration>) -> Failure {
    Failure::refused(format!(
        "plugged.in allows no more {what} at the moment; hint: {}; documents, the clipboard and notifications share the limits of the key, so use the others less meanwhile, too",
        again(retry_after)
    ))
}

/// Of what changes something. `then` says what to do where it may have been done: how to look, or what a second time would do.
pub(super) fn unsure(error: AppError, then: &str) -> Failure {
    let may_be_done = error.may_be_done();
    let mut failure = Failure::from(error);
    if may_be_done {
        failure.said = format!("{}; it may have been done all the same: {then}", failure.said);
    }
    failure
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// The `result` of `tools/call`.
    pub result: Bytes,
    pub how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    Done,
    /// The model was told this.
    Failed(String),
    /// The caller could have known; nothing was done.
    Mistake,
    /// By the App, for its limits or because of the key; nothing was done, and nothing of the user's has failed.
    Refused,
}

impl From<Result<Output, Failure>> for Ended {
    fn from(outcome: Result<Output, Failure>) -> Self {
        match outcome {
            Ok(output) => Self { result: output.into_result(), how: How::Done },
            Err(Failure { said, kind }) => {
                let result = json!({ "content": [{ "type": "text", "text": said }], "isError": true });
                let how = match kind {
                    Kind::Failed => How::Failed(said),
                    Kind::Mistake => How::Mistake,
                    Kind::Refused => How::Refused,
                };
                Self { result: result.to_string().into(), how }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What alerts a person is not that somebody must wait.
    #[test]
    fn refusals_are_no_failures() {
        let wait = Some(Duration::from_secs(7));
        let how = |failure: Failure| Ended::from(Err(failure)).how;
        for refused in [
            Failure::from(AppError::Unauthorized),
            AppError::RateLimited { retry_after: wait }.into(),
            unsure(AppError::RateLimited { retry_after: None }, "look"),
            shared_limit("searches", wait),
        ] {
            assert_eq!(how(refused.clone()), How::Refused, "{refused:?}");
        }
        assert_eq!(how(AppError::NotFound { message: String::new() }.into()), How::Mistake);
        assert!(matches!(how(AppError::Failing { status: 500, retry_after: wait }.into()), How::Failed(said) if said.contains("7 s")));
    }
}
