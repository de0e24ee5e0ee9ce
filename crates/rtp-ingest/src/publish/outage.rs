//! One message per outage of the store.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stream_registry::{Error, ErrorKind};
use tracing::{info, warn};

/// Since when the store takes no registrations.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Whether an error is about the store and not about a stream; if so, notes it.
    pub(super) fn is_cause_of(&self, error: &Error) -> bool {
        let is = error.is_retryable() || matches!(error.kind(), ErrorKind::Denied | ErrorKind::Closed);
        if is && self.replace(|since| since.or_else(|| Some(Instant::now()))).is_none() {
            warn!(%error, "the store takes no streams; packets are counted on, and it is tried each second");
        }
        is
    }

    /// Notes that the store did its work.
    pub(super) fn is_over(&self) {
        if let Some(since) = self.replace(|_| None) {
            info!(seconds = since.elapsed().as_secs(), "the store takes streams again");
        }
    }

    fn replace(&self, with: impl FnOnce(Option<Instant>) -> Option<Instant>) -> Option<Instant> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *since;
        *since = with(before);
        before
    }
}
