//! The streams of a view, by id: maps behind locks of their own, made for look-ups.

use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::query::{has_same_searched_string, searched_string};
use crate::stream::{Stream, StreamId};

/// As many as six bits of a hash tell apart.
const SHARDS: usize = 64;

/// A stream, and what keeps older news from replacing newer ones.
#[derive(Debug)]
pub(super) struct Entry {
    /// The stream's own, here too: to compare it, the record need not have come from memory yet.
    id: StreamId,
    pub(super) stream: Arc<Stream>,
    /// The strings of the record that searches look at. They are kept here because the record's own strings are scattered
    /// in memory: a search through 100 000 streams is several times as fast.
    pub(super) search: Box<str>,
    /// The number of the change that put it here.
    pub(super) change: u64,
    /// The last compare that met it in a page.
    pub(super) met: u64,
}

type Shard = RwLock<HashTable<Entry>>;

/// All streams. Publishers choose ids, so the hash is seeded by chance; the standard one takes several times as long.
#[derive(Debug)]
pub(super) struct Table {
    hash: RandomState,
    shards: Vec<Shard>,
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    // Nothing under these locks panics but for a defect.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an entry is that of a stream.
fn is(id: &StreamId) -> impl Fn(&Entry) -> bool {
    move |entry| {
        // A look-up waits for memory: the id's letters and the record come at the same time if both are asked for here.
        black_box(Arc::strong_count(&entry.stream));
        entry.id == *id
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self { hash: RandomState::default(), shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// The shard of a stream, and its hash there.
    fn shard(&self, id: &StreamId) -> (&Shard, u64) {
        let hash = self.hash.hash_one(id);
        // Bits that a map of fewer than 2^32 streams looks at neither for the place nor, the highest, for the tag.
        (&self.shards[(hash >> 32) as usize % SHARDS], hash)
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.look(id, |entry| Arc::clone(&entry.stream))
    }

    /// Looks at an entry.
    pub(super) fn look<T>(&self, id: &StreamId, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        let (shard, hash) = self.shard(id);
        read(shard).find(hash, is(id)).map(look)
    }

    /// Changes an entry.
    pub(super) fn change<T>(&self, id: &StreamId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let (shard, hash) = self.shard(id);
        write(shard).find_mut(hash, is(id)).map(change)
    }

    /// Puts a stream and returns the one before.
    pub(super) fn put(&self, stream: Arc<Stream>, change: u64) -> Option<Arc<Stream>> {
        let (shard, hash) = self.shard(&stream.id);
        match write(shard).entry(hash, is(&stream.id), |entry| self.hash.hash_one(&entry.id)) {
            Place::Occupied(mut place) => {
                let entry = place.get_mut();
                entry.change = change;
                if !has_same_searched_string(&entry.stream, &stream) {
                    entry.search = searched_string(&stream).into();
                }
                Some(std::mem::replace(&mut entry.stream, stream))
            }
            Place::Vacant(place) => {
                let search = searched_string(&stream).into();
                place.insert(Entry { id: stream.id.clone(), stream, search, change, met: 0 });
                None
            }
        }
    }

    /// Takes a stream out.
    pub(super) fn remove(&self, id: &StreamId) -> Option<Arc<Stream>> {
        let (shard, hash) = self.shard(id);
        let entry = write(shard).find_entry(hash, is(id)).ok()?.remove().0;
        Some(entry.stream)
    }

    /// Visits each entry, shard by shard.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Entry)) {
        for shard in &self.shards {
            read(shard).iter().for_each(&mut visit);
        }
    }
}
