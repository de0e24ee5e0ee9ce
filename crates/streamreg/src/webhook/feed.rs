//! The change feed as a webhook reads it: from a position, and through failures of the store.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::backoff::Backoff;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{Error, ErrorKind, Registry, Revision};
use tokio::time::{Instant, sleep_until};

const BACKOFF: Backoff = Backoff { min: Duration::from_millis(200), max: Duration::from_secs(5) };

/// A watch that is opened again until it succeeds.
pub(super) struct Feed {
    registry: Arc<dyn Registry>,
    /// Where the watch begins.
    from: WatchFrom,
    watch: Option<Watch>,
    /// An event to emit before those of the watch.
    first: Option<Event>,
    failures: u32,
    /// When to open the watch again.
    retry_at: Instant,
}

impl Feed {
    /// Opens the feed after a revision, or at the next event. If the store is unreachable, opens it later.
    ///
    /// # Errors
    ///
    /// Returns the error of the store if a later attempt would fail too.
    pub(super) async fn open(registry: Arc<dyn Registry>, after: Option<&Revision>) -> Result<Self, Error> {
        let from = after.map_or(WatchFrom::Now, |revision| WatchFrom::Revision(revision.clone()));
        let mut feed = Self { registry, from, watch: None, first: None, failures: 0, retry_at: Instant::now() };
        match feed.attempt().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => Err(error),
            _ => Ok(feed),
        }
    }

    /// Returns the revision at which the feed begins, if it is known.
    pub(super) fn start(&self) -> Option<&Revision> {
        self.watch.as_ref().and_then(Watch::start)
    }

    /// Returns the current time of the store.
    pub(super) fn now(&self) -> stream_registry::Timestamp {
        self.registry.now()
    }

    /// Waits for the next event. Returns `None` after the registry was closed.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(first) = self.first.take() {
                return Some(first);
            }
            if let Some(watch) = &mut self.watch {
                return watch.next().await;
            }
            sleep_until(self.retry_at).await;
            match self.attempt().await {
                Err(error) if error.kind() == ErrorKind::Closed => return None,
                _ => {}
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), Error> {
        let mut opened = self.registry.watch(self.from.clone()).await;
        if let (Err(error), WatchFrom::Revision(_)) = (&opened, &self.from)
            && error.kind() == ErrorKind::InvalidArgument
        {
            // The revision is from another kind of store.
            opened = self.registry.watch(WatchFrom::Now).await;
            if let Ok(Some(start)) = opened.as_ref().map(Watch::start) {
                self.first = Some(Event::Resync { revision: start.clone(), shard: None });
            }
        }
        match opened {
            Ok(watch) => {
                if self.failures > 0 {
                    tracing::info!("webhooks can read the change feed again");
                }
                self.watch = Some(watch);
                Ok(())
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(%error, "webhooks cannot read the change feed; retrying");
                }
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Instant::now() + BACKOFF.pause(self.failures);
                Err(error)
            }
        }
    }
}
