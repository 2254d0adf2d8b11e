//! The last step of every log line, where nothing can pass it by: no secret, and no second line.

use std::io::{self, Write};

use crate::security::{line, redact};

/// In bytes. Our own lines are far shorter, and what strangers say in them is cut where it is quoted; this holds where that
/// was forgotten.
const LONGEST: usize = 256 * 1024;

/// Cleans whole lines on their way to `W`. Each `write` is one line, as the log's own thread hands them over.
#[derive(Debug)]
pub(super) struct Clean<W> {
    to: W,
    /// Whether the lines are coloured.
    colours: bool,
}

impl<W> Clean<W> {
    pub(super) fn new(to: W, colours: bool) -> Self {
        Self { to, colours }
    }
}

impl<W: Write> Write for Clean<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = redact::beginning(text.strip_suffix('\n').unwrap_or(&text), LONGEST);
        let text = if self.colours { line::escape_but_colours(&text) } else { line::escape(&text) };
        self.to.write_all(&[text.as_bytes(), b"\n"].concat())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn written(lines: &[&str], colours: bool) -> String {
        let mut clean = Clean::new(Vec::new(), colours);
        for line in lines {
            clean.write_all(line.as_bytes()).expect("a list takes everything");
        }
        String::from_utf8(clean.to).expect("text")
    }

    #[test]
    fn lines_stay_lines_and_hide_secrets() {
        let _secret = Secret::certain("wr1tten-secret");
        assert_eq!(written(&["INFO with wr1tten-secret\n", "x\nERROR forged\n"], false), "INFO with [redacted]\nx\\nERROR forged\n");
        assert_eq!(written(&["\u{1b}[32mINFO\u{1b}[0m \u{1b}]0;x\n"], true), "\u{1b}[32mINFO\u{1b}[0m \\u001b]0;x\n");
        assert_eq!(written(&["\u{1b}[32mINFO\n"], false), "\\u001b[32mINFO\n");
    }
}
