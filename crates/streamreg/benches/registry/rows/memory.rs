//! Measures the memory store with two threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stream_registry::{MemoryRegistry, Registry, StreamId};

use super::STREAMS;
use crate::args::Args;
use crate::figures::{median, spread, thousands};
use crate::ours::Shared;
use crate::report::{Line, verdict};
use crate::{Result, streams};

const THREADS: usize = 2;
const TARGET: f64 = 1_000_000.0;

#[derive(Clone, Copy)]
enum Step {
    Get,
    Heartbeat,
}

/// Measures gets, then heartbeats, with two threads that each have their own runtime.
pub(super) async fn row(args: &Args) -> Result<Vec<Line>> {
    let registry: Shared = Arc::new(MemoryRegistry::new());
    let mut ids = Vec::with_capacity(STREAMS);
    for n in 0..STREAMS {
        let stream = streams::stream(n)?;
        registry.register(&stream).await?;
        ids.push(stream.id);
    }
    let ids = Arc::new(ids);
    let mut lines = Vec::new();
    for (name, step) in [("get", Step::Get), ("heartbeat", Step::Heartbeat)] {
        let mut rates = Vec::new();
        for _ in 0..args.rounds() {
            rates.push(round(args, &registry, &ids, step).await?);
        }
        lines.push(Line {
            row: format!("memory store, {name}, {THREADS} threads"),
            candidate: "ours".into(),
            figure: spread(&rates, thousands),
            target: format!("≥ {}", thousands(TARGET)),
            met: verdict(Some(median(rates) >= TARGET)),
            ..Line::default()
        });
    }
    Ok(lines)
}

async fn round(args: &Args, registry: &Shared, ids: &Arc<Vec<StreamId>>, step: Step) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (registry, ids, stop) = (Arc::clone(registry), Arc::clone(ids), Arc::clone(&stop));
            std::thread::spawn(move || -> Result<u64> {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(work(&registry, &ids, &stop, number, step))
            })
        })
        .collect();
    tokio::time::sleep(args.round()).await;
    stop.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for thread in threads {
        calls += thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(calls as f64 / start.elapsed().as_secs_f64())
}

async fn work(registry: &Shared, ids: &[StreamId], stop: &AtomicBool, number: usize, step: Step) -> Result<u64> {
    let mut calls: u64 = 0;
    let mut at = number;
    while !stop.load(Ordering::Relaxed) {
        at = (at + THREADS) % ids.len();
        match step {
            Step::Get => drop(std::hint::black_box(registry.get(&ids[at]).await?)),
            Step::Heartbeat => registry.update_heartbeat(&ids[at]).await?,
        }
        calls += 1;
    }
    Ok(calls)
}
