//! `heartbeat`: keeps streams alive.

use clap::Args;
use stream_registry::stream::limits;
use stream_registry::{Change, Guard, Registry, StreamId, Write};

use super::failure::{Failure, Result, Status};
use super::output::Output;

/// Arguments of `heartbeat`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg heartbeat cam1
  streamreg heartbeat cam1 cam2 cam3")]
pub struct HeartbeatArgs {
    /// The streams' ids
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<StreamId>,

    /// Write to leased streams too
    #[arg(long)]
    pub force: bool,
}

/// Sends a heartbeat for each id; each is answered on its own.
///
/// # Errors
///
/// The worst of all failures, after each was told.
pub async fn run(registry: &dyn Registry, args: &HeartbeatArgs, out: &mut Output<'_>) -> Result {
    let guard = guard(args.force);
    let mut worst = Status::Done;
    for ids in args.ids.chunks(limits::MAX_WRITES) {
        let writes: Vec<_> =
            ids.iter().map(|id| Write { id: id.clone(), guard: guard.clone(), change: Change::Heartbeat }).collect();
        let answers = registry.write(&writes).await.map_err(|error| out.failure(&error))?;
        for failed in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            let failure = out.failure(failed);
            worst = worst.worst(out.report(&failure));
            // The others would say the same of the store, not of their streams.
            if failure.status == Status::Unreachable {
                return finish(worst);
            }
        }
    }
    finish(worst)
}

/// The condition of a write by an operator.
pub(super) fn guard(force: bool) -> Guard {
    if force { Guard::Force } else { Guard::None }
}

/// Ends a command whose failures were told one by one.
pub(super) fn finish(worst: Status) -> Result {
    if worst == Status::Done { Ok(()) } else { Err(Failure::reported(worst)) }
}
