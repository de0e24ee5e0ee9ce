//! Watches of the change feed.
//!
//! All watches of a registry share one reader, which keeps recent entries in a ring. A watch whose position is not in
//! the ring reads the feed itself until it reaches the ring.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::ends::{before, oldest};
use super::metadata;
use super::position::Position;
use super::reader::{Read, Reader};
use super::shared::{ALIVE_SLACK, Board, Found, SharedReader};
use crate::error::{Error, Result};
use crate::redis::store::Store;
use crate::watch::{ALIVE_AFTER, Event, Watch, WatchFrom};

/// Maximum time for which a watch waits until the shared reader reaches its position. After this time, the watch reads
/// the feed itself. After a failover, the feed may no longer contain the position.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// Follows the feed from a position until the registry is closed or dropped.
pub(in crate::redis) async fn follow(store: &Arc<Store>, from: &WatchFrom) -> Result<Watch> {
    // The position of the last entry is read now, not when the watch is first polled. `WatchFrom::Now` starts at this
    // call.
    let tail = metadata::tail(store).await?;
    // The oldest entry is read even if the watch starts elsewhere. So this call fails at once if the user lacks the
    // permission to read the feed.
    let oldest = oldest(store).await?;
    let (start, lost) = match from {
        WatchFrom::Now => (tail, false),
        WatchFrom::Revision(revision) => {
            Position::from_revision(revision).map_or((tail, true), |position| (position, false))
        }
        WatchFrom::Oldest => (oldest.map_or(tail, |oldest| before(&oldest, tail)), false),
    };
    let suspect = lost || start.is_lost(tail);
    let follower = Follower {
        store: Arc::downgrade(store),
        shared: None,
        number: None,
        suspect,
        reader: Reader::new(start, lost, start != tail),
        read: None,
        alive_at: Instant::now() + ALIVE_AFTER,
    };
    let watch = Watch::new(unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }));
    Ok(if suspect { watch } else { watch.starting_after(start.revision()) })
}

/// Returns the store unless the registry was closed or dropped.
fn open(store: &Weak<Store>) -> Option<Arc<Store>> {
    store.upgrade().filter(|store| !store.link.is_closed())
}

/// The state of one watch.
struct Follower {
    /// A weak reference, so that a watch does not keep the registry open.
    store: Weak<Store>,
    /// The shared reader and its notifications. `None` before the first event, and after the reader has ended.
    shared: Option<(Arc<SharedReader>, Receiver<()>)>,
    /// The number of the next entry in the shared reader's ring. `None` if the watch reads the feed itself.
    number: Option<u64>,
    /// Whether the start of the watch may be missing from the feed. If so, the watch first reads the feed itself.
    suspect: bool,
    /// The position of the watch, and the reader with which it catches up.
    reader: Reader,
    /// The read of the feed that the watch has begun. Its task has the reader.
    read: Option<JoinHandle<(Reader, Result<Read>)>>,
    /// When the next `Alive` event is due.
    alive_at: Instant,
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(read) = &self.read {
            read.abort();
        }
    }
}

impl Follower {
    /// Waits for the next event.
    ///
    /// No event is lost if the future is dropped. The server keeps the feed, and there is no await point between taking
    /// an event and returning it.
    async fn next(&mut self) -> Option<Event> {
        let mut advanced = false;
        loop {
            if let Some(read) = self.finish_read().await {
                self.suspect = false;
                if matches!(read, Read::Nothing) && Instant::now() >= self.alive_at {
                    return Some(self.alive());
                }
            }
            self.reader.pause_before_resync().await;
            if let Some(item) = self.reader.take() {
                if item.event.is_some() {
                    self.alive_at = Instant::now() + ALIVE_AFTER;
                    return item.event;
                }
                advanced = true;
                continue;
            }
            // Entries without an event have advanced the position. `Alive` reports the new position to consumers that
            // wait for it.
            if advanced && (!self.reader.catching_up || Instant::now() >= self.alive_at) {
                return Some(self.alive());
            }
            let store = open(&self.store)?;
            if self.shared.as_ref().is_some_and(|(shared, _)| shared.has_ended()) {
                (self.shared, self.number) = (None, None);
            }
            let found = match self.number {
                Some(number) => self.look_up(number),
                None => self.join(&store),
            };
            match found {
                Found::Item(item, more) => {
                    self.number = self.number.map(|number| number + 1);
                    self.reader.accept(item, more);
                }
                Found::Alive => return Some(self.alive()),
                Found::Nothing => {
                    drop(store);
                    self.changed().await;
                }
                Found::Missing => self.begin_read(&store),
            }
        }
    }

    /// Begins to read the feed.
    ///
    /// The read runs in a task, which does not stop if the watch is not polled. Otherwise, watches that are not polled
    /// could keep all permits.
    fn begin_read(&mut self, store: &Arc<Store>) {
        (self.number, self.reader.catching_up) = (None, true);
        let same = self.reader.successor();
        let mut reader = std::mem::replace(&mut self.reader, same);
        let (turns, store) = (Arc::clone(&store.feed_reader.turns), Arc::downgrade(store));
        self.read = Some(tokio::spawn(async move {
            // The semaphore is never closed. If it were, only the limit would be lost.
            let _turn = turns.acquire().await;
            let read = match open(&store) {
                Some(store) => reader.read(&store).await,
                None => Err(Error::closed()),
            };
            (reader, read)
        }));
    }

    /// Waits until the current read has ended. Returns `None` if no read was begun, or if the read has failed.
    async fn finish_read(&mut self) -> Option<Read> {
        let read = self.read.as_mut()?.await;
        self.read = None;
        // If the runtime of the task was shut down, `self.reader` has the same position, and the watch reads again.
        let (reader, read) = read.ok()?;
        self.reader = reader;
        self.reader.settle(read).await
    }

    /// Returns an `Alive` event with the position of the watch.
    fn alive(&mut self) -> Event {
        self.alive_at = Instant::now() + ALIVE_AFTER;
        Event::Alive { revision: self.reader.position.revision() }
    }

    /// Looks up the next entry in the ring of the shared reader.
    fn look_up(&mut self, number: u64) -> Found {
        let Some((shared, changes)) = &mut self.shared else { return Found::Missing };
        // Later changes wake the watch, even if they come before it waits.
        changes.borrow_and_update();
        shared.board.look_up(number, self.alive_at)
    }

    /// Joins the shared reader, if the position of the watch is in its ring. If no reader is running and the watch has
    /// read all entries, the reader begins at this position.
    fn join(&mut self, store: &Arc<Store>) -> Found {
        if self.suspect {
            return Found::Missing;
        }
        if self.shared.is_none() {
            let shared = match store.feed_reader.current() {
                Some(shared) => shared,
                None if self.reader.catching_up => return Found::Missing,
                None => store.feed_reader.current_or_spawn(self.reader.position, |board, changes| {
                    let run = run(Arc::downgrade(store), self.reader.successor(), board, changes);
                    tokio::spawn(run).abort_handle()
                }),
            };
            let changes = shared.subscribe();
            self.shared = Some((shared, changes));
        }
        let Some((shared, changes)) = &mut self.shared else { return Found::Missing };
        changes.borrow_and_update();
        match shared.board.find(self.reader.position) {
            Some(number) => {
                (self.number, self.reader.catching_up) = (Some(number), false);
                shared.board.look_up(number, self.alive_at)
            }
            None if self.reader.catching_up => Found::Missing,
            None => {
                // The shared reader is probably about to read the entries up to this position.
                shared.board.ask(self.alive_at);
                Found::Nothing
            }
        }
    }

    /// Waits until the shared reader has read entries or has ended. If the position is not in the ring, the wait is
    /// limited. Afterwards, the watch reads the feed itself unless the ring contains its position.
    async fn changed(&mut self) {
        let Some((_, changes)) = &mut self.shared else { return };
        // An error means that the reader has ended.
        if self.number.is_some() {
            let _ = changes.changed().await;
        } else {
            let _ = timeout(JOIN_LIMIT, changes.changed()).await;
            self.reader.catching_up = true;
        }
    }
}

/// Reads the feed for all watches of a registry, until the registry is closed or dropped.
async fn run(store: Weak<Store>, mut reader: Reader, board: Arc<Board>, changes: Sender<()>) {
    loop {
        let mut due = board.demanded().await;
        loop {
            let Some(store) = open(&store) else { return };
            store.feed_lag.begin();
            let read = reader.wait(&store, due).await;
            if read.is_ok() {
                let now = store.link.estimated_now();
                store.feed_lag.note(reader.newest().map_or(Duration::ZERO, |written| now.since(written)));
            }
            drop(store);
            if reader.settle(read).await.is_none() {
                continue;
            }
            board.confirm();
            let published = publish(&mut reader, &board, &changes).await;
            if published || due <= Instant::now() + ALIVE_SLACK {
                break;
            }
            // No watch needs to wake up. Watches that began to wait during the read may need to wake up earlier.
            due = board.take_demand().map_or(due, |other| due.min(other));
        }
        // The reader now rests until a watch waits for the next event.
        if let Some(store) = open(&store) {
            store.feed_lag.rest();
        }
        board.wake(&changes);
    }
}

/// Moves the entries that were read to the ring. Returns whether there were any.
async fn publish(reader: &mut Reader, board: &Board, changes: &Sender<()>) -> bool {
    let mut published = false;
    loop {
        if reader.resync_pause().is_some() {
            board.wake(changes);
            reader.pause_before_resync().await;
        }
        let Some(item) = reader.take() else { return published };
        board.push(item);
        published = true;
    }
}
