//! Which `Host` and which `Origin` may be served, and what browsers are told of it (threat model T4, T5).
//!
//! Every page that a browser on this machine shows can send requests to our port. The browser says truly which page it
//! is (`Origin`) and which name it looked up (`Host`); a name that an attacker points at our address is what DNS rebinding
//! is. So both are judged for every request on every path, before anything else looks at it.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
        },
        request,
        uri::Authority,
    },
    response::Response,
};
use url::Url;

use super::reply;

/// What the operator allows beyond loopback pages on a loopback bind.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Host names or addresses, without a port, in lower case; none means any on an address that is not loopback.
    pub allowed_hosts: Vec<String>,
    /// Origins as browsers write them, `https://app.example.com`.
    pub allowed_origins: Vec<String>,
}

/// Whether this can stand among the allowed hosts.
pub fn is_host(text: &str) -> bool {
    configured_host(text).is_some()
}

/// Whether this can stand among the allowed origins.
pub fn is_origin(text: &str) -> bool {
    Origin::parse(text).is_some()
}

/// The judge of hosts and origins.
#[derive(Debug)]
pub(super) struct Guard {
    /// On addresses that are not loopback.
    any_host: bool,
    hosts: Vec<Host<'static>>,
    origins: Vec<Origin>,
}

/// What a browser is told beside the answer.
#[derive(Debug)]
pub(super) struct Cors {
    /// The allowed origin as it came; `None` where no browser asks across origins.
    origin: Option<HeaderValue>,
}

impl Guard {
    /// Entries that are no [host](is_host) or no [origin](is_origin) allow nothing.
    pub(super) fn new(config: &Config) -> Self {
        let Config { allowed_hosts, allowed_origins } = config;
        Self {
            any_host: allowed_hosts.is_empty(),
            hosts: allowed_hosts.iter().filter_map(|host| configured_host(host)).map(Host::into_owned).collect(),
            origins: allowed_origins.iter().filter_map(|origin| Origin::parse(origin)).collect(),
        }
    }

    /// Lets a request on, which came in at the address `local`.
    ///
    /// # Errors
    /// The answer, where the request goes no further: 400 or 403, or 204 to a preflight.
    pub(super) fn admit(&self, request: &request::Parts, local: IpAddr) -> Result<Cors, Response> {
        let local = local.to_canonical();
        self.check_host(request, local)?;
        let Some(origin) = self.check_origin(&request.headers, local)? else {
            return Ok(Cors { origin: None });
        };
        let cors = Cors { origin: Some(origin.clone()) };
        if request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Err(preflight(&request.headers, cors));
        }
        Ok(cors)
    }

    fn check_host(&self, request: &request::Parts, local: IpAddr) -> Result<(), Response> {
        let bad = |why| Err(reply::refuse(StatusCode::BAD_REQUEST, why));
        let text = match named_host(&request.headers, &request.uri, request.version) {
            Ok(text) => text,
            Err(why) => return bad(why),
        };
        if local.is_loopback() && is_plain_loopback(text) {
            return Ok(());
        }
        let Some(host) = Host::parse(text) else {
            return bad("`Host` is neither a name nor an address");
        };
        // SECURITY: browsers on some systems connect `0.0.0.0` to this machine past their own rules for local networks.
        if matches!(host, Host::Address(address) if address.is_unspecified()) {
            return Err(forbidden(format!("`{host}` is no host to ask for; use `localhost` or an address of this machine")));
        }
        let own = match host {
            // SECURITY: of names `localhost` alone. A resolver may ask the network for `x.localhost`, and who answers for
            // the network could point it here.
            _ if local.is_loopback() => host.is_loopback(),
            _ if self.any_host => true,
            Host::Address(address) => address == local,
            Host::Name(_) => false,
        };
        if own || self.hosts.contains(&host) {
            return Ok(());
        }
        Err(forbidden(format!("the host `{host}` is not served; to serve it, start the proxy with `--allowed-host {host}`")))
    }

    /// The allowed origin of the page that asks, if a page does.
    fn check_origin<'a>(&self, headers: &'a HeaderMap, local: IpAddr) -> Result<Option<&'a HeaderValue>, Response> {
        let mut values = headers.get_all(ORIGIN).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(forbidden("more than one `Origin`"));
        }
        let Some(origin) = value.to_str().ok().and_then(Origin::parse) else {
            return Err(forbidden("pages without an origin of their own are not served"));
        };
        let own_machine = local.is_loopback() && origin.is_loopback();
        if own_machine || self.origins.contains(&origin) {
            return Ok(Some(value));
        }
        Err(forbidden(format!("pages of `{origin}` are not served; to serve them, start the proxy with `--allowed-origin {origin}`")))
    }
}

fn forbidden(message: impl Into<String>) -> Response {
    reply::refuse(StatusCode::FORBIDDEN, message)
}

/// The one host that a request names, in `Host` or, with HTTP/2, as its authority.
fn named_host<'a>(headers: &'a HeaderMap, uri: &'a Uri, version: Version) -> Result<&'a str, &'static str> {
    let mut values = headers.get_all(HOST).iter();
    let header = match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_str().map_err(|_| "`Host` is neither a name nor an address")?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err("more than one `Host`"),
    };
    let authority = uri.authority().map(Authority::as_str);
    match (header, authority) {
        (Some(header), Some(authority)) if !header.eq_ignore_ascii_case(authority) => Err("`Host` is not the host of the URL"),
        (Some(header), _) => Ok(header),
        (None, Some(authority)) if version == Version::HTTP_2 => Ok(authority),
        (None, _) => Err("no `Host`"),
    }
}

/// How nearly every client of a local proxy names it, told without parsing.
fn is_plain_loopback(host: &str) -> bool {
    let Some(port) = host.strip_prefix("127.0.0.1").or_else(|| host.strip_prefix("localhost")) else {
        return false;
    };
    port.is_empty() || is_port(port)
}

/// A colon and a number, which may be left out (RFC 3986, section 3.2.3).
fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|digits| digits.is_empty() || digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok())
}

/// A host as it is compared: names whatever their case, addresses whatever their form.
#[derive(Debug, Clone)]
enum Host<'a> {
    Name(Cow<'a, str>),
    Address(IpAddr),
}

impl<'a> Host<'a> {
    /// From the value of `Host`: a name or an address, and perhaps a port.
    fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
            let (address, port) = bracketed.split_once(']')?;
            (Self::Address(IpAddr::from(address.parse::<Ipv6Addr>().ok()?).to_canonical()), port)
        } else {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (Self::name(name)?, port)
        };
        (port.is_empty() || is_port(port)).then_some(host)
    }

    fn name(text: &'a str) -> Option<Self> {
        // `example.com.` is the same name, spelled out.
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !name.split('.').all(is_label) {
            return None;
        }
        if !ends_in_number(name) {
            return Some(Self::Name(Cow::Borrowed(name)));
        }
        // SECURITY: `0x7f.1`, `0177.0.0.1` and `2130706433` are addresses to some programs and names to others. No browser
        // sends them, so they are refused.
        name.parse::<Ipv4Addr>().ok().map(|address| Self::Address(address.into()))
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }

    fn into_owned(self) -> Host<'static> {
        match self {
            Self::Name(name) => Host::Name(Cow::Owned(name.into_owned())),
            Self::Address(address) => Host::Address(address),
        }
    }
}

impl PartialEq<Host<'_>> for Host<'_> {
    fn eq(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Address(one), Host::Address(other)) => one == other,
            _ => false,
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.to_ascii_lowercase()),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
        }
    }
}

/// Whether a URL parser takes this for an IPv4 address (WHATWG URL, "ends in a number").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit()) || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// As the operator writes it: without a port, and IPv6 addresses with or without brackets.
fn configured_host(text: &str) -> Option<Host<'_>> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(Host::Address(IpAddr::from(address).to_canonical()));
    }
    let has_port = text.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    if has_port { None } else { Host::parse(text) }
}

/// The origin of a page. `http` and `https` have default ports; other schemes, as those of extensions, have none.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// From what browsers write. `null` and whatever has more parts than an origin is none.
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        // What the parser lets be written in several ways or takes away is judged in the text.
        let authority = text.split_once("://")?.1;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '\\', '@', '?', '#', '%']) || text.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
            return None;
        }
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        Some(Self { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default() })
    }

    /// A page that a program on this machine serves.
    fn is_loopback(&self) -> bool {
        matches!(self.scheme.as_str(), "http" | "https") && Host::parse(&self.host).is_some_and(|host| host.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{scheme}://{host}")?;
        match (scheme.as_str(), *port) {
            ("http", Some(80)) | ("https", Some(443)) | (_, None) => Ok(()),
            (_, Some(port)) => write!(f, ":{port}"),
        }
    }
}

impl Cors {
    /// Headers beside those of the answer. Credentials are never allowed: there are none that a browser adds by itself.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        let Some(origin) = self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Mcp-Session-Id, MCP-Protocol-Version"));
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// What a browser asks before it lets an allowed page send a request (Fetch standard, "CORS-preflight request").
fn preflight(asked: &HeaderMap, cors: Cors) -> Response {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
    /// Seconds for which browsers need not ask again; Chrome's own upper limit.
    const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
    /// Of Chrome, where a public page asks for an address in a private network.
    const ASKS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
    const ALLOWS_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if asked.get(ASKS_PRIVATE).is_some_and(|value| value == "true") {
        headers.insert(ALLOWS_PRIVATE, HeaderValue::from_static("true"));
    }
    cors.apply(headers);
    response
}

/// The headers that MCP clients send, and of the parameters of tools, whose names nobody knows, those that are asked for.
fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    const KNOWN: &str = "content-type, accept, authorization, mcp-session-id, mcp-protocol-version, last-event-id, mcp-method, mcp-name";
    const PARAMETER: &str = "mcp-param-";
    let values = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok());
    let parameters = names.filter(|name| name.as_str().starts_with(PARAMETER));
    let all = parameters.fold(KNOWN.to_owned(), |all, name| all + ", " + name.as_str());
    HeaderValue::try_from(all).expect("header names are header values")
}

#[cfg(test)]
mod tests;
