//! `list`: lists live streams.

pub(super) mod live;

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use stream_registry::query::{Order, Query};
use stream_registry::{Registry, Stream, StreamId};

use super::failure::{Failure, Result, Status};
use super::output::{Column, EventOptions, Format, Headings, Output, TableOptions};
use super::query::{self, FilterArgs};
use super::watch::{self, Follow};
use crate::selection::Selection;

/// Arguments of `list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg list
  streamreg list -o wide
  streamreg list cam1 cam2 -o yaml
  streamreg list --status error --node ingest-1
  streamreg list -l tenant=acme --sort -bitrate --limit 10
  streamreg list --columns id,status,bitrate --no-headers
  streamreg list -w --sort -bitrate --limit 10

On a terminal, long ids are cut; --output wide and --output name show them whole.")]
pub struct ListArgs {
    /// List these streams only, in this order; if one is not live, exits with 3
    #[arg(value_name = "ID", conflicts_with_all = ["status", "kind", "node", "labels", "search", "sort", "limit"])]
    pub ids: Vec<StreamId>,

    /// Sort by this field; a leading `-` sorts descending, e.g. `-bitrate` [default: id]
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<Order>,

    /// List at most this many streams
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroU32>,

    /// Show a table with these columns, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = column())]
    pub columns: Vec<&'static Column>,

    /// Show a table without headings
    #[arg(long)]
    pub no_headers: bool,

    /// Update the table in place until Ctrl-C. In a pipe, or with another format, print the changes as they happen,
    /// like `watch`
    #[arg(short, long)]
    pub watch: bool,

    /// The filters.
    #[command(flatten)]
    pub filter: FilterArgs,
}

fn column() -> impl TypedValueParser<Value = &'static Column> {
    // The parser accepts only the names of columns.
    PossibleValuesParser::new(Column::names()).try_map(|name| Column::with_name(&name).ok_or("unknown column"))
}

impl ListArgs {
    /// Returns whether the table is updated in place.
    pub(super) fn is_live(&self, out: &Output<'_>) -> bool {
        self.watch && out.terminal && matches!(out.format(), Format::Table | Format::Wide)
    }

    /// Checks the options that only a table in place supports.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the changes would be printed, because the lines for changes have no columns and no
    /// limit.
    pub(super) fn check(&self, out: &Output<'_>) -> Result {
        let option = match () {
            () if self.limit.is_some() => "--limit",
            () if !self.columns.is_empty() => "--columns",
            () => return Ok(()),
        };
        if self.watch && !self.is_live(out) {
            return Err(Failure::usage(format_args!("{option} with --watch needs a table on a terminal; omit one")));
        }
        Ok(())
    }

    /// Returns the options of the table.
    ///
    /// # Errors
    ///
    /// Returns a usage error if an option for tables is combined with another format.
    fn table(&self, out: &mut Output<'_>) -> Result<TableOptions> {
        let headings = if self.no_headers { Headings::Hidden } else { Headings::Shown };
        let options = TableOptions { columns: self.columns.clone(), headings };
        let option = match () {
            () if !self.columns.is_empty() => "--columns",
            () if self.no_headers => "--no-headers",
            () => return Ok(options),
        };
        match out.format {
            None => out.format = Some(Format::Table),
            Some(Format::Table) => {}
            Some(Format::Wide) if self.columns.is_empty() => {}
            Some(_) => return Err(Failure::usage(format_args!("{option} needs a table; use --output table"))),
        }
        Ok(options)
    }
}

/// Lists live streams. With `--watch`, then prints changes until `stop` completes; `live` shows a table in place.
///
/// # Errors
///
/// Returns `NotFound` if one of the given ids has no live stream, after printing the other streams. Also fails if the
/// store returns an error or standard output cannot be written.
pub async fn run(registry: &dyn Registry, args: &ListArgs, stop: impl Future, out: &mut Output<'_>) -> Result {
    let table = args.table(out)?;
    // The watch begins before the list is read, so that no change in between is missed.
    let follow = if args.watch { Some(Follow::now(registry, out).await?) } else { None };
    if args.watch && out.format() == Format::Json {
        // A list that continues has no closing bracket.
        out.format = Some(Format::Jsonl);
    }
    let (streams, worst) = if args.ids.is_empty() {
        (find(registry, args, out).await?, Status::Done)
    } else {
        query::get_each(registry, &args.ids, out).await?
    };
    out.streams(&streams, registry.now(), &table)?;
    if let Some(follow) = follow {
        let selection = match args.ids.as_slice() {
            [] => Selection::filter(args.filter.filter()).with_shown(streams.iter().map(|stream| stream.id.clone())),
            ids => Selection::ids(ids),
        };
        let options = EventOptions { headings: table.headings, ..watch::default_options() };
        follow.print(selection, options, stop, out).await?;
    }
    worst.into_result()
}

/// Returns the streams that match the filters. Notes on standard error say why streams may be missing.
async fn find(registry: &dyn Registry, args: &ListArgs, out: &mut Output<'_>) -> Result<Vec<Stream>> {
    let filter = args.filter.filter();
    let filtered = !filter.is_empty();
    let query = Query::default().filter(filter).order(args.sort.unwrap_or_default());
    let found = query::find_up_to(registry, query, args.limit).await.map_err(|error| out.failure(&error))?;
    if found.streams.is_empty() && !filtered {
        out.note("no live streams; try `streamreg demo`");
    } else if found.streams.is_empty() {
        out.note("no streams match; try fewer filters");
    }
    if found.unreadable > 0 {
        let log = if out.store.starts_with("http") { "see the server log" } else { "RUST_LOG=warn shows them" };
        out.note(format_args!("skipped {} unreadable records ({log})", found.unreadable));
    }
    Ok(found.streams)
}
