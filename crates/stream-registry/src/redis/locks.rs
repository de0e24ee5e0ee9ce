//! Striped locks for read-modify-write updates of records.

use std::hash::BuildHasher as _;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::stream::StreamId;

/// Maximum wait for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Serialises the updates of one record within this process. Without the lock, each successful update would make the
/// concurrent updates fail, and some tasks would use up their attempts. Conflicts with other processes are rare.
pub(super) struct KeyLocks {
    hasher: std::hash::RandomState,
    stripes: [Mutex<()>; 64],
}

impl Default for KeyLocks {
    fn default() -> Self {
        Self { hasher: std::hash::RandomState::new(), stripes: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl KeyLocks {
    /// Locks the stripe of a stream. Returns `None` after a timeout, because the future that holds the lock may not be
    /// polled for a long time. An update without the lock is slower but still correct.
    pub(super) async fn lock(&self, id: &StreamId) -> Option<MutexGuard<'_, ()>> {
        let stripe = &self.stripes[usize::try_from(self.hasher.hash_one(id) % 64).unwrap_or(0)];
        tokio::time::timeout(LOCK_TIMEOUT, stripe.lock()).await.ok()
    }
}
