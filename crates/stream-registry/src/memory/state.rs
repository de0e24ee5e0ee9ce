//! The contents of an in-memory store, behind one lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::clock::Now;
use super::feed::{Feed, FeedEvent};
use crate::registry::Registered;
use crate::stream::{OperationId, Stream, StreamId};
use crate::watch::Ending;

/// A stream in the store, with its deadline.
#[derive(Debug)]
pub(super) struct Entry {
    /// The record of the stream. Readers share the record, and copy it after they release the lock.
    pub(super) stream: Arc<Stream>,
    /// When the stream expires, in nanoseconds since the store was created. Every write postpones this deadline.
    pub(super) deadline: u64,
    /// The position of the stream in the order of registration.
    pub(super) position: u64,
}

/// The result of a call with an operation id, kept in case the call is sent again.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The result, and whether the id was generated.
    Registered(Registered, bool),
    Unregistered(Stream),
}

/// The key of a stored answer or of a tombstone. Both are kept for a limited time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Temporary {
    Answer(OperationId),
    Tombstone(StreamId),
}

#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<StreamId, Entry>,
    /// Stream ids in the order of registration. Pages list the newest stream first.
    order: BTreeMap<u64, StreamId>,
    next_position: u64,
    /// A heap of lower bounds of deadlines, each with the position of its stream. A write changes only the deadline in
    /// the stream's entry, so a heartbeat needs no heap operation. If a bound passes before the stream's deadline, the
    /// deadline replaces the bound.
    bounds: BinaryHeap<Reverse<(u64, u64)>>,
    answers: HashMap<OperationId, (u64, Answer)>,
    /// The tombstone of each ended stream: the time when the tombstone is removed, and the stream's epoch. A timestamp
    /// replaces the epoch if the stream had none.
    tombstones: HashMap<StreamId, (u64, String)>,
    /// Keys of stored answers and tombstones, ordered by the time when these are removed.
    temporary: BinaryHeap<Reverse<(u64, Temporary)>>,
    pub(super) feed: Feed,
    pub(super) closed: bool,
}

impl State {
    /// Removes all expired streams, stored answers and tombstones.
    pub(super) fn purge(&mut self, time: Now) {
        let now = time.mono;
        while let Some(Reverse((bound, position))) =
            self.bounds.peek().copied().filter(|Reverse((bound, _))| *bound <= now)
        {
            self.bounds.pop();
            let Some(id) = self.order.get(&position) else { continue };
            match self.entries.get(id).map(|entry| entry.deadline) {
                Some(deadline) if deadline > now => self.bounds.push(Reverse((deadline.max(bound), position))),
                _ => {
                    let id = id.clone();
                    if let Some(entry) = self.remove(&id) {
                        self.feed.push(FeedEvent::Ended(Ending::Expired, entry.stream, time.wall));
                    }
                }
            }
        }
        while self.temporary.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            match self.temporary.pop() {
                Some(Reverse((_, Temporary::Answer(operation)))) => {
                    self.answers.remove(&operation);
                }
                // If the stream has a newer tombstone, the newer tombstone is kept longer.
                Some(Reverse((_, Temporary::Tombstone(id))))
                    if self.tombstones.get(&id).is_some_and(|(until, _)| *until <= now) =>
                {
                    self.tombstones.remove(&id);
                }
                _ => {}
            }
        }
    }

    /// Returns a lower bound of the next deadline.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.bounds.peek().map(|Reverse((bound, _))| *bound)
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &StreamId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// Returns a live stream. Returns `None` if the stream has expired but has not been removed yet.
    pub(super) fn get_live(&self, id: &StreamId, now: u64) -> Option<Arc<Stream>> {
        self.entries.get(id).filter(|entry| now < entry.deadline).map(|entry| Arc::clone(&entry.stream))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Stores a record. If the stream is live, the new record replaces the existing one.
    pub(super) fn put(&mut self, stream: Stream, deadline: u64) {
        if let Some(entry) = self.entries.get_mut(&stream.id) {
            entry.stream = Arc::new(stream);
            entry.deadline = deadline;
            return;
        }
        let position = self.next_position;
        self.next_position += 1;
        self.order.insert(position, stream.id.clone());
        self.bounds.push(Reverse((deadline, position)));
        self.entries.insert(stream.id.clone(), Entry { stream: Arc::new(stream), deadline, position });
    }

    pub(super) fn remove(&mut self, id: &StreamId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.order.remove(&entry.position);
        Some(entry)
    }

    /// Returns the streams that were registered before a position, the newest first. Streams that are registered
    /// during paging are not listed, so that paging always ends.
    pub(super) fn before(&self, position: u64) -> impl Iterator<Item = (u64, &Arc<Stream>)> {
        let before = self.order.range(..position).rev();
        before.filter_map(|(position, id)| Some((*position, &self.entries.get(id)?.stream)))
    }

    /// Drops all contents and closes the store.
    pub(super) fn close(&mut self) {
        let feed = std::mem::take(&mut self.feed);
        *self = Self { closed: true, ..Self::default() };
        feed.wake();
    }

    pub(super) fn answer(&self, operation: &OperationId) -> Option<&Answer> {
        self.answers.get(operation).map(|(_, answer)| answer)
    }

    pub(super) fn remember(&mut self, operation: &OperationId, answer: Answer, until: u64) {
        self.answers.insert(operation.clone(), (until, answer));
        self.temporary.push(Reverse((until, Temporary::Answer(operation.clone()))));
    }

    pub(super) fn tombstone(&self, id: &StreamId) -> Option<&str> {
        self.tombstones.get(id).map(|(_, epoch)| epoch.as_str())
    }

    pub(super) fn put_tombstone(&mut self, id: &StreamId, epoch: String, until: u64) {
        self.tombstones.insert(id.clone(), (until, epoch));
        self.temporary.push(Reverse((until, Temporary::Tombstone(id.clone()))));
    }
}
