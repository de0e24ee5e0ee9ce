//! Web pages of other origins (CORS), without a browser. `page/origins.rs` has the same with a browser.

use streamreg::server::ServeOptions;

use super::kit::{Guarded, entry};
use crate::http::kit::{Response, Server};

const DASHBOARD: &str = "https://dashboard.example.com";

async fn preflight(server: &Server, origin: &str, method: &str) -> Response {
    let headers = [("Origin", origin), ("Access-Control-Request-Method", method)];
    server.request("OPTIONS", "/api/v1/streams", &headers, "").await
}

fn allowing(origin: &str) -> ServeOptions {
    ServeOptions::default().allowed_origin(origin.parse().unwrap())
}

#[tokio::test]
async fn preflight_of_an_allowed_origin_needs_no_token_and_allows_the_authorization_header() {
    let guarded = Guarded::with_options(&entry("a", "scopes = [\"read\"]"), allowing(DASHBOARD)).await;
    let answer = preflight(&guarded.server, DASHBOARD, "GET").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, DASHBOARD));
    assert!(answer.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(answer.header("access-control-allow-methods"), "GET, HEAD, POST, PUT, PATCH, DELETE");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    // The page can read why its request was rejected.
    let rejected = guarded.server.request("GET", "/api/v1/streams", &[("Origin", DASHBOARD)], "").await;
    rejected.problem(401, "unauthenticated");
    assert_eq!(rejected.header("access-control-allow-origin"), DASHBOARD);
}

#[tokio::test]
async fn origins_that_are_not_allowed_get_no_permission() {
    let guarded = Guarded::with_options(&entry("a", "scopes = [\"read\"]"), allowing(DASHBOARD)).await;
    let others = [
        "https://evil.example",
        "null",
        "http://dashboard.example.com",
        "https://dashboard.example.com.evil.example",
        "https://dashboard.example.com:8443",
    ];
    for origin in others {
        let answer = preflight(&guarded.server, origin, "GET").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, ""), "{origin}");
        let answer = guarded.server.request("GET", "/healthz", &[("Origin", origin)], "").await;
        assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", "origin"));
    }
    // By default, no origin is allowed.
    let (server, _) = Server::memory().await;
    assert_eq!(preflight(&server, DASHBOARD, "GET").await.header("access-control-allow-origin"), "");
    let answer = server.request("GET", "/healthz", &[("Origin", DASHBOARD)], "").await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", ""));
}

#[tokio::test]
async fn page_of_an_allowed_origin_cannot_write_without_a_token() {
    let server = Server::start(std::sync::Arc::new(stream_registry::MemoryRegistry::new()), allowing("*")).await;
    let answer = preflight(&server, DASHBOARD, "POST").await;
    assert_eq!(answer.header("access-control-allow-methods"), "GET, HEAD");
    let read = server.request("GET", "/api/v1/info", &[("Origin", DASHBOARD)], "").await;
    assert_eq!((read.status, read.header("access-control-allow-origin"), read.header("vary")), (200, "*", ""));
    let write = server.request("POST", "/api/v1/streams/x/heartbeat", &[("Origin", DASHBOARD)], "").await;
    write.problem(403, "denied");
    // A page from this machine is a local program, whether its origin is allowed or not.
    let local = [("Origin", "http://localhost:3000")];
    server.request("POST", "/api/v1/streams/x/heartbeat", &local, "").await.problem(404, "not_found");
}
