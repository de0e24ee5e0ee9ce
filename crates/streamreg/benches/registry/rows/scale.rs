//! Measures one Redis server with 1 000 000 leased streams, and the views of such a registry.
//!
//! These rows take about five minutes, so they are measured only if they are named: `cargo bench -p streamreg -- scale`.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use stream_registry::view::{View, ViewOptions};

use super::held::{Holder, Holding};
use super::note;
use crate::args::Args;
use crate::bytes::resident;
use crate::figures::{percentile, thousands};
use crate::report::{Line, verdict};
use crate::server::Server;
use crate::{Result, ours};

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

/// Measures the writes of the leases, then pages, then the load and the reconciliation of a view.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
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
        lines.push(line("the longest command meanwhile", figure, Some((target, longest.micros <= LONGEST_COMMAND))));
    }

    let (before, start) = (server.cpu().await?, Instant::now());
    view.reconcile().await?;
    let took = start.elapsed();
    let cost = server.cpu().await? - before - writes * took.as_secs_f64();
    // The pause after a reconciliation is 64 times as long as the pages took, from 30 s to 5 minutes.
    let pause = (took * 64).clamp(Duration::from_secs(30), Duration::from_secs(300));
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
