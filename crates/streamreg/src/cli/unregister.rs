//! `unregister`: unregisters streams.

use clap::Args;
use stream_registry::query::{Filter, Query};
use stream_registry::stream::EndReason;
use stream_registry::{ErrorKind, Guard, Registry, Stream, StreamId, Timestamp, UnregisterOptions};

use super::failure::{Failure, Result, Status};
use super::input;
use super::output::{Format, Output, TableOptions};
use super::query::find_up_to;

/// Arguments of `unregister`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg unregister cam1
  streamreg unregister cam1 cam2 --reason 'end of event'
  streamreg unregister --node ingest-1 --reason 'node is drained'

With --output json, jsonl, yaml or name, the final records are printed.")]
pub struct UnregisterArgs {
    /// Ids of the streams
    #[arg(value_name = "ID", required_unless_present = "node")]
    pub ids: Vec<StreamId>,

    /// Unregister all streams of this ingest node
    #[arg(long, conflicts_with = "ids", value_parser = input::non_empty_string)]
    pub node: Option<String>,

    /// Reason, at most 1 KiB; becomes `end_reason` in the final record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<EndReason>,

    /// Unregister leased streams too
    #[arg(long)]
    pub force: bool,
}

/// The streams to unregister.
#[derive(Debug)]
enum Which {
    Ids(Vec<StreamId>),
    Node(String),
}

/// An unregistration whose arguments have been checked as far as possible without a store.
#[derive(Debug)]
pub struct Plan {
    which: Which,
    reason: EndReason,
    guard: Guard,
}

impl UnregisterArgs {
    /// Checks the arguments.
    ///
    /// # Errors
    ///
    /// Returns a usage error if neither ids nor a node are given.
    pub fn prepare(&self) -> Result<Plan> {
        let which = match &self.node {
            Some(node) => Which::Node(node.clone()),
            None if self.ids.is_empty() => return Err(Failure::usage("no ids given; pass ids of streams, or --node")),
            None => Which::Ids(self.ids.clone()),
        };
        Ok(Plan { which, reason: self.reason.clone().unwrap_or_default(), guard: input::guard(self.force) })
    }
}

/// Unregisters each stream and reports each result separately.
///
/// # Errors
///
/// Returns the most severe status if any stream failed. Each failure has already been reported.
pub async fn run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let options = UnregisterOptions::default().reason(plan.reason.clone());
    let mut last = Vec::new();
    let mut worst = Status::Done;
    match &plan.which {
        Which::Ids(ids) => {
            for id in ids {
                match registry.unregister_with(id, &options.clone().guard(plan.guard.clone())).await {
                    Ok(stream) => last.push(stream),
                    Err(error) => {
                        let failure = out.failure(&error);
                        worst = worst.worst(out.report(&failure));
                        if failure.status == Status::Unreachable {
                            break;
                        }
                    }
                }
            }
        }
        Which::Node(node) => {
            let query = Query::default().filter(Filter::default().node(node));
            let found = find_up_to(registry, query, None).await.map_err(|error| out.failure(&error))?;
            for stream in found.streams {
                // After the streams were listed, another node may have acquired a lease. `--force` must not end that
                // lease, so the guard contains the epoch from the list.
                let guard = match (&plan.guard, stream.epoch()) {
                    (Guard::Force, Some(epoch)) => Guard::Holder(epoch.clone()),
                    _ => Guard::None,
                };
                match registry.unregister_with(&stream.id, &options.clone().guard(guard)).await {
                    Ok(stream) => last.push(stream),
                    // The stream has already been unregistered or has expired.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        let failure = out.failure(&error);
                        worst = worst.worst(out.report(&failure));
                        if failure.status == Status::Unreachable {
                            break;
                        }
                    }
                }
            }
            out.note(format_args!("unregistered {} of node {node:?}", counted(last.len())));
        }
    }
    show(&last, registry.now(), out)?;
    worst.into_result()
}

fn counted(streams: usize) -> String {
    if streams == 1 { "1 stream".into() } else { format!("{streams} streams") }
}

/// Prints the final records if a format other than a table was requested.
fn show(last: &[Stream], now: Timestamp, out: &mut Output<'_>) -> Result {
    match out.format {
        None | Some(Format::Table | Format::Wide) => Ok(()),
        Some(_) => out.streams(last, now, &TableOptions::default()),
    }
}
