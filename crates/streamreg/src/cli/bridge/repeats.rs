//! A limit for warnings that many streams or many requests would repeat.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The period of both limits.
const PERIOD: Duration = Duration::from_secs(60);
/// Maximum number of different messages per period.
const MESSAGES: usize = 8;

/// Admits each message once a minute, and at most eight different messages a minute.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Vec<(String, Instant)>>);

impl Repeats {
    /// Returns whether to log a message now. Messages that differ only in the name of a stream share a key.
    pub(super) fn admit(&self, key: &str) -> bool {
        self.admit_at(Instant::now(), key)
    }

    fn admit_at(&self, now: Instant, key: &str) -> bool {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(_, at)| now.saturating_duration_since(*at) < PERIOD);
        let admits = recent.len() < MESSAGES && recent.iter().all(|(known, _)| known != key);
        if admits {
            recent.push((key.to_owned(), now));
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_admitted_once_a_minute() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds, key| repeats.admit_at(start + Duration::from_secs(seconds), key);
        let admitted = [at(0, "down"), at(1, "down"), at(2, "full"), at(59, "down"), at(60, "down"), at(61, "full")];
        assert_eq!(admitted, [true, false, true, false, true, false]);
    }

    #[test]
    fn different_messages_are_limited_too() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let lines = (0..1_000).filter(|n| repeats.admit_at(start, &n.to_string())).count();
        assert_eq!(lines, MESSAGES);
        assert_eq!(repeats.0.lock().unwrap().len(), MESSAGES);
    }
}
