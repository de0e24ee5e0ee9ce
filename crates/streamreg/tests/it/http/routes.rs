//! Tests every route and every status code of the API.

use serde_json::{Value, json};
use stream_registry::registry::Operation;
use stream_registry::{Error, ErrorKind, Registry, StreamStats};
use streamreg::server::ServeOptions;

use super::kit::{BlockingRegistry, CAM, Server, id, stream};

#[tokio::test]
async fn every_route_works_for_a_stream() {
    let (server, registry) = Server::memory().await;
    let empty = server.get("/api/v1/streams").await;
    let revision = registry.snapshot().await.unwrap().revision.unwrap();
    let list = format!(r#"{{"streams":[],"next_cursor":null,"total":0,"revision":"{revision}"}}"#);
    assert_eq!(empty.body, list);
    assert_eq!(empty.header("content-type"), "application/json");
    let snapshot = format!(r#"{{"streams":[],"revision":"{revision}"}}"#);
    assert_eq!(server.get("/api/v1/snapshot").await.body, snapshot);

    let created = server.json("POST", "/api/v1/streams", CAM).await;
    assert_eq!((created.status, created.header("location")), (201, "streams/cam1"));
    let answer = created.json();
    assert_eq!((&answer["outcome"], &answer["ttl_ms"]), (&json!("created"), &json!(300_000)));
    assert_eq!(answer["epoch"], Value::Null);
    assert_eq!(answer["stream"]["status"], "connecting");
    let renewed = server.json("POST", "/api/v1/streams", CAM).await;
    assert_eq!((renewed.status, &renewed.json()["outcome"]), (200, &json!("renewed")));

    let other = CAM.replace("203.0.113.7", "198.51.100.1");
    let conflict = server.json("POST", "/api/v1/streams", &other).await.problem(409, "already_exists");
    assert_eq!(conflict["existing"]["source_addr"], "203.0.113.7:40112");
    assert_eq!((&conflict["operation"], &conflict["stream_id"]), (&json!("register"), &json!("cam1")));
    assert_eq!((&conflict["retryable"], &conflict["may_have_applied"]), (&json!(false), &json!(false)));
    server.json("POST", "/api/v1/streams?on_conflict=create_only", CAM).await.problem(409, "already_exists");
    server.json("POST", "/api/v1/streams?on_conflict=reject", &other).await.problem(409, "already_exists");
    let taken = server.json("POST", "/api/v1/streams?on_conflict=take_over", &other).await;
    assert_eq!((taken.status, &taken.json()["outcome"]), (200, &json!("taken_over")));

    let read = server.get("/api/v1/streams/cam1").await;
    assert_eq!((read.status, &read.body), (200, &registry.get(&id("cam1")).await.unwrap().to_json()));
    let head = server.request("HEAD", "/api/v1/streams/cam1", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), read.body.len().to_string());

    let path = "/api/v1/streams/cam1";
    assert_eq!(server.request("POST", &format!("{path}/heartbeat"), &[], "").await.status, 204);
    assert_eq!(server.request("POST", &format!("{path}/heartbeat?force=true"), &[], "ignored body").await.status, 204);
    assert_eq!(server.json("PUT", &format!("{path}/status"), r#"{"status":"buffering"}"#).await.status, 204);
    assert_eq!(registry.get(&id("cam1")).await.unwrap().status.as_str(), "buffering");
    let stats = r#"{"bytes_received":9223372036854775807,"viewers":3}"#;
    assert_eq!(server.json("PUT", &format!("{path}/stats"), stats).await.status, 204);
    let now = registry.get(&id("cam1")).await.unwrap();
    assert_eq!((now.bytes_received, now.viewers, now.packets_lost), (i64::MAX as u64, Some(3), 0));

    let patch = r#"{"video_codec":"HEVC","frame_rate":25,"node":"n1","labels":{"a":"1","b":"2"}}"#;
    let patched = server.request("PATCH", path, &[("Content-Type", "application/merge-patch+json")], patch).await;
    assert_eq!((patched.status, &patched.json()["video_codec"]), (200, &json!("HEVC")));
    let patched = server.json("PATCH", path, r#"{"node":null,"labels":{"a":null,"c":"3"}}"#).await.json();
    assert_eq!((patched.get("node"), &patched["labels"]), (None, &json!({"b":"2","c":"3"})));
    let patched = server.json("PATCH", &format!("{path}?labels=replace"), r#"{"labels":{"z":"9"}}"#).await.json();
    assert_eq!((&patched["labels"], &patched["video_codec"]), (&json!({"z":"9"}), &json!("HEVC")));
    let patched = server.json("PATCH", path, r#"{"labels":null,"video_codec":null,"frame_rate":null}"#).await.json();
    assert_eq!((patched.get("labels"), &patched["video_codec"], &patched["frame_rate"]), (None, &json!(""), &json!(0)));
    assert_eq!(
        server
            .request("PATCH", path, &[("Content-Type", "application/json"), ("Prefer", "return=minimal")], "{}")
            .await
            .status,
        204
    );

    let whole = r#"{"type":"rtp","source_addr":"[::1]:5004","status":"active","bitrate":7}"#;
    let put = server.request("PUT", path, &[("content-type", "Application/JSON; charset=utf-8")], whole).await;
    assert_eq!((put.status, &put.json()["bitrate"], &put.json()["id"]), (200, &json!(7), &json!("cam1")));
    assert_eq!(registry.get(&id("cam1")).await.unwrap().created_at, now.created_at);
    assert_eq!(put.body, registry.get(&id("cam1")).await.unwrap().to_json());

    assert_eq!(server.request("DELETE", path, &[], "").await.status, 204);
    server.request("DELETE", path, &[], "").await.problem(404, "not_found");
    server.get(path).await.problem(404, "not_found");
    server.json("POST", "/api/v1/streams", CAM).await;
    let last = server
        .request(
            "DELETE",
            &format!("{path}?reason=source%20lost&force=true"),
            &[("Prefer", "return=representation")],
            "",
        )
        .await;
    assert_eq!((last.status, &last.json()["end_reason"]), (200, &json!("source lost")));
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
async fn body_may_begin_with_a_byte_order_mark() {
    let (server, _) = Server::memory().await;
    assert_eq!(server.json("POST", "/api/v1/streams", &format!("\u{feff}{CAM}")).await.status, 201);
    let batch = "\u{feff}{\"streams\":[{\"id\":\"cam1\"}]}";
    assert_eq!(server.json("POST", "/api/v1/heartbeats", batch).await.status, 200);
}

#[tokio::test]
async fn every_route_works_for_a_leased_stream() {
    let (server, registry) = Server::memory().await;
    let path = "/api/v1/streams/cam1";
    let post = async |query: &str, body: &str, epoch: &str| {
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend((!epoch.is_empty()).then_some(("Stream-Epoch", epoch)));
        server.request("POST", &format!("/api/v1/streams?{query}"), &headers, body).await
    };
    let created = post("lease=true", CAM, "").await;
    assert_eq!((created.status, &created.json()["outcome"]), (201, &json!("created")));
    let first = created.json()["stream"].to_string();
    let mine = created.json()["epoch"].as_str().unwrap().to_owned();
    assert_eq!(created.json()["stream"]["epoch"], mine.as_str());

    let whole = r#"{"type":"srt","source_addr":"203.0.113.7:40112"}"#;
    let writes = [
        ("POST", "/heartbeat", "", 204),
        ("PUT", "/status", r#"{"status":"active"}"#, 204),
        ("PUT", "/stats", r#"{"bitrate":1}"#, 204),
        ("PATCH", "", r#"{"node":"n1"}"#, 200),
        ("PUT", "", whole, 200),
    ];
    for (method, suffix, body, status) in writes {
        let path = format!("{path}{suffix}");
        let before = registry.get(&id("cam1")).await.unwrap();
        for headers in [
            &[("Content-Type", "application/json")][..],
            &[("Content-Type", "application/json"), ("Stream-Epoch", "0")],
        ] {
            let problem = server.request(method, &path, headers, body).await.problem(409, "not_holder");
            assert_eq!(problem["stream_id"], "cam1");
        }
        assert_eq!(registry.get(&id("cam1")).await.unwrap(), before, "{method} {suffix}");
        let headers = [("Content-Type", "application/json"), ("Stream-Epoch", mine.as_str())];
        assert_eq!(server.request(method, &path, &headers, body).await.status, status, "{method} {suffix}");
        assert_eq!(server.json(method, &format!("{path}?force=true"), body).await.status, status, "{method} {suffix}");
        assert_eq!(registry.get(&id("cam1")).await.unwrap().epoch().unwrap().as_str(), mine);
    }

    // A registration without a lease is rejected. The same publisher may renew its lease. Another publisher may take
    // over a stale stream.
    post("", CAM, "").await.problem(409, "already_exists");
    let again = post("lease=true", CAM, "").await.json();
    assert_eq!(again["outcome"], "renewed");
    let other = CAM.replace("203.0.113.7", "198.51.100.1");
    let stale = |ms: u64| format!("lease=true&on_conflict=take_over_if_stale&stale_ms={ms}");
    let conflict = post(&stale(2_592_000_000), &other, "").await.problem(409, "already_exists");
    assert_eq!(conflict["existing"]["epoch"], again["epoch"]);
    let taken = post(&stale(0), &other, "").await;
    assert_eq!((taken.status, &taken.json()["outcome"]), (200, &json!("taken_over")));
    let theirs = taken.json()["epoch"].as_str().unwrap().to_owned();
    assert!(theirs.as_str() > again["epoch"].as_str().unwrap() && again["epoch"].as_str().unwrap() > mine.as_str());

    let lost = post("recover=true", &first, &mine).await.problem(409, "not_holder");
    assert_eq!((&lost["existing"]["epoch"], &lost["operation"]), (&json!(theirs), &json!("register")));
    server.request("DELETE", path, &[("Stream-Epoch", &mine)], "").await.problem(409, "not_holder");
    server.request("DELETE", path, &[], "").await.problem(409, "not_holder");
    assert_eq!(server.request("DELETE", path, &[("Stream-Epoch", &theirs)], "").await.status, 204);
    let lost = post("recover=true", &first, &mine).await.problem(409, "not_holder");
    assert_eq!(lost.get("existing"), None);
    post("recover=true", &first, &theirs).await.problem(404, "not_found");

    // The new server has an empty store, as after a data loss. Recovery restores the stream.
    let (server, _) = Server::memory().await;
    let headers = [("Content-Type", "application/json"), ("Stream-Epoch", mine.as_str())];
    for (status, outcome) in [(201, "created"), (200, "renewed")] {
        let back = server.request("POST", "/api/v1/streams?recover=true", &headers, &first).await;
        assert_eq!(
            (back.status, &back.json()["outcome"], &back.json()["epoch"]),
            (status, &json!(outcome), &json!(mine))
        );
        assert_eq!(back.json()["stream"]["created_at"], created.json()["stream"]["created_at"]);
    }
}

#[tokio::test]
async fn statistic_that_is_missing_or_null_keeps_its_value() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("cam1")).await.unwrap();
    let all = StreamStats {
        bytes_received: Some(1),
        packets_received: Some(2),
        packets_lost: Some(3),
        bitrate: Some(4),
        rtt_ms: Some(5.5),
        frame_rate: Some(25.0),
        ..Default::default()
    };
    registry.update_stats(&id("cam1"), &all).await.unwrap();
    let given = r#"{"bitrate":7,"packets_lost":null,"frame_rate":null,"rtt_ms":null}"#;
    assert_eq!(server.json("PUT", "/api/v1/streams/cam1/stats", given).await.status, 204);
    let expected = StreamStats { bitrate: Some(7), ..all };
    assert_eq!(registry.get(&id("cam1")).await.unwrap().stats(), expected);
    let batch = r#"{"streams":[{"id":"cam1","stats":{"packets_received":8,"bitrate":null}}]}"#;
    assert_eq!(server.json("POST", "/api/v1/heartbeats", batch).await.status, 200);
    let expected = StreamStats { packets_received: Some(8), ..expected };
    assert_eq!(registry.get(&id("cam1")).await.unwrap().stats(), expected);
    assert_eq!(server.json("PUT", "/api/v1/streams/cam1/stats", "{}").await.status, 204);
    assert_eq!(registry.get(&id("cam1")).await.unwrap().stats(), expected);
}

#[tokio::test]
async fn info_and_health_describe_the_server() {
    let (server, _) = Server::memory().await;
    let info = server.get("/api/v1/info").await.json();
    assert_eq!(
        info,
        json!({"name":"streamreg","version":env!("CARGO_PKG_VERSION"),"store":"memory","ttl_ms":300_000,"read_only":false})
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await.body, r#"{"status":"ok"}"#);
        assert_eq!(server.request("HEAD", path, &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths_return_problems() {
    let (server, _) = Server::memory().await;
    for (method, path, allow) in [
        ("DELETE", "/api/v1/streams", "GET, HEAD, POST"),
        ("POST", "/api/v1/streams/a", "GET, HEAD, PUT, PATCH, DELETE"),
        ("GET", "/api/v1/streams/a/heartbeat", "POST"),
        ("POST", "/api/v1/streams/a/status", "PUT"),
        ("GET", "/api/v1/streams/a/stats", "PUT"),
        ("GET", "/api/v1/heartbeats", "POST"),
        ("PUT", "/api/v1/snapshot", "GET, HEAD"),
        ("POST", "/api/v1/info", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PATCH", "/readyz", "GET, HEAD"),
        ("POST", "/api/v1", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/assets/app.js", "GET, HEAD"),
    ] {
        let answer = server.request(method, path, &[], "").await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for path in ["/api/v1/streams/a/b", "/api", "/api/v2/streams", "/x", "/api/v1/streams/a/status/"] {
        server.get(path).await.problem(404, "unknown_path");
    }
}

#[tokio::test]
async fn index_names_each_route_with_the_methods_that_options_allows() {
    let (server, _) = Server::memory().await;
    let index = server.get("/api/v1").await.json();
    let routes = index["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["path"] == "/api/v1/streams/{id}"), "{index}");
    for route in routes {
        let path = route["path"].as_str().unwrap().replace("{id}", "cam1");
        let methods: Vec<_> = route["methods"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        let answer = server.request("OPTIONS", &path, &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("allow"), format!("{}, OPTIONS", methods.join(", ")), "{path}");
    }
    for path in ["/", "/docs", "/assets/app.js"] {
        assert_eq!(server.request("OPTIONS", path, &[], "").await.header("allow"), "GET, HEAD, OPTIONS");
    }
    server.request("OPTIONS", "/x", &[], "").await.problem(404, "unknown_path");
}

#[tokio::test]
async fn trailing_slash_is_redirected_unless_it_can_belong_to_an_id() {
    let (server, _) = Server::memory().await;
    for (path, location) in [
        ("/api/v1/", "../v1"),
        ("/api/v1/streams/", "../streams"),
        ("/api/v1/streams/?limit=1&status=active", "../streams?limit=1&status=active"),
        ("/api/v1/stream/?id=a", "../stream?id=a"),
        ("/healthz/", "../healthz"),
        ("/openapi.json/", "../openapi.json"),
        ("/docs/", "../docs"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (308, location), "{path}");
    }
    assert_eq!(server.json("POST", "/api/v1/streams/", CAM).await.status, 308);
    for path in ["/api/v1/streams/cam1/", "/api/v1/streams//", "/api/v1/streams/cam1/stats/", "//"] {
        server.get(path).await.problem(404, "unknown_path");
    }
}

#[tokio::test]
async fn error_responses_have_the_right_status_and_reveal_no_secret() {
    let secret = || std::io::Error::other("redis://user:hunter2@host");
    for (kind, status, code) in [
        (ErrorKind::InvalidArgument, 400, "invalid"),
        (ErrorKind::Unsupported, 400, "unsupported"),
        (ErrorKind::Unauthenticated, 503, "unavailable"),
        (ErrorKind::Denied, 503, "unavailable"),
        (ErrorKind::NotHolder, 409, "not_holder"),
        (ErrorKind::Corrupt, 422, "corrupt"),
        (ErrorKind::Internal, 500, "internal"),
        (ErrorKind::Unavailable, 503, "unavailable"),
        (ErrorKind::Closed, 503, "closed"),
        (ErrorKind::Timeout, 503, "timeout"),
    ] {
        let registry = BlockingRegistry::failing(Error::new(kind, "some message").with_source(secret()));
        let server = Server::start(registry, ServeOptions::default()).await;
        for (method, path) in [
            ("GET", "/api/v1/streams/a"),
            ("GET", "/api/v1/streams"),
            ("GET", "/api/v1/snapshot"),
            ("POST", "/api/v1/streams/a/heartbeat"),
        ] {
            let answer = server.request(method, path, &[], "").await;
            let problem = answer.problem(status, code);
            assert_eq!(answer.header("retry-after"), if status == 503 { "1" } else { "" });
            assert_eq!(problem["may_have_applied"], kind == ErrorKind::Timeout);
            assert!(!answer.body.contains("hunter2"), "{}", answer.body);
        }
        let error = server.client().await.get(&id("a")).await.unwrap_err();
        let expected = match kind {
            ErrorKind::Closed | ErrorKind::Unauthenticated | ErrorKind::Denied => ErrorKind::Unavailable,
            kind => kind,
        };
        assert_eq!((error.kind(), error.operation()), (expected, Some(Operation::Get)));
        assert_eq!(error.stream_id(), Some(&id("a")));
    }
}

#[tokio::test]
async fn every_response_has_the_request_id_of_the_client_or_a_new_one() {
    let (server, _) = Server::memory().await;
    for (path, status) in [("/healthz", 200), ("/", 200), ("/nowhere", 404), ("/api/v1/streams?limit=x", 400)] {
        let response = server.request("GET", path, &[("X-Request-Id", "edge-1/42")], "").await;
        assert_eq!((response.status, response.header("x-request-id")), (status, "edge-1/42"), "{path}");
        let (first, second) = (server.get(path).await, server.get(path).await);
        assert_eq!(first.header("x-request-id").len(), 16, "{path}");
        assert_ne!(first.header("x-request-id"), second.header("x-request-id"), "{path}");
    }
    let missing = server.request("GET", "/api/v1/streams/none", &[("X-Request-Id", "not valid")], "").await;
    assert_ne!(missing.problem(404, "not_found")["request_id"], "not valid");
    let head = server.request("HEAD", "/api/v1/streams/none", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (404, ""));
}

#[tokio::test]
async fn client_names_the_request_of_an_internal_error() {
    let registry = BlockingRegistry::failing(Error::new(ErrorKind::Internal, "a detail for the log"));
    let server = Server::start(registry, ServeOptions::default()).await;
    let error = server.client().await.get(&id("cam1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().starts_with("internal server error; see the server log for request "), "{error:?}");
}
