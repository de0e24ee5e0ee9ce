//! What the functions of [`Registry`](super::Registry) take and give.

use std::str::FromStr;
use std::time::Duration;

use crate::error::Operation;
use crate::stream::{
    Cursor, EndReason, Epoch, InvalidValue, OperationId, Revision, Stream, StreamId, StreamPatch, StreamStats,
    StreamStatus,
};

/// What happens when the id of a registration is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// Refused, whoever registers.
    CreateOnly,
    /// Refused unless the publisher is the same, which renews the record and keeps `created_at`.
    #[default]
    Reject,
    /// A new record takes the place of the old one, with `created_at` = now.
    TakeOver,
    /// As `TakeOver` where the record was not written for this long, judged by the time that it has left, as
    /// `Reject` otherwise.
    TakeOverIfStale(Duration),
}

/// How a stream is registered.
///
/// ```
/// use stream_registry::{OnConflict, RegisterOptions};
/// let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RegisterOptions {
    /// What happens when the id is live. Default `Reject`.
    pub on_conflict: OnConflict,
    /// Whether the registration is leased: it gets an epoch, and only who gives it may write. The same publisher
    /// may take its own leased stream anew. Default no.
    pub lease: bool,
    /// The epoch of a lease that is to be recovered: the stream comes back as it is given, with that epoch, unless it
    /// was ended (`NotFound`) or belongs to another holder (`NotHolder`); `on_conflict` says nothing then. Default none.
    pub recover: Option<Epoch>,
    /// Names this call, so that it is done once though sent twice within 60 s. Default: a new one for each call.
    pub operation: Option<OperationId>,
    /// Set by `register_new`: when the call is sent again it comes with another id, and is the same call all the same.
    pub(crate) generated_id: bool,
}

impl RegisterOptions {
    /// Sets what happens when the id is live.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }

    /// Asks for a leased registration.
    #[must_use]
    pub fn lease(mut self, lease: bool) -> Self {
        self.lease = lease;
        self
    }

    /// Asks for the recovery of a lease with this epoch.
    #[must_use]
    pub fn recover(mut self, epoch: Epoch) -> Self {
        self.recover = Some(epoch);
        self
    }

    /// Names the call; use a new id for each registration.
    #[must_use]
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }
}

/// How a stream is ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnregisterOptions {
    /// On what condition. Default: only a stream that nobody has leased.
    pub guard: Guard,
    /// Why; becomes `end_reason` of the last record. Default none.
    pub reason: EndReason,
    /// Names this call, so that it is done once though sent twice. Default: a new one for each call.
    pub operation: Option<OperationId>,
}

impl UnregisterOptions {
    /// Sets the condition.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn reason(mut self, reason: EndReason) -> Self {
        self.reason = reason;
        self
    }

    /// Names the call.
    #[must_use]
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }
}

/// On what condition a write to a stream happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Only where the stream is not leased.
    #[default]
    None,
    /// Only where the stream is leased with this epoch.
    Holder(Epoch),
    /// In any case: an operator's override.
    Force,
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The stream.
    pub id: StreamId,
    /// The condition.
    pub guard: Guard,
    /// The change.
    pub change: Change,
}

impl Write {
    /// Creates a write under the default guard, which applies to streams that nobody leased.
    pub fn new(id: &StreamId, change: Change) -> Self {
        Self { id: id.clone(), guard: Guard::None, change }
    }

    /// Sets the condition.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }
}

/// A change of a live stream. Each sets `last_heartbeat` to now as well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Nothing else.
    Heartbeat,
    /// The status.
    Status(StreamStatus),
    /// The statistics.
    Stats(StreamStats),
    /// Descriptive fields.
    Patch(Box<StreamPatch>),
    /// The whole record, but for `id`, `created_at` and the epoch.
    Update(Box<Stream>),
}

impl Change {
    /// Returns the operation that this change is.
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

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The id was free.
    Created,
    /// The same publisher registered again; `created_at` is the first one's.
    Renewed,
    /// Another record was replaced.
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

    fn from_str(word: &str) -> Result<Self, InvalidValue> {
        [Self::Created, Self::Renewed, Self::TakenOver]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
            .ok_or_else(|| InvalidValue::unknown_word("outcome", word))
    }
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Registered {
    /// The record as it is stored.
    pub stream: Stream,
    /// What was done.
    pub outcome: Outcome,
    /// The epoch of the lease, where one was asked for.
    pub epoch: Option<Epoch>,
    /// The time to live without a further write.
    pub ttl: Duration,
}

impl Registered {
    /// Makes the answer of a store.
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
    /// The place in the change feed that the snapshot shows; `None` where there is no feed.
    pub revision: Option<Revision>,
    /// Records that were left out because they cannot be read.
    pub unreadable: u64,
}

/// Some live streams.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The streams, in no particular order.
    pub streams: Vec<Stream>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
    /// How many streams there are in all: exact in memory, the size of the index in Redis.
    pub total: u64,
    /// The place in the change feed when the page was read; `None` where there is no feed, or none was asked.
    ///
    /// Whoever follows from the first page's revision misses no change of what the pages show.
    pub revision: Option<Revision>,
    /// Records that were left out because they cannot be read.
    pub unreadable: u64,
}

/// What a store is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoreInfo {
    /// `memory`, `redis`, `http` …
    pub kind: &'static str,
    /// How long a stream lives without a write.
    pub ttl: Duration,
    /// Whether every write is refused.
    pub read_only: bool,
}

impl StoreInfo {
    /// Makes the description of a store.
    pub fn new(kind: &'static str, ttl: Duration) -> Self {
        Self { kind, ttl, read_only: false }
    }

    /// Says whether every write is refused.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }
}

impl Snapshot {
    /// Makes the snapshot of a store without a feed.
    pub fn new(streams: Vec<Stream>) -> Self {
        Self { streams, ..Self::default() }
    }
}

impl Page {
    /// Makes a page of a store without a feed.
    pub fn new(streams: Vec<Stream>, next: Option<Cursor>, total: u64) -> Self {
        Self { streams, next, total, ..Self::default() }
    }
}
