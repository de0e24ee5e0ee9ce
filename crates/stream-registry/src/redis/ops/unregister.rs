//! Unregistration of a stream.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use redis::Value;
use tokio::time::Instant;

use super::{ATTEMPTS, back_off, contended, split, wrong_type};
use crate::error::{Error, Result};
use crate::redis::coalesce::{Coalescer, Job};
use crate::redis::fault::Effect;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::registry::ttl::OPERATION_RETENTION;
use crate::registry::{Guard, UnregisterOptions, epoch, rules};
use crate::stream::{Stream, StreamId};

static UNREGISTER: LazyLock<Script> = LazyLock::new(|| Script::new("unregister", include_str!("unregister.lua")));

/// Coalesces this process's unregistrations into batches.
pub(in crate::redis) struct UnregisterJob(pub(in crate::redis) Arc<Store>);

/// One attempt to unregister a stream.
pub(in crate::redis) struct Attempt {
    id: StreamId,
    /// The condition for the removal, as the script expects it.
    condition: String,
    /// The record that the client has read. Empty if the client has not read a record.
    examined: Vec<u8>,
    /// The epoch for the tombstone, if the client has read the record. Empty if the record has no epoch.
    examined_epoch: String,
    options: UnregisterOptions,
}

/// The reply of the script to one attempt.
pub(in crate::redis) enum Reply {
    /// The stream was removed, now or by an earlier call with this operation id. Contains the last record.
    Done(Vec<u8>),
    /// The operation id belongs to another operation.
    Used,
    /// Another removal in the same batch has the same operation id.
    Busy,
    /// The stream is missing.
    Gone,
    /// The client has to examine this record.
    There(Vec<u8>),
    /// The key of the record holds a value of this type.
    Kind(Vec<u8>),
}

#[async_trait]
impl Job for UnregisterJob {
    type Item = Attempt;
    type Answer = Reply;
    const MAX_IN_FLIGHT: usize = 1;

    fn key(attempt: &Attempt) -> Option<&StreamId> {
        Some(&attempt.id)
    }

    async fn run(&self, attempts: &[Attempt]) -> Vec<Result<Reply>> {
        let store = &self.0;
        let now = match store.link.now().await {
            Ok(now) => now,
            Err(error) => return attempts.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut keys =
            vec![store.keys.index().to_owned(), store.keys.feed(), store.keys.feed_metadata(), store.keys.due()];
        keys.extend(attempts.iter().map(|attempt| store.keys.record(&attempt.id)));
        keys.extend(attempts.iter().map(|attempt| store.keys.tombstone(&attempt.id)));
        keys.extend(attempts.iter().map(|attempt| store.keys.copy(&attempt.id)));
        let operations = attempts.iter().filter_map(|attempt| attempt.options.operation.as_ref());
        keys.extend(operations.map(|id| store.keys.operation(id)));
        let mut call = UNREGISTER.call(&keys);
        call.arg(store.tombstone_ms()).arg(OPERATION_RETENTION.as_millis().to_string()).arg(epoch::timestamp(now));
        for Attempt { id, condition, examined, examined_epoch, options } in attempts {
            // The result is stored only if the caller gave an operation id, because the caller may send this id again.
            let named = if options.operation.is_some() { "named" } else { "" };
            call.arg(id.as_str()).arg(condition).arg(examined).arg(examined_epoch);
            call.arg(options.reason.as_str().unwrap_or("")).arg(named);
        }
        split(call.run(&store.link, Effect::Write).await, attempts.len(), |reply| {
            if let Value::BulkString(last) = reply {
                return Ok(Reply::Done(last));
            }
            let mut reply = reply::array(reply)?.into_iter();
            let mut next = || reply.next().unwrap_or(Value::Nil);
            Ok(match &*reply::bytes(next())? {
                b"again" => Reply::Done(reply::bytes(next())?),
                b"used" => Reply::Used,
                b"busy" => Reply::Busy,
                b"gone" => Reply::Gone,
                b"there" => Reply::There(reply::bytes(next())?),
                b"kind" => Reply::Kind(reply::bytes(next())?),
                other => return Err(reply::unexpected(&Value::BulkString(other.to_vec()))),
            })
        })
    }
}

/// Unregisters a stream. Attempts that are not sent by the deadline are not applied.
pub(in crate::redis) async fn unregister(
    calls: &Arc<Coalescer<UnregisterJob>>,
    store: &Arc<Store>,
    id: &StreamId,
    options: &UnregisterOptions,
    deadline: Instant,
) -> Result<Stream> {
    store.check_writable()?;
    let mut condition = match &options.guard {
        Guard::None => "free".to_owned(),
        Guard::Holder(epoch) => format!("={epoch}"),
        Guard::Force => "any".to_owned(),
    };
    let mut examined: Vec<u8> = Vec::new();
    let mut examined_epoch = String::new();
    for attempt in 0..ATTEMPTS {
        let attempt_now = Attempt {
            id: id.clone(),
            condition: condition.clone(),
            examined: examined.clone(),
            examined_epoch: examined_epoch.clone(),
            options: options.clone(),
        };
        match calls.call(attempt_now, deadline).await? {
            Reply::Done(json) => {
                let last = record::decode(id, &json).unwrap_or_else(|_| record::placeholder(id));
                return Ok(rules::with_end_reason(last, &options.reason));
            }
            Reply::Used => return Err(rules::operation_reused()),
            Reply::Gone => return Err(Error::not_found(id)),
            Reply::Kind(kind) => return Err(wrong_type(id, &kind)),
            // The next attempt gets the result of the other removal.
            Reply::Busy => {}
            Reply::There(json) => {
                examined = json;
                let epoch = match record::decode(id, &examined) {
                    Ok(stream) => {
                        rules::check_guard(&stream, &options.guard)?;
                        stream.epoch().map(ToString::to_string)
                    }
                    // `Force` also removes a record that cannot be decoded.
                    Err(_) if options.guard == Guard::Force => None,
                    Err(corrupt) => return Err(corrupt),
                };
                examined_epoch = match epoch {
                    Some(epoch) => epoch,
                    None if options.guard == Guard::Force => epoch::timestamp(store.link.now().await?),
                    None => String::new(),
                };
                "seen".clone_into(&mut condition);
            }
        }
        if attempt > 0 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}
