//! Measures the memory that Redis still needs after streams were registered and unregistered.

use std::sync::Arc;

use stream_registry::Registry;

use super::{CALLERS, note};
use crate::args::Args;
use crate::figures::thousands;
use crate::report::{Line, line};
use crate::server::Server;
use crate::{Result, ours, streams};

/// Number of streams.
const COUNT: usize = 1_000_000;
/// Memory in bytes that an earlier version needed after [`COUNT`] streams: commit 0d26841, the last one before
/// registrations shared calls. It was measured once, with the same streams and callers. That version kept a tombstone
/// and stored results for each stream. Because the run took 305 s, some of these results had already expired.
const EARLIER: f64 = 1_060_755_776.0;
/// Target: maximum memory, relative to the earlier version.
const LIMIT: f64 = 0.3;

/// Registers and unregisters streams without leases, and compares the memory of Redis with an empty registry.
///
/// The change feed keeps about 100 000 of these events. The memory includes them.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("departed streams");
    let count = if args.quick { COUNT / 50 } else { COUNT };
    let mut server = Server::start().await?;
    let registry = ours::connect(&server.url(), ours::PREFIX).await?;
    let before = server.used_memory().await?;
    let tasks: Vec<_> = (0..CALLERS)
        .map(|first| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move {
                for n in (first..count).step_by(CALLERS) {
                    let stream = streams::stream(10_000_000 + n)?;
                    registry.register(&stream).await?;
                    registry.unregister(&stream.id).await?;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let grown = server.used_memory().await?.saturating_sub(before) as f64;
    let keys = server.keys().await?;
    let row = format!("departed streams, {}", thousands(count as f64));
    let megabytes = |bytes: f64| format!("{:.1} MB in Redis", bytes / 1e6);
    // The figure of the earlier version is for all streams, so a short run is not compared with it.
    let ratio = (!args.quick).then_some(grown / EARLIER);
    let mut ours = line(
        &row,
        "ours",
        format!("{}, {keys} keys", megabytes(grown)),
        format!("≤ {LIMIT} × an earlier version"),
        ratio.map(|ratio| ratio <= LIMIT),
    );
    ours.ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    let earlier = line(&row, "an earlier version, measured once", megabytes(EARLIER), String::new(), None);
    Ok(vec![earlier, ours])
}
