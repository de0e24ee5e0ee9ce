//! The pause between attempts.

use std::time::Duration;

/// A pause that grows exponentially with the number of consecutive failures.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Upper bound of the first pause.
    pub min: Duration,
    /// Upper bound of every pause.
    pub max: Duration,
}

impl Backoff {
    /// Returns the pause after this many consecutive failures.
    ///
    /// Half of the pause is random, so that many clients do not retry at once.
    pub fn pause(self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.max).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_with_each_failure_up_to_the_maximum() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };
        for (failures, max) in [(0, 100), (1, 100), (2, 200), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)] {
            let max = Duration::from_millis(max);
            let pauses: Vec<_> = (0..100).map(|_| backoff.pause(failures)).collect();
            assert!(pauses.iter().all(|&pause| pause >= max / 2 && pause <= max), "{failures}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}: the pause is not random");
        }
    }
}
