//! The change feed and the sweep on a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::query::Ended;
use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{
    ErrorKind, Guard, OnConflict, RedisRegistry, RegisterOptions, Registry, Stream, StreamPatch, StreamStats,
    StreamStatus, UnregisterOptions,
};

use testkit::wait_until;

use super::operations::SOURCE;
use super::{FEED, FEED_METADATA, INDEX, TIMEOUT, TestRedis, id, stream};

pub(super) async fn next(watch: &mut Watch) -> Event {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
        if !matches!(event, Event::Alive { .. }) {
            return event;
        }
    }
}

/// Formats an event without its position.
fn format_event(event: &Event) -> String {
    match event {
        Event::Changed { kind, stream, .. } => format!("{} {} {}", kind.as_str(), stream.id, stream.to_json()),
        Event::Ended { reason, last, .. } => format!("{reason:?} {} {}", last.id, last.to_json()),
        other => format!("{other:?}"),
    }
}

fn revision(event: &Event) -> stream_registry::Revision {
    match event {
        Event::Changed { revision, .. } | Event::Ended { revision, .. } | Event::Resync { revision, .. } => {
            revision.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_change_of_state_emits_one_event_with_the_record() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let cam = id("cam");
    store.register(&stream("cam", SOURCE)).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    store.update_heartbeat(&cam).await.unwrap();
    store.update_stats(&cam, &StreamStats { bytes_received: Some(7), ..StreamStats::default() }).await.unwrap();
    for status in [StreamStatus::Active, StreamStatus::Active, StreamStatus::Paused] {
        store.update_status(&cam, status).await.unwrap();
    }
    store.patch(&cam, &StreamPatch { video_codec: Some("AV1".into()), ..StreamPatch::default() }).await.unwrap();
    store.update(&stream("cam", SOURCE)).await.unwrap();
    let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    store.register_with(&stream("cam", "198.51.100.9:1"), &take_over).await.unwrap();
    let last =
        store.unregister_with(&cam, &UnregisterOptions::default().reason("done".parse().unwrap())).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..7 {
        match next(&mut watch).await {
            Event::Changed { kind, stream, .. } => seen.push((kind, stream)),
            other => panic!("{other:?}"),
        }
    }
    let kinds: Vec<_> = seen.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        kinds,
        [
            ChangeKind::Registered,
            ChangeKind::Updated,
            ChangeKind::Status,
            ChangeKind::Status,
            ChangeKind::Patched,
            ChangeKind::Updated,
            ChangeKind::TakenOver
        ]
    );
    assert_eq!((seen[2].1.status.clone(), seen[2].1.bytes_received), (StreamStatus::Active, 7));
    assert_eq!((seen[4].1.video_codec.as_str(), &seen[4].1.status), ("AV1", &StreamStatus::Paused));
    let Event::Ended { reason: Ending::Unregistered(reason), last: emitted, .. } = next(&mut watch).await else {
        panic!("expected an unregistration")
    };
    assert_eq!((reason.as_str(), &*emitted), (Some("done"), &last));
    observer.wait_until_consistent(&redis, "after all").await;
}

#[tokio::test]
async fn watch_disconnected_500_times_misses_and_repeats_no_event() {
    const STREAMS: usize = 200;
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = Arc::new(redis.store().await);
    let mut all = store.watch(WatchFrom::Now).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(writer);
                let mut changes = 0;
                while !stop.load(Ordering::Relaxed) {
                    let cam = format!("cam{}", rng.usize(..STREAMS));
                    // These random changes may fail with NotFound or a conflict.
                    let changed = match rng.u8(..5) {
                        0 | 1 => store.register(&stream(&cam, SOURCE)).await.map(|_| ()),
                        2 => store.unregister(&id(&cam)).await.map(|_| ()),
                        3 => store.update_status(&id(&cam), StreamStatus::Active).await,
                        _ => {
                            store
                                .patch(
                                    &id(&cam),
                                    &StreamPatch { resolution: Some(changes.to_string()), ..StreamPatch::default() },
                                )
                                .await
                        }
                    };
                    changes += usize::from(changed.is_ok());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                changes
            })
        })
        .collect();
    let mut cut = store.watch(WatchFrom::Now).await.unwrap();
    // The two watches may begin at different events. The comparison begins at the first event of `cut`, which `all` has
    // received too.
    let first = next(&mut cut).await;
    let mut seen = vec![format_event(&first)];
    let mut at = revision(&first);
    for round in 0..500 {
        drop(cut);
        cut = store.watch(WatchFrom::Revision(at.clone())).await.unwrap();
        for _ in 0..fastrand::usize(1..6) {
            let event = next(&mut cut).await;
            assert!(!matches!(event, Event::Resync { .. }), "round {round}: {event:?}");
            at = revision(&event);
            seen.push(format_event(&event));
        }
        if round % 100 == 50 {
            redis.server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    let mut whole = vec![format_event(&next(&mut all).await)];
    while whole.first() != seen.first() {
        whole = vec![format_event(&next(&mut all).await)];
    }
    while whole.len() < seen.len() {
        let event = next(&mut all).await;
        assert!(!matches!(event, Event::Resync { .. }), "{event:?}");
        whole.push(format_event(&event));
    }
    for (number, (seen, whole)) in seen.iter().zip(&whole).enumerate() {
        assert_eq!(seen, whole, "event {number}");
    }
    observer.wait_until_consistent(&redis, "disconnected 500 times").await;
}

#[tokio::test]
async fn watch_emits_resync_and_continues_when_the_feed_is_lost() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for n in 0..3 {
        store.register(&stream(&format!("cam{n}"), SOURCE)).await.unwrap();
    }
    let early = revision(&next(&mut watch).await);
    let tail = store.snapshot().await.unwrap().revision.unwrap();
    assert_ne!(early, tail);
    let last = tail.as_str().split_once('.').unwrap().0;
    let beyond = format!("{last}.9999999999999-0");
    for other in ["0123456789abcdef-1", "1-0.2-0", &beyond] {
        let mut watch = store.watch(WatchFrom::Revision(other.parse().unwrap())).await.unwrap();
        assert_eq!(
            format_event(&next(&mut watch).await),
            format!("Resync {{ revision: {:?}, shard: None }}", tail.as_str()),
            "{other}"
        );
    }
    type Fault = (&'static str, &'static [&'static [&'static str]]);
    let faults: [Fault; 4] = [
        ("trimmed", &[&["XTRIM", FEED, "MAXLEN", "0"]]),
        ("another generation", &[&["DEL", FEED_METADATA]]),
        ("feed of the wrong type", &[&["DEL", FEED], &["SET", FEED, "x"]]),
        ("metadata of the wrong type", &[&["DEL", FEED_METADATA], &["SET", FEED_METADATA, "x"]]),
    ];
    for (fault, commands) in faults {
        let before = store.snapshot().await.unwrap().revision.unwrap();
        store.register(&stream("between", SOURCE)).await.unwrap();
        for command in commands {
            redis.server.cli(command).await;
        }
        store.register(&stream("after", SOURCE)).await.unwrap();
        let mut watch = store.watch(WatchFrom::Revision(before)).await.unwrap();
        assert!(matches!(next(&mut watch).await, Event::Resync { .. }), "{fault}");
        store.register(&stream("again", SOURCE)).await.unwrap();
        let event = next(&mut watch).await;
        assert!(matches!(&event, Event::Changed { stream, .. } if stream.id.as_str() == "again"), "{fault}: {event:?}");
        observer.wait_until_consistent(&redis, fault).await;
    }
    // This watch has read all events, so it loses no event when the feed is deleted.
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    redis.server.cli(&["DEL", FEED]).await;
    store.register(&stream("later", SOURCE)).await.unwrap();
    assert!(matches!(next(&mut watch).await, Event::Changed { .. }));
    observer.wait_until_consistent(&redis, "after the feed was deleted").await;
}

#[tokio::test]
async fn watch_skips_invalid_feed_entries_without_resync() {
    let redis = TestRedis::start().await;
    let store = store_with_ttl(&redis, Duration::from_secs(1)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    redis.put(" bad", "not json", 600).await;
    wait_until(TIMEOUT, async || redis.server.cli(&["XLEN", FEED]).await.trim() == "1").await;
    // A watch at the end of the feed immediately receives `Alive`.
    let tail = store.snapshot().await.unwrap().revision.unwrap();
    let sign = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("an `Alive` event");
    assert_eq!(sign, Some(Event::Alive { revision: tail }));
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let event = next(&mut watch).await;
    assert!(matches!(&event, Event::Changed { stream, .. } if stream.id.as_str() == "cam"), "{event:?}");
    let resumed = store.watch(WatchFrom::Oldest).await.unwrap();
    assert_eq!(next(&mut { resumed }).await, event);
}

#[tokio::test]
async fn watch_survives_a_server_restart_and_a_flushed_store() {
    let mut redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = redis.store().await;
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    redis.server.kill();
    redis.server.restart(testkit::Data::Empty).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.register(&stream("cam2", SOURCE)).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The store was emptied, so the feed has a new generation.
    assert!(matches!(next(&mut watch).await, Event::Resync { .. }));
    store.register(&stream("cam3", SOURCE)).await.unwrap();
    let event = next(&mut watch).await;
    assert!(matches!(&event, Event::Changed { stream, .. } if stream.id.as_str() == "cam3"), "{event:?}");
    observer.wait_until_consistent(&redis, "after the restart").await;
}

/// Opens a store with this TTL and its own sweep.
pub(super) async fn store_with_ttl(redis: &TestRedis, ttl: Duration) -> RedisRegistry {
    RedisRegistry::connect(redis.options().ttl(ttl)).await.unwrap()
}

#[tokio::test]
async fn each_expiry_is_emitted_once_with_the_last_record() {
    const TTL: Duration = Duration::from_secs(3);
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let sweepers =
        [store_with_ttl(&redis, TTL).await, store_with_ttl(&redis, TTL).await, store_with_ttl(&redis, TTL).await];
    let store = &sweepers[0];
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let mut last: BTreeMap<String, (Stream, Instant)> = BTreeMap::new();
    for n in 0..100 {
        let cam = format!("cam{n}");
        store.register(&stream(&cam, SOURCE)).await.unwrap();
        store
            .update_stats(&id(&cam), &StreamStats { bytes_received: Some(n), ..StreamStats::default() })
            .await
            .unwrap();
        last.insert(cam.clone(), (store.get(&id(&cam)).await.unwrap(), Instant::now()));
    }
    // Three more streams follow: one stays alive, one is unregistered, and one belongs to a program that writes no
    // feed.
    store.register(&stream("alive", SOURCE)).await.unwrap();
    store.register(&stream("ended", SOURCE)).await.unwrap();
    store.unregister(&id("ended")).await.unwrap();
    redis.put("foreign", stream("foreign", SOURCE).to_json(), 3_000).await;
    redis.server.cli(&["SADD", INDEX, "foreign"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let pruner = {
        let stop = Arc::clone(&stop);
        let mut raw = redis.server.client().get_multiplexed_async_connection().await.unwrap();
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let cam = format!("cam{}", fastrand::u8(..100));
                let _: i64 = ::redis::cmd("SREM").arg(INDEX).arg(cam).query_async(&mut raw).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let mut expired = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(12);
    while Instant::now() < deadline && expired.len() < 101 {
        store.update_heartbeat(&id("alive")).await.unwrap();
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), watch.next()).await {
            if let Some(Event::Ended { reason: Ending::Expired, last, .. }) = event {
                let seen = (last, Instant::now());
                let twice = expired.insert(seen.0.id.to_string(), seen);
                assert!(twice.is_none(), "emitted twice: {twice:?}");
            }
            store.update_heartbeat(&id("alive")).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    pruner.await.unwrap();
    assert_eq!(expired.len(), 101, "expected 100 streams and the foreign stream: {:?}", expired.keys());
    for (cam, (record, written)) in &last {
        let (emitted, at) = &expired[cam];
        assert_eq!(&**emitted, record, "the last record");
        let late = at.duration_since(*written);
        assert!(late >= TTL - Duration::from_millis(100) && late < TTL + Duration::from_secs(2), "{cam}: {late:?}");
    }
    assert!(expired.contains_key("foreign"));
    store.unregister(&id("alive")).await.unwrap();
    assert_eq!(redis.server.cli(&["ZCARD", "mirror:streams:\u{1f}due"]).await, "0");
    observer.wait_until_consistent(&redis, "all have expired").await;
}

#[tokio::test]
async fn expiry_waits_for_a_grace_period_after_an_outage() {
    const TTL: Duration = Duration::from_secs(2);
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let store = store_with_ttl(&redis, TTL).await;
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    // Simulates a minute without sweeps.
    let swept = async || redis.server.cli(&["HGET", FEED_METADATA, "swept"]).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while swept().await.is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
    redis.server.cli(&["ZADD", "mirror:streams:\u{1f}due", "1", "cam"]).await;
    let gone = Instant::now();
    redis.server.cli(&["HSET", FEED_METADATA, "swept", "1"]).await;
    let Event::Ended { reason: Ending::Expired, .. } = next(&mut watch).await else { panic!("expected an expiry") };
    let late = gone.elapsed();
    assert!(late >= TTL - Duration::from_millis(100), "expired after {late:?}");
    assert!(late < TTL + Duration::from_secs(3), "expired after {late:?}");
    observer.wait_until_consistent(&redis, "after the outage").await;
}

#[tokio::test]
async fn record_with_too_many_nested_levels_does_not_stall_a_watch() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let json = stream("deep", SOURCE).to_json();
    let deep = format!("{},\"x\":{}{}}}", json.trim_end_matches('}'), "[".repeat(900), "]".repeat(900));
    redis.put("deep", &deep, 60_000).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    assert_eq!(store.get(&id("deep")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!((snapshot.streams.len(), snapshot.unreadable), (0, 1));
    // The script can change this record, because all known fields are in their usual places.
    store.update_status(&id("deep"), StreamStatus::Active).await.unwrap();
    let forced = UnregisterOptions::default().guard(Guard::Force);
    store.unregister_with(&id("deep"), &forced).await.unwrap();
    store.register(&stream("next", SOURCE)).await.unwrap();
    let events = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await];
    assert_eq!(events.each_ref().map(Event::as_str), ["status", "unregistered", "registered"]);
    for event in &events {
        assert!(event.stream().unwrap().to_json().len() < 1_000, "{}", event.to_json());
    }
    assert_eq!(store.history(&Ended::default(), NonZeroU32::MIN).await.unwrap().len(), 1);
}

/// During a failover, two servers accept writes at the same time. If their feeds shared an id, a watch that moves from
/// one to the other could take the feed for the one it knows.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_give_entries_the_same_id_when_they_are_written_at_once() {
    let servers = [TestRedis::start().await, TestRedis::start().await];
    let stores = [servers[0].store().await, servers[1].store().await];
    for n in 0..500 {
        let new = stream(&format!("cam{n}"), SOURCE);
        let (one, other) = tokio::join!(stores[0].register(&new), stores[1].register(&new));
        one.and(other).unwrap();
    }
    let ids = async |server: &TestRedis| -> BTreeSet<String> {
        let entries = server.server.cli(&["--raw", "XRANGE", FEED, "-", "+"]).await;
        let is_id = |line: &&str| line.split_once('-').is_some_and(|(millis, _)| millis.len() == 13);
        entries.lines().filter(is_id).map(str::to_owned).collect()
    };
    let (one, other) = (ids(&servers[0]).await, ids(&servers[1]).await);
    assert!(one.len() >= 500 && other.len() >= 500, "{} {}", one.len(), other.len());
    // Without the random part, hundreds of ids end with `-0` in the same millisecond.
    let times = |ids: &BTreeSet<String>| ids.iter().map(|id| id[..13].to_owned()).collect::<BTreeSet<_>>();
    assert!(!times(&one).is_disjoint(&times(&other)), "the servers were not written at once");
    assert_eq!(one.intersection(&other).collect::<Vec<_>>(), Vec::<&String>::new());
}
