//! The local view with a real server: it equals the store after faults on either side.

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
use super::{Bed, INDEX, PASSWORD, id, stream};

const PATIENCE: Duration = Duration::from_secs(20);
const FEED: &str = "mirror:streams:\u{1f}feed";

fn often() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_millis(200))
}

fn never() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_secs(3_600))
}

async fn view(store: &Arc<RedisRegistry>, options: ViewOptions) -> View {
    let view = View::new(Arc::clone(store) as Arc<dyn Registry>, options);
    tokio::time::timeout(PATIENCE, view.ready()).await.unwrap().unwrap();
    view
}

fn texts<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> BTreeMap<String, String> {
    streams.into_iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect()
}

fn seen(view: &View) -> BTreeMap<String, String> {
    texts(view.all().iter().map(|stream| &**stream))
}

/// Waits until the view equals the store, including the raw JSON of every record.
async fn equal(view: &View, store: &RedisRegistry) {
    let mut held = BTreeMap::new();
    wait_until(PATIENCE, async || {
        match store.list().await {
            Ok(list) => held = texts(&list),
            Err(_) => return false,
        }
        seen(view) == held
    })
    .await;
    assert_eq!(view.counts().total as usize, held.len());
}

/// Changes random streams until stopped.
async fn churn(store: Arc<RedisRegistry>, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let cam = id(&format!("cam{}", rng.usize(..100)));
        // NotFound and conflicts are expected here.
        let _ = match rng.u8(..6) {
            0 | 1 => store.register(&stream(cam.as_str(), SOURCE)).await.map(|_| ()),
            2 => store.unregister(&cam).await.map(|_| ()),
            3 => store.update_status(&cam, StreamStatus::Active).await,
            4 => {
                let stats = StreamStats { bytes_received: rng.u64(..1 << 40), ..StreamStats::default() };
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
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = Arc::new(bed.store().await);
    let view = view(&store, often()).await;
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
        bed.server.cli(command).await;
        // The view continues to follow while the writes continue.
        wait_until(PATIENCE, async || view.revision() != before).await;
    }
    // Streams must exist after FLUSHALL, or the comparison shows nothing.
    wait_until(PATIENCE, async || view.counts().total > 10).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    equal(&view, &store).await;
    assert!(view.counts().total > 0);
    witness.settled(&bed, "after the churn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_serves_during_an_outage_and_catches_up_afterwards() {
    let mut bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = Arc::new(bed.store().await);
    for n in 0..50 {
        store.register(&stream(&format!("cam{n}"), SOURCE)).await.unwrap();
    }
    let view = view(&store, often()).await;
    assert_eq!(view.all().len(), 50);
    // The view keeps the streams that were there.
    assert_eq!(bed.server.cli(&["SAVE"]).await, "OK");
    bed.server.kill();
    let age = view.age();
    wait_until(PATIENCE, async || view.age() > age + Duration::from_millis(500)).await;
    assert_eq!(view.all().len(), 50);
    assert!(view.get(&id("cam7")).is_some());
    bed.server.restart(Data::Kept).await;
    wait_until(PATIENCE, async || store.register(&stream("after", SOURCE)).await.is_ok()).await;
    wait_until(PATIENCE, async || view.get(&id("after")).is_some()).await;
    equal(&view, &store).await;
    assert_eq!(view.all().len(), 51);
    // Now they are gone.
    bed.server.restart(Data::Empty).await;
    wait_until(PATIENCE, async || view.all().is_empty()).await;
    wait_until(PATIENCE, async || store.register(&stream("anew", SOURCE)).await.is_ok()).await;
    wait_until(PATIENCE, async || view.get(&id("anew")).is_some()).await;
    equal(&view, &store).await;
    assert!(view.age() < Duration::from_secs(10));
    witness.settled(&bed, "after the outage").await;
}

#[tokio::test]
async fn view_shows_a_write_once_its_position_is_reached() {
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = Arc::new(bed.store().await);
    let view = view(&store, never()).await;
    for n in 0..50 {
        let cam = format!("cam{n}");
        store.register(&stream(&cam, SOURCE)).await.unwrap();
        let tail = store.snapshot().await.unwrap().revision.unwrap();
        tokio::time::timeout(PATIENCE, view.reached(&tail)).await.unwrap().unwrap();
        assert!(view.get(&id(&cam)).is_some(), "{cam}");
        store.unregister(&id(&cam)).await.unwrap();
        let tail = store.snapshot().await.unwrap().revision.unwrap();
        tokio::time::timeout(PATIENCE, view.reached(&tail)).await.unwrap().unwrap();
        assert!(view.get(&id(&cam)).is_none(), "{cam}");
    }
    witness.settled(&bed, "all are gone").await;
}

#[tokio::test]
async fn view_finds_changes_of_other_programs_when_it_reconciles() {
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = Arc::new(bed.store().await);
    store.register(&stream("ours", SOURCE)).await.unwrap();
    let view = view(&store, often()).await;
    bed.put("foreign", r#"{"type":"srt","status":"active"}"#, 300_000).await;
    wait_until(PATIENCE, async || view.get(&id("foreign")).is_some()).await;
    bed.put("foreign", r#"{"type":"srt","status":"paused"}"#, 300_000).await;
    wait_until(PATIENCE, async || view.get(&id("foreign")).unwrap().status == StreamStatus::Paused).await;
    wait_until(PATIENCE, async || view.corrections().count >= 2).await;
    assert_eq!(view.corrections().last, [id("foreign")]);
    bed.server.cli(&["DEL", "mirror:streams:foreign"]).await;
    bed.server.cli(&["SREM", INDEX, "foreign"]).await;
    wait_until(PATIENCE, async || view.get(&id("foreign")).is_none()).await;
    assert!(view.get(&id("ours")).is_some());
    // A stream whose id is missing from the index is still live.
    bed.server.cli(&["SREM", INDEX, "ours"]).await;
    let compares = view.corrections().reconciliations;
    wait_until(PATIENCE, async || view.corrections().reconciliations > compares + 2).await;
    assert!(view.get(&id("ours")).is_some());
    // Unreadable records are counted.
    bed.put("broken", "no record", 300_000).await;
    wait_until(PATIENCE, async || view.unreadable() == 1).await;
    // Its id is restored in the index.
    store.update_heartbeat(&id("ours")).await.unwrap();
    bed.expect_no_more(&["foreign"]).await;
    witness.settled(&bed, "with other programs").await;
}

/// Opens a reader with the permissions of docs/operations.md.
async fn viewer(bed: &Bed) -> Arc<RedisRegistry> {
    bed.user("viewer", &super::rights::rules("viewer").join(" ")).await;
    let options: RedisOptions = bed.server.url_as("viewer", PASSWORD).parse().unwrap();
    Arc::new(RedisRegistry::connect(options.read_only()).await.unwrap())
}

/// Returns a number from INFO.
async fn info(bed: &Bed, name: &str) -> u64 {
    let info = bed.server.cli(&["INFO", "stats"]).await;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn view_without_scripts_follows_from_an_empty_registry() {
    let bed = Bed::start().await;
    let (store, reader) = (bed.store().await, viewer(&bed).await);
    assert!(reader.snapshot().await.unwrap().revision.is_some(), "an empty snapshot has a revision as well");
    let view = view(&reader, never()).await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    wait_until(PATIENCE, async || view.get(&id("cam1")).is_some()).await;
    // The store was emptied: the feed is missing at first and then has a new generation.
    for round in 0..3 {
        let before = (info(&bed, "total_connections_received").await, info(&bed, "total_commands_processed").await);
        bed.flush().await;
        wait_until(PATIENCE, async || view.all().is_empty()).await;
        // As long as an `Alive` event may take.
        wait_until(PATIENCE, async || view.age() > Duration::from_secs(1)).await;
        let cam = format!("anew{round}");
        store.register(&stream(&cam, SOURCE)).await.unwrap();
        wait_until(PATIENCE, async || view.get(&id(&cam)).is_some()).await;
        let after = (info(&bed, "total_connections_received").await, info(&bed, "total_commands_processed").await);
        assert!(after.0 - before.0 < 200 && after.1 - before.1 < 1_000, "{before:?}, {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn view_without_scripts_follows_while_streams_come_and_go() {
    let bed = Bed::start().await;
    let (store, reader) = (Arc::new(bed.store().await), viewer(&bed).await);
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
    wait_until(PATIENCE, async || view.revision() != before).await;
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    equal(&view, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_polls_when_it_may_not_read_the_feed() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let rules = format!("{} -xread", super::rights::rules("viewer").join(" "));
    bed.user("viewer", &rules).await;
    let options: RedisOptions = bed.server.url_as("viewer", PASSWORD).parse().unwrap();
    let reader = Arc::new(RedisRegistry::connect(options.read_only(true)).await.unwrap());
    assert_eq!(reader.watch(WatchFrom::Now).await.unwrap_err().kind(), ErrorKind::Denied);
    let view = view(&reader, often()).await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    wait_until(PATIENCE, async || view.get(&id("cam1")).is_some()).await;
}
