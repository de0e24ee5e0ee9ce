//! Ids without a record leave the index.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::Effect;
use crate::redis::script::Script;
use crate::redis::{Store, reply};

static PRUNE: LazyLock<Script> = LazyLock::new(|| Script::new("prune", include_str!("prune.lua")));
/// How many ids are looked at in one script call.
const CHUNK: usize = 500;
/// How long the reader, who has its answer already, waits for that.
const PATIENCE: Duration = Duration::from_millis(500);

/// Removes those ids that have no record now either. A failure is only counted: the reader has its answer.
/// Returns how many of the keys hold something that is no record.
pub(super) async fn prune(store: &Arc<Store>, ids: &[Vec<u8>]) -> u64 {
    let mut wrong = 0;
    if ids.is_empty() || store.options.read_only {
        return wrong;
    }
    for chunk in ids.chunks(CHUNK) {
        let pruned = tokio::time::timeout(PATIENCE, prune_chunk(store, chunk)).await;
        match pruned.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "Redis did not answer in time"))) {
            Ok(no_record) => wrong += no_record,
            Err(error) => {
                store.counters.add_prune_failure();
                tracing::debug!(%error, "ids without a record stay in the index");
                break;
            }
        }
    }
    wrong
}

async fn prune_chunk(store: &Arc<Store>, ids: &[Vec<u8>]) -> Result<u64> {
    let mut keys = vec![store.keys.index().as_bytes().to_vec()];
    keys.extend(ids.iter().map(|id| store.keys.record_bytes(id)));
    let mut call = PRUNE.call(&keys);
    for id in ids {
        call.arg(id);
    }
    let answer = reply::array(call.run(&store.link, Effect::Tidy).await?)?;
    let mut numbers =
        answer.iter().map(|number| reply::number(number).map(|number| usize::try_from(number).unwrap_or(0)));
    store.counters.add_pruned(numbers.next().unwrap_or(Ok(0))? as u64);
    let mut wrong = 0;
    for place in numbers {
        if let Some(id) = place?.checked_sub(1).and_then(|at| ids.get(at)) {
            wrong += 1;
            tracing::warn!(id = %String::from_utf8_lossy(id).escape_debug(), "left out of the list: its key holds no string");
        }
    }
    Ok(wrong)
}
