//! Positions in the feed, and their conversion to revisions.

use redis::Value;

use crate::error::Result;
use crate::redis::reply;
use crate::stream::Revision;

/// The id of an entry in the feed: a time in milliseconds, and a sequence number within this millisecond.
pub(in crate::redis) type EntryId = (u64, u64);

/// A position in a feed. It consists of the feed's generation and the id of the last entry before the position. The
/// generation is the id of the feed's first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::redis) struct Position {
    pub(in crate::redis) generation: EntryId,
    pub(in crate::redis) last: EntryId,
}

impl Position {
    /// Parses the metadata fields `history` and `tail`. If one of them is missing or is not an entry id, the feed has
    /// no generation until the next event, so the result is the start of an empty feed.
    pub(in crate::redis) fn from_metadata(history: Value, tail: Value) -> Result<Self> {
        let id = |value| -> Result<_> { Ok(reply::optional_bytes(value)?.and_then(|id| entry_id(&id))) };
        let (Some(generation), Some(last)) = (id(history)?, id(tail)?) else { return Ok(Self::default()) };
        Ok(Self { generation, last })
    }

    /// Returns whether the position belongs to a generation. There is no generation before the first event of the feed,
    /// and after the feed metadata was lost.
    pub(in crate::redis) fn has_generation(self) -> bool {
        self.generation != (0, 0)
    }

    /// Returns the position before the first entry of the generation.
    pub(super) fn before_generation(self) -> EntryId {
        match self.generation {
            (0, 0) => (0, 0),
            (millis, 0) => (millis - 1, u64::MAX),
            (millis, sequence) => (millis, sequence - 1),
        }
    }

    pub(in crate::redis) fn revision(self) -> Revision {
        let ((a, b), (c, d)) = (self.generation, self.last);
        let revision = format!("{a}-{b}.{c}-{d}");
        revision.parse().unwrap_or_else(|_| unreachable!("{revision:?} is a revision"))
    }

    /// Converts a revision to a position. Returns `None` if the revision does not come from a Redis store.
    pub(in crate::redis) fn from_revision(revision: &Revision) -> Option<Self> {
        let (generation, last) = revision.as_str().split_once('.')?;
        let position = Self { generation: entry_id(generation.as_bytes())?, last: entry_id(last.as_bytes())? };
        (position.revision() == *revision).then_some(position)
    }

    /// Returns whether events after this position may have been lost. `tail` is the current end of the feed.
    pub(in crate::redis) fn is_lost(self, tail: Self) -> bool {
        if !self.has_generation() {
            // Without a generation, only the start of the feed is a valid position.
            return self.last != (0, 0);
        }
        tail.generation != self.generation || tail.last < self.last
    }
}

/// The relation between an entry and the entry that was read before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// No entry is missing between the two.
    Next,
    /// The entry was not added by this software, so it is not an event.
    Stray,
    /// Entries are missing, or the entry belongs to another generation.
    Gap,
}

impl Position {
    /// Returns the relation between an entry and the entry at this position. `previous` is the id that the entry names
    /// as its predecessor.
    ///
    /// `after_damage` means that entries up to this position are not in the chain. The next event then names an earlier
    /// entry as its predecessor. No event is missing, because events between the two would be before this position.
    pub(super) fn link(self, entry: EntryId, previous: Option<EntryId>, after_damage: bool) -> Link {
        match previous {
            None => Link::Stray,
            Some(previous) if previous == self.last => Link::Next,
            Some((0, 0)) if entry == self.generation && self.last == self.before_generation() => Link::Next,
            Some(previous) if after_damage && previous != (0, 0) && previous < self.last => Link::Next,
            Some(_) => Link::Gap,
        }
    }
}

/// Parses an entry id. A number that is too large is read as the largest number.
pub(in crate::redis) fn entry_id(id: &[u8]) -> Option<EntryId> {
    let number = |digits: &str| -> Option<u64> {
        let valid = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        valid.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let (millis, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some((number(millis)?, number(sequence)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_position_survives_a_round_trip_as_revision() {
        let position = Position { generation: (1_800_000_000_000, 0), last: (1_800_000_000_001, 7) };
        assert_eq!(position.revision().as_str(), "1800000000000-0.1800000000001-7");
        assert_eq!(Position::from_revision(&position.revision()), Some(position));
        for other in ["x", "1-2", "1-2.3", "1-2.3-", "01-2.3-4", "1-2.3-4.5", "+1-2.3-4", "-1-2.3-4"] {
            assert_eq!(Position::from_revision(&other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn unreadable_feed_metadata_counts_as_missing() {
        let string = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let position = |history, tail| Position::from_metadata(history, tail).unwrap();
        let good = Position { generation: (5, 0), last: (7, 1) };
        assert_eq!(position(string("5-0"), string("7-1")), good);
        for (history, tail) in [("5-0", "x"), ("x", "7-1"), ("5-0", "7-"), ("5-0", "+7-1"), ("", "")] {
            assert_eq!(position(string(history), string(tail)), Position::default(), "{history} {tail}");
        }
        assert_eq!(position(Value::Nil, string("7-1")), Position::default());
        // The scripts accept any number of digits.
        assert_eq!(position(string("5-0"), string("99999999999999999999999-1")).last, (u64::MAX, 1));
    }

    #[test]
    fn position_without_generation_is_valid_only_at_the_start_of_the_feed() {
        let tail = Position { generation: (5, 0), last: (7, 1) };
        assert!(!Position::default().is_lost(tail));
        assert!(Position { last: (7, 1), ..Position::default() }.is_lost(tail));
        assert_eq!((tail.before_generation(), Position::default().before_generation()), ((4, u64::MAX), (0, 0)));
        assert_eq!(Position { generation: (5, 2), ..tail }.before_generation(), (5, 1));
    }

    #[test]
    fn entry_links_to_an_earlier_entry_only_after_damage() {
        let position = Position { generation: (5, 0), last: (7, 1) };
        let link = |previous, after_damage| position.link((9, 0), previous, after_damage);
        for after_damage in [false, true] {
            assert_eq!(link(None, after_damage), Link::Stray);
            assert_eq!(link(Some((7, 1)), after_damage), Link::Next);
            assert_eq!(link(Some((8, 0)), after_damage), Link::Gap, "an entry is missing");
            assert_eq!(link(Some((0, 0)), after_damage), Link::Gap, "a new generation begins");
            assert_eq!(position.link((5, 0), Some((0, 0)), after_damage), Link::Gap, "the generation is repeated");
        }
        assert_eq!((link(Some((6, 0)), false), link(Some((6, 0)), true)), (Link::Gap, Link::Next));
        let start = Position { last: position.before_generation(), ..position };
        assert_eq!(start.link((5, 0), Some((0, 0)), false), Link::Next);
    }
}
