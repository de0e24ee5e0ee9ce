//! The streams of a view in the order of their ids, for queries.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::mem::discriminant;
use std::ops::Bound;
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::query::{
    By, Counter, Filter, Order, Position, Selected, Selector, SortField, Summary, has_same_searched_string,
    searched_string, visit_by_id,
};
use crate::stream::{Stream, StreamId};

/// A stream in the index, with a copy of the strings that a search reads.
#[derive(Debug)]
struct Row {
    stream: Arc<Stream>,
    /// The strings that a search reads, in one allocation. The original strings of the record are scattered in
    /// memory. Reading them there would make a search through 100 000 streams several times slower.
    searched: Box<str>,
}

/// All streams by id. An unfiltered query in id order visits only the streams on its page. All other queries visit
/// every stream.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeMap<StreamId, Row>);

impl FromIterator<Arc<Stream>> for Index {
    fn from_iter<I: IntoIterator<Item = Arc<Stream>>>(streams: I) -> Self {
        Self(streams.into_iter().map(|stream| (stream.id.clone(), Row::new(stream))).collect())
    }
}

impl Row {
    fn new(stream: Arc<Stream>) -> Self {
        Self { searched: searched_string(&stream).into(), stream }
    }
}

impl Index {
    pub(super) fn put(&mut self, stream: &Arc<Stream>) {
        match self.0.get_mut(&stream.id) {
            Some(row) => {
                if !has_same_searched_string(&row.stream, stream) {
                    row.searched = searched_string(stream).into();
                }
                row.stream = Arc::clone(stream);
            }
            None => drop(self.0.insert(stream.id.clone(), Row::new(Arc::clone(stream)))),
        }
    }

    pub(super) fn remove(&mut self, id: &StreamId) {
        self.0.remove(id);
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.0.values().map(|row| Arc::clone(&row.stream)).collect()
    }

    /// Selects the streams of a page.
    pub(super) fn select(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Position>,
        limit: usize,
    ) -> Selected<Arc<Stream>> {
        if filter.is_empty() && order.field == SortField::Id {
            return self.page_by_id(order, after, limit);
        }
        let mut selector = Selector::new(order, after, limit);
        let mut batch = Batch::new(filter, |row: &Row, is_after| {
            selector.add(&row.stream, is_after, || Arc::clone(&row.stream));
        });
        visit_by_id(&self.0, order, after, |row, is_after| batch.add(row, is_after));
        batch.visit();
        selector.finish()
    }

    /// Selects a page without a filter, in the order of ids.
    fn page_by_id(&self, order: Order, after: Option<&Position>, limit: usize) -> Selected<Arc<Stream>> {
        let bound = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.id()));
        let stream = |(_, row): (&StreamId, &Row)| Arc::clone(&row.stream);
        let take = limit.saturating_add(1);
        let mut streams: Vec<_> = if order.descending {
            self.0.range::<StreamId, _>((Bound::Unbounded, bound)).rev().take(take).map(stream).collect()
        } else {
            self.0.range::<StreamId, _>((bound, Bound::Unbounded)).take(take).map(stream).collect()
        };
        let more = streams.len() > limit;
        streams.truncate(limit);
        Selected { streams, total: self.0.len() as u64, more }
    }

    pub(super) fn summary(&self, filter: &Filter, by: By) -> Summary {
        let mut counter = Counter::new(by);
        let mut batch = Batch::new(filter, |row: &Row, _| counter.add(&row.stream));
        self.0.values().for_each(|row| batch.add(row, true));
        batch.visit();
        counter.finish()
    }
}

/// The state of a visit of all rows that match a filter, in batches.
///
/// Records are scattered in memory, so the processor must wait for each of them. If all records of a batch are
/// loaded before the first is inspected, the processor waits for them in parallel. This makes a scan of 100 000
/// streams several times faster.
struct Batch<'m, 'f, F> {
    filter: &'f Filter,
    has_field_conditions: bool,
    search: Option<Finder<'static>>,
    rows: Vec<(&'m Row, bool)>,
    visit: F,
}

impl<'m, 'f, F: FnMut(&'m Row, bool)> Batch<'m, 'f, F> {
    const ROWS: usize = 64;

    fn new(filter: &'f Filter, visit: F) -> Self {
        let search = filter.lower_case_search().map(|search| Finder::new(&search).into_owned());
        let has_field_conditions = filter.has_field_conditions();
        Self { filter, has_field_conditions, search, rows: Vec::with_capacity(Self::ROWS), visit }
    }

    fn add(&mut self, row: &'m Row, is_after: bool) {
        self.rows.push((row, is_after));
        if self.rows.len() == Self::ROWS {
            self.visit();
        }
    }

    /// Visits the rows that were added since the last visit.
    fn visit(&mut self) {
        if let Some(search) = &self.search {
            for (row, _) in &self.rows {
                black_box(row.searched.as_bytes().first().copied());
            }
            self.rows.retain(|(row, _)| search.find(row.searched.as_bytes()).is_some());
        }
        for (row, _) in &self.rows {
            // These fields are in different cache lines of the record.
            let stream = &row.stream;
            black_box((stream.bitrate, stream.packets_lost, discriminant(&stream.status), stream.node.is_some()));
        }
        for (row, _) in &self.rows {
            black_box(row.stream.node.as_ref().and_then(|node| node.as_bytes().first().copied()));
        }
        for (row, is_after) in self.rows.drain(..) {
            if !self.has_field_conditions || self.filter.fields_match(&row.stream) {
                (self.visit)(row, is_after);
            }
        }
    }
}
