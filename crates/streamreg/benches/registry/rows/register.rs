//! Measures registrations and unregistrations.

use std::sync::Arc;
use std::time::Instant;

use stream_registry::{Registry, Stream, StreamId};

use super::{CALLERS, Setup};
use crate::figures::{Sample, Target, Unit};
use crate::load::Caller;
use crate::ours::Shared;
use crate::report::{Candidate, Line, compare};
use crate::server::Server;
use crate::{Result, streams};

const COMMANDS: &[&str] = &["evalsha", "eval", "time"];

#[derive(Clone, Copy)]
enum Step {
    Register,
    Unregister,
}

/// Measures callers that register streams and then unregister these streams. The callers use one shared registry, or
/// one registry each.
pub(super) async fn row(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    let each_caller = if setup.args.quick { 20 } else { 150 };
    let sides = [("ours", setup.ours.clone()), ("ours, a connection each", setup.each.clone())];
    let candidate = |name| Candidate { name, samples: Vec::new(), target: Target::default() };
    let mut register = sides.each_ref().map(|(name, _)| candidate(name));
    let mut unregister = sides.each_ref().map(|(name, _)| candidate(name));
    for round in 0..setup.args.rounds() {
        for (at, (_, callers)) in sides.iter().enumerate() {
            // Each round uses new ids, so that neither a record nor a tombstone exists.
            let first = 1_000_000 + (round * sides.len() + at) * CALLERS * each_caller;
            let streams = (first..first + CALLERS * each_caller).map(streams::stream).collect::<Result<Vec<_>>>()?;
            let streams = Arc::new(streams);
            register[at].samples.push(step(&mut setup.server, callers, &streams, Step::Register).await?);
            unregister[at].samples.push(step(&mut setup.server, callers, &streams, Step::Unregister).await?);
        }
    }
    let mut lines = compare(&format!("register, {CALLERS} callers"), Unit::PerSecond, None, &register);
    lines.extend(compare(&format!("unregister, {CALLERS} callers"), Unit::PerSecond, None, &unregister));
    for line in &mut lines {
        line.target = "reported".into();
    }
    Ok(lines)
}

async fn step(server: &mut Server, callers: &[Caller], streams: &Arc<Vec<Stream>>, step: Step) -> Result<Sample> {
    server.reset().await?;
    let start = Instant::now();
    let tasks: Vec<_> = callers
        .iter()
        .enumerate()
        .filter_map(|(first, caller)| {
            let Caller::Ours(registry) = caller else { return None };
            let (registry, streams) = (Arc::clone(registry), Arc::clone(streams));
            Some(tokio::spawn(async move {
                for stream in streams.iter().skip(first).step_by(CALLERS) {
                    one(&registry, stream, step).await?;
                }
                Ok::<_, stream_registry::Error>(())
            }))
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let elapsed = start.elapsed();
    let (micros, sent) = server.spent(COMMANDS).await?;
    let done = streams.len() as f64;
    Ok(Sample {
        per_second: done / elapsed.as_secs_f64(),
        server_micros: micros as f64 / done,
        per_command: done / sent as f64,
    })
}

async fn one(registry: &Shared, stream: &Stream, step: Step) -> stream_registry::Result<()> {
    let id: &StreamId = &stream.id;
    match step {
        Step::Register => registry.register(stream).await.map(drop),
        Step::Unregister => registry.unregister(id).await.map(drop),
    }
}
