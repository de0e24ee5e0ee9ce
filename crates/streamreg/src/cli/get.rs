//! `get`: shows streams with all fields.

use clap::Args;
use stream_registry::query::Ended;
use stream_registry::{ErrorKind, Registry, StreamId};

use super::failure::{Failure, Result, Status};
use super::output::{Format, Output, end};
use super::query::get_each;
use super::watch::{self, Follow};
use crate::selection::Selection;

/// Arguments of `get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg get cam1
  streamreg get cam1 cam2 -o yaml
  streamreg get cam1 -w

If an id is not live, the command prints the other streams and exits with 3. On a terminal, it also says when and why a \
single missing stream has ended.")]
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
        match registry.get(id).await {
            Ok(stream) => out.stream(&stream, registry.now())?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(not_found(registry, id, out).await),
            Err(error) => return Err(out.failure(&error)),
        }
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

/// Returns the failure for a stream that is not live. If people read the output, says when and why the stream ended.
async fn not_found(registry: &dyn Registry, id: &StreamId, out: &Output<'_>) -> Failure {
    let error = stream_registry::Error::not_found(id);
    let failure = out.failure(&error);
    if !matches!(out.format(), Format::Table | Format::Wide) {
        return failure;
    }
    // If the store has no history, the message does not say when the stream ended.
    let ended = registry.history(&Ended::default().id(id.clone()), std::num::NonZeroU32::MIN).await.unwrap_or_default();
    match ended.first().and_then(|event| end(event, registry.now())) {
        Some(end) => Failure::new(failure.status, format_args!("no live stream has the id {:?}; {end}", id.as_str())),
        None => failure,
    }
}
