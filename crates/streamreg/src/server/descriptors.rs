//! How many file descriptors this process may have, and how many readers of events that is enough for.

/// What a reader of events holds: its connection, and that of its watch to the store.
const OF_A_READER: u64 = 2;
/// What is kept for the listener, the store, the log and all other clients, at least.
const KEPT: u64 = 64;

/// Raises the limit of file descriptors as far as this process may: many systems begin with 1 024 and allow far more.
///
/// A system that refuses leaves the limit as it is; [`serve`](super::serve) then takes fewer readers of events.
pub fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let now = getrlimit(Resource::Nofile);
        if now.current == now.maximum {
            return;
        }
        if let Err(fault) = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }) {
            tracing::warn!(%fault, limit = now.current, "cannot raise the limit of file descriptors");
        }
    }
}

/// Returns how many readers may follow the events where `wanted` may at most: others still find room.
pub(super) fn readers(wanted: usize) -> usize {
    let Some(limit) = limit() else { return wanted };
    let readers = wanted.min(enough_for(limit));
    if readers < wanted {
        tracing::warn!(
            limit,
            readers,
            "few file descriptors, so that fewer may follow the events; raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    readers
}

fn enough_for(limit: u64) -> usize {
    let left = limit.saturating_sub(KEPT.max(limit / 4));
    usize::try_from(left / OF_A_READER).unwrap_or(usize::MAX).max(1)
}

/// The limit that holds now; `None` where there is none.
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
    fn readers_leave_a_quarter_to_others() {
        for (limit, readers) in [(0, 1), (64, 1), (128, 32), (256, 96), (1_024, 384), (4_096, 1_536)] {
            assert_eq!(enough_for(limit), readers, "{limit}");
            assert!(readers == 1 || limit - 2 * readers as u64 >= KEPT.max(limit / 4));
        }
    }
}
