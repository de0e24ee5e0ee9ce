//! `get`: one stream.

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
    /// The stream's id
    #[arg(value_name = "ID")]
    pub id: StreamId,
}

/// Shows one stream.
///
/// # Errors
///
/// Not found, where the store fails, and where standard output takes no more.
pub async fn run(registry: &dyn Registry, args: &GetArgs, out: &mut Output<'_>) -> Result {
    let stream = registry.get(&args.id).await.map_err(|error| out.failure(&error))?;
    out.stream(&stream)
}
