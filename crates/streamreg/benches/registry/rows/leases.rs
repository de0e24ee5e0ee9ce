//! Measures leases: the speed of batched heartbeats, of `acquire` and of `release_all`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{LeaseOptions, Leases};
use stream_registry::{Change, Epoch, Guard, RegisterOptions, StreamId, Write};

use super::{STREAMS, Setup, note};
use crate::figures::{Sample, Target, Unit, thousands};
use crate::load::{Call, drive};
use crate::ours::{self, Shared};
use crate::report::{Candidate, Line, compare, verdict};
use crate::{Result, streams};

/// Number of leases per batch, the same as in the library.
const BATCH: usize = 125;
/// Number of batches in flight.
const WRITERS: usize = 4;
/// Maximum time for which a script call may block the server, in microseconds.
const LIMIT_MICROS: u64 = 3_000;
const PREFIX: &str = "leased:streams:";
const SCRIPTS: &[&str] = &["evalsha", "eval", "time"];

/// Compares batched heartbeats that check epochs with single heartbeats sent by the baseline.
pub(super) async fn batches(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    note("leased heartbeats");
    let registry = ours::connect(&setup.server.url(), PREFIX).await?;
    let leased = Arc::new(register(&registry).await?);
    let target = Target { rate: Some(3.0), server: Some(0.45), ..Target::default() };
    let candidate = |name, target| Candidate { name, samples: Vec::new(), target };
    let mut sides = [
        candidate("A, single calls, 64 callers", Target::default()),
        candidate("ours, batches of 125 with epochs", target),
    ];
    let baseline = setup.baseline.clone();
    for _ in 0..setup.args.rounds() {
        setup.server.reset().await?;
        let work = drive(&baseline, &setup.ids, Call::Heartbeat, setup.args.round()).await?;
        let (micros, sent) = setup.server.spent(SCRIPTS).await?;
        sides[0].samples.push(sample(work.calls, work.elapsed, micros, sent));
        setup.server.reset().await?;
        let start = Instant::now();
        let done = write(&registry, &leased, setup.args.round()).await?;
        let elapsed = start.elapsed();
        let (micros, sent) = setup.server.spent(SCRIPTS).await?;
        sides[1].samples.push(sample(done, elapsed, micros, sent));
    }
    let baseline = sides[0].samples.clone();
    let mut lines = compare("leased heartbeats, streams", Unit::PerSecond, Some(&baseline), &sides);
    setup.server.log_all().await?;
    write(&registry, &leased, setup.args.round()).await?;
    let mut calls: Vec<u64> = setup
        .server
        .logged()
        .await?
        .into_iter()
        .filter(|logged| logged.command == "EVALSHA")
        .map(|logged| logged.micros)
        .collect();
    calls.sort_unstable();
    let longest = calls.last().copied().unwrap_or(0);
    lines.push(Line {
        row: "leased heartbeats, streams".into(),
        candidate: format!("{} script calls", calls.len()),
        server: format!("p99 {} µs, max {longest} µs", crate::figures::percentile(&calls, 0.99)),
        target: "no script call over 3 ms".into(),
        met: verdict(Some(longest <= LIMIT_MICROS)),
        ..Line::default()
    });
    Ok(lines)
}

fn sample(done: u64, elapsed: Duration, micros: u64, sent: u64) -> Sample {
    let done = done as f64;
    Sample {
        per_second: done / elapsed.as_secs_f64(),
        server_micros: micros as f64 / done,
        per_command: done / sent as f64,
    }
}

async fn register(registry: &Shared) -> Result<Vec<(StreamId, Epoch)>> {
    let mut leased = Vec::with_capacity(STREAMS);
    for n in 0..STREAMS {
        let stream = streams::stream(n)?;
        let registered = registry.register_with(&stream, &RegisterOptions::default().lease()).await?;
        leased.push((stream.id, registered.epoch.ok_or("the registration returned no epoch")?));
    }
    Ok(leased)
}

async fn write(registry: &Shared, leased: &Arc<Vec<(StreamId, Epoch)>>, time: Duration) -> Result<u64> {
    let until = Instant::now() + time;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (registry, leased) = (Arc::clone(registry), Arc::clone(leased));
            tokio::spawn(async move {
                let (mut at, mut done) = (writer * STREAMS / WRITERS, 0);
                while Instant::now() < until {
                    let writes: Vec<_> = (at..at + BATCH)
                        .map(|at| {
                            let (id, epoch) = &leased[at % STREAMS];
                            Write { id: id.clone(), guard: Guard::Holder(epoch.clone()), change: Change::Heartbeat }
                        })
                        .collect();
                    for answer in registry.write(&writes).await? {
                        answer?;
                    }
                    at += BATCH;
                    done += BATCH;
                }
                Ok::<_, stream_registry::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for writer in writers {
        done += u64::try_from(writer.await??)?;
    }
    Ok(done)
}

/// Measures how long it takes to acquire many leases at once, and to release them.
pub(super) async fn acquired(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (count, limit) in [(10_000, None), (100_000, Some(Duration::from_secs(2)))] {
        let count = if setup.args.quick { count / 100 } else { count };
        note(&format!("acquire of {count}"));
        let leases = Leases::new(ours::connect(&setup.server.url(), PREFIX).await?, LeaseOptions::default());
        let streams = (0..count).map(|n| streams::stream(2_000_000 + n)).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let acquired: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let leases = leases.clone();
                tokio::spawn(async move { leases.acquire(stream).await })
            })
            .collect();
        let mut held = Vec::with_capacity(count);
        for lease in acquired {
            held.push(lease.await??);
        }
        let acquire = start.elapsed();
        let start = Instant::now();
        let failed = leases.release_all().await.len();
        let release = start.elapsed();
        if failed > 0 {
            return Err(format!("{failed} leases were not released").into());
        }
        let line = |candidate: &str, time: Duration, limit: Option<Duration>| Line {
            row: format!("{} leases at once", thousands(count as f64)),
            candidate: candidate.into(),
            figure: format!("{:.2} s", time.as_secs_f64()),
            target: limit.map_or_else(|| "reported".to_owned(), |limit| format!("≤ {} s", limit.as_secs())),
            met: verdict(limit.map(|limit| time <= limit)),
            ..Line::default()
        };
        lines.push(line("acquire", acquire, limit));
        lines.push(line("release_all", release, None));
    }
    Ok(lines)
}
