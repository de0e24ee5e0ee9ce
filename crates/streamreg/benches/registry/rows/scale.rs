//! Measures one Redis server with 1 000 000 leased streams, the views of such a registry, and a cluster.
//!
//! These rows take about six minutes, so they are measured only if they are named: `cargo bench -p streamreg -- scale`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::view::{View, ViewOptions};
use stream_registry::{Change, StreamId, Write};
use testkit::ClusterSet;

use super::held::{Holder, Holding};
use super::note;
use crate::args::Args;
use crate::bytes::resident;
use crate::figures::{percentile, thousands};
use crate::ours::{self, Shared};
use crate::report::{Line, verdict};
use crate::server::Server;
use crate::{Result, streams};

const LEASES: usize = 1_000_000;
/// Time between two writes of a stream.
const INTERVAL: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(300);
/// Number of streams on a page.
const PAGE: u32 = 1_000;
/// Maximum time for which one command may hold Redis, in microseconds.
const LONGEST_COMMAND: u64 = 5_000;
/// Number of views that reconcile with one Redis.
const VIEWS: f64 = 10.0;
/// Maximum share of a core of Redis for the reconciliations of these views.
const VIEWS_SHARE: f64 = 0.15;

/// Number of streams in the rows that compare a cluster with one server.
const CLUSTER_STREAMS: usize = 100_000;
/// Number of tasks that send batches.
const WRITERS: usize = 4;

/// Measures all rows.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    let mut lines = one_server(args).await?;
    lines.extend(cluster(args).await?);
    Ok(lines)
}

/// Compares the rate of heartbeats in batches on one server and on a cluster of three primaries.
async fn cluster(args: &Args) -> Result<Vec<Line>> {
    note("a cluster");
    let count = if args.quick { CLUSTER_STREAMS / 10 } else { CLUSTER_STREAMS };
    let server = Server::start().await?;
    let set = ClusterSet::builder().replicas(0).start().await;
    let streams = Arc::new((0..count).map(streams::stream).collect::<Result<Vec<_>>>()?);
    let ids: Arc<Vec<StreamId>> = Arc::new(streams.iter().map(|stream| stream.id.clone()).collect());
    let mut lines = Vec::new();
    for batch in [125, 1_000] {
        let mut rates = Vec::new();
        for (name, url) in [("one Redis", server.url()), ("a cluster of 3 on the same 2 cores", set.url())] {
            let registry = ours::connect_with_ttl(&url, "scale:streams:", TTL).await?;
            if batch == 125 {
                ours::fill(&registry, &streams).await?;
            }
            let time = args.round() * 5;
            let mut writers = tokio::task::JoinSet::new();
            for writer in 0..WRITERS {
                writers.spawn(write(Arc::clone(&registry), Arc::clone(&ids), batch, writer * count / WRITERS, time));
            }
            let mut done = 0;
            while let Some(written) = writers.join_next().await {
                done += written??;
            }
            rates.push(done as f64 / time.as_secs_f64());
            lines.push(Line {
                row: format!("{} streams, heartbeats in batches of {batch}", thousands(count as f64)),
                candidate: name.into(),
                figure: format!("{} a second", thousands(rates[rates.len() - 1])),
                ratio: format!("{:.2}", rates[rates.len() - 1] / rates[0]),
                target: "reported".into(),
                ..Line::default()
            });
        }
    }
    Ok(lines)
}

/// Sends heartbeats in batches for some time. Returns the number of streams that were written.
async fn write(registry: Shared, ids: Arc<Vec<StreamId>>, batch: usize, first: usize, time: Duration) -> Result<usize> {
    let until = Instant::now() + time;
    let (mut at, mut done) = (first, 0);
    while Instant::now() < until {
        let writes: Vec<_> = (at..at + batch).map(|at| Write::new(&ids[at % ids.len()], Change::Heartbeat)).collect();
        for answer in registry.write(&writes).await? {
            answer?;
        }
        (at, done) = (at + batch, done + batch);
    }
    Ok(done)
}

/// Measures the writes of the leases, then pages, then the load and the reconciliation of a view.
async fn one_server(args: &Args) -> Result<Vec<Line>> {
    let count = if args.quick { LEASES / 100 } else { LEASES };
    let interval = if args.quick { INTERVAL / 20 } else { INTERVAL };
    let holding = Holding { count, interval, ttl: TTL, reports: true };
    note(&holding.row());
    let mut server = Server::start().await?;
    let mut holder = Holder::start(&server.url(), holding).await?;
    let line = |candidate: &str, figure: String, limit: Option<(String, bool)>| Line {
        row: holding.row(),
        candidate: candidate.into(),
        figure,
        target: limit.as_ref().map_or_else(|| "reported".to_owned(), |(target, _)| target.clone()),
        met: verdict(limit.map(|(_, met)| met)),
        ..Line::default()
    };
    let percent = |share: f64| format!("{:.1} % of a core", share * 100.0);
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let mut lines = Vec::new();

    let (before, start) = (server.cpu().await?, Instant::now());
    let process = holder.next().await?;
    let writes = (server.cpu().await? - before) / start.elapsed().as_secs_f64();
    lines.push(line("Redis", percent(writes), None));
    lines.push(line("the process with the leases", percent(process), None));
    let used = server.used_memory().await? / u64::try_from(count)?;
    lines.push(line("memory of Redis for a stream", format!("{used} bytes"), None));
    lines.push(line("memory of a lease beyond its record", format!("{} bytes", thousands(holder.bytes)), None));

    note("pages and a view");
    let registry = ours::connect_with_ttl(&server.url(), "held:streams:", TTL).await?;
    let mut pages = Vec::new();
    let mut cursor = None;
    let size = NonZeroU32::new(PAGE).ok_or("a page has streams")?;
    for _ in 0..count / PAGE as usize {
        let start = Instant::now();
        let page = registry.list_page(cursor.as_ref(), size).await?;
        pages.push(u64::try_from(start.elapsed().as_micros())?);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    pages.sort_unstable();
    let micros = |micros| milliseconds(Duration::from_micros(micros));
    let figure = format!("p50 {}, p99 {}", micros(percentile(&pages, 0.5)), micros(percentile(&pages, 0.99)));
    lines.push(line("a page of 1 000 streams", figure, None));

    server.log_all().await?;
    let (memory, start) = (resident("self")?, Instant::now());
    let view = View::new(registry.clone(), ViewOptions::default());
    view.ready().await?;
    lines.push(line("a view is ready after", format!("{:.1} s", start.elapsed().as_secs_f64()), None));
    let bytes = (resident("self")?.saturating_sub(memory)) / u64::try_from(count)?;
    lines.push(line("memory of the view for a stream", format!("{bytes} bytes"), None));
    let longest = server.logged().await?.into_iter().max_by_key(|logged| logged.micros);
    if let Some(longest) = longest {
        let figure = format!("{} ({})", micros(longest.micros), longest.command);
        let target = format!("≤ {}", micros(LONGEST_COMMAND));
        lines.push(line(
            "the longest command during the load",
            figure,
            Some((target, longest.micros <= LONGEST_COMMAND)),
        ));
    }

    let (before, start) = (server.cpu().await?, Instant::now());
    view.reconcile().await?;
    let took = start.elapsed();
    let cost = server.cpu().await? - before - writes * took.as_secs_f64();
    // The pause after a reconciliation is 64 times as long as the pages took, from 30 s to 10 minutes.
    let pause = (took * 64).clamp(Duration::from_secs(30), Duration::from_secs(600));
    let share = VIEWS * cost / (took + pause).as_secs_f64();
    let figure = format!(
        "{}; each {} of Redis every {:.0} s",
        percent(share),
        milliseconds(Duration::from_secs_f64(cost.max(0.0))),
        (took + pause).as_secs_f64()
    );
    lines.push(line(
        "reconciliations of ten views",
        figure,
        Some((format!("≤ {}", percent(VIEWS_SHARE)), share <= VIEWS_SHARE)),
    ));
    drop(holder);
    Ok(lines)
}
