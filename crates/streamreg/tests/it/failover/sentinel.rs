//! A primary under Sentinel is killed, hangs, or is replaced by command, under load.

use std::time::{Duration, Instant};

use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{ConnectOptions, Registry as _, connect_with};
use testkit::{SentinelSet, wait_until};

use super::load::Load;
use crate::redis::stream;

const SOURCE: &str = "203.0.113.7:1";
const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_sentinels_when_the_primary_is_killed() {
    let mut set = SentinelSet::start().await;
    let load = Load::start(&set.url()).await;
    let began = Instant::now();
    let old = set.kill_primary().await;
    set.wait_for_failover(old).await;
    println!("killed: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_sentinels_when_the_primary_hangs() {
    let set = SentinelSet::start().await;
    let load = Load::start(&set.url()).await;
    let began = Instant::now();
    let old = set.pause_primary().await;
    set.wait_for_failover(old).await;
    println!("hung: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_sentinels_when_a_replica_is_promoted_by_command() {
    let set = SentinelSet::start().await;
    let load = Load::start(&set.url()).await;
    let began = Instant::now();
    set.failover().await;
    println!("by command: {}", load.finish(began, Instant::now()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_sentinels_through_two_failovers_in_a_row() {
    let mut set = SentinelSet::start().await;
    let load = Load::start(&set.url()).await;
    let first = set.kill_primary().await;
    set.wait_for_failover(first).await;
    let began = Instant::now();
    let second = set.kill_primary().await;
    set.wait_for_failover(second).await;
    println!("two failovers: {}", load.finish(began, Instant::now()).await);
}

/// Takes all permissions from the user of the Sentinels, except those of replicas.
async fn lock_sentinels_out(primary: &mut redis::aio::MultiplexedConnection) {
    let rules = ["SETUSER", "testkit", "-@all", "+psync", "+replconf"];
    let () = redis::cmd("ACL").arg(&rules).query_async(primary).await.unwrap();
}

/// The Sentinels may send nothing to the primary any more, so they promote a replica. The former primary still accepts
/// writes.
#[tokio::test(flavor = "multi_thread")]
async fn registry_leaves_a_primary_that_only_the_sentinels_cannot_reach() {
    let set = SentinelSet::start().await;
    let registry = connect_with(&set.url(), &ConnectOptions::default()).await.unwrap();
    registry.register(&stream("before", SOURCE)).await.unwrap();
    // The watch is on its own connection, which the server does not close.
    let reader = connect_with(&set.url(), &ConnectOptions::default().read_only()).await.unwrap();
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    let watching = tokio::spawn(async move {
        while let Some(event) = watch.next().await {
            let is_registration = event.stream().is_some_and(|stream| stream.id.as_str() == "after");
            if is_registration || matches!(event, Event::Resync { .. }) {
                return;
            }
        }
        panic!("the watch has ended");
    });
    let old = set.primary().await;
    let former = redis::Client::open(set.servers[old].url()).unwrap();
    let mut former = former.get_multiplexed_async_connection().await.unwrap();
    lock_sentinels_out(&mut former).await;
    let new = set.wait_for_failover(old).await;
    let changed_at = Instant::now();
    let replicated = async || set.servers[new].cli(&["EXISTS", "mirror:streams:after"]).await == "1";
    wait_until(TIMEOUT, async || {
        // A registration may still reach the former primary.
        let _ = registry.register(&stream("after", SOURCE)).await;
        replicated().await
    })
    .await;
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut former).await.unwrap();
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()), "there was no split brain");
    assert_eq!(registry.list().await.unwrap().len(), 2, "lists come from the former primary");
    tokio::time::timeout(TIMEOUT, watching).await.expect("the watch still follows the former primary").unwrap();
    assert!(changed_at.elapsed() < Duration::from_secs(12), "{:?}", changed_at.elapsed());
}

/// A former primary that wakes up believes for a moment that it is still the primary.
#[tokio::test(flavor = "multi_thread")]
async fn registry_stays_with_the_new_primary_when_the_former_one_wakes_up() {
    let set = SentinelSet::start().await;
    let registry = connect_with(&set.url(), &ConnectOptions::default()).await.unwrap();
    let old = set.pause_primary().await;
    set.wait_for_failover(old).await;
    wait_until(TIMEOUT, async || registry.register(&stream("cam1", SOURCE)).await.is_ok()).await;
    set.servers[old].resume();
    set.wait_until_healthy().await;
    for n in 0..100 {
        registry.register(&stream(&format!("late{n}"), SOURCE)).await.unwrap();
    }
    assert_eq!(registry.list().await.unwrap().len(), 101);
}
