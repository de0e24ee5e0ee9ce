//! `top`: shows the live streams on a terminal, and keeps them current.
//!
//! Data flows in one direction: `source` reads the registry and publishes copies of it, `state` and `keys` change what
//! is shown, `layout` selects the lines and columns that fit, and `draw` draws them. Only `run` and `screen` use the
//! terminal, so tests call everything else without one.

mod charts;
mod cursor;
mod data;
mod detail;
mod draw;
mod filter;
mod keys;
mod layout;
mod pace;
mod recorder;
mod rows;
mod run;
mod screen;
mod sheet;
mod source;
mod spark;
mod state;
mod statistics;
mod tap;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use clap::Args;
use stream_registry::query::Query;
use stream_registry::{Registry, Stream};

pub use screen::Screen;

use super::failure::Result;
use super::output::{Format, Output, TableOptions};
use super::query::{self, FilterArgs};
use rows::{Facet, Moment, Sort};
use state::Settings;

/// Arguments of `top`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg top
  streamreg top --sort -bitrate
  streamreg top --node ingest-1 --sort -loss
  streamreg top --status error | mail -s 'streams with errors' ops

The key ? shows all keys. In a pipe, the command prints one table and exits.")]
pub struct TopArgs {
    /// Sort by this column, e.g. `node`; a leading `-` sorts descending, e.g. `-loss` [default: id]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub(super) sort: Option<Sort>,

    /// The filters.
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

/// Returns whether `top` can fill the screen. A dumb terminal cannot move its cursor.
pub(super) fn fills_screen(out: &Output<'_>) -> bool {
    out.terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Shows the streams on the terminal until the user quits. Without a terminal, prints one table.
///
/// # Errors
///
/// Fails if the store returns an error at the start, or if the terminal or standard output cannot be used.
pub(super) async fn run(registry: &Arc<dyn Registry>, args: &TopArgs, out: &mut Output<'_>) -> Result {
    let sort = args.sort.unwrap_or_default();
    if !fills_screen(out) {
        return once(&**registry, args, sort, out).await;
    }
    let settings = Settings { store: out.store.to_owned(), ttl: registry.info().ttl, colour: out.colour };
    run::run(Arc::clone(registry), settings, args.filter.filter(), sort).await
}

/// Prints one table.
async fn once(registry: &dyn Registry, args: &TopArgs, sort: Sort, out: &mut Output<'_>) -> Result {
    let query = Query::default().filter(args.filter.filter());
    let found = query::find_up_to(registry, query.clone(), None).await.map_err(|error| out.failure(&error))?;
    let streams: Vec<_> = found.streams.into_iter().map(Arc::new).collect();
    let now = registry.now();
    let moment = Moment { now, ttl: registry.info().ttl, taken_over: &HashSet::new() };
    let rows = rows::select(&streams, &moment, &query.filter, Facet::All, sort);
    let streams: Vec<_> = rows.streams.iter().map(|stream| Stream::clone(stream)).collect();
    out.format.get_or_insert(Format::Table);
    if streams.is_empty() {
        out.note("no streams match");
    }
    out.streams(&streams, now, &TableOptions::default())
}
