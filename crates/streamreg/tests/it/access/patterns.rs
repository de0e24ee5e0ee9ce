//! Tokens that may write only some streams.

use serde_json::json;
use stream_registry::Registry as _;

use super::kit::{Guarded, entry, of_node, record, value};
use crate::http::kit::{id, stream};

#[tokio::test]
async fn token_writes_only_ids_that_match_its_patterns() {
    let guarded = Guarded::start(&entry("a", "scopes = [\"write\", \"read\"]\nids = [\"cam-*\", \"mic\"]")).await;
    for other in ["cam", "xcam-1", "mic-1", "dub/1"] {
        guarded.request("a", "POST", "/api/v1/streams", &record(other, None)).await.problem(403, "denied");
        guarded.registry.register(&stream(other)).await.unwrap();
        let encoded = other.replace('/', "%2F");
        for (method, path, body) in [
            ("PUT", String::new(), record(other, None)),
            ("PATCH", String::new(), "{\"video_codec\":\"AV1\"}".to_owned()),
            ("POST", "/heartbeat".to_owned(), String::new()),
            ("PUT", "/status".to_owned(), "{\"status\":\"active\"}".to_owned()),
            ("PUT", "/stats".to_owned(), "{\"bitrate\":5}".to_owned()),
            ("DELETE", String::new(), String::new()),
        ] {
            for path in [format!("/api/v1/streams/{encoded}{path}"), format!("/api/v1/stream{path}?id={encoded}")] {
                let problem = guarded.request("a", method, &path, &body).await.problem(403, "denied");
                assert!(problem["detail"].as_str().unwrap().contains("may not write this id"), "{problem}");
            }
        }
        for policy in ["on_conflict=take_over", "on_conflict=take_over_if_stale&stale_ms=1000", "lease=true"] {
            let path = format!("/api/v1/streams?{policy}");
            guarded.request("a", "POST", &path, &record(other, None)).await.problem(403, "denied");
        }
        assert_eq!(guarded.registry.get(&id(other)).await.unwrap().source_addr, stream(other).source_addr);
        // Patterns do not limit reads.
        assert_eq!(guarded.get("a", &format!("/api/v1/streams/{encoded}")).await.status, 200);
    }
    for own in ["cam-1", "mic"] {
        assert_eq!(guarded.request("a", "POST", "/api/v1/streams", &record(own, None)).await.status, 201);
        // Among the streams that match, the token can also take over one of another client.
        let take_over = "/api/v1/streams?on_conflict=take_over";
        let other = record(own, None).replace("203.0.113.7", "203.0.113.8");
        assert_eq!(guarded.request("a", "POST", take_over, &other).await.status, 200);
        assert_eq!(guarded.request("a", "DELETE", &format!("/api/v1/streams/{own}"), "").await.status, 204);
    }
    // The server would generate an id that matches no pattern.
    let unnamed = r#"{"type":"srt","source_addr":"203.0.113.7:1"}"#;
    let problem = guarded.request("a", "POST", "/api/v1/streams", unnamed).await.problem(403, "denied");
    assert!(problem["detail"].as_str().unwrap().contains("add an id"), "{problem}");
}

#[tokio::test]
async fn token_writes_only_streams_of_its_nodes() {
    let guarded = Guarded::start(&entry("a", "scopes = [\"write\"]\nnodes = [\"edge-*\"]")).await;
    let send = async |method: &str, path: &str, body: &str| guarded.request("a", method, path, body).await;
    assert_eq!(send("POST", "/api/v1/streams", &record("own", Some("edge-1"))).await.status, 201);
    for node in [Some("core-1"), None] {
        send("POST", "/api/v1/streams", &record("new", node)).await.problem(403, "denied");
        send("PUT", "/api/v1/streams/own", &record("own", node)).await.problem(403, "denied");
        send("PATCH", "/api/v1/streams/own", &json!({ "node": node }).to_string()).await.problem(403, "denied");
    }
    assert_eq!(send("PATCH", "/api/v1/streams/own", r#"{"node":"edge-2"}"#).await.status, 200);
    assert_eq!(send("POST", "/api/v1/streams/own/heartbeat", "").await.status, 204);
    // Streams of other nodes, and streams without a node, belong to other clients.
    for other in [of_node("other", "core-1"), stream("nodeless")] {
        guarded.registry.register(&other).await.unwrap();
        for policy in ["reject", "take_over", "take_over_if_stale&stale_ms=1000"] {
            let path = format!("/api/v1/streams?on_conflict={policy}");
            send("POST", &path, &record(other.id.as_str(), Some("edge-1"))).await.problem(403, "denied");
        }
        let path = format!("/api/v1/streams/{}", other.id);
        send("PUT", &path, &record(other.id.as_str(), Some("edge-1"))).await.problem(403, "denied");
        send("PATCH", &path, r#"{"node":"edge-1"}"#).await.problem(403, "denied");
        send("POST", &format!("{path}/heartbeat"), "").await.problem(403, "denied");
        send("PUT", &format!("{path}/status"), r#"{"status":"active"}"#).await.problem(403, "denied");
        send("PUT", &format!("{path}/stats"), r#"{"bitrate":5}"#).await.problem(403, "denied");
        send("DELETE", &path, "").await.problem(403, "denied");
        assert_eq!(guarded.registry.get(&other.id).await.unwrap().node, other.node);
    }
    let batch = r#"{"streams":[{"id":"other"},{"id":"own"},{"id":"missing"},{"id":"nodeless"}]}"#;
    let answer = send("POST", "/api/v1/heartbeats", batch).await.json();
    assert_eq!(answer["unknown"], json!(["missing"]));
    let failed: Vec<_> = answer["failed"].as_array().unwrap().iter().map(|failed| failed["id"].as_str()).collect();
    assert_eq!(failed, [Some("other"), Some("nodeless")]);
    assert_eq!(send("DELETE", "/api/v1/streams/own", "").await.status, 204);
    send("DELETE", "/api/v1/streams/own", "").await.problem(404, "not_found");
}

#[tokio::test]
async fn token_does_not_get_the_answer_to_an_operation_of_another_token() {
    let guarded = Guarded::start(&(entry("a", "scopes = [\"admin\"]") + &entry("b", "scopes = [\"write\"]"))).await;
    let unnamed = r#"{"type":"srt","source_addr":"203.0.113.7:1"}"#;
    let register = async |token: &str| {
        let authorization = format!("Bearer {}", value(token));
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "job-18"),
        ];
        let answer = guarded.server.request("POST", "/api/v1/streams?lease=true", &headers, unnamed).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["stream"]["id"].as_str().unwrap().to_owned()
    };
    let first = register("a").await;
    assert_eq!(register("a").await, first);
    assert_ne!(register("b").await, first);
}

#[tokio::test]
async fn denied_item_of_a_batch_does_not_affect_the_others() {
    let guarded = Guarded::start(&entry("a", "scopes = [\"write\"]\nids = [\"cam-*\"]")).await;
    for name in ["cam-1", "other", "cam-2"] {
        guarded.registry.register(&stream(name)).await.unwrap();
    }
    let item = |id: &str| json!({ "id": id, "stats": { "bitrate": 7 } });
    let batch = json!({ "streams": [item("cam-1"), item("other"), item("cam-9"), item("cam-2")] });
    let answer = guarded.request("a", "POST", "/api/v1/heartbeats", &batch.to_string()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["unknown"], json!(["cam-9"]));
    let failed = &answer.json()["failed"];
    assert_eq!(
        (failed.as_array().unwrap().len(), &failed[0]["id"], &failed[0]["code"]),
        (1, &json!("other"), &json!("denied"))
    );
    for (name, bitrate) in [("cam-1", 7), ("other", 0), ("cam-2", 7)] {
        assert_eq!(guarded.registry.get(&id(name)).await.unwrap().bitrate, bitrate, "{name}");
    }
}

#[tokio::test]
async fn denied_write_does_not_make_the_server_unready() {
    let guarded = Guarded::start(&entry("a", "scopes = [\"write\"]\nids = [\"cam-*\"]")).await;
    guarded.request("a", "POST", "/api/v1/streams/x/heartbeat", "").await.problem(403, "denied");
    guarded.request("a", "POST", "/api/v1/heartbeats", r#"{"streams":[{"id":"x"}]}"#).await;
    assert_eq!(guarded.server.get("/readyz").await.status, 200);
}
