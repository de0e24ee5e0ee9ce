//! A change that the client makes of the text it has read, set if nobody was faster.

use std::sync::{Arc, LazyLock};

use redis::Value;

use super::{TRIES, back_off, contended};
use crate::error::{Error, Result};
use crate::redis::connect::Effect;
use crate::redis::ops::write::outcome;
use crate::redis::script::Script;
use crate::redis::{Store, reply};
use crate::registry::{Change, Write, rules};
use crate::stream::Stream;
use crate::watch::ChangeKind;

static REPLACE: LazyLock<Script> = LazyLock::new(|| Script::new("replace", include_str!("replace.lua")));
/// For heartbeats, status and statistics, which go on when memory is full.
static REPLACE_WHEN_FULL: LazyLock<Script> = LazyLock::new(|| REPLACE.with_flags("replace_when_full", "allow-oom"));

/// Makes one change of a record whose text was read; other fields keep their values to the letter.
pub(super) async fn change(store: &Arc<Store>, write: &Write, mut text: Vec<u8>) -> Result<()> {
    let script = match write.change {
        Change::Patch(_) | Change::Update(_) => &*REPLACE,
        _ => &*REPLACE_WHEN_FULL,
    };
    let mut turn = store.turns.take(&write.id, &mut text).await;
    for attempt in 0..TRIES {
        let stream = decode(&write.id, &text)?;
        rules::check_guard(&stream, &write.guard)?;
        let new = rules::apply(&stream, &write.change, store.link.now().await?)?.to_json();
        let what = rules::change_of_write(&write.change, &stream).map_or("", ChangeKind::as_str);
        let mut call =
            script.call(&[store.keys.index(), &store.keys.record(&write.id), &store.keys.feed(), &store.keys.facts()]);
        call.arg(write.id.as_str()).arg(&text).arg(&new).arg(store.ttl_ms()).arg(store.ttl_policy());
        call.arg(what);
        match call.run(&store.link, Effect::Write).await? {
            Value::Int(code) => {
                let done = outcome(code, &write.id);
                if let Some(turn) = &mut turn {
                    **turn = done.is_ok().then(|| (write.id.clone(), new.into_bytes()));
                }
                return done;
            }
            other => text = reply::text(other)?,
        }
        if attempt > 0 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}

/// Reads a stored text.
pub(in crate::redis) fn decode(id: &crate::stream::StreamId, text: &[u8]) -> Result<Stream> {
    let text = std::str::from_utf8(text).map_err(|fault| Error::corrupt(id, "it is not UTF-8").with_source(fault))?;
    Ok(Stream::from_stored(id, text)?)
}
