//! What a message repeats in the headers of HTTP (2026-07-28, "Standard request headers"): which member
//! of which request, how a value is written there, and which arguments a tool's schema marks with
//! `x-mcp-header`. The front checks with it what clients send, and `downstream` writes with it.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::json::{self, Object};

pub const VERSION: &str = "mcp-protocol-version";
pub const METHOD: &str = "mcp-method";
pub const NAME: &str = "mcp-name";
/// What the headers of arguments begin with.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// The member of a property's schema that gives its argument a header.
const ANNOTATION: &str = "x-mcp-header";

/// The member of `params` that `Mcp-Name` repeats.
pub fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// A text as a header's value: as it is where it fits, else as `=?base64?…?=` ("Value encoding").
pub fn encoded(text: &str) -> Cow<'_, str> {
    let fits = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim_ascii() == text && !looks_encoded(text.as_bytes());
    if fits { Cow::Borrowed(text) } else { Cow::Owned(format!("=?base64?{}?=", BASE64_STANDARD.encode(text))) }
}

/// The text of a header's value. `None` where it is no text, or bad base64.
pub fn decoded(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let value = value.trim_ascii();
    match value.strip_prefix(b"=?base64?").and_then(|value| value.strip_suffix(b"?=")) {
        Some(encoded) => BASE64_STANDARD.decode(encoded).ok().map(Cow::Owned),
        None => value.iter().all(|byte| matches!(byte, b' '..=b'~')).then_some(Cow::Borrowed(value)),
    }
}

fn looks_encoded(value: &[u8]) -> bool {
    value.starts_with(b"=?base64?") && value.ends_with(b"?=")
}

/// An argument that is repeated in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamHeader {
    /// In lower case, with [`PARAM_PREFIX`].
    pub header: String,
    /// The names of the properties that lead to the argument.
    pub path: Vec<String>,
}

/// Why the annotations of a tool cannot be followed. Over HTTP such a tool must not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnnotation {
    #[error("`x-mcp-header` is no name of a header")]
    Name,
    #[error("`x-mcp-header` gives two arguments the same header")]
    Twice,
    #[error("`x-mcp-header` stands on what is no string, integer or boolean")]
    Type,
    #[error("`x-mcp-header` stands where `properties` alone do not lead")]
    Place,
}

/// The annotated arguments of a tool, by its record as the server wrote it.
///
/// # Errors
/// [`BadAnnotation`]
pub fn param_headers(tool: &[u8]) -> Result<Vec<ParamHeader>, BadAnnotation> {
    // Most tools have none, and are not read for it.
    if memchr::memmem::find(tool, ANNOTATION.as_bytes()).is_none() {
        return Ok(Vec::new());
    }
    let tool: Value = serde_json::from_slice(tool).unwrap_or_default();
    let mut found = Vec::new();
    annotated(&tool["inputSchema"], Some(&mut Vec::new()), &mut found)?;
    Ok(found)
}

/// Looks through a schema. `path` is how one comes to it by `properties` alone, where that is possible.
fn annotated(schema: &Value, mut path: Option<&mut Vec<String>>, found: &mut Vec<ParamHeader>) -> Result<(), BadAnnotation> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(schemas) => return schemas.iter().try_for_each(|schema| annotated(schema, None, found)),
        _ => return Ok(()),
    };
    if let Some(name) = members.get(ANNOTATION) {
        let path = path.as_deref().filter(|path| !path.is_empty()).ok_or(BadAnnotation::Place)?;
        let name = name.as_str().filter(|name| is_token(name)).ok_or(BadAnnotation::Name)?;
        if !members.get("type").is_some_and(is_plain) {
            return Err(BadAnnotation::Type);
        }
        let header = format!("{PARAM_PREFIX}{}", name.to_ascii_lowercase());
        if found.iter().any(|known| known.header == header) {
            return Err(BadAnnotation::Twice);
        }
        found.push(ParamHeader { header, path: path.clone() });
    }
    for (keyword, value) in members {
        match (keyword.as_str(), value) {
            // These hold data, in which the word means nothing.
            ("default" | "const" | "enum" | "examples" | "required", _) => {}
            ("properties", Value::Object(properties)) => {
                for (name, schema) in properties {
                    match path.as_deref_mut() {
                        Some(path) => {
                            path.push(name.clone());
                            annotated(schema, Some(&mut *path), found)?;
                            path.pop();
                        }
                        None => annotated(schema, None, found)?,
                    }
                }
            }
            ("patternProperties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| annotated(schema, None, found))?;
            }
            (_, value) => annotated(value, None, found)?,
        }
    }
    Ok(())
}

/// One of the three types, `null` beside it or not.
fn is_plain(kind: &Value) -> bool {
    let is_plain = |kind: &Value| matches!(kind.as_str(), Some("string" | "integer" | "boolean"));
    match kind {
        Value::Array(kinds) => {
            let mut others = kinds.iter().filter(|kind| kind.as_str() != Some("null"));
            others.next().is_some_and(is_plain) && others.next().is_none()
        }
        kind => is_plain(kind),
    }
}

/// RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl ParamHeader {
    /// The text that the header must have for these `arguments`, a JSON object, before it is encoded.
    /// `None` where the argument is absent, null, or nothing that a header can hold.
    pub fn text<'a>(&self, arguments: &'a str) -> Option<Cow<'a, str>> {
        let value = self.path.iter().try_fold(arguments, |object, name| Object::parse(object).ok()?.get(name))?;
        match value.as_bytes().first()? {
            b'"' => json::string(value),
            b't' | b'f' => Some(Cow::Borrowed(value)),
            b'-' | b'0'..=b'9' => integer(value),
            _ => None,
        }
    }
}

/// In decimal, however it was written.
#[expect(clippy::cast_possible_truncation, reason = "what is that large is not rewritten")]
fn integer(number: &str) -> Option<Cow<'_, str>> {
    /// Above it a double does not know its neighbours.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !number.contains(['.', 'e', 'E']) {
        return Some(Cow::Borrowed(number));
    }
    let value: f64 = number.parse().ok()?;
    (value.fract() == 0.0 && value.abs() <= EXACT).then(|| Cow::Owned((value as i64).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (text, expect) in [
            ("plain-1 ~", "plain-1 ~"),
            ("", ""),
            (" a", "=?base64?IGE=?="),
            ("a\t", "=?base64?YQk=?="),
            ("Grüße", "=?base64?R3LDvMOfZQ==?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
            ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
        ] {
            assert_eq!(encoded(text), expect);
            assert_eq!(decoded(encoded(text).as_bytes()).as_deref(), Some(text.as_bytes()), "{text}");
        }
        assert_eq!(decoded("ü".as_bytes()), None);
        assert_eq!(decoded(b"=?base64?***?="), None);
    }

    #[track_caller]
    fn check(schema: &str, expect: Result<&[&str], BadAnnotation>) {
        let tool = format!(r#"{{"name":"x","inputSchema":{schema}}}"#);
        let found = param_headers(tool.as_bytes());
        let found = found.map(|found| found.iter().map(|param| format!("{} {}", param.header, param.path.join("/"))).collect::<Vec<_>>());
        assert_eq!(
            found.as_deref().map_err(|error| *error),
            expect.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).as_deref().map_err(|error| *error),
            "{schema}"
        );
    }

    #[test]
    fn annotations_are_found_where_properties_lead() {
        check(r#"{"type":"object"}"#, Ok(&[]));
        check(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"Region"},"b":{"properties":{"c":{"type":["integer","null"],"x-mcp-header":"X-Y"}}}}}"#,
            Ok(&["mcp-param-region a", "mcp-param-x-y b/c"]),
        );
        // A property of that name, and data in which it stands, are no annotations.
        check(r#"{"properties":{"x-mcp-header":{"type":"array"}},"default":{"x-mcp-header":1}}"#, Ok(&[]));
        let one = |annotated: &str| format!(r#"{{"properties":{{"a":{annotated}}}}}"#);
        check(&one(r#"{"type":"string","x-mcp-header":""}"#), Err(BadAnnotation::Name));
        check(&one(r#"{"type":"string","x-mcp-header":"a b"}"#), Err(BadAnnotation::Name));
        check(&one(r#"{"type":"string","x-mcp-header":7}"#), Err(BadAnnotation::Name));
        check(&one(r#"{"type":"number","x-mcp-header":"a"}"#), Err(BadAnnotation::Type));
        check(&one(r#"{"x-mcp-header":"a"}"#), Err(BadAnnotation::Type));
        check(&one(r#"{"type":"array","items":{"type":"string","x-mcp-header":"a"}}"#), Err(BadAnnotation::Place));
        check(r#"{"type":"string","x-mcp-header":"a"}"#, Err(BadAnnotation::Place));
        check(r#"{"$defs":{"d":{"type":"string","x-mcp-header":"a"}}}"#, Err(BadAnnotation::Place));
        check(r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"a"}}}]}"#, Err(BadAnnotation::Place));
        check(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"R"},"b":{"type":"string","x-mcp-header":"r"}}}"#,
            Err(BadAnnotation::Twice),
        );
    }

    #[test]
    fn arguments_become_texts() {
        let param = ParamHeader { header: "mcp-param-x".to_owned(), path: vec!["a".to_owned(), "b".to_owned()] };
        for (value, expect) in [
            (r#""t\u00e4xt""#, Some("täxt")),
            ("true", Some("true")),
            ("-7", Some("-7")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("3.0", Some("3")),
            ("1e3", Some("1000")),
            ("1.5", None),
            ("null", None),
            ("[1]", None),
        ] {
            assert_eq!(param.text(&format!(r#"{{"a":{{"b":{value}}}}}"#)).as_deref(), expect, "{value}");
        }
        assert_eq!(param.text("{}"), None);
        assert_eq!(param.text(r#"{"a":1}"#), None);
    }
}
