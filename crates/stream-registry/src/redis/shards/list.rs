//! Lists of the streams in all shards.

use std::num::NonZeroU32;

use super::cursor::{self, Extent, Place};
use super::{Shards, position};
use crate::error::Result;
use crate::redis::feed::position::Position;
use crate::redis::ops;
use crate::registry::{Page, Snapshot};
use crate::stream::{Cursor, Revision};

impl Shards {
    /// Lists all streams. The streams of one shard are from one moment.
    pub(in crate::redis) async fn snapshot(&self) -> Result<Snapshot> {
        let lists = self.each(|shard| ops::list::snapshot(&shard.store)).await?;
        let revision = revision(lists.iter().map(|(_, position)| *position));
        let rest = lists.iter().skip(1).map(|(list, _)| list.streams.len()).sum();
        let mut lists = lists.into_iter().map(|(list, _)| list);
        let mut snapshot = lists.next().unwrap_or_default();
        snapshot.streams.reserve(rest);
        for list in lists {
            snapshot.streams.extend(list.streams);
            snapshot.unreadable += list.unreadable;
        }
        snapshot.revision = revision;
        Ok(snapshot)
    }

    /// Lists a page of streams, shard after shard, or of one shard.
    pub(in crate::redis) async fn list_page(&self, from: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
        let shards = self.shards.len();
        let mut place = from.map_or(Ok(Place::default()), |from| cursor::read(from, shards))?;
        let mut page = Page::default();
        if shards > 1 {
            // The positions are read before the page. So a watch from the first page misses no later change. If a
            // listed shard is down, every page fails, because the total would be too small without this shard.
            let listed = &self.shards[place.shard];
            let extents = self.each(|shard| async move {
                match place.extent {
                    // Every position includes the start of a feed, so only the position in the listed shard counts.
                    Extent::One if !std::ptr::eq(shard, listed) => Ok((0, Some(Position::default()))),
                    _ => ops::page::extent(&shard.store).await,
                }
            });
            let extents = extents.await?;
            page.total = extents.iter().map(|(size, _)| size).sum();
            page.revision = revision(extents.iter().map(|(_, position)| *position));
        }
        loop {
            let shard = &self.shards[place.shard];
            let part = ops::page::page(&shard.store, place.scan, count - page.streams.len()).await;
            let (part, next) = part.map_err(|error| shard.named(error))?;
            if shards == 1 {
                page = part;
            } else {
                page.streams.extend(part.streams);
                page.unreadable += part.unreadable;
            }
            let next = match (next.cursor, place.extent) {
                (0, Extent::One) => None,
                (0, Extent::All) => Some(Place { shard: place.shard + 1, ..Place::default() }),
                _ => Some(Place { scan: next, ..place }),
            };
            match next.filter(|next| next.shard < shards) {
                Some(next) if page.streams.len() < count => place = next,
                next => {
                    page.next = next.map(|next| cursor::make(next, shards)).transpose()?;
                    return Ok(page);
                }
            }
        }
    }
}

/// Returns the revision of positions in all shards. Returns `None` if one position is unknown.
fn revision(positions: impl Iterator<Item = Option<Position>>) -> Option<Revision> {
    Some(position::revision(&positions.collect::<Option<Vec<_>>>()?))
}
