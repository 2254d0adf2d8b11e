//! Lookups of single names, which clients cause and nobody else: they must not use up what the lists need
//! (threat model T23).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::security::rate_limit::{Bucket, Rate};

/// So long a name that the App does not know is not asked for again. Who adds it there waits no longer.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Names remembered at a time. There are no more where there is a limit, but for very high ones.
const ROOM: usize = 1_000;

pub(super) struct Lookups {
    pub(super) bucket: Option<Bucket>,
    /// Hashes of what the App does not know, and since when. Of the names themselves some are very long.
    unknown: Mutex<HashMap<u64, Instant>>,
    /// Nobody can make two names fall together.
    hasher: RandomState,
}

impl Lookups {
    /// `rate` is that of all requests; half of it stays for the others.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { bucket: rate.map(|rate| Bucket::new(rate.halved())), unknown: Mutex::default(), hasher: RandomState::new() }
    }

    /// Whether the App has just said that it does not know this.
    pub(super) fn is_unknown(&self, kind: &str, name: &str) -> bool {
        let key = self.hasher.hash_one((kind, name));
        self.unknown().get(&key).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    pub(super) fn note_unknown(&self, kind: &str, name: &str) {
        let key = self.hasher.hash_one((kind, name));
        let mut unknown = self.unknown();
        if unknown.len() >= ROOM {
            unknown.retain(|_, since| since.elapsed() < REMEMBERED);
        }
        if unknown.len() < ROOM {
            unknown.insert(key, Instant::now());
        }
    }

    fn unknown(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_the_app_does_not_know_is_remembered_for_a_while() {
        let lookups = Lookups::new(None);
        lookups.note_unknown("resource", "a:b");
        assert!(lookups.is_unknown("resource", "a:b"));
        assert!(!lookups.is_unknown("prompt", "a:b") && !lookups.is_unknown("resource", "a:c"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!lookups.is_unknown("resource", "a:b"));
        for n in 0..2 * ROOM {
            lookups.note_unknown("resource", &n.to_string());
        }
        assert_eq!(lookups.unknown().len(), ROOM);
        tokio::time::advance(REMEMBERED).await;
        lookups.note_unknown("resource", "a:b");
        assert_eq!(lookups.unknown().len(), 1);
    }
}
