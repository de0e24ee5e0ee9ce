//! The time to live (TTL) of a stream: its default, its limits, and how long a tombstone is kept.

use std::time::Duration;

use crate::error::{Error, Result};

/// Default time to live of a stream: 5 minutes.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);

/// Time for which a store remembers the result of a call that has an operation id.
pub(crate) const OPERATION_RETENTION: Duration = Duration::from_secs(60);

/// The effect of a write on the remaining time to live of a stream that another program registered.
///
/// Programs with different times to live can share one Redis. A tool with a short time to live should not shorten the
/// life of a node's stream.
///
/// The policy does not concern the owner of a stream. A registration, a take-over, and a write that presents the epoch
/// of the lease always set the remaining time to the full time to live of their caller, even if it becomes shorter. If
/// a record has no time to live, every write gives it one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TtlPolicy {
    /// Resets the remaining time to the full time to live. Use it in the nodes that own the streams.
    #[default]
    Renew,
    /// Resets the remaining time like `Renew`, but only if the remaining time does not become shorter. Use it in
    /// tools that write to streams of other nodes.
    NeverShorten,
}

/// Returns how long the tombstone of an ended stream is kept: three times the time to live, but at least an hour.
pub(crate) fn tombstone_ttl(ttl: Duration) -> Duration {
    (ttl * 3).max(Duration::from_secs(3600))
}

/// Checks that a time to live is between 1 s and 30 days.
pub(crate) fn check_ttl(ttl: Duration) -> Result<Duration> {
    const MAX: Duration = Duration::from_secs(30 * 24 * 3600);
    if ttl < Duration::from_secs(1) || ttl > MAX {
        return Err(Error::invalid("the time to live must be between 1 second and 30 days"));
    }
    Ok(ttl)
}
