//! The time to live of a stream: its default, its limits, and how long a tombstone is kept.

use std::time::Duration;

use crate::error::{Error, Result};

/// The default time to live of a stream: 5 minutes.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);

/// How long the answer to an operation id is kept.
pub(crate) const REMEMBER: Duration = Duration::from_secs(60);

/// What a write does to the time that a stream has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TtlPolicy {
    /// Sets it to the time to live: right for the nodes that own the streams.
    #[default]
    Renew,
    /// Sets it unless more is left already: right for tools beside nodes with another time to live.
    NeverShorten,
}

/// How long the mark of an ended stream is kept: three times the time to live, an hour at least.
pub(crate) fn end_mark_ttl(ttl: Duration) -> Duration {
    (ttl * 3).max(Duration::from_secs(3600))
}

/// Checks a time to live: 1 s to 30 days.
pub(crate) fn check_ttl(ttl: Duration) -> Result<Duration> {
    const MAX: Duration = Duration::from_secs(30 * 24 * 3600);
    if ttl < Duration::from_secs(1) || ttl > MAX {
        return Err(Error::invalid("the time to live must be between 1 second and 30 days"));
    }
    Ok(ttl)
}
