//! Response bodies of HTTP/2, whose clients can stop reading one response and go on with others.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::unread::UnreadLimit;

/// Maximum size of a piece of a body, in bytes. This is also the greatest frame that every client accepts (RFC 9113,
/// section 4.2).
pub(super) const PIECE_SIZE: usize = 16 * 1024;

/// Maximum size of the last piece, in bytes.
///
/// The HTTP library takes a piece as soon as the client accepts its first byte, and buffers the rest of it. Nothing
/// observes that buffer after the last piece, so the last piece is small.
const LAST_SIZE: usize = 1024;

/// What the task of a stream knows about its response.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) limit: Arc<UnreadLimit>,
    /// When the HTTP library received a piece that it may not have sent yet.
    piece_since: Mutex<Option<Instant>>,
}

impl Sending {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { limit: Arc::new(UnreadLimit::new(timeout)), piece_since: Mutex::default() }
    }

    pub(super) fn piece_since(&self) -> Option<Instant> {
        *self.piece_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_piece_since(&self, since: Option<Instant>) {
        *self.piece_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// A body in small pieces. The HTTP library asks for a piece only when the client has accepted the one before it.
///
/// In one piece, a large body would be in the buffer of the HTTP library for as long as the client does not read it.
pub(super) struct Pieces {
    body: Body,
    rest: Bytes,
    sending: Arc<Sending>,
}

impl Pieces {
    pub(super) fn new(body: Body, sending: Arc<Sending>) -> Self {
        Self { body, rest: Bytes::new(), sending }
    }
}

/// Returns the size of the next piece of a number of bytes.
fn piece_size(bytes: usize) -> usize {
    if bytes <= LAST_SIZE { bytes } else { (bytes - LAST_SIZE).min(PIECE_SIZE) }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.sending.set_piece_since(None);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => return Poll::Ready(None),
            }
        }
        let size = piece_size(self.rest.len());
        self.sending.set_piece_since(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_limited_and_the_last_one_is_small() {
        for bytes in [0, 1, 500, LAST_SIZE, LAST_SIZE + 1, PIECE_SIZE, PIECE_SIZE + LAST_SIZE, 1_000_003] {
            let (mut left, mut last) = (bytes, 0);
            while left > 0 {
                last = piece_size(left);
                assert!((1..=PIECE_SIZE).contains(&last), "{bytes}: {last}");
                left -= last;
            }
            assert!(last <= LAST_SIZE, "{bytes}: {last}");
        }
    }
}
