//! From [`CallError`] to what the client sees; the only such place.
//!
//! A tool that fails gives a result with `isError`, so that the model can react
//! (specification, server/tools, "error handling"); everything else is a JSON-RPC error.

use bytes::Bytes;
use serde_json::json;

use crate::{
    protocol::{
        error::{
            ErrorObject, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY, RATE_LIMITED,
            RESOURCE_NOT_FOUND,
        },
        message::{Frame, Id},
        revision::Revision,
    },
    router::{Answer, Blame, CallError, bridge},
    security::redact,
};

/// In bytes. The name or URI that the client gave may be in it, however long.
const LONGEST: usize = 4 * 1024;

pub(super) fn answer(method: &str, id: &Id, error: &CallError, revision: Revision) -> Frame {
    let said = redact::beginning(&error.to_string(), LONGEST).into_owned();
    tracing::debug!(method = redact::quote(method, 100), error = said, "call failed");
    if method == "tools/call" && matches!(error.blame(), Blame::Server | Blame::Rate) {
        let result = json!({ "content": [{ "type": "text", "text": said }], "isError": true });
        return bridge::shape(Answer::Result(Bytes::from(result.to_string())), method, revision).into_frame(id);
    }
    Frame::error(Some(id), &object(error, said, revision))
}

fn object(error: &CallError, said: String, revision: Revision) -> ErrorObject {
    let code = match error {
        CallError::UnknownMethod(_) | CallError::NoSubscriptions { .. } => METHOD_NOT_FOUND,
        CallError::TooManySubscriptions { .. } => INVALID_REQUEST,
        CallError::UnknownResource { uri } => {
            let code = if revision.has_plain_not_found() { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
            return ErrorObject::new(code, said).with_data(json!({ "uri": uri }));
        }
        CallError::MissingCapability { path } => {
            let required = path.iter().rfold(json!({}), |inner, part| json!({ *part: inner }));
            return ErrorObject::new(MISSING_CAPABILITY, said).with_data(json!({ "requiredCapabilities": required }));
        }
        CallError::TooOften(_) | CallError::AppTooOften { .. } => {
            // Rounded up: who comes back at that time is not refused again.
            let millis = error.retry_after().unwrap_or_default().as_nanos().div_ceil(1_000_000);
            return ErrorObject::new(RATE_LIMITED, error.to_string())
                .with_data(json!({ "retryAfterMs": u64::try_from(millis).unwrap_or(u64::MAX) }));
        }
        CallError::InvalidParams(_)
        | CallError::UnknownTool { .. }
        | CallError::AmbiguousTool { .. }
        | CallError::UnknownPrompt { .. }
        | CallError::BadCursor(_) => INVALID_PARAMS,
        CallError::ChangedTool { .. }
        | CallError::Unavailable { .. }
        | CallError::Timeout { .. }
        | CallError::ConnectTimeout { .. }
        | CallError::AppAway { .. }
        | CallError::TooLong { .. }
        | CallError::Unanswered { .. }
        | CallError::Declined
        | CallError::TooManyRounds { .. }
        | CallError::EndlessRounds { .. }
        | CallError::Link { .. } => INTERNAL_ERROR,
    };
    ErrorObject::new(code, said)
}
