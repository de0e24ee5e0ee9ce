//! The feed: how long a change takes from its call, and so from its commit at most, to a watcher's hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::StreamId;
use stream_registry::watch::{Event, WatchFrom};

use super::{World, note};
use crate::Result;
use crate::figures::percentile;
use crate::ours::Shared;
use crate::report::{Line, verdict};

/// Changes per second.
pub(super) const RATE: u64 = 2_000;
/// From the writer's call to the watcher, for 99 of 100 at most.
const LATEST: Duration = Duration::from_millis(5);

/// Makes changes at that rate, each with a status of its own; returns when each was called.
pub(super) async fn change(registry: &Shared, ids: &[StreamId], count: u64) -> Result<HashMap<u64, Instant>> {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut number = 0;
    let (mut called, mut writers) = (HashMap::new(), Vec::new());
    let start = Instant::now();
    while number < count {
        ticks.tick().await;
        let due = (start.elapsed().as_millis() as u64 * RATE / 1_000).min(count);
        for number in number..due {
            let registry = Arc::clone(registry);
            let id = ids[usize::try_from(number)? % ids.len()].clone();
            // Another one each time: the same again would be no change.
            let status = format!("n{number}").parse()?;
            called.insert(number, Instant::now());
            writers.push(tokio::spawn(async move { registry.update_status(&id, status).await }));
        }
        number = due;
    }
    for writer in writers {
        writer.await??;
    }
    Ok(called)
}

pub(super) async fn row(world: &mut World<'_>) -> Result<Line> {
    note("commit to watcher");
    let registry = Arc::clone(&world.shared);
    let mut watch = registry.watch(WatchFrom::Now).await?;
    let count = RATE * world.args.round().as_secs().max(1) * u64::try_from(world.args.rounds())?;
    let told = tokio::spawn(async move {
        let mut told = HashMap::new();
        while told.len() < usize::try_from(count)? {
            match watch.next().await.ok_or("the watch ended")? {
                Event::Changed { stream, .. } => {
                    told.insert(stream.status.as_str().trim_start_matches('n').parse::<u64>()?, Instant::now());
                }
                Event::Alive { .. } => {}
                other => return Err(format!("not a change: {other:?}").into()),
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(told)
    });
    let start = Instant::now();
    let called = change(&registry, &world.ids, count).await?;
    let took = start.elapsed();
    let told = told.await??;
    let mut late: Vec<u64> = called
        .iter()
        .filter_map(|(number, called)| Some(told.get(number)?.duration_since(*called).as_micros() as u64))
        .collect();
    late.sort_unstable();
    let p99 = percentile(&late, 0.99);
    Ok(Line {
        row: "commit to a watcher's hand".into(),
        who: format!("{} statuses, {:.0} per second", late.len(), count as f64 / took.as_secs_f64()),
        figure: format!("p50 {} µs, p99 {p99} µs, max {} µs", percentile(&late, 0.5), late.last().unwrap_or(&0)),
        demand: "p99 ≤ 5 ms".into(),
        met: verdict(Some(u128::from(p99) <= LATEST.as_micros())),
        ..Line::default()
    })
}
