//! What the doctor says: one check after the other, for people and as JSON. Every text goes out without secrets.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use crate::{app::terminal, security::redact};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    /// It works, but perhaps not everywhere, or not for long.
    Warn,
    Fail,
}

/// In the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Settings,
    Key,
    App,
    Clock,
    Files,
    Programs,
    Servers,
    Port,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    group: Group,
    name: String,
    status: Status,
    message: String,
    /// What to do about it.
    hint: Option<String>,
    took: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Group {
    fn word(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Key => "key",
            Self::App => "app",
            Self::Clock => "clock",
            Self::Files => "files",
            Self::Programs => "programs",
            Self::Servers => "servers",
            Self::Port => "port",
        }
    }
}

impl Check {
    /// Our sentences bring their hints along, as in `what; hint: do this`.
    pub(super) fn new(group: Group, name: &str, status: Status, sentence: &str) -> Self {
        let (message, hint) = match sentence.split_once("; hint: ") {
            Some((message, hint)) => (message, Some(hint.to_owned())),
            None => (sentence, None),
        };
        Self { group, name: name.to_owned(), status, message: message.to_owned(), hint, took: None }
    }

    pub(super) fn ok(group: Group, name: &str, sentence: impl AsRef<str>) -> Self {
        Self::new(group, name, Status::Ok, sentence.as_ref())
    }

    pub(super) fn warn(group: Group, name: &str, sentence: impl AsRef<str>) -> Self {
        Self::new(group, name, Status::Warn, sentence.as_ref())
    }

    pub(super) fn fail(group: Group, name: &str, sentence: impl AsRef<str>) -> Self {
        Self::new(group, name, Status::Fail, sentence.as_ref())
    }

    /// Unless the sentence brought one.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    #[must_use]
    pub(super) fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }

    /// More to the message.
    #[must_use]
    pub(super) fn adding(mut self, words: &str) -> Self {
        self.message.push_str(words);
        self
    }

    pub(super) fn has_failed(&self) -> bool {
        self.status == Status::Fail
    }

    /// For the progress, in one line.
    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.status.word(), self.message)
    }

    #[cfg(test)]
    pub(super) fn summary(&self) -> (Status, &str, Option<&str>) {
        (self.status, &self.message, self.hint.as_deref())
    }

    fn to_text(&self, width: usize) -> String {
        let took = self.took.map(|took| format!(" ({} ms)", took.as_millis())).unwrap_or_default();
        let mut text = format!("  {:<4}  {:<width$}  {}{took}\n", self.status.word(), terminal::cell(&self.name), one_line(&self.message));
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "        hint: {}", one_line(hint));
        }
        text
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "group": self.group.word(),
            "name": redact::redact(&self.name),
            "status": self.status.word(),
            "message": redact::redact(&self.message),
        });
        if let Some(hint) = &self.hint {
            json["hint"] = redact::redact(hint).into();
        }
        if let Some(took) = self.took {
            json["took_ms"] = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into();
        }
        json
    }
}

impl Report {
    pub(super) fn extend(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.0.extend(checks);
    }

    pub(super) fn is_ok(&self) -> bool {
        !self.0.iter().any(Check::has_failed)
    }

    pub(super) fn to_json(&self) -> String {
        let checks: Vec<_> = self.0.iter().map(Check::to_json).collect();
        terminal::json(&json!({ "checks": checks, "ok": self.is_ok() }))
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut group = None;
        for check in &self.0 {
            if group != Some(check.group) {
                group = Some(check.group);
                let _ = writeln!(text, "{}", check.group.word());
            }
            let names = self.0.iter().filter(|other| other.group == check.group).map(|other| terminal::cell(&other.name).chars().count());
            text.push_str(&check.to_text(names.max().unwrap_or(0)));
        }
        let count = |status| self.0.iter().filter(|check| check.status == status).count();
        let _ = write!(text, "{} ok, {} warn, {} fail", count(Status::Ok), count(Status::Warn), count(Status::Fail));
        // Once more as a whole: what lines hold may be a secret only together.
        terminal::lines(&text)
    }
}

/// A message may quote what others wrote, and must not begin a line of the report.
fn one_line(text: &str) -> String {
    crate::security::line::escape(&redact::redact(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_report_is_for_people_and_programs_and_holds_no_secret() {
        let _secret = Secret::certain("d0ct0r-secret");
        let mut report = Report::default();
        report.extend([
            Check::ok(Group::Key, "place", "it is there"),
            Check::warn(Group::Servers, "a\nb", "slow").took(Duration::from_millis(7)),
        ]);
        assert!(report.is_ok());
        report.extend([Check::fail(Group::Servers, "longer", "d0ct0r-secret broke\nok it; hint: mend it").hint("not this one")]);
        assert!(!report.is_ok());
        assert_eq!(
            report.to_text(),
            "key\n  ok    place  it is there\nservers\n  warn  a\\nb    slow (7 ms)\n  fail  longer  [redacted] broke\\nok it\n        hint: mend it\n\
             1 ok, 1 warn, 1 fail"
        );
        let json: Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][1], json!({ "group": "servers", "name": "a\nb", "status": "warn", "message": "slow", "took_ms": 7 }));
        assert_eq!(json["checks"][2]["hint"], "mend it");
        assert!(!report.to_json().contains("d0ct0r"), "{}", report.to_json());
    }
}
