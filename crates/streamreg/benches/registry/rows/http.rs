//! Servers in separate processes, and requests over keep-alive connections.
//!
//! A server runs in a process of its own, so that its processor time and its memory can be measured. The same process
//! serves a bare handler, which always sends the same bytes as the server.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::routing;
use bytes::Bytes;
use memchr::memmem;
use stream_registry::http::wire::JSON;
use stream_registry::{MemoryRegistry, Registry};
use streamreg::server::{ServeOptions, raise_descriptor_limit, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::args::Args;
use crate::bytes::resident;
use crate::figures::{Sample, Target, Unit};
use crate::ours::{self, Shared};
use crate::report::{self, Candidate, Line};
use crate::{Result, streams};

/// Path of a page of 100 streams.
pub(super) const PAGE: &str = "/api/v1/streams?limit=100";
/// Number of connections in the rows that measure requests per second.
const CONNECTIONS: usize = 64;
/// Number of parts into which a round is divided. The two servers take turns more often, because the speed of a virtual
/// machine changes within seconds.
const TURNS: usize = 4;
/// Time for which the resident memory must not change before it is read.
const SETTLED: Duration = Duration::from_secs(3);

/// Serves `count` streams. Runs in a separate process.
///
/// If `store` is the URL of a Redis server, this server already contains the streams. Otherwise, they are in a memory
/// store. Prints the ports of the server and of the bare handler. Exits when its stdin is closed.
pub(crate) fn serve_streams(count: usize, store: Option<&str>) -> Result<()> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(super::WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let registry: Shared = match store {
            Some(url) => ours::connect(url, ours::PREFIX).await?,
            None => Arc::new(MemoryRegistry::with_ttl(ours::TTL)?),
        };
        if store.is_none() {
            fill(&registry, count).await?;
        }
        let (server, bare) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let ports = [server.local_addr()?.port(), bare.local_addr()?.port()];
        tokio::spawn(serve(registry, server, ServeOptions::default(), std::future::pending()));
        wait_for_view(ports[0]).await?;
        let app = bare_handler(ports[0]).await?;
        tokio::spawn(async move { axum::serve(bare, app).await });
        report::print(&format!("{} {}", ports[0], ports[1]))?;
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
        Ok(())
    })
}

/// Registers `count` streams. One stream in a hundred is removed and registered again.
pub(super) async fn fill(registry: &Shared, count: usize) -> Result<()> {
    // Fill the store in small parts. Otherwise, memory of the generated streams would remain in the process.
    for first in (0..count).step_by(1_000) {
        let part = (first..(first + 1_000).min(count)).map(streams::stream).collect::<Result<Vec<_>>>()?;
        ours::fill(registry, &Arc::new(part)).await?;
    }
    for n in 0..count / 100 {
        let stream = streams::stream(n)?;
        registry.unregister(&stream.id).await?;
        registry.register(&stream).await?;
    }
    Ok(())
}

/// Waits until the view of the server on `port` is complete and serves the lists.
async fn wait_for_view(port: u16) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    // Cursors from the view start with `v.`. On a busy machine, a list from the store can fail with a timeout.
    while !fetch(port, "/api/v1/streams?limit=1").await.is_ok_and(|page| body(&page).contains("\"v.id.")) {
        if Instant::now() > until {
            return Err("the server's view was not complete after 60 s".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Returns a handler that sends the same bytes as the server on `port`, but never uses a registry.
async fn bare_handler(port: u16) -> Result<Router> {
    let page = Bytes::from(body(&fetch(port, PAGE).await?));
    let record = Bytes::from(body(&fetch(port, &format!("/api/v1/streams/{}", streams::stream(0)?.id)).await?));
    let policy = (HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store"), policy.clone()];
    let respond = move |body: Bytes| {
        let headers = headers.clone();
        routing::get(async move || (headers, body))
    };
    let heartbeat = routing::post(async move |_: Bytes| (StatusCode::NO_CONTENT, [policy]));
    Ok(Router::new()
        .route("/api/v1/streams", respond.clone()(page))
        .route("/api/v1/streams/{id}", respond(record))
        .route("/api/v1/streams/{id}/heartbeat", heartbeat))
}

/// A server in a separate process.
pub(super) struct ServerProcess {
    process: Child,
    _stdin: ChildStdin,
    pub(super) port: u16,
    bare: u16,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ServerProcess {
    /// Starts a server of `count` streams, which are in the Redis server with the URL `store` or in a memory store.
    pub(super) async fn start(count: usize, store: Option<&str>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut process = Command::new(program)
            .args(["--bench", &format!("--serve={count}")])
            .args(store.map(|url| format!("--store={url}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or("the child process has no stdin")?;
        let out = process.stdout.take().ok_or("the child process has no stdout")?;
        let line = tokio::task::spawn_blocking(move || BufReader::new(out).lines().next()).await?;
        let line = line.ok_or("the server process exited early")??;
        let (port, bare) = line.split_once(' ').ok_or("expected two ports from the server process")?;
        Ok(Self { port: port.parse()?, bare: bare.parse()?, process, _stdin: stdin })
    }

    /// Returns the processor time that the process has used, in seconds.
    fn cpu(&self) -> Result<f64> {
        super::held::cpu(&self.process.id().to_string())
    }

    /// Returns the processor time per request, in milliseconds.
    pub(super) async fn cost(&self, path: &str, time: Duration) -> Result<f64> {
        fetch(self.port, path).await?;
        let mut connection = open(self.port, 1).await?;
        let before = self.cpu()?;
        let requests = load(&mut connection, &get(path), time).await?;
        Ok((self.cpu()? - before) * 1_000.0 / requests as f64)
    }

    /// Returns the resident memory of the process in bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        resident(&self.process.id().to_string())
    }

    /// Waits until the resident memory of the process no longer changes, at most 30 s, and returns it in bytes.
    pub(super) async fn settled_memory(&self) -> Result<u64> {
        let (start, mut memory, mut since) = (Instant::now(), self.memory()?, Instant::now());
        while since.elapsed() < SETTLED && start.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.memory()?;
            if now != memory {
                (memory, since) = (now, Instant::now());
            }
        }
        Ok(memory)
    }
}

/// Returns the text of a GET request.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

/// Sends a request and returns the complete response.
pub(super) async fn fetch(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::open(port).await?;
    connection.send(&get(path)).await?;
    Ok(std::mem::take(&mut connection.buffer))
}

fn body(response: &[u8]) -> String {
    let response = String::from_utf8_lossy(response);
    response.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

/// A keep-alive connection that parses as little as possible, so that the server gets most of the processor time.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(256 * 1024) })
    }

    /// Sends a request and reads the complete response. Any other status than 200 or 204 is an error.
    pub(super) async fn send(&mut self, request: &str) -> Result<()> {
        self.socket.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let mut expected = None;
        while expected.is_none_or(|expected| self.buffer.len() < expected) {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed a connection".into());
            }
            if expected.is_none()
                && let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.buffer[..end])?;
                if !head.starts_with("HTTP/1.1 20") {
                    return Err(format!("the server answered {head}").into());
                }
                // All servers send names of headers in lower case.
                let length = head.split_once("\r\ncontent-length: ").map_or("0", |(_, rest)| rest);
                expected = Some(end + 4 + length.lines().next().unwrap_or_default().parse::<usize>()?);
            }
        }
        Ok(())
    }
}

/// Opens several connections.
async fn open(port: u16, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::open(port).await?);
    }
    Ok(connections)
}

/// Sends the same request over all connections for `time`, and returns the number of responses.
async fn load(connections: &mut Vec<Connection>, request: &str, time: Duration) -> Result<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = connections
        .drain(..)
        .map(|mut connection| {
            let (stop, answered, request) = (Arc::clone(&stop), Arc::clone(&answered), request.to_owned());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    connection.send(&request).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(connection)
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        connections.push(task.await??);
    }
    Ok(answered.load(Ordering::Relaxed))
}

/// A server that is compared with another one.
pub(super) struct Compared<'a> {
    /// Name of the server in the table.
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) process: u32,
    pub(super) request: &'a str,
}

/// Measures a request to the server and to the bare handler in turn.
pub(super) async fn compare_bare(
    args: &Args,
    row: &str,
    server: &ServerProcess,
    request: &str,
    rate: f64,
) -> Result<Vec<Line>> {
    let process = server.process.id();
    let bare = Compared { name: "a bare handler, same bytes", port: server.bare, process, request };
    compare(args, row, &bare, &Compared { name: "the server", port: server.port, process, request }, rate).await
}

/// Measures two servers in turn, each with its own request. `rate` is the target for the rate of `subject`, relative to
/// the rate of `reference`.
pub(super) async fn compare(
    args: &Args,
    row: &str,
    reference: &Compared<'_>,
    subject: &Compared<'_>,
    rate: f64,
) -> Result<Vec<Line>> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    let (mut to_theirs, mut to_ours) =
        (open(reference.port, CONNECTIONS).await?, open(subject.port, CONNECTIONS).await?);
    for _ in 0..args.rounds() * TURNS {
        let time = args.round() / TURNS as u32;
        theirs.push(reference.sample(&mut to_theirs, time).await?);
        ours.push(subject.sample(&mut to_ours, time).await?);
    }
    let baseline = theirs.clone();
    let candidates = [
        Candidate { name: reference.name, samples: theirs, target: Target::default() },
        Candidate { name: subject.name, samples: ours, target: Target { rate: Some(rate), ..Target::default() } },
    ];
    let row = format!("{row}, {CONNECTIONS} connections");
    Ok(report::compare(&row, Unit::PerSecond, Some(&baseline), &candidates))
}

impl Compared<'_> {
    async fn sample(&self, connections: &mut Vec<Connection>, time: Duration) -> Result<Sample> {
        let process = self.process.to_string();
        let (before, start) = (super::held::cpu(&process)?, Instant::now());
        let answered = load(connections, self.request, time).await? as f64;
        let per_second = answered / start.elapsed().as_secs_f64();
        let server_micros = (super::held::cpu(&process)? - before) * 1e6 / answered;
        Ok(Sample { per_second, server_micros, per_command: 1.0 })
    }
}
