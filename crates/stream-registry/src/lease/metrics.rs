//! Counters of leases.

use std::sync::atomic::{AtomicU64, Ordering};

use super::status::LeaseEnd;

/// The figures of all leases of a [`Leases`](super::Leases), since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseMetrics {
    /// The number of leases that have not ended, including those that are recovering.
    pub held: u64,
    /// The number of recoveries of streams that the store had lost.
    pub recovered: u64,
    /// The number of leases that their holders released.
    pub released: u64,
    /// The number of leases that ended because another holder took the stream over.
    pub superseded: u64,
    /// The number of leases that ended because another client unregistered the stream.
    pub removed: u64,
    /// The number of leases that ended because the registry was closed.
    pub closed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    recovered: AtomicU64,
    released: AtomicU64,
    superseded: AtomicU64,
    removed: AtomicU64,
    closed: AtomicU64,
}

impl Counters {
    pub(super) fn count_recovery(&self) {
        self.recovered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_end(&self, end: &LeaseEnd) {
        let count = match end {
            LeaseEnd::Released => &self.released,
            LeaseEnd::Superseded { .. } => &self.superseded,
            LeaseEnd::Removed => &self.removed,
            LeaseEnd::Closed => &self.closed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, held: u64) -> LeaseMetrics {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LeaseMetrics {
            held,
            recovered: read(&self.recovered),
            released: read(&self.released),
            superseded: read(&self.superseded),
            removed: read(&self.removed),
            closed: read(&self.closed),
        }
    }
}
