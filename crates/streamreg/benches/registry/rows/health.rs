//! Measures `/healthz` while many clients ask for the history, and while many event readers never read.
//!
//! The servers run in separate processes, with a memory store and with Redis.

use std::time::{Duration, Instant};

use streamreg::server::raise_descriptor_limit;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::http::{Connection, ServerProcess, fill, get};
use super::note;
use crate::Result;
use crate::args::Args;
use crate::figures::percentile;
use crate::ours;
use crate::report::{Line, line};
use crate::server::Server;

/// Number of streams on the server. Each one has at least one event in the feed.
const STREAMS: usize = 10_000;
/// Number of clients that ask for the history.
const CALLERS: usize = 400;
/// A history that reads the whole feed, because no stream matches.
const HISTORY: &str = "/api/v1/history?id=unknown";
/// The events since the oldest event in the feed.
const EVENTS: &str = "/api/v1/events?from=oldest";
/// Number of event readers that never read.
const READERS: usize = 1_000;
/// Pause between two measured requests.
const PAUSE: Duration = Duration::from_millis(5);
/// Target: 99 % of the responses arrive within this time.
const LIMIT: Duration = Duration::from_millis(50);

pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    raise_descriptor_limit();
    note("healthz");
    let mut lines = loads(args, "memory store", None).await?;
    let redis = Server::start().await?;
    fill(&ours::connect(&redis.url(), ours::PREFIX).await?, STREAMS).await?;
    lines.extend(loads(args, "Redis", Some(&redis.url())).await?);
    Ok(lines)
}

/// Measures a server under both loads.
async fn loads(args: &Args, store_name: &str, store: Option<&str>) -> Result<Vec<Line>> {
    let time = args.round() * u32::try_from(args.rounds())?;
    let mut lines = Vec::new();

    let server = ServerProcess::start(STREAMS, store).await?;
    let port = server.port;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(async move {
            let history = get(HISTORY);
            loop {
                let Ok(mut connection) = Connection::open(port).await else { continue };
                // If the server rejects a request, the caller connects again.
                while connection.send(&history).await.is_ok() {}
            }
        });
    }
    let micros = measure(port, time).await?;
    lines.push(row(&format!("{CALLERS} callers of history, {store_name}"), &micros, server.memory()?));
    drop(callers);

    let server = ServerProcess::start(STREAMS, store).await?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Connection::open(server.port).await?;
        reader.socket.write_all(get(EVENTS).as_bytes()).await?;
        readers.push(reader);
    }
    let micros = measure(server.port, time).await?;
    lines.push(row(&format!("{READERS} readers that never read, {store_name}"), &micros, server.memory()?));
    Ok(lines)
}

/// Returns the sorted response times of `/healthz` in microseconds.
async fn measure(port: u16, time: Duration) -> Result<Vec<u64>> {
    let mut connection = Connection::open(port).await?;
    let (healthz, mut micros) = (get("/healthz"), Vec::new());
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        connection.send(&healthz).await?;
        micros.push(u64::try_from(sent.elapsed().as_micros())?);
        tokio::time::sleep(PAUSE).await;
    }
    micros.sort_unstable();
    Ok(micros)
}

fn row(load: &str, micros: &[u64], memory: u64) -> Line {
    let millis = |part: f64| percentile(micros, part) as f64 / 1_000.0;
    let figure = format!(
        "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms, memory {} MB",
        millis(0.5),
        millis(0.99),
        millis(1.0),
        memory / 1_000_000
    );
    let met = u128::from(percentile(micros, 0.99)) <= LIMIT.as_micros();
    line("healthz", load, figure, "p99 ≤ 50 ms".into(), Some(met))
}
