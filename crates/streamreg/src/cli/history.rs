//! `history`: lists ended streams.

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

The most recently ended stream comes first, with its reason, lifetime and final counters. The history goes back as far as \
the change feed: about the last 100 000 changes. A stream that was taken over has not ended.")]
pub struct HistoryArgs {
    /// Show this stream only
    #[arg(long, value_name = "ID")]
    pub id: Option<StreamId>,

    /// Show streams of this type only: srt, rtp or another type
    #[arg(long = "type", value_name = "T")]
    pub kind: Option<StreamType>,

    /// Show streams of this ingest node only; an empty name selects streams without a node
    #[arg(long, value_name = "N")]
    pub node: Option<String>,

    /// Maximum number of streams, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HISTORY, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    pub limit: u32,
}

/// Shows ended streams.
///
/// # Errors
///
/// Fails if the store has no change feed, if it returns an error, or if standard output cannot be written.
pub async fn run(registry: &dyn Registry, args: &HistoryArgs, out: &mut Output<'_>) -> Result {
    let mut ended = Ended::default();
    ended.id.clone_from(&args.id);
    ended.kind.clone_from(&args.kind);
    ended.node.clone_from(&args.node);
    let limit = NonZeroU32::new(args.limit).unwrap_or(NonZeroU32::MIN);
    let events = registry.history(&ended, limit).await.map_err(|error| out.failure(&error))?;
    out.ended(&events, registry.now())?;
    if events.is_empty() {
        out.note("no ended streams match in the change feed");
    }
    Ok(())
}
