//! When all streams are read: at intervals, and at once when the store is back after an outage.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two readings.
pub(super) const ALL: Duration = Duration::from_secs(5);
/// The pause after a reading is at least this many times as long as the reading took. So it uses at most 3 % of a Redis
/// core.
const PAUSE_PER_READING: u32 = 32;
/// After an outage, streams register again without statistics, and get them a little later. In this time, the shortest
/// time between two readings is `SETTLING`.
const SETTLES: Duration = Duration::from_secs(12);
const SETTLING: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Pace {
    /// When the next reading is due.
    pub(super) due: Instant,
    /// The usual time between two readings.
    pub(super) interval: Duration,
    /// When the streams have settled after the last outage.
    settled: Instant,
    /// The number of times that the view was loaded again, and whether the store answered.
    seen: (u64, bool),
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, interval: ALL, settled: now, seen: (0, true) }
    }

    /// Makes a reading due if the view was loaded again or if the store answers again.
    pub(super) fn check(&mut self, resyncs: u64, answers: bool, now: Instant) {
        if answers && self.seen != (resyncs, answers) {
            (self.due, self.settled) = (now, now + SETTLES);
            self.seen.0 = resyncs;
        }
        self.seen.1 = answers;
    }

    /// Plans the next reading after one that took some time.
    pub(super) fn plan(&mut self, took: Duration, is_complete: bool, now: Instant) {
        let pause = took * PAUSE_PER_READING;
        self.due = now + pause.max(if now < self.settled { SETTLING } else { ALL });
        // A call that fails tells nothing about the usual time, e.g. if it times out.
        if is_complete {
            self.interval = pause.max(ALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the seconds until the next reading.
    fn wait(pace: &Pace, now: Instant) -> u64 {
        pace.due.duration_since(now).as_secs()
    }

    #[test]
    fn all_streams_are_read_at_once_and_more_often_after_an_outage() {
        let mut now = Instant::now();
        // The view was loaded again, or it continues.
        for (resyncs, is_noticed) in [(1, true), (1, false), (0, true)] {
            let mut pace = Pace::new(now);
            assert_eq!(wait(&pace, now), 0);
            pace.plan(SECOND / 100, true, now);
            pace.check(0, true, now);
            assert_eq!(wait(&pace, now), 5, "without an outage");
            if is_noticed {
                pace.check(0, false, now);
                // The reading times out.
                pace.plan(SECOND * 10, false, now);
                assert_eq!((wait(&pace, now), pace.interval), (320, ALL));
            }
            pace.check(resyncs, true, now);
            assert_eq!(wait(&pace, now), 0, "{resyncs} {is_noticed}");
            for expected in [2, 2, 2, 2, 2, 2, 5, 5] {
                pace.plan(SECOND / 100, true, now);
                pace.check(resyncs, true, now);
                assert_eq!(wait(&pace, now), expected);
                now += SECOND * 2;
            }
        }
    }

    #[test]
    fn large_registry_is_read_less_often_after_an_outage_too() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.check(1, true, now);
        pace.plan(SECOND, true, now);
        assert_eq!((wait(&pace, now), pace.interval.as_secs()), (32, 32));
    }
}
