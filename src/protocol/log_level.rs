//! The severity of a log message (specification, server/utilities/logging).

use std::fmt;

/// The most verbose first, so that `<` means "less severe than".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// The log messages that a client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// It has not said.
    #[default]
    All,
    From(LogLevel),
    /// It has not asked for any, and would have to.
    Nothing,
}

impl Verbosity {
    /// One of an unknown level is for the client to judge.
    pub fn admits(self, level: Option<LogLevel>) -> bool {
        match self {
            Self::All => true,
            Self::From(least) => level.is_none_or(|level| level >= least),
            Self::Nothing => false,
        }
    }

    pub fn level(self) -> Option<LogLevel> {
        match self {
            Self::From(level) => Some(level),
            Self::All | Self::Nothing => None,
        }
    }
}

impl LogLevel {
    pub const ALL: [Self; 8] =
        [Self::Debug, Self::Info, Self::Notice, Self::Warning, Self::Error, Self::Critical, Self::Alert, Self::Emergency];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_parsed_from_its_own_text() {
        for level in LogLevel::ALL {
            assert_eq!(LogLevel::parse(level.as_str()), Some(level));
        }
        assert!(LogLevel::ALL.is_sorted());
        assert_eq!(LogLevel::parse("Info"), None);
    }
}
