//! A store in memory that can be disturbed.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stream_registry::registry::StoreInfo;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{
    Cursor, Error, ErrorKind, MemoryRegistry, Page, RegisterOptions, Registered, Registry, Result, Snapshot, Stream,
    StreamId, UnregisterOptions, Write,
};
use tokio::sync::Notify;

/// A store in memory whose feed, pages and look-ups can be disturbed.
#[derive(Debug, Default)]
pub(super) struct Disturbed {
    pub(super) inner: MemoryRegistry,
    /// Events are swallowed, and then it says so.
    pub(super) tears: Arc<AtomicBool>,
    /// Every so many events of a watch it asks for a new snapshot.
    pub(super) resync_every: Option<u64>,
    pub(super) deaf: bool,
    /// Why it refuses to be followed.
    pub(super) refuses: Option<ErrorKind>,
    /// No watch of it tells anything but that events may be missing.
    pub(super) torn: bool,
    /// Snapshots do not know their place.
    pub(super) placeless: bool,
    pub(super) snapshots: AtomicU64,
    /// Pages were read and wait here to be handed out.
    pub(super) hold_pages: Mutex<Option<Arc<(Notify, Notify)>>>,
    pub(super) hold_gets: Mutex<Option<Arc<(Notify, Notify)>>>,
}

async fn held(hold: &Mutex<Option<Arc<(Notify, Notify)>>>) {
    let hold = hold.lock().unwrap().take();
    if let Some(hold) = hold {
        hold.0.notify_one();
        hold.1.notified().await;
    }
}

#[async_trait]
impl Registry for Disturbed {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.inner.register_with(stream, options).await
    }
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.inner.unregister_with(id, options).await
    }
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.inner.write(writes).await
    }
    async fn get(&self, id: &StreamId) -> Result<Stream> {
        let answer = self.inner.get(id).await;
        held(&self.hold_gets).await;
        answer
    }
    async fn snapshot(&self) -> Result<Snapshot> {
        self.snapshots.fetch_add(1, Ordering::SeqCst);
        let mut snapshot = self.inner.snapshot().await?;
        if self.placeless {
            snapshot.revision = None;
        }
        Ok(snapshot)
    }
    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let page = self.inner.list_page(cursor, count).await;
        held(&self.hold_pages).await;
        page
    }
    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        if self.deaf {
            return Err(Error::unsupported("this store has no change feed"));
        }
        if let Some(kind) = self.refuses {
            return Err(Error::new(kind, "this user may not follow"));
        }
        let watch = self.inner.watch(from).await?;
        if self.torn {
            let revision = self.inner.snapshot().await?.revision.unwrap();
            return Ok(Watch::new(futures_util::stream::iter([Event::Resync { revision }]).chain(watch)));
        }
        let (tears, every) = (Arc::clone(&self.tears), self.resync_every);
        let mut count = 0;
        Ok(Watch::new(watch.map(move |event| {
            count += 1;
            if tears.swap(false, Ordering::SeqCst) || every.is_some_and(|every| count % every == 0) {
                return Event::Resync { revision: event.revision().clone() };
            }
            event
        })))
    }
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
