//! Sends requests to URLs that were judged. The only maker of HTTP clients.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use reqwest::Response;
use secrecy::ExposeSecret;

use tokio::sync::OnceCell;

use super::{
    connect::{CONNECT_TIMEOUT, Connector, Guard, KEEPALIVE},
    rules::{Rules, Unresolved},
    tls::Tls,
    url::{AllowedUrl, origin},
};
use crate::secret::Secret;
use crate::security::{Author, Refusal};

/// How long an unused connection is kept. Node's servers close theirs after 5 s, and a request that meets the end of its connection
/// cannot be told from one that was acted on.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A reverse proxy in front of a server may add one or two; more is a loop.
const MAX_REDIRECTS: usize = 3;

/// How the proxy names itself.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("pluggedin-mcp-proxy/", env!("CARGO_PKG_VERSION")));

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

type Plain = legacy::Client<Connector, Full<Bytes>>;

/// The clients of one author. SECURITY: connections are kept, and one that was made under the rules for the owner's file must not serve a
/// server of the App.
#[derive(Debug)]
pub(super) struct Clients {
    guard: Guard,
    /// Without TLS: the client below reqwest. reqwest reads the URL twice for each request and has layers for redirects
    /// and repetitions, which are off here: 25 000 of 125 000 instructions of a call over HTTP.
    plain: OnceLock<Plain>,
    /// Made when first needed: reading the system's root certificates takes longer than the whole start of the proxy.
    pub(super) tls: OnceCell<reqwest::Client>,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The request was not sent.
    #[error("{0}")]
    Unreachable(Cause),
    /// The request was not sent, because it must not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server may have received it.
    #[error("the connection broke before the answer")]
    Lost,
    /// It answered, and may have received it.
    #[error("what answers there does not speak HTTP; hint: check the port, and whether the address should begin with `https:`")]
    NotHttp,
    #[error("{}", redirected(*.how, .to))]
    Redirected { how: Redirect, to: String },
    /// Nobody asked for it, and nobody undoes it.
    #[error("it sent a compressed answer, which was not asked for")]
    Encoded,
}

/// Why a connection could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("connection refused")]
    Refused,
    #[error("connection reset")]
    Reset,
    #[error("connecting took too long")]
    Slow,
    #[error("no route to the host")]
    NoRoute,
    #[error("the host name is unknown")]
    UnknownName,
    #[error("{0}")]
    Tls(Tls),
    #[error("no HTTP client could be made; are the system's certificates readable?")]
    NoClient,
    #[error("no connection")]
    Other,
}

/// Why a redirect was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    /// It leads to another origin, to which neither message nor headers go.
    OtherOrigin,
    /// It has a status that turns a message into a question, or leaves that open.
    Lossy(StatusCode),
    TooMany,
    Nowhere,
}

fn redirected(how: Redirect, to: &str) -> String {
    let hint = "hint: configure the address that it leads to, if you trust it";
    match how {
        Redirect::OtherOrigin => format!("the server redirects to another origin, `{to}`; {hint}"),
        Redirect::Lossy(status) => {
            format!("the server redirects with HTTP {}, which loses the message (307 and 308 keep it); {hint}", status.as_u16())
        }
        Redirect::TooMany => format!("the server redirects more than {MAX_REDIRECTS} times"),
        Redirect::Nowhere => "the server redirects to something that is not an address".to_owned(),
    }
}

/// One request. Its headers are made anew for each hop, which is cheaper than a copy that nobody needs.
pub(super) struct Outgoing<'a, H> {
    pub(super) method: Method,
    pub(super) url: &'a AllowedUrl,
    pub(super) headers: H,
    pub(super) body: Bytes,
}

impl Clients {
    pub(super) fn new(rules: &Arc<Rules>, author: Author) -> Self {
        Self { guard: Guard { rules: Arc::clone(rules), author }, plain: OnceLock::new(), tls: OnceCell::new() }
    }

    #[cfg(test)]
    pub(super) fn author(&self) -> Author {
        self.guard.author
    }

    async fn once(&self, method: Method, url: &AllowedUrl, mut headers: HeaderMap, body: Bytes) -> Result<Response, SendError> {
        headers.entry(USER_AGENT).or_insert(AGENT);
        if url.url.scheme() == "https" {
            let client = self.tls.get_or_try_init(|| build(tls(self.guard.clone()))).await?;
            return through(client, method, url, headers, body).await;
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.uri.clone();
        *request.headers_mut() = headers;
        let client = self.plain.get_or_init(|| plain(self.guard.clone()));
        let response = client.request(request).await.map_err(|error| why(&error, error.is_connect()))?;
        Ok(response.map(reqwest::Body::wrap).into())
    }
}

/// The way out through an HTTP proxy, which resolves names and is the one to enforce anything about addresses.
pub(super) struct Outer {
    address: Secret,
    client: OnceCell<reqwest::Client>,
}

/// The client shows the address where it is asked to show itself.
impl fmt::Debug for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outer").finish_non_exhaustive()
    }
}

impl Outer {
    pub(super) fn new(address: Secret) -> Self {
        Self { address, client: OnceCell::new() }
    }

    async fn once(&self, method: Method, url: &AllowedUrl, mut headers: HeaderMap, body: Bytes) -> Result<Response, SendError> {
        headers.entry(USER_AGENT).or_insert(AGENT);
        let build = || async {
            let proxy = reqwest::Proxy::all(self.address.expose_secret()).map_err(|_| SendError::Unreachable(Cause::NoClient))?;
            build(builder().proxy(proxy)).await
        };
        through(self.client.get_or_try_init(build).await?, method, url, headers, body).await
    }
}

/// Sends and follows what may be followed. Gives the head of the response; its body is read from it.
pub(super) async fn send<H: Fn() -> HeaderMap>(
    clients: &Clients,
    outer: Option<&Outer>,
    request: Outgoing<'_, H>,
) -> Result<Response, SendError> {
    let Outgoing { method, url, headers, body } = request;
    let mut hop: Option<AllowedUrl> = None;
    for _ in 0..=MAX_REDIRECTS {
        let url = hop.as_ref().unwrap_or(url);
        let mut headers = headers();
        // SECURITY: who decodes bounds what comes out of it. Whoever does not ask is told not to be sent anything else.
        let decodes = headers.contains_key(ACCEPT_ENCODING);
        if !decodes {
            headers.insert(ACCEPT_ENCODING, IDENTITY);
        }
        let response = match outer {
            Some(outer) if !url.is_loopback() => outer.once(method.clone(), url, headers, body.clone()).await?,
            _ => clients.once(method.clone(), url, headers, body.clone()).await?,
        };
        if is_redirect(response.status()) {
            hop = Some(next_hop(&clients.guard.rules, url, &response)?);
            continue;
        }
        if !decodes && is_encoded(response.headers()) {
            return Err(SendError::Encoded);
        }
        return Ok(response);
    }
    Err(SendError::Redirected { how: Redirect::TooMany, to: url.shown() })
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The place a redirect leads to, if it may be followed.
fn next_hop(rules: &Rules, from: &AllowedUrl, response: &Response) -> Result<AllowedUrl, SendError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let refuse = |how, to| Err(SendError::Redirected { how, to });
    let Some((location, to)) = location.and_then(|location| Some((location, from.url.join(location).ok()?))) else {
        return refuse(Redirect::Nowhere, from.shown());
    };
    // SECURITY: configured headers go along, so that they must not come to another origin, nor from https to http.
    if from.url.origin() != to.origin() {
        return refuse(Redirect::OtherOrigin, origin(&to));
    }
    // Only these two keep the method and the body.
    if !matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return refuse(Redirect::Lossy(response.status()), from.shown());
    }
    Ok(rules.same_origin(from, location)?)
}

async fn through(
    client: &reqwest::Client,
    method: Method,
    url: &AllowedUrl,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, SendError> {
    let request = client.request(method, url.url.clone()).headers(headers).body(body);
    request.send().await.map_err(|error| {
        if error.is_connect() && error.is_timeout() {
            return SendError::Unreachable(Cause::Slow);
        }
        match why(&error, error.is_connect()) {
            // A connection that is made is not reset before something was said.
            SendError::Unreachable(Cause::Reset) if url.url.scheme() == "https" => SendError::Unreachable(Cause::Tls(Tls::CutOff)),
            error => error,
        }
    })
}

fn plain(guard: Guard) -> Plain {
    let builder = &mut legacy::Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(Connector::new(guard))
}

pub(super) fn tls(guard: Guard) -> reqwest::ClientBuilder {
    builder().dns_resolver(Arc::new(guard.clone())).connector_layer(guard)
}

/// SECURITY: no redirect is followed (custom headers would go along) and no
/// proxy variable is honoured (an outer proxy resolves names where we cannot see it).
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
}

/// Reads certificate files, so it would hold up the other tasks.
pub(super) async fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, SendError> {
    let building = tokio::task::spawn_blocking(move || {
        install_tls();
        builder.build()
    });
    building.await.ok().and_then(Result::ok).ok_or(SendError::Unreachable(Cause::NoClient))
}

fn install_tls() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // An error means that a provider is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// In our own words: the libraries' hold the URL, and with it what may be secret.
fn why(error: &(dyn std::error::Error + 'static), is_connect: bool) -> SendError {
    if !is_connect {
        return if is_no_http(error) { SendError::NotHttp } else { SendError::Lost };
    }
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return SendError::Refused(refusal.clone());
        }
        match error.downcast_ref::<Unresolved>() {
            Some(Unresolved::Refused(refusal)) => return SendError::Refused(refusal.clone()),
            Some(Unresolved::Unknown) => return SendError::Unreachable(Cause::UnknownName),
            None => {}
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return SendError::Unreachable(Cause::Tls(Tls::of(error)));
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return SendError::Unreachable(cause(io));
        }
        source = error.source();
    }
    SendError::Unreachable(Cause::Other)
}

/// Whether what came cannot be the head of an answer.
fn is_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    errors.any(|error| error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_parse() && !error.is_parse_too_large()))
}

fn cause(error: &io::Error) -> Cause {
    // An i/o error hides what it wraps from `source()`.
    if let Some(inner) = error.get_ref() {
        if let Some(inner) = inner.downcast_ref::<rustls::Error>() {
            return Cause::Tls(Tls::of(inner));
        }
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return cause(inner);
        }
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Cause::Reset,
        io::ErrorKind::TimedOut => Cause::Slow,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Cause::NoRoute,
        _ => Cause::Other,
    }
}
