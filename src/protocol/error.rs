//! JSON-RPC error codes and error objects, in one place.
//!
//! Codes of the JSON-RPC 2.0 specification, section 5.1, and of the MCP
//! specification.

use serde_json::{Value, json};

pub const PARSE_ERROR: i32 = -32700;
pub const INVALID_REQUEST: i32 = -32600;
pub const METHOD_NOT_FOUND: i32 = -32601;
pub const INVALID_PARAMS: i32 = -32602;
pub const INTERNAL_ERROR: i32 = -32603;
/// Revisions up to 2025-11-25; later ones use [`INVALID_PARAMS`].
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// What HTTP refuses before a message is looked at: the code that the official servers use for it.
pub const REFUSED: i32 = -32000;
/// The same may be asked again after a while, which `data.retryAfterMs` names. JSON-RPC leaves this range to
/// implementations; others use this number for it (EIP-1474, "limit exceeded").
pub const RATE_LIMITED: i32 = -32005;
/// The session is not there: the code that the official servers use for it.
pub const NO_SESSION: i32 = -32001;
/// A header of HTTP says something else than the message (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// The request needs a capability that its client has not declared; `data.requiredCapabilities` names it (2026-07-28).
pub const MISSING_CAPABILITY: i32 = -32021;
/// The revision is not spoken here (2026-07-28).
pub const UNSUPPORTED_VERSION: i32 = -32022;
/// The call can be made once the user has visited a URL (2025-11-25).
pub const URL_ELICITATION_REQUIRED: i32 = -32042;

/// The `error` member of a response that the proxy itself writes.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorObject {
    pub code: i32,
    pub message: String,
    pub data: Option<Value>,
}

impl ErrorObject {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    pub fn to_json(&self) -> Value {
        let mut object = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            object["data"] = data.clone();
        }
        object
    }
}
