//! The streams of a view by id: a sharded hash table that is optimised for look-ups.

use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::stream::{Stream, StreamId};

/// The number of shards, selected by six bits of the hash.
const SHARDS: usize = 64;

/// An entry of the table: a stream, and the numbers that prevent older data from replacing newer data.
#[derive(Debug)]
pub(super) struct Entry {
    /// A copy of the id of the stream, so that comparing ids does not wait until the record is loaded from memory.
    id: StreamId,
    pub(super) stream: Arc<Stream>,
    /// The number of the change that stored the stream.
    pub(super) change: u64,
    /// The number of the last reconciliation that found the stream on a page.
    pub(super) reconciliation: u64,
    origin: Origin,
}

/// Where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The record came from an event or a snapshot, so it is as old as the view's position in the feed.
    Feed,
    /// A read from the store, or a write of this process: the record may be newer than events that have not arrived
    /// yet.
    Store,
}

type Shard = RwLock<HashTable<Entry>>;

/// All streams by id. The hash function has a random seed, because publishers choose the ids and could cause
/// collisions. The standard hash function is several times slower.
#[derive(Debug)]
pub(super) struct Table {
    hash: RandomState,
    shards: Vec<Shard>,
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    // No code panics while it holds this lock, so a poisoned lock can be ignored.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a function that checks whether an entry has this id.
fn is(id: &StreamId) -> impl Fn(&Entry) -> bool {
    move |entry| {
        // A look-up spends most of its time waiting for memory. This read loads the record in parallel with the
        // bytes of the id.
        black_box(Arc::strong_count(&entry.stream));
        entry.id == *id
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self { hash: RandomState::default(), shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// Returns the shard of a stream, and the hash of its id.
    fn shard(&self, id: &StreamId) -> (&Shard, u64) {
        let hash = self.hash.hash_one(id);
        // These bits select the shard, because a map of fewer than 2^32 streams does not use them: the lower bits
        // select the slot, and the highest bits are the tag.
        (&self.shards[(hash >> 32) as usize % SHARDS], hash)
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.read(id, |entry| Arc::clone(&entry.stream))
    }

    /// Reads an entry.
    pub(super) fn read<T>(&self, id: &StreamId, inspect: impl FnOnce(&Entry) -> T) -> Option<T> {
        let (shard, hash) = self.shard(id);
        read(shard).find(hash, is(id)).map(inspect)
    }

    /// Changes an entry in place.
    pub(super) fn change<T>(&self, id: &StreamId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let (shard, hash) = self.shard(id);
        write(shard).find_mut(hash, is(id)).map(change)
    }

    /// Stores a stream. Returns the record that was replaced, and the origin of that record.
    pub(super) fn put(&self, stream: Arc<Stream>, change: u64, origin: Origin) -> Option<(Arc<Stream>, Origin)> {
        let (shard, hash) = self.shard(&stream.id);
        match write(shard).entry(hash, is(&stream.id), |entry| self.hash.hash_one(&entry.id)) {
            Slot::Occupied(mut slot) => {
                let entry = slot.get_mut();
                entry.change = change;
                let replaced = std::mem::replace(&mut entry.stream, stream);
                Some((replaced, std::mem::replace(&mut entry.origin, origin)))
            }
            Slot::Vacant(slot) => {
                slot.insert(Entry { id: stream.id.clone(), stream, change, reconciliation: 0, origin });
                None
            }
        }
    }

    /// Removes a stream and returns it.
    pub(super) fn remove(&self, id: &StreamId) -> Option<Arc<Stream>> {
        let (shard, hash) = self.shard(id);
        let entry = write(shard).find_entry(hash, is(id)).ok()?.remove().0;
        Some(entry.stream)
    }

    /// Visits all entries, shard by shard.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Entry)) {
        for shard in &self.shards {
            read(shard).iter().for_each(&mut visit);
        }
    }
}
