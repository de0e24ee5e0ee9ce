//! Registration of a stream. If the id is free, registration takes one round trip. If the id has a record, the client
//! reads the record first. The script then replaces the record only if it has not changed.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Value;
use tokio::sync::MutexGuard;

use super::{ATTEMPTS, back_off, contended, epoch_field, wrong_type};
use crate::error::Result;
use crate::redis::fault::Effect;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::registry::ttl::OPERATION_RETENTION;
use crate::registry::{OnConflict, Outcome, RegisterOptions, Registered, epoch, rules};
use crate::stream::{OperationId, Stream};
use crate::watch::ChangeKind;

static REGISTER: LazyLock<Script> = LazyLock::new(|| Script::new("register", include_str!("register.lua")));

pub(in crate::redis) async fn register(
    store: &Arc<Store>,
    stream: &Stream,
    options: &RegisterOptions,
) -> Result<Registered> {
    rules::check_registration(stream, options)?;
    store.check_writable()?;
    let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
    let keys = [
        store.keys.index().to_owned(),
        store.keys.record(&stream.id),
        store.keys.operation(&operation),
        store.keys.tombstone(&stream.id),
        store.keys.feed(),
        store.keys.feed_metadata(),
        store.keys.due(),
        store.keys.copy(&stream.id),
    ];
    let mut known = Known::default();
    let mut lock: Option<MutexGuard<'_, ()>> = None;
    for attempt in 0..ATTEMPTS {
        let Decision { new, outcome, event, tombstone } = decide(store, stream, options, &operation, &known).await?;
        let json = new.to_stored_json();
        let answer = format!("{}\n{json}", outcome.as_str());
        let mut call = REGISTER.call(&keys);
        let expected = known.existing.as_ref().map_or_else(Vec::new, |existing| [b"=", &**existing].concat());
        let known_ended = if new.epoch.is_some() { known.ended_epoch.as_deref().unwrap_or("") } else { "*" };
        call.arg(stream.id.as_str()).arg(expected).arg(&json).arg(store.ttl_ms());
        call.arg(answer).arg(OPERATION_RETENTION.as_millis().to_string()).arg(tombstone).arg(store.tombstone_ms());
        let check_at = new.last_heartbeat.as_unix_nanos() / 1_000_000 + i128::from(store.ttl_ms() - store.margin_ms());
        let recovered = options.recover.as_ref().map_or_else(|| "new".to_owned(), epoch_field);
        call.arg(known_ended).arg(event.map_or("", ChangeKind::as_str)).arg(check_at.to_string()).arg(recovered);
        let mut reply = reply::array(call.run(&store.link, Effect::Write).await?)?.into_iter();
        let result = reply::bytes(reply.next().unwrap_or(Value::Nil))?;
        let value = reply.next().unwrap_or(Value::Nil);
        match &*result {
            b"done" => {
                drop(lock);
                return Ok(Registered::new(new, outcome, store.options.ttl));
            }
            b"again" => return remembered(store, stream, options, &reply::bytes(value)?),
            b"there" => {
                let remaining = reply::number(&reply.next().unwrap_or(Value::Nil))?;
                known.existing = Some(reply::bytes(value)?);
                known.remaining = u64::try_from(remaining).ok().map(Duration::from_millis);
            }
            b"gone" => known.existing = None,
            b"ended" => {
                let epoch = String::from_utf8_lossy(&reply::bytes(value)?).into_owned();
                known.ended_epoch = Some(epoch).filter(|epoch| !epoch.is_empty());
            }
            b"kind" => return Err(wrong_type(&stream.id, &reply::bytes(value)?)),
            _ => return Err(reply::unexpected(&Value::BulkString(result))),
        }
        if attempt == 0 && known.existing.is_some() {
            lock = store.locks.lock(&stream.id).await;
        } else if attempt > 1 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}

/// The stored state that the client has learnt from earlier attempts. The first attempt assumes that the id is free.
#[derive(Default)]
struct Known {
    /// Raw JSON of the existing record.
    existing: Option<Vec<u8>>,
    /// Remaining time to live of the existing record. `None` if the record has no time to live.
    remaining: Option<Duration>,
    /// The epoch in the stream's tombstone. `None` if the stream has no tombstone.
    ended_epoch: Option<String>,
}

/// The registration that the next attempt sends.
struct Decision {
    new: Stream,
    outcome: Outcome,
    /// The event that the registration adds to the feed.
    event: Option<ChangeKind>,
    /// The tombstone of the record that is taken over; empty if no record is taken over.
    tombstone: Vec<u8>,
}

/// Decides how to register, given the known state.
async fn decide(
    store: &Arc<Store>,
    stream: &Stream,
    options: &RegisterOptions,
    operation: &OperationId,
    known: &Known,
) -> Result<Decision> {
    let now = store.link.now().await?;
    let existing_json = known.existing.as_deref();
    let existing = match existing_json.map(|json| record::decode(&stream.id, json)) {
        None => None,
        Some(Ok(existing)) => Some(existing),
        // The holder of a record that cannot be decoded is unknown. So only an unconditional take-over replaces such a
        // record.
        Some(Err(_)) if options.on_conflict == OnConflict::TakeOver => None,
        Some(Err(corrupt)) => return Err(corrupt),
    };
    let found = rules::Found {
        existing: existing.as_ref(),
        idle: match (known.remaining, &existing) {
            (Some(remaining), _) => store.options.ttl.saturating_sub(remaining),
            // The record has no time to live: another program stored it that way, or somebody ran `PERSIST`.
            (None, Some(existing)) => now.since(existing.last_heartbeat),
            (None, None) => Duration::ZERO,
        },
        tombstone: known.ended_epoch.as_deref(),
    };
    let (new, mut outcome) = rules::register(found, stream, options, now)?;
    let mut tombstone = Vec::new();
    if let Some(json) = existing_json.filter(|_| outcome != Outcome::Renewed) {
        outcome = Outcome::TakenOver;
        let epoch =
            existing.as_ref().and_then(Stream::epoch).map_or_else(|| epoch::timestamp(now), ToString::to_string);
        tombstone = format!("{operation}\n{epoch}\n").into_bytes();
        tombstone.extend_from_slice(json);
    }
    let event = rules::change_of_registration(outcome, existing.as_ref(), options);
    Ok(Decision { new, outcome, event, tombstone })
}

/// Returns the stored answer to an earlier call with the same operation id.
fn remembered(store: &Arc<Store>, stream: &Stream, options: &RegisterOptions, answer: &[u8]) -> Result<Registered> {
    let answer = String::from_utf8_lossy(answer);
    let (outcome, json) = answer.split_once('\n').unwrap_or(("", &answer));
    // A stored result without an outcome belongs to an unregistration.
    let outcome = outcome.parse().map_err(|_| rules::operation_reused())?;
    let first = crate::stream::decode::decode_listed(json)?;
    if first.id != stream.id && !options.generated_id {
        return Err(rules::operation_reused());
    }
    Ok(Registered::new(first, outcome, store.options.ttl))
}
