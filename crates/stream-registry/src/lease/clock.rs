//! The time that passes for a holder, also while its machine sleeps.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A wall clock that runs ahead of the monotonic one by more than this has seen the machine sleep, or was set.
const SLEPT: u64 = 1_000;

/// Milliseconds since the leases were made.
///
/// The monotonic clock stands still while a machine is suspended; then the wall clock says how long. A wall clock that
/// is set forward makes holders look after their streams once without need.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    mono: u64,
    wall: SystemTime,
    slept: u64,
}

impl Seen {
    fn lived(&mut self, mono: u64, wall: SystemTime) -> u64 {
        let by_wall = millis(wall.duration_since(self.wall).unwrap_or_default());
        let by_mono = mono.saturating_sub(self.mono);
        if by_wall > by_mono.saturating_add(SLEPT) {
            self.slept += by_wall - by_mono;
        }
        // Two threads may come in another order than they looked.
        self.mono = self.mono.max(mono);
        self.wall = wall;
        self.mono + self.slept
    }
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), seen: Mutex::new(Seen { mono: 0, wall: SystemTime::now(), slept: 0 }) }
    }

    /// The time by which calls are planned.
    pub(super) fn mono(&self) -> u64 {
        millis(self.start.elapsed())
    }

    /// The time by which streams live and die.
    pub(super) fn lived(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).lived(self.mono(), SystemTime::now())
    }

    pub(super) fn instant(&self, mono: u64) -> Instant {
        self.start + Duration::from_millis(mono)
    }
}

/// Half a thousand million years fit.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_of_the_machine_counts_and_a_clock_set_back_does_not() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let wall = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen { mono: 0, wall: start, slept: 0 };
        assert_eq!(seen.lived(5_000, wall(5)), 5_000);
        assert_eq!(seen.lived(6_000, wall(606)), 606_000, "suspended for ten minutes");
        assert_eq!(seen.lived(7_000, wall(607)), 607_000);
        assert_eq!(seen.lived(8_000, wall(1)), 608_000, "the wall clock was set back");
        assert_eq!(seen.lived(9_000, wall(2)), 609_000);
        assert_eq!(seen.lived(8_990, wall(2)), 609_000, "never back");
    }
}
