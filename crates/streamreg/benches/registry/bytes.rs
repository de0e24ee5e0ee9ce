//! Measures the memory that one stream uses.

use stream_registry::{MemoryRegistry, Registry};

use crate::figures::thousands;
use crate::ours::{self, Shared};
use crate::report::{self, Line};
use crate::{Result, baseline, streams};

/// Number of streams in the memory store.
const COUNT: usize = 100_000;
const ROW: &str = "bytes per stream";

/// Fills a memory store and prints the growth of the process's memory, in bytes per stream.
///
/// Runs in a separate process. Otherwise the store could reuse memory that earlier rows freed.
pub(crate) fn fill(count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let registry = MemoryRegistry::new();
    let before = resident("self")?;
    runtime.block_on(async {
        for n in 0..count {
            registry.register(&streams::stream(n)?).await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    let grown = resident("self")?.saturating_sub(before);
    report::print(&(grown / u64::try_from(count)?).to_string())?;
    Ok(())
}

/// Returns the resident memory of a process in bytes. The id `self` means this process.
pub(crate) fn resident(process: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/PID/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
}

/// Measures the memory per stream in the memory store.
pub(crate) async fn memory_store() -> Result<Line> {
    let program = std::env::current_exe()?;
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new(program).args(["--bench", &format!("--fill-memory={COUNT}")]).output()
    })
    .await??;
    let bytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Line {
        row: ROW.into(),
        candidate: "memory store".into(),
        figure: format!("{} bytes", thousands(bytes)),
        target: "reported".into(),
        ..Line::default()
    })
}

/// Measures the memory per stream of records in Redis.
pub(crate) async fn redis(server: &mut crate::server::Server, registry: &Shared, count: usize) -> Result<Vec<Line>> {
    let ids: Vec<_> = registry.list().await?.into_iter().map(|stream| stream.id).collect();
    let line = |candidate: &str, bytes: u64, scope: &str| -> Result<Line> {
        Ok(Line {
            row: ROW.into(),
            candidate: candidate.into(),
            figure: format!("{} bytes {scope}", bytes / u64::try_from(count)?),
            target: "reported".into(),
            ..Line::default()
        })
    };
    let keys = |prefix: &str| {
        let mut keys: Vec<_> = ids.iter().map(|id| [prefix, id.as_str()].concat()).collect();
        keys.push([prefix, "active"].concat());
        keys
    };
    let scope = "(record and index entry)";
    Ok(vec![
        line("A in Redis", server.memory_usage(&keys(baseline::PREFIX)).await?, scope)?,
        line("ours in Redis", server.memory_usage(&keys(ours::PREFIX)).await?, scope)?,
    ])
}
