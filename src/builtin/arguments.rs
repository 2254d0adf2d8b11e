//! The arguments of a call: as their tool's schema wants them, before anything is asked.
//!
//! JSON Schema is checked by the crate `boon`; the sentences are ours, because its own repeat what was sent.

use boon::{Compiler, Draft, ErrorKind, SchemaIndex, Schemas, Type, ValidationError};
use serde_json::{Map, Number, Value};

use super::{definition::schema, outcome::Failure};
use crate::security::redact;

/// Arguments that keep to their tool's schema, with its defaults filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Arguments(Map<String, Value>);

/// A tool's input schema, ready to be used.
pub(super) struct InputSchema {
    definition: Value,
    schemas: Schemas,
    index: SchemaIndex,
}

/// Mistakes that are told at once.
const TOLD: usize = 5;

impl InputSchema {
    pub(super) fn of(text: &'static str) -> Self {
        const AT: &str = "https://plugged.in/input";
        let definition = Value::Object(schema(text));
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        let mut schemas = Schemas::new();
        compiler.add_resource(AT, definition.clone()).expect("the address is one");
        let index = compiler.compile(AT, &mut schemas).expect("the schema is a constant that can be used");
        Self { definition, schemas, index }
    }

    /// `text` is what stands in `arguments`, if anything does.
    pub(super) fn read(&self, text: Option<&str>) -> Result<Arguments, Failure> {
        let given = match text {
            None | Some("null") => Value::Object(Map::new()),
            Some(text) => serde_json::from_str(text).map_err(|error| mistake(&[format!("not readable as JSON ({error})")]))?,
        };
        let Value::Object(mut given) = given else { return Err(mistake(&["not an object".to_owned()])) };
        let is_closed = self.definition["additionalProperties"] == Value::Bool(false);
        // What an open schema does not know, nobody reads.
        given.retain(|name, _| is_closed || self.definition["properties"].get(name).is_some());
        let mut given = Value::Object(given);
        omit_nulls(&mut given, &self.definition);
        if let Err(error) = self.schemas.validate(&given, self.index) {
            let mut mistakes = Vec::new();
            self.collect(&error, &mut mistakes);
            return Err(mistake(&mistakes));
        }
        complete(&mut given, &self.definition);
        match given {
            Value::Object(arguments) => Ok(Arguments(arguments)),
            _ => unreachable!("it was made an object above"),
        }
    }

    /// For tests of what tools answer: output schemas are made of the same things.
    #[cfg(test)]
    #[track_caller]
    pub(super) fn assert_allows(&self, value: &Value) {
        if let Err(error) = self.schemas.validate(value, self.index) {
            panic!("{error:#}: {value}");
        }
    }

    /// A sentence for each mistake.
    fn collect(&self, error: &ValidationError<'_, '_>, sentences: &mut Vec<String>) {
        if sentences.len() >= TOLD {
            return;
        }
        if !error.causes.is_empty() {
            error.causes.iter().for_each(|cause| self.collect(cause, sentences));
            return;
        }
        let at = place(&error.instance_location.to_string());
        let inner = |name: &str| if at.is_empty() { quoted(name) } else { quoted(&format!("{at}.{name}")) };
        let subject = if at.is_empty() { "the arguments".to_owned() } else { quoted(&at) };
        sentences.push(match &error.kind {
            ErrorKind::Required { want } => format!("{} is missing", join(want.iter().map(|name| inner(name)))),
            ErrorKind::AdditionalProperties { got } => {
                let known = members(&self.definition, &error.instance_location.to_string());
                let hint = if known.is_empty() {
                    "no arguments are known".to_owned()
                } else {
                    format!("known are {}", join(known.iter().map(|name| quoted(name))))
                };
                format!("{} is not known; {hint}", join(got.iter().take(TOLD).map(|name| inner(name))))
            }
            ErrorKind::Type { want, .. } => format!("{subject} must be {}", join(want.iter().map(|kind| with_article(kind).to_owned()))),
            ErrorKind::Enum { want } => {
                format!("{subject} must be one of {}", join(want.iter().map(|value| quoted(value.as_str().unwrap_or_default()))))
            }
            ErrorKind::Format { want, .. } => format!("{subject} must be {}", format_name(want)),
            ErrorKind::Pattern { want, .. } => format!("{subject} must match `{want}`"),
            ErrorKind::MinLength { want: 1, .. } => format!("{subject} must not be empty"),
            ErrorKind::MinLength { want, .. } => format!("{subject} must have {want} characters at least"),
            ErrorKind::MaxLength { want, got } => format!("{subject} must have {want} characters at most, and has {got}"),
            ErrorKind::MinItems { want, .. } => format!("{subject} must have {want} entries at least"),
            ErrorKind::MaxItems { want, .. } => format!("{subject} must have {want} entries at most"),
            ErrorKind::Minimum { want, .. } => format!("{subject} must be {want} at least"),
            ErrorKind::Maximum { want, .. } => format!("{subject} must be {want} at most"),
            ErrorKind::ExclusiveMinimum { want, .. } => format!("{subject} must be above {want}"),
            _ => format!("{subject} is not as the tool's input schema wants it"),
        });
    }
}

impl Arguments {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Of a member that the schema requires to be a string.
    pub(super) fn required(&self, name: &str) -> &str {
        self.text(name).expect("the schema requires it")
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// As the body of a request.
    pub(super) fn into_body(self) -> Value {
        Value::Object(self.0)
    }
}

/// Models write `null` for what they leave out. Where the schema allows it, it means something.
fn omit_nulls(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let of = |name: &str| schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
            object.retain(|name, value| !value.is_null() || allows_null(of(name)));
            object.iter_mut().for_each(|(name, value)| omit_nulls(value, of(name)));
        }
        // An entry of a list has a place, so that it cannot be left out.
        Value::Array(items) => items.iter_mut().for_each(|item| omit_nulls(item, &schema["items"])),
        _ => {}
    }
}

/// A schema that does not speak of types allows all of them; one that is `false` allows nothing.
fn allows_null(schema: &Value) -> bool {
    match &schema["type"] {
        Value::Null => *schema != Value::Bool(false),
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "null"),
        kind => kind == "null",
    }
}

/// Fills in the defaults of every object that is there, and writes whole numbers as such: `10.0` is an integer to JSON
/// Schema, and not to everybody who reads it.
fn complete(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for (name, schema) in properties {
                match (object.get_mut(name), schema.get("default")) {
                    (Some(value), _) => complete(value, schema),
                    (None, Some(default)) => {
                        object.insert(name.clone(), default.clone());
                    }
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| complete(item, &schema["items"])),
        Value::Number(number) if schema["type"] == "integer" => {
            if let Some(whole) = whole(number) {
                *number = whole.into();
            }
        }
        _ => {}
    }
}

#[expect(clippy::cast_possible_truncation, reason = "larger ones stay as they are")]
fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value = number.as_f64().filter(|_| number.as_i64().is_none())?;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn mistake(sentences: &[String]) -> Failure {
    Failure::mistake(format!("invalid arguments: {}", sentences.join("; ")))
}

/// `/filters/tags/0` as `filters.tags.0`.
fn place(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

/// The members that the schema knows at a place.
fn members<'a>(schema: &'a Value, pointer: &str) -> Vec<&'a str> {
    let steps = pointer.split('/').filter(|step| !step.is_empty());
    let at = steps.fold(schema, |schema, step| if schema["type"] == "array" { &schema["items"] } else { &schema["properties"][step] });
    at["properties"].as_object().map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Names are the caller's, and may be anything.
fn quoted(name: &str) -> String {
    format!("`{}`", redact::quote(name, 100))
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn with_article(kind: Type) -> &'static str {
    match kind {
        Type::Null => "null",
        Type::Boolean => "true or false",
        Type::Number => "a number",
        Type::Integer => "a whole number",
        Type::String => "a string",
        Type::Array => "an array",
        Type::Object => "an object",
    }
}

fn format_name(format: &str) -> &str {
    match format {
        "uuid" => "a UUID",
        "date-time" => "a time as RFC 3339 has it, such as `2026-01-31T12:00:00Z`",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{
        "name":{"type":"string","minLength":1,"maxLength":5},
        "id":{"type":"string","format":"uuid"},
        "limit":{"type":"integer","minimum":1,"maximum":100,"default":20},
        "kind":{"type":"string","enum":["a","b"],"default":"a"},
        "filters":{"type":"object","properties":{
            "source":{"type":"string","default":"all"},
            "tags":{"type":"array","items":{"type":"string"},"maxItems":2},
            "from":{"type":"string","format":"date-time"}},"additionalProperties":false}},
        "required":["name"],"additionalProperties":false}"#;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(text: &str, expect: Expect) {
        let said = match InputSchema::of(SCHEMA).read(Some(text)) {
            Ok(arguments) => arguments.into_body().to_string(),
            Err(failure) => failure.said,
        };
        expect.assert_eq(&said);
    }

    #[test]
    fn defaults_are_filled_in_and_null_is_nothing() {
        check(r#"{"name":"x"}"#, expect![[r#"{"name":"x","limit":20,"kind":"a"}"#]]);
        check(
            r#"{"name":"x","limit":7.0,"kind":null,"filters":{}}"#,
            expect![[r#"{"name":"x","limit":7,"filters":{"source":"all"},"kind":"a"}"#]],
        );
        check(
            r#"{"filters":{"tags":["a"],"from":"2026-01-31T12:00:00+02:00"},"name":"ä"}"#,
            expect![[r#"{"filters":{"tags":["a"],"from":"2026-01-31T12:00:00+02:00","source":"all"},"name":"ä","limit":20,"kind":"a"}"#]],
        );
    }

    #[test]
    fn null_is_nothing_at_every_level() {
        check(
            r#"{"name":"x","other":null,"filters":{"source":null,"tags":null,"from":null,"other":null}}"#,
            expect![[r#"{"name":"x","filters":{"source":"all"},"limit":20,"kind":"a"}"#]],
        );
        check(r#"{"name":null}"#, expect!["invalid arguments: `name` is missing"]);
        check(r#"{"name":"x","filters":{"tags":[null]}}"#, expect!["invalid arguments: `filters.tags.0` must be a string"]);
        let open = r#"{"type":"object","properties":{"metadata":{"type":"object","additionalProperties":{}},
            "list":{"type":"array","items":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":["string","null"]}}}}}}"#;
        let arguments = InputSchema::of(open).read(Some(r#"{"metadata":{"a":null,"b":[null]},"list":[{"a":null,"b":null,"c":null}]}"#));
        let arguments = arguments.expect("it is allowed").into_body().to_string();
        assert_eq!(arguments, r#"{"metadata":{"a":null,"b":[null]},"list":[{"b":null,"c":null}]}"#);
    }

    #[test]
    fn mistakes_name_the_member() {
        check("[]", expect!["invalid arguments: not an object"]);
        check("{", expect!["invalid arguments: not readable as JSON (EOF while parsing an object at line 1 column 1)"]);
        check("{}", expect!["invalid arguments: `name` is missing"]);
        check(r#"{"name":""}"#, expect!["invalid arguments: `name` must not be empty"]);
        check(r#"{"name":"abcdef"}"#, expect!["invalid arguments: `name` must have 5 characters at most, and has 6"]);
        check(r#"{"name":7}"#, expect!["invalid arguments: `name` must be a string"]);
        check(r#"{"name":"x","id":"nonsense"}"#, expect!["invalid arguments: `id` must be a UUID"]);
        check(r#"{"name":"x","limit":0}"#, expect!["invalid arguments: `limit` must be 1 at least"]);
        check(r#"{"name":"x","limit":2.5}"#, expect!["invalid arguments: `limit` must be a whole number"]);
        check(r#"{"name":"x","kind":"c"}"#, expect!["invalid arguments: `kind` must be one of `a`, `b`"]);
        check(r#"{"name":"x","filters":{"tags":["a",1]}}"#, expect!["invalid arguments: `filters.tags.1` must be a string"]);
        check(r#"{"name":"x","filters":{"tags":["a","b","c"]}}"#, expect!["invalid arguments: `filters.tags` must have 2 entries at most"]);
        check(
            r#"{"name":"x","filters":{"from":"yesterday"}}"#,
            expect!["invalid arguments: `filters.from` must be a time as RFC 3339 has it, such as `2026-01-31T12:00:00Z`"],
        );
        check(
            r#"{"name":"x","filters":{"tag":"a"}}"#,
            expect!["invalid arguments: `filters.tag` is not known; known are `source`, `tags`, `from`"],
        );
        check(
            "{\"nam\\u001be\":\"x\",\"name\":\"x\"}",
            expect![[r"invalid arguments: `nam\u001be` is not known; known are `name`, `id`, `limit`, `kind`, `filters`"]],
        );
    }

    #[test]
    fn an_open_schema_drops_what_it_does_not_know() {
        let open = InputSchema::of(r#"{"type":"object","properties":{"limit":{"type":"integer"}}}"#);
        let arguments = open.read(Some(r#"{"limit":1,"link":"x"}"#)).expect("it is open");
        assert_eq!(arguments.into_body().to_string(), r#"{"limit":1}"#);
        assert_eq!(open.read(None), Ok(Arguments::default()));
    }
}
