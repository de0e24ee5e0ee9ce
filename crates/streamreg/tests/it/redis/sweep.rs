//! Tests the sweep of expired streams together with registrations, other tools, a slow network and stale index entries.

use std::time::{Duration, Instant};

use stream_registry::redis::RedisOptions;
use stream_registry::registry::TtlPolicy;
use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{Guard, OnConflict, RedisRegistry, RegisterOptions, Registry, Stream, UnregisterOptions};
use testkit::{FaultProxy, wait_until};

use super::feed::{next, store_with_ttl};
use super::operations::SOURCE;
use super::{DUE, FEED_METADATA, INDEX, TIMEOUT, TestRedis, id, stream};

const OTHER: &str = "198.51.100.9:1";

/// Copies a record, as the sweep does shortly before a stream expires.
async fn store_copy(redis: &TestRedis, stream: &Stream) {
    let copy = format!("1800000000000\n{}", stream.to_json());
    redis.server.cli(&["SET", &format!("mirror:streams:\u{1f}last:{}", stream.id), &copy, "PX", "600000"]).await;
}

async fn expired(watch: &mut Watch) -> Stream {
    match next(watch).await {
        Event::Ended { reason: Ending::Expired, last, as_of: Some(_), .. } => (*last).clone(),
        other => panic!("expected an expiry with a record, got {other:?}"),
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
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let first = registered(&mut watch).await;
    store_copy(&redis, &first).await;
    redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
    store.register(&stream("cam", OTHER)).await.unwrap();
    assert_eq!(expired(&mut watch).await, first);
    assert_eq!(registered(&mut watch).await.source_addr, OTHER);
    // If a holder recovers its stream, no expiry is emitted.
    let lease = store.register_with(&stream("leased", SOURCE), &RegisterOptions::default().lease()).await.unwrap();
    registered(&mut watch).await;
    redis.server.cli(&["DEL", "mirror:streams:leased"]).await;
    let back = RegisterOptions::default().recover(lease.epoch.unwrap());
    store.register_with(&lease.stream, &back).await.unwrap();
    assert_eq!(registered(&mut watch).await.id.as_str(), "leased");
    redis.assert_consistent("after the expiries").await;
}

#[tokio::test]
async fn expiry_event_reports_an_unknown_record_when_the_stream_was_not_copied() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for on_conflict in [OnConflict::TakeOver, OnConflict::Reject] {
        store.register(&stream("cam", SOURCE)).await.unwrap();
        let first = registered(&mut watch).await;
        store_copy(&redis, &first).await;
        if on_conflict == OnConflict::Reject {
            redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
        }
        let options = RegisterOptions::default().on_conflict(on_conflict);
        store.register_with(&stream("cam", OTHER), &options).await.unwrap();
        // The record disappears before a sweep can copy it.
        redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
        redis.server.cli(&["ZADD", DUE, "1", "cam"]).await;
        if on_conflict == OnConflict::Reject {
            assert_eq!(expired(&mut watch).await.source_addr, SOURCE);
        }
        next(&mut watch).await;
        let event = next(&mut watch).await;
        assert!(matches!(event, Event::Ended { reason: Ending::Expired, as_of: None, .. }), "{event:?}");
        assert!(event.to_json().ends_with(r#","stream":{"id":"cam"}}"#), "{on_conflict:?}: {}", event.to_json());
    }
}

#[tokio::test]
async fn removal_of_an_unreadable_record_reports_an_unknown_record() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    redis.put("cam", "no JSON", 60_000).await;
    let force = UnregisterOptions::default().guard(Guard::Force).reason("cleared".parse().unwrap());
    store.unregister_with(&id("cam"), &force).await.unwrap();
    let event = next(&mut watch).await;
    let Event::Ended { reason: Ending::Unregistered(reason), as_of: None, .. } = &event else { panic!("{event:?}") };
    assert_eq!(reason.as_str(), Some("cleared"));
    assert!(event.to_json().ends_with(r#","reason":"cleared","stream":{"id":"cam"}}"#), "{}", event.to_json());
}

#[tokio::test]
async fn copied_record_is_deleted_when_the_stream_ends() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for expires in [false, true] {
        store.register(&stream("cam", SOURCE)).await.unwrap();
        let first = registered(&mut watch).await;
        store_copy(&redis, &first).await;
        if expires {
            redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
            redis.server.cli(&["ZADD", DUE, "1", "cam"]).await;
            assert_eq!(expired(&mut watch).await, first);
        } else {
            store.unregister(&first.id).await.unwrap();
            next(&mut watch).await;
        }
        assert_eq!(redis.server.cli(&["EXISTS", "mirror:streams:\u{1f}last:cam"]).await, "0", "expires: {expires}");
    }
}

#[tokio::test]
async fn copied_record_outlives_the_stream_by_a_ttl_and_an_hour() {
    let redis = TestRedis::start().await;
    let _store = redis.store().await;
    wait_until(TIMEOUT, async || metadata(&redis, "swept").await > 0).await;
    // The stream expires soon, and the sweep must check it at once.
    redis.put("cam", stream("cam", SOURCE).to_json(), 30_000).await;
    redis.server.cli(&["ZADD", DUE, "1", "cam"]).await;
    let mut left = -2;
    wait_until(TIMEOUT, async || {
        left = redis.pttl("\u{1f}last:cam").await;
        left != -2
    })
    .await;
    // The copy lives longer than the record by one TTL and one hour, so that a later sweep still finds the copy.
    assert!((3_920_000..=3_930_000).contains(&left), "{left} ms");
}

async fn metadata(redis: &TestRedis, name: &str) -> u64 {
    redis.server.cli(&["HGET", FEED_METADATA, name]).await.parse().unwrap_or(0)
}

#[tokio::test]
async fn short_ttl_does_not_shorten_the_grace_period_of_other_processes() {
    let redis = TestRedis::start().await;
    let _long = redis.store().await;
    wait_until(TIMEOUT, async || metadata(&redis, "swept").await > 0).await;
    for policy in [TtlPolicy::NeverShorten, TtlPolicy::Renew] {
        // Simulates a minute without sweeps. After it, the process with the short TTL sweeps first.
        let options = redis.options().ttl(Duration::from_secs(1)).ttl_policy(policy);
        let _short = RedisRegistry::connect(options).await.unwrap();
        let minute_ago = metadata(&redis, "swept").await - 60_000;
        redis.server.cli(&["HSET", FEED_METADATA, "swept", &minute_ago.to_string(), "grace", "0"]).await;
        wait_until(TIMEOUT, async || metadata(&redis, "grace").await > 0).await;
        let swept = metadata(&redis, "swept").await;
        // After ten sweeps of the process with the short TTL, the grace period is still in effect.
        wait_until(TIMEOUT, async || metadata(&redis, "swept").await > swept + 1_200).await;
        let left = metadata(&redis, "grace").await.saturating_sub(metadata(&redis, "swept").await);
        assert!((290_000..=300_000).contains(&left), "{policy:?}: {left} ms of the grace period remain");
    }
}

#[tokio::test]
async fn longest_ttl_is_kept_until_it_is_no_longer_confirmed() {
    const LONG: u64 = 300_000;
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    wait_until(TIMEOUT, async || metadata(&redis, "ttl").await == LONG).await;
    store.close().await.unwrap();
    let sweeps = async |ttl, policy| {
        let swept = metadata(&redis, "swept").await;
        let options = redis.options().ttl(Duration::from_secs(ttl)).ttl_policy(policy);
        let store = RedisRegistry::connect(options).await.unwrap();
        wait_until(TIMEOUT, async || metadata(&redis, "swept").await > swept).await;
        store
    };
    // A client with `NeverShorten` keeps no streams alive, so its TTL is ignored.
    let tool = sweeps(3_600, TtlPolicy::NeverShorten).await;
    tool.close().await.unwrap();
    assert_eq!(metadata(&redis, "ttl").await, LONG);
    let _short = sweeps(60, TtlPolicy::Renew).await;
    assert_eq!(metadata(&redis, "ttl").await, LONG);
    // The shortest TTL decides whether a gap between sweeps counts as an outage: here, a gap of more than 6 s.
    for (gap, is_outage) in [(1_000, false), (8_000, true)] {
        let before = metadata(&redis, "swept").await - gap;
        redis.server.cli(&["HSET", FEED_METADATA, "swept", &before.to_string(), "grace", "0"]).await;
        wait_until(TIMEOUT, async || metadata(&redis, "swept").await >= before + gap).await;
        assert_eq!(metadata(&redis, "grace").await > 0, is_outage, "a gap of {gap} ms");
    }
    let long_ago = metadata(&redis, "swept").await - LONG - 1_000;
    redis.server.cli(&["HSET", FEED_METADATA, "confirmed", &long_ago.to_string()]).await;
    wait_until(TIMEOUT, async || metadata(&redis, "ttl").await == 60_000).await;
    // The grace period of the longer TTL ends as well.
    let left = async || metadata(&redis, "grace").await.saturating_sub(metadata(&redis, "swept").await);
    wait_until(TIMEOUT, async || left().await <= 60_000).await;
}

#[tokio::test]
async fn grace_period_after_a_short_gap_is_ten_times_the_gap() {
    let redis = TestRedis::start().await;
    let _long = store_with_ttl(&redis, Duration::from_secs(3_600)).await;
    let _short = store_with_ttl(&redis, Duration::from_secs(6)).await;
    wait_until(TIMEOUT, async || metadata(&redis, "brief").await == 6_000).await;
    let before = metadata(&redis, "swept").await - 4_000;
    redis.server.cli(&["HSET", FEED_METADATA, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(TIMEOUT, async || metadata(&redis, "grace").await > 0).await;
    // The grace period begins at the sweep that found the gap, which is a few seconds after `before` at most.
    let length = metadata(&redis, "grace").await - before;
    assert!((44_000..600_000).contains(&length), "{length} ms");
}

#[tokio::test]
async fn process_with_a_long_ttl_sweeps_more_often_while_a_shorter_ttl_is_known() {
    let redis = TestRedis::start().await;
    let _long = store_with_ttl(&redis, Duration::from_secs(3_600)).await;
    wait_until(TIMEOUT, async || metadata(&redis, "brief").await == 3_600_000).await;
    let now = metadata(&redis, "swept").await;
    redis.server.cli(&["HSET", FEED_METADATA, "brief", "1000", "brief_confirmed", &now.to_string()]).await;
    // Without the shorter TTL, the interval is at least 800 ms.
    let mut before = metadata(&redis, "swept").await;
    wait_until(TIMEOUT, async || {
        let swept = metadata(&redis, "swept").await;
        let interval = swept - before;
        before = swept;
        (1..700).contains(&interval)
    })
    .await;
}

#[tokio::test]
async fn record_with_a_short_ttl_is_checked_when_half_of_the_ttl_remains() {
    let redis = TestRedis::start().await;
    for (ttl, margin) in [(1, 500), (10, 5_000), (20, 6_000), (300, 60_000)] {
        let store = store_with_ttl(&redis, Duration::from_secs(ttl)).await;
        let registered = store.register(&stream("cam", SOURCE)).await.unwrap().stream;
        let check_at: i128 = redis.server.cli(&["ZSCORE", DUE, "cam"]).await.parse().unwrap();
        store.close().await.unwrap();
        let expires_at = registered.last_heartbeat.as_unix_nanos() / 1_000_000 + i128::from(ttl) * 1_000;
        // A sweep may already have scheduled the next check, but never an earlier one.
        assert!(expires_at - check_at <= margin, "TTL {ttl} s: {} ms", expires_at - check_at);
        if ttl > 1 {
            assert_eq!(expires_at - check_at, margin, "TTL {ttl} s");
        }
    }
}

#[tokio::test]
async fn expiry_is_reported_soon_although_the_remaining_time_was_longer_for_a_while() {
    let redis = TestRedis::start().await;
    let store = store_with_ttl(&redis, Duration::from_secs(2)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    for change in ["PERSIST", "PEXPIRE"] {
        store.register(&stream("cam", SOURCE)).await.unwrap();
        registered(&mut watch).await;
        let arguments = if change == "PERSIST" { &[][..] } else { &["7200000"] };
        redis.server.cli(&[&[change, "mirror:streams:cam"], arguments].concat()).await;
        redis.server.cli(&["ZADD", DUE, "1", "cam"]).await;
        let checked = async || redis.server.cli(&["ZSCORE", DUE, "cam"]).await.parse::<u64>().unwrap_or(0);
        wait_until(TIMEOUT, async || checked().await > 1).await;
        store.update_heartbeat(&id("cam")).await.unwrap();
        assert_eq!(expired(&mut watch).await.source_addr, SOURCE, "{change}");
    }
}

#[tokio::test]
async fn sweep_detects_an_outage_by_the_shortest_ttl_of_all_processes() {
    let redis = TestRedis::start().await;
    let _long = store_with_ttl(&redis, Duration::from_secs(3_600)).await;
    let short_lived = store_with_ttl(&redis, Duration::from_secs(1)).await;
    wait_until(TIMEOUT, async || metadata(&redis, "brief").await == 1_000).await;
    short_lived.close().await.unwrap();
    let before = metadata(&redis, "swept").await - 12_000;
    redis.server.cli(&["HSET", FEED_METADATA, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(TIMEOUT, async || metadata(&redis, "grace").await > 0).await;
}

#[tokio::test]
async fn ttl_of_a_client_with_never_shorten_is_not_recorded() {
    let redis = TestRedis::start().await;
    let options = redis.options().ttl(Duration::from_secs(30 * 86_400)).ttl_policy(TtlPolicy::NeverShorten);
    let _tool = RedisRegistry::connect(options).await.unwrap();
    wait_until(TIMEOUT, async || metadata(&redis, "swept").await > 0).await;
    assert_eq!(metadata(&redis, "ttl").await, 0);
    let _short = store_with_ttl(&redis, Duration::from_secs(1)).await;
    wait_until(TIMEOUT, async || metadata(&redis, "ttl").await == 1_000).await;
    // A gap that is an outage for the other processes is also an outage for this client.
    let before = metadata(&redis, "swept").await - 12_000;
    redis.server.cli(&["HSET", FEED_METADATA, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(TIMEOUT, async || metadata(&redis, "grace").await > 0).await;
    assert!(metadata(&redis, "grace").await <= metadata(&redis, "swept").await + 1_000);
}

#[tokio::test]
async fn copied_record_survives_a_long_outage_and_its_grace_period() {
    let redis = TestRedis::start().await;
    let store = store_with_ttl(&redis, Duration::from_secs(2)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    store.register(&stream("cam", SOURCE)).await.unwrap();
    let last = registered(&mut watch).await;
    let copy = format!("mirror:streams:\u{1f}last:{}", last.id);
    wait_until(TIMEOUT, async || redis.server.cli(&["EXISTS", &copy]).await.trim() == "1").await;
    // Simulates a long gap between sweeps, at whose end the copy has almost expired.
    let before = metadata(&redis, "swept").await - 3_600_000;
    redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
    redis.server.cli(&["PEXPIRE", &copy, "1500"]).await;
    redis.server.cli(&["HSET", FEED_METADATA, "swept", &before.to_string(), "grace", "0"]).await;
    wait_until(TIMEOUT, async || metadata(&redis, "grace").await > 0).await;
    let grace = metadata(&redis, "grace").await;
    assert_eq!(expired(&mut watch).await.source_addr, last.source_addr);
    assert!(metadata(&redis, "swept").await + 1_000 >= grace, "emitted before the grace period ended");
}

#[tokio::test]
async fn recovered_lease_does_not_hide_the_expiry_of_another_stream() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let lease = store.register_with(&stream("cam", SOURCE), &RegisterOptions::default().lease()).await.unwrap();
    registered(&mut watch).await;
    // Simulates that the expiry of the leased stream was emitted. Afterwards another stream used the id, and the expiry
    // of this other stream is still pending.
    redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
    redis.server.cli(&["ZREM", DUE, "cam"]).await;
    store.register(&stream("cam", OTHER)).await.unwrap();
    let other = registered(&mut watch).await;
    store_copy(&redis, &other).await;
    redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
    let back = RegisterOptions::default().recover(lease.epoch.clone().unwrap());
    store.register_with(&lease.stream, &back).await.unwrap();
    assert_eq!(expired(&mut watch).await.source_addr, OTHER);
    assert_eq!(registered(&mut watch).await.source_addr, SOURCE);
    // A copy of the lease's own record causes no expiry event, even if another program removed the epoch.
    for own in [lease.stream.clone(), stream("cam", SOURCE)] {
        store_copy(&redis, &own).await;
        redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
        store.register_with(&lease.stream, &back).await.unwrap();
        assert_eq!(registered(&mut watch).await.source_addr, SOURCE);
    }
}

#[tokio::test]
async fn sweep_removes_index_entries_without_a_record() {
    let redis = TestRedis::start().await;
    let store = store_with_ttl(&redis, Duration::from_secs(1)).await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let stale: Vec<String> = (0..500).map(|n| format!("stale{n}")).collect();
    redis.server.cli(&[&["SADD", INDEX][..], &stale.iter().map(String::as_str).collect::<Vec<_>>()].concat()).await;
    wait_until(TIMEOUT, async || redis.index().await.is_empty()).await;
    // The stale ids were never registered, so the sweep emits no expiry for them.
    store.register(&stream("cam", SOURCE)).await.unwrap();
    assert_eq!(registered(&mut watch).await.id.as_str(), "cam");
}

#[tokio::test]
async fn large_index_and_slow_network_do_not_delay_an_expiry() {
    const TTL: Duration = Duration::from_secs(4);
    const STALE: usize = 20_000;
    let redis = TestRedis::start().await;
    let proxy = FaultProxy::start(redis.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let _sweeper = RedisRegistry::connect(options.ttl(TTL)).await.unwrap();
    proxy.delay_replies(Duration::from_millis(25));
    let reader = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    let stale: Vec<String> = (0..STALE).map(|n| format!("stale{n}")).collect();
    for stale in stale.chunks(2_000) {
        redis.server.cli(&[&["SADD", INDEX][..], &stale.iter().map(String::as_str).collect::<Vec<_>>()].concat()).await;
    }
    let started = Instant::now();
    let writer = RedisRegistry::connect(redis.options().ttl(Duration::from_secs(3600))).await.unwrap();
    // The sweep must check this stream immediately, at the start of its index scan.
    writer.register(&stream("cam", SOURCE)).await.unwrap();
    drop(writer);
    registered(&mut watch).await;
    wait_until(TIMEOUT, async || redis.index().await.len() < STALE).await;
    redis.server.cli(&["DEL", "mirror:streams:cam"]).await;
    redis.server.cli(&["ZADD", DUE, "1", "cam"]).await;
    let removed = Instant::now();
    let event = next(&mut watch).await;
    assert_eq!((event.as_str(), event.stream().unwrap().id.as_str()), ("expired", "cam"));
    let (late, others) = (removed.elapsed(), redis.index().await.len());
    assert!(late < Duration::from_secs(2), "emitted after {late:?}");
    assert!(others > 0, "the index was scanned within {:?}: the test is inconclusive", started.elapsed());
}

#[tokio::test]
async fn sweep_ignores_metadata_that_is_not_a_number() {
    let redis = TestRedis::start().await;
    let store = store_with_ttl(&redis, Duration::from_secs(1)).await;
    for field in ["swept", "grace", "scanned", "ttl", "confirmed", "brief", "brief_confirmed"] {
        for junk in ["junk", "nan", "-inf", ""] {
            redis.server.cli(&["HSET", FEED_METADATA, field, junk]).await;
        }
        redis.server.cli(&["HSET", FEED_METADATA, field, "junk"]).await;
    }
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    registered(&mut watch).await;
    assert_eq!(expired(&mut watch).await.id, id("cam1"));
}
