//! Reads both ends of the change feed.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::entry::{self, Entry};
use super::metadata;
use super::position::{EntryId, Position};
use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::fault::{self, Effect, no_reply};
use crate::redis::options::CALL_TIMEOUT;
use crate::redis::store::Store;

/// Maximum time to wait until the sweep has repaired the feed. A process that sweeps does so about once a second.
const REPAIR_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two checks whether the feed was repaired.
const REPAIR_CHECK: Duration = Duration::from_millis(100);

/// Returns the oldest entry in the feed. Returns `None` if the feed is empty.
pub(in crate::redis) async fn oldest(store: &Store) -> Result<Option<Entry>> {
    match store.link.command(&first_after(store, (0, 0)), Effect::Read).await? {
        Ok(oldest) => Ok(entry::parse(oldest)?.pop()),
        Err(error) if fault::is_wrong_type(&error) => Ok(None),
        Err(error) => Err(fault::translate(error, false)),
    }
}

/// Returns the command that reads the first entry after an id.
pub(super) fn first_after(store: &Store, (millis, sequence): EntryId) -> redis::Cmd {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(1).arg("STREAMS").arg(store.keys.feed()).arg(format!("{millis}-{sequence}"));
    command
}

/// Returns the position before the oldest entry of the current generation. `oldest` is the oldest entry in the feed.
pub(super) fn before(oldest: &Entry, tail: Position) -> Position {
    if !tail.has_generation() {
        return tail;
    }
    let last = match oldest.previous {
        _ if oldest.id < tail.generation => tail.before_generation(),
        Some(previous) => previous,
        None => (0, 0),
    };
    Position { last, ..tail }
}

/// Reads the position of the feed's last entry over the follower's connection.
pub(super) async fn tail(connection: &mut Connection, store: &Store) -> Result<Position> {
    let answer = timeout(CALL_TIMEOUT, connection.send(&metadata::command(&store.keys))).await;
    metadata::parse_single(answer.map_err(|_| no_reply())?)
}

/// Reads the position of the feed's last entry. If the position is before `id`, the feed is damaged: another program
/// has added entries or changed the metadata. Then this function waits until the sweep has repaired the feed, so that a
/// list that the consumer takes after its `Resync` has a position after the damage.
pub(super) async fn repaired_tail(connection: &mut Connection, store: &Store, id: EntryId) -> Result<Position> {
    let deadline = Instant::now() + REPAIR_LIMIT;
    loop {
        let found = tail(connection, store).await?;
        if found.has_generation() && found.last >= id || Instant::now() >= deadline {
            return Ok(found);
        }
        tokio::time::sleep(REPAIR_CHECK).await;
    }
}
