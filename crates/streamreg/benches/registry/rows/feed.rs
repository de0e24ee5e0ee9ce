//! Measures the change feed: the time from the start of a write call until a watcher receives the event, with one watcher
//! and with 1 000 watchers of one registry.
//!
//! The change is committed after the call starts, so the result is an upper bound for the time from commit to watcher.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stream_registry::StreamId;
use stream_registry::watch::{Event, Watch, WatchFrom};

use super::{Setup, note};
use crate::Result;
use crate::figures::percentile;
use crate::ours::Shared;
use crate::report::{Line, verdict};

/// Changes per second.
pub(super) const RATE: u64 = 2_000;
/// Target: 99 % of the events arrive within this time.
const LIMIT: Duration = Duration::from_millis(5);
/// Number of watchers of one registry in the row with many watchers.
const WATCHERS: usize = 1_000;
/// Changes per second in the row with many watchers.
const SLOW_RATE: u64 = 20;
/// Target in the row with many watchers: 99 % of the events arrive at all watchers within this time.
const SLOW_LIMIT: Duration = Duration::from_millis(20);

/// Number of the next change. Setting a status that the stream already has would not be a change, so no number is used
/// twice.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Makes `count` changes at `rate` per second, each with a unique status. Returns the start time of each call.
pub(super) async fn change(
    registry: &Shared,
    ids: &[StreamId],
    count: u64,
    rate: u64,
) -> Result<HashMap<u64, Instant>> {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut number = 0;
    let (mut called, mut writers) = (HashMap::new(), Vec::new());
    let start = Instant::now();
    while number < count {
        ticks.tick().await;
        let due = (start.elapsed().as_millis() as u64 * rate / 1_000).min(count);
        for number in number..due {
            let registry = Arc::clone(registry);
            let id = ids[usize::try_from(number)? % ids.len()].clone();
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
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

/// The sorted delays of some changes in microseconds, and how long making these changes took.
pub(super) struct Measured {
    changes: u64,
    delays: Vec<u64>,
    elapsed: Duration,
}

impl Measured {
    /// Returns the line of a row. The row meets its target if 99 % of the delays are within the limit.
    pub(super) fn line(&self, row: &str, limit: Duration) -> Line {
        let (delays, p99) = (&self.delays, percentile(&self.delays, 0.99));
        let rate = self.changes as f64 / self.elapsed.as_secs_f64();
        Line {
            row: row.into(),
            candidate: format!("{} statuses, {rate:.0} per second", self.changes),
            figure: format!("p50 {} µs, p99 {p99} µs, max {} µs", percentile(delays, 0.5), delays.last().unwrap_or(&0)),
            target: format!("p99 ≤ {} ms", limit.as_millis()),
            met: verdict(Some(u128::from(p99) <= limit.as_micros())),
            ..Line::default()
        }
    }
}

/// Receives `count` changes. Returns the time at which each change was received.
async fn receive(mut watch: Watch, count: u64) -> Result<Vec<(u64, Instant)>> {
    let mut received = Vec::new();
    while received.len() < usize::try_from(count)? {
        match watch.next().await.ok_or("the watch ended")? {
            Event::Changed { stream, .. } => {
                received.push((stream.status.as_str().trim_start_matches('n').parse()?, Instant::now()));
            }
            Event::Alive { .. } => {}
            other => return Err(format!("expected a change, got {other:?}").into()),
        }
    }
    Ok(received)
}

/// Makes `count` changes at `rate` per second, and measures when each watcher receives their events.
pub(super) async fn measure(
    registry: &Shared,
    ids: &[StreamId],
    count: u64,
    rate: u64,
    watchers: usize,
) -> Result<Measured> {
    let mut receivers = Vec::new();
    for _ in 0..watchers {
        receivers.push(tokio::spawn(receive(registry.watch(WatchFrom::Now).await?, count)));
    }
    let start = Instant::now();
    let called = change(registry, ids, count, rate).await?;
    let elapsed = start.elapsed();
    let mut delays = Vec::new();
    for receiver in receivers {
        for (number, received) in receiver.await?? {
            let called = called.get(&number).ok_or("received an unknown change")?;
            delays.push(received.duration_since(*called).as_micros() as u64);
        }
    }
    delays.sort_unstable();
    Ok(Measured { changes: count, delays, elapsed })
}

pub(super) async fn rows(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (row, watchers, rate, limit) in
        [("commit to watcher", 1, RATE, LIMIT), ("commit to each of 1 000 watchers", WATCHERS, SLOW_RATE, SLOW_LIMIT)]
    {
        note(row);
        let count = rate * setup.args.round().as_secs().max(1) * u64::try_from(setup.args.rounds())?;
        lines.push(measure(&setup.shared, &setup.ids, count, rate, watchers).await?.line(row, limit));
    }
    Ok(lines)
}
