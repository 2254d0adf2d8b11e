//! Who may ask for what (threat model T6 to T8).
//!
//! It is decided on the message that is dispatched, never on a path or a header beside the
//! key's own: what stands in the table of [`is_public`] is for everybody, all else needs the
//! key. Without a key a client is served from a workspace that holds nothing but the
//! proxy's own entries, so that what it must not see is not there.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::reply;
use crate::{
    downstream::Pool,
    protocol::{
        error::{ErrorObject, REFUSED},
        message::{Id, Kind, Message},
    },
    router::Router,
    secret::Secret,
    security::{
        rate_limit::{
            Rate,
            addresses::{Addresses, network},
        },
        token::{self, KeyDigest},
    },
};

/// Wrong keys of one address (of IPv6 a network) a minute. More are not even compared with anything that costs a
/// request to the App.
const FAILURES_A_MINUTE: NonZeroU32 = NonZeroU32::new(20).expect("it is above zero");

/// Addresses that are blocked at a time and told apart.
const BLOCKED: usize = 10_000;

/// What is asked of clients.
#[derive(Debug, Clone, Default)]
pub enum Config {
    /// Nothing: whoever reaches the port is served.
    #[default]
    Open,
    /// The proxy's own API key, for everything but what is public.
    Key(Secret),
    /// A key of the client's own, which selects its workspace.
    PerClient,
}

impl Config {
    pub fn is_per_client(&self) -> bool {
        matches!(self, Self::PerClient)
    }
}

/// Whether everybody may send this message.
pub fn is_public(message: &Message) -> bool {
    match message.kind() {
        Kind::Request => matches!(
            message.method(),
            "initialize" | "ping" | "server/discover" | "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list"
        ),
        Kind::Notification => true,
        Kind::Result | Kind::Error => false,
    }
}

/// One workspace, and whose it is.
#[derive(Debug)]
pub struct Workspace {
    pub router: Arc<Router>,
    /// `None` where no key is asked for.
    pub key: Option<KeyDigest>,
}

/// The workspaces of many keys.
pub trait Tenants: fmt::Debug + Send + Sync {
    /// The workspace of a key that is known to be good.
    fn known(&self, key: KeyDigest) -> Option<Arc<Workspace>>;

    /// Asks the App for the workspace of this key and starts it.
    fn start(&self, key: Secret) -> BoxFuture<'_, Result<Arc<Workspace>, Refused>>;

    /// The servers of each workspace, to be counted.
    fn pools(&self) -> Vec<Pool>;
}

/// Why a key has no workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The App does not know the key.
    Key,
    /// There are as many workspaces as may be.
    Full,
    /// The App cannot be asked.
    Away,
}

/// What a request may use.
#[derive(Debug, Clone)]
pub struct Grant {
    workspace: Arc<Workspace>,
    /// A key may come later.
    anonymous: bool,
}

impl Grant {
    pub fn router(&self) -> &Arc<Router> {
        &self.workspace.router
    }

    pub fn key(&self) -> Option<KeyDigest> {
        self.workspace.key
    }

    /// Whether a session that begins with it stays with it.
    pub fn is_final(&self) -> bool {
        !self.anonymous
    }
}

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    KeyMissing,
    KeyWrong,
    /// No key opens this, since all belong to clients.
    NotOperator,
    TooManyFailures {
        wait: Duration,
    },
    Unavailable(Refused),
}

/// Decides with which workspace a request is served.
#[derive(Debug)]
pub enum Gate {
    Open(Arc<Workspace>),
    Key { own: Arc<Workspace>, public: Arc<Workspace>, failures: Failures },
    PerClient { tenants: Arc<dyn Tenants>, public: Arc<Workspace>, failures: Failures },
}

impl Gate {
    /// `public` tells whether everything in the request is for everybody.
    ///
    /// # Errors
    /// [`Denied`]
    pub async fn admit(&self, headers: &HeaderMap, public: bool, from: IpAddr) -> Result<Grant, Denied> {
        let (everybodys, failures) = match self {
            Self::Open(own) => return Ok(Grant { workspace: Arc::clone(own), anonymous: false }),
            Self::Key { public, failures, .. } | Self::PerClient { public, failures, .. } => (public, failures),
        };
        let key = match bearer(headers) {
            Ok(Some(key)) => key,
            Ok(None) if public => return Ok(Grant { workspace: Arc::clone(everybodys), anonymous: true }),
            Ok(None) => return Err(Denied::KeyMissing),
            Err(NoBearer) => return Err(failures.count(from)),
        };
        let digest = KeyDigest::of(key);
        let workspace = match self {
            Self::Open(own) => Arc::clone(own),
            Self::Key { own, .. } if own.key == Some(digest) => Arc::clone(own),
            Self::Key { .. } => return Err(failures.count(from)),
            Self::PerClient { tenants, .. } => match tenants.known(digest) {
                Some(workspace) => workspace,
                None => self.start(tenants.as_ref(), key, failures, from).await?,
            },
        };
        Ok(Grant { workspace, anonymous: false })
    }

    async fn start(&self, tenants: &dyn Tenants, key: &[u8], failures: &Failures, from: IpAddr) -> Result<Arc<Workspace>, Denied> {
        if let Some(wait) = failures.blocks(from) {
            return Err(Denied::TooManyFailures { wait });
        }
        // What no App has given out is not worth a request to it.
        let Some(key) = std::str::from_utf8(key).ok().and_then(|key| token::api_key(key).ok()) else {
            return Err(failures.count(from));
        };
        match tenants.start(key).await {
            Ok(workspace) => Ok(workspace),
            Err(Refused::Key) => Err(failures.count(from)),
            Err(refused) => Err(Denied::Unavailable(refused)),
        }
    }

    /// Whether the request may see what is for the operator.
    ///
    /// # Errors
    /// [`Denied`] where the proxy's own key is asked for; [`Denied::NotOperator`] where there is none to ask for.
    pub fn admit_operator(&self, headers: &HeaderMap, from: IpAddr) -> Result<(), Denied> {
        match self {
            Self::Open(_) => Ok(()),
            Self::Key { own, failures, .. } => match bearer(headers) {
                Ok(Some(key)) if own.key == Some(KeyDigest::of(key)) => Ok(()),
                Ok(None) => Err(Denied::KeyMissing),
                Ok(Some(_)) | Err(NoBearer) => Err(failures.count(from)),
            },
            Self::PerClient { .. } => Err(Denied::NotOperator),
        }
    }

    /// To be called every now and then.
    pub fn tidy(&self) {
        match self {
            Self::Open(_) => {}
            Self::Key { failures, .. } | Self::PerClient { failures, .. } => failures.tidy(),
        }
    }
}

/// There is an `Authorization`, but no usable key in it.
#[derive(Debug)]
struct NoBearer;

/// The key of `Authorization: Bearer KEY` (RFC 6750, section 2.1), in any bytes.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, NoBearer> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next().map(HeaderValue::as_bytes) else { return Ok(None) };
    if values.next().is_some() {
        return Err(NoBearer);
    }
    let at = value.iter().position(|byte| *byte == b' ').ok_or(NoBearer)?;
    let (scheme, key) = (&value[..at], value[at..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") && !key.is_empty() { Ok(Some(key)) } else { Err(NoBearer) }
}

/// Counts wrong keys by address.
#[derive(Debug)]
pub struct Failures {
    counted: Addresses,
    blocked: Mutex<Blocked>,
}

/// Who has failed too often, and until when each waits, which is some seconds.
#[derive(Debug, Default)]
struct Blocked {
    each: HashMap<IpAddr, Instant>,
    /// All that are not told apart.
    others: Option<Instant>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { counted: Addresses::new(Rate::per_minute(FAILURES_A_MINUTE)), blocked: Mutex::default() }
    }
}

impl Failures {
    fn count(&self, from: IpAddr) -> Denied {
        match self.counted.bucket(from).take() {
            Ok(()) => {
                tracing::info!(%from, "a request with a wrong key was refused");
                Denied::KeyWrong
            }
            Err(wait) => {
                self.blocked().add(network(from), Instant::now() + wait, BLOCKED);
                Denied::TooManyFailures { wait }
            }
        }
    }

    /// How long an address still has to wait that has failed too often.
    fn blocks(&self, from: IpAddr) -> Option<Duration> {
        let until = self.blocked().until(network(from))?;
        Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    fn tidy(&self) {
        self.counted.tidy();
        self.blocked().tidy();
    }

    fn blocked(&self) -> MutexGuard<'_, Blocked> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocked {
    fn add(&mut self, network: IpAddr, until: Instant, room: usize) {
        if self.each.len() >= room && !self.each.contains_key(&network) {
            self.tidy();
        }
        if self.each.len() < room || self.each.contains_key(&network) {
            self.each.insert(network, until);
        } else {
            // SECURITY: an attack from very many addresses. Keys that are in use are served, and others wait a little.
            self.others = self.others.max(Some(until));
        }
    }

    fn until(&self, network: IpAddr) -> Option<Instant> {
        self.each.get(&network).copied().max(self.others)
    }

    fn tidy(&mut self) {
        let now = Instant::now();
        self.each.retain(|_, until| *until > now);
    }
}

impl Denied {
    pub fn into_response(self, id: Option<&Id>) -> Response {
        let error = |message: String| ErrorObject::new(REFUSED, message);
        match self {
            Self::KeyMissing => {
                reply::unauthorized(id, &error("an API key is needed for this; hint: send `Authorization: Bearer KEY`".to_owned()))
            }
            Self::KeyWrong => {
                let mut response = reply::unauthorized(id, &error("the API key is wrong".to_owned()));
                let invalid = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
                response.headers_mut().insert(header::WWW_AUTHENTICATE, invalid);
                response
            }
            Self::NotOperator => {
                let why = "clients' keys do not open this; hint: ask from the machine that the proxy runs on";
                reply::error(StatusCode::FORBIDDEN, id, &error(why.to_owned()))
            }
            Self::TooManyFailures { wait } => {
                reply::later(StatusCode::TOO_MANY_REQUESTS, id, &error("too many wrong keys from this address".to_owned()), wait)
            }
            Self::Unavailable(refused) => {
                let why = match refused {
                    Refused::Full => "too many workspaces are in use; try again later",
                    Refused::Key | Refused::Away => "the plugged.in App cannot be asked about the key; try again later",
                };
                reply::later(StatusCode::SERVICE_UNAVAILABLE, id, &error(why.to_owned()), Duration::from_secs(5))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_is_one_guesser() {
        let failures = Failures::default();
        let wrong = |n: u32| failures.count(address(&format!("2001:db8:0:1::{n:x}")));
        let allowed = (0..100).filter(|n| wrong(*n) == Denied::KeyWrong).count();
        assert_eq!(allowed, 20);
        assert!(failures.blocks(address("2001:db8:0:1:ffff::1")).is_some());
        assert_eq!(failures.blocks(address("2001:db8:0:2::1")), None);
        assert_eq!(failures.count(address("2001:db8:0:2::1")), Denied::KeyWrong);
        assert_eq!(failures.blocked().each.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_blocked_takes_no_memory_without_end() {
        let wait = Duration::from_secs(3);
        let mut blocked = Blocked::default();
        let (known, late) = (address("192.0.2.1"), address("192.0.2.2"));
        blocked.add(known, Instant::now() + wait, 1);
        assert_eq!(blocked.until(late), None);
        blocked.add(late, Instant::now() + wait, 1);
        assert_eq!((blocked.each.len(), blocked.until(late)), (1, Some(Instant::now() + wait)), "closed, not open");
        tokio::time::advance(2 * wait).await;
        blocked.add(late, Instant::now() + wait, 1);
        assert_eq!(blocked.each.keys().collect::<Vec<_>>(), [&late]);
        assert!(blocked.until(known).is_some_and(|until| until < Instant::now()));
    }
}
