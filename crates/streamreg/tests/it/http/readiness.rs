//! `/readyz` and `/healthz` while the store fails or refuses the server.

use std::sync::Arc;

use serde_json::json;
use stream_registry::registry::Operation;
use stream_registry::{Error, ErrorKind, MemoryRegistry, Registry};
use streamreg::server::ServeOptions;
use testkit::{CapturedLog, wait_until};

use super::kit::{BlockingRegistry, CAM, PATIENCE, Server, stream};
use crate::redis::{TestRedis, permissions};

#[tokio::test]
async fn readiness_depends_on_the_store_and_health_does_not() {
    let server = Server::start(
        BlockingRegistry::failing(Error::new(ErrorKind::Unavailable, "the store is down")),
        ServeOptions::default(),
    )
    .await;
    let answer = server.get("/readyz").await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.get("/healthz").await.status, 200);
    let error = server.client().await.ping().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some(Operation::Ping)));
}

#[tokio::test]
async fn refused_credentials_of_the_server_are_reported_as_unavailable() {
    let log = CapturedLog::start();
    let redis = TestRedis::start().await;
    redis.user("server", &permissions::rules("server").join(" ")).await;
    let server = Server::start(Arc::new(redis.store_as("server").await), ServeOptions::default()).await;
    let client = server.client().await;
    client.register(&stream("a")).await.unwrap();
    assert_eq!(server.get("/readyz").await.status, 200);

    // The user loses one permission that only registrations need, so a ping still succeeds.
    redis.server.cli(&["ACL", "SETUSER", "server", "-zadd"]).await;
    let answer = server.json("POST", "/api/v1/streams", CAM).await;
    let problem = answer.problem(503, "unavailable");
    assert_eq!((&problem["retryable"], &problem["may_have_applied"]), (&json!(true), &json!(false)));
    assert!(problem["detail"].as_str().unwrap().to_ascii_lowercase().contains("zadd"), "{problem}");
    let text = log.text();
    let logged = text.lines().find(|line| line.to_ascii_lowercase().contains("zadd"));
    assert!(logged.is_some_and(|line| line.contains(" WARN ")), "{text}");
    // The readiness check needs no token, so it does not name the stream.
    let problem = server.get("/readyz").await.problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().to_ascii_lowercase().contains("zadd"), "{problem}");
    assert!(!problem.to_string().contains("cam1"), "{problem}");
    let error = client.register(&stream("b")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_store_reply(), "{error:?}");

    // Deleting the user closes its connections, and the server cannot log in again.
    redis.server.cli(&["ACL", "DELUSER", "server"]).await;
    wait_until(PATIENCE, async || {
        let answer = server.get("/api/v1/streams/a").await;
        let problem = answer.problem(503, "unavailable");
        problem["detail"].as_str().unwrap().contains("user name or password")
    })
    .await;
    server.get("/readyz").await.problem(503, "unavailable");
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn server_is_not_ready_after_the_store_refused_the_items_of_a_batch() {
    let redis = TestRedis::start().await;
    redis.user("server", &permissions::rules("server").join(" ")).await;
    let server = Server::start(Arc::new(redis.store_as("server").await), ServeOptions::default()).await;
    let writer = redis.store().await;
    // The store sends this many heartbeats in two calls, so it returns one error per item instead of one for all.
    let ids: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    for id in &ids {
        writer.register(&stream(id)).await.unwrap();
    }
    redis.server.cli(&["ACL", "SETUSER", "server", "-setrange"]).await;
    let body = json!({ "streams": ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>() });
    let answer = server.json("POST", "/api/v1/heartbeats", &body.to_string()).await;
    let failed = answer.json()["failed"].as_array().unwrap().clone();
    assert_eq!(failed.len(), 200);
    assert!(failed.iter().all(|item| item["code"] == "unavailable"), "{failed:?}");
    server.get("/readyz").await.problem(503, "unavailable");
}

#[tokio::test]
async fn write_to_a_read_only_server_is_denied_and_the_server_stays_ready() {
    let server = Server::start(Arc::new(MemoryRegistry::new().read_only()), ServeOptions::default()).await;
    let message = "the server is read-only (started with --read-only); send writes to another server";
    let from_a_page = [("Origin", "https://example.com"), ("Content-Type", "application/json")];
    for answer in [
        server.json("POST", "/api/v1/streams", CAM).await,
        server.json("POST", "/api/v1/heartbeats", r#"{"streams":[{"id":"x"}]}"#).await,
        server.request("POST", "/api/v1/streams", &from_a_page, CAM).await,
    ] {
        let problem = answer.problem(403, "denied");
        assert_eq!(problem["retryable"], false);
        assert_eq!(problem["detail"], message);
    }
    let client = server.client().await;
    assert!(client.info().read_only);
    let error = client.register(&stream("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Denied, message));
    assert_eq!(server.get("/readyz").await.status, 200);
}
