//! Followers of the change feed. Each follower reads the feed for one watch.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::time::{Instant, timeout};

use super::ends::{before, first_after, oldest, repaired_tail, tail};
use super::entry::{self, Entry};
use super::metadata;
use super::position::{EntryId, Link, Position};
use crate::backoff::Backoff;
use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::fault::{self, no_reply};
use crate::redis::options::CALL_TIMEOUT;
use crate::redis::store::Store;
use crate::watch::{ALIVE_AFTER, Event, Watch, WatchFrom};

/// Maximum number of entries per read. After a read has timed out, the next read requests fewer entries.
const CHUNK: usize = 64;
/// Number of entries in the first read. The size of the records is not known yet.
const FIRST_COUNT: usize = 8;
/// Approximate size of the records in one read, in bytes.
///
/// A watch that is not polled keeps the events of one read. If each read had 500 entries of any size, 1 000 event readers
/// that never read could take gigabytes of a server's memory.
const READ_BYTES: usize = 128 * 1024;
/// Maximum time for which the server blocks a read that finds no entries. It is shorter than the interval between
/// `Alive` events.
const BLOCK: Duration = Duration::from_secs(3);
/// Pauses after failed reads.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_secs(1) };
/// Minimum pause between two `Resync` events of a watch that has read all entries.
const RESYNC_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two reads while the feed has no readable metadata and no process repairs the feed.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// Follows the feed from a position until the registry is closed or dropped.
pub(in crate::redis) async fn follow(store: &Arc<Store>, from: &WatchFrom) -> Result<Watch> {
    // The position of the last entry is read now, not when the watch is first polled. `WatchFrom::Now` starts at this
    // call.
    let tail = metadata::tail(store).await?;
    // The oldest entry is read even if the watch starts elsewhere. So this call fails at once if the user lacks the
    // permission to read the feed.
    let oldest = oldest(store).await?;
    let (emitted, lost) = match from {
        WatchFrom::Now => (tail, false),
        WatchFrom::Revision(revision) => {
            Position::from_revision(revision).map_or((tail, true), |position| (position, false))
        }
        WatchFrom::Oldest => (oldest.map_or(tail, |oldest| before(&oldest, tail)), false),
    };
    let start = (!lost && !emitted.is_lost(tail)).then(|| emitted.revision());
    let follower = Follower {
        store: Arc::downgrade(store),
        connection: None,
        emitted,
        lost,
        after_damage: false,
        pending: VecDeque::new(),
        resync_after: Instant::now(),
        catching_up: false,
        alive_at: Instant::now() + ALIVE_AFTER,
        count: FIRST_COUNT,
        failures: 0,
        failing: false,
    };
    let watch = Watch::new(unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }));
    Ok(match start {
        Some(revision) => watch.starting_after(revision),
        None => watch,
    })
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
    /// Whether the entries up to `emitted` are not in the chain, and a `Resync` has reported them.
    after_damage: bool,
    /// Entries that were read but not yet emitted. An entry without an event only advances the position.
    pending: VecDeque<(Position, Option<Event>)>,
    /// When the next `Resync` may be emitted.
    resync_after: Instant,
    /// Whether there are more entries in the feed than the last read has returned.
    catching_up: bool,
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
}

impl Follower {
    /// Waits for the next event.
    ///
    /// No event is lost if the future is dropped. The server keeps the feed, and there is no await point between taking
    /// an event from the queue and returning it.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let mut advanced = false;
            while let Some((_, event)) = self.pending.front() {
                let is_resync = matches!(event, Some(Event::Resync { .. }));
                if is_resync && !self.catching_up {
                    tokio::time::sleep_until(self.resync_after).await;
                }
                let Some((position, event)) = self.pending.pop_front() else { break };
                self.emitted = position;
                if is_resync {
                    self.resync_after = Instant::now() + RESYNC_PAUSE;
                }
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
                Err(error) => {
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

    /// Reads the next entries into the queue. If this function fails, the next read opens another connection.
    async fn read(&mut self, store: &Arc<Store>) -> Result<Read> {
        let (mut connection, is_new) = match self.connection.take() {
            Some(connection) => (connection, false),
            None => (store.link.open_separate().await?, true),
        };
        // Before the first read, checks whether the feed has a new generation or ends before the emitted position. In
        // both cases, events may have been lost.
        let moved = if is_new { self.check_tail(&mut connection, store).await? } else { None };
        let read = match moved {
            Some(read) => read,
            None => self.read_entries(&mut connection, store).await?,
        };
        self.connection = Some(connection);
        Ok(read)
    }

    async fn read_entries(&mut self, connection: &mut Connection, store: &Store) -> Result<Read> {
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
                return Ok(self.resync_at(tail));
            }
            Err(error) => return Err(fault::translate(error, false)),
        };
        let Some(first) = entries.first() else {
            // The read found no new entries. The feed may have been deleted or replaced, so the position of its last
            // entry is checked.
            return Ok(self.check_tail(connection, store).await?.unwrap_or(Read::Nothing));
        };
        self.catching_up = entries.len() == self.count;
        let size: usize = entries.iter().map(Entry::size).sum();
        let affordable = (READ_BYTES * entries.len() / size.max(1)).clamp(1, CHUNK);
        let grows = self.catching_up && sent_at.elapsed() < CALL_TIMEOUT / 4;
        self.count = if grows { self.count * 2 } else { self.count }.min(affordable);
        if !self.emitted.has_generation() {
            // The feed may contain entries of an earlier generation, whose metadata was lost.
            let tail = tail(connection, store).await?;
            if !tail.has_generation() && self.after_damage {
                tokio::time::sleep(UNREADABLE_PAUSE).await;
                return Ok(Read::Nothing);
            }
            if !tail.has_generation() {
                return self.relocate(connection, store, tail).await;
            }
            if first.id < tail.generation && !self.after_damage {
                return Ok(self.resync_at(tail));
            }
            self.emitted.generation = tail.generation;
            if first.id < tail.generation {
                // A `Resync` has reported the loss of the metadata, and the first event since then begins a generation.
                self.emitted.last = tail.before_generation();
                return Ok(Read::Nothing);
            }
        }
        if self.emitted.link(first.id, first.previous, self.after_damage) == Link::Gap {
            return self.skip_gap(connection, store, entries).await;
        }
        if let Some(damaged) = self.queue(entries) {
            repaired_tail(connection, store, damaged).await?;
        }
        Ok(Read::Entries)
    }

    /// Queues entries up to the first gap; the next read starts there. Several damaged entries cause only one `Resync`,
    /// because the consumer takes its list after all of them. Returns the id of the last queued entry if this entry is
    /// damaged.
    fn queue(&mut self, entries: Vec<Entry>) -> Option<EntryId> {
        let mut position = self.emitted;
        let mut resynced = false;
        for entry in entries {
            let link = position.link(entry.id, entry.previous, self.after_damage);
            if link == Link::Gap {
                break;
            }
            position.last = entry.id;
            let revision = position.revision();
            // Other programs may write stream ids that are invalid in this crate. The entries of such streams have no
            // event. If the id is valid but the entry cannot be decoded, the event is a `Resync`, because skipping the
            // entry would hide a change.
            let id = std::str::from_utf8(&entry.stream_id).ok().and_then(|id| id.parse().ok());
            let decoded = match (link, id) {
                (Link::Stray | Link::Gap, _) => None,
                (Link::Next, None) => Some(None),
                (Link::Next, Some(id)) => entry.event(&id, revision.clone()).map(Some),
            };
            self.after_damage = decoded.is_none();
            let resync = || (!std::mem::replace(&mut resynced, true)).then_some(Event::Resync { revision });
            self.pending.push_back((position, decoded.unwrap_or_else(resync)));
        }
        if resynced {
            log_damage();
        }
        self.after_damage.then_some(position.last)
    }

    /// Queues the `Resync` for entries whose first one does not follow the emitted position.
    async fn skip_gap(&mut self, connection: &mut Connection, store: &Store, entries: Vec<Entry>) -> Result<Read> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Read::Nothing) };
        let tail = repaired_tail(connection, store, first.id).await?;
        if tail.generation != self.emitted.generation {
            return Ok(self.resync_at(tail));
        }
        if tail.last >= first.id {
            let is_trimmed = match connection.send(&first_after(store, (0, 0))).await {
                Ok(answer) => entry::parse(answer)?.first().is_none_or(|oldest| oldest.id >= first.id),
                Err(error) if fault::is_wrong_type(&error) => true,
                Err(error) => return Err(fault::translate(error, false)),
            };
            if is_trimmed {
                // The reader is too slow, so it skips the entries that the list of its consumer includes.
                return Ok(self.resync_at(tail));
            }
            // The gap is inside the feed: entries were deleted, or the metadata was changed. The entries after the gap
            // are not skipped, because a history needs them.
            self.catching_up |= tail.last > first.id;
            self.resync_after_damage(self.emitted);
            self.emitted.last = first.previous.unwrap_or(first.id);
            self.queue(entries);
            return Ok(Read::Entries);
        }
        // According to the metadata, these entries are after the end of the feed, so they are not events.
        Ok(self.resync_after_damage(Position { last: last.id, ..self.emitted }))
    }

    /// Checks whether events after the emitted position may have been lost. If so, queues a `Resync`.
    async fn check_tail(&mut self, connection: &mut Connection, store: &Store) -> Result<Option<Read>> {
        let tail = tail(connection, store).await?;
        if self.lost || self.emitted.is_lost(tail) {
            return Ok(Some(self.relocate(connection, store, tail).await?));
        }
        Ok(None)
    }

    /// Queues a `Resync`, because the feed with this tail does not contain the emitted position.
    async fn relocate(&mut self, connection: &mut Connection, store: &Store, found: Position) -> Result<Read> {
        let mut beyond = match connection.send(&first_after(store, found.last)).await {
            Ok(answer) => entry::parse(answer)?,
            Err(error) if fault::is_wrong_type(&error) => Vec::new(),
            Err(error) => return Err(fault::translate(error, false)),
        };
        let Some(beyond) = beyond.pop() else { return Ok(self.resync_at(found)) };
        if tail(connection, store).await?.last >= beyond.id {
            // The entry was added since the tail was read.
            return Ok(self.resync_at(found));
        }
        // The feed has entries after its recorded tail. So the emitted position may still be good, and only the
        // metadata is damaged. The feed is not read from the recorded tail, because that would repeat its events.
        let is_behind = !self.lost && found.has_generation() && found.generation == self.emitted.generation;
        if is_behind && self.after_damage {
            return Ok(Read::Nothing);
        }
        let wanted = if is_behind { self.emitted.last } else { beyond.id };
        let repaired = repaired_tail(connection, store, wanted).await?;
        if is_behind && repaired.generation == self.emitted.generation {
            return Ok(self.resync_after_damage(self.emitted));
        }
        if repaired.has_generation() {
            return Ok(self.resync_at(repaired));
        }
        Ok(self.resync_after_damage(repaired))
    }

    /// Queues a `Resync` at a position in the chain of entries.
    fn resync_at(&mut self, position: Position) -> Read {
        (self.lost, self.after_damage) = (false, false);
        self.pending.push_back((position, Some(Event::Resync { revision: position.revision() })));
        Read::Entries
    }

    /// Queues a `Resync` after entries that are not in the chain.
    fn resync_after_damage(&mut self, position: Position) -> Read {
        log_damage();
        self.resync_at(position);
        self.after_damage = true;
        Read::Entries
    }
}

fn log_damage() {
    tracing::warn!("the change feed has lost entries or has entries of another program; resyncing");
}
