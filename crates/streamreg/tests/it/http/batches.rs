//! Batches of heartbeats and statistics: `POST /api/v1/heartbeats`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use stream_registry::mock::MockRegistry;
use stream_registry::registry::Operation;
use stream_registry::{ErrorKind, RegisterOptions, Registry, StreamStats};
use streamreg::server::ServeOptions;
use testkit::CapturedLog;

use super::kit::{Server, id, stream};

#[tokio::test]
async fn one_request_contains_many_heartbeats() {
    let (server, registry) = Server::memory().await;
    let leased = RegisterOptions::default().lease();
    let mine = registry.register_with(&stream("mine"), &leased).await.unwrap().epoch.unwrap();
    registry.register_with(&stream("theirs"), &leased).await.unwrap();
    registry.register(&stream("plain")).await.unwrap();
    let before = registry.get(&id("theirs")).await.unwrap();
    let body = json!({"streams": [
        {"id": "mine", "epoch": mine.as_str(), "stats": {"bitrate": 7, "viewers": 2}},
        {"id": "plain"},
        {"id": "theirs"},
        {"id": "gone/\""},
    ]});
    let answer = server.json("POST", "/api/v1/heartbeats", &body.to_string()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.body, r#"{"unknown":["gone/\""],"not_holder":["theirs"],"failed":[]}"#);
    assert_eq!(registry.get(&id("mine")).await.unwrap().viewers, Some(2));
    assert_eq!(registry.get(&id("theirs")).await.unwrap(), before);
    let forced = r#"{"streams":[{"id":"theirs","stats":{"bitrate":9}},{"id":"plain","epoch":null,"stats":null}]}"#;
    let answer = server.json("POST", "/api/v1/heartbeats?force=true", forced).await;
    assert_eq!(answer.body, r#"{"unknown":[],"not_holder":[],"failed":[]}"#);
    assert_eq!(registry.get(&id("theirs")).await.unwrap().bitrate, 9);
    assert_eq!(server.json("POST", "/api/v1/heartbeats", r#"{"streams":[]}"#).await.status, 200);

    // This batch is close to both limits: 1 000 streams and 1 MiB.
    let long: Vec<_> = (0..1_000).map(|n| json!({"id": format!("{n:0>256}"), "epoch": "e".repeat(128), "stats": {"bitrate": n, "packets_received": n, "packets_retransmitted": n, "jitter_ms": 0.5, "rtt_ms": 12.5}})).collect();
    let body = json!({"streams": long}).to_string();
    assert!(body.len() > 500_000 && body.len() < 1_048_576, "{}", body.len());
    let answer = server.json("POST", "/api/v1/heartbeats", &body).await.json();
    assert_eq!(answer["unknown"].as_array().unwrap().len(), 1_000);
}

#[tokio::test]
async fn batch_applies_every_valid_item_and_names_the_others() {
    let (server, registry) = Server::memory().await;
    for name in ["good", "bad", "nan", "field"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let bad = StreamStats { bitrate: Some(5), packets_lost: Some(9), ..Default::default() };
    registry.update_stats(&id("bad"), &bad).await.unwrap();
    let before: BTreeMap<_, _> =
        registry.list().await.unwrap().into_iter().map(|stream| (stream.id, stream.last_heartbeat)).collect();
    let body = r#"{"streams":[
        {"id":"bad","stats":{"bitrate":-1,"packets_lost":1}},
        {"id":"active"},
        {"id":"good","stats":{"bitrate":5467000.0000001,"packets_lost":-3,"viewers":null}},
        {"id":"nan","stats":{"bitrate":NaN}},
        {"id":"gone","stats":{"fps":25}},
        7,
        {"id":"field","status":"active"},
        {"id":"good","stats":{"bitrate":1}}
    ]}"#;
    let answer = server.json("POST", "/api/v1/heartbeats", body).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!((&answer["unknown"], &answer["not_holder"]), (&json!(["gone"]), &json!([])));
    let failed: Vec<_> = answer["failed"].as_array().unwrap().iter().collect();
    let applied: Vec<_> =
        failed.iter().map(|item| (item["index"].as_u64().unwrap(), item["heartbeat_applied"] == true)).collect();
    assert_eq!(applied, [(0, true), (1, false), (3, true), (4, false), (5, false), (6, true), (7, false)]);
    for (item, (name, reason)) in failed.iter().zip([
        (json!("bad"), "bitrate"),
        (Value::Null, "reserved"),
        (json!("nan"), "bitrate"),
        (json!("gone"), "fps"),
        (Value::Null, "object"),
        (json!("field"), "status"),
        (json!("good"), "duplicate"),
    ]) {
        assert_eq!((&item["id"], &item["code"]), (&name, &json!("invalid")), "{item}");
        assert!(item["detail"].as_str().unwrap().contains(reason), "{item}");
    }
    for (name, heartbeat) in before {
        assert!(registry.get(&name).await.unwrap().last_heartbeat > heartbeat, "{name} was not renewed");
    }
    let good = registry.get(&id("good")).await.unwrap();
    assert_eq!((good.bitrate, good.packets_lost, good.viewers), (5_467_000, 0, None));
    let kept = registry.get(&id("bad")).await.unwrap();
    assert_eq!((kept.bitrate, kept.packets_lost), (5, 9), "invalid statistics were partly applied");
    let forced = r#"{"streams":[{"id":"good","epoch":"e"},{"id":"bad"}]}"#;
    let answer = server.json("POST", "/api/v1/heartbeats?force=true", forced).await.json();
    assert_eq!((&answer["failed"][0]["id"], answer["failed"].as_array().unwrap().len()), (&json!("good"), 1));
}

#[tokio::test]
async fn rejected_items_of_batches_are_logged_once_per_kind() {
    let log = CapturedLog::start();
    let (server, _registry) = Server::memory().await;
    let secret = "x".repeat(5_000);
    let body = format!(
        r#"{{"streams":[{{"id":"a","stats":{{"bitrate":-1}}}},{{"id":"b","stats":{{"bitrate":-1}}}},{{"id":"{secret}"}},{{"id":"c","{secret}":1}}]}}"#
    );
    for _ in 0..3 {
        assert_eq!(server.json("POST", "/api/v1/heartbeats", &body).await.status, 200);
    }
    let text = log.text();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("invalid item")).collect();
    assert_eq!(warnings.len(), 3, "{text}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains(r#"id="a""#), "{text}");
    assert!(warnings[0].contains("bitrate must be") && text.len() < 4_000, "{text}");
}

#[tokio::test]
async fn batch_request_is_one_call_of_the_store() {
    let registry = Arc::new(MockRegistry::new());
    registry.register(&stream("a")).await.unwrap();
    registry.register(&stream("b")).await.unwrap();
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let body = r#"{"streams":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#;
    // If the whole call of the store fails, the request fails too.
    registry.fail_next(Operation::Write, ErrorKind::Unavailable);
    let answer = server.json("POST", "/api/v1/heartbeats", body).await;
    let problem = answer.problem(503, "unavailable");
    assert_eq!((&problem["operation"], answer.header("retry-after")), (&json!("write"), "1"));
    // If the write of a single stream fails, the error is reported for that stream.
    for (kind, code) in
        [(ErrorKind::Corrupt, "corrupt"), (ErrorKind::Internal, "internal"), (ErrorKind::Timeout, "timeout")]
    {
        registry.fail_next(Operation::Heartbeat, kind);
        let answer = server.json("POST", "/api/v1/heartbeats", body).await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        assert_eq!(answer["unknown"], json!(["c"]));
        let failed = &answer["failed"][0];
        assert_eq!((&failed["id"], &failed["code"]), (&json!("a"), &json!(code)));
        assert_eq!(failed["may_have_applied"], kind == ErrorKind::Timeout);
        assert_eq!(answer["failed"].as_array().unwrap().len(), 1);
    }
}
