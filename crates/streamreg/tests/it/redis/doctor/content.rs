//! Diagnoses and repairs of the index, the keys and the change feed.

use std::time::Duration;

use stream_registry::redis::{Code, DiagnoseOptions, Severity};
use stream_registry::{ErrorKind, RedisRegistry, Registry as _};
use testkit::wait_until;

use super::assert_finds;
use crate::redis::operations::SOURCE;
use crate::redis::{FEED, FEED_METADATA, INDEX, TIMEOUT, TestRedis, id, stream};

/// A server on which no process repairs the index during the test.
async fn unattended(ids: &[&str]) -> TestRedis {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for name in ids {
        store.register(&stream(name, SOURCE)).await.unwrap();
    }
    store.close().await.unwrap();
    redis
}

/// Repairs the index. The sweep of the registry that repairs must not find the faults first.
async fn repair(redis: &TestRedis) -> (u64, u64) {
    let store = redis.store().await;
    let repair = store.repair_index(&DiagnoseOptions::default()).await.unwrap();
    assert!(repair.is_complete);
    store.close().await.unwrap();
    (repair.removed, repair.added)
}

#[tokio::test]
async fn index_is_compared_with_the_records_and_repaired() {
    let redis = unattended(&["cam1", "cam2"]).await;
    let diagnosis = redis.diagnose().await;
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Ok, "each of the 2 ids");
    assert_finds(&diagnosis, Code::NotInIndex, Severity::Ok, "no record is missing");
    redis.server.cli(&["SADD", INDEX, "gone", "away"]).await;
    redis.server.cli(&["SREM", INDEX, "cam2"]).await;
    let diagnosis = redis.diagnose().await;
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Warning, r#"2 ("away", "gone")"#);
    assert_finds(&diagnosis, Code::NotInIndex, Severity::Warning, r#"1 ("cam2")"#);
    let (record, remaining) = (redis.raw_json("cam2").await, redis.pttl("cam2").await);
    assert_eq!(repair(&redis).await, (2, 1));
    assert_eq!(redis.index().await, [b"cam1".to_vec(), b"cam2".to_vec()].into());
    assert!(
        redis.raw_json("cam2").await == record && redis.pttl("cam2").await <= remaining,
        "records stay as they were"
    );
    assert_eq!(repair(&redis).await, (0, 0));
}

#[tokio::test]
async fn repair_changes_neither_unreadable_values_nor_a_read_only_registry() {
    let redis = unattended(&["cam1"]).await;
    redis.put_unindexed("text", "no record", 60_000).await;
    redis.put("broken", "no record", 60_000).await;
    redis.server.cli(&["HSET", "mirror:streams:hash", "a", "b"]).await;
    redis.server.cli(&["SADD", INDEX, "hash"]).await;
    let before = redis.index().await;
    assert_finds(&redis.diagnose().await, Code::Unreadable, Severity::Warning, r#"2 ("broken", "hash")"#);
    assert_eq!(repair(&redis).await, (0, 0));
    assert_eq!(redis.index().await, before);
    redis.server.cli(&["SADD", INDEX, "gone"]).await;
    let reader = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    let error = reader.repair_index(&DiagnoseOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(redis.index().await.contains(&b"gone"[..]));
}

#[tokio::test]
async fn stream_that_has_just_expired_is_not_reported_as_an_index_fault() {
    let redis = TestRedis::start().await;
    let store = RedisRegistry::connect(redis.options().ttl(Duration::from_secs(1))).await.unwrap();
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    // Without a sweep, the id stays in the index.
    store.close().await.unwrap();
    wait_until(TIMEOUT, async || redis.raw_json("cam1").await.is_none()).await;
    assert!(redis.index().await.contains(&b"cam1"[..]));
    assert_finds(&redis.diagnose().await, Code::WithoutRecord, Severity::Ok, "has just expired");
}

#[tokio::test]
async fn keys_without_a_time_to_live_are_reported() {
    let redis = unattended(&["cam1"]).await;
    assert_finds(&redis.diagnose().await, Code::WithoutTtl, Severity::Ok, "has a time to live");
    redis.server.cli(&["PERSIST", "mirror:streams:cam1"]).await;
    redis.server.cli(&["SET", "mirror:streams:\u{1f}end:cam2", "epoch"]).await;
    assert_finds(&redis.diagnose().await, Code::WithoutTtl, Severity::Warning, "keys that never expire: 2");
    // A write gives the record a time to live again.
    redis.store().await.update_heartbeat(&id("cam1")).await.unwrap();
    assert_finds(&redis.diagnose().await, Code::WithoutTtl, Severity::Warning, "keys that never expire: 1");
}

#[tokio::test]
async fn registry_with_a_nested_prefix_is_reported_and_prevents_the_repair() {
    let redis = unattended(&["cam1"]).await;
    let nested = RedisRegistry::connect(redis.options().prefix("mirror:streams:eu:")).await.unwrap();
    nested.register(&stream("cam2", SOURCE)).await.unwrap();
    nested.close().await.unwrap();
    assert_finds(&redis.diagnose().await, Code::NestedPrefix, Severity::Error, "mirror:streams:eu:");
    let store = redis.store().await;
    let error = store.repair_index(&DiagnoseOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(redis.index().await, [b"cam1".to_vec()].into());
}

#[tokio::test]
async fn diagnosis_reports_that_it_reached_the_key_limit() {
    let redis = unattended(&[]).await;
    redis.server.cli(&["EVAL", "for i = 1, 3000 do redis.call('SET', 'other' .. i, '1') end", "0"]).await;
    let reader = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    for (limit, severity) in [(1_000, Some(Severity::Unchecked)), (100_000, None)] {
        let diagnosis = reader.diagnose(&DiagnoseOptions::default().max_keys(limit)).await.unwrap();
        let found = diagnosis.findings.iter().find(|finding| finding.code == Code::KeyLimit);
        assert_eq!(found.map(|finding| finding.severity), severity, "{limit}");
        let is_sure = diagnosis.findings.iter().any(|finding| finding.code == Code::NotInIndex);
        assert_eq!(is_sure, severity.is_none(), "no claim about keys that were not read");
    }
}

#[tokio::test]
async fn diagnosis_reports_a_damaged_feed_and_a_stopped_sweep() {
    let redis = unattended(&["cam1", "cam2"]).await;
    assert_finds(&redis.diagnose().await, Code::Feed, Severity::Ok, "has 2 events");
    redis.server.cli(&["HSET", FEED_METADATA, "swept", "1"]).await;
    assert_finds(&redis.diagnose().await, Code::Sweep, Severity::Warning, "has looked for expired streams for");
    redis.server.cli(&["HDEL", FEED_METADATA, "swept"]).await;
    assert_finds(&redis.diagnose().await, Code::Sweep, Severity::Warning, "has ever looked");
    redis.server.cli(&["XADD", FEED, "*", "stray", "1"]).await;
    assert_finds(&redis.diagnose().await, Code::Feed, Severity::Warning, "does not name its last event");
    redis.server.cli(&["SET", FEED, "text"]).await;
    assert_finds(&redis.diagnose().await, Code::Feed, Severity::Error, "another type");
    redis.server.cli(&["SET", INDEX, "text"]).await;
    assert_finds(&redis.diagnose().await, Code::WithoutRecord, Severity::Error, "another type");
}
