//! Measures lists, searches and summaries from a server. The cost of a page should not grow with the number of streams.
//!
//! The servers have memory stores. The rows compare the server with a bare handler in the same process.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stream_registry::query::Query;
use stream_registry::{HttpRegistry, Registry};
use streamreg::server::{ServeOptions, serve};
use tokio::net::{TcpListener, TcpStream};

use super::http::{PAGE, ServerProcess, compare_bare, get};
use super::{Setup, note};
use crate::Result;
use crate::args::Args;
use crate::figures::{median, spread, thousands};
use crate::ours::Shared;
use crate::report::{Line, line};

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

/// Measures the rows that do not need Redis.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    let mut lines = rate(args).await?;
    let (small, large) = (ServerProcess::start(1_000, None).await?, ServerProcess::start(args.large(), None).await?);
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
    let lists = ServerProcess::start(STREAMS, None).await?;
    let row = format!("page of 100 by id, {} streams", thousands(STREAMS as f64));
    let mut lines = compare_bare(args, &row, &lists, &get(PAGE), RATE).await?;
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
