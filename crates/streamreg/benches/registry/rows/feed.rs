//! Measures the change feed: the time from the start of a write call until a watcher receives the event.
//!
//! The change is committed after the call starts, so the result is an upper bound for the time from commit to watcher.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::StreamId;
use stream_registry::watch::{Event, WatchFrom};

use super::{Setup, note};
use crate::Result;
use crate::figures::percentile;
use crate::ours::Shared;
use crate::report::{Line, verdict};

/// Changes per second.
pub(super) const RATE: u64 = 2_000;
/// Target: 99 % of the events arrive within this time.
const LIMIT: Duration = Duration::from_millis(5);

/// Makes `count` changes at `RATE`, each with a unique status. Returns the start time of each call.
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
            // Setting a status that the stream already has would not be a change.
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

pub(super) async fn row(setup: &mut Setup<'_>) -> Result<Line> {
    note("commit to watcher");
    let registry = Arc::clone(&setup.shared);
    let mut watch = registry.watch(WatchFrom::Now).await?;
    let count = RATE * setup.args.round().as_secs().max(1) * u64::try_from(setup.args.rounds())?;
    let receiver = tokio::spawn(async move {
        let mut received = HashMap::new();
        while received.len() < usize::try_from(count)? {
            match watch.next().await.ok_or("the watch ended")? {
                Event::Changed { stream, .. } => {
                    received.insert(stream.status.as_str().trim_start_matches('n').parse::<u64>()?, Instant::now());
                }
                Event::Alive { .. } => {}
                other => return Err(format!("expected a change, got {other:?}").into()),
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(received)
    });
    let start = Instant::now();
    let called = change(&registry, &setup.ids, count).await?;
    let elapsed = start.elapsed();
    let received = receiver.await??;
    let mut delays: Vec<u64> = called
        .iter()
        .filter_map(|(number, called)| Some(received.get(number)?.duration_since(*called).as_micros() as u64))
        .collect();
    delays.sort_unstable();
    let p99 = percentile(&delays, 0.99);
    Ok(Line {
        row: "commit to watcher".into(),
        candidate: format!("{} statuses, {:.0} per second", delays.len(), count as f64 / elapsed.as_secs_f64()),
        figure: format!("p50 {} µs, p99 {p99} µs, max {} µs", percentile(&delays, 0.5), delays.last().unwrap_or(&0)),
        target: "p99 ≤ 5 ms".into(),
        met: verdict(Some(u128::from(p99) <= LIMIT.as_micros())),
        ..Line::default()
    })
}
