//! Options of leases, and the schedule that follows from them.

use std::time::Duration;

use super::clock::millis;
use crate::backoff::Backoff;
use crate::registry::SameSource;
use crate::stream::limits::MAX_WRITES;

/// Default number of leases per call. One call of the Redis script accepts this many writes.
const BATCH: usize = 125;
/// Lower bound of the heartbeat interval: a twentieth of 1 s, which is the shortest time to live.
const MIN_HEARTBEAT: Duration = Duration::from_millis(50);
/// Upper bound of the default heartbeat interval, so that the statistics in lists are at most this old.
const MAX_DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);
/// Upper bound of the default for `max_backoff`, so that leases recover soon after any outage.
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Upper bound of the first pause after a failure.
pub(super) const MIN_BACKOFF: Duration = Duration::from_millis(50);

/// How the leases of a process learn that another client has taken over or removed a stream.
///
/// ```
/// use stream_registry::lease::{LeaseOptions, LossDetection};
///
/// let options = LeaseOptions::default().loss_detection(LossDetection::Heartbeat);
/// assert_ne!(options, LeaseOptions::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossDetection {
    /// From the change feed, usually within milliseconds.
    ///
    /// While there are leases, the process keeps one watch of the feed open: a connection to Redis, or a reader of
    /// events over HTTP. If the store has no feed, or the user may not read the feed, the leases learn of the loss as
    /// with `Heartbeat`.
    #[default]
    Feed,
    /// At the next write of the lease, i.e. within the heartbeat interval plus 10 %.
    ///
    /// Use `Heartbeat` if many processes share a store and each process has few leases.
    Heartbeat,
}

/// Options for the leases of a process.
///
/// ```
/// use std::time::Duration;
/// use stream_registry::lease::LeaseOptions;
///
/// let options = LeaseOptions::default().heartbeat(Duration::from_secs(10)).batch(500);
/// assert_eq!(options.heartbeat, Some(Duration::from_secs(10)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// The time between two writes of a lease, randomised by up to 10 %.
    ///
    /// At least 50 ms, at most half of the shortest time to live that the store has reported. Default: a fifth of
    /// that time to live, but at most 10 s.
    pub heartbeat: Option<Duration>,
    /// The number of leases that are written in one call, 1 to 1 000. Default: 125.
    pub batch: Option<usize>,
    /// The longest pause between two attempts while the store fails, at least 50 ms.
    ///
    /// Default: the heartbeat interval, but at most 5 s.
    pub max_backoff: Option<Duration>,
    /// How the leases learn that a stream was lost. Default: from the change feed.
    pub loss_detection: LossDetection,
    /// The part of `source_addr` that identifies a publisher when it registers again. Default: the whole address.
    pub same_source: SameSource,
}

impl LeaseOptions {
    /// Sets the time between two writes of a lease.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Sets the number of leases that are written in one call.
    #[must_use]
    pub fn batch(mut self, leases: usize) -> Self {
        self.batch = Some(leases);
        self
    }

    /// Sets the longest pause between two attempts while the store fails.
    #[must_use]
    pub fn max_backoff(mut self, pause: Duration) -> Self {
        self.max_backoff = Some(pause);
        self
    }

    /// Sets how the leases learn that a stream was lost.
    #[must_use]
    pub fn loss_detection(mut self, detection: LossDetection) -> Self {
        self.loss_detection = detection;
        self
    }

    /// Sets the part of `source_addr` that identifies a publisher that registers again.
    #[must_use]
    pub fn same_source(mut self, same_source: SameSource) -> Self {
        self.same_source = same_source;
        self
    }
}

/// The options for one store, with every default filled in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) ttl: Duration,
    pub(super) heartbeat: Duration,
    pub(super) batch: usize,
    pub(super) max_backoff: Duration,
}

impl Schedule {
    pub(super) fn new(options: &LeaseOptions, ttl: Duration) -> Self {
        let max_heartbeat = (ttl / 2).max(MIN_HEARTBEAT);
        let heartbeat =
            options.heartbeat.unwrap_or((ttl / 5).min(MAX_DEFAULT_HEARTBEAT)).clamp(MIN_HEARTBEAT, max_heartbeat);
        let max_backoff = options.max_backoff.unwrap_or(heartbeat.min(DEFAULT_MAX_BACKOFF)).max(MIN_BACKOFF);
        Self { ttl, heartbeat, batch: options.batch.unwrap_or(BATCH).clamp(1, MAX_WRITES), max_backoff }
    }

    /// Returns how long before its due time a lease can be written, if a batch has room.
    pub(super) fn max_early(&self) -> Duration {
        self.heartbeat / 10
    }

    /// Returns the pause until the next write of a lease: the interval plus up to 10 %.
    ///
    /// A lease can also be written [`max_early`](Self::max_early) before its due time. So the real interval varies
    /// by 10 % in both directions.
    ///
    /// Leases that are scheduled within the same 0.5 % of the interval get the same random pause. So streams that
    /// were registered together stay in one batch. The store writes such a batch faster, because the records are
    /// close together in its memory.
    pub(super) fn next_pause(&self, seed: u64, now: u64) -> Duration {
        let window = now / (millis(self.heartbeat) / 200).max(1);
        let random = fastrand::Rng::with_seed(seed.wrapping_add(window)).f64();
        self.heartbeat.mul_f64(1.0 + 0.1 * random)
    }

    /// Returns the pause after this many consecutive failures.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        Backoff { min: MIN_BACKOFF, max: self.max_backoff }.pause(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_schedule_depends_on_the_ttl_and_clamps_options() {
        let schedule = Schedule::new(&LeaseOptions::default(), Duration::from_secs(300));
        assert_eq!((schedule.heartbeat, schedule.batch), (Duration::from_secs(10), 125));
        assert_eq!(schedule.max_backoff, Duration::from_secs(5));
        let short = Schedule::new(&LeaseOptions::default(), Duration::from_secs(1));
        assert_eq!((short.heartbeat, short.max_backoff), (Duration::from_millis(200), Duration::from_millis(200)));
        let out_of_range =
            LeaseOptions::default().heartbeat(Duration::from_secs(3_600)).batch(0).max_backoff(Duration::ZERO);
        let clamped = Schedule::new(&out_of_range, Duration::from_secs(10));
        assert_eq!((clamped.heartbeat, clamped.batch, clamped.max_backoff), (Duration::from_secs(5), 1, MIN_BACKOFF));
    }

    #[test]
    fn backoff_pause_doubles_up_to_the_maximum() {
        let schedule = Schedule::new(&LeaseOptions::default(), Duration::from_secs(300));
        for (failures, max) in [(1, 50), (2, 100), (5, 800), (8, 5_000), (u32::MAX, 5_000)] {
            let max = Duration::from_millis(max);
            for _ in 0..100 {
                let pause = schedule.backoff(failures);
                assert!(pause <= max && pause >= max / 2, "{failures}: {pause:?}");
            }
        }
    }

    #[test]
    fn heartbeat_pause_is_random_per_time_window_and_process() {
        let options = LeaseOptions::default().heartbeat(Duration::from_secs(60));
        let schedule = Schedule::new(&options, Duration::from_secs(300));
        let mut pauses: Vec<_> = (0..100).map(|window| schedule.next_pause(7, window * 300)).collect();
        assert_eq!(pauses[5], schedule.next_pause(7, 5 * 300 + 299));
        let longest = schedule.heartbeat + schedule.max_early();
        assert!(pauses.iter().all(|&pause| pause >= schedule.heartbeat && pause <= longest));
        assert_ne!(pauses, (0..100).map(|window| schedule.next_pause(8_000, window * 300)).collect::<Vec<_>>());
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 90, "{pauses:?}");
        assert!(pauses[pauses.len() - 1] - pauses[0] > schedule.max_early() / 2);
    }
}
