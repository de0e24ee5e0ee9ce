//! What is kept of one lease, between its handle and the keep-alive task.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::handle::LeaseEnd;
use super::pending::Pending;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::Operation;
use crate::stream::{Epoch, OperationId, Stream, StreamId};

/// A lease. Small: a process may hold a hundred thousand.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) id: StreamId,
    pub(super) epoch: Epoch,
    state: Mutex<State>,
    /// Told when a write has ended, and when the lease has.
    pub(super) changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// What recovery writes: the stream as it was registered, with everything that was reported since.
    pub(super) record: Stream,
    /// Boxed: mostly there is none.
    pub(super) pending: Option<Box<Pending>>,
    /// When the last write that succeeded was sent, by the clock of life and death.
    pub(super) confirmed: u64,
    /// When the next write is due; the place in the keeper's heap that counts.
    pub(super) due: u64,
    /// Grows with each report.
    pub(super) version: u64,
    /// Up to which report everything was tried, and written.
    pub(super) tried: u64,
    pub(super) written: u64,
    /// Why the last try failed.
    pub(super) failure: Option<Error>,
    /// How often in a row a write of this stream alone failed.
    pub(super) failures: u32,
    /// The name of a call that may have ended the stream; nothing was written since.
    pub(super) release: Option<Box<OperationId>>,
    /// Somebody writes for this lease: at most one at a time, so that nothing old overtakes.
    pub(super) busy: bool,
    /// Somebody waits for what was reported.
    pub(super) urgent: bool,
    /// When the answer to a status was lost: it may arrive yet, and is written over an interval later.
    pub(super) unsure: Option<NonZeroU64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Held,
    /// Not known to be ours since then, by the clock of life and death.
    Recovering {
        since: u64,
    },
    Ended(LeaseEnd),
    /// The handle is gone.
    Left,
}

impl Cell {
    pub(super) fn new(record: Stream, epoch: Epoch, confirmed: u64, due: u64) -> Self {
        let state = State {
            phase: Phase::Held,
            record,
            pending: None,
            confirmed,
            due,
            version: 0,
            tried: 0,
            written: 0,
            failure: None,
            failures: 0,
            release: None,
            busy: false,
            urgent: false,
            unsure: None,
        };
        Self { id: state.record.id.clone(), epoch, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No panic is possible between two halves of a change to it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything up to a version is written, was tried in vain, or the lease has ended.
    pub(super) async fn written(&self, version: u64) -> Result<()> {
        self.watch(|state| {
            if state.written >= version && state.phase == Phase::Held {
                return Some(Ok(()));
            }
            if let Some(over) = state.over(&self.id) {
                return Some(Err(over));
            }
            state.failure.clone().filter(|_| state.tried >= version).map(Err)
        })
        .await
    }

    /// Waits until the state is as wanted.
    pub(super) async fn watch<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }
}

impl State {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(_) | Phase::Left)
    }

    /// The error of a call on a lease that has ended.
    pub(super) fn over(&self, id: &StreamId) -> Option<Error> {
        let error = match &self.phase {
            Phase::Held | Phase::Recovering { .. } => return None,
            Phase::Ended(LeaseEnd::Superseded { by }) => {
                let by = by.as_deref().unwrap_or("another holder");
                Error::new(ErrorKind::NotHolder, format!("the lease was taken over by {by}; acquire it anew"))
            }
            Phase::Ended(LeaseEnd::Removed) => {
                Error::new(ErrorKind::NotFound, "the stream of this lease was ended by somebody else; acquire it anew")
            }
            Phase::Ended(LeaseEnd::Closed) => Error::closed(),
            Phase::Ended(LeaseEnd::Released) | Phase::Left => {
                Error::new(ErrorKind::NotFound, "the lease was released; acquire it anew")
            }
        };
        Some(error.with_stream(id).with_operation(Operation::Write))
    }

    pub(super) fn pending(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    /// Counts what was reported, so that it can be waited for.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The store may not know the stream, or not as ours.
    pub(super) fn lose(&mut self, since: u64) {
        if self.phase == Phase::Held {
            self.phase = Phase::Recovering { since };
            // Who waits for a write waits for the recovery.
            self.version += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lease::Lease;

    #[test]
    fn a_lease_is_small() {
        // Beyond the record, which shares id and epoch: the cell with its counters, the place in the heap, the place in the
        // map, half full, and the handle.
        let cell = size_of::<Cell>() - size_of::<Stream>() + 16;
        let heap = size_of::<(u64, Arc<Cell>)>();
        let map = 2 * (size_of::<(StreamId, Arc<Cell>)>() + 1);
        let handle = size_of::<Lease>();
        assert!(cell + heap + map + handle <= 300, "{cell} + {heap} + {map} + {handle}");
    }
}
