//! Batches that are split by shard. All shards get their parts at once, and the results are in the caller's order.

use futures_util::future::{join_all, try_join_all};

use super::{Shard, Shards, tags};
use crate::error::Result;
use crate::redis::ops;
use crate::registry::{Write, rules};
use crate::stream::{Stream, StreamId};

/// The items of a batch that belong to one shard, and their indices in the batch.
struct Part<'a, T> {
    shard: &'a Shard,
    places: Vec<usize>,
    items: Vec<T>,
}

impl Shards {
    fn split<'a, T: Clone>(&'a self, items: &[T], id: impl Fn(&T) -> &StreamId) -> Vec<Part<'a, T>> {
        let mut parts: Vec<Part<'_, T>> =
            self.iter().map(|shard| Part { shard, places: Vec::new(), items: Vec::new() }).collect();
        for (place, item) in items.iter().enumerate() {
            let part = &mut parts[tags::shard_of(id(item), self.shards.len())];
            part.places.push(place);
            part.items.push(item.clone());
        }
        parts.retain(|part| !part.places.is_empty());
        parts
    }

    /// Applies a batch of writes. If a shard fails while others succeed, each of its writes gets the error.
    pub(in crate::redis) async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        if let [single] = &*self.shards {
            return ops::write::write(&single.store, writes).await;
        }
        let parts = self.split(writes, |write| &write.id);
        let answers = join_all(parts.iter().map(|part| ops::write::write(&part.shard.store, &part.items))).await;
        let errors = || parts.iter().zip(&answers).filter_map(|(part, answer)| Some((part, answer.as_ref().err()?)));
        if errors().count() == parts.len()
            && let Some((part, error)) = errors().next()
        {
            let may_have_applied = errors().any(|(_, error)| error.may_have_applied());
            let error = part.shard.named(error.clone()).with_may_have_applied(may_have_applied);
            return Err(error.with_partial(parts.len() < self.shards.len()));
        }
        let mut results: Vec<Result<()>> = writes.iter().map(|_| Ok(())).collect();
        for (part, answer) in parts.iter().zip(answers) {
            let answer = answer.unwrap_or_else(|error| part.items.iter().map(|_| Err(error.clone())).collect());
            for ((&place, write), result) in part.places.iter().zip(&part.items).zip(answer) {
                results[place] = result.map_err(|error| rules::name_write(part.shard.named(error), write));
            }
        }
        Ok(results)
    }

    /// Reads several streams, in the order of the ids.
    pub(in crate::redis) async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        if let [single] = &*self.shards {
            return ops::get::get_many(&single.store, ids).await;
        }
        let parts = self.split(ids, |id| id);
        let reads = parts.iter().map(|part| async {
            ops::get::get_many(&part.shard.store, &part.items).await.map_err(|error| part.shard.named(error))
        });
        let answers = try_join_all(reads).await?;
        let mut streams: Vec<Option<Stream>> = ids.iter().map(|_| None).collect();
        for (part, answer) in parts.iter().zip(answers) {
            for (&place, stream) in part.places.iter().zip(answer) {
                streams[place] = stream;
            }
        }
        Ok(streams)
    }
}
