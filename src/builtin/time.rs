//! Times as the App writes them, and as we do: RFC 3339 in UTC, to the second.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::security::redact;

pub(super) fn now() -> String {
    write(OffsetDateTime::now_utc())
}

/// A time of the App, in UTC. Some routes pass on what the database writes: a blank for the `T`, and offsets without minutes.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim().replacen(' ', "T", 1);
    let (date, clock) = text.split_once('T')?;
    let offset = clock.find(['+', '-', 'Z', 'z']).map_or("", |at| &clock[at..]);
    let rest = match offset.len() {
        0 => "Z",
        3 => ":00",
        _ => "",
    };
    in_utc(&format!("{date}T{clock}{rest}"))
}

/// For people and models. What is no time is shown as it is.
pub(super) fn shown(text: &str) -> String {
    parse(text).map_or_else(|| redact::quote(text, 40), write)
}

/// For the App's filters, which take times in UTC only. Whole, since it is compared.
pub(super) fn utc(text: &str) -> Option<String> {
    in_utc(text)?.format(&Rfc3339).ok()
}

/// `None` also where it falls out of the years that RFC 3339 can write: an offset may lead beyond both ends.
fn in_utc(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&time.year()).then_some(time)
}

pub(super) fn is_past(text: &str) -> bool {
    parse(text).is_some_and(|time| time <= OffsetDateTime::now_utc())
}

fn write(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).expect("0 is a nanosecond");
    whole.format(&Rfc3339).expect("a year of four digits has such a form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_app_are_read() {
        for (text, expect) in [
            ("2026-11-23T03:40:20.259Z", "2026-11-23T03:40:20Z"),
            ("2026-11-23 03:42:10.615898+00", "2026-11-23T03:42:10Z"),
            ("2026-11-24 03:42:10+02", "2026-11-24T01:42:10Z"),
            ("2026-11-24 03:42:10-05:30", "2026-11-24T09:12:10Z"),
            ("2026-11-24 03:42:10", "2026-11-24T03:42:10Z"),
            ("2026-11-24T03:42:10.5+01:00", "2026-11-24T02:42:10Z"),
            ("yesterday", "yesterday"),
            ("0000-00-00 00:00:00", "0000-00-00 00:00:00"),
            ("9999-12-31 23:59:59-23", "9999-12-31 23:59:59-23"),
            ("0000-01-01 00:00:00+00", "0000-01-01T00:00:00Z"),
            ("0000-01-01 00:00:00+01", "0000-01-01 00:00:00+01"),
            ("-0001-12-31 00:00:00+00", "-0001-12-31 00:00:00+00"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expect, "{text}");
        }
    }

    #[test]
    fn filters_end_in_z() {
        assert_eq!(utc("2026-01-31T12:00:00.25+02:00").as_deref(), Some("2026-01-31T10:00:00.25Z"));
        assert_eq!(utc("2026-01-31"), None);
        assert_eq!(utc("9999-12-31T23:59:59-23:00"), None);
        assert_eq!(utc("0000-01-01T00:00:00+00:01"), None);
    }

    #[test]
    fn what_is_past_can_be_told() {
        assert!(is_past("2020-01-01T00:00:00Z") && !is_past("9000-01-01T00:00:00Z") && !is_past("never"));
        assert!(now().ends_with('Z') && is_past(&now()));
    }
}
