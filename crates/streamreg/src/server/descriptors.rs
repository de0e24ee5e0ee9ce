//! The file descriptor limit, and the number of event readers that it allows.

use tokio::sync::Semaphore;

/// Number of file descriptors per event reader: one for the client's connection, and one for the watch's connection if
/// the store is another server. The watches of a Redis store share one connection.
const PER_READER: u64 = 2;
/// Minimum number of file descriptors that stay free for the listener, the store, the log and other clients.
const RESERVED: u64 = 64;

/// Raises the soft file descriptor limit to the hard limit. On many systems, the soft limit is 1 024 and the hard limit
/// is far higher.
///
/// If this fails, the limit does not change, and [`serve`](super::serve) accepts fewer event readers.
pub fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        if limit.current == limit.maximum {
            return;
        }
        if let Err(fault) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
            tracing::warn!(%fault, limit = limit.current, "cannot raise the limit of file descriptors");
        }
    }
}

/// Returns the maximum number of event readers that leaves enough file descriptors for other clients, but at most
/// `wanted`.
pub(super) fn reader_limit(wanted: usize) -> usize {
    let Some(limit) = limit() else { return wanted };
    let readers = wanted.min(readers_within(limit));
    if readers < wanted {
        tracing::warn!(
            limit,
            readers,
            "too few file descriptors for all event readers; raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    readers
}

fn readers_within(limit: u64) -> usize {
    usize::try_from(without_reserve(limit) / PER_READER).unwrap_or(usize::MAX).max(1)
}

/// Returns the maximum number of connections that leaves enough file descriptors for the files, the log and the store.
pub(super) fn connection_limit() -> usize {
    let left = limit().map_or(usize::MAX, |limit| usize::try_from(without_reserve(limit)).unwrap_or(usize::MAX));
    left.clamp(1, Semaphore::MAX_PERMITS)
}

fn without_reserve(limit: u64) -> u64 {
    limit.saturating_sub(RESERVED.max(limit / 4))
}

/// Returns the current limit on file descriptors, or `None` if there is no limit.
fn limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    return None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_readers_leave_a_quarter_of_the_descriptors_free() {
        for (limit, readers) in [(0, 1), (64, 1), (128, 32), (256, 96), (1_024, 384), (4_096, 1_536)] {
            assert_eq!(readers_within(limit), readers, "{limit}");
            assert!(readers == 1 || limit - 2 * readers as u64 >= RESERVED.max(limit / 4));
        }
    }
}
