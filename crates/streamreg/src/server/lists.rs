//! The store for the server: lists and summaries come from a local view, everything else from the store itself.
//!
//! The view chooses the streams of a page and the store confirms them, so that a list shows their current records. A
//! write through this server is in its next list: before the view answers, it is brought past the last change that this
//! server wrote. If the view cannot answer in time, the store does.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use stream_registry::query::{By, Filter, Query, Summary};
use stream_registry::view::{Found, View, ViewOptions};
use stream_registry::{
    Change, Error, ErrorKind, Page, RegisterOptions, Registered, Registry, Result, Stream, StreamId, UnregisterOptions,
    Write, forward_registry,
};
use tokio::time::timeout;

/// Maximum time to wait for the store when updating the view or confirming the streams on a page.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before the next attempt after the store timed out.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A store whose lists come from a view.
#[derive(Debug)]
pub(super) struct Lists {
    store: Arc<dyn Registry>,
    view: View,
    /// The view serves lists while it is at most this old.
    max_age: Duration,
    /// Number of writes through this server that registered or unregistered a stream, or changed its state.
    written: AtomicU64,
    /// Number of those writes that the view is certain to show.
    shown: AtomicU64,
    /// Lock that lets one list at a time update the view, while the others wait.
    catching_up: tokio::sync::Mutex<()>,
    /// When the view last failed to show the latest write in time.
    catch_up_failed: Mutex<Option<Instant>>,
    /// When the store last failed to confirm a page in time.
    confirm_failed: Mutex<Option<Instant>>,
}

/// Counts a write when it completes or is cancelled. A cancelled write may have been applied.
struct Counted<'a>(Option<&'a AtomicU64>);

impl Counted<'_> {
    /// Does not count the write if it is certain that it never reached the store.
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

fn never_applied(error: &Error) -> bool {
    error.is_retryable() && !error.may_have_applied()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether something failed within the last [`RETRY_PAUSE`].
fn is_recent(failed: &Mutex<Option<Instant>>) -> bool {
    lock(failed).is_some_and(|at| at.elapsed() < RETRY_PAUSE)
}

fn failed_now(failed: &Mutex<Option<Instant>>) {
    *lock(failed) = Some(Instant::now());
}

fn too_slow() -> Error {
    Error::new(ErrorKind::Timeout, "the local view does not show the last write yet")
}

impl Lists {
    /// Starts a view of the store; needs a Tokio runtime.
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
            confirm_failed: Mutex::default(),
        }
    }

    fn counted(&self) -> Counted<'_> {
        Counted(Some(&self.written))
    }

    fn is_view_fresh(&self) -> bool {
        self.view.is_ready() && self.view.age() <= self.max_age
    }

    /// Returns whether lists come from the view, even if it may lack the latest writes, because the store is failing.
    fn view_can_replace(&self, error: &Error) -> bool {
        error.is_retryable() && error.kind() != ErrorKind::Closed && self.is_view_fresh()
    }

    /// Returns the view if it can answer, with every write that this server has confirmed.
    async fn current_view(&self) -> Option<&View> {
        if !self.is_view_fresh() {
            return None;
        }
        match self.catch_up().await {
            Ok(()) => Some(&self.view),
            Err(error) => {
                tracing::debug!(%error, "cannot update the local view in time; reading the list from the store");
                None
            }
        }
    }

    /// Waits until the view shows every write that was confirmed before this call.
    async fn catch_up(&self) -> Result<()> {
        let wanted = self.written.load(Ordering::Acquire);
        if self.shown.load(Ordering::Acquire) >= wanted {
            return timeout(STORE_TIMEOUT, self.view.confirm_writes()).await.unwrap_or_else(|_| Err(too_slow()));
        }
        if is_recent(&self.catch_up_failed) {
            return Err(too_slow());
        }
        let caught_up = timeout(STORE_TIMEOUT, self.show(wanted)).await.unwrap_or_else(|_| Err(too_slow()));
        caught_up.inspect_err(|_| failed_now(&self.catch_up_failed))
    }

    /// Updates the view so that it shows this many of the server's writes.
    async fn show(&self, wanted: u64) -> Result<()> {
        let _alone = self.catching_up.lock().await;
        if self.shown.load(Ordering::Acquire) < wanted {
            // Writes that complete after this point may be missing.
            let written = self.written.load(Ordering::Acquire);
            match self.store.list_page(None, NonZeroU32::MIN).await?.revision {
                Some(tail) => self.view.reached(&tail).await,
                None => self.view.reconcile().await,
            }?;
            self.shown.store(written, Ordering::Release);
        }
        self.view.confirm_writes().await
    }

    /// Answers a query from the view. Records are read from the store if it responds in time.
    async fn find_in(&self, view: &View, query: &Query) -> Result<Page> {
        if !is_recent(&self.confirm_failed) {
            match timeout(STORE_TIMEOUT, view.find_fresh(query)).await {
                // All other errors mean that the store cannot be read now.
                Ok(Err(error))
                    if matches!(
                        error.kind(),
                        ErrorKind::InvalidCursor | ErrorKind::InvalidArgument | ErrorKind::Closed
                    ) =>
                {
                    return Err(error);
                }
                Ok(Ok(page)) => return Ok(page),
                failed => {
                    tracing::debug!(?failed, "store did not confirm a list in time; serving it from the local view");
                    failed_now(&self.confirm_failed);
                }
            }
        }
        Ok(page_of(view.find(query)?, query))
    }
}

fn page_of(found: Found, query: &Query) -> Page {
    let streams = found.streams.into_iter().map(Arc::unwrap_or_clone).collect();
    let mut page = Page::new(streams, found.next, found.total);
    page.revision = found.revision;
    // The check runs once per list, not once per page.
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
        let answers = self.store.write(writes).await;
        if let Ok(answers) = &answers {
            for (write, answer) in writes.iter().zip(answers) {
                if answer.is_ok() && !is_reported(write) {
                    self.view.apply_write(write);
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
        if let Some(view) = self.current_view().await {
            return self.find_in(view, query).await;
        }
        match self.store.find(query).await {
            Err(error) if self.view_can_replace(&error) => Ok(page_of(self.view.find(query)?, query)),
            result => result,
        }
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        if let Some(view) = self.current_view().await {
            return view.summary(filter, by);
        }
        match self.store.summary(filter, by).await {
            Err(error) if self.view_can_replace(&error) => self.view.summary(filter, by),
            result => result,
        }
    }

    forward_registry!(|this| this.store => get, get_many, snapshot, list_page, history, watch, ping, info, close);
    forward_registry!(provided => conveniences);
}
