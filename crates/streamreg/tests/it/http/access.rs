//! Authorisation of writes.

use std::sync::Arc;

use stream_registry::{ErrorKind, HttpRegistry, MemoryRegistry, Registry};
use streamreg::server::{ServeOptions, serve};
use tokio::net::TcpListener;

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
async fn server_on_a_non_loopback_address_needs_a_token() {
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = serve(registry, open, ServeOptions::default(), std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("--token-file"), "{error}");
}
