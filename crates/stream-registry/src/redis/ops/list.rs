//! All streams in one atomic snapshot, by the cheapest way that the server and the user's rights allow.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};

use redis::Value;

use super::{TRIES, back_off, prune, replace};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::Request;
use crate::redis::fault::{checked, is_no_permission, is_out_of_memory, is_unknown_command, translate};
use crate::redis::feed::{Place, facts};
use crate::redis::script::Script;
use crate::redis::{Store, reply};
use crate::registry::Snapshot;
use crate::stream::{Stream, StreamId};

static LIST: LazyLock<Script> = LazyLock::new(|| Script::new("list", include_str!("list.lua")));

/// An id of the index with the text under it.
pub(super) type Found = (Vec<u8>, Option<Vec<u8>>);

/// The ways, from the cheapest; the one that the server allowed is remembered.
#[derive(Debug, Default)]
pub(in crate::redis) struct Way(AtomicU8);

const SORT: u8 = 0;
const SCRIPT: u8 = 1;
const READS: u8 = 2;

pub(in crate::redis) async fn snapshot(store: &Arc<Store>) -> Result<Snapshot> {
    let mut way = store.list_way.0.load(Ordering::Relaxed);
    let mut full = false;
    let (place, found) = loop {
        let tried = match way {
            SORT => sort(store).await?,
            SCRIPT => script(store).await?,
            READS.. => break reads(store).await?,
        };
        match tried {
            Ok(listed) => break listed,
            Err(error) if is_no_permission(&error) || is_unknown_command(&error) => {
                tracing::debug!(way, "the Redis user may not list this way; taking the next");
                way += 1;
                // A way that was passed over for the moment is not given up.
                if !full {
                    store.list_way.0.fetch_max(way, Ordering::Relaxed);
                }
            }
            // While its memory is full a server takes no transaction, whatever is in it; the other ways it takes.
            Err(error) if is_out_of_memory(&error) => {
                full = true;
                way += 1;
            }
            Err(error) => return Err(translate(error, false)),
        }
    };
    let (streams, unreadable) = sift(store, found).await?;
    let mut snapshot = Snapshot::new(streams);
    snapshot.unreadable = unreadable;
    snapshot.revision = place.map(Place::revision);
    Ok(snapshot)
}

/// What was listed, with the place in the feed that it shows.
type Listed = (Option<Place>, Vec<Found>);

/// One command that the server carries out in one go, at one moment with the place in the feed; needs the right to
/// read all keys.
async fn sort(store: &Arc<Store>) -> Result<Result<Listed, redis::RedisError>> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("MULTI").cmd("HMGET").arg(store.keys.facts()).arg("history").arg("tail");
    pipeline.cmd("SORT_RO").arg(store.keys.index()).arg("BY").arg("nosort").arg("GET").arg("#").arg("GET");
    pipeline.arg(format!("{}*", store.keys.prefix())).cmd("EXEC");
    let answers = match store.bulk.long_command(Request::Transaction(&pipeline), &store.link).await? {
        Ok(answers) => reply::array(answers)?,
        Err(error) => return Ok(Err(error)),
    };
    let mut answers = answers.into_iter();
    let mut next = || checked(answers.next().unwrap_or(Value::Nil));
    let place = match next().and_then(facts) {
        Ok(place) => place?,
        Err(error) => return Ok(Err(error)),
    };
    match next() {
        Ok(found) => Ok(Ok((Some(place), pairs(reply::array(found)?.into_iter())?))),
        Err(error) => Ok(Err(error)),
    }
}

async fn script(store: &Arc<Store>) -> Result<Result<Listed, redis::RedisError>> {
    let mut call = LIST.call(&[store.keys.index(), &store.keys.facts()]);
    call.arg(store.keys.prefix());
    let mut items = match call.try_run_long(&store.bulk, &store.link).await? {
        Ok(value) => reply::array(value)?.into_iter(),
        Err(error) => return Ok(Err(error)),
    };
    let place = match (items.next().unwrap_or(Value::Nil), items.next().unwrap_or(Value::Nil)) {
        // This user may not read it.
        (Value::Int(_), _) => None,
        (history, tail) => Some(Place::of_facts(history, tail)?),
    };
    Ok(Ok((place, pairs(items)?)))
}

/// Reading alone: the ids, then all records at one moment with the ids again. Where the ids are the
/// same before and after, the records are a snapshot; where the place in the feed is, too, it is the snapshot's.
async fn reads(store: &Arc<Store>) -> Result<Listed> {
    let mut members = redis::cmd("SMEMBERS");
    members.arg(store.keys.index());
    let mut ids = member_ids(store.bulk.read_long(&members, &store.link).await?)?;
    for attempt in 0..TRIES {
        let before = store.place().await;
        let texts = if ids.is_empty() {
            Vec::new()
        } else {
            let mut command = redis::cmd("MGET");
            for id in &ids {
                command.arg(store.keys.record_bytes(id));
            }
            reply::array(store.bulk.read_long(&command, &store.link).await?)?
        };
        let after = member_ids(store.bulk.read_long(&members, &store.link).await?)?;
        if after == ids {
            let found = ids.into_iter().zip(texts).map(|(id, text)| Ok((id, reply::bytes(text)?)));
            let place = store.place().await.ok().filter(|place| before.is_ok_and(|before| before == *place));
            return Ok((place, found.collect::<Result<_>>()?));
        }
        ids = after;
        back_off(attempt).await;
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "streams come and go too fast to be listed with this user's rights; grant +evalsha +eval, or list in pages",
    ))
}

fn member_ids(value: Value) -> Result<Vec<Vec<u8>>> {
    let mut ids: Vec<_> = reply::array(value)?.into_iter().map(reply::text).collect::<Result<_>>()?;
    ids.sort_unstable();
    Ok(ids)
}

fn pairs(mut items: impl ExactSizeIterator<Item = Value>) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(items.len() / 2);
    while let (Some(id), Some(text)) = (items.next(), items.next()) {
        found.push((reply::text(id)?, reply::bytes(text)?));
    }
    Ok(found)
}

/// Records decoded in one task; more are divided among several.
const IN_ONE_TASK: usize = 2_500;

/// What came of some findings.
#[derive(Default)]
struct Sifted {
    streams: Vec<Stream>,
    without_record: Vec<Vec<u8>>,
    unreadable: u64,
}

/// Decodes what was found. What cannot be read is left out, logged and counted; ids without a record leave the index.
pub(super) async fn sift(store: &Arc<Store>, mut found: Vec<Found>) -> Result<(Vec<Stream>, u64)> {
    let mut tasks = Vec::new();
    while found.len() > IN_ONE_TASK {
        let part = found.split_off(found.len() - IN_ONE_TASK);
        tasks.push(tokio::spawn(async move { decode_all(part) }));
    }
    let mut sifted = decode_all(found);
    sifted.streams.reserve(tasks.len() * IN_ONE_TASK);
    for task in tasks {
        // A task of ours neither panics nor is aborted, but with its runtime.
        let part = task.await.map_err(|lost| {
            Error::new(ErrorKind::Internal, "the runtime ended before the list was read").with_source(lost)
        })?;
        sifted.streams.extend(part.streams);
        sifted.without_record.extend(part.without_record);
        sifted.unreadable += part.unreadable;
    }
    let unreadable = sifted.unreadable + prune::prune(store, &sifted.without_record).await;
    store.counters.add_unreadable(unreadable);
    Ok((sifted.streams, unreadable))
}

fn decode_all(found: Vec<Found>) -> Sifted {
    let mut sifted = Sifted { streams: Vec::with_capacity(found.len()), ..Sifted::default() };
    for (id, text) in found {
        let Some(text) = text else {
            sifted.without_record.push(id);
            continue;
        };
        let read = std::str::from_utf8(&id)
            .map_err(|_| Error::invalid("the id is not UTF-8"))
            .and_then(|id| Ok(id.parse::<StreamId>()?))
            .and_then(|id| replace::decode(&id, &text));
        match read {
            Ok(stream) => sifted.streams.push(stream),
            Err(error) => {
                sifted.unreadable += 1;
                tracing::warn!(id = %String::from_utf8_lossy(&id).escape_debug(), %error, "left out of the list");
            }
        }
    }
    sifted
}
