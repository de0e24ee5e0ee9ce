//! Event readers that share a connection.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use stream_registry::{MemoryRegistry, Registry as _};
use testkit::TestTls;

use super::client::{Client, read};
use super::start;
use crate::http::kit::{Server, stream, within};
use crate::http::tls::options;

const EVENTS: &str = "/api/v1/events";
const DROPPED: &str = "\nstreamreg_event_readers_dropped_total";

/// An open stream of events.
struct Reader {
    body: Incoming,
    text: String,
}

impl Reader {
    fn new(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), text: String::new() }
    }

    /// Reads until the events contain a string.
    async fn until(&mut self, part: &str) {
        while !self.text.contains(part) {
            let frame = within(self.body.frame()).await.unwrap_or_else(|| panic!("no {part} in {}", self.text));
            let data = frame.unwrap_or_else(|fault| panic!("{fault}; no {part} in {}", self.text)).into_data();
            self.text.push_str(std::str::from_utf8(&data.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn two_hundred_event_readers_on_two_connections_receive_every_event() {
    let tls = TestTls::new();
    let (server, registry) = start(&tls).await;
    let mut readers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::http2(&server, &tls).await;
        for _ in 0..100 {
            readers.push(Reader::new(client.get(EVENTS).await));
        }
        clients.push(client);
    }
    let metrics = Client::http2(&server, &tls).await.read("/metrics").await.1;
    assert!(metrics.contains("\nstreamreg_event_readers 200\n"), "{metrics}");
    for n in 0..20 {
        registry.register(&stream(&format!("cam{n}"))).await.unwrap();
    }
    for reader in &mut readers {
        reader.until("\"id\":\"cam19\"").await;
        let at: Vec<_> = (0..20).map(|n| reader.text.find(&format!("\"id\":\"cam{n}\""))).collect();
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{}", reader.text);
    }
    // When a reader leaves, its place is free for another one.
    drop(readers);
    for client in &mut clients {
        let free = async { while !client.read("/metrics").await.1.contains("\nstreamreg_event_readers 0\n") {} };
        within(free).await;
    }
}

#[tokio::test]
async fn event_reader_that_does_not_read_is_dropped_and_others_on_its_connection_go_on() {
    let tls = TestTls::new();
    let registry = Arc::new(MemoryRegistry::new());
    let options = options(&tls).event_readers(2).event_timeout(Duration::from_secs(1));
    let server = Server::start(registry.clone(), options).await;
    let mut client = Client::http2(&server, &tls).await;
    let mut slow = client.get(EVENTS).await;
    let mut reader = Reader::new(client.get(EVENTS).await);
    let rejected = client.get(EVENTS).await;
    assert_eq!((rejected.status().as_u16(), rejected.headers().get("connection")), (503, None));
    assert!(rejected.headers().contains_key("retry-after") && read(rejected).await.contains("too many event readers"));

    let mut record = stream("large");
    record.labels = (0..64).map(|n| (format!("{n:064}"), "x".repeat(256))).collect();
    let mut sent = 0;
    within(async {
        while client.read("/metrics").await.1.contains(&format!("{DROPPED} 0\n")) {
            registry.register(&record).await.unwrap();
            sent += 1;
            let marker = format!("marker-{sent}");
            registry.register(&stream(&marker)).await.unwrap();
            reader.until(&marker).await;
        }
    })
    .await;
    let metrics = client.read("/metrics").await.1;
    assert!(metrics.contains(&format!("{DROPPED} 1\n")) && metrics.contains("\nstreamreg_event_readers 1\n"));
    // The other reader goes on, on the same connection, and the place of the slow reader is free.
    registry.register(&stream("after")).await.unwrap();
    reader.until("\"id\":\"after\"").await;
    Reader::new(client.get(EVENTS).await).until("alive").await;
    // The slow reader gets what fits into its window, and then its stream is reset.
    let mut received = 0;
    let ended = within(async {
        loop {
            match slow.body_mut().frame().await {
                Some(Ok(frame)) => received += frame.into_data().unwrap().len(),
                other => return other,
            }
        }
    })
    .await;
    assert!(matches!(ended, Some(Err(_))), "{ended:?}");
    assert!(received <= 65_535, "{received}");
}

#[tokio::test]
async fn shutdown_ends_the_events_of_a_connection_at_once() {
    let tls = TestTls::new();
    let (mut server, _) = start(&tls).await;
    let mut client = Client::http2(&server, &tls).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(client.get(EVENTS).await);
    }
    server.begin_stop();
    server.stopped().await;
    for reader in readers {
        let text = read(reader).await;
        assert!(text.contains("\"alive\"") && text.ends_with("\n\n"), "{text}");
    }
    within(client.connection).await.unwrap().unwrap();
}
