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
}

impl Revision {
    /// Oldest first.
    pub const ALL: [Self; 4] = [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    /// The newest revision with an `initialize` handshake: what is offered to
    /// servers, and to clients that ask for a revision we do not know.
    pub const NEWEST: Self = Self::V2025_11_25;

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// What `initialize` answers to a client that asks for `requested`: the same
    /// if we speak it, else our newest (lifecycle, "version negotiation").
    pub fn negotiate(requested: Option<&str>) -> Self {
        requested.and_then(Self::parse).unwrap_or(Self::NEWEST)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// JSON-RPC batches exist in 2025-03-26 alone.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
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
        assert_eq!(Revision::negotiate(None), Revision::NEWEST);
    }
}
