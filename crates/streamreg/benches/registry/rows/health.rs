//! Measures `/healthz` while many clients ask for the history, and while many event readers never read.
//!
//! The server runs in a separate process with a memory store.

use std::time::{Duration, Instant};

use streamreg::server::raise_descriptor_limit;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::lists::{Connection, ListServer};
use super::note;
use crate::Result;
use crate::args::Args;
use crate::figures::percentile;
use crate::report::{Line, verdict};

/// Number of streams on the server. Each one has at least one event in the feed.
const STREAMS: usize = 10_000;
/// Number of clients that ask for the history.
const CALLERS: usize = 400;
/// A history that reads the whole feed, because no stream matches.
const HISTORY: &str = "/api/v1/history?id=unknown";
/// Number of event readers that never read.
const READERS: usize = 1_000;
/// Pause between two measured requests.
const PAUSE: Duration = Duration::from_millis(5);
/// Target: 99 % of the responses arrive within this time.
const LIMIT: Duration = Duration::from_millis(50);

pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    raise_descriptor_limit();
    note("healthz");
    let time = args.round() * u32::try_from(args.rounds())?;
    let mut lines = Vec::new();

    let server = ListServer::start(STREAMS).await?;
    let port = server.port;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(async move {
            loop {
                let Ok(mut connection) = Connection::open(port).await else { continue };
                // If the server rejects a request, the caller connects again.
                while connection.request(HISTORY).await.is_ok() {}
            }
        });
    }
    lines.push(row(&format!("{CALLERS} callers of history"), &measure(port, time).await?));
    drop(callers);

    let server = ListServer::start(STREAMS).await?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Connection::open(server.port).await?;
        reader.socket.write_all(b"GET /api/v1/events?from=oldest HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        readers.push(reader);
    }
    lines.push(row(&format!("{READERS} event readers that never read"), &measure(server.port, time).await?));
    Ok(lines)
}

/// Returns the sorted response times of `/healthz` in microseconds.
async fn measure(port: u16, time: Duration) -> Result<Vec<u64>> {
    let mut connection = Connection::open(port).await?;
    let mut micros = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        connection.request("/healthz").await?;
        micros.push(u64::try_from(sent.elapsed().as_micros())?);
        tokio::time::sleep(PAUSE).await;
    }
    micros.sort_unstable();
    Ok(micros)
}

fn row(load: &str, micros: &[u64]) -> Line {
    let millis = |part: f64| percentile(micros, part) as f64 / 1_000.0;
    Line {
        row: "healthz".into(),
        candidate: load.into(),
        figure: format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", millis(0.5), millis(0.99), millis(1.0)),
        target: "p99 ≤ 50 ms".into(),
        met: verdict(Some(u128::from(percentile(micros, 0.99)) <= LIMIT.as_micros())),
        ..Line::default()
    }
}
