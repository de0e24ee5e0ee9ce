//! Round trips through the server: ids, numbers, unknown fields, pages and operation ids.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use serde_json::json;
use stream_registry::registry::Operation;
use stream_registry::{Cursor, ErrorKind, OnConflict, RegisterOptions, Registry, Stream, StreamStats, StreamStatus};

use super::events::Events;
use super::kit::{Server, id, stream};

#[tokio::test]
async fn every_valid_id_survives_a_round_trip() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let long = "é".repeat(128);
    let ids = [
        "a",
        "a b",
        "a/b",
        "/",
        "a//b/",
        "studio \"A\" / cam 1",
        "'",
        "\\",
        "%",
        "%2F",
        "%zz",
        "*",
        "?",
        "?a=b&c",
        "#",
        "a#b",
        "+",
        "a+b",
        "{}",
        "{id}",
        "📺",
        "a:b;c,d",
        "...",
        "heartbeat",
        "a/heartbeat",
        "<b>",
        "a\u{a0}b",
        "^|`~",
        &long,
    ];
    for text in ids {
        let registered = client.register(&stream(text)).await.unwrap();
        assert_eq!(registered.stream.id.as_str(), text);
        client.update_heartbeat(&id(text)).await.unwrap();
        client.update_status(&id(text), StreamStatus::Active).await.unwrap();
        assert_eq!(client.get(&id(text)).await.unwrap(), registry.get(&id(text)).await.unwrap(), "{text}");
    }
    let listed: BTreeSet<_> = client.list().await.unwrap().into_iter().map(|stream| stream.id).collect();
    assert_eq!(listed, ids.into_iter().map(id).collect());
    for text in ids {
        assert_eq!(client.unregister(&id(text)).await.unwrap().id.as_str(), text);
    }
    assert!(registry.list().await.unwrap().is_empty());
    let created = server.json("POST", "/api/v1/streams", r#"{"id":"a/b c%é","type":"srt","source_addr":""}"#).await;
    assert_eq!(created.header("location"), "stream?id=a%2Fb%20c%25%C3%A9");
    for path in ["/api/v1/stream?id=a%2Fb%20c%25%C3%A9", "/api/v1/streams/a%2Fb%20c%25%C3%A9"] {
        assert_eq!(server.get(path).await.json()["id"], "a/b c%é");
    }
}

#[tokio::test]
async fn exact_integers_and_unknown_fields_survive_reads_and_writes() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let text = r#"{"id":"a","type":"srt","source_addr":"h:1","bytes_received":9223372036854775807,"packets_received":9007199254740993,"x":1.0e5,"y":{"id":"decoy","n":[12345678901234567890123,{}]},"z\"é":null}"#;
    assert_eq!(server.json("POST", "/api/v1/streams", text).await.status, 201);
    let unknown = r#","x":1.0e5,"y":{"id":"decoy","n":[12345678901234567890123,{}]},"z\"é":null}"#;
    let stored = registry.get(&id("a")).await.unwrap();
    assert!(stored.to_json().ends_with(unknown), "{}", stored.to_json());
    for read in [client.get(&id("a")).await.unwrap(), client.list().await.unwrap().remove(0)] {
        assert_eq!(read.to_json(), stored.to_json());
    }
    let other = stream("b");
    client.register(&other).await.unwrap();
    let mut moved = stored;
    moved.id = id("b");
    client.update(&moved).await.unwrap();
    let moved = registry.get(&id("b")).await.unwrap();
    assert!(moved.to_json().ends_with(unknown));
    assert_eq!(moved.packets_received, 9_007_199_254_740_993);
    let last = client.unregister(&id("b")).await.unwrap();
    assert_eq!(last.to_json(), moved.to_json());
    let stats = StreamStats {
        bytes_received: Some(i64::MAX as u64),
        packets_received: Some(9_007_199_254_740_993),
        rtt_ms: Some(0.1),
        frame_rate: Some(59.94),
        ..Default::default()
    };
    client.update_stats(&id("a"), &stats).await.unwrap();
    let read = client.get(&id("a")).await.unwrap();
    assert_eq!(
        (Some(read.bytes_received), Some(read.packets_received)),
        (stats.bytes_received, stats.packets_received)
    );
    assert_eq!((read.rtt_ms, read.frame_rate), (Some(0.1), 59.94));
}

#[tokio::test]
async fn update_succeeds_when_the_record_has_nonconforming_values() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let text =
        r#"{"type":"srt","source_addr":"h:1","status":"active","bitrate":-5,"bytes_received":1.5e6,"node":7,"x":[]}"#;
    let mut nonconforming = Stream::from_stored(&id("a"), text).unwrap();
    client.register(&nonconforming).await.unwrap();
    nonconforming.set_status(StreamStatus::Paused);
    client.update(&nonconforming).await.unwrap();
    let stored = registry.get(&id("a")).await.unwrap();
    assert_eq!((stored.status.clone(), stored.bitrate, stored.bytes_received), (StreamStatus::Paused, 0, 1_500_000));
    assert!(stored.to_json().ends_with(r#","x":[]}"#), "{}", stored.to_json());
    // The store keeps nonconforming values, and reads return the nearest legal values.
    registry
        .register_with(&nonconforming, &RegisterOptions::default().on_conflict(OnConflict::TakeOver))
        .await
        .unwrap();
    assert_eq!(server.get("/api/v1/streams/a").await.json()["bitrate"], 0);
    assert_eq!(server.get("/api/v1/streams").await.json()["streams"][0]["bytes_received"], 1_500_000);
    assert_eq!(server.get("/api/v1/snapshot").await.json()["streams"][0]["bitrate"], 0);
    let mut events = Events::open(&server, "?from=oldest", "").await;
    let mut event = events.next_change().await.1;
    while event["event"] != "taken_over" {
        event = events.next_change().await.1;
    }
    assert_eq!((&event["stream"]["bitrate"], &event["stream"]["bytes_received"]), (&0.into(), &1_500_000.into()));
    client.update_heartbeat(&id("a")).await.unwrap();
    assert!(registry.get(&id("a")).await.unwrap().to_stored_json().contains(r#""bitrate":-5,"#));
    let ended = server.request("DELETE", "/api/v1/streams/a", &[("Prefer", "return=representation")], "").await;
    assert_eq!(ended.json()["bitrate"], 0);
    let history = server.get("/api/v1/history").await.json();
    assert_eq!(history["ended"][0]["stream"]["bitrate"], 0);
}

#[tokio::test]
async fn record_with_more_than_64_nested_levels_is_rejected() {
    let (server, registry) = Server::memory().await;
    let record = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"id":"a","type":"srt","source_addr":"h:1","x":{open}{close}}}"#)
    };
    for (method, path) in [("POST", "/api/v1/streams"), ("PUT", "/api/v1/streams/a")] {
        let rejected = server.json(method, path, &record(65)).await;
        assert!(rejected.problem(400, "invalid")["detail"].as_str().unwrap().contains("64 nested levels"));
        assert!(server.json(method, path, &record(64)).await.status < 300);
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn pages_contain_all_of_2500_streams() {
    let (server, registry) = Server::memory().await;
    for n in 0..2_500 {
        registry.register(&stream(&format!("cam {n}"))).await.unwrap();
    }
    let revision = registry.snapshot().await.unwrap().revision.unwrap();
    let mut path = "/api/v1/streams".to_owned();
    let mut sizes = Vec::new();
    let mut seen = BTreeSet::new();
    loop {
        let page = server.get(&path).await.json();
        assert_eq!((&page["total"], &page["revision"]), (&json!(2_500), &json!(revision.as_str())));
        let streams = page["streams"].as_array().unwrap();
        sizes.push(streams.len());
        seen.extend(streams.iter().map(|stream| stream["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/streams?cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((sizes, seen.len()), (vec![1_000, 1_000, 500], 2_500));

    let client = server.client().await;
    let mut cursor = None;
    let mut pages = 0;
    let mut seen = BTreeSet::new();
    loop {
        let page = client.list_page(cursor.as_ref(), NonZeroU32::new(700).unwrap()).await.unwrap();
        assert_eq!(page.total, 2_500);
        pages += 1;
        seen.extend(page.streams.into_iter().map(|stream| stream.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (4, 2_500));
    assert_eq!(client.list_page(None, NonZeroU32::MAX).await.unwrap().streams.len(), 2_500);
    assert_eq!(client.snapshot().await.unwrap().streams.len(), 2_500);
    let foreign: Cursor = "r0000000000000000deadbeef".parse().unwrap();
    let error = client.list_page(Some(&foreign), NonZeroU32::MIN).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidCursor, Some(Operation::ListPage)));
}

#[tokio::test]
async fn requests_with_the_same_idempotency_key_are_applied_once() {
    let (server, registry) = Server::memory().await;
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "op-1")];
    let nameless = r#"{"type":"srt","source_addr":"h:1"}"#;
    let first = server.request("POST", "/api/v1/streams", &headers, nameless).await;
    let again = server.request("POST", "/api/v1/streams", &headers, nameless).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(registry.list().await.unwrap().len(), 1);
    let path = format!("/api/v1/{}", first.header("location"));
    for _ in 0..2 {
        assert_eq!(server.request("DELETE", &path, &[("Idempotency-Key", "op-2")], "").await.status, 204);
    }
    let other = server.request("DELETE", "/api/v1/streams/x", &[("Idempotency-Key", "op-2")], "").await;
    other.problem(400, "invalid");
}
