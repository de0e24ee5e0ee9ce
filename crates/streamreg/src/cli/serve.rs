//! `serve`: the HTTP server.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use stream_registry::connect;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::failure::{Failure, Result, Status};
use super::log::LogArgs;
use super::output::Output;
use super::store::Target;
use super::{duration, input, signal};
use crate::server::{self, ServeOptions, ServerTls};

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
  streamreg serve --tls-cert cert.pem --tls-key key.pem

On SIGINT (Ctrl-C), SIGTERM or SIGHUP, the server finishes the requests in progress and stops. A second signal exits at once.")]
pub struct ServeArgs {
    /// Address to listen on; `:8580` means all IPv4 addresses; with port 0, a free port is chosen and printed. Any
    /// address other than loopback requires --token-file or --read-only
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8580", value_parser = input::listen_address)]
    pub listen: SocketAddr,

    /// Also accept requests for this host name; may be repeated. Always accepted: localhost and IP addresses
    #[arg(long = "allowed-host", value_name = "NAME", value_parser = parse_host)]
    pub allowed_hosts: Vec<String>,

    /// PEM file with the certificate for HTTPS, followed by intermediate certificates; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Require client certificates that a CA in this PEM file has signed
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Time to wait at the start for a store that is unreachable or busy; `0s` does not wait
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub wait_for_store: Duration,

    /// Options of the log.
    #[command(flatten)]
    pub log: LogArgs,
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

/// Serves the store until a signal arrives.
///
/// # Errors
///
/// Fails if listening on the address is not allowed or not possible, if a file of the certificate is unusable, or if
/// the store cannot be opened.
pub async fn run(target: &Target, args: &ServeArgs, out: &mut Output<'_>) -> Result {
    server::check_listen(&args.listen, target.token.as_ref(), target.is_read_only()).map_err(Failure::usage)?;
    let tls = args.tls()?;
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
    let stop = async move { _ = stop.await };
    let scheme = if tls.is_some() { "https" } else { "http" };
    out.note(format_args!("listening on {scheme}://{address}, store {}", target.name));
    let mut options = ServeOptions::default();
    options.token.clone_from(&target.token);
    options.tls = tls;
    options.allowed_hosts.clone_from(&args.allowed_hosts);
    let done = server::serve(registry.clone(), listener, options, stop)
        .await
        .map_err(|error| Failure::new(Status::Failed, format_args!("the server on {address} failed: {error}")));
    // The server has stopped, so an error from closing the store does not matter.
    let _ = registry.close().await;
    done
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
    timeout(PROBE_TIMEOUT, connect(&url)).await.is_ok_and(|connected| connected.is_ok())
}
