//! What is said beside the messages: of a session, or of each message by itself.

use std::sync::OnceLock;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};

use super::{PROTOCOL_VERSION, SESSION_ID, stated::Annotated};
use crate::protocol::revision::Revision;

#[derive(Debug)]
pub enum Manner {
    /// There is a session, if the server wants one.
    Session(Session),
    /// Nothing is kept between requests.
    Stateless(Annotated),
}

#[derive(Debug, Default)]
pub struct Session {
    pub(super) id: ArcSwapOption<HeaderValue>,
    pub(super) revision: OnceLock<Revision>,
}

impl Manner {
    pub fn session() -> Self {
        Self::Session(Session::default())
    }

    pub fn stateless() -> Self {
        Self::Stateless(Annotated::default())
    }

    /// Where there is a session now.
    pub(super) fn session_id(&self) -> Option<HeaderValue> {
        match self {
            Self::Session(session) => session.id.load().as_deref().cloned(),
            Self::Stateless(_) => None,
        }
    }

    /// With a message of this text.
    pub(super) fn headers(&self, body: &Bytes) -> HeaderMap {
        match self {
            Self::Session(session) => session.headers(),
            Self::Stateless(annotated) => annotated.headers(body),
        }
    }
}

impl Session {
    pub(super) fn headers(&self) -> HeaderMap {
        // With those that the transport and the client below add, so that it need not grow.
        let mut headers = HeaderMap::with_capacity(8);
        if let Some(id) = &*self.id.load() {
            headers.insert(SESSION_ID, HeaderValue::clone(id));
        }
        if let Some(revision) = self.revision.get().filter(|revision| revision.has_version_header()) {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(revision.as_str()));
        }
        headers
    }
}
