//! Generates load from many callers. Each caller waits for a response before its next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::{Change, Guard, Registry, StreamId, StreamStatus, Write};

use crate::ours::Shared;
use crate::{Result, baseline, streams};

/// Number of heartbeats in one `write`.
pub(crate) const BATCH: usize = 100;
/// Distance between two streams that a caller accesses in succession.
///
/// The distance is coprime to the number of streams, so a caller visits every stream. The order defeats caches.
const STRIDE: usize = 7_919;

/// The operation that a caller repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Heartbeat,
    Status,
    Stats,
    Get,
    /// `BATCH` heartbeats in one call.
    Batch,
    List,
}

/// A caller that uses one of the candidates.
#[derive(Clone)]
pub(crate) enum Caller {
    Baseline(baseline::Caller),
    Ours(Shared),
}

/// Number of calls, and how long they took in total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) calls: u64,
    pub(crate) elapsed: Duration,
}

/// Runs all callers for `time`. Each caller waits for a response before its next call.
pub(crate) async fn drive(callers: &[Caller], ids: &Arc<Vec<StreamId>>, call: Call, time: Duration) -> Result<Work> {
    let stop = Arc::new(AtomicBool::new(false));
    let count = callers.len();
    let start = Instant::now();
    let tasks: Vec<_> = callers
        .iter()
        .cloned()
        .enumerate()
        .map(|(number, mut caller)| {
            let (ids, stop) = (Arc::clone(ids), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(u64::try_from(number)?);
                let mut iteration = 0;
                while !stop.load(Ordering::Relaxed) {
                    let at = (iteration * count + number) * STRIDE % ids.len();
                    caller.call(call, &ids, at, iteration, &mut rng).await?;
                    iteration += 1;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(u64::try_from(iteration)?)
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for task in tasks {
        calls += task.await??;
    }
    Ok(Work { calls, elapsed: start.elapsed() })
}

impl Caller {
    async fn call(
        &mut self,
        call: Call,
        ids: &[StreamId],
        at: usize,
        iteration: usize,
        rng: &mut fastrand::Rng,
    ) -> Result<()> {
        let id = &ids[at];
        // With 64 callers, each report advances a stream's statistics by about one second.
        let seconds = (iteration * 64 / ids.len()) as u64;
        let batch = (at..at + BATCH).map(|at| &ids[at % ids.len()]);
        match self {
            Self::Baseline(caller) => match call {
                Call::Heartbeat => caller.heartbeat(id.as_str()).await,
                Call::Status => caller.status(id.as_str(), &status(rng)).await,
                Call::Stats => caller.stats(id.as_str(), &streams::stats(at, seconds, rng)).await,
                Call::Get => check(caller.get(id.as_str()).await?.id == id.as_str()),
                Call::Batch => caller.heartbeats(&batch.map(StreamId::as_str).collect::<Vec<_>>()).await,
                Call::List => check(caller.list().await?.len() == ids.len()),
            },
            Self::Ours(registry) => match call {
                Call::Heartbeat => Ok(registry.update_heartbeat(id).await?),
                Call::Status => Ok(registry.update_status(id, status(rng)).await?),
                Call::Stats => Ok(registry.update_stats(id, &streams::stats(at, seconds, rng)).await?),
                Call::Get => check(registry.get(id).await?.id == *id),
                Call::Batch => {
                    let heartbeat =
                        |id: &StreamId| Write { id: id.clone(), guard: Guard::None, change: Change::Heartbeat };
                    let answers = registry.write(&batch.map(heartbeat).collect::<Vec<_>>()).await?;
                    for answer in answers {
                        answer?;
                    }
                    Ok(())
                }
                Call::List => check(registry.list().await?.len() == ids.len()),
            },
        }
    }
}

fn status(rng: &mut fastrand::Rng) -> StreamStatus {
    if rng.u8(..10) < 8 { StreamStatus::Active } else { StreamStatus::Paused }
}

/// Fails the run if a response is wrong, because the speed of wrong responses is meaningless.
fn check(correct: bool) -> Result<()> {
    if correct { Ok(()) } else { Err("a candidate returned a wrong answer".into()) }
}
