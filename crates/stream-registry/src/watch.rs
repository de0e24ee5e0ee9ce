//! The change feed as its readers see it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use std::time::Duration;

use crate::Outcome;
use crate::stream::{EndReason, Revision, Stream, Timestamp};

/// How many events a feed keeps, about.
pub(crate) const RETAINED: usize = 100_000;
/// After how long an idle watch says that it is alive.
pub(crate) const ALIVE_AFTER: Duration = Duration::from_secs(10);

/// Where a watch begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchFrom {
    /// With the next change.
    #[default]
    Now,
    /// After this revision.
    Revision(Revision),
}

/// What happened to a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// It was registered.
    Registered,
    /// Its record was replaced.
    Updated,
    /// Its status was set.
    Status,
    /// Descriptive fields were set.
    Patched,
    /// Another registration took its place.
    TakenOver,
}

impl What {
    /// Returns what happened as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Updated => "updated",
            Self::Status => "status",
            Self::Patched => "patched",
            Self::TakenOver => "taken_over",
        }
    }

    /// Reads the word that [`as_str`](Self::as_str) writes.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Registered, Self::Updated, Self::Status, Self::Patched, Self::TakenOver];
        all.into_iter().find(|what| what.as_str() == word)
    }

    /// What a registration is to those who follow.
    pub(crate) fn registration(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Created => Self::Registered,
            Outcome::Renewed => Self::Updated,
            Outcome::TakenOver => Self::TakenOver,
        }
    }

    /// What a write is to those who follow; `None` for what changes no state. A status that was set before is none.
    pub(crate) fn write(change: &crate::Change, before: &Stream) -> Option<Self> {
        match change {
            crate::Change::Heartbeat | crate::Change::Stats(_) => None,
            crate::Change::Status(status) => (*status != before.status).then_some(Self::Status),
            crate::Change::Patch(_) => Some(Self::Patched),
            crate::Change::Replace(_) => Some(Self::Updated),
        }
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCause {
    /// It was unregistered.
    Unregistered(EndReason),
    /// Its time to live was over.
    Expired,
}

/// One event of a watch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A stream changed.
    Changed {
        /// The place in the feed.
        revision: Revision,
        /// What happened.
        what: What,
        /// The record after it.
        stream: Arc<Stream>,
    },
    /// A stream ended.
    Ended {
        /// The place in the feed.
        revision: Revision,
        /// How.
        reason: EndCause,
        /// The last record.
        last: Arc<Stream>,
        /// When the last record was read.
        as_of: Timestamp,
    },
    /// Events may be missing: take a snapshot, then go on from here.
    Resync {
        /// The place in the feed.
        revision: Revision,
    },
    /// Nothing happened; the watch is alive.
    Alive {
        /// The place in the feed.
        revision: Revision,
    },
}

/// A sequence of [`Event`]s. It does not end at transient errors.
pub struct Watch(Pin<Box<dyn futures_core::Stream<Item = Event> + Send>>);

impl Watch {
    /// Makes a watch of a store's events.
    pub fn new(events: impl futures_core::Stream<Item = Event> + Send + 'static) -> Self {
        Self(Box::pin(events))
    }

    /// Waits for the next event; `None` when the registry is closed.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.0.as_mut().poll_next(context)).await
    }
}

impl futures_core::Stream for Watch {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
