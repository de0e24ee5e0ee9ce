//! Options of a local view, and the schedule of its reconciliations.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::backoff::Backoff;

/// Upper bound of the default interval between two reconciliations.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// Lower bound of the interval between two reconciliations, which limits the load on the store.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Upper bound of the interval between two reconciliations: a year, which the clock can still express.
const MAX_INTERVAL: Duration = Duration::from_secs(365 * 86_400);
/// Default number of streams per page of a reconciliation.
const DEFAULT_PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// Pauses between two attempts to reach a store.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_secs(2) };

/// Options of a [`View`](crate::view::View).
///
/// ```
/// use std::time::Duration;
/// use stream_registry::view::ViewOptions;
/// let options = ViewOptions::default().reconcile_every(Duration::from_secs(10));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewOptions {
    /// The interval from the end of one reconciliation with the store to the start of the next, with a random
    /// deviation of up to 10 %. At least 50 ms, at most a year. Default: 30 s, or a quarter of the store's time to
    /// live if that is less.
    pub reconcile_every: Option<Duration>,
    /// The approximate number of streams per page of a reconciliation. Default: 1 000.
    pub page: Option<NonZeroU32>,
}

impl ViewOptions {
    /// Sets the interval from the end of one reconciliation to the start of the next.
    #[must_use]
    pub fn reconcile_every(mut self, interval: Duration) -> Self {
        self.reconcile_every = Some(interval);
        self
    }

    /// Sets the approximate number of streams per page of a reconciliation.
    #[must_use]
    pub fn page(mut self, streams: NonZeroU32) -> Self {
        self.page = Some(streams);
        self
    }
}

/// The options for one store, with all defaults applied.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    reconcile_every: Duration,
    pub(super) page: NonZeroU32,
}

impl Schedule {
    pub(super) fn new(options: &ViewOptions, ttl: Duration) -> Self {
        let reconcile_every = options.reconcile_every.unwrap_or(DEFAULT_INTERVAL.min(ttl / 4));
        let reconcile_every = reconcile_every.clamp(MIN_INTERVAL, MAX_INTERVAL);
        Self { reconcile_every, page: options.page.unwrap_or(DEFAULT_PAGE) }
    }

    /// Returns the time until the next reconciliation. The time is partly random, so that many processes do not
    /// reconcile at once.
    pub(super) fn next(&self) -> Duration {
        self.reconcile_every.mul_f64(0.9 + 0.2 * fastrand::f64())
    }

    /// Returns the pause after this many consecutive failures.
    pub(super) fn backoff(failures: u32) -> Duration {
        BACKOFF.pause(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconcile_interval_and_backoff_stay_within_their_limits() {
        let every = |options: ViewOptions, ttl| Schedule::new(&options, Duration::from_secs(ttl)).reconcile_every;
        assert_eq!(every(ViewOptions::default(), 300), Duration::from_secs(30));
        assert_eq!(every(ViewOptions::default(), 10), Duration::from_millis(2_500));
        assert_eq!(every(ViewOptions::default().reconcile_every(Duration::ZERO), 10), MIN_INTERVAL);
        assert_eq!(every(ViewOptions::default().reconcile_every(Duration::MAX), 10), MAX_INTERVAL);
        let schedule = Schedule::new(&ViewOptions::default(), Duration::from_secs(300));
        for (failures, longest) in [(1, 20), (3, 80), (9, 2_000), (u32::MAX, 2_000)] {
            let longest = Duration::from_millis(longest);
            for _ in 0..100 {
                let pause = Schedule::backoff(failures);
                assert!(pause <= longest && pause >= longest / 2, "{failures}: {pause:?}");
                let next = schedule.next();
                assert!(next >= Duration::from_secs(27) && next <= Duration::from_secs(33), "{next:?}");
            }
        }
    }
}
