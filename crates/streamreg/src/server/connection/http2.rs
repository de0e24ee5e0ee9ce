//! Connections with HTTP/2 (RFC 9113).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use super::pieces::{PIECE_SIZE, Pieces, Sending};
use super::unread::UnreadTimer;
use super::{Peer, Result, Timeouts};

/// Maximum number of requests that a connection has in flight. RFC 9113, section 6.5.2, recommends at least 100.
const MAX_STREAMS: u32 = 100;
/// Maximum size of the headers of a request, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// Maximum number of bytes of a request body that the server has not read yet.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all requests of a connection.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// Time for a client without requests in flight to close its connection, after the server has asked for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// The response of the stream whose task is running.
    static SENDING: Arc<Sending>;
}

/// Serves the requests on a connection.
///
/// The timeout for headers limits how long a connection stays open without a request in flight, so a client cannot
/// occupy it by incomplete headers. With requests in flight, the client must respond to a ping within this time.
pub(super) async fn serve<Socket, Respond, Responding>(
    socket: Socket,
    respond: Respond,
    timeouts: Timeouts,
    peer: Peer,
) -> Result<()>
where
    Socket: AsyncRead + AsyncWrite + Unpin,
    Respond: Fn(Request<Incoming>) -> Responding + Clone + Send + 'static,
    Responding: Future<Output = Response> + Send + 'static,
{
    let streams = Streams { write_timeout: timeouts.write, open: watch::Sender::new(0) };
    let handle = peer.clone();
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(timeouts.header)
        .keep_alive_timeout(timeouts.header)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(PIECE_SIZE)
        .serve_connection(
            TokioIo::new(socket),
            service_fn(move |mut request: Request<Incoming>| {
                let (respond, handle) = (respond.clone(), handle.clone());
                async move {
                    // Every stream runs in a task of `Streams`, which has set the value.
                    let sending = SENDING.try_with(Arc::clone);
                    let sending = sending.unwrap_or_else(|_| Arc::new(Sending::new(timeouts.write)));
                    request.extensions_mut().insert(handle.with_limit(Arc::clone(&sending.limit)));
                    let response = respond(request).await;
                    Ok::<_, Infallible>(response.map(|body| Pieces::new(body, sending)))
                }
            }),
        );
    let mut connection = pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return Ok(done?),
        () = peer.stopped() => {}
        () = streams.none_for(timeouts.header) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        done = connection => Ok(done?),
        () = streams.none_for(CLOSE_TIMEOUT) => Ok(()),
    }
}

/// Runs the streams of a connection, each in a task of its own. A stream is one request and its response.
#[derive(Clone)]
struct Streams {
    write_timeout: Duration,
    /// Number of open streams.
    open: watch::Sender<usize>,
}

impl Streams {
    /// Waits until there has been no open stream for a time.
    async fn none_for(&self, time: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // `self` has the sender, so receiving cannot fail.
            let _ = open.wait_for(|open| *open == 0).await;
            if timeout(time, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl<Stream: Future<Output = ()> + Send + 'static> Executor<Stream> for Streams {
    fn execute(&self, stream: Stream) {
        let open = OpenStream::new(self.open.clone());
        let sending = Arc::new(Sending::new(self.write_timeout));
        tokio::spawn(SENDING.scope(Arc::clone(&sending), async move {
            run(stream, &sending).await;
            drop(open);
        }));
    }
}

/// Runs a stream until it ends, or until its client has left the response unread for too long. Dropping the future of
/// the stream then resets the stream and discards what the HTTP library has buffered for it.
async fn run(stream: impl Future<Output = ()>, sending: &Sending) {
    let mut stream = pin!(stream);
    let mut timer = UnreadTimer::default();
    poll_fn(|context| match stream.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => timer.poll(sending.piece_since(), &sending.limit, context),
    })
    .await;
}

/// Counts an open stream until it is dropped.
struct OpenStream(watch::Sender<usize>);

impl OpenStream {
    fn new(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
