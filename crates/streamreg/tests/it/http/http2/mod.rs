//! HTTP/2: the same API as with HTTP/1.1, and a connection that many requests share.

mod client;
mod events;
mod limits;

use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stream_registry::{MemoryRegistry, Registry as _};
use testkit::TestTls;

use self::client::{
    AUTHORITY, Client, END_HEADERS, END_STREAM, HEADERS, HOST, HTTP_1, HTTP_2, body, frame, headers, next_frame,
    preface, raw, read, request,
};
use super::kit::{BlockingRegistry, CAM, LIST, PATIENCE, Server, stream, within};
use super::tls::options;

async fn start(tls: &TestTls) -> (Server, Arc<MemoryRegistry>) {
    let registry = Arc::new(MemoryRegistry::new());
    (Server::start(registry.clone(), options(tls)).await, registry)
}

#[tokio::test]
async fn client_selects_the_version_of_http_in_the_handshake() {
    let tls = TestTls::new();
    let (server, _) = start(&tls).await;
    for (protocols, expected) in [
        (&[HTTP_1, HTTP_2][..], hyper::Version::HTTP_2),
        (&[HTTP_2], hyper::Version::HTTP_2),
        (&[HTTP_1], hyper::Version::HTTP_11),
        (&[], hyper::Version::HTTP_11),
    ] {
        let mut client = Client::open(&server, &tls, protocols).await;
        assert_eq!(client.get("/healthz").await.version(), expected, "{protocols:?}");
    }
}

#[test]
fn curl_uses_either_version_over_tls_and_only_http1_without_tls() {
    let tls = TestTls::new();
    let (cert, key) = (tls.server_cert(), tls.server_key());
    let server = crate::cli::Server::start(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let plain = crate::cli::Server::start(&[]);
    let curl = |url: &str, args: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"]).arg(tls.ca_file());
        crate::cli::outcome(command.args(args).arg(format!("{url}{LIST}")).output().unwrap())
    };
    for (args, expected) in [
        (&[][..], "2 200"),
        (&["--http2"], "2 200"),
        (&["--http1.1"], "1.1 200"),
        (&["-H", &format!("X-Large: {}", "x".repeat(20_000))], "2 431"),
        (&["-H", &format!("X-Small: {}", "x".repeat(10_000))], "2 200"),
    ] {
        let (_, stdout, stderr) = curl(&server.url, args);
        assert_eq!(stdout, expected, "{stderr}");
    }
    assert_eq!(curl(&plain.url, &["--http2"]).1, "1.1 200");
    assert_ne!(curl(&plain.url, &["--http2-prior-knowledge"]).0, Some(0), "HTTP/2 without TLS is accepted");
}

/// Removes what differs between two servers: times and positions in their feeds.
fn comparable(value: &mut Value) {
    const VARYING: [&str; 7] =
        ["created_at", "connected_at", "last_heartbeat", "as_of", "revision", "duration_ms", "next_cursor"];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !VARYING.contains(&name.as_str()));
            fields.values_mut().for_each(comparable);
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        _ => {}
    }
}

/// Sends a request, and returns the parts of the response that do not depend on the time or the version of HTTP.
async fn exchange(client: &mut Client, method: &str, path: &str, extra: (&str, &str), text: &str) -> Value {
    let sent = [("x-request-id", "7"), ("content-type", "application/json"), extra];
    let response = client.call(method, path, &sent, body(text)).await;
    let status = response.status().as_u16();
    let mut head: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "connection", "content-length"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    head.sort();
    let is_compressed = method != "HEAD" && response.headers().contains_key("content-encoding");
    let bytes = within(response.into_body().collect()).await.unwrap().to_bytes();
    let mut text = String::new();
    if is_compressed {
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes.into()).unwrap();
    }
    let mut content = serde_json::from_str(&text).unwrap_or(Value::String(text));
    comparable(&mut content);
    json!({ "status": status, "head": head, "content": content })
}

#[tokio::test]
async fn responses_are_the_same_with_both_versions() {
    const STATS: &str = r#"{"bytes_received":1,"packets_received":2,"bitrate":3}"#;
    let requests = [
        ("POST", LIST, CAM),
        ("POST", LIST, CAM),
        ("POST", LIST, r#"{"id":"cam1","type":"rtp","source_addr":"198.51.100.9:1"}"#),
        ("POST", LIST, "{"),
        ("GET", "/api/v1/streams/cam1", ""),
        ("HEAD", "/api/v1/streams/cam1", ""),
        ("GET", "/api/v1/stream?id=cam1", ""),
        ("GET", "/api/v1/streams/unknown", ""),
        ("PUT", "/api/v1/streams/cam1", CAM),
        ("PATCH", "/api/v1/streams/cam1", r#"{"node":"n1"}"#),
        ("POST", "/api/v1/streams/cam1/heartbeat", ""),
        ("PUT", "/api/v1/streams/cam1/status", r#"{"status":"active"}"#),
        ("PUT", "/api/v1/streams/cam1/stats", STATS),
        ("POST", "/api/v1/heartbeats", r#"{"streams":[{"id":"cam1"},{"id":"cam9"},{"id":7}]}"#),
        ("GET", LIST, ""),
        ("GET", "/api/v1/streams?limit=7&sort=-id", ""),
        ("GET", "/api/v1/streams?limit=0", ""),
        ("GET", "/api/v1/streams/", ""),
        ("GET", "/api/v1/summary?by=type", ""),
        ("GET", "/api/v1/snapshot", ""),
        ("HEAD", "/api/v1/snapshot", ""),
        ("GET", "/api/v1/history", ""),
        ("GET", "/api/v1/sd?port=9100", ""),
        ("GET", "/api/v1/info", ""),
        ("GET", "/api/v1", ""),
        ("OPTIONS", LIST, ""),
        ("GET", "/healthz", ""),
        ("GET", "/readyz", ""),
        ("GET", "/metrics/streams?type=rtmp", ""),
        ("GET", "/", ""),
        ("GET", "/assets/app.js", ""),
        ("GET", "/nothing", ""),
        ("DELETE", "/", ""),
        ("DELETE", "/api/v1/streams/cam1?reason=over", ""),
        ("GET", "/api/v1/history", ""),
    ];
    let tls = TestTls::new();
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for version in [HTTP_1, HTTP_2] {
        let registry = Arc::new(MemoryRegistry::new());
        // A list of these streams does not fit into one frame of HTTP/2.
        for n in 0..200 {
            registry.register(&stream(&format!("s{n}"))).await.unwrap();
        }
        let server = Server::start(registry, options(&tls)).await;
        clients.push(Client::open(&server, &tls, &[version]).await);
        servers.push(server);
    }
    let [first, second] = &mut clients[..] else { unreachable!() };
    const EXTRA: [(&str, &str); 3] =
        [("accept-encoding", "gzip"), ("origin", "https://other.example"), ("if-none-match", "*")];
    for (method, path, text) in requests {
        for extra in EXTRA {
            let expected = exchange(first, method, path, extra, text).await;
            let got = exchange(second, method, path, extra, text).await;
            assert_eq!(got, expected, "{method} {path} {extra:?}");
        }
    }
    // Each response was also counted under its route.
    let metrics = second.read("/metrics").await.1;
    let line = r#"streamreg_http_requests_total{method="GET",route="/api/v1/streams/{id}",code="200"} 3"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn tokens_are_checked_for_each_request_on_a_connection() {
    let tls = TestTls::new();
    let server = Server::start(Arc::new(MemoryRegistry::new()), options(&tls).token("w").read_token("r")).await;
    let mut client = Client::http2(&server, &tls).await;
    for (token, list, write) in [("", 401, 401), ("Bearer r", 200, 403), ("Bearer w", 200, 201), ("Bearer x", 401, 401)]
    {
        let sent = [("authorization", token), ("content-type", "application/json")];
        assert_eq!(client.call("GET", LIST, &sent, body("")).await.status(), list, "{token}");
        assert_eq!(client.call("POST", LIST, &sent, body(CAM)).await.status(), write, "{token}");
    }
}

#[tokio::test]
async fn host_of_http2_is_checked_in_the_authority_and_in_the_header() {
    let tls = TestTls::new();
    let server = Server::start(Arc::new(MemoryRegistry::new()), options(&tls).allowed_host("registry.example")).await;
    let mut client = Client::http2(&server, &tls).await;
    for (authority, host, expected) in [
        ("localhost", None, 200),
        ("127.0.0.1:8580", None, 200),
        ("[::1]", None, 200),
        ("registry.example", None, 200),
        ("Registry.Example.:443", Some("registry.example"), 200),
        ("evil.example", None, 421),
        ("registry.example.evil.example", None, 421),
        ("evil.example", Some("localhost"), 421),
        ("localhost", Some("evil.example"), 421),
        ("user@localhost", None, 400),
        ("localhost", Some("user@localhost"), 400),
        ("localhost", Some("a b"), 400),
    ] {
        let mut request = request("GET", &format!("https://{authority}{LIST}"));
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let response = client.send(request).await;
        let status = response.status();
        let text = read(response).await;
        assert_eq!(status, expected, "{authority} {host:?}: {text}");
        assert_eq!(text.contains("host_not_allowed"), expected == 421, "{text}");
    }
    let mut twice = request("GET", &format!("https://localhost{LIST}"));
    twice.headers_mut().append("host", "localhost".parse().unwrap());
    twice.headers_mut().append("host", "localhost".parse().unwrap());
    assert_eq!(client.send(twice).await.status(), 400);
}

#[tokio::test]
async fn request_without_an_authority_needs_the_header_host() {
    // The first byte of the response's headers is the index of the status in the static table.
    const OK: u8 = 0x88;
    const BAD_REQUEST: u8 = 0x8c;
    let tls = TestTls::new();
    let (server, _) = start(&tls).await;
    for (fields, expected) in [
        (&[][..], BAD_REQUEST),
        (&[(HOST, "localhost")], OK),
        (&[(AUTHORITY, "localhost")], OK),
        (&[(HOST, "localhost"), (HOST, "localhost")], BAD_REQUEST),
    ] {
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &headers("/healthz", fields));
        let mut socket = raw(&server, &tls, &[preface(), request].concat()).await;
        assert_eq!(next_frame(&mut socket, HEADERS).await.unwrap()[0], expected, "{fields:?}");
    }
}

#[tokio::test]
async fn shutdown_finishes_requests_in_flight_and_closes_idle_http2_connections() {
    let tls = TestTls::new();
    let registry = BlockingRegistry::blocking_get();
    registry.inner.register(&stream("a")).await.unwrap();
    let mut server = Server::start(registry.clone(), options(&tls).grace(PATIENCE * 2)).await;
    let mut idle = Client::http2(&server, &tls).await;
    assert_eq!(idle.read("/healthz").await.0, 200);
    // A client that never reads what the server sends, and one that has not even begun.
    let _silent = raw(&server, &tls, &preface()).await;
    let _unstarted = raw(&server, &tls, b"").await;
    let mut busy = Client::http2(&server, &tls).await;
    let uri = format!("https://{}/api/v1/streams/a", server.addr);
    let in_flight = tokio::spawn(async move { (busy.send(request("GET", &uri)).await, busy) });
    within(registry.entered.notified()).await;

    server.begin_stop();
    within(&mut idle.connection).await.unwrap().unwrap();
    assert!(!server.task.is_finished());
    registry.release.notify_one();
    let (response, mut busy) = within(in_flight).await.unwrap();
    assert_eq!((response.status().as_u16(), read(response).await.contains("\"id\":\"a\"")), (200, true));
    within(&mut busy.connection).await.unwrap().unwrap();
    server.stopped().await;
}

#[tokio::test]
async fn shutdown_closes_http2_connections_after_the_grace_period() {
    let tls = TestTls::new();
    let registry = BlockingRegistry::blocking_get();
    let mut server = Server::start(registry.clone(), options(&tls).grace(Duration::from_millis(100))).await;
    let mut busy = Client::http2(&server, &tls).await;
    let uri = format!("https://{}/api/v1/streams/a", server.addr);
    let in_flight = tokio::spawn(async move { busy.try_send(request("GET", &uri)).await });
    within(registry.entered.notified()).await;
    server.begin_stop();
    server.stopped().await;
    assert!(within(in_flight).await.unwrap().is_err());
    // The task of the request has ended too, and with it the last reference of the server to the store.
    within(async {
        while Arc::strong_count(&registry) > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_above_the_limit_are_rejected_and_leave_room_for_others() {
    let tls = TestTls::new();
    let (server, _) = start(&tls).await;
    let mut client = Client::http2(&server, &tls).await;
    let json = [("content-type", "application/json")];
    let (big, largest) = ("x".repeat(64 * 1024 + 1), format!(r#"{{"streams":[]{}}}"#, " ".repeat(1024 * 1024 - 14)));
    assert_eq!(client.call("POST", LIST, &json, body(&big)).await.status(), 413);
    assert_eq!(client.call("POST", "/api/v1/heartbeats", &json, body(&largest)).await.status(), 200);
    // The server reads no body of an unknown path. If such bodies stayed in the window of the connection, no further
    // body could be sent.
    for _ in 0..20 {
        assert_eq!(client.call("POST", "/nothing", &json, body(&big)).await.status(), 404);
    }
    assert_eq!(client.call("POST", LIST, &json, body(CAM)).await.status(), 201);
}

#[tokio::test]
async fn incomplete_body_times_out_and_others_on_its_connection_go_on() {
    let tls = TestTls::new();
    let options = options(&tls).body_timeout(Duration::from_millis(200));
    let server = Server::start(Arc::new(MemoryRegistry::new()), options).await;
    let mut client = Client::http2(&server, &tls).await;
    let json = [("content-type", "application/json")];
    let endless = http_body_util::StreamBody::new(futures_util::stream::pending()).boxed();
    assert_eq!(client.call("POST", LIST, &json, endless).await.status(), 408);
    assert_eq!(client.read(LIST).await.0, 200);
}
