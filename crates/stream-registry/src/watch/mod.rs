//! The change feed as its readers see it.

mod json;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use std::time::Duration;

use futures_util::StreamExt as _;

use crate::stream::{EndReason, InvalidValue, Revision, Stream, Timestamp};

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
    /// With the oldest change that is still kept.
    Oldest,
}

/// What happened to a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
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

impl ChangeKind {
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
}

impl FromStr for ChangeKind {
    type Err = InvalidValue;

    fn from_str(word: &str) -> Result<Self, InvalidValue> {
        [Self::Registered, Self::Updated, Self::Status, Self::Patched, Self::TakenOver]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| InvalidValue::unknown_word("kind of change", word))
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was unregistered.
    Unregistered(EndReason),
    /// Its time to live was over.
    Expired,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stream changed.
    Changed {
        /// The place in the feed.
        revision: Revision,
        /// What happened.
        kind: ChangeKind,
        /// The record after it.
        stream: Arc<Stream>,
    },
    /// A stream ended.
    Ended {
        /// The place in the feed.
        revision: Revision,
        /// How.
        reason: Ending,
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

impl Event {
    /// Returns the place in the feed: whoever resumes after it misses nothing and gets nothing twice.
    pub fn revision(&self) -> &Revision {
        match self {
            Self::Changed { revision, .. }
            | Self::Ended { revision, .. }
            | Self::Resync { revision }
            | Self::Alive { revision } => revision,
        }
    }

    /// Returns the record after a change, or the last one of a stream that ended.
    pub fn stream(&self) -> Option<&Arc<Stream>> {
        match self {
            Self::Changed { stream, .. } => Some(stream),
            Self::Ended { last, .. } => Some(last),
            Self::Resync { .. } | Self::Alive { .. } => None,
        }
    }

    /// Returns what happened as a stable lower-case word: that of [`ChangeKind`], or `unregistered`, `expired`, `resync`,
    /// `alive`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Changed { kind, .. } => kind.as_str(),
            Self::Ended { reason: Ending::Unregistered(_), .. } => "unregistered",
            Self::Ended { reason: Ending::Expired, .. } => "expired",
            Self::Resync { .. } => "resync",
            Self::Alive { .. } => "alive",
        }
    }

    /// Returns how long a stream that ended was live; `None` for other events, and if its registration time is unknown.
    pub fn lifetime(&self) -> Option<Duration> {
        match self {
            Self::Ended { last, as_of, .. } => {
                (last.created_at > Timestamp::ZERO).then(|| as_of.since(last.created_at))
            }
            _ => None,
        }
    }
}

/// A sequence of [`Event`]s. It does not end at transient errors.
pub struct Watch {
    events: Pin<Box<dyn futures_core::Stream<Item = Event> + Send>>,
    begins: Option<Revision>,
}

impl Watch {
    /// Makes a watch of a store's events.
    pub fn new(events: impl futures_core::Stream<Item = Event> + Send + 'static) -> Self {
        // Whoever asks once more after the end is told of the end again.
        Self { events: Box::pin(events.fuse()), begins: None }
    }

    /// Says after which revision the watch begins.
    #[must_use]
    pub fn starting_after(mut self, revision: Revision) -> Self {
        self.begins = Some(revision);
        self
    }

    /// Returns the revision after which the watch begins, where the store knows it: a caller that keeps it can
    /// resume there even if it was told of no event.
    pub fn start(&self) -> Option<&Revision> {
        self.begins.as_ref()
    }

    /// Waits for the next event; `None` when the registry is closed.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.events.as_mut().poll_next(context)).await
    }
}

impl futures_core::Stream for Watch {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
