//! The hash tags of the shards, and the function that assigns stream ids to shards.

use crate::stream::StreamId;
use crate::watch::shard;

/// The name of [`shard_of`] in the stored layout.
pub(super) const FUNCTION: &str = "crc16";

/// The hash tags of 64 shards. The slot of each tag is near the middle of one of 64 equal ranges of slots, so that a
/// cluster with any number of nodes has about the same number of shards on each node. Registries with fewer shards use
/// every second, fourth, … tag, which are spread as evenly.
pub(super) const TAGS: [&str; 64] = [
    "53t", "j3j", "if5", "kec", "574", "74b", "akm", "6bk", "96a", "frw", "0ip", "oin", "d1i", "38o", "0m0", "xw",
    "he6", "box", "40w", "c9q", "hav", "7ah", "447", "67a", "1js", "fcu", "0xr", "m5", "1n3", "3me", "e2j", "iu",
    "712", "52d", "cmk", "4dm", "75r", "h5l", "7av", "ice", "3y7", "1za", "2k6", "8ax", "wu7", "931", "yg", "8e8",
    "7d8", "5gn", "621", "41g", "jc0", "qkn", "66q", "i6o", "3h5", "1kc", "2z4", "0yb", "3lu", "des", "he", "802",
];

/// Returns the tag of a shard. The count is a power of two up to 64.
pub(super) fn tag(shard: usize, count: usize) -> &'static str {
    TAGS[shard * (TAGS.len() / count.max(1)) % TAGS.len()]
}

/// Returns the prefix of all keys of a shard. The braces make Redis compute the slot from the tag alone.
pub(super) fn prefix(prefix: &str, tag: &str) -> String {
    format!("{prefix}{{{tag}}}:")
}

/// Returns the number of the shard of a stream: the CRC-16 (XMODEM) of the id modulo the number of shards.
pub(super) fn shard_of(id: &StreamId, count: usize) -> usize {
    shard::shard_of(id.as_str().as_bytes(), count)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::redis::connect::slot_of;
    use crate::redis::servers::SHARD_COUNTS;

    #[test]
    fn tags_of_every_allowed_count_are_spread_evenly_over_the_slots() {
        for count in SHARD_COUNTS.map(usize::from) {
            let tags: HashSet<_> = (0..count).map(|shard| tag(shard, count)).collect();
            assert_eq!(tags.len(), count);
            // Each tag is in its own one of 64 equal ranges.
            for shard in 0..count {
                let range = usize::from(slot_of(tag(shard, count))) / (16_384 / 64);
                assert_eq!(range, shard * 64 / count, "{}", tag(shard, count));
            }
        }
        assert!(SHARD_COUNTS.contains(&64));
    }

    #[test]
    fn stream_is_in_the_shard_that_the_documentation_computes() {
        // From `CLUSTER KEYSLOT`, modulo the number of shards.
        for (id, slot) in [("cam1", 13_649), ("foo", 12_182)] {
            assert_eq!(slot_of(id), slot, "{id}");
            let id = id.parse().unwrap();
            assert_eq!((shard_of(&id, 16), shard_of(&id, 1)), (usize::from(slot) % 16, 0));
        }
        assert_eq!(prefix("mirror:streams:", "53t"), "mirror:streams:{53t}:");
    }
}
