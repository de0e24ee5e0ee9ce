//! A circuit breaker. While a store is failing, the breaker allows one probe at a time instead of one call for each
//! lease.

use super::clock::millis;
use super::options::Schedule;
use crate::error::Error;

/// The circuit breaker for one kind of call.
///
/// The breaker is closed while calls succeed. A failure of the whole store opens the breaker. While it is open, one
/// probe at a time is sent, with growing pauses between probes. All leases of a process share one probe.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Number of consecutive failures; the breaker is closed while this number is zero.
    failures: u32,
    /// When the next probe may be sent.
    retry_at: u64,
    /// When the breaker opened.
    opened_at: u64,
}

/// How the result of a call changed the breaker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Unchanged,
    /// The store has begun to fail.
    Opened,
    /// The store works again. It has failed for this many milliseconds.
    Closed(u64),
}

/// Whether a call for one stream shows that the store works.
#[derive(Debug)]
pub(super) enum ProbeResult {
    Works,
    Fails(Error),
    /// The error concerns only this stream, so it shows nothing about the store.
    Inconclusive,
}

impl Breaker {
    /// Returns how many more calls may start now.
    pub(super) fn capacity(&self, now: u64, in_flight: usize, max: usize) -> usize {
        match self.failures {
            0 => max.saturating_sub(in_flight),
            _ => usize::from(now >= self.retry_at && in_flight == 0),
        }
    }

    /// Returns when the next probe is due, if the breaker is open.
    pub(super) fn retry_at(&self) -> Option<u64> {
        (self.failures > 0).then_some(self.retry_at)
    }

    pub(super) fn record_success(&mut self, now: u64) -> Transition {
        match std::mem::take(&mut self.failures) {
            0 => Transition::Unchanged,
            _ => Transition::Closed(now.saturating_sub(self.opened_at)),
        }
    }

    pub(super) fn record_failure(&mut self, now: u64, schedule: &Schedule) -> Transition {
        let is_first = self.failures == 0;
        if is_first {
            self.opened_at = now;
        } else if now < self.retry_at {
            // This call started before the pause, so it was not the probe.
            return Transition::Unchanged;
        }
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + millis(schedule.backoff(self.failures));
        if is_first { Transition::Opened } else { Transition::Unchanged }
    }

    /// Ends the pause, because another call showed that the store may work again.
    pub(super) fn probe_now(&mut self) {
        self.retry_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::LeaseOptions;
    use super::*;

    #[test]
    fn circuit_breaker_allows_one_probe_at_a_time_until_one_succeeds() {
        let schedule = Schedule::new(&LeaseOptions::default(), Duration::from_secs(300));
        let mut breaker = Breaker::default();
        assert_eq!(breaker.capacity(0, 1, 4), 3);
        assert_eq!(breaker.record_failure(1_000, &schedule), Transition::Opened);
        let retry_at = breaker.retry_at().unwrap();
        assert!(retry_at > 1_000 && retry_at <= 1_050, "{retry_at}");
        assert_eq!(
            breaker.record_failure(1_001, &schedule),
            Transition::Unchanged,
            "the failed call was already in flight"
        );
        assert_eq!(breaker.retry_at(), Some(retry_at));
        assert_eq!(breaker.capacity(retry_at - 1, 0, 4), 0);
        assert_eq!((breaker.capacity(retry_at, 0, 4), breaker.capacity(retry_at, 1, 4)), (1, 0));
        assert_eq!(breaker.record_failure(retry_at, &schedule), Transition::Unchanged);
        assert!(breaker.retry_at().unwrap() > retry_at);
        assert_eq!(breaker.record_success(5_000), Transition::Closed(4_000));
        assert_eq!(breaker.record_success(5_001), Transition::Unchanged);
        assert_eq!((breaker.capacity(5_001, 0, 4), breaker.retry_at()), (4, None));
    }
}
