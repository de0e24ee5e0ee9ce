//! The HTTP server over real sockets, and the HTTP store against it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use stream_registry::{
    Change, Cursor, EndOptions, EndReason, Error, ErrorKind, Guard, HttpOptions, HttpRegistry, LabelsPatch,
    MemoryRegistry, OnConflict, Operation, OperationId, Outcome, Page, RegisterOptions, Registered, Registry, Result,
    Snapshot, StoreInfo, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, StreamType, Write,
};
use streamreg::server::{ServeOptions, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a busy machine; no test waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

// ---- a server, and requests to it -------------------------------------------------------------------

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(registry: Arc<dyn Registry>, options: ServeOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(registry, listener, options, async {
            let _ = stopped.await;
        }));
        Self { addr, stop: Some(stop), task }
    }

    async fn memory() -> (Self, Arc<MemoryRegistry>) {
        let registry = Arc::new(MemoryRegistry::new());
        (Self::start(registry.clone(), ServeOptions::default()).await, registry)
    }

    async fn client(&self) -> HttpRegistry {
        HttpRegistry::connect(self.options()).await.unwrap()
    }

    fn options(&self) -> HttpOptions {
        format!("http://{}", self.addr).parse().unwrap()
    }

    fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn stopped(&mut self) {
        within(&mut self.task).await.unwrap().unwrap();
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.raw(&[head.as_bytes(), body.as_bytes()].concat()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(method, path, &[("Content-Type", "application/json")], body).await
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        // The server may answer and close before it took everything.
        let _ = socket.write_all(bytes).await;
        Answer::read(&mut socket).await
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    async fn read(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer is how an unread rest of a request ends.
        let _ = within(socket.read_to_end(&mut bytes)).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|fault| panic!("{fault}: {:?}", self.body))
    }

    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
        problem
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it took too long")
}

/// A registry whose `get` can be held, and that fails on demand.
#[derive(Debug, Default)]
struct Gate {
    inner: MemoryRegistry,
    fails: Mutex<Option<Error>>,
    entered: Notify,
    /// `get` waits for this where `holds` is set.
    open: Notify,
    holds: bool,
}

impl Gate {
    fn failing(error: Error) -> Arc<Self> {
        Arc::new(Self { fails: Mutex::new(Some(error)), ..Self::default() })
    }

    fn check(&self) -> Result<()> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Registry for Gate {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.check()?;
        self.inner.register_with(stream, options).await
    }
    async fn end(&self, id: &StreamId, options: &EndOptions) -> Result<Stream> {
        self.check()?;
        self.inner.end(id, options).await
    }
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.check()?;
        self.inner.write(writes).await
    }
    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.check()?;
        if self.holds {
            self.entered.notify_one();
            self.open.notified().await;
        }
        self.inner.get(id).await
    }
    async fn snapshot(&self) -> Result<Snapshot> {
        self.check()?;
        self.inner.snapshot().await
    }
    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.check()?;
        self.inner.list_page(cursor, count).await
    }
    async fn ping(&self) -> Result<()> {
        self.check()
    }
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

fn id(text: &str) -> StreamId {
    text.parse().unwrap()
}

fn stream(text: &str) -> Stream {
    Stream::new(id(text), StreamType::Srt, "203.0.113.7:40112")
}

const CAM: &str = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}"#;

// ---- routes -----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stream_lives_its_life_over_every_route() {
    let (server, registry) = Server::memory().await;
    let empty = server.get("/api/v1/streams").await;
    assert_eq!(empty.body, r#"{"streams":[],"next_cursor":null,"total":0,"revision":null}"#);
    assert_eq!(empty.header("content-type"), "application/json");
    assert_eq!(server.get("/api/v1/snapshot").await.body, r#"{"streams":[],"revision":null}"#);

    let created = server.json("POST", "/api/v1/streams", CAM).await;
    assert_eq!((created.status, created.header("location")), (201, "/api/v1/streams/cam1"));
    let answer = created.json();
    assert_eq!((&answer["outcome"], &answer["ttl_ms"]), (&json!("created"), &json!(300_000)));
    assert_eq!(answer["epoch"], Value::Null);
    assert_eq!(answer["stream"]["status"], "connecting");
    let renewed = server.json("POST", "/api/v1/streams", CAM).await;
    assert_eq!((renewed.status, &renewed.json()["outcome"]), (200, &json!("renewed")));

    let other = CAM.replace("203.0.113.7", "198.51.100.1");
    let refused = server.json("POST", "/api/v1/streams", &other).await.problem(409, "already_exists");
    assert_eq!(refused["existing"]["source_addr"], "203.0.113.7:40112");
    assert_eq!((&refused["operation"], &refused["stream_id"]), (&json!("register"), &json!("cam1")));
    assert_eq!((&refused["retryable"], &refused["may_have_applied"]), (&json!(false), &json!(false)));
    server.json("POST", "/api/v1/streams?on_conflict=create_only", CAM).await.problem(409, "already_exists");
    server.json("POST", "/api/v1/streams?on_conflict=reject", &other).await.problem(409, "already_exists");
    let taken = server.json("POST", "/api/v1/streams?on_conflict=take_over", &other).await;
    assert_eq!((taken.status, &taken.json()["outcome"]), (200, &json!("taken_over")));

    let read = server.get("/api/v1/streams/cam1").await;
    assert_eq!((read.status, &read.body), (200, &registry.get(&id("cam1")).await.unwrap().to_json()));
    let head = server.ask("HEAD", "/api/v1/streams/cam1", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), read.body.len().to_string());

    let path = "/api/v1/streams/cam1";
    assert_eq!(server.ask("POST", &format!("{path}/heartbeat"), &[], "").await.status, 204);
    assert_eq!(server.ask("POST", &format!("{path}/heartbeat?force=true"), &[], "what is this").await.status, 204);
    assert_eq!(server.json("PUT", &format!("{path}/status"), r#"{"status":"buffering"}"#).await.status, 204);
    assert_eq!(registry.get(&id("cam1")).await.unwrap().status.as_str(), "buffering");
    let stats = r#"{"bytes_received":9223372036854775807,"viewers":3}"#;
    assert_eq!(server.json("PUT", &format!("{path}/stats"), stats).await.status, 204);
    let now = registry.get(&id("cam1")).await.unwrap();
    assert_eq!((now.bytes_received, now.viewers, now.packets_lost), (i64::MAX as u64, Some(3), 0));

    let patch = r#"{"video_codec":"HEVC","frame_rate":25,"node":"n1","labels":{"a":"1","b":"2"}}"#;
    let patched = server.ask("PATCH", path, &[("Content-Type", "application/merge-patch+json")], patch).await;
    assert_eq!((patched.status, &patched.json()["video_codec"]), (200, &json!("HEVC")));
    let patched = server.json("PATCH", path, r#"{"node":null,"labels":{"a":null,"c":"3"}}"#).await.json();
    assert_eq!((patched.get("node"), &patched["labels"]), (None, &json!({"b":"2","c":"3"})));
    let patched = server.json("PATCH", &format!("{path}?labels=replace"), r#"{"labels":{"z":"9"}}"#).await.json();
    assert_eq!((&patched["labels"], &patched["video_codec"]), (&json!({"z":"9"}), &json!("HEVC")));
    let patched = server.json("PATCH", path, r#"{"labels":null,"video_codec":null,"frame_rate":null}"#).await.json();
    assert_eq!((patched.get("labels"), &patched["video_codec"], &patched["frame_rate"]), (None, &json!(""), &json!(0)));
    assert_eq!(
        server
            .ask("PATCH", path, &[("Content-Type", "application/json"), ("Prefer", "return=minimal")], "{}")
            .await
            .status,
        204
    );

    let whole = r#"{"type":"rtp","source_addr":"[::1]:5004","status":"active","bitrate":7}"#;
    let put = server.ask("PUT", path, &[("content-type", "Application/JSON; charset=utf-8")], whole).await;
    assert_eq!((put.status, &put.json()["bitrate"], &put.json()["id"]), (200, &json!(7), &json!("cam1")));
    assert_eq!(registry.get(&id("cam1")).await.unwrap().created_at, now.created_at);
    assert_eq!(put.body, registry.get(&id("cam1")).await.unwrap().to_json());

    assert_eq!(server.ask("DELETE", path, &[], "").await.status, 204);
    server.ask("DELETE", path, &[], "").await.problem(404, "not_found");
    server.get(path).await.problem(404, "not_found");
    server.json("POST", "/api/v1/streams", CAM).await;
    let last = server
        .ask("DELETE", &format!("{path}?reason=gone%20home&force=true"), &[("Prefer", "return=representation")], "")
        .await;
    assert_eq!((last.status, &last.json()["end_reason"]), (200, &json!("gone home")));
    for (method, suffix, body) in [
        ("POST", "/heartbeat", ""),
        ("PUT", "/status", r#"{"status":"active"}"#),
        ("PUT", "/stats", r#"{"bitrate":1}"#),
        ("PUT", "", whole),
        ("PATCH", "", "{}"),
    ] {
        let problem = server.json(method, &format!("{path}{suffix}"), body).await.problem(404, "not_found");
        assert_eq!(problem["stream_id"], "cam1");
    }
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let (server, _) = Server::memory().await;
    let info = server.get("/api/v1/info").await.json();
    assert_eq!(
        info,
        json!({"name":"streamreg","version":env!("CARGO_PKG_VERSION"),"store":"memory","ttl_ms":300_000,"read_only":false})
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await.body, r#"{"status":"ok"}"#);
        assert_eq!(server.ask("HEAD", path, &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths_are_problems() {
    let (server, _) = Server::memory().await;
    for (method, path, allow) in [
        ("DELETE", "/api/v1/streams", "GET, HEAD, POST"),
        ("POST", "/api/v1/streams/a", "GET, HEAD, PUT, PATCH, DELETE"),
        ("GET", "/api/v1/streams/a/heartbeat", "POST"),
        ("POST", "/api/v1/streams/a/status", "PUT"),
        ("GET", "/api/v1/streams/a/stats", "PUT"),
        ("PUT", "/api/v1/snapshot", "GET, HEAD"),
        ("POST", "/api/v1/info", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/readyz", "GET, HEAD"),
    ] {
        let answer = server.ask(method, path, &[], "").await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for path in
        ["/api/v1/streams/", "/api/v1/streams/a/b", "/api/v1", "/api/v2/streams", "/x", "/api/v1/streams/a/status/"]
    {
        server.get(path).await.problem(404, "unknown_path");
    }
}

#[tokio::test]
async fn every_kind_of_error_has_its_status_and_shows_no_secret() {
    let secret = || std::io::Error::other("redis://user:hunter2@host");
    for (kind, status, code) in [
        (ErrorKind::InvalidArgument, 400, "invalid"),
        (ErrorKind::Unsupported, 400, "unsupported"),
        (ErrorKind::Denied, 403, "forbidden"),
        (ErrorKind::NotHolder, 409, "not_holder"),
        (ErrorKind::Corrupt, 422, "corrupt"),
        (ErrorKind::Internal, 500, "internal"),
        (ErrorKind::Unavailable, 503, "unavailable"),
        (ErrorKind::Closed, 503, "unavailable"),
        (ErrorKind::Timeout, 503, "timeout"),
    ] {
        let registry = Gate::failing(Error::new(kind, "some sentence").with_source(secret()));
        let server = Server::start(registry, ServeOptions::default()).await;
        for (method, path) in [
            ("GET", "/api/v1/streams/a"),
            ("GET", "/api/v1/streams"),
            ("GET", "/api/v1/snapshot"),
            ("POST", "/api/v1/streams/a/heartbeat"),
        ] {
            let answer = server.ask(method, path, &[], "").await;
            let problem = answer.problem(status, code);
            assert_eq!(answer.header("retry-after"), if status == 503 { "1" } else { "" });
            assert_eq!(problem["may_have_applied"], kind == ErrorKind::Timeout);
            assert!(!answer.body.contains("hunter2"), "{}", answer.body);
        }
        let fault = server.client().await.get(&id("a")).await.unwrap_err();
        let expected = if kind == ErrorKind::Closed { ErrorKind::Unavailable } else { kind };
        assert_eq!((fault.kind(), fault.operation()), (expected, Some(Operation::Get)));
        assert_eq!(fault.stream_id(), Some(&id("a")));
    }
}

#[tokio::test]
async fn readiness_is_the_stores_and_health_the_processes() {
    let server =
        Server::start(Gate::failing(Error::new(ErrorKind::Unavailable, "the store is away")), ServeOptions::default())
            .await;
    let answer = server.get("/readyz").await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.get("/healthz").await.status, 200);
    let fault = server.client().await.ping().await.unwrap_err();
    assert_eq!((fault.kind(), fault.operation()), (ErrorKind::Unavailable, Some(Operation::Ping)));
}

// ---- values -----------------------------------------------------------------------------------------

#[tokio::test]
async fn ids_come_back_as_they_were() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let long = "é".repeat(128);
    let ids = [
        "a",
        "a b",
        "a/b",
        "/",
        "a//b/",
        "studio \"A\" / cam 1",
        "'",
        "\\",
        "%",
        "%2F",
        "%zz",
        "*",
        "?",
        "?a=b&c",
        "#",
        "a#b",
        "+",
        "a+b",
        "{}",
        "{id}",
        "📺",
        "a:b;c,d",
        "...",
        "heartbeat",
        "a/heartbeat",
        "<b>",
        "a\u{a0}b",
        "^|`~",
        &long,
    ];
    for text in ids {
        let registered = client.register(&stream(text)).await.unwrap();
        assert_eq!(registered.stream.id.as_str(), text);
        client.update_heartbeat(&id(text)).await.unwrap();
        client.update_status(&id(text), StreamStatus::Active).await.unwrap();
        assert_eq!(client.get(&id(text)).await.unwrap(), registry.get(&id(text)).await.unwrap(), "{text}");
    }
    let listed: BTreeSet<_> = client.list().await.unwrap().into_iter().map(|stream| stream.id).collect();
    assert_eq!(listed, ids.into_iter().map(id).collect());
    for text in ids {
        assert_eq!(client.unregister(&id(text)).await.unwrap().id.as_str(), text);
    }
    assert!(registry.list().await.unwrap().is_empty());
    let created = server.json("POST", "/api/v1/streams", r#"{"id":"a/b c%é","type":"srt","source_addr":""}"#).await;
    assert_eq!(created.header("location"), "/api/v1/streams/a%2Fb%20c%25%C3%A9");
    assert_eq!(server.get(created.header("location")).await.json()["id"], "a/b c%é");
}

#[tokio::test]
async fn exact_integers_and_unknown_fields_survive_both_ways() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let text = r#"{"id":"a","type":"srt","source_addr":"h:1","bytes_received":9223372036854775807,"packets_received":9007199254740993,"x":1.0e5,"y":{"id":"decoy","n":[12345678901234567890123,{}]},"z\"é":null}"#;
    assert_eq!(server.json("POST", "/api/v1/streams", text).await.status, 201);
    let unknown = r#","x":1.0e5,"y":{"id":"decoy","n":[12345678901234567890123,{}]},"z\"é":null}"#;
    let stored = registry.get(&id("a")).await.unwrap();
    assert!(stored.to_json().ends_with(unknown), "{}", stored.to_json());
    for read in [client.get(&id("a")).await.unwrap(), client.list().await.unwrap().remove(0)] {
        assert_eq!(read.to_json(), stored.to_json());
    }
    let other = stream("b");
    client.register(&other).await.unwrap();
    let mut moved = stored;
    moved.id = id("b");
    client.update(&moved).await.unwrap();
    let moved = registry.get(&id("b")).await.unwrap();
    assert!(moved.to_json().ends_with(unknown));
    assert_eq!(moved.packets_received, 9_007_199_254_740_993);
    let last = client.unregister(&id("b")).await.unwrap();
    assert_eq!(last.to_json(), moved.to_json());
    let stats = StreamStats {
        bytes_received: i64::MAX as u64,
        packets_received: 9_007_199_254_740_993,
        rtt_ms: Some(0.1),
        frame_rate: Some(59.94),
        ..Default::default()
    };
    client.update_stats(&id("a"), &stats).await.unwrap();
    let read = client.get(&id("a")).await.unwrap();
    assert_eq!((read.bytes_received, read.packets_received), (stats.bytes_received, stats.packets_received));
    assert_eq!((read.rtt_ms, read.frame_rate), (Some(0.1), 59.94));
}

#[tokio::test]
async fn pages_bring_each_of_2500_streams() {
    let (server, registry) = Server::memory().await;
    for n in 0..2_500 {
        registry.register(&stream(&format!("cam {n}"))).await.unwrap();
    }
    let mut path = "/api/v1/streams".to_owned();
    let mut sizes = Vec::new();
    let mut seen = BTreeSet::new();
    loop {
        let page = server.get(&path).await.json();
        assert_eq!((&page["total"], &page["revision"]), (&json!(2_500), &Value::Null));
        let streams = page["streams"].as_array().unwrap();
        sizes.push(streams.len());
        seen.extend(streams.iter().map(|stream| stream["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/streams?cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((sizes, seen.len()), (vec![1_000, 1_000, 500], 2_500));

    let client = server.client().await;
    let mut cursor = None;
    let mut pages = 0;
    let mut seen = BTreeSet::new();
    loop {
        let page = client.list_page(cursor.as_ref(), NonZeroU32::new(700).unwrap()).await.unwrap();
        assert_eq!(page.total, 2_500);
        pages += 1;
        seen.extend(page.streams.into_iter().map(|stream| stream.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (4, 2_500));
    assert_eq!(client.list_page(None, NonZeroU32::MAX).await.unwrap().streams.len(), 2_500);
    assert_eq!(client.snapshot().await.unwrap().streams.len(), 2_500);
    let foreign: Cursor = "r0000000000000000deadbeef".parse().unwrap();
    let fault = client.list_page(Some(&foreign), NonZeroU32::MIN).await.unwrap_err();
    assert_eq!((fault.kind(), fault.operation()), (ErrorKind::InvalidCursor, Some(Operation::ListPage)));
}

#[tokio::test]
async fn calls_with_a_name_are_done_once() {
    let (server, registry) = Server::memory().await;
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "op-1")];
    let nameless = r#"{"type":"srt","source_addr":"h:1"}"#;
    let first = server.ask("POST", "/api/v1/streams", &headers, nameless).await;
    let again = server.ask("POST", "/api/v1/streams", &headers, nameless).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(registry.list().await.unwrap().len(), 1);
    let path = first.header("location").to_owned();
    for _ in 0..2 {
        assert_eq!(server.ask("DELETE", &path, &[("Idempotency-Key", "op-2")], "").await.status, 204);
    }
    let other = server.ask("DELETE", "/api/v1/streams/x", &[("Idempotency-Key", "op-2")], "").await;
    other.problem(400, "invalid");
}

// ---- who may write ----------------------------------------------------------------------------------

#[tokio::test]
async fn with_a_token_writes_need_it_and_reads_do_not() {
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
            let answer = server.ask(method, path, &[("Authorization", value)], "").await;
            let problem = answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert!(!problem.to_string().contains("s3cret"));
        }
    }
    server.ask("DELETE", "/api/v1/streams/a", &[], "").await.problem(401, "unauthorized");
    assert_eq!(registry.list().await.unwrap().len(), 1);
    for path in ["/", "/healthz", "/api/v1/streams", "/api/v1/streams/a", "/api/v1/snapshot", "/api/v1/info"] {
        assert_eq!(server.get(path).await.status, 200);
    }
    let fault = server.client().await.unregister(&id("a")).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Denied);
    let client = HttpRegistry::connect(server.options().token("s3cret")).await.unwrap();
    assert!(!format!("{client:?}").contains("s3cret"));
    client.update_heartbeat(&id("a")).await.unwrap();
    assert_eq!(
        server
            .ask(
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
async fn without_a_token_no_foreign_web_page_writes() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    for origin in
        ["http://evil.example", "null", "http://127.0.0.1.evil.example", "https://localhost.evil.example:8580"]
    {
        server.ask("POST", "/api/v1/streams/a/heartbeat", &[("Origin", origin)], "").await.problem(403, "forbidden");
        server.ask("DELETE", "/api/v1/streams/a", &[("Origin", origin)], "").await.problem(403, "forbidden");
        assert_eq!(server.ask("GET", "/api/v1/streams/a", &[("Origin", origin)], "").await.status, 200);
    }
    for origin in ["http://localhost:8580", "http://127.0.0.1:3000", "http://[::1]:1"] {
        assert_eq!(server.ask("POST", "/api/v1/streams/a/heartbeat", &[("Origin", origin)], "").await.status, 204);
    }
}

#[tokio::test]
async fn a_server_for_all_needs_a_token() {
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let fault = serve(registry, open, ServeOptions::default(), std::future::pending()).await.unwrap_err();
    assert_eq!(fault.kind(), std::io::ErrorKind::InvalidInput);
    assert!(fault.to_string().contains("--token-file"), "{fault}");
}

// ---- connections ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stop_lets_requests_finish_and_closes_idle_connections() {
    let registry = Arc::new(Gate { holds: true, ..Gate::default() });
    registry.inner.register(&stream("a")).await.unwrap();
    let mut server = Server::start(registry.clone(), ServeOptions::default()).await;
    let mut fresh = TcpStream::connect(server.addr).await.unwrap();
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut piece = [0; 1024];
    let got = within(idle.read(&mut piece)).await.unwrap();
    assert!(piece[..got].starts_with(b"HTTP/1.1 200"));
    let mut busy = TcpStream::connect(server.addr).await.unwrap();
    busy.write_all(b"GET /api/v1/streams/a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within(registry.entered.notified()).await;

    server.begin_stop();
    for socket in [&mut idle, &mut fresh] {
        assert_eq!(within(socket.read(&mut piece)).await.unwrap(), 0, "an idle connection is closed at once");
    }
    within(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;
    assert!(!server.task.is_finished());
    registry.open.notify_one();
    let answer = Answer::read(&mut busy).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("a")));
    server.stopped().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let registry = Arc::new(Gate { holds: true, ..Gate::default() });
    let options = ServeOptions::default().grace(Duration::from_millis(100));
    let mut server = Server::start(registry.clone(), options).await;
    let mut busy = TcpStream::connect(server.addr).await.unwrap();
    busy.write_all(b"GET /api/v1/streams/a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within(registry.entered.notified()).await;
    server.begin_stop();
    server.stopped().await;
    let mut rest = Vec::new();
    let _ = within(busy.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn half_requests_hold_nothing_for_long() {
    let registry = Arc::new(MemoryRegistry::new());
    let options =
        ServeOptions::default().header_timeout(Duration::from_millis(200)).body_timeout(Duration::from_millis(200));
    let server = Server::start(registry.clone(), options).await;
    registry.register(&stream("a")).await.unwrap();
    for half in ["", "G", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(half.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = within(socket.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{half:?}");
    }
    let head = "Host: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{";
    for request in [
        "POST /api/v1/streams",
        "PUT /api/v1/streams/a/status",
        "POST /api/v1/streams/a/heartbeat",
        "DELETE /api/v1/streams/a",
    ] {
        let answer = server.raw(format!("{request} HTTP/1.1\r\n{head}").as_bytes()).await;
        answer.problem(408, "request_timeout");
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let registry = Arc::new(MemoryRegistry::new());
    for n in 0..10_000 {
        let mut record = stream(&format!("cam{n}"));
        record.labels.insert("pad".into(), "x".repeat(256));
        record.video_codec = "y".repeat(1_000);
        registry.register(&record).await.unwrap();
    }
    let options = ServeOptions::default().write_timeout(Duration::from_millis(200)).grace(PATIENCE * 2);
    let mut server = Server::start(registry, options).await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(b"GET /api/v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // The answer has begun, and is more than the sockets' buffers hold.
    let mut piece = [0; 16];
    within(socket.read_exact(&mut piece)).await.unwrap();
    server.begin_stop();
    server.stopped().await;
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    let big = "x".repeat(64 * 1024 + 1);
    for (method, path) in [
        ("POST", "/api/v1/streams"),
        ("PUT", "/api/v1/streams/a"),
        ("PATCH", "/api/v1/streams/a"),
        ("PUT", "/api/v1/streams/a/status"),
        ("PUT", "/api/v1/streams/a/stats"),
        ("POST", "/api/v1/streams/a/heartbeat"),
        ("DELETE", "/api/v1/streams/a"),
    ] {
        server.json(method, path, &big).await.problem(413, "too_large");
        let chunked = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
            big.len()
        );
        server.raw(chunked.as_bytes()).await.problem(413, "too_large");
    }
    let padded = format!("{CAM}{}", " ".repeat(64 * 1024 - CAM.len()));
    assert_eq!(server.json("POST", "/api/v1/streams", &padded).await.status, 201);
}

#[tokio::test]
async fn what_is_not_http_gets_no_success() {
    let (server, _) = Server::memory().await;
    for bytes in [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"POST /api/v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"POST /api/v1/streams HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n"] {
        assert_eq!(server.raw(bytes).await.status, 400, "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

// ---- the page ---------------------------------------------------------------------------------------

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let (server, _) = Server::memory().await;
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type));
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
        assert!(!answer.header("content-security-policy").contains("unsafe"));
        let text = answer.body.replace("http://www.w3.org/2000/svg", "");
        for elsewhere in [
            "http://",
            "https://",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            " onclick",
            "style=\"",
            "@import",
        ] {
            assert!(!text.contains(elsewhere), "{path} has {elsewhere}");
        }
    }
    let page = server.get("/").await.body;
    for command in
        ["streamreg register --id cam1 --type srt --source 203.0.113.7:40112", "streamreg list", "streamreg demo"]
    {
        assert!(page.contains(command), "{command}");
    }
}

// ---- the HTTP store ---------------------------------------------------------------------------------

#[tokio::test]
async fn the_store_over_http_does_what_the_store_does() {
    let (server, registry) = Server::memory().await;
    let client: Arc<dyn Registry> = Arc::new(server.client().await);
    assert_eq!((client.info().kind, client.info().ttl), ("http", Duration::from_secs(300)));
    client.ping().await.unwrap();
    let first = client.register(&stream("a")).await.unwrap();
    assert_eq!((first.outcome, first.ttl), (Outcome::Created, Duration::from_secs(300)));
    assert_eq!(client.register(&stream("a")).await.unwrap().outcome, Outcome::Renewed);
    let mut other = stream("a");
    other.source_addr = "h:2".into();
    let clash = client.register(&other).await.unwrap_err();
    assert_eq!((clash.kind(), clash.operation()), (ErrorKind::AlreadyExists, Some(Operation::Register)));
    assert_eq!(clash.existing().unwrap(), &registry.get(&id("a")).await.unwrap());
    let taken = client.register_with(&other, &RegisterOptions::default().on_conflict(OnConflict::TakeOver)).await;
    assert_eq!(taken.unwrap().outcome, Outcome::TakenOver);
    for options in [
        RegisterOptions::default().on_conflict(OnConflict::CreateOnly),
        RegisterOptions::default().on_conflict(OnConflict::Reject),
    ] {
        assert_eq!(client.register_with(&stream("a"), &options).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    let leased = client.register_with(&stream("l"), &RegisterOptions::default().lease(true)).await.unwrap_err();
    assert_eq!(leased.kind(), ErrorKind::Unsupported);

    let fresh = client.register_new(&stream("ignored"), &RegisterOptions::default()).await.unwrap();
    assert_eq!(fresh.outcome, Outcome::Created);
    assert!(fresh.stream.id.as_str().starts_with("srt_2"), "{}", fresh.stream.id);
    let named = RegisterOptions::default().operation(OperationId::generate());
    let ids: BTreeSet<_> = [
        client.register_new(&stream("x"), &named).await.unwrap().stream.id,
        client.register_new(&stream("x"), &named).await.unwrap().stream.id,
    ]
    .into();
    assert_eq!(ids.len(), 1);

    let patch = StreamPatch {
        labels: LabelsPatch::Replace(BTreeMap::from([("k".into(), "v".into())])),
        node: Some("n1".into()),
        ..Default::default()
    };
    client.patch(&id("a"), &StreamPatch::default().label("old", "1")).await.unwrap();
    client.patch(&id("a"), &patch).await.unwrap();
    let read = client.get(&id("a")).await.unwrap();
    assert_eq!((read.labels, read.node.as_deref()), (BTreeMap::from([("k".into(), "v".into())]), Some("n1")));

    for guard in [Guard::None, Guard::Force] {
        let write = Write { id: id("a"), guard, change: Change::Heartbeat };
        assert!(client.write(&[write]).await.unwrap()[0].is_ok());
    }
    let stranger = Write { id: id("a"), guard: Guard::Holder("e1".parse().unwrap()), change: Change::Heartbeat };
    assert_eq!(client.write(&[stranger]).await.unwrap()[0].as_ref().unwrap_err().kind(), ErrorKind::NotHolder);
    let end = EndOptions::default().reason("a & b = 100 %".parse::<EndReason>().unwrap()).guard(Guard::Force);
    assert_eq!(client.end(&id("a"), &end).await.unwrap().end_reason.as_deref(), Some("a & b = 100 %"));
    let gone = client.unregister(&id("a")).await.unwrap_err();
    assert_eq!((gone.kind(), gone.operation()), (ErrorKind::NotFound, Some(Operation::Unregister)));

    client.close().await.unwrap();
    assert_eq!(client.get(&id("a")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.write(&[]).await.unwrap_err().kind(), ErrorKind::Closed);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_thousand_writes_are_answered_in_order() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    for n in 0..10 {
        registry.register(&stream(&format!("s{n}"))).await.unwrap();
    }
    // Each stream gets a hundred bitrates; the last one has to win. Every eleventh id is unknown.
    let writes: Vec<_> = (0..1_000_u64)
        .map(|n| Write {
            id: id(&format!("s{}", n % 11)),
            guard: Guard::None,
            change: Change::Stats(StreamStats { bitrate: n, ..Default::default() }),
        })
        .collect();
    let answers = client.write(&writes).await.unwrap();
    assert_eq!(answers.len(), 1_000);
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(()) => assert_ne!(n % 11, 10),
            Err(fault) => {
                assert_eq!(
                    (n % 11, fault.kind(), fault.operation()),
                    (10, ErrorKind::NotFound, Some(Operation::Stats))
                );
                assert_eq!(fault.stream_id(), Some(&id("s10")));
            }
        }
    }
    for n in 0..10 {
        let last = (0..1_000).filter(|at| at % 11 == n).max().unwrap();
        assert_eq!(registry.get(&id(&format!("s{n}"))).await.unwrap().bitrate, last);
    }
    let too_many: Vec<_> = std::iter::repeat_n(writes[0].clone(), 1_001).collect();
    assert_eq!(client.write(&too_many).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let bad = Write {
        id: id("s0"),
        guard: Guard::None,
        change: Change::Stats(StreamStats { bitrate: u64::MAX, ..Default::default() }),
    };
    let answers = client.write(&[bad, writes[0].clone()]).await.unwrap();
    assert_eq!((answers[0].as_ref().unwrap_err().kind(), answers[1].is_ok()), (ErrorKind::InvalidArgument, true));
}

#[tokio::test]
async fn a_read_only_store_sends_no_write() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    let client = HttpRegistry::connect(server.options().read_only(true)).await.unwrap();
    assert!(client.info().read_only);
    assert_eq!(client.list().await.unwrap().len(), 1);
    for fault in [
        client.register(&stream("b")).await.unwrap_err(),
        client.register_new(&stream("b"), &RegisterOptions::default()).await.unwrap_err(),
        client.unregister(&id("a")).await.unwrap_err(),
        client.update_heartbeat(&id("a")).await.unwrap_err(),
    ] {
        assert_eq!(fault.kind(), ErrorKind::Denied);
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

/// Answers connections by script: the n-th connection gets the n-th list of answers, one a request,
/// and is closed after them. Returns the requests' heads.
async fn scripted(answers: Vec<Vec<String>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answers in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                let complete = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head
                        .split_once("content-length: ")
                        .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse::<usize>().unwrap());
                    (body.len() >= length).then_some(())
                };
                while complete(&request).is_none() {
                    let got = socket.read(&mut piece).await.unwrap();
                    assert_ne!(got, 0, "the client closed within a request");
                    request.extend_from_slice(&piece[..got]);
                }
                heads.push(String::from_utf8(request).unwrap());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        heads
    });
    (addr, task)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const INFO: &str = r#"{"name":"streamreg","version":"0","store":"memory","ttl_ms":1000,"read_only":false}"#;

#[tokio::test]
async fn a_lost_connection_is_tried_once_more_under_the_same_name() {
    let registered =
        format!(r#"{{"stream":{},"outcome":"created","epoch":null,"ttl_ms":1000}}"#, stream("a").to_json());
    // The first connection takes the registration and closes without an answer.
    let (addr, task) = scripted(vec![vec![ok(INFO), String::new()], vec![ok(&registered)]]).await;
    let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
    assert_eq!(client.info().ttl, Duration::from_secs(1));
    within(client.register(&stream("a"))).await.unwrap();
    let heads = within(task).await.unwrap();
    let key = |head: &str| {
        let head = head.to_ascii_lowercase();
        let (_, rest) = head.split_once("idempotency-key: ").expect("every registration has a name");
        rest.lines().next().unwrap().to_owned()
    };
    assert_eq!(heads.len(), 3);
    assert_eq!(key(&heads[1]), key(&heads[2]));

    // Twice is the end of it.
    let (addr, task) = scripted(vec![vec![ok(INFO), String::new()], vec![String::new()]]).await;
    let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
    let fault = within(client.register(&stream("a"))).await.unwrap_err();
    assert_eq!((fault.kind(), fault.may_have_applied()), (ErrorKind::Unavailable, true));
    within(task).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_not_ours_are_clear_errors() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let gateway = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let truncated = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"id\"".to_owned();
    let binary = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n\u{0}\u{1}".to_owned();
    let huge = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {0}\r\n\r\n{1}",
        2 * 1024 * 1024,
        " ".repeat(2 * 1024 * 1024)
    );
    for (answer, kind) in [
        (html, ErrorKind::Internal),
        (gateway, ErrorKind::Unavailable),
        (missing, ErrorKind::Internal),
        (truncated, ErrorKind::Unavailable),
        (binary, ErrorKind::Corrupt),
        (ok("[1,2]"), ErrorKind::Corrupt),
        (huge, ErrorKind::Internal),
    ] {
        let label = answer.chars().take(60).collect::<String>();
        let (addr, task) = scripted(vec![vec![ok(INFO), answer]]).await;
        let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
        let fault = within(client.get(&id("a"))).await.unwrap_err();
        assert_eq!((fault.kind(), fault.may_have_applied()), (kind, false), "{label}: {fault}");
        task.abort();
    }
    let (addr, _task) = scripted(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned()]]).await;
    let fault = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap_err();
    assert_eq!((fault.kind(), fault.operation()), (ErrorKind::Internal, Some(Operation::Connect)));
}

#[tokio::test]
async fn no_server_and_a_silent_server_are_clear_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let options: HttpOptions = format!("http://{addr}").parse().unwrap();
    // It accepts, in the system's queue, and says nothing.
    let begun = Instant::now();
    let fault = HttpRegistry::connect(options.clone().timeout(Duration::from_millis(100))).await.unwrap_err();
    assert_eq!((fault.kind(), fault.may_have_applied()), (ErrorKind::Timeout, false));
    assert!(begun.elapsed() < PATIENCE);
    drop(listener);
    let fault = within(HttpRegistry::connect(options)).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Unavailable);
    assert!(fault.to_string().contains("start one with `streamreg serve`"), "{fault}");
    assert!(fault.to_string().contains(&addr.to_string()), "{fault}");
}

#[tokio::test]
async fn a_dead_server_fails_a_batch_at_once() {
    let (addr, task) = scripted(vec![vec![ok(INFO)]]).await;
    let options: HttpOptions = format!("http://{addr}").parse().unwrap();
    let client = HttpRegistry::connect(options.timeout(Duration::from_millis(200))).await.unwrap();
    within(task).await.unwrap();
    // Nothing listens there any more but a socket that never answers.
    let _silent = TcpListener::bind(addr).await.unwrap();
    let writes: Vec<_> =
        (0..1_000).map(|n| Write { id: id(&format!("s{n}")), guard: Guard::None, change: Change::Heartbeat }).collect();
    let begun = Instant::now();
    let answers = within(client.write(&writes)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(Error::is_retryable)));
    // Those that were sent may have arrived; the rest was not sent and says so.
    let uncertain = answers.iter().filter(|answer| answer.as_ref().is_err_and(Error::may_have_applied)).count();
    assert!((1..=16).contains(&uncertain), "{uncertain}");
}
