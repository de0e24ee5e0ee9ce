//! One probe at a time while a store fails.

use super::options::Pace;
use crate::error::Error;

/// Whether calls of one kind go to the store: freely while they succeed; after a failure of the store as a whole one at a
/// time, after growing pauses, so that a hundred thousand leases knock as one.
#[derive(Debug, Default)]
pub(super) struct Gate {
    failures: u32,
    retry_at: u64,
    since: u64,
}

/// What the answer of a call changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    /// The store has begun to fail.
    Failed,
    /// The store has failed for so many milliseconds and is back.
    Back(u64),
}

/// What an answer about one stream says of the store.
#[derive(Debug)]
pub(super) enum Word {
    Works,
    Fails(Error),
    None,
}

impl Gate {
    /// How many more calls may go when so many are under way.
    pub(super) fn room(&self, now: u64, under_way: usize, most: usize) -> usize {
        match self.failures {
            0 => most.saturating_sub(under_way),
            _ => usize::from(now >= self.retry_at && under_way == 0),
        }
    }

    /// When the next probe is due, while the store fails.
    pub(super) fn retry_at(&self) -> Option<u64> {
        (self.failures > 0).then_some(self.retry_at)
    }

    pub(super) fn succeeded(&mut self, now: u64) -> Turn {
        if std::mem::take(&mut self.failures) == 0 { Turn::None } else { Turn::Back(now.saturating_sub(self.since)) }
    }

    pub(super) fn failed(&mut self, now: u64, pace: &Pace) -> Turn {
        let first = self.failures == 0;
        if first {
            self.since = now;
        } else if now < self.retry_at {
            // Begun before the pause.
            return Turn::None;
        }
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + super::clock::millis(pace.back_off(self.failures));
        if first { Turn::Failed } else { Turn::None }
    }

    /// Ends the pause: there is a sign that the store is back.
    pub(super) fn try_now(&mut self) {
        self.retry_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lease::LeaseOptions;

    #[test]
    fn one_probe_at_a_time_until_one_succeeds() {
        let pace = Pace::new(&LeaseOptions::default(), Duration::from_secs(300));
        let mut gate = Gate::default();
        assert_eq!(gate.room(0, 1, 4), 3);
        assert_eq!(gate.failed(1_000, &pace), Turn::Failed);
        let retry = gate.retry_at().unwrap();
        assert!(retry > 1_000 && retry <= 1_050, "{retry}");
        assert_eq!(gate.failed(1_001, &pace), Turn::None, "one that was under way");
        assert_eq!(gate.retry_at(), Some(retry));
        assert_eq!(gate.room(retry - 1, 0, 4), 0);
        assert_eq!((gate.room(retry, 0, 4), gate.room(retry, 1, 4)), (1, 0));
        assert_eq!(gate.failed(retry, &pace), Turn::None);
        assert!(gate.retry_at().unwrap() > retry);
        assert_eq!(gate.succeeded(5_000), Turn::Back(4_000));
        assert_eq!(gate.succeeded(5_001), Turn::None);
        assert_eq!((gate.room(5_001, 0, 4), gate.retry_at()), (4, None));
    }
}
