//! What commands show to people. Names, descriptions and errors are the words of others: without secrets, and without
//! what moves a cursor, changes a title or turns the direction of reading (threat model T17, CWE-150).

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::security::{line, redact};

/// The longest word of others in a table.
const MAX_CELL: usize = 300;

/// The result of a command. A closed pipe is not worth a panic.
pub(super) fn to_stdout(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// One line for people.
pub(super) fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", line::escape(&redact::redact(text)));
}

/// Words of others as part of a line.
pub(super) fn cell(text: &str) -> String {
    redact::quote(text, MAX_CELL)
}

/// Several lines of our own, in which others may be quoted.
pub fn lines(text: &str) -> String {
    line::escape_each(&redact::redact(text))
}

/// The result of a tool is what was asked for: a pipe gets all of it as it is, a terminal none that acts.
pub(super) fn result(text: String) -> String {
    if std::io::stdout().is_terminal() { line::escape_each(&text) } else { text }
}

/// For people and programs: the same JSON, and nothing in it acts.
pub(super) fn json(value: &Value) -> String {
    line::escape_each(&serde_json::to_string_pretty(value).expect("this is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_nothing_acts() {
        assert_eq!(lines("first\n\u{1b}[2Jsecond\u{202e}"), "first\n\\u001b[2Jsecond\\u202e");
        assert_eq!(lines("error: unexpected argument 'pg_in_0123456789abcdef'"), "error: unexpected argument '[redacted]'");
        let value = serde_json::json!({ "name": "\u{9b}2J\u{202e}\n" });
        let text = json(&value);
        assert!(text.contains("\\u009b2J\\u202e\\n"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("still JSON"), value);
    }
}
