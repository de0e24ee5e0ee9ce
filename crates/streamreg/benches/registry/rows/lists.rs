//! Lists, searches and summaries of a server: what a page costs, however many streams there are.
//!
//! Each server is a process of its own with a memory store, so that its processor time can be read. Beside its lists it
//! serves the bytes of one page from a bare handler, which is what the lists are compared with.

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
use streamreg::server::{ServeOptions, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{World, note};
use crate::args::Args;
use crate::figures::{median, spread, thousands};
use crate::ours::{self, Shared};
use crate::report::{self, Line, verdict};
use crate::{Result, streams};

/// The page that is asked for.
const PAGE: &str = "/api/v1/streams?limit=100";
/// Connections of the rate row.
const CONNECTIONS: usize = 64;
/// Streams of the rate row.
const USUAL: usize = 10_000;
/// Demands, from the issue of fast lists: the rate of the bare handler, growth from 1 000 to 100 000 streams, milliseconds
/// of processor time, times of a snapshot, bytes.
const RATE: f64 = 0.15;
const GROWTH: f64 = 2.0;
const MILLIS: f64 = 8.0;
const WALK: f64 = 2.0;
const BYTES: u64 = 10_000;

/// Serves lists of `count` streams, in a process of its own: prints the port of the server and that of the bare handler,
/// and ends with its standard input.
pub(crate) fn serve_lists(count: usize) -> Result<()> {
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

/// A server of lists in a process of its own.
struct Lists {
    process: Child,
    _stdin: ChildStdin,
    port: u16,
    bare: u16,
}

impl Drop for Lists {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Lists {
    async fn start(count: usize) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut process = Command::new(program)
            .args(["--bench", &format!("--serve-lists={count}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or("no input")?;
        let out = process.stdout.take().ok_or("no output")?;
        let line = tokio::task::spawn_blocking(move || BufReader::new(out).lines().next()).await?;
        let line = line.ok_or("the server of lists ended early")??;
        let (port, bare) = line.split_once(' ').ok_or("two ports were expected")?;
        let lists = Self { port: port.parse()?, bare: bare.parse()?, process, _stdin: stdin };
        // The view is complete when a cursor is one of its own.
        let until = Instant::now() + Duration::from_secs(60);
        while !body(&fetch(lists.port, "/api/v1/streams?limit=1").await?).contains("\"v.id.") {
            if Instant::now() > until {
                return Err("the server's view is not complete after a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(lists)
    }

    /// Seconds of processor time that the process has taken.
    fn cpu(&self) -> Result<f64> {
        super::leases::cpu(&self.process.id().to_string())
    }

    /// Milliseconds of processor time for one request.
    async fn cost(&self, path: &str, time: Duration) -> Result<f64> {
        fetch(self.port, path).await?;
        let before = self.cpu()?;
        let requests = load(self.port, path, 1, time).await?;
        Ok((self.cpu()? - before) * 1_000.0 / requests as f64)
    }
}

/// Sends a request and returns the whole answer.
async fn fetch(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::open(port).await?;
    connection.request(path).await?;
    Ok(std::mem::take(&mut connection.buffer))
}

fn body(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

/// A connection that is used again and reads as little as it can: the load must not take the server's processors.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(256 * 1024) })
    }

    async fn request(&mut self, path: &str) -> Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        self.socket.write_all(head.as_bytes()).await?;
        self.buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.buffer.len() < whole) {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed a connection".into());
            }
            if whole.is_none()
                && let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.buffer[..end])?;
                if !head.starts_with("HTTP/1.1 200") {
                    return Err(format!("the server answered {head}").into());
                }
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                whole = Some(end + 4 + length.unwrap_or(0_usize));
            }
        }
        Ok(())
    }
}

/// Sends requests over some connections for a while; returns how many were answered.
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

fn line(row: &str, who: &str, figure: String, demand: String, met: Option<bool>) -> Line {
    Line { row: row.into(), who: who.into(), figure, demand, met: verdict(met), ..Line::default() }
}

/// The rows that need no Redis.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    let mut lines = rate(args).await?;
    let (small, large) = (Lists::start(1_000).await?, Lists::start(args.large()).await?);
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
    let mut of_large = line(
        row,
        &format!("{size} streams"),
        millis(&costs[1]),
        format!("≤ {GROWTH} × 1 000 streams"),
        Some(growth <= GROWTH),
    );
    of_large.ratio = format!("{growth:.2}");
    lines.push(of_large);
    for (who, path) in [
        ("page of 100 by -bitrate", "/api/v1/streams?limit=100&sort=-bitrate"),
        ("page of 100 by node", "/api/v1/streams?limit=100&sort=node"),
        ("search", "/api/v1/streams?limit=100&search=customer-9"),
        ("search that matches many", "/api/v1/streams?limit=100&search=example"),
        ("filter by node and status", "/api/v1/streams?limit=100&status=active&node=ingest-7.nrt.example.net"),
        ("summary by status", "/api/v1/summary?by=status"),
        ("summary by node", "/api/v1/summary?by=node"),
    ] {
        note(who);
        let mut costs = Vec::new();
        for _ in 0..args.rounds() {
            costs.push(large.cost(path, time).await?);
        }
        let met = median(costs.clone()) <= MILLIS;
        lines.push(line(
            &format!("{size} streams, processor time"),
            who,
            millis(&costs),
            format!("≤ {MILLIS} ms"),
            Some(met),
        ));
    }
    let registry: Shared = Arc::new(HttpRegistry::connect(format!("http://127.0.0.1:{}", large.port).parse()?).await?);
    lines.extend(walk(args, &registry, "over HTTP, memory store", Some(WALK)).await?);
    Ok(lines)
}

/// Pages a second over many connections, beside the bare handler.
async fn rate(args: &Args) -> Result<Vec<Line>> {
    note("pages a second");
    let lists = Lists::start(USUAL).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds() {
        for (port, rates) in [(lists.bare, &mut bare), (lists.port, &mut ours)] {
            let start = Instant::now();
            let answered = load(port, PAGE, CONNECTIONS, args.round()).await?;
            rates.push(answered as f64 / start.elapsed().as_secs_f64());
        }
    }
    let ratio = median(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect());
    let row = format!("page of 100 by id, {} streams, {CONNECTIONS} connections", thousands(USUAL as f64));
    let mut served =
        line(&row, "the server", spread(&ours, thousands), format!("≥ {RATE} × the bare handler"), Some(ratio >= RATE));
    served.ratio = format!("{ratio:.2}");
    let mut lines =
        vec![line(&row, "a bare handler, same bytes", spread(&bare, thousands), String::new(), None), served];
    for (who, arguments) in
        [("streamreg summary", vec!["summary"]), ("streamreg history --limit 1", vec!["history", "--limit", "1"])]
    {
        let bytes = moved(lists.port, &arguments).await?;
        let row = format!("bytes over HTTP, {} streams", thousands(USUAL as f64));
        lines.push(line(
            &row,
            who,
            format!("{} bytes", thousands(bytes as f64)),
            format!("≤ {} bytes", thousands(BYTES as f64)),
            Some(bytes <= BYTES),
        ));
    }
    Ok(lines)
}

/// Runs the program against the server and counts the bytes that it is sent.
async fn moved(port: u16, arguments: &[&str]) -> Result<u64> {
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
    // The forwarder sees the end of the connections a moment after the program has ended.
    let until = Instant::now() + Duration::from_secs(5);
    while count.load(Ordering::Relaxed) == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    forward.abort();
    Ok(count.load(Ordering::Relaxed))
}

/// The walk through the large registry in Redis, through a server.
pub(super) async fn walk_redis(world: &mut World<'_>) -> Result<Vec<Line>> {
    let store = world.large().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let server = tokio::spawn(serve(store, listener, ServeOptions::default(), std::future::pending()));
    let registry: Shared = Arc::new(HttpRegistry::connect(url.parse()?).await?);
    let lines = walk(world.args, &registry, "over HTTP, Redis", None).await;
    server.abort();
    lines
}

/// A walk through all pages beside a snapshot.
async fn walk(args: &Args, registry: &Shared, who: &str, demand: Option<f64>) -> Result<Vec<Line>> {
    note("a walk through all pages");
    let (mut walks, mut snapshots) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds().min(5) {
        let start = Instant::now();
        let all = registry.snapshot().await?.streams.len();
        snapshots.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let (mut query, mut seen) = (Query::default(), 0);
        loop {
            let page = registry.find(&query).await?;
            seen += page.streams.len();
            match page.next {
                Some(next) => query = query.cursor(next),
                None => break,
            }
        }
        walks.push(start.elapsed().as_secs_f64());
        if seen != all {
            return Err(format!("the pages held {seen} streams of {all}").into());
        }
    }
    let ratio = median(walks.iter().zip(&snapshots).map(|(walk, snapshot)| walk / snapshot).collect());
    let row = format!("all {} streams, {who}", thousands(args.large() as f64));
    let seconds = |times: &[f64]| spread(times, |time| format!("{time:.2} s"));
    let text = demand.map_or_else(String::new, |demand| format!("≤ {demand} × the snapshot"));
    let mut walked = line(&row, "pages of 1 000", seconds(&walks), text, demand.map(|demand| ratio <= demand));
    walked.ratio = format!("{ratio:.2}");
    Ok(vec![line(&row, "a snapshot", seconds(&snapshots), String::new(), None), walked])
}
