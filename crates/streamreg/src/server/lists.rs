//! The store as the server uses it: lists and summaries come from a local view, everything else from the store.
//!
//! The view chooses the streams of a page and the store confirms them, so that a list shows their current records. A write
//! through this server is in its next list: before the view answers, it is brought past the last change that this server
//! wrote. If the view cannot answer in time, the store does.

use std::collections::HashSet;
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

/// Upper bound of the wait for the store, to update the view or to confirm the streams of a page.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before the next attempt after the store timed out.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How many streams are noted that the view could not update. If there are more, the whole view is reconciled.
const MAX_UNSEEN: usize = 1_000;

/// A store whose lists come from a view.
#[derive(Debug)]
pub(super) struct Lists {
    store: Arc<dyn Registry>,
    view: View,
    /// The view serves lists while it is at most this old.
    max_age: Duration,
    /// Number of writes through this server that registered or unregistered a stream or changed its state.
    written: AtomicU64,
    /// Number of these writes that the view shows for certain.
    shown: AtomicU64,
    /// Streams whose statistics were written before the view had the event of their registration.
    unseen: Mutex<HashSet<StreamId>>,
    /// One list brings the view up to date at a time; the others wait for it.
    catching_up: tokio::sync::Mutex<()>,
    /// When the view last failed to show the last write in time.
    catch_up_failed: Mutex<Option<Instant>>,
    /// When the store last failed to confirm a page in time.
    confirm_failed: Mutex<Option<Instant>>,
}

/// Counts a write when it completes or is cancelled, because a cancelled write may have been applied.
struct Counted<'a>(Option<&'a AtomicU64>);

impl Counted<'_> {
    /// Does not count the write if it certainly never reached the store.
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

/// Streams to refresh. Those that were not refreshed are noted again when it is dropped.
struct Unseen<'a> {
    ids: Vec<StreamId>,
    noted: &'a Mutex<HashSet<StreamId>>,
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        lock(self.noted).extend(self.ids.drain(..));
    }
}

fn never_applied(error: &Error) -> bool {
    error.is_retryable() && !error.may_have_applied()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is locked.
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
            unseen: Mutex::default(),
            catching_up: tokio::sync::Mutex::default(),
            catch_up_failed: Mutex::default(),
            confirm_failed: Mutex::default(),
        }
    }

    fn counted(&self) -> Counted<'_> {
        Counted(Some(&self.written))
    }

    /// Returns the view if it can answer, with every write that this server has confirmed.
    async fn current_view(&self) -> Option<&View> {
        if !self.view.is_ready() || self.view.age() > self.max_age {
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
        if self.shown.load(Ordering::Acquire) == self.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.catching_up.lock().await;
        let written = self.written.load(Ordering::Acquire);
        if self.shown.load(Ordering::Acquire) == written {
            return Ok(());
        }
        if is_recent(&self.catch_up_failed) {
            return Err(too_slow());
        }
        let caught_up = async {
            match self.store.list_page(None, NonZeroU32::MIN).await?.revision {
                Some(tail) => self.view.reached(&tail).await,
                None => self.view.reconcile().await,
            }?;
            self.refresh_unseen().await
        };
        let caught_up = timeout(STORE_TIMEOUT, caught_up).await.unwrap_or_else(|_| Err(too_slow()));
        caught_up.inspect_err(|_| failed_now(&self.catch_up_failed))?;
        self.shown.store(written, Ordering::Release);
        Ok(())
    }

    /// Refreshes the streams whose statistics the view could not apply.
    async fn refresh_unseen(&self) -> Result<()> {
        let mut unseen = Unseen { ids: lock(&self.unseen).drain().collect(), noted: &self.unseen };
        if unseen.ids.len() > MAX_UNSEEN {
            self.view.reconcile().await?;
            unseen.ids.clear();
        }
        while let Some(id) = unseen.ids.last() {
            self.view.refresh(id).await?;
            unseen.ids.pop();
        }
        Ok(())
    }

    /// Answers a query from the view, with current records while the store answers in time.
    async fn find_in(&self, view: &View, query: &Query) -> Result<Page> {
        if !is_recent(&self.confirm_failed) {
            match timeout(STORE_TIMEOUT, view.find_fresh(query)).await {
                // The other errors say that the store cannot be read now.
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
    // Once per list, not once per page.
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
                if answer.is_ok() && !is_reported(write) && !self.view.apply_write(write) {
                    let mut unseen = lock(&self.unseen);
                    if unseen.len() <= MAX_UNSEEN {
                        unseen.insert(write.id.clone());
                    }
                    drop(self.counted());
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
        match self.current_view().await {
            Some(view) => self.find_in(view, query).await,
            None => self.store.find(query).await,
        }
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        match self.current_view().await {
            Some(view) => view.summary(filter, by),
            None => self.store.summary(filter, by).await,
        }
    }

    forward_registry!(|this| this.store => get, get_many, snapshot, list_page, history, watch, ping, info, close);
    forward_registry!(provided => conveniences);
}
