//! Pages of a large registry: how long each command holds the server.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::World;
use crate::Result;
use crate::figures::{percentile, thousands};
use crate::report::{Line, verdict};
use crate::server::Logged;

const COUNT: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// 99 % of the commands may take this long.
const LIMIT_MICROS: u64 = 5_000;

/// Walks through the large registry and sorts the commands by their time.
pub(super) async fn row(world: &mut World<'_>) -> Result<Vec<Line>> {
    let (size, registry) = (world.args.large(), world.large().await?);
    let walks = if world.args.quick { 1 } else { 5 };
    let mut pages = Vec::new();
    // The connection is made before anything is logged.
    registry.list_page(None, COUNT).await?;
    world.server.log_all().await?;
    for _ in 0..walks {
        let mut cursor = None;
        let mut seen = 0;
        loop {
            let start = Instant::now();
            let page = registry.list_page(cursor.as_ref(), COUNT).await?;
            pages.push(start.elapsed());
            seen += page.streams.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if seen < size {
            return Err(format!("the pages held {seen} streams of {size}").into());
        }
    }
    let logged = world.server.logged().await?;
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
    all.demand = "99 % of commands ≤ 5 ms".into();
    all.met = verdict(Some(within * 100 >= logged.len() * 99));
    lines.push(all);
    pages.sort_unstable();
    let middle = pages.get(pages.len() / 2).copied().unwrap_or_default();
    lines.push(Line {
        row: row.to_owned(),
        who: "a page to structs, end to end".into(),
        figure: format!("{:.1} ms", middle.as_secs_f64() * 1_000.0),
        ..Line::default()
    });
    lines
}

fn line(row: &str, who: &str, mut micros: Vec<u64>) -> Line {
    micros.sort_unstable();
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| percentile(&micros, part));
    Line {
        row: row.to_owned(),
        who: format!("{} {who}", micros.len()),
        server: format!("p50 {half}, p99 {most}, max {all}"),
        ..Line::default()
    }
}
