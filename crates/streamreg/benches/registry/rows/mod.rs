//! The rows of the table, in the order in which they are measured.

mod feed;
pub(crate) mod leases;
pub(crate) mod lists;
mod memory;
mod page;
mod register;
mod single;
mod view;

use std::sync::Arc;

use stream_registry::{Registry, StreamId};

use crate::args::Args;
use crate::bytes;
use crate::load::Caller;
use crate::ours::{self, Shared};
use crate::report::{self, Line};
use crate::server::Server;
use crate::{Result, streams, usual};

/// Threads of the runtime that all callers share.
pub(crate) const WORKERS: usize = 2;
/// Callers of the rows with many.
pub(crate) const CALLERS: usize = 64;
/// Streams of the rows, but for the large one.
pub(crate) const STREAMS: usize = 10_000;

/// What the rows work on.
pub(crate) struct World<'a> {
    args: &'a Args,
    server: Server,
    ids: Arc<Vec<StreamId>>,
    shared: Shared,
    usual: Vec<Caller>,
    ours: Vec<Caller>,
    each: Vec<Caller>,
    large: Option<Shared>,
}

impl<'a> World<'a> {
    async fn new(args: &'a Args) -> Result<Self> {
        let server = Server::start().await?;
        let shared = ours::connect(&server.url(), ours::PREFIX).await?;
        let mut usual = usual::Caller::connect(&server.url(), CALLERS, u64::try_from(ours::TTL.as_millis())?).await?;
        let each = ours::connect_each(&server.url(), CALLERS).await?;
        let streams = Arc::new((0..STREAMS).map(streams::stream).collect::<Result<Vec<_>>>()?);
        ours::fill(&shared, &streams).await?;
        let records: Vec<_> =
            shared.list().await?.iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect();
        usual[0].adopt(&records).await?;
        Ok(Self {
            args,
            ids: Arc::new(streams.iter().map(|stream| stream.id.clone()).collect()),
            usual: usual.into_iter().map(Caller::Usual).collect(),
            ours: vec![Caller::Ours(Arc::clone(&shared)); CALLERS],
            each: each.into_iter().map(Caller::Ours).collect(),
            shared,
            server,
            large: None,
        })
    }

    /// The large registry, filled when it is first asked for.
    async fn large(&mut self) -> Result<Shared> {
        if let Some(large) = &self.large {
            return Ok(Arc::clone(large));
        }
        let (size, registry) = (self.args.large(), ours::connect(&self.server.url(), ours::LARGE).await?);
        // In parts, so that the streams of this program do not take the memory of those in the store.
        for first in (0..size).step_by(10_000) {
            let part = (first..(first + 10_000).min(size)).map(streams::stream).collect::<Result<Vec<_>>>()?;
            ours::fill(&registry, &Arc::new(part)).await?;
        }
        self.large = Some(Arc::clone(&registry));
        Ok(registry)
    }
}

/// Measures every row asked for and prints the table.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let mut lines = Vec::new();
    let before = load_average();
    let version = if args.wants_redis() { redis(args, &mut lines).await? } else { "not used".to_owned() };
    if args.wants("lists") {
        lines.extend(lists::rows(args).await?);
    }
    if args.wants("memory") {
        note("memory store");
        lines.extend(memory::row(args).await?);
    }
    print(args, &lines, &version, &before)
}

/// The rows that need a server; returns its version.
async fn redis(args: &Args, lines: &mut Vec<Line>) -> Result<String> {
    let mut world = World::new(args).await?;
    let version = world.server.version().await?;
    single::rows(&mut world, lines).await?;
    if args.wants("register") {
        note("register");
        lines.extend(register::row(&mut world).await?);
    }
    if args.wants("bytes") {
        note("bytes a stream");
        lines.extend(bytes::redis(&mut world.server, &world.shared, STREAMS).await?);
        lines.push(bytes::memory_store().await?);
    }
    if args.wants("leased heartbeats") {
        lines.extend(leases::batches(&mut world).await?);
    }
    if args.wants("100 000 leases") {
        lines.extend(leases::held(&mut world).await?);
    }
    if args.wants("commit to a watcher") {
        lines.push(feed::row(&mut world).await?);
    }
    if args.wants("view get") {
        lines.push(view::row(&mut world).await?);
    }
    if args.wants("list_page") {
        note("list_page");
        lines.extend(page::row(&mut world).await?);
    }
    if args.wants("walk") {
        lines.extend(lists::walk_redis(&mut world).await?);
    }
    Ok(version)
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
    let sum = format!("{} of {judged} demands met.", judged - missed);
    if args.markdown {
        report::print(&format!("{machine}.\n\n{}\n{sum}\n\n{}", report::markdown(lines), scripts()))?;
    } else {
        report::print(&format!("{machine}\n\n{}\n{sum}", report::plain(lines).replace("**", "")))?;
    }
    Ok(())
}

/// The text of what was compared with.
fn scripts() -> String {
    let scripts =
        [("heartbeat", usual::HEARTBEAT), ("status", usual::STATUS), ("stats", usual::STATS), ("list", usual::LIST)];
    let texts = scripts.map(|(name, text)| format!("`{name}.lua`\n\n```lua\n{}\n```\n", text.trim_end()));
    format!("The usual way, A:\n\n{}", texts.join("\n"))
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
