//! The HTTP server.
//!
//! [`serve`] accepts connections on a listener until its shutdown future completes. `app` assembles the routes of `api`
//! and the dashboard, `access` decides which requests are accepted, `problem` turns every error into a problem
//! document, and `body` and `params` parse requests strictly. `metrics` counts requests and writes the metrics.
//! `connection` applies timeouts to each client, `tls` performs the handshakes of HTTPS, and `descriptors` limits the
//! number of event readers.

pub(crate) mod access;
mod api;
mod app;
mod bodies;
mod body;
mod codes;
mod connection;
mod descriptors;
mod lists;
mod log;
mod metrics;
mod once_per_minute;
mod openapi;
mod options;
mod params;
mod problem;
mod reloaded;
mod request_id;
mod routes;
mod state;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::once_per_minute::OncePerMinute;

pub use access::{AccessFile, AllowedOrigin, TokenFiles};
pub use descriptors::raise_descriptor_limit;
pub use options::ServeOptions;
pub use tls::ServerTls;

/// Pause after failing to accept a connection, for example because the process has no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Checks that the options about tokens fit together, and that a server listens only on loopback if anyone could write:
/// if writes need no token, and its store is not read-only.
///
/// # Errors
///
/// Returns a message with the remedy.
pub fn check_access(addr: &SocketAddr, options: &ServeOptions, read_only: bool) -> Result<(), String> {
    let ServeOptions { token, read_token, access_file, .. } = options;
    if access_file.is_some() && (token.is_some() || read_token.is_some()) {
        return Err("--access-file replaces --token-file and --read-token-file; omit these options and their \
                    variables, and list the tokens in the access file"
            .to_owned());
    }
    if read_token.is_some() && token.is_none() && !read_only {
        return Err("--read-token-file also needs a token for writes; add --token-file or --read-only".to_owned());
    }
    if token.is_some() || access_file.is_some() || read_only || addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "cannot listen on {addr} without a token, because anyone could write; \
         use --token-file, --access-file or --read-only, or listen on 127.0.0.1"
    ))
}

/// Serves a registry on a listener until `shutdown` completes.
///
/// When `shutdown` completes, the server stops accepting connections and closes idle ones. Requests in flight may take
/// up to [`ServeOptions::grace`] to finish. The registry stays open.
///
/// # Errors
///
/// Returns `InvalidInput` if [`check_access`] rejects the options or the address of the listener. Returns an I/O error
/// if this address cannot be read. Failed connections are only logged.
///
/// # Cancel safety
///
/// Dropping the future closes all connections.
pub async fn serve(
    registry: Arc<dyn Registry>,
    listener: TcpListener,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let addr = listener.local_addr()?;
    check_access(&addr, &options, registry.info().read_only)
        .map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;
    let grace = options.grace;
    let timeouts = connection::Timeouts::of(&options);
    let tls = options.tls.clone();
    let app = app::Service::new(registry, options);
    // Tasks that run as long as the server. They are aborted when the set is dropped.
    let mut background = JoinSet::new();
    background.spawn(app.clone().follow_access());
    if let Some(tls) = tls.clone() {
        background.spawn(async move { tls.follow_changes().await });
    }
    let (stop, stopped) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(descriptors::connection_limit()));
    let (no_slot, not_accepted) = (OncePerMinute::default(), OncePerMinute::default());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    tracing::info!(%addr, "serving");
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Removes finished connections, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            (accepted, slot) = accept(&listener, &slots, &no_slot) => match accepted {
                Ok((socket, peer)) => {
                    let app = app.clone();
                    let respond = move |request| app.clone().respond(request);
                    let connection = connection::run(socket, tls.clone(), respond, timeouts, stopped.clone());
                    connections.spawn(async move {
                        if let Err(fault) = connection.await {
                            tracing::debug!(%peer, %fault, "connection ended");
                        }
                        drop(slot);
                    });
                }
                Err(fault) => {
                    if let Some(skipped) = not_accepted.admit() {
                        tracing::warn!(%fault, skipped, "cannot accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    tracing::info!(connections = connections.len(), "stopping");
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "closed connections whose requests did not finish in time");
        connections.shutdown().await;
    }
    Ok(())
}

/// Accepts a connection as soon as there is a slot for it. Without a limit, connections could take the file descriptors
/// that the server needs to read its files and to reach its store.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    no_slot: &OncePerMinute,
) -> (io::Result<(TcpStream, SocketAddr)>, Option<OwnedSemaphorePermit>) {
    if slots.available_permits() == 0
        && let Some(skipped) = no_slot.admit()
    {
        tracing::warn!(skipped, "too many connections; new ones wait (raise ulimit -n or LimitNOFILE)");
    }
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    (listener.accept().await, slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_on_non_loopback_address_requires_a_token_or_a_read_only_store() {
        for (addr, loopback) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!(check_access(&addr, &ServeOptions::default(), false).is_ok(), loopback, "{addr}");
            assert!(check_access(&addr, &ServeOptions::default(), true).is_ok());
            assert!(check_access(&addr, &ServeOptions::default().token("token"), false).is_ok());
        }
    }

    #[test]
    fn token_for_reads_requires_a_token_for_writes_or_a_read_only_store() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let options = ServeOptions::default().read_token("r");
        assert!(check_access(&addr, &options, false).unwrap_err().contains("--read-only"));
        assert!(check_access(&addr, &options, true).is_ok());
        assert!(check_access(&addr, &options.token("w"), false).is_ok());
    }
}
