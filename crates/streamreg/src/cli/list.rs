//! `list`: lists live streams.

use clap::Args;
use stream_registry::Registry;
use stream_registry::query::{Order, Query};

use super::failure::Result;
use super::output::Output;
use super::query::{self, FilterArgs};

/// Arguments of `list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg list
  streamreg list --output json
  streamreg list --status error --node ingest-1
  streamreg list --label tenant=acme --sort -bitrate")]
pub struct ListArgs {
    /// The filters.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// Sort by this field; a leading `-` sorts descending, e.g. `-bitrate` [default: id]
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<Order>,
}

/// Lists live streams.
///
/// # Errors
///
/// Fails if the store returns an error or standard output cannot be written.
pub async fn run(registry: &dyn Registry, args: &ListArgs, out: &mut Output<'_>) -> Result {
    let filter = args.filter.filter();
    let filtered = !filter.is_empty();
    let query = Query::default().filter(filter).order(args.sort.unwrap_or_default());
    let (streams, unreadable) = query::find_all(registry, query).await.map_err(|error| out.failure(&error))?;
    out.streams(&streams, registry.now())?;
    if streams.is_empty() && !filtered {
        out.note("no live streams; try `streamreg demo`");
    } else if streams.is_empty() {
        out.note("no streams match; try fewer filters");
    }
    if unreadable > 0 {
        let log = if out.store.starts_with("http") { "see the server log" } else { "RUST_LOG=warn shows them" };
        out.note(format_args!("skipped {unreadable} unreadable records ({log})"));
    }
    Ok(())
}
