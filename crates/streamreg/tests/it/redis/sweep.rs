//! The sweep of expired streams, combined with registrations, other tools, a slow network and stale index entries.

use std::time::{Duration, Instant};

use stream_registry::redis::RedisOptions;
use stream_registry::registry::TtlPolicy;
use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{OnConflict, RedisRegistry, RegisterOptions, Registry, Stream};
use testkit::{FaultProxy, wait_until};

use super::feed::{next, store_with_ttl};
use super::operations::SOURCE;
use super::{Bed, FACTS, INDEX, SOON, stream};

const OTHER: &str = "198.51.100.9:1";
const DUE: &str = "mirror:streams:\u{1f}due";

/// Copies a record as the sweep does shortly before the stream expires.
async fn copy_aside(bed: &Bed, stream: &Stream) {
    let copy = format!("1800000000000\n{}", stream.to_json());
    bed.server.cli(&["SET", &format!("mirror:streams:\u{1f}last:{}", stream.id), &copy, "PX", "600000"]).await;
}

async fn expired(watch: &mut Watch) -> Stream {
    match next(watch).await {
        Event::Ended { reason: Ending::Expired, last, .. } => (*last).clone(),
        other => panic!("expected an expiry, got {other:?}"),
    }
}

async fn registered(watch: &mut Watch) -> Stream {
    match next(watch).await {
        Event::Changed { kind: ChangeKind::Registered, stream, .. } => (*stream).clone(),
        other => panic!("expected a registration, got {other:?}"),
    }
}

#[tokio::test]
async fn pending_expiry_is_emitted_before_the_next_registration() {
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
    // If a holder recovers its stream, no expiry is emitted.
    let lease = store.register_with(&stream("leased", SOURCE), &RegisterOptions::default().lease()).await.unwrap();
    registered(&mut watch).await;
    bed.server.cli(&["DEL", "mirror:streams:leased"]).await;
    let back = RegisterOptions::default().recover(lease.epoch.unwrap());
    store.register_with(&lease.stream, &back).await.unwrap();
    assert_eq!(registered(&mut watch).await.id.as_str(), "leased");
    bed.assert_whole("after the expiries").await;
}

#[tokio::test]
async fn expiry_never_has_the_record_of_an_earlier_stream() {
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
        // The record disappears before a sweep can copy it.
        bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
        bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
        if on_conflict == OnConflict::Reject {
            assert_eq!(expired(&mut watch).await.source_addr, SOURCE);
        }
        next(&mut watch).await;
        assert_eq!(expired(&mut watch).await.source_addr, "", "{on_conflict:?}: only the id is known");
    }
}

#[tokio::test]
async fn ended_stream_leaves_no_copy_of_its_record() {
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
async fn copied_record_outlives_the_stream_by_a_ttl_and_an_hour() {
    let bed = Bed::start().await;
    let _store = bed.store().await;
    wait_until(SOON, async || fact(&bed, "swept").await > 0).await;
    // The stream expires soon and is due now.
    bed.put("cam", stream("cam", SOURCE).to_json(), 30_000).await;
    bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
    let mut left = -2;
    wait_until(SOON, async || {
        left = bed.pttl("\u{1f}last:cam").await;
        left != -2
    })
    .await;
    // The copy lives a TTL and an hour longer than the record, so that the next sweep finds it.
    assert!((3_920_000..=3_930_000).contains(&left), "{left} ms");
}

async fn fact(bed: &Bed, name: &str) -> u64 {
    bed.server.cli(&["HGET", FACTS, name]).await.parse().unwrap_or(0)
}

#[tokio::test]
async fn process_with_a_short_ttl_does_not_shorten_the_grace_period_of_others() {
    let bed = Bed::start().await;
    let _long = bed.store().await;
    wait_until(SOON, async || fact(&bed, "swept").await > 0).await;
    for policy in [TtlPolicy::NeverShorten, TtlPolicy::Renew] {
        // Simulate a minute without sweeps. The process with the short TTL sweeps first.
        let options = bed.options().ttl(Duration::from_secs(1)).ttl_policy(policy);
        let _short = RedisRegistry::connect(options).await.unwrap();
        let minute_ago = fact(&bed, "swept").await - 60_000;
        bed.server.cli(&["HSET", FACTS, "swept", &minute_ago.to_string(), "grace", "0"]).await;
        wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
        let swept = fact(&bed, "swept").await;
        // After ten sweeps of that process, the grace period is still in effect.
        wait_until(SOON, async || fact(&bed, "swept").await > swept + 1_200).await;
        let left = fact(&bed, "grace").await.saturating_sub(fact(&bed, "swept").await);
        assert!((290_000..=300_000).contains(&left), "{policy:?}: {left} ms of the grace period remain");
    }
}

#[tokio::test]
async fn longest_ttl_applies_until_no_process_confirms_it() {
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
    // A client with `NeverShorten` keeps no streams alive, so its TTL is ignored.
    let tool = sweeps(3_600, TtlPolicy::NeverShorten).await;
    tool.close().await.unwrap();
    assert_eq!(fact(&bed, "ttl").await, LONG);
    let _short = sweeps(1, TtlPolicy::Renew).await;
    assert_eq!(fact(&bed, "ttl").await, LONG);
    // The shortest TTL decides which gap is an outage, because its streams expire long before a tenth of the longest TTL.
    for (gap, is_outage) in [(8_000, false), (12_000, true)] {
        let before = fact(&bed, "swept").await - gap;
        bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
        wait_until(SOON, async || fact(&bed, "swept").await >= before + gap).await;
        assert_eq!(fact(&bed, "grace").await > 0, is_outage, "a gap of {gap} ms");
    }
    let long_ago = fact(&bed, "swept").await - LONG - 1_000;
    bed.server.cli(&["HSET", FACTS, "confirmed", &long_ago.to_string()]).await;
    wait_until(SOON, async || fact(&bed, "ttl").await == 1_000).await;
    // The grace period of the longer TTL ends as well.
    let left = async || fact(&bed, "grace").await.saturating_sub(fact(&bed, "swept").await);
    wait_until(SOON, async || left().await <= 1_000).await;
}

#[tokio::test]
async fn outage_is_judged_by_the_shortest_ttl_of_all_processes() {
    let bed = Bed::start().await;
    let _long = store_with_ttl(&bed, Duration::from_secs(3_600)).await;
    let short_lived = store_with_ttl(&bed, Duration::from_secs(1)).await;
    wait_until(SOON, async || fact(&bed, "brief").await == 1_000).await;
    short_lived.close().await.unwrap();
    let before = fact(&bed, "swept").await - 12_000;
    bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
}

#[tokio::test]
async fn ttl_of_a_never_shorten_client_is_not_recorded() {
    let bed = Bed::start().await;
    let options = bed.options().ttl(Duration::from_secs(30 * 86_400)).ttl_policy(TtlPolicy::NeverShorten);
    let _tool = RedisRegistry::connect(options).await.unwrap();
    wait_until(SOON, async || fact(&bed, "swept").await > 0).await;
    assert_eq!(fact(&bed, "ttl").await, 0);
    let _short = store_with_ttl(&bed, Duration::from_secs(1)).await;
    wait_until(SOON, async || fact(&bed, "ttl").await == 1_000).await;
    // An outage for the other processes counts as one for this client as well.
    let before = fact(&bed, "swept").await - 12_000;
    bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
    assert!(fact(&bed, "grace").await <= fact(&bed, "swept").await + 1_000);
}

#[tokio::test]
async fn copied_record_survives_a_long_outage_and_its_grace_period() {
    let bed = Bed::start().await;
    let store = store_with_ttl(&bed, Duration::from_secs(2)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let last = registered(&mut watch).await;
    let copy = format!("mirror:streams:\u{1f}last:{}", last.id);
    wait_until(SOON, async || bed.server.cli(&["EXISTS", &copy]).await.trim() == "1").await;
    // Simulate a gap between sweeps so long that the copy has almost expired.
    let before = fact(&bed, "swept").await - 3_600_000;
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    bed.server.cli(&["PEXPIRE", &copy, "1500"]).await;
    bed.server.cli(&["HSET", FACTS, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(SOON, async || fact(&bed, "grace").await > 0).await;
    let grace = fact(&bed, "grace").await;
    assert_eq!(expired(&mut watch).await.source_addr, last.source_addr);
    assert!(fact(&bed, "swept").await + 1_000 >= grace, "emitted before the grace period ended");
}

#[tokio::test]
async fn recovered_lease_does_not_hide_the_expiry_of_another_stream() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let lease = store.register_with(&stream("cam", SOURCE), &RegisterOptions::default().lease()).await.unwrap();
    registered(&mut watch).await;
    // The lease's expiry was emitted. Then another stream used the id, and its expiry is still pending.
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
    // A copy of the lease's own record causes no expiry, even if another program removed the epoch.
    for own in [lease.stream.clone(), stream("cam", SOURCE)] {
        copy_aside(&bed, &own).await;
        bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
        store.register_with(&lease.stream, &back).await.unwrap();
        assert_eq!(registered(&mut watch).await.source_addr, SOURCE);
    }
}

#[tokio::test]
async fn sweep_removes_index_entries_without_a_record() {
    let bed = Bed::start().await;
    let store = store_with_ttl(&bed, Duration::from_secs(1)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let stale: Vec<String> = (0..500).map(|n| format!("stale{n}")).collect();
    bed.server.cli(&[&["SADD", INDEX][..], &stale.iter().map(String::as_str).collect::<Vec<_>>()].concat()).await;
    wait_until(SOON, async || bed.index().await.is_empty()).await;
    // They were never registered, so no expiry is emitted.
    store.register(&stream("cam", SOURCE)).await.unwrap();
    assert_eq!(registered(&mut watch).await.id.as_str(), "cam");
}

#[tokio::test]
async fn large_index_and_slow_network_do_not_delay_an_expiry() {
    const TTL: Duration = Duration::from_secs(4);
    const STALE: usize = 20_000;
    let bed = Bed::start().await;
    let proxy = FaultProxy::start(bed.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let _sweeper = RedisRegistry::connect(options.ttl(TTL)).await.unwrap();
    proxy.delay_replies(Duration::from_millis(25));
    let reader = RedisRegistry::connect(bed.options().read_only()).await.unwrap();
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    let stale: Vec<String> = (0..STALE).map(|n| format!("stale{n}")).collect();
    for stale in stale.chunks(2_000) {
        bed.server.cli(&[&["SADD", INDEX][..], &stale.iter().map(String::as_str).collect::<Vec<_>>()].concat()).await;
    }
    let began = Instant::now();
    let writer = RedisRegistry::connect(bed.options().ttl(Duration::from_secs(3600))).await.unwrap();
    // The stream is due immediately, while the scan of the index begins.
    writer.register(&stream("cam", SOURCE)).await.unwrap();
    drop(writer);
    registered(&mut watch).await;
    wait_until(SOON, async || bed.index().await.len() < STALE).await;
    bed.server.cli(&["DEL", "mirror:streams:cam"]).await;
    bed.server.cli(&["ZADD", DUE, "1", "cam"]).await;
    let removed = Instant::now();
    assert_eq!(expired(&mut watch).await.id.as_str(), "cam");
    let (late, others) = (removed.elapsed(), bed.index().await.len());
    assert!(late < Duration::from_secs(2), "emitted after {late:?}");
    assert!(others > 0, "the index was scanned within {:?}: the test is inconclusive", began.elapsed());
}
