//! Reads the eviction policy of the server.

use crate::redis::eviction::Policy;
use crate::redis::fault::Effect;
use crate::redis::reply;
use crate::redis::store::Store;

/// Reads the policy, and logs a warning if it has become dangerous. Errors are ignored, because the registry also works
/// without knowing the policy. After the server has refused the command once, this function does not send it again.
pub(in crate::redis) async fn check(store: &Store) {
    let before = store.eviction.policy();
    if before == Policy::Unreadable {
        return;
    }
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("maxmemory-policy");
    let Ok(answer) = store.link.command(&command, Effect::Read).await else { return };
    let field = answer.ok().and_then(|answer| reply::field(&answer, "maxmemory-policy"));
    let policy = field.map_or(Policy::Unreadable, Policy::Known);
    let has_changed = policy != before;
    store.eviction.set(policy);
    if let Some(warning) = store.eviction.warning().filter(|_| has_changed) {
        tracing::warn!(address = %store.options.servers, "{warning}");
    }
}
