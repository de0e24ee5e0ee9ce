//! The rows of the table, in measuring order.

mod departed;
mod earlier;
mod feed;
mod health;
pub(crate) mod held;
pub(crate) mod http;
mod leases;
mod lists;
mod memory;
mod metrics;
mod page;
mod readers;
mod register;
mod requests;
mod scale;
mod server_memory;
mod single;
mod top;
mod view;

use std::sync::Arc;

use stream_registry::{Registry, StreamId};

use crate::args::Args;
use crate::bytes;
use crate::load::Caller;
use crate::ours::{self, Shared};
use crate::report::{self, Line};
use crate::server::Server;
use crate::{Result, baseline, streams};

/// Number of threads in the runtime that all callers share.
pub(crate) const WORKERS: usize = 2;
/// Number of callers in rows with many callers.
pub(crate) const CALLERS: usize = 64;
/// Number of streams in the registry that most rows use.
pub(crate) const STREAMS: usize = 10_000;

/// The server, the registries and the callers that the rows use.
pub(crate) struct Setup<'a> {
    args: &'a Args,
    server: Server,
    ids: Arc<Vec<StreamId>>,
    shared: Shared,
    baseline: Vec<Caller>,
    ours: Vec<Caller>,
    each: Vec<Caller>,
    large: Option<Shared>,
}

impl<'a> Setup<'a> {
    async fn new(args: &'a Args) -> Result<Self> {
        let server = Server::start().await?;
        let shared = ours::connect(&server.url(), ours::PREFIX).await?;
        let mut baseline = baseline::Caller::connect(&server.url(), CALLERS, baseline::PREFIX, ours::ttl_ms()?).await?;
        let each = ours::connect_each(&server.url(), CALLERS).await?;
        let streams = Arc::new((0..STREAMS).map(streams::stream).collect::<Result<Vec<_>>>()?);
        ours::fill(&shared, &streams).await?;
        let records: Vec<_> =
            shared.list().await?.iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect();
        baseline[0].load(&records).await?;
        Ok(Self {
            args,
            ids: Arc::new(streams.iter().map(|stream| stream.id.clone()).collect()),
            baseline: baseline.into_iter().map(Caller::Baseline).collect(),
            ours: vec![Caller::Ours(Arc::clone(&shared)); CALLERS],
            each: each.into_iter().map(Caller::Ours).collect(),
            shared,
            server,
            large: None,
        })
    }

    /// Returns the large registry. The first call fills it.
    async fn large(&mut self) -> Result<Shared> {
        if let Some(large) = &self.large {
            return Ok(Arc::clone(large));
        }
        let (size, registry) = (self.args.large(), ours::connect(&self.server.url(), ours::LARGE).await?);
        // Fill the registry in parts. Otherwise, this program and the server would both hold all streams in memory at
        // once.
        for first in (0..size).step_by(10_000) {
            let part = (first..(first + 10_000).min(size)).map(streams::stream).collect::<Result<Vec<_>>>()?;
            ours::fill(&registry, &Arc::new(part)).await?;
        }
        self.large = Some(Arc::clone(&registry));
        Ok(registry)
    }
}

/// Measures the selected rows, then prints the table.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut lines = Vec::new();
    let before = load_average();
    let version = Server::start().await?.version().await?;
    if args.wants_shared() {
        shared(args, &mut lines).await?;
    }
    if args.wants("http requests") {
        lines.extend(requests::rows(args).await?);
    }
    if args.wants("lists") {
        lines.extend(lists::rows(args).await?);
    }
    if args.wants("healthz") {
        lines.extend(health::rows(args).await?);
    }
    if args.wants("metrics") {
        lines.extend(metrics::rows(args).await?);
    }
    if args.wants("event readers") {
        lines.extend(readers::rows(args).await?);
    }
    if args.wants("server memory") {
        lines.extend(server_memory::rows(args).await?);
    }
    if args.wants("top") {
        lines.extend(top::rows(args).await?);
    }
    if args.wants("departed streams") {
        lines.extend(departed::rows(args).await?);
    }
    if args.names.iter().any(|name| name == "valkey") {
        lines.extend(held::valkey().await?);
    }
    if args.names.iter().any(|name| name == "earlier") {
        lines.extend(earlier::rows(args).await?);
    }
    if args.names.iter().any(|name| name == "scale") {
        lines.extend(scale::rows(args).await?);
    }
    if args.wants("memory store") {
        note("memory store");
        lines.extend(memory::row(args).await?);
    }
    print(args, &lines, &version, &before)
}

/// Measures the rows that share a Redis server and its registries.
async fn shared(args: &Args, lines: &mut Vec<Line>) -> Result<()> {
    let mut setup = Setup::new(args).await?;
    single::rows(&mut setup, lines).await?;
    single::large_list(&mut setup, lines).await?;
    if args.wants("register") {
        note("register");
        lines.extend(register::rows(&mut setup).await?);
    }
    if args.wants("bytes") {
        note("bytes per stream");
        lines.extend(bytes::redis(&mut setup.server, &setup.shared, STREAMS).await?);
        lines.push(bytes::memory_store().await?);
    }
    if args.wants("leased heartbeats") {
        lines.extend(leases::batches(&mut setup).await?);
    }
    if args.wants("leases at once") {
        lines.extend(leases::acquired(&mut setup).await?);
    }
    if args.wants("100 000 leases") {
        lines.extend(held::rows().await?);
    }
    if args.wants("commit to watcher") {
        lines.extend(feed::rows(&mut setup).await?);
    }
    if args.wants("commit to watcher, beside 100 000 leases") {
        lines.extend(held::watcher(args).await?);
    }
    if args.wants("view get") {
        lines.push(view::row(&mut setup).await?);
    }
    if args.wants("list_page") {
        note("list_page");
        lines.extend(page::row(&mut setup).await?);
    }
    if args.wants("all pages") {
        lines.extend(lists::all_pages_redis(&mut setup).await?);
    }
    Ok(())
}

fn print(args: &Args, lines: &[Line], version: &str, before: &str) -> Result<()> {
    let machine = format!(
        "{}; {} cores; Redis {version}; {WORKERS} runtime threads; {} rounds of {} ms; load {before} before, {} after",
        cpu(),
        std::thread::available_parallelism()?,
        args.rounds(),
        args.round().as_millis(),
        load_average()
    );
    let missed = lines.iter().filter(|line| line.met.contains("no")).count();
    let judged = lines.iter().filter(|line| !line.met.is_empty()).count();
    let sum = format!("{} of {judged} targets met.", judged - missed);
    if args.markdown {
        report::print(&format!("{machine}.\n\n{}\n{sum}\n\n{}", report::markdown(lines), scripts()))?;
    } else {
        report::print(&format!("{machine}\n\n{}\n{sum}", report::plain(lines).replace("**", "")))?;
    }
    Ok(())
}

/// Formats the baseline's scripts as Markdown.
fn scripts() -> String {
    let scripts = [
        ("heartbeat", baseline::HEARTBEAT),
        ("status", baseline::STATUS),
        ("stats", baseline::STATS),
        ("list", baseline::LIST),
    ];
    let folder = "crates/streamreg/benches/registry/reference";
    let sections =
        scripts.map(|(name, script)| format!("`{folder}/{name}.lua`\n\n```lua\n{}\n```\n", script.trim_end()));
    format!("The usual way, A:\n\n{}", sections.join("\n"))
}

fn note(row: &str) {
    report::note(&format!("measuring {row} …"));
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn load_average() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or("unknown").to_owned()
}
