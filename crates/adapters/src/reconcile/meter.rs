//! Totals, bit rate and stalls of one stream, from the counters of its sessions.

use std::time::Duration;

use stream_registry::stream::limits::MAX_COUNT;

use super::Profile;
use crate::model::Counters;

/// Adds up the counters of the sessions of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// Totals of the sessions that are over.
    base: Counters,
    /// Totals of the current session.
    current: Counters,
    /// When the counters last changed; `None` if the current session has no counters yet.
    moved: Option<Duration>,
    /// Time and total bytes at which the measurement of the bit rate began.
    reference: Option<(Duration, u64)>,
    /// The last bit rate that was computed.
    bitrate: Option<u64>,
}

impl Meter {
    /// Begins a session. `counted` are the counters of this session that are part of the totals already, if it was
    /// the current session before.
    pub(super) fn begin_session(&mut self, counted: Counters) {
        let base = combine(self.totals(), counted, u64::saturating_sub);
        *self = Self { base, current: counted, ..Self::default() };
    }

    /// Returns the counters of the current session.
    pub(super) fn current(&self) -> Counters {
        self.current
    }

    /// Applies the counters that the server shows now.
    pub(super) fn observe(&mut self, now: Duration, counters: Counters, profile: &Profile) {
        let fell = |new: Option<u64>, old: Option<u64>| new.zip(old).map(|(new, old)| new < old);
        // Only a reset makes the bytes fall. Losses may fall without a reset, because a lost packet may still arrive.
        let is_reset = fell(counters.bytes, self.current.bytes)
            .or_else(|| fell(counters.packets, self.current.packets))
            .unwrap_or(false);
        if is_reset {
            self.base = self.totals();
            self.current = Counters::default();
        }
        let before = self.current;
        self.current = combine(before, counters, u64::max);
        if counters.bytes.is_none() && counters.packets.is_none() {
            self.moved = None;
        } else if is_reset
            || self.moved.is_none()
            || (before.bytes, before.packets) != (self.current.bytes, self.current.packets)
        {
            self.moved = Some(now);
        }
        if counters.bytes.is_some() {
            self.measure(now, profile.rate_window);
        }
    }

    fn measure(&mut self, now: Duration, window: Duration) {
        let bytes = self.totals().bytes.unwrap_or(0);
        let Some((began, first)) = self.reference else {
            self.reference = Some((now, bytes));
            return;
        };
        let elapsed = now.saturating_sub(began);
        if elapsed < window || elapsed.is_zero() {
            return;
        }
        let bits = u128::from(bytes.saturating_sub(first)) * 8;
        let per_second = bits * 1_000_000 / elapsed.as_micros().max(1);
        self.bitrate = Some(u64::try_from(per_second).unwrap_or(MAX_COUNT).min(MAX_COUNT));
        self.reference = Some((now, bytes));
    }

    /// Returns the totals of all sessions.
    pub(super) fn totals(&self) -> Counters {
        combine(self.base, self.current, |base, current| base.saturating_add(current).min(MAX_COUNT))
    }

    /// Returns the bit rate in bits per second, computed over at least [`Profile::rate_window`].
    pub(super) fn bitrate(&self) -> Option<u64> {
        self.bitrate
    }

    /// Returns whether the counters have not changed for [`Profile::stall_after`]. A stream without counters does not
    /// stall.
    pub(super) fn is_stalled(&self, now: Duration, profile: &Profile) -> bool {
        self.moved.is_some_and(|moved| now.saturating_sub(moved) >= profile.stall_after)
    }
}

fn combine(a: Counters, b: Counters, join: fn(u64, u64) -> u64) -> Counters {
    let field = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b).map(|count| count.min(MAX_COUNT)),
    };
    Counters {
        bytes: field(a.bytes, b.bytes),
        packets: field(a.packets, b.packets),
        lost: field(a.lost, b.lost),
        retransmitted: field(a.retransmitted, b.retransmitted),
        dropped: field(a.dropped, b.dropped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Duplicates;

    const PROFILE: Profile = Profile {
        duplicates: Duplicates::KeepFirst,
        stall_after: Duration::from_secs(10),
        rate_window: Duration::from_secs(2),
        forget_after: Duration::from_secs(300),
    };

    fn bytes(bytes: u64) -> Counters {
        Counters { bytes: Some(bytes), ..Counters::default() }
    }

    fn observe(meter: &mut Meter, millis: u64, counters: Counters) {
        meter.observe(Duration::from_millis(millis), counters, &PROFILE);
    }

    #[test]
    fn totals_continue_when_a_counter_falls_without_a_new_session() {
        let mut meter = Meter::default();
        observe(&mut meter, 0, Counters { lost: Some(5), ..bytes(1000) });
        observe(&mut meter, 1000, Counters { lost: Some(1), ..bytes(300) });
        assert_eq!(meter.totals(), Counters { lost: Some(6), ..bytes(1300) });
    }

    #[test]
    fn falling_loss_counter_alone_is_not_a_reset() {
        let mut meter = Meter::default();
        observe(&mut meter, 0, Counters { lost: Some(5), ..bytes(1000) });
        observe(&mut meter, 1000, Counters { lost: Some(4), ..bytes(1100) });
        assert_eq!(meter.totals(), Counters { lost: Some(5), ..bytes(1100) });
    }

    #[test]
    fn totals_saturate_at_the_largest_counter() {
        let mut meter = Meter::default();
        observe(&mut meter, 0, bytes(u64::MAX));
        meter.begin_session(Counters::default());
        observe(&mut meter, 1000, bytes(u64::MAX));
        assert_eq!(meter.totals(), bytes(MAX_COUNT));
    }

    #[test]
    fn bitrate_is_none_until_the_first_window_passes_and_kept_within_a_window() {
        let mut meter = Meter::default();
        for (millis, total, expected) in [
            (0, 1_000, None),
            (1_000, 2_000, None),
            (2_000, 3_000, Some(8_000)),
            (3_000, 103_000, Some(8_000)),
            (4_000, 103_000, Some(400_000)),
            (6_500, 103_000, Some(0)),
        ] {
            observe(&mut meter, millis, bytes(total));
            assert_eq!(meter.bitrate(), expected, "at {millis} ms");
        }
    }

    #[test]
    fn new_session_has_no_bitrate_yet() {
        let mut meter = Meter::default();
        observe(&mut meter, 0, bytes(0));
        observe(&mut meter, 2_000, bytes(1_000));
        meter.begin_session(Counters::default());
        observe(&mut meter, 4_000, bytes(500));
        assert_eq!((meter.bitrate(), meter.totals()), (None, bytes(1_500)));
    }

    #[test]
    fn session_that_returns_is_not_counted_twice() {
        let mut meter = Meter::default();
        observe(&mut meter, 0, bytes(1_000));
        let counted = meter.current();
        meter.begin_session(Counters::default());
        observe(&mut meter, 1_000, bytes(10));
        meter.begin_session(counted);
        assert_eq!(meter.totals(), bytes(1_010));
        observe(&mut meter, 2_000, bytes(1_200));
        assert_eq!(meter.totals(), bytes(1_210));
    }

    #[test]
    fn stream_without_byte_and_packet_counters_never_stalls() {
        let mut meter = Meter::default();
        observe(&mut meter, 0, Counters { lost: Some(0), ..Counters::default() });
        observe(&mut meter, 60_000, Counters { lost: Some(0), ..Counters::default() });
        assert!(!meter.is_stalled(Duration::from_secs(60), &PROFILE));
    }
}
