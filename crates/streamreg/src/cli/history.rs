//! `history`: streams that have ended.

use std::num::NonZeroU32;

use clap::Args;
use stream_registry::http::wire::{DEFAULT_HISTORY, MAX_LIMIT};
use stream_registry::query::Ended;
use stream_registry::{Registry, StreamId, StreamType};

use super::failure::Result;
use super::output::Output;

/// Arguments of `history`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg history
  streamreg history --id cam1 --limit 1 --output json
  streamreg history --node ingest-1

The last end comes first, with its reason, how long the stream has lived, and its final counters. It goes back as far as
the change feed does: about the last 100 000 changes. A stream that was taken over has not ended.")]
pub struct HistoryArgs {
    /// Ends of this stream
    #[arg(long, value_name = "ID")]
    pub id: Option<StreamId>,

    /// Ends of streams of this type: srt, rtp or another
    #[arg(long = "type", value_name = "T")]
    pub kind: Option<StreamType>,

    /// Ends of streams of this ingest node; empty: of none
    #[arg(long, value_name = "N")]
    pub node: Option<String>,

    /// How many at most, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HISTORY, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    pub limit: u32,
}

/// Shows streams that have ended.
///
/// # Errors
///
/// Where the store has no change feed or fails, and where standard output takes no more.
pub async fn run(registry: &dyn Registry, args: &HistoryArgs, out: &mut Output<'_>) -> Result {
    let mut ended = Ended::default();
    ended.id.clone_from(&args.id);
    ended.kind.clone_from(&args.kind);
    ended.node.clone_from(&args.node);
    let limit = NonZeroU32::new(args.limit).unwrap_or(NonZeroU32::MIN);
    let ends = registry.history(&ended, limit).await.map_err(|error| out.failure(&error))?;
    out.ended(&ends)?;
    if ends.is_empty() {
        out.note("no such stream has ended in what the change feed still keeps");
    }
    Ok(())
}
