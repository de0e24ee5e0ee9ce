//! Leases, views and servers on a cluster, and a fleet that moves to a cluster.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::lease::{Lease, LeaseOptions, Leases};
use stream_registry::view::{View, ViewOptions};
use stream_registry::{ConnectOptions, Registry, StreamStats, connect_with};
use streamreg::server::ServeOptions;
use testkit::{RedisServer, wait_until};

use super::layout::{ids_in, prefix_of};
use super::{PREFIX, TIMEOUT, connect, id, register_all, stream, three_primaries};
use crate::http::kit::Server;

async fn acquire_all(leases: &Leases, count: usize) -> Vec<Lease> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        let leases = leases.clone();
        tasks.spawn(async move { leases.acquire(stream(&format!("cam{number}"))).await.unwrap() });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_leases_report_and_end_on_a_cluster() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let leases = Leases::new(registry.clone(), LeaseOptions::default());
    let held = acquire_all(&leases, 1_000).await;
    assert_eq!(registry.list().await.unwrap().len(), 1_000);
    for lease in &held {
        lease.report(StreamStats { bytes_received: Some(7), ..StreamStats::default() });
    }
    wait_until(TIMEOUT, async || registry.list().await.unwrap().iter().all(|stream| stream.bytes_received == 7)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for lease in held {
        tasks.spawn(async move { lease.release().await.unwrap() });
    }
    tasks.join_all().await;
    assert!(registry.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_in_other_shards_are_renewed_while_a_node_is_down() {
    let mut cluster = three_primaries().await;
    let options: stream_registry::redis::RedisOptions = cluster.url().parse().unwrap();
    let registry = stream_registry::RedisRegistry::connect(options.ttl(Duration::from_secs(5))).await.unwrap();
    let registry = Arc::new(registry);
    let leases = Leases::new(registry.clone(), LeaseOptions::default());
    let held = acquire_all(&leases, 1_000).await;
    let mut up = Vec::new();
    for shard in 0..16 {
        if cluster.primary_of(&prefix_of(PREFIX, shard)).await != 2 {
            up.push(shard);
        }
    }
    cluster.nodes[2].kill();
    let names: Vec<_> = (0..1_000).map(|n| format!("cam{n}")).collect();
    let names: Vec<_> = names.iter().filter(|name| up.contains(&super::layout::shard_of(name))).collect();
    let mut before = Vec::new();
    for name in &names {
        before.push(registry.get(&id(name)).await.unwrap().last_heartbeat);
    }
    // The heartbeats of more than two times to live follow, so no stream expires, although there are more leases in the
    // shards that are down than in a batch.
    for _ in 0..10 {
        let heartbeats = before.clone();
        wait_until(TIMEOUT, async || {
            for (at, name) in names.iter().enumerate() {
                before[at] = registry.get(&id(name)).await.expect("the stream is live").last_heartbeat;
            }
            before.iter().zip(&heartbeats).all(|(now, before)| now > before)
        })
        .await;
    }
    cluster.restart(2).await;
    // The holders register their streams again, because the node has lost its data.
    wait_until(TIMEOUT, async || registry.list().await.is_ok_and(|list| list.len() == 1_000)).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn view_of_a_cluster_follows_changes_in_all_shards() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    register_all(&registry, (0..100).map(|n| format!("before {n}"))).await;
    let options = ViewOptions::default().reconcile_every(Duration::from_secs(3_600));
    let view = View::new(Arc::clone(&registry) as Arc<dyn Registry>, options);
    tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    // Changes in several shards continue, so the view may never show exactly the positions of a page.
    let churn = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move {
            for number in 0.. {
                let name = id(&format!("before {}", 50 + number % 50));
                let patch = stream_registry::StreamPatch::default().label("n", number.to_string());
                if registry.patch(&name, &patch).await.is_err() {
                    return;
                }
            }
        }
    });
    for round in 0..5 {
        register_all(&registry, (0..16).flat_map(|shard| ids_in(shard, 2)).map(|id| format!("{id} {round}"))).await;
        registry.unregister(&id(&format!("before {round}"))).await.unwrap();
        // The revision of a page combines positions that the view may never have shown together.
        let revision = registry.list_page(None, std::num::NonZeroU32::MIN).await.unwrap().revision.unwrap();
        tokio::time::timeout(TIMEOUT, view.reached(&revision)).await.unwrap().unwrap();
        assert_eq!(view.counts().total as usize, registry.list().await.unwrap().len(), "round {round}");
    }
    // A view that is loaded during the changes does not wait for a position that no event has.
    let started = std::time::Instant::now();
    let late = View::new(Arc::clone(&registry) as Arc<dyn Registry>, ViewOptions::default());
    tokio::time::timeout(TIMEOUT, late.ready()).await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(late.counts().total, view.counts().total);
    churn.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_on_a_cluster_lists_its_own_writes() {
    let cluster = three_primaries().await;
    let server = Server::start(connect(&cluster).await, ServeOptions::default()).await;
    let url = format!("http://{}", server.addr);
    let client = connect_with(&url, &ConnectOptions::default()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let client = Arc::clone(&client);
        writers.spawn(async move {
            for number in 0..20 {
                let name = format!("w{writer} {number}");
                client.register(&stream(&name)).await.unwrap();
                let list = client.list().await.unwrap();
                assert!(list.iter().any(|listed| listed.id.as_str() == name), "{name} is not listed");
            }
        });
    }
    writers.join_all().await;
    assert_eq!(client.list().await.unwrap().len(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn fleet_moves_to_a_cluster_by_restarting_its_nodes() {
    let old_server = RedisServer::start().await;
    let cluster = three_primaries().await;
    let old = connect_with(&old_server.url(), &ConnectOptions::default()).await.unwrap();
    let new: Arc<dyn Registry> = connect(&cluster).await;
    // Each node holds some streams. The nodes are restarted one after the other, with the URL of the cluster.
    let mut nodes = Vec::new();
    for node in 0..4 {
        let leases = Leases::new(Arc::clone(&old), LeaseOptions::default());
        let mut held = Vec::new();
        for number in 0..10 {
            held.push(leases.acquire(stream(&format!("n{node} {number}"))).await.unwrap());
        }
        nodes.push(held);
    }
    let mut moved = Vec::new();
    for (node, held) in nodes.into_iter().enumerate() {
        for lease in held {
            lease.release().await.unwrap();
        }
        let leases = Leases::new(Arc::clone(&new), LeaseOptions::default());
        for number in 0..10 {
            moved.push(leases.acquire(stream(&format!("n{node} {number}"))).await.unwrap());
        }
        // A router that reads both registries sees every stream.
        let both = [old.list().await.unwrap().len(), new.list().await.unwrap().len()];
        assert_eq!(both, [10 * (3 - node), 10 * (node + 1)]);
    }
}
