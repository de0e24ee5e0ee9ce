//! The history of ended streams in all shards.

use super::Shards;
use super::position::{self, UNKNOWN};
use crate::error::Result;
use crate::query::Ended;
use crate::redis::feed::position::Position;
use crate::redis::ops;
use crate::stream::Timestamp;
use crate::watch::Event;

impl Shards {
    /// Returns at most `limit` events of streams that have ended, the latest first. Returns `None` if the user lacks the
    /// permission to read a feed backwards.
    ///
    /// The shards are merged by the time of their entries. Entries of the same millisecond are in the order of the last
    /// writes to their streams.
    pub(in crate::redis) async fn history(&self, ended: &Ended, limit: usize) -> Result<Option<Vec<Event>>> {
        if let [single] = &*self.shards {
            return ops::history::history(&single.store, ended, limit).await;
        }
        let histories = self.each(|shard| ops::history::history(&shard.store, ended, limit)).await?;
        let Some(histories) = histories.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut heads: Vec<_> = histories.into_iter().map(|events| events.into_iter().peekable()).collect();
        let mut merged = Vec::new();
        while merged.len() < limit {
            let latest = heads.iter_mut().enumerate().filter_map(|(shard, head)| Some((ended_at(head.peek()?), shard)));
            let Some((_, shard)) = latest.max() else { break };
            merged.extend(heads[shard].next().map(|event| self.at_shard(shard, event)));
        }
        Ok(Some(merged))
    }

    /// Replaces the position in a shard's feed by a position in all feeds.
    ///
    /// The positions in the other shards at the time of the event are unknown. So a watch from this event begins with a
    /// `Resync`, and nothing is lost silently.
    fn at_shard(&self, shard: usize, event: Event) -> Event {
        let mut positions = vec![UNKNOWN; self.shards.len()];
        positions[shard] = Position::from_revision(event.revision()).unwrap_or(UNKNOWN);
        event.at(position::revision(&positions))
    }
}

/// Returns when a stream ended, in Unix ms, and when it was last written.
fn ended_at(event: &Event) -> (u64, Option<Timestamp>) {
    let position = Position::from_revision(event.revision()).unwrap_or(UNKNOWN);
    (position.last.0, event.stream().map(|last| last.last_heartbeat))
}
