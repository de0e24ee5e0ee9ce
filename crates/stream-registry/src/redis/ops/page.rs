//! Lists streams in pages, for large registries.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Pipeline, Value};

use super::decode::{Decoding, Found};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::fault::{Effect, translate};
use crate::redis::feed::metadata;
use crate::redis::feed::position::Position;
use crate::redis::reply;
use crate::redis::store::{Store, within};
use crate::registry::Page;

/// Maximum number of ids requested at once, so that a page does not block the server for long.
const MAX_SCAN: usize = 500;

/// Where a scan of the index continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::redis) struct ScanPosition {
    /// The cursor of `SSCAN`; 0 at the start and at the end.
    pub(in crate::redis) cursor: u64,
    /// A part of the run id of the server that has made the cursor; 0 if it is unknown.
    ///
    /// A cursor depends on the hash seed of the server's process. Another process would skip streams.
    pub(in crate::redis) server: u32,
}

/// Returns a page that begins at a scan position. Also returns the scan position of the next page; its cursor is 0
/// after the last page.
///
/// # Errors
///
/// Returns `InvalidCursor` if Redis has restarted, or another server is the primary, since the position was returned.
pub(in crate::redis) async fn page(
    store: &Arc<Store>,
    start: ScanPosition,
    count: usize,
) -> Result<(Page, ScanPosition)> {
    let mut position = start;
    let mut page = Page::default();
    loop {
        let wanted = (count - page.streams.len()).min(MAX_SCAN);
        let (scanned, found) = within(Effect::Read, async {
            let mut scanned = scan_on_one_server(store, position.cursor, wanted).await?;
            if position.cursor != 0 && position.server != scanned.server {
                return Err(cursor_of_another_server());
            }
            let ids = std::mem::take(&mut scanned.ids);
            Ok((scanned, records(store, ids).await?))
        })
        .await?;
        let (streams, unreadable) = Decoding::of(found).finish(store).await?;
        page.streams.extend(streams);
        page.unreadable += unreadable;
        page.total = scanned.total;
        page.revision = page.revision.or_else(|| scanned.feed.map(Position::revision));
        position = ScanPosition { cursor: scanned.next, server: scanned.server };
        // The server decides how many ids a scan returns, so a page may need several scans. Only the last page may have
        // fewer than `count` streams.
        if position.cursor == 0 || page.streams.len() >= count {
            return Ok((page, position));
        }
    }
}

fn cursor_of_another_server() -> Error {
    let message = "Redis has restarted or failed over since the cursor was made; start again without a cursor";
    Error::new(ErrorKind::InvalidCursor, message)
}

/// Returns the number of ids in the index, and the position in the change feed. The position is `None` if the user
/// lacks the permission to read it.
pub(in crate::redis) async fn extent(store: &Arc<Store>) -> Result<(u64, Option<Position>)> {
    let mut pipeline = redis::pipe();
    pipeline.add_command(metadata::command(&store.keys)).cmd("SCARD").arg(store.keys.index());
    let mut answers = within(Effect::Read, store.bulk.read_many(&pipeline)).await?.into_iter();
    let feed = metadata::parse(answers.next().unwrap_or(Value::Nil)).ok().and_then(Result::ok);
    let size = reply::checked(answers.next().unwrap_or(Value::Nil)).map_err(|error| translate(error, false))?;
    Ok((u64::try_from(reply::number(&size)?).unwrap_or(0), feed))
}

/// The part of the index that one scan returned.
pub(in crate::redis) struct Scanned {
    pub(in crate::redis) ids: Vec<Vec<u8>>,
    /// Scan position of the next part of the index; 0 if this is the last part.
    pub(in crate::redis) next: u64,
    /// See [`ScanPosition::server`].
    server: u32,
    /// Number of ids in the whole index.
    total: u64,
    /// Position in the change feed before the scan. `None` if the user lacks the permission to read the position.
    feed: Option<Position>,
}

/// Scans a part of the index, for checks that may miss ids while Redis restarts or a slot is moved.
pub(in crate::redis) async fn scan(store: &Arc<Store>, position: u64, count: usize) -> Result<Scanned> {
    let answers = store.bulk.read_many(&scan_commands(store, position, count)).await?;
    parse_scan(answers.into_iter())
}

/// Scans a part of the index, and asks the same server for its run id.
async fn scan_on_one_server(store: &Arc<Store>, position: u64, count: usize) -> Result<Scanned> {
    let mut pipeline = scan_commands(store, position, count);
    if !store.hides_run_id.load(Ordering::Relaxed) {
        pipeline.cmd("INFO").arg("server");
    }
    let mut answers = store.bulk.read_together(&pipeline).await?.into_iter();
    let mut scanned = parse_scan(answers.by_ref())?;
    match answers.next().map(reply::checked) {
        Some(Ok(info)) => scanned.server = run_id(info)?,
        // A user without the permission for `INFO` is not protected against cursors of another server.
        Some(Err(_)) => store.hides_run_id.store(true, Ordering::Relaxed),
        None => {}
    }
    Ok(scanned)
}

fn scan_commands(store: &Store, position: u64, count: usize) -> Pipeline {
    let mut pipeline = redis::pipe();
    // The feed position is read before the page. So a watch from this position misses no later change.
    pipeline.add_command(metadata::command(&store.keys));
    pipeline.cmd("SSCAN").arg(store.keys.index()).arg(position).arg("COUNT").arg(count);
    pipeline.cmd("SCARD").arg(store.keys.index());
    pipeline
}

fn parse_scan(mut answers: impl Iterator<Item = Value>) -> Result<Scanned> {
    let feed = metadata::parse(answers.next().unwrap_or(Value::Nil)).ok().and_then(Result::ok);
    let mut answer = || reply::checked(answers.next().unwrap_or(Value::Nil)).map_err(|error| translate(error, false));
    let mut scanned = reply::array(answer()?)?.into_iter();
    let next = reply::bytes(scanned.next().unwrap_or(Value::Nil))?;
    let next = std::str::from_utf8(&next).ok().and_then(|next| next.parse().ok());
    let next = next.ok_or_else(|| reply::unexpected(&Value::Nil))?;
    let ids = reply::array(scanned.next().unwrap_or(Value::Nil))?;
    let total = u64::try_from(reply::number(&answer()?)?).unwrap_or(0);
    let ids = ids.into_iter().map(reply::bytes).collect::<Result<_>>()?;
    Ok(Scanned { ids, next, server: 0, total, feed })
}

/// Returns the first digits of the run id, which are random for each process of a server.
fn run_id(info: Value) -> Result<u32> {
    let info = match info {
        Value::VerbatimString { text, .. } => text.into_bytes(),
        info => reply::bytes(info)?,
    };
    let info = String::from_utf8_lossy(&info);
    let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(run_id.and_then(|id| u32::from_str_radix(id.get(..8)?, 16).ok()).unwrap_or(0))
}

async fn records(store: &Arc<Store>, ids: Vec<Vec<u8>>) -> Result<Vec<Found>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::cmd("MGET");
    for id in &ids {
        command.arg(store.keys.record_bytes(id));
    }
    let records = reply::array(store.bulk.read(&command).await?)?;
    ids.into_iter().zip(records).map(|(id, record)| Ok((id, reply::optional_bytes(record)?))).collect()
}
