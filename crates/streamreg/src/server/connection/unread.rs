//! The time for which a client may leave data unread.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use stream_registry::http::wire::millis;
use tokio::time::{Instant, Sleep, sleep_until};

/// Limits how long a client may leave data unread, and records whether it did so for too long.
#[derive(Debug)]
pub(super) struct UnreadLimit {
    /// The timeout in milliseconds.
    timeout: AtomicU64,
    exceeded: AtomicBool,
}

impl UnreadLimit {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout: AtomicU64::new(millis(timeout)), exceeded: AtomicBool::new(false) }
    }

    pub(super) fn set_timeout(&self, timeout: Duration) {
        self.timeout.store(millis(timeout), Ordering::Relaxed);
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

/// A timer that runs while data is unread.
#[derive(Debug, Default)]
pub(super) struct UnreadTimer(Option<Pin<Box<Sleep>>>);

impl UnreadTimer {
    /// Completes when the client has exceeded the limit. `since` is the time at which the data became unread, or `None`
    /// if the client has read everything.
    pub(super) fn poll(&mut self, since: Option<Instant>, limit: &UnreadLimit, context: &mut Context<'_>) -> Poll<()> {
        let timeout = Duration::from_millis(limit.timeout.load(Ordering::Relaxed));
        // A timeout beyond the range of the clock never ends.
        let Some(deadline) = since.and_then(|since| since.checked_add(timeout)) else {
            self.0 = None;
            return Poll::Pending;
        };
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        let passed = timer.as_mut().poll(context);
        if passed.is_ready() {
            limit.exceeded.store(true, Ordering::Relaxed);
        }
        passed
    }
}
