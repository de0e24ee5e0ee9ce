//! The HTTP server.
//!
//! [`serve`] accepts connections on a listener until its shutdown future completes. `app` assembles the routes of `api`
//! and the dashboard, `host` rejects requests for other host names, `auth` authorises writes, `problem` turns every
//! error into a problem document, and `body` and `params` parse requests strictly. `connection` applies timeouts to
//! each client, `tls` performs the handshakes of HTTPS, and `descriptors` limits the number of event readers.

mod api;
mod app;
mod auth;
mod body;
mod connection;
mod descriptors;
mod host;
mod lists;
mod log;
mod once_per_minute;
mod options;
mod params;
mod problem;
mod request_id;
mod state;
mod tls;

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::{Registry, Secret};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use descriptors::raise_descriptor_limit;
pub use options::ServeOptions;
pub use tls::ServerTls;

/// Pause after failing to accept a connection, for example because the process has no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Checks that a server listens only on loopback if anyone could write: if it has no token, and its store is not
/// read-only.
///
/// # Errors
///
/// Returns a message with the remedy if the address is not loopback and anyone could write.
pub fn check_listen(addr: &SocketAddr, token: Option<&Secret>, read_only: bool) -> Result<(), String> {
    if token.is_some() || read_only || addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "cannot listen on {addr} without a token, because anyone could write; \
         use --token-file or --read-only, or listen on 127.0.0.1"
    ))
}

/// Serves a registry on a listener until `shutdown` completes.
///
/// When `shutdown` completes, the server stops accepting connections and closes idle ones. Requests in flight may take
/// up to [`ServeOptions::grace`] to finish. The registry stays open.
///
/// # Errors
///
/// Returns `InvalidInput` if [`check_listen`] rejects the address of the listener. Returns an I/O error if this address
/// cannot be read. Failed connections are only logged.
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
    check_listen(&addr, options.token.as_ref(), registry.info().read_only)
        .map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;
    let grace = options.grace;
    let timeouts = connection::Timeouts::of(&options);
    let tls = options.tls.clone();
    let follow_changes = async {
        match &tls {
            Some(tls) => tls.follow_changes().await,
            None => pending().await,
        }
    };
    let mut follow_changes = pin!(follow_changes);
    let app = app::Service::new(registry, options);
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    tracing::info!(%addr, "serving");
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = &mut follow_changes => {}
            // Removes finished connections, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let app = app.clone();
                    let respond = move |request| app.clone().respond(request);
                    let connection = connection::run(socket, tls.clone(), respond, timeouts, stopped.clone());
                    connections.spawn(async move {
                        if let Err(fault) = connection.await {
                            tracing::debug!(%peer, %fault, "connection ended");
                        }
                    });
                }
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
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
            assert_eq!(check_listen(&addr, None, false).is_ok(), loopback, "{addr}");
            assert!(check_listen(&addr, None, true).is_ok());
            assert!(check_listen(&addr, Some(&"token".into()), false).is_ok());
        }
    }
}
