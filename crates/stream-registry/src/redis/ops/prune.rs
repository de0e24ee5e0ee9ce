//! Removes ids that have no record from the index.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::error::Result;
use crate::redis::fault::{Effect, no_reply};
use crate::redis::reply;
use crate::redis::script::Script;
use crate::redis::store::Store;

static PRUNE: LazyLock<Script> = LazyLock::new(|| Script::new("prune", include_str!("prune.lua")));
/// Maximum number of ids in one script call.
const CHUNK: usize = 500;
/// Timeout of a script call. The timeout is short, because the list is already complete and its caller waits only for
/// this call.
const PRUNE_TIMEOUT: Duration = Duration::from_millis(500);

/// Removes ids from the index if they still have no record. Returns the number of ids whose key holds a value other
/// than a string. Failures are counted and logged, but not returned, because the list is complete without this step.
pub(super) async fn prune(store: &Arc<Store>, ids: &[Vec<u8>]) -> u64 {
    let mut foreign = 0;
    if ids.is_empty() || store.options.read_only {
        return foreign;
    }
    for chunk in ids.chunks(CHUNK) {
        let pruned = tokio::time::timeout(PRUNE_TIMEOUT, prune_chunk(store, chunk)).await;
        match pruned.unwrap_or_else(|_| Err(no_reply())) {
            Ok(pruned) => foreign += pruned.foreign,
            Err(error) => {
                store.counters.add_prune_failure();
                tracing::debug!(%error, "cannot clean the index: failed to remove ids that have no record");
                break;
            }
        }
    }
    foreign
}

/// Removes ids from the index if they still have no record. Returns the number of removed ids.
pub(in crate::redis) async fn prune_all(store: &Arc<Store>, ids: &[Vec<u8>]) -> Result<u64> {
    let mut removed = 0;
    for chunk in ids.chunks(CHUNK) {
        removed += prune_chunk(store, chunk).await?.removed;
    }
    Ok(removed)
}

/// The result of one script call.
struct Pruned {
    /// Number of removed ids.
    removed: u64,
    /// Number of ids whose key holds a value other than a string.
    foreign: u64,
}

async fn prune_chunk(store: &Arc<Store>, ids: &[Vec<u8>]) -> Result<Pruned> {
    let mut keys = vec![store.keys.index().as_bytes().to_vec()];
    keys.extend(ids.iter().map(|id| store.keys.record_bytes(id)));
    let mut call = PRUNE.call(&keys);
    for id in ids {
        call.arg(id);
    }
    let answer = reply::array(call.run(&store.link, Effect::Housekeeping).await?)?;
    let mut numbers =
        answer.iter().map(|number| reply::number(number).map(|number| usize::try_from(number).unwrap_or(0)));
    let removed = numbers.next().unwrap_or(Ok(0))? as u64;
    store.counters.add_pruned(removed);
    let mut foreign = 0;
    for number in numbers {
        if let Some(id) = number?.checked_sub(1).and_then(|at| ids.get(at)) {
            foreign += 1;
            let id = String::from_utf8_lossy(id);
            tracing::warn!(id = %id.escape_debug(), "skipped a record in a list: the key does not hold a string");
        }
    }
    Ok(Pruned { removed, foreign })
}
