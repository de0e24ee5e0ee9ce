//! Damage to the keys of the change feed. Each damage causes one `Resync`, and then the watch continues.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::query::Ended;
use stream_registry::view::{View, ViewOptions};
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{RedisRegistry, Registry};
use testkit::wait_until;

use super::feed::next;
use super::operations::SOURCE;
use super::{FEED, FEED_METADATA, TIMEOUT, TestRedis, id, stream};

/// A kind of damage: its name, and the commands that cause it. `TAIL` stands for the id of the feed's last entry.
type Damage = (&'static str, &'static [&'static [&'static str]]);

/// Entries that another program adds without changing the feed metadata.
const STRAY_ENTRIES: [Damage; 5] = [
    ("entry without predecessor", &[&["XADD", FEED, "*", "x", "y"]]),
    ("several entries without predecessor", &[&["XADD", FEED, "*", "x", "y"], &["XADD", FEED, "*", "i", "cam"]]),
    ("entry with an unreadable predecessor", &[&["XADD", FEED, "*", "p", "x", "w", "updated", "i", "cam0", "r", "{}"]]),
    ("entry of an unknown kind", &[&["XADD", FEED, "*", "p", "TAIL", "w", "x", "i", "cam0", "r", "{}"]]),
    ("entry with unreadable fields", &[&["XADD", FEED, "*", "p", "TAIL", "w", "status", "i", "cam0", "n", "x"]]),
];

/// Damage to the feed metadata.
const LOST_METADATA: [Damage; 7] = [
    ("metadata lost", &[&["DEL", FEED_METADATA]]),
    ("metadata of the wrong type", &[&["DEL", FEED_METADATA], &["SET", FEED_METADATA, "x"]]),
    ("unreadable tail", &[&["HSET", FEED_METADATA, "tail", "x"]]),
    ("tail lost", &[&["HDEL", FEED_METADATA, "tail"]]),
    ("unreadable generation", &[&["HSET", FEED_METADATA, "history", "x"]]),
    ("tail before the feed", &[&["HSET", FEED_METADATA, "tail", "5-5"]]),
    ("tail after the feed", &[&["HSET", FEED_METADATA, "tail", "99999999999999999999-7"]]),
];

/// Damage to the feed itself.
const LOST_ENTRIES: [Damage; 2] = [
    ("feed of the wrong type", &[&["DEL", FEED], &["SET", FEED, "x"]]),
    ("feed of the wrong type and metadata lost", &[&["DEL", FEED, FEED_METADATA], &["SET", FEED, "x"]]),
];

fn all() -> impl Iterator<Item = Damage> {
    STRAY_ENTRIES.into_iter().chain(LOST_METADATA).chain(LOST_ENTRIES)
}

/// Starts a server with some events in its feed.
async fn start() -> (TestRedis, RedisRegistry) {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for n in 0..3 {
        store.register(&stream(&format!("cam{n}"), SOURCE)).await.unwrap();
    }
    store.unregister(&id("cam2")).await.unwrap();
    (redis, store)
}

async fn damage(redis: &TestRedis, commands: &[&[&str]]) {
    let tail = redis.server.cli(&["HGET", FEED_METADATA, "tail"]).await;
    for command in commands {
        let command: Vec<_> = command.iter().map(|word| if *word == "TAIL" { &*tail } else { word }).collect();
        let reply = redis.server.cli(&command).await;
        assert!(!reply.contains("ERR"), "{command:?}: {reply}");
    }
}

async fn register(store: &RedisRegistry, name: &str) {
    store.register(&stream(name, SOURCE)).await.unwrap();
}

/// Reads events until the registration of `last`. Returns the number of `Resync` events before it and the ids of the
/// other events.
async fn until_registered(watch: &mut Watch, last: &str, damage: &str) -> (usize, Vec<String>) {
    let (mut resyncs, mut ids) = (0, Vec::new());
    loop {
        let event = tokio::time::timeout(TIMEOUT, watch.next()).await;
        match event
            .unwrap_or_else(|_| panic!("{damage}: the watch stalls after {resyncs} resyncs and {ids:?}"))
            .unwrap()
        {
            Event::Resync { .. } => resyncs += 1,
            Event::Alive { .. } => {}
            event => ids.push(event.stream().unwrap().id.to_string()),
        }
        assert!(resyncs < 20, "{damage}: the watch emits `Resync` in a loop");
        if ids.last().is_some_and(|id| id == last) {
            return (resyncs, ids);
        }
    }
}

#[tokio::test]
async fn damaged_feed_causes_one_resync_and_repeats_no_event() {
    for (name, commands) in all() {
        let (redis, store) = start().await;
        let mut watch = store.watch(WatchFrom::Now).await.unwrap();
        register(&store, "before").await;
        assert_eq!(next(&mut watch).await.as_str(), "registered");
        damage(&redis, commands).await;
        register(&store, "after").await;
        let mut resyncs = 0;
        // The `Resync` may come before or after the next event, or replace the next event.
        let mut ids = Vec::new();
        while resyncs == 0 {
            match next(&mut watch).await {
                Event::Resync { .. } => resyncs += 1,
                event => ids.push(event.stream().unwrap().id.to_string()),
            }
        }
        for last in ["later", "last"] {
            register(&store, last).await;
            let (more, later_ids) = until_registered(&mut watch, last, name).await;
            resyncs += more;
            ids.extend(later_ids);
        }
        assert_eq!(resyncs, 1, "{name}: {ids:?}");
        ids.retain(|id| id != "after");
        assert_eq!(ids, ["later", "last"], "{name}");
    }
}

#[tokio::test]
async fn damaged_feed_without_later_changes_causes_one_resync() {
    for (name, commands) in STRAY_ENTRIES.into_iter().chain(LOST_METADATA) {
        if name == "tail after the feed" {
            // Only the next change shows that the tail is wrong.
            continue;
        }
        let (redis, store) = start().await;
        let mut watch = store.watch(WatchFrom::Now).await.unwrap();
        damage(&redis, commands).await;
        assert!(matches!(next(&mut watch).await, Event::Resync { .. }), "{name}");
        // A consumer takes a list and continues from there. The sweep has repaired the feed, so nothing is lost again.
        let list = store.snapshot().await.unwrap().revision.unwrap();
        let mut resumed = store.watch(WatchFrom::Revision(list)).await.unwrap();
        register(&store, "after").await;
        for watch in [&mut watch, &mut resumed] {
            assert_eq!(until_registered(watch, "after", name).await, (0, vec!["after".to_owned()]), "{name}");
        }
    }
}

#[tokio::test]
async fn watches_that_start_in_a_damaged_feed_reach_its_end() {
    for (name, commands) in all() {
        let (redis, store) = start().await;
        let old = store.snapshot().await.unwrap().revision.unwrap();
        damage(&redis, commands).await;
        let damaged = store.snapshot().await.unwrap().revision.unwrap();
        for (start, from) in [
            ("before the damage", WatchFrom::Revision(old)),
            ("at the damage", WatchFrom::Revision(damaged)),
            ("oldest", WatchFrom::Oldest),
            ("now", WatchFrom::Now),
        ] {
            let context = format!("{name}, {start}");
            let mut watch = store.watch(from).await.unwrap();
            // A `Resync` can cover some registrations, so there are more registrations until the watch emits one.
            let (mut resyncs, mut round) = (0, 0);
            let reached = loop {
                round += 1;
                register(&store, &format!("end{round}")).await;
                match tokio::time::timeout(Duration::from_millis(500), watch.next()).await {
                    Ok(Some(Event::Resync { .. })) => resyncs += 1,
                    Ok(event) => {
                        let event = event.unwrap();
                        if event.stream().is_some_and(|stream| stream.id.as_str().starts_with("end")) {
                            break event;
                        }
                    }
                    Err(_) => assert!(round < 40, "{context}: the watch stalls after {resyncs} resyncs"),
                }
            };
            store.unregister(&reached.stream().unwrap().id).await.unwrap();
            assert!(resyncs <= 2, "{context}: {resyncs} resyncs");
        }
    }
}

#[tokio::test]
async fn stray_entries_without_a_repairing_process_cause_no_loop() {
    // Each kind of damage needs several seconds, so all kinds are watched at the same time.
    let kinds = STRAY_ENTRIES.into_iter().chain(LOST_METADATA).map(|(name, commands)| async move {
        let (redis, store) = start().await;
        store.close().await.unwrap();
        let reader = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
        let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
        damage(&redis, commands).await;
        let started = Instant::now();
        let mut resyncs = 0;
        while started.elapsed() < Duration::from_secs(8) {
            let left = Duration::from_secs(8).saturating_sub(started.elapsed());
            match tokio::time::timeout(left, watch.next()).await {
                Ok(Some(Event::Resync { .. })) => resyncs += 1,
                Ok(event) => assert!(matches!(event, Some(Event::Alive { .. })), "{name}: repeated {event:?}"),
                Err(_) => {}
            }
        }
        let expected = usize::from(name != "tail after the feed");
        assert_eq!(resyncs, expected, "{name}");
        let writer = redis.store().await;
        register(&writer, "after").await;
        register(&writer, "last").await;
        let (resyncs, _) = until_registered(&mut watch, "last", name).await;
        assert!(resyncs <= 1, "{name}: {resyncs} more resyncs");
    });
    futures_util::future::join_all(kinds).await;
}

#[tokio::test]
async fn many_stray_entries_cause_few_resyncs_and_hide_no_event() {
    const EVENTS: usize = 300;
    let (redis, store) = start().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let started = Instant::now();
    for n in 0..EVENTS {
        let mut raw = redis.raw.clone();
        let _: String = ::redis::cmd("XADD").arg(FEED).arg("*").arg("x").arg("y").query_async(&mut raw).await.unwrap();
        register(&store, &format!("new{n}")).await;
    }
    let (resyncs, ids) = until_registered(&mut watch, &format!("new{}", EVENTS - 1), "many").await;
    let expected: Vec<_> = (0..EVENTS).map(|n| format!("new{n}")).collect();
    assert_eq!(ids, expected);
    // A watch that catches up emits at most one resync for each read of 64 entries.
    let limit = 2 + usize::try_from(started.elapsed().as_secs()).unwrap() + 2 * EVENTS / 64;
    assert!((1..=limit).contains(&resyncs), "{resyncs} resyncs, at most {limit} are expected");
}

#[tokio::test]
async fn view_and_history_work_on_a_damaged_feed() {
    for (name, commands) in all() {
        let (redis, store) = start().await;
        let store = Arc::new(store);
        let options = ViewOptions::default().reconcile_every(Duration::from_secs(3_600));
        let view = View::new(Arc::clone(&store) as Arc<dyn Registry>, options);
        tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
        damage(&redis, commands).await;
        register(&store, "after").await;
        store.unregister(&id("cam0")).await.unwrap();
        wait_until(TIMEOUT, async || view.get(&id("after")).is_some() && view.get(&id("cam0")).is_none()).await;
        let ended = store.history(&Ended::default(), NonZeroU32::new(10).unwrap()).await;
        let ended = ended.unwrap_or_else(|error| panic!("{name}: {error}"));
        let ids: Vec<_> = ended.iter().map(|event| event.stream().unwrap().id.as_str()).collect();
        assert_eq!(ids.first(), Some(&"cam0"), "{name}: {ids:?}");
        if STRAY_ENTRIES.iter().any(|(stray, _)| *stray == name) {
            assert_eq!(ids, ["cam0", "cam2"], "{name}");
        }
    }
}

#[tokio::test]
async fn history_includes_streams_that_ended_after_a_deleted_entry() {
    let (redis, store) = start().await;
    for n in 0..50 {
        register(&store, "deleted").await;
        let tail = redis.server.cli(&["HGET", FEED_METADATA, "tail"]).await;
        store.unregister(&id("deleted")).await.unwrap();
        assert_eq!(redis.server.cli(&["XDEL", FEED, &tail]).await, "1", "entry {n}");
    }
    let ended = store.history(&Ended::default(), NonZeroU32::new(100).unwrap()).await.unwrap();
    assert_eq!(ended.len(), 51, "50 streams after a deleted entry, and one before all of them");
}
