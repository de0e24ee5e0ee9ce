//! Unregistration.

use std::sync::{Arc, LazyLock};

use redis::Value;

use super::{TRIES, back_off, contended, replace};
use crate::error::{Error, Result};
use crate::redis::connect::Effect;
use crate::redis::fault::unexpected;
use crate::redis::script::Script;
use crate::redis::{Store, reply};
use crate::registry::ttl::OPERATION_RETENTION;
use crate::registry::{Guard, UnregisterOptions, epoch, rules};
use crate::stream::{OperationId, Stream, StreamId, StreamType, Timestamp};

static END: LazyLock<Script> = LazyLock::new(|| Script::new("end", include_str!("end.lua")));

pub(in crate::redis) async fn end(store: &Arc<Store>, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
    store.check_writable()?;
    let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
    let keys = [
        store.keys.index().to_owned(),
        store.keys.record(id),
        store.keys.end_mark(id),
        store.keys.operation(&operation),
        store.keys.feed(),
        store.keys.facts(),
        store.keys.due(),
        store.keys.copy(id),
    ];
    // A name of our own making comes once only; one that the caller gave may have been used elsewhere.
    let remember = options.operation.as_ref().map_or_else(String::new, |_| OPERATION_RETENTION.as_millis().to_string());
    let mut condition = match &options.guard {
        Guard::None => "free".to_owned(),
        Guard::Holder(epoch) => format!("={epoch}"),
        Guard::Force => "any".to_owned(),
    };
    let stamp = epoch::timestamp(store.link.now().await?);
    let mut ended = stamp.clone();
    let mut seen: Vec<u8> = Vec::new();
    for attempt in 0..TRIES {
        let mut call = END.call(&keys);
        call.arg(id.as_str()).arg(operation.as_str()).arg(store.end_mark_ms()).arg(&condition).arg(&seen);
        call.arg(&remember).arg(&ended).arg(options.reason.as_str().unwrap_or(""));
        let mut reply = reply::array(call.run(&store.link, Effect::Write).await?)?.into_iter();
        let word = reply::text(reply.next().unwrap_or(Value::Nil))?;
        let value = reply.next().unwrap_or(Value::Nil);
        match &*word {
            b"done" | b"again" => {
                let text = reply::text(value)?;
                let last = replace::decode(id, &text).unwrap_or_else(|_| unreadable(id));
                return Ok(rules::with_end_reason(last, &options.reason));
            }
            b"used" => return Err(rules::operation_reused()),
            b"gone" => return Err(Error::not_found(id)),
            b"there" => {
                seen = reply::text(value)?;
                match replace::decode(id, &seen) {
                    Ok(stream) => {
                        rules::check_guard(&stream, &options.guard)?;
                        ended = stream.epoch().map_or_else(|| stamp.clone(), ToString::to_string);
                    }
                    // Who forces it ends what nobody can read, too.
                    Err(_) if options.guard == Guard::Force => {}
                    Err(corrupt) => return Err(corrupt),
                }
                "seen".clone_into(&mut condition);
            }
            b"kind" => {
                let kind = String::from_utf8_lossy(&reply::text(value)?).into_owned();
                return Err(Error::corrupt(id, format!("the key holds a {kind}; remove it with redis-cli")));
            }
            _ => return Err(unexpected(&Value::BulkString(word))),
        }
        if attempt > 0 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}

/// What stands for a last record that nobody can read, once it has been ended.
pub(in crate::redis) fn unreadable(id: &StreamId) -> Stream {
    let mut stream = Stream::new(id.clone(), StreamType::stored(""), "");
    (stream.created_at, stream.last_heartbeat) = (Timestamp::ZERO, Timestamp::ZERO);
    stream
}
