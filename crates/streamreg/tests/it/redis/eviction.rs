//! Tests the warning of an eviction policy that may delete live streams.

use std::sync::Arc;

use stream_registry::redis::RedisOptions;
use stream_registry::{RedisRegistry, Registry};
use streamreg::server::ServeOptions;
use testkit::CapturedLog;

use super::{PASSWORD, TestRedis, permissions};
use crate::http::kit::Server;

fn warnings(log: &CapturedLog) -> usize {
    log.text().lines().filter(|line| line.contains(" WARN ") && line.contains("maxmemory-policy")).count()
}

async fn set_policy(redis: &TestRedis, policy: &str) {
    assert_eq!(redis.server.cli(&["CONFIG", "SET", "maxmemory-policy", policy]).await, "OK");
}

// This test runs on a single thread, because the log is captured per thread.
#[tokio::test]
async fn dangerous_eviction_policy_is_reported_until_it_is_corrected() {
    let log = CapturedLog::start();
    let redis = TestRedis::start().await;
    set_policy(&redis, "noeviction").await;
    assert_eq!(redis.store().await.info().warning, None);
    assert_eq!(warnings(&log), 0);
    set_policy(&redis, "allkeys-lru").await;
    let store = Arc::new(redis.store().await);
    let warning = store.info().warning.unwrap();
    assert!(warning.contains("is allkeys-lru") && warning.ends_with("set it to noeviction"), "{warning}");
    let server = Server::start(store.clone(), ServeOptions::default()).await;
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["warning"]), (200, &warning.clone().into()), "{}", ready.body);
    assert_eq!(server.get("/api/v1/info").await.json()["warning"], *warning);
    assert_eq!(server.client().await.info().warning.as_deref(), Some(&*warning));
    assert_eq!(warnings(&log), 1, "the warning is logged once");
    set_policy(&redis, "noeviction").await;
    assert_eq!(server.get("/readyz").await.body, r#"{"status":"ok"}"#);
    assert_eq!((store.info().warning, warnings(&log)), (None, 1));
}

#[tokio::test]
async fn refused_eviction_policy_is_no_error_and_is_read_only_once() {
    let redis = TestRedis::start().await;
    set_policy(&redis, "allkeys-lru").await;
    redis.user("ingest", &permissions::rules("server").join(" ")).await;
    let options: RedisOptions = redis.server.url_as("ingest", PASSWORD).parse().unwrap();
    let store = RedisRegistry::connect(options).await.unwrap();
    assert_eq!(store.info().warning, None);
    store.ping().await.unwrap();
    let calls = redis.server.cli(&["INFO", "commandstats"]).await;
    let refused = calls.lines().find(|line| line.starts_with("cmdstat_config|get:")).unwrap();
    assert!(refused.contains("rejected_calls=1"), "{refused}");
}
