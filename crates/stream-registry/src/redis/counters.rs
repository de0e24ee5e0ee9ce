//! Counters of unreadable records and of removed index entries.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Counters {
    unreadable: AtomicU64,
    pruned: AtomicU64,
    prune_failures: AtomicU64,
}

/// Counters of a Redis store, starting when the store is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisCounters {
    /// Number of records that lists skipped because the records cannot be decoded. Each list counts such a record
    /// again.
    pub unreadable: u64,
    /// Number of ids that were removed from the index because they had no record.
    pub pruned: u64,
    /// Number of failed attempts to remove ids without a record from the index. An attempt fails, for example, if the
    /// user lacks a permission or the server is a replica.
    pub prune_failures: u64,
}

impl std::ops::Add for RedisCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            unreadable: self.unreadable + other.unreadable,
            pruned: self.pruned + other.pruned,
            prune_failures: self.prune_failures + other.prune_failures,
        }
    }
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
