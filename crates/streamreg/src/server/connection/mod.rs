//! A client's connection and its timeouts.
//!
//! `http1` and `http2` serve the requests on a connection. `socket` disconnects a client that does not read from its
//! socket. With HTTP/2, many responses share a socket, so `pieces` notices a client that does not read one of them.

mod http1;
mod http2;
mod pieces;
mod socket;
mod unread;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ServeOptions;
use super::tls::{self, ServerTls};
use socket::{TimedSocket, Writes};
use unread::UnreadLimit;

/// Maximum header timeout. The HTTP library cannot handle arbitrarily long timeouts.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);

/// Maximum size of the buffers of a connection, in bytes. The default of the HTTP library, 400 KiB, would let a
/// thousand event readers that never read occupy 400 MiB. With HTTP/1.1, this size also limits the headers of a
/// request.
const BUFFER_SIZE: usize = 64 * 1024;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Timeouts for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    header: Duration,
    write: Duration,
}

impl Timeouts {
    pub(super) fn of(options: &ServeOptions) -> Self {
        Self { header: options.header_timeout.min(MAX_TIMEOUT), write: options.write_timeout }
    }
}

/// Lets a request handler control how its response is sent. Handlers receive this value as a request extension.
#[derive(Clone)]
pub(super) struct Peer {
    connection: Arc<Connection>,
    /// Limit of the response. With HTTP/1.1, it is that of the socket.
    limit: Arc<UnreadLimit>,
}

/// What all requests of a connection share.
struct Connection {
    stopped: watch::Receiver<bool>,
    writes: Arc<Writes>,
}

impl Peer {
    fn new(stopped: watch::Receiver<bool>, write_timeout: Duration) -> Self {
        let writes = Arc::new(Writes::new(write_timeout));
        let limit = Arc::clone(&writes.limit);
        Self { connection: Arc::new(Connection { stopped, writes }), limit }
    }

    /// Returns the peer of a request whose response has a limit of its own.
    fn with_limit(&self, limit: Arc<UnreadLimit>) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Sets how long the client may leave the response unread before it is disconnected. With HTTP/2, only the stream
    /// of the response is closed.
    pub(super) fn set_write_timeout(&self, timeout: Duration) {
        self.limit.set_timeout(timeout);
    }

    /// Limits the send buffer of the socket. Otherwise, the system would buffer megabytes for a client that never reads
    /// an endless response.
    pub(super) fn shrink_send_buffer(&self) {
        self.connection.writes.shrink_buffer();
    }

    /// Returns whether the client was disconnected because it did not read the response.
    pub(super) fn has_timed_out(&self) -> bool {
        self.limit.is_exceeded() || self.connection.writes.limit.is_exceeded()
    }

    /// Waits until the server stops.
    pub(super) async fn stopped(&self) {
        let mut stopped = self.connection.stopped.clone();
        // An error means that the sender was dropped together with the server.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// Serves a connection until it closes. If `stopped` becomes true, closes the connection as soon as no request is in
/// flight.
///
/// With TLS, the handshake must finish within the timeout for request headers. The handshake selects the version of
/// HTTP. Without TLS, it is HTTP/1.1.
pub(super) async fn run<Respond, Responding>(
    socket: TcpStream,
    tls: Option<ServerTls>,
    respond: Respond,
    timeouts: Timeouts,
    stopped: watch::Receiver<bool>,
) -> Result<()>
where
    Respond: Fn(Request<Incoming>) -> Responding + Clone + Send + 'static,
    Responding: Future<Output = Response> + Send + 'static,
{
    // Responses are small and written at once, so Nagle's algorithm would only delay them.
    let _ = socket.set_nodelay(true);
    let peer = Peer::new(stopped, timeouts.write);
    let Some(tls) = tls else {
        let socket = TimedSocket::new(socket, Arc::clone(&peer.connection.writes));
        return http1::serve(socket, respond, timeouts, peer).await;
    };
    let writes = Arc::clone(&peer.connection.writes);
    let handshake = async {
        let mut first = [0];
        match socket.peek(&mut first).await? {
            // The client has closed the connection.
            0 => Ok(None),
            _ if first[0] != tls::HANDSHAKE_RECORD => tls::reject_plain(socket).await.map(|()| None),
            _ => tls.accept(TimedSocket::new(socket, writes)).await.map(Some),
        }
    };
    let accepted = tokio::select! {
        accepted = timeout(timeouts.header, handshake) => accepted??,
        () = peer.stopped() => None,
    };
    match accepted {
        Some(socket) if tls::is_http2(&socket) => http2::serve(socket, respond, timeouts, peer).await,
        Some(socket) => http1::serve(socket, respond, timeouts, peer).await,
        None => Ok(()),
    }
}
