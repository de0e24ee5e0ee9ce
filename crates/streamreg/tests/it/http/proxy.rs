//! Ids in the query, and requests through a reverse proxy that decodes paths and adds a prefix.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use stream_registry::{ErrorKind, HttpRegistry, Registry, StreamPatch, StreamStats, StreamStatus, UnregisterOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::kit::{CAM, Response, Server, id, stream};

/// Starts a proxy at the path `/registry` that decodes `%2F` and `%5C` in paths, as nginx does if its `proxy_pass` has
/// a path. The proxy forwards one request per connection.
pub(crate) async fn decoding_proxy(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut client = BufReader::new(client);
                let mut line = String::new();
                client.read_line(&mut line).await.unwrap();
                let Some((method, target)) = line.split_once(' ') else { return };
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let path = path.strip_prefix("/registry").unwrap().replace("%2F", "/").replace("%5C", "/");
                let separator = if query.is_empty() { "" } else { "?" };
                let mut upstream = TcpStream::connect(server).await.unwrap();
                let head = format!("{method} {path}{separator}{query}Connection: close\r\n");
                upstream.write_all(head.as_bytes()).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn client_works_behind_a_proxy_that_decodes_paths() {
    let (server, registry) = Server::memory().await;
    let proxy = decoding_proxy(server.addr).await;
    let client = HttpRegistry::connect(format!("http://{proxy}/registry").parse().unwrap()).await.unwrap();
    for name in ["cam1", "a/b", "site 1//cam&2/heartbeat", "a/../b?c#d", "a\\b", "/", "100%2F"] {
        client.register(&stream(name)).await.unwrap();
        client.update_heartbeat(&id(name)).await.unwrap();
        client.update_status(&id(name), StreamStatus::Active).await.unwrap();
        let stats = StreamStats { viewers: Some(7), ..StreamStats::default() };
        client.update_stats(&id(name), &stats).await.unwrap();
        client.patch(&id(name), &StreamPatch::default().label("site", "n1")).await.unwrap();
        let stored = client.get(&id(name)).await.unwrap();
        assert_eq!(stored, registry.get(&id(name)).await.unwrap(), "{name}");
        let set = (stored.status.as_str(), stored.viewers, stored.labels.get("site").map(String::as_str));
        assert_eq!(set, ("active", Some(7), Some("n1")), "{name}");
        client.update(&stream(name)).await.unwrap();
        let options = UnregisterOptions::default().reason("over".parse().unwrap());
        let last = client.unregister_with(&id(name), &options).await.unwrap();
        assert_eq!((last.id.as_str(), last.end_reason.as_deref()), (name, Some("over")));
        assert_eq!(client.get(&id(name)).await.unwrap_err().kind(), ErrorKind::NotFound, "{name}");
    }
}

#[tokio::test]
async fn decoded_slash_in_a_path_is_explained() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a/b")).await.unwrap();
    assert_eq!(server.get("/api/v1/streams/a%2Fb").await.json()["id"], "a/b");
    let problem = server.get("/api/v1/streams/a/b").await.problem(404, "unknown_path");
    assert!(problem["detail"].as_str().unwrap().contains("if a proxy decodes %2F"), "{problem}");
    assert_eq!(server.get("/api/v1/stream?id=a/b").await.json()["id"], "a/b");
}

#[tokio::test]
async fn location_is_relative_to_the_request() {
    let (server, _) = Server::memory().await;
    let proxy = decoding_proxy(server.addr).await;
    for (record, location) in [
        (CAM.to_owned(), "streams/cam1"),
        (CAM.replace("cam1", "a b"), "streams/a%20b"),
        (CAM.replace("cam1", "a/b"), "stream?id=a%2Fb"),
    ] {
        let created = server.json("POST", "/api/v1/streams", &record).await;
        assert_eq!((created.status, created.header("location")), (201, location));
        // Relative to the path `/registry/api/v1/streams` of the request.
        let path = format!("/registry/api/v1/{location}");
        let mut socket = TcpStream::connect(proxy).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(Response::read(&mut socket).await.json()["id"], created.json()["stream"]["id"]);
    }
}

#[tokio::test]
async fn every_request_for_a_stream_accepts_the_id_in_the_query() {
    let (server, _) = Server::memory().await;
    server.json("POST", "/api/v1/streams", &CAM.replace("cam1", "a/b+c d")).await;
    let q = "id=a/b%2Bc+d";
    assert_eq!(server.get(&format!("/api/v1/stream?{q}")).await.json()["id"], "a/b+c d");
    assert_eq!(server.request("POST", &format!("/api/v1/stream/heartbeat?force=true&{q}"), &[], "").await.status, 204);
    let status = server.json("PUT", &format!("/api/v1/stream/status?{q}"), r#"{"status":"active"}"#).await;
    let stats = server.json("PUT", &format!("/api/v1/stream/stats?{q}"), r#"{"viewers":3}"#).await;
    assert_eq!((status.status, stats.status), (204, 204));
    let patched = server.json("PATCH", &format!("/api/v1/stream?{q}&labels=replace"), r#"{"labels":{"z":"9"}}"#).await;
    assert_eq!((&patched.json()["viewers"], &patched.json()["labels"]), (&json!(3), &json!({"z":"9"})));
    let record = r#"{"type":"rtp","source_addr":"[::1]:5004"}"#;
    assert_eq!(server.json("PUT", &format!("/api/v1/stream?{q}"), record).await.json()["type"], "rtp");
    for (method, path) in [
        ("GET", "/api/v1/stream".to_owned()),
        ("GET", "/api/v1/stream?id=".to_owned()),
        ("GET", "/api/v1/stream?id=active".to_owned()),
        ("GET", "/api/v1/stream?id=%ff".to_owned()),
        ("GET", format!("/api/v1/stream?{q}&id=x")),
        ("GET", format!("/api/v1/stream?{q}&force=true")),
        ("POST", "/api/v1/stream/heartbeat".to_owned()),
        ("DELETE", format!("/api/v1/stream?{q}&{q}")),
        ("GET", format!("/api/v1/streams/x?{q}")),
    ] {
        server.json(method, &path, "").await.problem(400, "invalid");
    }
    server.json("POST", &format!("/api/v1/stream?{q}"), record).await.problem(405, "method_not_allowed");
    server.get(&format!("/api/v1/stream/heartbeat?{q}")).await.problem(405, "method_not_allowed");
    server.get("/api/v1/stream?id=x/y").await.problem(404, "not_found");
    assert_eq!(server.request("DELETE", &format!("/api/v1/stream?reason=over&{q}"), &[], "").await.status, 204);
}
