//! What a view holds: the streams, and the book of what is known about them.
//!
//! Locks are taken in this order: book, table, shard. Whoever changes a stream holds the book to write, so that whoever
//! holds it to read sees all streams at one moment. A look-up takes the table and one shard only: it waits for no reader of
//! everything, and for a writer only while that puts one stream into the same shard.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use memchr::memmem::Finder;
use tokio::time::Instant;

use super::table::{Table, read, write};
use crate::error::{Error, ErrorKind, Result};
use crate::query::{By, Counter, Filter, Order, Position, Selected, Selector, SortField, Summary};
use crate::registry::{Write, rules};
use crate::stream::{Revision, Stream, StreamId, StreamStatus, StreamType, Timestamp};

/// How many revisions are known to have been reached.
const REMEMBERED: usize = 4_096;
/// How many ids of a compare are reported.
const REPORTED: usize = 100;

/// How many streams a view holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// By status; none is 0.
    pub by_status: BTreeMap<StreamStatus, u64>,
    /// By type; none is 0.
    pub by_type: BTreeMap<StreamType, u64>,
    /// By node, `None` for those without one; none is 0.
    pub by_node: BTreeMap<Option<String>, u64>,
}

impl Counts {
    fn add(&mut self, stream: &Stream) {
        fn one<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, key: &K) {
            match counts.get_mut(key) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(key.clone(), 1);
                }
            }
        }
        self.total += 1;
        one(&mut self.by_status, &stream.status);
        one(&mut self.by_type, &stream.kind);
        one(&mut self.by_node, &stream.node);
    }

    fn subtract(&mut self, stream: &Stream) {
        fn one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        self.total -= 1;
        one(&mut self.by_status, &stream.status);
        one(&mut self.by_type, &stream.kind);
        one(&mut self.by_node, &stream.node);
    }
}

/// What the compares with the store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corrections {
    /// Compares that came to their end.
    pub compares: u64,
    /// Streams that were added, removed or changed by them, but for statistics and heartbeats.
    pub count: u64,
    /// The streams of the last compare that corrected any; 100 at most.
    pub last: Vec<StreamId>,
}

/// What is known beside the streams.
#[derive(Debug, Default)]
pub(super) struct Book {
    counts: Counts,
    /// The ids in order, so that a page by id costs no walk through all streams.
    ids: BTreeSet<StreamId>,
    /// The number of the last change.
    change: u64,
    /// How many streams have left.
    removals: u64,
    /// The streams that left since the compare under way began.
    left: Option<HashSet<StreamId>>,
    /// Compares that were begun.
    walks: u64,
    pub(super) unreadable: u64,
    pub(super) revision: Option<Revision>,
    recent: HashSet<Revision>,
    order: VecDeque<Revision>,
    /// Snapshots that were begun, and the last one that was taken over.
    pub(super) begun: u64,
    pub(super) complete: u64,
    /// Snapshots that were taken over.
    installed: u64,
    /// When the view was last known to be current.
    pub(super) confirmed: Option<Instant>,
    pub(super) closed: bool,
    pub(super) corrections: Corrections,
}

impl Book {
    fn reach(&mut self, revision: Revision) {
        if self.revision.as_ref() == Some(&revision) {
            return;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        if self.recent.insert(revision.clone()) {
            self.order.push_back(revision.clone());
        }
        self.revision = Some(revision);
    }

    pub(super) fn has_reached(&self, revision: &Revision) -> bool {
        self.recent.contains(revision)
    }
}

/// The place of a stream in time, before the store is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    entry: Option<u64>,
    removals: u64,
}

/// What a compare is to those that come after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    number: u64,
    /// The snapshots that were taken over before: a later one ends it.
    installed: u64,
    /// What was put by a later change is newer than what the pages show.
    began: u64,
}

#[derive(Debug)]
pub(super) struct State {
    book: RwLock<Book>,
    table: RwLock<Arc<Table>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self { book: RwLock::default(), table: RwLock::new(Arc::new(Table::new())) }
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        read(&self.table).get(id)
    }

    /// All streams at one moment.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        let book = read(&self.book);
        let table = Arc::clone(&read(&self.table));
        let mut all = Vec::with_capacity(usize::try_from(book.counts.total).unwrap_or(0));
        table.for_each(|entry| all.push(Arc::clone(&entry.stream)));
        all
    }

    /// Selects the streams of a page, as they all were at one moment.
    pub(super) fn select(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Position>,
        limit: usize,
    ) -> Selected<Arc<Stream>> {
        let book = read(&self.book);
        let table = read(&self.table);
        if filter.is_empty() && order.field == SortField::Id {
            return page_by_id(&book, &table, order, after, limit);
        }
        let mut selector = Selector::new(order, after, limit);
        matching(&table, filter, |stream| selector.add(stream, || Arc::clone(stream)));
        selector.finish()
    }

    pub(super) fn summary(&self, filter: &Filter, by: By) -> Summary {
        let _book = read(&self.book);
        let mut counter = Counter::new(by);
        matching(&read(&self.table), filter, |stream| counter.add(stream));
        counter.finish()
    }

    pub(super) fn counts(&self) -> Counts {
        read(&self.book).counts.clone()
    }

    pub(super) fn book<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&read(&self.book))
    }

    pub(super) fn change_book<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut write(&self.book))
    }

    /// Takes over a snapshot in one piece.
    pub(super) fn install(&self, number: u64, streams: Vec<Stream>, revision: Option<Revision>, unreadable: u64) {
        let table = Table::new();
        let mut counts = Counts::default();
        let at = Instant::now();
        let ids = streams.iter().map(|stream| stream.id.clone()).collect();
        let mut book = write(&self.book);
        book.change += 1;
        book.ids = ids;
        for stream in streams {
            counts.add(&stream);
            // Every stream comes once; were it not so, the counts stay right.
            if let Some(twice) = table.put(Arc::new(stream), book.change) {
                counts.subtract(&twice);
            }
        }
        book.counts = counts;
        // Whoever asked the store about a stream before asks again.
        book.removals += 1;
        book.left = None;
        book.unreadable = unreadable;
        book.complete = number;
        book.installed += 1;
        book.confirmed = Some(at);
        match revision {
            Some(revision) => book.reach(revision),
            // The place from before may be of another history.
            None => book.revision = None,
        }
        let before = std::mem::replace(&mut *write(&self.table), Arc::new(table));
        drop(book);
        // Outside of the locks: it may be the last to hold many records.
        drop(before);
    }

    /// Applies an event: the stream as it is now, or that it has ended.
    pub(super) fn apply(&self, revision: Revision, id: &StreamId, stream: Option<Arc<Stream>>) {
        let mut book = write(&self.book);
        match stream {
            Some(stream) => self.put(&mut book, stream),
            None => drop(self.remove(&mut book, id)),
        }
        book.reach(revision);
        book.confirmed = Some(Instant::now());
    }

    pub(super) fn alive(&self, revision: Revision) {
        let mut book = write(&self.book);
        book.reach(revision);
        book.confirmed = Some(Instant::now());
    }

    fn put(&self, book: &mut Book, stream: Arc<Stream>) {
        book.change += 1;
        book.counts.add(&stream);
        let id = stream.id.clone();
        match read(&self.table).put(stream, book.change) {
            Some(before) => book.counts.subtract(&before),
            None => drop(book.ids.insert(id)),
        }
    }

    fn remove(&self, book: &mut Book, id: &StreamId) -> Option<Arc<Stream>> {
        // Also where the view does not hold it: a page from before may.
        if let Some(left) = &mut book.left {
            left.insert(id.clone());
        }
        book.removals += 1;
        let stream = read(&self.table).remove(id)?;
        book.ids.remove(id);
        book.counts.subtract(&stream);
        Some(stream)
    }

    fn entry_change(&self, id: &StreamId) -> Option<u64> {
        read(&self.table).look(id, |entry| entry.change)
    }

    fn mark_in(&self, book: &Book, id: &StreamId) -> Mark {
        let entry = self.entry_change(id);
        // What is there is told by its own change; only what is not could have come and gone.
        Mark { entry, removals: if entry.is_none() { book.removals } else { 0 } }
    }

    /// Notes where a stream stands before the store is asked about it.
    pub(super) fn mark(&self, id: &StreamId) -> Mark {
        self.mark_in(&read(&self.book), id)
    }

    /// As [`mark`](Self::mark), for several streams.
    pub(super) fn marks(&self, ids: &[StreamId]) -> Vec<Mark> {
        let book = read(&self.book);
        ids.iter().map(|id| self.mark_in(&book, id)).collect()
    }

    /// Takes over the store's answer about a stream, unless news of it came since the mark.
    pub(super) fn answer(&self, id: &StreamId, mark: Mark, answer: Option<Arc<Stream>>) -> bool {
        let mut book = write(&self.book);
        if self.mark_in(&book, id) != mark {
            return false;
        }
        match answer {
            Some(stream) => self.put(&mut book, stream),
            None => drop(self.remove(&mut book, id)),
        }
        true
    }

    /// Applies a heartbeat or statistics that the store accepted: the feed does not report them.
    pub(super) fn apply_write(&self, write_: &Write) {
        let mut book = write(&self.book);
        let Some(stream) = self.get(&write_.id) else { return };
        // The store checked the write; the time is close enough to the store's to sort by.
        if let Ok(stream) = rules::apply(&stream, &write_.change, Timestamp::now()) {
            self.put(&mut book, Arc::new(stream));
        }
    }

    pub(super) fn begin_walk(&self) -> Walk {
        let mut book = write(&self.book);
        book.left = Some(HashSet::new());
        book.walks += 1;
        Walk { number: book.walks, installed: book.installed, began: book.change }
    }

    /// Takes over a page; returns the streams whose state was not the view's. An error where a snapshot came first.
    pub(super) fn take_page(&self, walk: Walk, streams: Vec<Stream>) -> Result<Vec<StreamId>> {
        let mut corrected = Vec::new();
        let mut book = write(&self.book);
        if book.installed != walk.installed {
            return Err(overtaken());
        }
        for stream in streams {
            if book.left.as_ref().is_some_and(|left| left.contains(&stream.id)) {
                continue;
            }
            let known = read(&self.table).change(&stream.id, |entry| {
                entry.met = walk.number;
                (entry.change > walk.began, Arc::clone(&entry.stream))
            });
            match known {
                // An event is newer than the page, or as new.
                Some((true, _)) => continue,
                Some((false, known)) if *known == stream => continue,
                Some((false, known)) if same_state(&known, &stream) => {}
                _ => corrected.push(stream.id.clone()),
            }
            self.put(&mut book, Arc::new(stream));
        }
        Ok(corrected)
    }

    /// The streams that were there before a compare began, and that neither a page nor an event has met since.
    pub(super) fn unmet(&self, walk: Walk) -> Vec<StreamId> {
        let _book = read(&self.book);
        let table = Arc::clone(&read(&self.table));
        let mut unmet = Vec::new();
        table.for_each(|entry| {
            if entry.met != walk.number && entry.change <= walk.began {
                unmet.push(entry.stream.id.clone());
            }
        });
        unmet
    }

    /// Ends a compare with what it corrected.
    pub(super) fn end_walk(&self, walk: Walk, began: Instant, corrected: &[StreamId], unreadable: u64) -> Result<()> {
        let mut book = write(&self.book);
        if book.installed != walk.installed {
            return Err(overtaken());
        }
        book.left = None;
        book.unreadable = unreadable;
        book.confirmed = book.confirmed.max(Some(began));
        book.corrections.compares += 1;
        if !corrected.is_empty() {
            book.corrections.count += corrected.len() as u64;
            book.corrections.last = corrected.iter().take(REPORTED).cloned().collect();
        }
        Ok(())
    }
}

/// Selects a page in the order of ids, without a filter, by the index of ids.
fn page_by_id(
    book: &Book,
    table: &Table,
    order: Order,
    after: Option<&Position>,
    limit: usize,
) -> Selected<Arc<Stream>> {
    let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.id()));
    let take = limit.saturating_add(1);
    let mut streams: Vec<_> = if order.descending {
        book.ids
            .range::<StreamId, _>((Bound::Unbounded, start))
            .rev()
            .take(take)
            .filter_map(|id| table.get(id))
            .collect()
    } else {
        book.ids.range::<StreamId, _>((start, Bound::Unbounded)).take(take).filter_map(|id| table.get(id)).collect()
    };
    let more = streams.len() > limit;
    streams.truncate(limit);
    Selected { streams, total: book.counts.total, more }
}

/// Visits every stream that matches.
fn matching(table: &Table, filter: &Filter, mut visit: impl FnMut(&Arc<Stream>)) {
    let search = filter.lower_case_search();
    let search = search.as_ref().map(Finder::new);
    table.for_each(|entry| {
        let found = search.as_ref().is_none_or(|search| search.find(entry.search.as_bytes()).is_some());
        if found && filter.fields_match(&entry.stream) {
            visit(&entry.stream);
        }
    });
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Unavailable, "a new snapshot was taken before the compare came to its end; compare again")
}

/// Whether two records differ in nothing that is told as an event: statistics and heartbeats are not.
fn same_state(one: &Stream, other: &Stream) -> bool {
    one.kind == other.kind
        && one.source_addr == other.source_addr
        && one.status == other.status
        && one.created_at == other.created_at
        && one.video_codec == other.video_codec
        && one.resolution == other.resolution
        && one.node == other.node
        && one.epoch == other.epoch
        && one.labels == other.labels
        && one.audio_codec == other.audio_codec
}
