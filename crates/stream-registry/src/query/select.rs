//! Selects a page from streams that are sorted by id.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use super::order::{Order, Position};
use crate::stream::{Stream, StreamId};

/// Visits the values of a map in ascending or descending order of their ids. Reports for each value whether its id
/// comes after a position.
pub(crate) fn visit_by_id<'m, V>(
    map: &'m BTreeMap<StreamId, V>,
    order: Order,
    after: Option<&Position>,
    mut visit: impl FnMut(&'m V, bool),
) {
    let Some(id) = after.map(Position::id) else {
        if order.descending {
            map.values().rev().for_each(|value| visit(value, true));
        } else {
            map.values().for_each(|value| visit(value, true));
        }
        return;
    };
    let smaller = map.range::<StreamId, _>((Bound::Unbounded, Bound::Excluded(id)));
    let greater = map.range::<StreamId, _>((Bound::Excluded(id), Bound::Unbounded));
    let at = map.get(id);
    if order.descending {
        greater.rev().map(|(_, value)| value).chain(at).for_each(|value| visit(value, false));
        smaller.rev().for_each(|(_, value)| visit(value, true));
    } else {
        smaller.map(|(_, value)| value).chain(at).for_each(|value| visit(value, false));
        greater.for_each(|(_, value)| visit(value, true));
    }
}

/// Selects the first streams after a position, without sorting all other streams.
///
/// Streams must be added in the order of their ids, as [`visit_by_id`] visits them. If two streams have the same
/// sort key, the stream that was added first comes first. Ids are not compared: if many streams have the same key,
/// such as the same status, loading their ids from memory would take most of the time.
pub(crate) struct Selector<'a, S> {
    order: Order,
    after: Option<&'a Position>,
    limit: usize,
    /// The selected streams. The top of the heap is the last selected stream in the order.
    selected: BinaryHeap<Ranked<S>>,
    total: u64,
    more: bool,
}

/// The result of a [`Selector`].
#[derive(Debug)]
pub(crate) struct Selected<S> {
    /// The streams, in order.
    pub(crate) streams: Vec<S>,
    /// Number of all streams that were added, whether before or after the position.
    pub(crate) total: u64,
    /// Whether more streams come after these.
    pub(crate) more: bool,
}

impl<'a, S: Borrow<Stream>> Selector<'a, S> {
    /// Creates a selector of at most `limit` streams after a position, or from the start if `after` is `None`.
    pub(crate) fn new(order: Order, after: Option<&'a Position>, limit: usize) -> Self {
        Self { order, after, limit, selected: BinaryHeap::new(), total: 0, more: false }
    }

    /// Adds a stream. `is_id_after` states whether the id of the stream comes after the id of the position. If the
    /// stream is selected, the selector stores the result of `keep`.
    pub(crate) fn add(&mut self, stream: &Stream, is_id_after: bool, keep: impl FnOnce() -> S) {
        let rank = self.total;
        self.total += 1;
        if let Some(after) = self.after {
            let ordering = after.compare_key(stream);
            if ordering == Ordering::Less || ordering == Ordering::Equal && !is_id_after {
                return;
            }
        }
        if self.selected.len() >= self.limit {
            self.more = true;
            match self.selected.peek() {
                Some(last) if self.order.compare_keys(stream, last.stream.borrow()) == Ordering::Less => {}
                _ => return,
            }
            self.selected.pop();
        }
        self.selected.push(Ranked { order: self.order, rank, stream: keep() });
    }

    /// Returns the selected streams in order.
    pub(crate) fn finish(self) -> Selected<S> {
        let streams = self.selected.into_sorted_vec().into_iter().map(|ranked| ranked.stream).collect();
        Selected { streams, total: self.total, more: self.more }
    }
}

/// A selected stream. Such streams are compared by their sort key, then by the order in which they were added.
struct Ranked<S> {
    order: Order,
    rank: u64,
    stream: S,
}

impl<S: Borrow<Stream>> Ord for Ranked<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare_keys(self.stream.borrow(), other.stream.borrow()).then(self.rank.cmp(&other.rank))
    }
}

impl<S: Borrow<Stream>> PartialOrd for Ranked<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S: Borrow<Stream>> PartialEq for Ranked<S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<S: Borrow<Stream>> Eq for Ranked<S> {}

#[cfg(test)]
mod tests {
    use super::super::order::{NAMES, SortField};
    use super::*;
    use crate::stream::{StreamType, Timestamp};

    fn streams() -> BTreeMap<StreamId, Stream> {
        (0..50_u64)
            .map(|n| {
                let mut stream = Stream::new(format!("cam{n:02}").parse().unwrap(), StreamType::Srt, "a:1");
                stream.bitrate = n % 7;
                // The times are fixed, so that every call returns the same streams.
                let time = Timestamp::from_unix_nanos(i128::from(n % 5) * 1_000);
                (stream.created_at, stream.last_heartbeat) = (time, time);
                stream.node = (n % 3 > 0).then(|| "é".repeat(40 + usize::try_from(n % 3).unwrap()));
                (stream.id.clone(), stream)
            })
            .collect()
    }

    fn select(
        streams: &BTreeMap<StreamId, Stream>,
        order: Order,
        after: Option<&Position>,
        limit: usize,
    ) -> Selected<Stream> {
        let mut selector = Selector::new(order, after, limit);
        visit_by_id(streams, order, after, |stream, is_after| selector.add(stream, is_after, || stream.clone()));
        selector.finish()
    }

    #[test]
    fn pages_contain_every_stream_once_in_every_order() {
        for name in NAMES.map(|(name, _)| name) {
            for sort in [name.to_owned(), format!("-{name}")] {
                let order: Order = sort.parse().unwrap();
                assert_eq!(order.to_string(), sort);
                let mut listed: Vec<String> = Vec::new();
                let mut after = None;
                loop {
                    let page = select(&streams(), order, after.as_ref(), 7);
                    assert_eq!(page.total, 50);
                    listed.extend(page.streams.iter().map(|stream| stream.id.to_string()));
                    if !page.more {
                        break;
                    }
                    let next = order.position(page.streams.last().unwrap());
                    after = Some(Position::read(&next.to_cursor().unwrap(), order).unwrap());
                    assert_eq!(after.as_ref(), Some(&next));
                }
                let mut sorted: Vec<_> = streams().into_values().collect();
                sorted.sort_by(|one, other| order.compare(one, other));
                let sorted: Vec<_> = sorted.iter().map(|stream| stream.id.to_string()).collect();
                assert_eq!(listed, sorted, "{sort}");
            }
        }
        let by_bitrate = select(&streams(), Order::by(SortField::Bitrate).descending(), None, 50).streams;
        assert!(by_bitrate.is_sorted_by(|one, other| one.bitrate >= other.bitrate));
    }

    #[test]
    fn query_cursor_stays_valid_after_its_stream_is_removed() {
        let order = Order::by(SortField::Bitrate);
        let page = select(&streams(), order, None, 10);
        let next = order.position(page.streams.last().unwrap());
        let mut fewer = streams();
        fewer.remove(next.id());
        let rest = select(&fewer, order, Some(&next), 100);
        assert_eq!((rest.streams.len(), rest.total, rest.more), (40, 49, false));
        let cursor = next.to_cursor().unwrap();
        for other in ["-bitrate", "id"] {
            assert!(Position::read(&cursor, other.parse().unwrap()).is_err());
        }
    }
}
