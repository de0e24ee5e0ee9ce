//! What the suite is run on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::registry::Registry;
use crate::stream::StreamId;

/// A kind of store under test.
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    /// Opens an empty registry that shares nothing with any other, with this time to live.
    ///
    /// # Errors
    ///
    /// Those of the store; the behaviour fails with it.
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>>;
}

/// An open registry under test, and what can be done to its store from outside.
///
/// The hooks answer `None` where the store has no such notion: the behaviours that need them do not apply.
#[async_trait]
pub trait Instance: Send + Sync + 'static {
    /// Returns the registry.
    fn registry(&self) -> Arc<dyn Registry>;

    /// Lets the store's time pass: moves its clock, or, by default, waits.
    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    /// Writes a text under an id as another program would: with the time to live, and into the index.
    async fn put_stored(&self, id: &StreamId, text: &str) -> Option<()> {
        let _ = (id, text);
        None
    }

    /// Reads the text that is stored under an id; the inner `None` says that there is none.
    async fn stored(&self, id: &StreamId) -> Option<Option<String>> {
        let _ = id;
        None
    }

    /// Puts something under an id, and the id into the index, that is not even of the type of a record.
    async fn put_wrong_type(&self, id: &StreamId) -> Option<()> {
        let _ = id;
        None
    }

    /// Takes an id out of the index; the record stays.
    async fn remove_from_index(&self, id: &StreamId) -> Option<()> {
        let _ = id;
        None
    }

    /// Puts an id without a record into the index.
    async fn add_to_index(&self, id: &StreamId) -> Option<()> {
        let _ = id;
        None
    }

    /// Takes from the time that a stream has left, as if nobody had written it for so much longer.
    async fn age(&self, id: &StreamId, by: Duration) -> Option<()> {
        let _ = (id, by);
        None
    }

    /// Reads the index.
    async fn index(&self) -> Option<Vec<String>> {
        None
    }
}

/// Which pointer the registry is behind.
#[derive(Clone, Copy)]
enum Pointer {
    Arc,
    Box,
}

struct Behind {
    subject: Arc<dyn Subject>,
    pointer: Pointer,
}

struct InstanceBehind {
    instance: Box<dyn Instance>,
    registry: Arc<dyn Registry>,
}

/// The same store, used through the implementation for `Arc<dyn Registry>`.
pub fn shared(subject: Arc<dyn Subject>) -> Arc<dyn Subject> {
    Arc::new(Behind { subject, pointer: Pointer::Arc })
}

/// The same store, used through the implementation for `Box<dyn Registry>`.
pub fn boxed(subject: Arc<dyn Subject>) -> Arc<dyn Subject> {
    Arc::new(Behind { subject, pointer: Pointer::Box })
}

#[async_trait]
impl Subject for Behind {
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
        Ok(Box::new(InstanceBehind { instance, registry }))
    }
}

#[async_trait]
impl Instance for InstanceBehind {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }
    async fn advance(&self, by: Duration) {
        self.instance.advance(by).await;
    }
    async fn put_stored(&self, id: &StreamId, text: &str) -> Option<()> {
        self.instance.put_stored(id, text).await
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
}
