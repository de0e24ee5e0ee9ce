//! A clock that also counts the time while the machine is suspended.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// If the wall clock advances at least this many milliseconds more than the monotonic clock, the machine was
/// suspended.
const MIN_SUSPENSION: u64 = 1_000;

/// A clock that counts milliseconds since its creation, including suspensions.
///
/// The monotonic clock stands still while a machine is suspended, but the streams in the store still expire. The
/// wall clock shows how long the suspension lasted. If someone sets the wall clock forward, the leases are
/// recovered once without need.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    last: Mutex<Reading>,
}

/// The last reading of both clocks.
#[derive(Debug)]
struct Reading {
    monotonic: u64,
    wall: SystemTime,
    /// Total time that the machine was suspended.
    suspended: u64,
}

impl Reading {
    fn boottime(&mut self, monotonic: u64, wall: SystemTime) -> u64 {
        let wall_elapsed = millis(wall.duration_since(self.wall).unwrap_or_default());
        let monotonic_elapsed = monotonic.saturating_sub(self.monotonic);
        if wall_elapsed > monotonic_elapsed.saturating_add(MIN_SUSPENSION) {
            self.suspended += wall_elapsed - monotonic_elapsed;
        }
        // Two threads may read the clock in one order and reach this point in the opposite order.
        self.monotonic = self.monotonic.max(monotonic);
        self.wall = wall;
        self.monotonic + self.suspended
    }
}

impl Clock {
    pub(super) fn new() -> Self {
        let reading = Reading { monotonic: 0, wall: SystemTime::now(), suspended: 0 };
        Self { start: Instant::now(), last: Mutex::new(reading) }
    }

    /// Returns the time excluding suspensions. Calls are scheduled on this clock.
    pub(super) fn monotonic(&self) -> u64 {
        millis(self.start.elapsed())
    }

    /// Returns the time including suspensions. Streams expire on this clock. Named after `CLOCK_BOOTTIME`.
    pub(super) fn boottime(&self) -> u64 {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).boottime(self.monotonic(), SystemTime::now())
    }

    pub(super) fn instant(&self, monotonic: u64) -> Instant {
        self.start + Duration::from_millis(monotonic)
    }
}

/// Converts a duration to whole milliseconds. Saturates at about 500 million years.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_counts_suspensions_and_never_decreases() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let wall = |seconds| start + Duration::from_secs(seconds);
        let mut last = Reading { monotonic: 0, wall: start, suspended: 0 };
        assert_eq!(last.boottime(5_000, wall(5)), 5_000);
        assert_eq!(last.boottime(6_000, wall(606)), 606_000, "suspended for ten minutes");
        assert_eq!(last.boottime(7_000, wall(607)), 607_000);
        assert_eq!(last.boottime(8_000, wall(1)), 608_000, "the wall clock was set back");
        assert_eq!(last.boottime(9_000, wall(2)), 609_000);
        assert_eq!(last.boottime(8_990, wall(2)), 609_000, "boottime never decreases");
    }
}
