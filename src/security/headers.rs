//! Configured header names and values: valid and harmless, or refused by name (threat model T10).
//!
//! The rules are the same for servers of the App and of the file, over Streamable HTTP and over SSE. Nothing is
//! stripped, trimmed or repaired: what is sent is what was written, or there is a [`Refusal`].

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Refusal, Rule};

/// The longest name, in bytes. Registered ones have at most 40.
pub const MAX_NAME: usize = 256;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 8 * 1024;
/// The most headers of one server.
pub const MAX_COUNT: usize = 64;
/// All names and values of one server, in bytes. Common servers take heads of 16 to 64 KiB.
pub const MAX_TOTAL: usize = 32 * 1024;
/// The longest session id that a server may give, in bytes.
pub const MAX_SESSION_ID: usize = 1024;
/// The longest id of an event that is sent back, in bytes.
const MAX_EVENT_ID: usize = MAX_VALUE;

/// Headers that may be sent to the server they were configured for.
#[derive(Debug, Clone, Default)]
pub struct AllowedHeaders(HeaderMap);

impl AllowedHeaders {
    pub fn as_map(&self) -> &HeaderMap {
        &self.0
    }
}

/// Why a header is nobody's to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Framing,
    Transport,
    Forwarding,
    Browser,
    Rewriting,
}

/// SECURITY: framing, hop-by-hop and protocol headers are ours; a configured one would break the message (RFC 9112, 6 and
/// 11; RFC 9110, 7.6). One that says who asks, or from where, would make a server trust who must not be trusted.
const RESERVED: [(&str, Owner); 46] = [
    ("connection", Owner::Framing),
    ("content-encoding", Owner::Framing),
    ("content-length", Owner::Framing),
    ("content-type", Owner::Transport),
    ("expect", Owner::Framing),
    ("http2-settings", Owner::Framing),
    ("keep-alive", Owner::Framing),
    ("te", Owner::Framing),
    ("trailer", Owner::Framing),
    ("transfer-encoding", Owner::Framing),
    ("upgrade", Owner::Framing),
    ("accept", Owner::Transport),
    ("accept-charset", Owner::Transport),
    ("accept-encoding", Owner::Transport),
    ("host", Owner::Transport),
    ("last-event-id", Owner::Transport),
    ("cf-connecting-ip", Owner::Forwarding),
    ("client-ip", Owner::Forwarding),
    ("fastly-client-ip", Owner::Forwarding),
    ("forwarded", Owner::Forwarding),
    ("max-forwards", Owner::Forwarding),
    ("true-client-ip", Owner::Forwarding),
    ("via", Owner::Forwarding),
    ("x-client-ip", Owner::Forwarding),
    ("x-cluster-client-ip", Owner::Forwarding),
    ("x-forwarded", Owner::Forwarding),
    ("x-host", Owner::Forwarding),
    ("x-originating-ip", Owner::Forwarding),
    ("x-real-ip", Owner::Forwarding),
    ("x-remote-addr", Owner::Forwarding),
    ("x-remote-ip", Owner::Forwarding),
    ("access-control-request-headers", Owner::Browser),
    ("access-control-request-method", Owner::Browser),
    ("access-control-request-private-network", Owner::Browser),
    ("cookie", Owner::Browser),
    ("cookie2", Owner::Browser),
    ("origin", Owner::Browser),
    ("referer", Owner::Browser),
    ("set-cookie", Owner::Browser),
    ("set-cookie2", Owner::Browser),
    ("x-http-method", Owner::Rewriting),
    ("x-http-method-override", Owner::Rewriting),
    ("x-method-override", Owner::Rewriting),
    ("x-original-method", Owner::Rewriting),
    ("x-original-url", Owner::Rewriting),
    ("x-rewrite-url", Owner::Rewriting),
];

/// The same for whole families of names.
const RESERVED_PREFIXES: [(&str, Owner); 5] = [
    ("mcp-", Owner::Transport),
    ("proxy-", Owner::Framing),
    ("sec-", Owner::Browser),
    ("x-forwarded-", Owner::Forwarding),
    ("x-original-forwarded-", Owner::Forwarding),
];

impl Owner {
    fn of(name: &str) -> Option<Self> {
        let exact = RESERVED.iter().find(|(reserved, _)| *reserved == name);
        exact.or_else(|| RESERVED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))).map(|(_, owner)| *owner)
    }

    fn why(self) -> &'static str {
        match self {
            Self::Framing => "it belongs to the connection, which the proxy makes",
            Self::Transport => "it belongs to the MCP transport, which the proxy speaks",
            Self::Forwarding => "it would tell the server a sender or a way that is not true",
            Self::Browser => "it is for browsers, which send it of their own accord",
            Self::Rewriting => "it would make the server read another request than the one that is sent",
        }
    }
}

/// Judges the headers of one server, names and values.
///
/// # Errors
/// [`Refusal`] for the first that may not be sent; it names the header, never its value.
pub fn allow<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<AllowedHeaders, Refusal> {
    let mut allowed = HeaderMap::new();
    let mut total = 0;
    for (name, value) in headers {
        let (header, value) = judge(name, value)?;
        total += name.len() + value.len();
        if allowed.contains_key(&header) {
            let what = format!("header `{header}` is configured twice, in different spelling");
            return Err(Refusal::new(Rule::HeaderName, what, "keep one of them; upper and lower case are the same in header names"));
        }
        if allowed.len() == MAX_COUNT || total > MAX_TOTAL {
            let what = format!("the server has more than {MAX_COUNT} headers, or more than {MAX_TOTAL} bytes of them");
            return Err(Refusal::new(Rule::HeaderSize, what, "configure only the headers that the server asks for"));
        }
        allowed.insert(header, value);
    }
    Ok(AllowedHeaders(allowed))
}

/// Judges one header.
///
/// # Errors
/// [`Refusal`]; it names the header, never its value.
pub fn judge(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Refusal> {
    let name = judge_name(name)?;
    let value = judge_value(&name, value)?;
    Ok((name, value))
}

fn judge_name(name: &str) -> Result<HeaderName, Refusal> {
    if name.len() > MAX_NAME {
        let what = format!("a header name has {} bytes; {MAX_NAME} are allowed", name.len());
        return Err(Refusal::new(Rule::HeaderSize, what, "use the name that the server's documentation gives"));
    }
    // SECURITY: checked before the library, which would bring it into lower case (RFC 9110, 5.1 and 5.6.2).
    if name.is_empty() || !name.bytes().all(is_token) {
        let what = format!("{} is not a header name", shown(name));
        return Err(Refusal::new(Rule::HeaderName, what, "letters, digits and !#$%&'*+-.^_`|~ are allowed, without blanks or a colon"));
    }
    let header = HeaderName::try_from(name).expect("tokens of this length are header names");
    if let Some(owner) = Owner::of(header.as_str()) {
        let what = format!("header `{header}` may not be configured: {}", owner.why());
        return Err(Refusal::new(Rule::HeaderReserved, what, "remove it from the server's configuration"));
    }
    Ok(header)
}

fn judge_value(name: &HeaderName, value: &str) -> Result<HeaderValue, Refusal> {
    let refused = |rule, why: String, hint: &'static str| Err(Refusal::new(rule, format!("the value of header `{name}` {why}"), hint));
    if value.len() > MAX_VALUE {
        return refused(Rule::HeaderSize, format!("has {} bytes; {MAX_VALUE} are allowed", value.len()), "shorten it");
    }
    if value.contains(['\r', '\n']) {
        return refused(Rule::HeaderValue, "holds a line break".to_owned(), "remove it; a pasted key often ends in one");
    }
    if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return refused(Rule::HeaderValue, "holds a control character".to_owned(), "remove it");
    }
    if !value.is_ascii() {
        return refused(Rule::HeaderValue, "holds a character outside ASCII".to_owned(), "encode it as the server asks, or remove it");
    }
    // Not part of a value (RFC 9110, 5.5); HTTP/2 servers take such a message for malformed (RFC 9113, 8.2.1).
    if value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']) {
        return refused(Rule::HeaderValue, "begins or ends with a blank".to_owned(), "remove the blank");
    }
    let mut value = HeaderValue::from_str(value).expect("visible ASCII, blanks and tabs make a value");
    value.set_sensitive(true);
    Ok(value)
}

/// What is no name, as far as it could be one.
///
/// SECURITY: a whole header may stand where its name belongs, `Authorization: Bearer …`, or the value alone.
fn shown(name: &str) -> String {
    const LONGEST: usize = 40;
    let token = &name[..name.bytes().take(LONGEST).take_while(|&byte| is_token(byte)).count()];
    match token {
        "" => "what begins with no letter or digit".to_owned(),
        token if token.len() == name.len() => format!("`{token}`"),
        token => format!("what begins with `{token}`"),
    }
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The session id that a server gives, to be sent back to it: visible ASCII (MCP transports, "session management") and
/// of a length that fits a head. It is as good as a key, so it does not show itself.
pub fn session_id(given: &HeaderValue) -> Option<HeaderValue> {
    let bytes = given.as_bytes();
    let fits = (1..=MAX_SESSION_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    fits.then(|| {
        let mut id = given.clone();
        id.set_sensitive(true);
        id
    })
}

/// The id of an event, to be sent back to the server that gave it. `None` where no header can hold it.
pub fn event_id(given: &str) -> Option<HeaderValue> {
    if given.len() > MAX_EVENT_ID {
        return None;
    }
    HeaderValue::from_bytes(given.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, expect: Option<Rule>) {
        let judged = judge(name, value);
        assert_eq!(judged.as_ref().err().map(|refusal| refusal.rule), expect, "{name}: {value:?}");
        match judged {
            Ok((header, sent)) => {
                assert_eq!(header.as_str(), name.to_ascii_lowercase());
                assert_eq!(sent.as_bytes(), value.as_bytes(), "{name}");
                assert!(sent.is_sensitive());
            }
            // Punctuation alone would be found in any sentence.
            Err(refusal) if value.len() > 3 => assert!(!refusal.to_string().contains(value), "{refusal}"),
            Err(_) => {}
        }
    }

    #[test]
    fn what_servers_ask_for_is_sent_as_it_was_written() {
        for name in [
            "Authorization",
            "authorization",
            "X-Api-Key",
            "x-goog-api-key",
            "User-Agent",
            "Accept-Language",
            "X-MCP-Toolsets",
            "X-Custom_1.2~",
            "CF-Access-Client-Id",
            "CF-Access-Client-Secret",
            "Notion-Version",
            "traceparent",
            "!#$%&'*+-.^_`|~",
        ] {
            check(name, "Bearer a.b-c=", None);
        }
        for value in ["", "x", "a b\tc", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", &"v".repeat(MAX_VALUE)] {
            check("X-Api-Key", value, None);
        }
    }

    #[test]
    fn names_that_are_no_tokens_are_refused() {
        for name in
            ["", " ", "bad name", "a:b", "X-A\r\nX-B", "X-\0", "Größe", "X-\u{7f}", "(x)", "a/b", "a,b", "\"x\"", "X-A ", " X-A", "x\t"]
        {
            check(name, "value", Some(Rule::HeaderName));
        }
        check(&"x".repeat(MAX_NAME), "value", None);
        check(&"x".repeat(MAX_NAME + 1), "value", Some(Rule::HeaderSize));
    }

    #[test]
    fn a_header_in_place_of_its_name_is_not_shown() {
        for (name, shown) in [
            ("Authorization: Bearer abc123", "what begins with `Authorization` is"),
            ("X-Api-Key=abc123", "what begins with `X-Api-Key` is"),
            ("X-Api-Key abc123", "what begins with `X-Api-Key` is"),
            (": abc123", "no letter"),
            ("", "no letter"),
            ("Größe abc123", "what begins with `Gr` is"),
        ] {
            let said = judge(name, "value").expect_err(name).to_string();
            assert!(said.contains(shown) && !said.contains("abc123"), "{said}");
        }
        let long = judge(&format!("{} x", "k".repeat(200)), "value").expect_err("a blank").to_string();
        assert!(long.len() < 300 && !long.contains(&"k".repeat(41)), "{long}");
    }

    #[test]
    fn values_that_could_break_a_message_are_refused() {
        for value in [
            "a\r\nX-B: b",
            "line\n",
            "\rline",
            "nul\0nul",
            "esc\u{1b}[31m",
            "del\u{7f}",
            "obs-tëxt",
            "\u{85}next",
            " leading",
            "trailing ",
            "\ttab",
            "tab\t",
            "v\u{b}v",
            "emoji \u{1f600}",
        ] {
            check("X-Api-Key", value, Some(Rule::HeaderValue));
        }
        check("X-Api-Key", &"v".repeat(MAX_VALUE + 1), Some(Rule::HeaderSize));
        // Bytes count, not characters.
        check("X-Api-Key", &"é".repeat(MAX_VALUE / 2 + 1), Some(Rule::HeaderSize));
    }

    #[test]
    fn headers_of_others_are_refused_by_name() {
        for name in [
            "Host",
            "HOST",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authorization",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Content-Length",
            "Content-Type",
            "Content-Encoding",
            "Expect",
            "Accept",
            "Accept-Encoding",
            "Cookie",
            "Set-Cookie",
            "Origin",
            "Referer",
            "Forwarded",
            "Via",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "x-forwarded-proto",
            "X-Real-IP",
            "Sec-Fetch-Site",
            "Sec-WebSocket-Key",
            "Last-Event-ID",
            "Mcp-Session-Id",
            "MCP-Protocol-Version",
            "Mcp-Method",
            "Mcp-Name",
            "Mcp-Param-Region",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "True-Client-IP",
        ] {
            check(name, "value", Some(Rule::HeaderReserved));
        }
    }

    #[test]
    fn one_name_has_one_value() {
        let refusal = allow([("Authorization", "Bearer one"), ("authorization", "Bearer two")]).expect_err("configured twice");
        assert_eq!(refusal.rule, Rule::HeaderName);
        assert!(!refusal.to_string().contains("Bearer"), "{refusal}");
    }

    #[test]
    fn a_server_has_so_many_headers_and_no_more() {
        let names: Vec<String> = (0..=MAX_COUNT).map(|number| format!("x-{number}")).collect();
        let pairs = |count: usize, value: &'static str| names[..count].iter().map(move |name| (name.as_str(), value)).collect::<Vec<_>>();
        assert_eq!(allow(pairs(MAX_COUNT, "v")).expect("so many").as_map().len(), MAX_COUNT);
        assert_eq!(allow(pairs(MAX_COUNT + 1, "v")).expect_err("one more").rule, Rule::HeaderSize);

        let long = "v".repeat(MAX_VALUE - 4);
        let four = [("x-01", long.as_str()), ("x-02", &long), ("x-03", &long), ("x-04", &long)];
        assert_eq!(allow(four).expect("to the byte").as_map().len(), 4);
        assert_eq!(allow(four.into_iter().chain([("y", "")])).expect_err("a byte more").rule, Rule::HeaderSize);
    }

    #[test]
    fn ids_of_servers_are_used_where_they_are_sound() {
        let given = |text: &[u8]| HeaderValue::from_bytes(text).expect("a value");
        for good in ["a", "1868a90c-7d5b-4a2e", "eyJ.x_y~z=", &"i".repeat(MAX_SESSION_ID)] {
            let id = session_id(&given(good.as_bytes())).expect(good);
            assert!(id.is_sensitive() && id == good, "{good}");
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"\xe9", &b"i".repeat(MAX_SESSION_ID + 1)] {
            assert_eq!(session_id(&given(bad)), None, "{bad:?}");
        }
        assert_eq!(event_id("42_é").as_ref().map(HeaderValue::as_bytes), Some("42_é".as_bytes()));
        for bad in ["a\nb", "\0", &"i".repeat(MAX_EVENT_ID + 1)] {
            assert_eq!(event_id(bad), None);
        }
    }
}
