//! What can go wrong between the proxy and one server, in our own words: texts
//! of libraries hold addresses and paths that a client must not see.

use std::time::Duration;

use crate::security::{Refusal, Rule, egress::SendError};

/// Why a call, or the whole connection, failed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum LinkError {
    /// The connection had ended before the message went out.
    #[error("the connection was closed")]
    Closed,
    /// The connection ended while an answer was awaited.
    #[error("the connection was lost: {reason}")]
    Lost { reason: String },
    #[error("the server cannot be reached: {reason}")]
    Unreachable { reason: String },
    /// The policy does not let us connect to where its address leads.
    #[error(transparent)]
    Refused(Refusal),
    #[error("{what}")]
    Redirected { what: String },
    #[error("the server does not know our session any more")]
    SessionGone,
    #[error("the server demands authorization (HTTP {status})")]
    Unauthorized { status: u16 },
    #[error("the server answered HTTP {status}")]
    Status { status: u16 },
    #[error("the server broke the protocol: {what}")]
    Protocol { what: String },
    /// A panic on the way, which is in the log.
    #[error("the proxy (pluggedin-mcp-proxy) met a defect of its own; hint: its log says where")]
    Defect,
}

impl LinkError {
    /// The server certainly did not act on the message, so it may be sent again.
    pub fn not_sent(&self) -> bool {
        match self {
            Self::Closed
            | Self::Unreachable { .. }
            | Self::Refused(_)
            | Self::Redirected { .. }
            | Self::SessionGone
            | Self::Unauthorized { .. } => true,
            Self::Lost { .. } | Self::Status { .. } | Self::Protocol { .. } | Self::Defect => false,
        }
    }

    /// Another message would fare no better: nobody is there, or nobody lets us in.
    pub fn is_of_the_way(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Refused(_) | Self::Redirected { .. } | Self::Unauthorized { .. } => true,
            Self::Closed | Self::SessionGone | Self::Lost { .. } | Self::Status { .. } | Self::Protocol { .. } | Self::Defect => false,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The program, the address or a header is not allowed, or the program is not there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the program could not be started: {reason}")]
    Spawn { reason: String },
    #[error("no answer to `initialize` within {} s", .after.as_secs())]
    Timeout { after: Duration },
    #[error("`initialize` was refused: {message}")]
    Rejected { message: String },
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl ConnectError {
    /// The server has answered `initialize`, and does not want it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Link(LinkError::Status { status: 400..500 }))
    }

    /// Trying again cannot help before the configuration changes.
    pub fn is_final(&self) -> bool {
        match self {
            // A program can be installed at any time.
            Self::Refused(refusal) => refusal.rule != Rule::CommandNotFound,
            Self::Spawn { .. } | Self::Timeout { .. } | Self::Rejected { .. } | Self::Link(_) => false,
        }
    }
}

impl From<SendError> for LinkError {
    fn from(error: SendError) -> Self {
        let reason = error.to_string();
        match error {
            SendError::Unreachable(_) => Self::Unreachable { reason },
            SendError::Refused(refusal) => Self::Refused(refusal),
            SendError::Redirected { .. } => Self::Redirected { what: reason },
            SendError::Lost | SendError::NotHttp => Self::Lost { reason },
            SendError::Encoded => Self::Protocol { what: reason },
        }
    }
}
