//! All watches of a registry share one feed reader. No watch delays another one, and none loses or repeats an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{join_all, try_join_all};
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{RedisRegistry, Registry, Stream, StreamPatch};
use streamreg::server::{ServeOptions, raise_descriptor_limit};
use testkit::{Data, wait_until};

use super::feed::next;
use super::operations::SOURCE;
use super::{FEED, TestRedis, id, stream};
use crate::http::events::Events;
use crate::http::kit::Server;

/// Time limit for many watches on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Number of large records that do not fit into the ring of recent events.
const MORE_THAN_THE_RING: usize = 90;

/// Returns the number of connections that wait for entries of the feed.
async fn feed_connections(redis: &TestRedis) -> usize {
    let clients = redis.server.cli(&["CLIENT", "LIST"]).await;
    clients.lines().filter(|client| client.contains(" flags=b ") && client.contains("cmd=xread")).count()
}

/// Returns the number of all connections, without the one that this function uses.
async fn connections(redis: &TestRedis) -> usize {
    redis.server.cli(&["CLIENT", "LIST"]).await.trim().lines().count() - 1
}

async fn watches(store: &RedisRegistry, count: usize) -> Vec<Watch> {
    try_join_all((0..count).map(|_| store.watch(WatchFrom::Now))).await.unwrap()
}

/// Reads the next event of each watch, and asserts that it is about this stream.
async fn assert_next(watches: &mut [Watch], cam: &str) {
    for event in join_all(watches.iter_mut().map(next)).await {
        assert_eq!(event.stream().map(|stream| stream.id.as_str()), Some(cam), "{event:?}");
    }
}

/// Registers a stream with a record of 58 000 bytes.
async fn register_large(store: &RedisRegistry) {
    let json = format!(r#"{{"id":"large","type":"srt","source_addr":"{SOURCE}","x":"{}"}}"#, "x".repeat(58_000));
    store.register(&Stream::from_json(&json).unwrap()).await.unwrap();
}

/// Changes the large stream. The number of the change is in the field `resolution`.
async fn change(store: &RedisRegistry, number: usize) {
    let patch = StreamPatch { resolution: Some(number.to_string()), ..StreamPatch::default() };
    store.patch(&id("large"), &patch).await.unwrap();
}

/// Asserts that the next events of a watch are these changes.
async fn assert_changes(watch: &mut Watch, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let event = next(watch).await;
        let found = event.stream().map(|stream| stream.resolution.clone());
        assert_eq!(found, Some(number.to_string()), "no event is lost or repeated: {event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_watches_of_a_registry_share_one_connection() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let before = connections(&redis).await;
    for round in ["first", "second"] {
        let mut all = watches(&store, 1_000).await;
        let read = assert_next(&mut all, round);
        let register = async {
            wait_until(PATIENCE, async || feed_connections(&redis).await == 1).await;
            store.register(&stream(round, SOURCE)).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(read, register) }).await.unwrap();
        assert_eq!(connections(&redis).await - before, 1, "{round}");
        // One watch keeps the connection open; the last one closes it.
        all.truncate(1);
        store.unregister(&id(round)).await.unwrap();
        assert_next(&mut all, round).await;
        assert_eq!(connections(&redis).await - before, 1, "{round}");
        drop(all);
        wait_until(PATIENCE, async || connections(&redis).await == before).await;
    }
}

#[tokio::test]
async fn closing_the_registry_ends_its_watches_and_their_connection() {
    let redis = TestRedis::start().await;
    let before = connections(&redis).await;
    let store = redis.store().await;
    let mut all = watches(&store, 3).await;
    let read = join_all(all.iter_mut().map(Watch::next));
    let close = async {
        wait_until(PATIENCE, async || feed_connections(&redis).await == 1).await;
        let closed = Instant::now();
        store.close().await.unwrap();
        closed
    };
    let (events, closed) = tokio::join!(read, close);
    assert_eq!(events, [None, None, None]);
    // The watches do not wait for the end of the read, which can take 3 s.
    assert!(closed.elapsed() < Duration::from_secs(2), "{:?}", closed.elapsed());
    wait_until(PATIENCE, async || connections(&redis).await == before).await;
    drop(all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_event_readers_of_a_server_share_one_connection() {
    raise_descriptor_limit();
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    let server = Server::start(Arc::clone(&store) as Arc<dyn Registry>, ServeOptions::default()).await;
    // The view of the server follows the feed too.
    wait_until(PATIENCE, async || feed_connections(&redis).await == 1).await;
    let before = connections(&redis).await;
    let mut readers = Vec::new();
    for _ in 0..1_000 {
        readers.push(Events::open(&server, "", "").await);
    }
    store.register(&stream("cam", SOURCE)).await.unwrap();
    for reader in &mut readers {
        let (_, event) = reader.next_change().await;
        assert_eq!((&event["event"], &event["stream"]["id"]), (&"registered".into(), &"cam".into()));
    }
    assert_eq!(connections(&redis).await, before);
    assert_eq!(feed_connections(&redis).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_watch_neither_delays_others_nor_loses_events_under_load() {
    const LOAD: usize = 40;
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    let [mut slow, mut fast] = <[Watch; 2]>::try_from(watches(&store, 2).await).unwrap();
    register_large(&store).await;
    for watch in [&mut slow, &mut fast] {
        assert_eq!(next(watch).await.as_str(), "registered");
    }
    // The slow watch falls behind the ring, and the fast one receives each change at once.
    for number in 0..MORE_THAN_THE_RING {
        change(&store, number).await;
        assert_changes(&mut fast, number..number + 1).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut number = MORE_THAN_THE_RING;
            while number < MORE_THAN_THE_RING + LOAD || !stop.load(Ordering::Relaxed) {
                change(&store, number).await;
                number += 1;
            }
            number
        }
    });
    assert_changes(&mut slow, 0..MORE_THAN_THE_RING + LOAD).await;
    stop.store(true, Ordering::Relaxed);
    let end = writer.await.unwrap();
    assert_changes(&mut slow, MORE_THAN_THE_RING + LOAD..end).await;
    assert_changes(&mut fast, MORE_THAN_THE_RING..end).await;
    // Both read from the ring again.
    change(&store, end).await;
    for watch in [&mut slow, &mut fast] {
        assert_changes(watch, end..end + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_from_any_revision_see_the_same_events_under_load() {
    const EVENTS: usize = 600;
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    register_large(&store).await;
    let mut first = store.watch(WatchFrom::Oldest).await.unwrap();
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 0..EVENTS {
                change(&store, number).await;
            }
        }
    });
    let name = |event: &Event| format!("{} {}", event.as_str(), event.revision());
    let (mut events, mut readers) = (Vec::new(), Vec::new());
    while events.len() < EVENTS + 1 {
        let event = next(&mut first).await;
        if events.len() % 20 == 0 {
            let mut watch = store.watch(WatchFrom::Revision(event.revision().clone())).await.unwrap();
            let rest = EVENTS - events.len();
            readers.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                while seen.len() < rest {
                    seen.push(name(&next(&mut watch).await));
                }
                seen
            }));
        }
        events.push(name(&event));
    }
    writer.await.unwrap();
    assert!(readers.len() > 20);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen, events[events.len() - seen.len()..]);
    }
}

#[tokio::test]
async fn watches_that_are_not_polled_do_not_delay_a_watch_that_catches_up() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    register_large(&store).await;
    for number in 0..20 {
        change(&store, number).await;
    }
    let mut stalled = try_join_all((0..20).map(|_| store.watch(WatchFrom::Oldest))).await.unwrap();
    let mut calls: Vec<_> = stalled.iter_mut().map(|watch| Box::pin(watch.next())).collect();
    for call in &mut calls {
        // The call begins to read the feed, and is then neither polled nor dropped.
        assert!(call.now_or_never().is_none());
    }
    let mut watch = store.watch(WatchFrom::Oldest).await.unwrap();
    assert_eq!(next(&mut watch).await.as_str(), "registered");
    assert_changes(&mut watch, 0..20).await;
    for call in calls {
        assert_eq!(call.await.unwrap().as_str(), "registered");
    }
}

#[tokio::test]
async fn watch_behind_the_trimmed_feed_gets_one_resync() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let [mut slow, mut fast] = <[Watch; 2]>::try_from(watches(&store, 2).await).unwrap();
    register_large(&store).await;
    for watch in [&mut slow, &mut fast] {
        assert_eq!(next(watch).await.as_str(), "registered");
    }
    for number in 0..MORE_THAN_THE_RING {
        change(&store, number).await;
        assert_changes(&mut fast, number..number + 1).await;
    }
    redis.server.cli(&["XTRIM", FEED, "MAXLEN", "1"]).await;
    assert_eq!(next(&mut slow).await.as_str(), "resync");
    change(&store, MORE_THAN_THE_RING).await;
    for watch in [&mut slow, &mut fast] {
        assert_changes(watch, MORE_THAN_THE_RING..MORE_THAN_THE_RING + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_watches_continue_after_the_server_was_killed() {
    for data in [Data::Kept, Data::Empty] {
        let mut redis = TestRedis::start().await;
        let store = redis.store().await;
        let mut slow = store.watch(WatchFrom::Now).await.unwrap();
        register_large(&store).await;
        assert_eq!(next(&mut slow).await.as_str(), "registered");
        let mut all = watches(&store, 100).await;
        for number in 0..MORE_THAN_THE_RING {
            change(&store, number).await;
            assert_changes(&mut all[0], number..number + 1).await;
        }
        for watch in &mut all[1..] {
            assert_changes(watch, 0..MORE_THAN_THE_RING).await;
        }
        let kept = matches!(data, Data::Kept);
        assert_eq!(redis.server.cli(&["SAVE"]).await, "OK");
        redis.server.kill();
        // The slow watch begins to read the feed itself while the server is down.
        assert!(tokio::time::timeout(Duration::from_millis(100), slow.next()).await.is_err());
        redis.server.restart(data).await;
        wait_until(PATIENCE, async || store.register(&stream("cam", SOURCE)).await.is_ok()).await;
        if kept {
            assert_changes(&mut slow, 0..MORE_THAN_THE_RING).await;
        }
        all.push(slow);
        if !kept {
            for event in join_all(all.iter_mut().map(next)).await {
                assert_eq!(event.as_str(), "resync");
            }
            store.register(&stream("later", SOURCE)).await.unwrap();
        }
        assert_next(&mut all, if kept { "cam" } else { "later" }).await;
        // No watch waits, so the reader stops reading.
        wait_until(PATIENCE, async || feed_connections(&redis).await == 0).await;
    }
}
