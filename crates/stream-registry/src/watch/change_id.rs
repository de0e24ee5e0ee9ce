//! Identifies a change for consumers that must recognise repeated events.

use super::shard::shard_of;
use super::{Event, vector};

impl Event {
    /// Returns a string that identifies this event in its store. Every watch reports the same string for the same
    /// change, so that a consumer recognises an event that it receives a second time.
    ///
    /// The revision itself is not enough: in a Redis Cluster, it also depends on the order in which the watch has
    /// received the events of the other shards. Two resyncs for one gap can have different strings.
    ///
    /// ```
    /// use stream_registry::watch::WatchFrom;
    /// use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// let registry = MemoryRegistry::new();
    /// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// let mut ids = Vec::new();
    /// for _ in 0..2 {
    ///     let mut watch = registry.watch(WatchFrom::Oldest).await?;
    ///     ids.push(watch.next().await.expect("the registry is open").change_id());
    /// }
    /// assert_eq!(ids[0], ids[1]);
    /// # Ok(()) }
    /// ```
    pub fn change_id(&self) -> String {
        let revision = self.revision();
        let in_shard = self.stream().zip(vector::decode(revision)).and_then(|(stream, positions)| {
            let shard = shard_of(stream.id.as_str().as_bytes(), positions.len());
            positions.get(shard).map(|position| format!("{shard}_{}", vector::encode(&[*position])))
        });
        in_shard.unwrap_or_else(|| revision.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stream::{Revision, Stream, StreamType};
    use crate::watch::ChangeKind;
    use crate::watch::vector::ShardPosition;

    fn event(id: &str, revision: Revision) -> Event {
        let stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "h:1");
        Event::Changed { revision, kind: ChangeKind::Status, stream: Arc::new(stream) }
    }

    #[test]
    fn change_id_depends_only_on_the_shard_of_the_stream() {
        let at = |first: u64, second: u64| {
            vector::encode(&[first, second].map(|last| ShardPosition { generation: (7, 0), last: (last, 1) }))
        };
        // The stream cam1 is in the second of two shards.
        let id = |first, second| event("cam1", at(first, second)).change_id();
        assert_eq!(id(10, 20), id(11, 20));
        assert_ne!(id(10, 20), id(10, 21));
        assert_ne!(id(20, 20), event("cam2", at(20, 20)).change_id(), "positions of two shards can be equal");
    }

    #[test]
    fn change_id_of_a_store_without_shards_is_the_revision() {
        let revision: Revision = "1-0.2-0".parse().unwrap();
        assert_eq!(event("cam1", revision.clone()).change_id(), "1-0.2-0");
        assert_eq!(Event::Resync { revision, shard: None }.change_id(), "1-0.2-0");
    }
}
