//! `get`: shows streams with all fields.

use clap::Args;
use stream_registry::{Registry, StreamId};

use super::failure::{Result, Status};
use super::output::Output;
use super::query::get_each;
use super::watch::{self, Follow, Selection};

/// Arguments of `get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg get cam1
  streamreg get cam1 cam2 -o yaml
  streamreg get cam1 -w

If an id is not live, the command prints the other streams and exits with 3.")]
pub struct GetArgs {
    /// Ids of the streams
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<StreamId>,

    /// Then print changes of these streams as they happen, until Ctrl-C; --output as for watch
    #[arg(short, long)]
    pub watch: bool,
}

/// Shows streams with all fields.
///
/// # Errors
///
/// Returns `NotFound` if one of the ids has no live stream, after printing the other streams. Also fails if the store
/// returns an error, or if standard output cannot be written.
pub async fn run(registry: &dyn Registry, args: &GetArgs, stop: impl Future, out: &mut Output<'_>) -> Result {
    // The watch begins before the records are read, so that no change in between is missed.
    let follow = if args.watch { Some(Follow::now(registry, out).await?) } else { None };
    let mut worst = Status::Done;
    if let [id] = args.ids.as_slice() {
        let stream = registry.get(id).await.map_err(|error| out.failure(&error))?;
        out.stream(&stream, registry.now())?;
    } else {
        let (streams, status) = get_each(registry, &args.ids, out).await?;
        worst = status;
        out.streams_in_full(&streams, registry.now())?;
        if streams.is_empty() {
            return worst.into_result();
        }
    }
    if let Some(follow) = follow {
        follow.print(Selection::ids(&args.ids), watch::default_options(), stop, out).await?;
    }
    worst.into_result()
}
