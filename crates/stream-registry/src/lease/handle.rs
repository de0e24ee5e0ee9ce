//! The handle of one lease.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cell::{Cell, Phase, State};
use super::release;
use super::shared::Shared;
use super::status::{LeaseEnd, LeaseState};
use crate::error::{Error, Operation, Result};
use crate::registry::{Change, rules};
use crate::stream::{EndReason, Epoch, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, Timestamp};

/// A stream that this process holds. It is kept alive in the background until it is [released](Self::release).
///
/// [`Leases::acquire`](super::Leases::acquire) returns a lease. To share a lease between tasks, put it into an
/// `Arc`.
///
/// Dropping the handle stops the keep-alive, but does not unregister the stream. The stream expires when its time to
/// live is over, and a warning is logged (`tracing`).
#[must_use = "dropping the handle stops the keep-alive"]
pub struct Lease {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, cell: Arc<Cell>) -> Self {
        Self { shared, cell }
    }

    /// Returns the stream's id.
    pub fn id(&self) -> &StreamId {
        &self.cell.id
    }

    /// Returns the epoch, which identifies this lease among all leases of the stream.
    ///
    /// If a stream is leased again, the later lease has the greater epoch.
    pub fn epoch(&self) -> &Epoch {
        &self.cell.epoch
    }

    /// Returns whether this process still holds the stream, according to its last writes. Makes no call to the
    /// store.
    pub fn state(&self) -> LeaseState {
        let now = self.shared.clock.boottime();
        let state = self.cell.lock();
        let since = match &state.phase {
            Phase::Held => {
                let deadline = state.confirmed_at.saturating_add(self.shared.ttl());
                if now < deadline {
                    return LeaseState::Held;
                }
                deadline
            }
            Phase::Recovering { since } => *since,
            Phase::Ended(end) => return LeaseState::Ended(end.clone()),
            Phase::Abandoned => return LeaseState::Ended(LeaseEnd::Released),
        };
        let ago = Duration::from_millis(now.saturating_sub(since)).as_nanos();
        let now = Timestamp::now().as_unix_nanos();
        let since = Timestamp::from_unix_nanos(now - i128::try_from(ago).unwrap_or(0));
        LeaseState::Recovering { since }
    }

    /// Returns the record of the stream as it was registered, with all later reports applied.
    pub fn stream(&self) -> Stream {
        self.cell.lock().record.clone()
    }

    /// Reports statistics. The newest statistics are written with the next heartbeat.
    ///
    /// This method only stores the values in memory, so you can call it as often as you like. If a value is
    /// `None`, the previous value is kept. Statistics outside their limits (see [`StreamStats::check`]) are
    /// dropped, and a warning is logged. After the lease has ended, the call does nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{Stream, StreamStats, StreamType};
    /// # use stream_registry::lease::{LeaseOptions, Leases};
    /// # let registry = stream_registry::connect("memory:").await?;
    /// # let leases = Leases::new(registry.clone(), LeaseOptions::default());
    /// # let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// lease.report(StreamStats { bytes_received: Some(1_316), packets_received: Some(1), ..Default::default() });
    /// lease.report(StreamStats { bytes_received: Some(2_632), packets_received: Some(2), ..Default::default() });
    /// // Both reports wait for the next heartbeat. `flush` writes the newest values now.
    /// lease.flush().await?;
    /// assert_eq!(registry.get(lease.id()).await?.bytes_received, 2_632);
    /// # Ok(()) }
    /// ```
    pub fn report(&self, stats: StreamStats) {
        if let Err(error) = stats.check() {
            tracing::warn!(stream = %self.cell.id, %error, "invalid statistics dropped");
            return;
        }
        let mut state = self.cell.lock();
        if !state.has_ended() {
            state.record.update_stats(&stats);
            state.pending().set_stats(stats);
            state.next_version();
        }
    }

    /// Changes metadata, such as codec, resolution and labels. The changes are written with the next heartbeat.
    ///
    /// Patches that wait for the same heartbeat are merged into one.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the record would exceed its limits, and `NotHolder`, `NotFound` or `Closed` if the
    /// lease has ended.
    pub fn patch(&self, patch: StreamPatch) -> Result<()> {
        let with_context = |error: Error| error.with_stream(&self.cell.id).with_operation(Operation::Patch);
        patch.check().map_err(|invalid| with_context(invalid.into()))?;
        let mut state = self.cell.lock();
        state.ended_error(&self.cell.id).map_or(Ok(()), Err)?;
        let (heartbeat, change) = (state.record.last_heartbeat, Change::Patch(Box::new(patch.clone())));
        state.record = rules::apply(&state.record, &change, heartbeat).map_err(with_context)?;
        state.pending().set_patch(patch);
        state.next_version();
        Ok(())
    }

    /// Writes a status at once, with all pending reports, and waits for the result.
    ///
    /// The statuses of a lease are written in order, one at a time. If several calls wait, only the newest status is
    /// written.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the status is outside its limits, and `NotHolder`, `NotFound` or `Closed` if the
    /// lease has ended. If the store fails, returns the errors of [`Registry::write`](crate::Registry::write); the
    /// status is still written as soon as the store works again.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the status is still written.
    pub async fn set_status(&self, status: StreamStatus) -> Result<()> {
        status
            .check()
            .map_err(|invalid| Error::from(invalid).with_stream(self.id()).with_operation(Operation::Status))?;
        self.write_now(|state| {
            state.record.set_status(status.clone());
            state.pending().status = Some(status);
        })
        .await
    }

    /// Writes all pending reports at once, and waits for the result.
    ///
    /// Returns immediately if nothing is pending.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set_status`](Self::set_status).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the reports are still written.
    pub async fn flush(&self) -> Result<()> {
        let is_clean = |state: &State| {
            let written = state.pending.is_none() && state.written == state.version;
            written && !state.in_flight && state.phase == Phase::Held
        };
        if is_clean(&self.cell.lock()) {
            return Ok(());
        }
        self.write_now(|_| {}).await
    }

    async fn write_now(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let version = {
            let mut state = self.cell.lock();
            state.ended_error(&self.cell.id).map_or(Ok(()), Err)?;
            change(&mut state);
            state.next_version()
        };
        self.shared.write_now(&self.cell);
        self.cell.wait_written(version).await
    }

    /// Waits until the lease has ended, and returns the reason.
    ///
    /// Use this method in a `select!` together with the session, to stop the session when another publisher takes
    /// the stream over.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is lost: call the function again.
    pub async fn ended(&self) -> LeaseEnd {
        self.cell
            .wait_for(|state| match &state.phase {
                Phase::Ended(end) => Some(end.clone()),
                Phase::Abandoned => Some(LeaseEnd::Released),
                Phase::Held | Phase::Recovering { .. } => None,
            })
            .await
    }

    /// Unregisters the stream and ends the lease. Returns the last record, with all reports applied.
    ///
    /// If the store cannot be reached, the call is retried for about 5 s. After a retryable error, the lease
    /// continues and `release` may be called again.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if the stream was already unregistered, `NotHolder` if the stream belongs to another
    /// holder, and `Closed` if the registry was closed. In these three cases, the lease has ended. If the store
    /// fails, returns the errors of [`Registry::unregister_with`](crate::Registry::unregister_with).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the unregistration may still be applied. In that case, the lease detects this at
    /// its next write and ends. Otherwise, the lease continues.
    pub async fn release(&self) -> Result<Stream> {
        self.release_with(EndReason::default()).await
    }

    /// Releases the lease like [`release`](Self::release), and stores the reason as `end_reason` of the last record.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// # use stream_registry::{Stream, StreamType};
    /// # use stream_registry::lease::{LeaseOptions, Leases};
    /// # let leases = Leases::new(stream_registry::connect("memory:").await?, LeaseOptions::default());
    /// # let lease = leases.acquire(Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// let last = lease.release_with("publisher disconnected".parse()?).await?;
    /// assert_eq!(last.end_reason.as_deref(), Some("publisher disconnected"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`release`](Self::release).
    ///
    /// # Cancel safety
    ///
    /// The same as for [`release`](Self::release).
    pub async fn release_with(&self, reason: EndReason) -> Result<Stream> {
        release::release(&self.shared, &self.cell, &reason).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.shared.abandon(&self.cell) {
            let ttl = self.shared.schedule().ttl;
            tracing::warn!(stream = %self.cell.id, ?ttl, "lease dropped without release; its stream will expire");
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", self.id())
            .field("epoch", self.epoch())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
