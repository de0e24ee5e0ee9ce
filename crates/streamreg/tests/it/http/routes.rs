//! Every route and every status.

use serde_json::{Value, json};
use stream_registry::{Error, ErrorKind, Operation, Registry};
use streamreg::server::ServeOptions;

use super::kit::{CAM, Gate, Server, id};

#[tokio::test]
async fn a_stream_lives_its_life_over_every_route() {
    let (server, registry) = Server::memory().await;
    let empty = server.get("/api/v1/streams").await;
    let revision = registry.snapshot().await.unwrap().revision.unwrap();
    let list = format!(r#"{{"streams":[],"next_cursor":null,"total":0,"revision":"{revision}"}}"#);
    assert_eq!(empty.body, list);
    assert_eq!(empty.header("content-type"), "application/json");
    let snapshot = format!(r#"{{"streams":[],"revision":"{revision}"}}"#);
    assert_eq!(server.get("/api/v1/snapshot").await.body, snapshot);

    let created = server.json("POST", "/api/v1/streams", CAM).await;
    assert_eq!((created.status, created.header("location")), (201, "/api/v1/streams/cam1"));
    let answer = created.json();
    assert_eq!((&answer["outcome"], &answer["ttl_ms"]), (&json!("created"), &json!(300_000)));
    assert_eq!(answer["epoch"], Value::Null);
    assert_eq!(answer["stream"]["status"], "connecting");
    let renewed = server.json("POST", "/api/v1/streams", CAM).await;
    assert_eq!((renewed.status, &renewed.json()["outcome"]), (200, &json!("renewed")));

    let other = CAM.replace("203.0.113.7", "198.51.100.1");
    let refused = server.json("POST", "/api/v1/streams", &other).await.problem(409, "already_exists");
    assert_eq!(refused["existing"]["source_addr"], "203.0.113.7:40112");
    assert_eq!((&refused["operation"], &refused["stream_id"]), (&json!("register"), &json!("cam1")));
    assert_eq!((&refused["retryable"], &refused["may_have_applied"]), (&json!(false), &json!(false)));
    server.json("POST", "/api/v1/streams?on_conflict=create_only", CAM).await.problem(409, "already_exists");
    server.json("POST", "/api/v1/streams?on_conflict=reject", &other).await.problem(409, "already_exists");
    let taken = server.json("POST", "/api/v1/streams?on_conflict=take_over", &other).await;
    assert_eq!((taken.status, &taken.json()["outcome"]), (200, &json!("taken_over")));

    let read = server.get("/api/v1/streams/cam1").await;
    assert_eq!((read.status, &read.body), (200, &registry.get(&id("cam1")).await.unwrap().to_json()));
    let head = server.ask("HEAD", "/api/v1/streams/cam1", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), read.body.len().to_string());

    let path = "/api/v1/streams/cam1";
    assert_eq!(server.ask("POST", &format!("{path}/heartbeat"), &[], "").await.status, 204);
    assert_eq!(server.ask("POST", &format!("{path}/heartbeat?force=true"), &[], "what is this").await.status, 204);
    assert_eq!(server.json("PUT", &format!("{path}/status"), r#"{"status":"buffering"}"#).await.status, 204);
    assert_eq!(registry.get(&id("cam1")).await.unwrap().status.as_str(), "buffering");
    let stats = r#"{"bytes_received":9223372036854775807,"viewers":3}"#;
    assert_eq!(server.json("PUT", &format!("{path}/stats"), stats).await.status, 204);
    let now = registry.get(&id("cam1")).await.unwrap();
    assert_eq!((now.bytes_received, now.viewers, now.packets_lost), (i64::MAX as u64, Some(3), 0));

    let patch = r#"{"video_codec":"HEVC","frame_rate":25,"node":"n1","labels":{"a":"1","b":"2"}}"#;
    let patched = server.ask("PATCH", path, &[("Content-Type", "application/merge-patch+json")], patch).await;
    assert_eq!((patched.status, &patched.json()["video_codec"]), (200, &json!("HEVC")));
    let patched = server.json("PATCH", path, r#"{"node":null,"labels":{"a":null,"c":"3"}}"#).await.json();
    assert_eq!((patched.get("node"), &patched["labels"]), (None, &json!({"b":"2","c":"3"})));
    let patched = server.json("PATCH", &format!("{path}?labels=replace"), r#"{"labels":{"z":"9"}}"#).await.json();
    assert_eq!((&patched["labels"], &patched["video_codec"]), (&json!({"z":"9"}), &json!("HEVC")));
    let patched = server.json("PATCH", path, r#"{"labels":null,"video_codec":null,"frame_rate":null}"#).await.json();
    assert_eq!((patched.get("labels"), &patched["video_codec"], &patched["frame_rate"]), (None, &json!(""), &json!(0)));
    assert_eq!(
        server
            .ask("PATCH", path, &[("Content-Type", "application/json"), ("Prefer", "return=minimal")], "{}")
            .await
            .status,
        204
    );

    let whole = r#"{"type":"rtp","source_addr":"[::1]:5004","status":"active","bitrate":7}"#;
    let put = server.ask("PUT", path, &[("content-type", "Application/JSON; charset=utf-8")], whole).await;
    assert_eq!((put.status, &put.json()["bitrate"], &put.json()["id"]), (200, &json!(7), &json!("cam1")));
    assert_eq!(registry.get(&id("cam1")).await.unwrap().created_at, now.created_at);
    assert_eq!(put.body, registry.get(&id("cam1")).await.unwrap().to_json());

    assert_eq!(server.ask("DELETE", path, &[], "").await.status, 204);
    server.ask("DELETE", path, &[], "").await.problem(404, "not_found");
    server.get(path).await.problem(404, "not_found");
    server.json("POST", "/api/v1/streams", CAM).await;
    let last = server
        .ask("DELETE", &format!("{path}?reason=gone%20home&force=true"), &[("Prefer", "return=representation")], "")
        .await;
    assert_eq!((last.status, &last.json()["end_reason"]), (200, &json!("gone home")));
    for (method, suffix, body) in [
        ("POST", "/heartbeat", ""),
        ("PUT", "/status", r#"{"status":"active"}"#),
        ("PUT", "/stats", r#"{"bitrate":1}"#),
        ("PUT", "", whole),
        ("PATCH", "", "{}"),
    ] {
        let problem = server.json(method, &format!("{path}{suffix}"), body).await.problem(404, "not_found");
        assert_eq!(problem["stream_id"], "cam1");
    }
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let (server, _) = Server::memory().await;
    let info = server.get("/api/v1/info").await.json();
    assert_eq!(
        info,
        json!({"name":"streamreg","version":env!("CARGO_PKG_VERSION"),"store":"memory","ttl_ms":300_000,"read_only":false})
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await.body, r#"{"status":"ok"}"#);
        assert_eq!(server.ask("HEAD", path, &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths_are_problems() {
    let (server, _) = Server::memory().await;
    for (method, path, allow) in [
        ("DELETE", "/api/v1/streams", "GET, HEAD, POST"),
        ("POST", "/api/v1/streams/a", "GET, HEAD, PUT, PATCH, DELETE"),
        ("GET", "/api/v1/streams/a/heartbeat", "POST"),
        ("POST", "/api/v1/streams/a/status", "PUT"),
        ("GET", "/api/v1/streams/a/stats", "PUT"),
        ("PUT", "/api/v1/snapshot", "GET, HEAD"),
        ("POST", "/api/v1/info", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/readyz", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/assets/app.js", "GET, HEAD"),
    ] {
        let answer = server.ask(method, path, &[], "").await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for path in
        ["/api/v1/streams/", "/api/v1/streams/a/b", "/api/v1", "/api/v2/streams", "/x", "/api/v1/streams/a/status/"]
    {
        server.get(path).await.problem(404, "unknown_path");
    }
}

#[tokio::test]
async fn every_kind_of_error_has_its_status_and_shows_no_secret() {
    let secret = || std::io::Error::other("redis://user:hunter2@host");
    for (kind, status, code) in [
        (ErrorKind::InvalidArgument, 400, "invalid"),
        (ErrorKind::Unsupported, 400, "unsupported"),
        (ErrorKind::Denied, 403, "forbidden"),
        (ErrorKind::NotHolder, 409, "not_holder"),
        (ErrorKind::Corrupt, 422, "corrupt"),
        (ErrorKind::Internal, 500, "internal"),
        (ErrorKind::Unavailable, 503, "unavailable"),
        (ErrorKind::Closed, 503, "unavailable"),
        (ErrorKind::Timeout, 503, "timeout"),
    ] {
        let registry = Gate::failing(Error::new(kind, "some sentence").with_source(secret()));
        let server = Server::start(registry, ServeOptions::default()).await;
        for (method, path) in [
            ("GET", "/api/v1/streams/a"),
            ("GET", "/api/v1/streams"),
            ("GET", "/api/v1/snapshot"),
            ("POST", "/api/v1/streams/a/heartbeat"),
        ] {
            let answer = server.ask(method, path, &[], "").await;
            let problem = answer.problem(status, code);
            assert_eq!(answer.header("retry-after"), if status == 503 { "1" } else { "" });
            assert_eq!(problem["may_have_applied"], kind == ErrorKind::Timeout);
            assert!(!answer.body.contains("hunter2"), "{}", answer.body);
        }
        let fault = server.client().await.get(&id("a")).await.unwrap_err();
        let expected = if kind == ErrorKind::Closed { ErrorKind::Unavailable } else { kind };
        assert_eq!((fault.kind(), fault.operation()), (expected, Some(Operation::Get)));
        assert_eq!(fault.stream_id(), Some(&id("a")));
    }
}

#[tokio::test]
async fn readiness_is_the_stores_and_health_the_processes() {
    let server =
        Server::start(Gate::failing(Error::new(ErrorKind::Unavailable, "the store is away")), ServeOptions::default())
            .await;
    let answer = server.get("/readyz").await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.get("/healthz").await.status, 200);
    let fault = server.client().await.ping().await.unwrap_err();
    assert_eq!((fault.kind(), fault.operation()), (ErrorKind::Unavailable, Some(Operation::Ping)));
}
