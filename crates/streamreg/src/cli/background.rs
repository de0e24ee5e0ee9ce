//! A stream that a background task keeps in the store.
//!
//! The command never waits for the store. It sets the record that the store should have, and the task retries until the
//! store has it.

use std::sync::Arc;
use std::time::Duration;

use adapters::reconcile::{SERVER_LABEL, SESSION_LABEL};
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::{ErrorKind, OnConflict, Registry, SameSource, Stream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::failure::{Failure, Status};
use super::messages::Notes;
use super::store::Target;
use super::upkeep::{self, HEARTBEAT, RETRY, RETRY_LATER};

/// The end reason of a stream whose publisher is gone.
pub(super) const DISCONNECTED: &str = "publisher disconnected";

/// What the task does if another holder has the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConflictPolicy {
    /// Waits until the id is free. A stream of the same program on the same node is replaced.
    Wait,
    /// Replaces the stream. If another holder replaces this one, the task ends.
    TakeOver,
}

impl ConflictPolicy {
    /// Returns whether this command may replace an existing record, because the record describes the same stream.
    fn is_own(self, existing: &Stream, record: &Stream) -> bool {
        let labels: &[&str] = match self {
            // The record may be from an earlier run of the command, with another session.
            Self::Wait => &[SERVER_LABEL],
            // With another session, the record belongs to the command of a newer publisher.
            Self::TakeOver => &[SERVER_LABEL, SESSION_LABEL],
        };
        upkeep::have_same_origin(existing, record, labels)
    }
}

/// What the store should have.
#[derive(Clone, Default)]
struct Wanted {
    /// The last record. A record with another creation time is another stream.
    record: Option<Stream>,
    /// Why the stream of the record has ended.
    end: Option<String>,
}

/// A stream, and the task that keeps it in the store.
pub(super) struct BackgroundStream {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<Option<LeaseEnd>>,
    /// Whether the result of the task was read.
    is_over: bool,
}

impl BackgroundStream {
    /// Starts the task. Nothing is registered before the first record.
    pub(super) fn start(target: Target, policy: ConflictPolicy, notes: Notes) -> Self {
        let (sender, wanted) = watch::channel(Wanted::default());
        let keeper = Keeper {
            target,
            policy,
            notes,
            wanted,
            store: None,
            record: None,
            lease: None,
            acquire_at: None,
            contested: false,
            has_registered: false,
            failing: None,
        };
        Self { wanted: sender, task: tokio::spawn(keeper.run()), is_over: false }
    }

    /// Sets the record that the store should have.
    pub(super) fn set(&self, record: &Stream) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.end.is_some() || wanted.record.as_ref() != Some(record);
            if is_new {
                *wanted = Wanted { record: Some(record.clone()), end: None };
            }
            is_new
        });
    }

    /// Ends the stream, if it has not ended already.
    pub(super) fn end(&self, reason: &str) {
        self.wanted.send_if_modified(|wanted| {
            let ends = wanted.record.is_some() && wanted.end.is_none();
            if ends {
                wanted.end = Some(reason.to_owned());
            }
            ends
        });
    }

    /// Waits until another client has ended the lease, and returns how. Waits forever unless the policy is
    /// [`ConflictPolicy::TakeOver`].
    pub(super) async fn lost(&mut self) -> LeaseEnd {
        if !self.is_over {
            let ended = (&mut self.task).await;
            self.is_over = true;
            if let Ok(Some(end)) = ended {
                return end;
            }
        }
        // If the task has panicked, the command continues without it.
        std::future::pending().await
    }

    /// Ends the stream and waits until the store has unregistered it, but at most for the limit. Returns whether the
    /// task finished within the limit.
    pub(super) async fn finish(self, reason: &str, limit: Duration) -> bool {
        self.end(reason);
        let Self { wanted, mut task, is_over } = self;
        if is_over {
            return true;
        }
        drop(wanted);
        let done = timeout(limit, &mut task).await.is_ok();
        task.abort();
        done
    }
}

/// The state of the task.
struct Keeper {
    target: Target,
    policy: ConflictPolicy,
    notes: Notes,
    wanted: watch::Receiver<Wanted>,
    /// The open store; `None` until it has been reached.
    store: Option<(Arc<dyn Registry>, Leases)>,
    /// The record of the lease, or the record to register next. `None` after the stream has ended.
    record: Option<Stream>,
    lease: Option<Lease>,
    /// When to acquire a lease: at the start of a stream, if its address changes, and after a failure.
    acquire_at: Option<Instant>,
    /// Whether another holder has had the stream since it started.
    contested: bool,
    /// Whether the stream has been registered since it started.
    has_registered: bool,
    /// The last failure, so that each one is reported once.
    failing: Option<String>,
}

impl Keeper {
    /// Runs until the command has ended the stream and dropped its handle. With [`ConflictPolicy::TakeOver`], also ends
    /// when another client has ended the lease, and returns how.
    async fn run(mut self) -> Option<LeaseEnd> {
        loop {
            let Wanted { record, end } = self.wanted.borrow_and_update().clone();
            if let Some(record) = record {
                if end.is_none() || self.lease.is_some() {
                    self.update(record).await;
                }
                if let Some(reason) = end {
                    self.release(&reason).await;
                }
            }
            if self.acquire_at.is_some_and(|at| at <= Instant::now())
                && let Some(end) = self.acquire().await
            {
                return Some(end);
            }
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { break },
                end = upkeep::ended(self.lease.as_ref()) => {
                    self.lease = None;
                    // If a registration is pending, the store may have applied the last one although its reply was
                    // lost. The next attempt shows whether another holder has the stream.
                    let decided = self.acquire_at.is_none() || end == LeaseEnd::Removed;
                    if decided && self.policy == ConflictPolicy::TakeOver {
                        return Some(end);
                    }
                    if decided {
                        self.lost(&end);
                    }
                }
                () = upkeep::due(self.acquire_at) => {}
            }
        }
        if let Some((registry, _)) = &self.store {
            // The stream has ended, so an error no longer matters.
            let _ = registry.close().await;
        }
        None
    }

    /// Passes a record to the lease, or remembers it for the next attempt to acquire one.
    async fn update(&mut self, record: Stream) {
        if self.record.as_ref().is_none_or(|old| old.created_at != record.created_at) {
            self.release(DISCONNECTED).await;
            (self.contested, self.has_registered) = (false, false);
            (self.acquire_at, self.record) = (Some(Instant::now()), Some(record));
            return;
        }
        let Some(old) = self.record.replace(record) else { return };
        if let (Some(lease), Some(record)) = (&self.lease, &self.record)
            && upkeep::report(lease, &old, record)
        {
            self.acquire_at = Some(Instant::now());
        }
    }

    /// Tries to acquire the lease. Returns how the lease has ended if a newer publisher has the stream, with
    /// [`ConflictPolicy::TakeOver`].
    async fn acquire(&mut self) -> Option<LeaseEnd> {
        self.acquire_at = None;
        let record = self.record.clone()?;
        let leases = match self.leases().await {
            Ok(leases) => leases,
            Err(failure) => {
                let pause = if failure.status == Status::Unreachable { RETRY } else { RETRY_LATER };
                self.acquire_at = Some(Instant::now() + pause);
                self.report(failure.message.unwrap_or_default());
                return None;
            }
        };
        let on_conflict = match self.policy {
            ConflictPolicy::TakeOver if self.has_registered => OnConflict::CreateOnly,
            ConflictPolicy::TakeOver => OnConflict::TakeOver,
            ConflictPolicy::Wait if self.contested => OnConflict::CreateOnly,
            ConflictPolicy::Wait => OnConflict::Reject,
        };
        let mut acquired = leases.acquire_with(record.clone(), on_conflict).await;
        if !self.contested
            && let Err(error) = &acquired
            && error.existing().is_some_and(|existing| self.policy.is_own(existing, &record))
        {
            acquired = leases.acquire_with(record.clone(), OnConflict::TakeOver).await;
        }
        match acquired {
            Ok(lease) => {
                self.failing = None;
                self.notes.note(format_args!("registered {:?}", record.id.as_str()));
                (self.lease, self.has_registered) = (Some(lease), true);
            }
            Err(error) if self.policy == ConflictPolicy::TakeOver && error.kind() == ErrorKind::AlreadyExists => {
                let by = error.existing().and_then(|existing| existing.node.clone());
                return Some(LeaseEnd::Superseded { by });
            }
            Err(error) => {
                self.contested |= error.kind() == ErrorKind::AlreadyExists;
                let pause = if error.is_retryable() { RETRY } else { RETRY_LATER };
                self.acquire_at = Some(Instant::now() + pause);
                let failure = Failure::store(&error, &self.target.name);
                self.report(failure.message.unwrap_or_default());
            }
        }
        None
    }

    /// Returns the leases; connects to the store first, if necessary.
    async fn leases(&mut self) -> Result<Leases, Failure> {
        if let Some((_, leases)) = &self.store {
            return Ok(leases.clone());
        }
        let registry = self.target.connect().await?;
        // A publisher that reconnects comes from a new port.
        let options = LeaseOptions::default().same_source(SameSource::Host).heartbeat(HEARTBEAT);
        let leases = Leases::new(Arc::clone(&registry), options);
        self.store = Some((registry, leases.clone()));
        Ok(leases)
    }

    fn lost(&mut self, end: &LeaseEnd) {
        self.contested = true;
        let id = self.record.as_ref().map_or("", |record| record.id.as_str());
        if *end == LeaseEnd::Removed {
            // Another client has decided that the stream is over. The next stream is registered again.
            self.notes.note(format_args!("{id:?} was unregistered by another client"));
        } else {
            self.acquire_at = Some(Instant::now() + RETRY_LATER);
            self.notes.note(format_args!("{id:?} was taken over by another client; waiting until the id is free"));
        }
    }

    /// Unregisters the stream. While the store does not answer, retries until the lease has ended.
    async fn release(&mut self, reason: &str) {
        (self.record, self.acquire_at) = (None, None);
        let Some(lease) = self.lease.take() else { return };
        while let Err(error) = lease.release_with(reason.parse().unwrap_or_default()).await {
            if matches!(lease.state(), LeaseState::Ended(_)) {
                return;
            }
            self.report(Failure::store(&error, &self.target.name).message.unwrap_or_default());
            sleep(RETRY).await;
        }
    }

    fn report(&mut self, message: String) {
        if self.failing.as_ref() != Some(&message) {
            self.notes.note(format_args!("{message}; retrying"));
            self.failing = Some(message);
        }
    }
}
