//! Drops calls on watches and views at every point, with a real server. No event may be lost or repeated, and a view
//! must equal the store.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::view::{View, ViewOptions};
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{RedisRegistry, Registry, Revision, StreamStatus};

use super::cancellation::{When, drop_after, drop_at_every_point};
use super::operations::SOURCE;
use super::{TIMEOUT, TestRedis, id, stream};

/// Returns a store with some streams.
async fn store_with_streams(redis: &TestRedis) -> Arc<RedisRegistry> {
    let store = Arc::new(redis.store().await);
    for at in 0..20 {
        store.register(&stream(&format!("cam{at}"), SOURCE)).await.unwrap();
    }
    store
}

fn name(event: &Event) -> &str {
    assert!(event.stream().is_some(), "{event:?}");
    event.stream().unwrap().id.as_str()
}

async fn next(watch: &mut Watch) -> Event {
    tokio::time::timeout(TIMEOUT, watch.next()).await.unwrap().unwrap()
}

async fn tail(store: &RedisRegistry) -> Revision {
    store.snapshot().await.unwrap().revision.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_works_after_opening_an_earlier_watch_was_cancelled() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = store_with_streams(&redis).await;
    let mut dropped = 0;
    for from in ["now", "oldest", "revision"] {
        let from = match from {
            "now" => WatchFrom::Now,
            "oldest" => WatchFrom::Oldest,
            _ => WatchFrom::Revision(tail(&store).await),
        };
        dropped += drop_at_every_point(async |polls, when| {
            let done = drop_after(store.watch(from.clone()), polls, when).await;
            let mut watch = store.watch(WatchFrom::Now).await.unwrap();
            let new = format!("new{polls}{when:?}");
            store.register(&stream(&new, SOURCE)).await.unwrap();
            assert_eq!(name(&next(&mut watch).await), new);
            store.unregister(&id(&new)).await.unwrap();
            observer.wait_until_view_is_current(&new).await;
            done.is_none()
        })
        .await;
    }
    assert!(dropped >= 6, "only {dropped} were dropped");
    observer.wait_until_consistent(&redis, "watches were opened").await;
}

/// Registers streams one after the other, and closes all connections at every tenth stream.
async fn register_with_disconnects(redis: &TestRedis, store: &RedisRegistry, count: usize) {
    for at in 0..count {
        if at % 10 == 9 {
            redis.server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
        let cam = stream(&format!("event{at}"), SOURCE);
        let started = std::time::Instant::now();
        // After a disconnection, the registration is retried. If the first attempt was applied, the retry emits another
        // event.
        while store.register(&cam).await.is_err() {
            assert!(started.elapsed() < TIMEOUT);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_next_calls_lose_and_repeat_no_event() {
    const EVENTS: usize = 200;
    for drops_watch in [false, true] {
        let redis = TestRedis::start().await;
        let observer = redis.observe().await;
        let store = store_with_streams(&redis).await;
        // A watch that is never dropped provides the expected events.
        let mut reference = store.watch(WatchFrom::Now).await.unwrap();
        let mut watch = store.watch(WatchFrom::Now).await.unwrap();
        let mut at = tail(&store).await;
        let last = format!("event{}", EVENTS - 1);
        let read = async {
            let (mut received, mut dropped) = (Vec::new(), 0);
            loop {
                // For each event, the drops start again at the first point. The test alternates between dropping a
                // pending call and dropping a woken call.
                let when = if received.len() % 2 == 0 { When::Pending } else { When::Woken };
                let mut polls = 0;
                let event = loop {
                    if let Some(event) = drop_after(watch.next(), polls, when).await {
                        break event.unwrap();
                    }
                    dropped += 1;
                    polls += 1;
                    if drops_watch {
                        watch = loop {
                            match store.watch(WatchFrom::Revision(at.clone())).await {
                                Ok(watch) => break watch,
                                // A busy machine may reply late.
                                Err(error) => assert!(error.is_retryable(), "{error:?}"),
                            }
                        };
                    }
                };
                at = event.revision().clone();
                if matches!(event, Event::Alive { .. }) {
                    continue;
                }
                let is_last = name(&event) == last;
                received.push(format!("{} {} {}", event.as_str(), name(&event), event.revision()));
                if is_last {
                    return (received, dropped);
                }
            }
        };
        let ((received, dropped), ()) = tokio::join!(read, register_with_disconnects(&redis, &store, EVENTS));
        let mut expected = Vec::new();
        while expected.len() < received.len() {
            let event = next(&mut reference).await;
            if !matches!(event, Event::Alive { .. }) {
                expected.push(format!("{} {} {}", event.as_str(), name(&event), event.revision()));
            }
        }
        assert_eq!(received, expected, "drops the watch: {drops_watch}");
        assert!(received.len() >= EVENTS && dropped > EVENTS, "{} events, {dropped} dropped", received.len());
        observer.wait_until_consistent(&redis, "all events are read").await;
    }
}

/// Opens a view that reconciles only on request.
fn view(store: &Arc<RedisRegistry>) -> View {
    let store = Arc::clone(store) as Arc<dyn Registry>;
    View::new(store, ViewOptions::default().reconcile_every(Duration::from_secs(3_600)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_works_after_ready_or_reached_was_cancelled() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = store_with_streams(&redis).await;
    let mut dropped = 0;
    for drops_view in [false, true] {
        dropped += drop_at_every_point(async |polls, when| {
            let new = view(&store);
            let done = drop_after(new.ready(), polls, when).await;
            // Dropping the view stops its background task, which must also be safe at any point.
            let new = if drops_view { view(&store) } else { new };
            tokio::time::timeout(TIMEOUT, new.ready()).await.unwrap().unwrap();
            assert_eq!(new.all().len(), 20);
            let cam = id("cam7");
            let status = if new.get(&cam).unwrap().status == StreamStatus::Active {
                StreamStatus::Paused
            } else {
                StreamStatus::Active
            };
            store.update_status(&cam, status.clone()).await.unwrap();
            let now = tail(&store).await;
            let reached = drop_after(new.reached(&now), polls, when).await;
            tokio::time::timeout(TIMEOUT, new.reached(&now)).await.unwrap().unwrap();
            assert_eq!(new.get(&cam).unwrap().status, status);
            done.is_none() || reached.is_none()
        })
        .await;
    }
    assert!(dropped >= 4, "only {dropped} were dropped");
    observer.wait_until_consistent(&redis, "all views are ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_equals_store_after_reconcile_or_refresh_was_cancelled() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = store_with_streams(&redis).await;
    let view = view(&store);
    view.ready().await.unwrap();
    let mut dropped = 0;
    for call in ["reconcile", "refresh"] {
        let mut round = 0_u32;
        dropped += drop_at_every_point(async |polls, when| {
            // Another program changes, adds and removes a stream. These changes emit no events.
            round += 1;
            let (changed, came, went) = (id("cam3"), id(&format!("came{round}")), id(&format!("came{}", round - 1)));
            let raw_json = |resolution| format!(r#"{{"id":"cam3","type":"srt","resolution":"{resolution}"}}"#);
            redis.put(changed.as_str(), raw_json(round), 300_000).await;
            redis.put(came.as_str(), r#"{"type":"srt"}"#, 300_000).await;
            redis.server.cli(&["DEL", &format!("mirror:streams:{went}")]).await;
            redis.server.cli(&["SREM", super::INDEX, went.as_str()]).await;
            let done = match call {
                "reconcile" => drop_after(view.reconcile(), polls, when).await.map(Result::unwrap),
                _ => drop_after(view.refresh(&changed), polls, when).await.map(|answer| drop(answer.unwrap())),
            };
            let before = view.get(&changed).unwrap().resolution.clone();
            let known = [round.to_string(), (round - 1).to_string()];
            assert!(round == 1 || known.contains(&before), "{call}, {polls}, {when:?}: {before:?}");
            assert_eq!(view.counts().total as usize, view.all().len());
            // The dropped call must not block the next call.
            let refreshed = tokio::time::timeout(TIMEOUT, view.refresh(&changed)).await.unwrap().unwrap().unwrap();
            assert_eq!(refreshed.resolution, round.to_string());
            tokio::time::timeout(TIMEOUT, view.reconcile()).await.unwrap().unwrap();
            assert!(view.get(&came).is_some() && view.get(&went).is_none(), "{call}, {polls}, {when:?}");
            assert_eq!(view.counts().total, 21);
            done.is_none()
        })
        .await;
        redis.server.cli(&["DEL", &format!("mirror:streams:came{round}")]).await;
        redis.server.cli(&["SREM", super::INDEX, &format!("came{round}")]).await;
        redis.discard_pending_expiries(&(0..=round).map(|round| format!("came{round}")).collect::<Vec<_>>()).await;
        view.reconcile().await.unwrap();
    }
    assert!(dropped >= 6, "only {dropped} were dropped");
    observer.wait_until_consistent(&redis, "reconciled and refreshed").await;
}
