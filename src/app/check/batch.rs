//! `check --batch`: many cases from standard input, one JSON object a line, and one verdict a line, in the same order.

use std::io::{BufRead, BufWriter, Read, Write};

use super::{Outcome, to_json};
use crate::security::{
    Refusal,
    check::{self, Rules, Verdict},
};

/// The longest line that is read, so that memory has an end; longer ones are no case. Far above the limits of what is judged, so that
/// those decide.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// Judges until the input ends. Lines that are no case are answered too, and make the whole a misuse; refusals do not.
pub(super) fn run(rules: Rules<'_>, mut input: impl BufRead) -> Outcome {
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut outcome = Outcome::Allowed;
    let mut line = Vec::new();
    while next(&mut input, &mut line) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let verdict = match case(&line) {
            Ok(case) => rules.judge(&case),
            Err(refusal) => {
                outcome = Outcome::Misused;
                Verdict::Refused(refusal)
            }
        };
        // A closed pipe means that nobody wants the rest.
        if writeln!(output, "{}", to_json(&verdict, None)).is_err() {
            break;
        }
    }
    let _ = output.flush();
    outcome
}

/// False at the end of input. Of a line that is too long, so much is kept that this can be told.
fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    let read = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', line);
    if is_too_long(line) {
        let _ = skip_line(input);
    }
    read.is_ok_and(|length| length > 0)
}

fn is_too_long(line: &[u8]) -> bool {
    line.len() as u64 > MAX_LINE && !line.ends_with(b"\n")
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffered = input.fill_buf()?;
        let (length, ends) = match memchr::memchr(b'\n', buffered) {
            Some(at) => (at + 1, true),
            None => (buffered.len(), buffered.is_empty()),
        };
        input.consume(length);
        if ends {
            return Ok(());
        }
    }
}

fn case(line: &[u8]) -> Result<check::Case, Refusal> {
    if is_too_long(line) {
        return Err(check::no_case(format!("this line is no case: it is longer than {MAX_LINE} bytes")));
    }
    check::parse(line)
}
