//! The task that keeps a view current: snapshot, then watch, and a compare now and then.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::options::Pace;
use super::state::Walk;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::{Revision, Stream, StreamId};
use crate::watch::{Event, Watch, WatchFrom};

/// How many streams that no page showed are asked for at once.
const GETS_AT_ONCE: usize = 64;

/// What comes after a watch, and whether anything came by it.
enum After {
    /// Events may be missing before this place, from which the watch goes on.
    Snapshot(Begun, bool),
    /// Its end: the registry is closed, or the watch broke off.
    Watch(bool),
}

/// A watch that begins before the snapshot that is taken next, and where.
struct Begun {
    watch: Watch,
    place: Option<Revision>,
}

/// Failures in a row, told once.
#[derive(Default)]
struct Trouble(u32);

impl Trouble {
    /// Waits before the next try; an error where there is none.
    async fn wait(&mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::Closed {
            return Err(error);
        }
        if self.0 == 0 {
            tracing::warn!(%error, "the local view cannot be brought up to date; it serves on as it is");
        }
        self.0 = self.0.saturating_add(1);
        sleep(Pace::back_off(self.0)).await;
        Ok(())
    }

    fn over(&mut self) {
        if std::mem::take(&mut self.0) > 0 {
            tracing::info!("the local view is brought up to date again");
        }
    }
}

/// Ends the waiting of others with the task, however it ends.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.state.change_book(|book| book.closed = true);
        self.0.tell();
    }
}

/// Keeps the view current until the registry is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let _close = Close(&shared);
    let Err(end) = keep(&shared).await;
    tracing::debug!(%end, "the local view is kept current no longer");
}

async fn keep(shared: &Shared) -> Result<std::convert::Infallible> {
    let mut trouble = Trouble::default();
    let mut fresh = false;
    let mut begun: Option<Begun> = None;
    // Snapshots and ends of watches in a row with no event between them.
    let mut barren: u32 = 0;
    loop {
        if !fresh {
            match snapshot(shared, begun.as_ref().and_then(|begun| begun.place.clone())).await {
                // It goes on at the snapshot's own place, and needs no event that the snapshot shows already.
                Ok(true) => begun = None,
                Ok(false) => {}
                Err(error) => {
                    trouble.wait(error).await?;
                    continue;
                }
            }
            fresh = true;
        }
        let watch = match begun.take() {
            Some(begun) => begun.watch,
            None => {
                let from = shared.state.book(|book| book.revision.clone());
                let placed = from.is_some();
                match shared.registry.watch(from.map_or(WatchFrom::Now, WatchFrom::Revision)).await {
                    Ok(watch) if placed => watch,
                    Ok(watch) => {
                        // Nobody knows what came before it: a snapshot that is taken now shows it.
                        begun = Some(Begun { place: watch.start().cloned(), watch });
                        fresh = false;
                        continue;
                    }
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::Unsupported | ErrorKind::Unauthenticated | ErrorKind::Denied
                        ) =>
                    {
                        tracing::debug!(%error, "the local view is kept by compares alone");
                        trouble.over();
                        return poll(shared, &mut trouble).await;
                    }
                    Err(error) => {
                        trouble.wait(error).await?;
                        continue;
                    }
                }
            }
        };
        trouble.over();
        let (again, moved) = match follow(shared, watch).await {
            After::Snapshot(watch, moved) => {
                (begun, fresh) = (Some(watch), false);
                // At once, but for the second time in a row.
                (1, moved)
            }
            After::Watch(moved) => (0, moved),
        };
        barren = if moved { 1 } else { barren.saturating_add(1) };
        if barren > again {
            sleep(Pace::back_off(barren - again)).await;
        }
    }
}

/// Takes a snapshot; returns whether it knows its place in the feed. One that does not has that of the watch before it.
async fn snapshot(shared: &Shared, before: Option<Revision>) -> Result<bool> {
    let number = shared.state.change_book(|book| {
        book.begun += 1;
        book.begun
    });
    let snapshot = shared.registry.snapshot().await?;
    let placed = snapshot.revision.is_some();
    shared.state.install(number, snapshot.streams, snapshot.revision.or(before), snapshot.unreadable);
    shared.tell();
    Ok(placed)
}

type Compare<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

async fn follow(shared: &Shared, mut watch: Watch) -> After {
    let mut compare: Option<Compare<'_>> = None;
    let mut moved = false;
    let mut due = Instant::now() + shared.pace.next();
    loop {
        let idle = compare.is_none();
        let compared = async {
            match &mut compare {
                Some(compare) => compare.await,
                None => pending().await,
            }
        };
        tokio::select! {
            event = watch.next() => {
                match event {
                    Some(Event::Changed { revision, stream, .. }) => {
                        shared.state.apply(revision, &stream.id, Some(Arc::clone(&stream)));
                    }
                    Some(Event::Ended { revision, last, .. }) => shared.state.apply(revision, &last.id, None),
                    Some(Event::Alive { revision }) => shared.state.alive(revision),
                    Some(Event::Resync { revision }) => {
                        return After::Snapshot(Begun { watch, place: Some(revision) }, moved);
                    }
                    None => return After::Watch(moved),
                }
                moved = true;
                shared.tell();
            }
            done = compared => {
                compare = None;
                due = Instant::now() + shared.pace.next();
                match done {
                    Ok(()) => shared.tell(),
                    Err(error) => tracing::warn!(%error, "the local view could not be compared with the store"),
                }
            }
            () = sleep_until(due), if idle => compare = Some(Box::pin(walk(shared))),
        }
    }
}

/// Keeps a view of a store without a feed: by compares alone.
async fn poll(shared: &Shared, trouble: &mut Trouble) -> Result<std::convert::Infallible> {
    let mut pause = shared.pace.next();
    loop {
        sleep(pause).await;
        let number = shared.state.change_book(|book| {
            book.begun += 1;
            book.begun
        });
        match walk(shared).await {
            Ok(()) => {
                trouble.over();
                // Nothing came in between that could be older than a page: it is as good as a snapshot.
                shared.state.change_book(|book| book.complete = number);
                shared.tell();
                pause = shared.pace.next();
            }
            Err(error) => {
                trouble.wait(error).await?;
                pause = Duration::ZERO;
            }
        }
    }
}

/// Compares the view with the store, page by page, and puts right what differs.
pub(super) async fn walk(shared: &Shared) -> Result<()> {
    let _alone = shared.walking.lock().await;
    let began = Instant::now();
    let walk = shared.state.begin_walk();
    let mut corrected = Vec::new();
    let mut unreadable = 0;
    let mut cursor = None;
    loop {
        let page = shared.registry.list_page(cursor.as_ref(), shared.pace.page).await?;
        unreadable += page.unreadable;
        corrected.extend(shared.state.take_page(walk, page.streams)?);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        // Events go on between two pages.
        tokio::task::yield_now().await;
    }
    corrected.extend(absent(shared, walk).await?);
    corrected.sort_unstable();
    corrected.dedup();
    shared.state.end_walk(walk, began, &corrected, unreadable)?;
    if !corrected.is_empty() {
        tracing::info!(streams = corrected.len(), "the local view was not what the store holds; put right");
    }
    Ok(())
}

/// Asks for what no page showed: a cursor may skip what comes and goes, and the store has the last word.
async fn absent(shared: &Shared, walk: Walk) -> Result<Vec<StreamId>> {
    let look = async |id: StreamId| {
        let before = shared.get(&id);
        let now = shared.refresh(&id).await?;
        let created = |stream: &Arc<Stream>| stream.created_at;
        Ok((before.as_ref().map(created) != now.as_ref().map(created)).then_some(id))
    };
    let answers: Vec<Result<Option<StreamId>>> =
        stream::iter(shared.state.unmet(walk)).map(look).buffer_unordered(GETS_AT_ONCE).collect().await;
    answers.into_iter().filter_map(Result::transpose).collect()
}
