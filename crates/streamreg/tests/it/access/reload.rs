//! The access file while the server runs, and the log of writes.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{HttpRegistry, MemoryRegistry, Registry as _};
use streamreg::server::{ServeOptions, TokenFiles};
use testkit::{CapturedLog, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::kit::{Guarded, entry, record, value};
use crate::http::kit::{LIST, PATIENCE, Server, stream, within};

const READ: &str = "scopes = [\"read\"]";

impl Guarded {
    /// Waits until a list with a token has a status.
    async fn until(&self, token: &str, status: u16) {
        let reached = async {
            while self.get(token, "/api/v1/streams").await.status != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(reached).await;
    }

    /// Waits until `/readyz` does or does not contain a warning about the access file. Checks the metric with a token.
    async fn until_warning(&self, token: &str, expected: bool) {
        let reached = async {
            while self.server.get("/readyz").await.body.contains("the changed access file is unusable") != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(reached).await;
        let metrics = self.get(token, "/metrics").await.body;
        for (file, is_outdated) in [("access", expected), ("token", false), ("tls", false)] {
            let sample = format!("streamreg_reload_failed{{file=\"{file}\"}} {}\n", u8::from(is_outdated));
            assert!(metrics.contains(&sample), "{sample}: {metrics}");
        }
    }
}

#[tokio::test]
async fn changed_access_file_is_used_without_a_restart() {
    let guarded = Guarded::start(&entry("a", READ)).await;
    guarded.until("a", 200).await;
    guarded.get("b", "/api/v1/streams").await.problem(401, "unauthenticated");
    std::fs::write(&guarded.file, entry("b", READ)).unwrap();
    guarded.until("b", 200).await;
    guarded.get("a", "/api/v1/streams").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn invalid_access_file_is_reported_and_the_earlier_tokens_stay_valid() {
    let log = CapturedLog::start();
    let guarded = Guarded::start(&entry("a", READ)).await;
    std::fs::write(&guarded.file, entry("b", "scopes = [\"raed\"]")).unwrap();
    guarded.until_warning("a", true).await;
    assert!(log.text().contains("token b: scopes: unknown scope; expected read"), "{}", log.text());
    assert_eq!(guarded.get("a", "/api/v1/streams").await.status, 200);
    guarded.get("b", "/api/v1/streams").await.problem(401, "unauthenticated");
    std::fs::write(&guarded.file, entry("b", READ)).unwrap();
    guarded.until("b", 200).await;
    guarded.until_warning("b", false).await;
    std::fs::remove_file(&guarded.file).unwrap();
    guarded.until_warning("b", true).await;
    assert_eq!(guarded.get("b", "/api/v1/streams").await.status, 200);
    #[cfg(unix)]
    {
        // To read a pipe would block.
        rustix::fs::mkfifoat(rustix::fs::CWD, &guarded.file, rustix::fs::Mode::RUSR).unwrap();
        wait_until(PATIENCE, async || log.text().contains("no regular file; replace it by one")).await;
        std::fs::remove_file(&guarded.file).unwrap();
    }
    std::fs::write(&guarded.file, entry("a", READ)).unwrap();
    guarded.until("b", 401).await;
    guarded.until_warning("a", false).await;
}

#[tokio::test]
async fn last_token_is_revoked_by_an_empty_list_but_not_by_an_empty_file() {
    let guarded = Guarded::start(&format!("anonymous = [\"metrics\"]\n{}", entry("a", READ))).await;
    for incomplete in ["", "anonymous = [\"metrics\"]\n"] {
        std::fs::write(&guarded.file, incomplete).unwrap();
        guarded.until_warning("a", true).await;
        guarded.until("a", 200).await;
        std::fs::write(&guarded.file, entry("a", READ)).unwrap();
        guarded.until_warning("a", false).await;
    }
    std::fs::write(&guarded.file, "token = []\nanonymous = [\"metrics\"]\n").unwrap();
    guarded.until("a", 401).await;
    guarded.until_warning("", false).await;
}

#[tokio::test]
async fn changed_token_files_are_used_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (write, read) = (dir.path().join("write"), dir.path().join("read"));
    // The files can change between the start of the program and the start of the server.
    std::fs::write(&write, "w2\n").unwrap();
    std::fs::write(&read, "\u{feff} r1 \nsecond\n").unwrap();
    let files = TokenFiles { write: Some(write.clone()), read: Some(read.clone()) };
    let options = ServeOptions::default().token("w1").read_token("r1").token_files(files);
    let server = Server::start(Arc::new(MemoryRegistry::new()), options).await;
    let status = async |method: &str, path: &str, token: &str| {
        server.request(method, path, &[("Authorization", &format!("Bearer {token}"))], "").await.status
    };
    let heartbeat = "/api/v1/streams/x/heartbeat";
    wait_until(PATIENCE, async || status("POST", heartbeat, "w2").await == 404).await;
    assert_eq!((status("POST", heartbeat, "w1").await, status("GET", LIST, "r1").await), (401, 200));
    std::fs::write(&read, "r2\n").unwrap();
    wait_until(PATIENCE, async || status("GET", LIST, "r2").await == 200).await;
    assert_eq!((status("GET", LIST, "r1").await, status("POST", heartbeat, "r2").await), (401, 403));
    for invalid in ["", "a b", "srg_damaged"] {
        let log = CapturedLog::start();
        std::fs::write(&write, invalid).unwrap();
        let failed = r#"streamreg_reload_failed{file="token"} 1"#;
        let metrics = async || server.request("GET", "/metrics", &[("Authorization", "Bearer r2")], "").await.body;
        wait_until(PATIENCE, async || metrics().await.contains(failed)).await;
        assert!(server.get("/readyz").await.body.contains("the changed token file is unusable"));
        assert!(log.text().contains(write.to_str().unwrap()), "{}", log.text());
        assert!(!log.text().contains("a b") && !log.text().contains("srg_"), "{}", log.text());
        assert_eq!(status("POST", heartbeat, "w2").await, 404);
        std::fs::write(&write, "w2").unwrap();
        wait_until(PATIENCE, async || !metrics().await.contains(failed)).await;
    }
}

/// Opens the events with a token, or without one if `token` is empty.
async fn open_events(guarded: &Guarded, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(guarded.server.addr).await.unwrap();
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {}\r\n", value(token)),
    };
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 15];
    within(socket.read_exact(&mut start)).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    socket
}

#[tokio::test]
async fn event_reader_is_disconnected_when_it_may_no_longer_read() {
    let before = format!("anonymous = [\"read\"]\n{}{}", entry("a", READ), entry("b", READ));
    for (reader, after) in [
        ("a", String::new()),
        ("a", entry("a", "scopes = [\"read\"]\nexpires = 2020-01-01T00:00:00Z")),
        ("a", entry("a", "scopes = [\"write\", \"metrics\"]")),
        ("", entry("a", READ)),
    ] {
        let guarded = Guarded::start(&before).await;
        let (mut revoked, mut kept) = (open_events(&guarded, reader).await, open_events(&guarded, "b").await);
        std::fs::write(&guarded.file, after + &entry("b", READ)).unwrap();
        within(async {
            while guarded.server.get(LIST).await.status == 200 || guarded.get(reader, LIST).await.status == 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        guarded.registry.register(&stream("x")).await.unwrap();
        let mut rest = Vec::new();
        within(revoked.read_to_end(&mut rest)).await.unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("203.0.113.7"), "the reader got an event after the revocation: {rest}");
        let mut seen = String::new();
        while !seen.contains("203.0.113.7") {
            let mut part = [0; 1024];
            let read = within(kept.read(&mut part)).await.unwrap();
            assert_ne!(read, 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&part[..read]));
        }
    }
}

// This test runs on a single thread, because the log is captured per thread.
#[tokio::test]
async fn write_is_logged_with_the_name_of_its_token_and_never_with_the_token() {
    let guarded = Guarded::start(&entry("a", "scopes = [\"write\"]\nids = [\"cam-*\"]")).await;
    let log = CapturedLog::start();
    for (method, path, body, expected) in [
        (
            "POST",
            "/api/v1/streams",
            record("cam-1", None).as_str(),
            r#"operation="register" stream="cam-1" result="ok""#,
        ),
        (
            "PUT",
            "/api/v1/streams/cam-1/status",
            r#"{"status":"active"}"#,
            r#"operation="status" stream="cam-1" result="ok""#,
        ),
        ("DELETE", "/api/v1/streams/cam-2", "", r#"operation="unregister" stream="cam-2" result="not_found""#),
        ("POST", "/api/v1/streams/x/heartbeat", "", r#"operation="heartbeat" stream="x" result="denied""#),
        (
            "POST",
            "/api/v1/heartbeats",
            r#"{"streams":[{"id":"x"},{"id":"cam-1"}]}"#,
            r#"operation="write" streams=2 failed=1 denied=1"#,
        ),
    ] {
        let response = guarded.request("a", method, path, body).await;
        // The line has the id of the response, which the line of the request has too.
        let expected = format!("token=\"a\" {expected} request_id=\"{}\"", response.header("x-request-id"));
        assert!(log.text().contains(&expected), "{expected}: {}", log.text());
    }
    guarded.get("a", "/api/v1/streams").await;
    let rejected = log.text().lines().find(|line| line.contains("rejected a token")).unwrap().to_owned();
    assert!(rejected.contains(r#"token="a" reason="needs the scope read" request_id=""#), "{rejected}");
    assert!(!log.text().contains("value-of-") && !log.text().contains("sha256"), "{}", log.text());
}

#[tokio::test]
async fn http_client_works_with_the_scopes_that_its_calls_need() {
    let guarded = Guarded::start(&(entry("a", READ) + &entry("b", "scopes = [\"write\"]"))).await;
    let connect = async |token: &str| HttpRegistry::connect(guarded.server.options().token(value(token))).await;
    let (reader, writer) = (connect("a").await.unwrap(), connect("b").await.unwrap());
    let mut watch = reader.watch(WatchFrom::Now).await.unwrap();
    writer.register(&stream("x")).await.unwrap();
    let event = within(async {
        loop {
            if let Some(Event::Changed { stream, .. }) = watch.next().await {
                return stream;
            }
        }
    });
    assert_eq!(event.await.id.as_str(), "x");
    let error = reader.update_heartbeat(&stream("x").id).await.unwrap_err();
    assert!(error.to_string().contains("the token a needs the scope write"), "{error}");
    let error = writer.list().await.unwrap_err();
    assert!(error.to_string().contains("the token b needs the scope read"), "{error}");
    let error = connect("c").await.unwrap_err();
    assert!(error.to_string().contains("missing or wrong token"), "{error}");
}
