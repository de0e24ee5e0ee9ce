//! The HTTP server.
//!
//! [`serve`] answers on a listener until it is told to stop. The pieces: `app` assembles the routes of
//! `api` and the dashboard, `auth` decides who may write, `problem` makes every error a problem
//! document, `body` and `params` read requests strictly, `connection` bounds what a client may hold,
//! `descriptors` what all readers of events may.

mod api;
mod app;
mod auth;
mod body;
mod connection;
mod descriptors;
mod lists;
mod log;
mod options;
mod params;
mod problem;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use descriptors::raise_descriptor_limit;
pub use options::ServeOptions;

/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Refuses to listen beyond this machine without a token, since anybody could write then.
///
/// # Errors
///
/// One sentence that says what to do.
pub fn check_listen(addr: &SocketAddr, has_token: bool) -> Result<(), String> {
    if has_token || addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "refusing to listen on {addr} without a token, since anybody could write; \
         give --token-file, or listen on 127.0.0.1"
    ))
}

/// Serves a registry on a listener until `shutdown` is done.
///
/// Then nothing new is accepted, idle connections are closed at once, requests under way have
/// [`ServeOptions::grace`] to finish, and the function returns. The registry stays open.
///
/// # Errors
///
/// `InvalidInput` where [`check_listen`] refuses the listener's address; what the listener says when
/// its address cannot be read. A failed connection is that client's matter and only logged.
///
/// # Cancel safety
///
/// When dropped, all connections are cut.
pub async fn serve(
    registry: Arc<dyn Registry>,
    listener: TcpListener,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let addr = listener.local_addr()?;
    check_listen(&addr, options.token.is_some()).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let grace = options.grace;
    let limits = connection::Limits::of(&options);
    let app = app::router(registry, options);
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    tracing::info!(%addr, "serving");
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Finished connections are taken out as they end, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let connection = connection::run(socket, app.clone(), limits, stopped.clone());
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
    tracing::info!(under_way = connections.len(), "stopping");
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!(cut = connections.len(), "requests under way were cut, since they took too long");
        connections.shutdown().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_only_with_a_token() {
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
            assert_eq!(check_listen(&addr, false).is_ok(), loopback, "{addr}");
            assert!(check_listen(&addr, true).is_ok());
        }
    }
}
