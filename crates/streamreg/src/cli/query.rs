//! Arguments that select streams, and functions that read the selected streams.

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use stream_registry::query::{By, Filter, Query, label};
use stream_registry::{Registry, Stream, StreamId, StreamStatus, StreamType};

use super::failure::{Result, Status};
use super::input::string;
use super::output::Output;

/// The streams that match a query.
pub(super) struct Found {
    pub(super) streams: Vec<Stream>,
    /// Number of records that were skipped because they cannot be decoded.
    pub(super) unreadable: u64,
}

/// Reads the pages of a query, until `limit` streams have been found.
///
/// # Errors
///
/// Returns the errors of [`Registry::find`].
pub(super) async fn find_up_to(
    registry: &dyn Registry,
    mut query: Query,
    limit: Option<NonZeroU32>,
) -> stream_registry::Result<Found> {
    // Without a limit, requests pages of unlimited size. A store without an index is therefore read only once, and an
    // HTTP server uses its own page size.
    let limit = limit.unwrap_or(NonZeroU32::MAX);
    let mut found = Found { streams: Vec::new(), unreadable: 0 };
    loop {
        let left = limit.get().saturating_sub(u32::try_from(found.streams.len()).unwrap_or(u32::MAX));
        let Some(left) = NonZeroU32::new(left) else { return Ok(found) };
        let page = registry.find(&query.clone().limit(left)).await?;
        found.unreadable += page.unreadable;
        found.streams.extend(page.streams);
        match page.next {
            Some(next) => query = query.cursor(next),
            None => return Ok(found),
        }
    }
}

/// Reads streams by their ids, in the order of the ids. Reports each id that has no live stream, and returns the most
/// severe status.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(super) async fn get_each(
    registry: &dyn Registry,
    ids: &[StreamId],
    out: &mut Output<'_>,
) -> Result<(Vec<Stream>, Status)> {
    let results = registry.get_many(ids).await.map_err(|error| out.failure(&error))?;
    let mut streams = Vec::with_capacity(ids.len());
    let mut worst = Status::Done;
    for (id, result) in ids.iter().zip(results) {
        // A single read says why the stream is missing: it may not be live, or its record may be unreadable.
        let result = match result {
            Some(stream) => Ok(stream),
            None => registry.get(id).await,
        };
        match result {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                let failure = out.failure(&error);
                if failure.status == Status::Unreachable {
                    return Err(failure);
                }
                worst = worst.worst(out.report(&failure));
            }
        }
    }
    Ok((streams, worst))
}

/// Filters for streams. A stream must match all of them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Select streams with this status
    #[arg(long)]
    pub status: Option<StreamStatus>,

    /// Select streams of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<StreamType>,

    /// Select streams of this ingest node; an empty name selects streams without a node
    #[arg(long, value_name = "NODE", value_parser = string)]
    pub node: Option<String>,

    /// Select streams with this label, name=value; may be repeated
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Select streams whose id, source address, node or label values contain this string, ignoring case
    #[arg(long, value_name = "TEXT", value_parser = string)]
    pub search: Option<String>,
}

impl FilterArgs {
    /// Returns the filter for these arguments.
    pub fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        filter.status.clone_from(&self.status);
        filter.kind.clone_from(&self.kind);
        filter.node.clone_from(&self.node);
        filter.labels.clone_from(&self.labels);
        filter.search.clone_from(&self.search);
        filter
    }
}

/// Parses the field by which streams are counted.
pub(super) fn by() -> impl TypedValueParser<Value = By> {
    PossibleValuesParser::new(["node", "type", "status"]).try_map(|word| word.parse::<By>())
}
