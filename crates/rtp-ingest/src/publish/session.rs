//! One session from its registration to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{Lease, LeaseEnd};
use stream_registry::stream::generate_stream_id;
use stream_registry::{Error, ErrorKind, OnConflict, StreamId, StreamStatus, StreamType};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::record::{self, Shown};
use super::{GivenId, Publisher};
use crate::table::{Ending, Number, Observation};

/// How long a pause is between two tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Session {
    publisher: Arc<Publisher>,
    number: Number,
    /// Whether this session has the id that was given.
    has_given: bool,
}

impl Session {
    /// The first session gets the id that was given; after its end the next one that begins.
    pub(super) fn new(publisher: &Arc<Publisher>, number: Number) -> Self {
        let has_given = publisher.given.as_ref().is_some_and(|given| !given.is_taken.swap(true, Ordering::SeqCst));
        Self { publisher: Arc::clone(publisher), number, has_given }
    }

    /// Follows the session to its end. When the node stops the lease is handed back, its last report written.
    pub(super) async fn run(self) -> Option<Lease> {
        let mut news = self.publisher.shared.news();
        match self.acquire().await {
            Some((lease, shown)) => self.keep(lease, shown, &mut news).await,
            None => None,
        }
    }

    fn look(&self) -> Option<Observation> {
        self.publisher.shared.table().look(self.number)
    }

    fn given(&self) -> Option<&GivenId> {
        self.publisher.given.as_ref().filter(|_| self.has_given)
    }

    /// Registers the session, for as long as it takes. `None`: it ended before.
    async fn acquire(&self) -> Option<(Lease, Shown)> {
        let publisher = &*self.publisher;
        let new_id = || generate_stream_id(&StreamType::Rtp, "");
        let (mut id, on_conflict) = match self.given() {
            Some(given) => (given.id.clone(), given.on_conflict),
            None => (new_id(), OnConflict::CreateOnly),
        };
        // Whether a try went out without a clear answer: it may be registered all the same.
        let mut in_doubt = false;
        let mut complained = false;
        loop {
            let place = publisher.places.acquire().await.ok()?;
            let session = self.look()?;
            // One that has ended is asked for once more if it may be there, to be ended.
            if session.ended.is_some() && !in_doubt {
                return None;
            }
            let stream = record::stream(&id, &session, publisher.node.as_deref());
            // What we registered ourselves is renewed, and nobody else's stream is touched for that.
            let policy = if in_doubt { OnConflict::Reject } else { on_conflict };
            let error = match publisher.leases.acquire_with(stream, policy).await {
                Ok(lease) => {
                    publisher.outage.is_over();
                    let (id, ssrc) = (lease.id(), record::ssrc(session.ssrc));
                    info!(%id, source = %session.source, %ssrc, "stream registered");
                    return Some((lease, Shown::of(&session)));
                }
                Err(error) => error,
            };
            in_doubt |= error.may_have_applied();
            if publisher.outage.is_cause_of(&error) {
                // The place is kept meanwhile, so that a store that is away is not asked by all at once.
                sleep(RETRY_PAUSE).await;
                continue;
            }
            drop(place);
            if error.kind() == ErrorKind::AlreadyExists {
                // Not ours, for certain.
                in_doubt = false;
                if self.given().is_none() {
                    id = new_id();
                    continue;
                }
            }
            if !std::mem::replace(&mut complained, true) {
                self.complain(&id, &error, &session);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn complain(&self, id: &StreamId, error: &Error, session: &Observation) {
        let source = session.source;
        match error.existing() {
            Some(there) => {
                let by = there.node.as_deref().unwrap_or(&there.source_addr);
                warn!(%id, %source, by, "the id is taken: refused until it is free (see --on-conflict); tried each second");
            }
            None => warn!(%id, %source, %error, "a stream cannot be registered; tried again each second"),
        }
    }

    /// Reports until the session has ended.
    async fn keep(&self, lease: Lease, mut shown: Shown, news: &mut watch::Receiver<()>) -> Option<Lease> {
        let registered_in = self.publisher.shared.table().periods();
        let mut is_active = false;
        loop {
            let session = self.look()?;
            self.report(&lease, &mut shown, &session);
            if let Some(cause) = &session.ended {
                // Where this fails, the end tries again.
                let _ = lease.set_status(StreamStatus::Closed).await;
                return match cause {
                    Ending::Shutdown => Some(lease),
                    cause => self.end(&lease, cause).await,
                };
            }
            // Rates are known when the first period is over.
            if !is_active && self.publisher.shared.table().periods() > registered_in {
                is_active = true;
                // Where this fails it is written later.
                let _ = lease.set_status(StreamStatus::Active).await;
            }
            tokio::select! {
                end = lease.ended() => return self.lost(lease.id(), &end, news).await,
                _ = news.changed() => {}
            }
        }
    }

    fn report(&self, lease: &Lease, shown: &mut Shown, session: &Observation) {
        if let Some(patch) = shown.update(session)
            && let Err(error) = lease.patch(patch)
            && error.kind() == ErrorKind::InvalidArgument
        {
            warn!(id = %lease.id(), %error, "what the session description says does not fit the record and is left out");
        }
        lease.report(session.stats.clone());
    }

    /// Ends the stream, for as long as it takes.
    async fn end(&self, lease: &Lease, cause: &Ending) -> Option<Lease> {
        let (id, reason) = (lease.id(), record::reason(cause));
        loop {
            let place = self.publisher.places.acquire().await.ok()?;
            match lease.release_with(reason.clone()).await {
                Ok(_) => info!(%id, reason = reason.as_str().unwrap_or_default(), "stream ended"),
                Err(error) if error.is_retryable() => {
                    drop(place);
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotHolder) => {
                    info!(%id, %error, "the session has ended, and its stream was not ours any more");
                }
                Err(error) => warn!(%id, %error, "a stream could not be ended; it expires by itself"),
            }
            return None;
        }
    }

    /// Says who has the stream now, and waits for the end of the session: it is not registered again.
    async fn lost(&self, id: &StreamId, end: &LeaseEnd, news: &mut watch::Receiver<()>) -> Option<Lease> {
        let lost = self.publisher.lost.fetch_add(1, Ordering::SeqCst) + 1;
        let what = "its session is not registered again";
        match end {
            LeaseEnd::Superseded { by } => {
                warn!(%id, by = by.as_deref().unwrap_or("another holder"), lost, "the stream was taken over; {what}");
            }
            LeaseEnd::Removed => warn!(%id, lost, "the stream was ended by somebody else; {what}"),
            end => warn!(%id, ?end, lost, "the stream's lease has ended; {what}"),
        }
        while self.look()?.ended.is_none() && news.changed().await.is_ok() {}
        None
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.publisher.shared.table().forget(self.number);
        if let Some(given) = self.given() {
            given.is_taken.store(false, Ordering::SeqCst);
        }
    }
}
