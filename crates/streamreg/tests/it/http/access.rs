//! Authorisation of writes.

use std::sync::Arc;

use stream_registry::{ErrorKind, HttpRegistry, MemoryRegistry, Registry};
use streamreg::server::{ServeOptions, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::kit::{Server, id, stream};

#[tokio::test]
async fn writes_need_the_token_and_reads_do_not() {
    let registry = Arc::new(MemoryRegistry::new());
    let server = Server::start(registry.clone(), ServeOptions::default().token("s3cret")).await;
    registry.register(&stream("a")).await.unwrap();
    let wrong = ["", "Bearer", "Bearer ", "Bearer wrong", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "s3cret"];
    for value in wrong {
        for (method, path) in [
            ("POST", "/api/v1/streams"),
            ("POST", "/api/v1/streams/a/heartbeat"),
            ("DELETE", "/api/v1/streams/a"),
            ("PATCH", "/api/v1/streams/a"),
            ("PUT", "/nowhere"),
        ] {
            let answer = server.request(method, path, &[("Authorization", value)], "").await;
            let problem = answer.problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert!(!problem.to_string().contains("s3cret"));
        }
    }
    server.request("DELETE", "/api/v1/streams/a", &[], "").await.problem(401, "unauthenticated");
    assert_eq!(registry.list().await.unwrap().len(), 1);
    for path in ["/", "/healthz", "/api/v1/streams", "/api/v1/streams/a", "/api/v1/snapshot", "/api/v1/info"] {
        assert_eq!(server.get(path).await.status, 200);
    }
    let error = server.client().await.unregister(&id("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let client = HttpRegistry::connect(server.options().token("s3cret")).await.unwrap();
    assert!(!format!("{client:?}").contains("s3cret"));
    client.update_heartbeat(&id("a")).await.unwrap();
    assert_eq!(
        server
            .request(
                "DELETE",
                "/api/v1/streams/a",
                &[("Authorization", "bearer s3cret"), ("Origin", "http://x.example")],
                ""
            )
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn web_pages_of_other_hosts_cannot_write_without_a_token() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    for origin in
        ["http://evil.example", "null", "http://127.0.0.1.evil.example", "https://localhost.evil.example:8580"]
    {
        server.request("POST", "/api/v1/streams/a/heartbeat", &[("Origin", origin)], "").await.problem(403, "denied");
        server.request("DELETE", "/api/v1/streams/a", &[("Origin", origin)], "").await.problem(403, "denied");
        assert_eq!(server.request("GET", "/api/v1/streams/a", &[("Origin", origin)], "").await.status, 200);
    }
    for origin in ["http://localhost:8580", "http://127.0.0.1:3000", "http://[::1]:1"] {
        assert_eq!(server.request("POST", "/api/v1/streams/a/heartbeat", &[("Origin", origin)], "").await.status, 204);
    }
}

#[tokio::test]
async fn read_only_server_on_a_non_loopback_address_needs_no_token() {
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new().read_only());
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = open.local_addr().unwrap().port();
    let server = tokio::spawn(serve(registry, open, ServeOptions::default(), std::future::pending()));
    let client = HttpRegistry::connect(format!("http://127.0.0.1:{port}").parse().unwrap()).await.unwrap();
    assert_eq!(client.list().await.unwrap().len(), 0);
    assert_eq!(client.register(&stream("a")).await.unwrap_err().kind(), ErrorKind::Denied);
    server.abort();
}

#[tokio::test]
async fn requests_for_other_host_names_are_rejected_on_every_route() {
    let registry = Arc::new(MemoryRegistry::new());
    let server = Server::start(registry.clone(), ServeOptions::default().allowed_host("Registry.Example.com")).await;
    registry.register(&stream("a")).await.unwrap();
    let request = async |target: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        server.raw(format!("{target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes()).await
    };
    let routes = ["/", "/healthz", "/readyz", "/nowhere", "/api/v1/info", "/api/v1/streams", "/api/v1/events"];
    for route in routes.into_iter().chain(["/api/v1/streams/a", "/api/v1/snapshot", "/api/v1/history"]) {
        let rejected = request(&format!("GET {route}"), &["evil.example:8580"]).await;
        let problem = rejected.problem(421, "host_not_allowed");
        assert!(problem["detail"].as_str().unwrap().contains("--allowed-host evil.example"), "{problem}");
        assert_eq!(rejected.header("cross-origin-resource-policy"), "same-origin");
    }
    request("DELETE /api/v1/streams/a", &["evil.example"]).await.problem(421, "host_not_allowed");
    assert!(registry.get(&id("a")).await.is_ok());
    for host in ["localhost.evil.example", "127.0.0.1.evil.example", "example.com", "x.registry.example.com", "127.1"] {
        request("GET /healthz", &[host]).await.problem(421, "host_not_allowed");
    }
    // The host in an absolute request target takes precedence over the header.
    request("GET http://evil.example/healthz", &["localhost"]).await.problem(421, "host_not_allowed");
    for hosts in [&[][..], &["localhost", "localhost"], &[""], &["user@localhost"], &["a b"]] {
        request("GET /healthz", hosts).await.problem(400, "invalid");
    }
    for host in [
        "localhost",
        "LOCALHOST:1",
        "a.localhost",
        "127.0.0.1:8580",
        "192.0.2.7",
        "[::1]:8580",
        "[2001:db8::1]",
        "registry.example.com",
        "REGISTRY.example.com.:443",
    ] {
        let accepted = request("GET /healthz", &[host]).await;
        assert_eq!(accepted.status, 200, "{host}");
        assert_eq!(accepted.header("cross-origin-resource-policy"), "same-origin");
    }
}

#[tokio::test]
async fn client_reports_the_host_name_that_the_server_must_allow() {
    let (server, _) = Server::memory().await;
    let addr = server.addr;
    // The server sees the name that a proxy in front of it forwards.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_addr = proxy.local_addr().unwrap();
    let forwarded = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut head = vec![0; 4_096];
        let read = client.read(&mut head).await.unwrap();
        let head = String::from_utf8(head[..read].to_vec()).unwrap();
        let head = head.replace(&proxy_addr.to_string(), "registry.example.com");
        let mut socket = TcpStream::connect(addr).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut socket).await;
    });
    let error = HttpRegistry::connect(format!("http://{proxy_addr}").parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.message().contains("--allowed-host registry.example.com"), "{error}");
    forwarded.abort();
}

#[tokio::test]
async fn server_on_a_non_loopback_address_needs_a_token() {
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = serve(registry, open, ServeOptions::default(), std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("--token-file"), "{error}");
}
