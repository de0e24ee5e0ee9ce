//! Clients of HTTP/2 that try to occupy the server.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use stream_registry::{MemoryRegistry, Registry as _};
use testkit::TestTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{
    AUTHORITY, Client, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, headers, next_frame,
    preface, raw,
};
use super::start;
use crate::http::kit::{Server, stream, within};
use crate::http::tls::options;

const LOCALHOST: &[(u8, &str)] = &[(AUTHORITY, "localhost")];

#[tokio::test]
async fn connection_without_complete_requests_is_closed() {
    let tls = TestTls::new();
    let options = options(&tls).header_timeout(Duration::from_millis(300));
    let server = Server::start(Arc::new(MemoryRegistry::new()), options).await;
    let incomplete = frame(HEADERS, END_STREAM, 1, &headers("/healthz", LOCALHOST));
    let complete = frame(HEADERS, END_STREAM | END_HEADERS, 1, &headers("/healthz", LOCALHOST));
    let mut sockets = Vec::new();
    for bytes in [
        Vec::new(),
        preface()[..10].to_vec(),
        preface(),
        [preface(), incomplete[..12].to_vec()].concat(),
        [preface(), incomplete].concat(),
        [preface(), complete].concat(),
    ] {
        sockets.push(raw(&server, &tls, &bytes).await);
    }
    for mut socket in sockets {
        let _ = within(socket.read_to_end(&mut Vec::new())).await;
    }
    // This client answers pings, but has no request in flight.
    let mut idle = Client::http2(&server, &tls).await;
    assert_eq!(idle.read("/healthz").await.0, 200);
    within(idle.connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn client_that_does_not_answer_pings_is_disconnected_although_it_reads_events() {
    let tls = TestTls::new();
    let options = options(&tls).header_timeout(Duration::from_secs(1));
    let registry = Arc::new(MemoryRegistry::new());
    let server = Server::start(registry.clone(), options).await;
    let mut client = Client::http2(&server, &tls).await;
    let mut events = client.get("/api/v1/events").await.into_body();
    let open = frame(HEADERS, END_STREAM | END_HEADERS, 1, &headers("/api/v1/events", LOCALHOST));
    // Within incomplete headers, a client cannot answer.
    let incomplete = frame(HEADERS, END_STREAM, 3, &headers("/healthz", LOCALHOST));
    let mut sockets = Vec::new();
    for bytes in [[preface(), open.clone()].concat(), [preface(), open, incomplete].concat()] {
        sockets.push(raw(&server, &tls, &bytes).await);
    }
    for mut socket in sockets {
        assert!(next_frame(&mut socket, HEADERS).await.is_some());
        let _ = within(socket.read_to_end(&mut Vec::new())).await;
    }
    // This client has answered.
    registry.register(&stream("cam1")).await.unwrap();
    let mut text = String::new();
    while !text.contains("cam1") {
        let frame = within(events.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn client_that_resets_its_requests_at_once_is_disconnected() {
    const ENHANCE_YOUR_CALM: u8 = 11;
    let tls = TestTls::new();
    let (server, _) = start(&tls).await;
    let mut bytes = preface();
    for stream in (1..2_000).step_by(2) {
        bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &headers("/api/v1/streams", LOCALHOST)));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let mut socket = raw(&server, &tls, &bytes).await;
    let goaway = next_frame(&mut socket, GOAWAY).await.unwrap();
    assert_eq!(goaway[4..8], [0, 0, 0, ENHANCE_YOUR_CALM]);
    assert_eq!(Client::http2(&server, &tls).await.read("/healthz").await.0, 200);
}

#[tokio::test]
async fn request_to_open_a_tunnel_is_rejected() {
    // The indices of the status 404 and of the field `:method` in the static table.
    const NOT_FOUND: u8 = 0x8d;
    const METHOD: u8 = 2;
    let tls = TestTls::new();
    let (server, _) = start(&tls).await;
    let fields = [&[METHOD, 7][..], b"CONNECT", &[AUTHORITY, 9], b"localhost"].concat();
    let request = frame(HEADERS, END_HEADERS, 1, &fields);
    let mut socket = raw(&server, &tls, &[preface(), request].concat()).await;
    assert_eq!(next_frame(&mut socket, HEADERS).await.unwrap()[0], NOT_FOUND);
}

#[tokio::test]
async fn responses_that_are_not_read_are_reset_and_the_connection_goes_on() {
    const CANCEL: u8 = 8;
    // The setting `SETTINGS_INITIAL_WINDOW_SIZE` with its value.
    let window = |size: u32| frame(SETTINGS, 0, 0, &[&[0, 4], &size.to_be_bytes()[..]].concat());
    let tls = TestTls::new();
    let registry = Arc::new(MemoryRegistry::new());
    for n in 0..1_000 {
        let mut record = stream(&format!("cam{n}"));
        record.video_codec = "y".repeat(1_000);
        registry.register(&record).await.unwrap();
    }
    let options = options(&tls).write_timeout(Duration::from_millis(300));
    let server = Server::start(registry, options).await;
    let complete = |stream, path| frame(HEADERS, END_STREAM | END_HEADERS, stream, &headers(path, LOCALHOST));
    for (size, path) in [
        (0, "/healthz"),
        (0, "/api/v1/snapshot"),
        (1, "/api/v1/snapshot"),
        (50_000, "/api/v1/snapshot"),
        // The rest of this response is larger than the last piece of a body.
        (20_000, "/api/v1/streams?limit=20"),
    ] {
        let mut socket = raw(&server, &tls, &[preface(), window(size), complete(1, path)].concat()).await;
        let reset = next_frame(&mut socket, RST_STREAM).await;
        assert_eq!(reset, Some(vec![0, 0, 0, CANCEL]), "{path} with a window of {size} bytes");
        // A response without a body needs no window.
        socket.write_all(&complete(3, "/api/v1/streams/")).await.unwrap();
        assert!(next_frame(&mut socket, HEADERS).await.is_some(), "{path} with a window of {size} bytes");
    }
}

#[tokio::test]
async fn requests_in_flight_on_a_connection_are_limited() {
    const REFUSED_STREAM: u8 = 7;
    let tls = TestTls::new();
    let (server, _) = start(&tls).await;
    let mut bytes = preface();
    for stream in (1..=201).step_by(2) {
        bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &headers("/api/v1/events", LOCALHOST)));
    }
    let mut socket = raw(&server, &tls, &bytes).await;
    assert_eq!(next_frame(&mut socket, RST_STREAM).await, Some(vec![0, 0, 0, REFUSED_STREAM]));
    let metrics = Client::http2(&server, &tls).await.read("/metrics").await.1;
    assert!(metrics.contains("\nstreamreg_event_readers 100\n"), "{metrics}");
}
