//! A client-side estimate of the server's clock, from the header `Date`.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::stream::Timestamp;

/// The difference between the server's clock and the local clock. Before the first response, the difference is zero.
///
/// The header `Date` contains whole seconds, so the estimate lags behind by up to one second plus one round trip.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    ahead_nanos: AtomicI64,
}

impl ServerClock {
    /// Updates the estimate with the header `Date` of a response that has just arrived. Ignores an invalid date.
    pub(super) fn update(&self, date: &[u8]) {
        let Some(server) = std::str::from_utf8(date).ok().and_then(Timestamp::from_http_date) else { return };
        let ahead = server.as_unix_nanos() - Timestamp::now().as_unix_nanos();
        self.ahead_nanos.store(i64::try_from(ahead).unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns the estimated time of the server.
    pub(super) fn now(&self) -> Timestamp {
        let ahead = i128::from(self.ahead_nanos.load(Ordering::Relaxed));
        Timestamp::from_unix_nanos(Timestamp::now().as_unix_nanos() + ahead)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn server_clock_follows_the_date_of_the_last_valid_response() {
        let clock = ServerClock::default();
        let (local, server) = (Timestamp::now(), clock.now());
        assert!(local.since(server).max(server.since(local)) < Duration::from_secs(1), "{local} {server}");
        for _ in 0..2 {
            clock.update(b"Sun, 06 Nov 1994 08:49:37 GMT");
            clock.update(b"yesterday");
            let late = clock.now().since("1994-11-06T08:49:37Z".parse().unwrap());
            assert!(late < Duration::from_secs(60), "{late:?}");
        }
    }
}
