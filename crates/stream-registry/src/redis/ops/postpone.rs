//! The part of the sweep that handles most streams: those that are due but still alive.

use std::sync::{Arc, LazyLock};

use crate::error::Result;
use crate::redis::fault::Effect;
use crate::redis::reply;
use crate::redis::script::Script;
use crate::redis::store::Store;
use crate::registry::TtlPolicy;

static POSTPONE: LazyLock<Script> = LazyLock::new(|| Script::new("postpone", include_str!("postpone.lua")));

/// Schedules the next check of streams that are alive and need no other handling yet. Returns the other streams.
pub(super) async fn postpone(store: &Arc<Store>, mut ids: Vec<Vec<u8>>, now: i128) -> Result<Vec<Vec<u8>>> {
    // A tool that keeps no streams alive may have another time to live, so it must not set the time of the next check.
    if ids.is_empty() || store.options.ttl_policy != TtlPolicy::Renew {
        return Ok(ids);
    }
    let mut keys = Vec::with_capacity(ids.len() + 1);
    keys.push(store.keys.due().into_bytes());
    keys.extend(ids.iter().map(|id| store.keys.record_bytes(id)));
    let mut call = POSTPONE.call(&keys);
    call.arg(store.keys.prefix().len()).arg(store.margin_ms()).arg(store.ttl_ms()).arg(now.to_string());
    let mut others = Vec::new();
    for position in reply::array(call.run(&store.link, Effect::Housekeeping).await?)? {
        let at = usize::try_from(reply::number(&position)?).ok().and_then(|position| position.checked_sub(1));
        let id = at.and_then(|at| ids.get_mut(at)).ok_or_else(|| reply::unexpected(&position))?;
        others.push(std::mem::take(id));
    }
    Ok(others)
}
