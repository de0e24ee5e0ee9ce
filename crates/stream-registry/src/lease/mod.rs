//! Leases: streams that a process holds and keeps alive in the background.
//!
//! A *lease* is a registration with one holder at a time. Each lease has an [epoch](Lease::epoch), and every write
//! carries the epoch. So a holder that lost its stream, e.g. after a long network outage, cannot overwrite the
//! record of the next holder.
//!
//! [`Leases`] sends the heartbeats, writes the reported statistics with them, and registers a stream again if the store
//! has lost it. An ingest node needs one `Leases`, and one [`Lease`] for each publisher. With the default options, a
//! lease is written about every 10 s. So the statistics in lists are at most 11 s old.
//!
//! # First example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::{Stream, StreamStats, StreamStatus, StreamType};
//! use stream_registry::lease::{LeaseOptions, Leases};
//!
//! let registry = stream_registry::connect("memory:").await?;
//! let leases = Leases::new(registry.clone(), LeaseOptions::default());
//!
//! // A publisher connects.
//! let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
//! lease.set_status(StreamStatus::Active).await?;
//! // The statistics are written with the next heartbeat.
//! lease.report(StreamStats { bytes_received: Some(1_316), packets_received: Some(1), ..Default::default() });
//!
//! // The publisher disconnects: the stream is unregistered, with the last statistics.
//! let last = lease.release().await?;
//! assert_eq!((last.status, last.bytes_received), (StreamStatus::Active, 1_316));
//! assert!(registry.list().await?.is_empty());
//! # Ok(()) }
//! ```
//!
//! # During an outage
//!
//! Keep serving the publisher; the lease waits for the store, however long the outage lasts:
//!
//! - [`Lease::report`] and [`Lease::patch`] keep working. The newest values are written after the outage.
//! - [`Lease::set_status`], [`Lease::flush`] and [`Lease::release`] return a retryable error. The status is still
//!   written later.
//! - If no write succeeds during the time to live, [`Lease::state`] changes from `Held` to `Recovering`.
//! - The process sends one probe at a time to the store, whether it holds one lease or 100 000.
//! - If the store has lost the stream, it is registered again with the same epoch, `created_at` and counters.
//!
//! # When a lease is lost
//!
//! A lease ends without a release if another holder takes the stream over, if an operator unregisters the stream,
//! or if the registry is closed. The lease learns this from the change feed within a second, or at its next write if
//! the store has no feed. Then [`Lease::ended`] returns a [`LeaseEnd`], and the lease sends no more writes. A recovery
//! never replaces a newer holder, and never restores a stream that was unregistered.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::{ErrorKind, OnConflict, Stream, StreamStatus, StreamType};
//! use stream_registry::lease::{LeaseEnd, LeaseOptions, Leases};
//!
//! let registry = stream_registry::connect("memory:").await?;
//! let node1 = Leases::new(registry.clone(), LeaseOptions::default());
//! let node2 = Leases::new(registry, LeaseOptions::default());
//! let lease = node1.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
//!
//! // The publisher reconnects through another node, which takes the stream over.
//! let reconnected = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:51480");
//! let newer = node2.acquire_with(reconnected, OnConflict::TakeOver).await?;
//!
//! // The first node learns of the take-over, and writes nothing more.
//! assert_eq!(lease.ended().await, LeaseEnd::Superseded { by: Some("203.0.113.7:51480".into()) });
//! let error = lease.set_status(StreamStatus::Active).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::NotHolder);
//! newer.release().await?;
//! # Ok(()) }
//! ```
//!
//! # Options
//!
//! | [`LeaseOptions`] | meaning | default | limits |
//! |---|---|---|---|
//! | `heartbeat` | time between two writes of a lease, ±10 % | TTL / 5, at most 10 s | 50 ms to TTL / 2 |
//! | `batch` | leases written in one call | 125 | 1 to 1 000 |
//! | `max_backoff` | longest pause between two attempts during an outage | `heartbeat`, at most 5 s | at least 50 ms |
//! | `loss_detection` | how a holder learns that it lost a stream | from the change feed | |
//! | `same_source` | part of the address that identifies a publisher which registers again | host and port | |
//!
//! TTL is the shortest time to live that the store has reported.

// How the files work together: `handle` is the public handle, and `shared` connects the handles with the keep-alive
// task in `keeper`. `cell` has the data of a lease and `pending` its unwritten reports. The keeper decides what to
// write; `write`, `recover` and `release` make the calls, and `follow` makes leases due early. Each of these calls
// needs the write permit of the lease, and a lease has only one permit.

mod breaker;
mod cell;
mod clock;
mod follow;
mod handle;
mod keeper;
mod metrics;
mod options;
mod pending;
mod recover;
mod release;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::error::{Error, Operation, Result};
use crate::registry::{OnConflict, RegisterOptions, Registered, Registry};
use crate::stream::{EndReason, Stream};
use cell::Cell;
pub use handle::Lease;
pub use metrics::LeaseMetrics;
pub use options::{LeaseOptions, LossDetection};
use shared::Shared;
pub use status::{LeaseEnd, LeaseState};

/// The leases of a process: registers streams and keeps them alive.
///
/// All leases share one keep-alive task. The task starts with the first lease, on the Tokio runtime of that call,
/// and stops when the last lease ends. It writes each lease once per heartbeat interval, and many leases in one
/// call. See the [module](self) for an introduction.
///
/// Cheap to clone: clones share their leases. Dropping a `Leases` does not end its leases.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Shared>);

impl Leases {
    /// Creates an empty set of leases for a store. Makes no call to the store.
    pub fn new(registry: Arc<dyn Registry>, options: LeaseOptions) -> Self {
        Self(Arc::new(Shared::new(registry, &options)))
    }

    /// Registers a stream and keeps it alive.
    ///
    /// If the id is already live, the same publisher gets a new lease, and its earlier lease ends. Another
    /// publisher is rejected.
    ///
    /// At most 512 registrations are in flight at once. A further call waits for its turn, for up to 5 s.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Registry::register_with`]. Also returns `Unsupported` if the store does not support
    /// leases or if the call is made outside a Tokio runtime.
    ///
    /// If [`Error::may_have_applied`] returns `true`, the stream may be registered. Call again with
    /// [`OnConflict::Reject`]: the same publisher gets its stream.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the stream may have been registered. Then it expires after its time to live.
    pub async fn acquire(&self, stream: Stream) -> Result<Lease> {
        self.acquire_with(stream, OnConflict::default()).await
    }

    /// Registers a stream like [`acquire`](Self::acquire), with a policy for the case that the id is already live.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// use stream_registry::{OnConflict, Stream, StreamType};
    /// use stream_registry::lease::{LeaseOptions, Leases};
    ///
    /// let leases = Leases::new(stream_registry::connect("memory:").await?, LeaseOptions::default());
    /// let stream = |source: &str| Ok::<_, stream_registry::Error>(Stream::new("cam1".parse()?, StreamType::Srt, source));
    /// let first = leases.acquire(stream("203.0.113.7:40112")?).await?;
    /// // Another publisher is rejected, unless it takes the stream over.
    /// leases.acquire(stream("198.51.100.9:5000")?).await.unwrap_err();
    /// let second = leases.acquire_with(stream("198.51.100.9:5000")?, OnConflict::TakeOver).await?;
    /// assert!(second.epoch() > first.epoch());
    /// # second.release().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub async fn acquire_with(&self, stream: Stream, on_conflict: OnConflict) -> Result<Lease> {
        let options = RegisterOptions::default().lease().on_conflict(on_conflict).same_source(self.0.same_source());
        let runtime = runtime()?;
        let _permit = self.0.registration_permit().await;
        let sent_at = self.0.clock.boottime();
        let registered = self.0.registry.register_with(&stream, &options).await?;
        self.keep_alive(registered, sent_at, &runtime)
    }

    /// Registers a stream like [`acquire`](Self::acquire), but under a generated id instead of the id in `stream`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Registry::register_new`].
    ///
    /// # Cancel safety
    ///
    /// The same as for [`acquire`](Self::acquire).
    pub async fn acquire_new(&self, stream: Stream) -> Result<Lease> {
        let runtime = runtime()?;
        let _permit = self.0.registration_permit().await;
        let sent_at = self.0.clock.boottime();
        let registered = self.0.registry.register_new(&stream, &RegisterOptions::default().lease()).await?;
        self.keep_alive(registered, sent_at, &runtime)
    }

    fn keep_alive(&self, registered: Registered, sent_at: u64, runtime: &Handle) -> Result<Lease> {
        self.0.observe_ttl(registered.ttl);
        let Some(epoch) = registered.epoch else {
            let error = Error::unsupported("the store does not support leases; register without a lease");
            return Err(error.with_stream(&registered.stream.id).with_operation(Operation::Register));
        };
        let cell = Arc::new(Cell::new(registered.stream, epoch, sent_at, self.0.next_due()));
        self.0.add(&cell);
        keeper::ensure(&self.0, runtime);
        Ok(Lease::new(Arc::clone(&self.0), cell))
    }

    /// Returns the number of leases that have not ended.
    pub fn len(&self) -> usize {
        self.0.count()
    }

    /// Returns the figures of all leases for monitoring.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{Stream, StreamType};
    /// # use stream_registry::lease::{LeaseOptions, Leases};
    /// # let leases = Leases::new(stream_registry::connect("memory:").await?, LeaseOptions::default());
    /// let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// assert_eq!(leases.metrics().held, 1);
    /// lease.release().await?;
    /// assert_eq!((leases.metrics().held, leases.metrics().released), (0, 1));
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> LeaseMetrics {
        self.0.counters.read(self.len() as u64)
    }

    /// Returns `true` if all leases have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Releases all leases, as [`Lease::release`] does. Returns an error for each lease that could not be released.
    ///
    /// If the store cannot be reached, calls are retried for about 5 s in total, however many leases there are.
    /// Then the function waits for the calls that are still in flight. Leases that could not be released stay held,
    /// as after a failed [`Lease::release`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{Stream, StreamType};
    /// # use stream_registry::lease::{LeaseOptions, Leases};
    /// # let leases = Leases::new(stream_registry::connect("memory:").await?, LeaseOptions::default());
    /// # let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// // The node shuts down.
    /// for error in leases.release_all().await {
    ///     eprintln!("{error}");
    /// }
    /// assert!(leases.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some leases may have been released. All other leases continue.
    pub async fn release_all(&self) -> Vec<Error> {
        self.release_all_with(EndReason::default()).await
    }

    /// Releases all leases like [`release_all`](Self::release_all), and stores the reason as `end_reason` of the last
    /// records.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`release_all`](Self::release_all).
    pub async fn release_all_with(&self, reason: EndReason) -> Vec<Error> {
        release::release_all(&self.0, &reason).await
    }
}

fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        let message = "leases need a Tokio runtime; acquire them inside one";
        Error::unsupported(message).with_operation(Operation::Register)
    })
}
