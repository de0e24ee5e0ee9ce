//! What was seen and done on the way.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Counters {
    unreadable: AtomicU64,
    pruned: AtomicU64,
    prune_failures: AtomicU64,
}

/// What a Redis store has seen and done on the way since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisCounters {
    /// Records left out of lists because they cannot be read, counted at each list.
    pub unreadable: u64,
    /// Ids that left the index because they had no record.
    pub pruned: u64,
    /// Failed attempts at that: the user lacks the right, or the server is a replica.
    pub prune_failures: u64,
}

impl Counters {
    pub(super) fn add_unreadable(&self, count: u64) {
        self.unreadable.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_pruned(&self, count: u64) {
        self.pruned.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_prune_failure(&self) {
        self.prune_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> RedisCounters {
        RedisCounters {
            unreadable: self.unreadable.load(Ordering::Relaxed),
            pruned: self.pruned.load(Ordering::Relaxed),
            prune_failures: self.prune_failures.load(Ordering::Relaxed),
        }
    }
}
