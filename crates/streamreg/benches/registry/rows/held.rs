//! Measures the cost of 100 000 leases that a separate process holds, and how long the calls of other
//! clients take at the same time.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::Stream;
use stream_registry::lease::{Lease, LeaseOptions, Leases};
use testkit::{RedisServer, ServerKind};

use super::feed;
use super::{STREAMS, note};
use crate::args::Args;
use crate::bytes::resident;
use crate::figures::thousands;
use crate::report::{self, Line, verdict};
use crate::server::Server;
use crate::{Result, ours, streams};

/// Number of leases held by one process, and the time between two heartbeats of a lease.
const HELD: (usize, Duration) = (100_000, Duration::from_secs(10));
/// Time to live in the rows in which the sweep checks the streams often.
const SHORT_TTL: Duration = Duration::from_secs(30);
/// Maximum processor time that Valkey may use for leases with statistics, as a share of one core.
const VALKEY_SHARE: f64 = 0.08;
/// Maximum processor time that the process with the leases may use, as a share of one core.
const PROCESS_SHARE: f64 = 0.10;
/// Maximum memory per lease, without the record, in bytes.
const BYTES: f64 = 300.0;
/// Number of status changes per second while the leases are held.
const CHANGES: u64 = 150;
/// Target: 99 % of the events of these changes arrive within this time.
const LIMIT: Duration = Duration::from_millis(6);

/// What the leases of a row do.
#[derive(Clone, Copy)]
pub(super) struct Holding {
    pub(super) count: usize,
    pub(super) interval: Duration,
    pub(super) ttl: Duration,
    /// Whether every heartbeat carries the four statistics that every record has.
    pub(super) reports: bool,
}

impl Holding {
    /// Returns the argument of the child process.
    fn argument(self, url: &str) -> String {
        let (count, interval, ttl) = (self.count, self.interval.as_secs(), self.ttl.as_secs());
        format!(
            "--hold-leases={count},{interval},{ttl},{},{url}",
            if self.reports { "statistics" } else { "heartbeats" }
        )
    }

    fn parse(argument: &str) -> Option<(Self, &str)> {
        let [count, interval, ttl, kind, url] = argument.splitn(5, ',').collect::<Vec<_>>().try_into().ok()?;
        let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
        let (count, interval, ttl) = (count.parse().ok()?, seconds(interval)?, seconds(ttl)?);
        Some((Self { count, interval, ttl, reports: kind == "statistics" }, url))
    }

    pub(super) fn row(self) -> String {
        let ttl = match self.ttl.as_secs() {
            seconds if seconds % 3_600 == 0 => format!("{} h", seconds / 3_600),
            seconds => format!("{seconds} s"),
        };
        let leases = thousands(self.count as f64);
        let written = if self.reports { "statistics" } else { "heartbeats" };
        format!("{leases} leases, TTL {ttl}, {written} every {} s", self.interval.as_secs())
    }
}

/// The child process that holds the leases. Dropping it ends the process.
pub(super) struct Holder {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    /// Memory per lease, without the record, in bytes.
    pub(super) bytes: f64,
}

impl Holder {
    /// Starts the process, and waits until it holds its leases and the first interval is over.
    pub(super) async fn start(url: &str, holding: Holding) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child =
            Command::new(program).args(["--bench", &holding.argument(url)]).stdout(Stdio::piped()).spawn()?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        let mut holder = Self { child, lines, bytes: 0.0 };
        holder.bytes = holder.next().await?;
        Ok(holder)
    }

    /// Waits for the next number that the process prints.
    pub(super) async fn next(&mut self) -> Result<f64> {
        let mut lines = self.lines.take().ok_or("the child process has no stdout")?;
        let (line, lines) = tokio::task::spawn_blocking(move || (lines.next(), lines)).await?;
        self.lines = Some(lines);
        Ok(line.ok_or("the process that holds the leases exited early")??.parse()?)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The process may have ended already, so errors are ignored.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures the processor time of Redis and of a separate process that holds 100 000 leases.
pub(super) async fn rows() -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let rows = [(ours::TTL, false, 0.12), (SHORT_TTL, false, 0.08), (SHORT_TTL, true, 0.20)];
    for (ttl, reports, redis_share) in rows {
        let holding = Holding { count: HELD.0, interval: HELD.1, ttl, reports };
        note(&holding.row());
        // Each row has its own server, because the streams of the previous row would expire during this row.
        let Shares { redis, process, bytes } = measure(Server::start().await?, holding).await?;
        let line = |candidate: &str, figure: String, target: String, met: bool| Line {
            row: holding.row(),
            candidate: candidate.into(),
            figure,
            target,
            met: verdict(Some(met)),
            ..Line::default()
        };
        let met = redis <= redis_share;
        lines.push(line("Redis", percent(redis), format!("≤ {}", percent(redis_share)), met));
        let met = process <= PROCESS_SHARE;
        lines.push(line("the process", percent(process), format!("≤ {}", percent(PROCESS_SHARE)), met));
        if ttl == ours::TTL {
            let figure = format!("{} bytes", thousands(bytes));
            lines.push(line("a lease beyond its record", figure, format!("≤ {BYTES} bytes"), bytes <= BYTES));
        }
    }
    Ok(lines)
}

/// Measures 100 000 leases with statistics on Valkey, which writes them without a script, and the same with the script.
///
/// These rows need Valkey 8.1 from `scripts/newer-servers`, so they are measured only if they are named:
/// `cargo bench -p streamreg -- valkey`.
pub(super) async fn valkey() -> Result<Vec<Line>> {
    let holding = Holding { count: HELD.0, interval: HELD.1, ttl: SHORT_TTL, reports: true };
    let mut lines = Vec::new();
    let mut scripted = None;
    // With this setting, Valkey calls itself Redis 7.2, which has no `IFEQ`.
    let builder = || RedisServer::builder().server(ServerKind::Valkey8);
    let servers = [("the script", builder().config("extended-redis-compatibility yes")), ("SET with IFEQ", builder())];
    for (way, builder) in servers {
        note(&format!("{} on Valkey, {way}", holding.row()));
        let Shares { redis, process, .. } = measure(Server::with(builder).await?, holding).await?;
        let (script_redis, script_process) = *scripted.get_or_insert((redis, process));
        let mut line = |candidate: &str, share: f64, script: f64, limit: Option<f64>| {
            lines.push(Line {
                row: holding.row(),
                candidate: format!("{candidate}, {way}"),
                figure: percent(share),
                ratio: format!("{:.2}", share / script),
                target: limit.map_or_else(|| "reported".to_owned(), |limit| format!("≤ {}", percent(limit))),
                met: verdict(limit.map(|limit| share <= limit)),
                ..Line::default()
            });
        };
        let limit = (way != "the script").then_some(VALKEY_SHARE);
        line("Valkey", redis, script_redis, limit);
        line("the process", process, script_process, None);
    }
    Ok(lines)
}

/// What the leases of a row cost: shares of a core, and memory per lease without the record.
struct Shares {
    redis: f64,
    process: f64,
    bytes: f64,
}

async fn measure(mut server: Server, holding: Holding) -> Result<Shares> {
    let mut holder = Holder::start(&server.url(), holding).await?;
    let (before, start) = (server.cpu().await?, Instant::now());
    let process = holder.next().await?;
    let redis = (server.cpu().await? - before) / start.elapsed().as_secs_f64();
    Ok(Shares { redis, process, bytes: holder.bytes })
}

fn percent(share: f64) -> String {
    format!("{:.1} % of a core", share * 100.0)
}

/// Measures the time from a status change to a watcher while a separate process holds 100 000 leases.
pub(super) async fn watcher(args: &Args) -> Result<Vec<Line>> {
    let streams = Arc::new((0..STREAMS).map(streams::stream).collect::<Result<Vec<_>>>()?);
    let ids: Vec<_> = streams.iter().map(|stream| stream.id.clone()).collect();
    let mut lines = Vec::new();
    for (reports, written) in [(false, "heartbeats"), (true, "statistics")] {
        note(&format!("commit to watcher, beside 100 000 leases with {written}"));
        let server = Server::start().await?;
        let registry = ours::connect(&server.url(), ours::PREFIX).await?;
        ours::fill(&registry, &streams).await?;
        let holder =
            Holder::start(&server.url(), Holding { count: HELD.0, interval: HELD.1, ttl: SHORT_TTL, reports }).await?;
        let count = CHANGES * if args.quick { 1 } else { 20 };
        let measured = feed::measure(&registry, &ids, count, CHANGES, 1).await?;
        drop(holder);
        lines.push(measured.line(&format!("commit to watcher, beside 100 000 leases with {written}"), LIMIT));
    }
    Ok(lines)
}

/// Holds the leases. Runs in a separate process.
///
/// First prints the bytes per lease. Two intervals later, prints the share of a core that the process used in these
/// intervals. Then holds the leases until the process is killed.
pub(crate) fn hold(argument: &str) -> Result<()> {
    let (holding, url) = Holding::parse(argument).ok_or("expected COUNT,INTERVAL,TTL,KIND,URL")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let registry = ours::connect_with_ttl(url, "held:streams:", holding.ttl).await?;
        let leases = Leases::new(registry, LeaseOptions::default().heartbeat(holding.interval));
        let before = resident("self")?;
        // Measure the records first, so that their size can be subtracted from the size of the leases.
        let records: Vec<Stream> = (0..holding.count).map(streams::stream).collect::<Result<_>>()?;
        let record_bytes = resident("self")? - before;
        let mut held = Vec::with_capacity(holding.count);
        for records in records.chunks(64) {
            let acquired = records.iter().map(|stream| leases.acquire(stream.clone()));
            for lease in futures_util::future::join_all(acquired).await {
                held.push(lease?);
            }
        }
        let lease_bytes = resident("self")? - before - record_bytes;
        let added = lease_bytes.saturating_sub(record_bytes) / u64::try_from(holding.count)?;
        let held = Arc::new(held);
        if holding.reports {
            tokio::spawn(report_all(Arc::clone(&held), holding.interval));
        }
        // Skip the first interval, in which all leases are due at the same time.
        tokio::time::sleep(holding.interval).await;
        report::print(&added.to_string())?;
        let (spent, start) = (cpu("self")?, Instant::now());
        tokio::time::sleep(holding.interval * 2).await;
        report::print(&format!("{:.5}", (cpu("self")? - spent) / start.elapsed().as_secs_f64()))?;
        // Dropping the leases would log a warning for each, so the parent kills this process. The leases expire.
        std::future::pending::<()>().await;
        drop(held);
        Ok(())
    })
}

/// Reports the statistics of each lease once per interval, evenly spread over the interval.
async fn report_all(held: Arc<Vec<Lease>>, interval: Duration) {
    const PARTS: usize = 200;
    let mut ticks = tokio::time::interval(interval / 200);
    let mut rng = fastrand::Rng::with_seed(1);
    for seconds in (1..).map(|round| round * interval.as_secs()) {
        for (part, leases) in held.chunks(held.len() / PARTS).enumerate() {
            ticks.tick().await;
            for (at, lease) in leases.iter().enumerate() {
                lease.report(streams::stats(part * (held.len() / PARTS) + at, seconds, &mut rng));
            }
        }
    }
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
