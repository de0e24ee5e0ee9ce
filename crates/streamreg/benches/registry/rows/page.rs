//! Measures pages of a large registry: how long each command blocks Redis.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Setup;
use crate::Result;
use crate::figures::{percentile, thousands};
use crate::report::{Line, verdict};
use crate::server::Logged;

/// Number of streams per page.
const COUNT: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// Target: 99 % of the commands take at most this long, in microseconds.
const LIMIT_MICROS: u64 = 5_000;

/// Reads all pages of the large registry, and groups the logged commands by name.
pub(super) async fn row(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    let (size, registry) = (setup.args.large(), setup.large().await?);
    let repeats = if setup.args.quick { 1 } else { 5 };
    let mut pages = Vec::new();
    // Make one call before logging starts, so that the log does not contain the commands of connecting.
    registry.list_page(None, COUNT).await?;
    setup.server.log_all().await?;
    for _ in 0..repeats {
        let mut cursor = None;
        let mut found = 0;
        loop {
            let start = Instant::now();
            let page = registry.list_page(cursor.as_ref(), COUNT).await?;
            pages.push(start.elapsed());
            found += page.streams.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if found < size {
            return Err(format!("the pages contained {found} of {size} streams").into());
        }
    }
    let logged = setup.server.logged().await?;
    Ok(lines(&format!("list_page, 1 000 of {}", thousands(size as f64)), &logged, &mut pages))
}

fn lines(row: &str, logged: &[Logged], pages: &mut [Duration]) -> Vec<Line> {
    let mut names: Vec<_> = logged.iter().map(|entry| entry.command.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut lines = Vec::new();
    for name in names {
        let micros = logged.iter().filter(|entry| entry.command == name).map(|entry| entry.micros).collect();
        lines.push(line(row, &format!("{name} commands"), micros));
    }
    let mut all = line(row, "all commands", logged.iter().map(|entry| entry.micros).collect());
    let within = logged.iter().filter(|entry| entry.micros <= LIMIT_MICROS).count();
    all.target = "99 % of commands ≤ 5 ms".into();
    all.met = verdict(Some(within * 100 >= logged.len() * 99));
    lines.push(all);
    pages.sort_unstable();
    let middle = pages.get(pages.len() / 2).copied().unwrap_or_default();
    lines.push(Line {
        row: row.to_owned(),
        candidate: "a page to structs, end to end".into(),
        figure: format!("{:.1} ms", middle.as_secs_f64() * 1_000.0),
        ..Line::default()
    });
    lines
}

fn line(row: &str, candidate: &str, mut micros: Vec<u64>) -> Line {
    micros.sort_unstable();
    let [median, p99, max] = [0.5, 0.99, 1.0].map(|part| percentile(&micros, part));
    Line {
        row: row.to_owned(),
        candidate: format!("{} {candidate}", micros.len()),
        server: format!("p50 {median} µs, p99 {p99} µs, max {max} µs"),
        ..Line::default()
    }
}
