//! `serve`: the HTTP server.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use stream_registry::connect;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::failure::{Failure, Result, Status};
use super::log::LogArgs;
use super::output::Output;
use super::store::{Target, exposure, token};
use super::{duration, input, signal, webhooks};
use crate::server::{self, AccessFile, AllowedOrigin, ServeOptions, ServerTls, TokenFiles};
use crate::webhook::{Retry, Webhook, Webhooks};

/// Maximum time to ask a server that already listens on the address whether it is this program.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Arguments of `serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg serve
  streamreg serve --store redis://127.0.0.1:6379 --ttl 1m
  streamreg serve --listen :8580 --token-file /etc/streamreg/token \\
    --allowed-host registry.example.com
  streamreg serve --listen :8580 --access-file /etc/streamreg/access.toml
  streamreg serve --tls-cert cert.pem --tls-key key.pem
  streamreg serve --config /etc/streamreg/streamreg.toml
  streamreg serve --print-config

Each option is also a key of the configuration file, with `_` for `-`, and a variable such as STREAMREG_LISTEN.

On SIGINT (Ctrl-C), SIGTERM or SIGHUP, the server finishes the requests in progress and stops. A second signal exits at \
once; SIGTERM or SIGHUP repeated within 1 s does not count.")]
pub struct ServeArgs {
    /// Address to listen on; `:8580` means all IPv4 addresses; with port 0, a free port is chosen and printed. Any
    /// address other than loopback requires --token-file, --access-file or --read-only
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8580", value_parser = input::listen_address)]
    pub listen: SocketAddr,

    /// Also accept requests for this host name; may be repeated. Always accepted: localhost and IP addresses
    #[arg(long = "allowed-host", value_name = "NAME", value_parser = parse_host)]
    pub allowed_hosts: Vec<String>,

    /// Accept the named tokens in this TOML file, each with its own rights; `streamreg token new` creates them. The
    /// file is read again when it changes
    #[arg(long, value_name = "FILE")]
    pub access_file: Option<PathBuf>,

    /// File whose first line is the token that reads need, read again when it changes; writes need the token in
    /// --token-file
    #[arg(long, value_name = "FILE")]
    pub read_token_file: Option<PathBuf>,

    /// Let web pages of this origin read, e.g. `https://dashboard.example.com`; `*` means all origins; may be repeated.
    /// If writes need a token, these pages can also write with a token
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allowed_origins: Vec<AllowedOrigin>,

    /// PEM file with the certificate for HTTPS, followed by intermediate certificates; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Require client certificates that a CA in this PEM file has signed
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Directory for what the server must remember across restarts: the positions of webhooks. Created if it is missing;
    /// one server uses it at a time
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// A receiver of events, as a TOML document: a table `[[webhook]]` of the configuration file
    #[arg(long = "webhook", value_name = "TOML", hide = true, value_parser = webhooks::Entry::parse)]
    pub webhooks: Vec<webhooks::Entry>,

    /// Time to wait at the start for a store that is unreachable or busy; `0s` does not wait
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub wait_for_store: Duration,

    /// Options of the log.
    #[command(flatten)]
    pub log: LogArgs,

    /// Check the effective configuration, print it as a configuration file without secrets, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Parses a host name without scheme and port.
fn parse_host(name: &str) -> std::result::Result<String, String> {
    let is_valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_valid { Ok(name.to_owned()) } else { Err("expected a host name such as registry.example.com".to_owned()) }
}

impl ServeArgs {
    /// Reads the files of the certificate, if there is one.
    fn tls(&self) -> Result<Option<ServerTls>> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let tls = ServerTls::open(cert.clone(), key.clone(), self.tls_client_ca.clone());
        tls.map(Some).map_err(|error| Failure::usage(error.message()))
    }
}

/// What a server needs before it listens.
pub(super) struct Plan<'a> {
    options: ServeOptions,
    webhooks: Vec<Webhook>,
    state_dir: &'a Path,
}

/// Checks the arguments, reads all files that they name, and prints warnings. Starts nothing and writes no file.
///
/// # Errors
///
/// Fails if listening on the address is not allowed, if arguments do not fit together, or if a file is unusable.
pub(super) fn prepare<'a>(target: &Target, args: &'a ServeArgs, out: &mut Output<'_>) -> Result<Plan<'a>> {
    let options = options(target, args)?;
    let webhooks = webhooks::open(&args.webhooks)?;
    let state_dir = match &args.state_dir {
        Some(dir) => dir.as_path(),
        None if webhooks.is_empty() => Path::new(""),
        None => {
            return Err(Failure::usage(
                "webhooks need a directory for their positions; set state_dir, e.g. /var/lib/streamreg",
            ));
        }
    };
    let secrets = [("--read-token-file", &args.read_token_file), ("--tls-key", &args.tls_key)];
    for warning in secrets.into_iter().filter_map(|(option, file)| exposure(option, file.as_deref()?)) {
        out.warn(warning);
    }
    for warning in args.webhooks.iter().filter_map(webhooks::Entry::exposure) {
        out.warn(warning);
    }
    server::check_access(&args.listen, &options, target.is_read_only()).map_err(Failure::usage)?;
    Ok(Plan { options, webhooks, state_dir })
}

/// Serves the store until a signal arrives.
///
/// # Errors
///
/// Fails if the configuration is invalid, if listening on the address is not possible, or if the store cannot be opened.
pub async fn run(target: &Target, args: &ServeArgs, out: &mut Output<'_>) -> Result {
    let Plan { mut options, webhooks, state_dir } = prepare(target, args, out)?;
    server::raise_descriptor_limit();
    let listener = match TcpListener::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let is_running = error.kind() == ErrorKind::AddrInUse && is_streamreg(args.listen).await;
            let reason = if is_running { "streamreg is already running there".into() } else { error.to_string() };
            let message =
                format_args!("cannot listen on {}: {reason}; choose another address with --listen", args.listen);
            return Err(Failure::new(Status::Failed, message));
        }
    };
    let address = listener.local_addr().unwrap_or(args.listen);
    let registry = target.connect_within(args.wait_for_store, out).await?;
    // Install the signal handlers before printing that the server is ready. Until then, a signal kills the process.
    let stop = signal::stop_requested(None);
    let (stopping, stopped) = watch::channel(false);
    let stop = async move {
        _ = stop.await;
        stopping.send_replace(true);
    };
    let webhooks = Webhooks::start(webhooks, state_dir, &registry, Retry::default(), options.grace, &stopped).await;
    let webhooks = webhooks.map_err(|fault| Failure::new(Status::Failed, fault))?;
    options.webhooks = webhooks.figures();
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    out.note(format_args!("listening on {scheme}://{address}, store {}", target.name));
    let done = server::serve(registry.clone(), listener, options, stop)
        .await
        .map_err(|error| Failure::new(Status::Failed, format_args!("the server on {address} failed: {error}")));
    webhooks.finished().await;
    // The server has stopped, so an error from closing the store does not matter.
    let _ = registry.close().await;
    done
}

fn options(target: &Target, args: &ServeArgs) -> Result<ServeOptions> {
    let mut options = ServeOptions::default();
    options.token.clone_from(&target.token);
    options.read_token = args.read_token_file.as_deref().map(|file| token("--read-token-file", file)).transpose()?;
    options.token_files = TokenFiles { write: target.token_file.clone(), read: args.read_token_file.clone() };
    let access_file = args.access_file.as_ref().map(AccessFile::read).transpose();
    options.access_file = access_file.map_err(|fault| Failure::usage(format_args!("--access-file {fault}")))?;
    options.allowed_origins.clone_from(&args.allowed_origins);
    options.allowed_hosts.clone_from(&args.allowed_hosts);
    options.tls = args.tls()?;
    Ok(options)
}

/// Returns whether a `streamreg` server answers at an address.
async fn is_streamreg(listen: SocketAddr) -> bool {
    // A client cannot connect to the address that stands for all addresses.
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    // Connecting reads the description of the server, and fails if another kind of server answers.
    let url = format!("http://{}", SocketAddr::new(ip, listen.port()));
    // A server that needs HTTPS or a token rejects the request with a problem document.
    let connected = timeout(PROBE_TIMEOUT, connect(&url)).await;
    connected.is_ok_and(|connected| connected.err().is_none_or(|error| error.is_store_reply()))
}
