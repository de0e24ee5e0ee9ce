//! What each scope allows, and which requests need no token.

use std::sync::Arc;

use serde_json::json;
use stream_registry::{MemoryRegistry, RegisterOptions, Registry as _};
use streamreg::server::ServeOptions;

use super::kit::{Guarded, entry, record, value};
use crate::http::kit::{Server, id, stream};

const FILE: [(&str, &str); 4] = [("a", "read"), ("b", "write"), ("c", "metrics"), ("d", "admin")];

fn all_scopes() -> String {
    FILE.map(|(token, scope)| entry(token, &format!("scopes = [\"{scope}\"]"))).concat()
}

/// Requests that read, with their paths.
const READS: [&str; 10] = [
    "/api/v1",
    "/api/v1/streams",
    "/api/v1/streams/x",
    "/api/v1/stream?id=x",
    "/api/v1/summary",
    "/api/v1/snapshot",
    "/api/v1/history",
    "/metrics/streams",
    "/nowhere",
    "/api/v1/nowhere",
];

/// Requests that need no token, in the document of the API.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/docs", "/openapi.json"];

const WRITES: [(&str, &str, &str); 8] = [
    ("POST", "/api/v1/streams", r#"{"id":"x","type":"srt","source_addr":"203.0.113.7:40112"}"#),
    ("PUT", "/api/v1/streams/x", r#"{"type":"srt","source_addr":"203.0.113.7:40112"}"#),
    ("PATCH", "/api/v1/streams/x", r#"{"video_codec":"AV1"}"#),
    ("POST", "/api/v1/streams/x/heartbeat", ""),
    ("PUT", "/api/v1/streams/x/status", r#"{"status":"active"}"#),
    ("PUT", "/api/v1/streams/x/stats", r#"{"bitrate":5}"#),
    ("POST", "/api/v1/heartbeats", r#"{"streams":[{"id":"x"}]}"#),
    ("DELETE", "/api/v1/streams/x", ""),
];

#[tokio::test]
async fn each_scope_allows_exactly_its_requests() {
    let guarded = Guarded::start(&all_scopes()).await;
    for (token, scope) in FILE {
        guarded.registry.register(&stream("x")).await.unwrap();
        for path in READS.into_iter().chain(["/api/v1/events?from=x"]) {
            let answer = guarded.get(token, path).await;
            if matches!(scope, "read" | "admin") {
                assert!(matches!(answer.status, 200 | 400 | 404), "{scope} {path}: {}", answer.status);
            } else {
                let problem = answer.problem(403, "denied");
                assert!(problem["detail"].as_str().unwrap().contains("needs the scope read;"), "{problem}");
            }
        }
        for (method, path, body) in WRITES {
            let answer = guarded.request(token, method, path, body).await;
            if matches!(scope, "write" | "admin") {
                assert!(matches!(answer.status, 200..=204), "{scope} {method} {path}: {}", answer.body);
            } else {
                let problem = answer.problem(403, "denied");
                assert!(problem["detail"].as_str().unwrap().contains("needs the scope write;"), "{problem}");
            }
        }
        for path in ["/metrics", "/api/v1/sd"] {
            let status = guarded.get(token, path).await.status;
            assert_eq!(status == 403, scope == "write", "{scope} {path}: {status}");
        }
        // Every client reads the description of the server first, whatever it does then.
        assert_eq!(guarded.get(token, "/api/v1/info").await.status, 200, "{scope}");
        guarded.registry.unregister(&"x".parse().unwrap()).await.ok();
    }
}

#[tokio::test]
async fn every_request_except_health_checks_and_the_static_page_needs_a_token() {
    let guarded = Guarded::start(&all_scopes()).await;
    let a = value("a");
    for authorization in ["", "Bearer ", "Bearer z", "Bearer a", &format!("Basic {a}"), &a, &format!("Bearer {a}x")] {
        let headers = [("Authorization", authorization)];
        let reads = READS.into_iter().chain(["/api/v1/events", "/metrics", "/api/v1/info", "/healthz/", "//"]);
        for (method, path) in reads.map(|path| ("GET", path)).chain(WRITES.map(|(method, path, _)| (method, path))) {
            let answer = guarded.server.request(method, path, &headers, "").await;
            answer.problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        for path in OPEN.into_iter().chain(["/", "/assets/app.js"]) {
            assert_eq!(guarded.server.request("GET", path, &headers, "").await.status, 200, "{path}");
        }
    }
    let valid = format!("Bearer {a}");
    let twice = [("Authorization", valid.as_str()), ("Authorization", valid.as_str())];
    guarded.server.request("GET", "/api/v1/streams", &twice, "").await.problem(401, "unauthenticated");
    // A token in the URL would be in logs and in the history of browsers.
    for parameter in ["token", "access_token"] {
        let path = format!("/api/v1/streams?{parameter}={a}");
        guarded.server.get(&path).await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn every_operation_of_the_api_document_needs_a_token() {
    let guarded = Guarded::start(&all_scopes()).await;
    let document = guarded.server.get("/openapi.json").await.json();
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let is_open = OPEN.contains(&path.as_str());
            let answer = guarded.server.request(&method.to_uppercase(), &path.replace("{id}", "x"), &[], "").await;
            assert_eq!(answer.status, if is_open { 200 } else { 401 }, "{method} {path}");
            assert_eq!(answer.header("set-cookie"), "", "{method} {path}");
            checked += usize::from(!is_open);
        }
    }
    assert!(checked > 25, "{checked} operations");
}

#[tokio::test]
async fn name_in_the_host_header_is_not_checked_if_every_read_needs_a_token_or_the_request_has_one() {
    let request = "GET /api/v1/streams HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let guarded = Guarded::start(&all_scopes()).await;
    guarded.server.raw(request.as_bytes()).await.problem(401, "unauthenticated");
    let open = Guarded::start(&format!("anonymous = [\"read\"]\n{}", all_scopes())).await;
    open.server.raw(request.as_bytes()).await.problem(421, "host_not_allowed");
    // A page that rebinds its name has no token.
    for (token, status) in [("a", 200), ("z", 421)] {
        let authorization = format!("Host: evil.example\r\nAuthorization: Bearer {}", value(token));
        let request = request.replace("Host: evil.example", &authorization);
        assert_eq!(open.server.raw(request.as_bytes()).await.status, status, "{token}");
    }
}

#[tokio::test]
async fn anonymous_scopes_open_reads_but_not_writes() {
    let guarded = Guarded::start(&format!("anonymous = [\"read\"]\n{}", all_scopes())).await;
    assert_eq!(guarded.server.get("/api/v1/streams").await.status, 200);
    assert_eq!(guarded.server.get("/metrics").await.status, 200);
    guarded.server.json("POST", "/api/v1/streams", &record("x", None)).await.problem(401, "unauthenticated");
    let metrics = Guarded::start(&format!("anonymous = [\"metrics\"]\n{}", all_scopes())).await;
    assert_eq!(metrics.server.get("/metrics").await.status, 200);
    assert_eq!(metrics.server.get("/api/v1/sd").await.status, 200);
    // The metrics of single streams contain their ids.
    metrics.server.get("/metrics/streams").await.problem(401, "unauthenticated");
    metrics.server.get("/api/v1/streams").await.problem(401, "unauthenticated");
    metrics.server.get("/api/v1/info").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn expired_token_gets_401_that_says_so() {
    let file = entry("a", "scopes = [\"read\"]\nexpires = 2020-01-01T00:00:00Z")
        + &entry("b", "scopes = [\"read\"]\nexpires = \"9000-01-01T00:00:00Z\"");
    let guarded = Guarded::start(&file).await;
    let answer = guarded.get("a", "/api/v1/streams").await;
    let problem = answer.problem(401, "unauthenticated");
    assert!(problem["detail"].as_str().unwrap().starts_with("the token a has expired; "), "{problem}");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_eq!(guarded.get("b", "/api/v1/streams").await.status, 200);
}

#[tokio::test]
async fn force_needs_the_scope_admin() {
    let guarded = Guarded::start(&all_scopes()).await;
    let lease = RegisterOptions::default().lease();
    guarded.registry.register_with(&stream("x"), &lease).await.unwrap();
    let record = guarded.registry.get(&id("x")).await.unwrap();
    for (method, path, body) in WRITES {
        let answer = guarded.request("b", method, path, body).await;
        match path {
            "/api/v1/streams" => drop(answer.problem(409, "already_exists")),
            "/api/v1/heartbeats" => assert_eq!(answer.json()["not_holder"], json!(["x"])),
            _ => drop(answer.problem(409, "not_holder")),
        }
        if path == "/api/v1/streams" {
            continue;
        }
        let path = format!("{path}?force=true");
        let answer = guarded.request("b", method, &path, body).await;
        if path.contains("heartbeats") {
            let failed = &answer.json()["failed"][0];
            assert_eq!((&failed["id"], &failed["code"]), (&json!("x"), &json!("denied")));
        } else {
            let problem = answer.problem(403, "denied");
            assert!(problem["detail"].as_str().unwrap().contains("needs the scope admin for force"), "{problem}");
        }
    }
    assert_eq!(guarded.registry.get(&id("x")).await.unwrap(), record);
    for (method, path, body) in WRITES.into_iter().filter(|(_, path, _)| *path != "/api/v1/streams") {
        let answer = guarded.request("d", method, &format!("{path}?force=true"), body).await;
        assert!(matches!(answer.status, 200..=204), "{method} {path}: {}", answer.body);
    }
}

/// The epoch is no secret: every answer with the record contains it.
#[tokio::test]
async fn token_with_the_scope_write_gets_records_and_epochs_of_the_streams_that_it_may_write() {
    let guarded = Guarded::start(&entry("b", "scopes = [\"write\"]\nids = [\"x\"]")).await;
    for name in ["x", "y"] {
        guarded.registry.register_with(&stream(name), &RegisterOptions::default().lease()).await.unwrap();
    }
    let conflict = guarded.request("b", "POST", "/api/v1/streams", &record("x", None)).await;
    let existing = conflict.problem(409, "already_exists")["existing"].clone();
    let epoch = existing["epoch"].as_str().unwrap();
    let authorization = format!("Bearer {}", value("b"));
    let headers = [("Authorization", authorization.as_str()), ("Stream-Epoch", epoch)];
    let heartbeat = guarded.server.request("POST", "/api/v1/streams/x/heartbeat", &headers, "").await;
    assert_eq!(heartbeat.status, 204);
    let denied = guarded.request("b", "POST", "/api/v1/streams", &record("y", None)).await;
    assert!(denied.problem(403, "denied")["existing"].is_null(), "{}", denied.body);
}

#[tokio::test]
async fn read_token_protects_reads_and_the_write_token_allows_everything() {
    let options = ServeOptions::default().token("w").read_token("r");
    let server = Server::start(Arc::new(MemoryRegistry::new()), options).await;
    let register = record("x", None);
    let send = async |token: &str, method: &str, path: &str, body: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        server.request(method, path, &headers, body).await
    };
    server.get("/api/v1/streams").await.problem(401, "unauthenticated");
    assert_eq!(send("r", "GET", "/api/v1/streams", "").await.status, 200);
    send("r", "POST", "/api/v1/streams", &register).await.problem(403, "denied");
    assert_eq!(send("w", "POST", "/api/v1/streams", &register).await.status, 201);
    assert_eq!(send("w", "GET", "/api/v1/streams", "").await.status, 200);
    assert_eq!(send("w", "DELETE", "/api/v1/streams/x?force=true", "").await.status, 204);
}

#[tokio::test]
async fn read_token_of_a_read_only_server_allows_no_write() {
    let options = ServeOptions::default().read_token("r");
    let server = Server::start(Arc::new(MemoryRegistry::new().read_only()), options).await;
    let headers = [("Authorization", "Bearer r"), ("Content-Type", "application/json")];
    server.get("/api/v1/streams").await.problem(401, "unauthenticated");
    assert_eq!(server.request("GET", "/api/v1/streams", &headers, "").await.status, 200);
    let write = server.request("POST", "/api/v1/streams", &headers, &record("x", None)).await;
    // A token with more rights would not help.
    let problem = write.problem(403, "denied");
    assert!(problem["detail"].as_str().unwrap().starts_with("the server is read-only"), "{problem}");
    server.json("POST", "/api/v1/streams", &record("x", None)).await.problem(401, "unauthenticated");
}
