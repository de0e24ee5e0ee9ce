//! Revisions of a store that consists of shards. Each shard has a feed of its own, so a revision names a position in
//! every feed.
//!
//! A vector revision is the number of shards, one part per shard, and the latest times, separated by `_`. A part is the
//! id of the first entry of the shard's feed (its generation), a dot, and the id of the last entry before the position.
//! An id is a time, and a sequence number after a hyphen unless this number is 0. A time is the difference to the latest
//! time of all shards, as a hexadecimal number. An empty id stands for the start of a feed. For example, with two shards:
//! `2_3e8.2f-1_0.0_18f0a3b2c00.18f0a3b3d11`.
//!
//! The latest times are at the end. If a digit is appended by mistake, the positions are far in the future, so a watch
//! does not mistake them for earlier positions.

use std::fmt::Write as _;

use crate::stream::Revision;

/// The id of an entry in a feed: a time in milliseconds, and a sequence number within this millisecond.
type EntryId = (u64, u64);

/// Maximum number of shards in a revision.
pub(super) const MAX_SHARDS: usize = 64;

/// A position in the feed of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardPosition {
    /// The id of the first entry of the feed.
    pub(crate) generation: EntryId,
    /// The id of the last entry before the position.
    pub(crate) last: EntryId,
}

/// Encodes one position per shard as a revision.
pub(crate) fn encode(positions: &[ShardPosition]) -> Revision {
    let latest = |time: fn(&ShardPosition) -> u64| positions.iter().map(time).max().unwrap_or_default();
    let (generation, last) = (latest(|position| position.generation.0), latest(|position| position.last.0));
    let mut text = String::with_capacity(32 + 12 * positions.len());
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", positions.len());
    for position in positions {
        text.push('_');
        push_id(&mut text, position.generation, generation);
        text.push('.');
        push_id(&mut text, position.last, last);
    }
    let _ = write!(text, "_{generation:x}.{last:x}");
    text.parse().unwrap_or_else(|_| unreachable!("{text:?} is a revision"))
}

fn push_id(text: &mut String, (time, sequence): EntryId, latest: u64) {
    if (time, sequence) != (0, 0) {
        let _ = write!(text, "{:x}", latest - time);
        if sequence != 0 {
            let _ = write!(text, "-{sequence:x}");
        }
    }
}

/// Decodes a revision. Returns `None` if [`encode`] would spell it differently, or if it is not a vector revision.
pub(crate) fn decode(revision: &Revision) -> Option<Vec<ShardPosition>> {
    let (count, rest) = revision.as_str().split_once('_')?;
    let (parts, latest) = rest.rsplit_once('_')?;
    let (generation, last) = latest.split_once('.')?;
    let (generation, last) = (u64::from_str_radix(generation, 16).ok()?, u64::from_str_radix(last, 16).ok()?);
    let count: usize = count.parse().ok().filter(|count| *count <= MAX_SHARDS)?;
    let positions = parts.split('_').take(count + 1).map(|part| {
        let (first, position) = part.split_once('.')?;
        Some(ShardPosition { generation: read_id(first, generation)?, last: read_id(position, last)? })
    });
    let positions: Vec<_> = positions.collect::<Option<_>>()?;
    (encode(&positions) == *revision).then_some(positions)
}

fn read_id(text: &str, latest: u64) -> Option<EntryId> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let (time, sequence) = text.split_once('-').unwrap_or((text, "0"));
    let time = latest.checked_sub(u64::from_str_radix(time, 16).ok()?)?;
    Some((time, u64::from_str_radix(sequence, 16).ok()?))
}

/// Returns whether a string has the form of a vector revision. Does not check its numbers.
pub(crate) fn has_form(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f' | b'_' | b'.' | b'-');
    let mut parts = text.split('_');
    let count: Option<usize> = parts.next().and_then(|count| count.parse().ok());
    text.bytes().all(is_valid)
        && count.is_some_and(|count| count <= MAX_SHARDS && parts.clone().count() == count + 1)
        && parts.all(|part| part.contains('.'))
}

/// Returns whether a reader at `reached` is known to have received everything up to `wanted`. Two different revisions
/// of a store without shards cannot be compared.
pub(crate) fn includes(reached: &Revision, wanted: &Revision) -> bool {
    if reached == wanted {
        return true;
    }
    let (Some(reached), Some(wanted)) = (decode(reached), decode(wanted)) else { return false };
    let includes = |(reached, wanted): (&ShardPosition, &ShardPosition)| {
        // Every position is after the start of a feed that has no entries yet.
        let is_start = *wanted == ShardPosition::default();
        reached == wanted || is_start || reached.generation == wanted.generation && reached.last >= wanted.last
    };
    reached.len() == wanted.len() && reached.iter().zip(&wanted).all(includes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: EntryId, last: EntryId) -> ShardPosition {
        ShardPosition { generation, last }
    }

    #[test]
    fn vector_revision_survives_a_round_trip() {
        let now = 1_800_000_000_000;
        let busy = at((now - 1_000, 0), (now, 7));
        let start = at((now, 2), (now - 1, u64::MAX));
        for positions in [
            vec![busy],
            vec![ShardPosition::default(); 2],
            vec![busy, ShardPosition::default(), start, at((0, 0), (0, 1))],
            (0..64).map(|shard| at((now + shard, shard), (now + 86_400_000 - shard, 0))).collect(),
            vec![at((u64::MAX, u64::MAX), (u64::MAX, u64::MAX)), at((0, u64::MAX), (0, u64::MAX))],
            vec![at((1, u64::MAX), (1, u64::MAX)); 64],
        ] {
            let revision = encode(&positions);
            assert_eq!(decode(&revision).as_deref(), Some(&*positions), "{revision}");
            assert!(has_form(revision.as_str()), "{revision}");
        }
        assert_eq!(encode(&[busy, ShardPosition::default()]).as_str(), "2_0.0-7_._1a3185c4c18.1a3185c5000");
    }

    #[test]
    fn revision_of_64_busy_shards_has_less_than_1000_characters() {
        let now = 1_800_000_000_000;
        let positions: Vec<_> = (0..64).map(|shard| at((now - 5_000 * shard, 1), (now - 60_000, 12))).collect();
        assert!(encode(&positions).as_str().len() < 1_000);
    }

    #[test]
    fn vector_revision_with_another_spelling_is_not_decoded() {
        let revision = "2_0.0-7_._1a3185c4c18.1a3185c5000";
        assert!(decode(&revision.parse().unwrap()).is_some());
        for other in [
            "2_0.0-7_1a3185c4c18.1a3185c5000",
            "02_0.0-7_._1a3185c4c18.1a3185c5000",
            "3_0.0-7_._1a3185c4c18.1a3185c5000",
            "2_0.00-7_._1a3185c4c18.1a3185c5000",
            "2_0.+0-7_._1a3185c4c18.1a3185c5000",
            "2_0.0-07_._1a3185c4c18.1a3185c5000",
            "2_0.0-0_._1a3185c4c18.1a3185c5000",
            "2_0.0-7_._01a3185c4c18.1a3185c5000",
            "2_0.0-7_._1A3185c4c18.1a3185c5000",
            "65_0.0-7_._1a3185c4c18.1a3185c5000",
            "1-0.2-0",
            "2__",
            "_",
        ] {
            assert_eq!(decode(&other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn string_with_other_characters_or_parts_has_not_the_form_of_a_vector_revision() {
        let revision = "2_0.0-7_._1a3185c4c18.1a3185c5000";
        assert!(has_form(revision) && has_form(&format!("{revision}9")));
        for other in [format!("x{revision}"), format!("{revision}x"), "2_._.".to_owned(), "1_2_3".to_owned()] {
            assert!(!has_form(&other), "{other}");
        }
    }

    #[test]
    fn vector_revision_includes_only_positions_that_are_not_later_in_any_shard() {
        let one = |last| at((1, 0), (last, 0));
        let includes = |reached: &[_], wanted: &[_]| super::includes(&encode(reached), &encode(wanted));
        assert!(includes(&[one(5), one(5)], &[one(5), one(4)]));
        assert!(!includes(&[one(5), one(5)], &[one(4), one(6)]));
        assert!(!includes(&[one(5)], &[one(5), one(5)]), "another number of shards");
        assert!(!includes(&[at((2, 0), (5, 0))], &[one(4)]), "another generation");
        assert!(includes(&[one(5), one(5)], &[one(5), ShardPosition::default()]), "a feed without entries");
        assert!(!includes(&[one(5), ShardPosition::default()], &[one(5), one(5)]), "the first entry is missing");
        let single = |text: &str| text.parse().unwrap();
        assert!(super::includes(&single("1-0.2-0"), &single("1-0.2-0")));
        assert!(!super::includes(&single("1-0.3-0"), &single("1-0.2-0")), "no vectors");
    }
}
