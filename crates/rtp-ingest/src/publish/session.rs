//! Publishes one session, from its registration to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{Lease, LeaseEnd};
use stream_registry::stream::generate_stream_id;
use stream_registry::{Error, ErrorKind, OnConflict, StreamId, StreamStatus, StreamType};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::record::{self, Published};
use super::{GivenId, Publisher};
use crate::table::{EndCause, Number, Observation};

/// Pause between two attempts to register or unregister a stream.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Session {
    publisher: Arc<Publisher>,
    number: Number,
    /// Whether this session has the id that the user has chosen.
    has_given_id: bool,
}

impl Session {
    /// Assigns the chosen id to this session unless another session has it.
    pub(super) fn new(publisher: &Arc<Publisher>, number: Number) -> Self {
        let has_given_id = publisher.given.as_ref().is_some_and(|given| !given.is_taken.swap(true, Ordering::SeqCst));
        Self { publisher: Arc::clone(publisher), number, has_given_id }
    }

    /// Publishes the session until it ends. If it ends because the node stops, returns the lease after the last report.
    pub(super) async fn run(self) -> Option<Lease> {
        let mut changes = self.publisher.shared.changes();
        match self.acquire().await {
            Some((lease, published)) => self.keep(lease, published, &mut changes).await,
            None => None,
        }
    }

    fn observe(&self) -> Option<Observation> {
        self.publisher.shared.table().get(self.number)
    }

    fn given_id(&self) -> Option<&GivenId> {
        self.publisher.given.as_ref().filter(|_| self.has_given_id)
    }

    /// Registers the session's stream; retries until the registration succeeds. Returns `None` if the session ends
    /// first.
    async fn acquire(&self) -> Option<(Lease, Published)> {
        let publisher = &*self.publisher;
        let new_id = || generate_stream_id(&StreamType::Rtp, "");
        let (mut id, on_conflict) = match self.given_id() {
            Some(given) => (given.id.clone(), given.on_conflict),
            None => (new_id(), OnConflict::CreateOnly),
        };
        // Whether an attempt failed without a reply. If so, the stream may have been registered.
        let mut may_be_registered = false;
        let mut warned = false;
        loop {
            let permit = publisher.permits.acquire().await.ok()?;
            let session = self.observe()?;
            // If the stream of an ended session may have been registered, acquire the stream in order to unregister it.
            if session.ended.is_some() && !may_be_registered {
                return None;
            }
            let stream = record::stream(&id, &session, publisher.node.as_deref());
            // `Reject` renews this session's own registration if an earlier attempt was applied. It never changes
            // another publisher's stream.
            let policy = if may_be_registered { OnConflict::Reject } else { on_conflict };
            let error = match publisher.leases.acquire_with(stream, policy).await {
                Ok(lease) => {
                    publisher.outage.end();
                    let (id, ssrc) = (lease.id(), record::ssrc(session.ssrc));
                    info!(%id, source = %session.source, %ssrc, "stream registered");
                    return Some((lease, Published::of(&session)));
                }
                Err(error) => error,
            };
            may_be_registered |= error.may_have_applied();
            if publisher.outage.begin_if_caused_by(&error) {
                // The permit is kept during the pause, which limits the number of attempts while the store is down.
                sleep(RETRY_PAUSE).await;
                continue;
            }
            drop(permit);
            if error.kind() == ErrorKind::AlreadyExists {
                // The stream belongs to another publisher.
                may_be_registered = false;
                if self.given_id().is_none() {
                    id = new_id();
                    continue;
                }
            }
            if !std::mem::replace(&mut warned, true) {
                self.warn(&id, &error, &session);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn warn(&self, id: &StreamId, error: &Error, session: &Observation) {
        let source = session.source;
        match error.existing() {
            Some(existing) => {
                let by = existing.node.as_deref().unwrap_or(&existing.source_addr);
                warn!(%id, %source, by, "the id is in use; retrying every second until it is free (see --on-conflict)");
            }
            None => warn!(%id, %source, %error, "cannot register a stream; retrying every second"),
        }
    }

    /// Reports statistics until the session ends or the lease is lost.
    async fn keep(&self, lease: Lease, mut published: Published, changes: &mut watch::Receiver<()>) -> Option<Lease> {
        let registered_in = self.publisher.shared.table().periods();
        let mut is_active = false;
        loop {
            let session = self.observe()?;
            self.report(&lease, &mut published, &session);
            if let Some(cause) = &session.ended {
                // If this call fails, the release of the lease will write the status.
                let _ = lease.set_status(StreamStatus::Closed).await;
                return match cause {
                    EndCause::Shutdown => Some(lease),
                    cause => self.release(&lease, cause).await,
                };
            }
            // The status becomes active after the first measuring period, because the rates are known then.
            if !is_active && self.publisher.shared.table().periods() > registered_in {
                is_active = true;
                // If this call fails, the lease will write the status later.
                let _ = lease.set_status(StreamStatus::Active).await;
            }
            tokio::select! {
                end = lease.ended() => return self.wait_after_loss(lease.id(), &end, changes).await,
                _ = changes.changed() => {}
            }
        }
    }

    fn report(&self, lease: &Lease, published: &mut Published, session: &Observation) {
        if let Some(patch) = published.update(session)
            && let Err(error) = lease.patch(patch)
            && error.kind() == ErrorKind::InvalidArgument
        {
            warn!(id = %lease.id(), %error, "ignored values of the session description that exceed the record's limits");
        }
        lease.report(session.stats.clone());
    }

    /// Unregisters the stream and retries while the store is unreachable.
    async fn release(&self, lease: &Lease, cause: &EndCause) -> Option<Lease> {
        let (id, reason) = (lease.id(), record::reason(cause));
        loop {
            let permit = self.publisher.permits.acquire().await.ok()?;
            match lease.release_with(reason.clone()).await {
                Ok(_) => info!(%id, reason = reason.as_str().unwrap_or_default(), "stream unregistered"),
                Err(error) if error.is_retryable() => {
                    drop(permit);
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotHolder) => {
                    info!(%id, %error, "session ended; its stream no longer belonged to this node");
                }
                Err(error) => warn!(%id, %error, "cannot unregister a stream; it will expire"),
            }
            return None;
        }
    }

    /// Logs why the stream was lost, and waits until the session ends. A lost stream is not registered again.
    async fn wait_after_loss(&self, id: &StreamId, end: &LeaseEnd, changes: &mut watch::Receiver<()>) -> Option<Lease> {
        let lost = self.publisher.lost.fetch_add(1, Ordering::SeqCst) + 1;
        match end {
            LeaseEnd::Superseded { by } => {
                warn!(%id, by = by.as_deref().unwrap_or("another holder"), lost, "stream taken over; its session will not be registered again");
            }
            LeaseEnd::Removed => {
                warn!(%id, lost, "stream removed by another client; its session will not be registered again")
            }
            end => warn!(%id, ?end, lost, "lease ended; its session will not be registered again"),
        }
        while self.observe()?.ended.is_none() && changes.changed().await.is_ok() {}
        None
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.publisher.shared.table().remove(self.number);
        if let Some(given) = self.given_id() {
            given.is_taken.store(false, Ordering::SeqCst);
        }
    }
}
