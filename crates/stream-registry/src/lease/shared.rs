//! The state that the handles share with the keep-alive task.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cell::{Cell, Phase};
use super::clock::{Clock, millis};
use super::metrics::Counters;
use super::options::{LeaseOptions, LossDetection, Schedule};
use super::status::LeaseEnd;
use crate::registry::{Registry, SameSource};
use crate::stream::{Epoch, StreamId};

/// Maximum number of registrations in flight. This is enough for full batches, and limits the memory of simultaneous
/// calls.
const MAX_REGISTRATIONS: usize = 512;
/// Maximum time for which a registration waits for others. After this time, the registration is sent anyway.
const MAX_REGISTRATION_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Shared {
    pub(super) registry: Arc<dyn Registry>,
    options: LeaseOptions,
    schedule: Mutex<Schedule>,
    pub(super) clock: Clock,
    /// Seed of the random part of the heartbeat intervals.
    seed: u64,
    /// The leases that have not ended.
    cells: Mutex<HashMap<StreamId, Arc<Cell>>>,
    /// Leases whose state has changed. The keeper puts them into its queues.
    inbox: Mutex<Vec<Arc<Cell>>>,
    /// Set if all leases must be written soon, because any of them may have lost its stream.
    recheck_all: AtomicBool,
    /// Notified when the inbox gets an entry, when the schedule changes, when all leases must be written, and when
    /// the last lease ends.
    pub(super) wake: Notify,
    /// Limits the registrations in flight.
    registrations: Semaphore,
    pub(super) counters: Counters,
    /// The keep-alive task, if it was started.
    keeper: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics in the middle of a change, so a poisoned value is still consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(registry: Arc<dyn Registry>, options: &LeaseOptions) -> Self {
        let schedule = Schedule::new(options, registry.info().ttl);
        Self {
            registry,
            options: options.clone(),
            schedule: Mutex::new(schedule),
            clock: Clock::new(),
            seed: fastrand::u64(..),
            cells: Mutex::default(),
            inbox: Mutex::default(),
            recheck_all: AtomicBool::new(false),
            wake: Notify::new(),
            registrations: Semaphore::new(MAX_REGISTRATIONS),
            counters: Counters::default(),
            keeper: Mutex::default(),
        }
    }

    /// Waits while too many registrations are in flight, but not for long. Returns a permit to keep during the call.
    ///
    /// Without this limit, 100 000 simultaneous calls would start their timeouts at once. The last of them would time
    /// out before they are sent.
    pub(super) async fn registration_permit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.registrations.try_acquire() {
            return Some(permit);
        }
        timeout(MAX_REGISTRATION_WAIT, self.registrations.acquire()).await.ok()?.ok()
    }

    /// Returns the schedule for the shortest time to live that the store has reported.
    pub(super) fn schedule(&self) -> Schedule {
        *lock(&self.schedule)
    }

    /// Returns the part of `source_addr` that identifies a publisher.
    pub(super) fn same_source(&self) -> SameSource {
        self.options.same_source
    }

    /// Returns whether the leases follow the change feed.
    pub(super) fn follows_feed(&self) -> bool {
        self.options.loss_detection == LossDetection::Feed
    }

    /// Adapts the schedule to the time to live of a registration.
    ///
    /// A restarted server may use a shorter time to live than before. A longer time to live is ignored, because extra
    /// writes do no harm.
    pub(super) fn observe_ttl(&self, ttl: Duration) {
        let mut schedule = lock(&self.schedule);
        if ttl < schedule.ttl && !ttl.is_zero() {
            tracing::info!(?ttl, previous = ?schedule.ttl, "store uses a shorter time to live; heartbeat interval adjusted");
            *schedule = Schedule::new(&self.options, ttl);
            self.wake.notify_one();
        }
    }

    /// Returns the due time of a write after a pause.
    pub(super) fn due_after(&self, pause: Duration) -> u64 {
        self.clock.monotonic() + millis(pause)
    }

    /// Returns the due time of the next regular write.
    pub(super) fn next_due(&self) -> u64 {
        let now = self.clock.monotonic();
        now + millis(self.schedule().next_pause(self.seed, now))
    }

    /// Returns the time to live in milliseconds.
    pub(super) fn ttl(&self) -> u64 {
        millis(self.schedule().ttl)
    }

    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        lock(&self.cells).values().map(Arc::clone).collect()
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.cells).len()
    }

    /// Adds a lease. If this process already has a lease for the same id, the lease with the later epoch is kept.
    pub(super) fn add(&self, cell: &Arc<Cell>) {
        let conflict = {
            let mut cells = lock(&self.cells);
            match cells.get(&cell.id) {
                Some(later) if later.epoch > cell.epoch => Some((Arc::clone(cell), Arc::clone(later))),
                _ => cells.insert(cell.id.clone(), Arc::clone(cell)).map(|earlier| (earlier, Arc::clone(cell))),
            }
        };
        if let Some((earlier, later)) = conflict {
            let end = LeaseEnd::superseded_by(&later.lock().record);
            self.finish(&earlier, end);
        }
        self.enqueue(Arc::clone(cell));
    }

    /// Passes a lease to the keeper, which queues it by its current state.
    pub(super) fn enqueue(&self, cell: Arc<Cell>) {
        lock(&self.inbox).push(cell);
        self.wake.notify_one();
    }

    pub(super) fn enqueue_all(&self, cells: impl IntoIterator<Item = Arc<Cell>>) {
        lock(&self.inbox).extend(cells);
        self.wake.notify_one();
    }

    pub(super) fn take_inbox(&self) -> Vec<Arc<Cell>> {
        std::mem::take(&mut *lock(&self.inbox))
    }

    /// Requests an immediate write.
    pub(super) fn write_now(&self, cell: &Arc<Cell>) {
        cell.lock().urgent = true;
        self.enqueue(Arc::clone(cell));
    }

    /// Makes a lease due at once, because it may have lost its stream. Does nothing if this process does not hold the
    /// stream, or if `is_affected` returns `false` for the epoch of the lease.
    pub(super) fn recheck(&self, id: &StreamId, is_affected: impl FnOnce(&Epoch) -> bool) {
        let cell = lock(&self.cells).get(id).filter(|cell| is_affected(&cell.epoch)).map(Arc::clone);
        let Some(cell) = cell else { return };
        {
            let mut state = cell.lock();
            // The store may have applied a write in flight before the stream was lost, so the lease is written again.
            state.recheck = state.in_flight;
            state.due = state.due.min(self.clock.monotonic());
        }
        self.enqueue(cell);
    }

    /// Makes all leases due, but at most twice per heartbeat interval.
    pub(super) fn recheck_all(&self) {
        self.recheck_all.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Returns whether all leases must be written, and clears the request.
    pub(super) fn take_recheck_all(&self) -> bool {
        self.recheck_all.swap(false, Ordering::Relaxed)
    }

    /// Ends a lease, so that it writes nothing more. Returns whether this call ended the lease.
    pub(super) fn finish(&self, cell: &Arc<Cell>, end: LeaseEnd) -> bool {
        self.stop(cell, Phase::Ended(end))
    }

    /// Stops the keep-alive of a lease whose handle was dropped. Returns whether this call stopped the keep-alive.
    pub(super) fn abandon(&self, cell: &Arc<Cell>) -> bool {
        self.stop(cell, Phase::Abandoned)
    }

    fn stop(&self, cell: &Arc<Cell>, phase: Phase) -> bool {
        {
            let mut state = cell.lock();
            if state.has_ended() {
                return false;
            }
            if let Phase::Ended(end) = &phase {
                self.counters.count_end(end);
            }
            state.phase = phase;
            state.pending = None;
        }
        {
            let mut cells = lock(&self.cells);
            // A later lease of this process may have replaced this lease in the map.
            if cells.get(&cell.id).is_some_and(|current| Arc::ptr_eq(current, cell)) {
                cells.remove(&cell.id);
            }
            if cells.is_empty() {
                self.wake.notify_one();
            }
        }
        // Waiting callers are notified last, so that they find the lease already removed.
        cell.changed.notify_waiters();
        true
    }

    pub(super) fn finish_all(&self, end: &LeaseEnd) {
        for cell in self.cells() {
            self.finish(&cell, end.clone());
        }
    }

    /// Locks the handle of the keep-alive task.
    pub(super) fn keeper(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        lock(&self.keeper)
    }

    /// Retires the keeper if no leases are left. Returns whether the keeper was retired. If so, the next lease
    /// starts a new keeper.
    pub(super) fn retire_keeper(&self) -> bool {
        // A caller that adds a lease at the same time waits for this lock before it checks whether a keeper is
        // running.
        let mut keeper = lock(&self.keeper);
        let idle = lock(&self.cells).is_empty();
        if idle {
            *keeper = None;
        }
        idle
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases")
            .field("registry", &self.registry)
            .field("schedule", &self.schedule())
            .field("leases", &self.count())
            .finish_non_exhaustive()
    }
}
