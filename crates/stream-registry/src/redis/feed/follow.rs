//! Followers of the change feed. Each follower reads the feed for one watch.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::time::{Instant, timeout};

use super::entry::{self, Entry};
use super::metadata;
use super::position::{EntryId, Position};
use crate::backoff::Backoff;
use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::fault::{self, Effect, no_reply};
use crate::redis::options::CALL_TIMEOUT;
use crate::redis::store::Store;
use crate::watch::{ALIVE_AFTER, Event, Watch, WatchFrom};

/// Maximum number of entries per read. After a read has timed out, the next read requests fewer entries.
const CHUNK: usize = 500;
/// Maximum time for which the server blocks a read that finds no entries. It is shorter than the interval between
/// `Alive` events.
const BLOCK: Duration = Duration::from_secs(3);
/// Pauses after failed reads.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_secs(1) };

/// Follows the feed from a position until the registry is closed or dropped.
pub(in crate::redis) async fn follow(store: &Arc<Store>, from: &WatchFrom) -> Result<Watch> {
    // The position of the last entry is read now, not when the watch is first polled. `WatchFrom::Now` starts at this
    // call.
    let tail = metadata::tail(store).await?;
    // The oldest entry is read even if the watch starts elsewhere. So this call fails at once if the user lacks the
    // permission to read the feed.
    let oldest = before_oldest(store).await?;
    let (emitted, lost) = match from {
        WatchFrom::Now => (tail, false),
        WatchFrom::Revision(revision) => {
            Position::from_revision(revision).map_or((tail, true), |position| (position, false))
        }
        WatchFrom::Oldest => (oldest.map_or(tail, |last| Position { last, ..tail }), false),
    };
    let start = (!lost && !emitted.is_lost(tail)).then(|| emitted.revision());
    let follower = Follower {
        store: Arc::downgrade(store),
        connection: None,
        emitted,
        lost,
        pending: VecDeque::new(),
        alive_at: Instant::now() + ALIVE_AFTER,
        count: CHUNK,
        failures: 0,
        failing: false,
    };
    let watch = Watch::new(unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }));
    Ok(match start {
        Some(revision) => watch.starting_after(revision),
        None => watch,
    })
}

/// Returns the id of the entry that preceded the oldest entry in the feed. Returns `None` if the feed is empty.
async fn before_oldest(store: &Store) -> Result<Option<EntryId>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(1).arg("STREAMS").arg(store.keys.feed()).arg("0-0");
    match store.link.command(&command, Effect::Read).await? {
        Ok(oldest) => Ok(entry::parse(oldest)?.first().map(|oldest| oldest.previous)),
        Err(error) if fault::is_wrong_type(&error) => Ok(None),
        Err(error) => Err(fault::translate(error, false)),
    }
}

/// Reads the position of the feed's last entry over the follower's connection.
async fn tail(connection: &mut Connection, store: &Store) -> Result<Position> {
    let answer = timeout(CALL_TIMEOUT, connection.send(&metadata::command(&store.keys))).await;
    metadata::parse_single(answer.map_err(|_| no_reply())?)
}

/// A reader of the change feed, with its own connection.
struct Follower {
    /// A weak reference, so that a watch does not keep the registry open.
    store: Weak<Store>,
    connection: Option<Connection>,
    /// The position of the last emitted event.
    emitted: Position,
    /// Whether events after `emitted` may have been lost.
    lost: bool,
    /// Entries that were read but not yet emitted. An entry without an event only advances the position.
    pending: VecDeque<(EntryId, Option<Event>)>,
    /// When the next `Alive` event is due.
    alive_at: Instant,
    /// Number of entries to request in the next read.
    count: usize,
    /// Number of failed reads in a row.
    failures: u32,
    /// Whether reads are failing and the failure was logged.
    failing: bool,
}

/// The result of a read of the feed.
enum Read {
    Entries,
    Nothing,
    Lost,
}

impl Follower {
    /// Waits for the next event.
    ///
    /// No event is lost if the future is dropped. The server keeps the feed, and there is no await point between taking
    /// an event from the queue and returning it.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let mut advanced = false;
            while let Some((id, event)) = self.pending.pop_front() {
                self.emitted.last = id;
                if event.is_some() {
                    self.alive_at = Instant::now() + ALIVE_AFTER;
                    return event;
                }
                advanced = true;
            }
            // Entries without an event have advanced the position. `Alive` reports the new position to consumers that
            // wait for it.
            if advanced {
                self.alive_at = Instant::now() + ALIVE_AFTER;
                return Some(Event::Alive { revision: self.emitted.revision() });
            }
            let store = self.store.upgrade()?;
            if store.link.is_closed() {
                return None;
            }
            match self.read(&store).await {
                Ok(Read::Entries) => self.failures = 0,
                Ok(Read::Nothing) => {
                    self.failures = 0;
                    if Instant::now() >= self.alive_at {
                        self.alive_at = Instant::now() + ALIVE_AFTER;
                        return Some(Event::Alive { revision: self.emitted.revision() });
                    }
                }
                Ok(Read::Lost) => {
                    self.lost = false;
                    self.alive_at = Instant::now() + ALIVE_AFTER;
                    return Some(Event::Resync { revision: self.emitted.revision() });
                }
                Err(error) => {
                    self.connection = None;
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "cannot read the change feed; retrying");
                    }
                    self.failures = self.failures.saturating_add(1);
                    drop(store);
                    tokio::time::sleep(BACKOFF.pause(self.failures)).await;
                    continue;
                }
            }
            if std::mem::take(&mut self.failing) {
                tracing::info!("reading the change feed works again");
            }
        }
    }

    async fn read(&mut self, store: &Arc<Store>) -> Result<Read> {
        if self.connection.is_none() {
            let mut connection = store.link.open_separate().await?;
            // Before the first read, checks whether the feed has a new generation or ends before the emitted position.
            // In both cases, events may have been lost.
            let tail = tail(&mut connection, store).await?;
            self.connection = Some(connection);
            if self.lost || self.emitted.is_lost(tail) {
                self.emitted = tail;
                return Ok(Read::Lost);
            }
            self.emitted.generation = tail.generation;
        }
        let Some(connection) = &mut self.connection else { return Ok(Read::Nothing) };
        let mut command = redis::cmd("XREAD");
        let (millis, sequence) = self.emitted.last;
        // The server blocks this read at most until the next `Alive` event is due. The minimum is 1 ms, because 0 would
        // block forever.
        let block = BLOCK.min(self.alive_at.saturating_duration_since(Instant::now())).max(Duration::from_millis(1));
        command.arg("COUNT").arg(self.count).arg("BLOCK").arg(block.as_millis().to_string()).arg("STREAMS");
        command.arg(store.keys.feed()).arg(format!("{millis}-{sequence}"));
        let sent_at = Instant::now();
        let answer = timeout(block + CALL_TIMEOUT, connection.send(&command)).await;
        let answer = answer.map_err(|_| {
            // The network may be too slow for this many records. Each failed attempt takes seconds, so the count is
            // reduced quickly.
            self.count = (self.count / 8).max(1);
            no_reply()
        })?;
        let entries = match answer {
            Ok(answer) => entry::parse(answer)?,
            Err(error) if fault::is_wrong_type(&error) => {
                // The feed key holds a value of another type. The next change replaces this value. Until then, there is
                // nothing to read.
                let tail = tail(connection, store).await?;
                if self.emitted == tail {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return Ok(Read::Nothing);
                }
                self.emitted = tail;
                return Ok(Read::Lost);
            }
            Err(error) => return Err(fault::translate(error, false)),
        };
        if entries.is_empty() {
            // The read found no new entries. The feed may have been deleted or replaced, so the position of its last
            // entry is checked.
            let tail = tail(connection, store).await?;
            if self.emitted.is_lost(tail) {
                self.emitted = tail;
                return Ok(Read::Lost);
            }
            self.emitted.generation = tail.generation;
            return Ok(Read::Nothing);
        }
        if entries.len() == self.count && sent_at.elapsed() < CALL_TIMEOUT / 4 {
            self.count = (self.count * 2).min(CHUNK);
        }
        if entries[0].previous != self.emitted.last {
            // Entries were trimmed from the feed, or the feed has a new generation.
            self.emitted = tail(connection, store).await?;
            return Ok(Read::Lost);
        }
        self.queue(entries);
        Ok(Read::Entries)
    }

    /// Queues entries up to the first gap. The next read starts at the gap and reports the loss of events.
    fn queue(&mut self, entries: Vec<Entry>) {
        let mut previous = self.emitted.last;
        for entry in entries {
            if entry.previous != previous {
                break;
            }
            if previous == (0, 0) {
                self.emitted.generation = entry.id;
            }
            previous = entry.id;
            let revision = Position { generation: self.emitted.generation, last: entry.id }.revision();
            // Other programs may write stream ids that are invalid in this crate. The entries of such streams have no
            // event. If the id is valid but the entry cannot be decoded, the event is a `Resync`, because skipping the
            // entry would hide a change.
            let id = std::str::from_utf8(&entry.stream_id).ok().and_then(|id| id.parse().ok());
            let event = id.map(|id| entry.event(&id, revision.clone()).unwrap_or(Event::Resync { revision }));
            self.pending.push_back((entry.id, event));
        }
    }
}
