//! The sweep: streams whose time is over are told of, once, though any number of processes look.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use redis::Value;
use tokio::task::JoinHandle;

use super::{page, prune};
use crate::error::{ErrorKind, Result};
use crate::redis::connect::Effect;
use crate::redis::fault::{is_wrong_type, translate};
use crate::redis::script::Script;
use crate::redis::{Store, millis, reply};

static SWEEP: LazyLock<Script> = LazyLock::new(|| Script::new("sweep", include_str!("sweep.lua")));

/// How many streams one script call looks at.
const CHUNK: usize = 200;
/// How many ids of the index are read at once.
const PAGE: usize = 1_000;
/// The longest time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A gap between sweeps that is an outage, at least.
const OUTAGE: Duration = Duration::from_secs(10);

/// Looks again and again, for as long as the store is open.
pub(in crate::redis) fn spawn(store: &Arc<Store>) {
    let every = EVERY.min(store.options.ttl / 8);
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let mut failing: Option<ErrorKind> = None;
        let mut enrolling: Option<JoinHandle<()>> = None;
        loop {
            // So that the sweeps of several processes spread.
            tokio::time::sleep(every.mul_f64(0.8 + fastrand::f64() / 5.0)).await;
            let Some(open) = open(&store) else { return };
            match sweep(&open).await {
                Ok(scan) => {
                    failing = None;
                    // Beside the sweep, which must not wait: a large index takes longer than a stream may be late.
                    if scan && enrolling.as_ref().is_none_or(JoinHandle::is_finished) {
                        enrolling = Some(tokio::spawn(enrol(Weak::clone(&store))));
                    }
                }
                Err(error) if failing.replace(error.kind()) == Some(error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::Denied => {
                    tracing::warn!(%error, "this user may not tell of expired streams; another process has to");
                }
                Err(error) => tracing::debug!(%error, "expired streams cannot be looked for; trying again"),
            }
        }
    });
}

fn open(store: &Weak<Store>) -> Option<Arc<Store>> {
    store.upgrade().filter(|store| !store.link.is_closed())
}

/// Looks at all whose time may be over; returns whether the index is to be gone through.
async fn sweep(store: &Arc<Store>) -> Result<bool> {
    let mut scan = false;
    loop {
        let now = store.link.now().await?.as_unix_nanos() / 1_000_000;
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(store.keys.due()).arg("-inf").arg(now.to_string()).arg("LIMIT").arg(0).arg(CHUNK);
        let due = match store.link.command(&command, Effect::Tidy).await? {
            Ok(due) => reply::array(due)?.into_iter().map(reply::text).collect::<Result<Vec<_>>>()?,
            // Nobody's; the next look at the index puts it right.
            Err(error) if is_wrong_type(&error) => Vec::new(),
            Err(error) => return Err(translate(error, false)),
        };
        let seen = look(store, &due, now).await?;
        scan |= seen.scan;
        // What is due by this clock need not be by the server's, which may have gone back.
        if due.len() < CHUNK || seen.settled == 0 {
            return Ok(scan);
        }
    }
}

/// What came of a look at some streams.
struct Seen {
    /// How many are not due any more at the time by which they were.
    settled: i64,
    /// Whether the index is to be gone through.
    scan: bool,
    /// Ids that nobody knew and that have no record.
    strays: Vec<Vec<u8>>,
}

/// Looks at some streams.
async fn look(store: &Arc<Store>, ids: &[Vec<u8>], now: i128) -> Result<Seen> {
    let mut keys = vec![
        store.keys.index().as_bytes().to_vec(),
        store.keys.feed().into_bytes(),
        store.keys.facts().into_bytes(),
        store.keys.due().into_bytes(),
    ];
    for id in ids {
        keys.push(store.keys.record_bytes(id));
        keys.push(store.keys.copy_bytes(id));
    }
    let mut call = SWEEP.call(&keys);
    call.arg(store.ttl_ms()).arg(store.margin_ms()).arg(millis(OUTAGE)).arg(millis(store.options.ttl / 8));
    call.arg(store.ttl_policy()).arg(now.to_string());
    for id in ids {
        call.arg(id);
    }
    let mut answer = reply::array(call.run(&store.link, Effect::Tidy).await?)?.into_iter();
    let mut next = || answer.next().unwrap_or(Value::Nil);
    Ok(Seen {
        settled: reply::number(&next())?,
        scan: reply::number(&next())? == 1,
        strays: reply::array(next())?.into_iter().map(reply::text).collect::<Result<_>>()?,
    })
}

/// Goes through the index for streams of writers that know no feed, and lets the sweep look at them from now on.
async fn enrol(store: Weak<Store>) {
    let mut place = 0;
    loop {
        let Some(store) = open(&store) else { return };
        match enrol_page(&store, place).await {
            Ok(0) => return,
            Ok(next) => place = next,
            Err(error) => {
                tracing::debug!(%error, "the index could not be gone through; it will be, later");
                return;
            }
        }
    }
}

/// Returns the place of the next page, 0 after the last.
async fn enrol_page(store: &Arc<Store>, place: u64) -> Result<u64> {
    let scanned = page::scan(store, place, PAGE).await?;
    for ids in scanned.ids.chunks(PAGE) {
        let mut command = redis::cmd("ZMSCORE");
        command.arg(store.keys.due()).arg(ids);
        let moments = match store.bulk.command(&command, Effect::Tidy).await? {
            Ok(moments) => reply::array(moments)?,
            Err(error) if is_wrong_type(&error) => vec![Value::Nil; ids.len()],
            Err(error) => return Err(translate(error, false)),
        };
        let unknown: Vec<_> =
            ids.iter().zip(moments).filter(|(_, moment)| *moment == Value::Nil).map(|(id, _)| id.clone()).collect();
        for unknown in unknown.chunks(CHUNK) {
            let seen = look(store, unknown, 0).await?;
            // Not removed at the first look: who adds an id just before its record is looked at again, too.
            prune::prune(store, &seen.strays).await;
        }
    }
    Ok(scanned.next)
}
