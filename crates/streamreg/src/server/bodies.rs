//! A limit on the size of all large responses that clients have not read yet.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Failure, Result};

/// Maximum size of all large bodies in memory, in KiB: 256 MiB. A client can leave a response unread until the write
/// timeout, and clients could send many requests until then.
const MAX_KIB: u32 = 256 * 1024;

/// The memory for the bodies of large responses.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self::with_kib(MAX_KIB)
    }
}

impl Bodies {
    fn with_kib(kib: u32) -> Self {
        Self(Arc::new(Semaphore::new(kib as usize)))
    }

    /// Reserves the memory for a body. A body that is larger than the limit needs the whole limit.
    ///
    /// # Errors
    ///
    /// Returns a failure if the clients have not read enough of the earlier bodies.
    pub(super) fn reserve(&self, body: &str) -> Result<Reserved> {
        let kib = kib(body.len()).min(MAX_KIB);
        Arc::clone(&self.0).try_acquire_many_owned(kib).map(Reserved).map_err(|_| Failure::too_many_bodies())
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

/// The memory for a body.
#[derive(Debug)]
pub(super) struct Reserved(OwnedSemaphorePermit);

impl Reserved {
    /// Returns a body that is at most as large as the reserved memory. The memory is free again when the last part of
    /// the body has been sent.
    pub(super) fn body(mut self, body: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        let kib = kib(body.as_ref().len()) as usize;
        let needed = self.0.split(kib.min(self.0.num_permits()));
        Bytes::from_owner(Held { body, _memory: needed })
    }
}

struct Held<B> {
    body: B,
    _memory: Option<OwnedSemaphorePermit>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_body_is_free_again_when_its_last_part_is_dropped() {
        let bodies = Bodies::with_kib(4);
        let large = "x".repeat(3 * 1024);
        let reserved = bodies.reserve(&large).unwrap();
        assert!(bodies.reserve(&large).is_err() && bodies.reserve("small").is_ok());
        let mut body = reserved.body(large.clone());
        let part = body.split_to(1024);
        assert_eq!((part.len(), body.len()), (1024, 2 * 1024));
        drop(body);
        assert!(bodies.reserve(&large).is_err());
        drop(part);
        // The compressed body is smaller than the reserved memory.
        let _compressed = bodies.reserve(&large).unwrap().body(vec![0; 1024]);
        assert!(bodies.reserve(&large).is_ok());
    }

    #[test]
    fn body_above_the_limit_needs_the_whole_limit() {
        let (bodies, huge) = (Bodies::default(), "x".repeat(MAX_KIB as usize * 1024 + 5 * 1024));
        let reserved = bodies.reserve(&huge).unwrap();
        assert!(bodies.reserve(&huge[..1024]).is_err());
        drop(reserved.body(huge));
        assert!(bodies.reserve("x").is_ok());
    }
}
