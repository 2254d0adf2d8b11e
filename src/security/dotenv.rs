//! `.env` files, read exactly as Node's `dotenv` (16 and 17) reads them (threat model T24). Nothing is expanded, and no
//! command is run.
//!
//! Of the crates for it, `dotenvy` expands variables and refuses lines that Node passes over, so a file could mean two things.
//! The one expression that Node's grammar is (`LINE` in its `lib/main.js`) is followed here by hand, with what JavaScript
//! takes for blank space and for the end of a line; `tests/real/dotenv.rs` compares the two on many texts.

use indexmap::IndexMap;

use super::{Refusal, Rule};

/// The largest file, in bytes. Settings take a few hundred.
pub const MAX_FILE: usize = 1024 * 1024;

/// As [`parse`], from a file's content.
///
/// # Errors
/// [`Refusal`] where it is too large or no text.
pub fn read(content: &[u8]) -> Result<IndexMap<String, String>, Refusal> {
    if content.len() > MAX_FILE {
        let what = format!("the env file is larger than {} MiB", MAX_FILE / 1024 / 1024);
        return Err(Refusal::new(Rule::EnvFile, what, "is it another file? keep only the settings in it"));
    }
    let text = std::str::from_utf8(content).map_err(|error| {
        let line = memchr::memchr_iter(b'\n', &content[..error.valid_up_to()]).count() + 1;
        Refusal::new(Rule::EnvFile, format!("the env file is not UTF-8 text (line {line})"), "save it as UTF-8")
    })?;
    Ok(parse(text))
}

/// The variables that the text sets, in the order of their first mention; of several with one name the last counts.
/// Lines that set nothing are passed over.
pub fn parse(text: &str) -> IndexMap<String, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut variables = IndexMap::new();
    let mut at = 0;
    while at < text.len() {
        match assignment(&text, at) {
            Ok(Assignment { name, value, end }) => {
                // Setting this member of an object does nothing in JavaScript.
                if name != "__proto__" {
                    variables.insert(name.to_owned(), unquoted(value));
                }
                at = line_start(&text, end);
            }
            Err(word) => at = line_start(&text, word + text[word..].chars().next().map_or(1, char::len_utf8)),
        }
    }
    variables
}

struct Assignment<'t> {
    name: &'t str,
    /// With its quotes and the blanks around it.
    value: &'t str,
    end: usize,
}

/// The assignment that begins at `at`, where a line begins, after blank lines at most. If there is none, where the first word is.
fn assignment(text: &str, at: usize) -> Result<Assignment<'_>, usize> {
    let word = blanks(text, at);
    let exported = text[word..].strip_prefix("export").map(|_| word + 6).filter(|&end| blanks(text, end) > end);
    let exported = exported.and_then(|end| name_and_separator(text, blanks(text, end)));
    let (name, value) = exported.or_else(|| name_and_separator(text, word)).ok_or(word)?;
    let (value_end, end) = value_and_rest(text, value);
    Ok(Assignment { name, value: &text[value..value_end], end })
}

/// `NAME =` or `NAME: `, which gives the name and where the value begins.
fn name_and_separator(text: &str, at: usize) -> Option<(&str, usize)> {
    let rest = &text[at..];
    let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(rest.len());
    let (name, end) = (&rest[..length], at + length);
    if name.is_empty() {
        return None;
    }
    let sign = blanks(text, end);
    if text[sign..].starts_with('=') {
        return Some((name, sign + 1));
    }
    // The blank after the colon may be the end of the line.
    let after = text[end..].strip_prefix(':')?.chars().next().filter(|&c| is_blank(c))?;
    Some((name, end + 1 + after.len_utf8()))
}

/// Where the value ends, and what may follow it on its line: in quotes, over several lines, or up to a comment.
fn value_and_rest(text: &str, at: usize) -> (usize, usize) {
    let open = blanks(text, at);
    for quote in ['\'', '"', '`'].into_iter().filter(|&quote| text[open..].starts_with(quote)) {
        for close in closing_quotes(text, open, quote) {
            if let Some(end) = rest_of_line(text, close + 1) {
                return (close + 1, end);
            }
        }
    }
    let end = text[at..].find(['#', '\n']).map_or(text.len(), |length| at + length);
    (end, rest_of_line(text, end).unwrap_or(end))
}

/// Where a quote may be closed, the likeliest first: at the first one without a backslash before it, or else at one that
/// has, from the last.
fn closing_quotes(text: &str, open: usize, quote: char) -> impl Iterator<Item = usize> {
    let mut closing = Vec::new();
    for (at, _) in text[open + 1..].match_indices(quote).map(|(at, quote)| (open + 1 + at, quote)) {
        closing.push(at);
        if at == open + 1 || !text[..at].ends_with('\\') {
            break;
        }
    }
    closing.into_iter().rev()
}

/// Where the line ends at which nothing but blanks, further blank lines and a comment follow.
fn rest_of_line(text: &str, at: usize) -> Option<usize> {
    let end = blanks(text, at);
    if text[end..].starts_with('#') {
        return Some(text[end..].find(ends_line).map_or(text.len(), |length| end + length));
    }
    if end == text.len() {
        return Some(end);
    }
    text[at..end].rfind(ends_line).map(|back| at + back)
}

/// Without the blanks around it and the quotes; in double quotes `\n` and `\r` are line breaks.
fn unquoted(value: &str) -> String {
    let value = value.trim_matches(is_blank);
    let mut out = String::with_capacity(value.len());
    let mut at = 0;
    let mut shown = 0;
    while at < value.len() {
        let quote = value[at..].chars().next().filter(|c| matches!(c, '\'' | '"' | '`'));
        let close = quote.and_then(|quote| {
            let ends = |&(close, _): &(usize, &str)| value[close + 1..].chars().next().is_none_or(ends_line);
            value[at + 1..].rmatch_indices(quote).map(|(back, quote)| (at + 1 + back, quote)).find(ends)
        });
        if let Some((close, _)) = close {
            out.push_str(&value[shown..at]);
            out.push_str(&value[at + 1..close]);
            (at, shown) = (close + 1, close + 1);
        }
        at = if at > 0 && shown == at { line_start(value, at) } else { line_start(value, at + 1) };
    }
    out.push_str(&value[shown..]);
    if value.starts_with('"') { out.replace("\\n", "\n").replace("\\r", "\r") } else { out }
}

/// The first position from `at` on where a line begins.
fn line_start(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    if at == 0 || text[..at].ends_with(ends_line) {
        return at;
    }
    text[at..].find(ends_line).map_or(text.len(), |end| at + end + text[at + end..].chars().next().map_or(1, char::len_utf8))
}

/// The first position from `at` on that is no blank.
fn blanks(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches(is_blank).len()
}

/// `\s` of JavaScript: not quite what Unicode takes for white space.
fn is_blank(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}

/// Where `^` and `$` of JavaScript match, once carriage returns are gone.
fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\u{2028}' | '\u{2029}')
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
                nonsense "y"
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

    #[test]
    fn the_last_of_one_name_counts() {
        check(
            "A=1\nB=2\nA=3\n__proto__=x",
            expect![[r#"
                A "3"
                B "2""#]],
        );
    }

    #[test]
    fn what_is_no_env_file_is_refused() {
        let fits = [b"A=1\n".as_slice(), &vec![b'#'; MAX_FILE - 4]].concat();
        assert_eq!(read(&fits).expect("to the byte")["A"], "1");
        let refusal = read(&[fits.as_slice(), b"#"].concat()).expect_err("a byte more");
        assert_eq!(refusal.rule, Rule::EnvFile);
        let refusal = read(b"A=1\nB=s3cr3t\xff\n").expect_err("no text");
        assert_eq!(refusal.to_string(), "the env file is not UTF-8 text (line 2) (rule `env-file`); hint: save it as UTF-8");
    }

    #[test]
    fn a_file_of_blank_lines_takes_no_time() {
        let text = format!("{}x\nA=1\n{}", "\n".repeat(200_000), "'\\'".repeat(100_000));
        let begun = std::time::Instant::now();
        assert_eq!(parse(&text)["A"], "1");
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
