//! A client's connection and its timeouts.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stream_registry::http::wire::millis;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};

use super::ServeOptions;
use super::tls::{self, ServerTls};

/// Maximum header timeout. The HTTP library cannot handle arbitrarily long timeouts.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);

/// Maximum size of the buffers of a connection, in bytes. The default of the HTTP library, 400 KiB, would let a
/// thousand event readers that never read occupy 400 MiB. This size also limits the headers of a request.
const BUFFER_SIZE: usize = 64 * 1024;

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

/// Lets a request handler control the request's connection. Handlers receive this value as a request extension.
#[derive(Clone)]
pub(super) struct Peer {
    stopped: watch::Receiver<bool>,
    writing: Arc<Writing>,
}

/// Settings for writes to the socket of a connection.
#[derive(Debug, Default)]
struct Writing {
    /// Timeout for blocked writes, in milliseconds.
    timeout: AtomicU64,
    /// Whether the next write first sets a small send buffer.
    shrinks_buffer: AtomicBool,
    /// Whether the connection has failed because the client did not read.
    timed_out: AtomicBool,
}

impl Peer {
    fn new(stopped: watch::Receiver<bool>, write_timeout: Duration) -> Self {
        let peer = Self { stopped, writing: Arc::default() };
        peer.set_write_timeout(write_timeout);
        peer
    }

    /// Sets how long a client may leave responses unread before it is disconnected.
    pub(super) fn set_write_timeout(&self, timeout: Duration) {
        self.writing.timeout.store(millis(timeout), Ordering::Relaxed);
    }

    /// Limits the send buffer of the socket. Otherwise, the system would buffer megabytes for a client that never reads
    /// an endless response.
    pub(super) fn shrink_send_buffer(&self) {
        self.writing.shrinks_buffer.store(true, Ordering::Relaxed);
    }

    /// Returns whether the client was disconnected because it did not read the response.
    pub(super) fn has_timed_out(&self) -> bool {
        self.writing.timed_out.load(Ordering::Relaxed)
    }

    /// Waits until the server stops.
    pub(super) async fn stopped(&mut self) {
        // An error means that the sender was dropped together with the server.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }
}

/// Serves a connection until it closes. If `stopped` becomes true, closes the connection as soon as no request is in
/// flight.
///
/// With TLS, the handshake must finish within the timeout for request headers.
pub(super) async fn run<Responding: Future<Output = Response>>(
    socket: TcpStream,
    tls: Option<ServerTls>,
    respond: impl Fn(Request<Incoming>) -> Responding,
    timeouts: Timeouts,
    stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Responses are small and written at once, so Nagle's algorithm would only delay them.
    let _ = socket.set_nodelay(true);
    let mut peer = Peer::new(stopped, timeouts.write);
    let Some(tls) = tls else {
        let socket = TimedWriter::new(socket, Arc::clone(&peer.writing));
        return Ok(serve_http(socket, respond, timeouts, peer).await?);
    };
    let writing = Arc::clone(&peer.writing);
    let handshake = async {
        let mut first = [0];
        match socket.peek(&mut first).await? {
            // The client has closed the connection.
            0 => Ok(None),
            _ if first[0] != tls::HANDSHAKE_RECORD => tls::reject_plain(socket).await.map(|()| None),
            _ => tls.accept(TimedWriter::new(socket, writing)).await.map(Some),
        }
    };
    let accepted = tokio::select! {
        accepted = timeout(timeouts.header, handshake) => accepted??,
        () = peer.stopped() => None,
    };
    match accepted {
        Some(socket) => Ok(serve_http(socket, respond, timeouts, peer).await?),
        None => Ok(()),
    }
}

/// Serves the requests on a connection.
///
/// This function replaces `axum::serve`, which has no timeout for request headers.
async fn serve_http<Socket, Responding>(
    socket: Socket,
    respond: impl Fn(Request<Incoming>) -> Responding,
    timeouts: Timeouts,
    mut peer: Peer,
) -> hyper::Result<()>
where
    Socket: AsyncRead + AsyncWrite + Unpin,
    Responding: Future<Output = Response>,
{
    let handle = peer.clone();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .max_buf_size(BUFFER_SIZE)
        .serve_connection(
            TokioIo::new(socket),
            service_fn(move |mut request: Request<Incoming>| {
                // The previous request on this connection may have changed the timeout, so reset the timeout.
                handle.set_write_timeout(timeouts.write);
                request.extensions_mut().insert(handle.clone());
                let response = respond(request);
                async move { Ok::<_, Infallible>(response.await) }
            }),
        );
    let mut connection = pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done,
        () = peer.stopped() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// A socket that fails with `TimedOut` if a write stays blocked because the peer does not read.
struct TimedWriter {
    socket: TcpStream,
    writing: Arc<Writing>,
    /// Timer that runs while a write is blocked.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedWriter {
    fn new(socket: TcpStream, writing: Arc<Writing>) -> Self {
        Self { socket, writing, deadline: None }
    }

    /// Sets a small send buffer if the handler of the request has asked for one.
    fn shrink_buffer_if_requested(&self) {
        if self.writing.shrinks_buffer.swap(false, Ordering::Relaxed) {
            #[cfg(unix)]
            // If this fails, the client only occupies more memory of the system.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, BUFFER_SIZE);
        }
    }

    /// Starts the timeout when a write blocks, and clears the timeout when a write succeeds.
    fn limit<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let timeout = Duration::from_millis(self.writing.timeout.load(Ordering::Relaxed));
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => {
                self.writing.timed_out.store(true, Ordering::Relaxed);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for TimedWriter {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buf)
    }
}

impl AsyncWrite for TimedWriter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shrink_buffer_if_requested();
        let written = Pin::new(&mut self.socket).poll_write(context, buf);
        self.limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shrink_buffer_if_requested();
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, bufs);
        self.limit(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
