//! `ping`: checks that the store responds.

use clap::Args;
use stream_registry::Registry;

use super::failure::Result;
use super::output::Output;

/// Arguments of `ping`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg ping
  streamreg ping --store http://127.0.0.1:8580
  streamreg ping --store redis://127.0.0.1:6379

The exit status is 0 if the store responds. A server responds only if its own store does, like its route /readyz.")]
pub struct PingArgs {}

/// Calls the store once.
///
/// # Errors
///
/// Fails if the store returns an error or standard output cannot be written.
pub async fn run(registry: &dyn Registry, out: &mut Output<'_>) -> Result {
    registry.ping().await.map_err(|error| out.failure(&error))?;
    let store = out.store;
    out.line(format_args!("{store} responds"))?;
    out.flush()
}
