//! Measures scrapes of `/metrics` with many streams, and heartbeats while a client scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::http::{Connection, ServerProcess, get};
use super::note;
use crate::Result;
use crate::args::Args;
use crate::figures::{median, percentile, spread};
use crate::report::{Line, line};
use crate::streams;

/// Path of the scrape.
const METRICS: &str = "/metrics";
/// Pause between two scrapes. Prometheus pauses for 15 s by default.
const SCRAPE_PAUSE: Duration = Duration::from_secs(1);
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
    let scraped = Arc::new(AtomicBool::new(false));
    let mut scraping = JoinSet::new();
    scraping.spawn(scrape(port, Arc::clone(&scraped)));
    let (mut alone, mut with) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds() {
        for (is_scraped, p99s) in [(false, &mut alone), (true, &mut with)] {
            scraped.store(is_scraped, Ordering::Relaxed);
            p99s.push(percentile(&measure(port, &heartbeat, args.round()).await?, 0.99) as f64);
        }
    }
    let met = u128::from(percentile(&scrapes, 0.99)) <= LIMIT.as_micros();
    let row = format!("scrape, {} streams", args.large());
    let is_noise = median(with.clone()) <= alone.iter().copied().fold(0.0, f64::max);
    let p99 = |p99s: &[f64]| format!("p99 {}", spread(p99s, |micros| format!("{micros:.0} µs")));
    let target = "within the rounds without".to_owned();
    Ok(vec![
        line("metrics", &row, figure(&scrapes), "p99 ≤ 20 ms".into(), Some(met)),
        line("metrics", "heartbeat without scrapes", p99(&alone), String::new(), None),
        line("metrics", "heartbeat with a scrape each second", p99(&with), target, Some(is_noise)),
    ])
}

/// Scrapes regularly while `wanted`. Ends when the server ends.
async fn scrape(port: u16, wanted: Arc<AtomicBool>) {
    let Ok(mut connection) = Connection::open(port).await else { return };
    loop {
        if wanted.load(Ordering::Relaxed) && connection.send(&get(METRICS)).await.is_err() {
            return;
        }
        tokio::time::sleep(SCRAPE_PAUSE).await;
    }
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
