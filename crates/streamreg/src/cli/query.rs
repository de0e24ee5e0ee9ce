//! Arguments that select streams, and a function that reads all pages of a query.

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use stream_registry::query::{By, Filter, Query, label};
use stream_registry::{Registry, Result, Stream, StreamStatus, StreamType};

use super::input::string;

/// Reads all pages of a query. Returns the streams, and the number of records that were skipped because they cannot be
/// decoded.
///
/// # Errors
///
/// Returns the errors of [`Registry::find`].
pub(super) async fn find_all(registry: &dyn Registry, query: Query) -> Result<(Vec<Stream>, u64)> {
    // Requests pages of unlimited size. A store without an index is therefore read only once, and an HTTP server uses
    // its own page size.
    let mut query = query.limit(NonZeroU32::MAX);
    let mut streams = Vec::new();
    let mut unreadable = 0;
    loop {
        let page = registry.find(&query).await?;
        unreadable += page.unreadable;
        streams.extend(page.streams);
        match page.next {
            Some(next) => query = query.cursor(next),
            None => return Ok((streams, unreadable)),
        }
    }
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
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
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
