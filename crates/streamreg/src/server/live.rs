//! The store as the server uses it: beside it a view of all streams, and a note of what this server wrote.
//!
//! Lists come from the view. So that a write through this server is in its next list, every write is noted on its way to the
//! store, and the list first waits until the view has come past it, or asks for what no event tells: heartbeats and
//! statistics. Where the view cannot say in time, the store is asked in its place.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stream_registry::{
    Change, Cursor, EndOptions, Error, ErrorKind, Page, RegisterOptions, Registered, Registry, Result, Revision,
    Snapshot, StoreInfo, Stream, StreamId, Timestamp, View, ViewOptions, Watch, WatchFrom, Write,
};
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;

use super::options::Lists;

/// A view that is older than that does not serve.
const FRESH: Duration = Duration::from_secs(15);
/// How long a list waits for the view to come past what was written.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long the store is asked after the view could not say.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How many streams are asked for one by one; for more a walk through all pages costs less.
const LOOKS: usize = 500;
const LOOKS_AT_ONCE: usize = 64;
/// The streams of an answer are asked for, as many at once as the store takes together.
const ASKED_AT_ONCE: usize = 128;
/// Those of an answer with more than so many this often at most, and no longer than a tenth of the time.
const ASKED_ALWAYS: usize = 1_000;
const ASKED_EVERY: Duration = Duration::from_secs(1);
const ASKED_SHARE: u32 = 10;
/// How many written streams are noted each; beyond, all are.
const NOTED: usize = 10_000;

/// All streams as they are now.
pub(super) struct Listed {
    pub(super) streams: Vec<Arc<Stream>>,
    /// The place in the feed that they show, or one before it.
    pub(super) revision: Option<Revision>,
    pub(super) unreadable: u64,
}

/// What was written through this server.
#[derive(Debug, Default)]
struct Notes {
    /// The number of the last write, and of the last one that the view is known to show.
    last: u64,
    shown: u64,
    /// The streams whose last write no event tells, by its number.
    untold: HashMap<StreamId, u64>,
    /// The last such write where there are too many to note.
    untold_many: u64,
    failed: Option<Instant>,
    /// When the store could not say in time which streams have ended.
    silent: Option<Instant>,
    /// When the streams of a large answer are asked for again.
    asked_next: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Live {
    store: Arc<dyn Registry>,
    view: Option<View>,
    notes: Mutex<Notes>,
    /// One catches up at a time: whoever comes second finds it done.
    turn: Turn<()>,
}

/// Notes a write when it ends, also one whose caller has gone: it may have happened.
struct Noted<'a> {
    live: &'a Live,
    /// The streams that no event will tell of.
    untold: Vec<StreamId>,
    /// Whether it certainly never came to the store.
    lost: bool,
}

impl Noted<'_> {
    /// Heeds how it ended: what a store that is away has not heard of leaves the view as good as it was.
    fn ended<T>(mut self, answer: Result<T>) -> Result<T> {
        self.lost = answer.as_ref().is_err_and(unheard);
        answer
    }
}

fn unheard(error: &Error) -> bool {
    error.is_retryable() && !error.may_have_applied()
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if self.lost || self.live.view.is_none() {
            return;
        }
        let mut notes = self.live.notes();
        notes.last += 1;
        let number = notes.last;
        notes.untold.extend(self.untold.drain(..).map(|id| (id, number)));
        if notes.untold.len() > NOTED {
            notes.untold = HashMap::new();
            notes.untold_many = number;
        }
    }
}

impl Live {
    /// Begins to follow a store; needs a Tokio runtime.
    pub(super) fn new(store: Arc<dyn Registry>, lists: Lists) -> Self {
        let view = match lists {
            Lists::View => Some(View::new(Arc::clone(&store), ViewOptions::default())),
            Lists::Store => None,
        };
        Self { store, view, notes: Mutex::default(), turn: Turn::default() }
    }

    /// Begins a write.
    fn noted(&self, untold: Vec<StreamId>) -> Noted<'_> {
        Noted { live: self, untold, lost: false }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Nothing panics while it is held.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All streams, with every write that this server has answered; `None` where the view cannot say.
    pub(super) async fn listed(&self) -> Option<Listed> {
        let view = self.view.as_ref().filter(|view| view.is_ready() && view.age() <= FRESH)?;
        match self.try_listed(view).await {
            Ok(listed) => Some(listed),
            Err(error) => {
                tracing::debug!(%error, "the list comes from the store");
                self.notes().failed = Some(Instant::now());
                None
            }
        }
    }

    async fn try_listed(&self, view: &View) -> Result<Listed> {
        self.catch_up(view).await?;
        let revision = view.revision();
        let mut streams = view.all();
        // Their time may be over, though the feed has not told yet.
        let (now, ttl) = (Timestamp::now(), self.store.info().ttl);
        let late = streams.iter().filter(|stream| now.since(stream.last_heartbeat) >= ttl);
        let late: Vec<_> = late.map(|stream| stream.id.clone()).collect();
        if !late.is_empty() {
            look(view, late).await?;
            streams = view.all();
        }
        Ok(Listed { streams, revision, unreadable: view.unreadable() })
    }

    fn shown(view: &View) -> Listed {
        // First, so that it is one before what the streams show where an event comes just now.
        let revision = view.revision();
        Listed { streams: view.all(), revision, unreadable: view.unreadable() }
    }

    /// Begins to ask the store for the streams of an answer that shows so many: one that another program gave less time to
    /// live is told of late. `None` where that has to wait, and what is known is served.
    pub(super) fn ask(&self, shown: usize) -> Option<Asking<'_>> {
        let view = self.view.as_ref()?;
        let began = Instant::now();
        let many = shown > ASKED_ALWAYS;
        let mut notes = self.notes();
        if notes.silent.is_some_and(|at| at.elapsed() < AFTER_FAILURE) {
            return None;
        }
        if many {
            if notes.asked_next.is_some_and(|at| began < at) {
                return None;
            }
            notes.asked_next = Some(began + ASKED_EVERY);
        }
        Some(Asking { live: self, view, many, began })
    }

    /// Brings the view past all writes that were answered.
    async fn catch_up(&self, view: &View) -> Result<()> {
        let _turn = self.turn.lock().await;
        let (last, untold, many) = {
            let notes = self.notes();
            if notes.last == notes.shown {
                return Ok(());
            }
            if notes.failed.is_some_and(|at| at.elapsed() < AFTER_FAILURE) {
                return Err(behind());
            }
            (notes.last, notes.untold.keys().cloned().collect::<Vec<_>>(), notes.untold_many > notes.shown)
        };
        let tail = self.store.list_page(None, NonZeroU32::MIN).await?.revision;
        if let Some(tail) = &tail {
            timeout(CATCH_UP, view.reached(tail)).await.map_err(|_| behind())??;
        }
        if many || tail.is_none() {
            view.compare().await?;
        } else {
            look(view, untold).await?;
        }
        let mut notes = self.notes();
        notes.shown = last;
        notes.untold.retain(|_, number| *number > last);
        Ok(())
    }
}

/// The store is being asked for the streams of an answer.
pub(super) struct Asking<'a> {
    live: &'a Live,
    view: &'a View,
    many: bool,
    began: Instant,
}

impl Asking<'_> {
    /// Asks which of these streams have ended. Returns all that are left, where some have. A store that does not say is
    /// not waited for.
    pub(super) async fn without_ended(&self, ids: &[StreamId]) -> Option<Listed> {
        match timeout(CATCH_UP, self.drop_ended(ids)).await.unwrap_or_else(|_| Err(behind())) {
            Ok(changed) => changed.then(|| Live::shown(self.view)),
            Err(error) => {
                tracing::debug!(%error, "the list may show streams that have ended");
                self.live.notes().silent = Some(Instant::now());
                None
            }
        }
    }

    /// Takes those out of the view that the store has not; returns whether there are any.
    async fn drop_ended(&self, ids: &[StreamId]) -> Result<bool> {
        let looks: Vec<_> = ids.iter().map(|id| has_ended(&self.live.store, id)).collect();
        let ended: Vec<_> = stream::iter(looks).buffer_unordered(ASKED_AT_ONCE).try_collect().await?;
        let ended: Vec<_> = ended.into_iter().flatten().cloned().collect();
        let any = !ended.is_empty();
        look(self.view, ended).await?;
        Ok(any)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.many {
            self.live.notes().asked_next = Some(self.began + ASKED_EVERY.max(self.began.elapsed() * ASKED_SHARE));
        }
    }
}

/// Asks the store for these streams.
async fn look(view: &View, ids: Vec<StreamId>) -> Result<()> {
    if ids.len() > LOOKS {
        return view.compare().await;
    }
    // Collected first: the compiler cannot prove `Send` for a stream that borrows within its closure.
    let looks: Vec<_> = ids.into_iter().map(|id| refresh(view, id)).collect();
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await
}

/// Returns the id where the store has no such stream.
async fn has_ended<'a>(store: &Arc<dyn Registry>, id: &'a StreamId) -> Result<Option<&'a StreamId>> {
    match store.get(id).await {
        // What cannot be read is in no list either.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(Some(id)),
        answer => answer.map(|_| None),
    }
}

async fn refresh(view: &View, id: StreamId) -> Result<()> {
    view.refresh(&id).await.map(drop)
}

fn behind() -> Error {
    Error::new(ErrorKind::Unavailable, "the view has not come past the last write in time")
}

#[async_trait]
impl Registry for Live {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.noted(Vec::new()).ended(self.store.register_with(stream, options).await)
    }

    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.noted(Vec::new()).ended(self.store.register_new(stream, options).await)
    }

    async fn end(&self, id: &StreamId, options: &EndOptions) -> Result<Stream> {
        self.noted(Vec::new()).ended(self.store.end(id, options).await)
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        // A status that was set before is told by no event either.
        let untold = |write: &&Write| matches!(write.change, Change::Heartbeat | Change::Stats(_) | Change::Status(_));
        let mut noted = self.noted(writes.iter().filter(untold).map(|write| write.id.clone()).collect());
        let answer = self.store.write(writes).await;
        noted.lost = match &answer {
            Ok(answers) => answers.iter().all(|answer| answer.as_ref().is_err_and(unheard)),
            Err(error) => unheard(error),
        };
        answer
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.store.get(id).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.store.snapshot().await
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.store.list_page(cursor, count).await
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        self.store.watch(from).await
    }

    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
