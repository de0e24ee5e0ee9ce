//! A registry in a Redis Cluster. The conformance suite also runs on a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

mod access;
mod fleet;
mod hostile;
mod keys;
pub(crate) mod layout;
mod layouts;
mod loss;
mod many_shards;
mod migration;
mod outage;
mod restart;
mod resync;
mod storms;
mod view;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use stream_registry::redis::RedisOptions;
use stream_registry::{RedisRegistry, Registry, Stream, StreamId, StreamType};
use testkit::ClusterSet;

/// Time limit for the cluster and the store to recover on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
const PREFIX: &str = "mirror:streams:";

fn id(name: &str) -> StreamId {
    name.parse().unwrap()
}

fn stream(name: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, "203.0.113.7:40112")
}

/// Starts three primaries without replicas. If a node is down, the others serve their slots.
async fn three_primaries() -> ClusterSet {
    ClusterSet::builder().replicas(0).config("cluster-require-full-coverage no").start().await
}

async fn connect(cluster: &ClusterSet) -> Arc<RedisRegistry> {
    connect_to(&cluster.url()).await
}

async fn connect_to(url: &str) -> Arc<RedisRegistry> {
    let options: RedisOptions = url.parse().unwrap();
    Arc::new(RedisRegistry::connect(options).await.unwrap())
}

/// Registers streams, several at once.
async fn register_all(registry: &Arc<RedisRegistry>, names: impl IntoIterator<Item = String>) {
    let mut tasks = tokio::task::JoinSet::new();
    for name in names {
        let registry = Arc::clone(registry);
        tasks.spawn(async move { registry.register(&stream(&name)).await.unwrap() });
    }
    tasks.join_all().await;
}
