//! Lists all streams in one atomic snapshot. Uses the cheapest strategy that the server and the user's permissions
//! allow.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use redis::{Pipeline, RedisError, Value};
use tokio::time::timeout_at;

use super::decode::{Decoding, Found};
use super::{ATTEMPTS, back_off};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::connection::{Connection, Request};
use crate::redis::fault::{is_no_permission, is_out_of_memory, is_unknown_command, no_reply, translate};
use crate::redis::feed::metadata;
use crate::redis::feed::position::Position;
use crate::redis::reply;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::registry::Snapshot;

static LIST: LazyLock<Script> = LazyLock::new(|| Script::new("list", include_str!("list.lua")));

// The list strategies, cheapest first. The store remembers the first strategy that the server has not rejected.
const SORT: u8 = 0;
/// The first strategy in a cluster, where `SORT` may not read other keys.
pub(in crate::redis) const SCRIPT: u8 = 1;
const READS: u8 = 2;

/// Number of streams from which a list is received over a separate connection. For fewer streams, the time to connect
/// exceeds the time saved.
const LARGE: i64 = 2_500;

/// Returns all streams, and the position in the change feed at that moment, if it is known.
pub(in crate::redis) async fn snapshot(store: &Arc<Store>) -> Result<(Snapshot, Option<Position>)> {
    let mut strategy = store.list_strategy.load(Ordering::Relaxed);
    let mut out_of_memory = false;
    let (position, decoding) = loop {
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
    let (streams, unreadable) = decoding.finish(store).await?;
    let mut snapshot = Snapshot::new(streams);
    snapshot.unreadable = unreadable;
    Ok((snapshot, position))
}

/// The feed position at the time of the list, if it is known, and the listed records.
type Listed = (Option<Position>, Decoding);

/// Lists all streams with one transaction. The user needs the permission to read all keys, because `SORT_RO` selects
/// keys by a pattern.
async fn sort(store: &Arc<Store>) -> Result<Result<Listed, RedisError>> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("MULTI").add_command(metadata::command(&store.keys));
    pipeline.cmd("SORT_RO").arg(store.keys.index()).arg("BY").arg("nosort").arg("GET").arg("#").arg("GET");
    pipeline.arg(format!("{}*", store.keys.prefix())).cmd("EXEC");
    let deadline = store.bulk.long_deadline();
    let mut size = redis::cmd("SCARD");
    let (connection, size) = store.bulk.probe(size.arg(store.keys.index()), deadline).await?;
    if size.is_some_and(|size| reply::number(&size).is_ok_and(|size| size >= LARGE)) {
        match timeout_at(deadline, transfer(store, &connection, &pipeline)).await.map_err(|_| no_reply())? {
            Ok(listed) => return Ok(Ok(listed)),
            // The shared connection reports the reason, or works if only the new connection failed.
            Err(error) => tracing::debug!(%error, "cannot list over a separate connection; using the shared one"),
        }
    }
    let answers = match store.bulk.send_long(&connection, Request::Transaction(&pipeline), deadline).await? {
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
        Ok(found) => Ok(Ok((Some(position), Decoding::of(pairs(reply::array(found)?.into_iter())?)))),
        Err(error) => Ok(Err(error)),
    }
}

/// Sends the transaction of [`sort`] over a separate connection, and decodes records while later records arrive.
async fn transfer(store: &Arc<Store>, connection: &Connection, transaction: &Pipeline) -> Result<Listed> {
    let translate = |error| translate(error, false);
    let mut transfer = store.bulk.transfer(connection, transaction).await?;
    let position = transfer.array_of_values().await;
    let position = metadata::parse_single(position)?;
    let mut left = transfer.array().await.map_err(translate)? / 2;
    let mut decoding = Decoding::default();
    while left > 0 {
        let part = transfer.part(left).await.map_err(translate)?;
        left -= part.count;
        decoding.add(part);
    }
    Ok((Some(position), decoding))
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
    Ok(Ok((position, Decoding::of(pairs(items)?))))
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
            return Ok((position, Decoding::of(found.collect::<Result<_>>()?)));
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
