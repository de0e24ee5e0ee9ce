//! Compression of lists.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;
use stream_registry::Registry as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::events::Events;
use super::kit::{LIST, Server, stream, within};

/// Sends a request that accepts gzip. Returns the head of the response in lower case, and its body.
async fn get(server: &Server, method: &str, path: &str) -> (String, Vec<u8>) {
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept-Encoding: gzip, br\r\n\r\n";
    socket.write_all(format!("{method} {path} {head}").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    within(socket.read_to_end(&mut bytes)).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase(), bytes[end..].to_vec())
}

#[tokio::test]
async fn large_lists_are_compressed_for_clients_that_accept_gzip() {
    let (server, registry) = Server::memory().await;
    for path in [LIST, "/api/v1/snapshot", "/api/v1/history"] {
        let (head, body) = get(&server, "GET", path).await;
        assert!(!head.contains("content-encoding"), "a small body is compressed: {head}");
        assert!(head.contains("vary: accept-encoding") && body.starts_with(b"{"), "{head}");
    }
    for n in 0..200 {
        registry.register(&stream(&format!("cam{n}"))).await.unwrap();
    }
    for n in 0..100 {
        registry.unregister(&format!("cam{n}").parse().unwrap()).await.unwrap();
    }
    for path in [LIST, "/api/v1/snapshot", "/api/v1/history"] {
        let plain = server.get(path).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"), "{path}");
        let (head, body) = get(&server, "GET", path).await;
        assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.len() * 4 < plain.body.len(), "{path}: {} of {} bytes", body.len(), plain.body.len());
        let mut decoded = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut decoded).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&decoded).unwrap(), plain.json(), "{path}");
        let (head, body) = get(&server, "HEAD", path).await;
        assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    }
    let (head, body) = get(&server, "GET", "/api/v1/streams?limit=0").await;
    assert!(head.contains("application/problem+json") && body.starts_with(b"{"), "{head}");
}

#[tokio::test]
async fn events_are_not_compressed() {
    let (server, registry) = Server::memory().await;
    let mut events = Events::open(&server, "", "Accept-Encoding: gzip\r\n").await;
    assert!(!events.head.contains("content-encoding"), "{}", events.head);
    registry.register(&stream("cam1")).await.unwrap();
    assert_eq!(events.next_change().await.1["event"], "registered");
}
