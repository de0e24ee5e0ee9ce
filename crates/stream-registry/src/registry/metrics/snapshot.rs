//! The figures of a registry as plain values.

use std::time::Duration;

use super::histogram::HistogramSnapshot;
use crate::error::{ErrorKind, Operation};
use crate::stream::{StreamStatus, StreamType};

/// The figures of a registry at one moment. See the [module](crate::metrics) for an example.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// The calls of this process; `None` if the registry does not count its calls. See
    /// [`counted`](crate::metrics::counted).
    pub calls: Option<CallMetrics>,
    /// The state of the store's connections and tasks in this process. A store without such a figure leaves it empty.
    pub store: StoreMetrics,
    /// The view that belongs to the registry; `None` if it has no view. [`View::metrics`](crate::view::View::metrics)
    /// returns the same figures for a view of your own.
    pub view: Option<ViewMetrics>,
}

/// Counts of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallMetrics {
    /// The calls by operation. An operation without calls has no element.
    ///
    /// A call with a single write counts as an operation of its change, e.g. `Heartbeat`. A call with several writes
    /// counts as `Write`.
    pub operations: Vec<OperationMetrics>,
    /// The writes by the operation of their change, alone or in a batch. An operation without writes has no element.
    pub writes: Vec<WriteMetrics>,
    /// The registrations by result.
    pub registrations: RegistrationCounts,
}

/// The calls of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// The operation.
    pub operation: Operation,
    /// The durations of all calls, including failed and cancelled ones.
    pub durations: HistogramSnapshot,
    /// The results of the calls.
    pub results: ResultCounts,
}

/// The writes of one kind of change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteMetrics {
    /// The operation of the change: `Heartbeat`, `Status`, `Stats`, `Patch` or `Update`.
    pub operation: Operation,
    /// The results of the writes. If a whole batch fails, all its writes count with the error of the batch.
    pub results: ResultCounts,
}

/// Counts of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResultCounts {
    /// The number of successes.
    pub ok: u64,
    /// The number of errors by kind. A kind without errors has no element.
    pub errors: Vec<(ErrorKind, u64)>,
    /// The number of calls whose future was dropped before the result arrived.
    pub cancelled: u64,
}

/// Counts of registrations by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrationCounts {
    /// Registrations under a free id.
    pub created: u64,
    /// Registrations by the same publisher.
    pub renewed: u64,
    /// Registrations that replaced another publisher.
    pub taken_over: u64,
    /// Recoveries of leases whose streams the store had lost.
    pub recovered: u64,
    /// Registrations that the registry rejected: another publisher has the id, or the request is invalid.
    pub rejected: u64,
    /// Registrations that failed for any other reason, e.g. because the store was unreachable.
    pub failed: u64,
}

/// The state of a store's connections and tasks, as this process sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreMetrics {
    /// The servers of the store.
    pub nodes: Vec<NodeMetrics>,
    /// The number of connections that replaced a lost one.
    pub reconnects: u64,
    /// The change feeds that this process is reading.
    pub feeds: Vec<FeedMetrics>,
    /// The time since this process last finished a check of the store for expired streams, and at most a few seconds
    /// while everything works. `None` if this process does not check.
    pub sweep_lag: Option<Duration>,
    /// The number of records that lists skipped because the records cannot be decoded. Each list counts such a record
    /// again.
    pub skipped_records: u64,
    /// The number of ids that were removed from the index because they had no record.
    pub pruned: u64,
    /// The number of failed attempts to remove ids without a record from the index.
    pub prune_failures: u64,
}

/// A server of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeMetrics {
    /// The address or name of the server, without credentials.
    pub node: String,
    /// Whether the connection works. True before the first connection is needed. An idle connection can fail unnoticed;
    /// [`ping`](crate::Registry::ping) uses and restores all connections.
    pub up: bool,
}

/// A change feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedMetrics {
    /// The number of the shard, starting at 0. A single server has one shard.
    pub shard: usize,
    /// How much later than written the latest events arrived, or the time since the last successful read if reading
    /// fails. Zero while there are no new events.
    pub lag: Duration,
}

/// The figures of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewMetrics {
    /// The time since the view was last known to be current; `None` until it is complete for the first time.
    pub age: Option<Duration>,
    /// How many times all streams, or those of one shard, were loaded again, because events may have been lost.
    pub resyncs: u64,
    /// The number of completed reconciliations.
    pub reconciliations: u64,
    /// The number of streams that reconciliations have corrected.
    pub corrections: u64,
    /// The number of records in the store that cannot be decoded, as of the last load or reconciliation.
    pub unreadable: u64,
    /// The events that the view has received.
    pub events: EventCounts,
    /// The live streams by status and type. A combination without streams has no element.
    pub streams: Vec<StreamCount>,
}

/// Counts of the events of a change feed. Events that a resync replaces are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventCounts {
    /// Streams that were registered.
    pub registered: u64,
    /// Records that were replaced, or registered again by the same publisher.
    pub updated: u64,
    /// Changes of the status.
    pub status: u64,
    /// Changes of descriptive fields.
    pub patched: u64,
    /// Streams that another publisher took over.
    pub taken_over: u64,
    /// Streams that were unregistered.
    pub unregistered: u64,
    /// Streams that expired.
    pub expired: u64,
}

/// The number of live streams with one status and type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCount {
    /// The status.
    pub status: StreamStatus,
    /// The type.
    pub kind: StreamType,
    /// The number of streams.
    pub count: u64,
}
