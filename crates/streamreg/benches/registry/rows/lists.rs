//! Measures lists, searches and summaries from a server. The cost of a page should not grow with the number of streams.
//!
//! Each server runs in a separate process with a memory store, so that its processor time can be measured. The rows
//! compare the server with a bare handler in the same process. The bare handler always returns the same page.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use stream_registry::http::wire::JSON;
use stream_registry::query::Query;
use stream_registry::{HttpRegistry, MemoryRegistry, Registry};
use streamreg::server::{ServeOptions, raise_descriptor_limit, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Setup, note};
use crate::args::Args;
use crate::figures::{median, spread, thousands};
use crate::ours::{self, Shared};
use crate::report::{self, Line, verdict};
use crate::{Result, streams};

/// Path of the requested page.
const PAGE: &str = "/api/v1/streams?limit=100";
/// Number of connections in the row that measures pages per second.
const CONNECTIONS: usize = 64;
/// Number of streams in the row that measures pages per second.
const STREAMS: usize = 10_000;
/// Target: minimum rate of the server, relative to the bare handler.
const RATE: f64 = 0.15;
/// Target: maximum growth in cost from 1 000 streams to the large registry.
const GROWTH: f64 = 2.0;
/// Target: maximum processor time per request, in milliseconds.
const MILLIS: f64 = 8.0;
/// Target: maximum time to read all pages, relative to a snapshot.
const ALL_PAGES: f64 = 2.0;
/// Target: maximum number of bytes that a command receives over HTTP.
const BYTES: u64 = 10_000;

/// Serves lists of `count` streams. Runs in a separate process.
///
/// Prints the ports of the server and of the bare handler. Exits when its stdin is closed.
pub(crate) fn serve_lists(count: usize) -> Result<()> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(super::WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let registry: Shared = Arc::new(MemoryRegistry::with_ttl(ours::TTL)?);
        let all = (0..count).map(streams::stream).collect::<Result<Vec<_>>>()?;
        ours::fill(&registry, &Arc::new(all)).await?;
        for n in 0..count / 100 {
            registry.unregister(&streams::stream(n)?.id).await?;
            registry.register(&streams::stream(n)?).await?;
        }
        let (lists, bare) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let ports = [lists.local_addr()?.port(), bare.local_addr()?.port()];
        tokio::spawn(serve(Arc::clone(&registry), lists, ServeOptions::default(), std::future::pending()));
        let page = Bytes::from(body(&fetch(ports[0], PAGE).await?));
        let handler = get(move || async move { ([(CONTENT_TYPE, JSON)], page) });
        let app = Router::new().route("/api/v1/streams", handler);
        tokio::spawn(async move { axum::serve(bare, app).await });
        report::print(&format!("{} {}", ports[0], ports[1]))?;
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
        Ok(())
    })
}

/// A list server in a separate process.
pub(super) struct ListServer {
    process: Child,
    _stdin: ChildStdin,
    pub(super) port: u16,
    bare: u16,
}

impl Drop for ListServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ListServer {
    pub(super) async fn start(count: usize) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut process = Command::new(program)
            .args(["--bench", &format!("--serve-lists={count}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or("the child process has no stdin")?;
        let out = process.stdout.take().ok_or("the child process has no stdout")?;
        let line = tokio::task::spawn_blocking(move || BufReader::new(out).lines().next()).await?;
        let line = line.ok_or("the list server exited early")??;
        let (port, bare) = line.split_once(' ').ok_or("expected two ports from the list server")?;
        let lists = Self { port: port.parse()?, bare: bare.parse()?, process, _stdin: stdin };
        // Wait until the view is complete and serves the lists. Cursors from the view start with `v.`.
        let until = Instant::now() + Duration::from_secs(60);
        while !body(&fetch(lists.port, "/api/v1/streams?limit=1").await?).contains("\"v.id.") {
            if Instant::now() > until {
                return Err("the server's view was not complete after 60 s".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(lists)
    }

    /// Returns the processor time that the process has used, in seconds.
    fn cpu(&self) -> Result<f64> {
        super::leases::cpu(&self.process.id().to_string())
    }

    /// Returns the processor time per request, in milliseconds.
    async fn cost(&self, path: &str, time: Duration) -> Result<f64> {
        fetch(self.port, path).await?;
        let before = self.cpu()?;
        let requests = load(self.port, path, 1, time).await?;
        Ok((self.cpu()? - before) * 1_000.0 / requests as f64)
    }
}

/// Sends a request and returns the complete response.
async fn fetch(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::open(port).await?;
    connection.request(path).await?;
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

    pub(super) async fn request(&mut self, path: &str) -> Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        self.socket.write_all(head.as_bytes()).await?;
        self.buffer.clear();
        let mut expected = None;
        while expected.is_none_or(|expected| self.buffer.len() < expected) {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed a connection".into());
            }
            if expected.is_none()
                && let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.buffer[..end])?;
                if !head.starts_with("HTTP/1.1 200") {
                    return Err(format!("the server answered {head}").into());
                }
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                expected = Some(end + 4 + length.unwrap_or(0_usize));
            }
        }
        Ok(())
    }
}

/// Sends requests over several connections for `time`, and returns the number of responses.
async fn load(port: u16, path: &str, connections: usize, time: Duration) -> Result<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (stop, answered, path) = (Arc::clone(&stop), Arc::clone(&answered), path.to_owned());
            tokio::spawn(async move {
                let mut connection = Connection::open(port).await?;
                while !stop.load(Ordering::Relaxed) {
                    connection.request(&path).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    Ok(answered.load(Ordering::Relaxed))
}

fn line(row: &str, candidate: &str, figure: String, target: String, met: Option<bool>) -> Line {
    Line { row: row.into(), candidate: candidate.into(), figure, target, met: verdict(met), ..Line::default() }
}

/// Measures the rows that do not need Redis.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    let mut lines = rate(args).await?;
    let (small, large) = (ListServer::start(1_000).await?, ListServer::start(args.large()).await?);
    let size = thousands(args.large() as f64);
    let time = args.round();
    note("the cost of a page");
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds() {
        costs[0].push(small.cost(PAGE, time).await?);
        costs[1].push(large.cost(PAGE, time).await?);
    }
    let growth = median(costs[1].iter().zip(&costs[0]).map(|(large, small)| large / small).collect());
    let row = "page of 100 by id, processor time";
    let millis = |costs: &[f64]| spread(costs, |cost| format!("{cost:.3} ms"));
    lines.push(line(row, "1 000 streams", millis(&costs[0]), String::new(), None));
    let mut large_line = line(
        row,
        &format!("{size} streams"),
        millis(&costs[1]),
        format!("≤ {GROWTH} × 1 000 streams"),
        Some(growth <= GROWTH),
    );
    large_line.ratio = format!("{growth:.2}");
    lines.push(large_line);
    for (candidate, path) in [
        ("page of 100 by -bitrate", "/api/v1/streams?limit=100&sort=-bitrate"),
        ("page of 100 by node", "/api/v1/streams?limit=100&sort=node"),
        ("search", "/api/v1/streams?limit=100&search=customer-9"),
        ("search that matches many", "/api/v1/streams?limit=100&search=example"),
        ("filter by node and status", "/api/v1/streams?limit=100&status=active&node=ingest-7.nrt.example.net"),
        ("summary by status", "/api/v1/summary?by=status"),
        ("summary by node", "/api/v1/summary?by=node"),
    ] {
        note(candidate);
        let mut costs = Vec::new();
        for _ in 0..args.rounds() {
            costs.push(large.cost(path, time).await?);
        }
        let met = median(costs.clone()) <= MILLIS;
        lines.push(line(
            &format!("{size} streams, processor time"),
            candidate,
            millis(&costs),
            format!("≤ {MILLIS} ms"),
            Some(met),
        ));
    }
    let registry: Shared = Arc::new(HttpRegistry::connect(format!("http://127.0.0.1:{}", large.port).parse()?).await?);
    lines.extend(all_pages(args, &registry, "over HTTP, memory store", Some(ALL_PAGES)).await?);
    Ok(lines)
}

/// Measures pages per second over many connections, compared with the bare handler.
async fn rate(args: &Args) -> Result<Vec<Line>> {
    note("pages per second");
    let lists = ListServer::start(STREAMS).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds() {
        for (port, rates) in [(lists.bare, &mut bare), (lists.port, &mut ours)] {
            let start = Instant::now();
            let answered = load(port, PAGE, CONNECTIONS, args.round()).await?;
            rates.push(answered as f64 / start.elapsed().as_secs_f64());
        }
    }
    let ratio = median(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect());
    let row = format!("page of 100 by id, {} streams, {CONNECTIONS} connections", thousands(STREAMS as f64));
    let mut served =
        line(&row, "the server", spread(&ours, thousands), format!("≥ {RATE} × the bare handler"), Some(ratio >= RATE));
    served.ratio = format!("{ratio:.2}");
    let mut lines =
        vec![line(&row, "a bare handler, same bytes", spread(&bare, thousands), String::new(), None), served];
    for (candidate, arguments) in
        [("streamreg summary", vec!["summary"]), ("streamreg history --limit 1", vec!["history", "--limit", "1"])]
    {
        let bytes = bytes_received(lists.port, &arguments).await?;
        let row = format!("bytes over HTTP, {} streams", thousands(STREAMS as f64));
        lines.push(line(
            &row,
            candidate,
            format!("{} bytes", thousands(bytes as f64)),
            format!("≤ {} bytes", thousands(BYTES as f64)),
            Some(bytes <= BYTES),
        ));
    }
    Ok(lines)
}

/// Runs `streamreg` with the server as its store. Returns the number of bytes that `streamreg` receives.
async fn bytes_received(port: u16, arguments: &[&str]) -> Result<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let forward = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                let (_, down) = tokio::io::copy_bidirectional(&mut client, &mut server).await?;
                counted.fetch_add(down, Ordering::Relaxed);
                Ok::<_, std::io::Error>(())
            });
        }
    });
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_streamreg"))
        .args(arguments)
        .args(["--store", &url, "--output", "json"])
        .output()
        .await?;
    if !output.status.success() {
        std::io::stderr().write_all(&output.stderr)?;
        return Err(format!("streamreg {arguments:?} failed").into());
    }
    // Wait until the connections have closed, shortly after the program exits. The byte count is complete then.
    let until = Instant::now() + Duration::from_secs(5);
    while count.load(Ordering::Relaxed) == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    forward.abort();
    Ok(count.load(Ordering::Relaxed))
}

/// Reads all pages of the large registry in Redis through a server.
pub(super) async fn all_pages_redis(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    let store = setup.large().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let server = tokio::spawn(serve(store, listener, ServeOptions::default(), std::future::pending()));
    let registry: Shared = Arc::new(HttpRegistry::connect(url.parse()?).await?);
    let lines = all_pages(setup.args, &registry, "over HTTP, Redis", None).await;
    server.abort();
    lines
}

/// Compares the time to read all pages with the time for a snapshot.
async fn all_pages(args: &Args, registry: &Shared, store: &str, target: Option<f64>) -> Result<Vec<Line>> {
    note("all pages");
    let (mut pages, mut snapshots) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds().min(5) {
        let start = Instant::now();
        let all = registry.snapshot().await?.streams.len();
        snapshots.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let (mut query, mut found) = (Query::default(), 0);
        loop {
            let page = registry.find(&query).await?;
            found += page.streams.len();
            match page.next {
                Some(next) => query = query.cursor(next),
                None => break,
            }
        }
        pages.push(start.elapsed().as_secs_f64());
        if found != all {
            return Err(format!("the pages contained {found} of {all} streams").into());
        }
    }
    let ratio = median(pages.iter().zip(&snapshots).map(|(pages, snapshot)| pages / snapshot).collect());
    let row = format!("all {} streams, {store}", thousands(args.large() as f64));
    let seconds = |times: &[f64]| spread(times, |time| format!("{time:.2} s"));
    let limit = target.map_or_else(String::new, |target| format!("≤ {target} × the snapshot"));
    let mut paged = line(&row, "pages of 1 000", seconds(&pages), limit, target.map(|target| ratio <= target));
    paged.ratio = format!("{ratio:.2}");
    Ok(vec![line(&row, "a snapshot", seconds(&snapshots), String::new(), None), paged])
}
