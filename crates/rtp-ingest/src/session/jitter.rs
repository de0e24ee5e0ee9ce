//! Interarrival jitter (RFC 3550, section 6.4.1 and appendix A.8).

use std::time::Duration;

/// Jitter estimate of one source.
#[derive(Clone, Debug, Default)]
pub struct Jitter {
    clock_rate: u32,
    /// Transit time of the previous packet: its arrival time minus its RTP timestamp, in clock units modulo 2^32.
    transit: Option<u32>,
    /// Estimate in clock units.
    estimate: f64,
}

impl Jitter {
    /// Updates the estimate with a packet. `arrival` is the time since a fixed instant.
    ///
    /// A changed clock rate resets the estimate. A clock rate of zero is ignored.
    pub fn update(&mut self, arrival: Duration, timestamp: u32, clock_rate: u32) {
        if clock_rate == 0 {
            return;
        }
        if clock_rate != self.clock_rate {
            *self = Self { clock_rate, ..Self::default() };
        }
        let transit = units(arrival, clock_rate).wrapping_sub(timestamp);
        if let Some(previous) = self.transit.replace(transit) {
            // The absolute difference modulo 2^32 is the shorter of the two distances.
            let forward = transit.wrapping_sub(previous);
            let distance = f64::from(forward.min(forward.wrapping_neg()));
            // J += (|D| - J) / 16; see RFC 3550, section 6.4.1.
            self.estimate += (distance - self.estimate) / 16.0;
        }
    }

    /// Forgets the previous packet. Call this method when the sender's timestamps have restarted.
    pub fn interrupt(&mut self) {
        self.transit = None;
    }

    /// Returns the jitter in milliseconds, or `None` if no packet was measured.
    pub fn milliseconds(&self) -> Option<f64> {
        self.transit?;
        Some(self.estimate * 1_000.0 / f64::from(self.clock_rate))
    }
}

/// Converts a time to clock units modulo 2^32.
fn units(time: Duration, clock_rate: u32) -> u32 {
    let units = time.as_nanos() * u128::from(clock_rate) / 1_000_000_000;
    // RTP timestamps wrap at 2^32 as well.
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

    /// The expected values were calculated by hand. At 8 kHz, one millisecond is 8 clock units.
    #[test]
    fn estimate_matches_rfc_3550_for_known_packets() {
        for (case, packets, units) in [
            ("single packet", &[(0, 0)][..], 0.0),
            ("evenly spaced packets", &[(0, 0), (20, 160), (40, 320), (60, 480)], 0.0),
            ("one packet 10 ms late: 80 / 16", &[(0, 0), (30, 160)], 5.0),
            ("one packet 10 ms early: 80 / 16", &[(20, 0), (30, 160)], 5.0),
            ("late, then on time: 5 + (80 − 5) / 16", &[(0, 0), (30, 160), (40, 320)], 9.6875),
            ("on time again: 9.6875 − 9.6875 / 16", &[(0, 0), (30, 160), (40, 320), (60, 480)], 9.082_031_25),
            ("a frame in two packets 1 ms apart: 8 / 16", &[(0, 0), (1, 0)], 0.5),
            ("timestamp wraps", &[(0, u32::MAX - 79), (20, 80)], 0.0),
            ("timestamp wraps, 10 ms late", &[(0, u32::MAX - 79), (30, 80)], 5.0),
        ] {
            let jitter = after(8_000, packets);
            assert!((jitter.estimate - units).abs() < 1e-9, "{case}: {} instead of {units}", jitter.estimate);
            let millis = jitter.milliseconds().unwrap();
            assert!((millis - units / 8.0).abs() < 1e-9, "{case}: {millis} ms");
        }
    }

    #[test]
    fn arrival_time_wraps_like_the_timestamp() {
        // At 90 kHz, 2^32 clock units last 47 721.858 s. One packet arrives before this time, and one packet after it.
        let jitter = after(90_000, &[(47_721_850, 0), (47_721_870, 1_800)]);
        assert!(jitter.milliseconds().unwrap() < 0.01, "{jitter:?}");
    }

    #[test]
    fn jitter_is_none_without_clock_rate_or_packets() {
        assert_eq!(after(0, &[(0, 0), (30, 160)]).milliseconds(), None);
        assert_eq!(Jitter::default().milliseconds(), None);
    }

    #[test]
    fn previous_packet_is_ignored_after_clock_rate_change_or_interruption() {
        let mut jitter = after(8_000, &[(0, 0), (30, 160)]);
        jitter.update(Duration::from_millis(60), 999_999, 90_000);
        assert_eq!(jitter.milliseconds(), Some(0.0));
        jitter.interrupt();
        jitter.update(Duration::from_millis(80), 5, 90_000);
        assert_eq!(jitter.milliseconds(), Some(0.0));
    }

    #[test]
    fn jitter_stays_finite_with_extreme_timestamps() {
        let mut jitter = Jitter::default();
        for n in 0..10_000_u32 {
            jitter.update(Duration::from_millis(u64::from(n)), n.wrapping_mul(0x8000_0001), 1);
        }
        assert!(jitter.milliseconds().unwrap().is_finite());
    }
}
