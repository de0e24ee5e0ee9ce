//! Measures the processor time of `streamreg top` on a terminal while streams change.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stream_registry::Registry as _;

use super::feed::change;
use super::held::cpu;
use super::{STREAMS, note};
use crate::args::Args;
use crate::figures::thousands;
use crate::report::{Line, line};
use crate::server::Server;
use crate::{Result, ours, streams};

/// Changes per second.
const RATE: u64 = 1_000;
/// Target: maximum processor time, as a share of one core.
const LIMIT: f64 = 0.25;
/// Maximum time until all streams are on the screen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Shows all streams, sorted by their bit rates, on a terminal of 200 × 50 while their statuses change.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("top");
    let server = Server::start().await?;
    let registry = ours::connect(&server.url(), ours::PREFIX).await?;
    let streams = Arc::new((0..STREAMS).map(streams::stream).collect::<Result<Vec<_>>>()?);
    ours::fill(&registry, &streams).await?;
    let ids: Vec<_> = registry.list().await?.into_iter().map(|stream| stream.id).collect();
    let top = Top::start(&server.url()).await?;
    let seconds = if args.quick { 3 } else { 20 };
    let (spent, written, start) = (cpu(&top.pid)?, top.written.load(Ordering::Relaxed), Instant::now());
    change(&registry, &ids, RATE * seconds, RATE).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let share = (cpu(&top.pid)? - spent) / elapsed;
    let bytes = (top.written.load(Ordering::Relaxed) - written) as f64 / elapsed;
    if bytes < 100.0 {
        return Err("top has written almost nothing to its terminal".into());
    }
    Ok(vec![line(
        &format!("top, {} streams, {RATE} changes per second", thousands(STREAMS as f64)),
        &format!("{} kB per second to the terminal", thousands(bytes / 1_000.0)),
        format!("{:.1} % of a core", share * 100.0),
        format!("≤ {:.0} % of a core", LIMIT * 100.0),
        Some(share <= LIMIT),
    )])
}

/// A running `top`, whose terminal `script` provides. Killed when dropped.
struct Top {
    script: Child,
    pid: String,
    /// Number of bytes that have been written to the terminal.
    written: Arc<AtomicU64>,
}

impl Top {
    async fn start(store: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("pid");
        let program = env!("CARGO_BIN_EXE_streamreg");
        let prefix = ours::PREFIX;
        let command = format!(
            "stty rows 50 cols 200; echo $$ > {}; exec {program} top --sort -bitrate --store {store} --prefix {prefix}",
            file.display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--command", &command, "/dev/null"]).env("SHELL", "/bin/sh").env("TERM", "xterm");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut screen = script.stdout.take().ok_or("script has no output")?;
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let (send, loaded) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let (mut buffer, mut send) = ([0; 65_536], Some(send));
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                count.fetch_add(length as u64, Ordering::Relaxed);
                // The title says so when all streams are loaded.
                if String::from_utf8_lossy(&buffer[..length]).contains("live")
                    && let Some(send) = send.take()
                {
                    let _ = send.send(());
                }
            }
        });
        tokio::time::timeout(START_TIMEOUT, loaded).await.map_err(|_| "top did not show the streams")??;
        let pid = std::fs::read_to_string(file)?.trim().to_owned();
        Ok(Self { script, pid, written })
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // When `script` ends, the terminal closes, and `top` gets a SIGHUP.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
