//! How much of everything one client may use (threat model T11).

use std::time::Duration;

/// The limits of the HTTP front.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes of one request's body.
    pub body: usize,
    /// Bytes of all header lines of one request together.
    pub header_bytes: usize,
    /// Header lines of one request.
    pub header_fields: usize,
    /// Open connections.
    pub connections: usize,
    /// Calls in flight of one session, or of one address where there are no sessions.
    pub calls: usize,
    /// Levels of nesting in a message.
    pub depth: usize,
    /// For the head of a request, from its first byte on.
    pub header_read: Duration,
    /// For the body of a request.
    pub body_read: Duration,
    /// A connection without a request is closed after this.
    pub idle: Duration,
    /// A client that takes nothing for this long is cut off.
    pub write: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body: 10 * 1024 * 1024,
            header_bytes: 32 * 1024,
            header_fields: 100,
            connections: 10_000,
            calls: 256,
            depth: 128,
            header_read: Duration::from_secs(15),
            body_read: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(30),
        }
    }
}
