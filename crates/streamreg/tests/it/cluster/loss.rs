//! The network between the library and one node drops packets silently.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{ErrorKind, RedisRegistry, Registry as _};
use testkit::{ClusterSet, FaultProxy, wait_until};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::layout::{ids_in, prefix_of};
use super::{PREFIX, TIMEOUT, connect_to, id, register_all, stream, three_primaries};

/// Starts a cluster whose nodes announce the addresses of proxies in front of them.
async fn proxied() -> (ClusterSet, Vec<FaultProxy>) {
    let cluster = three_primaries().await;
    let mut proxies = Vec::new();
    for node in &cluster.nodes {
        let proxy = FaultProxy::start(node.addr()).await;
        let port = proxy.addr().port().to_string();
        assert_eq!(node.cli(&["CONFIG", "SET", "cluster-announce-port", &port]).await, "OK");
        proxies.push(proxy);
    }
    let ports: Vec<_> = proxies.iter().map(|proxy| format!("127.0.0.1:{}@", proxy.addr().port())).collect();
    wait_until(TIMEOUT, async || {
        let views = cluster.cli_all(&["CLUSTER", "NODES"]).await;
        views.iter().all(|view| ports.iter().all(|port| view.contains(port)))
    })
    .await;
    (cluster, proxies)
}

async fn connect_through(proxies: &[FaultProxy]) -> Arc<RedisRegistry> {
    let nodes: Vec<_> = proxies.iter().map(|proxy| proxy.addr().to_string()).collect();
    connect_to(&format!("redis+cluster://{}", nodes.join(","))).await
}

/// Returns ids of streams in each shard of the other nodes, and in each shard of this node.
async fn ids_on(cluster: &ClusterSet, node: usize, count: usize) -> (Vec<String>, Vec<String>) {
    let (mut others, mut here) = (Vec::new(), Vec::new());
    for shard in 0..16 {
        let is_here = cluster.primary_of(&prefix_of(PREFIX, shard)).await == node;
        if is_here { &mut here } else { &mut others }.extend(ids_in(shard, count));
    }
    (others, here)
}

/// Makes calls about streams for some time. Returns how long the slowest ones took, and how many failed.
async fn slowest(registry: &Arc<RedisRegistry>, names: &[String], time: Duration) -> (Duration, usize) {
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for name in names {
        let (registry, name) = (Arc::clone(registry), id(name));
        tasks.spawn(async move {
            let (mut longest, mut failed) = (Duration::ZERO, 0);
            while Instant::now() < until {
                let began = Instant::now();
                failed += usize::from(registry.update_heartbeat(&name).await.is_err());
                failed += usize::from(registry.get(&name).await.is_err());
                longest = longest.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (longest, failed)
        });
    }
    tasks.join_all().await.into_iter().fold((Duration::ZERO, 0), |sum, one| (sum.0.max(one.0), sum.1 + one.1))
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_loss_between_client_and_node_is_noticed_and_affects_only_its_shards() {
    let (cluster, proxies) = proxied().await;
    let registry = connect_through(&proxies).await;
    let (up, down) = ids_on(&cluster, 1, 3).await;
    register_all(&registry, up.iter().chain(&down).cloned()).await;
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    for loss in ["replies", "both"] {
        match loss {
            "replies" => proxies[1].drop_replies(),
            _ => proxies[1].stall(),
        }
        // The request reaches the node if only the replies are lost.
        let name = id(&down[0]);
        let began = Instant::now();
        let error = registry.unregister(&name).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_millis(2_400) && error.may_have_applied(), "{error:?}");
        let (longest, failed) = slowest(&registry, &up, Duration::from_secs(2)).await;
        assert!(failed == 0 && longest < Duration::from_millis(600), "{loss}: {longest:?}, {failed} failed");
        if loss == "replies" {
            proxies[1].cut();
        }
        proxies[1].resume().await;
        wait_until(TIMEOUT, async || {
            registry.unregister(&name).await.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        })
        .await;
        let ended = timeout(Duration::from_secs(10), async {
            loop {
                match watch.next().await.unwrap() {
                    Event::Ended { last, .. } if last.id == name => return,
                    Event::Resync { .. } => panic!("no event was lost"),
                    _ => {}
                }
            }
        });
        ended.await.unwrap();
        wait_until(TIMEOUT, async || registry.register(&stream(name.as_str())).await.is_ok()).await;
    }
}

/// A firewall has forgotten the open connections. The reader of the feed waits for events, so it sends nothing that
/// would be answered with a reset.
#[tokio::test(flavor = "multi_thread")]
async fn watch_notices_a_loss_that_lasts_and_reads_over_a_new_connection() {
    let (cluster, proxies) = proxied().await;
    let registry = connect_through(&proxies).await;
    let names = ids_on(&cluster, 1, 2).await.1;
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    register_all(&registry, [names[0].clone()]).await;
    timeout(TIMEOUT, watch.next()).await.unwrap().unwrap();
    proxies[1].lose_open();
    register_all(&connect_to(&cluster.url()).await, [names[1].clone()]).await;
    let began = Instant::now();
    let seen = timeout(TIMEOUT, async {
        while watch.next().await.unwrap().stream().is_none_or(|stream| stream.id.as_str() != names[1]) {}
    });
    seen.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
