//! The Redis store of this library, either shared by all callers or with one registry per caller.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::redis::RedisOptions;
use stream_registry::{RedisRegistry, Registry, Stream};

use crate::Result;

/// Key prefix of the registry that most rows use.
pub(crate) const PREFIX: &str = "mirror:streams:";
/// Key prefix of the large registry.
pub(crate) const LARGE: &str = "larger:streams:";

/// Time to live of a stream. It is longer than a run, so that no stream expires during a row that only reads.
pub(crate) const TTL: Duration = Duration::from_secs(3 * 3600);

/// Returns [`TTL`] in milliseconds.
pub(crate) fn ttl_ms() -> Result<u64> {
    Ok(u64::try_from(TTL.as_millis())?)
}

/// A shared registry. Applications receive the same type from `stream_registry::connect`.
pub(crate) type Shared = Arc<dyn Registry>;

/// Opens a registry with this key prefix.
pub(crate) async fn connect(url: &str, prefix: &str) -> Result<Shared> {
    connect_with_ttl(url, prefix, TTL).await
}

/// Opens a registry with this key prefix and this time to live.
pub(crate) async fn connect_with_ttl(url: &str, prefix: &str, ttl: Duration) -> Result<Shared> {
    let options: RedisOptions = url.parse()?;
    Ok(Arc::new(RedisRegistry::connect(options.prefix(prefix).ttl(ttl)).await?))
}

/// Opens `count` registries, each with its own connection.
pub(crate) async fn connect_each(url: &str, count: usize) -> Result<Vec<Shared>> {
    let mut registries = Vec::with_capacity(count);
    for _ in 0..count {
        registries.push(connect(url, PREFIX).await?);
    }
    Ok(registries)
}

/// Registers streams with 64 concurrent tasks.
pub(crate) async fn fill(registry: &Shared, streams: &Arc<Vec<Stream>>) -> Result<()> {
    let tasks: Vec<_> = (0..64)
        .map(|first| {
            let (registry, streams) = (Arc::clone(registry), Arc::clone(streams));
            tokio::spawn(async move {
                for stream in streams.iter().skip(first).step_by(64) {
                    registry.register(stream).await?;
                }
                Ok::<_, stream_registry::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}
