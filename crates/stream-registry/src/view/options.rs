//! How a local view is kept current.

use std::num::NonZeroU32;
use std::time::Duration;

/// The longest time between two compares unless told otherwise.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// No store is walked through more often than that.
const MIN_COMPARE: Duration = Duration::from_millis(50);
/// As good as never, and a time that a clock can reach.
const MAX_COMPARE: Duration = Duration::from_secs(365 * 86_400);
/// Streams of one page: a store is never held for longer than that.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// The longest pause between two tries to reach a store.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(2);
const MIN_BACK_OFF: Duration = Duration::from_millis(20);

/// How a [`View`](super::View) is kept current.
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
    /// The time from the end of one compare with the store to the next, up to 10 % more or less by chance; at least
    /// 50 ms, at most a year. Default 30 s, or a quarter of the store's time to live where that is less.
    pub reconcile_every: Option<Duration>,
    /// About how many streams are read at once in a compare. Default 1 000.
    pub page: Option<NonZeroU32>,
}

impl ViewOptions {
    /// Sets the time from the end of one compare with the store to the next.
    #[must_use]
    pub fn reconcile_every(mut self, interval: Duration) -> Self {
        self.reconcile_every = Some(interval);
        self
    }

    /// Sets about how many streams are read at once in a compare.
    #[must_use]
    pub fn page(mut self, streams: NonZeroU32) -> Self {
        self.page = Some(streams);
        self
    }
}

/// The options with every default filled in, for one store.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    reconcile_every: Duration,
    pub(super) page: NonZeroU32,
}

impl Pace {
    pub(super) fn new(options: &ViewOptions, ttl: Duration) -> Self {
        let reconcile_every = options.reconcile_every.unwrap_or(COMPARE_EVERY.min(ttl / 4));
        let reconcile_every = reconcile_every.clamp(MIN_COMPARE, MAX_COMPARE);
        Self { reconcile_every, page: options.page.unwrap_or(PAGE) }
    }

    /// How long until the next compare, by chance: the views of many processes do not walk at once.
    pub(super) fn next(&self) -> Duration {
        self.reconcile_every.mul_f64(0.9 + 0.2 * fastrand::f64())
    }

    /// The pause after this many failures in a row: longer each time, and never the same for many.
    pub(super) fn back_off(failures: u32) -> Duration {
        let doubled = MIN_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(LONGEST_BACK_OFF).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_follow_the_time_to_live_and_pauses_grow_to_the_longest() {
        let every = |options: ViewOptions, ttl| Pace::new(&options, Duration::from_secs(ttl)).reconcile_every;
        assert_eq!(every(ViewOptions::default(), 300), Duration::from_secs(30));
        assert_eq!(every(ViewOptions::default(), 10), Duration::from_millis(2_500));
        assert_eq!(every(ViewOptions::default().reconcile_every(Duration::ZERO), 10), MIN_COMPARE);
        assert_eq!(every(ViewOptions::default().reconcile_every(Duration::MAX), 10), MAX_COMPARE);
        let pace = Pace::new(&ViewOptions::default(), Duration::from_secs(300));
        for (failures, longest) in [(1, 20), (3, 80), (9, 2_000), (u32::MAX, 2_000)] {
            let longest = Duration::from_millis(longest);
            for _ in 0..100 {
                let pause = Pace::back_off(failures);
                assert!(pause <= longest && pause >= longest / 2, "{failures}: {pause:?}");
                let next = pace.next();
                assert!(next >= Duration::from_secs(27) && next <= Duration::from_secs(33), "{next:?}");
            }
        }
    }
}
