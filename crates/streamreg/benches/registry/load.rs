//! Callers that call one after the other for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::{Change, Guard, Registry, StreamId, StreamStatus, Write};

use crate::ours::Shared;
use crate::{Result, streams, usual};

/// How many heartbeats go in one `write`.
pub(crate) const BATCH: usize = 100;
/// Coprime to the number of streams: callers go through all of them in an order that no cache likes.
const STRIDE: usize = 7_919;

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Heartbeat,
    Status,
    Stats,
    Get,
    /// As many heartbeats as `BATCH`.
    Batch,
    List,
}

/// Who calls.
#[derive(Clone)]
pub(crate) enum Caller {
    Usual(usual::Caller),
    Ours(Shared),
}

/// Calls made, and how long that took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) calls: u64,
    pub(crate) took: Duration,
}

/// Lets each caller call for `time`, each call answered before its next one.
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
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    let at = (turn * count + number) * STRIDE % ids.len();
                    caller.call(call, &ids, at, turn, &mut rng).await?;
                    turn += 1;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(u64::try_from(turn)?)
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for task in tasks {
        calls += task.await??;
    }
    Ok(Work { calls, took: start.elapsed() })
}

impl Caller {
    async fn call(
        &mut self,
        call: Call,
        ids: &[StreamId],
        at: usize,
        turn: usize,
        rng: &mut fastrand::Rng,
    ) -> Result<()> {
        let id = &ids[at];
        // A second between the statistics of a stream, about.
        let later = (turn * 64 / ids.len()) as u64;
        let batch = (at..at + BATCH).map(|at| &ids[at % ids.len()]);
        match self {
            Self::Usual(caller) => match call {
                Call::Heartbeat => caller.heartbeat(id.as_str()).await,
                Call::Status => caller.status(id.as_str(), &status(rng)).await,
                Call::Stats => caller.stats(id.as_str(), &streams::stats(at, later, rng)).await,
                Call::Get => check(caller.get(id.as_str()).await?.id == id.as_str()),
                Call::Batch => caller.heartbeats(&batch.map(StreamId::as_str).collect::<Vec<_>>()).await,
                Call::List => check(caller.list().await?.len() == ids.len()),
            },
            Self::Ours(registry) => match call {
                Call::Heartbeat => Ok(registry.update_heartbeat(id).await?),
                Call::Status => Ok(registry.update_status(id, status(rng)).await?),
                Call::Stats => Ok(registry.update_stats(id, &streams::stats(at, later, rng)).await?),
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

/// A fast wrong answer would be no answer.
fn check(right: bool) -> Result<()> {
    if right { Ok(()) } else { Err("a contender gave a wrong answer".into()) }
}
