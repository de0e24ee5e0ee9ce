//! Faults of one server: its limits, its settings, its speed, and the rights of the user.

use std::time::Duration;

use stream_registry::redis::{Code, DiagnoseOptions, RedisOptions, Severity};
use stream_registry::{RedisRegistry, Registry as _};
use testkit::{FaultProxy, RedisServer, ServerKind, wait_until};

use super::{assert_finds, diagnose, worst};
use crate::redis::operations::SOURCE;
use crate::redis::{FEED_METADATA, PASSWORD, TIMEOUT, TestRedis, permissions, stream};

#[tokio::test]
async fn healthy_server_has_neither_warnings_nor_unchecked_parts() {
    let redis = TestRedis::with(RedisServer::builder().config("appendonly yes")).await;
    let store = redis.store().await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    wait_until(TIMEOUT, async || redis.server.cli(&["HEXISTS", FEED_METADATA, "swept"]).await == "1").await;
    let before = redis.dump().await;
    let diagnosis = redis.diagnose().await;
    let serious: Vec<_> = diagnosis.findings.iter().filter(|finding| finding.severity > Severity::Ok).collect();
    assert!(serious.is_empty(), "{serious:#?}");
    let version = &worst(&diagnosis, Code::Version).message;
    assert!(version.starts_with(ServerKind::default().product()), "{version}");
    assert_finds(&diagnosis, Code::LocalClock, Severity::Ok, "the clock of this machine");
    let address = redis.server.addr().to_string();
    assert_eq!(worst(&diagnosis, Code::Version).server.as_deref(), Some(&*address));
    assert_eq!(before.keys().collect::<Vec<_>>(), redis.dump().await.keys().collect::<Vec<_>>(), "nothing is written");
}

#[tokio::test]
async fn diagnosis_reports_an_eviction_policy_and_evicted_keys() {
    let redis = TestRedis::start().await;
    redis.set("maxmemory-policy", "allkeys-lru").await;
    assert_finds(&redis.diagnose().await, Code::EvictionPolicy, Severity::Warning, "is allkeys-lru");
    redis.set("maxmemory", "3mb").await;
    redis.server.cli(&["EVAL", "for i = 1, 40000 do redis.call('SET', 'key' .. i, ('x'):rep(200)) end", "0"]).await;
    assert_finds(&redis.diagnose().await, Code::EvictionPolicy, Severity::Error, "has deleted");
}

#[tokio::test]
async fn diagnosis_reports_memory_that_is_almost_full_or_full() {
    let redis = TestRedis::start().await;
    assert_finds(&redis.diagnose().await, Code::Memory, Severity::Ok, "sets no limit");
    let info = redis.server.cli(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse::<u64>().unwrap();
    redis.set("maxmemory", &(used * 11 / 10).to_string()).await;
    assert_finds(&redis.diagnose().await, Code::Memory, Severity::Warning, "of at most");
    redis.set("maxmemory", "1000").await;
    assert_finds(&redis.diagnose().await, Code::Memory, Severity::Error, "rejects new streams");
}

#[tokio::test]
async fn diagnosis_reports_connections_that_are_almost_used_up() {
    let redis = TestRedis::start().await;
    let store = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    // The store opens both connections before the limit is reached.
    assert_finds(
        &store.diagnose(&DiagnoseOptions::default()).await.unwrap(),
        Code::Connections,
        Severity::Ok,
        "of at most",
    );
    redis.set("maxclients", "3").await;
    let diagnosis = store.diagnose(&DiagnoseOptions::default()).await.unwrap();
    assert_finds(&diagnosis, Code::Connections, Severity::Warning, "of at most 3");
}

#[tokio::test]
async fn diagnosis_reports_missing_persistence() {
    let redis = TestRedis::start().await;
    assert_finds(&redis.diagnose().await, Code::Persistence, Severity::Warning, "saves nothing");
    redis.set("save", "3600 1").await;
    assert_finds(&redis.diagnose().await, Code::Persistence, Severity::Warning, "only snapshots");
    redis.set("appendonly", "yes").await;
    assert_finds(&redis.diagnose().await, Code::Persistence, Severity::Ok, "one second");
    redis.set("appendfsync", "no").await;
    assert_finds(&redis.diagnose().await, Code::Persistence, Severity::Warning, "appendfsync is no");
}

#[tokio::test]
async fn diagnosis_reports_a_snapshot_that_failed() {
    let redis = TestRedis::start().await;
    assert_finds(&redis.diagnose().await, Code::LastSave, Severity::Ok, "no save has failed");
    // Redis cannot replace a folder with its snapshot.
    std::fs::create_dir(redis.server.folder().join("dump.rdb")).unwrap();
    redis.server.cli(&["BGSAVE"]).await;
    let failed = async || redis.server.cli(&["INFO", "persistence"]).await.contains("rdb_last_bgsave_status:err");
    wait_until(TIMEOUT, failed).await;
    assert_finds(&redis.diagnose().await, Code::LastSave, Severity::Warning, "the last save to disk failed");
    redis.set("save", "3600 1").await;
    assert_finds(&redis.diagnose().await, Code::LastSave, Severity::Error, "Redis rejects writes");
}

#[tokio::test]
async fn diagnosis_reports_our_slow_calls_but_not_those_of_others() {
    let redis = TestRedis::start().await;
    redis.set("slowlog-log-slower-than", "0").await;
    redis.server.cli(&["GET", "other"]).await;
    redis.set("slowlog-log-slower-than", "1000000").await;
    assert_finds(&redis.diagnose().await, Code::SlowLog, Severity::Ok, "slow commands is a call");
    redis.set("slowlog-log-slower-than", "0").await;
    redis.store().await.register(&stream("cam1", SOURCE)).await.unwrap();
    redis.set("slowlog-log-slower-than", "1000000").await;
    assert_finds(&redis.diagnose().await, Code::SlowLog, Severity::Warning, "are calls of this registry");
}

#[tokio::test]
async fn diagnosis_reports_a_slow_network() {
    let redis = TestRedis::start().await;
    let proxy = FaultProxy::start(redis.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    assert_finds(&diagnose(options.clone()).await, Code::Latency, Severity::Ok, "PING takes");
    proxy.delay_replies(Duration::from_millis(60));
    assert_finds(&diagnose(options).await, Code::Latency, Severity::Warning, "in the median of 20");
}

#[tokio::test]
async fn diagnosis_with_narrow_rights_says_what_it_did_not_check() {
    let redis = TestRedis::start().await;
    redis.store().await.register(&stream("cam1", SOURCE)).await.unwrap();
    redis.user("reader", &permissions::rules("reader").join(" ")).await;
    let diagnosis = diagnose(redis.server.url_as("reader", PASSWORD).parse().unwrap()).await;
    assert_eq!(diagnosis.worst(), Severity::Ok, "{diagnosis:#?}");
    for (code, right) in [
        (Code::Info, "grant +info"),
        (Code::Settings, "grant +config|get"),
        (Code::LocalClock, "grant +time"),
        (Code::NotInIndex, "+scan"),
        (Code::Feed, "+xlen"),
        (Code::SlowLog, "grant +slowlog|get"),
    ] {
        assert_finds(&diagnosis, code, Severity::Unchecked, "not checked: ");
        assert!(worst(&diagnosis, code).remedy.as_ref().unwrap().contains(right), "{code}");
    }
    // A reader may check the index itself, and the speed.
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Ok, "each of the 1 ids");
    assert_finds(&diagnosis, Code::Latency, Severity::Ok, "PING takes");
    redis.user("nobody", "resetkeys").await;
    let diagnosis = diagnose(redis.server.url_as("nobody", PASSWORD).parse().unwrap()).await;
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Unchecked, "not checked: the index");
    assert_finds(&diagnosis, Code::Latency, Severity::Unchecked, "not checked: the latency");
    assert!(!format!("{diagnosis:?}").contains(PASSWORD));
}

#[tokio::test]
async fn renamed_commands_leave_parts_unchecked() {
    let server = RedisServer::builder().config("rename-command SLOWLOG \"\"").config("rename-command CONFIG \"\"");
    let diagnosis = TestRedis::with(server).await.diagnose().await;
    for code in [Code::SlowLog, Code::Settings] {
        assert_finds(&diagnosis, code, Severity::Unchecked, "not checked: ");
        assert!(worst(&diagnosis, code).remedy.as_ref().unwrap().contains("rename-command"), "{code}");
    }
}

#[tokio::test]
async fn newer_servers_are_diagnosed_completely() {
    for (kind, version) in [(ServerKind::Redis8, "Redis 8."), (ServerKind::Valkey8, "Valkey 8.")] {
        let redis = TestRedis::with(RedisServer::builder().server(kind).config("appendonly yes")).await;
        let diagnosis = redis.diagnose().await;
        assert_finds(&diagnosis, Code::Version, Severity::Ok, version);
        let serious: Vec<_> = diagnosis.findings.iter().filter(|finding| finding.severity > Severity::Ok).collect();
        assert!(serious.is_empty(), "{version}: {serious:#?}");
        redis.set("slowlog-log-slower-than", "0").await;
        redis.store().await.register(&stream("cam1", SOURCE)).await.unwrap();
        assert_finds(&redis.diagnose().await, Code::SlowLog, Severity::Warning, "are calls of this registry");
    }
}
