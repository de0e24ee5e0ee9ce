//! `summary`: how many live streams there are, by node, type or status.

use clap::Args;
use stream_registry::Registry;

use super::failure::Result;
use super::list::all;
use super::output::Output;
use crate::filter::Filter;
use crate::summary::{By, Summary};

/// Arguments of `summary`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg summary
  streamreg summary --by node --type srt
  streamreg summary --by type --output json")]
pub struct SummaryArgs {
    /// What streams are counted by
    #[arg(long, value_enum, default_value_t = By::Status)]
    pub by: By,

    /// Which streams.
    #[command(flatten)]
    pub filter: Filter,
}

/// Counts live streams.
///
/// # Errors
///
/// Where the store fails, and where standard output takes no more.
pub async fn run(registry: &dyn Registry, args: &SummaryArgs, out: &mut Output<'_>) -> Result {
    let (streams, _) = all(registry).await.map_err(|error| out.failure(&error))?;
    let condition = args.filter.condition();
    out.summary(&Summary::of(args.by, streams.values().filter(|stream| condition(stream))))
}
