//! The headers of a message to a server without a session (2026-07-28, "Standard request headers"), read
//! from the message itself as it is sent: what they say is then what it says.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::{
    header::{self, BadAnnotation, ParamHeader},
    json::Object,
    message::Message,
    revision::Revision,
};

/// The arguments of the server's tools that have headers of their own, by the tools' names, as the server listed them last.
#[derive(Debug, Default)]
pub struct Annotated(ArcSwap<HashMap<String, Vec<ParamHeader>>>);

impl Annotated {
    /// Takes the tools of a listing, `(name, record)`. Gives those that must not be shown, and why.
    pub fn learn<'a>(&self, tools: impl Iterator<Item = (&'a str, &'a Bytes)>) -> HashMap<String, BadAnnotation> {
        let mut annotated = HashMap::new();
        let mut bad = HashMap::new();
        for (name, record) in tools {
            match header::param_headers(record) {
                Ok(params) if params.is_empty() => {}
                Ok(params) => drop(annotated.insert(name.to_owned(), params)),
                Err(problem) => drop(bad.insert(name.to_owned(), problem)),
            }
        }
        self.0.store(Arc::new(annotated));
        bad
    }

    /// Those of a message of this text.
    pub(super) fn headers(&self, message: &Bytes) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(super::PROTOCOL_VERSION, HeaderValue::from_static(Revision::STATELESS.as_str()));
        let Ok(message) = Message::parse(message) else { return headers };
        insert(&mut headers, header::METHOD, message.method());
        let Some(params) = message.body().and_then(|params| Object::parse(params).ok()) else { return headers };
        let name = header::named_by(message.method()).and_then(|member| params.string(member));
        let Some(name) = name else { return headers };
        insert(&mut headers, header::NAME, &name);
        if message.method() == "tools/call"
            && let Some(annotated) = self.0.load().get(&*name)
        {
            let arguments = params.get("arguments").unwrap_or("{}");
            for param in annotated {
                if let Some(text) = param.text(arguments) {
                    insert(&mut headers, &param.header, &text);
                }
            }
        }
        headers
    }
}

fn insert(headers: &mut HeaderMap, name: &str, text: &str) {
    // Both were made to fit.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&header::encoded(text))) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, params: &str, expect: &[&str]) {
        let annotated = Annotated::default();
        let record = Bytes::from_static(
            br#"{"name":"t","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}}"#,
        );
        let broken = Bytes::from_static(br#"{"name":"u","inputSchema":{"properties":{"a":{"type":"array","x-mcp-header":"A"}}}}"#);
        let bad = annotated.learn([("t", &record), ("u", &broken)].into_iter());
        assert_eq!(bad, [("u".to_owned(), BadAnnotation::Type)].into());
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let headers = annotated.headers(&text.into());
        let mut texts: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect();
        texts.retain(|text| text != "mcp-protocol-version: 2026-07-28" && *text != format!("mcp-method: {method}"));
        assert_eq!(headers.len(), texts.len() + 2);
        assert_eq!(texts, expect);
    }

    #[test]
    fn headers_say_what_the_message_says() {
        check("tools/list", "{}", &[]);
        check("resources/read", r#"{"uri":"scheme://grün"}"#, &["mcp-name: =?base64?c2NoZW1lOi8vZ3LDvG4=?="]);
        check("prompts/get", r#"{"name":"p","uri":"x"}"#, &["mcp-name: p"]);
        check("tools/call", r#"{"name":"t"}"#, &["mcp-name: t"]);
        check(
            "tools/call",
            r#"{"name":"t","arguments":{"region":" eu","deep":{"n":7.0}}}"#,
            &["mcp-name: t", "mcp-param-region: =?base64?IGV1?=", "mcp-param-n: 7"],
        );
        check("tools/call", r#"{"name":"t","arguments":{"region":null}}"#, &["mcp-name: t"]);
        check("tools/call", r#"{"name":"other","arguments":{"region":"eu"}}"#, &["mcp-name: other"]);
        check("tasks/get", r#"{"taskId":"7"}"#, &["mcp-name: 7"]);
    }
}
