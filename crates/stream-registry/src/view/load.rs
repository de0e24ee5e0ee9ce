//! The first load of a view, and each later one after events were lost.
//!
//! A load reads the store page by page, because one command for all streams of a large registry would block Redis for
//! half a second. The pages are read at different times. So the load then applies the events since the first page,
//! until its result includes all changes up to the last page.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::{Revision, Stream, StreamId};
use crate::watch::{Event, Watch, WatchFrom, vector};

/// Maximum time to wait for the events since the first page.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a load.
pub(super) struct Loaded {
    pub(super) streams: Vec<Arc<Stream>>,
    pub(super) unreadable: u64,
    /// The position in the feed, and the watch that continues from there. `None` if the store has no feed, or if the
    /// user lacks the permission to read it.
    pub(super) followed: Option<(Revision, Watch)>,
}

/// The streams that have been read so far.
#[derive(Default)]
struct Load {
    streams: HashMap<StreamId, Arc<Stream>>,
    unreadable: u64,
}

/// Loads all streams.
///
/// # Errors
///
/// Returns the errors of the store. Returns `Timeout` if the events do not arrive in time, and `Unavailable` if events
/// were lost during the load.
pub(super) async fn load(shared: &Shared) -> Result<Loaded> {
    let mut load = Load::default();
    let start = load.read_pages(shared).await?;
    let followed = match start {
        Some(start) => follow(shared, &mut load, start).await?,
        None => None,
    };
    Ok(Loaded { streams: load.streams.into_values().collect(), unreadable: load.unreadable, followed })
}

impl Load {
    /// Reads all pages. Returns the position in the feed before the first page.
    async fn read_pages(&mut self, shared: &Shared) -> Result<Option<Revision>> {
        let mut start = None;
        let mut cursor = None;
        loop {
            let page = shared.registry.list_page(cursor.as_ref(), shared.schedule.page).await?;
            if cursor.is_none() {
                start = page.revision;
            }
            self.unreadable += page.unreadable;
            self.streams.extend(page.streams.into_iter().map(|stream| (stream.id.clone(), Arc::new(stream))));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(start);
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<Revision> {
        let revision = event.revision().clone();
        match event {
            Event::Changed { stream, .. } => {
                self.streams.insert(stream.id.clone(), stream);
            }
            Event::Ended { last, .. } => {
                self.streams.remove(&last.id);
            }
            Event::Resync { .. } => {
                return Err(Error::new(ErrorKind::Unavailable, "events were lost while the local view was loaded"));
            }
            Event::Alive { .. } => {}
        }
        Ok(revision)
    }
}

/// Applies the events from `start` to the present end of the feed. Returns `None` if the feed cannot be read.
async fn follow(shared: &Shared, load: &mut Load, start: Revision) -> Result<Option<(Revision, Watch)>> {
    let tail = shared.registry.list_page(None, NonZeroU32::MIN).await?.revision;
    let mut watch = match shared.registry.watch(WatchFrom::Revision(start.clone())).await {
        Ok(watch) => watch,
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reached = start;
    let events = async {
        // In a cluster, the events may never have exactly the positions of `tail` together.
        while tail.as_ref().is_some_and(|tail| !vector::includes(&reached, tail)) {
            let event = watch.next().await.ok_or_else(Error::closed)?;
            reached = load.apply(event)?;
        }
        Ok::<_, Error>(())
    };
    let late = || Error::new(ErrorKind::Timeout, "the events for the local view did not arrive in time");
    timeout(EVENTS_TIMEOUT, events).await.map_err(|_| late())??;
    Ok(Some((reached, watch)))
}
