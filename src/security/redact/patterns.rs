//! What looks like a secret, whoever it belongs to.
//!
//! One pass finds the words that can stand before a secret or begin one; what follows each is read by hand. The text
//! may be a log line, JSON, JSON within JSON, a URL, a header or a list of variables.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::{AhoCorasick, Match};

use super::MARKER;

/// What a found word can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// `Bearer x`, `Basic x`.
    Scheme,
    /// The end of a name whose value is a secret.
    Name,
    /// As [`Self::Name`], where only its place makes it one: `API_KEY`, `encryptionKey`, `?key=`, but not `monkey`.
    ShortName,
    /// As [`Self::Name`]; the value goes to the end of the line.
    HeaderName,
    /// What stands before the `@` of a URL.
    Authority,
    PrivateKey,
    /// A key with a beginning of its own, and how many characters must follow.
    Vendor {
        exact: &'static str,
        tail: usize,
    },
}

const WORDS: [(&str, Anchor); 27] = [
    ("bearer", Anchor::Scheme),
    ("basic", Anchor::Scheme),
    ("authorization", Anchor::HeaderName),
    ("cookie", Anchor::HeaderName),
    ("token", Anchor::Name),
    ("password", Anchor::Name),
    ("passwd", Anchor::Name),
    ("passphrase", Anchor::Name),
    ("pwd", Anchor::ShortName),
    ("secret", Anchor::Name),
    ("credential", Anchor::Name),
    ("credentials", Anchor::Name),
    ("api key", Anchor::Name),
    ("apikey", Anchor::Name),
    ("accesskey", Anchor::Name),
    ("privatekey", Anchor::Name),
    ("secretkey", Anchor::Name),
    ("sessionid", Anchor::Name),
    ("session-id", Anchor::Name),
    ("session_id", Anchor::Name),
    ("key", Anchor::ShortName),
    ("pass", Anchor::ShortName),
    ("auth", Anchor::ShortName),
    ("sig", Anchor::ShortName),
    ("signature", Anchor::ShortName),
    ("://", Anchor::Authority),
    ("-----begin", Anchor::PrivateKey),
];

const VENDORS: [(&str, usize); 30] = [
    ("pg_in_", 8),
    ("sk_mt_", 8),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("sk-", 16),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 16),
    ("eyJ", 20),
    ("npm_", 30),
    ("hf_", 20),
    ("ntn_", 20),
    ("lin_api_", 16),
    ("SG.", 40),
    ("whsec_", 16),
];

static ANCHORS: LazyLock<(AhoCorasick, Vec<Anchor>)> = LazyLock::new(|| {
    let vendors = VENDORS.iter().map(|&(exact, tail)| (exact, Anchor::Vendor { exact, tail }));
    let (words, kinds): (Vec<_>, Vec<_>) = WORDS.iter().copied().chain(vendors).unzip();
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(words).expect("a few dozen short words");
    (automaton, kinds)
});

/// Adds what looks like a secret. Nothing is found in text in which everything found is replaced by the marker.
///
/// SECURITY: strangers write the text, so the work grows with its length alone, however many words it is made of.
pub(super) fn find(text: &str, spans: &mut Vec<Range<usize>>) {
    let mut done = Scans::default();
    spans.extend(anchors(text).filter_map(|(place, anchor)| place.secret(anchor, &mut done)));
}

/// The same, with all scans made.
#[cfg(test)]
pub(super) fn find_one_by_one(text: &str, spans: &mut Vec<Range<usize>>) {
    spans.extend(anchors(text).filter_map(|(place, anchor)| place.secret(anchor, &mut Scans::default())));
}

fn anchors(text: &str) -> impl Iterator<Item = (Place<'_>, Anchor)> {
    let (automaton, kinds) = &*ANCHORS;
    let place = move |found: Match| Place { text, start: found.start(), end: found.end() };
    automaton.find_overlapping_iter(text).map(move |found| (place(found), kinds[found.pattern().as_usize()]))
}

/// Whether a private key begins in this line and goes on in the next.
pub(super) fn leaves_key_open(line: &str) -> bool {
    let Some(begin) = line.rfind("-----BEGIN ") else { return false };
    let rest = &line[begin..];
    rest.contains("PRIVATE KEY") && !rest.contains("-----END")
}

/// How far a value goes that is not in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To a blank or a sign that separates values.
    Word,
    /// To a blank.
    Variable,
    Line,
    /// To the next tag.
    Element,
}

/// Where the last scan of each kind began and ended. One that begins in between ends there, too, and is not made again:
/// each word of a long value would begin one that reads the rest of it.
#[derive(Default)]
struct Scans {
    word: Scan,
    variable: Scan,
    line: Scan,
    element: Scan,
    private_key: Scan,
    vendor_key: Scan,
    dotted_vendor_key: Scan,
    digit: Scan,
    dot: Scan,
}

#[derive(Default)]
struct Scan(Option<(usize, usize)>);

impl Scan {
    /// Where the scan from `begin` ends, which `length` finds out.
    fn end(&mut self, begin: usize, length: impl FnOnce() -> usize) -> usize {
        if let Some((earlier, end)) = self.0
            && (earlier..=end).contains(&begin)
        {
            return end;
        }
        let end = begin + length();
        self.0 = Some((begin, end));
        end
    }
}

impl Scans {
    /// The end of a value that is not in quotes.
    fn value(&mut self, text: &str, begin: usize, wanted: Extent) -> usize {
        let scan = match wanted {
            Extent::Word => &mut self.word,
            Extent::Variable => &mut self.variable,
            Extent::Line => &mut self.line,
            Extent::Element => &mut self.element,
        };
        scan.end(begin, || extent(&text[begin..], wanted))
    }
}

/// Where a word was found.
struct Place<'t> {
    text: &'t str,
    start: usize,
    end: usize,
}

impl Place<'_> {
    fn secret(&self, anchor: Anchor, scans: &mut Scans) -> Option<Range<usize>> {
        let span = match anchor {
            Anchor::Scheme => self.after_scheme(scans),
            Anchor::Name => self.value(Extent::Word, scans),
            Anchor::ShortName if self.is_name_by_place() => self.value(Extent::Word, scans),
            Anchor::ShortName => None,
            Anchor::HeaderName => self.value(Extent::Line, scans),
            Anchor::Authority => self.userinfo(),
            Anchor::PrivateKey => self.private_key(&mut scans.private_key),
            Anchor::Vendor { exact, tail } => self.vendor_key(exact, tail, scans),
        };
        span.filter(|span| !span.is_empty() && self.text[span.clone()] != *MARKER)
    }

    fn before(&self) -> Option<u8> {
        self.text[..self.start].bytes().next_back()
    }

    fn begins_word(&self) -> bool {
        self.before().is_none_or(|byte| !byte.is_ascii_alphanumeric())
    }

    /// The whole name that the word ends, or as much of it as tells what it is.
    fn name(&self) -> &str {
        const LONGEST: usize = 64;
        let before = self.text.as_bytes()[..self.start].iter().rev().take(LONGEST);
        let length = before.take_while(|&&byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)).count();
        &self.text[self.start - length..self.end]
    }

    fn is_name_by_place(&self) -> bool {
        match self.before() {
            Some(b'_' | b'-' | b'?' | b'&') => true,
            Some(before) => before.is_ascii_lowercase() && self.text.as_bytes()[self.start].is_ascii_uppercase(),
            None => false,
        }
    }

    fn after_scheme(&self, scans: &mut Scans) -> Option<Range<usize>> {
        /// In bytes, with what ends a sentence.
        const LONGEST_WORD: usize = 32;
        const WORDS: [&str; 12] = [
            "token",
            "tokens",
            "auth",
            "authentication",
            "authorization",
            "scheme",
            "header",
            "realm",
            "error",
            "challenge",
            "format",
            "credentials",
        ];
        let rest = &self.text[self.end..];
        let blank = rest.strip_prefix("%20").map_or_else(|| rest.len() - rest.trim_start_matches([' ', '\t']).len(), |_| 3);
        if !self.begins_word() || blank == 0 {
            return None;
        }
        let start = self.end + blank;
        let end = scans.value(self.text, start, Extent::Word);
        let token = &self.text[start..end];
        if token.len() > LONGEST_WORD {
            return Some(start..end);
        }
        let word = token.trim_end_matches(['.', ':', '!', '?']).to_ascii_lowercase();
        let is_basic = self.text[self.start..self.end].eq_ignore_ascii_case("basic");
        // `basic usage` is a sentence; a pair of name and password has capitals or digits in base64.
        let is_word = WORDS.contains(&word.as_str()) || (is_basic && token.bytes().all(|byte| byte.is_ascii_lowercase()));
        (token.len() >= 6 && !is_word).then_some(start..end)
    }

    fn value(&self, wanted: Extent, scans: &mut Scans) -> Option<Range<usize>> {
        let after = &self.text[self.end..];
        let after_name = after.strip_prefix(['s', 'S']).unwrap_or(after);
        let (separator, rest) = separator(after_name, self.name().starts_with("--"))?;
        let rest = rest.strip_prefix("Some(").unwrap_or(rest);
        let begin = self.text.len() - rest.len();
        let (start, end) = match quote(rest) {
            Some((backslashes, mark)) => {
                let start = begin + backslashes + 1;
                (start, start + quoted(&self.text[start..], mark, backslashes))
            }
            None => (begin, scans.value(self.text, begin, self.extent(wanted, separator))),
        };
        let value = &self.text[start..end];
        // A quotation mark after a name may also end the JSON text that ends with the name.
        let syntax = start > begin && is_syntax(value);
        (!syntax && !says_nothing(value)).then_some(start..end)
    }

    /// A variable's value may hold any sign; a list of variables has one a line.
    fn extent(&self, wanted: Extent, separator: char) -> Extent {
        let name = self.name();
        let is_variable = separator == '=' && name.len() > 3 && !name.bytes().any(|byte| byte.is_ascii_lowercase());
        match wanted {
            Extent::Word if separator == '>' => Extent::Element,
            Extent::Word if is_variable => Extent::Variable,
            wanted => wanted,
        }
    }

    fn userinfo(&self) -> Option<Range<usize>> {
        let rest = &self.text[self.end..];
        let authority = rest.find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '`' | '\\') || c.is_whitespace());
        let at = rest[..authority.unwrap_or(rest.len())].rfind('@')?;
        Some(self.end..self.end + at)
    }

    fn private_key(&self, scan: &mut Scan) -> Option<Range<usize>> {
        let rest = &self.text[self.end..];
        let head = rest.find("-----").filter(|&end| end < 40)?;
        if !rest[..head].to_ascii_uppercase().contains("PRIVATE KEY") {
            return None;
        }
        let start = self.end + head + 5;
        Some(start..scan.end(start, || private_key(&self.text[start..])))
    }

    fn vendor_key(&self, exact: &str, tail: usize, scans: &mut Scans) -> Option<Range<usize>> {
        if !self.begins_word() || &self.text[self.start..self.end] != exact {
            return None;
        }
        let rest = &self.text.as_bytes()[self.end..];
        let dots = matches!(exact, "eyJ" | "SG." | "ya29.");
        let run = if dots { &mut scans.dotted_vendor_key } else { &mut scans.vendor_key };
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (dots && byte == b'.');
        let end = run.end(self.end, || rest.iter().take_while(|&&byte| belongs(byte)).count());
        let length = end - self.end;
        let before = |wanted: fn(&u8) -> bool| rest.iter().take_while(|&byte| !wanted(byte)).count();
        let plausible = match exact {
            "AKIA" | "ASIA" => length == tail && rest[..length].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()),
            "eyJ" => length >= tail && scans.dot.end(self.end, || before(|byte| *byte == b'.')) < end,
            // Names of models and files are words; keys are not.
            "sk-" | "npm_" | "hf_" | "ntn_" => length >= tail && scans.digit.end(self.end, || before(u8::is_ascii_digit)) < end,
            _ => length >= tail,
        };
        plausible.then_some(self.start..end)
    }
}

/// What stands between a name and its value, and the rest. An option's value may follow after a blank.
fn separator(after_name: &str, option: bool) -> Option<(char, &str)> {
    let rest = match quote(after_name) {
        Some((backslashes, _)) => &after_name[backslashes + 1..],
        None => after_name,
    };
    let trimmed = rest.trim_start_matches([' ', '\t']);
    for (sign, meaning) in [("=>", ':'), (":=", ':'), ("%3D", '='), ("%3d", '='), ("=", '='), (":", ':')] {
        if let Some(value) = trimmed.strip_prefix(sign) {
            return Some((meaning, value.trim_start_matches([' ', '\t'])));
        }
    }
    if let Some(value) = rest.strip_prefix('>') {
        return Some(('>', value));
    }
    (option && trimmed.len() < rest.len()).then_some((' ', trimmed))
}

/// The quotation mark that the text begins with, and how many backslashes stand before it: text in JSON has one
/// before each, JSON in JSON three.
fn quote(text: &str) -> Option<(usize, u8)> {
    let backslashes = text.bytes().take_while(|&byte| byte == b'\\').count();
    let mark = *text.as_bytes().get(backslashes)?;
    matches!(mark, b'"' | b'\'' | b'`').then_some((backslashes, mark))
}

/// The length of the text up to the mark that closes what `backslashes` and `mark` opened, or that ends the text around it.
fn quoted(text: &str, mark: u8, backslashes: usize) -> usize {
    // A mark in JSON within JSON has 3 backslashes of its own, and each one that is content has become 4.
    let depth = |run: usize| run.trailing_ones();
    let opened = depth(backslashes);
    let mut run = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'\\' {
            run += 1;
            continue;
        }
        let depth = depth(run);
        let closes = byte == mark && depth == opened;
        let ends_outer = byte == b'"' && (depth < opened || mark != b'"');
        if closes || ends_outer {
            // Its own backslashes belong to it; those before them are content.
            return at - ((1 << depth) - 1);
        }
        run = 0;
    }
    text.len()
}

/// The length of a value that is not in quotes. The marker is part of a value, never its end.
fn extent(text: &str, extent: Extent) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(MARKER) {
            at += MARKER.len();
            continue;
        }
        let ends = match c {
            '"' => return before_backslashes(text, at),
            '\n' | '\r' => true,
            _ => match extent {
                Extent::Line => false,
                Extent::Variable => c.is_whitespace() || matches!(c, '\'' | '`'),
                Extent::Element => c == '<',
                Extent::Word => c.is_whitespace() || matches!(c, '\'' | '`' | '&' | ';' | ',' | ')' | '}' | ']' | '<' | '>' | '|'),
            },
        };
        if ends {
            break;
        }
        at += c.len_utf8();
    }
    at
}

/// The length of a private key's lines, to the mark of its end or to that of the text around it.
fn private_key(text: &str) -> usize {
    let ends = |&(at, found): &(usize, &str)| found == "\"" || text[at..].starts_with("-----END");
    match text.match_indices(['"', '-']).find(ends) {
        Some((at, "\"")) => before_backslashes(text, at),
        Some((at, _)) => at,
        None => text.len(),
    }
}

/// A quotation mark within JSON belongs together with the backslashes before it.
fn before_backslashes(text: &str, mark: usize) -> usize {
    text[..mark].trim_end_matches('\\').len()
}

/// What stands in JSON between two strings.
fn is_syntax(between: &str) -> bool {
    between.starts_with([',', ']', '}'])
        && between.bytes().all(|byte| byte.is_ascii_whitespace() || byte.is_ascii_digit() || b",:[]{}.-+".contains(&byte))
}

/// Values that hide nothing, and that are of use to whoever reads the line.
fn says_nothing(value: &str) -> bool {
    /// No name of a variable is longer.
    const PLACEHOLDER: usize = 128;
    let small_number = value.len() < 6 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let placeholder = value.len() <= PLACEHOLDER && value.starts_with("${") && value.find('}') == Some(value.len() - 1);
    let opens_list = value.bytes().all(|byte| b"[{(*".contains(&byte));
    let word = ["true", "false", "null", "none", "undefined", "nil"].iter().any(|word| value.eq_ignore_ascii_case(word));
    small_number || placeholder || opens_list || word
}
