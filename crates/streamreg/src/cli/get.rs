//! `get`: shows streams with all fields.

use clap::Args;
use stream_registry::{Registry, StreamId};

use super::failure::Result;
use super::output::Output;
use super::query::get_each;

/// Arguments of `get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg get cam1
  streamreg get cam1 cam2 -o yaml

If an id is not live, the command prints the other streams and exits with 3.")]
pub struct GetArgs {
    /// Ids of the streams
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<StreamId>,
}

/// Shows streams with all fields.
///
/// # Errors
///
/// Returns `NotFound` if one of the ids has no live stream, after printing the other streams. Also fails if the store
/// returns an error, or if standard output cannot be written.
pub async fn run(registry: &dyn Registry, args: &GetArgs, out: &mut Output<'_>) -> Result {
    if let [id] = args.ids.as_slice() {
        let stream = registry.get(id).await.map_err(|error| out.failure(&error))?;
        return out.stream(&stream, registry.now());
    }
    let (streams, worst) = get_each(registry, &args.ids, out).await?;
    out.streams_in_full(&streams, registry.now())?;
    worst.into_result()
}
