//! Reads the history of ended streams, from the newest entry of the feed to the oldest.

use std::sync::Arc;

use crate::error::Result;
use crate::query::{Ended, history};
use crate::redis::connect::connection::Request;
use crate::redis::fault::{is_no_permission, is_unknown_command, is_wrong_type, translate};
use crate::redis::feed::position::Position;
use crate::redis::feed::{entry, metadata};
use crate::redis::reply;
use crate::redis::store::Store;
use crate::stream::StreamId;
use crate::watch::Event;

/// Number of entries in the first read. Each further read requests twice as many entries, up to [`MAX_COUNT`].
const FIRST_COUNT: usize = 64;
/// Maximum number of entries per read, so that a read does not block the server for long.
const MAX_COUNT: usize = 500;

/// Returns at most `limit` events of streams that have ended, the latest first. Returns `None` if the user lacks the
/// permission to read the feed backwards.
pub(in crate::redis) async fn history(store: &Arc<Store>, ended: &Ended, limit: usize) -> Result<Option<Vec<Event>>> {
    ended.check()?;
    history::within(read(store, ended, limit)).await
}

async fn read(store: &Arc<Store>, ended: &Ended, limit: usize) -> Result<Option<Vec<Event>>> {
    let tail = metadata::tail(store).await?;
    let mut events = Vec::new();
    if !tail.has_generation() {
        return Ok(Some(events));
    }
    // Entries after the tail and before the generation are not events of this feed.
    let oldest = format!("{}-{}", tail.generation.0, tail.generation.1);
    let mut start = format!("{}-{}", tail.last.0, tail.last.1);
    let mut count = FIRST_COUNT;
    loop {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(store.keys.feed()).arg(&start).arg(&oldest).arg("COUNT").arg(count);
        let entries = match store.bulk.long_command(Request::One(&command)).await? {
            Ok(answer) => reply::array(answer)?,
            Err(error) if is_no_permission(&error) || is_unknown_command(&error) => return Ok(None),
            // The next change replaces a value of another type by a new feed.
            Err(error) if is_wrong_type(&error) => return Ok(Some(events)),
            Err(error) => return Err(translate(error, false)),
        };
        let before = entries.last().and_then(entry::id_of).filter(|_| entries.len() == count);
        for value in entries {
            // An entry that cannot be decoded hides no other entry.
            let Ok(entry) = entry::parse_entry(value) else { continue };
            let is_end = entry.is_event() && entry.is_end();
            if !is_end || ended.id.as_ref().is_some_and(|id| id.as_str().as_bytes() != entry.stream_id) {
                continue;
            }
            let id = std::str::from_utf8(&entry.stream_id).ok().and_then(|id| id.parse::<StreamId>().ok());
            let revision = Position { generation: tail.generation, last: entry.id }.revision();
            if let Some(event) = id.and_then(|id| entry.event(&id, revision))
                && let Event::Ended { last, as_of, .. } = &event
                && ended.matches(last, as_of.is_some())
            {
                events.push(event);
                if events.len() >= limit {
                    return Ok(Some(events));
                }
            }
        }
        let Some((millis, sequence)) = before else { return Ok(Some(events)) };
        start = format!("({millis}-{sequence}");
        count = (count * 2).min(MAX_COUNT);
    }
}
