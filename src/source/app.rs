//! The App's REST interface: requests, their limits, and what their failures mean.
//!
//! It knows how to ask, not when; `source::refresh` decides that. The key leaves
//! this module in one header only.

pub mod activity;
pub mod device;
mod lookups;
pub(crate) mod wire;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::{
    protocol::server::{ServerConfig, ServerId},
    secret::Secret,
    security::{
        Author, Refusal,
        egress::{self, Cause, Policy, ReadError, Redirect, SendError, Tls},
        payload,
        rate_limit::{Bucket, Rate},
        redact,
    },
    source::{PromptRecord, ResourceRecord},
    telemetry::metrics::{self, AppOutcome, AppRequest, Limited},
};
use lookups::Lookups;
use wire::{Instruction, Listing, ToolListing};

/// Lists are read from the App's database; longer means that it is in trouble.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Before it answers, `/api/mcp-servers` renews each server's OAuth token that is
/// about to expire: up to 10 s a server.
const SERVERS_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said where the App gives none of its own words.
const NO_REASON: &str = "no reason given";

/// What is said of a connection on which a request may have arrived.
const LATE: &str = "it did not answer in time";
const BROKEN: &str = "the connection broke";
const NOT_HTTP: &str = "what answers there does not speak HTTP";

/// What is said where the request did not arrive.
pub(crate) const REFUSED: &str = "the connection was refused";
pub(crate) const UNKNOWN_NAME: &str = "its host name cannot be resolved";

/// Discovery answers when every server has been asked, 15 s each at most.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Config {
    /// `http` or `https`; a path is a prefix of the App's paths.
    pub base_url: Url,
    pub key: Secret,
    /// How often it is asked with this key.
    pub rate: Option<Rate>,
    /// The origin that it takes for its own, where that is not the one of `base_url`: it may be reached through a tunnel, or
    /// within a network of containers.
    pub origin: Option<String>,
    /// Judges where requests go, as for everything that the owner has named.
    pub egress: Arc<Policy>,
}

/// Asks the App. Clones share connections and limits.
#[derive(Clone)]
pub struct AppClient(Arc<Inner>);

struct Inner {
    base_url: Url,
    origin: String,
    key: Secret,
    egress: Arc<Policy>,
    bucket: Option<Bucket>,
    lookups: Lookups,
}

/// Why the App did not give what was asked for. The texts may be shown to clients:
/// they hold neither the key nor anything of an error's internals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    #[error("the plugged.in App refused the API key; check it, or make a new one in the App's settings")]
    Unauthorized,
    #[error("the plugged.in App allows no more requests at the moment; {}", again(*retry_after))]
    RateLimited { retry_after: Option<Duration> },
    #[error("the plugged.in App did not find it: {message}")]
    NotFound { message: String },
    /// 404 and 405 without the App's own words: it does not have this route.
    #[error("this plugged.in App is too old for this, or the base URL does not lead to an App")]
    TooOld,
    /// It has no key for the provider that it searches with, and says so under many statuses.
    #[error("the plugged.in App has no key for its AI provider; its operator has to set `OPENAI_API_KEY` there")]
    Unconfigured,
    /// Its rules against forged requests name another origin.
    #[error("the plugged.in App has another public address; name it by `--app-origin`")]
    Origin,
    /// Its own text is often that of its database.
    #[error("the plugged.in App failed ({status}): an internal error of the App")]
    Failing { status: u16, retry_after: Option<Duration> },
    /// Also `success: false` within a successful answer; then the status is 200.
    #[error("the plugged.in App refused the request ({status}): {message}")]
    Rejected { status: u16, message: String },
    #[error("the plugged.in App redirects to `{to}`; set the base URL to the address that it really has")]
    Redirected { to: String },
    #[error("the plugged.in App cannot be reached: {what}")]
    Network { what: &'static str },
    #[error("the plugged.in App cannot be reached: {0}")]
    Tls(Tls),
    /// The policy does not let us connect to where its address leads.
    #[error("the plugged.in App is not asked: {0}")]
    Refused(Refusal),
    #[error("the plugged.in App sent {what}; does the base URL lead to it?")]
    Unreadable { what: &'static str },
}

impl AppError {
    /// Whether the same request may succeed later without anybody changing
    /// anything.
    pub fn is_transient(&self) -> bool {
        match self {
            // What a name leads to can change.
            Self::RateLimited { .. } | Self::Failing { .. } | Self::Network { .. } | Self::Tls(_) | Self::Refused(_) => true,
            Self::Unauthorized
            | Self::NotFound { .. }
            | Self::TooOld
            | Self::Unconfigured
            | Self::Origin
            | Self::Rejected { .. }
            | Self::Redirected { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// Whether the App itself says that the key is no good for what every key may do. A page with 403 is that of something
    /// on the way.
    pub(crate) fn refuses_key(&self) -> bool {
        match self {
            Self::Unauthorized => true,
            Self::Rejected { status: 403, message } => message != NO_REASON,
            _ => false,
        }
    }

    fn outcome(&self) -> AppOutcome {
        match self {
            Self::Unauthorized => AppOutcome::Unauthorized,
            Self::RateLimited { .. } => AppOutcome::RateLimited,
            Self::NotFound { .. } | Self::TooOld => AppOutcome::NotFound,
            Self::Failing { .. } => AppOutcome::Failing,
            Self::Rejected { .. } | Self::Unconfigured | Self::Origin => AppOutcome::Rejected,
            Self::Network { .. } | Self::Tls(_) | Self::Refused(_) => AppOutcome::Unreachable,
            Self::Redirected { .. } | Self::Unreadable { .. } => AppOutcome::Unreadable,
        }
    }

    /// Whether it may have done what it was asked for, all the same.
    pub(crate) fn may_be_done(&self) -> bool {
        matches!(self, Self::Network { what: LATE | BROKEN | NOT_HTTP } | Self::Failing { .. } | Self::Unreadable { .. })
    }

    /// How long the App asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Failing { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverAnswer {
    /// The App's sentence; it does not tell whether any server answered.
    pub message: String,
}

/// What came of one request that shows whether the App is there, and what it makes of the key.
#[derive(Debug)]
pub struct Probe {
    /// How many servers it lists, and a sentence for each that cannot be used.
    pub servers: Result<(usize, Vec<String>), AppError>,
    /// The App's clock, as its answer shows it.
    pub date: Option<SystemTime>,
    pub took: Duration,
}

/// One request to the App. Path segments are percent-encoded when it is sent.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<Value>,
    /// With the headers that the App wants against forged requests.
    pub(crate) as_page: bool,
    /// Including the wait until a request is allowed.
    pub(crate) timeout: Duration,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a [&'a str]) -> Self {
        Self { method: Method::GET, path, query: &[], body: None, as_page: false, timeout: LIST_TIMEOUT }
    }
}

impl fmt::Debug for AppClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppClient").field("base_url", &self.0.base_url.as_str()).finish_non_exhaustive()
    }
}

impl AppClient {
    /// Makes no connection and no HTTP client yet.
    pub fn new(config: Config) -> Self {
        let Config { base_url, key, rate, origin, egress } = config;
        let origin = origin.unwrap_or_else(|| base_url.origin().ascii_serialization());
        Self(Arc::new(Inner { base_url, origin, key, egress, bucket: rate.map(Bucket::new), lookups: Lookups::new(rate) }))
    }

    pub fn base_url(&self) -> &Url {
        &self.0.base_url
    }

    pub(crate) async fn servers(&self) -> Result<Listing<ServerConfig>, AppError> {
        let request = Request { timeout: SERVERS_TIMEOUT, ..Request::get(&["api", "mcp-servers"]) };
        wire::servers(&self.request(request).await?)
    }

    /// Asks for the list of servers as always, and looks at the answer itself.
    pub async fn probe(&self) -> Probe {
        let request = Request { timeout: SERVERS_TIMEOUT, ..Request::get(&["api", "mcp-servers"]) };
        let begun = Instant::now();
        let late = Err(AppError::Network { what: LATE });
        let answer = timeout(SERVERS_TIMEOUT, self.exchange(self.0.bucket.as_ref(), request)).await.unwrap_or(late);
        let date = answer.as_ref().ok().and_then(|answer| answer.date);
        let took = begun.elapsed();
        let servers = answer.and_then(judge).and_then(|body| wire::servers(&body));
        Probe { servers: servers.map(|listing| (listing.items.len(), listing.warnings)), date, took }
    }

    pub(crate) async fn tools(&self) -> Result<ToolListing, AppError> {
        let path = ["api", "tools"];
        let prefixed = Request { query: &[("prefix_tools", "true")], ..Request::get(&path) };
        match self.request(prefixed).await {
            Ok(body) => wire::tools(&body, true),
            // One malformed slug in the App's database fails the whole list.
            Err(AppError::Failing { status: 500, .. }) => wire::tools(&self.request(Request::get(&path)).await?, false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn resources(&self) -> Result<Listing<ResourceRecord>, AppError> {
        wire::resources(&self.request(Request::get(&["api", "resources"])).await?)
    }

    pub(crate) async fn templates(&self) -> Result<Listing<ResourceRecord>, AppError> {
        wire::templates(&self.request(Request::get(&["api", "resource-templates"])).await?)
    }

    pub(crate) async fn prompts(&self) -> Result<Listing<PromptRecord>, AppError> {
        wire::prompts(&self.request(Request::get(&["api", "prompts"])).await?)
    }

    pub(crate) async fn instructions(&self) -> Result<Listing<Instruction>, AppError> {
        wire::instruction_list(&self.request(Request::get(&["api", "custom-instructions"])).await?)
    }

    /// The server that owns a resource, if the App knows.
    pub async fn resolve_resource(&self, uri: &str) -> Result<Option<ServerId>, AppError> {
        self.resolve(&["api", "resolve", "resource"], ("uri", uri)).await
    }

    /// The server that owns a prompt, if the App knows.
    pub async fn resolve_prompt(&self, name: &str) -> Result<Option<ServerId>, AppError> {
        self.resolve(&["api", "resolve", "prompt"], ("name", name)).await
    }

    async fn resolve(&self, path: &[&str], query: (&str, &str)) -> Result<Option<ServerId>, AppError> {
        let lookups = &self.0.lookups;
        let (kind, name) = query;
        if lookups.is_unknown(kind, name) {
            return Ok(None);
        }
        admit(lookups.bucket.as_ref(), Instant::now() + LIST_TIMEOUT).await?;
        match self.request(Request { query: &[query], ..Request::get(path) }).await {
            Ok(body) => wire::resolved(&body).map(Some),
            Err(AppError::NotFound { .. }) => {
                lookups.note_unknown(kind, name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the App look for the tools of one server, or of all. It answers when it
    /// is done, whatever the outcome; the lists then tell.
    pub async fn discover(&self, server: Option<&ServerId>, force: bool) -> Result<DiscoverAnswer, AppError> {
        let path = ["api", "discover", server.map_or("all", ServerId::as_str)];
        let request = Request {
            method: Method::POST,
            body: Some(json!({ "force_refresh": force })),
            timeout: DISCOVER_TIMEOUT,
            ..Request::get(&path)
        };
        let message = wire::message(&self.request(request).await?)?;
        Ok(DiscoverAnswer { message })
    }

    /// Sends one request and gives the body of a successful answer. The time limit
    /// includes waiting for the request limit.
    pub(crate) async fn request(&self, request: Request<'_>) -> Result<String, AppError> {
        self.request_within(self.0.bucket.as_ref(), request).await
    }

    /// The same with another request limit, or none.
    async fn request_within(&self, bucket: Option<&Bucket>, request: Request<'_>) -> Result<String, AppError> {
        let (limit, about) = (request.timeout, about(request.path));
        let late = || AppError::Network { what: LATE };
        let outcome = timeout(limit, self.send(bucket, request)).await.unwrap_or_else(|_| Err(late()));
        metrics::app_request(about, outcome.as_ref().map_or_else(AppError::outcome, |_| AppOutcome::Ok));
        outcome
    }

    async fn send(&self, bucket: Option<&Bucket>, request: Request<'_>) -> Result<String, AppError> {
        judge(self.exchange(bucket, request).await?)
    }

    async fn exchange(&self, bucket: Option<&Bucket>, request: Request<'_>) -> Result<Answer, AppError> {
        let Request { method, path, query, body, as_page, timeout } = request;
        let egress = &self.0.egress;
        let url = egress.allow(Author::Owner, url(&self.0.base_url, path, query).as_str()).map_err(AppError::Refused)?;
        let headers = self.headers(body.is_some(), as_page)?;
        let body = body.map(|body| body.to_string().into()).unwrap_or_default();
        admit(bucket, Instant::now() + timeout).await?;
        let response = egress.send(method, &url, || headers.clone(), body).await.map_err(|error| network(&error))?;
        take(response).await
    }

    fn headers(&self, has_body: bool, as_page: bool) -> Result<HeaderMap, AppError> {
        let text = format!("Bearer {}", self.0.key.expose_secret());
        let mut authorization = HeaderValue::try_from(text).map_err(|_| AppError::Unauthorized)?;
        authorization.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert(header::ACCEPT, json.clone());
        // Lists with their schemas become a tenth.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if has_body {
            headers.insert(header::CONTENT_TYPE, json);
        }
        if as_page {
            let origin = HeaderValue::try_from(&self.0.origin).map_err(|_| AppError::Origin)?;
            headers.insert(header::ORIGIN, origin);
            headers.insert("x-requested-with", HeaderValue::from_static("pluggedin-mcp-proxy"));
        }
        Ok(headers)
    }
}

/// The page on which people make and delete keys.
pub fn api_keys(base_url: &Url) -> Url {
    url(base_url, &["api-keys"], &[])
}

/// The base URL's own path stays in front.
fn url(base_url: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = base_url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// Waits until one more request is allowed, or fails at once where that would be after the deadline.
async fn admit(bucket: Option<&Bucket>, deadline: Instant) -> Result<(), AppError> {
    let Some(bucket) = bucket else { return Ok(()) };
    while let Err(wait) = bucket.take() {
        if Instant::now() + wait > deadline {
            metrics::limited(Limited::App);
            return Err(AppError::RateLimited { retry_after: Some(wait) });
        }
        sleep(wait).await;
    }
    Ok(())
}

/// For the metrics, which must not hold what is asked for in particular.
fn about(path: &[&str]) -> AppRequest {
    match path {
        ["api", "mcp-servers"] => AppRequest::Servers,
        ["api", "tools"] => AppRequest::Tools,
        ["api", "resources"] => AppRequest::Resources,
        ["api", "resource-templates"] => AppRequest::Templates,
        ["api", "prompts"] => AppRequest::Prompts,
        ["api", "custom-instructions"] => AppRequest::Instructions,
        ["api", "resolve", ..] => AppRequest::Resolve,
        ["api", "discover", ..] => AppRequest::Discover,
        ["api", "notifications", "mcp-activity"] => AppRequest::Activity,
        ["api", "rag", ..] => AppRequest::Knowledge,
        ["api", "notifications", ..] => AppRequest::Notifications,
        ["api", "documents", ..] => AppRequest::Documents,
        ["api", "clipboard", ..] => AppRequest::Clipboard,
        ["api", "memory", ..] => AppRequest::Memory,
        _ => AppRequest::Other,
    }
}

/// What the App answers, as it came.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    date: Option<SystemTime>,
    body: String,
}

async fn take(response: Response) -> Result<Answer, AppError> {
    let status = response.status();
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(delay);
    let date = response.headers().get(header::DATE).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let body = match body(response).await {
        Ok(body) => body,
        Err(error) if status.is_success() => return Err(error),
        // The status says enough.
        Err(_) => String::new(),
    };
    Ok(Answer { status, retry_after, date, body })
}

/// The body, if it is good news.
fn judge(answer: Answer) -> Result<String, AppError> {
    let Answer { status, retry_after: wait, date: _, body } = answer;
    if status.is_success() {
        return wire::in_band_failure(&body).map_or(Ok(body), Err);
    }
    let failure = wire::failure(&body);
    let app_speaks = failure.as_ref().is_some_and(|failure| failure.message.is_some());
    let failure = failure.unwrap_or_default();
    if let Some(error) = failure.known() {
        return Err(error);
    }
    let message = failure.message.unwrap_or_else(|| NO_REASON.to_owned());
    let retry_after = wait.or_else(|| failure.retry_after.as_deref().and_then(delay));
    Err(match status.as_u16() {
        401 => AppError::Unauthorized,
        404 if app_speaks => AppError::NotFound { message },
        404 | 405 => AppError::TooOld,
        429 => AppError::RateLimited { retry_after },
        status @ 500.. => AppError::Failing { status, retry_after },
        status => AppError::Rejected { status, message },
    })
}

async fn body(response: Response) -> Result<String, AppError> {
    let bytes = egress::read(response, payload::APP_ANSWER).await.map_err(|error| match error {
        ReadError::TooLong => AppError::Unreadable { what: "an answer of more than 64 MiB" },
        ReadError::Encoding => AppError::Unreadable { what: "an answer that is compressed in an unknown way" },
        ReadError::Broken => AppError::Network { what: BROKEN },
    })?;
    let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// `Retry-After`: seconds, or a date.
fn delay(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn network(error: &SendError) -> AppError {
    let what = match error {
        SendError::Refused(refusal) => return AppError::Refused(refusal.clone()),
        SendError::Redirected { how: Redirect::Nowhere, .. } => return AppError::Unreadable { what: "a redirect that leads nowhere" },
        SendError::Redirected { to, .. } => return AppError::Redirected { to: to.clone() },
        SendError::Encoded => return AppError::Unreadable { what: "an answer that is compressed in an unknown way" },
        SendError::Lost => BROKEN,
        SendError::NotHttp => NOT_HTTP,
        SendError::Unreachable(cause) => match cause {
            Cause::Refused => REFUSED,
            Cause::Reset => BROKEN,
            Cause::Slow => LATE,
            Cause::NoRoute => "there is no way to its network",
            Cause::UnknownName => UNKNOWN_NAME,
            Cause::Tls(tls) => return AppError::Tls(*tls),
            Cause::NoClient => "no HTTP client could be made; are the system's certificates readable?",
            Cause::Other => "no connection could be made",
        },
    };
    AppError::Network { what }
}

/// When to come back. Whoever asks for more than a day is not to be taken at its word.
pub(crate) fn again(retry_after: Option<Duration>) -> String {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    match retry_after {
        Some(wait) => format!("try again in {} s", wait.min(LONGEST).as_secs_f64().ceil()),
        None => "try again in a minute".to_owned(),
    }
}

/// A sentence of the App, fit to be shown: one short line, and nothing of its
/// database.
fn public_text(text: &str) -> String {
    const LONGEST: usize = 300;
    const INTERNAL: &str = "failed query";
    if text.trim_start().get(..INTERNAL.len()).is_some_and(|start| start.eq_ignore_ascii_case(INTERNAL)) {
        return "an internal error of the App".to_owned();
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    redact::quote(&line, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        for (text, expect) in
            [("0", "0"), ("0.2", "1"), ("271", "271"), ("86401", "86400"), ("1e15", "86400"), ("Fri, 31 Dec 9999 23:59:59 GMT", "86400")]
        {
            let wait = delay(text).expect("it is one");
            assert_eq!(again(Some(wait)), format!("try again in {expect} s"), "{text}");
        }
        assert_eq!(again(delay("soon")), "try again in a minute");
    }
}
