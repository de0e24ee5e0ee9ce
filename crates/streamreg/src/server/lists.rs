//! The store as the server uses it: lists and summaries come from a local view, and everything else comes from the
//! store itself.
//!
//! The view selects the streams of a page, and the store returns their current records. Every list contains all earlier
//! writes through this server, because the view first catches up with the last of these writes. If catching up takes
//! too long, the list comes from the store. If the store fails as well, the list comes from the view and may be
//! outdated.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use stream_registry::metrics::MetricsSnapshot;
use stream_registry::query::{By, Filter, Query, Summary};
use stream_registry::view::{Found, View, ViewOptions};
use stream_registry::{
    Change, Error, ErrorKind, Page, RegisterOptions, Registered, Registry, Result, Stream, StreamId, UnregisterOptions,
    Write, forward_registry,
};
use tokio::time::timeout;

/// Time limit for the update of the view, and for the store's answer to a list or a summary. Each has the full time.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after an attempt that failed or timed out, before the next attempt.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A store whose lists come from a view.
#[derive(Debug)]
pub(super) struct Lists {
    store: Arc<dyn Registry>,
    view: View,
    /// Maximum age of a view that serves lists.
    max_age: Duration,
    /// Number of writes through this server that registered or unregistered a stream, or changed its state.
    written: AtomicU64,
    /// Number of the writes counted in `written` that the view certainly contains.
    shown: AtomicU64,
    /// Lock that lets one request at a time update the view. Other requests wait.
    catching_up: tokio::sync::Mutex<()>,
    /// When the view last failed to show the latest write in time.
    catch_up_failed: Mutex<Option<Instant>>,
    /// When the store last failed to answer a list or a summary in time.
    store_failed: Mutex<Option<Instant>>,
}

/// A guard that counts a write when the write completes or is cancelled. A cancelled write may have been applied.
struct Counted<'a>(Option<&'a AtomicU64>);

impl Counted<'_> {
    /// Returns the result. If the write certainly never reached the store, the write is not counted.
    fn result<T>(self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(never_applied) {
            self.forget();
        }
        result
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(written) = self.0 {
            written.fetch_add(1, Ordering::Release);
        }
    }
}

/// Returns whether a failed write certainly never reached the store. Any other failed write may have been applied.
fn never_applied(error: &Error) -> bool {
    error.is_retryable() && !error.may_have_applied()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds this lock, so the lock is never poisoned.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether the last failure, recorded in `failed`, occurred within the last [`RETRY_PAUSE`].
fn is_recent(failed: &Mutex<Option<Instant>>) -> bool {
    lock(failed).is_some_and(|at| at.elapsed() < RETRY_PAUSE)
}

fn failed_now(failed: &Mutex<Option<Instant>>) {
    *lock(failed) = Some(Instant::now());
}

impl Lists {
    /// Starts a view of the store. Must be called within a Tokio runtime.
    pub(super) fn new(store: Arc<dyn Registry>, max_age: Duration) -> Self {
        let view = View::new(Arc::clone(&store), ViewOptions::default());
        Self {
            store,
            view,
            max_age,
            written: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            catching_up: tokio::sync::Mutex::default(),
            catch_up_failed: Mutex::default(),
            store_failed: Mutex::default(),
        }
    }

    fn counted(&self) -> Counted<'_> {
        Counted(Some(&self.written))
    }

    fn is_view_fresh(&self) -> bool {
        self.view.is_ready() && self.view.age() <= self.max_age
    }

    /// Waits until the view contains every write that was confirmed before this call. Returns `false` after a failure
    /// or a timeout.
    async fn catch_up(&self) -> bool {
        let wanted = self.written.load(Ordering::Acquire);
        self.attempt(&self.catch_up_failed, self.show(wanted)).await.is_some_and(|shown| shown.is_ok())
    }

    /// Updates the view until it contains the first `wanted` writes through this server.
    async fn show(&self, wanted: u64) -> Result<()> {
        if self.shown.load(Ordering::Acquire) < wanted {
            let _alone = self.catching_up.lock().await;
            if self.shown.load(Ordering::Acquire) < wanted {
                // The view may lack writes that complete after this point.
                let written = self.written.load(Ordering::Acquire);
                let tail = if self.view.has_feed() {
                    self.store.list_page(None, NonZeroU32::MIN).await?.revision
                } else {
                    None
                };
                match tail {
                    Some(tail) => self.view.reached(&tail).await,
                    None => self.view.reconcile().await,
                }?;
                self.shown.store(written, Ordering::Release);
            }
        }
        self.view.confirm_writes().await
    }

    /// Waits for the answer to a call. If the store cannot be read, or if the call takes longer than [`STORE_TIMEOUT`],
    /// records the failure in `failed` and returns `None`. Returns `None` without making the call if `failed` or
    /// `store_failed` contains a failure within the last [`RETRY_PAUSE`].
    async fn attempt<T>(
        &self,
        failed: &Mutex<Option<Instant>>,
        call: impl Future<Output = Result<T>>,
    ) -> Option<Result<T>> {
        if is_recent(&self.store_failed) || is_recent(failed) {
            return None;
        }
        let failure = match timeout(STORE_TIMEOUT, call).await {
            Ok(Ok(answer)) => return Some(Ok(answer)),
            // These errors are final. Any other error means that the store cannot be read now.
            Ok(Err(error))
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidCursor | ErrorKind::InvalidArgument | ErrorKind::Closed
                ) =>
            {
                return Some(Err(error));
            }
            failure => failure.ok().and_then(Result::err),
        };
        tracing::debug!(?failure, "the store or the view did not answer a list in time");
        failed_now(failed);
        None
    }
}

fn page_of(found: Found, query: &Query) -> Page {
    let streams = found.streams.into_iter().map(Arc::unwrap_or_clone).collect();
    let mut page = Page::new(streams, found.next, found.total);
    page.revision = found.revision;
    // Report unreadable records once per list, not once per page.
    page.unreadable = if query.cursor.is_none() { found.unreadable } else { 0 };
    page
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Lists {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.counted().result(self.store.register_with(stream, options).await)
    }

    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.counted().result(self.store.register_new(stream, options).await)
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.counted().result(self.store.unregister_with(id, options).await)
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let is_reported = |write: &Write| !matches!(write.change, Change::Heartbeat | Change::Stats(_));
        let counted = writes.iter().any(is_reported).then(|| self.counted());
        let sent = self.view.moment();
        let answers = self.store.write(writes).await;
        if let Ok(answers) = &answers {
            for (write, answer) in writes.iter().zip(answers) {
                if answer.is_ok() && !is_reported(write) {
                    self.view.apply_write(write, sent);
                }
            }
        }
        let lost = match &answers {
            Ok(answers) => answers.iter().all(|answer| answer.as_ref().is_err_and(never_applied)),
            Err(error) => never_applied(error),
        };
        if let Some(counted) = counted.filter(|_| lost) {
            counted.forget();
        }
        answers
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        if !self.is_view_fresh() {
            return self.store.find(query).await;
        }
        let answer = if self.catch_up().await {
            self.attempt(&self.store_failed, self.view.find_fresh(query)).await
        } else {
            self.attempt(&self.store_failed, self.store.find(query)).await
        };
        match answer {
            Some(page) => page,
            None => Ok(page_of(self.view.find(query)?, query)),
        }
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        if !self.is_view_fresh() {
            return self.store.summary(filter, by).await;
        }
        if !self.catch_up().await
            && let Some(summary) = self.attempt(&self.store_failed, self.store.summary(filter, by)).await
        {
            return summary;
        }
        self.view.summary(filter, by)
    }

    fn metrics(&self) -> MetricsSnapshot {
        let mut metrics = self.store.metrics();
        metrics.view = Some(self.view.metrics());
        metrics
    }

    forward_registry!(|this| this.store => get, get_many, snapshot, list_page, history, watch, ping, info, now, close);
    forward_registry!(provided => conveniences);
}
