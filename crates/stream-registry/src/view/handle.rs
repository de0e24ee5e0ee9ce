//! The handle of a view, which callers clone and read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::counts::{Corrections, Counts};
use super::follow;
use super::options::ViewOptions;
use super::reconcile::reconcile;
use super::shared::Shared;
use crate::error::Result;
use crate::registry::Registry;
use crate::registry::metrics::{StreamCount, ViewMetrics};
use crate::stream::{Revision, Stream, StreamId, StreamStatus, StreamType};

/// All live streams of a registry, in this process.
///
/// Clone a view to share it. One task keeps all clones current until the last clone is dropped or the registry is
/// closed. The [module documentation](crate::view) has an example, and says what the view shows and how current it
/// is.
#[derive(Clone)]
pub struct View(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl View {
    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Creates a view of a registry and starts the task that keeps it current.
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn new(registry: Arc<dyn Registry>, options: ViewOptions) -> Self {
        let shared = Arc::new(Shared::new(registry, &options));
        let task = tokio::spawn(follow::run(Arc::clone(&shared))).abort_handle();
        Self(Arc::new(Handle { shared, task }))
    }

    /// Waits until the view is complete for the first time.
    ///
    /// # Errors
    ///
    /// Returns `Closed` if the registry is closed before the view is complete.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn ready(&self) -> Result<()> {
        self.shared().until(|metadata| metadata.installed_load > 0).await
    }

    /// Returns whether the view has been complete at least once. Before that, the view is empty.
    pub fn is_ready(&self) -> bool {
        self.shared().state.metadata(|metadata| metadata.installed_load > 0)
    }

    /// Returns a stream; `None` if it is not live.
    pub fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.shared().state.get(id)
    }

    /// Returns all streams as they were at one moment, in no particular order.
    pub fn all(&self) -> Vec<Arc<Stream>> {
        self.shared().state.all()
    }

    /// Returns the number of streams in total and by status, type and node, without scanning the streams.
    pub fn counts(&self) -> Counts {
        self.shared().state.counts()
    }

    /// Returns the time since the view was last known to be current. Returns [`Duration::MAX`] until the view is
    /// complete for the first time.
    ///
    /// Each event and each reconciliation confirms that the view is current. A feed without changes confirms it
    /// every 10 s.
    pub fn age(&self) -> Duration {
        self.shared().state.metadata(|metadata| metadata.confirmed).map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Returns whether the view follows a change feed. Without a feed, only reconciliations update the view.
    pub fn has_feed(&self) -> bool {
        self.shared().state.metadata(|metadata| metadata.has_feed)
    }

    /// Returns the position in the change feed that the view shows; `None` if there is no feed.
    ///
    /// After events of a shard were lost, this is the position before them until the view has read the shard again.
    pub fn revision(&self) -> Option<Revision> {
        self.shared().state.metadata(|metadata| metadata.revision.clone())
    }

    /// Waits until the view shows the state of the store at a revision.
    ///
    /// A client cannot see which of two revisions is later. Therefore the view remembers the last 4 096 revisions
    /// that it has shown. This call returns when `revision` is one of these revisions, or when the view has
    /// installed a load that was started after this call.
    ///
    /// Use a timeout: this call may never return if the revision belongs to another generation of the feed.
    ///
    /// # Errors
    ///
    /// Returns `Closed` if the registry is closed before the view reaches the revision.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn reached(&self, revision: &Revision) -> Result<()> {
        let started = self.shared().state.metadata(|metadata| metadata.started_load);
        self.shared().until(|metadata| metadata.installed_load > started || metadata.has_reached(revision)).await
    }

    /// Reads a stream from the store and updates the view; returns `None` if the stream is not live.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, returns the error of the store and does not change the view.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the view is either unchanged or updated.
    pub async fn refresh(&self, id: &StreamId) -> Result<Option<Arc<Stream>>> {
        self.shared().refresh(id).await
    }

    /// Reads the current records of streams with one call to the store, and updates the view. Skips streams that the
    /// view does not hold, and removes streams that are no longer live.
    ///
    /// Use this for the streams on a screen: the change feed does not report their statistics.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// use stream_registry::view::{View, ViewOptions};
    /// use stream_registry::{Stream, StreamId, StreamStats, StreamType};
    ///
    /// let registry = stream_registry::connect("memory:").await?;
    /// let id = StreamId::new("cam1")?;
    /// registry.register(&Stream::new(id.clone(), StreamType::Srt, "203.0.113.7:40112")).await?;
    /// let view = View::new(registry.clone(), ViewOptions::default());
    /// view.ready().await?;
    ///
    /// registry.update_stats(&id, &StreamStats { bitrate: Some(5_000_000), ..Default::default() }).await?;
    /// view.refresh_many(&[id.clone()]).await?;
    /// assert_eq!(view.get(&id).expect("cam1 is live").bitrate, 5_000_000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the store cannot be read, returns the error of the store and does not change the view.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, each stream in the view is either unchanged or updated.
    pub async fn refresh_many(&self, ids: &[StreamId]) -> Result<()> {
        let shown: Vec<_> = ids.iter().filter_map(|id| self.get(id)).collect();
        self.shared().refresh_many(&shown).await.map(|_| ())
    }

    /// Reads the store page by page now, and corrects the view where it differs.
    ///
    /// Only one reconciliation runs at a time. A reconciliation may read changes whose events have not arrived yet.
    /// When older events arrive later, the view shows an earlier state for a moment. To avoid this, call
    /// [`reached`](Self::reached) first.
    ///
    /// # Errors
    ///
    /// Returns the error of the store if the store cannot be read, and `Unavailable` if a load was
    /// installed during the reconciliation.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the pages that were read have been applied; the rest of the view is unchanged.
    pub async fn reconcile(&self) -> Result<()> {
        reconcile(self.shared(), None).await.map(|_| ())
    }

    /// Returns the corrections that reconciliations have made since the view was created.
    ///
    /// The corrections are writes of programs that emit no events. A difference does not count if an event about the
    /// stream arrives after the start of the reconciliation, or if events are late. Statistics and heartbeats do not
    /// count either.
    pub fn corrections(&self) -> Corrections {
        self.shared().state.metadata(|metadata| metadata.corrections.clone())
    }

    /// Returns the figures of the view for monitoring, without scanning the streams.
    pub fn metrics(&self) -> ViewMetrics {
        let age = self.age();
        self.shared().state.metadata(|metadata| ViewMetrics {
            age: (age < Duration::MAX).then_some(age),
            // The first load is no resync.
            resyncs: metadata.replacements.saturating_sub(1) + metadata.shard_loads,
            reconciliations: metadata.corrections.reconciliations,
            corrections: metadata.corrections.count,
            unreadable: metadata.unreadable,
            events: metadata.events,
            streams: metadata.counts.by_status_and_type.iter().map(stream_count).collect(),
        })
    }

    /// Returns the number of records in the store that cannot be decoded, as of the last load or
    /// reconciliation. The view does not contain these records.
    pub fn unreadable(&self) -> u64 {
        self.shared().state.metadata(|metadata| metadata.unreadable)
    }
}

fn stream_count(((status, kind), count): (&(StreamStatus, StreamType), &u64)) -> StreamCount {
    StreamCount { status: status.clone(), kind: kind.clone(), count: *count }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loads = self.shared().state.metadata(|metadata| metadata.installed_load);
        f.debug_struct("View")
            .field("registry", &self.shared().registry)
            .field("loads", &loads)
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
