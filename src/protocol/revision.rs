//! The revisions of the Model Context Protocol and the only comparisons
//! between them. Elsewhere a predicate of [`Revision`] is asked.

use std::fmt;

/// A published revision, oldest first, so that `<` means "older than".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    /// Oldest first.
    pub const ALL: [Self; 5] = [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// The newest revision with an `initialize` handshake: what is offered to
    /// servers, and to clients that ask for a revision we do not know.
    pub const NEWEST: Self = Self::V2025_11_25;

    /// The newest revision without a handshake.
    pub const STATELESS: Self = Self::V2026_07_28;

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// What `initialize` answers to a client that asks for `requested`: the same
    /// if we speak it, else our newest (lifecycle, "version negotiation").
    pub fn negotiate(requested: Option<&str>) -> Self {
        requested.and_then(Self::parse).filter(|revision| revision.has_handshake()).unwrap_or(Self::NEWEST)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// JSON-RPC batches exist in 2025-03-26 alone.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// An event stream begins with an empty event that has an id, so that it can be taken up
    /// before anything was said (transports, 2025-11-25).
    pub fn has_primed_streams(self) -> bool {
        self == Self::V2025_11_25
    }

    /// A client begins with `initialize`, and what is agreed then holds for the session. Without it every request stands alone.
    pub fn has_handshake(self) -> bool {
        self <= Self::V2025_11_25
    }

    /// Every result says what it is, and lists say for how long they hold.
    pub fn has_result_types(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// A resource that is not there is an invalid parameter and has no code of its own.
    pub fn has_plain_not_found(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// The HTTP header `MCP-Protocol-Version` came with 2025-06-18.
    pub fn has_version_header(self) -> bool {
        self >= Self::V2025_06_18
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revision_is_parsed_from_its_own_text() {
        for revision in Revision::ALL {
            assert_eq!(Revision::parse(revision.as_str()), Some(revision));
        }
        assert!(Revision::ALL.is_sorted());
    }

    #[test]
    fn an_unknown_revision_is_answered_with_the_newest() {
        assert_eq!(Revision::negotiate(Some("2024-11-05")), Revision::V2024_11_05);
        assert_eq!(Revision::negotiate(Some("2099-01-01")), Revision::NEWEST);
        assert_eq!(Revision::negotiate(Some("2026-07-28")), Revision::NEWEST);
        assert_eq!(Revision::negotiate(None), Revision::NEWEST);
    }
}
