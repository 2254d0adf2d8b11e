//! What the App refuses, found before it is asked: its own answers do not say what was wrong.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::super::{arguments::Arguments, outcome::Failure};
use crate::security::redact;

/// The longest value that the App takes, in bytes of its encoding.
pub(super) const LONGEST: usize = 2_097_152;

/// Where an entry is, or is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: Option<String>,
    pub(super) index: Option<i32>,
}

impl Place {
    pub(super) fn has_both(&self) -> bool {
        self.name.is_some() && self.index.is_some()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.index) {
            (Some(name), Some(index)) => write!(f, "the name `{}` and the index {index}", redact::quote(name, 255)),
            (Some(name), None) => write!(f, "the name `{}`", redact::quote(name, 255)),
            (None, Some(index)) => write!(f, "the index {index}"),
            (None, None) => f.write_str("this name or index"),
        }
    }
}

/// What the arguments say of it, if anything. An empty name is none to the App, and is taken out.
pub(super) fn place(arguments: &mut Arguments) -> Result<Option<Place>, Failure> {
    if arguments.text("name") == Some("") {
        arguments.take("name");
    }
    let place = Place { name: arguments.text("name").map(str::to_owned), index: index(arguments)? };
    Ok((place != Place::default()).then_some(place))
}

/// The App keeps it in 32 bits.
fn index(arguments: &Arguments) -> Result<Option<i32>, Failure> {
    if arguments.get("idx").is_none() {
        return Ok(None);
    }
    let index = arguments.integer("idx").and_then(|index| i32::try_from(index).ok());
    let range = || Failure::mistake(format!("invalid arguments: `idx` must lie between {} and {}", i32::MIN, i32::MAX));
    index.map(Some).ok_or_else(range)
}

/// That a value is written as its encoding says.
pub(super) fn value(value: &str, encoding: &str, content_type: &str) -> Result<(), Failure> {
    if is_image(content_type) && encoding != "base64" {
        return Err(Failure::mistake("invalid arguments: images need the `encoding` `base64`"));
    }
    match encoding {
        "base64" if BASE64_STANDARD.decode(value).is_err() => Err(Failure::mistake(
            "invalid arguments: `value` is not base64; hint: the standard alphabet with `+` and `/`, padded with `=`, and no line breaks",
        )),
        "hex" if !value.len().is_multiple_of(2) || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(Failure::mistake("invalid arguments: `value` is not hex; hint: an even number of the digits 0-9 and a-f, and nothing else"))
        }
        _ => Ok(()),
    }
}

pub(super) fn is_image(content_type: &str) -> bool {
    content_type.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("image/"))
}

/// Of an image, in the form that the tools' schemas have for content types.
pub(super) fn is_image_type(text: &str) -> bool {
    const LONGEST: usize = 256;
    let is_word = |text: &str, marks: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || marks.contains(&byte))
    };
    let (kind, subtype) = text.split_once('/').unwrap_or_default();
    is_image(text) && text.len() <= LONGEST && is_word(kind, b".-") && is_word(subtype, b".+-")
}

pub(super) fn is_base64(text: &str) -> bool {
    BASE64_STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn given(members: &Value) -> Arguments {
        let mut arguments = Arguments::default();
        for (name, value) in members.as_object().expect("an object") {
            arguments.set(name, value.clone());
        }
        arguments
    }

    #[test]
    fn a_place_has_a_name_or_an_index_of_32_bits() {
        for (members, expect) in [
            (json!({"name": "ctx"}), Some("the name `ctx`")),
            (json!({"idx": 0}), Some("the index 0")),
            (json!({"idx": -2_147_483_648_i64, "name": "a\nb"}), Some(r"the name `a\nb` and the index -2147483648")),
            (json!({"name": "", "idx": 7}), Some("the index 7")),
            (json!({"name": ""}), None),
            (json!({}), None),
        ] {
            let mut arguments = given(&members);
            let place = place(&mut arguments).expect("it fits");
            assert_eq!(place.map(|place| place.to_string()).as_deref(), expect, "{members}");
            assert_ne!(arguments.text("name"), Some(""));
        }
        for members in [json!({"idx": 2_147_483_648_i64}), json!({"idx": -2_147_483_649_i64, "name": "x"}), json!({"idx": 1e30})] {
            assert!(place(&mut given(&members)).is_err_and(|failure| failure.is_mistake()), "{members}");
        }
    }

    #[test]
    fn types_of_images_are_words() {
        let long = format!("image/{}", "x".repeat(251));
        for (text, expect) in [
            ("image/png", true),
            ("Image/svg+xml", true),
            ("image/vnd.ms-icon_2", true),
            ("image/", false),
            ("image", false),
            ("text/plain", false),
            ("image/png\n<b>", false),
            ("image/png; a=b", false),
            ("image/a/b", false),
            ("image/pn\u{e9}", false),
            (&long, false),
        ] {
            assert_eq!(is_image_type(text), expect, "{text:?}");
        }
    }

    #[test]
    fn values_are_written_as_they_say() {
        for (text, encoding, content_type, expect) in [
            ("anything %", "utf-8", "text/plain", true),
            ("", "base64", "image/png", true),
            ("aGVsbG8=", "base64", "image/png", true),
            ("aGVsbG8", "base64", "text/plain", false),
            ("aGVsbG9=", "base64", "text/plain", false),
            ("aGVs\nbG8=", "base64", "text/plain", false),
            ("_-8=", "base64", "text/plain", false),
            ("00fF", "hex", "text/plain", true),
            ("00f", "hex", "text/plain", false),
            ("0x00", "hex", "text/plain", false),
            ("x", "utf-8", "image/png", false),
            ("00", "hex", "Image/PNG", false),
            ("x", "utf-8", "image", true),
        ] {
            assert_eq!(value(text, encoding, content_type).is_ok(), expect, "{text:?} {encoding} {content_type}");
        }
    }
}
