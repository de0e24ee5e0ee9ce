//! An HTTP/1 receiver that answers every request with permission, unless its caller refuses the publisher.
//!
//! A general HTTP server rejects requests that it cannot parse. For example, nginx-rtmp sends the publisher's own
//! arguments unescaped, so the target of a `GET` may contain spaces. A rejection would disconnect the publisher, so
//! this receiver also allows what it cannot read.

use std::time::Duration;

use adapters::servers::Refusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The body that allows a publisher. SRS and ZLMediaKit read `code`, OvenMediaEngine reads `allowed`, and nginx-rtmp
/// and MediaMTX read the status 200. SRS rejects an empty body.
const ALLOWED: &str = r#"{"code":0,"msg":"ok","allowed":true}"#;
/// The body that refuses a publisher. `msg` is the reason for ZLMediaKit, and `reason` for OvenMediaEngine.
const REFUSED: &str = concat!(
    r#"{"code":403,"msg":"the stream is already live elsewhere","allowed":false,"#,
    r#""reason":"the stream is already live elsewhere"}"#
);
/// Maximum size of the head of a request, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// Maximum size of a hook, in bytes. The largest known hook has 7 KB.
const LIMIT: usize = 256 * 1024;
/// Number of bytes that are received at once, enough for most hooks.
const FILL: usize = 4 * 1024;
/// Maximum time for reading a request, because nginx-rtmp waits only 10 s for the answer.
const READ_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Maximum time for which an idle connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for writing an answer, and for the client to close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A request to the receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hook {
    /// The path, percent-encoded.
    pub(super) path: String,
    /// The query.
    pub(super) query: String,
    pub(super) body: Vec<u8>,
    /// Whether a web page sent the request.
    pub(super) is_from_page: bool,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Refuse(Refusal),
}

impl Verdict {
    fn status_and_body(self) -> (&'static str, &'static str) {
        match self {
            Self::Allow => ("200 OK", ALLOWED),
            Self::Refuse(Refusal::Body) => ("200 OK", REFUSED),
            Self::Refuse(Refusal::Status) => ("403 Forbidden", REFUSED),
        }
    }
}

/// Answers the requests of a connection. `receive` decides about each request; it gets `None` for one that cannot be
/// read.
pub(super) async fn serve(socket: TcpStream, receive: impl AsyncFn(Option<Hook>) -> Verdict) {
    let mut connection = Connection { socket, buffer: Vec::new() };
    loop {
        if connection.buffer.is_empty() && !matches!(timeout(IDLE_TIMEOUT, connection.fill()).await, Ok(Some(()))) {
            return;
        }
        let (hook, keep_open) = match timeout(READ_TIMEOUT, connection.request()).await {
            Ok(Some((hook, keep_open))) => (Some(hook), keep_open),
            _ => (None, false),
        };
        let verdict = receive(hook).await;
        if !matches!(timeout(CLOSE_TIMEOUT, connection.answer(verdict, keep_open)).await, Ok(Some(()))) {
            return;
        }
        if !keep_open {
            // If the socket were closed while data is unread, the client would lose the answer.
            let drain = async {
                while connection.fill().await.is_some() {
                    connection.buffer.clear();
                }
            };
            let _ = timeout(CLOSE_TIMEOUT, drain).await;
            return;
        }
    }
}

struct Connection {
    socket: TcpStream,
    /// Bytes that were received but not used.
    buffer: Vec<u8>,
}

impl Connection {
    /// Receives more bytes. Returns `None` if the connection was closed.
    async fn fill(&mut self) -> Option<()> {
        self.buffer.reserve(FILL);
        self.socket.read_buf(&mut self.buffer).await.ok().filter(|received| *received > 0).map(|_| ())
    }

    async fn answer(&mut self, verdict: Verdict, keep_open: bool) -> Option<()> {
        let (status, body) = verdict.status_and_body();
        let (connection, length) = (if keep_open { "keep-alive" } else { "close" }, body.len());
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: {connection}\r\n\r\n{body}"
        );
        self.socket.write_all(answer.as_bytes()).await.ok()?;
        if !keep_open {
            self.socket.shutdown().await.ok()?;
        }
        Some(())
    }

    /// Reads a request, and returns whether the connection stays open after it.
    async fn request(&mut self) -> Option<(Hook, bool)> {
        let head = self.head().await?;
        let mut lines = head.lines();
        let (method, rest) = lines.next()?.split_once(' ')?;
        let (target, version) = rest.rsplit_once(" HTTP/").unwrap_or((rest, "1.0"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (mut length, mut is_chunked, mut is_from_page) = (0, false, false);
        let mut keep_open = version.trim() == "1.1";
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match &*name.trim().to_ascii_lowercase() {
                "content-length" => length = value.parse().ok()?,
                "transfer-encoding" => is_chunked = true,
                "connection" => keep_open = value.eq_ignore_ascii_case("keep-alive"),
                "expect" => self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?,
                // A page can send a GET without the first header, but browsers then add the second one.
                "origin" | "sec-fetch-site" => is_from_page = true,
                _ => {}
            }
        }
        let body = if is_chunked { self.chunks().await? } else { self.take(length).await? };
        let hook = Hook { path: path.to_owned(), query: query.to_owned(), body, is_from_page };
        // The answer to HEAD would have no body, but this receiver always sends one.
        Some((hook, keep_open && method != "HEAD"))
    }

    /// Reads up to the empty line that ends the head.
    async fn head(&mut self) -> Option<String> {
        let mut searched: usize = 0;
        loop {
            let rest = &self.buffer[searched.saturating_sub(3)..];
            let found = rest.windows(2).position(|bytes| bytes == b"\n\n").map(|at| at + 2);
            let crlf = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = found.into_iter().chain(crlf).min() {
                let end = searched.saturating_sub(3) + end;
                return Some(String::from_utf8_lossy(&self.buffer.drain(..end).collect::<Vec<_>>()).into_owned());
            }
            searched = self.buffer.len();
            if searched > HEAD_LIMIT {
                return None;
            }
            self.fill().await?;
        }
    }

    /// Reads a number of bytes.
    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        if length > LIMIT {
            return None;
        }
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Reads a body in chunks (RFC 9112, section 7.1).
    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                // The trailer ends with an empty line.
                while !self.line().await?.is_empty() {}
                return Some(body);
            }
            if body.len().saturating_add(size) > LIMIT {
                return None;
            }
            body.extend(self.take(size).await?);
            self.line().await?;
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > HEAD_LIMIT {
                return None;
            }
            self.fill().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// Sends bytes over one connection. Returns the requests that were received, and everything that was answered.
    async fn exchange(parts: &[&[u8]], close: bool) -> (Vec<Option<Hook>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let hooks = Arc::clone(&received);
        let server = serve(listener.accept().await.unwrap().0, async move |hook| {
            hooks.lock().unwrap().push(hook);
            Verdict::Allow
        });
        let server = tokio::spawn(server);
        for part in parts {
            // The receiver may already have closed the connection.
            let _ = client.write_all(part).await;
        }
        if close {
            let _ = client.shutdown().await;
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        server.await.unwrap();
        (std::mem::take(&mut received.lock().unwrap()), String::from_utf8(answer).unwrap())
    }

    fn hook(path: &str, query: &str, body: &str) -> Option<Hook> {
        let body = body.as_bytes().to_vec();
        Some(Hook { path: path.to_owned(), query: query.to_owned(), body, is_from_page: false })
    }

    fn assert_allowed(answer: &str, times: usize) {
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), times, "{answer}");
        assert_eq!(answer.matches(ALLOWED).count(), times, "{answer}");
    }

    #[tokio::test]
    async fn receiver_reads_every_form_of_request() {
        for (request, expected) in [
            ("POST /hooks/srs HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", hook("/hooks/srs", "", "ab")),
            ("POST /h?x=1 HTTP/1.1\nconnection: Close\ncontent-length:1\n\na", hook("/h", "x=1", "a")),
            ("GET /h?name=a b&c= d HTTP/1.0\r\n\r\n", hook("/h", "name=a b&c= d", "")),
            ("BREW /%68 HTTP/1.0\r\n\r\n", hook("/%68", "", "")),
            (
                "POST /h HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                 2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n",
                hook("/h", "", "abc"),
            ),
            ("PRI * HTTP/2.0\r\n\r\n", hook("*", "", "")),
        ] {
            let (received, answer) = exchange(&[request.as_bytes()], false).await;
            assert_eq!(received, [expected], "{request}");
            assert_allowed(&answer, 1);
        }
    }

    #[tokio::test]
    async fn receiver_allows_what_it_cannot_read() {
        let huge_body =
            [&b"POST /h HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n"[..], &vec![b'x'; 10_000_000]].concat();
        let huge_head = [&b"POST /"[..], &vec![b'x'; 1_000_000]].concat();
        for request in [
            &b"\xff\xfe\0\0 \r\n\r\n"[..],
            b"\r\n\r\n",
            b"POST /h HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /h HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /h HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            &huge_body,
            &huge_head,
        ] {
            let (received, answer) = exchange(&[request], false).await;
            assert!(
                received == [None] || received[0].as_ref().is_some_and(|hook| hook.body.is_empty()),
                "{received:?}"
            );
            assert_allowed(&answer, 1);
        }
    }

    #[tokio::test]
    async fn receiver_allows_a_request_that_stops_halfway_within_two_seconds() {
        for (parts, close) in
            [("POST /h HT", false), ("POST /h HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", false), ("P", true)]
        {
            let started = Instant::now();
            let (received, answer) = exchange(&[parts.as_bytes()], close).await;
            assert_eq!(received, [None]);
            assert_allowed(&answer, 1);
            assert!(started.elapsed() >= READ_TIMEOUT || close);
        }
    }

    #[tokio::test]
    async fn requests_of_one_connection_are_received_in_order() {
        let request = |body: &str| format!("POST /h HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let all = [request("one"), request("two"), request("three")].concat();
        let (first, rest) = all.as_bytes().split_at(60);
        let (received, answer) = exchange(&[first, rest], true).await;
        assert_eq!(received, ["one", "two", "three"].map(|body| hook("/h", "", body)));
        assert_allowed(&answer, 3);
    }

    #[test]
    fn refusal_is_json_that_differs_from_a_permission_in_every_field_that_a_server_reads() {
        let read = |verdict: Verdict| {
            let (status, body) = verdict.status_and_body();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            (status.split(' ').next().unwrap(), body["code"].as_u64(), body["allowed"].as_bool())
        };
        assert_eq!(read(Verdict::Allow), ("200", Some(0), Some(true)));
        assert_eq!(read(Verdict::Refuse(Refusal::Body)), ("200", Some(403), Some(false)));
        assert_eq!(read(Verdict::Refuse(Refusal::Status)), ("403", Some(403), Some(false)));
    }

    #[tokio::test]
    async fn request_of_a_web_page_is_recognised() {
        for request in [
            "POST /h HTTP/1.0\r\nOrigin: http://example.com\r\n\r\n",
            "GET /h?call=publish HTTP/1.0\r\nSec-Fetch-Site: cross-site\r\n\r\n",
        ] {
            let (received, answer) = exchange(&[request.as_bytes()], false).await;
            assert!(received[0].as_ref().is_some_and(|hook| hook.is_from_page), "{request}");
            assert_allowed(&answer, 1);
        }
    }
}
