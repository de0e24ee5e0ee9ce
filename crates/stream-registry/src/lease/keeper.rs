//! The keep-alive task. One task serves all leases of a process, and runs while there are leases.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::breaker::{Breaker, ProbeResult, Transition};
use super::cell::{Cell, Phase};
use super::clock::millis;
use super::follow::follow;
use super::recover::recover;
use super::shared::Shared;
use super::write::{BatchResult, Permits, Standing, WritePermit, write_batch};

/// Maximum number of batches in flight.
const MAX_BATCHES: usize = 4;
/// Divisor of the heartbeat interval. For each batch in flight, the next batch waits until its first lease is late by
/// one more of these parts. So a store that answers quickly has one batch at a time, and the calls of other clients
/// wait for at most one batch.
const LATE_PART: u32 = 40;
/// Maximum number of recoveries in flight.
const MAX_RECOVERIES: usize = 64;
/// The queue is rebuilt when its number of stale entries exceeds the number of leases by more than this number.
pub(super) const MAX_STALE: usize = 256;

/// Starts the keep-alive task on a runtime, unless one is already running.
pub(super) fn ensure(shared: &Arc<Shared>, runtime: &Handle) {
    let mut task = shared.keeper();
    // If a task has finished although it was not retired, its runtime was shut down.
    if task.as_ref().is_none_or(JoinHandle::is_finished) {
        *task = Some(runtime.spawn(Keeper::new(Arc::clone(shared)).run()));
    }
}

/// A queue entry: a lease and its due time. The entry is stale if the due time of the lease has changed since then.
#[derive(Debug)]
struct Due(u64, Arc<Cell>);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// Next step for a lease that is due.
enum Action {
    Skip,
    Write,
    Recover,
}

enum Event {
    Batch(Result<BatchResult, JoinError>),
    Recovery(Result<ProbeResult, JoinError>),
    /// The inbox has entries, or a lease is due.
    Wake,
}

struct Keeper {
    shared: Arc<Shared>,
    queue: BinaryHeap<Reverse<Due>>,
    urgent: Vec<Arc<Cell>>,
    lost: VecDeque<Arc<Cell>>,
    batches: JoinSet<BatchResult>,
    recoveries: JoinSet<ProbeResult>,
    /// The task that follows the change feed. The task ends with the keeper.
    follower: JoinSet<()>,
    /// Writes and recoveries have separate circuit breakers, because a store whose memory is full accepts
    /// heartbeats but rejects registrations.
    write_breaker: Breaker,
    recovery_breaker: Breaker,
    /// The heartbeat interval that applied when the leases were queued.
    interval: Duration,
    /// When all leases were last made due at once.
    all_due_at: Option<u64>,
    /// When a loss of streams was last logged.
    loss_logged_at: Option<u64>,
    /// When an outage of a part of the store was last logged.
    partial_logged_at: Option<u64>,
}

impl Keeper {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            interval: shared.schedule().heartbeat,
            shared,
            queue: BinaryHeap::new(),
            urgent: Vec::new(),
            lost: VecDeque::new(),
            batches: JoinSet::new(),
            recoveries: JoinSet::new(),
            follower: JoinSet::new(),
            write_breaker: Breaker::default(),
            recovery_breaker: Breaker::default(),
            all_due_at: None,
            loss_logged_at: None,
            partial_logged_at: None,
        }
    }

    async fn run(mut self) {
        // If the runtime of an earlier keeper was shut down, the leases of that keeper still exist and must be
        // queued again.
        self.rebuild_queue(u64::MAX);
        if self.shared.follows_feed() {
            self.follower.spawn(follow(Arc::clone(&self.shared)));
        }
        loop {
            for cell in self.shared.take_inbox() {
                self.enqueue(cell);
            }
            self.apply_shorter_interval();
            if self.shared.take_recheck_all() {
                self.make_all_due();
            }
            self.remove_stale_entries();
            self.start_work();
            if self.batches.is_empty() && self.recoveries.is_empty() && self.shared.retire_keeper() {
                return;
            }
            match self.wait().await {
                Event::Wake => {}
                Event::Batch(Ok(result)) => self.handle_batch_result(&result),
                Event::Recovery(Ok(result)) => self.handle_recovery_result(&result),
                Event::Batch(Err(error)) | Event::Recovery(Err(error)) => {
                    tracing::error!(%error, "lease write task failed; retrying");
                }
            }
        }
    }

    /// Puts a lease into the queue that fits its state.
    fn enqueue(&mut self, cell: Arc<Cell>) {
        let now = self.shared.clock.monotonic();
        let state = cell.lock();
        if state.in_flight || state.has_ended() {
            // The lease returns to the inbox when its write is done.
            return;
        }
        let (urgent, due, held) = (state.urgent, state.due, state.phase == Phase::Held);
        drop(state);
        if urgent {
            self.urgent.push(cell);
        } else if !held && due <= now {
            self.lost.push_back(cell);
        } else {
            self.queue.push(Reverse(Due(due, cell)));
        }
    }

    /// Queues all leases again. A held lease that was due later than `latest` becomes due at `latest`.
    fn rebuild_queue(&mut self, latest: u64) {
        self.queue = BinaryHeap::with_capacity(self.shared.count());
        self.lost.clear();
        for cell in self.shared.cells() {
            {
                let mut state = cell.lock();
                if state.phase == Phase::Held {
                    state.due = state.due.min(latest);
                }
            }
            self.enqueue(cell);
        }
    }

    /// Rebuilds the queue if most of its entries are stale.
    fn remove_stale_entries(&mut self) {
        if self.queue.len() > 2 * self.shared.count() + MAX_STALE {
            self.rebuild_queue(u64::MAX);
        }
    }

    /// Makes all leases due if the heartbeat interval has become shorter.
    fn apply_shorter_interval(&mut self) {
        let interval = self.shared.schedule().heartbeat;
        if std::mem::replace(&mut self.interval, interval) > interval {
            self.rebuild_queue(self.shared.clock.monotonic());
        }
    }

    /// Makes all leases due, because the store may have lost their streams. Does so at most twice per heartbeat
    /// interval.
    fn make_all_due(&mut self) {
        let now = self.shared.clock.monotonic();
        let min_pause = millis(self.shared.schedule().heartbeat) / 2;
        if self.all_due_at.is_some_and(|last| now < last + min_pause) {
            return;
        }
        self.all_due_at = Some(now);
        self.rebuild_queue(now);
    }

    /// Starts all due work that the circuit breakers allow.
    fn start_work(&mut self) {
        let now = self.shared.clock.monotonic();
        self.start_urgent();
        while self.write_breaker.capacity(now, self.batches.len(), MAX_BATCHES) > 0
            && self.next_batch_at().is_some_and(|at| at <= now)
        {
            let permits = self.next_batch(now);
            if permits.is_empty() {
                break;
            }
            self.batches.spawn(write_batch(Arc::clone(&self.shared), permits));
        }
        let mut capacity = self.recovery_breaker.capacity(now, self.recoveries.len(), MAX_RECOVERIES);
        while capacity > 0 {
            let Some(cell) = self.lost.pop_front() else { break };
            if cell.lock().phase == Phase::Held {
                continue;
            }
            if let Some((permit, _)) = WritePermit::take(&self.shared, &cell) {
                self.recoveries.spawn(recover(Arc::clone(&self.shared), permit));
                capacity -= 1;
            }
        }
    }

    /// Starts the writes that callers wait for. These writes bypass the circuit breakers, so that the callers get a
    /// result at once.
    fn start_urgent(&mut self) {
        let mut permits = Vec::new();
        for cell in std::mem::take(&mut self.urgent) {
            match WritePermit::take(&self.shared, &cell) {
                Some((permit, Standing::Held)) => permits.push(permit),
                Some((permit, Standing::Lost)) => {
                    self.recoveries.spawn(recover(Arc::clone(&self.shared), permit));
                }
                None => {}
            }
            if permits.len() == self.shared.schedule().batch {
                self.batches.spawn(write_batch(Arc::clone(&self.shared), std::mem::take(&mut permits)));
            }
        }
        if !permits.is_empty() {
            self.batches.spawn(write_batch(Arc::clone(&self.shared), permits));
        }
    }

    /// Returns when the next batch may start, if the circuit breaker allows it.
    fn next_batch_at(&self) -> Option<u64> {
        let Reverse(Due(at, _)) = self.queue.peek()?;
        let in_flight = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        Some(at.saturating_add(millis((self.interval / LATE_PART).saturating_mul(in_flight))))
    }

    /// Takes the permits of the leases that are due, and fills the batch with leases that are due soon.
    fn next_batch(&mut self, now: u64) -> Vec<WritePermit> {
        let schedule = self.shared.schedule();
        let max_early = millis(schedule.max_early());
        let mut permits = Vec::new();
        while permits.len() < schedule.batch {
            let until = if permits.is_empty() { now } else { now + max_early };
            match self.queue.peek() {
                Some(Reverse(Due(at, _))) if *at <= until => {}
                _ => break,
            }
            let Some(Reverse(Due(at, cell))) = self.queue.pop() else { break };
            match self.action(&cell, at) {
                Action::Skip => {}
                Action::Recover => self.lost.push_back(cell),
                Action::Write => match WritePermit::take(&self.shared, &cell) {
                    Some((permit, Standing::Held)) => permits.push(permit),
                    // The lease has just expired. Dropping the permit moves the lease to the inbox.
                    Some((permit, Standing::Lost)) => drop(Permits::new(&self.shared, vec![permit])),
                    None => {}
                },
            }
        }
        permits
    }

    /// Returns the next step for a lease whose queue entry has this due time.
    fn action(&self, cell: &Cell, at: u64) -> Action {
        let now = self.shared.clock.boottime();
        let mut state = cell.lock();
        if state.due != at || state.in_flight || state.has_ended() {
            return Action::Skip;
        }
        state.mark_lost_if_expired(now, self.shared.ttl());
        if state.phase == Phase::Held { Action::Write } else { Action::Recover }
    }

    /// Waits for a result, an inbox entry or the next due time.
    async fn wait(&mut self) -> Event {
        let shared = Arc::clone(&self.shared);
        let mut woken = pin!(shared.wake.notified());
        let timer = self.next_due().map(|at| tokio::time::sleep_until(shared.clock.instant(at)));
        let mut timer = pin!(timer);
        poll_fn(|context| {
            if let Poll::Ready(Some(result)) = self.batches.poll_join_next(context) {
                return Poll::Ready(Event::Batch(result));
            }
            if let Poll::Ready(Some(result)) = self.recoveries.poll_join_next(context) {
                return Poll::Ready(Event::Recovery(result));
            }
            let due = timer.as_mut().as_pin_mut().is_some_and(|timer| timer.poll(context).is_ready());
            if woken.as_mut().poll(context).is_ready() || due { Poll::Ready(Event::Wake) } else { Poll::Pending }
        })
        .await
    }

    /// Returns when more work can start. Returns `None` if no work can start before a result arrives, because a
    /// result wakes the task anyway.
    fn next_due(&self) -> Option<u64> {
        let batch = self.next_batch_at().and_then(|at| match self.write_breaker.retry_at() {
            Some(retry_at) => self.batches.is_empty().then_some(retry_at.max(at)),
            None => (self.batches.len() < MAX_BATCHES).then_some(at),
        });
        let can_probe = !self.lost.is_empty() && self.recoveries.is_empty();
        let recovery = self.recovery_breaker.retry_at().filter(|_| can_probe);
        batch.into_iter().chain(recovery).min()
    }

    fn handle_batch_result(&mut self, result: &BatchResult) {
        let now = self.shared.clock.monotonic();
        if let Some(error) = &result.failure {
            if self.write_breaker.record_failure(now, &self.shared.schedule()) == Transition::Opened {
                let leases = self.shared.count();
                tracing::warn!(%error, leases, "store is rejecting heartbeats; retrying");
                // The leases of this batch may all be in one part of the store. So the next batches, which probe the
                // store, contain leases at random.
                self.rebuild_queue(now);
            }
            return;
        }
        if let Transition::Closed(down_ms) = self.write_breaker.record_success(now) {
            tracing::info!(down_ms, leases = self.shared.count(), "store accepts heartbeats again");
            self.recovery_breaker.probe_now();
            self.make_all_due();
        }
        let log_pause = millis(self.shared.schedule().heartbeat);
        if let Some((error, leases)) = &result.partial
            && self.partial_logged_at.is_none_or(|last| now >= last + log_pause)
        {
            self.partial_logged_at = Some(now);
            tracing::warn!(%error, leases, "a part of the store is rejecting heartbeats; retrying");
        }
        if result.lost > 0 && self.loss_logged_at.is_none_or(|last| now >= last + log_pause) {
            self.loss_logged_at = Some(now);
            tracing::warn!(
                lost = result.lost,
                batch = result.leases,
                "store does not know leased streams; recovering them"
            );
        }
        // One lost stream was probably unregistered or taken over. Many lost streams mean that the store lost its
        // data.
        if result.lost >= 2 && result.lost * 10 >= result.leases {
            self.make_all_due();
        }
    }

    fn handle_recovery_result(&mut self, result: &ProbeResult) {
        let now = self.shared.clock.monotonic();
        match result {
            ProbeResult::Inconclusive => {}
            ProbeResult::Fails(error) => {
                if self.recovery_breaker.record_failure(now, &self.shared.schedule()) == Transition::Opened {
                    tracing::warn!(%error, "store is rejecting recoveries; retrying");
                }
            }
            ProbeResult::Works => {
                if let Transition::Closed(down_ms) = self.recovery_breaker.record_success(now) {
                    tracing::info!(down_ms, "store accepts recoveries again");
                    // The store works again, so heartbeats need not wait for the next probe.
                    self.write_breaker.probe_now();
                }
            }
        }
    }
}
