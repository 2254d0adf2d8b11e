//! The text as it was before somebody escaped it. Which characters are escaped differs from library to library, so that
//! the forms of a secret cannot all be listed.

use std::ops::Range;

/// What HTML writes for characters that secrets hold.
const ENTITIES: [(&str, u8); 7] =
    [("&amp;", b'&'), ("&lt;", b'<'), ("&gt;", b'>'), ("&quot;", b'"'), ("&#39;", b'\''), ("&#x27;", b'\''), ("&#34;", b'"')];

/// Without percent-encoding, `\u0026`, `\/` and entities.
pub(super) struct Unescaped {
    pub(super) bytes: Vec<u8>,
    /// After each of what was unescaped: where that is in `bytes`, and in the text.
    steps: Vec<(usize, usize)>,
}

impl Unescaped {
    /// `None` where nothing is escaped, as in most texts.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let mut plain = Self { bytes: Vec::new(), steps: Vec::new() };
        let mut taken = 0;
        for at in memchr::memchr3_iter(b'%', b'\\', b'&', text) {
            let rest = &text[at..];
            let mut buffer = [0; 4];
            let (unescaped, length) = if let Some((letter, length)) = character(rest) {
                (letter.encode_utf8(&mut buffer).as_bytes(), length)
            } else if let Some(byte) = percent(rest) {
                buffer[0] = byte;
                (&buffer[..1], 3)
            } else {
                continue;
            };
            plain.bytes.extend_from_slice(&text[taken..at]);
            plain.bytes.extend_from_slice(unescaped);
            taken = at + length;
            plain.steps.push((plain.bytes.len(), taken));
        }
        plain.bytes.extend_from_slice(&text[taken..]);
        (!plain.steps.is_empty()).then_some(plain)
    }

    /// Where in the text this is.
    pub(super) fn place(&self, range: Range<usize>) -> Range<usize> {
        let place = |at: usize| match self.steps.partition_point(|&(end, _)| end <= at).checked_sub(1) {
            Some(last) => self.steps[last].1 + (at - self.steps[last].0),
            None => at,
        };
        place(range.start)..place(range.end)
    }
}

fn percent(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    u8::try_from(hex(digits)?).ok()
}

/// The character that an escape of JSON or HTML at the beginning stands for, and its length.
fn character(text: &[u8]) -> Option<(char, usize)> {
    if text.starts_with(b"\\/") {
        return Some(('/', 2));
    }
    if let Some(rest) = text.strip_prefix(b"\\u") {
        return Some((char::from_u32(hex(rest.get(..4)?)?)?, 6));
    }
    let (entity, byte) = ENTITIES.iter().find(|(entity, _)| text.starts_with(entity.as_bytes()))?;
    Some((char::from(*byte), entity.len()))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| Some(number * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_found_again() {
        for (text, plain) in [
            ("a%5Fb%5fc", "a_b_c"),
            ("k\\u0026\\u003cé\\/x", "k&<é/x"),
            ("%C3%A9 &amp;&quot;", "é &\""),
            ("50% \\n &copy; \\uD83D \\u12 %4", "50% \\n &copy; \\uD83D \\u12 %4"),
        ] {
            let unescaped = Unescaped::of(text);
            assert_eq!(unescaped.map_or_else(|| text.to_owned(), |found| String::from_utf8(found.bytes).expect("text")), plain);
        }
        let text = "é x%C3%A9y z";
        let unescaped = Unescaped::of(text).expect("something is escaped");
        let at = String::from_utf8_lossy(&unescaped.bytes).find("xéy").expect("it is there");
        assert_eq!(&text[unescaped.place(at..at + "xéy".len())], "x%C3%A9y");
        assert!(Unescaped::of("plain text").is_none());
    }
}
