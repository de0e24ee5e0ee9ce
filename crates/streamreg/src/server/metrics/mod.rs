//! The metrics of the server, for `/metrics`.
//!
//! `requests` counts requests, `text` writes the two text formats, `families` has every metric of the server, and
//! `streams` those of single streams. No label has a value that a client chooses, except in the metrics of single
//! streams, whose number is limited.

pub(super) mod families;
mod requests;
pub(super) mod streams;
pub(super) mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use stream_registry::http::wire::RejectedKind;

pub(super) use requests::Requests;

/// What the server counts itself. The registry counts the calls to the store.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) requests: Requests,
    /// Number of event readers that were disconnected because they did not read.
    pub(super) dropped_readers: AtomicU64,
    /// Number of rejected items of batches, one counter for each of [`RejectedKind::ALL`].
    rejected: [AtomicU64; RejectedKind::ALL.len()],
    /// When the process started, in seconds since 1970. The server is created within milliseconds of that time.
    started: f64,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            requests: Requests::new(),
            dropped_readers: AtomicU64::new(0),
            rejected: Default::default(),
            started: started.as_secs_f64(),
        }
    }

    /// Counts a rejected item, whose kind is the element of [`RejectedKind::ALL`] at this index.
    pub(super) fn count_rejected(&self, kind: usize) {
        self.rejected[kind].fetch_add(1, Ordering::Relaxed);
    }
}
