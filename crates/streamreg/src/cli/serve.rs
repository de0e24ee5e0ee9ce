//! `serve`: the HTTP server.

use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;

use super::failure::{Failure, Result, Status};
use super::output::Output;
use super::signal;
use crate::config::Target;
use crate::server::{self, ServeOptions};

/// Arguments of `serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg serve
  streamreg serve --store redis://127.0.0.1:6379 --ttl 1m
  streamreg serve --listen 0.0.0.0:8580 --token-file /etc/streamreg/token

Ends on SIGINT (Ctrl-C), SIGTERM and SIGHUP when running requests are done; a second signal ends it at once.")]
pub struct ServeArgs {
    /// Where to listen; port 0 takes a free one, which is printed. Beyond loopback only with --token-file
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8580")]
    pub listen: SocketAddr,

    /// What is logged to standard error: `info` adds each request, `debug` connections; default: RUST_LOG, else
    /// what is out of the ordinary
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// Serves the store until a signal comes.
///
/// # Errors
///
/// Where the address may not or cannot be listened on, and where the store cannot be opened.
pub async fn run(target: &Target, args: &ServeArgs, out: &mut Output<'_>) -> Result {
    server::check_listen(&args.listen, target.token.is_some()).map_err(Failure::usage)?;
    server::raise_descriptor_limit();
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Failure::new(
            Status::Failed,
            format_args!("cannot listen on {}: {error}; give another address with --listen", args.listen),
        )
    })?;
    let address = listener.local_addr().unwrap_or(args.listen);
    let registry = target.connect().await?;
    // Before the line that says it is ready: until then a signal just ends the process.
    let stop = signal::asked_to_stop();
    out.note(format_args!("listening on http://{address}, store {}", target.name));
    let options = ServeOptions { token: target.token.as_deref().map(Into::into), ..ServeOptions::default() };
    let done = server::serve(registry.clone(), listener, options, stop)
        .await
        .map_err(|error| Failure::new(Status::Failed, format_args!("the server on {address} failed: {error}")));
    // All requests are answered; nothing depends on how the connections close.
    let _ = registry.close().await;
    done
}
