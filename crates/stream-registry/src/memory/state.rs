//! What an in-memory store holds, under its one lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::clock::Now;
use super::feed::{Feed, Happened};
use crate::stream::{OperationId, Stream, StreamId};
use crate::watch::Ending;

/// A live stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// Shared with readers, who copy it outside the lock.
    pub(super) stream: Arc<Stream>,
    /// When it expires, unless it is written before.
    pub(super) deadline: u64,
    /// Its place in the order of registration.
    pub(super) place: u64,
}

/// The answer to a named call, for when it is sent again.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Registered(crate::registry::Registered),
    Ended(Stream),
}

/// What is kept for a while.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Passing {
    Answer(OperationId),
    Mark(StreamId),
}

#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<StreamId, Entry>,
    /// The ids in order of registration: pages go along it.
    order: BTreeMap<u64, StreamId>,
    next_place: u64,
    /// Lower bounds of deadlines, by place. A write moves only the entry's own deadline; a bound that
    /// comes due before it is put back, so that a heartbeat costs no heap operation.
    bounds: BinaryHeap<Reverse<(u64, u64)>>,
    answers: HashMap<OperationId, (u64, Answer)>,
    /// The epochs of ended streams, or what stands for them.
    marks: HashMap<StreamId, (u64, String)>,
    /// When answers and marks are forgotten, in that order.
    forget: BinaryHeap<Reverse<(u64, Passing)>>,
    pub(super) feed: Feed,
    pub(super) closed: bool,
}

impl State {
    /// Removes what has expired, in the order of the deadlines.
    pub(super) fn purge(&mut self, time: Now) {
        let now = time.mono;
        while let Some(Reverse((bound, place))) =
            self.bounds.peek().copied().filter(|Reverse((bound, _))| *bound <= now)
        {
            self.bounds.pop();
            let Some(id) = self.order.get(&place) else { continue };
            match self.entries.get(id).map(|entry| entry.deadline) {
                Some(deadline) if deadline > now => self.bounds.push(Reverse((deadline.max(bound), place))),
                _ => {
                    let id = id.clone();
                    if let Some(entry) = self.remove(&id) {
                        self.feed.push(Happened::Ended(Ending::Expired, entry.stream, time.wall));
                    }
                }
            }
        }
        while self.forget.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            match self.forget.pop() {
                Some(Reverse((_, Passing::Answer(operation)))) => {
                    self.answers.remove(&operation);
                }
                // A later end of the same id lives longer.
                Some(Reverse((_, Passing::Mark(id))))
                    if self.marks.get(&id).is_some_and(|(until, _)| *until <= now) =>
                {
                    self.marks.remove(&id);
                }
                _ => {}
            }
        }
    }

    /// A lower bound of the next deadline.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.bounds.peek().map(|Reverse((bound, _))| *bound)
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &StreamId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts a record, new or in place of the live one.
    pub(super) fn put(&mut self, stream: Stream, deadline: u64) {
        if let Some(entry) = self.entries.get_mut(&stream.id) {
            entry.stream = Arc::new(stream);
            entry.deadline = deadline;
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.order.insert(place, stream.id.clone());
        self.bounds.push(Reverse((deadline, place)));
        self.entries.insert(stream.id.clone(), Entry { stream: Arc::new(stream), deadline, place });
    }

    pub(super) fn remove(&mut self, id: &StreamId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.order.remove(&entry.place);
        Some(entry)
    }

    /// The live streams registered before a place, the newest first. So a reader in pages comes to an end,
    /// however many are registered meanwhile.
    pub(super) fn before(&self, place: u64) -> impl Iterator<Item = (u64, &Arc<Stream>)> {
        let before = self.order.range(..place).rev();
        before.filter_map(|(place, id)| Some((*place, &self.entries.get(id)?.stream)))
    }

    /// Forgets everything, for good.
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
        self.forget.push(Reverse((until, Passing::Answer(operation.clone()))));
    }

    pub(super) fn mark(&self, id: &StreamId) -> Option<&str> {
        self.marks.get(id).map(|(_, ended)| ended.as_str())
    }

    pub(super) fn put_mark(&mut self, id: &StreamId, ended: String, until: u64) {
        self.marks.insert(id.clone(), (until, ended));
        self.forget.push(Reverse((until, Passing::Mark(id.clone()))));
    }
}
