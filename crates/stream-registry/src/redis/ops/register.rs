//! Registration of a stream. If the id is free, registration takes one round trip. If the id has a record, the client
//! reads the record first. The script then replaces the record only if it has not changed.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::{ATTEMPTS, back_off, contended, epoch_field, split, wrong_type};
use crate::error::Result;
use crate::redis::coalesce::{Coalescer, Job};
use crate::redis::fault::Effect;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::registry::ttl::OPERATION_RETENTION;
use crate::registry::{OnConflict, Outcome, RegisterOptions, Registered, epoch, rules};
use crate::stream::{Epoch, OperationId, Stream, StreamId};
use crate::watch::ChangeKind;

static REGISTER: LazyLock<Script> = LazyLock::new(|| Script::new("register", include_str!("register.lua")));

/// Start of the stored result of a registration with a generated id.
const GENERATED: &str = "generated ";

/// Coalesces this process's registrations into batches.
pub(in crate::redis) struct RegisterJob(pub(in crate::redis) Arc<Store>);

/// One attempt to register a stream.
pub(in crate::redis) struct Attempt {
    id: StreamId,
    /// `=` and the record that the client expects to exist; empty if the client expects no record.
    expected: Vec<u8>,
    new_json: String,
    /// Time of the sweep's first check of the stream, in Unix ms.
    check_at: i128,
    outcome: Outcome,
    /// The event that the registration adds to the feed.
    event: Option<ChangeKind>,
    /// The epoch for the tombstone of the record that is taken over; empty if no record is taken over.
    tombstone: String,
    /// The epoch that must be greater than the epoch in the tombstone. `None` skips this check.
    epoch: Option<Epoch>,
    /// The id under which the script stores the result of the registration.
    operation: Option<OperationId>,
    generated_id: bool,
    /// The epoch of the lease that the registration recovers.
    recover: Option<Epoch>,
}

/// The reply of the script to one attempt.
pub(in crate::redis) enum Reply {
    Done,
    /// This operation was applied before. Contains the stored result.
    Again(Vec<u8>),
    /// Another registration in the same batch has the same operation id.
    Busy,
    /// The client did not expect this record. Also contains its remaining time to live in ms, or a negative number.
    There(Vec<u8>, i64),
    /// The record that the client expects is missing. Contains the epoch in the tombstone. Empty without a tombstone.
    Gone(String),
    /// The epoch in the tombstone is not less than the epoch of the new record.
    Ended(String),
    /// The key of the record holds a value of this type.
    Kind(Vec<u8>),
}

impl Reply {
    /// Returns whether the store has applied an earlier attempt with this record: the stream has the record's epoch, or
    /// had it until it ended.
    fn shows_epoch(&self, new: &Stream) -> bool {
        let Some(epoch) = new.epoch() else { return false };
        match self {
            Self::There(json, _) => record::decode(&new.id, json).is_ok_and(|found| found.epoch() == Some(epoch)),
            Self::Ended(ended) | Self::Gone(ended) => ended == epoch.as_str(),
            _ => false,
        }
    }
}

#[async_trait]
impl Job for RegisterJob {
    type Item = Attempt;
    type Answer = Reply;
    const MAX_IN_FLIGHT: usize = 1;

    fn key(attempt: &Attempt) -> Option<&StreamId> {
        Some(&attempt.id)
    }

    async fn run(&self, attempts: &[Attempt]) -> Vec<Result<Reply>> {
        let store = &self.0;
        let mut keys =
            vec![store.keys.index().to_owned(), store.keys.feed(), store.keys.feed_metadata(), store.keys.due()];
        keys.extend(attempts.iter().map(|attempt| store.keys.record(&attempt.id)));
        keys.extend(attempts.iter().map(|attempt| store.keys.tombstone(&attempt.id)));
        keys.extend(attempts.iter().map(|attempt| store.keys.copy(&attempt.id)));
        keys.extend(
            attempts.iter().filter_map(|attempt| attempt.operation.as_ref()).map(|id| store.keys.operation(id)),
        );
        // A later first check of some streams does no harm.
        let check_at = attempts.iter().map(|attempt| attempt.check_at).max().unwrap_or_default();
        let mut call = REGISTER.call(&keys);
        call.arg(store.ttl_ms()).arg(store.tombstone_ms()).arg(OPERATION_RETENTION.as_millis().to_string());
        call.arg(check_at.to_string());
        for attempt in attempts {
            let Attempt { id, expected, new_json, event, tombstone, epoch, .. } = attempt;
            let call_kind = if attempt.generated_id { GENERATED } else { "" };
            let outcome = attempt.outcome.as_str();
            let result = attempt.operation.as_ref().map(|_| format!("{call_kind}{outcome}\n{new_json}"));
            let origin = attempt.recover.as_ref().map_or_else(|| "new".to_owned(), epoch_field);
            call.arg(id.as_str()).arg(expected).arg(new_json).arg(event.map_or("", ChangeKind::as_str));
            call.arg(epoch.as_ref().map_or("", Epoch::as_str)).arg(tombstone);
            call.arg(result.unwrap_or_default()).arg(origin);
        }
        split(call.run(&store.link, Effect::Write).await, attempts.len(), |reply| {
            if let Value::Int(1) = reply {
                return Ok(Reply::Done);
            }
            let mut reply = reply::array(reply)?.into_iter();
            let mut next = || reply.next().unwrap_or(Value::Nil);
            Ok(match &*reply::bytes(next())? {
                b"again" => Reply::Again(reply::bytes(next())?),
                b"busy" => Reply::Busy,
                b"there" => Reply::There(reply::bytes(next())?, reply::number(&next())?),
                b"gone" => Reply::Gone(String::from_utf8_lossy(&reply::bytes(next())?).into_owned()),
                b"ended" => Reply::Ended(String::from_utf8_lossy(&reply::bytes(next())?).into_owned()),
                b"kind" => Reply::Kind(reply::bytes(next())?),
                other => return Err(reply::unexpected(&Value::BulkString(other.to_vec()))),
            })
        })
    }
}

/// Registers a stream. Attempts that are not sent by the deadline are not applied.
pub(in crate::redis) async fn register(
    calls: &Arc<Coalescer<RegisterJob>>,
    store: &Arc<Store>,
    stream: &Stream,
    options: &RegisterOptions,
    deadline: Instant,
) -> Result<Registered> {
    rules::check_registration(stream, options)?;
    store.check_writable()?;
    let mut known = Known::default();
    let mut lock: Option<MutexGuard<'_, ()>> = None;
    for attempt in 0..ATTEMPTS {
        let decision = decide(store, stream, options, &known).await?;
        let call = || calls.call(decision.attempt(store, options, &known), deadline);
        let reply = match call().await {
            // No reply has arrived. The same record is sent once more. Its epoch, which only this call knows, shows
            // whether the store has applied the first call.
            Err(lost) if lost.may_have_applied() && options.lease && options.recover.is_none() => {
                let Ok(reply) = call().await else { return Err(lost) };
                if reply.shows_epoch(&decision.new) {
                    return Ok(Registered::new(decision.new, decision.outcome, store.options.ttl));
                }
                reply
            }
            reply => reply?,
        };
        match reply {
            Reply::Done => {
                drop(lock);
                return Ok(Registered::new(decision.new, decision.outcome, store.options.ttl));
            }
            Reply::Again(result) => return remembered(store, stream, options, &result),
            Reply::There(json, remaining) => {
                known.existing = Some(json);
                known.remaining = u64::try_from(remaining).ok().map(Duration::from_millis);
            }
            Reply::Gone(_) => known.existing = None,
            Reply::Ended(epoch) => known.ended_epoch = Some(epoch),
            Reply::Kind(kind) => return Err(wrong_type(&stream.id, &kind)),
            // The next attempt gets the result of the other registration.
            Reply::Busy => {}
        }
        if attempt == 0 {
            lock = store.locks.lock(&stream.id).await;
        } else if attempt > 1 && lock.is_none() {
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
    /// The epoch for the tombstone of the record that is taken over; empty if no record is taken over.
    tombstone: String,
    /// Whether the existing record has the epoch of the lease to recover. No tombstone can then contradict the lease.
    is_confirmed: bool,
}

impl Decision {
    fn attempt(&self, store: &Store, options: &RegisterOptions, known: &Known) -> Attempt {
        let Self { new, outcome, event, tombstone, is_confirmed } = self;
        Attempt {
            id: new.id.clone(),
            expected: known.existing.as_ref().map_or_else(Vec::new, |existing| [b"=", &**existing].concat()),
            new_json: new.to_stored_json(),
            epoch: new.epoch.clone().filter(|_| !is_confirmed),
            check_at: new.last_heartbeat.as_unix_nanos() / 1_000_000 + i128::from(store.ttl_ms() - store.margin_ms()),
            outcome: *outcome,
            event: *event,
            tombstone: tombstone.clone(),
            operation: options.operation.clone(),
            generated_id: options.generated_id,
            recover: options.recover.clone(),
        }
    }
}

/// Decides how to register, given the known state.
async fn decide(store: &Arc<Store>, stream: &Stream, options: &RegisterOptions, known: &Known) -> Result<Decision> {
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
    let mut tombstone = String::new();
    if existing_json.is_some() && outcome != Outcome::Renewed {
        outcome = Outcome::TakenOver;
        let epoch = existing.as_ref().and_then(Stream::epoch);
        tombstone = epoch.map_or_else(|| epoch::timestamp(now), ToString::to_string);
    }
    let event = rules::change_of_registration(outcome, existing.as_ref(), options);
    let is_confirmed =
        options.recover.is_some() && existing.as_ref().and_then(Stream::epoch) == options.recover.as_ref();
    Ok(Decision { new, outcome, event, tombstone, is_confirmed })
}

/// Returns the stored answer to an earlier call with the same operation id.
fn remembered(store: &Arc<Store>, stream: &Stream, options: &RegisterOptions, answer: &[u8]) -> Result<Registered> {
    let answer = String::from_utf8_lossy(answer);
    let (outcome, json) = answer.split_once('\n').unwrap_or(("", &answer));
    let (was_generated, outcome) = outcome.strip_prefix(GENERATED).map_or((false, outcome), |outcome| (true, outcome));
    // A stored result without an outcome belongs to an unregistration.
    let outcome = outcome.parse().map_err(|_| rules::operation_reused())?;
    let first = crate::stream::decode::decode_listed(json)?;
    if was_generated != options.generated_id || !was_generated && first.id != stream.id {
        return Err(rules::operation_reused());
    }
    Ok(Registered::new(first, outcome, store.options.ttl))
}
