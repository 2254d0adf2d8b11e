//! Buckets of addresses: one for each, for as long as it holds less than a fresh one would.
//!
//! To find one takes a lock for a moment, so that a session looks once and keeps it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::clock::{Clock, MonotonicClock, Reference};

use super::{Bucket, Rate};

/// Addresses that are told apart at a time, so that memory has an end. While there are more, all others share [`SHARED`]
/// buckets.
const ROOM: usize = 100_000;

/// Enough that an attacker who has very many addresses meets the global limit before they are all empty.
const SHARED: usize = 1024;

/// Buckets of addresses.
#[derive(Debug)]
pub struct Addresses<C: Clock = MonotonicClock> {
    rate: Rate,
    clock: C,
    table: Mutex<HashMap<IpAddr, Entry<C>>>,
    room: usize,
    shared: Vec<Arc<Bucket<C>>>,
    /// Nobody can tell which of them an address falls to.
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry<C: Clock> {
    bucket: Arc<Bucket<C>>,
    /// When somebody last may have taken from it.
    used: C::Instant,
}

impl Addresses {
    pub fn new(rate: Rate) -> Self {
        Self::with_clock(rate, &MonotonicClock, ROOM, SHARED)
    }
}

impl<C: Clock + Clone> Addresses<C> {
    pub(super) fn with_clock(rate: Rate, clock: &C, room: usize, shared: usize) -> Self {
        let shared = (0..shared).map(|_| Arc::new(Bucket::with_clock(rate, clock.clone()))).collect();
        Self { rate, clock: clock.clone(), table: Mutex::default(), room, shared, hasher: RandomState::new() }
    }

    /// That of this address. Who holds it keeps it from being forgotten.
    pub fn bucket(&self, from: IpAddr) -> Arc<Bucket<C>> {
        let network = network(from);
        let used = self.clock.now();
        let mut table = self.table();
        if let Some(entry) = table.get_mut(&network) {
            entry.used = used;
            return Arc::clone(&entry.bucket);
        }
        if table.len() >= self.room {
            // To look for those that can be forgotten takes too long for one request.
            let bucket = usize::try_from(self.hasher.hash_one(network) % self.shared.len() as u64).unwrap_or(0);
            return Arc::clone(&self.shared[bucket]);
        }
        let bucket = Arc::new(Bucket::with_clock(self.rate, self.clock.clone()));
        table.insert(network, Entry { bucket: Arc::clone(&bucket), used });
        bucket
    }

    /// Forgets those whose bucket is full again; to be called every now and then.
    pub fn tidy(&self) {
        let now = self.clock.now();
        let refill = self.rate.refill();
        self.table().retain(|_, entry| {
            if Arc::strong_count(&entry.bucket) > 1 {
                entry.used = now;
            }
            refill > Duration::from(now.duration_since(entry.used))
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table().len()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Entry<C>>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one subscriber of the internet has: of IPv6 a network of 64 bits.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip @ IpAddr::V4(_) => ip,
    }
}
