//! Measures scrapes of `/metrics` with many streams, and heartbeats while a client scrapes.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::http::{Connection, ServerProcess, get};
use super::note;
use crate::Result;
use crate::args::Args;
use crate::figures::percentile;
use crate::report::{Line, line};
use crate::streams;

/// Path of the scrape.
const METRICS: &str = "/metrics";
/// Pause between two scrapes. Prometheus pauses for seconds.
const SCRAPE_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two measured requests.
const PAUSE: Duration = Duration::from_millis(2);
/// Target: 99 % of the scrapes take at most this time.
const LIMIT: Duration = Duration::from_millis(20);

pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("metrics");
    let time = args.round() * u32::try_from(args.rounds())?;
    let server = ServerProcess::start(args.large(), None).await?;
    let port = server.port;
    let heartbeat = format!(
        "POST /api/v1/streams/{}/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n",
        streams::stream(0)?.id
    );
    let scrapes = measure(port, &get(METRICS), time).await?;
    let alone = measure(port, &heartbeat, time).await?;
    let mut scraping = JoinSet::new();
    scraping.spawn(async move {
        let Ok(mut connection) = Connection::open(port).await else { return };
        while connection.send(&get(METRICS)).await.is_ok() {
            tokio::time::sleep(SCRAPE_PAUSE).await;
        }
    });
    let beside = measure(port, &heartbeat, time).await?;
    let met = u128::from(percentile(&scrapes, 0.99)) <= LIMIT.as_micros();
    Ok(vec![
        line(
            "metrics",
            &format!("scrape, {} streams", args.large()),
            figure(&scrapes),
            "p99 ≤ 20 ms".into(),
            Some(met),
        ),
        line("metrics", "heartbeat without scrapes", figure(&alone), String::new(), None),
        line("metrics", "heartbeat with 10 scrapes a second", figure(&beside), String::new(), None),
    ])
}

/// Returns the sorted response times of a request in microseconds.
async fn measure(port: u16, request: &str, time: Duration) -> Result<Vec<u64>> {
    let mut connection = Connection::open(port).await?;
    let mut micros = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        connection.send(request).await?;
        micros.push(u64::try_from(sent.elapsed().as_micros())?);
        tokio::time::sleep(PAUSE).await;
    }
    micros.sort_unstable();
    Ok(micros)
}

fn figure(micros: &[u64]) -> String {
    let millis = |part: f64| percentile(micros, part) as f64 / 1_000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms", millis(0.5), millis(0.99), millis(1.0))
}
