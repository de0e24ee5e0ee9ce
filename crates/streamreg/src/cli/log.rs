//! The log of the server and of the bridge, on standard error.

use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::failure::{Failure, Result};
use super::messages::Messages;

/// Options of the log.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Log filter for standard error, e.g. `info` or `debug` [default: RUST_LOG, else start, stop and problems]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// Format of the log: lines of text, or one JSON object per line, also for notes and error messages
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines of text.
    Text,
    /// One JSON object per line.
    Json,
}

/// The default log filter for a server. It omits the request log, because the demo alone sends 20 requests per second.
const SERVER_LOG: &str = "info,streamreg::server::log=warn";

/// The default log filter for a bridge. It omits warnings about dropped leases. After a long outage of the store, the
/// bridge drops the leases of all streams that have ended since, and each lease would log a warning. Notes of the
/// bridge itself are always logged.
const BRIDGE_LOG: &str = "warn,streamreg::cli::output=info,stream_registry::lease::handle=error";

/// Writes the error with which a command ends, as a JSON line. This does not use the log: the log may not have been
/// started, may filter the line, or may lose it when the program exits.
pub(super) fn error_as_json(message: &str) {
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(io::stderr).finish();
    tracing::subscriber::with_default(subscriber, || tracing::error!("{message}"));
}

/// Sends the log of the server to standard error.
pub(super) fn start_server(args: &LogArgs) -> Result {
    start(args, SERVER_LOG, BoxMakeWriter::new(io::stderr))
}

/// Sends the log of the bridge to standard error. The tasks of the bridge answer hooks, so they must not wait for a
/// blocked standard error.
pub(super) fn start_bridge(args: &LogArgs) -> Result {
    let lines = Messages::start().notes();
    start(args, BRIDGE_LOG, BoxMakeWriter::new(move || lines.clone()))
}

/// Sends the log of a client command to standard error. By default, client commands log nothing, because they print
/// their own messages.
pub(super) fn start_client() -> Result {
    let args = LogArgs { log: None, log_format: LogFormat::Text };
    start(&args, "off", BoxMakeWriter::new(io::stderr))
}

fn start(args: &LogArgs, default: &str, writer: BoxMakeWriter) -> Result {
    let variable = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let (name, filter) = match (args.log.clone(), variable) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(filter)) => ("RUST_LOG", filter),
        (None, None) => ("the log filter", default.to_owned()),
    };
    let parsed = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format_args!(
            "{name}: invalid log filter {filter:?} ({error}); expected e.g. info or streamreg=debug"
        ))
    })?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(parsed).with_writer(writer).with_ansi(io::stderr().is_terminal());
    // Ignore the error: a test may have set a subscriber already.
    let _ = match args.log_format {
        LogFormat::Text => tracing::subscriber::set_global_default(subscriber.finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(subscriber.json().flatten_event(true).finish()),
    };
    Ok(())
}
