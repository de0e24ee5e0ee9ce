//! Registration: created in one round trip; a live record is judged here and replaced if it is still the same.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Value;
use tokio::sync::MutexGuard;

use super::write::epoch_field;
use super::{LastText, TRIES, back_off, contended, replace};
use crate::error::{Error, Result};
use crate::redis::connect::Effect;
use crate::redis::fault::unexpected;
use crate::redis::script::Script;
use crate::redis::{Store, reply};
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
        store.keys.end_mark(&stream.id),
        store.keys.feed(),
        store.keys.facts(),
        store.keys.due(),
        store.keys.copy(&stream.id),
    ];
    let mut known = Known::default();
    let mut turn: Option<MutexGuard<'_, LastText>> = None;
    for attempt in 0..TRIES {
        let (new, outcome, what, ended) = judge(store, stream, options, &operation, &known).await?;
        let text = new.to_json();
        let answer = format!("{}\n{text}", outcome.as_str());
        let mut call = REGISTER.call(&keys);
        let expected = known.there.as_ref().map_or_else(Vec::new, |there| [b"=", &**there].concat());
        let mark = if new.epoch.is_some() { known.ended.as_deref().unwrap_or("") } else { "*" };
        call.arg(stream.id.as_str()).arg(expected).arg(&text).arg(store.ttl_ms()).arg(store.ttl_policy());
        call.arg(answer).arg(OPERATION_RETENTION.as_millis().to_string()).arg(ended).arg(store.end_mark_ms()).arg(mark);
        let look_at = new.last_heartbeat.as_unix_nanos() / 1_000_000 + i128::from(store.ttl_ms() - store.margin_ms());
        let whose = options.recover.as_ref().map_or_else(|| "new".to_owned(), epoch_field);
        call.arg(what.map_or("", ChangeKind::as_str)).arg(look_at.to_string()).arg(whose);
        let mut reply = reply::array(call.run(&store.link, Effect::Write).await?)?.into_iter();
        let word = reply::text(reply.next().unwrap_or(Value::Nil))?;
        let value = reply.next().unwrap_or(Value::Nil);
        match &*word {
            b"done" => {
                if let Some(turn) = &mut turn {
                    **turn = Some((stream.id.clone(), text.into_bytes()));
                }
                return Ok(Registered::new(new, outcome, store.options.ttl));
            }
            b"again" => return remembered(store, stream, options, &reply::text(value)?),
            b"there" => {
                let left = reply::number(&reply.next().unwrap_or(Value::Nil))?;
                known.there = Some(reply::text(value)?);
                known.left = u64::try_from(left).ok().map(Duration::from_millis);
            }
            b"gone" => known.there = None,
            b"ended" => {
                let epoch = String::from_utf8_lossy(&reply::text(value)?).into_owned();
                known.ended = Some(epoch).filter(|epoch| !epoch.is_empty());
            }
            b"kind" => {
                let kind = String::from_utf8_lossy(&reply::text(value)?).into_owned();
                return Err(Error::corrupt(&stream.id, format!("the key holds a {kind}; remove it with redis-cli")));
            }
            _ => return Err(unexpected(&Value::BulkString(word))),
        }
        if let (0, Some(there)) = (attempt, &mut known.there) {
            let before = there.clone();
            turn = store.turns.take(&stream.id, there).await;
            if before != *there {
                // Written just now.
                known.left = None;
            }
        } else if attempt > 1 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}

/// What is known of what the store holds: at first nothing.
#[derive(Default)]
struct Known {
    /// The text that is there.
    there: Option<Vec<u8>>,
    /// How long it has to live, where that is known.
    left: Option<Duration>,
    /// The epoch of the end mark.
    ended: Option<String>,
}

/// Decides by what is known; returns the new record, what that is to the caller and to those who follow, and the end
/// mark of the old one.
async fn judge(
    store: &Arc<Store>,
    stream: &Stream,
    options: &RegisterOptions,
    operation: &OperationId,
    known: &Known,
) -> Result<(Stream, Outcome, Option<ChangeKind>, Vec<u8>)> {
    let now = store.link.now().await?;
    let there = known.there.as_deref();
    let existing = match there.map(|there| replace::decode(&stream.id, there)) {
        None => None,
        Some(Ok(existing)) => Some(existing),
        // Nobody can say whose the unreadable one is: only who takes over without asking may replace it.
        Some(Err(_)) if options.on_conflict == OnConflict::TakeOver => None,
        Some(Err(corrupt)) => return Err(corrupt),
    };
    let found = rules::Found {
        existing: existing.as_ref(),
        idle: known.left.map_or(Duration::ZERO, |left| store.options.ttl.saturating_sub(left)),
        tombstone: known.ended.as_deref(),
    };
    let (new, mut outcome) = rules::register(found, stream, options, now)?;
    let mut ended = Vec::new();
    if let Some(there) = there.filter(|_| outcome != Outcome::Renewed) {
        outcome = Outcome::TakenOver;
        let epoch =
            existing.as_ref().and_then(Stream::epoch).map_or_else(|| epoch::timestamp(now), ToString::to_string);
        ended = format!("{operation}\n{epoch}\n").into_bytes();
        ended.extend_from_slice(there);
    }
    let what = rules::change_of_registration(outcome, existing.as_ref(), options);
    Ok((new, outcome, what, ended))
}

/// The answer that the same call got when it was sent first.
fn remembered(store: &Arc<Store>, stream: &Stream, options: &RegisterOptions, answer: &[u8]) -> Result<Registered> {
    let answer = String::from_utf8_lossy(answer);
    let (word, text) = answer.split_once('\n').unwrap_or(("", &answer));
    // The other answers that are remembered are those of ends.
    let outcome = word.parse().map_err(|_| rules::operation_reused())?;
    let first = crate::stream::decode::decode_listed(text)?;
    if first.id != stream.id && !options.generated_id {
        return Err(rules::operation_reused());
    }
    Ok(Registered::new(first, outcome, store.options.ttl))
}
