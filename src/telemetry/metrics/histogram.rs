//! How long things took, sorted into buckets.

use std::time::Duration;

use super::Counter;

/// Upper edges in microseconds, and how they are written: as OpenMetrics wants numbers to be, so that
/// both formats name the same series. From a tool that answers from memory to one that asks a model.
const EDGES: [(u64, &str); 15] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
];

#[derive(Debug, Default)]
pub struct Histogram {
    /// What fell between an edge and the one before it; the last holds the rest.
    buckets: [Counter; EDGES.len() + 1],
    /// Microseconds, altogether.
    sum: Counter,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // An edge belongs to the bucket below it. Not rounded down, which would put what is a little more there as well.
        let rounded_up = micros.saturating_add(u64::from(!took.subsec_nanos().is_multiple_of(1_000)));
        self.buckets[EDGES.partition_point(|(edge, _)| *edge < rounded_up)].increment();
        self.sum.add(micros);
    }

    /// The edges with how many were at most that long; the last edge is `+Inf`.
    pub fn cumulated(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let edges = EDGES.iter().map(|(_, text)| *text).chain(["+Inf"]);
        edges.zip(&self.buckets).scan(0, |count, (edge, bucket)| {
            *count += bucket.get();
            Some((edge, *count))
        })
    }

    /// In seconds.
    pub fn sum(&self) -> f64 {
        Duration::from_micros(self.sum.get()).as_secs_f64()
    }
}
