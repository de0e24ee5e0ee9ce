//! `get`: shows one stream.

use clap::Args;
use stream_registry::{Registry, StreamId};

use super::failure::Result;
use super::output::Output;

/// Arguments of `get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg get cam1
  streamreg get cam1 --output json")]
pub struct GetArgs {
    /// Id of the stream
    #[arg(value_name = "ID")]
    pub id: StreamId,
}

/// Shows one stream.
///
/// # Errors
///
/// Returns `NotFound` if no live stream has the id. Also fails if the store returns an error, or if standard output
/// cannot be written.
pub async fn run(registry: &dyn Registry, args: &GetArgs, out: &mut Output<'_>) -> Result {
    let stream = registry.get(&args.id).await.map_err(|error| out.failure(&error))?;
    out.stream(&stream, registry.now())
}
