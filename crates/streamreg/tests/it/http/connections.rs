//! Timeouts and limits of connections, and the shutdown of the server.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stream_registry::{MemoryRegistry, Registry};
use streamreg::server::ServeOptions;
use testkit::wait_until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::kit::{BlockingRegistry, CAM, PATIENCE, Response, Server, stream, within};

#[tokio::test]
async fn shutdown_finishes_requests_in_flight_and_closes_idle_connections() {
    let registry = BlockingRegistry::blocking_get();
    registry.inner.register(&stream("a")).await.unwrap();
    let mut server = Server::start(registry.clone(), ServeOptions::default()).await;
    let mut fresh = TcpStream::connect(server.addr).await.unwrap();
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut chunk = [0; 1024];
    let got = within(idle.read(&mut chunk)).await.unwrap();
    assert!(chunk[..got].starts_with(b"HTTP/1.1 200"));
    let mut busy = TcpStream::connect(server.addr).await.unwrap();
    busy.write_all(b"GET /api/v1/streams/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    within(registry.entered.notified()).await;

    server.begin_stop();
    for socket in [&mut idle, &mut fresh] {
        assert_eq!(within(socket.read(&mut chunk)).await.unwrap(), 0, "an idle connection is closed at once");
    }
    within(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;
    assert!(!server.task.is_finished());
    registry.release.notify_one();
    let answer = Response::read(&mut busy).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("a")));
    server.stopped().await;
}

#[tokio::test]
async fn shutdown_closes_connections_after_the_grace_period() {
    let registry = BlockingRegistry::blocking_get();
    let options = ServeOptions::default().grace(Duration::from_millis(100));
    let mut server = Server::start(registry.clone(), options).await;
    let mut busy = TcpStream::connect(server.addr).await.unwrap();
    busy.write_all(b"GET /api/v1/streams/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    within(registry.entered.notified()).await;
    server.begin_stop();
    server.stopped().await;
    let mut rest = Vec::new();
    let _ = within(busy.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn incomplete_requests_time_out() {
    let registry = Arc::new(MemoryRegistry::new());
    let options =
        ServeOptions::default().header_timeout(Duration::from_millis(200)).body_timeout(Duration::from_millis(200));
    let server = Server::start(registry.clone(), options).await;
    registry.register(&stream("a")).await.unwrap();
    for incomplete in ["", "G", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(incomplete.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = within(socket.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{incomplete:?}");
    }
    let head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{";
    for request in [
        "POST /api/v1/streams",
        "PUT /api/v1/streams/a/status",
        "POST /api/v1/streams/a/heartbeat",
        "DELETE /api/v1/streams/a",
    ] {
        let answer = server.raw(format!("{request} HTTP/1.1\r\n{head}").as_bytes()).await;
        answer.problem(408, "request_timeout");
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

/// Returns a registry whose snapshot has 16 MB, which is more than the buffers of a socket.
async fn large_registry() -> Arc<MemoryRegistry> {
    let registry = Arc::new(MemoryRegistry::new());
    for n in 0..10_000 {
        let mut record = stream(&format!("cam{n}"));
        record.labels.insert("pad".into(), "x".repeat(256));
        record.video_codec = "y".repeat(1_000);
        registry.register(&record).await.unwrap();
    }
    registry
}

/// Requests the snapshot, and reads only the beginning of the response.
async fn open_snapshot(server: &Server) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(b"GET /api/v1/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    within(socket.read_exact(&mut start)).await.unwrap();
    (socket, String::from_utf8(start.to_vec()).unwrap())
}

#[tokio::test]
async fn lists_use_limited_memory_although_nobody_reads_them() {
    let server = Server::start(large_registry().await, ServeOptions::default()).await;
    let mut unread = Vec::new();
    let last = loop {
        let (socket, start) = open_snapshot(&server).await;
        if start != "HTTP/1.1 200" {
            break start;
        }
        unread.push(socket);
        assert!(unread.len() < 30, "the server holds more than 450 MB of responses");
    };
    assert_eq!(last, "HTTP/1.1 503");
    assert!(unread.len() > 10, "{}", unread.len());
    server.get("/api/v1/snapshot").await.problem(503, "unavailable");
    // Small responses need no memory of the limit.
    assert_eq!(server.get("/api/v1/streams/cam1").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200);
    drop(unread);
    wait_until(PATIENCE, async || open_snapshot(&server).await.1 == "HTTP/1.1 200").await;
}

#[tokio::test]
async fn client_that_does_not_read_is_disconnected() {
    let options = ServeOptions::default().write_timeout(Duration::from_millis(200)).grace(PATIENCE * 2);
    let mut server = Server::start(large_registry().await, options).await;
    // The response has started, and the whole response is larger than the socket buffers.
    let _unread = open_snapshot(&server).await;
    server.begin_stop();
    server.stopped().await;
}

#[tokio::test]
async fn bodies_above_the_limit_are_rejected() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    let big = "x".repeat(64 * 1024 + 1);
    for (method, path) in [
        ("POST", "/api/v1/streams"),
        ("PUT", "/api/v1/streams/a"),
        ("PATCH", "/api/v1/streams/a"),
        ("PUT", "/api/v1/streams/a/status"),
        ("PUT", "/api/v1/streams/a/stats"),
        ("POST", "/api/v1/streams/a/heartbeat"),
        ("DELETE", "/api/v1/streams/a"),
    ] {
        server.json(method, path, &big).await.problem(413, "too_large");
        let chunked = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
            big.len()
        );
        server.raw(chunked.as_bytes()).await.problem(413, "too_large");
    }
    let padded = format!("{CAM}{}", " ".repeat(64 * 1024 - CAM.len()));
    assert_eq!(server.json("POST", "/api/v1/streams", &padded).await.status, 201);
}

#[tokio::test]
async fn malformed_http_gets_status_400() {
    let (server, _) = Server::memory().await;
    for bytes in [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"POST /api/v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"POST /api/v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n"] {
        assert_eq!(server.raw(bytes).await.status, 400, "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}
