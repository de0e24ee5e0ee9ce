//! A ring of recent entries, which the watches of a registry share.

use std::collections::VecDeque;

use super::position::Position;
use crate::watch::Event;

/// Maximum number of entries in a ring.
const MAX_ENTRIES: usize = 4_096;
/// Maximum size of the records in a ring, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Approximate memory of an event in addition to its record, in bytes.
const EVENT_BYTES: usize = 1_024;

/// An entry that was read from the feed. A clone shares the record.
#[derive(Clone)]
pub(super) struct Item {
    /// The position after the entry.
    pub(super) position: Position,
    /// Whether the entries up to the position are not in the chain, and a `Resync` has reported them.
    pub(super) after_damage: bool,
    /// The event to emit. An entry without an event only advances the position.
    pub(super) event: Option<Event>,
    /// Approximate memory of the event, in bytes.
    bytes: usize,
}

impl Item {
    /// Creates an item. `size` is the size of the record, in bytes.
    pub(super) fn new(position: Position, after_damage: bool, event: Option<Event>, size: usize) -> Self {
        Self { position, after_damage, event, bytes: size + EVENT_BYTES }
    }

    pub(super) fn is_resync(&self) -> bool {
        matches!(self.event, Some(Event::Resync { .. }))
    }
}

/// Recent entries of the feed, numbered from 0 in the order in which they were read.
pub(super) struct Ring {
    items: VecDeque<Item>,
    bytes: usize,
    /// The number of the oldest entry in the ring.
    first: u64,
    /// The number of the first entry of the chain: no entry is missing between it and the end of the ring.
    chain: u64,
    /// The position before the first entry of the chain.
    start: Position,
}

/// The entry with a given number.
pub(super) enum Lookup {
    /// The entry, and whether the ring has further entries.
    Item(Item, bool),
    /// The entry was not read yet.
    End,
    /// The entry is no longer in the ring.
    Dropped,
}

impl Ring {
    /// Creates an empty ring that begins at a position.
    pub(super) fn new(start: Position) -> Self {
        Self { items: VecDeque::new(), bytes: 0, first: 0, chain: 0, start }
    }

    /// Appends an entry, and drops the oldest entries if the ring is full.
    pub(super) fn push(&mut self, item: Item) {
        if item.is_resync() {
            // A `Resync` may continue at any position, so no watch may join at a position before it.
            (self.chain, self.start) = (self.end() + 1, item.position);
        }
        self.bytes += item.bytes;
        self.items.push_back(item);
        while self.items.len() > MAX_ENTRIES || self.bytes > MAX_BYTES && self.items.len() > 1 {
            let Some(dropped) = self.items.pop_front() else { return };
            self.bytes -= dropped.bytes;
            self.first += 1;
            if self.first > self.chain {
                (self.chain, self.start) = (self.first, dropped.position);
            }
        }
    }

    pub(super) fn get(&self, number: u64) -> Lookup {
        let Some(index) = number.checked_sub(self.first) else { return Lookup::Dropped };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.items.get(index) {
            Some(item) => Lookup::Item(item.clone(), index + 1 < self.items.len()),
            None => Lookup::End,
        }
    }

    /// Returns the number of the entry after a position. Returns `None` if the position is not in the ring.
    ///
    /// The position must be exactly the position of an entry. Otherwise, entries before it may be missing, and only a
    /// read of the feed shows whether they are.
    pub(super) fn after(&self, position: Position) -> Option<u64> {
        let end = self.items.back().map_or(self.start, |item| item.position);
        if position == end {
            return Some(self.end());
        }
        // Without a generation, a position may be in any feed.
        if !position.has_generation() {
            return None;
        }
        if position == self.start {
            return Some(self.chain);
        }
        let chain = (self.chain..).zip(self.items.iter().skip(usize::try_from(self.chain - self.first).ok()?));
        chain.into_iter().find(|(_, item)| item.position == position).map(|(number, _)| number + 1)
    }

    /// Returns the number of the next entry that will be read.
    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(millis: u64) -> Position {
        Position { generation: (1, 0), last: (millis, 0) }
    }

    fn entry(millis: u64, size: usize) -> Item {
        Item::new(position(millis), false, None, size)
    }

    fn resync(millis: u64) -> Item {
        let event = Event::Resync { revision: position(millis).revision(), shard: None };
        Item::new(position(millis), false, Some(event), 0)
    }

    fn at(ring: &Ring, number: u64) -> Option<(u64, bool)> {
        match ring.get(number) {
            Lookup::Item(item, more) => Some((item.position.last.0, more)),
            Lookup::End | Lookup::Dropped => None,
        }
    }

    #[test]
    fn ring_finds_only_positions_of_entries() {
        let mut ring = Ring::new(position(10));
        assert_eq!(ring.after(position(10)), Some(0));
        for millis in [20, 30] {
            ring.push(entry(millis, 0));
        }
        let found: Vec<_> = [5, 10, 15, 20, 30, 40].map(|millis| ring.after(position(millis))).into();
        assert_eq!(found, [None, Some(0), None, Some(1), Some(2), None]);
        assert_eq!(ring.after(Position { generation: (2, 0), ..position(20) }), None);
        assert_eq!((at(&ring, 0), at(&ring, 1)), (Some((20, true)), Some((30, false))));
        assert!(matches!(ring.get(2), Lookup::End));
    }

    #[test]
    fn ring_has_no_position_before_a_resync() {
        let mut ring = Ring::new(position(10));
        for item in [entry(20, 0), entry(30, 0), resync(15), entry(20, 0)] {
            ring.push(item);
        }
        let found: Vec<_> = [10, 15, 20, 30].map(|millis| ring.after(position(millis))).into();
        assert_eq!(found, [None, Some(3), Some(4), None]);
        // A watch that has joined before still reads all entries.
        assert_eq!((at(&ring, 1), at(&ring, 2)), (Some((30, true)), Some((15, true))));
    }

    #[test]
    fn position_without_generation_is_only_at_the_end_of_the_ring() {
        let mut ring = Ring::new(Position::default());
        assert_eq!(ring.after(Position::default()), Some(0));
        ring.push(entry(20, 0));
        assert_eq!(ring.after(Position::default()), None, "the position may be in an earlier feed");
    }

    #[test]
    fn full_ring_drops_the_oldest_entries() {
        let mut ring = Ring::new(position(0));
        for millis in 1..=MAX_ENTRIES as u64 + 2 {
            ring.push(entry(millis, 0));
        }
        assert!(matches!(ring.get(1), Lookup::Dropped));
        assert_eq!(at(&ring, 2), Some((3, true)));
        let found: Vec<_> = [1, 2, 3].map(|millis| ring.after(position(millis))).into();
        assert_eq!(found, [None, Some(2), Some(3)]);
        // A record that is larger than the ring is kept until the next one arrives.
        ring.push(entry(5_000, 2 * MAX_BYTES));
        let last = MAX_ENTRIES as u64 + 2;
        assert_eq!((at(&ring, last - 1), at(&ring, last)), (None, Some((5_000, false))));
        assert_eq!((ring.after(position(last)), ring.after(position(5_000))), (Some(last), Some(last + 1)));
        ring.push(entry(5_001, 0));
        assert_eq!((at(&ring, last), at(&ring, last + 1)), (None, Some((5_001, false))));
    }
}
