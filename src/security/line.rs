//! One line stays one line, and shows what it holds (CWE-117): whoever writes into it can neither begin another one,
//! nor move the cursor, nor turn the direction of reading.

use std::{borrow::Cow, fmt::Write};

/// Characters that act instead of being seen become `\n`, `\u202e` and so on, as in JSON; a tab stays. So JSON stays the JSON it was.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| 0)
}

/// Each line for itself: the lines stay, and within them nothing acts.
pub fn escape_each(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// The same, and each line is indented, so that none of them can pass for one of ours.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {}", escape(line)).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The beginning of a text: so many bytes at most, and whole characters.
pub fn head(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    &text[..end]
}

/// As [`escape`], and colours (`ESC [ … m`) stay.
pub fn escape_but_colours(text: &str) -> Cow<'_, str> {
    escape_but(text, colour)
}

/// `kept` gives the length of what may stay at the beginning of a text.
fn escape_but(text: &str, kept: impl Fn(&str) -> usize) -> Cow<'_, str> {
    let Some(first) = text.find(acts) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(c) = rest.chars().next() {
        let keep = if acts(c) { kept(rest) } else { c.len_utf8() };
        if keep > 0 {
            out.push_str(&rest[..keep]);
            rest = &rest[keep..];
            continue;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

/// Controls (C0, DEL, C1), line and paragraph separators, marks and overrides of direction (CVE-2021-42574), and the
/// invisible copies of ASCII.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The length of a colour that the text begins with.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let numbers = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if rest.as_bytes().get(numbers) == Some(&b'm') { 2 + numbers + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown() {
        for (text, expect) in [
            ("plain\ttext, ünïcödé 日本語 🦀", "plain\ttext, ünïcödé 日本語 🦀"),
            ("a\nb\r\nc", "a\\nb\\r\\nc"),
            ("\u{1b}[31mred\u{7}", "\\u001b[31mred\\u0007"),
            ("\0\u{7f}\u{85}\u{9b}", "\\u0000\\u007f\\u0085\\u009b"),
            ("x\u{2028}y\u{2029}z", "x\\u2028y\\u2029z"),
            ("\u{202e}txt.exe\u{2066}\u{200f}", "\\u202etxt.exe\\u2066\\u200f"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(escape(text), expect);
        }
    }

    #[test]
    fn colours_may_stay_and_nothing_else() {
        assert_eq!(escape_but_colours("\u{1b}[2mdim\u{1b}[0m\u{1b}[1;32mok"), "\u{1b}[2mdim\u{1b}[0m\u{1b}[1;32mok");
        assert_eq!(escape_but_colours("\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}["), "\\u001b[2J\\u001b]0;title\\u0007\\u001b[");
    }

    #[test]
    fn lines_may_stay() {
        assert_eq!(escape_each("a\r\n\u{202e}b\n"), "a\\r\n\\u202eb\n");
        assert_eq!(indent("a\r\n\n2. b\u{85}c\n  d\u{2028}e\rf\n"), "   a\n\n   2. b\\u0085c\n     d\\u2028e\\rf");
        assert_eq!(indent(""), "");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::Value::from("\u{202e}a\u{9b}\"b\"\u{e0041}");
        let shown = escape(&value.to_string()).into_owned();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("still JSON"), value);
        let shown = escape_each(&serde_json::to_string_pretty(&serde_json::json!([value])).expect("JSON"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("still JSON"), serde_json::json!([value]));
    }
}
