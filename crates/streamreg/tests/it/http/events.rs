//! Tests the change feed as server-sent events, and the history.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{MemoryRegistry, Registry, Result, StreamStatus, UnregisterOptions, forward_registry};
use streamreg::server::ServeOptions;
use testkit::CapturedLog;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::kit::{BlockingRegistry, PATIENCE, Server, id, stream, within};

/// An open stream of events, parsed by the test.
pub(crate) struct Events {
    socket: BufReader<TcpStream>,
    pub(crate) head: String,
}

impl Events {
    pub(crate) async fn open(server: &Server, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        // The request uses HTTP/1.0, so that the body is not chunked.
        let request = format!("GET /api/v1/events{query} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(within(socket.read_line(&mut head)).await.unwrap(), 0, "{head}");
        }
        Self { socket, head: head.to_ascii_lowercase() }
    }

    /// Returns the id and the data of the next event.
    async fn next(&mut self) -> (String, Value) {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(within(self.socket.read_line(&mut line)).await.unwrap(), 0, "the events ended after {lines:?}");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let [id, data] = &lines[..] else { panic!("{lines:?}") };
        let (id, data) = (id.strip_prefix("id: ").unwrap(), data.strip_prefix("data: ").unwrap());
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["revision"], id);
        (id.to_owned(), data)
    }

    /// Returns the next event other than `alive`.
    pub(crate) async fn next_change(&mut self) -> (String, Value) {
        loop {
            let (id, data) = self.next().await;
            if data["event"] != "alive" {
                return (id, data);
            }
        }
    }
}

async fn tail(server: &Server) -> String {
    let revision = server.get("/api/v1/snapshot").await.json()["revision"].as_str().unwrap().to_owned();
    assert_eq!(server.get("/api/v1/streams?limit=1").await.json()["revision"], revision.as_str());
    revision
}

#[tokio::test]
async fn event_reader_gets_the_current_revision_first_and_then_changes() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("before")).await.unwrap();
    let mut events = Events::open(&server, "", "").await;
    for line in ["http/1.0 200", "content-type: text/event-stream\r\n", "no-cache", "x-accel-buffering: no\r\n"] {
        assert!(events.head.contains(line), "{}", events.head);
    }
    let (first, alive) = events.next().await;
    assert_eq!((alive, &first), (json!({"event": "alive", "revision": first}), &tail(&server).await));

    registry.register(&stream("cam1")).await.unwrap();
    registry.update_heartbeat(&id("cam1")).await.unwrap();
    registry.update_status(&id("cam1"), StreamStatus::Active).await.unwrap();
    registry.unregister_with(&id("cam1"), &UnregisterOptions::default().reason("over".parse().unwrap())).await.unwrap();
    let (_, registered) = events.next().await;
    assert_eq!((&registered["event"], &registered["stream"]["id"]), (&json!("registered"), &json!("cam1")));
    let (_, status) = events.next().await;
    assert_eq!((&status["event"], &status["stream"]["status"]), (&json!("status"), &json!("active")));
    let (last, ended) = events.next().await;
    assert_eq!((&ended["event"], &ended["reason"]), (&json!("unregistered"), &json!("over")));
    assert_eq!(ended["stream"]["end_reason"], "over");
    assert!(ended["as_of"].as_str().unwrap() >= ended["stream"]["last_heartbeat"].as_str().unwrap());
    assert_eq!(last, tail(&server).await);
}

#[tokio::test]
async fn event_reader_resumes_after_the_given_revision() {
    let (server, registry) = Server::memory().await;
    let mut events = Events::open(&server, "", "").await;
    let mut revisions = vec![events.next().await.0];
    for n in 0..5 {
        registry.register(&stream(&format!("s{n}"))).await.unwrap();
        revisions.push(events.next().await.0);
    }
    for (at, revision) in revisions[..5].iter().enumerate() {
        let by_query = (format!("?from={revision}"), String::new());
        // A browser that reconnects repeats its first query and adds the header `Last-Event-ID`.
        let by_header = (format!("?from={}", revisions[0]), format!("Last-Event-ID: {revision}\r\n"));
        for (query, headers) in [by_query, by_header] {
            let mut events = Events::open(&server, &query, &headers).await;
            for n in at..5 {
                assert_eq!(events.next_change().await.1["stream"]["id"], format!("s{n}"));
            }
        }
    }
    let mut events = Events::open(&server, "?from=oldest", "Last-Event-ID:\r\n").await;
    assert_eq!(events.next_change().await.1["stream"]["id"], "s0");
}

#[tokio::test]
async fn event_reader_gets_resync_when_its_revision_is_unknown() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    let beyond = format!("?from={}9", tail(&server).await);
    for from in ["?from=0123456789abcdef-7", "?from=1800000000000-0.1800000000001-7", &beyond] {
        let mut events = Events::open(&server, from, "").await;
        let (revision, event) = events.next().await;
        assert_eq!((&event["event"], &revision), (&json!("resync"), &tail(&server).await), "{from}");
    }
}

#[tokio::test]
async fn invalid_event_requests_are_rejected() {
    let (server, _) = Server::memory().await;
    let long = format!("/api/v1/events?from={}", "x".repeat(257));
    for path in ["/api/v1/events?from=", "/api/v1/events?from=a%20b", "/api/v1/events?since=a", &long] {
        server.get(path).await.problem(400, "invalid");
    }
    for no_revision in ["a b", "x", "latest", "7", "of-another-server-7", "1-0.2"] {
        let headers = [("Last-Event-ID", no_revision)];
        server.request("GET", "/api/v1/events", &headers, "").await.problem(400, "invalid");
        let path = format!("/api/v1/events?from={}", no_revision.replace(' ', "%20"));
        server.get(&path).await.problem(400, "invalid");
    }
    server.request("POST", "/api/v1/events", &[], "").await.problem(405, "method_not_allowed");
    assert_eq!(server.request("HEAD", "/api/v1/events", &[], "").await.status, 200);
    let without = Server::start(Arc::new(BlockingRegistry::default()), ServeOptions::default()).await;
    without.get("/api/v1/events").await.problem(400, "unsupported");
}

#[tokio::test]
async fn shutdown_disconnects_event_readers_at_once() {
    let registry = Arc::new(MemoryRegistry::new());
    let mut server = Server::start(registry, ServeOptions::default().grace(PATIENCE * 2)).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(Events::open(&server, "", "").await);
    }
    server.begin_stop();
    server.stopped().await;
    for mut reader in readers {
        let mut rest = String::new();
        within(reader.socket.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.contains("\"alive\"") && rest.ends_with("\n\n"), "{rest}");
    }
}

#[tokio::test]
async fn closing_the_store_disconnects_event_readers() {
    let (server, registry) = Server::memory().await;
    let mut reader = Events::open(&server, "", "").await;
    registry.close().await.unwrap();
    within(reader.socket.read_to_string(&mut String::new())).await.unwrap();
}

#[tokio::test]
async fn event_readers_are_limited_and_slow_readers_are_disconnected() {
    let registry = Arc::new(MemoryRegistry::new());
    let options = ServeOptions::default().event_readers(1).event_timeout(Duration::from_millis(200));
    let server = Server::start(registry.clone(), options).await;
    let mut slow = Events::open(&server, "", "").await;
    let log = CapturedLog::start();
    let rejected = server.get("/api/v1/events").await;
    rejected.problem(503, "unavailable");
    // The limit is no fault of the server, so the log line is a warning.
    assert!(log.text().contains(" WARN ") && !log.text().contains(" ERROR "), "{}", log.text());
    assert!(rejected.header("retry-after").parse::<u32>().is_ok());

    // Writes more than the socket buffers hold, while the reader does not read.
    let mut record = stream("cam1");
    record.labels = (0..64).map(|n| (format!("{n:064}"), "x".repeat(256))).collect();
    let write = async {
        loop {
            if server.request("HEAD", "/api/v1/events", &[], "").await.status == 200 {
                return;
            }
            for _ in 0..100 {
                registry.register(&record).await.unwrap();
            }
        }
    };
    within(write).await;
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("\nstreamreg_event_readers_dropped_total 1\n"), "{metrics}");
    // The reader gets the buffered events, and then the connection ends.
    let _ = within(slow.socket.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn little_is_buffered_for_an_event_reader_that_does_not_read() {
    let registry = Arc::new(MemoryRegistry::new());
    let mut record = stream("cam1");
    record.labels = (0..8).map(|n| (format!("k{n}"), "x".repeat(250))).collect();
    for _ in 0..10_000 {
        registry.register(&record).await.unwrap();
    }
    let options = ServeOptions::default().event_readers(1).event_timeout(Duration::from_millis(200));
    let server = Server::start(registry.clone(), options).await;
    let mut slow = Events::open(&server, "?from=oldest", "").await;
    within(async { while server.request("HEAD", "/api/v1/events", &[], "").await.status != 200 {} }).await;
    // The buffers of both sockets contain the events that the server sent before it closed the connection. The whole
    // feed has 25 MB.
    let mut sent = Vec::new();
    let _ = within(slow.socket.read_to_end(&mut sent)).await;
    assert!(sent.len() < 1_000_000, "{} bytes were buffered", sent.len());
}

#[tokio::test]
async fn disconnected_event_reader_makes_room_for_another() {
    let registry = Arc::new(MemoryRegistry::new());
    let server = Server::start(registry, ServeOptions::default().event_readers(1)).await;
    for _ in 0..20 {
        let mut reader = Events::open(&server, "", "").await;
        reader.next().await;
        server.get("/api/v1/events").await.problem(503, "unavailable");
        // Histories have their own limit.
        assert_eq!(server.get("/api/v1/history").await.status, 200);
        drop(reader);
        let free = async { while server.request("HEAD", "/api/v1/events", &[], "").await.status != 200 {} };
        within(free).await;
    }
}

#[tokio::test]
async fn history_lists_ended_streams() {
    let (server, registry) = Server::memory().await;
    assert_eq!(server.get("/api/v1/history").await.body, r#"{"ended":[]}"#);
    for (name, node) in [("c", ""), ("a", "n1"), ("b", "n2"), ("a", "n2")] {
        let mut record = stream(name);
        record.node = Some(node.into()).filter(|node: &String| !node.is_empty());
        registry.register(&record).await.unwrap();
        registry
            .unregister_with(&id(name), &UnregisterOptions::default().reason("over".parse().unwrap()))
            .await
            .unwrap();
    }
    let names = async |query: &str| -> Vec<String> {
        let answer = server.get(&format!("/api/v1/history{query}")).await.json();
        let ends = answer["ended"].as_array().unwrap().iter();
        ends.map(|end| {
            format!("{}/{}", end["stream"]["id"].as_str().unwrap(), end["stream"]["node"].as_str().unwrap_or_default())
        })
        .collect()
    };
    assert_eq!(names("").await, ["a/n2", "b/n2", "a/n1", "c/"]);
    assert_eq!(names("?node=").await, ["c/"]);
    assert_eq!(names("?limit=2").await, ["a/n2", "b/n2"]);
    assert_eq!(names("?id=a&limit=1").await, ["a/n2"]);
    assert_eq!(names("?node=n2&type=srt").await, ["a/n2", "b/n2"]);
    assert_eq!(names("?type=rtp").await, [""; 0]);
    let end = server.get("/api/v1/history?limit=1").await.json()["ended"][0].clone();
    assert_eq!((&end["event"], &end["reason"]), (&json!("unregistered"), &json!("over")));
    assert!(end["duration_ms"].as_u64().unwrap() < 60_000, "{end}");
    for query in ["?limit=0", "?limit=10001", "?id=active", "?type=a%20b", "?reason=x"] {
        server.get(&format!("/api/v1/history{query}")).await.problem(400, "invalid");
    }
    let without = Server::start(Arc::new(BlockingRegistry::default()), ServeOptions::default()).await;
    without.get("/api/v1/history").await.problem(400, "unsupported");
}

/// Returns the events of a response that has ended.
fn data(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn events_end_after_the_limit_and_continue_from_the_last_revision() {
    let (server, registry) = Server::memory().await;
    for name in ["a", "b", "c"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let get = async |query: &str| {
        // With HTTP/1.0, the body is not chunked.
        let request = format!("GET /api/v1/events?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = server.raw(request.as_bytes()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        data(&answer.body)
    };
    let names = |events: &[Value]| events.iter().map(|event| event["stream"]["id"].clone()).collect::<Vec<_>>();
    let first = get("from=oldest&limit=3").await;
    assert_eq!(names(&first), [Value::Null, json!("a"), json!("b")]);
    let revision = first[2]["revision"].as_str().unwrap();
    assert_eq!(names(&get(&format!("from={revision}&limit=2")).await), [Value::Null, json!("c")]);
    // The first event has the current revision, with which a client can begin.
    assert_eq!(get("limit=1").await[0]["event"], "alive");
}

#[tokio::test]
async fn events_end_after_the_time_limit() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("before")).await.unwrap();
    let request = |query: &str| format!("GET /api/v1/events?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let begin = std::time::Instant::now();
    let events = data(&server.raw(request("from=oldest&wait_ms=300").as_bytes()).await.body);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(events.iter().map(|event| event["event"].clone()).collect::<Vec<_>>(), ["alive", "registered"]);
    for query in ["limit=0", "limit=100001", "limit=x", "wait_ms=0", "wait_ms=3600001", "wait_ms=1&wait_ms=1"] {
        server.get(&format!("/api/v1/events?{query}")).await.problem(400, "invalid");
    }
}

/// A registry whose feed always has a next event.
#[derive(Debug, Default)]
struct Busy(MemoryRegistry);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Busy {
    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        match from {
            WatchFrom::Oldest => {
                let alive = Event::Alive { revision: "a-1".parse().unwrap() };
                Ok(Watch::new(futures_util::stream::repeat(alive)))
            }
            // The server itself follows the feed.
            from => self.0.watch(from).await,
        }
    }

    forward_registry!(|this| this.0 => register_with, unregister_with, write, get, snapshot, list_page, ping, info,
        now, close);
    forward_registry!(provided => metrics, get_many, find, summary, history, register_new, conveniences);
}

#[tokio::test]
async fn events_end_after_the_time_limit_even_if_there_is_always_a_next_event() {
    let server = Server::start(Arc::new(Busy::default()), ServeOptions::default()).await;
    let request = "GET /api/v1/events?from=oldest&wait_ms=50 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = server.raw(request.as_bytes()).await;
    assert!(data(&answer.body).len() > 1, "{}", answer.body);
}
