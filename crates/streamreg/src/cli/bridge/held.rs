//! One live stream: holds its lease, and writes its changes.

use std::sync::Arc;
use std::time::Duration;

use adapters::reconcile::SERVER_LABEL;
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::{Error, ErrorKind, OnConflict, Registry, Result, SameSource, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::repeats::Repeats;
use crate::cli::upkeep::{self, HEARTBEAT, RETRY, RETRY_LATER};

/// Longest pause between two attempts while the store fails.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The store, after it was reached for the first time.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) registry: Arc<dyn Registry>,
    leases: Leases,
    /// The time to live of a stream.
    pub(super) ttl: Duration,
}

impl Store {
    pub(super) fn new(registry: Arc<dyn Registry>) -> Self {
        let ttl = registry.info().ttl;
        // The media server decides which publisher has a stream, so the address of the publisher does not matter.
        let options = LeaseOptions::default().same_source(SameSource::Node).heartbeat(HEARTBEAT);
        Self { leases: Leases::new(Arc::clone(&registry), options), registry, ttl }
    }
}

/// A stream as it should be in the store.
pub(super) struct Wanted {
    pub(super) record: Stream,
    /// How many times the publisher has connected.
    pub(super) connections: u64,
    /// Why the stream has ended.
    pub(super) end: Option<&'static str>,
}

/// Keeps the stream registered until it ends, and then unregisters it.
pub(super) async fn run(
    mut store: watch::Receiver<Option<Store>>,
    mut wanted: watch::Receiver<Wanted>,
    warnings: Arc<Repeats>,
) {
    let ended = async { wanted.wait_for(|wanted| wanted.end.is_some()).await.map(|_| ()) };
    let store = tokio::select! {
        biased;
        // A stream that ends before the store was reached was never registered.
        _ = ended => return,
        store = store.wait_for(Option::is_some) => store.ok().and_then(|store| store.clone()),
    };
    let Some(store) = store else { return };
    let (record, connections) = {
        let wanted = wanted.borrow_and_update();
        if wanted.end.is_some() {
            return;
        }
        (wanted.record.clone(), wanted.connections)
    };
    let held = Held {
        leases: store.leases,
        ttl: store.ttl,
        wanted,
        record,
        connections,
        lease: None,
        acquire_at: Some(Instant::now()),
        contested: false,
        failures: 0,
        warnings,
    };
    held.run().await;
}

/// One live stream, and its lease if this process has one.
struct Held {
    leases: Leases,
    ttl: Duration,
    wanted: watch::Receiver<Wanted>,
    /// The record of the lease, or the record to register next.
    record: Stream,
    connections: u64,
    lease: Option<Lease>,
    /// When to acquire a lease: at the start, after the publisher has connected again, and after a failure.
    acquire_at: Option<Instant>,
    /// Whether another holder has had the stream since the publisher connected. This process then waits until the id
    /// is free, because two bridges that take a stream from each other would never stop.
    contested: bool,
    /// Number of failed attempts since the last successful one.
    failures: u32,
    warnings: Arc<Repeats>,
}

impl Held {
    async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                // The sender exists until the stream has ended. Its last change is the end of the stream.
                changed = self.wanted.changed() => {
                    if let Some(reason) = self.update() {
                        return self.release(reason).await;
                    }
                    if changed.is_err() {
                        return;
                    }
                }
                end = upkeep::ended(self.lease.as_ref()) => self.lost(&end),
                () = upkeep::due(self.acquire_at) => self.acquire().await,
            }
        }
    }

    /// Passes the changes of the record to the lease. Returns the reason if the stream has ended.
    fn update(&mut self) -> Option<&'static str> {
        let wanted = self.wanted.borrow_and_update();
        if wanted.end.is_some() {
            return wanted.end;
        }
        let old = std::mem::replace(&mut self.record, wanted.record.clone());
        if self.connections != wanted.connections {
            // The old lease, if there is one, keeps the stream alive until the next lease replaces it.
            (self.connections, self.contested, self.acquire_at) = (wanted.connections, false, Some(Instant::now()));
            return None;
        }
        if let Some(lease) = &self.lease {
            // The reconciler reports a new type or address as a new connection.
            upkeep::report(lease, &old, &self.record);
        }
        None
    }

    async fn acquire(&mut self) {
        match self.try_acquire().await {
            Ok(lease) => {
                tracing::debug!(stream = %self.record.id, "registered");
                (self.lease, self.acquire_at, self.failures) = (Some(lease), None, 0);
            }
            Err(error) => {
                self.contested |= error.kind() == ErrorKind::AlreadyExists;
                self.failures = self.failures.saturating_add(1);
                let pause =
                    if error.is_retryable() { (RETRY * self.failures.min(5)).min(RETRY_MAX) } else { RETRY_LATER };
                self.acquire_at = Some(Instant::now() + pause);
                self.report(&error);
            }
        }
    }

    /// Registers the stream. Replaces only a record that this bridge has registered for the same server, either for
    /// the publisher's last connection, or before the bridge was restarted. The stream then keeps its `created_at`.
    async fn try_acquire(&self) -> Result<Lease> {
        let error = match self.leases.acquire_with(self.record.clone(), OnConflict::CreateOnly).await {
            Err(error) if !self.contested && error.existing().is_some_and(|existing| self.is_own(existing)) => error,
            result => return result,
        };
        tracing::debug!(stream = %self.record.id, %error, "continuing the stream");
        self.leases.acquire_with(self.record.clone(), OnConflict::Reject).await
    }

    fn is_own(&self, existing: &Stream) -> bool {
        upkeep::have_same_origin(existing, &self.record, &[SERVER_LABEL])
    }

    fn lost(&mut self, end: &LeaseEnd) {
        self.lease = None;
        if self.acquire_at.is_some() {
            // The store may have applied the last registration although its reply was lost. The next attempt shows
            // whether another holder has the stream.
            return;
        }
        (self.contested, self.acquire_at) = (true, Some(Instant::now() + RETRY_LATER));
        if self.warnings.admit("lost") {
            tracing::warn!(
                stream = %self.record.id, ?end,
                "another client has ended or taken over a stream; registering the stream again when its id is free"
            );
        }
    }

    /// Unregisters the stream. While the store does not answer, retries until the record must have expired.
    async fn release(mut self, reason: &str) {
        let Some(lease) = self.lease.take() else { return };
        let deadline = Instant::now() + self.ttl;
        while let Err(error) = lease.release_with(reason.parse().unwrap_or_default()).await {
            if matches!(lease.state(), LeaseState::Ended(_)) || Instant::now() >= deadline {
                return;
            }
            self.report(&error);
            sleep(RETRY).await;
        }
    }

    /// Logs an error. An outage concerns all streams, so only the first one is named.
    fn report(&self, error: &Error) {
        if self.warnings.admit(&format!("{:?}", error.kind())) {
            tracing::warn!(
                stream = %self.record.id, %error,
                "cannot write the stream; retrying this stream and others with the same error"
            );
        } else {
            tracing::debug!(stream = %self.record.id, %error, "cannot write the stream");
        }
    }
}
