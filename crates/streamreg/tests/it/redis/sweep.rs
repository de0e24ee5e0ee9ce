//! The sweep where something comes between: another registration, a tool, a slow way, leftovers in the index.

use std::time::{Duration, Instant};

use stream_registry::redis::RedisOptions;
use stream_registry::registry::TtlPolicy;
use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{OnConflict, RedisRegistry, RegisterOptions, Registry, Stream};
use testkit::{FaultProxy, wait_until};

use super::feed::{next, short};
use super::operations::SOURCE;
use super::{Bed, FACTS, INDEX, SOON, stream};

const OTHER: &str = "198.51.100.9:1";
const DUE: &str = "mirror:streams:\u{1f}due";

/// Puts a record aside as a sweep does shortly before the deadline.
async fn copy_aside(bed: &Bed, stream: &Stream) {
    let text = format!("1800000000000\n{}", stream.to_json());
    bed.server.cli(&["SET", &format!("mirror:streams:\u{1f}last:{}", stream.id), &text, "PX", "600000"]).await;
}

async fn expired(watch: &mut Watch) -> Stream {
    match next(watch).await {
        Event::Ended { reason: Ending::Expired, last, .. } => (*last).clone(),
        other => panic!("{other:?} instead of an expiry"),
    }
}

async fn registered(watch: &mut Watch) -> Stream {
    match next(watch).await {
        Event::Changed { kind: ChangeKind::Registered, stream, .. } => (*stream).clone(),
        other => panic!("{other:?} instead of a registration"),
    }
}

#[tokio::test]
async fn an_expiry_that_nobody_told_is_told_before_the_next_registration() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let first = registered(&mut watch).await;
    copy_aside(&bed, &first).await;
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    store.register(&stream("cam", OTHER)).await.unwrap();
    assert_eq!(expired(&mut watch).await, first);
    assert_eq!(registered(&mut watch).await.source_addr, OTHER);
    // A holder whose stream comes back goes on: nothing has ended.
    let lease = store.register_with(&stream("leased", SOURCE), &RegisterOptions::default().lease(true)).await.unwrap();
    registered(&mut watch).await;
    bed.server.cli(&["DEL", "mirror:streams:leased"]).await;
    let back = RegisterOptions::default().recover(lease.epoch.unwrap());
    store.register_with(&lease.stream, &back).await.unwrap();
    assert_eq!(registered(&mut watch).await.id.as_str(), "leased");
    bed.assert_whole("all told").await;
}

#[tokio::test]
async fn an_expiry_never_carries_the_record_of_an_earlier_stream() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for on_conflict in [OnConflict::TakeOver, OnConflict::Reject] {
        store.register(&stream("cam", SOURCE)).await.unwrap();
        let first = registered(&mut watch).await;
        copy_aside(&bed, &first).await;
        if on_conflict == OnConflict::Reject {
            bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
        }
        let options = RegisterOptions::default().on_conflict(on_conflict);
        store.register_with(&stream("cam", OTHER), &options).await.unwrap();
        // Gone before any sweep could copy it.
        bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
        bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
        if on_conflict == OnConflict::Reject {
            assert_eq!(expired(&mut watch).await.source_addr, SOURCE);
        }
        next(&mut watch).await;
        assert_eq!(expired(&mut watch).await.source_addr, "", "{on_conflict:?}: nobody knows more than the id");
    }
}

#[tokio::test]
async fn what_has_ended_leaves_no_copy() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for expires in [false, true] {
        store.register(&stream("cam", SOURCE)).await.unwrap();
        let first = registered(&mut watch).await;
        copy_aside(&bed, &first).await;
        if expires {
            bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
            bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
            assert_eq!(expired(&mut watch).await, first);
        } else {
            store.unregister(&first.id).await.unwrap();
            next(&mut watch).await;
        }
        assert_eq!(bed.server.cli(&["EXISTS", "mirror:streams:\u{1f}last:cam"]).await, "0", "expires: {expires}");
    }
}

#[tokio::test]
async fn a_copy_has_a_time_to_live_of_its_own() {
    let bed = Bed::start().await;
    let _store = bed.store().await;
    wait_until(SOON, async || fact(&bed, "swept").await > 0).await;
    // Soon over, and looked at now.
    bed.put("cam", stream("cam", SOURCE).to_json(), 30_000).await;
    bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
    let mut left = -2;
    wait_until(SOON, async || {
        left = bed.pttl("\u{1f}last:cam").await;
        left != -2
    })
    .await;
    // A time to live and an hour longer than the record: whoever sweeps next finds it.
    assert!((3_920_000..=3_930_000).contains(&left), "{left} ms");
}

async fn fact(bed: &Bed, name: &str) -> u64 {
    bed.server.cli(&["HGET", FACTS, name]).await.parse().unwrap_or(0)
}

#[tokio::test]
async fn a_process_with_a_short_time_to_live_does_not_end_the_grace_of_the_others() {
    let bed = Bed::start().await;
    let _long = bed.store().await;
    wait_until(SOON, async || fact(&bed, "swept").await > 0).await;
    for policy in [TtlPolicy::NeverShorten, TtlPolicy::Renew] {
        // As if no sweep had been for a minute, and this one comes first.
        let options = bed.options().ttl(Duration::from_secs(1)).ttl_policy(policy);
        let _brief = RedisRegistry::connect(options).await.unwrap();
        let minute_ago = fact(&bed, "swept").await - 60_000;
        bed.server.cli(&["HSET", FACTS, "swept", &minute_ago.to_string(), "grace", "0"]).await;
        wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
        let swept = fact(&bed, "swept").await;
        // Ten looks of the brief one later it is still there.
        wait_until(SOON, async || fact(&bed, "swept").await > swept + 1_200).await;
        let left = fact(&bed, "grace").await.saturating_sub(fact(&bed, "swept").await);
        assert!((290_000..=300_000).contains(&left), "{policy:?}: a grace of {left} ms is left");
    }
}

#[tokio::test]
async fn the_longest_time_to_live_counts_until_nobody_confirms_it() {
    const LONG: u64 = 300_000;
    let bed = Bed::start().await;
    let store = bed.store().await;
    wait_until(SOON, async || fact(&bed, "ttl").await == LONG).await;
    store.close().await.unwrap();
    let sweeps = async |ttl, policy| {
        let swept = fact(&bed, "swept").await;
        let options = bed.options().ttl(Duration::from_secs(ttl)).ttl_policy(policy);
        let store = RedisRegistry::connect(options).await.unwrap();
        wait_until(SOON, async || fact(&bed, "swept").await > swept).await;
        store
    };
    // A tool that only ever lengthens keeps no streams alive: what it would give says nothing.
    let tool = sweeps(3_600, TtlPolicy::NeverShorten).await;
    tool.close().await.unwrap();
    assert_eq!(fact(&bed, "ttl").await, LONG);
    let _brief = sweeps(1, TtlPolicy::Renew).await;
    assert_eq!(fact(&bed, "ttl").await, LONG);
    // What a gap is goes by the briefest: its streams are gone long before a tenth of the longest time.
    for (gap, is_outage) in [(8_000, false), (12_000, true)] {
        let before = fact(&bed, "swept").await - gap;
        bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
        wait_until(SOON, async || fact(&bed, "swept").await >= before + gap).await;
        assert_eq!(fact(&bed, "grace").await > 0, is_outage, "a gap of {gap} ms");
    }
    let long_ago = fact(&bed, "swept").await - LONG - 1_000;
    bed.server.cli(&["HSET", FACTS, "confirmed", &long_ago.to_string()]).await;
    wait_until(SOON, async || fact(&bed, "ttl").await == 1_000).await;
    // Nor does a grace by the longer one go on.
    let left = async || fact(&bed, "grace").await.saturating_sub(fact(&bed, "swept").await);
    wait_until(SOON, async || left().await <= 1_000).await;
}

#[tokio::test]
async fn an_outage_for_the_briefest_is_one_whoever_sees_it_first() {
    let bed = Bed::start().await;
    let _long = short(&bed, Duration::from_secs(3_600)).await;
    let brief = short(&bed, Duration::from_secs(1)).await;
    wait_until(SOON, async || fact(&bed, "brief").await == 1_000).await;
    brief.close().await.unwrap();
    let before = fact(&bed, "swept").await - 12_000;
    bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
}

#[tokio::test]
async fn what_a_tool_would_give_is_never_kept() {
    let bed = Bed::start().await;
    let options = bed.options().ttl(Duration::from_secs(30 * 86_400)).ttl_policy(TtlPolicy::NeverShorten);
    let _tool = RedisRegistry::connect(options).await.unwrap();
    wait_until(SOON, async || fact(&bed, "swept").await > 0).await;
    assert_eq!(fact(&bed, "ttl").await, 0);
    let _brief = short(&bed, Duration::from_secs(1)).await;
    wait_until(SOON, async || fact(&bed, "ttl").await == 1_000).await;
    // An outage for those who are there is one for the tool as well.
    let before = fact(&bed, "swept").await - 12_000;
    bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
    assert!(fact(&bed, "grace").await <= fact(&bed, "swept").await + 1_000);
}

#[tokio::test]
async fn a_copy_outlives_a_long_outage_and_the_grace_after_it() {
    let bed = Bed::start().await;
    let store = short(&bed, Duration::from_secs(2)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let last = registered(&mut watch).await;
    let copy = format!("mirror:streams:\u{1f}last:{}", last.id);
    wait_until(SOON, async || bed.server.cli(&["EXISTS", &copy]).await.trim() == "1").await;
    // As if the sweeps had rested for so long that little of the copy's time is left.
    let before = fact(&bed, "swept").await - 3_600_000;
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    bed.server.cli(&["PEXPIRE", &copy, "1500"]).await;
    bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
    let grace = fact(&bed, "grace").await;
    assert_eq!(expired(&mut watch).await.source_addr, last.source_addr);
    assert!(fact(&bed, "swept").await + 1_000 >= grace, "told before the grace was over");
}

#[tokio::test]
async fn who_comes_back_does_not_hide_the_end_of_another() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let lease = store.register_with(&stream("cam", SOURCE), &RegisterOptions::default().lease(true)).await.unwrap();
    registered(&mut watch).await;
    // Its end was told; then another one had the id, whose end nobody has told yet.
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    bed.server.cli(&["ZREM", DUE, "cam"]).await;
    store.register(&stream("cam", OTHER)).await.unwrap();
    let other = registered(&mut watch).await;
    copy_aside(&bed, &other).await;
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    let back = RegisterOptions::default().recover(lease.epoch.clone().unwrap());
    store.register_with(&lease.stream, &back).await.unwrap();
    assert_eq!(expired(&mut watch).await.source_addr, OTHER);
    assert_eq!(registered(&mut watch).await.source_addr, SOURCE);
    // Its own copy, even where another program had dropped the epoch, is of no end.
    for own in [lease.stream.clone(), stream("cam", SOURCE)] {
        copy_aside(&bed, &own).await;
        bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
        store.register_with(&lease.stream, &back).await.unwrap();
        assert_eq!(registered(&mut watch).await.source_addr, SOURCE);
    }
}

#[tokio::test]
async fn ids_that_others_left_in_the_index_leave_it() {
    let bed = Bed::start().await;
    let store = short(&bed, Duration::from_secs(1)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let left: Vec<String> = (0..500).map(|n| format!("left{n}")).collect();
    bed.server.cli(&[&["SADD", INDEX][..], &left.iter().map(String::as_str).collect::<Vec<_>>()].concat()).await;
    wait_until(SOON, async || bed.index().await.is_empty()).await;
    // Nobody knew them: nothing ended.
    store.register(&stream("cam", SOURCE)).await.unwrap();
    assert_eq!(registered(&mut watch).await.id.as_str(), "cam");
}

#[tokio::test]
async fn a_large_index_and_a_long_way_keep_no_expiry_waiting() {
    const TTL: Duration = Duration::from_secs(4);
    const LEFT: usize = 20_000;
    let bed = Bed::start().await;
    let proxy = FaultProxy::start(bed.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let _sweeper = RedisRegistry::connect(options.ttl(TTL)).await.unwrap();
    proxy.delay_replies(Duration::from_millis(25));
    let reader = RedisRegistry::connect(bed.options().read_only(true)).await.unwrap();
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    let left: Vec<String> = (0..LEFT).map(|n| format!("left{n}")).collect();
    for left in left.chunks(2_000) {
        bed.server.cli(&[&["SADD", INDEX][..], &left.iter().map(String::as_str).collect::<Vec<_>>()].concat()).await;
    }
    let began = Instant::now();
    let writer = RedisRegistry::connect(bed.options().ttl(Duration::from_secs(3600))).await.unwrap();
    // It is due at once, as the going through the index begins.
    writer.register(&stream("cam", SOURCE)).await.unwrap();
    drop(writer);
    registered(&mut watch).await;
    wait_until(SOON, async || bed.index().await.len() < LEFT).await;
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
    let gone = Instant::now();
    assert_eq!(expired(&mut watch).await.id.as_str(), "cam");
    let (late, others) = (gone.elapsed(), bed.index().await.len());
    assert!(late < Duration::from_secs(2), "told after {late:?}");
    assert!(others > 0, "the index was gone through in {:?}: nothing was shown", began.elapsed());
}
