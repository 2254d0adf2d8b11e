//! What is fed. Each target panics where something does not hold, and tells what happened by a number, so that inputs that
//! do something else are kept.

mod dotenv;
mod framing;
mod headers;
mod redact;
mod sse;
mod url;

use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: &'static [&'static str],
    pub(crate) words: &'static [&'static str],
    pub(crate) run: fn(&[u8]) -> u64,
}

pub(crate) const TARGETS: [Target; 6] = [url::TARGET, headers::TARGET, dotenv::TARGET, framing::TARGET, sse::TARGET, redact::TARGET];

pub(crate) fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A count that tells few from many, and not each number from the next.
fn size(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}

/// The bytes in pieces whose lengths the bytes themselves decide.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while let [first, ..] = rest {
        let (piece, after) = rest.split_at((usize::from(*first) % 7 + 1).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
