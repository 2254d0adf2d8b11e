//! The grammar of Node's `dotenv`: quotes, several lines, `export`, comments. Nothing
//! is expanded, and no command is run.

/// Name and value of each assignment, in the order of the text. Lines that are none
/// are passed over.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut pairs = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let Some((name, after)) = assignment(rest) else {
            rest = after_line(rest);
            continue;
        };
        let (value, after) = value(after);
        pairs.push((name.to_owned(), value));
        rest = after;
    }
    pairs
}

/// The name, and what follows the `=` (or `: `).
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches([' ', '\t']);
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start_matches([' ', '\t']),
        _ => line,
    };
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    if let Some(value) = rest.trim_start_matches([' ', '\t']).strip_prefix('=') {
        return Some((name, value));
    }
    let value = rest.strip_prefix(':')?;
    value.starts_with([' ', '\t', '\n']).then_some((name, value))
}

fn value(text: &str) -> (String, &str) {
    let start = text.trim_start_matches([' ', '\t']);
    if let Some((quote, inner, after)) = quoted(start) {
        let value = if quote == '"' { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner.to_owned() };
        return (value, after);
    }
    let line = &start[..start.find('\n').unwrap_or(start.len())];
    let value = line.split('#').next().unwrap_or_default().trim();
    // A quote that another of its kind ends is none of the text.
    let bare = ['"', '\'', '`'].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    (bare.unwrap_or(value).to_owned(), after_line(start))
}

/// Text in quotes, which may span lines, with nothing but a comment behind it.
fn quoted(text: &str) -> Option<(char, &str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            let line = &text[index + 1..];
            let behind = line[..line.find('\n').unwrap_or(line.len())].trim_start();
            let clean = behind.is_empty() || behind.starts_with('#');
            return clean.then(|| (quote, &text[1..index], after_line(line)));
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn after_line(text: &str) -> &str {
    text.find('\n').map_or("", |end| &text[end + 1..])
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(text: &str, expect: Expect) {
        let lines: Vec<_> = parse(text).into_iter().map(|(name, value)| format!("{name} {value:?}")).collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn as_node_reads_it() {
        check(
            "\u{feff}A=1\r\nB = two words  # comment\r\nexport C='single \\n'\nD=\"line\\nbreak\"\nE=`back'tick\"`\nF=\nG=a#b\n  H: yaml\n",
            expect![[r#"
                A "1"
                B "two words"
                C "single \\n"
                D "line\nbreak"
                E "back'tick\""
                F ""
                G "a"
                H "yaml""#]],
        );
        check(
            "# X=1\n\nnonsense\n=y\nexport\nI=\"a # b\" # c\nJ=\"one\ntwo\"\nK=${HOME}$(id)\n",
            expect![[r#"
            I "a # b"
            J "one\ntwo"
            K "${HOME}$(id)""#]],
        );
    }

    #[test]
    fn quotes_that_do_not_end() {
        check(
            "A=\"open\nB=2",
            expect![[r#"
            A "\"open"
            B "2""#]],
        );
        check(
            "A='it''s'\nB=\"x\" y\nC='a\\'b'",
            expect![[r#"
            A "it''s"
            B "\"x\" y"
            C "a\\'b""#]],
        );
        check("A=x", expect![[r#"A "x""#]]);
        check("", expect![""]);
        check("A", expect![""]);
    }
}
