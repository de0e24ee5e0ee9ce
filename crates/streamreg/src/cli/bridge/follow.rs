//! One server with its reconciler, shared by the task that lists the server and the receiver of hooks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapters::model::{Event, Snapshot};
use adapters::reconcile::Reconciler;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::Server;
use super::publish::Sink;
use super::repeats::Repeats;

/// Lower bound of the time after which a stream that is not shown has ended. It must be long enough for several lists.
const MIN_FORGET: Duration = Duration::from_secs(8);

/// A server that the bridge follows.
pub(super) struct Follower {
    pub(super) server: Server,
    reconciler: Mutex<Reconciler>,
    sink: Sink,
    start: Instant,
    /// Wakes the task that lists the server, after a hook has reported a change.
    pub(super) hooked: Notify,
    warnings: Repeats,
}

impl Follower {
    pub(super) fn new(server: Server, sink: Sink) -> Self {
        let profile = server.kind.profile();
        let reconciler = Reconciler::new(profile, server.ids.clone(), server.node.clone(), server.name.clone());
        Self {
            server,
            reconciler: Mutex::new(reconciler),
            sink,
            start: Instant::now(),
            hooked: Notify::new(),
            warnings: Repeats::default(),
        }
    }

    /// Returns the time since the bridge started, which is the clock of the reconciler.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sets how long a stream is kept without a list that shows it: the time to live of the store. Servers without a
    /// list have their own limit.
    pub(super) fn set_ttl(&self, ttl: Duration) {
        if self.server.api.is_some() {
            self.lock().set_forget_after(ttl.max(MIN_FORGET));
        }
    }

    /// Returns the time after which a stream that is not shown has ended.
    pub(super) fn forget_after(&self) -> Duration {
        self.lock().profile().forget_after
    }

    fn lock(&self) -> MutexGuard<'_, Reconciler> {
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a list of the server that was requested at this time. Returns the number of live streams.
    pub(super) fn listed(&self, requested: Duration, snapshot: Snapshot) -> usize {
        let mut reconciler = self.lock();
        let changes = reconciler.snapshot(self.now(), requested, snapshot);
        // The changes are passed on under the lock, so that hooks and lists cannot overtake each other.
        self.sink.apply(changes);
        let live = reconciler.streams().count();
        self.report_problems(reconciler);
        live
    }

    /// Applies what a hook has reported.
    pub(super) fn received(&self, events: Vec<Event>) {
        let mut reconciler = self.lock();
        for event in events {
            let changes = reconciler.event(self.now(), event);
            self.sink.apply(changes);
        }
        self.report_problems(reconciler);
        self.hooked.notify_one();
    }

    /// Logs why streams were skipped. Unlocks the reconciler first, because the log may be slow.
    fn report_problems(&self, mut reconciler: MutexGuard<'_, Reconciler>) {
        let problems = reconciler.take_problems();
        drop(reconciler);
        problems.iter().for_each(|problem| self.warn(problem));
    }

    /// Ends streams that the server has not shown for a long time.
    pub(super) fn tick(&self) {
        let mut reconciler = self.lock();
        let changes = reconciler.tick(self.now());
        self.sink.apply(changes);
    }

    /// Logs a problem with this server, unless the same one was logged within the last minute.
    pub(super) fn warn(&self, message: &str) {
        if self.warnings.admit(message) {
            tracing::warn!(server = %self.server.name, "{message}");
        } else {
            tracing::debug!(server = %self.server.name, "{message}");
        }
    }
}
