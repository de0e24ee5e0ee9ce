//! The contents of an in-memory store, behind one lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::clock::Now;
use super::feed::{Feed, FeedEvent};
use crate::registry::Registered;
use crate::stream::{OperationId, Stream, StreamId};
use crate::watch::Ending;

/// A live stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// Shared with readers, which copy it outside the lock.
    pub(super) stream: Arc<Stream>,
    /// The time at which the stream expires unless it is written before.
    pub(super) deadline: u64,
    /// The position in the order of registration.
    pub(super) position: u64,
}

/// The answer to a call with an operation id, kept in case the call is sent again.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Registered(Registered),
    Unregistered(Stream),
}

/// The key of an entry that is kept for a limited time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Temporary {
    Answer(OperationId),
    Tombstone(StreamId),
}

#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<StreamId, Entry>,
    /// The ids in the order of registration, which is the order of pages.
    order: BTreeMap<u64, StreamId>,
    next_position: u64,
    /// A lower bound of each deadline, with the position of its stream. A write changes only the deadline in the
    /// entry. When a bound passes before the deadline, it is replaced with the deadline. So a heartbeat needs no heap
    /// operation.
    bounds: BinaryHeap<Reverse<(u64, u64)>>,
    answers: HashMap<OperationId, (u64, Answer)>,
    /// For each ended stream: when its tombstone is forgotten, and its epoch, or a timestamp if it had no epoch.
    tombstones: HashMap<StreamId, (u64, String)>,
    /// Answers and tombstones in the order in which they are forgotten.
    temporary: BinaryHeap<Reverse<(u64, Temporary)>>,
    pub(super) feed: Feed,
    pub(super) closed: bool,
}

impl State {
    /// Removes everything that has expired, in the order of the deadlines.
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
                // If the id has a later tombstone, that one is kept longer.
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

    /// Returns a live stream. Ignores an expired stream that was not purged yet.
    pub(super) fn get_live(&self, id: &StreamId, now: u64) -> Option<Arc<Stream>> {
        self.entries.get(id).filter(|entry| now < entry.deadline).map(|entry| Arc::clone(&entry.stream))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Stores a record; replaces the live one.
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
