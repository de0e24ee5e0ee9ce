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
    /// Parses the metadata fields `history` and `tail`. If both are missing, the result is the start of an empty feed.
    pub(in crate::redis) fn from_metadata(history: Value, tail: Value) -> Result<Self> {
        let id = |value: Value| -> Result<EntryId> {
            let Some(id) = reply::optional_bytes(value)? else { return Ok((0, 0)) };
            entry_id(&id).ok_or_else(|| reply::unexpected(&Value::BulkString(id)))
        };
        Ok(Self { generation: id(history)?, last: id(tail)? })
    }

    pub(in crate::redis) fn revision(self) -> Revision {
        let ((a, b), (c, d)) = (self.generation, self.last);
        let revision = format!("{a}-{b}.{c}-{d}");
        revision.parse().unwrap_or_else(|_| unreachable!("{revision:?} is a revision"))
    }

    /// Converts a revision to a position. Returns `None` if the revision does not come from a Redis store.
    pub(super) fn from_revision(revision: &Revision) -> Option<Self> {
        let (generation, last) = revision.as_str().split_once('.')?;
        let position = Self { generation: entry_id(generation.as_bytes())?, last: entry_id(last.as_bytes())? };
        (position.revision() == *revision).then_some(position)
    }

    /// Returns whether events after this position may have been lost. `tail` is the current end of the feed.
    pub(super) fn is_lost(self, tail: Self) -> bool {
        // A new feed has no generation before its first event.
        let started = self.generation != (0, 0);
        started && tail.generation != self.generation || tail.last < self.last
    }
}

/// Parses an entry id.
pub(super) fn entry_id(id: &[u8]) -> Option<EntryId> {
    let (millis, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some((millis.parse().ok()?, sequence.parse().ok()?))
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
}
