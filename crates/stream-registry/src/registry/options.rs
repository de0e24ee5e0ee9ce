//! Arguments and results of the methods of [`Registry`](super::Registry).

use std::str::FromStr;
use std::time::Duration;

use crate::error::Operation;
use crate::stream::{
    Cursor, EndReason, Epoch, InvalidValue, OperationId, Revision, Stream, StreamId, StreamPatch, StreamStats,
    StreamStatus,
};

/// The policy for a registration if a live stream has the same id.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{ErrorKind, MemoryRegistry, OnConflict, Outcome, RegisterOptions, Registry, Stream, StreamType};
///
/// let registry = MemoryRegistry::new();
/// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
///
/// // Another publisher is rejected by default, and accepted if it takes over.
/// let other = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.8:9000");
/// assert_eq!(registry.register(&other).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
/// let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
/// assert_eq!(registry.register_with(&other, &take_over).await?.outcome, Outcome::TakenOver);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// Rejects the registration, even from the same publisher.
    CreateOnly,
    /// Rejects another publisher. If the same publisher registers again, its record is renewed and keeps
    /// `created_at`.
    ///
    /// The publisher is the same if the type and the `source_addr` are equal, and the `source_addr` is not empty.
    /// If both records have a node, the nodes must be equal too. [`SameSource`] can relax the comparison of the
    /// addresses.
    #[default]
    Reject,
    /// Replaces the record with a new one.
    TakeOver,
    /// Acts like `TakeOver` if the last write of the record is at least this long ago, and like `Reject` otherwise.
    ///
    /// The store computes the time since the last write from the record's remaining time to live. If the record has no
    /// time to live, the store uses its `last_heartbeat` instead.
    TakeOverIfStale(Duration),
}

/// The part of `source_addr` that must be equal so that two registrations count as the same publisher.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{MemoryRegistry, Outcome, RegisterOptions, Registry, SameSource, Stream, StreamType};
///
/// let registry = MemoryRegistry::new();
/// let options = RegisterOptions::default().same_source(SameSource::Host);
/// registry.register_with(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112"), &options).await?;
/// // The publisher reconnects from a new port.
/// let reconnected = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:51480");
/// assert_eq!(registry.register_with(&reconnected, &options).await?.outcome, Outcome::Renewed);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSource {
    /// The whole address, including the port.
    #[default]
    Address,
    /// The host only, so that a publisher can reconnect from a new port.
    ///
    /// All publishers behind one NAT gateway have the same host. So use this only if each publisher has ids of its
    /// own.
    Host,
    /// No part. Instead, both records must have the same node, and the node must not be empty. The type may differ.
    ///
    /// Use this if another program decides which publisher has a stream, e.g. a media server. A publisher may then
    /// reconnect from another address or with another protocol, and its address may be unknown.
    Node,
}

/// Options of a registration.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{MemoryRegistry, RegisterOptions, Registry, Stream, StreamType};
///
/// let registry = MemoryRegistry::new();
/// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// let registered = registry.register_with(&stream, &RegisterOptions::default().lease()).await?;
/// assert!(registered.epoch.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RegisterOptions {
    /// The policy for an id that is already live. Default: [`OnConflict::Reject`].
    pub on_conflict: OnConflict,
    /// The part of `source_addr` that identifies a publisher. Default: the whole address.
    pub same_source: SameSource,
    /// Whether the stream is leased. Default: no.
    ///
    /// A leased stream has an epoch, and only callers that present this epoch may write. The same publisher may
    /// register its own leased stream again.
    pub lease: bool,
    /// The epoch of a lease to recover. Default: none.
    ///
    /// The registration uses this epoch and the `created_at` and counters of the given record; `on_conflict` is
    /// ignored. The registration fails with `NotFound` if the stream was unregistered, and with `NotHolder` if the
    /// stream belongs to another holder.
    pub recover: Option<Epoch>,
    /// The id of the call. If a call is sent again with the same id within 60 s, the store executes it only once.
    /// Default: none. The HTTP client then generates an id for each call.
    pub operation: Option<OperationId>,
    /// Whether `register_new` generated the stream id. If so, a call that is sent again has another stream id but
    /// counts as the same call.
    pub(crate) generated_id: bool,
}

impl RegisterOptions {
    /// Sets the policy for a live id.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }

    /// Sets the part of `source_addr` that identifies a publisher.
    #[must_use]
    pub fn same_source(mut self, same_source: SameSource) -> Self {
        self.same_source = same_source;
        self
    }

    /// Registers the stream with a lease.
    #[must_use]
    pub fn lease(mut self) -> Self {
        self.lease = true;
        self
    }

    /// Sets the epoch of a lease to recover.
    #[must_use]
    pub fn recover(mut self, epoch: Epoch) -> Self {
        self.recover = Some(epoch);
        self
    }

    /// Sets the id of the call. Use a new id for each registration.
    #[must_use]
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }
}

/// Options of an unregistration.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{MemoryRegistry, Registry, Stream, StreamType, UnregisterOptions};
///
/// let registry = MemoryRegistry::new();
/// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// registry.register(&stream).await?;
/// let options = UnregisterOptions::default().reason("publisher disconnected".parse()?);
/// let last = registry.unregister_with(&stream.id, &options).await?;
/// assert_eq!(last.end_reason.as_deref(), Some("publisher disconnected"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnregisterOptions {
    /// The condition under which the stream is unregistered. Default: [`Guard::None`], which accepts only a stream
    /// that is not leased.
    pub guard: Guard,
    /// The reason why the stream ends; `end_reason` in its last record. Default: no reason.
    pub reason: EndReason,
    /// The id of the call. If a call is sent again with the same id within 60 s, the store executes it only once.
    /// Default: none. The HTTP client then generates an id for each call.
    pub operation: Option<OperationId>,
}

impl UnregisterOptions {
    /// Sets the condition under which the stream is unregistered.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Sets the reason why the stream ends.
    #[must_use]
    pub fn reason(mut self, reason: EndReason) -> Self {
        self.reason = reason;
        self
    }

    /// Sets the id of the call. Use a new id for each unregistration.
    #[must_use]
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }
}

/// The condition under which a stream may be written or unregistered.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{
///     Change, ErrorKind, Guard, MemoryRegistry, RegisterOptions, Registry, Stream, StreamStatus, StreamType, Write,
/// };
///
/// let registry = MemoryRegistry::new();
/// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// let registered = registry.register_with(&stream, &RegisterOptions::default().lease()).await?;
///
/// // The stream is leased. The default guard fails, and the guard of the holder succeeds.
/// let write = Write::new(&stream.id, Change::Status(StreamStatus::Active));
/// assert_eq!(registry.write_one(write.clone()).await.unwrap_err().kind(), ErrorKind::NotHolder);
/// let epoch = registered.epoch.expect("a leased stream has an epoch");
/// registry.write_one(write.guard(Guard::Holder(epoch))).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// The stream must not be leased.
    #[default]
    None,
    /// The stream must be leased with this epoch.
    Holder(Epoch),
    /// No condition, for an operator who overrides a lease.
    ///
    /// With this guard, an unregistration also removes a record that cannot be decoded.
    Force,
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The id of the stream.
    pub id: StreamId,
    /// The condition under which the write is applied.
    pub guard: Guard,
    /// The change to apply.
    pub change: Change,
}

impl Write {
    /// Creates a write with the default guard, [`Guard::None`]: the stream must not be leased.
    pub fn new(id: &StreamId, change: Change) -> Self {
        Self { id: id.clone(), guard: Guard::None, change }
    }

    /// Sets the condition under which the write is applied.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }
}

/// A change of a live stream. Every change also sets `last_heartbeat` to the store's time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Sets only `last_heartbeat`.
    Heartbeat,
    /// Sets the status.
    Status(StreamStatus),
    /// Sets the statistics.
    Stats(Box<StreamStats>),
    /// Changes descriptive fields.
    Patch(Box<StreamPatch>),
    /// Replaces the whole record except `id`, `created_at` and the epoch.
    Update(Box<Stream>),
}

impl Change {
    /// Returns the operation that errors, logs and metrics report for this change.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Heartbeat => Operation::Heartbeat,
            Self::Status(_) => Operation::Status,
            Self::Stats(_) => Operation::Stats,
            Self::Patch(_) => Operation::Patch,
            Self::Update(_) => Operation::Update,
        }
    }
}

/// The outcome of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The id was free, and the stream is new.
    Created,
    /// The same publisher registered again; `created_at` is unchanged.
    Renewed,
    /// The record of another publisher was replaced.
    TakenOver,
}

impl Outcome {
    /// Returns the outcome as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Renewed => "renewed",
            Self::TakenOver => "taken_over",
        }
    }
}

impl FromStr for Outcome {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        [Self::Created, Self::Renewed, Self::TakenOver]
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
            .ok_or_else(|| InvalidValue::unknown_name("outcome", name))
    }
}

/// The result of a registration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Registered {
    /// The stored record.
    pub stream: Stream,
    /// Whether the stream was created, renewed or taken over.
    pub outcome: Outcome,
    /// The epoch of the lease; `None` if the stream is not leased.
    pub epoch: Option<Epoch>,
    /// How long the stream lives without another write.
    pub ttl: Duration,
}

impl Registered {
    /// Creates the result for a stored record.
    pub fn new(stream: Stream, outcome: Outcome, ttl: Duration) -> Self {
        Self { epoch: stream.epoch.clone(), stream, outcome, ttl }
    }
}

/// All live streams at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The streams, in no particular order.
    pub streams: Vec<Stream>,
    /// The position in the change feed at the moment of the snapshot; `None` if the store has no feed.
    ///
    /// A watch from this revision reports every change since the snapshot.
    pub revision: Option<Revision>,
    /// Number of records that were skipped because they cannot be decoded.
    pub unreadable: u64,
}

/// A page of live streams.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The streams. A page of [`find`](super::Registry::find) is in the order of its query; a page of
    /// [`list_page`](super::Registry::list_page) is in no particular order.
    pub streams: Vec<Stream>,
    /// The cursor of the next page; `None` after the last page.
    pub next: Option<Cursor>,
    /// Number of streams on all pages. For [`list_page`](super::Registry::list_page) on Redis, this is the size of
    /// the index, which is approximate.
    pub total: u64,
    /// The position in the change feed when the page was read; `None` if the position is unknown.
    ///
    /// A watch from the revision of the first page misses no change of the streams on any page.
    pub revision: Option<Revision>,
    /// Number of records that were skipped because they cannot be decoded.
    pub unreadable: u64,
}

/// Description of a store.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The kind of store, e.g. `memory`, `redis` or `http`.
    pub kind: &'static str,
    /// How long a stream lives without a write.
    pub ttl: Duration,
    /// Whether every write is rejected.
    pub read_only: bool,
    /// A setting of the store that endangers live streams, and what to do about it. `None` if no such setting is known.
    pub warning: Option<String>,
}

impl StoreInfo {
    /// Creates the description of a writable store.
    pub fn new(kind: &'static str, ttl: Duration) -> Self {
        Self { kind, ttl, read_only: false, warning: None }
    }

    /// Marks the store as read-only: it rejects every write.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

impl Snapshot {
    /// Creates the snapshot of a store without a change feed.
    pub fn new(streams: Vec<Stream>) -> Self {
        Self { streams, ..Self::default() }
    }
}

impl Page {
    /// Creates a page for a store that has no change feed.
    pub fn new(streams: Vec<Stream>, next: Option<Cursor>, total: u64) -> Self {
        Self { streams, next, total, ..Self::default() }
    }
}
