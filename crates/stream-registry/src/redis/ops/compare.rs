//! Heartbeats and statistics of leases without a script, if `SET` has the option `IFEQ`: the server stores the new
//! record if the stored record is still the one that was read.

use redis::{Cmd, Pipeline, Value};

use crate::error::Result;
use crate::redis::record;
use crate::redis::store::Store;
use crate::registry::{Change, Guard, Write, rules};
use crate::stream::canonical::splice::splice;
use crate::stream::{StreamStats, Timestamp};

/// Makes the writes that need no script. Returns the positions of all other writes, which have changed nothing.
///
/// The script decides every write that is not as simple as expected: the stream is missing, is not in the index or has
/// another holder, its record has just changed, or the server rejects the command, e.g. because its memory is full.
pub(super) async fn write(store: &Store, writes: &[&Write]) -> Result<Vec<usize>> {
    let mut left: Vec<usize> = (0..writes.len()).collect();
    if !writes.iter().any(|write| is_simple(write)) || !store.link.connection().await?.has_ifeq {
        return Ok(left);
    }
    let simple: Vec<usize> = left.extract_if(.., |at| is_simple(writes[*at])).collect();
    let now = store.link.now().await?;
    let keys: Vec<String> = simple.iter().map(|&at| store.keys.record(&writes[at].id)).collect();
    let mut read = redis::pipe();
    read.cmd("SMISMEMBER").arg(store.keys.index());
    for &at in &simple {
        read.arg(writes[at].id.as_str());
    }
    read.cmd("MGET").arg(&keys);
    let Ok([Value::Array(indexed), Value::Array(records)]) = <[Value; 2]>::try_from(store.link.read_many(&read).await?)
    else {
        // The user lacks a permission, or the index key holds a value of another type.
        return Ok((0..writes.len()).collect());
    };
    let ttl = store.ttl_ms().to_string();
    let mut sets = Pipeline::with_capacity(simple.len());
    let mut sent = Vec::with_capacity(simple.len());
    for (((at, key), indexed), json) in simple.into_iter().zip(&keys).zip(&indexed).zip(&records) {
        match changed(writes[at], indexed, json, now) {
            Some((old, new)) => {
                // With the right capacity, the command is allocated once.
                let mut set = Cmd::with_capacity(7, key.len() + new.len() + old.len() + 32);
                set.arg("SET").arg(key).arg(new).arg("IFEQ").arg(old).arg("PX").arg(&ttl);
                sets.add_command(set);
                sent.push(at);
            }
            None => left.push(at),
        }
    }
    if !sent.is_empty() {
        let answers = store.link.write_many(&sets).await?;
        left.extend(sent.into_iter().zip(answers).filter(|(_, answer)| *answer != Value::Okay).map(|(at, _)| at));
    }
    Ok(left)
}

/// Returns whether a write concerns only its record. The time to live of the holder of a lease always applies, and
/// heartbeats and statistics cause no event.
fn is_simple(write: &Write) -> bool {
    matches!((&write.guard, &write.change), (Guard::Holder(_), Change::Heartbeat | Change::Stats(_)))
}

/// Returns the record before and after a write, or `None` if the write is not as simple as expected.
fn changed<'a>(write: &Write, indexed: &Value, json: &'a Value, now: Timestamp) -> Option<(&'a [u8], String)> {
    let (Value::Int(1), Value::BulkString(old)) = (indexed, json) else { return None };
    let text = std::str::from_utf8(old).ok()?;
    let spliced = match (&write.guard, &write.change) {
        (Guard::Holder(epoch), Change::Heartbeat) => splice(text, epoch, &StreamStats::default(), now),
        (Guard::Holder(epoch), Change::Stats(stats)) => splice(text, epoch, stats, now),
        _ => None,
    };
    if let Some(new) = spliced {
        return Some((old, new));
    }
    let mut stream = record::decode(&write.id, old).ok()?;
    rules::check_guard(&stream, &write.guard).ok()?;
    rules::apply_in_place(&mut stream, &write.change, now).ok()?;
    Some((old, stream.to_stored_json()))
}
