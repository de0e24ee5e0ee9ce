//! How far the shared feed reader is behind the change feed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time without a successful read after which reading counts as failing. A read that finds no entries takes up to 3 s.
const MAX_READ: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(in crate::redis) struct FeedLag(Mutex<Option<LastRead>>);

/// The last successful read of the feed.
#[derive(Clone, Copy, Debug)]
struct LastRead {
    ended: Instant,
    lag: Duration,
}

impl FeedLag {
    /// Notes a successful read, whose latest entry is this old.
    pub(super) fn note(&self, lag: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastRead { ended: Instant::now(), lag });
    }

    /// Returns the lag of the last read, or the time since that read if reading fails. Returns `None` before the first
    /// read.
    pub(in crate::redis) fn get(&self) -> Option<Duration> {
        let last = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = last.ended.elapsed();
        Some(if since > MAX_READ { since } else { last.lag })
    }
}
