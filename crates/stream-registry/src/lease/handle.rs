//! The handle of one lease.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cell::{Cell, Phase, State};
use super::release;
use super::shared::Shared;
use crate::error::{Error, Operation, Result};
use crate::registry::{Change, rules};
use crate::stream::{EndReason, Epoch, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, Timestamp};

/// A stream that this process holds, kept alive in the background until it is [released](Self::release).
///
/// Made by [`Leases::acquire`](super::Leases::acquire). To share it between tasks put it into an `Arc`.
///
/// Dropping the handle stops the keep-alive and nothing else: the stream expires by itself when its time to live is over,
/// and a warning says so (`tracing`).
#[must_use = "dropping the handle stops the keep-alive"]
pub struct Lease {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
}

/// Whether a stream is its holder's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// It is: the last write that succeeded is younger than the time to live.
    Held,
    /// It may not be: the store has lost it or cannot be reached. It comes back by itself, unless it belongs to
    /// somebody else by then.
    Recovering {
        /// Since when, by this machine's clock.
        since: Timestamp,
    },
    /// It is not, for good. Nothing more is written.
    Ended(LeaseEnd),
}

/// How a lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// By its holder.
    Released,
    /// Another holder has the stream.
    Superseded {
        /// Its node or, without one, its publisher's address; `None` where it is not known.
        by: Option<String>,
    },
    /// Somebody else ended the stream, an operator say.
    Removed,
    /// The registry was closed.
    Closed,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, cell: Arc<Cell>) -> Self {
        Self { shared, cell }
    }

    /// Returns the stream's id.
    pub fn id(&self) -> &StreamId {
        &self.cell.id
    }

    /// Returns the epoch: what names this lease among all that the stream ever had.
    pub fn epoch(&self) -> &Epoch {
        &self.cell.epoch
    }

    /// Returns whether the stream is ours, as far as it is known here; asks nobody.
    pub fn state(&self) -> LeaseState {
        let lived = self.shared.clock.lived();
        let state = self.cell.lock();
        let since = match &state.phase {
            Phase::Held => {
                let deadline = state.confirmed.saturating_add(self.shared.ttl());
                if lived < deadline {
                    return LeaseState::Held;
                }
                deadline
            }
            Phase::Recovering { since } => *since,
            Phase::Ended(end) => return LeaseState::Ended(end.clone()),
            Phase::Left => return LeaseState::Ended(LeaseEnd::Released),
        };
        let ago = Duration::from_millis(lived.saturating_sub(since)).as_nanos();
        let now = Timestamp::now().as_unix_nanos();
        let since = Timestamp::from_unix_nanos(now - i128::try_from(ago).unwrap_or(0));
        LeaseState::Recovering { since }
    }

    /// Returns the stream as it was registered, with everything that was reported since.
    pub fn stream(&self) -> Stream {
        self.cell.lock().record.clone()
    }

    /// Reports statistics: the newest are written with the next heartbeat.
    ///
    /// An optional one that is `None` keeps its value. Statistics outside their limits (see [`StreamStats::check`]) are
    /// dropped with a warning; after the end nothing happens.
    pub fn report(&self, stats: StreamStats) {
        if let Err(error) = stats.check() {
            tracing::warn!(stream = %self.cell.id, %error, "statistics are dropped");
            return;
        }
        let mut state = self.cell.lock();
        if !state.is_over() {
            state.record.update_stats(&stats);
            state.pending().set_stats(stats);
            state.next_version();
        }
    }

    /// Reports what was found out about the stream: written with the next heartbeat, with those before it in one.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where the record would be outside its limits; `NotHolder`, `NotFound` or `Closed` after the end.
    pub fn patch(&self, patch: StreamPatch) -> Result<()> {
        let named = |error: Error| error.with_stream(&self.cell.id).with_operation(Operation::Patch);
        patch.check().map_err(|invalid| named(invalid.into()))?;
        let mut state = self.cell.lock();
        state.over(&self.cell.id).map_or(Ok(()), Err)?;
        let (heartbeat, change) = (state.record.last_heartbeat, Change::Patch(Box::new(patch.clone())));
        state.record = rules::apply(&state.record, &change, heartbeat).map_err(named)?;
        state.pending().set_patch(patch);
        state.next_version();
        Ok(())
    }

    /// Sets the status, at once, with everything else that was reported.
    ///
    /// Statuses of one lease are written in their order, never two at a time; of several that wait the newest is written.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`; as [`Registry::write`](crate::Registry::write) where the store fails: the status is written all
    /// the same as soon as it can be. `NotHolder`, `NotFound` or `Closed` after the end.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the status is written all the same.
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

    /// Writes everything that was reported, at once.
    ///
    /// # Errors
    ///
    /// As [`set_status`](Self::set_status).
    ///
    /// # Cancel safety
    ///
    /// When dropped, everything is written all the same.
    pub async fn flush(&self) -> Result<()> {
        let clean = |state: &State| {
            let written = state.pending.is_none() && state.written == state.version;
            written && !state.busy && state.phase == Phase::Held
        };
        if clean(&self.cell.lock()) {
            return Ok(());
        }
        self.write_now(|_| {}).await
    }

    async fn write_now(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let version = {
            let mut state = self.cell.lock();
            state.over(&self.cell.id).map_or(Ok(()), Err)?;
            change(&mut state);
            state.next_version()
        };
        self.shared.urge(&self.cell);
        self.cell.written(version).await
    }

    /// Waits until the lease has ended, and says how.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn ended(&self) -> LeaseEnd {
        self.cell
            .watch(|state| match &state.phase {
                Phase::Ended(end) => Some(end.clone()),
                Phase::Left => Some(LeaseEnd::Released),
                Phase::Held | Phase::Recovering { .. } => None,
            })
            .await
    }

    /// Ends the stream and the lease, and returns the last record, with everything that was reported.
    ///
    /// While the store cannot be reached it is tried for about five seconds. After an error that is retryable the lease goes on,
    /// and the call may be made again.
    ///
    /// # Errors
    ///
    /// `NotFound` where the stream was ended before, `NotHolder` where it belongs to somebody else: the lease has ended
    /// then too. `Closed`; and as [`Registry::unregister_with`](crate::Registry::unregister_with) where the store fails.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the stream has ended or not; the lease finds out and goes on, or ends.
    pub async fn release(&self) -> Result<Stream> {
        self.release_with(EndReason::default()).await
    }

    /// As [`release`](Self::release), with a reason for the last record.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    pub async fn release_with(&self, reason: EndReason) -> Result<Stream> {
        release::release(&self.shared, &self.cell, &reason).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.shared.leave(&self.cell) {
            let ttl = self.shared.pace().ttl;
            tracing::warn!(stream = %self.cell.id, ?ttl, "a lease was dropped without release; its stream expires by itself");
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
