//! Leases: their heartbeats in batches, and what a hundred thousand of them cost at rest.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{LeaseOptions, Leases};
use stream_registry::{Change, Epoch, Guard, RegisterOptions, Stream, StreamId, Write};

use super::{STREAMS, World, note};
use crate::bytes::resident;
use crate::figures::{Demand, Sample, Unit, thousands};
use crate::load::{Call, drive};
use crate::ours::{self, Shared};
use crate::report::{self, Contender, Line, compare, verdict};
use crate::{Result, streams};

/// How many leases go in one batch: as the keep-alive sends them.
const BATCH: usize = 125;
/// Batches under way at a time.
const WRITERS: usize = 4;
/// The longest that a script call may hold the server.
const LONGEST: u64 = 3_000;
const PREFIX: &str = "leased:streams:";
const SCRIPTS: &[&str] = &["evalsha", "eval", "time"];

/// How many leases one process holds, and how often each is written.
const HELD: usize = 100_000;
const INTERVAL: Duration = Duration::from_secs(10);
/// Of a core, at most.
const REDIS_SHARE: f64 = 0.12;
const PROCESS_SHARE: f64 = 0.10;
/// Bytes beyond the record, at most.
const BYTES: f64 = 300.0;

/// Heartbeats with their epochs, beside single ones the usual way.
pub(super) async fn batches(world: &mut World<'_>) -> Result<Vec<Line>> {
    note("leased heartbeats");
    let registry = ours::connect(&world.server.url(), PREFIX).await?;
    let leased = Arc::new(register(&registry).await?);
    let demand = Demand { rate: Some(3.0), server: Some(0.45), ..Demand::default() };
    let contender = |who, demand| Contender { who, samples: Vec::new(), demand };
    let mut sides = [
        contender("A, single calls, 64 callers", Demand::default()),
        contender("ours, batches of 125 with epochs", demand),
    ];
    let usual = world.usual.clone();
    for _ in 0..world.args.rounds() {
        world.server.reset().await?;
        let work = drive(&usual, &world.ids, Call::Heartbeat, world.args.round()).await?;
        let (micros, sent) = world.server.spent(SCRIPTS).await?;
        sides[0].samples.push(sample(work.calls, work.took, micros, sent));
        world.server.reset().await?;
        let start = Instant::now();
        let done = write(&registry, &leased, world.args.round()).await?;
        let took = start.elapsed();
        let (micros, sent) = world.server.spent(SCRIPTS).await?;
        sides[1].samples.push(sample(done, took, micros, sent));
    }
    let usual = sides[0].samples.clone();
    let mut lines = compare("leased heartbeats, streams", Unit::PerSecond, Some(&usual), &sides);
    world.server.log_all().await?;
    write(&registry, &leased, world.args.round()).await?;
    let mut calls: Vec<u64> = world
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
        who: format!("{} script calls", calls.len()),
        server: format!("p99 {}, max {longest}", crate::figures::percentile(&calls, 0.99)),
        demand: "no script call over 3 ms".into(),
        met: verdict(Some(longest <= LONGEST)),
        ..Line::default()
    });
    Ok(lines)
}

fn sample(done: u64, took: Duration, micros: u64, sent: u64) -> Sample {
    let done = done as f64;
    Sample { per_second: done / took.as_secs_f64(), server_micros: micros as f64 / done, joined: done / sent as f64 }
}

async fn register(registry: &Shared) -> Result<Vec<(StreamId, Epoch)>> {
    let mut leased = Vec::with_capacity(STREAMS);
    for n in 0..STREAMS {
        let stream = streams::stream(n)?;
        let registered = registry.register_with(&stream, &RegisterOptions::default().lease(true)).await?;
        leased.push((stream.id, registered.epoch.ok_or("a lease without an epoch")?));
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

/// What Redis and a process of its own spend on a hundred thousand leases.
pub(super) async fn held(world: &mut World<'_>) -> Result<Vec<Line>> {
    note("100 000 leases");
    let url = world.server.url();
    let program = std::env::current_exe()?;
    let mut child =
        Command::new(program).args(["--bench", &format!("--hold-leases={url}")]).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(out).lines();
    let mut next = move || lines.next().ok_or("the process that holds leases ended early")?.map_err(Into::into);
    let (ready, next) = tokio::task::spawn_blocking(move || (next(), next)).await?;
    let ready: Result<String> = ready;
    let bytes: f64 = ready?.parse()?;
    let (before, start) = (world.server.cpu().await?, Instant::now());
    let share: Result<String> = tokio::task::spawn_blocking(next).await?;
    let redis = (world.server.cpu().await? - before) / start.elapsed().as_secs_f64();
    let process: f64 = share?.parse()?;
    child.wait()?;
    let line = |who: &str, figure: String, demand: String, met: bool| Line {
        row: format!("{} leases, written every {} s", thousands(HELD as f64), INTERVAL.as_secs()),
        who: who.into(),
        figure,
        demand,
        met: verdict(Some(met)),
        ..Line::default()
    };
    let percent = |share: f64| format!("{:.1} % of a core", share * 100.0);
    Ok(vec![
        line("Redis", percent(redis), format!("≤ {}", percent(REDIS_SHARE)), redis <= REDIS_SHARE),
        line("the process", percent(process), format!("≤ {}", percent(PROCESS_SHARE)), process <= PROCESS_SHARE),
        line(
            "a lease beyond its record",
            format!("{} bytes", thousands(bytes)),
            format!("≤ {BYTES} bytes"),
            bytes <= BYTES,
        ),
    ])
}

/// Holds the leases, in a process of its own; prints bytes a lease, then the share of a core that keeping them took.
pub(crate) fn hold(url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let registry = ours::connect(url, "held:streams:").await?;
        let leases = Leases::new(registry, LeaseOptions::default().heartbeat(INTERVAL));
        let before = resident()?;
        // As many records as the leases will hold, so that the difference is what a lease adds.
        let records: Vec<Stream> = (0..HELD).map(streams::stream).collect::<Result<_>>()?;
        let of_records = resident()? - before;
        let mut held = Vec::with_capacity(HELD);
        for records in records.chunks(64) {
            let acquired = records.iter().map(|stream| leases.acquire(stream.clone()));
            for lease in futures_util::future::join_all(acquired).await {
                held.push(lease?);
            }
        }
        let of_leases = resident()? - before - of_records;
        let beyond = of_leases.saturating_sub(of_records) / u64::try_from(HELD)?;
        // Past the first round, in which everybody is due at once.
        tokio::time::sleep(INTERVAL).await;
        report::print(&beyond.to_string())?;
        let (spent, start) = (cpu("self")?, Instant::now());
        tokio::time::sleep(INTERVAL * 2).await;
        report::print(&format!("{:.5}", (cpu("self")? - spent) / start.elapsed().as_secs_f64()))?;
        // They expire by themselves; a warning for each would be a hundred thousand.
        std::process::exit(0);
    })
}

/// Seconds of processor time that a process has taken; `self` is this one.
pub(super) fn cpu(process: &str) -> Result<f64> {
    // utime and stime, in hundredths of a second (proc_pid_stat(5)); the second field may hold blanks.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = stat.rsplit_once(") ").ok_or("an odd /proc/self/stat")?.1;
    let ticks: Vec<f64> = rest.split(' ').skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
