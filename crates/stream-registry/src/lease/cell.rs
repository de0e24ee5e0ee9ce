//! The data of one lease, shared by its handle and the keep-alive task.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::pending::Pending;
use super::status::LeaseEnd;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::stream::{Epoch, Stream, StreamId};

/// One lease. Kept small, because a process may hold 100 000 of them.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) id: StreamId,
    pub(super) epoch: Epoch,
    state: Mutex<State>,
    /// Notified when a write is done and when the lease ends.
    pub(super) changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// The record that a recovery writes: the stream as registered, with all later reports applied.
    pub(super) record: Stream,
    /// The reports that are not written yet. Boxed, because most leases have none.
    pub(super) pending: Option<Box<Pending>>,
    /// When the last successful write was sent, on the clock `Clock::boottime`.
    pub(super) confirmed_at: u64,
    /// When the next write is due, on the clock `Clock::monotonic`. Queue entries with another due time are stale.
    pub(super) due: u64,
    /// Version of the reports. Each new report increments it.
    pub(super) version: u64,
    /// Latest version that was sent to the store.
    pub(super) attempted: u64,
    /// Latest version that the store has acknowledged.
    pub(super) written: u64,
    /// Error of the last attempt.
    pub(super) last_error: Option<Error>,
    /// Number of consecutive writes of this stream that failed although the store worked.
    pub(super) failures: u32,
    /// Set while the result of an unregistration is unknown. Cleared when a later write succeeds.
    pub(super) unconfirmed_release: bool,
    /// Set while the write permit is in use. A lease has only one permit, so an older write cannot overtake a newer
    /// write.
    pub(super) in_flight: bool,
    /// Set if the stream may have been lost during the write in flight, so that the lease must be written again.
    pub(super) recheck: bool,
    /// Set when a caller waits for its reports to be written.
    pub(super) urgent: bool,
    /// When a status was sent, if no reply arrived. That write may still reach the store late, so the status is
    /// written again half a heartbeat interval later.
    pub(super) unconfirmed_status: Option<NonZeroU64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Held,
    /// The store may have lost the stream, or another holder may have it.
    Recovering {
        /// When the lease was lost, on the clock `Clock::boottime`.
        since: u64,
    },
    Ended(LeaseEnd),
    /// The handle was dropped without a release.
    Abandoned,
}

impl Cell {
    pub(super) fn new(record: Stream, epoch: Epoch, confirmed_at: u64, due: u64) -> Self {
        let state = State {
            phase: Phase::Held,
            record,
            pending: None,
            confirmed_at,
            due,
            version: 0,
            attempted: 0,
            written: 0,
            last_error: None,
            failures: 0,
            unconfirmed_release: false,
            in_flight: false,
            recheck: false,
            urgent: false,
            unconfirmed_status: None,
        };
        Self { id: state.record.id.clone(), epoch, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics in the middle of a change, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a version is written, an attempt to write it fails, or the lease ends.
    pub(super) async fn wait_written(&self, version: u64) -> Result<()> {
        self.wait_for(|state| {
            if state.written >= version && state.phase == Phase::Held {
                return Some(Ok(()));
            }
            if let Some(error) = state.ended_error(&self.id) {
                return Some(Err(error));
            }
            state.last_error.clone().filter(|_| state.attempted >= version).map(Err)
        })
        .await
    }

    /// Calls `check` now and after each change, until `check` returns a value.
    pub(super) async fn wait_for<T>(&self, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = check(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }
}

impl State {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_) | Phase::Abandoned)
    }

    /// If the lease has ended, returns the error for calls on it.
    pub(super) fn ended_error(&self, id: &StreamId) -> Option<Error> {
        let error = match &self.phase {
            Phase::Held | Phase::Recovering { .. } => return None,
            Phase::Ended(LeaseEnd::Superseded { by }) => {
                let by = by.as_deref().unwrap_or("another holder");
                Error::new(ErrorKind::NotHolder, format!("the lease was taken over by {by}; acquire it again"))
            }
            Phase::Ended(LeaseEnd::Removed) => {
                Error::new(ErrorKind::NotFound, "another client unregistered the stream; acquire it again")
            }
            Phase::Ended(LeaseEnd::Closed) => Error::closed(),
            Phase::Ended(LeaseEnd::Released) | Phase::Abandoned => {
                Error::new(ErrorKind::NotFound, "the lease was released; acquire it again")
            }
        };
        Some(error.with_stream(id).with_operation(Operation::Write))
    }

    pub(super) fn pending(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    /// Returns the version of a new report. A caller can wait until that version is written.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Marks a held lease as lost: the store may have lost the stream, or another holder may have it.
    pub(super) fn mark_lost(&mut self, since: u64) {
        if self.phase == Phase::Held {
            self.phase = Phase::Recovering { since };
            // Callers that wait for a write now wait for the recovery.
            self.version += 1;
        }
    }

    /// Marks the lease as lost if its time to live has passed since the last confirmed write.
    pub(super) fn mark_lost_if_expired(&mut self, now: u64, ttl: u64) {
        let deadline = self.confirmed_at.saturating_add(ttl);
        if now >= deadline {
            self.mark_lost(deadline);
        }
    }
}
