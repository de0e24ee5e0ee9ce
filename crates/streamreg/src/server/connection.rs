//! One client's connection, and what it may hold of the server.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use stream_registry::http::wire::millis;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::ServeOptions;

/// As good as for ever; the HTTP library cannot count further than its clock goes.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    header: Duration,
    write: Duration,
}

impl Limits {
    pub(super) fn of(options: &ServeOptions) -> Self {
        Self { header: options.header_timeout.min(LONGEST), write: options.write_timeout }
    }
}

/// What a handler may know and say of the connection that a request came over; in the request's extensions.
#[derive(Clone)]
pub(super) struct Peer {
    stopped: watch::Receiver<bool>,
    /// How long a write may wait, in milliseconds.
    patience: Arc<AtomicU64>,
}

impl Peer {
    fn new(stopped: watch::Receiver<bool>, patience: Duration) -> Self {
        let peer = Self { stopped, patience: Arc::default() };
        peer.be_patient_for(patience);
        peer
    }

    /// Sets how long the client may refuse to take more.
    pub(super) fn be_patient_for(&self, patience: Duration) {
        self.patience.store(millis(patience), Ordering::Relaxed);
    }

    /// Waits until the server stops.
    pub(super) async fn stopped(&mut self) {
        // An error means that the sender is gone, and the server with it.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }
}

/// Answers a connection's requests until it ends, or `stopped` turns true and none is under way.
///
/// `axum::serve` cannot bound the time that a request's head takes, hence this.
pub(super) async fn run(
    socket: TcpStream,
    app: Router,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) -> hyper::Result<()> {
    // Answers are small and written at once; a failure costs time only.
    let _ = socket.set_nodelay(true);
    let mut peer = Peer::new(stopped, limits.write);
    let io = TokioIo::new(PatientWriter::new(socket, peer.patience.clone()));
    let app = TowerToHyperService::new(app);
    let from = peer.clone();
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(limits.header).serve_connection(
            io,
            service_fn(move |mut request: Request<Incoming>| {
                // What the last request over this connection has changed.
                from.be_patient_for(limits.write);
                request.extensions_mut().insert(from.clone());
                app.call(request)
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

/// Ends a connection whose peer takes nothing for too long.
struct PatientWriter {
    socket: TcpStream,
    /// In milliseconds.
    patience: Arc<AtomicU64>,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl PatientWriter {
    fn new(socket: TcpStream, patience: Arc<AtomicU64>) -> Self {
        Self { socket, patience, deadline: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for PatientWriter {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buf)
    }
}

impl AsyncWrite for PatientWriter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, buf);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, bufs);
        self.watch(context, written)
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
