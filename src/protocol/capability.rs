//! What a client declares that servers may ask it for.

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny},
};

use super::json::{self, FromObject};

/// Only what decides whether a server's request is passed on.
#[expect(clippy::struct_excessive_bools, reason = "each is one member of the protocol's capabilities")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCapabilities {
    pub sampling: bool,
    /// Elicitation by a form.
    pub elicitation_form: bool,
    /// Elicitation by a URL that the user visits.
    pub elicitation_url: bool,
    pub roots: bool,
}

impl ClientCapabilities {
    /// From the object `capabilities`. What cannot be read is not declared.
    pub fn of(capabilities: &str) -> Self {
        #[derive(Deserialize)]
        struct Declared {
            #[serde(default, deserialize_with = "is_there")]
            sampling: bool,
            #[serde(default)]
            elicitation: Option<FromObject<Elicitation>>,
            #[serde(default, deserialize_with = "is_there")]
            roots: bool,
        }
        #[derive(Deserialize)]
        struct Elicitation {
            #[serde(default, deserialize_with = "is_there")]
            form: bool,
            #[serde(default, deserialize_with = "is_there")]
            url: bool,
        }
        let Ok(Declared { sampling, elicitation, roots }) = json::read(capabilities) else { return Self::default() };
        let (form, url) = match elicitation {
            // An empty object means forms, the only kind before 2025-11-25 (client/elicitation, "capabilities").
            Some(FromObject(Elicitation { form, url })) => (form || !url, url),
            None => (false, false),
        };
        Self { sampling, elicitation_form: form, elicitation_url: url, roots }
    }
}

/// True for any value but null.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_is_what_is_there() {
        let none = ClientCapabilities::default();
        for (declared, expect) in [
            ("{}", none),
            (r#"{"sampling":{"tools":{}}}"#, ClientCapabilities { sampling: true, ..none }),
            (r#"{"sampling":null,"elicitation":null,"roots":null}"#, none),
            (r#"{"roots":{"listChanged":true},"x-vendor":[1]}"#, ClientCapabilities { roots: true, ..none }),
            (r#"{"elicitation":{}}"#, ClientCapabilities { elicitation_form: true, ..none }),
            (r#"{"elicitation":{"form":{}}}"#, ClientCapabilities { elicitation_form: true, ..none }),
            (r#"{"elicitation":{"url":{}}}"#, ClientCapabilities { elicitation_url: true, ..none }),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, ClientCapabilities { elicitation_form: true, elicitation_url: true, ..none }),
        ] {
            assert_eq!(ClientCapabilities::of(declared), expect, "{declared}");
        }
        for wrong in ["[1]", "1", r#"{"elicitation":true}"#] {
            assert_eq!(ClientCapabilities::of(wrong), none, "{wrong}");
        }
    }
}
