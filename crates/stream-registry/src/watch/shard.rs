//! The shards of a registry, as events name them.

use super::vector::MAX_SHARDS;
use crate::stream::{Cursor, StreamId};

/// A shard: a part of a registry in a Redis Cluster, with a change feed of its own.
///
/// An [`Event::Resync`](super::Event::Resync) names the shard whose events may have been lost. If your copies came from
/// the registry that emitted the event, you can read only this shard again: read the pages from [`pages`](Self::pages)
/// to the last one, and put their streams into your copies. Then remove each copy whose id the shard
/// [contains](Self::contains), if the stream was on no page and [`get`](crate::Registry::get) no longer finds it.
///
/// ```
/// use stream_registry::StreamId;
/// use stream_registry::watch::Shard;
///
/// let shard = Shard::new(1, 16).expect("a registry with 16 shards has shard 1");
/// assert!(shard.contains(&StreamId::new("cam1")?));
/// assert!(!shard.contains(&StreamId::new("cam2")?));
/// assert_eq!(Shard::new(16, 16), None);
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    number: usize,
    count: usize,
}

impl Shard {
    /// Returns the shard with this number, counted from 0, in a registry with `count` shards. Returns `None` if there
    /// is no such shard, or if `count` is more than 64.
    pub fn new(number: usize, count: usize) -> Option<Self> {
        (number < count && count <= MAX_SHARDS).then_some(Self { number, count })
    }

    /// Returns the number of the shard, counted from 0.
    pub fn number(self) -> usize {
        self.number
    }

    /// Returns the number of shards in the registry.
    pub fn count(self) -> usize {
        self.count
    }

    /// Returns whether streams with this id are in the shard.
    pub fn contains(self, id: &StreamId) -> bool {
        shard_of(id.as_str().as_bytes(), self.count) == self.number
    }

    /// Returns the cursor of the first page of the shard, for [`list_page`](crate::Registry::list_page).
    ///
    /// The pages from this cursor contain only streams of the shard. Stores without this shard reject the cursor with
    /// `InvalidCursor`; so does a server that is used over HTTP.
    pub fn pages(self) -> Cursor {
        let cursor = format!("s{:02x}{:024x}", self.number, 0);
        cursor.parse().unwrap_or_else(|_| unreachable!("{cursor:?} is a cursor"))
    }
}

/// Returns the number of the shard to which these bytes belong: their CRC-16 (XMODEM) modulo the number of shards.
pub(crate) fn shard_of(bytes: &[u8], count: usize) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(bytes)) % count.max(1)
}
