//! `heartbeat`: keeps streams alive.

use clap::Args;
use stream_registry::stream::limits;
use stream_registry::{Change, Registry, StreamId, Write};

use super::failure::{Result, Status};
use super::input::guard;
use super::output::Output;

/// Arguments of `heartbeat`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg heartbeat cam1
  streamreg heartbeat cam1 cam2 cam3")]
pub struct HeartbeatArgs {
    /// Ids of the streams
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<StreamId>,

    /// Write even if a stream is leased
    #[arg(long)]
    pub force: bool,
}

/// Sends a heartbeat for each id and reports each result separately.
///
/// # Errors
///
/// Returns the most severe status if any heartbeat failed. Each failure has already been reported.
pub async fn run(registry: &dyn Registry, args: &HeartbeatArgs, out: &mut Output<'_>) -> Result {
    let guard = guard(args.force);
    let mut worst = Status::Done;
    for ids in args.ids.chunks(limits::MAX_WRITES) {
        let writes: Vec<_> =
            ids.iter().map(|id| Write { id: id.clone(), guard: guard.clone(), change: Change::Heartbeat }).collect();
        let results = registry.write(&writes).await.map_err(|error| out.failure(&error))?;
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let failure = out.failure(error);
            worst = worst.worst(out.report(&failure));
            // The error concerns the store, not one stream, so the remaining writes would fail as well.
            if failure.status == Status::Unreachable {
                return worst.into_result();
            }
        }
    }
    worst.into_result()
}
