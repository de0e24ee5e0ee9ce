//! Measures the memory of a server over Redis, compared with a server over a memory store.

use super::http::{PAGE, ServerProcess, fetch, fill};
use super::note;
use crate::Result;
use crate::args::Args;
use crate::figures::thousands;
use crate::ours;
use crate::report::{Line, line};
use crate::server::Server;

/// Target: maximum memory of a server over Redis, relative to a server over a memory store.
const LIMIT: f64 = 1.1;

/// Starts both servers with the same streams, sends the same requests to both, and waits until their resident memory
/// no longer changes.
pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("server memory");
    let count = args.large();
    let redis = Server::start().await?;
    fill(&ours::connect(&redis.url(), ours::PREFIX).await?, count).await?;
    let url = redis.url();
    let row = format!("server memory, {} streams", thousands(count as f64));
    let (mut lines, mut sizes) = (Vec::new(), Vec::new());
    for (candidate, store) in [("over a memory store", None), ("over Redis", Some(url.as_str()))] {
        let server = ServerProcess::start(count, store).await?;
        fetch(server.port, PAGE).await?;
        fetch(server.port, "/api/v1/summary").await?;
        let bytes = server.settled_memory().await? as f64;
        sizes.push(bytes);
        lines.push(line(&row, candidate, format!("{:.1} MB", bytes / 1e6), String::new(), None));
    }
    if let ([memory, redis], Some(last)) = (sizes.as_slice(), lines.last_mut()) {
        let ratio = redis / memory;
        let target = format!("≤ {LIMIT} × over a memory store");
        *last = line(&row, "over Redis", last.figure.clone(), target, Some(ratio <= LIMIT));
        last.ratio = format!("{ratio:.2}");
    }
    Ok(lines)
}
