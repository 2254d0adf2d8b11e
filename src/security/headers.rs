//! Configured header names and values: valid and harmless, or refused by name.

use indexmap::IndexMap;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// Headers that may be sent to the server they were configured for.
#[derive(Debug, Clone, Default)]
pub struct AllowedHeaders(HeaderMap);

impl AllowedHeaders {
    pub fn as_map(&self) -> &HeaderMap {
        &self.0
    }
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("`{name}` is not a header name")]
    Name { name: String },
    #[error("the value of header `{name}` holds characters that no header may hold")]
    Value { name: String },
    #[error("header `{name}` is the proxy's own to set")]
    Reserved { name: String },
}

/// SECURITY: framing, hop-by-hop and protocol headers are ours; a configured
/// one would break the message or pretend to be somebody else.
const RESERVED: [&str; 18] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "accept",
    "accept-encoding",
    "cookie",
    "origin",
    "last-event-id",
    "mcp-session-id",
    "mcp-protocol-version",
    "expect",
];

/// # Errors
/// [`Refused`] names the header, never its value.
pub fn allow(headers: &IndexMap<String, SecretString>) -> Result<AllowedHeaders, Refused> {
    let mut allowed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let header = HeaderName::try_from(name.as_str()).map_err(|_| Refused::Name { name: name.escape_default().to_string() })?;
        if RESERVED.contains(&header.as_str()) {
            return Err(Refused::Reserved { name: name.clone() });
        }
        let mut value = HeaderValue::try_from(value.expose_secret()).map_err(|_| Refused::Value { name: name.clone() })?;
        value.set_sensitive(true);
        allowed.append(header, value);
    }
    Ok(AllowedHeaders(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_refused_by_name() {
        for (name, value, ok) in [
            ("Authorization", "Bearer x", true),
            ("X-Api-Key", "k", true),
            ("Host", "evil", false),
            ("Mcp-Session-Id", "1", false),
            ("bad name", "v", false),
            ("X-A", "a\r\nX-B: b", false),
        ] {
            let headers = IndexMap::from([(name.to_owned(), SecretString::from(value))]);
            assert_eq!(allow(&headers).is_ok(), ok, "{name}");
        }
    }
}
