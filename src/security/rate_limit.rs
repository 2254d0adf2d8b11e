//! How often something may be done (threat model T23): token buckets on the monotonic clock, so that setting the
//! machine's time changes nothing.
//!
//! Who may do it is a *principal*: a session, an address where there are no sessions, or a workspace where each key has
//! its own. A principal's bucket lives in what stands for it ([`Allowance`]), so that there is no table to look it up in
//! and nothing to clean up; only addresses need one ([`addresses`]). To take from a bucket is one atomic operation.

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

pub use self::addresses::Addresses;
use super::Author;

pub mod addresses;

/// So many times the quota of one session have all sessions of one address together: a session is had for the asking, an
/// address is not. A team of which ten call without a pause at a time passes through one reverse proxy unhurt, and one
/// address alone leaves nine tenths of everybody's quota, as it is unless told otherwise.
pub const ADDRESS_FACTOR: NonZeroU32 = NonZeroU32::new(10).expect("it is above zero");

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

    /// The same for so many principals together.
    #[must_use]
    pub fn times(self, factor: NonZeroU32) -> Self {
        Self { per_minute: self.per_minute.saturating_mul(factor), burst: self.burst.saturating_mul(factor) }
    }

    /// Half of it, and at least one.
    #[must_use]
    pub fn halved(self) -> Self {
        let half = |count: NonZeroU32| NonZeroU32::new(count.get() / 2).unwrap_or(NonZeroU32::MIN);
        Self { per_minute: half(self.per_minute), burst: half(self.burst) }
    }

    /// How long it takes until an empty bucket is full.
    fn refill(self) -> Duration {
        Duration::from_secs(60) * self.burst.get() / self.per_minute.get()
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

/// What a principal may still use.
#[derive(Debug)]
pub enum Allowance {
    Unlimited,
    Own(Bucket),
    /// That of an address.
    Of(Arc<Addresses>, IpAddr),
    /// A session's own, and the one that it shares with the others of its address.
    Within(Bucket, Arc<Bucket>),
}

impl Allowance {
    pub fn new(rate: Option<Rate>) -> Self {
        rate.map_or(Self::Unlimited, |rate| Self::Own(Bucket::new(rate)))
    }

    /// The same, shared with all that come from this address.
    #[must_use]
    pub fn within(self, addresses: &Addresses, from: IpAddr) -> Self {
        match self {
            Self::Own(own) => Self::Within(own, addresses.bucket(from)),
            other @ (Self::Unlimited | Self::Of(..) | Self::Within(..)) => other,
        }
    }

    fn take(&self) -> Result<(), (Limit, Duration)> {
        let own = |wait| (Limit::ToolCalls, wait);
        match self {
            Self::Unlimited => Ok(()),
            Self::Own(bucket) => bucket.take().map_err(own),
            Self::Of(addresses, from) => addresses.bucket(*from).take().map_err(own),
            // SECURITY: the own one first: a session that has used up its own must not empty that of its neighbours.
            Self::Within(bucket, shared) => {
                bucket.take().map_err(own)?;
                shared.take().map_err(|wait| (Limit::Address, wait))
            }
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
            principal.take().map_err(|(limit, wait)| Exceeded {
                limit,
                rate: if limit == Limit::Address { rate.times(ADDRESS_FACTOR) } else { rate },
                wait,
            })?;
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
    /// Those of all sessions of one address.
    Address,
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
            Limit::Address => ("tool calls of one address", "--rate-limit-tools"),
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
