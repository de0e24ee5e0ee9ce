//! What one stream costs in memory.

use stream_registry::{MemoryRegistry, Registry};

use crate::figures::thousands;
use crate::ours::{self, Shared};
use crate::report::{self, Line};
use crate::{Result, streams, usual};

/// How many streams the memory store is filled with.
const COUNT: usize = 100_000;
const ROW: &str = "bytes a stream";

/// Fills a memory store and prints how much the process grew; runs in a process of its own, which has no
/// freed memory to use first.
pub(crate) fn fill(count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let registry = MemoryRegistry::new();
    let before = resident()?;
    runtime.block_on(async {
        for n in 0..count {
            registry.register(&streams::stream(n)?).await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    let grown = resident()?.saturating_sub(before);
    report::print(&(grown / u64::try_from(count)?).to_string())?;
    Ok(())
}

/// Bytes of this process that are in memory.
pub(crate) fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
}

/// The memory store's row.
pub(crate) async fn memory_store() -> Result<Line> {
    let program = std::env::current_exe()?;
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new(program).args(["--bench", &format!("--fill-memory={COUNT}")]).output()
    })
    .await??;
    let bytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Line {
        row: ROW.into(),
        who: "memory store".into(),
        figure: format!("{} bytes", thousands(bytes)),
        demand: "reported".into(),
        ..Line::default()
    })
}

/// The rows of the records in Redis.
pub(crate) async fn redis(server: &mut crate::server::Server, registry: &Shared, count: usize) -> Result<Vec<Line>> {
    let ids: Vec<_> = registry.list().await?.into_iter().map(|stream| stream.id).collect();
    let line = |who: &str, bytes: u64, what: &str| -> Result<Line> {
        Ok(Line {
            row: ROW.into(),
            who: who.into(),
            figure: format!("{} bytes {what}", bytes / u64::try_from(count)?),
            demand: "reported".into(),
            ..Line::default()
        })
    };
    let keys = |prefix: &str| {
        let mut keys: Vec<_> = ids.iter().map(|id| [prefix, id.as_str()].concat()).collect();
        keys.push([prefix, "active"].concat());
        keys
    };
    let whole = "(record and index entry)";
    Ok(vec![
        line("A in Redis", server.memory_usage(&keys(usual::PREFIX)).await?, whole)?,
        line("ours in Redis", server.memory_usage(&keys(ours::PREFIX)).await?, whole)?,
    ])
}
