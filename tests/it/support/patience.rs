//! How long the tests wait for what must come, in one place.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine. Nothing waits this long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until there is something, for conditions that nothing announces.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    patiently(look).unwrap_or_else(|| panic!("waited in vain: {what}"))
}

/// Looks until there is something, or until patience ends.
pub(crate) fn patiently<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How long something must not happen, to count as something that does not happen.
const MOMENT: Duration = Duration::from_secs(1);

/// Looks for a moment whether something stays as it is.
#[track_caller]
pub(crate) fn stays(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + MOMENT;
    while Instant::now() < end {
        assert!(look(), "it does not stay so: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
