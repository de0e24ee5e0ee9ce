//! When a failed delivery is repeated, and when the webhook gives up.

use std::time::Duration;

use stream_registry::backoff::Backoff;
use tokio::time::Instant;

/// Maximum number of requests in flight.
const IN_FLIGHT: usize = 8;

/// How failed deliveries are repeated.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Retry {
    /// Upper bound of the first pause. Default: 1 s.
    pub first_pause: Duration,
    /// Upper bound of every pause, also of those that a receiver demands with `Retry-After`. Default: 5 min.
    pub longest_pause: Duration,
    /// Number of attempts after which an event that the receiver rejects is given up. Default: 10.
    pub attempts: u32,
    /// Time after which an event is given up that gets no response or one such as 503, if the receiver has accepted
    /// other events since its first attempt. Default: 1 h.
    pub patience: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
            attempts: 10,
            patience: Duration::from_secs(3_600),
        }
    }
}

impl Retry {
    pub(super) fn pause(self, failures: u32) -> Duration {
        Backoff { min: self.first_pause, max: self.longest_pause }.pause(failures)
    }
}

/// The result of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has accepted the event.
    Accepted,
    /// The receiver is down or busy, so the event is not to blame.
    Unavailable,
    /// The receiver does not accept this event.
    Rejected,
}

impl Verdict {
    /// Interprets a status code; 0 if no response arrived.
    pub(super) fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Accepted,
            0 | 408 | 425 | 429 | 500.. => Self::Unavailable,
            _ => Self::Rejected,
        }
    }
}

/// Limits the requests to a receiver that is down.
///
/// After eight failures without a response between them that shows that the receiver is up, one request at a time is
/// sent, with growing pauses. Otherwise, a thousand events would be tried again and again.
#[derive(Debug)]
pub(super) struct Gate {
    retry: Retry,
    /// Number of failures since the last response that shows that the receiver is up.
    failures: u32,
    /// The end of the pause after these failures.
    opens_at: Instant,
    /// The end of the pause that the receiver has demanded.
    demanded_until: Instant,
    /// When an event was last accepted.
    accepted_at: Option<Instant>,
}

impl Gate {
    pub(super) fn new(retry: Retry, now: Instant) -> Self {
        Self { retry, failures: 0, opens_at: now, demanded_until: now, accepted_at: None }
    }

    /// Returns the maximum number of requests in flight.
    pub(super) fn limit(&self) -> usize {
        if self.failures as usize >= IN_FLIGHT { 1 } else { IN_FLIGHT }
    }

    /// Returns the time before which no request may be sent.
    pub(super) fn opens_at(&self) -> Instant {
        self.opens_at.max(self.demanded_until)
    }

    /// Notes the result of an attempt, and the pause that the receiver demands.
    pub(super) fn note(&mut self, verdict: Verdict, retry_after: Option<Duration>, now: Instant) {
        match verdict {
            Verdict::Unavailable => {
                self.failures = self.failures.saturating_add(1);
                // The first failures concern requests that were in flight together.
                let excess = self.failures.saturating_sub(IN_FLIGHT as u32 - 1);
                if excess > 0 {
                    self.opens_at = now + self.retry.pause(excess);
                }
                let demanded = retry_after.unwrap_or_default().min(self.retry.longest_pause);
                self.demanded_until = self.demanded_until.max(now + demanded);
            }
            Verdict::Accepted | Verdict::Rejected => {
                self.failures = 0;
                self.opens_at = now;
            }
        }
        if verdict == Verdict::Accepted {
            self.accepted_at = Some(now);
        }
    }

    /// Returns whether to give up an event after a failed attempt.
    pub(super) fn is_hopeless(&self, verdict: Verdict, failures: u32, first_attempt: Instant, now: Instant) -> bool {
        match verdict {
            Verdict::Accepted => false,
            Verdict::Rejected => failures >= self.retry.attempts,
            Verdict::Unavailable => {
                self.accepted_at.is_some_and(|at| at > first_attempt) && now - first_attempt >= self.retry.patience
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn statuses_show_whether_the_receiver_is_down_or_rejects_the_event() {
        for (statuses, expected) in [
            (&[200, 202, 204, 299][..], Verdict::Accepted),
            (&[0, 408, 425, 429, 500, 502, 503, 504, 599], Verdict::Unavailable),
            (&[101, 301, 302, 307, 400, 401, 403, 404, 409, 410, 413, 422], Verdict::Rejected),
        ] {
            for status in statuses {
                assert_eq!(Verdict::of(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn receiver_that_is_down_gets_one_request_at_a_time_with_growing_pauses() {
        let now = Instant::now();
        let mut gate = Gate::new(Retry::default(), now);
        for _ in 0..7 {
            gate.note(Verdict::Unavailable, None, now);
        }
        assert_eq!((gate.limit(), gate.opens_at()), (8, now));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            gate.note(Verdict::Unavailable, None, now);
            assert_eq!(gate.limit(), 1);
            pauses.push(gate.opens_at() - now);
        }
        assert!(pauses[0] >= SECOND / 2 && pauses[0] <= SECOND, "{pauses:?}");
        assert!(pauses[11] >= 150 * SECOND && pauses[11] <= 300 * SECOND, "{pauses:?}");
        gate.note(Verdict::Rejected, None, now);
        assert_eq!((gate.limit(), gate.opens_at()), (8, now), "a receiver that rejects an event is up");
    }

    #[test]
    fn pause_that_a_receiver_demands_is_bounded() {
        let now = Instant::now();
        for (demanded, expected) in [(7, 7), (0, 0), (100_000, 300), (u64::MAX, 300)] {
            let mut gate = Gate::new(Retry::default(), now);
            gate.note(Verdict::Unavailable, Some(Duration::from_secs(demanded)), now);
            assert_eq!(gate.opens_at() - now, expected * SECOND);
            // A request that was in flight at the same time may be accepted.
            gate.note(Verdict::Accepted, None, now);
            assert_eq!(gate.opens_at() - now, expected * SECOND);
        }
    }

    #[test]
    fn event_is_given_up_only_if_it_is_to_blame() {
        let start = Instant::now();
        let at = |minutes: u32| start + minutes * 60 * SECOND;
        let mut gate = Gate::new(Retry::default(), start);
        assert!(!gate.is_hopeless(Verdict::Rejected, 9, start, at(600)));
        assert!(gate.is_hopeless(Verdict::Rejected, 10, start, start));
        assert!(!gate.is_hopeless(Verdict::Unavailable, 1_000, start, at(600)), "the receiver may be down");
        gate.note(Verdict::Accepted, None, at(1));
        assert!(!gate.is_hopeless(Verdict::Unavailable, 1_000, start, at(59)));
        assert!(gate.is_hopeless(Verdict::Unavailable, 20, start, at(60)));
        assert!(!gate.is_hopeless(Verdict::Unavailable, 20, at(2), at(600)), "nothing was accepted since");
    }
}
