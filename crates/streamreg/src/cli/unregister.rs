//! `unregister`: unregisters streams.

use std::io::Read;

use clap::Args;
use stream_registry::query::{Filter, Query};
use stream_registry::stream::EndReason;
use stream_registry::{Error, ErrorKind, Guard, Registry, Stream, StreamId, Timestamp, UnregisterOptions};

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
  streamreg unregister --node ingest-1 --dry-run
  streamreg unregister --node ingest-1 --reason 'node is drained' --yes

With --output json, jsonl, yaml or name, the final records are printed. On a terminal, --node asks before it ends streams, \
unless --yes is given. In scripts, --node does not ask.")]
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

    /// With --node: do not ask on a terminal
    #[arg(long, short = 'y')]
    pub yes: bool,

    /// List the streams that would end, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The streams to unregister.
#[derive(Debug)]
enum Which {
    Ids(Vec<StreamId>),
    Node(String),
}

/// The step before the streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// No question is asked.
    Proceed,
    /// The user of a terminal must agree.
    Ask,
    /// The streams are listed and stay registered.
    Stop,
}

/// An unregistration whose arguments have been checked as far as possible without a store.
#[derive(Debug)]
pub struct Plan {
    which: Which,
    reason: EndReason,
    guard: Guard,
    before: Before,
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
        let before = match which {
            _ if self.dry_run => Before::Stop,
            Which::Node(_) if !self.yes => Before::Ask,
            Which::Node(_) | Which::Ids(_) => Before::Proceed,
        };
        let reason = self.reason.clone().unwrap_or_default();
        Ok(Plan { which, reason, guard: input::guard(self.force), before })
    }
}

/// Standard input, from which the answer to a question is read.
pub struct Answers<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Whether a user can read the question on standard error and answer on standard input.
    pub interactive: bool,
}

/// Unregisters each stream and reports each result separately.
///
/// # Errors
///
/// Returns the most severe status if any stream failed. Each failure has already been reported. Fails without a change
/// if the user of a terminal does not agree.
pub async fn run(registry: &dyn Registry, plan: &Plan, answers: Answers<'_>, out: &mut Output<'_>) -> Result {
    if plan.before == Before::Stop {
        return dry_run(registry, plan, out).await;
    }
    let mut calls = Calls { registry, plan, last: Vec::new(), worst: Status::Done };
    match &plan.which {
        Which::Ids(ids) => {
            for id in ids {
                match calls.end(id, plan.guard.clone()).await {
                    Ok(()) if out.terminal => out.note(format_args!("ended {:?}", id.as_str())),
                    Ok(()) => {}
                    Err(error) if calls.report(&error, out) == Status::Unreachable => break,
                    Err(_) => {}
                }
            }
        }
        Which::Node(node) => {
            let streams = of_node(registry, node, out).await?;
            // Scripts have no terminal, so they are not asked.
            if plan.before == Before::Ask && out.terminal && answers.interactive && !streams.is_empty() {
                confirm(&format!("end {} of node {node:?}?", counted(streams.len())), answers.stdin, out)?;
            }
            for stream in streams {
                // After the streams were listed, another node may have acquired a lease. `--force` must not end that
                // lease, so the guard contains the epoch from the list.
                let guard = match (&plan.guard, stream.epoch()) {
                    (Guard::Force, Some(epoch)) => Guard::Holder(epoch.clone()),
                    _ => Guard::None,
                };
                match calls.end(&stream.id, guard).await {
                    Ok(()) => {}
                    // The stream has already been unregistered or has expired.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) if calls.report(&error, out) == Status::Unreachable => break,
                    Err(_) => {}
                }
            }
            out.note(format_args!("unregistered {} of node {node:?}", counted(calls.last.len())));
        }
    }
    show(&calls.last, registry.now(), out)?;
    calls.worst.into_result()
}

/// The calls of one command: the final records, and the most severe status.
struct Calls<'a> {
    registry: &'a dyn Registry,
    plan: &'a Plan,
    last: Vec<Stream>,
    worst: Status,
}

impl Calls<'_> {
    async fn end(&mut self, id: &StreamId, guard: Guard) -> stream_registry::Result<()> {
        let options = UnregisterOptions::default().reason(self.plan.reason.clone()).guard(guard);
        self.last.push(self.registry.unregister_with(id, &options).await?);
        Ok(())
    }

    fn report(&mut self, error: &Error, out: &mut Output<'_>) -> Status {
        let status = out.report(&out.failure(error));
        self.worst = self.worst.worst(status);
        status
    }
}

/// Lists the streams that would end. Reports the streams that would stay, with the same failures as without `--dry-run`.
async fn dry_run(registry: &dyn Registry, plan: &Plan, out: &mut Output<'_>) -> Result {
    let mut worst = Status::Done;
    let streams = match &plan.which {
        Which::Node(node) => of_node(registry, node, out).await?,
        Which::Ids(ids) => {
            let found = registry.get_many(ids).await.map_err(|error| out.failure(&error))?;
            for (id, stream) in ids.iter().zip(&found) {
                if stream.is_none() {
                    worst = worst.worst(out.report(&out.failure(&Error::not_found(id))));
                }
            }
            found.into_iter().flatten().collect()
        }
    };
    let (leased, ending): (Vec<_>, Vec<_>) =
        streams.into_iter().partition(|stream| plan.guard == Guard::None && stream.epoch().is_some());
    for stream in leased {
        worst = worst.worst(out.report(&out.failure(&Error::not_holder(&stream.id))));
    }
    out.streams(&ending, registry.now(), &TableOptions::default())?;
    out.note(format_args!("would end {}; nothing was changed", counted(ending.len())));
    worst.into_result()
}

async fn of_node(registry: &dyn Registry, node: &str, out: &Output<'_>) -> Result<Vec<Stream>> {
    let query = Query::default().filter(Filter::default().node(node));
    Ok(find_up_to(registry, query, None).await.map_err(|error| out.failure(&error))?.streams)
}

/// Asks a question on the terminal.
///
/// # Errors
///
/// Fails unless the answer is `y` or `yes`.
fn confirm(question: &str, stdin: &mut dyn Read, out: &mut Output<'_>) -> Result {
    out.prompt(format_args!("{question} [y/N] "));
    match input::answer(stdin).as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Status::Failed, "no stream was ended; answer y, or pass --yes")),
    }
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
