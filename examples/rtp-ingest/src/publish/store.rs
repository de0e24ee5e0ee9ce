//! The registry behind a patient hand: time-outs, and one message per outage.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::{Error, ErrorKind, Registry};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long one call, or one group of them, may take. Stores have their own time-outs; this is for one that hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Store {
    registry: Arc<dyn Registry>,
    /// Since when it has not answered.
    away: Option<Instant>,
    /// The period of the last try, while it is away.
    tried: Option<u64>,
}

impl Store {
    pub(super) fn new(registry: Arc<dyn Registry>) -> Self {
        Self { registry, away: None, tried: None }
    }

    pub(super) fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    /// Whether a call is due: always, but once a period while the store is away.
    pub(super) fn may_try(&mut self, period: u64) -> bool {
        let again = self.tried.replace(period) != Some(period);
        self.away.is_none() || again
    }

    /// Lets the next try happen in the same period.
    pub(super) fn try_again(&mut self) {
        self.tried = None;
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Awaits a batch of writes; whether each was done is for the caller to see. `None` where the store failed as a whole.
    pub(super) async fn call<T>(&mut self, call: impl Future<Output = stream_registry::Result<T>>) -> Option<T> {
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                self.failed(&error);
                None
            }
            Err(late) => {
                self.failed(&late);
                None
            }
        }
    }

    /// Awaits a group of calls; `None` where it takes too long.
    pub(super) async fn call_all<T>(&mut self, calls: impl Future<Output = Vec<T>>) -> Option<Vec<T>> {
        match timeout(CALL_TIMEOUT, calls).await {
            Ok(answers) => Some(answers),
            Err(late) => {
                self.failed(&late);
                None
            }
        }
    }

    /// Whether an error is about the store and not about a stream; if so, notes it.
    pub(super) fn is_outage(&mut self, error: &Error) -> bool {
        let is = error.is_retryable() || matches!(error.kind(), ErrorKind::Denied | ErrorKind::Closed);
        if is {
            self.failed(error);
        }
        is
    }

    /// Notes that the store did its work.
    pub(super) fn answered(&mut self) {
        if let Some(since) = self.away.take() {
            info!(seconds = since.elapsed().as_secs(), "the store answers again");
        }
    }

    fn failed(&mut self, error: &dyn Display) {
        if self.away.is_none() {
            warn!(%error, "the store does not answer; packets are counted on, and it is tried each second");
            self.away = Some(Instant::now());
        }
    }
}

/// Runs calls side by side; dropped, it stops them.
pub(super) async fn all<F>(calls: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let mut running: JoinSet<_> = calls.collect();
    let mut answers = Vec::with_capacity(running.len());
    while let Some(answer) = running.join_next().await {
        answers.extend(answer);
    }
    answers
}
