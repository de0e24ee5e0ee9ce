//! `list`: all live streams.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use clap::Args;
use stream_registry::{Registry, Stream, StreamId};

use super::failure::Result;
use super::output::Output;
use crate::filter::Filter;
use crate::order::Order;

/// Streams of one page: a store is never held for longer than that.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

/// Arguments of `list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg list
  streamreg list --output json
  streamreg list --status error --node ingest-1
  streamreg list --label tenant=acme --sort -bitrate")]
pub struct ListArgs {
    /// Which streams.
    #[command(flatten)]
    pub filter: Filter,

    /// A field of the record, -bitrate say: - is for descending; default: id
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<Order>,
}

/// Lists live streams.
///
/// # Errors
///
/// Where the store fails, and where standard output takes no more.
pub async fn run(registry: &dyn Registry, args: &ListArgs, out: &mut Output<'_>) -> Result {
    let (streams, unreadable) = all(registry).await.map_err(|error| out.failure(&error))?;
    let any = !streams.is_empty();
    let condition = args.filter.condition();
    let streams = streams.into_values().filter(|stream| condition(stream)).collect();
    let streams: Vec<Stream> = args.sort.unwrap_or_default().sort(streams);
    out.streams(&streams)?;
    if !any {
        out.note("no live streams; try `streamreg demo`");
    } else if streams.is_empty() {
        out.note("no stream is so; leave a condition out");
    }
    if unreadable > 0 {
        let log = if out.store.starts_with("http") { "the server's log names" } else { "RUST_LOG=warn shows" };
        out.note(format_args!("left out what is no readable record: {unreadable}; {log} them"));
    }
    Ok(())
}

/// Reads all pages. A stream that comes twice is taken as it was last.
pub(super) async fn all(registry: &dyn Registry) -> stream_registry::Result<(BTreeMap<StreamId, Stream>, u64)> {
    let mut streams = BTreeMap::new();
    let mut unreadable = 0;
    let mut cursor = None;
    loop {
        let page = registry.list_page(cursor.as_ref(), PAGE).await?;
        unreadable += page.unreadable;
        streams.extend(page.streams.into_iter().map(|stream| (stream.id.clone(), stream)));
        cursor = page.next;
        if cursor.is_none() {
            return Ok((streams, unreadable));
        }
    }
}
