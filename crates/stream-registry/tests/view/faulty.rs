//! Test double: an in-memory store with scripted faults.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stream_registry::watch::{Event, Shard, Watch, WatchFrom};
use stream_registry::{
    Cursor, Error, ErrorKind, MemoryRegistry, Page, Registry, Result, Snapshot, Stream, StreamId, forward_registry,
};
use tokio::sync::Notify;

/// An in-memory store whose feed, pages and reads can be faulty.
#[derive(Debug, Default)]
pub(super) struct Faulty {
    pub(super) inner: MemoryRegistry,
    /// If set, the next event of a watch is replaced with a resync.
    pub(super) drop_event: Arc<AtomicBool>,
    /// If set, only events of this shard are replaced with a resync, and `list_page` can list the shard.
    pub(super) shard: Option<Shard>,
    /// Whether `list_page` rejects the cursor of the shard.
    pub(super) rejects_shard: bool,
    /// If set to `n`, every n-th event of a watch is replaced with a resync.
    pub(super) resync_every: Option<u64>,
    /// Whether the store lacks a change feed.
    pub(super) without_feed: bool,
    /// If set, every call of `watch` fails with this kind of error.
    pub(super) watch_error: Option<ErrorKind>,
    /// Whether every watch starts with a resync.
    pub(super) always_resyncs: bool,
    /// Whether snapshots and pages lack a revision.
    pub(super) without_revision: bool,
    /// Number of times that the pages were read from the start.
    pub(super) first_pages: AtomicU64,
    /// Number of streams that were read alone.
    pub(super) gets: AtomicU64,
    /// Number of times that the pages of the shard were read.
    pub(super) shard_pages: AtomicU64,
    /// Number of watches that were opened. A load opens one.
    pub(super) watches: AtomicU64,
    /// While this is true, watches emit no events.
    pub(super) holds_events: tokio::sync::watch::Sender<bool>,
    /// If set, the store pauses after it has read the next page. It notifies the first `Notify`, then waits for the
    /// second one.
    pub(super) hold_pages: Mutex<Option<Arc<(Notify, Notify)>>>,
    /// If set, the store pauses after its next `get`, in the same way as for `hold_pages`.
    pub(super) hold_gets: Mutex<Option<Arc<(Notify, Notify)>>>,
}

async fn wait_for_release(hold: &Mutex<Option<Arc<(Notify, Notify)>>>) {
    let hold = hold.lock().unwrap().take();
    if let Some(hold) = hold {
        hold.0.notify_one();
        hold.1.notified().await;
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Faulty {
    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let answer = self.inner.get(id).await;
        wait_for_release(&self.hold_gets).await;
        answer
    }
    async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.inner.snapshot().await?;
        if self.without_revision {
            snapshot.revision = None;
        }
        Ok(snapshot)
    }
    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        // A page of one stream is read for its revision only.
        if cursor.is_none() && count != NonZeroU32::MIN {
            self.first_pages.fetch_add(1, Ordering::SeqCst);
        }
        let shard = self.shard.filter(|shard| cursor == Some(&shard.pages()) && !self.rejects_shard);
        let mut page = if let Some(shard) = shard {
            self.shard_pages.fetch_add(1, Ordering::SeqCst);
            let mut page = self.inner.list_page(None, count).await?;
            page.streams.retain(|stream| shard.contains(&stream.id));
            page
        } else {
            self.inner.list_page(cursor, count).await?
        };
        wait_for_release(&self.hold_pages).await;
        if self.without_revision {
            page.revision = None;
        }
        Ok(page)
    }
    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        if self.without_feed {
            return Err(Error::unsupported("this store has no change feed"));
        }
        if let Some(kind) = self.watch_error {
            return Err(Error::new(kind, "access to the feed is denied"));
        }
        self.watches.fetch_add(1, Ordering::SeqCst);
        let watch = self.inner.watch(from).await?;
        if self.always_resyncs {
            let revision = self.inner.snapshot().await?.revision.unwrap();
            return Ok(Watch::new(futures_util::stream::iter([Event::Resync { revision, shard: None }]).chain(watch)));
        }
        let (drop_event, every, shard) = (Arc::clone(&self.drop_event), self.resync_every, self.shard);
        let mut count = 0;
        let held = self.holds_events.subscribe();
        let watch = watch.then(move |event| {
            let mut held = held.clone();
            async move {
                // An error means that the store was dropped.
                let _ = held.wait_for(|held| !held).await;
                event
            }
        });
        Ok(Watch::new(watch.map(move |event| {
            let is_safe = |stream: &Arc<Stream>| shard.is_some_and(|shard| !shard.contains(&stream.id));
            if event.stream().is_some_and(is_safe) {
                return event;
            }
            count += 1;
            if drop_event.swap(false, Ordering::SeqCst) || every.is_some_and(|every| count % every == 0) {
                return Event::Resync { revision: event.revision().clone(), shard };
            }
            event
        })))
    }

    forward_registry!(|this| this.inner => register_with, register_new, unregister_with, write, ping, info, now, close);
    forward_registry!(provided => metrics, get_many, find, summary, history, conveniences);
}
