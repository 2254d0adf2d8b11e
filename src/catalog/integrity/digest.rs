//! What of a tool must stay the same, in a form that does not depend on how it is written: members in order of their names,
//! no white space, one spelling for each string.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::{downstream::Item, protocol::server::Fingerprint};

/// What the model is told of a tool (threat model T20).
const MEMBERS: [&str; 3] = ["name", "description", "inputSchema"];

/// SHA-256, in hexadecimal digits.
pub(super) fn of(tool: &Item) -> String {
    let mut text = Vec::new();
    match serde_json::from_slice::<Value>(&tool.json) {
        Ok(Value::Object(members)) => {
            for member in MEMBERS {
                text.push(b'[');
                // SECURITY: a member that stands twice counts twice, because readers disagree about which one is meant.
                for (_, value) in members.iter().filter(|(name, value)| name == member && *value != Value::Null) {
                    value.write(&mut text);
                    text.push(b',');
                }
                text.push(b']');
            }
        }
        // Nested too deep, or no object: any change of it is a change.
        Ok(_) | Err(_) => text.extend_from_slice(&tool.json),
    }
    Fingerprint::of(&text).to_hex()
}

#[derive(Debug, PartialEq)]
enum Value {
    Null,
    Scalar(serde_json::Value),
    List(Vec<Self>),
    /// Sorted by name; equal names stay in their order.
    Object(Vec<(String, Self)>),
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Scalar(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::List(values) => {
                out.push(b'[');
                for value in values {
                    value.write(out);
                    out.push(b',');
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (name, value) in members {
                    out.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
                    out.push(b':');
                    value.write(out);
                    out.push(b',');
                }
                out.push(b'}');
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Scalar(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Scalar(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Scalar(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Scalar(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Scalar(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Value::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                Ok(Value::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(json: &str) -> String {
        of(&Item { key: "t".to_owned(), json: json.to_owned().into() })
    }

    const TOOL: &str =
        r#"{"name":"t","description":"Says é","inputSchema":{"type":"object","properties":{"a":{"type":"string"},"b":1.0}}}"#;

    #[test]
    fn another_spelling_is_no_change() {
        for same in [
            r#"{ "inputSchema" : {"properties":{"b":1.0,"a":{"type":"string"}},"type":"object"}, "description":"Says \u00e9", "name":"\u0074" }"#,
            // What the model is not told of.
            r#"{"x":1,"title":"T","annotations":{},"name":"t","description":"Says é","inputSchema":{"type":"object","properties":{"a":{"type":"string"},"b":1.0}}}"#,
        ] {
            assert_eq!(digest(same), digest(TOOL), "{same}");
        }
        assert_eq!(digest(r#"{"name":"t","description":null}"#), digest(r#"{"name":"t"}"#));
    }

    #[test]
    fn what_says_something_else_is_a_change() {
        let mut all = vec![digest(TOOL)];
        for other in [
            r#"{"name":"T"}"#,
            r#"{"name":"t"}"#,
            r#"{"name":"t","description":""}"#,
            r#"{"name":"t","description":"a"}"#,
            r#"{"name":"t","description":"a "}"#,
            r#"{"name":"t","description":"a","description":"b"}"#,
            r#"{"name":"t","description":"b","description":"a"}"#,
            r#"{"name":"t","description":"a","inputSchema":{}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":[1,2]}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":[2,1]}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":[[1],2]}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":null}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":"null"}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":1,"x":2}}"#,
            r#"{"name":"t","description":"a","inputSchema":{"x":2,"x":1}}"#,
            r#"{"name":"t","inputSchema":"a"}"#,
        ] {
            let digest = digest(other);
            assert!(!all.contains(&digest), "{other}");
            all.push(digest);
        }
    }

    #[test]
    fn what_cannot_be_read_is_compared_as_it_is() {
        let deep = |inner: &str| format!(r#"{{"name":"t","inputSchema":{}{inner}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_ne!(digest(&deep("1")), digest(&deep("2")));
        assert_eq!(digest(&deep("1")), digest(&deep("1")));
        assert_ne!(digest("[1]"), digest("[2]"));
    }
}
