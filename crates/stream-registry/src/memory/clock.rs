//! The clock of the in-memory store: the system clock, or a manual clock that a test advances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::stream::Timestamp;

/// The current time on the monotonic clock and on the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Nanoseconds since the store was created, on the monotonic clock. This clock decides when streams expire.
    pub(crate) mono: u64,
    /// The wall-clock time, which is written into records.
    pub(crate) wall: Timestamp,
}

impl Now {
    /// Returns the time left until a deadline, or zero if the deadline has passed.
    pub(super) fn until(self, deadline: u64) -> Duration {
        Duration::from_nanos(deadline.saturating_sub(self.mono))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The system clock. Deadlines use the monotonic clock, so that a change of the wall clock does not expire streams.
    System { origin: Instant },
    /// A manual clock, which stands still until a test advances it.
    Manual { start: Timestamp, passed: Arc<AtomicU64> },
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System { origin: Instant::now() }
    }

    pub(crate) fn manual() -> Self {
        Self::Manual { start: Timestamp::now(), passed: Arc::default() }
    }

    pub(crate) fn mono(&self) -> u64 {
        match self {
            Self::System { origin } => nanos(origin.elapsed()),
            Self::Manual { passed, .. } => passed.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let mono = self.mono();
        let wall = match self {
            Self::System { .. } => Timestamp::now(),
            Self::Manual { start, .. } => Timestamp::from_unix_nanos(start.as_unix_nanos() + i128::from(mono)),
        };
        Now { mono, wall }
    }

    /// Advances a manual clock. Does nothing on the system clock.
    pub(crate) fn advance(&self, by: Duration) {
        if let Self::Manual { passed, .. } = self {
            passed.fetch_add(nanos(by), Ordering::SeqCst);
        }
    }
}

/// Converts a duration to nanoseconds. A duration of more than 584 years becomes `u64::MAX`.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
