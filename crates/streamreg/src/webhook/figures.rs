//! The figures of a webhook, for `/metrics`.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use stream_registry::Timestamp;

/// The status before the first attempt. No response has it.
const UNKNOWN: u16 = u16::MAX;

/// What a webhook has done, and what it still has to do.
#[derive(Debug)]
pub struct Figures {
    name: String,
    /// Number of events that the receiver has accepted.
    pub(super) delivered: AtomicU64,
    /// Number of failed attempts that were or will be repeated.
    pub(super) retried: AtomicU64,
    /// Number of events that the webhook no longer tries to deliver.
    pub(super) given_up: AtomicU64,
    last_status: AtomicU16,
    waiting: Mutex<Waiting>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    events: usize,
    oldest: Option<Timestamp>,
}

impl Figures {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            delivered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            last_status: AtomicU16::new(UNKNOWN),
            waiting: Mutex::default(),
        }
    }

    /// Returns the name of the webhook.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of events by their result.
    pub fn results(&self) -> [(&'static str, u64); 3] {
        [("delivered", &self.delivered), ("retried", &self.retried), ("given_up", &self.given_up)]
            .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
    }

    /// Returns the status of the last attempt: 0 if no response arrived, `None` before the first attempt.
    pub fn last_status(&self) -> Option<u16> {
        Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != UNKNOWN)
    }

    /// Returns the number of events that were read from the change feed and not delivered yet.
    pub fn pending(&self) -> usize {
        self.waiting().events
    }

    /// Returns when the oldest undelivered event happened.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting().oldest
    }

    pub(super) fn set_status(&self, status: u16) {
        self.last_status.store(status, Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, events: usize, oldest: Option<Timestamp>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Waiting { events, oldest };
    }

    fn waiting(&self) -> Waiting {
        // The value is replaced as a whole, so a panic cannot leave a partial value.
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
