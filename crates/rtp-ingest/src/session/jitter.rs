//! Interarrival jitter: RFC 3550, 6.4.1 and A.8.

use std::time::Duration;

/// The jitter of one source, in units of its clock.
#[derive(Clone, Debug, Default)]
pub struct Jitter {
    clock_rate: u32,
    /// Arrival minus timestamp of the packet before, modulo 2^32.
    transit: Option<u32>,
    estimate: f64,
}

impl Jitter {
    /// Takes in a packet that arrived this long after an instant that never changes.
    ///
    /// A clock rate unlike the one before begins anew; one of zero measures nothing.
    pub fn update(&mut self, arrival: Duration, timestamp: u32, clock_rate: u32) {
        if clock_rate == 0 {
            return;
        }
        if clock_rate != self.clock_rate {
            *self = Self { clock_rate, ..Self::default() };
        }
        let transit = units(arrival, clock_rate).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            // The difference is signed, modulo 2^32: the shorter way round.
            let forward = transit.wrapping_sub(before);
            let distance = f64::from(forward.min(forward.wrapping_neg()));
            self.estimate += (distance - self.estimate) / 16.0;
        }
    }

    /// Forgets the packet before: the sender's timestamps have begun anew.
    pub fn interrupt(&mut self) {
        self.transit = None;
    }

    /// Returns the jitter in milliseconds, once it is measured.
    pub fn milliseconds(&self) -> Option<f64> {
        self.transit?;
        Some(self.estimate * 1_000.0 / f64::from(self.clock_rate))
    }
}

/// The time in units of a clock, modulo 2^32.
fn units(time: Duration, clock_rate: u32) -> u32 {
    let units = time.as_nanos() * u128::from(clock_rate) / 1_000_000_000;
    // The lower half is meant: timestamps wrap alike.
    u32::try_from(units & u128::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(clock_rate: u32, packets: &[(u64, u32)]) -> Jitter {
        let mut jitter = Jitter::default();
        for (millis, timestamp) in packets {
            jitter.update(Duration::from_millis(*millis), *timestamp, clock_rate);
        }
        jitter
    }

    /// By hand: at 8 kHz one millisecond is 8 units; J += (|D| − J) / 16.
    #[test]
    fn known_runs() {
        for (what, packets, units) in [
            ("nothing to compare with", &[(0, 0)][..], 0.0),
            ("a perfect rhythm", &[(0, 0), (20, 160), (40, 320), (60, 480)], 0.0),
            ("one packet 10 ms late: 80 / 16", &[(0, 0), (30, 160)], 5.0),
            ("one packet 10 ms early: the same", &[(20, 0), (30, 160)], 5.0),
            ("late, then back: 5 + (80 − 5) / 16", &[(0, 0), (30, 160), (40, 320)], 9.6875),
            ("then perfect: 9.6875 − 9.6875 / 16", &[(0, 0), (30, 160), (40, 320), (60, 480)], 9.082_031_25),
            ("a frame in two packets 1 ms apart: 8 / 16", &[(0, 0), (1, 0)], 0.5),
            ("the timestamp wraps", &[(0, u32::MAX - 79), (20, 80)], 0.0),
            ("it wraps, and 10 ms late", &[(0, u32::MAX - 79), (30, 80)], 5.0),
        ] {
            let jitter = after(8_000, packets);
            assert!((jitter.estimate - units).abs() < 1e-9, "{what}: {} instead of {units}", jitter.estimate);
            let millis = jitter.milliseconds().unwrap();
            assert!((millis - units / 8.0).abs() < 1e-9, "{what}: {millis} ms");
        }
    }

    #[test]
    fn arrival_wraps_as_the_timestamp_does() {
        // At 90 kHz 2^32 units are 47 721.858 s: one packet before, one behind.
        let jitter = after(90_000, &[(47_721_850, 0), (47_721_870, 1_800)]);
        assert!(jitter.milliseconds().unwrap() < 0.01, "{jitter:?}");
    }

    #[test]
    fn without_a_clock_there_is_none() {
        assert_eq!(after(0, &[(0, 0), (30, 160)]).milliseconds(), None);
        assert_eq!(Jitter::default().milliseconds(), None);
    }

    #[test]
    fn another_clock_or_an_interruption_begins_anew() {
        let mut jitter = after(8_000, &[(0, 0), (30, 160)]);
        jitter.update(Duration::from_millis(60), 999_999, 90_000);
        assert_eq!(jitter.milliseconds(), Some(0.0));
        jitter.interrupt();
        jitter.update(Duration::from_millis(80), 5, 90_000);
        assert_eq!(jitter.milliseconds(), Some(0.0));
    }

    #[test]
    fn the_hostile_timestamp_gives_a_finite_figure() {
        let mut jitter = Jitter::default();
        for n in 0..10_000_u32 {
            jitter.update(Duration::from_millis(u64::from(n)), n.wrapping_mul(0x8000_0001), 1);
        }
        assert!(jitter.milliseconds().unwrap().is_finite());
    }
}
