//! The only maker of HTTP clients and of URLs that may be asked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::OnceLock,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, Uri, header::USER_AGENT};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::{Host, Url};

/// A connection that is not there after this long will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept. Node's servers close theirs after 5 s, and a request that meets the end of its connection
/// cannot be told from one that was acted on.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How the proxy names itself.
const AGENT: &str = concat!("pluggedin-mcp-proxy/", env!("CARGO_PKG_VERSION"));

/// A URL that the proxy may connect to.
#[derive(Debug, Clone)]
pub struct AllowedUrl {
    url: Url,
    /// The same, as requests have it.
    uri: Uri,
}

impl AllowedUrl {
    pub fn as_url(&self) -> &Url {
        &self.url
    }
}

/// Sends requests to servers.
#[derive(Debug, Clone)]
pub enum Client {
    /// Without TLS: the client below reqwest. reqwest reads the URL twice for each request and has layers for redirects
    /// and repetitions, which are off here: 25 000 of 125 000 instructions of a call over HTTP.
    Plain(&'static legacy::Client<HttpConnector, Full<Bytes>>),
    Tls(reqwest::Client),
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The request was not sent.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The server may have received it.
    #[error("the connection broke before the answer")]
    Lost,
}

impl Client {
    /// One client for each scheme, made when first needed.
    pub fn of(url: &AllowedUrl) -> Self {
        static PLAIN: OnceLock<legacy::Client<HttpConnector, Full<Bytes>>> = OnceLock::new();
        match url.url.scheme() {
            "https" => Self::Tls(client_for(url)),
            _ => Self::Plain(PLAIN.get_or_init(plain)),
        }
    }

    /// Gives the head of the response; its body is read from it.
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn send(
        &self,
        method: Method,
        url: &AllowedUrl,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, SendError> {
        match self {
            Self::Plain(client) => {
                headers.entry(USER_AGENT).or_insert(hyper::header::HeaderValue::from_static(AGENT));
                let mut request = Request::new(Full::new(body));
                *request.method_mut() = method;
                *request.uri_mut() = url.uri.clone();
                *request.headers_mut() = headers;
                let response = client.request(request).await.map_err(|error| why(&error, error.is_connect()))?;
                Ok(response.map(reqwest::Body::wrap).into())
            }
            Self::Tls(client) => {
                let request = client.request(method, url.url.clone()).headers(headers).body(body);
                request.send().await.map_err(|error| {
                    let slow = error.is_connect() && error.is_timeout();
                    if slow { SendError::Unreachable(SLOW) } else { why(&error, error.is_connect()) }
                })
            }
        }
    }
}

fn plain() -> legacy::Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector)
}

const SLOW: &str = "connecting took too long";

/// In our own words: the libraries' hold the URL, and with it what may be secret.
fn why(error: &dyn std::error::Error, is_connect: bool) -> SendError {
    if !is_connect {
        return SendError::Lost;
    }
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return SendError::Unreachable(match io.kind() {
                std::io::ErrorKind::ConnectionRefused => "connection refused",
                std::io::ErrorKind::ConnectionReset => "connection reset",
                std::io::ErrorKind::TimedOut => SLOW,
                std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => "no route to the host",
                _ if io.to_string().contains("lookup") => "the host name is unknown",
                _ => "no connection",
            });
        }
        source = error.source();
    }
    SendError::Unreachable("no connection")
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("`{text}` is not a URL: {reason}")]
    NotAUrl { text: String, reason: String },
    #[error("the scheme `{scheme}` is not allowed; hint: use http or https")]
    Scheme { scheme: String },
    #[error("a URL must not hold a user name or password; hint: use a header")]
    Userinfo,
    #[error("{host} is an address of a cloud metadata service, which is never asked")]
    Metadata { host: String },
    #[error("`{endpoint}` is on another origin than the server that named it")]
    OtherOrigin { endpoint: String },
}

/// Whether the URL names an address or a host at which clouds hand out credentials
/// (threat model, section 4.3).
pub fn is_metadata(url: &Url) -> bool {
    const ADDRESSES: [IpAddr; 9] = [
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
        IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
        IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
        IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    ];
    const NAMES: [&str; 3] = ["metadata", "metadata.google.internal", "metadata.goog"];
    match url.host() {
        Some(Host::Ipv4(address)) => ADDRESSES.contains(&address.into()),
        // IPv4 in IPv6's clothes is IPv4.
        Some(Host::Ipv6(address)) => ADDRESSES.contains(&address.to_canonical()),
        Some(Host::Domain(name)) => NAMES.contains(&name.trim_end_matches('.')),
        None => false,
    }
}

/// # Errors
/// [`Refused`] says by which rule.
pub fn allow(text: &str) -> Result<AllowedUrl, Refused> {
    let shown = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    let url = Url::parse(text).map_err(|error| Refused::NotAUrl { text: shown(text), reason: error.to_string() })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refused::Scheme { scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Userinfo);
    }
    // SECURITY: literals only so far. A name that resolves to such an address is not
    // noticed yet; that needs a check where connections are made.
    if is_metadata(&url) {
        return Err(Refused::Metadata { host: url.host_str().unwrap_or_default().to_owned() });
    }
    let uri = url.as_str().parse::<Uri>().map_err(|error| Refused::NotAUrl { text: shown(text), reason: error.to_string() })?;
    Ok(AllowedUrl { url, uri })
}

/// `endpoint` as a server named it, relative or absolute, on the server's own origin.
///
/// # Errors
/// [`Refused`] where it leads elsewhere.
pub fn same_origin(base: &AllowedUrl, endpoint: &str) -> Result<AllowedUrl, Refused> {
    let joined = base.url.join(endpoint).map_err(|error| Refused::NotAUrl { text: endpoint.to_owned(), reason: error.to_string() })?;
    if joined.origin() != base.url.origin() {
        return Err(Refused::OtherOrigin { endpoint: endpoint.to_owned() });
    }
    allow(joined.as_str())
}

/// The settings that every request of the proxy shares.
///
/// SECURITY: no redirect is followed (custom headers would go along) and no
/// proxy variable is honoured (an outer proxy resolves names where we cannot see it).
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn client_builder() -> reqwest::ClientBuilder {
    install_tls();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .user_agent(AGENT)
}

/// One client for each scheme, made when first needed: reading the system's
/// root certificates takes milliseconds and memory that plain HTTP need not pay.
pub fn client_for(url: &AllowedUrl) -> reqwest::Client {
    static PLAIN: OnceLock<reqwest::Client> = OnceLock::new();
    static TLS: OnceLock<reqwest::Client> = OnceLock::new();
    let (slot, builder): (_, fn() -> reqwest::ClientBuilder) = match url.url.scheme() {
        "https" => (&TLS, client_builder),
        _ => (&PLAIN, || client_builder().tls_certs_only([])),
    };
    slot.get_or_init(|| builder().build().expect("the TLS provider is installed and no option depends on input")).clone()
}

fn install_tls() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // An error means that a provider is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_without_credentials_are_allowed() {
        for (text, ok) in [
            ("http://localhost:1/mcp", true),
            ("https://example.com", true),
            ("ftp://example.com", false),
            ("file:///etc/passwd", false),
            ("http://a:b@example.com", false),
            ("http://169.254.169.254/latest", false),
            ("http://0xa9fea9fe/", false),
            ("http://[fd00:ec2::254]/", false),
            ("http://[::ffff:169.254.169.254]/", false),
            ("http://metadata.google.internal./", false),
            ("nonsense", false),
        ] {
            assert_eq!(allow(text).is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn an_endpoint_stays_on_its_origin() {
        let base = allow("http://h:1/sse").expect("allowed");
        for (endpoint, expect) in [
            ("/messages?s=1", Some("http://h:1/messages?s=1")),
            ("http://h:1/m", Some("http://h:1/m")),
            ("http://other:1/m", None),
            ("//other/m", None),
            ("https://h:1/m", None),
        ] {
            assert_eq!(same_origin(&base, endpoint).ok().map(|url| url.as_url().to_string()).as_deref(), expect, "{endpoint}");
        }
    }
}
