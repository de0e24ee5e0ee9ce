//! The socket of a connection, which limits how long a write stays blocked.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::BUFFER_SIZE;
use super::unread::{UnreadLimit, UnreadTimer};

/// Maximum size of a write whose buffers are joined, in bytes. Most responses with one record are smaller.
///
/// A list of buffers costs the system more than one buffer, even if the buffers have to be copied into it first.
const SMALL_WRITE: usize = 2 * 1024;

/// Settings for the writes to a socket.
#[derive(Debug)]
pub(super) struct Writes {
    /// Timeout for blocked writes.
    pub(super) limit: Arc<UnreadLimit>,
    /// Whether the next write first sets a small send buffer.
    shrinks_buffer: AtomicBool,
}

impl Writes {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { limit: Arc::new(UnreadLimit::new(timeout)), shrinks_buffer: AtomicBool::new(false) }
    }

    pub(super) fn shrink_buffer(&self) {
        self.shrinks_buffer.store(true, Ordering::Relaxed);
    }
}

/// A socket that fails with `TimedOut` if a write stays blocked because the peer does not read.
pub(super) struct TimedSocket {
    socket: TcpStream,
    writes: Arc<Writes>,
    /// When the pending write was blocked.
    blocked_since: Option<Instant>,
    timer: UnreadTimer,
}

impl TimedSocket {
    pub(super) fn new(socket: TcpStream, writes: Arc<Writes>) -> Self {
        Self { socket, writes, blocked_since: None, timer: UnreadTimer::default() }
    }

    /// Sets a small send buffer if the handler of a request has asked for one.
    fn shrink_buffer_if_requested(&self) {
        // An atomic exchange would cost more than the rest of this function.
        if self.writes.shrinks_buffer.load(Ordering::Relaxed) {
            self.writes.shrinks_buffer.store(false, Ordering::Relaxed);
            #[cfg(unix)]
            // If this fails, the client only occupies more memory of the system.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, BUFFER_SIZE);
        }
    }

    /// Starts the timeout when a write blocks, and clears the timeout when a write succeeds.
    fn limit<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked_since = None;
            return written;
        }
        let since = *self.blocked_since.get_or_insert_with(Instant::now);
        match self.timer.poll(Some(since), &self.writes.limit, context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Copies the buffers into `space`, one after the other. Returns `None` if they do not fit.
fn join<'a>(bufs: &[IoSlice<'_>], space: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut end = 0;
    for buf in bufs {
        space.get_mut(end..end + buf.len())?.copy_from_slice(buf);
        end += buf.len();
    }
    Some(&space[..end])
}

impl AsyncRead for TimedSocket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buf)
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shrink_buffer_if_requested();
        let written = Pin::new(&mut self.socket).poll_write(context, buf);
        self.limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs {
            return self.poll_write(context, buf);
        }
        let mut space = [0; SMALL_WRITE];
        if let Some(joined) = join(bufs, &mut space) {
            return self.poll_write(context, joined);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_joined_in_order_if_they_fit() {
        let (head, body) = ([b'h'; 200], [b'b'; 100]);
        let bufs = [IoSlice::new(&head), IoSlice::new(&[]), IoSlice::new(&body)];
        let joined = [&head[..], &body[..]].concat();
        assert_eq!(join(&bufs, &mut [0; 300]), Some(&joined[..]));
        assert_eq!(join(&bufs, &mut [0; 400]), Some(&joined[..]));
        assert_eq!(join(&bufs, &mut [0; 299]), None);
    }
}
