//! How large anything may be that others send (threat model T11, T12), in one place: how many may come, and how fast,
//! stands where it is counted. SECURITY.md has the same figures in a table; `tests/layering.rs` compares them.
//!
//! What is too large is refused as soon as that is seen, and never held as a whole: memory is bounded by the limit and
//! not by what is sent.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A message of a server, whatever the wire (a line, a body, an event), and one of the client at our standard streams. Larger
/// than any file that a tool returns in practice.
pub const MESSAGE: usize = 64 * MIB;

/// Levels of arrays and objects within each other, in any message. serde_json and most others go no further, and what
/// follows a structure by calling itself needs stack for each.
pub const DEPTH: usize = 128;

/// A request's body over HTTP. Clients send arguments, and images at most.
pub const BODY: usize = 10 * MIB;

/// The same where a key is asked for and none was sent that is known. What everybody may send is small.
pub const BODY_WITHOUT_KEY: usize = 64 * KIB;

/// All header lines of a request over HTTP.
pub const HEAD: usize = 32 * KIB;
/// Header lines of a request. hyper reads up to 100 without memory of their own.
pub const HEAD_FIELDS: usize = 96;

/// Messages in one batch.
pub const BATCH: usize = 100;

/// Pages of one listing of a server: one that never ends its list is cut here.
pub const LISTING_PAGES: usize = 1_000;
/// Entries of one listing of a server. All of it together is no larger than a message.
pub const LISTING_ENTRIES: usize = 100_000;

/// What a server says in one call while its client does not read: progress, log messages, and what it asks.
pub const MAILBOX: usize = 4 * MIB;

/// Events that wait for a client over HTTP to read make a call wait, once they are so large.
pub const STREAM_WAITING: usize = MIB;
/// What is kept of one stream after it was sent.
pub const STREAM_KEPT: usize = 64 * KIB;

/// An answer of the App, unpacked. A workspace of ten thousand tools with long schemas stays below it.
pub const APP_ANSWER: usize = 64 * MIB;

/// The local file of servers. One of a thousand servers has some 300 KiB.
pub const SERVERS_FILE: usize = 8 * MIB;
/// A file of credentials. Far more than any has.
pub const CREDENTIALS_FILE: usize = MIB;

/// As much memory is set aside because somebody says that so much will come.
pub const RESERVED: usize = MIB;

/// The limits of messages that are not those of the HTTP front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, and of one listing.
    pub message: usize,
    pub depth: usize,
    pub listing_pages: usize,
    pub listing_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: MESSAGE, depth: DEPTH, listing_pages: LISTING_PAGES, listing_entries: LISTING_ENTRIES }
    }
}

/// Whether arrays and objects of this JSON text stand in each other more than `depth` levels deep.
///
/// Measured: 2 ns for a small call, 25 us for a MiB of text, about a nanosecond a byte where there are many brackets.
pub fn too_deep(json: &[u8], depth: usize) -> bool {
    // Most messages end here: they do not hold so many brackets, those in strings included.
    if json.len() <= depth || memchr::memchr2_iter(b'{', b'[', json).nth(depth).is_none() {
        return false;
    }
    let mut level = 0_usize;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => at += string_length(&json[at..]),
            b'{' | b'[' => {
                level += 1;
                if level > depth {
                    return true;
                }
            }
            b'}' | b']' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Up to and with the closing quote; the rest of the text if there is none.
fn string_length(text: &[u8]) -> usize {
    /// Where there are escapes there are many, and to begin a search costs as much as to look at so many bytes.
    const NEAR: usize = 16;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let near = rest.iter().take(NEAR).position(|byte| matches!(byte, b'"' | b'\\'));
        let found = near.or_else(|| Some(NEAR + memchr::memchr2(b'"', b'\\', rest.get(NEAR..)?)?));
        let Some(found) = found else { break };
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        // What is escaped.
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests;
