//! When the next attempt to connect is made, after others have failed: pauses that grow, and a circuit that opens. While it is open
//! callers are refused at once; then the next of them, or the end of the pause, makes one attempt that decides.

use std::time::Duration;

/// Failures in a row that open the circuit.
const OPENS_AT: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A caller that needs the server shortens a pause to this.
const DEMANDED: Duration = Duration::from_millis(100);
/// The first time that an open circuit refuses callers.
const FIRST_REFUSAL: Duration = Duration::from_secs(5);
const LONGEST_REFUSAL: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
}

/// What is waited for before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Without anybody who needs the server.
    pub pause: Duration,
    /// No attempt before this, whoever asks.
    pub least: Duration,
    /// Callers are refused meanwhile.
    pub is_open: bool,
}

impl Breaker {
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// A connection was of use.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last failure has opened the circuit.
    pub(super) fn has_just_opened(&self) -> bool {
        self.failures == OPENS_AT
    }

    /// `jitter` is of `0.0..1.0`: servers that fell together do not come back together.
    pub(super) fn rest(&self, jitter: f64) -> Rest {
        let Some(repeats) = self.failures.checked_sub(1) else {
            return Rest { pause: Duration::ZERO, least: Duration::ZERO, is_open: false };
        };
        let pause = doubled(FIRST_PAUSE, repeats).min(LONGEST_PAUSE).mul_f64(1.0 - jitter / 5.0);
        match self.failures.checked_sub(OPENS_AT) {
            None => Rest { pause, least: DEMANDED, is_open: false },
            Some(opened) => Rest { pause, least: doubled(FIRST_REFUSAL, opened).min(LONGEST_REFUSAL).min(pause), is_open: true },
        }
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    time.saturating_mul(1 << times.min(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_the_circuit_opens_and_stays_so() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.rest(0.0), Rest { pause: Duration::ZERO, least: Duration::ZERO, is_open: false });
        let mut seen = Vec::new();
        for _ in 0..10 {
            breaker.failed();
            let Rest { pause, least, is_open } = breaker.rest(0.0);
            seen.push((pause.as_secs(), least.as_millis(), is_open));
        }
        let expect = [
            (1, 100, false),
            (2, 100, false),
            (4, 100, false),
            (8, 100, false),
            (16, 5_000, true),
            (32, 10_000, true),
            (60, 20_000, true),
            (60, 30_000, true),
            (60, 30_000, true),
            (60, 30_000, true),
        ];
        assert_eq!(seen, expect);
        breaker.reset();
        assert!(!breaker.rest(0.0).is_open);
    }

    #[test]
    fn pauses_differ_by_up_to_a_fifth() {
        let mut breaker = Breaker::default();
        breaker.failed();
        for (jitter, millis) in [(0.0, 1_000), (0.5, 900), (1.0, 800)] {
            assert_eq!(breaker.rest(jitter).pause.as_millis(), millis);
        }
        (0..u32::from(u16::MAX)).for_each(|_| breaker.failed());
        assert_eq!(breaker.rest(1.0).pause.as_secs(), 48);
    }
}
