//! What the handles and the keep-alive task share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::cell::{Cell, Phase};
use super::clock::{Clock, millis};
use super::handle::LeaseEnd;
use super::keeper::Keeper;
use super::options::{LeaseOptions, Pace};
use crate::registry::Registry;
use crate::stream::StreamId;

pub(super) struct Shared {
    pub(super) registry: Arc<dyn Registry>,
    options: LeaseOptions,
    pace: Mutex<Pace>,
    pub(super) clock: Clock,
    /// For the chance in their pace.
    seed: u64,
    /// The leases that have not ended.
    cells: Mutex<HashMap<StreamId, Arc<Cell>>>,
    /// Leases whose place in the keeper's plan has changed.
    inbox: Mutex<Vec<Arc<Cell>>>,
    /// Told when something is in the inbox, and when the last lease has ended.
    pub(super) wake: Notify,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic is possible between two halves of a change to any of them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(registry: Arc<dyn Registry>, options: &LeaseOptions) -> Self {
        let pace = Pace::new(options, registry.info().ttl);
        Self {
            registry,
            options: options.clone(),
            pace: Mutex::new(pace),
            clock: Clock::new(),
            seed: fastrand::u64(..),
            cells: Mutex::default(),
            inbox: Mutex::default(),
            wake: Notify::new(),
            keeper: Mutex::default(),
        }
    }

    /// How leases are kept alive, by the shortest time to live that the store has told.
    pub(super) fn pace(&self) -> Pace {
        *lock(&self.pace)
    }

    /// Notes the time to live of a registration. A server that comes back may give less than it said when it was
    /// connected to; one that gives more is written more often than it needs.
    pub(super) fn told(&self, ttl: Duration) {
        let mut pace = lock(&self.pace);
        if ttl < pace.ttl && !ttl.is_zero() {
            tracing::info!(?ttl, before = ?pace.ttl, "the store gives streams a shorter time to live; leases follow");
            *pace = Pace::new(&self.options, ttl);
            self.wake.notify_one();
        }
    }

    /// When a write that is due after a pause is due.
    pub(super) fn after(&self, pause: Duration) -> u64 {
        self.clock.mono() + millis(pause)
    }

    /// When a lease that is well is written next.
    pub(super) fn next_write(&self) -> u64 {
        let now = self.clock.mono();
        now + millis(self.pace().next(self.seed, now))
    }

    /// The time to live in the clock's unit.
    pub(super) fn ttl(&self) -> u64 {
        millis(self.pace().ttl)
    }

    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        lock(&self.cells).values().map(Arc::clone).collect()
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.cells).len()
    }

    /// Begins to keep a lease alive. Of two of one id in this process the one with the later epoch stays.
    pub(super) fn add(self: &Arc<Self>, cell: &Arc<Cell>, runtime: &Handle) {
        let other = {
            let mut cells = lock(&self.cells);
            match cells.get(&cell.id) {
                Some(later) if later.epoch > cell.epoch => Some((Arc::clone(cell), Arc::clone(later))),
                _ => cells.insert(cell.id.clone(), Arc::clone(cell)).map(|earlier| (earlier, Arc::clone(cell))),
            }
        };
        if let Some((earlier, later)) = other {
            let by = {
                let state = later.lock();
                state.record.node.clone().unwrap_or_else(|| state.record.source_addr.clone())
            };
            self.finish(&earlier, LeaseEnd::Superseded { by: Some(by) });
        }
        self.put(Arc::clone(cell));
        let mut keeper = lock(&self.keeper);
        // A task that is gone without leave belonged to a runtime that is.
        if keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            *keeper = Some(runtime.spawn(Keeper::new(Arc::clone(self)).run()));
        }
    }

    /// Hands a lease to the keeper, who looks where it belongs now.
    pub(super) fn put(&self, cell: Arc<Cell>) {
        lock(&self.inbox).push(cell);
        self.wake.notify_one();
    }

    pub(super) fn put_all(&self, cells: impl IntoIterator<Item = Arc<Cell>>) {
        lock(&self.inbox).extend(cells);
        self.wake.notify_one();
    }

    pub(super) fn take_inbox(&self) -> Vec<Arc<Cell>> {
        std::mem::take(&mut *lock(&self.inbox))
    }

    /// Asks for a write at once.
    pub(super) fn urge(&self, cell: &Arc<Cell>) {
        cell.lock().urgent = true;
        self.put(Arc::clone(cell));
    }

    /// Ends a lease: it writes nothing more. Says whether it had not ended before.
    pub(super) fn finish(&self, cell: &Arc<Cell>, end: LeaseEnd) -> bool {
        self.stop(cell, Phase::Ended(end))
    }

    /// The handle is gone: as an end, but that nobody is told.
    pub(super) fn leave(&self, cell: &Arc<Cell>) -> bool {
        self.stop(cell, Phase::Left)
    }

    fn stop(&self, cell: &Arc<Cell>, phase: Phase) -> bool {
        {
            let mut state = cell.lock();
            if state.is_over() {
                return false;
            }
            state.phase = phase;
            state.pending = None;
        }
        {
            let mut cells = lock(&self.cells);
            // Another lease of this process may have its place.
            if cells.get(&cell.id).is_some_and(|other| Arc::ptr_eq(other, cell)) {
                cells.remove(&cell.id);
            }
            if cells.is_empty() {
                self.wake.notify_one();
            }
        }
        // Last: who is told finds it gone.
        cell.changed.notify_waiters();
        true
    }

    pub(super) fn finish_all(&self, end: &LeaseEnd) {
        for cell in self.cells() {
            self.finish(&cell, end.clone());
        }
    }

    /// Whether the keeper may go; from then on the next lease starts another one.
    pub(super) fn dismiss(&self) -> bool {
        let mut keeper = lock(&self.keeper);
        // A lease that is added now waits for the lock behind us, and finds no keeper.
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
            .field("pace", &self.pace())
            .field("leases", &self.count())
            .finish_non_exhaustive()
    }
}
