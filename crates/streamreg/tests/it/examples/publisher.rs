//! The publishers: each registers a stream, keeps it alive, and unregisters it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::in_each_language;
use super::kit::{Language, Registry, WRITE};
use crate::cli::Running;

const SOURCE: &str = "203.0.113.7:40112";
const OTHER: &str = "198.51.100.9:9000";
/// With this time to live, a publisher sends a heartbeat every 0.4 s.
const TTL: &str = "2s";

in_each_language! {
    publisher_keeps_its_stream_alive_until_sigterm,
    publisher_registers_the_same_stream_again_when_the_server_has_lost_it,
    publisher_stops_when_it_has_lost_its_stream,
    publisher_fails_when_the_server_rejects_its_token_or_id,
    publisher_waits_for_as_long_as_the_server_asks,
}

fn start(language: Language, registry: &Registry) -> Running {
    language.start("publisher", &["cam/1", SOURCE], &registry.address, WRITE)
}

fn bytes(record: &Value) -> u64 {
    record["bytes_received"].as_u64().unwrap()
}

fn publisher_keeps_its_stream_alive_until_sigterm(language: Language) {
    let registry = Registry::start(TTL);
    let mut publisher = start(language, &registry);
    let first = registry.record("cam/1", "the publisher reports statistics", |record| bytes(record) > 0);
    assert_eq!((&first["source_addr"], &first["status"]), (&SOURCE.into(), &"active".into()));
    assert!(first["epoch"].is_string() && first["node"].is_string(), "{first}");
    // 3 s of statistics are more than one time to live.
    let reported = |record: &Value| bytes(record) >= bytes(&first) + 3 * 625_000;
    registry.record("cam/1", "the publisher goes on", reported);
    publisher.signal("TERM");
    assert_eq!(publisher.ended(), Some(0));
    let history = registry.run(&["history", "--output", "json"]).unwrap();
    assert!(history.contains(r#""reason":"publisher stopped""#), "{history}");
}

fn publisher_registers_the_same_stream_again_when_the_server_has_lost_it(language: Language) {
    let mut registry = Registry::start(TTL);
    let _publisher = start(language, &registry);
    let before = registry.record("cam/1", "the publisher reports statistics", |record| bytes(record) > 0);
    registry.restart();
    let after = registry.record("cam/1", "the stream is live again", |_| true);
    assert_eq!((&after["epoch"], &after["created_at"]), (&before["epoch"], &before["created_at"]));
    assert!(bytes(&after) >= bytes(&before), "the counters go on: {after}");
    registry.record("cam/1", "the publisher reports again", |record| bytes(record) > bytes(&after));
}

fn publisher_stops_when_it_has_lost_its_stream(language: Language) {
    let registry = Registry::start(TTL);
    let mut publisher = start(language, &registry);
    publisher.line_with("registered cam/1");
    registry.register("cam/1", OTHER);
    publisher.line_with("lost cam/1");
    assert_eq!(publisher.ended(), Some(1));
    registry.run(&["unregister", "cam/1"]);
    let mut publisher = start(language, &registry);
    publisher.line_with("registered cam/1");
    assert!(registry.run(&["unregister", "cam/1", "--force"]).is_some());
    publisher.line_with("lost cam/1");
    assert_eq!(publisher.ended(), Some(1));
    assert!(registry.run(&["get", "cam/1"]).is_none(), "the stream that was unregistered is live again");
}

fn publisher_fails_when_the_server_rejects_its_token_or_id(language: Language) {
    let registry = Registry::start("1m");
    let mut publisher = language.start("publisher", &["cam/1", SOURCE], &registry.address, "guess");
    publisher.line_with("missing or wrong token");
    assert_eq!(publisher.ended(), Some(1));
    registry.register("cam/1", OTHER);
    let mut publisher = start(language, &registry);
    publisher.line_with("live");
    assert_eq!(publisher.ended(), Some(1));
    registry.record("cam/1", "the other stream stays", |record| record["source_addr"] == OTHER);
}

/// The first answer asks for a pause of 2 s. The second one ends the publisher.
fn publisher_waits_for_as_long_as_the_server_asks(language: Language) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut publisher =
        language.start("publisher", &["cam/1", SOURCE], &listener.local_addr().unwrap().to_string(), WRITE);
    let mut answered = Vec::new();
    for answer in [
        ("503 X\r\nRetry-After: 2", r#"{"code":"unavailable","detail":"down","retryable":true}"#),
        ("403 X", r#"{"code":"denied","detail":"read-only","retryable":false}"#),
    ] {
        let mut socket = BufReader::new(listener.accept().unwrap().0);
        let arrived = Instant::now();
        let mut length = 0;
        for line in socket.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        socket.by_ref().take(length).read_to_end(&mut Vec::new()).unwrap();
        let (head, body) = answer;
        let length = body.len();
        let head = format!("HTTP/1.1 {head}\r\nContent-Type: application/problem+json\r\nContent-Length: {length}");
        write!(socket.get_mut(), "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
        answered.push((arrived, Instant::now()));
    }
    publisher.line_with("read-only");
    assert_eq!(publisher.ended(), Some(1));
    let pause = answered[1].0 - answered[0].0;
    // Timers of Node.js can be 1 ms early.
    assert!(pause >= Duration::from_millis(1_990), "{pause:?}");
}
