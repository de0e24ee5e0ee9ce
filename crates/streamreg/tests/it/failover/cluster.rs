//! A primary of a cluster is killed, hangs, or is replaced by command, under load.

use std::time::{Duration, Instant};

use stream_registry::{Registry as _, connect};
use testkit::ClusterSet;

use super::load::Load;

/// A key of the first shard.
const KEY: &str = "mirror:streams:{53t}:active";

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_cluster_when_a_primary_is_killed() {
    let mut set = ClusterSet::start().await;
    let load = Load::start(&set.url()).await;
    let began = Instant::now();
    let old = set.primary_of(KEY).await;
    set.nodes[old].kill();
    set.wait_for_failover(KEY, old).await;
    println!("killed in a cluster: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_cluster_when_a_primary_hangs() {
    let set = ClusterSet::start().await;
    let load = Load::start(&set.url()).await;
    let began = Instant::now();
    let old = set.primary_of(KEY).await;
    set.nodes[old].pause();
    set.wait_for_failover(KEY, old).await;
    println!("hung in a cluster: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_cluster_when_a_replica_is_promoted_by_command() {
    let set = ClusterSet::start().await;
    let load = Load::start(&set.url()).await;
    let old = set.primary_of(KEY).await;
    // The replica of a primary is as far behind it as there are primaries.
    let replica = old + 3;
    let began = Instant::now();
    set.failover(replica).await;
    println!("by command in a cluster: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_cluster_through_two_failovers_in_a_row() {
    let mut set = ClusterSet::start().await;
    let load = Load::start(&set.url()).await;
    let first = set.primary_of(KEY).await;
    set.nodes[first].kill();
    let second = set.wait_for_failover(KEY, first).await;
    set.restart(first).await;
    set.wait_until_healthy().await;
    let began = Instant::now();
    set.nodes[second].kill();
    set.wait_for_failover(KEY, second).await;
    println!("two failovers in a cluster: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_that_begins_while_a_primary_hangs_continues_after_the_failover() {
    let set = ClusterSet::start().await;
    let registry = connect(&set.url()).await.unwrap();
    assert!(registry.list().await.unwrap().is_empty());
    set.nodes[set.primary_of(KEY).await].pause();
    let began = Instant::now();
    // A list may take 10 s, but it must not spend them waiting for the former primary.
    registry.list().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}
