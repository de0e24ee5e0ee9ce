//! How leases are kept alive.

use std::time::Duration;

use crate::stream::limits::MAX_WRITES;

/// How many leases go in one call unless told otherwise: what a Redis script takes at once.
const BATCH: usize = 125;
/// Twenty heartbeats within the shortest time to live.
const MIN_HEARTBEAT: Duration = Duration::from_millis(50);
/// No store that is back is left alone for longer, however long its streams live.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
pub(super) const MIN_BACK_OFF: Duration = Duration::from_millis(50);

/// How the leases of a process are kept alive.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::lease::LeaseOptions;
/// let options = LeaseOptions::default().heartbeat(Duration::from_secs(10));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// The time between two writes of a lease, up to 10 % more or less by chance; from 50 ms to half of the store's time
    /// to live, the shortest that it has told. Default a fifth of it.
    pub heartbeat: Option<Duration>,
    /// How many leases are written in one call, 1 to 1 000. Default 125.
    pub batch: Option<usize>,
    /// The longest pause between two tries while the store fails; at least 50 ms. Default the time between two writes,
    /// 5 s at most.
    pub max_back_off: Option<Duration>,
}

impl LeaseOptions {
    /// Sets the time between two writes of a lease.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Sets how many leases are written in one call.
    #[must_use]
    pub fn batch(mut self, leases: usize) -> Self {
        self.batch = Some(leases);
        self
    }

    /// Sets the longest pause between two tries.
    #[must_use]
    pub fn max_back_off(mut self, pause: Duration) -> Self {
        self.max_back_off = Some(pause);
        self
    }
}

/// The options with every default filled in, for one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) ttl: Duration,
    pub(super) heartbeat: Duration,
    pub(super) batch: usize,
    pub(super) max_back_off: Duration,
}

impl Pace {
    pub(super) fn new(options: &LeaseOptions, ttl: Duration) -> Self {
        let longest = (ttl / 2).max(MIN_HEARTBEAT);
        let heartbeat = options.heartbeat.unwrap_or(ttl / 5).clamp(MIN_HEARTBEAT, longest);
        let max_back_off = options.max_back_off.unwrap_or(heartbeat.min(LONGEST_BACK_OFF)).max(MIN_BACK_OFF);
        Self { ttl, heartbeat, batch: options.batch.unwrap_or(BATCH).clamp(1, MAX_WRITES), max_back_off }
    }

    /// How much earlier than due a lease may be written where a batch has room.
    pub(super) fn early(&self) -> Duration {
        self.heartbeat / 10
    }

    /// When the next write is due: with [`early`](Self::early) the interval up to 10 % more or less. All that are planned
    /// within a two-hundredth of it vary alike, by chance: those that were registered together are written together,
    /// and what lies side by side in the store's memory is found the sooner.
    pub(super) fn next(&self, seed: u64, now: u64) -> Duration {
        let moment = now / (super::clock::millis(self.heartbeat) / 200).max(1);
        let chance = fastrand::Rng::with_seed(seed.wrapping_add(moment)).f64();
        self.heartbeat.mul_f64(1.0 + 0.1 * chance)
    }

    /// The pause after this many failures in a row: longer each time, and never the same for many.
    pub(super) fn back_off(&self, failures: u32) -> Duration {
        let doubled = MIN_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.max_back_off).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_time_to_live_and_limits_hold() {
        let pace = Pace::new(&LeaseOptions::default(), Duration::from_secs(300));
        assert_eq!((pace.heartbeat, pace.batch), (Duration::from_secs(60), 125));
        assert_eq!(pace.max_back_off, Duration::from_secs(5));
        let short = Pace::new(&LeaseOptions::default(), Duration::from_secs(1));
        assert_eq!(short.max_back_off, Duration::from_millis(200));
        let odd = LeaseOptions::default().heartbeat(Duration::from_secs(3_600)).batch(0).max_back_off(Duration::ZERO);
        let pace = Pace::new(&odd, Duration::from_secs(10));
        assert_eq!((pace.heartbeat, pace.batch, pace.max_back_off), (Duration::from_secs(5), 1, MIN_BACK_OFF));
    }

    #[test]
    fn pauses_grow_and_end_at_the_longest() {
        let pace = Pace::new(&LeaseOptions::default(), Duration::from_secs(300));
        for (failures, longest) in [(1, 50), (2, 100), (5, 800), (8, 5_000), (u32::MAX, 5_000)] {
            let longest = Duration::from_millis(longest);
            for _ in 0..100 {
                let pause = pace.back_off(failures);
                assert!(pause <= longest && pause >= longest / 2, "{failures}: {pause:?}");
            }
        }
        // Those of a moment alike, those of another one not, nor those of another process.
        let mut seen: Vec<_> = (0..100).map(|moment| pace.next(7, moment * 300)).collect();
        assert_eq!(seen[5], pace.next(7, 5 * 300 + 299));
        assert!(seen.iter().all(|&next| next >= pace.heartbeat && next <= pace.heartbeat + pace.early()));
        assert_ne!(seen, (0..100).map(|moment| pace.next(8_000, moment * 300)).collect::<Vec<_>>());
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 90, "{seen:?}");
        assert!(seen[99.min(seen.len() - 1)] - seen[0] > pace.early() / 2);
    }
}
