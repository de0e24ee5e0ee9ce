//! A part of the cluster is down: the rest keeps working, and no answer is silently incomplete.

use std::num::NonZeroU32;

use stream_registry::query::{By, Ended, Filter, Query};
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{Change, Error, Registry as _, Write};
use streamreg::server::ServeOptions;
use testkit::{CapturedLog, ClusterSet, wait_until};
use tokio::time::timeout;

use super::layout::{ids_in, prefix_of};
use super::{PREFIX, TIMEOUT, connect, id, register_all, stream, three_primaries};
use crate::http::kit::Server;

/// Returns the shards of the nodes that stay up, and of the node that will be killed.
async fn shards_by_node(cluster: &ClusterSet, killed: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for shard in 0..16 {
        let is_killed = cluster.primary_of(&prefix_of(PREFIX, shard)).await == killed;
        if is_killed { &mut down } else { &mut up }.push(shard);
    }
    (up, down)
}

fn assert_names_a_shard(error: &Error, shards: &[usize], address: &str) {
    assert!(error.is_retryable(), "{error:?}");
    let is_named = |shard: &usize| error.message().starts_with(&format!("shard {shard} of 16 ({{"));
    assert!(shards.iter().any(is_named) && error.message().contains(&format!("node {address})")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_a_killed_node_are_unavailable_and_the_others_keep_working() {
    let mut cluster = three_primaries().await;
    let killed = 1;
    let (up, down) = shards_by_node(&cluster, killed).await;
    assert!((5..=6).contains(&down.len()), "{down:?}");
    let registry = connect(&cluster).await;
    let names_up: Vec<_> = up.iter().flat_map(|&shard| ids_in(shard, 3)).collect();
    let names_down: Vec<_> = down.iter().flat_map(|&shard| ids_in(shard, 3)).collect();
    register_all(&registry, names_up.iter().chain(&names_down).cloned()).await;
    let before = registry.snapshot().await.unwrap();
    let mut old_watch = registry.watch(WatchFrom::Revision(before.revision.clone().unwrap())).await.unwrap();

    let address = cluster.nodes[killed].addr().to_string();
    assert_eq!(cluster.nodes[killed].cli(&["SAVE"]).await, "OK");
    cluster.nodes[killed].kill();

    // Calls about one stream depend on its shard only.
    let error = registry.get(&id(&names_down[0])).await.unwrap_err();
    assert_names_a_shard(&error, &down[..1], &address);
    assert!(registry.update_heartbeat(&id(&names_down[0])).await.unwrap_err().is_retryable());
    assert_names_a_shard(&registry.register(&stream(&names_down[1])).await.unwrap_err(), &down[..1], &address);
    for name in &names_up {
        registry.update_heartbeat(&id(name)).await.unwrap();
        registry.get(&id(name)).await.unwrap();
    }

    let nodes = registry.metrics().store.nodes;
    let down_nodes: Vec<_> = nodes.iter().filter(|node| !node.up).map(|node| node.node.as_str()).collect();
    assert_eq!((nodes.len(), down_nodes), (3, vec![address.as_str()]));

    // In a batch, each write has its own result.
    let both = [&names_up[0], &names_down[0], &names_up[10]];
    let writes = both.map(|name| Write::new(&id(name), Change::Heartbeat));
    let results = registry.write(&writes).await.unwrap();
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    let error = results[1].as_ref().unwrap_err();
    assert_names_a_shard(error, &down[..1], &address);
    assert_eq!(error.stream_id(), Some(&id(&names_down[0])));
    assert_names_a_shard(&registry.write(&writes[1..2]).await.unwrap_err(), &down[..1], &address);

    // Answers about the whole registry fail.
    let ids = both.map(|name| id(name));
    assert_names_a_shard(&registry.get_many(&ids).await.unwrap_err(), &down, &address);
    assert_names_a_shard(&registry.snapshot().await.unwrap_err(), &down, &address);
    let one = NonZeroU32::MIN;
    assert_names_a_shard(&registry.list_page(None, one).await.unwrap_err(), &down, &address);
    assert_names_a_shard(&registry.find(&Query::default()).await.unwrap_err(), &down, &address);
    assert_names_a_shard(&registry.summary(&Filter::default(), By::Type).await.unwrap_err(), &down, &address);
    assert_names_a_shard(&registry.history(&Ended::default(), one).await.unwrap_err(), &down, &address);
    assert_names_a_shard(&registry.ping().await.unwrap_err(), &down, &address);

    // New programs start, and watches report the events of the other shards.
    let log = CapturedLog::start();
    let late = connect(&cluster).await;
    assert!(log.text().contains("a part of the Redis Cluster is unavailable"), "{}", log.text());
    let mut late_watch = late.watch(WatchFrom::Now).await.unwrap();
    assert_eq!(late_watch.start(), None, "the position in the shards that are down is unknown");
    let resumed = WatchFrom::Revision(before.revision.unwrap());
    let mut resumed = late.watch(resumed).await.unwrap();
    for watch in [&mut old_watch, &mut resumed, &mut late_watch] {
        let new = stream(&names_up[4]);
        late.unregister(&new.id).await.unwrap();
        late.register(&new).await.unwrap();
        timeout(TIMEOUT, async { while watch.next().await.unwrap().as_str() != "registered" {} }).await.unwrap();
    }

    // When the node is back, everything works again.
    cluster.restart(killed).await;
    wait_until(TIMEOUT, async || registry.list().await.is_ok_and(|list| list.len() == before.streams.len())).await;
    wait_until(TIMEOUT, async || late.list().await.is_ok_and(|list| list.len() == before.streams.len())).await;
    let returned = id(&names_down[0]);
    registry.unregister(&returned).await.unwrap();
    for watch in [&mut old_watch, &mut resumed] {
        let ended = timeout(TIMEOUT, async {
            loop {
                match watch.next().await.unwrap() {
                    Event::Ended { last, .. } if last.id == returned => return,
                    Event::Resync { .. } => panic!("no event was lost"),
                    _ => {}
                }
            }
        });
        ended.await.unwrap();
    }
    // The watch that began during the outage cannot know what it has missed.
    let resynced = timeout(TIMEOUT, async { while late_watch.next().await.unwrap().as_str() != "resync" {} });
    resynced.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_returns_unavailable_when_all_nodes_are_down() {
    let mut cluster = three_primaries().await;
    let url = cluster.url();
    cluster.nodes.iter_mut().for_each(testkit::RedisServer::kill);
    let options: stream_registry::redis::RedisOptions = url.parse().unwrap();
    let error = stream_registry::RedisRegistry::connect(options).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_is_ready_while_a_part_of_the_cluster_is_down() {
    let mut cluster = three_primaries().await;
    let server = Server::start(connect(&cluster).await, ServeOptions::default()).await;
    assert_eq!(server.get("/readyz").await.json(), serde_json::json!({ "status": "ok" }));
    cluster.nodes[1].kill();
    // A load balancer that stopped using all servers would take down the streams of the other nodes too.
    wait_until(TIMEOUT, async || {
        let ready = server.get("/readyz").await;
        let warning = ready.json()["warning"].as_str().unwrap_or_default().to_owned();
        ready.status == 200 && warning.starts_with("shard ") && warning.contains("connection to Redis was refused")
    })
    .await;
    cluster.nodes[0].kill();
    cluster.nodes[2].kill();
    wait_until(TIMEOUT, async || server.get("/readyz").await.status == 503).await;
}
