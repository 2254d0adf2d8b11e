//! A URL that was judged, and how text becomes one: parsed once, by one parser, and refused where parsers differ.

use std::fmt;

use hyper::Uri;
use url::{Host, Url};

use super::names;
use crate::security::{Author, Refusal, Rule};

/// A URL that the proxy may connect to, and under whose name. The addresses that a host name leads to are judged when it is connected
/// to, each time.
#[derive(Clone)]
pub struct AllowedUrl {
    pub(super) url: Url,
    /// The same, as requests have it.
    pub(super) uri: Uri,
    pub(super) author: Author,
}

/// Paths and queries may hold what is secret.
impl fmt::Debug for AllowedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedUrl({})", self.shown())
    }
}

impl AllowedUrl {
    pub fn as_url(&self) -> &Url {
        &self.url
    }

    /// Who wrote it, and so by which rules it is connected to.
    pub fn author(&self) -> Author {
        self.author
    }

    /// Without the path and what may be secret.
    pub(super) fn shown(&self) -> String {
        origin(&self.url)
    }

    /// Whether it names this machine, which an egress proxy would take for its own.
    pub(super) fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
            Some(Host::Domain(name)) => names::is_localhost(name),
            None => false,
        }
    }
}

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

const CORRECT: &str = "write it as `https://host/path`";

/// What holds for every URL, whoever wrote it.
pub(super) fn parse(text: &str) -> Result<(Url, Uri), Refusal> {
    plain(text)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Refusal::new(Rule::UrlSyntax, "the URL has no scheme", CORRECT));
    };
    if !["http", "https"].iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed)) {
        let scheme: String = scheme.chars().take(20).map(|c| if c.is_ascii_alphanumeric() || c == '+' { c } else { '?' }).collect();
        return Err(Refusal::new(Rule::Scheme, format!("the scheme `{scheme}` is not allowed"), "use `http` or `https`"));
    }
    // SECURITY: the parser skips slashes too many, and reads `\` as `/`; others do not.
    let authority = rest.split(['?', '#']).next().unwrap_or_default();
    if authority.starts_with('/') || authority.contains('\\') {
        return Err(Refusal::new(Rule::UrlSyntax, "the URL holds a slash or backslash where parsers disagree", CORRECT));
    }
    let unreadable = |reason: &str| Refusal::new(Rule::UrlSyntax, format!("the URL cannot be read: {reason}"), CORRECT);
    let url = Url::parse(text).map_err(|error| unreadable(&error.to_string()))?;
    let has_userinfo = authority.split('/').next().is_some_and(|authority| authority.contains('@'));
    if has_userinfo || !url.username().is_empty() || url.password().is_some() {
        let hint = "send credentials in a header";
        return Err(Refusal::new(Rule::Userinfo, "the URL holds a user name or password", hint));
    }
    let uri = url.as_str().parse::<Uri>().map_err(|_| unreadable("no request can have it"))?;
    Ok((url, uri))
}

/// SECURITY: the parser drops tabs and line ends from anywhere, and blanks from the ends, in silence; a text of which that is true was
/// not meant to be read like this.
pub(super) fn plain(text: &str) -> Result<(), Refusal> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Refusal::new(Rule::UrlSyntax, "the URL holds a blank or control character", "write `%20` where a blank is meant"));
    }
    Ok(())
}
