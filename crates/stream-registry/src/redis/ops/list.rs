//! Lists all streams in one atomic snapshot. Uses the cheapest strategy that the server and the user's permissions
//! allow.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use redis::{RedisError, Value};

use super::{ATTEMPTS, back_off, prune};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::connection::Request;
use crate::redis::fault::{is_no_permission, is_out_of_memory, is_unknown_command, translate};
use crate::redis::feed::metadata;
use crate::redis::feed::position::Position;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::registry::Snapshot;
use crate::stream::{Stream, StreamId};

static LIST: LazyLock<Script> = LazyLock::new(|| Script::new("list", include_str!("list.lua")));

/// A member of the index and the raw JSON of its record, if there is one.
pub(super) type Found = (Vec<u8>, Option<Vec<u8>>);

// The list strategies, cheapest first. The store remembers the first strategy that the server has not rejected.
const SORT: u8 = 0;
const SCRIPT: u8 = 1;
const READS: u8 = 2;

pub(in crate::redis) async fn snapshot(store: &Arc<Store>) -> Result<Snapshot> {
    let mut strategy = store.list_strategy.load(Ordering::Relaxed);
    let mut out_of_memory = false;
    let (position, found) = loop {
        let tried = match strategy {
            SORT => sort(store).await?,
            SCRIPT => script(store).await?,
            READS.. => break reads(store).await?,
        };
        match tried {
            Ok(listed) => break listed,
            Err(error) if is_no_permission(&error) || is_unknown_command(&error) => {
                tracing::debug!(
                    strategy,
                    "the Redis user lacks permission for this list strategy; trying the next one"
                );
                strategy += 1;
                // If an earlier strategy failed only because memory is full, later lists try that strategy again.
                if !out_of_memory {
                    store.list_strategy.fetch_max(strategy, Ordering::Relaxed);
                }
            }
            // A server whose memory is full rejects every transaction, but still runs read-only scripts and reads.
            Err(error) if is_out_of_memory(&error) => {
                out_of_memory = true;
                strategy += 1;
            }
            Err(error) => return Err(translate(error, false)),
        }
    };
    let (streams, unreadable) = decode_and_prune(store, found).await?;
    let mut snapshot = Snapshot::new(streams);
    snapshot.unreadable = unreadable;
    snapshot.revision = position.map(Position::revision);
    Ok(snapshot)
}

/// The feed position at the time of the list, if it is known, and the listed records.
type Listed = (Option<Position>, Vec<Found>);

/// Lists all streams with one transaction. The user needs the permission to read all keys, because `SORT_RO` selects
/// keys by a pattern.
async fn sort(store: &Arc<Store>) -> Result<Result<Listed, RedisError>> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("MULTI").add_command(metadata::command(&store.keys));
    pipeline.cmd("SORT_RO").arg(store.keys.index()).arg("BY").arg("nosort").arg("GET").arg("#").arg("GET");
    pipeline.arg(format!("{}*", store.keys.prefix())).cmd("EXEC");
    let answers = match store.bulk.long_command(Request::Transaction(&pipeline)).await? {
        Ok(answers) => reply::array(answers)?,
        Err(error) => return Ok(Err(error)),
    };
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or(Value::Nil);
    let position = match metadata::parse(next())? {
        Ok(position) => position,
        Err(error) => return Ok(Err(error)),
    };
    match reply::checked(next()) {
        Ok(found) => Ok(Ok((Some(position), pairs(reply::array(found)?.into_iter())?))),
        Err(error) => Ok(Err(error)),
    }
}

/// Lists all streams with one script.
async fn script(store: &Arc<Store>) -> Result<Result<Listed, RedisError>> {
    let mut call = LIST.call(&[store.keys.index(), &store.keys.feed_metadata()]);
    call.arg(store.keys.prefix());
    let mut items = match call.try_run_long(&store.bulk).await? {
        Ok(value) => reply::array(value)?.into_iter(),
        Err(error) => return Ok(Err(error)),
    };
    let position = match (items.next().unwrap_or(Value::Nil), items.next().unwrap_or(Value::Nil)) {
        // An integer means that the user lacks the permission to read the feed metadata.
        (Value::Int(_), _) => None,
        (history, tail) => Some(Position::from_metadata(history, tail)?),
    };
    Ok(Ok((position, pairs(items)?)))
}

/// Lists all streams with separate reads: first the ids, then all records in one command, then the ids again. If the
/// ids have not changed, the records are a snapshot. If the feed position has not changed either, the snapshot has this
/// position.
async fn reads(store: &Arc<Store>) -> Result<Listed> {
    let mut members = redis::cmd("SMEMBERS");
    members.arg(store.keys.index());
    let mut ids = member_ids(store.bulk.read_long(&members).await?)?;
    for attempt in 0..ATTEMPTS {
        let before = metadata::tail(store).await;
        let records = if ids.is_empty() {
            Vec::new()
        } else {
            let mut command = redis::cmd("MGET");
            for id in &ids {
                command.arg(store.keys.record_bytes(id));
            }
            reply::array(store.bulk.read_long(&command).await?)?
        };
        let after = member_ids(store.bulk.read_long(&members).await?)?;
        if after == ids {
            let found = ids.into_iter().zip(records).map(|(id, record)| Ok((id, reply::optional_bytes(record)?)));
            let position =
                metadata::tail(store).await.ok().filter(|position| before.is_ok_and(|before| before == *position));
            return Ok((position, found.collect::<Result<_>>()?));
        }
        ids = after;
        back_off(attempt).await;
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "streams change too fast to list with this user's permissions; grant +evalsha +eval, or list in pages",
    ))
}

fn member_ids(value: Value) -> Result<Vec<Vec<u8>>> {
    let mut ids: Vec<_> = reply::array(value)?.into_iter().map(reply::bytes).collect::<Result<_>>()?;
    ids.sort_unstable();
    Ok(ids)
}

fn pairs(mut items: impl ExactSizeIterator<Item = Value>) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(items.len() / 2);
    while let (Some(id), Some(record)) = (items.next(), items.next()) {
        found.push((reply::bytes(id)?, reply::optional_bytes(record)?));
    }
    Ok(found)
}

/// Maximum number of records that one task decodes.
const RECORDS_PER_TASK: usize = 2_500;

/// Decoded records, the ids that have no record, and the number of records that cannot be decoded.
#[derive(Default)]
struct Decoded {
    streams: Vec<Stream>,
    without_record: Vec<Vec<u8>>,
    unreadable: u64,
}

/// Decodes records, and removes ids without a record from the index. Records that cannot be decoded are skipped, logged
/// and counted.
pub(super) async fn decode_and_prune(store: &Arc<Store>, mut found: Vec<Found>) -> Result<(Vec<Stream>, u64)> {
    let mut tasks = Vec::new();
    while found.len() > RECORDS_PER_TASK {
        let part = found.split_off(found.len() - RECORDS_PER_TASK);
        tasks.push(tokio::spawn(async move { decode_all(part) }));
    }
    let mut decoded = decode_all(found);
    decoded.streams.reserve(tasks.len() * RECORDS_PER_TASK);
    for task in tasks {
        // The task does not panic and is not aborted, so it fails only if the runtime shuts down.
        let part = task.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the runtime shut down before the list was decoded").with_source(error)
        })?;
        decoded.streams.extend(part.streams);
        decoded.without_record.extend(part.without_record);
        decoded.unreadable += part.unreadable;
    }
    let unreadable = decoded.unreadable + prune::prune(store, &decoded.without_record).await;
    store.counters.add_unreadable(unreadable);
    Ok((decoded.streams, unreadable))
}

fn decode_all(found: Vec<Found>) -> Decoded {
    let mut decoded = Decoded { streams: Vec::with_capacity(found.len()), ..Decoded::default() };
    for (id, json) in found {
        let Some(json) = json else {
            decoded.without_record.push(id);
            continue;
        };
        let stream = std::str::from_utf8(&id)
            .map_err(|_| Error::invalid("the id is not UTF-8"))
            .and_then(|id| Ok(id.parse::<StreamId>()?))
            .and_then(|id| record::decode(&id, &json));
        match stream {
            Ok(stream) => decoded.streams.push(stream),
            Err(error) => {
                decoded.unreadable += 1;
                let id = String::from_utf8_lossy(&id);
                tracing::warn!(id = %id.escape_debug(), %error, "skipped an unreadable record in a list");
            }
        }
    }
    decoded
}
