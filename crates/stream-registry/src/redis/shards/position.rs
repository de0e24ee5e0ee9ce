//! Positions in the feeds of all shards, and their conversion to revisions.

use crate::redis::feed::position::Position;
use crate::stream::Revision;
use crate::watch::vector::{self, ShardPosition};

/// A position that no feed has. A watch from this position begins with a `Resync`.
pub(super) const UNKNOWN: Position = Position { generation: (0, 0), last: (0, 1) };

/// Converts one position per shard to a revision.
pub(super) fn revision(positions: &[Position]) -> Revision {
    match positions {
        [single] => single.revision(),
        positions => {
            let part = |&Position { generation, last }: &Position| ShardPosition { generation, last };
            vector::encode(&positions.iter().map(part).collect::<Vec<_>>())
        }
    }
}

/// Converts a revision to one position per shard. Returns `None` if the revision comes from another kind of store or
/// from another number of shards.
pub(super) fn positions(revision: &Revision, shards: usize) -> Option<Vec<Position>> {
    let positions = vector::decode(revision)?.into_iter();
    let positions: Vec<_> = positions.map(|ShardPosition { generation, last }| Position { generation, last }).collect();
    (positions.len() == shards).then_some(positions)
}
