//! Faults of one node, and the latency of the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::{ErrorKind, RedisRegistry, Registry as _};
use testkit::wait_until;
use tokio::task::JoinSet;

use super::layout::{ids_in, prefix_of};
use super::{PREFIX, TIMEOUT, connect, connect_to, id, register_all, stream, three_primaries};

/// Returns the ids of streams in the shards of other nodes, and in the shards of this node.
async fn ids_by_node(cluster: &testkit::ClusterSet, node: usize) -> (Vec<String>, Vec<String>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for shard in 0..16 {
        let is_here = cluster.primary_of(&prefix_of(PREFIX, shard)).await == node;
        if is_here { &mut down } else { &mut up }.extend(ids_in(shard, 4));
    }
    (up, down)
}

/// Makes calls about streams for some time, and returns how long they took, the shortest first.
async fn latencies(registry: &Arc<RedisRegistry>, names: &[String], time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for name in names {
        let (registry, name) = (Arc::clone(registry), id(name));
        tasks.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                registry.update_heartbeat(&name).await.unwrap();
                registry.get(&name).await.unwrap();
                took.push(began.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            took
        });
    }
    let mut all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn other_shards_keep_their_latency_while_a_node_hangs() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let (up, down) = ids_by_node(&cluster, 1).await;
    register_all(&registry, up.iter().chain(&down).cloned()).await;
    let normal = latencies(&registry, &up, Duration::from_secs(2)).await;
    cluster.nodes[1].pause();
    let mut stuck = JoinSet::new();
    for name in &down {
        let (registry, name) = (Arc::clone(&registry), id(name));
        stuck.spawn(async move {
            loop {
                let began = Instant::now();
                let _ = registry.update_heartbeat(&name).await;
                assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let hung = latencies(&registry, &up, Duration::from_secs(5)).await;
    assert!(stuck.try_join_next().is_none(), "a call about the node that hangs took too long");
    cluster.nodes[1].resume();
    let p99 = |all: &[Duration]| all[all.len() * 99 / 100];
    let (normal, hung) = (p99(&normal), p99(&hung));
    assert!(hung < normal * 4 + Duration::from_millis(50), "p99 {hung:?} instead of {normal:?}");
    eprintln!("p99 {normal:?}; while a node hangs {hung:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_while_scripts_and_connections_are_lost_repeatedly() {
    let cluster = Arc::new(three_primaries().await);
    let registry = connect(&cluster).await;
    let names: Vec<_> = (0..32).map(|n| format!("cam{n}")).collect();
    register_all(&registry, names.iter().cloned()).await;
    let storm = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move {
            for number in 0.. {
                cluster.cli_all(&["SCRIPT", "FLUSH"]).await;
                if number % 5 == 0 {
                    cluster.cli_all(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
                }
            }
        }
    });
    let mut tasks = JoinSet::new();
    for name in names {
        let (registry, name) = (Arc::clone(&registry), id(&name));
        tasks.spawn(async move {
            let (mut done, mut failed) = (0, 0);
            let until = Instant::now() + Duration::from_secs(4);
            while Instant::now() < until {
                let began = Instant::now();
                match registry.update_heartbeat(&name).await {
                    Ok(()) => done += 1,
                    Err(error) if error.is_retryable() => failed += 1,
                    Err(error) => panic!("{error:?}"),
                }
                assert!(began.elapsed() < Duration::from_secs(2));
                match registry.get(&name).await {
                    Ok(_) => {}
                    Err(error) if error.is_retryable() => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert!(done > failed, "{done} calls worked, {failed} failed");
        });
    }
    tasks.join_all().await;
    storm.abort();
    wait_until(TIMEOUT, async || registry.list().await.is_ok_and(|list| list.len() == 32)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_full_memory_rejects_streams_without_affecting_other_shards() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let (up, down) = ids_by_node(&cluster, 1).await;
    register_all(&registry, down.iter().take(8).cloned()).await;
    cluster.nodes[1].cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = registry.register(&stream(&down[10])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("maxmemory"), "{error}");
    // Streams that are live stay live.
    registry.update_heartbeat(&id(&down[0])).await.unwrap();
    register_all(&registry, up.iter().cloned()).await;
    assert_eq!(registry.list().await.unwrap().len(), 8 + up.len());
    registry.unregister(&id(&down[0])).await.unwrap();
}

/// The layout of a registry may be on the node that is down.
#[tokio::test(flavor = "multi_thread")]
async fn connecting_creates_no_registry_while_a_node_is_down() {
    let mut cluster = three_primaries().await;
    cluster.nodes[1].kill();
    let url = cluster.url();
    let options: stream_registry::redis::RedisOptions = url.parse().unwrap();
    let error = RedisRegistry::connect(options).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    cluster.restart(1).await;
    let registry = connect_to(&format!("{url}?shards=64")).await;
    registry.register(&stream("cam1")).await.unwrap();
}
