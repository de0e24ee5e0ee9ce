//! Writes of leases: at most one at a time for each lease, and many leases in one call.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::cell::{Cell, Phase, State};
use super::clock::millis;
use super::options::MIN_BACKOFF;
use super::pending::Pending;
use super::shared::Shared;
use super::status::LeaseEnd;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Change, Guard, Write};

/// The exclusive right to write for one lease, with the reports to write.
///
/// [`Permits`] holds the permits of a call. When `Permits` is dropped, the unwritten reports are restored, and the
/// leases return to the keeper.
#[derive(Debug)]
pub(super) struct WritePermit {
    pub(super) cell: Arc<Cell>,
    /// The reports that were pending when the permit was taken, except the reports that were written since then.
    pending: Option<Box<Pending>>,
    /// The version of these reports.
    version: u64,
    progress: Progress,
    /// When the last successful write was sent.
    confirmed_at: Option<u64>,
    error: Option<Error>,
}

/// Progress of the writes under a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// No reply has been received. If the permit is dropped in this state, its future was cancelled.
    Unanswered,
    /// Every report was written or permanently rejected.
    Written,
    /// The store has no such stream, or has it with another epoch.
    Lost,
    /// The write of this stream failed, but the store works.
    StreamFailed,
    /// The store failed.
    StoreFailed,
    /// The record was registered again, with all reports.
    Recovered,
    /// The store still had the record and kept it unchanged.
    Renewed,
}

/// Whether a lease may be written at once, or has to be recovered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Held,
    Lost,
}

impl WritePermit {
    /// Takes the write permit. Returns `None` if another task has the permit or if the lease has ended.
    pub(super) fn take(shared: &Shared, cell: &Arc<Cell>) -> Option<(Self, Standing)> {
        let now = shared.clock.boottime();
        let mut state = cell.lock();
        Self::take_locked(shared, cell, &mut state, now)
    }

    pub(super) fn take_locked(
        shared: &Shared,
        cell: &Arc<Cell>,
        state: &mut State,
        now: u64,
    ) -> Option<(Self, Standing)> {
        if state.in_flight || state.has_ended() {
            return None;
        }
        // Once the time to live has passed, the stream may belong to another holder, so the lease is recovered first.
        state.mark_lost_if_expired(now, shared.ttl());
        // A status whose write got no reply is written again only after half a heartbeat interval. By then, the
        // first write has probably arrived, so it cannot overwrite the new write.
        let due = |since: NonZeroU64| since.get().saturating_add(millis(shared.schedule().heartbeat) / 2);
        if state.unconfirmed_status.is_some_and(|since| shared.clock.monotonic() >= due(since)) {
            state.unconfirmed_status = None;
            let status = state.record.status.clone();
            state.pending().status.get_or_insert(status);
        }
        state.in_flight = true;
        state.urgent = false;
        let permit = Self {
            cell: Arc::clone(cell),
            pending: state.pending.take(),
            version: state.version,
            progress: Progress::Unanswered,
            confirmed_at: None,
            error: None,
        };
        Some((permit, if state.phase == Phase::Held { Standing::Held } else { Standing::Lost }))
    }

    pub(super) fn has_more(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.is_empty())
    }

    pub(super) fn is_lost(&self) -> bool {
        self.progress == Progress::Lost
    }

    fn next_write(&self) -> Write {
        // If a change was rejected, only a heartbeat is sent, so that the stream does not expire because of the
        // rejection.
        let heartbeat_only = self.error.is_some() && self.confirmed_at.is_none();
        let change = self.pending.as_ref().filter(|_| !heartbeat_only).and_then(|pending| pending.next());
        Write {
            id: self.cell.id.clone(),
            guard: Guard::Holder(self.cell.epoch.clone()),
            change: change.unwrap_or(Change::Heartbeat),
        }
    }

    /// Records the result of a write. Returns whether this permit has more to write.
    fn record_result(&mut self, change: &Change, result: Result<()>, sent_at: u64) -> bool {
        let error = match result {
            Ok(()) => {
                self.confirm(sent_at);
                self.remove_pending(change);
                if self.error.is_some() {
                    self.progress = Progress::StreamFailed;
                    return false;
                }
                self.progress = Progress::Written;
                return self.has_more();
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotHolder => {
                self.progress = Progress::Lost;
                false
            }
            _ => {
                self.progress = Progress::StreamFailed;
                if error.kind() == ErrorKind::InvalidArgument {
                    tracing::warn!(stream = %self.cell.id, %error, "store rejected an invalid report; dropping it");
                    self.remove_pending(change);
                }
                let is_first = self.error.is_none();
                let is_down = error.is_partial() && !error.is_store_reply();
                self.error = Some(error);
                // A heartbeat follows, to keep the stream alive, unless a part of the store is down.
                is_first && !is_down && self.confirmed_at.is_none() && *change != Change::Heartbeat
            }
        }
    }

    /// Records that the store has the stream with this epoch. So no earlier unregistration was applied.
    fn confirm(&mut self, sent_at: u64) {
        self.confirmed_at = Some(sent_at);
        self.cell.lock().unconfirmed_release = false;
    }

    /// Discards the result so far, because another call is about to be sent.
    pub(super) fn reset(&mut self) {
        (self.progress, self.error) = (Progress::Unanswered, None);
    }

    fn remove_pending(&mut self, change: &Change) {
        if let Some(pending) = &mut self.pending {
            pending.remove(change);
        }
    }

    /// Records that the whole call failed.
    pub(super) fn record_failure(&mut self, error: &Error) {
        self.error = Some(error.clone().with_stream(&self.cell.id));
        self.progress = if is_store_failure(error) { Progress::StoreFailed } else { Progress::StreamFailed };
    }

    /// Records that the stream was registered again, with all reports.
    pub(super) fn record_recovered(&mut self, sent_at: u64) {
        self.confirm(sent_at);
        self.progress = Progress::Recovered;
        self.pending = None;
    }

    /// Records that the store still had the stream, without the pending reports.
    pub(super) fn record_renewed(&mut self, sent_at: u64) {
        self.confirm(sent_at);
        self.progress = Progress::Renewed;
    }

    /// Returns whether a status was sent but no reply arrived.
    fn has_unconfirmed_status(&self) -> bool {
        let reply_lost = self.error.as_ref().is_some_and(Error::may_have_applied);
        reply_lost && self.pending.as_ref().is_some_and(|pending| pending.status.is_some())
    }

    /// Returns the permit and applies its result to the lease.
    fn settle(&mut self, shared: &Shared, state: &mut State) {
        state.in_flight = false;
        if state.has_ended() {
            return;
        }
        let unconfirmed_status = self.has_unconfirmed_status();
        if let Some(older) = self.pending.take().filter(|pending| !pending.is_empty()) {
            state.pending().restore(*older);
        }
        if let Some(sent_at) = self.confirmed_at {
            state.confirmed_at = state.confirmed_at.max(sent_at);
            if matches!(self.progress, Progress::Recovered | Progress::Renewed) {
                state.phase = Phase::Held;
            }
        }
        match self.progress {
            Progress::Written | Progress::Recovered => {
                (state.attempted, state.written) = (self.version, self.version);
                (state.last_error, state.failures) = (None, 0);
                state.due = shared.next_due();
            }
            Progress::Renewed => {
                (state.last_error, state.failures) = (None, 0);
                // The stored record lacks the reports that were made during the outage.
                state.due = if state.pending.is_some() { 0 } else { shared.next_due() };
                if state.pending.is_none() {
                    (state.attempted, state.written) = (self.version, self.version);
                }
            }
            Progress::Lost => {
                state.mark_lost(shared.clock.boottime());
                state.due = 0;
            }
            Progress::StreamFailed => {
                // The keeper logs the outage of a part of the store once, not once for each lease.
                if let (0, Some(error)) = (state.failures, &self.error)
                    && !error.is_partial()
                {
                    tracing::warn!(stream = %self.cell.id, %error, "lease write failed; retrying");
                }
                state.failures = state.failures.saturating_add(1);
                (state.attempted, state.last_error) = (self.version, self.error.take());
                state.due = shared.due_after(shared.schedule().backoff(state.failures).max(MIN_BACKOFF));
            }
            // The circuit breaker decides when to retry. Leases that have waited longer come first, so that the probes
            // reach all parts of the store.
            Progress::StoreFailed => {
                (state.attempted, state.last_error) = (self.version, self.error.take());
                state.due = shared.clock.monotonic();
            }
            Progress::Unanswered => {
                // The cancelled call may have been applied, and it may have been an unregistration. So no version
                // counts as written.
                state.next_version();
                state.due = shared.due_after(MIN_BACKOFF);
            }
        }
        if std::mem::take(&mut state.recheck) {
            state.due = 0;
        }
        if unconfirmed_status {
            state.unconfirmed_status = Some(NonZeroU64::MIN.saturating_add(shared.clock.monotonic()));
        }
    }
}

/// Returns whether an error concerns the whole store, not one stream or a part of the store.
pub(super) fn is_store_failure(error: &Error) -> bool {
    let is_failure = error.is_retryable() || matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied);
    is_failure && !error.is_partial()
}

/// Returns whether the store rejected the change. The store may still accept other kinds of change.
fn is_store_rejection(error: &Error) -> bool {
    is_store_failure(error) && !error.may_have_applied()
}

/// Write permits that are returned together.
#[derive(Debug)]
pub(super) struct Permits {
    shared: Arc<Shared>,
    pub(super) permits: Vec<WritePermit>,
}

impl Permits {
    pub(super) fn new(shared: &Arc<Shared>, permits: Vec<WritePermit>) -> Self {
        Self { shared: Arc::clone(shared), permits }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        for permit in &mut self.permits {
            permit.settle(&self.shared, &mut permit.cell.clone().lock());
            permit.cell.changed.notify_waiters();
        }
        self.shared.enqueue_all(self.permits.drain(..).map(|permit| permit.cell));
    }
}

/// The results of a batch that concern the whole store.
#[derive(Debug)]
pub(super) struct BatchResult {
    pub(super) leases: usize,
    pub(super) lost: usize,
    /// The error, if the whole store failed.
    pub(super) failure: Option<Error>,
    /// An error of a part of the store, and the number of leases that have such an error.
    pub(super) partial: Option<(Error, usize)>,
}

/// Writes many leases. Each call contains one change per lease. Most leases have only one change, so they need only
/// the first call.
pub(super) async fn write_batch(shared: Arc<Shared>, permits: Vec<WritePermit>) -> BatchResult {
    let mut permits = Permits::new(&shared, permits);
    let failure = write_all(&shared, &mut permits.permits).await;
    let lost = permits.permits.iter().filter(|permit| permit.is_lost()).count();
    if failure.as_ref().is_some_and(|error| error.kind() == ErrorKind::Closed) {
        shared.finish_all(&LeaseEnd::Closed);
    }
    let mut partial =
        permits.permits.iter().filter_map(|permit| permit.error.as_ref()).filter(|error| error.is_partial());
    let partial = partial.next().map(|error| (error.clone(), 1 + partial.count()));
    BatchResult { leases: permits.permits.len(), lost, failure, partial }
}

/// Writes all pending reports of the permits. Returns the error if the whole store failed.
pub(super) async fn write_all(shared: &Shared, permits: &mut [WritePermit]) -> Option<Error> {
    let mut open: Vec<usize> = (0..permits.len()).collect();
    while !open.is_empty() {
        let writes: Vec<Write> = open.iter().map(|&at| permits[at].next_write()).collect();
        // The clock is read before the call. If it were read after the call, the lease would seem to live longer
        // than the stream in the store.
        let sent_at = shared.clock.boottime();
        let results = match shared.registry.write(&writes).await {
            Ok(results) if results.len() == writes.len() => common_failure(results),
            Ok(results) => {
                let message = format!("expected {} write results, got {}", writes.len(), results.len());
                Err(Error::new(ErrorKind::Internal, message))
            }
            Err(error) => Err(error),
        };
        let results = match results {
            Ok(results) => results,
            // This error does not prove that the store is down. The store may reject only some changes, e.g. patches
            // while its memory is full. The next call sends heartbeats, and shows whether the store works.
            //
            // An error of a part of the store says nothing about the leases in other parts.
            Err(error)
                if error.is_partial()
                    || is_store_rejection(&error) && writes.iter().all(|write| write.change != Change::Heartbeat) =>
            {
                writes.iter().map(|write| Err(error.clone().with_stream(&write.id))).collect()
            }
            Err(error) => {
                open.iter().for_each(|&at| permits[at].record_failure(&error));
                return Some(error);
            }
        };
        let mut more = Vec::new();
        for ((&at, write), result) in open.iter().zip(&writes).zip(results) {
            if permits[at].record_result(&write.change, result, sent_at) {
                more.push(at);
            }
        }
        open = more;
    }
    None
}

/// If every write failed because of the store, returns the first error. Some stores report an outage as an error of
/// each write.
fn common_failure(results: Vec<Result<()>>) -> Result<Vec<Result<()>>> {
    let is_common = |error: &Error| is_store_failure(error) || error.kind() == ErrorKind::Closed;
    match results.first() {
        Some(Err(first)) if results.iter().all(|result| result.as_ref().is_err_and(is_common)) => Err(first.clone()),
        _ => Ok(results),
    }
}
