//! This library's Redis store, shared by all callers or opened by each of them.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::redis::RedisOptions;
use stream_registry::{RedisRegistry, Registry, Stream};

use crate::Result;

pub(crate) const PREFIX: &str = "mirror:streams:";
/// The prefix of the large registry.
pub(crate) const LARGE: &str = "larger:streams:";

/// Longer than a run, so that nothing expires in rows that do not write.
pub(crate) const TTL: Duration = Duration::from_secs(3 * 3600);

/// As an application has it: `connect` returns this type.
pub(crate) type Shared = Arc<dyn Registry>;

pub(crate) async fn connect(url: &str, prefix: &str) -> Result<Shared> {
    let options: RedisOptions = url.parse()?;
    Ok(Arc::new(RedisRegistry::connect(options.prefix(prefix).ttl(TTL)).await?))
}

pub(crate) async fn connect_each(url: &str, count: usize) -> Result<Vec<Shared>> {
    let mut registries = Vec::with_capacity(count);
    for _ in 0..count {
        registries.push(connect(url, PREFIX).await?);
    }
    Ok(registries)
}

/// Registers streams, 64 at a time.
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
