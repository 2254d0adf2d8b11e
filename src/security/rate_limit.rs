//! How often something may be done (threat model T23): token buckets on the monotonic clock, so that setting the
//! machine's time changes nothing.
//!
//! Who may do it is a *principal*: a session, an address where there are no sessions, or a workspace where each key has
//! its own. A principal's bucket lives in what stands for it ([`Allowance`]), so that there is no table to look it up in
//! and nothing to clean up; only addresses need one. To take from a bucket is one atomic operation.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed, keyed::HashMapStateStore},
};

use super::Author;

/// Addresses that are told apart at a time, so that memory has an end. While there are more, all share [`SHARED`] buckets.
const ADDRESSES: usize = 100_000;

/// Enough that an attacker who has very many addresses meets the global limit before they are all empty.
const SHARED: usize = 1024;

/// How often, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_minute: NonZeroU32,
    /// So many may come together after a pause; then they come one by one.
    pub burst: NonZeroU32,
}

impl Rate {
    /// The quota of a whole minute may be used at once.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self { per_minute: count, burst: count }
    }

    fn quota(self) -> Quota {
        Quota::per_minute(self.per_minute).allow_burst(self.burst)
    }
}

/// One bucket of tokens. Not governor's default clock, which calibrates itself for a while at first use.
#[derive(Debug)]
pub struct Bucket<C: Clock = MonotonicClock>(RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>);

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        Self::with_clock(rate, MonotonicClock)
    }
}

impl<C: Clock> Bucket<C> {
    fn with_clock(rate: Rate, clock: C) -> Self {
        Self(RateLimiter::direct_with_clock(rate.quota(), clock))
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        self.0.check().map_err(|until| until.wait_time_from(self.0.clock().now()))
    }
}

/// Buckets of addresses.
#[derive(Debug)]
pub struct Addresses<C: Clock = MonotonicClock> {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
    room: usize,
    shared: Vec<Bucket<C>>,
    /// Nobody can tell which of them an address falls to.
    hasher: RandomState,
}

impl Addresses {
    pub fn new(rate: Rate) -> Self {
        Self::with_clock(rate, &MonotonicClock, ADDRESSES, SHARED)
    }
}

impl<C: Clock + Clone> Addresses<C> {
    fn with_clock(rate: Rate, clock: &C, room: usize, shared: usize) -> Self {
        let limiter = RateLimiter::new(rate.quota(), HashMapStateStore::default(), clock.clone());
        let shared = (0..shared).map(|_| Bucket::with_clock(rate, clock.clone())).collect();
        Self { limiter, room, shared, hasher: RandomState::new() }
    }

    fn take(&self, from: IpAddr) -> Result<(), Duration> {
        let network = network(from);
        if self.limiter.len() >= self.room {
            // To look for those that can be forgotten takes too long for one request.
            let bucket = usize::try_from(self.hasher.hash_one(network) % self.shared.len() as u64).unwrap_or(0);
            return self.shared[bucket].take();
        }
        let outcome = self.limiter.check_key(&network);
        outcome.map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// Forgets those whose bucket is full again; to be called every now and then.
    pub fn tidy(&self) {
        self.limiter.retain_recent();
    }
}

/// What one subscriber of the internet has: of IPv6 a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// What a principal may still use.
#[derive(Debug)]
pub enum Allowance {
    Unlimited,
    Own(Bucket),
    /// That of an address.
    Of(Arc<Addresses>, IpAddr),
}

impl Allowance {
    pub fn new(rate: Option<Rate>) -> Self {
        rate.map_or(Self::Unlimited, |rate| Self::Own(Bucket::new(rate)))
    }

    fn take(&self) -> Result<(), Duration> {
        match self {
            Self::Unlimited => Ok(()),
            Self::Own(bucket) => bucket.take(),
            Self::Of(addresses, from) => addresses.take(*from),
        }
    }
}

/// The limits of calls. `None` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Tool calls of one principal.
    pub tools: Option<Rate>,
    /// Requests to servers and to the proxy's own tools, of all principals together. It protects the machine.
    pub global: Option<Rate>,
    /// Whether `tools` counts calls to servers, too, that the owner of this machine wrote down: nobody limits their own
    /// machine unasked.
    pub owners_tools: bool,
    /// The same of `global`.
    pub owners_global: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    ToolCall,
    Other,
}

/// Decides about calls. Clones share the global bucket.
#[derive(Debug, Clone)]
pub struct Limiter {
    rates: Rates,
    global: Option<Arc<Bucket>>,
    /// Where all that use it are one principal.
    common: Option<Arc<Allowance>>,
}

/// Nothing is called without one. It is made here alone.
#[must_use]
#[derive(Debug)]
pub struct Permit(());

impl Limiter {
    pub fn new(rates: Rates) -> Self {
        Self { rates, global: rates.global.map(|rate| Arc::new(Bucket::new(rate))), common: None }
    }

    /// The same for a workspace that one key alone selects: all its sessions are one principal.
    #[must_use]
    pub fn of_one_principal(&self) -> Self {
        Self { common: Some(Arc::new(Allowance::new(self.rates.tools))), ..self.clone() }
    }

    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// What a principal begins with.
    pub fn allowance(&self) -> Allowance {
        if self.common.is_some() { Allowance::Unlimited } else { Allowance::new(self.rates.tools) }
    }

    /// Takes a token from the principal's bucket, and one from everybody's. `author` is who wrote the server down; it is
    /// asked for where that matters.
    ///
    /// # Errors
    /// [`Exceeded`] where one of them is empty.
    pub fn admit(&self, principal: &Allowance, what: What, author: impl Fn() -> Author) -> Result<Permit, Exceeded> {
        let Rates { tools, global, owners_tools, owners_global } = self.rates;
        let counts = |owners| owners || author() == Author::App;
        // SECURITY: the own bucket first: who has used up its own must not empty everybody's.
        if let (What::ToolCall, Some(rate)) = (what, tools)
            && counts(owners_tools)
        {
            let principal = self.common.as_deref().unwrap_or(principal);
            principal.take().map_err(|wait| Exceeded { limit: Limit::ToolCalls, rate, wait })?;
        }
        if let (Some(bucket), Some(rate)) = (&self.global, global)
            && counts(owners_global)
        {
            bucket.take().map_err(|wait| Exceeded { limit: Limit::Global, rate, wait })?;
        }
        Ok(Permit(()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    ToolCalls,
    Global,
}

/// Too many at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: Limit,
    pub rate: Rate,
    pub wait: Duration,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rate.per_minute;
        let (what, option) = match self.limit {
            Limit::ToolCalls => ("tool calls", "--rate-limit-tools"),
            Limit::Global => ("calls of all clients together", "--rate-limit-global"),
        };
        let seconds = seconds(self.wait);
        write!(f, "too many calls: {count} {what} a minute are allowed (`{option}`); try again in {seconds} s")
    }
}

impl std::error::Error for Exceeded {}

/// Whole seconds, at least one: who waits for so long is not refused again.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests;
