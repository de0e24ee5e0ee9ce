//! Measures pairs of a registration and an unregistration.

use std::sync::Arc;
use std::time::Instant;

use stream_registry::{Guard, RegisterOptions, Registry, Stream, UnregisterOptions};

use super::{CALLERS, Setup};
use crate::figures::{Sample, Target, Unit, median, ratio};
use crate::load::Caller;
use crate::ours::Shared;
use crate::report::{Candidate, Line, compare, verdict};
use crate::server::Server;
use crate::{Result, streams};

/// Commands that the library sends.
const OURS: &[&str] = &["evalsha", "eval", "time"];
/// Commands that the reference B sends.
const REFERENCE: &[&str] = &["set", "sadd", "del", "srem"];

/// One candidate of a row, with its callers.
struct Side {
    name: &'static str,
    callers: Vec<Caller>,
    lease: bool,
    /// Lower limit of the ratio of rates to B, if there is one.
    rate: Option<f64>,
    /// Upper limit of the server time of a pair in microseconds, if there is one.
    micros: Option<f64>,
}

/// Measures callers that register a stream and then unregister the same stream. The reference B writes the same record
/// with plain commands: `SET … NX PX` and `SADD`, then `DEL` and `SREM`.
pub(super) async fn rows(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    let (reference, ours, each) = (setup.baseline.clone(), setup.ours.clone(), setup.each.clone());
    let side =
        |name, callers: &[Caller], lease, rate, micros| Side { name, callers: callers.to_vec(), lease, rate, micros };
    let many = [
        side("B", &reference, false, None, None),
        side("ours", &ours, false, Some(2.0), Some(15.0)),
        side("ours, leased", &ours, true, Some(1.5), None),
        side("ours, a connection each", &each, false, None, None),
    ];
    let one = [
        side("B", &reference[..1], false, None, None),
        side("ours", &ours[..1], false, Some(0.8), Some(30.0)),
        side("ours, leased", &ours[..1], true, None, None),
    ];
    let mut lines = row(setup, &format!("register + unregister, {CALLERS} callers, pairs"), &many, 150).await?;
    lines.extend(row(setup, "register + unregister, 1 caller, pairs", &one, 1_500).await?);
    Ok(lines)
}

async fn row(setup: &mut Setup<'_>, name: &str, sides: &[Side], each_caller: usize) -> Result<Vec<Line>> {
    let each_caller = if setup.args.quick { 20 } else { each_caller };
    let mut candidates: Vec<_> = sides
        .iter()
        .map(|side| Candidate { name: side.name, samples: Vec::new(), target: Target::default() })
        .collect();
    for round in 0..setup.args.rounds() {
        for (at, side) in sides.iter().enumerate() {
            // Each round uses new ids, so that no tombstone exists.
            let count = side.callers.len() * each_caller;
            let first = 1_000_000 + (round * sides.len() + at) * count;
            let streams = Arc::new((first..first + count).map(streams::stream).collect::<Result<Vec<_>>>()?);
            candidates[at].samples.push(pairs(&mut setup.server, side, &streams).await?);
        }
    }
    let reference = candidates[0].samples.clone();
    let mut lines = compare(name, Unit::PerSecond, Some(&reference), &candidates);
    for ((line, side), candidate) in lines.iter_mut().zip(sides).zip(&candidates) {
        let micros = median(candidate.samples.iter().map(|sample| sample.server_micros).collect());
        let rate = ratio(&candidate.samples, &reference, |sample| sample.per_second);
        let limits =
            [side.rate.map(|limit| format!("≥ {limit} × B")), side.micros.map(|limit| format!("≤ {limit} µs"))];
        line.target = limits.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let checks = [side.rate.map(|limit| rate >= limit), side.micros.map(|limit| micros <= limit)];
        line.met = verdict(checks.into_iter().flatten().reduce(|a, b| a && b));
    }
    Ok(lines)
}

async fn pairs(server: &mut Server, side: &Side, streams: &Arc<Vec<Stream>>) -> Result<Sample> {
    server.reset().await?;
    let callers = side.callers.len();
    let lease = side.lease;
    let start = Instant::now();
    let tasks: Vec<_> = side
        .callers
        .iter()
        .cloned()
        .enumerate()
        .map(|(first, mut caller)| {
            let streams = Arc::clone(streams);
            tokio::spawn(async move {
                for stream in streams.iter().skip(first).step_by(callers) {
                    match &mut caller {
                        Caller::Baseline(caller) => {
                            caller.register(stream.id.as_str(), &stream.to_json()).await?;
                            caller.unregister(stream.id.as_str()).await?;
                        }
                        Caller::Ours(registry) => pair(registry, stream, lease).await?,
                    }
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let elapsed = start.elapsed();
    let commands = if matches!(side.callers[0], Caller::Baseline(_)) { REFERENCE } else { OURS };
    let (micros, sent) = server.spent(commands).await?;
    let done = streams.len() as f64;
    Ok(Sample {
        per_second: done / elapsed.as_secs_f64(),
        server_micros: micros as f64 / done,
        per_command: done / sent as f64,
    })
}

async fn pair(registry: &Shared, stream: &Stream, lease: bool) -> Result<()> {
    let mut options = RegisterOptions::default();
    options.lease = lease;
    let registered = registry.register_with(stream, &options).await?;
    let guard = registered.epoch.map_or(Guard::None, Guard::Holder);
    registry.unregister_with(&stream.id, &UnregisterOptions::default().guard(guard)).await?;
    Ok(())
}
