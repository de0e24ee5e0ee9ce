//! The change feed and the sweep on a real server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{
    OnConflict, RedisRegistry, RegisterOptions, Registry, Stream, StreamPatch, StreamStats, StreamStatus,
    UnregisterOptions,
};

use testkit::wait_until;

use super::operations::SOURCE;
use super::{Bed, FACTS, INDEX, SOON, id, stream};

const FEED: &str = "mirror:streams:\u{1f}feed";

pub(super) async fn next(watch: &mut Watch) -> Event {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
        if !matches!(event, Event::Alive { .. }) {
            return event;
        }
    }
}

/// What an event says, but for the place.
fn words(event: &Event) -> String {
    match event {
        Event::Changed { kind, stream, .. } => format!("{} {} {}", kind.as_str(), stream.id, stream.to_json()),
        Event::Ended { reason, last, .. } => format!("{reason:?} {} {}", last.id, last.to_json()),
        other => format!("{other:?}"),
    }
}

fn revision(event: &Event) -> stream_registry::Revision {
    match event {
        Event::Changed { revision, .. } | Event::Ended { revision, .. } | Event::Resync { revision } => {
            revision.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_change_of_state_is_one_event_with_the_record() {
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let cam = id("cam");
    store.register(&stream("cam", SOURCE)).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    store.update_heartbeat(&cam).await.unwrap();
    store.update_stats(&cam, &StreamStats { bytes_received: 7, ..StreamStats::default() }).await.unwrap();
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
    let whats: Vec<_> = seen.iter().map(|(what, _)| *what).collect();
    assert_eq!(
        whats,
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
    let Event::Ended { reason: Ending::Unregistered(reason), last: told, .. } = next(&mut watch).await else {
        panic!("no end")
    };
    assert_eq!((reason.as_str(), &*told), (Some("done"), &last));
    witness.settled(&bed, "after all").await;
}

#[tokio::test]
async fn a_reader_cut_off_500_times_sees_the_feed_event_for_event() {
    const STREAMS: usize = 200;
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = Arc::new(bed.store().await);
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
                    // What is not there, or is another's, is no fault here.
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
    // Both begin before the first event that both have.
    let first = next(&mut cut).await;
    let mut seen = vec![words(&first)];
    let mut at = revision(&first);
    for round in 0..500 {
        drop(cut);
        cut = store.watch(WatchFrom::Revision(at.clone())).await.unwrap();
        for _ in 0..fastrand::usize(1..6) {
            let event = next(&mut cut).await;
            assert!(!matches!(event, Event::Resync { .. }), "round {round}: {event:?}");
            at = revision(&event);
            seen.push(words(&event));
        }
        if round % 100 == 50 {
            bed.server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    let mut whole = vec![words(&next(&mut all).await)];
    while whole.first() != seen.first() {
        whole = vec![words(&next(&mut all).await)];
    }
    while whole.len() < seen.len() {
        let event = next(&mut all).await;
        assert!(!matches!(event, Event::Resync { .. }), "{event:?}");
        whole.push(words(&event));
    }
    for (number, (seen, whole)) in seen.iter().zip(&whole).enumerate() {
        assert_eq!(seen, whole, "event {number}");
    }
    witness.settled(&bed, "cut off 500 times").await;
}

#[tokio::test]
async fn where_it_cannot_go_on_it_says_so_and_goes_on() {
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for n in 0..3 {
        store.register(&stream(&format!("cam{n}"), SOURCE)).await.unwrap();
    }
    let early = revision(&next(&mut watch).await);
    let tail = store.snapshot().await.unwrap().revision.unwrap();
    assert_ne!(early, tail);
    let last = tail.as_str().split_once('.').unwrap().0;
    let beyond = format!("{last}.9999999999999-0");
    for other in ["x", "1-0.2-0", &beyond] {
        let mut watch = store.watch(WatchFrom::Revision(other.parse().unwrap())).await.unwrap();
        assert_eq!(words(&next(&mut watch).await), format!("Resync {{ revision: {:?} }}", tail.as_str()), "{other}");
    }
    type Harm = (&'static str, &'static [&'static [&'static str]]);
    let harms: [Harm; 4] = [
        ("trimmed", &[&["XTRIM", FEED, "MAXLEN", "0"]]),
        ("another history", &[&["DEL", FACTS]]),
        ("of the wrong type", &[&["DEL", FEED], &["SET", FEED, "x"]]),
        ("facts of the wrong type", &[&["DEL", FACTS], &["SET", FACTS, "x"]]),
    ];
    for (harm, commands) in harms {
        let before = store.snapshot().await.unwrap().revision.unwrap();
        store.register(&stream("between", SOURCE)).await.unwrap();
        for command in commands {
            bed.server.cli(command).await;
        }
        store.register(&stream("after", SOURCE)).await.unwrap();
        let mut watch = store.watch(WatchFrom::Revision(before)).await.unwrap();
        assert!(matches!(next(&mut watch).await, Event::Resync { .. }), "{harm}");
        store.register(&stream("again", SOURCE)).await.unwrap();
        let event = next(&mut watch).await;
        assert!(matches!(&event, Event::Changed { stream, .. } if stream.id.as_str() == "again"), "{harm}: {event:?}");
        witness.settled(&bed, harm).await;
    }
    // A feed that is deleted with all there was in it takes nothing away from who has read it.
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    bed.server.cli(&["DEL", FEED]).await;
    store.register(&stream("later", SOURCE)).await.unwrap();
    assert!(matches!(next(&mut watch).await, Event::Changed { .. }));
    witness.settled(&bed, "deleted").await;
}

#[tokio::test]
async fn what_can_be_no_stream_is_neither_an_event_nor_a_gap() {
    let bed = Bed::start().await;
    let store = short(&bed, Duration::from_secs(1)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    bed.put(" bad", "not json", 600).await;
    wait_until(SOON, async || bed.server.cli(&["XLEN", FEED]).await.trim() == "1").await;
    // Who waits for the end of the feed learns at once that it is reached.
    let tail = store.snapshot().await.unwrap().revision.unwrap();
    let sign = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("it waits for its sign of life");
    assert_eq!(sign, Some(Event::Alive { revision: tail }));
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let event = next(&mut watch).await;
    assert!(matches!(&event, Event::Changed { stream, .. } if stream.id.as_str() == "cam"), "{event:?}");
    let resumed = store.watch(WatchFrom::Oldest).await.unwrap();
    assert_eq!(next(&mut { resumed }).await, event);
}

#[tokio::test]
async fn a_watch_outlives_a_restart_and_an_emptied_store() {
    let mut bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = bed.store().await;
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    bed.server.kill();
    bed.server.restart(testkit::Data::Empty).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.register(&stream("cam2", SOURCE)).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It was empty: another history.
    assert!(matches!(next(&mut watch).await, Event::Resync { .. }));
    store.register(&stream("cam3", SOURCE)).await.unwrap();
    let event = next(&mut watch).await;
    assert!(matches!(&event, Event::Changed { stream, .. } if stream.id.as_str() == "cam3"), "{event:?}");
    witness.settled(&bed, "emptied").await;
}

/// Opens a store whose streams live this long, with a sweep of its own.
pub(super) async fn short(bed: &Bed, ttl: Duration) -> RedisRegistry {
    RedisRegistry::connect(bed.options().ttl(ttl)).await.unwrap()
}

#[tokio::test]
async fn expired_streams_are_told_of_once_with_the_last_record() {
    const TTL: Duration = Duration::from_secs(3);
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let sweepers = [short(&bed, TTL).await, short(&bed, TTL).await, short(&bed, TTL).await];
    let store = &sweepers[0];
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let mut last: BTreeMap<String, (Stream, Instant)> = BTreeMap::new();
    for n in 0..100 {
        let cam = format!("cam{n}");
        store.register(&stream(&cam, SOURCE)).await.unwrap();
        store.update_stats(&id(&cam), &StreamStats { bytes_received: n, ..StreamStats::default() }).await.unwrap();
        last.insert(cam.clone(), (store.get(&id(&cam)).await.unwrap(), Instant::now()));
    }
    // One that goes on living, one that is ended, one of a program that knows no feed.
    store.register(&stream("alive", SOURCE)).await.unwrap();
    store.register(&stream("ended", SOURCE)).await.unwrap();
    store.unregister(&id("ended")).await.unwrap();
    bed.put("foreign", stream("foreign", SOURCE).to_json(), 3_000).await;
    bed.server.cli(&["SADD", INDEX, "foreign"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let pruner = {
        let stop = Arc::clone(&stop);
        let mut raw = bed.server.client().get_multiplexed_async_connection().await.unwrap();
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
                assert!(twice.is_none(), "told of twice: {twice:?}");
            }
            store.update_heartbeat(&id("alive")).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    pruner.await.unwrap();
    assert_eq!(expired.len(), 101, "all, and the foreign one: {:?}", expired.keys());
    for (cam, (record, written)) in &last {
        let (told, at) = &expired[cam];
        assert_eq!(&**told, record, "the last record");
        let late = at.duration_since(*written);
        assert!(late >= TTL - Duration::from_millis(100) && late < TTL + Duration::from_secs(2), "{cam}: {late:?}");
    }
    assert!(expired.contains_key("foreign"));
    store.unregister(&id("alive")).await.unwrap();
    assert_eq!(bed.server.cli(&["ZCARD", "mirror:streams:\u{1f}due"]).await, "0");
    witness.settled(&bed, "all have expired").await;
}

#[tokio::test]
async fn after_an_outage_those_who_live_come_back_first() {
    const TTL: Duration = Duration::from_secs(2);
    let bed = Bed::start().await;
    let witness = bed.witness().await;
    let store = short(&bed, TTL).await;
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    // As if no sweep had been for a minute.
    let swept = async || bed.server.cli(&["HGET", FACTS, "swept"]).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while swept().await.is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    bed.server.cli(&["ZADD", "mirror:streams:\u{1f}due", "1", "cam"]).await;
    let gone = Instant::now();
    bed.server.cli(&["HSET", FACTS, "swept", "1"]).await;
    let Event::Ended { reason: Ending::Expired, .. } = next(&mut watch).await else { panic!("no end") };
    let late = gone.elapsed();
    assert!(late >= TTL - Duration::from_millis(100), "reaped after {late:?}");
    assert!(late < TTL + Duration::from_secs(3), "reaped after {late:?}");
    witness.settled(&bed, "after the outage").await;
}
