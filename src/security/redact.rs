//! Takes secrets out of text that people, logs or clients will see (threat model T17).
//!
//! First by known value: every [`Secret`](crate::secret::Secret) that is alive, in the clear and in the encodings in
//! which programs print it. Then by pattern: what looks like a key, whoever it belongs to. Hiding too much is a nuisance
//! and hiding too little is a leak, so doubts are settled for hiding. What servers answer to their clients is not
//! touched; this is for what the proxy itself says.

mod config;
mod forms;
mod patterns;
mod unescaped;

use std::{
    borrow::Cow,
    ops::Range,
    sync::{Arc, LazyLock},
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use arc_swap::ArcSwap;

pub use config::{secrets_of_args, secrets_of_url};

use super::line;
use crate::secret::{self, Known};
use unescaped::Unescaped;

/// Stands where a secret stood.
pub const MARKER: &str = "[redacted]";

/// Replacing may bring text together that is a secret again; after so many turns the text is given up.
const TURNS: usize = 8;

/// A little slower than the kind that the library would take for few secrets, and much smaller and sooner built.
const KIND: Option<AhoCorasickKind> = Some(AhoCorasickKind::ContiguousNFA);

/// Where a text is cut, so much behind the cut is searched and not shown. No form of a known secret is longer, so the
/// one that the cut divides is found.
const MARGIN: usize = 16 * 1024;

/// Longer private keys do not exist: about 16 kbit.
const KEY_LINES: usize = 256;

/// For the secrets of the list with this number.
struct Current {
    generation: u64,
    redactor: Redactor,
}

static CURRENT: LazyLock<ArcSwap<Current>> = LazyLock::new(|| ArcSwap::from_pointee(Current::build()));

impl Current {
    fn build() -> Self {
        // The number first: what is added meanwhile makes it out of date.
        let generation = secret::generation();
        Self { generation, redactor: Redactor::of(&secret::all()) }
    }

    /// Built where the first text after a change is redacted: in the log's own thread, or where an error is told.
    fn get() -> Arc<Self> {
        let current = CURRENT.load_full();
        if current.generation == secret::generation() {
            return current;
        }
        let built = Arc::new(Self::build());
        CURRENT.store(Arc::clone(&built));
        built
    }
}

/// The text without any secret that is known or looks like one.
pub fn redact(text: &str) -> Cow<'_, str> {
    Current::get().redactor.redact(text)
}

/// The beginning of a text, `max` bytes of it at most, without any secret. A `…` tells of what is left out.
///
/// For whatever strangers may make as long as they like: of the rest no byte is looked at.
pub fn beginning(text: &str, max: usize) -> Cow<'_, str> {
    Current::get().redactor.beginning(text, max)
}

/// Words of others for a sentence of ours: without secrets, on one line, and not longer than `max` characters.
pub fn quote(text: &str, max: usize) -> String {
    // In this order, since half a secret is not found any more. What is hidden may be longer than the marker.
    let text = beginning(text, 8 * max);
    let text = line::escape(&text);
    let mut characters = text.chars();
    let mut quoted: String = characters.by_ref().take(max).collect();
    if characters.next().is_some() {
        quoted.push('…');
    }
    quoted
}

/// Finds a given set of secrets, and whatever looks like one.
#[derive(Debug)]
pub struct Redactor {
    /// One pass for all forms of all values; several can overlap.
    known: Option<AhoCorasick>,
    /// There are more secrets than can be looked for.
    is_blind: bool,
}

impl Redactor {
    pub fn of(known: &[Known]) -> Self {
        let forms = forms::all(known);
        let automaton = (!forms.is_empty()).then(|| AhoCorasick::builder().kind(KIND).build(forms.iter()));
        match automaton.transpose() {
            Ok(known) => Self { known, is_blind: false },
            // More text than the library can count.
            Err(_) => Self { known: None, is_blind: true },
        }
    }

    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.hide(text, None)
    }

    fn beginning<'t>(&self, text: &'t str, max: usize) -> Cow<'t, str> {
        if text.len() <= max {
            return self.redact(text);
        }
        let searched = line::head(text, max.saturating_add(MARGIN));
        let margin = line::head(text, max).len()..searched.len();
        let shown = self.hide(searched, Some(margin));
        // The marker that stands for the margin, and for whatever reached into it.
        Cow::Owned(format!("{}…", shown.strip_suffix(MARKER).unwrap_or(&shown)))
    }

    /// Hides what is secret, and `also` this.
    fn hide<'t>(&self, text: &'t str, mut also: Option<Range<usize>>) -> Cow<'t, str> {
        if self.is_blind {
            return Cow::Borrowed(MARKER);
        }
        let mut text = Cow::Borrowed(text);
        for _ in 0..TURNS {
            let mut spans = self.known_in(&text);
            patterns::find(&text, &mut spans);
            spans.extend(also.take());
            if spans.is_empty() {
                return text;
            }
            text = Cow::Owned(replaced(&text, spans));
        }
        // SECURITY: text made so that replacing never ends shows nothing at all.
        Cow::Borrowed(MARKER)
    }

    fn known_in(&self, text: &str) -> Vec<Range<usize>> {
        let Some(known) = &self.known else { return Vec::new() };
        let mut spans: Vec<_> = known.find_overlapping_iter(text).map(|found| found.range()).collect();
        if let Some(plain) = Unescaped::of(text) {
            spans.extend(known.find_overlapping_iter(&plain.bytes).map(|found| plain.place(found.range())));
        }
        spans
    }
}

/// Each group of spans that touch becomes one marker.
fn replaced(text: &str, mut spans: Vec<Range<usize>>) -> String {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut out = String::with_capacity(text.len());
    let mut shown = 0;
    let mut spans = spans.into_iter().peekable();
    while let Some(Range { start, mut end }) = spans.next() {
        while let Some(next) = spans.next_if(|next| next.start <= end) {
            end = end.max(next.end);
        }
        // A lone backslash before it begins an escape, which must not be torn: the text may be JSON.
        let escape = text[..start].bytes().rev().take_while(|&byte| byte == b'\\').count() % 2;
        out.push_str(&text[shown..(start - escape).max(shown)]);
        out.push_str(MARKER);
        shown = end;
    }
    out.push_str(&text[shown..]);
    out
}

/// Redacts a text that comes line by line, in which a private key takes many.
#[derive(Debug, Default)]
pub struct Stream {
    /// So many more lines may belong to a private key.
    key_lines: usize,
}

impl Stream {
    pub fn line<'t>(&mut self, line: &'t str) -> Cow<'t, str> {
        let rest = if self.key_lines == 0 {
            line
        } else if let Some(end) = line.find("-----END") {
            self.key_lines = 0;
            &line[end..]
        } else {
            self.key_lines -= 1;
            return Cow::Borrowed(MARKER);
        };
        if patterns::leaves_key_open(rest) {
            self.key_lines = KEY_LINES;
        }
        redact(rest)
    }
}

#[cfg(test)]
mod tests;
