//! Objects of the App's answers, member by member: what is missing, null or of another type than expected is not there.
//!
//! So an odd member costs itself and not the answer, and nothing of another type gets into structured content.

use serde_json::{Map, Value};

use super::time;
use crate::security::redact;

#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    /// Whole, and not empty.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn owned(self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// For a line of ours, so many characters of it at most.
    pub(super) fn line(self, name: &str, max: usize) -> Option<String> {
        self.text(name).map(|text| redact::quote(text, max))
    }

    /// RFC 3339, whatever form the App has it in.
    pub(super) fn time(self, name: &str) -> Option<String> {
        self.text(name).filter(|text| time::parse(text).is_some()).map(time::shown)
    }

    pub(super) fn integer(self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    pub(super) fn number(self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    pub(super) fn flag(self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    pub(super) fn object(self, name: &str) -> Option<Self> {
        Members::of(self.0.get(name)?)
    }

    /// Empty where there is no such list.
    pub(super) fn texts(self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// The objects of a list; `None` where there is none.
pub(super) fn list<'a>(answer: &'a Value, name: &str) -> Option<impl Iterator<Item = Members<'a>>> {
    Some(answer.get(name)?.as_array()?.iter().filter_map(Members::of))
}

/// A word or a name of the App's for a line of ours.
pub(super) fn word(text: &str) -> String {
    redact::quote(text, 200)
}

/// Parts of one, in percent. What is more or less than possible is the most or the least.
pub(super) fn percent(part: f64) -> String {
    format!("{:.0} %", part.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_another_type_is_not_there() {
        let answer = json!({"a": "x", "b": "", "c": 1, "d": null, "t": "2026-01-01 12:00:00.5+00", "l": ["x", 1], "o": {"a": 1.5}});
        let members = Members::of(&answer).expect("an object");
        assert_eq!((members.text("a"), members.text("b"), members.text("c"), members.text("d")), (Some("x"), None, None, None));
        assert_eq!((members.integer("c"), members.integer("a"), members.number("c")), (Some(1), None, Some(1.0)));
        assert_eq!((members.time("t").as_deref(), members.time("a")), (Some("2026-01-01T12:00:00Z"), None));
        assert_eq!((members.texts("l"), members.texts("a")), (vec!["x".to_owned()], Vec::new()));
        assert!(members.object("o").is_some_and(|inner| inner.integer("a").is_none()) && members.object("l").is_none());
    }

    #[test]
    fn percents_are_of_a_hundred() {
        for (part, expect) in [(0.0, "0 %"), (0.725, "72 %"), (1.0, "100 %"), (1e308, "100 %"), (-1e308, "0 %")] {
            assert_eq!(percent(part), expect, "{part}");
        }
    }

    #[test]
    fn lists_hold_objects() {
        assert_eq!(list(&json!({"data": [{}, 1, null, {}]}), "data").map(Iterator::count), Some(2));
        assert!(list(&json!({"data": {}}), "data").is_none() && list(&json!([]), "data").is_none());
    }
}
