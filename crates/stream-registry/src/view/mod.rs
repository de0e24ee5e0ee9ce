//! The local view: all live streams in this process, kept current by snapshot, watch and compare.

mod find;
mod follow;
mod options;
mod state;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::watch::Sender;
use tokio::task::AbortHandle;

pub use find::Found;
pub use options::ViewOptions;
pub use state::{Corrections, Counts};

use crate::error::{Error, ErrorKind, Result};
use crate::registry::Registry;
use crate::stream::{Revision, Stream, StreamId};
use options::Pace;
use state::State;

/// How often the store is asked again where news came while it was asked.
const TRIES: usize = 4;

/// All live streams of a registry in this process: look-ups without asking the store.
///
/// It takes a snapshot and follows the changes from there. Statistics and heartbeats, and what programs write that know
/// no feed, it takes over in the compare with the store that it makes every 30 s or so. Where events may be missing it
/// takes a new snapshot. Whoever reads sees complete states only. Through an outage it serves what it has, and states its
/// [`age`](Self::age). Of a store without a feed it is kept by the compares alone.
///
/// Clone it to share it; one task keeps it until the last clone is dropped, or the registry is closed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{Stream, StreamType};
/// use stream_registry::view::{View, ViewOptions};
///
/// let registry = stream_registry::connect("memory:").await?;
/// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
///
/// let view = View::new(registry.clone(), ViewOptions::default());
/// view.ready().await?;
/// let cam = view.get(&"cam1".parse()?).expect("it is registered");
/// assert_eq!(cam.source_addr, "203.0.113.7:40112");
/// assert_eq!(view.all().len(), 1);
/// assert_eq!(view.counts().total, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct View(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task and the clones have in common.
struct Shared {
    registry: Arc<dyn Registry>,
    pace: Pace,
    state: State,
    /// Wakes those who wait for the view to have come somewhere.
    news: Sender<()>,
    /// One compare at a time.
    walking: Mutex<()>,
}

impl Shared {
    fn tell(&self) {
        self.news.send_replace(());
    }

    fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.state.get(id)
    }

    async fn refresh(&self, id: &StreamId) -> Result<Option<Arc<Stream>>> {
        for _ in 0..TRIES {
            let mark = self.state.mark(id);
            let answer = match self.registry.get(id).await {
                Ok(stream) => Some(Arc::new(stream)),
                // What cannot be read is in no list either.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
                Err(error) => return Err(error),
            };
            if self.state.answer(id, mark, answer.clone()) {
                return Ok(answer);
            }
        }
        // Events come faster than answers: they are the news.
        Ok(self.get(id))
    }

    /// Waits until this is so.
    async fn until(&self, mut holds: impl FnMut(&state::Book) -> bool) -> Result<()> {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            let (holds, closed) = self.state.book(|book| (holds(book), book.closed));
            if holds {
                return Ok(());
            }
            if closed || news.changed().await.is_err() {
                return Err(Error::closed());
            }
        }
    }
}

impl View {
    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Makes a view of a registry and starts the task that keeps it current.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn new(registry: Arc<dyn Registry>, options: ViewOptions) -> Self {
        let pace = Pace::new(&options, registry.info().ttl);
        let shared =
            Arc::new(Shared { registry, pace, state: State::new(), news: Sender::new(()), walking: Mutex::new(()) });
        let task = tokio::spawn(follow::run(Arc::clone(&shared))).abort_handle();
        Self(Arc::new(Handle { shared, task }))
    }

    /// Waits until the view is complete for the first time.
    ///
    /// # Errors
    ///
    /// `Closed` where the registry is closed before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn ready(&self) -> Result<()> {
        self.0.shared.until(|book| book.complete > 0).await
    }

    /// Returns whether the view has been complete: until then it is empty.
    pub fn is_ready(&self) -> bool {
        self.0.shared.state.book(|book| book.complete > 0)
    }

    /// Returns a stream, if it is live.
    pub fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.0.shared.get(id)
    }

    /// Returns all streams as they were at one moment, in no particular order.
    pub fn all(&self) -> Vec<Arc<Stream>> {
        self.0.shared.state.all()
    }

    /// Returns how many streams there are, by status, type and node. They are counted as they come and go.
    pub fn counts(&self) -> Counts {
        self.0.shared.state.counts()
    }

    /// Returns how long ago the view was last known to be current: by an event, a sign of life or a compare.
    /// [`Duration::MAX`] before it is complete for the first time.
    ///
    /// An idle feed gives a sign of life every 10 s.
    pub fn age(&self) -> Duration {
        self.0.shared.state.book(|book| book.confirmed).map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Returns the place in the change feed that the view shows; `None` where there is no feed.
    pub fn revision(&self) -> Option<Revision> {
        self.0.shared.state.book(|book| book.revision.clone())
    }

    /// Waits until the view shows what the store held at a revision.
    ///
    /// Revisions have no order that is known here. A revision is reached when the view came past it, among the last 4 096
    /// places or so, or when a snapshot was taken that began after this call. Bound the wait: a revision that is older or of another
    /// history may never be reached.
    ///
    /// # Errors
    ///
    /// `Closed` where the registry is closed before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn reached(&self, revision: &Revision) -> Result<()> {
        let begun = self.0.shared.state.book(|book| book.begun);
        self.0.shared.until(|book| book.complete > begun || book.has_reached(revision)).await
    }

    /// Asks the store for a stream and takes over the answer: `None` where it is not live.
    ///
    /// # Errors
    ///
    /// As the store fails; the view stays as it is.
    ///
    /// # Cancel safety
    ///
    /// When dropped the view is as it was, or has the answer.
    pub async fn refresh(&self, id: &StreamId) -> Result<Option<Arc<Stream>>> {
        self.0.shared.refresh(id).await
    }

    /// Compares the view with the store now, page by page, and puts right what differs.
    ///
    /// Other compares wait meanwhile. What the feed has yet to tell may still go back to what it was for that moment: wait
    /// for the place by [`reached`](Self::reached) first where that matters.
    ///
    /// # Errors
    ///
    /// As the store fails; `Unavailable` where a new snapshot was taken over meanwhile.
    ///
    /// # Cancel safety
    ///
    /// When dropped, what was compared so far is put right, and the rest stays as it is.
    pub async fn reconcile(&self) -> Result<()> {
        follow::walk(&self.0.shared).await
    }

    /// Returns what the compares with the store have corrected since the view was made.
    ///
    /// What another program wrote, and what the feed had yet to tell in that moment, counts; statistics and heartbeats do not.
    pub fn corrections(&self) -> Corrections {
        self.0.shared.state.book(|book| book.corrections.clone())
    }

    /// Returns how many records the store holds that cannot be read and so are not in the view, as of the last
    /// snapshot or compare.
    pub fn unreadable(&self) -> u64 {
        self.0.shared.state.book(|book| book.unreadable)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.shared.state.book(|book| book.complete);
        f.debug_struct("View")
            .field("registry", &self.0.shared.registry)
            .field("snapshots", &total)
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
