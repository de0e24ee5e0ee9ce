//! The interface between the suite and the store under test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::registry::Registry;
use crate::stream::StreamId;

/// Factory for registries of the store under test.
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    /// Opens an empty registry with this time to live. The registry must not share data with other registries.
    ///
    /// # Errors
    ///
    /// Returns the store's error. The behaviour then fails.
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>>;
}

/// An open registry under test, with hooks that access its store directly.
///
/// By default, each hook returns `None`. Behaviours that need this hook then do not apply to the store.
#[async_trait]
pub trait Instance: Send + Sync + 'static {
    /// Returns the registry.
    fn registry(&self) -> Arc<dyn Registry>;

    /// Lets time pass in the store. The default implementation waits; a store with a test clock can move this clock
    /// instead.
    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    /// Stores raw JSON under an id, with the time to live and an index entry, as another program would.
    async fn put_stored(&self, id: &StreamId, json: &str) -> Option<()> {
        let _ = (id, json);
        None
    }

    /// Returns the raw JSON that is stored under an id, or `Some(None)` if nothing is stored.
    async fn stored(&self, id: &StreamId) -> Option<Option<String>> {
        let _ = id;
        None
    }

    /// Stores a value that is not a record, such as a Redis list, under an id, and adds an index entry.
    async fn put_wrong_type(&self, id: &StreamId) -> Option<()> {
        let _ = id;
        None
    }

    /// Removes the index entry of a record.
    async fn remove_from_index(&self, id: &StreamId) -> Option<()> {
        let _ = id;
        None
    }

    /// Adds an index entry without a record.
    async fn add_to_index(&self, id: &StreamId) -> Option<()> {
        let _ = id;
        None
    }

    /// Shortens the remaining time to live of a stream, as if its last write was older.
    async fn age(&self, id: &StreamId, by: Duration) -> Option<()> {
        let _ = (id, by);
        None
    }

    /// Returns the ids in the index.
    async fn index(&self) -> Option<Vec<String>> {
        None
    }

    /// Returns whether the store keeps two ids, of streams or operations, in the same part.
    ///
    /// A store that is divided into parts, e.g. the shards of a Redis Cluster, gives some guarantees only for streams in
    /// the same part: the order of their events, lists at one moment, and the detection of reused operation ids. By
    /// default, a store has only one part.
    fn are_together(&self, one: &str, other: &str) -> bool {
        let _ = (one, other);
        true
    }
}

/// Smart pointer that calls of the registry go through.
#[derive(Clone, Copy)]
enum Pointer {
    Arc,
    Box,
}

struct ViaPointer {
    subject: Arc<dyn Subject>,
    pointer: Pointer,
}

struct InstanceViaPointer {
    instance: Box<dyn Instance>,
    registry: Arc<dyn Registry>,
}

/// Wraps a subject. All calls then go through the implementation of `Registry` for `Arc<dyn Registry>`.
pub fn shared(subject: Arc<dyn Subject>) -> Arc<dyn Subject> {
    Arc::new(ViaPointer { subject, pointer: Pointer::Arc })
}

/// Wraps a subject. All calls then go through the implementation of `Registry` for `Box<dyn Registry>`.
pub fn boxed(subject: Arc<dyn Subject>) -> Arc<dyn Subject> {
    Arc::new(ViaPointer { subject, pointer: Pointer::Box })
}

#[async_trait]
impl Subject for ViaPointer {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        let instance = self.subject.open(ttl).await?;
        let inner = instance.registry();
        let registry: Arc<dyn Registry> = match self.pointer {
            Pointer::Arc => Arc::new(inner),
            Pointer::Box => {
                let boxed: Box<dyn Registry> = Box::new(inner);
                Arc::new(boxed)
            }
        };
        Ok(Box::new(InstanceViaPointer { instance, registry }))
    }
}

#[async_trait]
impl Instance for InstanceViaPointer {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }
    async fn advance(&self, by: Duration) {
        self.instance.advance(by).await;
    }
    async fn put_stored(&self, id: &StreamId, json: &str) -> Option<()> {
        self.instance.put_stored(id, json).await
    }
    async fn stored(&self, id: &StreamId) -> Option<Option<String>> {
        self.instance.stored(id).await
    }
    async fn put_wrong_type(&self, id: &StreamId) -> Option<()> {
        self.instance.put_wrong_type(id).await
    }
    async fn remove_from_index(&self, id: &StreamId) -> Option<()> {
        self.instance.remove_from_index(id).await
    }
    async fn add_to_index(&self, id: &StreamId) -> Option<()> {
        self.instance.add_to_index(id).await
    }
    async fn age(&self, id: &StreamId, by: Duration) -> Option<()> {
        self.instance.age(id, by).await
    }
    async fn index(&self) -> Option<Vec<String>> {
        self.instance.index().await
    }
    fn are_together(&self, one: &str, other: &str) -> bool {
        self.instance.are_together(one, other)
    }
}
