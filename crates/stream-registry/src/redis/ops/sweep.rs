//! The sweep, which looks for expired streams at intervals. Each expired stream is reported once, even if several
//! processes sweep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use redis::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{page, postpone, prune};
use crate::error::{ErrorKind, Result};
use crate::redis::fault::{Effect, is_wrong_type, translate};
use crate::redis::reply;
use crate::redis::script::Script;
use crate::redis::store::{Store, millis};

static SWEEP: LazyLock<Script> = LazyLock::new(|| Script::new("sweep", include_str!("sweep.lua")));

/// Maximum number of streams in one script call.
const CHUNK: usize = 200;
/// Number of ids that one scan of the index requests.
const PAGE: usize = 1_000;
/// Upper bound of the interval between sweeps.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// A longer gap between sweeps counts as an outage, if the shortest time to live is between 15 s and 50 s. Outside this
/// range, the maximum gap is a third of a shorter time to live, or a tenth of a longer one.
const MAX_GAP: Duration = Duration::from_secs(5);

/// Returns the upper bound of the interval between sweeps, if streams have this time to live.
fn interval_for(ttl: Duration) -> Duration {
    MAX_INTERVAL.min(ttl / 8)
}

/// Starts a task that sweeps at intervals until the store is closed or dropped.
pub(in crate::redis) fn spawn(store: &Arc<Store>) {
    let own_interval = interval_for(store.options.ttl);
    let mut interval = own_interval;
    // Whether the last index scan of this process found streams that were not in the schedule.
    let found_unscheduled = Arc::new(AtomicBool::new(true));
    store.note_sweep(Some(Instant::now()));
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let mut failing: Option<ErrorKind> = None;
        let mut index_scan: Option<JoinHandle<()>> = None;
        loop {
            // The interval is random, so that several processes do not sweep at the same time.
            tokio::time::sleep(interval.mul_f64(0.8 + fastrand::f64() / 5.0)).await;
            let Some(open) = open(&store) else { return };
            match sweep(&open, found_unscheduled.load(Ordering::Relaxed)).await {
                Ok(Swept { scan_due, shortest_ttl }) => {
                    failing = None;
                    open.note_sweep(Some(Instant::now()));
                    // Streams of other processes may need shorter intervals than the streams of this process.
                    interval = shortest_ttl.map_or(own_interval, |ttl| interval_for(ttl).min(own_interval));
                    // The index is scanned in a separate task, because scanning a large index would delay the sweep.
                    if scan_due && index_scan.as_ref().is_none_or(JoinHandle::is_finished) {
                        index_scan =
                            Some(tokio::spawn(scan_index(Weak::clone(&store), Arc::clone(&found_unscheduled))));
                    }
                }
                Err(error) if failing.replace(error.kind()) == Some(error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::Denied => {
                    open.note_sweep(None);
                    tracing::warn!(%error, "this Redis user lacks permission to report expired streams; another process must do it");
                }
                Err(error) => tracing::debug!(%error, "cannot check for expired streams; retrying"),
            }
        }
    });
}

fn open(store: &Weak<Store>) -> Option<Arc<Store>> {
    store.upgrade().filter(|store| !store.link.is_closed())
}

/// The result of a sweep.
struct Swept {
    /// Whether the index should be scanned.
    scan_due: bool,
    /// The shortest time to live of all processes that sweep, if one is known.
    shortest_ttl: Option<Duration>,
}

/// Checks all streams whose next check is due.
async fn sweep(store: &Arc<Store>, scan_often: bool) -> Result<Swept> {
    let mut scan_due = false;
    loop {
        let now = store.link.now().await?.as_unix_nanos() / 1_000_000;
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(store.keys.due()).arg("-inf").arg(now.to_string()).arg("LIMIT").arg(0).arg(CHUNK);
        let due = match store.link.command(&command, Effect::Housekeeping).await? {
            Ok(due) => reply::array(due)?.into_iter().map(reply::bytes).collect::<Result<Vec<_>>>()?,
            // The schedule's key holds a value of another type. The next scan of the index replaces this value.
            Err(error) if is_wrong_type(&error) => Vec::new(),
            Err(error) => return Err(translate(error, false)),
        };
        let is_last = due.len() < CHUNK;
        let others = postpone::postpone(store, due, now).await?;
        // The last call of each sweep also confirms the times to live and reports whether the index should be scanned.
        if others.is_empty() && !is_last {
            continue;
        }
        let checked = check(store, &others, now, scan_often).await?;
        scan_due |= checked.scan_due;
        // If the server's clock went back, streams may be due by this process's clock but not by the server's clock.
        // The script then handles none of these streams, so the loop ends.
        if is_last || checked.handled == 0 {
            return Ok(Swept { scan_due, shortest_ttl: checked.shortest_ttl });
        }
    }
}

/// The result of a check of some streams.
struct Checked {
    /// Number of checked streams that are no longer due.
    handled: i64,
    /// Whether the index should be scanned.
    scan_due: bool,
    /// Ids that are not in the schedule and have no record.
    missing: Vec<Vec<u8>>,
    /// The shortest time to live of all processes that sweep, if one is known.
    shortest_ttl: Option<Duration>,
}

/// Checks some streams. Removes and reports the expired streams, and schedules the next check of the others.
async fn check(store: &Arc<Store>, ids: &[Vec<u8>], now: i128, scan_often: bool) -> Result<Checked> {
    let mut keys = vec![
        store.keys.index().as_bytes().to_vec(),
        store.keys.feed().into_bytes(),
        store.keys.feed_metadata().into_bytes(),
        store.keys.due().into_bytes(),
    ];
    for id in ids {
        keys.push(store.keys.record_bytes(id));
        keys.push(store.keys.copy_bytes(id));
    }
    let mut call = SWEEP.call(&keys);
    let scan_after = store.options.ttl / if scan_often { 8 } else { 2 };
    call.arg(store.ttl_ms()).arg(store.margin_ms()).arg(millis(MAX_GAP)).arg(millis(scan_after));
    call.arg(store.ttl_policy()).arg(now.to_string());
    let (shards, function) =
        store.layout.as_ref().map_or(("", ""), |layout| (layout.shards.as_str(), layout.function.as_str()));
    call.arg(shards).arg(function);
    for id in ids {
        call.arg(id);
    }
    let mut answer = reply::array(call.run(&store.link, Effect::Housekeeping).await?)?.into_iter();
    let mut next = || answer.next().unwrap_or(Value::Nil);
    Ok(Checked {
        handled: reply::number(&next())?,
        scan_due: reply::number(&next())? == 1,
        missing: reply::array(next())?.into_iter().map(reply::bytes).collect::<Result<_>>()?,
        shortest_ttl: u64::try_from(reply::number(&next())?)
            .ok()
            .filter(|millis| *millis > 0)
            .map(Duration::from_millis),
    })
}

/// Scans the index, and schedules checks of streams that are not in the schedule. Such streams come from programs that
/// do not use the feed. Stores in `found` whether there were any: as long as there are, the index is scanned more often.
async fn scan_index(store: Weak<Store>, found: Arc<AtomicBool>) {
    let mut position = 0;
    let mut found_any = false;
    loop {
        let Some(store) = open(&store) else { return };
        match scan_index_page(&store, position).await {
            Ok((next, found_here)) => {
                found_any |= found_here;
                position = next;
                if position == 0 {
                    found.store(found_any, Ordering::Relaxed);
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot scan the index; retrying later");
                return;
            }
        }
    }
}

/// Scans one page of the index. Returns the scan position of the next page, or 0 after the last page. Also returns
/// whether the page has streams that were not in the schedule.
async fn scan_index_page(store: &Arc<Store>, position: u64) -> Result<(u64, bool)> {
    let mut found = false;
    let scanned = page::scan(store, position, PAGE).await?;
    for ids in scanned.ids.chunks(PAGE) {
        let mut command = redis::cmd("ZMSCORE");
        command.arg(store.keys.due()).arg(ids);
        let times = match store.bulk.command(&command, Effect::Housekeeping).await? {
            Ok(times) => reply::array(times)?,
            Err(error) if is_wrong_type(&error) => vec![Value::Nil; ids.len()],
            Err(error) => return Err(translate(error, false)),
        };
        let unscheduled: Vec<_> =
            ids.iter().zip(times).filter(|(_, time)| *time == Value::Nil).map(|(id, _)| id.clone()).collect();
        for unscheduled in unscheduled.chunks(CHUNK) {
            let checked = check(store, unscheduled, 0, true).await?;
            found |= checked.handled > 0;
            // `prune` checks each record again, because a writer may add an id to the index before it stores the
            // record.
            prune::prune(store, &checked.missing).await;
        }
    }
    Ok((scanned.next, found))
}
