//! A limit for warnings about the content of requests.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Limits a warning to one line per minute, so that a faulty client cannot fill the log.
#[derive(Debug, Default)]
pub(super) struct OncePerMinute(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    logged_at: Option<Instant>,
    /// Number of warnings since `logged_at` that were not logged.
    skipped: u64,
}

impl OncePerMinute {
    /// Returns whether to log the warning now. If so, returns the number of warnings skipped since the last logged one.
    pub(super) fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // No code panics while it holds this lock, so the lock is never poisoned.
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.logged_at.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(60)) {
            recent.skipped += 1;
            return None;
        }
        recent.logged_at = Some(now);
        Some(std::mem::take(&mut recent.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_is_logged_once_per_minute_with_the_number_of_skipped_warnings() {
        let warning = OncePerMinute::default();
        let start = Instant::now();
        let at = |seconds| warning.admit_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(59), at(60), at(61), at(120)], [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
