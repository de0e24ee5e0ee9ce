//! Adds ids of records that are missing from the index.

use std::sync::{Arc, LazyLock};

use crate::error::Result;
use crate::redis::fault::Effect;
use crate::redis::reply;
use crate::redis::script::Script;
use crate::redis::store::Store;

static RESTORE: LazyLock<Script> = LazyLock::new(|| Script::new("restore", include_str!("restore.lua")));
/// Maximum number of ids in one script call.
const CHUNK: usize = 500;

/// Adds ids to the index if they have a record. Returns the number of added ids.
pub(in crate::redis) async fn restore_all(store: &Arc<Store>, ids: &[Vec<u8>]) -> Result<u64> {
    let mut added = 0;
    for chunk in ids.chunks(CHUNK) {
        let mut keys = vec![store.keys.index().as_bytes().to_vec()];
        keys.extend(chunk.iter().map(|id| store.keys.record_bytes(id)));
        let mut call = RESTORE.call(&keys);
        for id in chunk {
            call.arg(id);
        }
        added += u64::try_from(reply::number(&call.run(&store.link, Effect::Write).await?)?).unwrap_or(0);
    }
    Ok(added)
}
