//! Unregistration of a stream.

use std::sync::{Arc, LazyLock};

use redis::Value;

use super::{ATTEMPTS, back_off, contended, wrong_type};
use crate::error::{Error, Result};
use crate::redis::fault::Effect;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::registry::ttl::OPERATION_RETENTION;
use crate::registry::{Guard, UnregisterOptions, epoch, rules};
use crate::stream::{OperationId, Stream, StreamId};

static UNREGISTER: LazyLock<Script> = LazyLock::new(|| Script::new("unregister", include_str!("unregister.lua")));

pub(in crate::redis) async fn unregister(
    store: &Arc<Store>,
    id: &StreamId,
    options: &UnregisterOptions,
) -> Result<Stream> {
    store.check_writable()?;
    let operation = options.operation.clone().unwrap_or_else(OperationId::generate);
    let keys = [
        store.keys.index().to_owned(),
        store.keys.record(id),
        store.keys.tombstone(id),
        store.keys.operation(&operation),
        store.keys.feed(),
        store.keys.feed_metadata(),
        store.keys.due(),
        store.keys.copy(id),
    ];
    // The result is stored only if the caller gave an operation id, because the caller may send this id again. A
    // generated operation id is used only once.
    let remember = options.operation.as_ref().map_or_else(String::new, |_| OPERATION_RETENTION.as_millis().to_string());
    let mut condition = match &options.guard {
        Guard::None => "free".to_owned(),
        Guard::Holder(epoch) => format!("={epoch}"),
        Guard::Force => "any".to_owned(),
    };
    let stamp = epoch::timestamp(store.link.now().await?);
    let mut ended_epoch = stamp.clone();
    let mut examined: Vec<u8> = Vec::new();
    for attempt in 0..ATTEMPTS {
        let mut call = UNREGISTER.call(&keys);
        call.arg(id.as_str()).arg(operation.as_str()).arg(store.tombstone_ms()).arg(&condition).arg(&examined);
        call.arg(&remember).arg(&ended_epoch).arg(options.reason.as_str().unwrap_or(""));
        let mut reply = reply::array(call.run(&store.link, Effect::Write).await?)?.into_iter();
        let result = reply::bytes(reply.next().unwrap_or(Value::Nil))?;
        let value = reply.next().unwrap_or(Value::Nil);
        match &*result {
            b"done" | b"again" => {
                let json = reply::bytes(value)?;
                let last = record::decode(id, &json).unwrap_or_else(|_| record::placeholder(id));
                return Ok(rules::with_end_reason(last, &options.reason));
            }
            b"used" => return Err(rules::operation_reused()),
            b"gone" => return Err(Error::not_found(id)),
            b"there" => {
                examined = reply::bytes(value)?;
                match record::decode(id, &examined) {
                    Ok(stream) => {
                        rules::check_guard(&stream, &options.guard)?;
                        ended_epoch = stream.epoch().map_or_else(|| stamp.clone(), ToString::to_string);
                    }
                    // `Force` also removes a record that cannot be decoded.
                    Err(_) if options.guard == Guard::Force => {}
                    Err(corrupt) => return Err(corrupt),
                }
                "seen".clone_into(&mut condition);
            }
            b"kind" => return Err(wrong_type(id, &reply::bytes(value)?)),
            _ => return Err(reply::unexpected(&Value::BulkString(result))),
        }
        if attempt > 0 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}
