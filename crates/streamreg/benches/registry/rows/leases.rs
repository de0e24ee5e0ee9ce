//! Measures leases: the speed of batched heartbeats, and the cost of 100 000 leases that report no statistics.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{LeaseOptions, Leases};
use stream_registry::{Change, Epoch, Guard, RegisterOptions, Stream, StreamId, Write};

use super::{STREAMS, Setup, note};
use crate::bytes::resident;
use crate::figures::{Sample, Target, Unit, thousands};
use crate::load::{Call, drive};
use crate::ours::{self, Shared};
use crate::report::{self, Candidate, Line, compare, verdict};
use crate::{Result, streams};

/// Number of leases per batch, the same as in the library.
const BATCH: usize = 125;
/// Number of batches in flight.
const WRITERS: usize = 4;
/// Maximum time for which a script call may block the server, in microseconds.
const LIMIT_MICROS: u64 = 3_000;
const PREFIX: &str = "leased:streams:";
const SCRIPTS: &[&str] = &["evalsha", "eval", "time"];

/// Number of leases held by one process.
const HELD: usize = 100_000;
/// Time between two heartbeats of a lease.
const INTERVAL: Duration = Duration::from_secs(10);
/// Maximum processor time that Redis may use, as a share of one core.
const REDIS_SHARE: f64 = 0.12;
/// Maximum processor time that the process with the leases may use, as a share of one core.
const PROCESS_SHARE: f64 = 0.10;
/// Maximum memory per lease, without the record, in bytes.
const BYTES: f64 = 300.0;

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

/// Measures the processor time of Redis and of a separate process that holds 100 000 leases.
pub(super) async fn held(setup: &mut Setup<'_>) -> Result<Vec<Line>> {
    note("100 000 leases");
    let url = setup.server.url();
    let program = std::env::current_exe()?;
    let mut child =
        Command::new(program).args(["--bench", &format!("--hold-leases={url}")]).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("the child process has no stdout")?;
    let mut lines = BufReader::new(out).lines();
    let mut next = move || lines.next().ok_or("the process that holds the leases exited early")?.map_err(Into::into);
    let (ready, next) = tokio::task::spawn_blocking(move || (next(), next)).await?;
    let ready: Result<String> = ready;
    let bytes: f64 = ready?.parse()?;
    let (before, start) = (setup.server.cpu().await?, Instant::now());
    let share: Result<String> = tokio::task::spawn_blocking(next).await?;
    let redis = (setup.server.cpu().await? - before) / start.elapsed().as_secs_f64();
    let process: f64 = share?.parse()?;
    child.wait()?;
    let line = |candidate: &str, figure: String, target: String, met: bool| Line {
        row: format!("{} leases, written every {} s", thousands(HELD as f64), INTERVAL.as_secs()),
        candidate: candidate.into(),
        figure,
        target,
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

/// Holds the leases. Runs in a separate process.
///
/// First prints the bytes per lease. Two intervals later, prints the share of a core that the process used in these
/// intervals.
pub(crate) fn hold(url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let registry = ours::connect(url, "held:streams:").await?;
        let leases = Leases::new(registry, LeaseOptions::default().heartbeat(INTERVAL));
        let before = resident("self")?;
        // Measure the records first, so that their size can be subtracted from the size of the leases.
        let records: Vec<Stream> = (0..HELD).map(streams::stream).collect::<Result<_>>()?;
        let record_bytes = resident("self")? - before;
        let mut held = Vec::with_capacity(HELD);
        for records in records.chunks(64) {
            let acquired = records.iter().map(|stream| leases.acquire(stream.clone()));
            for lease in futures_util::future::join_all(acquired).await {
                held.push(lease?);
            }
        }
        let lease_bytes = resident("self")? - before - record_bytes;
        let added = lease_bytes.saturating_sub(record_bytes) / u64::try_from(HELD)?;
        // Skip the first interval, in which all leases are due at the same time.
        tokio::time::sleep(INTERVAL).await;
        report::print(&added.to_string())?;
        let (spent, start) = (cpu("self")?, Instant::now());
        tokio::time::sleep(INTERVAL * 2).await;
        report::print(&format!("{:.5}", (cpu("self")? - spent) / start.elapsed().as_secs_f64()))?;
        // Exit without dropping the leases, because dropping them would log 100 000 warnings. The leases expire.
        std::process::exit(0);
    })
}

/// Returns the processor time that a process has used, in seconds. The id `self` means this process.
pub(super) fn cpu(process: &str) -> Result<f64> {
    // The fields utime and stime are in hundredths of a second (proc_pid_stat(5)). The process name in field 2 may
    // contain spaces.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = stat.rsplit_once(") ").ok_or("unexpected format of /proc/PID/stat")?.1;
    let ticks: Vec<f64> = rest.split(' ').skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
