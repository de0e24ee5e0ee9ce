//! A reader of the change feed: turns the entries of the feed into events, and detects missing and damaged entries.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::ends::{first_after, repaired_tail, tail};
use super::entry::{self, Entry};
use super::position::{EntryId, Link, Position};
use super::ring::Item;
use crate::backoff::Backoff;
use crate::error::{ErrorKind, Result};
use crate::redis::connect::connection::Connection;
use crate::redis::fault::{self, no_reply};
use crate::redis::options::CALL_TIMEOUT;
use crate::redis::store::Store;
use crate::stream::Timestamp;
use crate::watch::Event;

/// Maximum number of entries per read. After a read has timed out, the next read requests fewer entries.
const CHUNK: usize = 64;
/// Number of entries in the first read. The size of the records is not known yet.
const FIRST_COUNT: usize = 8;
/// Approximate size of the records in one read, in bytes.
///
/// A watch that is not polled while it catches up keeps the events of one read. If each read had 500 entries of any
/// size, 1 000 event readers that never read could take gigabytes of a server's memory.
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

/// A reader of the change feed. All watches share one, and each watch that catches up has its own.
pub(super) struct Reader {
    /// The connection for reads that block. Reads that do not block use the connection for lists.
    connection: Option<Connection>,
    /// The position of the last entry that was taken.
    pub(super) position: Position,
    /// Whether events after `position` may have been lost.
    lost: bool,
    /// Whether the entries up to `position` are not in the chain, and a `Resync` has reported them.
    after_damage: bool,
    /// Entries that were read but not yet taken.
    pending: VecDeque<Item>,
    /// When the next `Resync` may be taken.
    resync_after: Instant,
    /// Whether there are more entries than this reader has read.
    pub(super) catching_up: bool,
    /// Number of entries to request in the next read.
    count: usize,
    /// Number of failed reads in a row.
    failures: u32,
    /// Whether reads are failing, and this was already logged.
    failing: bool,
}

/// The result of a read of the feed.
pub(super) enum Read {
    Entries,
    Nothing,
}

impl Reader {
    /// Creates a reader that begins after a position.
    pub(super) fn new(position: Position, lost: bool, catching_up: bool) -> Self {
        Self {
            connection: None,
            position,
            lost,
            after_damage: false,
            pending: VecDeque::new(),
            resync_after: Instant::now(),
            catching_up,
            count: FIRST_COUNT,
            failures: 0,
            failing: false,
        }
    }

    /// Creates another reader at the position of this reader.
    pub(super) fn successor(&self) -> Self {
        Self {
            after_damage: self.after_damage,
            resync_after: self.resync_after,
            ..Self::new(self.position, self.lost, false)
        }
    }

    /// Waits until the next entry may be taken: there is a minimum pause between two `Resync` events of a reader that
    /// has read all entries. Returns at once if no entry is queued.
    pub(super) async fn pause_before_resync(&self) {
        if let Some(until) = self.resync_pause() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Returns when the next entry may be taken. Returns `None` if that is now.
    pub(super) fn resync_pause(&self) -> Option<Instant> {
        let is_paused = !self.catching_up && self.pending.front().is_some_and(Item::is_resync);
        (is_paused && Instant::now() < self.resync_after).then_some(self.resync_after)
    }

    /// Returns when the latest entry that was read but not yet taken was written.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        let (millis, _) = self.pending.back()?.position.last;
        Some(Timestamp::from_unix_nanos(i128::from(millis) * 1_000_000))
    }

    /// Takes the next entry that was read.
    pub(super) fn take(&mut self) -> Option<Item> {
        let item = self.pending.pop_front()?;
        (self.position, self.after_damage) = (item.position, item.after_damage);
        if item.is_resync() {
            self.resync_after = Instant::now() + RESYNC_PAUSE;
        }
        Some(item)
    }

    /// Queues an entry that another reader has read. `more` means that the other reader has read more entries.
    pub(super) fn accept(&mut self, item: Item, more: bool) {
        self.pending.push_back(item);
        self.catching_up = more;
    }

    /// Logs the first failure of a series and the success after it. Pauses after a failure.
    pub(super) async fn settle(&mut self, read: Result<Read>) -> Option<Read> {
        match read {
            Ok(read) => {
                self.failures = 0;
                if std::mem::take(&mut self.failing) {
                    tracing::info!("reading the change feed works again");
                }
                Some(read)
            }
            Err(error) if error.kind() == ErrorKind::Closed => None,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot read the change feed; retrying");
                }
                self.failures = self.failures.saturating_add(1);
                tokio::time::sleep(BACKOFF.pause(self.failures)).await;
                None
            }
        }
    }

    /// Waits for entries and queues them. The server blocks this read at most until `due`.
    ///
    /// The read uses a connection of its own. If this function fails or its future is dropped, the next read opens
    /// another connection.
    pub(super) async fn wait(&mut self, store: &Store, due: Instant) -> Result<Read> {
        // With Sentinel, a connection to a former primary still works, but its feed has no new entries.
        let (mut connection, is_new) = match self.connection.take().filter(|connection| !connection.is_broken()) {
            Some(connection) => (connection, false),
            None => (store.link.open_separate().await?, true),
        };
        // The minimum is 1 ms, because 0 would block forever.
        let block = BLOCK.min(due.saturating_duration_since(Instant::now())).max(Duration::from_millis(1));
        let read = self.read_over(&mut connection, store, is_new, Some(block)).await?;
        self.connection = Some(connection);
        Ok(read)
    }

    /// Queues the next entries, without waiting for further ones. The read uses the connection for lists.
    pub(super) async fn read(&mut self, store: &Store) -> Result<Read> {
        let mut connection = store.bulk.connection().await?;
        // Other calls may have reconnected since the last read, so each read checks the tail.
        let read = self.read_over(&mut connection, store, true, None).await;
        if read.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)) {
            connection.mark_broken();
        }
        read
    }

    /// Reads the next entries into the queue.
    async fn read_over(
        &mut self,
        connection: &mut Connection,
        store: &Store,
        checks_tail: bool,
        block: Option<Duration>,
    ) -> Result<Read> {
        // Before the first read, checks whether the feed has a new generation or ends before the position. In both
        // cases, events may have been lost.
        if checks_tail && let Some(Read::Entries) = self.check_tail(connection, store).await? {
            return Ok(Read::Entries);
        }
        self.read_entries(connection, store, block).await
    }

    async fn read_entries(
        &mut self,
        connection: &mut Connection,
        store: &Store,
        block: Option<Duration>,
    ) -> Result<Read> {
        let mut command = redis::cmd("XREAD");
        let (millis, sequence) = self.position.last;
        command.arg("COUNT").arg(self.count);
        if let Some(block) = block {
            command.arg("BLOCK").arg(block.as_millis().to_string());
        }
        command.arg("STREAMS").arg(store.keys.feed()).arg(format!("{millis}-{sequence}"));
        let sent_at = Instant::now();
        let answer = timeout(block.unwrap_or_default() + CALL_TIMEOUT, connection.send(&command)).await;
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
                if self.position == tail {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return Ok(Read::Nothing);
                }
                return Ok(self.resync_at(tail));
            }
            Err(error) => return Err(fault::translate(error, false)),
        };
        let Some(first) = entries.first() else {
            self.catching_up = false;
            // The read found no new entries. The feed may have been deleted or replaced, so the position of its last
            // entry is checked.
            return Ok(self.check_tail(connection, store).await?.unwrap_or(Read::Nothing));
        };
        self.catching_up = entries.len() == self.count;
        let size: usize = entries.iter().map(Entry::size).sum();
        let affordable = (READ_BYTES * entries.len() / size.max(1)).clamp(1, CHUNK);
        let grows = sent_at.elapsed() < CALL_TIMEOUT / 4;
        self.count = if grows { self.count * 2 } else { self.count }.min(affordable);
        if !self.position.has_generation() {
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
            self.position.generation = tail.generation;
            if first.id < tail.generation {
                // A `Resync` has reported the loss of the metadata, and the first event since then begins a generation.
                self.position.last = tail.before_generation();
                return Ok(Read::Nothing);
            }
        }
        if self.position.link(first.id, first.previous, self.after_damage) == Link::Gap {
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
        let mut position = self.position;
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
            let resync =
                || (!std::mem::replace(&mut resynced, true)).then_some(Event::Resync { revision, shard: None });
            let event = decoded.unwrap_or_else(resync);
            self.pending.push_back(Item::new(position, self.after_damage, event, entry.size()));
        }
        if resynced {
            log_damage();
        }
        self.after_damage.then_some(position.last)
    }

    /// Queues the `Resync` for entries whose first one does not follow the position.
    async fn skip_gap(&mut self, connection: &mut Connection, store: &Store, entries: Vec<Entry>) -> Result<Read> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Read::Nothing) };
        let tail = repaired_tail(connection, store, first.id).await?;
        if tail.generation != self.position.generation {
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
            self.resync_after_damage(self.position);
            self.position.last = first.previous.unwrap_or(first.id);
            self.queue(entries);
            return Ok(Read::Entries);
        }
        // According to the metadata, these entries are after the end of the feed, so they are not events.
        Ok(self.resync_after_damage(Position { last: last.id, ..self.position }))
    }

    /// Checks whether events after the position may have been lost. If so, queues a `Resync`.
    async fn check_tail(&mut self, connection: &mut Connection, store: &Store) -> Result<Option<Read>> {
        let tail = tail(connection, store).await?;
        if self.lost || self.position.is_lost(tail) {
            return Ok(Some(self.relocate(connection, store, tail).await?));
        }
        Ok(None)
    }

    /// Queues a `Resync`, because the feed with this tail does not contain the position.
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
        // The feed has entries after its recorded tail. So the position may still be good, and only the
        // metadata is damaged. The feed is not read from the recorded tail, because that would repeat its events.
        let is_behind = !self.lost && found.has_generation() && found.generation == self.position.generation;
        if is_behind && self.after_damage {
            return Ok(Read::Nothing);
        }
        let wanted = if is_behind { self.position.last } else { beyond.id };
        let repaired = repaired_tail(connection, store, wanted).await?;
        if is_behind && repaired.generation == self.position.generation {
            return Ok(self.resync_after_damage(self.position));
        }
        if repaired.has_generation() {
            return Ok(self.resync_at(repaired));
        }
        Ok(self.resync_after_damage(repaired))
    }

    /// Queues a `Resync` at a position in the chain of entries.
    fn resync_at(&mut self, position: Position) -> Read {
        self.queue_resync(position, false)
    }

    /// Queues a `Resync` after entries that are not in the chain.
    fn resync_after_damage(&mut self, position: Position) -> Read {
        log_damage();
        self.queue_resync(position, true)
    }

    fn queue_resync(&mut self, position: Position, after_damage: bool) -> Read {
        (self.lost, self.after_damage) = (false, after_damage);
        let event = Event::Resync { revision: position.revision(), shard: None };
        self.pending.push_back(Item::new(position, after_damage, Some(event), 0));
        Read::Entries
    }
}

fn log_damage() {
    tracing::warn!("the change feed has lost entries or has entries of another program; resyncing");
}
