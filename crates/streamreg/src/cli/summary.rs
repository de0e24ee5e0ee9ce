//! `summary`: counts live streams by node, type or status.

use clap::Args;
use stream_registry::Registry;
use stream_registry::query::By;

use super::failure::Result;
use super::output::Output;
use super::query::{self, FilterArgs};

/// Arguments of `summary`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg summary
  streamreg summary --by node --type srt
  streamreg summary --by type --output json")]
pub struct SummaryArgs {
    /// Count streams by this field
    #[arg(long, default_value = "status", value_parser = query::by())]
    pub by: By,

    /// The filters.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Counts live streams.
///
/// # Errors
///
/// Fails if the store returns an error or standard output cannot be written.
pub async fn run(registry: &dyn Registry, args: &SummaryArgs, out: &mut Output<'_>) -> Result {
    let summary = registry.summary(&args.filter.filter(), args.by).await.map_err(|error| out.failure(&error))?;
    out.summary(&summary)
}
