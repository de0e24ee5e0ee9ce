//! The streams of a view in the order of their ids, for queries.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::query::{
    By, Counter, Filter, Order, Position, Selected, Selector, SortField, Summary, has_same_searched_string,
    searched_string, visit_by_id,
};
use crate::stream::{Stream, StreamId};

/// A stream, with a copy of the strings that searches read.
#[derive(Debug)]
struct Row {
    stream: Arc<Stream>,
    /// The strings that searches read, in one allocation. The record's own strings are scattered in memory, which would
    /// make a search through 100 000 streams several times slower.
    searched: Box<str>,
}

/// All streams by id. A page in the order of ids visits its own streams only; all other queries visit every stream.
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
        let matches = matcher(filter);
        visit_by_id(&self.0, order, after, |row, is_after| {
            if matches(row) {
                selector.add(&row.stream, is_after, || Arc::clone(&row.stream));
            }
        });
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
        let matches = matcher(filter);
        self.0.values().filter(|row| matches(row)).for_each(|row| counter.add(&row.stream));
        counter.finish()
    }
}

/// Returns a function that decides whether a row matches a filter.
fn matcher(filter: &Filter) -> impl Fn(&Row) -> bool {
    let search = filter.lower_case_search();
    let search = search.as_ref().map(|search| Finder::new(search).into_owned());
    move |row| {
        search.as_ref().is_none_or(|search| search.find(row.searched.as_bytes()).is_some())
            && filter.fields_match(&row.stream)
    }
}
