//! Options of a local view, and the schedule of its reconciliations.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::backoff::Backoff;

/// Upper bound of the default interval between two reconciliations.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// Without an explicit interval, the pause after a reconciliation is at least this many times as long as reading the pages
/// took. So the reconciliations of one view use at most 1.5 % of a Redis core.
const PAUSE_PER_READ: u32 = 64;
/// Upper bound of the pause, as a multiple of the default interval.
const MAX_STRETCH: u32 = 20;
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
    /// The interval from the end of one reconciliation with the store to the start of the next, with a random deviation
    /// of up to 10 %. At least 50 ms, at most a year. Default: 30 s, or a quarter of the store's time to live if that
    /// is less. In a large registry, the default is longer, up to twenty times: 64 times as long as reading all streams
    /// takes.
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
    /// Whether the interval is longer in a large registry.
    is_adaptive: bool,
    pub(super) page: NonZeroU32,
}

impl Schedule {
    pub(super) fn new(options: &ViewOptions, ttl: Duration) -> Self {
        let reconcile_every = options.reconcile_every.unwrap_or(DEFAULT_INTERVAL.min(ttl / 4));
        let reconcile_every = reconcile_every.clamp(MIN_INTERVAL, MAX_INTERVAL);
        let is_adaptive = options.reconcile_every.is_none();
        Self { reconcile_every, is_adaptive, page: options.page.unwrap_or(DEFAULT_PAGE) }
    }

    /// Returns the time until the next reconciliation. The time is partly random, so that many processes do not
    /// reconcile at once.
    pub(super) fn next(&self) -> Duration {
        self.reconcile_every.mul_f64(0.9 + 0.2 * fastrand::f64())
    }

    /// Returns the time until the next reconciliation, if the last one read the pages for this long.
    pub(super) fn after(&self, read: Duration) -> Duration {
        let wanted = read.saturating_mul(PAUSE_PER_READ).min(self.reconcile_every.saturating_mul(MAX_STRETCH));
        let stretch = wanted.saturating_sub(self.reconcile_every);
        self.next() + if self.is_adaptive { stretch } else { Duration::ZERO }
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

    #[test]
    fn reconcile_interval_grows_with_the_time_to_read_a_large_registry() {
        let schedule = |options: &ViewOptions| Schedule::new(options, Duration::from_secs(300));
        let adaptive = schedule(&ViewOptions::default());
        for (read, least, most) in [(0, 27, 33), (400, 27, 33), (2_000, 125, 131), (60_000, 597, 603)] {
            let pause = adaptive.after(Duration::from_millis(read));
            assert!(pause >= Duration::from_secs(least) && pause <= Duration::from_secs(most), "{read}: {pause:?}");
        }
        let fixed = schedule(&ViewOptions::default().reconcile_every(Duration::from_secs(10)));
        assert!(fixed.after(Duration::from_secs(60)) <= Duration::from_secs(11));
    }
}
