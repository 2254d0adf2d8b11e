//! The texts in which a known secret may turn up: its parts, and their encodings.

use std::collections::BTreeSet;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use secrecy::ExposeSecret;

use super::{MARKER, line, patterns};
use crate::secret::Known;

/// A shorter text is found in too many places to hide it, whatever its name.
const MIN_NAMED: usize = 4;
/// The same for a value whose name does not say that it is a secret.
const MIN: usize = 8;
/// Longer values are looked for in pieces of this length, so that encodings of them cost little.
const PIECE: usize = 1024;
/// All forms together, in bytes: more than a thousand servers have. Beyond it, values are looked for in the clear only.
const MAX_FORMS: usize = 8 * 1024 * 1024;

/// Words that are no secret, though they may stand where one is expected.
const WORDS: [&str; 38] = [
    "admin",
    "apikey",
    "authorization",
    "basic",
    "bearer",
    "changeme",
    "cookie",
    "debug",
    "default",
    "development",
    "disabled",
    "enabled",
    "error",
    "example",
    "false",
    "header",
    "info",
    "local",
    "localhost",
    "none",
    "null",
    "oauth",
    "oauth2",
    "optional",
    "password",
    "production",
    "required",
    "secret",
    "staging",
    "test",
    "token",
    "trace",
    "true",
    "undefined",
    "user",
    "username",
    "verbose",
    "warn",
];

/// All forms of all of these, without what would hide the marker itself.
pub(super) fn all(known: &[Known]) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let mut size = 0;
    for Known { secret, named } in known {
        for part in parts(secret.expose_secret(), *named) {
            let encoded = if size < MAX_FORMS { encodings(&part) } else { vec![part] };
            for form in encoded {
                if !MARKER.contains(&form) {
                    size += form.len();
                    forms.insert(form);
                }
            }
        }
    }
    forms
}

/// The value itself, if it can be told from other text, and the secrets within it.
fn parts(value: &str, named: bool) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    add(&mut parts, value, named);
    // A value is often a whole header, URL or JSON text: what looks like a secret in it is one.
    let mut spans = Vec::new();
    patterns::find(value, &mut spans);
    for span in spans {
        let found = &value[span];
        add(&mut parts, found, true);
        if let Some((_, password)) = found.split_once(':') {
            // Of a URL; alone, and as it is sent.
            add(&mut parts, password, true);
            add(&mut parts, &decoded(password), true);
            add(&mut parts, &STANDARD.encode(decoded(found)), true);
        }
        if let Some(pair) = STANDARD.decode(found).ok().and_then(|pair| String::from_utf8(pair).ok())
            && let Some((_, password)) = pair.split_once(':')
        {
            add(&mut parts, password, true);
            add(&mut parts, &pair, true);
        }
    }
    // `Bearer x`, `Token x`, `Key x`: what comes after the scheme is often repeated alone, whatever it is made of.
    if named
        && let Some((scheme, rest)) = value.split_once(' ')
        && scheme.len() <= 16
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !rest.contains(char::is_whitespace)
    {
        add(&mut parts, rest, true);
    }
    if value.contains(['\n', '\r']) {
        // Logs are lines. Short ones, `}` or `-----END`, are in many texts.
        for line in value.split(['\n', '\r']).filter(|line| line.len() >= 2 * MIN) {
            add(&mut parts, line, named);
        }
    }
    parts
}

fn add(parts: &mut BTreeSet<String>, text: &str, named: bool) {
    if !worth_hiding(text, named) {
        return;
    }
    let mut rest = text;
    while rest.len() > PIECE {
        let (piece, after) = rest.split_at(line::head(rest, PIECE).len());
        parts.insert(piece.to_owned());
        rest = after;
    }
    // The end of a long text is hidden if it can be told from others.
    if rest.len() == text.len() || rest.len() >= MIN {
        parts.insert(rest.to_owned());
    }
}

fn worth_hiding(text: &str, named: bool) -> bool {
    let known_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) || text.trim().is_empty();
    let long_enough = text.len() >= if named { MIN_NAMED } else { MIN };
    // Named or not, a word of six letters at most is part of ordinary sentences.
    let everyday = text.len() < 7 && text.bytes().all(|byte| byte.is_ascii_lowercase());
    long_enough && !known_word && !everyday && !is_number(text) && (named || !is_plain(text))
}

fn is_number(text: &str) -> bool {
    text.len() < 6 && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// Settings rather than secrets: numbers, paths, addresses without anything in them, words with a version behind them.
fn is_plain(text: &str) -> bool {
    let number = text.len() < 16 && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.:".contains(&byte));
    let path = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start)) || text.get(1..3) == Some(":\\");
    let mut inside = Vec::new();
    patterns::find(text, &mut inside);
    let url = text.split_once("://").is_some_and(|(_, rest)| !rest.contains(['?', '@', '#'])) && !text.contains(char::is_whitespace);
    number || ((path || url || is_wording(text)) && inside.is_empty())
}

/// `production`, `us-east-1`, `gpt-4o-mini`, `example.com:8080`: short words in lower case, few digits.
fn is_wording(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.: ,=".contains(&byte);
    let short = text.split(|c: char| !c.is_ascii_alphanumeric()).all(|word| word.len() <= 14);
    digits <= 4 && short && text.bytes().all(plain)
}

/// As programs print it: in the clear, in JSON (also within JSON), in a URL, in base64.
fn encodings(text: &str) -> Vec<String> {
    let in_json = json(text);
    let in_json_twice = json(&in_json);
    let percent = percent_encoded(text);
    let form = percent.replace("%20", "+");
    let mut forms = vec![
        text.escape_debug().to_string(),
        in_json,
        in_json_twice,
        percent.to_ascii_lowercase_hex(),
        form.to_ascii_lowercase_hex(),
        percent,
        form,
        decoded(text),
        text.to_owned(),
    ];
    if text.len() >= MIN {
        for user_name in [text.to_owned(), format!("{text}:")] {
            forms.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|engine| engine.encode(&user_name)));
        }
    }
    forms.retain(|form| form.len() >= MIN_NAMED);
    forms
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// All but the unreserved characters (RFC 3986, 2.3), in upper-case digits.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// What percent-encoded text stands for; the text itself where that is none.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

trait LowercaseHex {
    fn to_ascii_lowercase_hex(&self) -> String;
}

impl LowercaseHex for String {
    /// `%3D` as `%3d`; nothing else is changed.
    fn to_ascii_lowercase_hex(&self) -> String {
        let mut pieces = self.split('%');
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (digits, rest) = piece.split_at(2.min(piece.len()));
            out.push('%');
            out.push_str(&digits.to_ascii_lowercase());
            out.push_str(rest);
        }
        out
    }
}
