//! Shards that lose events: readers learn which shard, and views read only this shard again.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::view::{View, ViewOptions};
use stream_registry::watch::{Event, Shard, WatchFrom};
use stream_registry::{ErrorKind, RedisRegistry, Registry, StreamId};
use streamreg::server::ServeOptions;
use testkit::{ClusterSet, wait_until};
use tokio::time::timeout;

use super::layout::{TAGS, ids_in, prefix_of, shard_of};
use super::watch::next;
use super::{PREFIX, TIMEOUT, connect, id, register_all, stream, three_primaries};
use crate::http::events::Events;
use crate::http::kit::Server;

/// Number of streams in each shard at the start.
const STREAMS: usize = 6;

async fn cluster_with_streams() -> (ClusterSet, Arc<RedisRegistry>) {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    register_all(&registry, (0..16).flat_map(|shard| ids_in(shard, STREAMS))).await;
    (cluster, registry)
}

async fn view_of(registry: Arc<dyn Registry>) -> View {
    // Without a reconciliation, only the load, the events and the reads after lost events change the view.
    let view = View::new(registry, ViewOptions::default().reconcile_every(Duration::from_secs(3_600)));
    timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    view
}

/// Runs a command on the node of a shard.
async fn order(cluster: &ClusterSet, shard: usize, command: &[&str]) {
    let node = cluster.primary_of(&prefix_of(PREFIX, shard)).await;
    let reply = cluster.nodes[node].cli(command).await;
    assert!(!reply.contains("ERR"), "{command:?}: {reply}");
}

/// Ends the first stream of a shard and begins another one, without events. Then breaks the feed of the shard. Returns
/// the id of the new stream.
async fn lose_events(cluster: &ClusterSet, shard: usize) -> StreamId {
    let prefix = prefix_of(PREFIX, shard);
    let key = |name: &str| format!("{prefix}{name}");
    let names = ids_in(shard, STREAMS + 1);
    let (ended, new) = (&names[0], &names[STREAMS]);
    order(cluster, shard, &["SREM", &key("active"), ended]).await;
    order(cluster, shard, &["ZREM", &key("\u{1f}due"), ended]).await;
    order(cluster, shard, &["DEL", &key(ended), &key(&format!("\u{1f}last:{ended}"))]).await;
    order(cluster, shard, &["SET", &key(new), &stream(new).to_json(), "EX", "300"]).await;
    order(cluster, shard, &["SADD", &key("active"), new]).await;
    order(cluster, shard, &["HDEL", &key("\u{1f}facts"), "history", "tail"]).await;
    id(new)
}

/// Makes all nodes log every command.
async fn log_commands(cluster: &ClusterSet) {
    cluster.cli_all(&["CONFIG", "SET", "slowlog-max-len", "100000", "slowlog-log-slower-than", "0"]).await;
    cluster.cli_all(&["SLOWLOG", "RESET"]).await;
}

/// Returns the shards whose records were read by pages since the commands are logged.
async fn listed_shards(cluster: &ClusterSet) -> BTreeSet<usize> {
    let logs = cluster.cli_all(&["SLOWLOG", "GET", "-1"]).await;
    let lines: Vec<&str> = logs.iter().flat_map(|log| log.lines()).collect();
    let keys = lines.windows(2).filter(|lines| lines[0] == "MGET").map(|lines| lines[1]);
    keys.map(|key| TAGS.iter().position(|tag| key.contains(&format!("{{{tag}}}"))).unwrap()).collect()
}

fn ids(view: &View) -> BTreeSet<StreamId> {
    view.all().iter().map(|stream| stream.id.clone()).collect()
}

async fn stored_ids(registry: &RedisRegistry) -> BTreeSet<StreamId> {
    registry.list().await.unwrap().into_iter().map(|stream| stream.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn view_reads_only_the_shards_again_that_lost_events() {
    let lossy = [5, 9];
    let (cluster, registry) = cluster_with_streams().await;
    let view = view_of(registry.clone()).await;
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    log_commands(&cluster).await;
    let mut new = Vec::new();
    for shard in lossy {
        new.push(lose_events(&cluster, shard).await);
    }
    let mut resyncs = Vec::new();
    while resyncs.len() < lossy.len() {
        match next(&mut watch).await {
            Event::Resync { shard, .. } => resyncs.push(shard.expect("the resync names a shard")),
            event => panic!("unexpected {event:?}"),
        }
    }
    resyncs.sort_by_key(|shard| shard.number());
    assert_eq!(resyncs, lossy.map(|shard| Shard::new(shard, 16).unwrap()));
    let total = 16 * STREAMS as u64;
    wait_until(TIMEOUT, async || new.iter().all(|id| view.get(id).is_some()) && view.counts().total == total).await;
    assert_eq!(listed_shards(&cluster).await.into_iter().collect::<Vec<_>>(), lossy);
    let tail = registry.list_page(None, NonZeroU32::MIN).await.unwrap().revision.unwrap();
    timeout(TIMEOUT, view.reached(&tail)).await.unwrap().unwrap();
    assert_eq!(ids(&view), stored_ids(&registry).await);
    assert_eq!((view.counts().total, view.corrections().count), (total, 0));

    // Every shard continues, also those that lost events.
    let last: BTreeSet<StreamId> = (0..16).map(|shard| id(&ids_in(shard, STREAMS)[1])).collect();
    for id in &last {
        registry.unregister(id).await.unwrap();
    }
    let mut ended = BTreeSet::new();
    while ended.len() < last.len() {
        match next(&mut watch).await {
            Event::Ended { last, .. } => assert!(ended.insert(last.id.clone()), "{last:?}"),
            event => panic!("unexpected {event:?}"),
        }
    }
    assert_eq!(ended, last);
    wait_until(TIMEOUT, async || view.counts().total == total - 16).await;
    assert_eq!(ids(&view), stored_ids(&registry).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_one_shard_list_only_its_streams_and_need_no_other_shard() {
    let (mut cluster, registry) = cluster_with_streams().await;
    let killed = cluster.primary_of(&prefix_of(PREFIX, 0)).await;
    cluster.nodes[killed].kill();
    for number in 0..16 {
        let is_down = cluster.primary_of(&prefix_of(PREFIX, number)).await == killed;
        let mut cursor = Shard::new(number, 16).unwrap().pages();
        let mut listed = BTreeSet::new();
        loop {
            let page = match registry.list_page(Some(&cursor), NonZeroU32::new(2).unwrap()).await {
                Ok(page) => page,
                Err(error) if is_down => {
                    assert!(error.is_retryable(), "{error:?}");
                    assert!(error.message().starts_with(&format!("shard {number} of 16")), "{error}");
                    break;
                }
                Err(error) => panic!("{error:?}"),
            };
            assert_eq!(page.total, STREAMS as u64);
            assert!(page.revision.is_some());
            listed.extend(page.streams.into_iter().map(|stream| stream.id.to_string()));
            match page.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(listed.len(), if is_down { 0 } else { STREAMS }, "shard {number}");
        assert!(listed.iter().all(|name| shard_of(name) == number), "shard {number}: {listed:?}");
    }
    let of_32 = Shard::new(20, 32).unwrap().pages();
    let error = registry.list_page(Some(&of_32), NonZeroU32::MIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCursor);
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_over_http_learns_which_shard_lost_events_and_its_view_becomes_current() {
    let (cluster, registry) = cluster_with_streams().await;
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let mut events = Events::open(&server, "", "").await;
    let view = view_of(Arc::new(server.client().await)).await;
    let new = lose_events(&cluster, 5).await;
    let (_, resync) = events.next_change().await;
    assert_eq!((&resync["event"], &resync["shard"], &resync["shards"]), (&"resync".into(), &5.into(), &16.into()));
    wait_until(TIMEOUT, async || view.get(&new).is_some()).await;
    wait_until(TIMEOUT, async || ids(&view) == stored_ids(&registry).await).await;
}
