//! Lists show current records, and what they cost the store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stream_registry::{MemoryRegistry, Registry, StreamStats, connect};
use streamreg::server::ServeOptions;
use testkit::RedisServer;

use super::kit::{PATIENCE, Server, id, stream};

const LIST: &str = "/api/v1/streams";

fn stats(bitrate: u64) -> StreamStats {
    StreamStats { bitrate, ..StreamStats::default() }
}

async fn three(registry: &dyn Registry) {
    for cam in ["cam1", "cam2", "cam3"] {
        registry.register(&stream(cam)).await.unwrap();
    }
}

/// Waits until lists come from the view: their cursors are its own then.
async fn from_view(server: &Server) {
    testkit::wait_until(PATIENCE, async || {
        let page = server.get(&format!("{LIST}?limit=1")).await.json();
        page["next_cursor"].as_str().is_some_and(|cursor| cursor.starts_with("v."))
    })
    .await;
}

/// How often a command was run, by the server's own count.
async fn count(redis: &RedisServer, command: &str) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]).await;
    let line =
        stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn list_shows_statistics_that_came_by_another_path() {
    let registry = Arc::new(MemoryRegistry::new());
    three(&*registry).await;
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    from_view(&server).await;
    for bitrate in 1..20 {
        registry.update_stats(&id("cam2"), &stats(bitrate)).await.unwrap();
        let page = server.get(&format!("{LIST}?search=cam2")).await.json();
        assert_eq!(page["streams"][0]["bitrate"], json!(bitrate));
    }
}

#[tokio::test]
async fn statistics_through_the_server_decide_the_order_and_the_sums_of_its_next_list() {
    let registry = Arc::new(MemoryRegistry::new());
    three(&*registry).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    from_view(&server).await;
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
async fn page_is_filled_up_when_streams_on_it_are_gone_from_the_store() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    for n in 0..40 {
        registry.register(&stream(&format!("cam{n:02}"))).await.unwrap();
    }
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    from_view(&server).await;
    // No event reports what another program deletes.
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
async fn old_heartbeats_of_a_longer_ttl_cost_lists_no_walk_through_the_store() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    // Another program's streams: last written an hour ago, and live for a day.
    let mut old = stream("old");
    old.last_heartbeat = "2026-01-01T00:00:00Z".parse().unwrap();
    let fill = "for n = 1, 2000 do
        redis.call('SET', 'mirror:streams:cam' .. n, ARGV[1], 'EX', 86400)
        redis.call('SADD', 'mirror:streams:active', 'cam' .. n)
    end";
    redis.cli(&["EVAL", fill, "0", &old.to_json()]).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    from_view(&server).await;
    let before = count(&redis, "sscan").await;
    for _ in 0..20 {
        let page = server.get(&format!("{LIST}?limit=10")).await.json();
        assert_eq!((page["streams"].as_array().unwrap().len(), &page["total"]), (10, &json!(2_000)));
        assert_eq!(server.get("/api/v1/summary").await.json()["total"], json!(2_000));
    }
    // A reconciliation of the view may fall into that time; each of 40 lists would have walked through 2 000 streams.
    let walked = count(&redis, "sscan").await - before;
    assert!(walked < 20, "{walked} SSCAN for 40 lists");
}

#[tokio::test]
async fn list_from_the_store_answers_the_same_query() {
    let registry = Arc::new(MemoryRegistry::new());
    three(&*registry).await;
    registry.update_stats(&id("cam2"), &stats(7)).await.unwrap();
    let options = ServeOptions { max_view_age: Duration::ZERO, ..ServeOptions::default() };
    let server = Server::start(registry, options).await;
    let page = server.get(&format!("{LIST}?sort=-bitrate&limit=2")).await.json();
    let ids: Vec<_> = page["streams"].as_array().unwrap().iter().map(|stream| stream["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &page["total"]), (vec!["cam2", "cam3"], &json!(3)));
}

#[tokio::test]
async fn statistics_right_after_a_registration_are_in_the_next_summary() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    three(&*registry).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    from_view(&server).await;
    for n in 1..=30_u64 {
        let body = format!(r#"{{"id":"new{n}","type":"rtp","source_addr":"h:1"}}"#);
        assert_eq!(server.json("POST", LIST, &body).await.status, 201);
        // The event of the registration may not have reached the view yet.
        let stats = r#"{"bytes_received":1,"packets_received":1,"packets_lost":0,"bitrate":10}"#;
        assert_eq!(server.json("PUT", &format!("{LIST}/new{n}/stats"), stats).await.status, 204);
        assert_eq!(server.get("/api/v1/summary?type=rtp").await.json()["bitrate"], json!(10 * n));
    }
}
