//! Writes that another client overtakes, or whose client disconnects.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stream_registry::Registry as _;
use streamreg::server::{AccessFile, ServeOptions};
use testkit::{CapturedLog, wait_until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::kit::{entry, of_node, record, value};
use crate::http::kit::{BlockingRegistry, PATIENCE, Server, id};

/// Starts a server with one token, whose registrations and unregistrations block.
async fn blocked(more: &str) -> (Server, Arc<BlockingRegistry>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.toml");
    std::fs::write(&file, entry("a", more)).unwrap();
    let registry = BlockingRegistry::with_ttl(Duration::from_secs(300));
    registry.set_blocked(true);
    let options = ServeOptions::default().access_file(AccessFile::read(&file).unwrap());
    (Server::start(registry.clone(), options).await, registry)
}

#[tokio::test]
async fn token_does_not_take_over_a_stream_of_another_node_that_is_registered_at_the_same_time() {
    let (server, registry) = blocked("scopes = [\"write\"]\nnodes = [\"edge-1\"]").await;
    let authorization = format!("Bearer {}", value("a"));
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let body = record("cam", Some("edge-1"));
    let take_over = server.request("POST", "/api/v1/streams?on_conflict=take_over", &headers, &body);
    let other = async {
        registry.entered.notified().await;
        registry.inner.register(&of_node("cam", "edge-2")).await.unwrap();
        registry.set_blocked(false);
    };
    let (answer, ()) = tokio::join!(take_over, other);
    answer.problem(403, "denied");
    assert_eq!(registry.inner.get(&id("cam")).await.unwrap().node.as_deref(), Some("edge-2"));
}

// This test runs on a single thread, because the log is captured per thread.
#[tokio::test]
async fn write_whose_client_disconnects_is_logged_as_cancelled() {
    let (server, registry) = blocked("scopes = [\"write\"]").await;
    let log = CapturedLog::start();
    for (method, path, operation) in [("POST", "", "register"), ("DELETE", "/cam", "unregister")] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        let body = if method == "POST" { record("cam", None) } else { json!({}).to_string() };
        let request = format!(
            "{method} /api/v1/streams{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            value("a"),
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        registry.entered.notified().await;
        drop(socket);
        let line = format!(r#"token="a" operation="{operation}" stream="cam" result="cancelled""#);
        wait_until(PATIENCE, async || log.text().contains(&line)).await;
    }
}
