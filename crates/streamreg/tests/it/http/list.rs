//! Tests filters, sort orders and pages of lists. Also tests that a list shows the server's own writes at once.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stream_registry::redis::RedisOptions;
use stream_registry::{
    MemoryRegistry, RedisRegistry, Registry, Stream, StreamStats, StreamStatus, StreamType, connect,
};
use streamreg::server::ServeOptions;
use testkit::RedisServer;

use super::kit::{BlockingRegistry, CAM, LIST, PATIENCE, Response, Server, id, stream, wait_for_view};

fn ids(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let streams = answer.json()["streams"].as_array().unwrap().clone();
    streams.iter().map(|stream| stream["id"].as_str().unwrap().to_owned()).collect()
}

/// Registers sixty streams with various types, nodes, labels and statuses.
async fn fill(registry: &dyn Registry) {
    for n in 0..60_u64 {
        let kind = if n % 2 == 0 { StreamType::Srt } else { StreamType::Rtp };
        let mut stream = Stream::new(id(&format!("cam{n:02}")), kind, "203.0.113.7:40112");
        stream.node = (n % 3 > 0).then(|| format!("ingest-{}", n % 3));
        stream.labels = [("tier".to_owned(), (n % 4).to_string()), ("site".to_owned(), "North Pole".to_owned())].into();
        if n % 5 == 0 {
            stream.status = StreamStatus::Active;
        }
        stream.bitrate = n % 7;
        registry.register(&stream).await.unwrap();
    }
}

/// Asserts that filters, sort orders and pages return the expected streams. Call `fill` first.
async fn filters_and_pages(server: &Server) {
    for (query, count) in [
        ("", 60),
        ("status=active", 12),
        ("type=srt", 30),
        ("type=srt&status=active", 6),
        ("node=ingest-1", 20),
        ("node=", 20),
        ("label=tier=3", 15),
        ("label=tier=3&label=site=North%20Pole", 15),
        ("label=tier=3&label=tier=2", 0),
        ("label=site=north+pole", 0),
        ("search=north+POLE", 60),
        ("search=CAM5", 10),
        ("search=ingest-2", 20),
        ("status=gone", 0),
    ] {
        let answer = server.get(&format!("{LIST}?{query}")).await;
        assert_eq!((ids(&answer).len(), &answer.json()["total"]), (count, &json!(count)), "{query}");
        assert_eq!(answer.json()["next_cursor"], Value::Null);
    }
    for sort in ["id", "-id", "bitrate", "-bitrate", "node", "-created_at", "type", "-status"] {
        let expected = ids(&server.get(&format!("{LIST}?search=cam&sort={sort}")).await);
        assert_eq!(expected.len(), 60);
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = server.get(&format!("{LIST}?search=cam&sort={sort}&limit=7{cursor}")).await;
            seen.extend(ids(&page));
            let page = page.json();
            assert_eq!(page["total"], 60);
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(page["streams"].as_array().unwrap().len() == 7);
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, expected, "{sort}");
    }
    let by_bitrate = server.get(&format!("{LIST}?sort=-bitrate")).await.json();
    let rates = by_bitrate["streams"].as_array().unwrap().iter().map(|stream| stream["bitrate"].as_u64().unwrap());
    assert!(rates.collect::<Vec<_>>().is_sorted_by(|one, other| one >= other));
}

#[tokio::test]
async fn list_of_named_streams_returns_those_that_are_live() {
    let (server, registry) = Server::memory().await;
    for text in ["cam1", "site/cam 2", "a,b"] {
        registry.register(&stream(text)).await.unwrap();
    }
    let answer = server.get(&format!("{LIST}?id=a%2Cb&id=gone&id=site%2Fcam%202")).await;
    assert_eq!(ids(&answer), ["a,b", "site/cam 2"]);
    let answer = answer.json();
    assert_eq!(
        (&answer["total"], &answer["next_cursor"], &answer["revision"]),
        (&json!(2), &Value::Null, &Value::Null)
    );
    // The records are the present ones, whatever the view of the server contains.
    registry.update_stats(&id("cam1"), &StreamStats { bitrate: Some(7), ..Default::default() }).await.unwrap();
    assert_eq!(server.get(&format!("{LIST}?id=cam1")).await.json()["streams"][0]["bitrate"], 7);

    let hundred = (0..100).map(|n| format!("id=cam{n}")).collect::<Vec<_>>().join("&");
    assert_eq!(ids(&server.get(&format!("{LIST}?{hundred}")).await), ["cam1"]);
    for (query, expected) in [
        (format!("{hundred}&id=cam100"), "too many ids; send at most 100 in one request"),
        ("id=cam1&limit=5".to_owned(), "id and limit are mutually exclusive; send one of them"),
        ("status=active&id=cam1".to_owned(), "id and status are mutually exclusive; send one of them"),
        ("id=".to_owned(), "the stream id is empty"),
        ("id=%FF".to_owned(), "the query is not percent-encoded UTF-8"),
    ] {
        let problem = server.get(&format!("{LIST}?{query}")).await.problem(400, "invalid");
        assert!(problem["detail"].as_str().unwrap().starts_with(expected), "{query}: {problem}");
    }
    // The metrics of single streams take the other parameters of a list.
    server.get("/metrics/streams?id=cam1").await.problem(400, "invalid");
}

#[tokio::test]
async fn list_is_filtered_sorted_and_paged() {
    let (server, registry) = Server::memory().await;
    fill(&*registry).await;
    server.json("POST", LIST, r#"{"id":"cam99","type":"srt","source_addr":"h:1"}"#).await;
    server.request("DELETE", &format!("{LIST}/cam99"), &[], "").await;
    filters_and_pages(&server).await;
}

#[tokio::test]
async fn list_is_filtered_sorted_and_paged_when_the_store_has_no_feed() {
    // Without a feed, the view is only updated at intervals, so lists come from the store.
    let store = Arc::new(BlockingRegistry::default());
    fill(&store.inner).await;
    let server = Server::start(store.clone(), ServeOptions::default()).await;
    server.json("POST", LIST, r#"{"id":"cam99","type":"srt","source_addr":"h:1"}"#).await;
    server.request("DELETE", &format!("{LIST}/cam99"), &[], "").await;
    filters_and_pages(&server).await;
}

#[tokio::test]
async fn cursor_survives_changes_and_is_bound_to_its_sort_order() {
    let (server, registry) = Server::memory().await;
    fill(&*registry).await;
    server.json("POST", LIST, r#"{"id":"cam60","type":"srt","source_addr":"h:1"}"#).await;
    let first = server.get(&format!("{LIST}?limit=10&sort=-bitrate")).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    // The stream at the cursor is unregistered, and another stream is registered.
    let last = ids(&first).pop().unwrap();
    server.request("DELETE", &format!("{LIST}/{last}"), &[], "").await;
    server.json("POST", LIST, r#"{"id":"cam61","type":"srt","source_addr":"h:1"}"#).await;
    let rest = server.get(&format!("{LIST}?sort=-bitrate&cursor={cursor}")).await;
    let both: BTreeSet<_> = ids(&first).into_iter().chain(ids(&rest)).collect();
    assert_eq!((both.len(), &rest.json()["total"]), (62, &json!(61)));
    for wrong in ["", "sort=bitrate&", "sort=id&"] {
        server.get(&format!("{LIST}?{wrong}cursor={cursor}")).await.problem(400, "invalid_cursor");
    }
    // A cursor from the store is not valid in a list request to the server.
    let page = registry.list_page(None, NonZeroU32::new(20).unwrap()).await.unwrap();
    let own = page.next.unwrap();
    server.get(&format!("{LIST}?cursor={own}")).await.problem(400, "invalid_cursor");
}

/// Asserts that the list contains exactly the records of the store.
async fn assert_listed(server: &Server, registry: &dyn Registry, after: &str) {
    let listed = server.get(LIST).await;
    let mut held = registry.list().await.unwrap();
    held.sort_by(|one, other| one.id.cmp(&other.id));
    let held: Vec<_> = held.iter().map(Stream::to_json).collect();
    let streams = format!("{{\"streams\":[{}],", held.join(","));
    assert!(listed.body.starts_with(&streams), "after {after}: {} instead of {streams}", listed.body);
}

/// Asserts that a list contains every write through the server at once.
async fn writes_are_listed(registry: Arc<dyn Registry>) {
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    for round in 0..20 {
        let cam = format!("{LIST}/cam{}", round % 3);
        let record = format!(r#"{{"id":"cam{}","type":"srt","source_addr":"203.0.113.7:1"}}"#, round % 3);
        assert!(server.json("POST", LIST, &record).await.status < 300);
        assert_listed(&server, &*registry, "a registration").await;
        assert_eq!(server.json("PUT", &format!("{cam}/stats"), &format!(r#"{{"bitrate":{round}}}"#)).await.status, 204);
        assert_listed(&server, &*registry, "statistics").await;
        for status in ["active", "active", "paused"] {
            let body = format!(r#"{{"status":"{status}"}}"#);
            assert_eq!(server.json("PUT", &format!("{cam}/status"), &body).await.status, 204);
            assert_listed(&server, &*registry, status).await;
        }
        assert_eq!(server.request("POST", &format!("{cam}/heartbeat"), &[], "").await.status, 204);
        assert_listed(&server, &*registry, "a heartbeat").await;
        assert_eq!(server.json("PATCH", &cam, r#"{"node":"n1"}"#).await.status, 200);
        assert_listed(&server, &*registry, "a patch").await;
        let batch = format!(r#"{{"streams":[{{"id":"cam{}","stats":{{"bytes_received":{round}}}}}]}}"#, round % 3);
        assert_eq!(server.json("POST", "/api/v1/heartbeats", &batch).await.status, 200);
        assert_listed(&server, &*registry, "a batch").await;
        if round % 2 == 0 {
            assert_eq!(server.request("DELETE", &cam, &[], "").await.status, 204);
            assert_listed(&server, &*registry, "an unregistration").await;
        }
    }
}

#[tokio::test]
async fn list_immediately_shows_writes_made_through_the_server() {
    writes_are_listed(Arc::new(MemoryRegistry::new())).await;
}

#[tokio::test]
async fn list_immediately_shows_writes_made_through_the_server_on_redis() {
    let redis = RedisServer::start().await;
    writes_are_listed(connect(&redis.url()).await.unwrap()).await;
}

#[tokio::test]
async fn list_shows_batched_statistics_at_once() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    for n in 0..700 {
        registry.register(&stream(&format!("cam{n}"))).await.unwrap();
    }
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    testkit::wait_until(PATIENCE, async || server.get(LIST).await.json()["total"] == 700).await;
    let streams: Vec<_> = (0..700).map(|n| json!({"id": format!("cam{n}"), "stats": {"bitrate": n + 1}})).collect();
    let answer = server.json("POST", "/api/v1/heartbeats", &json!({"streams": streams}).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_listed(&server, &*registry, "a large batch").await;
}

#[tokio::test]
async fn list_omits_expired_streams() {
    let registry = Arc::new(MemoryRegistry::with_ttl(Duration::from_secs(1)).unwrap());
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    registry.register(&stream("expiring")).await.unwrap();
    testkit::wait_until(PATIENCE, async || server.get(LIST).await.json()["total"] == 1).await;
    while registry.get(&id("expiring")).await.is_ok() {
        let _ = server.get(LIST).await;
    }
    assert_eq!(server.get(LIST).await.json()["total"], 0);
}

#[tokio::test]
async fn list_omits_streams_that_another_program_made_expire_early() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    let listed = async |query: &str| server.get(&format!("{LIST}?{query}")).await;
    for round in 0..3 {
        for n in 0..[2, 20, 1_100][round] {
            registry.register(&stream(&format!("cam{n}"))).await.unwrap();
        }
        let held = registry.list().await.unwrap().len();
        testkit::wait_until(PATIENCE, async || listed("limit=10000").await.json()["total"] == held).await;
        // Another program shortens a TTL. This write is not in the feed.
        assert_eq!(redis.cli(&["PEXPIRE", "mirror:streams:cam1", "1100"]).await, "1");
        while registry.get(&id("cam1")).await.is_ok() {}
        let answer = listed("limit=10000").await;
        assert!(!ids(&answer).contains(&"cam1".to_owned()), "of {held}");
        assert_eq!((ids(&answer).len(), &answer.json()["total"]), (held - 1, &json!(held - 1)));
        // The page must contain the next live stream instead of another expired stream.
        for gone in ["cam0", "cam10"] {
            redis.cli(&["PEXPIRE", &format!("mirror:streams:{gone}"), "1"]).await;
            while registry.get(&id(gone)).await.is_ok() {}
        }
        let next: [&[&str]; 3] = [&[], &["cam11"], &["cam100"]];
        assert_eq!(ids(&listed("limit=1").await), next[round]);
    }
}

#[tokio::test]
async fn pages_omit_any_number_of_consecutive_ended_streams() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    let names: Vec<_> = (0..14).map(|n| format!("cam{n:02}")).collect();
    // In each case, the streams at the positions in `stay` remain. All others expire or are deleted in Redis.
    for (stay, page, more) in [
        (&[11, 13][..], &[("limit=1", &[11][..], true), ("limit=2", &[11, 13], false)][..], 13),
        (&[0], &[("limit=1", &[0], false), ("limit=1&sort=-id", &[0], false)], 0),
        (&[6], &[("limit=2&sort=-id", &[6], false)], 0),
        (&[], &[("limit=1", &[], false)], 0),
    ] {
        for (query, shown, next) in page {
            for name in &names {
                assert!(server.json("POST", LIST, &CAM.replace("cam1", name)).await.status < 300);
            }
            testkit::wait_until(PATIENCE, async || server.get(LIST).await.json()["total"] == names.len()).await;
            for (n, name) in names.iter().enumerate().filter(|(n, _)| !stay.contains(n)) {
                let key = format!("mirror:streams:{name}");
                if n % 2 == 0 {
                    redis.cli(&["PEXPIRE", &key, "1"]).await;
                    while registry.get(&id(name)).await.is_ok() {}
                } else {
                    redis.cli(&["DEL", &key]).await;
                    redis.cli(&["SREM", "mirror:streams:active", name]).await;
                }
            }
            let answer = server.get(&format!("{LIST}?{query}")).await;
            let shown: Vec<_> = shown.iter().map(|n| names[*n].clone()).collect();
            assert_eq!(ids(&answer), shown, "{query} of {stay:?}");
            // A page has a cursor only if another stream follows.
            let cursor = answer.json()["next_cursor"].as_str().map(str::to_owned);
            assert_eq!(cursor.is_some(), *next, "{query} of {stay:?}");
            if let Some(cursor) = cursor {
                let rest = server.get(&format!("{LIST}?{query}&cursor={cursor}")).await;
                assert_eq!((ids(&rest), &rest.json()["next_cursor"]), (vec![names[more].clone()], &Value::Null));
            }
        }
    }
}

#[tokio::test]
async fn total_is_correct_when_lists_come_from_the_store() {
    let redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    for n in 0..5 {
        registry.register(&stream(&format!("cam{n}"))).await.unwrap();
    }
    for n in 0..50 {
        redis.cli(&["SADD", "mirror:streams:active", &format!("gone{n}")]).await;
    }
    let options: RedisOptions = redis.url().parse().unwrap();
    let reader = RedisRegistry::connect(options.read_only()).await.unwrap();
    let server = Server::start(Arc::new(reader), ServeOptions::default().max_view_age(Duration::ZERO)).await;
    for (query, shown) in [("", 5), ("limit=2", 2)] {
        let answer = server.get(&format!("{LIST}?{query}")).await;
        assert_eq!((ids(&answer).len(), &answer.json()["total"]), (shown, &json!(5)));
    }
}

#[tokio::test]
async fn list_is_available_while_the_store_is_down() {
    let mut redis = RedisServer::start().await;
    let registry = connect(&redis.url()).await.unwrap();
    let server = Server::start(Arc::clone(&registry), ServeOptions::default()).await;
    for cam in ["cam1", "cam2"] {
        server.json("POST", LIST, &format!(r#"{{"id":"{cam}","type":"srt","source_addr":"h:1"}}"#)).await;
    }
    assert_eq!(server.json("PUT", &format!("{LIST}/cam1/status"), r#"{"status":"active"}"#).await.status, 204);
    wait_for_view(&server, &redis).await;
    redis.kill();
    let listed = server.get(&format!("{LIST}?status=active")).await;
    assert_eq!(ids(&listed), ["cam1"]);
    // The server now knows that the store is down. Writes fail without being applied, and the list stays the same.
    testkit::wait_until(PATIENCE, async || server.get("/readyz").await.status == 503).await;
    let paused = server.json("PUT", &format!("{LIST}/cam1/status"), r#"{"status":"paused"}"#).await;
    assert_eq!(paused.problem(503, "unavailable")["may_have_applied"], false);
    assert_eq!(ids(&server.get(&format!("{LIST}?status=active")).await), ["cam1"]);
    // After a restart, the store is suspended. A write may have been applied although the view does not show it. The
    // list must still be available.
    redis.restart(testkit::Data::Empty).await;
    testkit::wait_until(PATIENCE, async || server.get("/readyz").await.status == 200).await;
    wait_for_view(&server, &redis).await;
    redis.pause();
    let unconfirmed = server.json("PUT", &format!("{LIST}/cam1/status"), r#"{"status":"paused"}"#).await;
    assert_eq!(unconfirmed.problem(503, "timeout")["may_have_applied"], true);
    assert_eq!(server.get(LIST).await.status, 200);
    redis.resume();
}

#[tokio::test]
async fn summary_counts_the_streams_of_the_list() {
    let (server, registry) = Server::memory().await;
    fill(&*registry).await;
    let stats = StreamStats { bitrate: Some(100), packets_lost: Some(3), ..StreamStats::default() };
    registry.update_stats(&id("cam00"), &stats).await.unwrap();
    // Writes through the server update the view at once.
    server.json("PUT", &format!("{LIST}/cam00/stats"), r#"{"bitrate":100,"packets_lost":3}"#).await;
    let groups = |summary: &Value| -> Vec<(Value, u64)> {
        let groups = summary["groups"].as_array().unwrap().iter();
        groups.map(|group| (group["key"].clone(), group["streams"].as_u64().unwrap())).collect()
    };
    let status = server.get("/api/v1/summary").await.json();
    assert_eq!((&status["by"], &status["total"]), (&json!("status"), &json!(60)));
    assert_eq!(groups(&status), [(json!("active"), 12), (json!("connecting"), 48)]);
    let node = server.get("/api/v1/summary?by=node").await.json();
    assert_eq!(groups(&node), [(Value::Null, 20), (json!("ingest-1"), 20), (json!("ingest-2"), 20)]);
    let kind = server.get("/api/v1/summary?by=type&status=active&search=cam00").await.json();
    assert_eq!(groups(&kind), [(json!("srt"), 1)]);
    assert_eq!((&kind["bitrate"], &kind["groups"][0]["packets_lost"]), (&json!(100), &json!(3)));
}

#[tokio::test]
async fn client_reads_a_hundred_streams_with_one_request() {
    let (server, registry) = Server::memory().await;
    let ids: Vec<_> = (0..150).map(|number| id(&format!("site/cam {number}"))).collect();
    for id in &ids {
        registry.register(&stream(id.as_str())).await.unwrap();
    }
    registry.unregister(&ids[7]).await.unwrap();
    let found = server.client().await.get_many(&ids).await.unwrap();
    for (at, (found, id)) in found.iter().zip(&ids).enumerate() {
        assert_eq!(found.as_ref().map(|stream| &stream.id), (at != 7).then_some(id));
    }
    let metrics = server.get("/metrics").await.body;
    let requests: Vec<_> = metrics.lines().filter(|line| line.contains("route=\"/api/v1/streams")).collect();
    let lists = r#"streamreg_http_requests_total{method="GET",route="/api/v1/streams",code="200"} 2"#;
    assert!(requests.contains(&lists), "{requests:?}");
    assert!(!metrics.contains(r#"route="/api/v1/streams/{id}""#), "{requests:?}");
}
