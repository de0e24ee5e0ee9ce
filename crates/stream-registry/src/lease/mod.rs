//! Leases: streams that are kept alive in the background and belong to one holder at a time.
//!
//! What is where: `handle` is what users hold, `cell` what is kept of a lease, `pending` what waits to be written. `keeper` is the
//! task that plans and starts writes; `write`, `recover` and `release` make them, `gate` holds them back while the store
//! fails, `clock` notices that the machine slept. A lease is written by one at a time: who has its `Turn`.

mod cell;
mod clock;
mod gate;
mod handle;
mod keeper;
mod options;
mod pending;
mod recover;
mod release;
mod shared;
mod write;

use std::sync::Arc;

use tokio::runtime::Handle;

use cell::Cell;
pub use handle::{Lease, LeaseEnd, LeaseState};
pub use options::LeaseOptions;
use shared::Shared;

use crate::error::{Error, Result};
use crate::registry::Registry;
use crate::registry::{OnConflict, Operation, RegisterOptions, Registered};
use crate::stream::{EndReason, OperationId, Stream};

/// The leases of a process: registers streams and keeps them alive.
///
/// All leases share one keep-alive task on the Tokio runtime that the first is acquired on; it ends with the last
/// lease. Each lease is written once an interval, many in one call, with the newest that was reported of it. While the store is
/// away leases wait for it, for as long as it takes. A store that has lost the streams gets them back, with the same
/// epoch, `created_at` and counters, unless they were ended or belong to somebody else by then.
///
/// Cheap to clone: clones share their leases. Dropping it ends no lease.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{OnConflict, Stream, StreamStats, StreamStatus, StreamType};
/// use stream_registry::lease::{LeaseEnd, LeaseOptions, Leases};
///
/// let registry = stream_registry::connect("memory:").await?;
/// let leases = Leases::new(registry.clone(), LeaseOptions::default());
/// let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
/// lease.set_status(StreamStatus::Active).await?;
/// lease.report(StreamStats { bytes_received: 1_316, packets_received: 1, ..Default::default() });
///
/// // The publisher comes back through another node, which takes the stream over.
/// let again = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:51480");
/// let second = Leases::new(registry.clone(), LeaseOptions::default()).acquire_with(again, OnConflict::TakeOver).await?;
/// lease.flush().await.unwrap_err();
/// assert_eq!(lease.ended().await, LeaseEnd::Superseded { by: Some("203.0.113.7:51480".into()) });
///
/// let last = second.release().await?;
/// assert_eq!(last.source_addr, "203.0.113.7:51480");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Leases(Arc<Shared>);

impl Leases {
    /// Makes a keeper of leases in a store; nothing is written before the first is acquired.
    pub fn new(registry: Arc<dyn Registry>, options: LeaseOptions) -> Self {
        Self(Arc::new(Shared::new(registry, &options)))
    }

    /// Registers a stream and keeps it alive. A live one of another publisher is refused; the same publisher gets it anew,
    /// from an earlier holder too.
    ///
    /// # Errors
    ///
    /// As [`Registry::register_with`]; `Unsupported` where the store knows no leases, and without a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the stream may have been registered: then it stays until its time to live is over.
    pub async fn acquire(&self, stream: Stream) -> Result<Lease> {
        self.acquire_with(stream, OnConflict::default()).await
    }

    /// As [`acquire`](Self::acquire), with another policy for an id that is live.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_with(&self, stream: Stream, on_conflict: OnConflict) -> Result<Lease> {
        let options = RegisterOptions::default().lease(true).on_conflict(on_conflict);
        let options = options.operation(OperationId::generate());
        let runtime = runtime()?;
        let sent = self.0.clock.lived();
        let registered = match self.0.registry.register_with(&stream, &options).await {
            // Once more under the same name: it was done, or is done now.
            Err(lost) if lost.may_have_applied() && lost.is_retryable() => {
                self.0.registry.register_with(&stream, &options).await?
            }
            answer => answer?,
        };
        self.keep(registered, sent, &runtime)
    }

    /// As [`acquire`](Self::acquire) under a generated id, in place of the stream's own.
    ///
    /// # Errors
    ///
    /// As [`Registry::register_new`].
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_new(&self, stream: Stream) -> Result<Lease> {
        let runtime = runtime()?;
        let sent = self.0.clock.lived();
        let registered = self.0.registry.register_new(&stream, &RegisterOptions::default().lease(true)).await?;
        self.keep(registered, sent, &runtime)
    }

    fn keep(&self, registered: Registered, sent: u64, runtime: &Handle) -> Result<Lease> {
        self.0.told(registered.ttl);
        let Some(epoch) = registered.epoch else {
            let error = Error::unsupported("the store gave no epoch: it knows no leases; register without one");
            return Err(error.with_stream(&registered.stream.id).with_operation(Operation::Register));
        };
        let cell = Arc::new(Cell::new(registered.stream, epoch, sent, self.0.next_write()));
        self.0.add(&cell, runtime);
        Ok(Lease::new(Arc::clone(&self.0), cell))
    }

    /// Returns how many leases have not ended.
    pub fn len(&self) -> usize {
        self.0.count()
    }

    /// Returns whether there is no lease that has not ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Releases all leases, as [`Lease::release`] does, and returns what failed, each error with its stream.
    ///
    /// While the store cannot be reached it is tried for about five seconds, however many leases there are, and for as long as
    /// the calls that are under way then take. Leases that could not be released go on, as after [`Lease::release`].
    ///
    /// # Cancel safety
    ///
    /// When dropped, some leases are released and the others go on.
    pub async fn release_all(&self) -> Vec<Error> {
        self.release_all_with(EndReason::default()).await
    }

    /// As [`release_all`](Self::release_all), with a reason for the last records.
    ///
    /// # Cancel safety
    ///
    /// As [`release_all`](Self::release_all).
    pub async fn release_all_with(&self, reason: EndReason) -> Vec<Error> {
        release::release_all(&self.0, &reason).await
    }
}

fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::unsupported("leases need a Tokio runtime; acquire them inside one").with_operation(Operation::Register)
    })
}
