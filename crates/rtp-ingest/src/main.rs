//! Registers live RTP sessions in a stream registry. The README describes how to use this program.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rtp_ingest::cli::Args;
use rtp_ingest::ingest::{self, IngestOptions};
use rtp_ingest::listen::Listener;
use rtp_ingest::publish::GivenId;
use rtp_ingest::sdp::SdpFile;
use rtp_ingest::table::TableOptions;
use stream_registry::{ConnectOptions, ErrorKind, Registry};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// Pause between two attempts to connect to the store.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
// Exit statuses, the same as those of `streamreg`.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, message)) => {
            error!("{message}");
            ExitCode::from(status)
        }
    }
}

async fn serve(args: Args) -> Result<(), (u8, String)> {
    let connect_options = args.connect_options().map_err(|message| (USAGE, message))?;
    let listener = Listener::bind(args.listen).map_err(|error| {
        (FAILED, format!("cannot listen on {}: {error}; choose another address with --listen", args.listen))
    })?;
    let stop = stopped().map_err(|error| (FAILED, format!("cannot receive signals: {error}")))?;
    info!(rtp = %listener.rtp_addr(), store = %stream_registry::without_secrets(&args.store), "listening");
    let table = TableOptions::default().max_sessions(args.max_sessions).silence(args.silence);
    let mut options = IngestOptions::default().table(table);
    options.node = args.node;
    options.id = args.id.map(|id| GivenId::new(id, args.on_conflict.into()));
    options.sdp = args.sdp.map(SdpFile::new);
    ingest::run(listener, open(args.store, connect_options), options, stop).await.map_err(|error| {
        let usage = matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Unsupported);
        (if usage { USAGE } else { FAILED }, error.to_string())
    })
}

/// Opens the store; retries every second while it is unreachable.
async fn open(url: String, options: ConnectOptions) -> stream_registry::Result<Arc<dyn Registry>> {
    let mut warned = false;
    loop {
        match stream_registry::connect_with(&url, &options).await {
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut warned, true) {
                    warn!(%error, "the store is unreachable; retrying every second");
                }
            }
            done => return done,
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Completes on the first SIGINT or SIGTERM. A second signal ends the process immediately.
fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        info!("stopping: unregistering all streams; a second signal exits immediately");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(i32::from(FAILED));
        });
    })
}
