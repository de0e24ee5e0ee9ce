//! Connections with HTTP/1.1.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BUFFER_SIZE, Peer, Result, Timeouts};

/// Serves the requests on a connection.
///
/// This function replaces `axum::serve`, which has no timeout for request headers.
pub(super) async fn serve<Socket, Responding>(
    socket: Socket,
    respond: impl Fn(Request<Incoming>) -> Responding,
    timeouts: Timeouts,
    peer: Peer,
) -> Result<()>
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
        biased;
        done = connection.as_mut() => return Ok(done?),
        () = peer.stopped() => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}
