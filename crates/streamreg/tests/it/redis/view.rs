//! Tests the view with a real server. After faults of the server or the connection, the view must equal the store
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stream_registry::redis::RedisOptions;
use stream_registry::view::{View, ViewOptions};
use stream_registry::watch::WatchFrom;
use stream_registry::{ErrorKind, RedisRegistry, Registry, Stream, StreamPatch, StreamStats, StreamStatus};
use testkit::{Data, wait_until};

use super::operations::SOURCE;
use super::{FEED, INDEX, PASSWORD, TestRedis, id, stream};

const TIMEOUT: Duration = Duration::from_secs(20);

fn frequent() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_millis(200))
}

fn never() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_secs(3_600))
}

async fn view(store: &Arc<RedisRegistry>, options: ViewOptions) -> View {
    let view = View::new(Arc::clone(store) as Arc<dyn Registry>, options);
    tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    view
}

fn json_by_id<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> BTreeMap<String, String> {
    streams.into_iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect()
}

fn contents(view: &View) -> BTreeMap<String, String> {
    json_by_id(view.all().iter().map(|stream| &**stream))
}

/// Waits until the view equals the store, including the raw JSON of every record.
async fn wait_until_equal(view: &View, store: &RedisRegistry) {
    let mut held = BTreeMap::new();
    wait_until(TIMEOUT, async || {
        match store.list().await {
            Ok(list) => held = json_by_id(&list),
            Err(_) => return false,
        }
        contents(view) == held
    })
    .await;
    assert_eq!(view.counts().total as usize, held.len());
}

/// Changes random streams until stopped.
async fn churn(store: Arc<RedisRegistry>, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let cam = id(&format!("cam{}", rng.usize(..100)));
        // These random changes may fail with NotFound or a conflict.
        let _ = match rng.u8(..6) {
            0 | 1 => store.register(&stream(cam.as_str(), SOURCE)).await.map(|_| ()),
            2 => store.unregister(&cam).await.map(|_| ()),
            3 => store.update_status(&cam, StreamStatus::Active).await,
            4 => {
                let stats = StreamStats { bytes_received: Some(rng.u64(..1 << 40)), ..StreamStats::default() };
                store.update_stats(&cam, &stats).await
            }
            _ => {
                let node = Some(format!("node{}", rng.u8(..4)));
                store.patch(&cam, &StreamPatch { node, ..StreamPatch::default() }).await
            }
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn view_equals_the_store_after_random_changes_and_lost_feeds() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = Arc::new(redis.store().await);
    let view = view(&store, frequent()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8).map(|seed| tokio::spawn(churn(Arc::clone(&store), seed, Arc::clone(&stop)))).collect();
    for command in [
        &["XTRIM", FEED, "MAXLEN", "0"][..],
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
        &["DEL", FEED],
        &["DEL", "mirror:streams:\u{1f}facts"],
        &["SET", FEED, "x"],
        &["FLUSHALL"],
    ] {
        let before = view.revision();
        redis.server.cli(command).await;
        // The view must continue to follow the feed while the writes continue.
        wait_until(TIMEOUT, async || view.revision() != before).await;
    }
    // Waits until streams exist again after FLUSHALL. Otherwise the comparison would prove nothing. The view may still
    // have the streams from before, so the store is asked.
    wait_until(TIMEOUT, async || store.list().await.is_ok_and(|streams| streams.len() > 10)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    wait_until_equal(&view, &store).await;
    assert!(view.counts().total > 0);
    observer.wait_until_consistent(&redis, "after the churn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_serves_during_an_outage_and_catches_up_afterwards() {
    let mut redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = Arc::new(redis.store().await);
    for n in 0..50 {
        store.register(&stream(&format!("cam{n}"), SOURCE)).await.unwrap();
    }
    let view = view(&store, frequent()).await;
    assert_eq!(view.all().len(), 50);
    // The view must keep its streams while the server is down.
    assert_eq!(redis.server.cli(&["SAVE"]).await, "OK");
    redis.server.kill();
    let age = view.age();
    wait_until(TIMEOUT, async || view.age() > age + Duration::from_millis(500)).await;
    assert_eq!(view.all().len(), 50);
    assert!(view.get(&id("cam7")).is_some());
    redis.server.restart(Data::Kept).await;
    wait_until(TIMEOUT, async || store.register(&stream("after", SOURCE)).await.is_ok()).await;
    wait_until(TIMEOUT, async || view.get(&id("after")).is_some()).await;
    wait_until_equal(&view, &store).await;
    assert_eq!(view.all().len(), 51);
    // After a restart without data, the streams no longer exist.
    redis.server.restart(Data::Empty).await;
    wait_until(TIMEOUT, async || view.all().is_empty()).await;
    wait_until(TIMEOUT, async || store.register(&stream("new", SOURCE)).await.is_ok()).await;
    wait_until(TIMEOUT, async || view.get(&id("new")).is_some()).await;
    wait_until_equal(&view, &store).await;
    assert!(view.age() < Duration::from_secs(10));
    observer.wait_until_consistent(&redis, "after the outage").await;
}

#[tokio::test]
async fn view_shows_a_write_when_reached_returns() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = Arc::new(redis.store().await);
    let view = view(&store, never()).await;
    for n in 0..50 {
        let cam = format!("cam{n}");
        store.register(&stream(&cam, SOURCE)).await.unwrap();
        let tail = store.snapshot().await.unwrap().revision.unwrap();
        tokio::time::timeout(TIMEOUT, view.reached(&tail)).await.unwrap().unwrap();
        assert!(view.get(&id(&cam)).is_some(), "{cam}");
        store.unregister(&id(&cam)).await.unwrap();
        let tail = store.snapshot().await.unwrap().revision.unwrap();
        tokio::time::timeout(TIMEOUT, view.reached(&tail)).await.unwrap().unwrap();
        assert!(view.get(&id(&cam)).is_none(), "{cam}");
    }
    observer.wait_until_consistent(&redis, "all are gone").await;
}

#[tokio::test]
async fn view_finds_changes_of_other_programs_when_it_reconciles() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = Arc::new(redis.store().await);
    store.register(&stream("ours", SOURCE)).await.unwrap();
    let view = view(&store, frequent()).await;
    redis.put("foreign", r#"{"type":"srt","status":"active"}"#, 300_000).await;
    wait_until(TIMEOUT, async || view.get(&id("foreign")).is_some()).await;
    redis.put("foreign", r#"{"type":"srt","status":"paused"}"#, 300_000).await;
    wait_until(TIMEOUT, async || view.get(&id("foreign")).unwrap().status == StreamStatus::Paused).await;
    wait_until(TIMEOUT, async || view.corrections().count >= 2).await;
    assert_eq!(view.corrections().last, [id("foreign")]);
    redis.server.cli(&["DEL", "mirror:streams:foreign"]).await;
    redis.server.cli(&["SREM", INDEX, "foreign"]).await;
    wait_until(TIMEOUT, async || view.get(&id("foreign")).is_none()).await;
    assert!(view.get(&id("ours")).is_some());
    // A stream whose id is missing from the index is still live.
    redis.server.cli(&["SREM", INDEX, "ours"]).await;
    let reconciliations = view.corrections().reconciliations;
    wait_until(TIMEOUT, async || view.corrections().reconciliations > reconciliations + 2).await;
    assert!(view.get(&id("ours")).is_some());
    // Unreadable records are counted.
    redis.put("broken", "no record", 300_000).await;
    wait_until(TIMEOUT, async || view.unreadable() == 1).await;
    // The heartbeat puts the id of the stream back into the index.
    store.update_heartbeat(&id("ours")).await.unwrap();
    redis.discard_pending_expiries(&["foreign"]).await;
    observer.wait_until_consistent(&redis, "with other programs").await;
}

/// Opens a reader with the permissions of docs/operations.md.
async fn viewer(redis: &TestRedis) -> Arc<RedisRegistry> {
    redis.user("viewer", &super::permissions::rules("reader").join(" ")).await;
    let options: RedisOptions = redis.server.url_as("viewer", PASSWORD).parse().unwrap();
    Arc::new(RedisRegistry::connect(options.read_only()).await.unwrap())
}

/// Returns a number from INFO.
async fn info(redis: &TestRedis, name: &str) -> u64 {
    let info = redis.server.cli(&["INFO", "stats"]).await;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn view_without_scripts_follows_from_an_empty_registry() {
    let redis = TestRedis::start().await;
    let (store, reader) = (redis.store().await, viewer(&redis).await);
    assert!(reader.snapshot().await.unwrap().revision.is_some(), "an empty snapshot has a revision as well");
    let view = view(&reader, never()).await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    wait_until(TIMEOUT, async || view.get(&id("cam1")).is_some()).await;
    // Each round empties the store. At first there is no feed; later there is a feed with a new generation.
    for round in 0..3 {
        let before = (info(&redis, "total_connections_received").await, info(&redis, "total_commands_processed").await);
        redis.flush().await;
        wait_until(TIMEOUT, async || view.all().is_empty()).await;
        // Waits one second, because an `Alive` event may take that long.
        wait_until(TIMEOUT, async || view.age() > Duration::from_secs(1)).await;
        let cam = format!("new{round}");
        store.register(&stream(&cam, SOURCE)).await.unwrap();
        wait_until(TIMEOUT, async || view.get(&id(&cam)).is_some()).await;
        let after = (info(&redis, "total_connections_received").await, info(&redis, "total_commands_processed").await);
        assert!(after.0 - before.0 < 200 && after.1 - before.1 < 1_000, "{before:?}, {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn view_without_scripts_follows_while_streams_come_and_go() {
    let redis = TestRedis::start().await;
    let (store, reader) = (Arc::new(redis.store().await), viewer(&redis).await);
    for n in 0..20 {
        store.register(&stream(&format!("fixed{n}"), SOURCE)).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    // Only the feed changes. The ids stay the same, so that a list succeeds.
    let busy = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            for n in 0.. {
                let status = if n % 2 == 0 { StreamStatus::Active } else { StreamStatus::Paused };
                store.update_status(&id("fixed7"), status).await.unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    });
    let view = view(&reader, never()).await;
    let before = view.revision();
    wait_until(TIMEOUT, async || view.revision() != before).await;
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    wait_until_equal(&view, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_polls_the_store_when_it_may_not_read_the_feed() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let rules = format!("{} -xread", super::permissions::rules("reader").join(" "));
    redis.user("viewer", &rules).await;
    let options: RedisOptions = redis.server.url_as("viewer", PASSWORD).parse().unwrap();
    let reader = Arc::new(RedisRegistry::connect(options.read_only()).await.unwrap());
    assert_eq!(reader.watch(WatchFrom::Now).await.unwrap_err().kind(), ErrorKind::Denied);
    let view = view(&reader, frequent()).await;
    assert!(!view.has_feed());
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    wait_until(TIMEOUT, async || view.get(&id("cam1")).is_some()).await;
}
