//! The writes of leases: one at a time for each, many leases in one call.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::cell::{Cell, Phase, State};
use super::clock::millis;
use super::handle::LeaseEnd;
use super::options::MIN_BACK_OFF;
use super::pending::Pending;
use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Change, Guard, Write};
use crate::stream::StreamStatus;

/// The right to write for one lease, with what it has to say. When it is dropped, what was not written is put back,
/// and the lease goes to the keeper again.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) cell: Arc<Cell>,
    /// What was reported when the turn began, but for what is written already.
    pending: Option<Box<Pending>>,
    /// The version of that.
    version: u64,
    result: Done,
    /// When the last write that succeeded was sent.
    sent: Option<u64>,
    failure: Option<Error>,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Nothing was answered: the future was dropped.
    Dropped,
    /// Everything was written, or refused for good.
    Written,
    /// The stream is not known, or not as ours.
    Lost,
    /// This stream alone could not be written.
    Failed,
    /// The store failed.
    Away,
    /// It was put back as it was reported.
    Recovered,
    /// It is known again, with the record that the store had.
    Found,
}

impl Turn {
    /// Takes the turn, if nobody has it and the lease has not ended. Says whether it has to be recovered first.
    pub(super) fn take(shared: &Shared, cell: &Arc<Cell>) -> Option<(Self, bool)> {
        let now = shared.clock.lived();
        let mut state = cell.lock();
        Self::take_locked(shared, cell, &mut state, now)
    }

    pub(super) fn take_locked(shared: &Shared, cell: &Arc<Cell>, state: &mut State, now: u64) -> Option<(Self, bool)> {
        if state.busy || state.is_over() {
            return None;
        }
        // Past its time to live the stream may be another's: look first. The time counts from the sending.
        let deadline = state.confirmed.saturating_add(shared.ttl());
        if now >= deadline {
            state.lose(deadline);
        }
        let mono = shared.clock.mono();
        // Not sooner, and not later where the batch has room for it before its time.
        if state.unsure.is_some_and(|lost| mono >= lost.get().saturating_add(millis(shared.pace().heartbeat) / 2)) {
            state.unsure = None;
            let status = state.record.status.clone();
            state.pending().status.get_or_insert(status);
        }
        state.busy = true;
        state.urgent = false;
        let turn = Self {
            cell: Arc::clone(cell),
            pending: state.pending.take(),
            version: state.version,
            result: Done::Dropped,
            sent: None,
            failure: None,
        };
        Some((turn, state.phase != Phase::Held))
    }

    pub(super) fn has_more(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.is_empty())
    }

    /// Whether the store did not know the stream, or not as ours.
    pub(super) fn is_lost(&self) -> bool {
        self.result == Done::Lost
    }

    pub(super) fn next(&self) -> Write {
        let again_alive = self.failure.is_some() && self.sent.is_none();
        // A change that is refused must not cost the stream its life.
        let change = self.pending.as_ref().filter(|_| !again_alive).and_then(|pending| pending.next());
        Write {
            id: self.cell.id.clone(),
            guard: Guard::Holder(self.cell.epoch.clone()),
            change: change.unwrap_or(Change::Heartbeat),
        }
    }

    /// Notes an answer; returns whether there is more to write in this turn.
    pub(super) fn answer(&mut self, change: &Change, answer: Result<()>, sent: u64) -> bool {
        let error = match answer {
            Ok(()) => {
                self.known(sent);
                self.forget(change);
                if self.failure.is_some() {
                    self.result = Done::Failed;
                    return false;
                }
                self.result = Done::Written;
                return self.has_more();
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotHolder => {
                self.result = Done::Lost;
                false
            }
            _ => {
                self.result = Done::Failed;
                if error.kind() == ErrorKind::InvalidArgument {
                    tracing::warn!(stream = %self.cell.id, %error, "a report does not fit the stream and is dropped");
                    self.forget(change);
                }
                let first = self.failure.is_none();
                self.failure = Some(error);
                // One more, to stay alive.
                first && self.sent.is_none() && *change != Change::Heartbeat
            }
        }
    }

    /// The store has the stream, as ours: no end that was tried before has come about.
    fn known(&mut self, sent: u64) {
        self.sent = Some(sent);
        self.cell.lock().release = None;
    }

    /// Something else is about to be sent: what came before says nothing of how it ends.
    pub(super) fn reopen(&mut self) {
        (self.result, self.failure) = (Done::Dropped, None);
    }

    fn forget(&mut self, change: &Change) {
        if let Some(pending) = &mut self.pending {
            pending.forget(change);
        }
    }

    /// The call failed as a whole.
    pub(super) fn fail(&mut self, error: &Error) {
        self.failure = Some(error.clone().with_stream(&self.cell.id));
        self.result = if is_store(error) { Done::Away } else { Done::Failed };
    }

    /// The stream was put back as it was reported.
    pub(super) fn recovered(&mut self, sent: u64) {
        self.known(sent);
        self.result = Done::Recovered;
        self.pending = None;
    }

    /// The stream is ours, with the record that the store has.
    pub(super) fn found(&mut self, sent: u64) {
        self.known(sent);
        self.result = Done::Found;
    }

    fn lost_status(&self) -> Option<StreamStatus> {
        let lost = self.failure.as_ref().is_some_and(Error::may_have_applied);
        self.pending.as_ref().filter(|_| lost).and_then(|pending| pending.status.clone())
    }

    fn settle(&mut self, shared: &Shared, state: &mut State) {
        state.busy = false;
        if state.is_over() {
            return;
        }
        let lost_status = self.lost_status().is_some();
        if let Some(older) = self.pending.take().filter(|pending| !pending.is_empty()) {
            state.pending().put_back(*older);
        }
        if let Some(sent) = self.sent {
            state.confirmed = state.confirmed.max(sent);
            if matches!(self.result, Done::Recovered | Done::Found) {
                state.phase = Phase::Held;
            }
        }
        let pace = shared.pace();
        match self.result {
            Done::Written | Done::Recovered => {
                (state.tried, state.written) = (self.version, self.version);
                (state.failure, state.failures) = (None, 0);
                state.due = shared.next_write();
            }
            Done::Found => {
                (state.failure, state.failures) = (None, 0);
                // What was reported meanwhile is not in the record that the store has.
                state.due = if state.pending.is_some() { 0 } else { shared.next_write() };
                if state.pending.is_none() {
                    (state.tried, state.written) = (self.version, self.version);
                }
            }
            Done::Lost => {
                state.lose(shared.clock.lived());
                state.due = 0;
            }
            Done::Failed => {
                if let (0, Some(error)) = (state.failures, &self.failure) {
                    tracing::warn!(stream = %self.cell.id, %error, "a lease cannot be written; it is tried again");
                }
                state.failures = state.failures.saturating_add(1);
                (state.tried, state.failure) = (self.version, self.failure.take());
                state.due = shared.after(pace.back_off(state.failures).max(MIN_BACK_OFF));
            }
            // The gate decides when.
            Done::Away => {
                (state.tried, state.failure) = (self.version, self.failure.take());
                state.due = 0;
            }
            Done::Dropped => {
                // What was sent may have happened, an end too: nothing is known to be written.
                state.next_version();
                state.due = shared.after(MIN_BACK_OFF);
            }
        }
        if lost_status {
            state.unsure = Some(NonZeroU64::MIN.saturating_add(shared.clock.mono()));
        }
    }
}

/// Whether an error is about the store, not about one stream.
pub(super) fn is_store(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied)
}

/// Whether the store has said no, rather than nothing: it may be there for another change.
fn is_refusal(error: &Error) -> bool {
    is_store(error) && !error.may_have_applied()
}

/// Several turns that end together.
#[derive(Debug)]
pub(super) struct Turns {
    shared: Arc<Shared>,
    pub(super) turns: Vec<Turn>,
}

impl Turns {
    pub(super) fn new(shared: &Arc<Shared>, turns: Vec<Turn>) -> Self {
        Self { shared: Arc::clone(shared), turns }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        for turn in &mut self.turns {
            turn.settle(&self.shared, &mut turn.cell.clone().lock());
            turn.cell.changed.notify_waiters();
        }
        self.shared.put_all(self.turns.drain(..).map(|turn| turn.cell));
    }
}

/// What a batch says of the store.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) leases: usize,
    pub(super) lost: usize,
    /// The failure of the store as a whole.
    pub(super) failure: Option<Error>,
}

/// Writes for many leases: one change of each in the first call, which for nearly all is the only one.
pub(super) async fn batch(shared: Arc<Shared>, turns: Vec<Turn>) -> Batch {
    let mut turns = Turns::new(&shared, turns);
    let failure = run(&shared, &mut turns.turns).await;
    let lost = turns.turns.iter().filter(|turn| turn.is_lost()).count();
    if failure.as_ref().is_some_and(|error| error.kind() == ErrorKind::Closed) {
        shared.finish_all(&LeaseEnd::Closed);
    }
    Batch { leases: turns.turns.len(), lost, failure }
}

/// Writes what the turns have to say, and returns what failed for the store as a whole.
pub(super) async fn run(shared: &Shared, turns: &mut [Turn]) -> Option<Error> {
    let mut open: Vec<usize> = (0..turns.len()).collect();
    while !open.is_empty() {
        let writes: Vec<Write> = open.iter().map(|&at| turns[at].next()).collect();
        // Before the call: the deadline counts from the sending.
        let sent = shared.clock.lived();
        let answers = match shared.registry.write(&writes).await {
            Ok(answers) if answers.len() == writes.len() => Ok(answers),
            Ok(_) => Err(Error::new(ErrorKind::Internal, "the store answered another number of writes")),
            Err(error) => Err(error),
        };
        let answers = match answers.and_then(all_failed) {
            Ok(answers) => answers,
            // It may be the changes that it does not take, a patch while its memory is full: heartbeats will tell.
            Err(error) if is_refusal(&error) && writes.iter().all(|write| write.change != Change::Heartbeat) => {
                writes.iter().map(|write| Err(error.clone().with_stream(&write.id))).collect()
            }
            Err(error) => {
                open.iter().for_each(|&at| turns[at].fail(&error));
                return Some(error);
            }
        };
        let mut more = Vec::new();
        for ((&at, write), answer) in open.iter().zip(&writes).zip(answers) {
            if turns[at].answer(&write.change, answer, sent) {
                more.push(at);
            }
        }
        open = more;
    }
    None
}

/// Some stores answer each write on its own, though none can be reached.
fn all_failed(answers: Vec<Result<()>>) -> Result<Vec<Result<()>>> {
    let away = |error: &Error| is_store(error) || error.kind() == ErrorKind::Closed;
    match answers.first() {
        Some(Err(first)) if answers.iter().all(|answer| answer.as_ref().is_err_and(away)) => Err(first.clone()),
        _ => Ok(answers),
    }
}
