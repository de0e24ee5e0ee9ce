//! How far the shared feed reader is behind the change feed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time without a successful read after which reading counts as failing. A read that finds no entries takes up to 3 s.
const MAX_READ: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(in crate::redis) struct FeedLag(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The lag of the last successful read.
    last: Option<Duration>,
    /// When the reader began to read, or last read successfully. `None` while it rests because no watch waits.
    reading_since: Option<Instant>,
}

impl FeedLag {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock, so the lock is never poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the reader reads.
    pub(super) fn begin(&self) {
        self.lock().reading_since.get_or_insert_with(Instant::now);
    }

    /// Notes a successful read, whose latest entry is this old.
    pub(super) fn note(&self, lag: Duration) {
        *self.lock() = State { last: Some(lag), reading_since: Some(Instant::now()) };
    }

    /// Notes that the reader rests.
    pub(super) fn rest(&self) {
        self.lock().reading_since = None;
    }

    /// Returns the lag of the last read, or the time since that read if reading fails. Returns `None` before the first
    /// read.
    pub(in crate::redis) fn get(&self) -> Option<Duration> {
        self.get_at(Instant::now())
    }

    fn get_at(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let since = state.reading_since.map(|since| now.saturating_duration_since(since));
        since.filter(|since| *since > MAX_READ).or(state.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_grows_while_reads_fail_but_not_while_no_watch_waits() {
        let lag = FeedLag::default();
        let after = |seconds| lag.get_at(Instant::now() + Duration::from_secs(seconds));
        assert_eq!(after(10), None);
        lag.note(Duration::from_millis(20));
        assert_eq!(after(3), Some(Duration::from_millis(20)));
        assert!(after(10).is_some_and(|lag| lag > Duration::from_secs(9)));
        lag.rest();
        assert_eq!(after(10), Some(Duration::from_millis(20)));
        lag.begin();
        assert!(after(10).is_some_and(|lag| lag > Duration::from_secs(9)));
    }
}
