//! Checks that lists show current records and cause little load on the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use stream_registry::mock::MockRegistry;
use stream_registry::registry::Operation;
use stream_registry::{MemoryRegistry, Registry, StreamStats, connect};
use streamreg::server::ServeOptions;
use testkit::{FaultProxy, RedisServer};

use super::kit::{LIST, PATIENCE, Server, count, id, stream, wait_for_view};

fn stats(bitrate: u64) -> StreamStats {
    StreamStats { bitrate: Some(bitrate), ..StreamStats::default() }
}

/// Registers three streams.
async fn register_three(registry: &dyn Registry) {
    for cam in ["cam1", "cam2", "cam3"] {
        registry.register(&stream(cam)).await.unwrap();
    }
}

/// Starts a server on a mock store with three streams. Waits until the server takes lists from its view.
async fn mock() -> (Server, Arc<MockRegistry>) {
    let registry = Arc::new(MockRegistry::new());
    register_three(&*registry).await;
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    testkit::wait_until(PATIENCE, async || {
        registry.clear_calls();
        assert_eq!(server.get(LIST).await.status, 200);
        list_pages(&registry) == 0
    })
    .await;
    (server, registry)
}

/// Returns how many list pages the server has read from a mock store.
fn list_pages(registry: &MockRegistry) -> usize {
    registry.calls().iter().filter(|call| call.operation == Operation::ListPage).count()
}

#[tokio::test]
async fn list_shows_statistics_written_directly_to_the_store() {
    let (server, registry) = mock().await;
    for bitrate in 1..20 {
        registry.update_stats(&id("cam2"), &stats(bitrate)).await.unwrap();
        let page = server.get(&format!("{LIST}?search=cam2")).await.json();
        assert_eq!(page["streams"][0]["bitrate"], json!(bitrate));
    }
}

#[tokio::test]
async fn list_and_summary_include_the_latest_statistics() {
    let (server, _registry) = mock().await;
    for (round, cam) in ["cam2", "cam3", "cam1", "cam3"].into_iter().enumerate() {
        let bitrate = 1_000 * (round + 1);
        let body = format!(r#"{{"bytes_received":1,"packets_received":1,"packets_lost":0,"bitrate":{bitrate}}}"#);
        assert_eq!(server.json("PUT", &format!("{LIST}/{cam}/stats"), &body).await.status, 204);
        let first = server.get(&format!("{LIST}?sort=-bitrate&limit=1")).await.json();
        assert_eq!((&first["streams"][0]["id"], &first["total"]), (&json!(cam), &json!(3)));
        let summary = server.get("/api/v1/summary?by=type").await.json();
        assert!(summary["bitrate"].as_u64().unwrap() >= bitrate as u64, "{summary}");
    }
}

#[tokio::test]
async fn page_is_full_when_another_program_deletes_streams() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    for n in 0..40 {
        registry.register(&stream(&format!("cam{n:02}"))).await.unwrap();
    }
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    // Another program deletes these records, so no event reports their removal.
    for n in 0..25 {
        redis.cli(&["DEL", &format!("mirror:streams:cam{n:02}")]).await;
    }
    let page = server.get(&format!("{LIST}?limit=3")).await.json();
    let ids: Vec<_> = page["streams"].as_array().unwrap().iter().map(|stream| stream["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["cam25", "cam26", "cam27"]);
    let rest = server.get(&format!("{LIST}?cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((rest["streams"].as_array().unwrap().len(), &rest["total"]), (12, &json!(15)));
}

#[tokio::test]
async fn lists_do_not_scan_the_store_when_heartbeats_are_old() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    // Another program's streams have an old heartbeat, but their TTL is a day.
    let mut old = stream("old");
    old.last_heartbeat = "2026-01-01T00:00:00Z".parse().unwrap();
    let fill = "for n = 1, 2000 do
        redis.call('SET', 'mirror:streams:cam' .. n, ARGV[1], 'EX', 86400)
        redis.call('SADD', 'mirror:streams:active', 'cam' .. n)
    end";
    redis.cli(&["EVAL", fill, "0", &old.to_json()]).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    let before = count(&redis, "sscan").await;
    for _ in 0..20 {
        let page = server.get(&format!("{LIST}?limit=10")).await.json();
        assert_eq!((page["streams"].as_array().unwrap().len(), &page["total"]), (10, &json!(2_000)));
        assert_eq!(server.get("/api/v1/summary").await.json()["total"], json!(2_000));
    }
    // The view may reconcile once during these requests. A full scan for each of the 40 requests would need far more
    // SSCAN calls.
    let scans = count(&redis, "sscan").await - before;
    assert!(scans < 20, "{scans} SSCAN calls for 40 lists");
}

#[tokio::test]
async fn list_is_sorted_and_paged_when_the_view_is_too_old() {
    let registry = Arc::new(MemoryRegistry::new());
    register_three(&*registry).await;
    registry.update_stats(&id("cam2"), &stats(7)).await.unwrap();
    let options = ServeOptions::default().max_view_age(Duration::ZERO);
    let server = Server::start(registry, options).await;
    let page = server.get(&format!("{LIST}?sort=-bitrate&limit=2")).await.json();
    let ids: Vec<_> = page["streams"].as_array().unwrap().iter().map(|stream| stream["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &page["total"]), (vec!["cam2", "cam3"], &json!(3)));
}

#[tokio::test]
async fn summary_includes_statistics_written_right_after_registration() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    register_three(&*registry).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    for n in 1..=30_u64 {
        let body = format!(r#"{{"id":"new{n}","type":"rtp","source_addr":"h:1"}}"#);
        assert_eq!(server.json("POST", LIST, &body).await.status, 201);
        // At this point, the view may not have received the event of the registration.
        let stats = r#"{"bytes_received":1,"packets_received":1,"packets_lost":0,"bitrate":10}"#;
        assert_eq!(server.json("PUT", &format!("{LIST}/new{n}/stats"), stats).await.status, 204);
        assert_eq!(server.get("/api/v1/summary?type=rtp").await.json()["bitrate"], json!(10 * n));
    }
}

#[tokio::test]
async fn concurrent_lists_share_updates_of_the_view() {
    let (server, registry) = mock().await;
    registry.delay(Operation::ListPage, Duration::from_millis(50));
    registry.clear_calls();
    let write = async |n: usize| {
        let body = format!(r#"{{"status":"{}"}}"#, if n.is_multiple_of(2) { "active" } else { "paused" });
        assert_eq!(server.json("PUT", &format!("{LIST}/cam1/status"), &body).await.status, 204);
    };
    let writer = async {
        for n in 0.. {
            write(n).await;
        }
    };
    let lists = (0..20).map(async |_| {
        // All requests start together. So when the first request updates the view, the other requests are already
        // waiting.
        assert_eq!(server.get(LIST).await.status, 200);
    });
    write(1).await;
    tokio::select! {
        () = writer => {}
        _ = futures_util::future::join_all(lists) => {}
    }
    let updates = list_pages(&registry);
    assert!((1..10).contains(&updates), "20 lists updated the view {updates} times");
}

#[tokio::test]
async fn lists_come_from_the_view_when_the_store_rejects_reads() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    register_three(&*registry).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    // Another program replaces the index with a string. From now on, writes to the store fail, and so does listing it.
    redis.cli(&["SET", "mirror:streams:active", "x"]).await;
    let status = server.json("PUT", &format!("{LIST}/cam1/status"), r#"{"status":"active"}"#).await.status;
    for path in [LIST, "/api/v1/summary"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status, &answer.json()["total"]),
            (200, &json!(3)),
            "{path} after {status}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn list_reconciles_the_view_when_the_feed_is_unreadable() {
    let redis = RedisServer::start().await;
    redis.cli(&["ACL", "SETUSER", "node", "on", ">secret", "~*", "&*", "+@all", "-xread"]).await;
    let registry = connect(&redis.url_as("node", "secret")).await.unwrap();
    register_three(&*registry).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    for status in ["active", "paused"] {
        let body = format!(r#"{{"status":"{status}"}}"#);
        assert_eq!(server.json("PUT", &format!("{LIST}/cam1/status"), &body).await.status, 204);
        let started = Instant::now();
        assert_eq!(server.get(&format!("{LIST}?status={status}")).await.json()["total"], json!(1));
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_millis(900), "the list waited {elapsed:?} for events that never arrive");
    }
}

#[tokio::test]
async fn lists_wait_at_most_two_seconds_for_a_slow_store() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.addr()).await;
    let registry = connect(&format!("redis://{}", proxy.addr())).await.unwrap();
    for n in 0..3_000 {
        registry.register(&stream(&format!("cam{n}"))).await.unwrap();
    }
    let server = Server::start(registry, ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    proxy.delay_replies(Duration::from_millis(700));
    server.json("PUT", &format!("{LIST}/cam1/status"), r#"{"status":"active"}"#).await;
    for path in [&format!("{LIST}?limit=5"), "/api/v1/summary"] {
        let started = Instant::now();
        let answer = server.get(path).await;
        let elapsed = started.elapsed();
        assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(3_000)), "{path}: {}", answer.body);
        assert!(elapsed < Duration::from_secs(4), "{path} took {elapsed:?}");
    }
}

#[tokio::test]
async fn page_has_no_duplicate_when_a_stream_moves_during_the_read() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    for n in 0..30 {
        registry.register(&stream(&format!("cam{n:02}"))).await.unwrap();
        registry.update_stats(&id(&format!("cam{n:02}")), &stats(n)).await.unwrap();
    }
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    // Makes two changes that emit no event: ten streams are removed, and the eleventh stream moves to the end of the
    // sort order.
    for n in 0..10 {
        redis.cli(&["DEL", &format!("mirror:streams:cam{n:02}")]).await;
    }
    registry.update_stats(&id("cam10"), &stats(1_000)).await.unwrap();
    let page = server.get(&format!("{LIST}?sort=bitrate&limit=15")).await.json();
    let shown: Vec<_> = page["streams"].as_array().unwrap().iter().map(|stream| stream["id"].to_string()).collect();
    let unique: BTreeSet<_> = shown.iter().collect();
    assert_eq!((shown.len(), unique.len()), (15, 15), "{shown:?}");
}

#[tokio::test]
async fn lists_use_the_view_again_after_redis_was_suspended_under_load() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    register_three(&*registry).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    wait_for_view(&server, &redis).await;
    // The view cannot catch up with this write while Redis is suspended.
    assert_eq!(server.json("PUT", &format!("{LIST}/cam1/status"), r#"{"status":"active"}"#).await.status, 204);
    redis.pause();
    let slow = server.get(LIST).await;
    let summary = server.get("/api/v1/summary").await;
    redis.resume();
    // The view may lack the last write, but it is the best available answer.
    assert_eq!((slow.status, &slow.json()["total"]), (200, &json!(3)), "{}", slow.body);
    assert_eq!((summary.status, &summary.json()["total"]), (200, &json!(3)), "{}", summary.body);
    testkit::wait_until(PATIENCE, async || {
        let scans = count(&redis, "sscan").await;
        assert_eq!(server.get(LIST).await.status, 200);
        // This pause is shorter than the server's own pause after a failure.
        tokio::time::sleep(Duration::from_millis(200)).await;
        count(&redis, "sscan").await == scans
    })
    .await;
}
