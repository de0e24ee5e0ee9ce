//! Views of a cluster that load while the registry changes or a node is down.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::redis::RedisOptions;
use stream_registry::view::{View, ViewOptions};
use stream_registry::{RedisRegistry, Registry, StreamPatch};
use testkit::{ClusterSet, wait_until};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{TIMEOUT, connect, id, register_all, stream, three_primaries};

/// Time in which a view loads a small registry, on a busy machine.
const LOAD_LIMIT: Duration = Duration::from_secs(8);

fn view_of(registry: &Arc<RedisRegistry>) -> View {
    // Without a reconciliation, only the load and the events change the view.
    let options = ViewOptions::default().reconcile_every(Duration::from_secs(3_600));
    View::new(Arc::clone(registry) as Arc<dyn Registry>, options)
}

/// Changes streams in all shards, several at once, until the set is dropped.
fn churn(registry: &Arc<RedisRegistry>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let registry = Arc::clone(registry);
        tasks.spawn(async move {
            for number in 0_u64.. {
                let name = format!("churn {task} {}", number % 20);
                let patch = StreamPatch::default().label("n", number.to_string());
                if registry.patch(&id(&name), &patch).await.is_err() {
                    let _ = registry.register(&stream(&name)).await;
                }
            }
        });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn view_of_a_cluster_loads_while_all_shards_change() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let changes = churn(&registry);
    for _ in 0..5 {
        let view = view_of(&registry);
        timeout(LOAD_LIMIT, view.ready()).await.expect("the view loads in time").unwrap();
    }
    drop(changes);
}

/// When the view loads, most feeds are empty and have no generation.
#[tokio::test(flavor = "multi_thread")]
async fn view_of_a_cluster_loads_while_a_new_registry_gets_its_first_streams() {
    let cluster = three_primaries().await;
    for round in 0..5 {
        let options: RedisOptions = cluster.url().parse().unwrap();
        let registry = RedisRegistry::connect(options.prefix(format!("new{round}:"))).await.unwrap();
        let registry = Arc::new(registry);
        let view = view_of(&registry);
        register_all(&registry, (0..100).map(|n| format!("cam{n}"))).await;
        timeout(LOAD_LIMIT, view.ready()).await.expect("the view loads in time").unwrap();
        wait_until(LOAD_LIMIT, async || view.counts().total == 100).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn view_that_begins_while_a_node_hangs_is_complete_when_it_is_ready() {
    let cluster: ClusterSet = three_primaries().await;
    let registry = connect(&cluster).await;
    register_all(&registry, (0..200).map(|n| format!("cam{n}"))).await;
    cluster.nodes[1].pause();
    let view = view_of(&registry);
    // A view that is ready must not lack the streams of the node that hangs.
    assert!(timeout(Duration::from_secs(4), view.ready()).await.is_err());
    cluster.nodes[1].resume();
    timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    assert_eq!(view.counts().total, 200);
}
