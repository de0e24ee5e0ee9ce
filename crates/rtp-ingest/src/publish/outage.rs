//! Logs each outage of the store once, not once per session.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stream_registry::{Error, ErrorKind};
use tracing::{info, warn};

/// Start of the current outage, if there is one.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Returns whether an error affects the whole store instead of one stream. Such an error begins an outage.
    pub(super) fn begin_if_caused_by(&self, error: &Error) -> bool {
        let is_outage = error.is_retryable()
            || matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied | ErrorKind::Closed);
        if is_outage && self.replace(|since| since.or_else(|| Some(Instant::now()))).is_none() {
            warn!(%error, "the store is not accepting streams; retrying every second");
        }
        is_outage
    }

    /// Ends the outage after a successful call.
    pub(super) fn end(&self) {
        if let Some(since) = self.replace(|_| None) {
            info!(seconds = since.elapsed().as_secs(), "the store accepts streams again");
        }
    }

    fn replace(&self, with: impl FnOnce(Option<Instant>) -> Option<Instant>) -> Option<Instant> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *since;
        *since = with(before);
        before
    }
}
