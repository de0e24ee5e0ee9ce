//! The data that the task and all clones of a view share.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::sync::watch::Sender;

use super::metadata::Metadata;
use super::options::{Schedule, ViewOptions};
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::Registry;
use crate::stream::{Stream, StreamId};

/// Maximum number of times that a stream is read from the store, if an event about the stream arrives during each
/// read.
const REFRESH_TRIES: usize = 4;
/// Maximum number of streams that are read from the store in one call.
const MAX_UNCONFIRMED_READ: usize = 1_000;

pub(super) struct Shared {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) schedule: Schedule,
    pub(super) state: State,
    /// Notifies callers that wait for a state of the view.
    changed: Sender<()>,
    /// Locked during a reconciliation, so that only one reconciliation runs at a time.
    pub(super) reconciling: Mutex<()>,
}

impl Shared {
    pub(super) fn new(registry: Arc<dyn Registry>, options: &ViewOptions) -> Self {
        let schedule = Schedule::new(options, registry.info().ttl);
        Self { registry, schedule, state: State::new(), changed: Sender::new(()), reconciling: Mutex::new(()) }
    }

    /// Wakes callers that wait for a state of the view.
    pub(super) fn notify(&self) {
        self.changed.send_replace(());
    }

    /// Waits until a condition holds.
    pub(super) async fn until(&self, mut holds: impl FnMut(&Metadata) -> bool) -> Result<()> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (holds, closed) = self.state.metadata(|metadata| (holds(metadata), metadata.closed));
            if holds {
                return Ok(());
            }
            if closed || changed.changed().await.is_err() {
                return Err(Error::closed());
            }
        }
    }

    /// Reads a stream from the store and applies the reply to the view.
    pub(super) async fn refresh(&self, id: &StreamId) -> Result<Option<Arc<Stream>>> {
        for _ in 0..REFRESH_TRIES {
            let moment = self.state.moment();
            let answer = match self.registry.get(id).await {
                Ok(stream) => Some(Arc::new(stream)),
                // A list does not contain undecodable records, so the view does not contain them either.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
                Err(error) => return Err(error),
            };
            if self.state.apply_answer(id, moment, answer.clone()) {
                return Ok(answer);
            }
        }
        // Events arrive faster than replies, so the view is newer than any reply.
        Ok(self.state.get(id))
    }

    /// Reads the unconfirmed streams from the store, because the view might not show their most recent statistics yet.
    pub(super) async fn confirm_writes(&self) -> Result<()> {
        // Streams that become unconfirmed after this point were written, or had an event, after the start of this
        // call. So this call need not read them.
        let mut ids = self.state.unconfirmed();
        for _ in 0..REFRESH_TRIES {
            let mut outdated = Vec::new();
            for ids in ids.chunks(MAX_UNCONFIRMED_READ) {
                let moment = self.state.moment();
                for (id, answer) in ids.iter().zip(self.registry.get_many(ids).await?) {
                    // If an event has arrived since the moment, the stream is read again.
                    if !self.state.apply_answer(id, moment, answer.map(Arc::new)) {
                        outdated.push(id.clone());
                    }
                }
            }
            if outdated.is_empty() {
                break;
            }
            ids = outdated;
        }
        Ok(())
    }

    /// Reads the streams of a page from the store and applies the replies to the view.
    pub(super) async fn refresh_many(&self, page: &[Arc<Stream>]) -> Result<Vec<Option<Stream>>> {
        let ids: Vec<_> = page.iter().map(|stream| stream.id.clone()).collect();
        let moment = self.state.moment();
        let answers = self.registry.get_many(&ids).await?;
        for (known, answer) in page.iter().zip(&answers) {
            // Every write sets `last_heartbeat`, so an equal time means that there was no write. If two writes have
            // the same time, the next reconciliation finds the second write.
            if answer.as_ref().is_none_or(|stream| stream.last_heartbeat != known.last_heartbeat) {
                self.state.apply_answer(&known.id, moment, answer.clone().map(Arc::new));
            }
        }
        Ok(answers)
    }
}
