//! The feed reader that the watches of a registry share: the entries it has read, and the watches that wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::position::Position;
use super::ring::{Item, Lookup, Ring};

/// Time after a successful read for which the feed counts as working, although the reader may be idle.
const CONFIRMED_FOR: Duration = Duration::from_secs(3);
/// Maximum number of watches that read the feed themselves at the same time.
const CATCH_UP_READS: usize = 4;
/// How much earlier than planned an `Alive` event may be emitted. Many watches can then share one read of the feed.
pub(super) const ALIVE_SLACK: Duration = Duration::from_millis(500);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock is safe to use, because no code panics while it changes the value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds a registry's shared reader, which exists while a watch uses it.
pub(in crate::redis) struct Slot {
    current: Mutex<Weak<SharedReader>>,
    /// Permits for the reads of watches that read the feed themselves. A thousand such reads at once would delay lists
    /// on the same connection, and would time out on a slow network.
    pub(super) turns: Arc<Semaphore>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { current: Mutex::default(), turns: Arc::new(Semaphore::new(CATCH_UP_READS)) }
    }
}

impl Slot {
    /// Returns the running reader. Returns `None` if no reader is running.
    pub(super) fn current(&self) -> Option<Arc<SharedReader>> {
        lock(&self.current).upgrade().filter(|reader| !reader.has_ended())
    }

    /// Returns the running reader. If no reader is running, spawns one that begins at a position.
    pub(super) fn current_or_spawn(
        &self,
        start: Position,
        spawn: impl FnOnce(Arc<Board>, Sender<()>) -> AbortHandle,
    ) -> Arc<SharedReader> {
        let mut current = lock(&self.current);
        if let Some(reader) = current.upgrade().filter(|reader| !reader.has_ended()) {
            return reader;
        }
        let (sender, changes) = channel(());
        let board = Arc::new(Board::new(start));
        let task = spawn(Arc::clone(&board), sender);
        let reader = Arc::new(SharedReader { board, changes, task });
        *current = Arc::downgrade(&reader);
        reader
    }

    pub(in crate::redis) fn is_running(&self) -> bool {
        self.current().is_some()
    }

    /// Ends the running reader and closes its connection.
    pub(in crate::redis) fn stop(&self) {
        if let Some(reader) = lock(&self.current).upgrade() {
            reader.task.abort();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A running reader. The reader ends when the last watch drops this value.
pub(super) struct SharedReader {
    pub(super) board: Arc<Board>,
    changes: Receiver<()>,
    task: AbortHandle,
}

impl SharedReader {
    /// Returns whether the reader has ended, e.g. because the registry was closed.
    pub(super) fn has_ended(&self) -> bool {
        self.changes.has_changed().is_err()
    }

    /// Subscribes to the notifications of the reader.
    pub(super) fn subscribe(&self) -> Receiver<()> {
        self.changes.clone()
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state that the shared reader and the watches exchange.
///
/// The reader reads only while a watch waits. So it never reads ahead of the fastest watch by more than one read.
pub(super) struct Board {
    state: Mutex<State>,
    demanded: Notify,
}

struct State {
    ring: Ring,
    /// Earliest time at which an `Alive` event of a waiting watch is due. `None` if no watch waits.
    demand: Option<Instant>,
    /// When the last successful read ended.
    confirmed: Option<Instant>,
}

impl State {
    /// Returns whether an `Alive` event is due, and a read has just shown that the feed works.
    fn is_alive(&self, alive_at: Instant) -> bool {
        self.confirmed.is_some_and(|at| alive_at <= at + ALIVE_SLACK && at.elapsed() <= CONFIRMED_FOR)
    }
}

/// The result of a watch's lookup in the ring.
pub(super) enum Found {
    /// The next entry, and whether the ring has further entries.
    Item(Item, bool),
    /// There is no next entry, and the watch's `Alive` event is due.
    Alive,
    /// There is no next entry yet. The reader will notify the watch.
    Nothing,
    /// The next entry is not in the ring.
    Missing,
}

impl Board {
    fn new(start: Position) -> Self {
        let state = State { ring: Ring::new(start), demand: None, confirmed: None };
        Self { state: Mutex::new(state), demanded: Notify::new() }
    }

    /// Looks up the entry with this number. If there is no such entry yet, asks the reader to read.
    pub(super) fn look_up(&self, number: u64, alive_at: Instant) -> Found {
        let mut state = lock(&self.state);
        match state.ring.get(number) {
            Lookup::Item(item, more) => Found::Item(item, more),
            Lookup::Dropped => Found::Missing,
            Lookup::End if state.is_alive(alive_at) => Found::Alive,
            Lookup::End => {
                self.demand(&mut state, alive_at);
                Found::Nothing
            }
        }
    }

    /// Returns the number of the entry after a position. Returns `None` if the position is not in the ring.
    pub(super) fn find(&self, position: Position) -> Option<u64> {
        lock(&self.state).ring.after(position)
    }

    /// Asks the reader to read.
    pub(super) fn ask(&self, alive_at: Instant) {
        self.demand(&mut lock(&self.state), alive_at);
    }

    fn demand(&self, state: &mut State, alive_at: Instant) {
        let earliest = state.demand.map_or(alive_at, |demand| demand.min(alive_at));
        if state.demand.replace(earliest).is_none() {
            self.demanded.notify_one();
        }
    }

    /// Waits until at least one watch is waiting. Returns the time at which the next `Alive` event is due.
    pub(super) async fn demanded(&self) -> Instant {
        loop {
            if let Some(due) = self.take_demand() {
                return due;
            }
            self.demanded.notified().await;
        }
    }

    /// Returns the earliest time at which an `Alive` event is due, among watches that began to wait since the last
    /// call.
    pub(super) fn take_demand(&self) -> Option<Instant> {
        lock(&self.state).demand.take()
    }

    /// Adds an entry to the ring.
    pub(super) fn push(&self, item: Item) {
        lock(&self.state).ring.push(item);
    }

    /// Notes a successful read.
    pub(super) fn confirm(&self) {
        lock(&self.state).confirmed = Some(Instant::now());
    }

    /// Wakes all watches. A watch that still waits afterwards asks again.
    pub(super) fn wake(&self, changes: &Sender<()>) {
        self.take_demand();
        changes.send_replace(());
    }
}
