//! Test helpers: a server on a free port, raw requests, and a registry that blocks and fails on demand.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use stream_registry::http::HttpOptions;
use stream_registry::{
    Cursor, Error, HttpRegistry, MemoryRegistry, Page, RegisterOptions, Registered, Registry, Result, Snapshot, Stream,
    StreamId, StreamType, UnregisterOptions, Write, forward_registry,
};
use streamreg::server::{ServeOptions, serve};
use testkit::{RedisServer, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Deadline of every condition. It is long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. It stops when it is dropped, or when `begin_stop` is called.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(registry: Arc<dyn Registry>, options: ServeOptions) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, free_port()).into(), registry, options).await
    }

    /// Stops the server, runs `while_down`, and starts a new server on the same address.
    pub(crate) async fn restart(&mut self, registry: Arc<dyn Registry>, while_down: impl Future<Output = ()>) {
        self.begin_stop();
        self.stopped().await;
        while_down.await;
        *self = Self::at(self.addr, registry, ServeOptions::default()).await;
    }

    async fn at(addr: SocketAddr, registry: Arc<dyn Registry>, options: ServeOptions) -> Self {
        // A child process that another test starts at this moment has a copy of the old listener until it runs its
        // program. So the address of a stopped server can be in use for a moment.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(addr).await {
                Err(error)
                    if error.kind() == std::io::ErrorKind::AddrInUse && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                bound => break bound.unwrap(),
            }
        };
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(registry, listener, options, async {
            let _ = stopped.await;
        }));
        Self { addr, stop: Some(stop), task }
    }

    /// Starts a server with a memory store, and returns both.
    pub(crate) async fn memory() -> (Self, Arc<MemoryRegistry>) {
        let registry = Arc::new(MemoryRegistry::new());
        (Self::start(registry.clone(), ServeOptions::default()).await, registry)
    }

    pub(crate) async fn client(&self) -> HttpRegistry {
        HttpRegistry::connect(self.options()).await.unwrap()
    }

    pub(crate) fn options(&self) -> HttpOptions {
        format!("http://{}", self.addr).parse().unwrap()
    }

    /// Starts the graceful shutdown.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has stopped.
    pub(crate) async fn stopped(&mut self) {
        within(&mut self.task).await.unwrap().unwrap();
    }

    /// Sends a request on a new connection and returns the response.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
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

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], "").await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: &str) -> Response {
        self.request(method, path, &[("Content-Type", "application/json")], body).await
    }

    /// Sends bytes and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Response {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        // The server may respond and close the connection before it has read the whole request.
        let _ = socket.write_all(bytes).await;
        Response::read(&mut socket).await
    }
}

pub(crate) struct Response {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) async fn read(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // If the server left a part of the request unread, the connection is reset after the response.
        let _ = within(socket.read_to_end(&mut bytes)).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
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
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        let kind = problem["type"].as_str().unwrap_or_default();
        assert_eq!(kind.trim_start_matches("../"), format!("docs#problem-{code}"), "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
        problem
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("timed out")
}

/// A registry that blocks and fails on demand.
#[derive(Debug, Default)]
pub(crate) struct BlockingRegistry {
    pub(crate) inner: MemoryRegistry,
    /// Error that every call returns, if it is set.
    error: Mutex<Option<Error>>,
    /// Signalled when a call starts to block.
    pub(crate) entered: Notify,
    /// `get` waits for this notification if `blocks_get` is set.
    pub(crate) release: Notify,
    blocks_get: bool,
    /// Whether registrations and unregistrations block.
    blocked: watch::Sender<bool>,
    /// Ids and reasons of all unregistrations.
    pub(crate) unregistered: Mutex<Vec<(String, String)>>,
}

impl BlockingRegistry {
    pub(crate) fn with_ttl(ttl: Duration) -> Arc<Self> {
        Arc::new(Self { inner: MemoryRegistry::with_ttl(ttl).unwrap(), ..Self::default() })
    }

    pub(crate) fn failing(error: Error) -> Arc<Self> {
        Arc::new(Self { error: Mutex::new(Some(error)), ..Self::default() })
    }

    /// Ends the failures of a registry that was created with [`failing`](Self::failing).
    pub(crate) fn recover(&self) {
        *self.error.lock().unwrap() = None;
    }

    pub(crate) fn blocking_get() -> Arc<Self> {
        Arc::new(Self { blocks_get: true, ..Self::default() })
    }

    /// Blocks or unblocks registrations and unregistrations.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.send_replace(blocked);
    }

    async fn unblocked(&self) {
        if *self.blocked.borrow() {
            self.entered.notify_one();
            self.blocked.subscribe().wait_for(|blocked| !blocked).await.unwrap();
        }
    }

    fn check(&self) -> Result<()> {
        self.error.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for BlockingRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.check()?;
        self.unblocked().await;
        self.inner.register_with(stream, options).await
    }
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        self.check()?;
        self.unblocked().await;
        let reason = options.reason.as_str().unwrap_or_default();
        self.unregistered.lock().unwrap().push((id.to_string(), reason.to_owned()));
        self.inner.unregister_with(id, options).await
    }
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.check()?;
        self.inner.write(writes).await
    }
    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.check()?;
        if self.blocks_get {
            self.entered.notify_one();
            self.release.notified().await;
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

    forward_registry!(|this| this.inner => info, now, close);
    forward_registry!(provided => metrics, watch, get_many, find, summary, history, register_new, conveniences);
}

pub(crate) fn id(text: &str) -> StreamId {
    text.parse().unwrap()
}

pub(crate) fn stream(text: &str) -> Stream {
    Stream::new(id(text), StreamType::Srt, "203.0.113.7:40112")
}

pub(crate) const CAM: &str = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}"#;

/// Path of the route that lists streams.
pub(crate) const LIST: &str = "/api/v1/streams";

/// Waits until the server takes lists from its view. A list from the store would scan the index of ids.
pub(crate) async fn wait_for_view(server: &Server, redis: &RedisServer) {
    testkit::wait_until(PATIENCE, async || {
        let before = count(redis, "sscan").await;
        assert_eq!(server.get(LIST).await.status, 200);
        count(redis, "sscan").await == before
    })
    .await;
}

/// Returns how many times Redis has run a command.
pub(crate) async fn count(redis: &RedisServer, command: &str) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]).await;
    let line =
        stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}
