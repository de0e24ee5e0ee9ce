//! A histogram of durations with fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a [`Histogram`], from 0.25 ms to 5 s. Longer durations are in one more bucket.
pub const BUCKETS: [Duration; 14] = [
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
];

/// Counts durations in the buckets of [`BUCKETS`]. All methods can be called by several threads at once.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::metrics::Histogram;
///
/// let histogram = Histogram::default();
/// histogram.observe(Duration::from_micros(300));
/// histogram.observe(Duration::from_secs(7));
/// let snapshot = histogram.snapshot();
/// assert_eq!((snapshot.counts[1], snapshot.count()), (1, 2));
/// assert_eq!(snapshot.sum, Duration::from_micros(7_000_300));
/// ```
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Adds a duration.
    pub fn observe(&self, duration: Duration) {
        let bucket = BUCKETS.iter().position(|bound| duration <= *bound).unwrap_or(BUCKETS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the present counts. Durations that are added at the same time may be missing.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)),
        }
    }
}

/// The counts of a [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistogramSnapshot {
    /// The number of durations in each bucket of [`BUCKETS`], without those in the buckets before it. The last element
    /// counts durations above all bounds.
    pub counts: [u64; BUCKETS.len() + 1],
    /// The sum of all durations.
    pub sum: Duration,
}

impl HistogramSnapshot {
    /// Returns the number of all durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_equal_to_a_bound_is_in_the_bucket_of_that_bound() {
        for (index, bound) in BUCKETS.into_iter().enumerate() {
            let histogram = Histogram::default();
            histogram.observe(bound);
            histogram.observe(bound + Duration::from_nanos(1));
            let counts = histogram.snapshot().counts;
            assert_eq!((counts[index], counts[index + 1]), (1, 1), "{bound:?}");
        }
        assert!(BUCKETS.is_sorted());
    }
}
