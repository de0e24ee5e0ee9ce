//! Changes that the client, not a script, makes to a record. The client reads the record, changes it, and stores it if
//! the stored record is still the same.

use std::sync::{Arc, LazyLock};

use redis::Value;

use super::{ATTEMPTS, back_off, contended, outcome};
use crate::error::Result;
use crate::redis::fault::Effect;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::registry::{Change, Write, rules};
use crate::watch::ChangeKind;

static REPLACE: LazyLock<Script> = LazyLock::new(|| Script::new("replace", include_str!("replace.lua")));
/// The script `replace` for heartbeats, status and statistics. These changes must work even if the server's memory is
/// full.
static REPLACE_WHEN_FULL: LazyLock<Script> = LazyLock::new(|| REPLACE.with_flags("replace_when_full", "allow-oom"));

/// Applies one change to a record that was read as `json`. Unknown fields and nonconforming values keep their raw JSON.
pub(super) async fn change(store: &Arc<Store>, write: &Write, mut json: Vec<u8>) -> Result<()> {
    let script = match write.change {
        Change::Patch(_) | Change::Update(_) => &*REPLACE,
        _ => &*REPLACE_WHEN_FULL,
    };
    let _lock = store.locks.lock(&write.id).await;
    for attempt in 0..ATTEMPTS {
        let stream = record::decode(&write.id, &json)?;
        rules::check_guard(&stream, &write.guard)?;
        let new = rules::apply(&stream, &write.change, store.link.now().await?)?.to_stored_json();
        let event = rules::change_of_write(&write.change, &stream).map_or("", ChangeKind::as_str);
        let keys = [store.keys.index(), &store.keys.record(&write.id), &store.keys.feed(), &store.keys.feed_metadata()];
        let mut call = script.call(&keys);
        call.arg(write.id.as_str()).arg(&json).arg(&new).arg(store.ttl_ms()).arg(store.ttl_policy_of(&write.guard));
        call.arg(event);
        match call.run(&store.link, Effect::Write).await? {
            Value::Int(code) => return outcome(code, &write.id),
            present => json = reply::bytes(present)?,
        }
        if attempt > 0 {
            back_off(attempt).await;
        }
    }
    Err(contended())
}
