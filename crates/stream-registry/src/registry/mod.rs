//! The trait [`Registry`], its options and its results.
//!
//! Which method to call:
//!
//! | task | method |
//! |---|---|
//! | hold a stream in an ingest node | none: use [`Leases`](crate::lease::Leases), which call these methods for you |
//! | register a stream | [`register`](Registry::register); [`register_with`](Registry::register_with) takes a policy or a lease |
//! | register under a generated id | [`register_new`](Registry::register_new) |
//! | keep a stream alive | [`update_heartbeat`](Registry::update_heartbeat); every other write also keeps the stream alive |
//! | report statistics | [`update_stats`](Registry::update_stats) |
//! | change the status | [`update_status`](Registry::update_status) |
//! | change codec, resolution, node or labels | [`patch`](Registry::patch); not [`update`](Registry::update), which replaces the whole record |
//! | write to many streams in one call | [`write`](Registry::write), with one [`Write`] per stream |
//! | write to a leased stream | [`write_one`](Registry::write_one), with a [`Guard`] |
//! | end a stream | [`unregister`](Registry::unregister); [`unregister_with`](Registry::unregister_with) takes a reason and a guard |
//! | read one stream, or some by id | [`get`](Registry::get), [`get_many`](Registry::get_many) |
//! | read all streams at one moment | [`list`](Registry::list); [`snapshot`](Registry::snapshot) also returns the revision to watch from |
//! | filter, sort and page | [`find`](Registry::find); without a server or a view, each call reads the whole store |
//! | read a large registry in small steps | [`list_page`](Registry::list_page) |
//! | count by node, type or status | [`summary`](Registry::summary) |
//! | read the same streams again and again | none: keep a [`View`](crate::view::View) |
//! | follow changes | [`watch`](Registry::watch) |
//! | list streams that have ended | [`history`](Registry::history) |
//! | check the store | [`ping`](Registry::ping), [`info`](Registry::info) |
//! | compute the age of a record | [`now`](Registry::now) |
//! | monitor the process | [`metrics`](Registry::metrics) |

pub(crate) mod cursor;
pub(crate) mod epoch;
mod forward;
pub mod metrics;
mod options;
#[doc(hidden)]
#[allow(missing_docs, reason = "the methods of the trait have the documentation")]
pub mod provided;
pub(crate) mod rules;
pub(crate) mod ttl;

use std::fmt::Debug;
use std::num::NonZeroU32;

use async_trait::async_trait;

pub use options::{
    Change, Guard, OnConflict, Outcome, Page, RegisterOptions, Registered, SameSource, Snapshot, StoreInfo,
    UnregisterOptions, Write,
};
pub use ttl::TtlPolicy;

pub use crate::error::Operation;
use crate::error::Result;
use crate::query::{By, Ended, Filter, Query, Summary};
use crate::stream::{Cursor, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, Timestamp};
use crate::watch::{Event, Watch, WatchFrom};
use metrics::MetricsSnapshot;

/// A registry of live streams.
///
/// Nodes register streams and keep them alive with writes. Routers and dashboards list, query and watch them. A stream
/// expires if it is not written within its time to live.
///
/// The trait has three groups of methods. A store implements the nine required methods. A store can override the
/// methods of the second group with faster implementations. The methods of the third group are conveniences.
///
/// # Contract
///
/// Every store gives these guarantees. The test suite in the module `conformance` verifies them:
///
/// * **Atomic:** every change is applied whole or not at all, and no caller sees part of it.
/// * **Durable while live:** every successful write renews the time to live. A failed write changes nothing. A read
///   does not renew the time to live.
/// * **One clock:** `created_at`, `last_heartbeat` and expiry use the clock of the store.
/// * **Ordered:** the change feed reports the changes in the order in which they were applied, each exactly once.
/// * **Lossless:** unknown fields and nonconforming values of a record survive every change of other fields.
///
/// A Redis Cluster has several nodes, so *one clock* and *ordered* hold for each stream, not across streams.
///
/// # Errors
///
/// Every method returns `Unavailable`, `Timeout`, `Unauthenticated` or `Denied` if the store cannot be reached or
/// rejects the caller, and `Closed` after [`close`](Self::close). The documentation of each method names only its
/// other errors. [`Error::may_have_applied`](crate::Error::may_have_applied) returns whether a failed change may
/// have been applied.
///
/// # Cancel safety
///
/// The future of any method may be dropped at any time, and the store stays consistent. If a change was in flight,
/// the store applies the whole change or none of it.
///
/// # Clone
///
/// A store is not `Clone`. Share it as `Arc<dyn Registry>`; `Arc` and `Box` of a registry implement this trait. All
/// clones of an `Arc` use the same connections. [`close`](Self::close) closes the registry for all clones.
///
/// # Wrappers
///
/// A wrapper is a registry that changes some methods of an inner registry and forwards all other methods. Forward
/// the provided methods too: otherwise the wrapper silently uses the default implementation instead of the store's
/// faster one. The macro [`forward_registry!`](crate::forward_registry) forwards methods. A Clippy lint reports
/// methods that are missing:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use async_trait::async_trait;
/// use stream_registry::{
///     MemoryRegistry, Registry, Result, Stream, StreamId, StreamType, Write, forward_registry,
/// };
///
/// /// Counts the writes.
/// #[derive(Debug)]
/// struct Metered {
///     inner: Arc<dyn Registry>,
///     writes: AtomicU64,
/// }
///
/// #[deny(clippy::missing_trait_methods)]
/// #[async_trait]
/// impl Registry for Metered {
///     async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
///         self.writes.fetch_add(writes.len() as u64, Ordering::Relaxed);
///         self.inner.write(writes).await
///     }
///
///     forward_registry!(|this| this.inner => register_with, register_new, unregister_with, get, get_many);
///     forward_registry!(|this| this.inner => snapshot, list_page, find, summary, history, watch);
///     forward_registry!(|this| this.inner => ping, info, now, close, metrics);
///     // The conveniences call the method `write` above.
///     forward_registry!(provided => conveniences);
/// }
///
/// let registry = Metered { inner: Arc::new(MemoryRegistry::new()), writes: AtomicU64::new(0) };
/// let id = StreamId::new("cam1")?;
/// registry.register(&Stream::new(id.clone(), StreamType::Srt, "203.0.113.7:40112")).await?;
/// registry.update_heartbeat(&id).await?;
/// assert_eq!(registry.writes.into_inner(), 1);
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Registry: Debug + Send + Sync + 'static {
    // Required methods.

    /// Registers a stream with options; see [`OnConflict`] for what happens if the id is already live.
    ///
    /// The store sets `created_at` and `last_heartbeat` to the current time of its own clock.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, OnConflict, Outcome, RegisterOptions};
    /// # let registry = MemoryRegistry::new();
    /// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// let options = RegisterOptions::default().on_conflict(OnConflict::CreateOnly);
    /// let registered = registry.register_with(&stream, &options).await?;
    /// assert_eq!(registered.outcome, Outcome::Created);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `AlreadyExists`, with the live record, if the [`OnConflict`] policy rejects the registration.
    /// Returns `InvalidArgument` if the record is outside its limits. Returns `Corrupt` if the value stored under
    /// the id is not a record, except with the policy `TakeOver`.
    ///
    /// A [recovery](RegisterOptions::recover) of a lease returns `NotFound` or `NotHolder` if the lease has ended.
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered>;

    /// Removes a stream and returns its last record.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, UnregisterOptions};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let options = UnregisterOptions::default().reason("publisher disconnected".parse()?);
    /// let last = registry.unregister_with(&id, &options).await?;
    /// assert_eq!(last.end_reason.as_deref(), Some("publisher disconnected"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if no live stream has the id, and `NotHolder` if the guard does not match. Returns
    /// `Corrupt` if the value stored under the id is not a record, except with the guard `Force`.
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream>;

    /// Applies up to 1 000 writes in order and returns one result per write.
    ///
    /// Each write is atomic, but the batch is not: one write may fail while others succeed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, Change, ErrorKind, StreamStatus, Write};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let writes = [
    ///     Write::new(&id, Change::Status(StreamStatus::Active)),
    ///     Write::new(&"cam2".parse()?, Change::Heartbeat),
    /// ];
    /// let results = registry.write(&writes).await?;
    /// assert!(results[0].is_ok());
    /// assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The call returns `InvalidArgument` if there are more than 1 000 writes. The result of a single write can be
    /// `NotFound`, `NotHolder`, `InvalidArgument` or `Corrupt`.
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>>;

    /// Returns the record of a live stream.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// assert_eq!(registry.get(&id).await?.source_addr, "203.0.113.7:40112");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if no live stream has the id, and `Corrupt` if the value stored under the id is not a
    /// record.
    async fn get(&self, id: &StreamId) -> Result<Stream>;

    /// Returns all live streams as they were at one moment, in no particular order.
    ///
    /// The store is busy for the whole call. If there are many streams, use [`list_page`](Self::list_page) or
    /// [`find`](Self::find), which block the store for shorter periods.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let snapshot = registry.snapshot().await?;
    /// assert_eq!((snapshot.streams.len(), snapshot.unreadable), (1, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns only the errors that [every method](#errors) can return.
    async fn snapshot(&self) -> Result<Snapshot>;

    /// Returns a page of about `count` live streams and the cursor of the next page.
    ///
    /// A stream that is live during the whole iteration is on at least one page, and possibly on two. The store is busy
    /// only while it reads one page. In a Redis Cluster, [`Shard::pages`](crate::watch::Shard::pages) is the cursor of
    /// the first page of one shard.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use std::num::NonZeroU32;
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let mut cursor = None;
    /// loop {
    ///     let page = registry.list_page(cursor.as_ref(), NonZeroU32::new(100).unwrap()).await?;
    ///     for stream in page.streams {
    ///         println!("{}", stream.id);
    ///     }
    ///     cursor = page.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor does not come from a store of this kind.
    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page>;

    /// Checks that the store responds.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry};
    /// # let registry = MemoryRegistry::new();
    /// registry.ping().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `Unavailable` or `Timeout` if the store does not respond.
    async fn ping(&self) -> Result<()>;

    /// Returns the kind of store and its time to live.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use std::time::Duration;
    /// # use stream_registry::{MemoryRegistry, Registry};
    /// # let registry = MemoryRegistry::new();
    /// assert_eq!(registry.info().kind, "memory");
    /// assert_eq!(registry.info().ttl, Duration::from_secs(300));
    /// # Ok(()) }
    /// ```
    fn info(&self) -> StoreInfo;

    /// Returns the store's time, without a call to the store.
    ///
    /// All times in records come from the store's clock, and this machine's clock can differ from it. So compute the
    /// age of a record with this time.
    ///
    /// - The Redis store estimates the time from its last reading of Redis' clock. The estimate lags behind by at most
    ///   one round trip, plus a few milliseconds per minute since the reading.
    /// - [`HttpRegistry`](crate::HttpRegistry) uses the header `Date` of the last response, which is the clock of the
    ///   server. This header has no fractions of a second, so the time lags behind by at most one second plus one round
    ///   trip.
    /// - In a Redis Cluster, this method returns the median of the nodes' clocks.
    /// - By default, and before a store has read the clock, this method returns the local time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use std::time::Duration;
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// let registered = registry.register(&stream).await?;
    /// let age = registry.now().since(registered.stream.last_heartbeat);
    /// assert!(age < Duration::from_secs(5));
    /// # Ok(()) }
    /// ```
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Closes the registry and releases its connections. Every later call except `close` returns `Closed`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{ErrorKind, MemoryRegistry, Registry};
    /// # let registry = MemoryRegistry::new();
    /// registry.close().await?;
    /// assert_eq!(registry.list().await.unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Never returns `Closed`, even if the registry is already closed.
    async fn close(&self) -> Result<()>;

    // Provided methods that a store can override with a faster implementation.

    /// Follows the changes of the registry.
    ///
    /// The watch emits one event for each change of state, in order, without gaps or duplicates. Heartbeats and
    /// statistics cause no events. If events are lost, the watch emits [`Event::Resync`] and continues.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # use stream_registry::watch::WatchFrom;
    /// # let registry = MemoryRegistry::new();
    /// let mut watch = registry.watch(WatchFrom::Now).await?;
    /// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// let event = watch.next().await.expect("the registry is open");
    /// assert_eq!(event.as_str(), "registered");
    /// assert_eq!(event.stream().unwrap().id.as_str(), "cam1");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the store has no change feed.
    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        provided::watch(self, from).await
    }

    /// Returns the records of several streams in the order of the ids.
    ///
    /// An element is `None` if no live stream has the id or if its record cannot be decoded. Each record is read
    /// atomically, but the records may be read at different moments; [`snapshot`](Self::snapshot) reads all streams
    /// at one moment.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let streams = registry.get_many(&[id, "cam2".parse()?]).await?;
    /// assert!(streams[0].is_some() && streams[1].is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns only the errors that [every method](#errors) can return.
    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        provided::get_many(self, ids).await
    }

    /// Returns a page of the live streams that match a query, in the order of the query.
    ///
    /// [`Page::total`] is the number of matching streams on all pages. By default, each call reads the whole store.
    /// An HTTP server and a [`View`](crate::view::View) answer queries from memory.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # use stream_registry::query::{Filter, Query};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let query = Query::default().filter(Filter::default().kind(StreamType::Srt)).order("-bitrate".parse()?);
    /// let page = registry.find(&query).await?;
    /// assert_eq!((page.total, page.streams[0].id.as_str()), (1, "cam1"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor is malformed or belongs to another order.
    async fn find(&self, query: &Query) -> Result<Page> {
        provided::find(self, query).await
    }

    /// Counts the live streams that match a filter, in groups by node, type or status.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # use stream_registry::query::{By, Filter};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let summary = registry.summary(&Filter::default(), By::Type).await?;
    /// assert_eq!((summary.total, summary.groups[0].key.as_deref()), (1, Some("srt")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns only the errors that [every method](#errors) can return.
    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        provided::summary(self, filter, by).await
    }

    /// Returns at most `limit` events of streams that have ended, the latest first.
    ///
    /// The history reaches back as far as the change feed. A stream that another publisher took over has not ended,
    /// so the history does not contain it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use std::num::NonZeroU32;
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # use stream_registry::query::Ended;
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// registry.unregister(&id).await?;
    /// let events = registry.history(&Ended::default(), NonZeroU32::new(10).unwrap()).await?;
    /// assert_eq!(events[0].as_str(), "unregistered");
    /// assert_eq!(events[0].stream().unwrap().id, id);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the store has no change feed. Returns `Timeout` if reading the feed takes more than
    /// 30 s. Returns `Unavailable` if the store can only be read from its oldest event, and trims the feed faster than
    /// it can be read.
    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        provided::history(self, ended, limit).await
    }

    /// Registers a stream under a generated id that no other stream has. The id of `stream` is ignored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, RegisterOptions};
    /// # let registry = MemoryRegistry::new();
    /// let stream = Stream::new("ignored".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// let registered = registry.register_new(&stream, &RegisterOptions::default()).await?;
    /// assert!(registered.stream.id.as_str().starts_with("srt_"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`register_with`](Self::register_with). Also returns `AlreadyExists` if 10 000 generated
    /// ids in a row are already live, and `InvalidArgument` if `options` has a lease to recover.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the stream may have been registered under an id that the caller does not know.
    /// Then the stream expires after its time to live.
    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        provided::register_new(self, stream, options).await
    }

    /// Returns the figures of this registry, e.g. the number and duration of the calls, without a call to the store.
    ///
    /// A registry from [`connect`](crate::connect) counts its calls. For a registry that you create yourself, see
    /// [`counted`](metrics::counted).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::Registry;
    /// let registry = stream_registry::connect("memory:").await?;
    /// registry.ping().await?;
    /// let calls = registry.metrics().calls.expect("a registry from connect counts its calls");
    /// assert_eq!((calls.operations[0].operation.as_str(), calls.operations[0].results.ok), ("ping", 1));
    /// # Ok(()) }
    /// ```
    fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot::default()
    }

    // Conveniences, which no store needs to override.

    /// Registers a stream with the default options.
    ///
    /// If the id is already live, the same publisher renews the record, and any other publisher is rejected; see
    /// [`OnConflict::Reject`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, Outcome};
    /// # let registry = MemoryRegistry::new();
    /// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// assert_eq!(registry.register(&stream).await?.outcome, Outcome::Created);
    /// assert_eq!(registry.register(&stream).await?.outcome, Outcome::Renewed);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`register_with`](Self::register_with).
    async fn register(&self, stream: &Stream) -> Result<Registered> {
        provided::register(self, stream).await
    }

    /// Removes a stream that is not leased, and returns its last record.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let last = registry.unregister(&id).await?;
    /// assert_eq!(last.id, id);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`unregister_with`](Self::unregister_with).
    async fn unregister(&self, id: &StreamId) -> Result<Stream> {
        provided::unregister(self, id).await
    }

    /// Does the same as [`unregister`](Self::unregister).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// registry.delete(&id).await?;
    /// assert!(registry.list().await?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`unregister_with`](Self::unregister_with).
    async fn delete(&self, id: &StreamId) -> Result<Stream> {
        provided::delete(self, id).await
    }

    /// Returns the streams of a [`snapshot`](Self::snapshot).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// assert_eq!(registry.list().await?.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`snapshot`](Self::snapshot).
    async fn list(&self) -> Result<Vec<Stream>> {
        provided::list(self).await
    }

    /// Applies one write. Use this method for a write with a [`Guard`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, Change, Guard, Write};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// registry.write_one(Write::new(&id, Change::Heartbeat).guard(Guard::Force)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of a single [`write`](Self::write): `NotFound`, `NotHolder`, `InvalidArgument` or
    /// `Corrupt`.
    async fn write_one(&self, write: Write) -> Result<()> {
        provided::write_one(self, write).await
    }

    /// Sets `last_heartbeat` to the store's time and renews the time to live.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// registry.update_heartbeat(&id).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of a single [`write`](Self::write): `NotFound`, `NotHolder` or `Corrupt`.
    async fn update_heartbeat(&self, id: &StreamId) -> Result<()> {
        provided::update_heartbeat(self, id).await
    }

    /// Sets the status.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, StreamStatus};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// registry.update_status(&id, StreamStatus::Active).await?;
    /// assert_eq!(registry.get(&id).await?.status, StreamStatus::Active);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of a single [`write`](Self::write): `NotFound`, `NotHolder`, `InvalidArgument` or
    /// `Corrupt`.
    async fn update_status(&self, id: &StreamId, status: StreamStatus) -> Result<()> {
        provided::update_status(self, id, status).await
    }

    /// Sets the statistics. If an optional statistic is `None`, the stream keeps its previous value.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, StreamStats};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let stats = StreamStats { bytes_received: Some(1_316), packets_received: Some(1), ..Default::default() };
    /// registry.update_stats(&id, &stats).await?;
    /// assert_eq!(registry.get(&id).await?.bytes_received, 1_316);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of a single [`write`](Self::write): `NotFound`, `NotHolder`, `InvalidArgument` or
    /// `Corrupt`.
    async fn update_stats(&self, id: &StreamId, stats: &StreamStats) -> Result<()> {
        provided::update_stats(self, id, stats).await
    }

    /// Changes descriptive fields, e.g. codec or labels. If a field of the patch is `None`, the stream keeps its
    /// previous value.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, StreamPatch};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let patch = StreamPatch { video_codec: Some("HEVC".into()), ..Default::default() };
    /// registry.patch(&id, &patch).await?;
    /// assert_eq!(registry.get(&id).await?.video_codec, "HEVC");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of a single [`write`](Self::write): `NotFound`, `NotHolder`, `InvalidArgument` or
    /// `Corrupt`.
    async fn patch(&self, id: &StreamId, patch: &StreamPatch) -> Result<()> {
        provided::patch(self, id, patch).await
    }

    /// Replaces the whole record of a live stream, except `created_at` and the epoch.
    ///
    /// Prefer [`patch`](Self::patch), which does not overwrite the changes of other callers.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
    /// # let registry = MemoryRegistry::new();
    /// # let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// # registry.register(&stream).await?;
    /// # let id = stream.id.clone();
    /// let mut stream = registry.get(&id).await?;
    /// stream.resolution = "1920x1080".into();
    /// registry.update(&stream).await?;
    /// assert_eq!(registry.get(&id).await?.resolution, "1920x1080");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of a single [`write`](Self::write): `NotFound`, `NotHolder`, `InvalidArgument` or
    /// `Corrupt`.
    async fn update(&self, stream: &Stream) -> Result<()> {
        provided::update(self, stream).await
    }
}
